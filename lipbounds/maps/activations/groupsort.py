"""groupsort in pairs: neighbouring units are sorted in ascending order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import arb
from torch import Tensor

from lipbounds.arb import Row
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations.base import Activation, Array, Range
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.activations.relu import RELU

__all__ = ["GROUPSORT"]


class GroupSort(Activation):
    """(a, b) -> (min, max) of units 0 and 1, 2 and 3, ..: min = a - relu(a - b), max = b + relu(a - b).

    A permutation at every point, so a network of it keeps the product of the norms of its matrices.
    """

    name = "groupsort"
    slope = 1.0
    kink = 1

    def torch(self, x: Tensor) -> Tensor:
        self._check(x.shape[-1])
        return x.reshape(*x.shape[:-1], -1, 2).sort(dim=-1).values.reshape(x.shape)

    def _check(self, width: int) -> None:
        if width % 2:
            raise InvalidInput("activation", f"groupsort of {width} units", "an even number of units", "add a unit")

    def ball(self, x: arb) -> arb:
        raise NotImplementedError("units are sorted in pairs: use balls")

    slope_ball = ball

    def balls(self, row: Row) -> Row:
        self._check(len(row))
        pairs = zip(row[::2], row[1::2], strict=True)
        return [value for a, b in pairs for value in (a.min(b), a.max(b))]

    def slope_balls(self, row: Row) -> Row:
        # a permutation has norm 1
        return [arb(1) for _ in row]

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        raise NotImplementedError("units are sorted in pairs: use split")

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        raise NotImplementedError("units are sorted in pairs: use split")

    def largest(self, n: int) -> float:
        return RELU.largest(n)

    def split(self, width: int) -> tuple[Array, Activation, Array]:
        self._check(width)
        pairs = width // 2
        before, after = np.zeros((width + pairs, width)), np.zeros((width, width + pairs))
        before[:width], after[:, :width] = np.eye(width), np.eye(width)
        rows = np.arange(pairs)
        before[width + rows, 2 * rows], before[width + rows, 2 * rows + 1] = 1.0, -1.0
        after[2 * rows, width + rows], after[2 * rows + 1, width + rows] = -1.0, 1.0
        return before, OnLastUnits(RELU, width), after


GROUPSORT = GroupSort()
