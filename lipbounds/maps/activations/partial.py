"""An activation on the last units of a layer, another on the first: those that a residual network carries along."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor

from lipbounds.arb import Row
from lipbounds.maps.activations.base import Activation, Array, Range
from lipbounds.maps.activations.linear import LINEAR

__all__ = ["OnLastUnits", "by_units", "kinds_of_units"]


class OnLastUnits(Activation):
    """One activation on the first units, by default the identity, and another on the rest.

    Args:
        inner: The activation of the last units.
        first: Number of units before them.
        others: The activation of these.
    """

    def __init__(self, inner: Activation, first: int, others: Activation = LINEAR) -> None:
        self.inner, self.first, self.others = inner, first, others
        self.slope = max(others.slope, inner.slope)  # type: ignore[misc]
        kinks = [kind.kink for kind in (others, inner) if kind.kink is not None]
        self.kink = min(kinks, default=None)  # type: ignore[misc]
        self.absolute = max(others.absolute, inner.absolute)  # type: ignore[misc]

    def torch(self, x: Tensor) -> Tensor:
        return torch.cat((self.others.torch(x[..., : self.first]), self.inner.torch(x[..., self.first :])), -1)

    def ball(self, x: arb) -> arb:
        raise NotImplementedError("units differ: use balls")

    slope_ball = ball

    def balls(self, row: Row) -> Row:
        return [*self.others.balls(row[: self.first]), *self.inner.balls(row[self.first :])]

    def slope_balls(self, row: Row) -> Row:
        return [*self.others.slope_balls(row[: self.first]), *self.inner.slope_balls(row[self.first :])]

    def _both(self, left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
        join = torch.cat if isinstance(left[0], Tensor) else np.concatenate
        return [join((a, b), -1) for a, b in zip(left, right, strict=True)]

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        first, last = x[..., : self.first], x[..., self.first :]
        return self._both(self.others.coefficients(first, degree), self.inner.coefficients(last, degree))

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        parts = [(low[..., : self.first], high[..., : self.first]), (low[..., self.first :], high[..., self.first :])]
        first, last = (kind.ranges(*part, degree) for kind, part in zip((self.others, self.inner), parts, strict=True))
        ends = (self._both([one[side] for one in first], [one[side] for one in last]) for side in (0, 1))
        return list(zip(*ends, strict=True))

    def largest(self, n: int) -> float:
        return max(self.others.largest(n), self.inner.largest(n))


def kinds_of_units(activation: Activation, units: int) -> list[Activation]:
    """Return the activation of each unit of a layer."""
    if isinstance(activation, OnLastUnits):
        first = kinds_of_units(activation.others, activation.first)
        return first + kinds_of_units(activation.inner, units - activation.first)
    return [activation] * units


def by_units(kinds: Sequence[Activation]) -> Activation:
    """Return the activation of a layer from that of each unit."""
    runs = [list(run) for _, run in itertools.groupby(kinds, key=id)]
    activation, first = runs[0][0], len(runs[0])
    for run in runs[1:]:
        activation = OnLastUnits(run[0], first, activation)
        first += len(run)
    return activation
