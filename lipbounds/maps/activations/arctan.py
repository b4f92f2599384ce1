"""The arctangent, whose Taylor coefficients are trigonometric functions of the angle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor

from lipbounds.arb import farthest_from_zero, monotone, nearest_to_zero
from lipbounds.maps.activations.base import Activation, Array, Range
from lipbounds.maps.activations.ranges import between
from lipbounds.rounding import UNIT, UP

__all__ = ["ARCTAN"]


def _coefficient(angle: Any, n: int) -> Any:
    """The n-th Taylor coefficient of arctan at the tangent of an angle."""
    xp = torch if isinstance(angle, Tensor) else np
    return xp.cos(angle) ** n * xp.sin(n * (angle + math.pi / 2)) / n


class Arctan(Activation):
    """$\\arctan x$."""

    name = "arctan"
    slope = 1.0

    def torch(self, x: Tensor) -> Tensor:
        return torch.atan(x)

    def ball(self, x: arb) -> arb:
        return monotone(arb.atan, x)

    def slope_ball(self, x: arb) -> arb:
        near, far = nearest_to_zero(x), farthest_from_zero(x)
        return (1 / (1 + far * far)).union(1 / (1 + near * near))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        angle = xp.arctan(x)
        return [angle, *(_coefficient(angle, n) for n in range(1, degree + 1))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        # as a function of the angle, the next derivative vanishes where (n + 1) (angle + pi/2) is a multiple of pi
        a, b = np.arctan(low) - 16 * UNIT, np.arctan(high) + 16 * UNIT
        zeros = ([m * math.pi / (n + 1) - math.pi / 2 for m in range(1, n + 1)] for n in range(1, degree + 1))
        return [(a, b), *(between(partial(_coefficient, n=n), a, b, points) for n, points in enumerate(zeros, start=1))]

    def largest(self, n: int) -> float:
        angles = np.array([m * math.pi / (n + 1) - math.pi / 2 for m in range(1, n + 1)])
        return float(np.abs(_coefficient(angles, n)).max()) * UP


ARCTAN = Arctan()
