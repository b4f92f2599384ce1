r"""What an activation knows of itself.

For power series an activation f is asked for its Taylor coefficients $f, f', f''/2, \dots$ at points, and for the ranges of
these over intervals, in numpy or torch; for proofs of single numbers for its values and slopes over balls. Arrays may have any
shape whose last axis runs over the units of a layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from flint import arb
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbounds.arb import Row

__all__ = ["Activation", "Array", "Range"]

Array = NDArray[np.float64]
Range = tuple[Array, Array]
"""Lower and upper ends."""


class Activation(ABC):
    """A function of one variable that a network applies to all units of a layer.

    Attributes:
        name: Its name; empty for those that need parameters and so are not found by name.
        slope: An upper bound of |f'|, rounded up.
        kink: The order of the lowest derivative that jumps somewhere: 1 for relu, 2 for elu, None for a smooth function. Ranges
            of derivatives of higher order are infinite on intervals that contain such a point.
        absolute: 0 where values have a relative error; 1 for a function with a root where its computation cancels.
        modules: The torch modules that compute it.
    """

    name: ClassVar[str] = ""
    slope: ClassVar[float]
    kink: ClassVar[int | None] = None
    absolute: ClassVar[float] = 0.0
    modules: ClassVar[tuple[type[nn.Module], ...]] = ()

    @abstractmethod
    def torch(self, x: Tensor) -> Tensor:
        """Return f(x), differentiable; f acts on the last axis."""

    @abstractmethod
    def ball(self, x: arb) -> arb:
        """Return a ball that contains f of a ball, tight where the ball is narrow."""

    @abstractmethod
    def slope_ball(self, x: arb) -> arb:
        """Return a ball that contains the slopes of f on a ball; at a kink, both and all between."""

    @abstractmethod
    def coefficients(self, x: Any, degree: int) -> list[Any]:
        """Return f, f', f''/2, .. up to a degree >= 1 at points, arrays or tensors; at a kink those of its left.

        They are off by at most FUNCTION_ERROR (1 + size), f itself by at most FUNCTION_ERROR (|f| + `absolute`).
        """

    @abstractmethod
    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        """Return ranges of f, f', f''/2, .. on intervals, but for errors of at most FUNCTION_ERROR (1 + |f|)."""

    @abstractmethod
    def largest(self, n: int) -> float:
        """Return an upper bound of the absolute value of the n-th Taylor coefficient, n >= 1, anywhere."""

    def is_computed_by(self, module: nn.Module) -> bool:
        """Return whether a torch module computes this function."""
        return type(module) in self.modules

    def balls(self, row: Row) -> Row:
        """Return f of every coordinate of a box."""
        return [self.ball(value) for value in row]

    def slope_balls(self, row: Row) -> Row:
        """Return the slopes of every coordinate over a box."""
        return [self.slope_ball(value) for value in row]

    def split(self, width: int) -> tuple[Array, Activation, Array] | None:
        """Return (A, g, B) with f(x) = B g(A x) and g a function of one variable, if f itself mixes units; else None.

        Args:
            width: Number of units of the layer.
        """
        return None
