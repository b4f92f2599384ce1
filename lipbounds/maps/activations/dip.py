"""What silu and gelu share: they fall to one minimum and rise behind it, and their slopes are symmetric about 1/2."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from flint import arb

from lipbounds.arb import ends, intersection, monotone
from lipbounds.maps.activations.base import Activation

__all__ = ["Dip"]


class Dip(Activation):
    """An activation with one minimum.

    Attributes:
        least: The minimum, rounded down.
        where: Numbers between which it is attained.
    """

    least: ClassVar[float]
    where: ClassVar[tuple[float, float]]

    @abstractmethod
    def value(self, x: arb) -> arb:
        """The function, enclosed at a point."""

    @abstractmethod
    def derivative(self, x: arb) -> arb:
        """A hull of the slopes on a finite ball, as wide as it comes out."""

    def ball(self, x: arb) -> arb:
        hull = monotone(self.value, x)
        low, high = ends(x)
        return hull.union(arb(self.least)) if low < self.where[1] and high > self.where[0] and not x.is_exact() else hull

    def slope_ball(self, x: arb) -> arb:
        anywhere = (1 - arb(self.slope)).union(arb(self.slope))
        low, high = ends(x)
        return intersection(self.derivative(x), anywhere) if math.isfinite(low + high) else anywhere
