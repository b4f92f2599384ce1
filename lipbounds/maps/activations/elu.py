"""elu, the exponential below 0 and the identity above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor, nn

from lipbounds.arb import ends, monotone
from lipbounds.maps.activations.base import Activation, Array, Range

__all__ = ["ELU"]


class Elu(Activation):
    """x above 0, e^x - 1 below; the second derivative jumps from 1 to 0 at 0."""

    name = "elu"
    slope = 1.0
    kink = 2
    modules = (nn.ELU,)

    def is_computed_by(self, module: nn.Module) -> bool:
        return isinstance(module, nn.ELU) and module.alpha == 1.0

    def torch(self, x: Tensor) -> Tensor:
        return torch.nn.functional.elu(x)

    def ball(self, x: arb) -> arb:
        return monotone(lambda value: value.max(arb(0)) + value.min(arb(0)).expm1(), x)

    def slope_ball(self, x: arb) -> arb:
        low, high = ends(x)
        if not math.isfinite(low + high):
            return arb(0).union(arb(1))
        return monotone(lambda value: value.min(arb(0)).exp(), x)

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        rising = (x > 0) * xp.ones_like(x)
        negative = xp.minimum(x, xp.zeros_like(x))
        power, falling = xp.exp(negative), 1.0 - rising
        return [
            xp.maximum(x, xp.zeros_like(x)) + xp.expm1(negative),
            power,
            *(falling * power / math.factorial(n) for n in range(2, degree + 1)),
        ]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        values = tuple(np.maximum(end, 0.0) + np.expm1(np.minimum(end, 0.0)) for end in (low, high))
        least, greatest = (np.exp(np.minimum(end, 0.0)) for end in (low, high))
        left, right = low <= 0, high > 0  # the interval has points on this side of the kink
        known = low <= high  # not where an end is NaN
        result: list[Any] = [values, (least, greatest)]
        for n in range(2, degree + 1):
            bottom = np.where(right, 0.0, least) / math.factorial(n)
            top = np.where(left, greatest, 0.0) / math.factorial(n)
            kink = (left & right) | (low == 0) | (high == 0) if n > 2 else np.zeros_like(left)
            result.append((np.where(kink | ~known, -math.inf, bottom), np.where(kink | ~known, math.inf, top)))
        return result

    def largest(self, n: int) -> float:
        return 1.0 if n == 1 else 0.5 if n == 2 else math.inf


ELU = Elu()
