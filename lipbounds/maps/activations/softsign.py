"""softsign, x / (1 + |x|), which zuko and others clamp logarithms of scales with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor, nn

from lipbounds.arb import farthest_from_zero, monotone, nearest_to_zero
from lipbounds.maps.activations.base import Activation, Array, Range

__all__ = ["SOFTSIGN"]


class Softsign(Activation):
    """x / (1 + |x|); the second derivative jumps from 2 to -2 at 0."""

    name = "softsign"
    slope = 1.0
    kink = 2
    modules = (nn.Softsign,)

    def torch(self, x: Tensor) -> Tensor:
        return torch.nn.functional.softsign(x)

    def ball(self, x: arb) -> arb:
        return monotone(lambda value: value / (1 + abs(value)), x)

    def slope_ball(self, x: arb) -> arb:
        near, far = 1 + nearest_to_zero(x), 1 + farthest_from_zero(x)
        return (1 / (far * far)).union(1 / (near * near))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        # for x > 0 it is 1 - 1 / (1 + x), for x < 0 1 / (1 - x) - 1
        sign = 2.0 * (x > 0) - 1.0
        inverse = 1.0 / (1.0 + abs(x))
        return [x * inverse, *((-sign) ** (n + 1) * inverse ** (n + 1) for n in range(1, degree + 1))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        left, right = low <= 0, high >= 0
        nearest = np.where(left & right, 0.0, np.minimum(np.abs(low), np.abs(high)))
        known = low <= high
        result: list[Any] = [tuple(end / (1.0 + np.abs(end)) for end in (low, high))]
        for n in range(1, degree + 1):
            most = (1.0 / (1.0 + nearest)) ** (n + 1)
            least = (1.0 / (1.0 + np.maximum(np.abs(low), np.abs(high)))) ** (n + 1)
            if n % 2:  # odd derivatives of an odd function are even; these are positive
                bottom, top = least, most
            else:  # minus on the right, plus on the left
                bottom = np.where(right, -most, least)
                top = np.where(left, most, -least)
            kink = ((left & right) if n > 2 else np.zeros_like(left)) | ~known
            result.append((np.where(kink, -math.inf, bottom), np.where(kink, math.inf, top)))
        return result

    def largest(self, n: int) -> float:
        return 1.0 if n <= 2 else math.inf


SOFTSIGN = Softsign()
