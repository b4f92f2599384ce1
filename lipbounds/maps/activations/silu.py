"""silu, x times the sigmoid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from flint import arb
from torch import Tensor, nn

from lipbounds.arb import ends, intersection, monotone
from lipbounds.maps.activations.base import Activation, Array, Range
from lipbounds.maps.activations.logistic import sigmoid_ball, sigmoid_coefficients
from lipbounds.maps.activations.ranges import spread

__all__ = ["SILU"]

LARGEST = (1.10094, 0.25025, 0.05142, 0.02086, 0.00549, 0.00209)  # largest Taylor coefficients from order 1 on, rounded up
LEAST, WHERE = -0.2784645427610738, (-1.2785, -1.2784)  # the minimum, rounded down, and where it is attained


def _silu(x: arb) -> arb:
    return x / (1 + (-x).exp())


class Silu(Activation):
    """$x/(1+e^{-x})$."""

    name = "silu"
    slope = 1.0998393201288672
    modules = (nn.SiLU,)

    def torch(self, x: Tensor) -> Tensor:
        return torch.nn.functional.silu(x)

    def ball(self, x: arb) -> arb:
        # it falls to its minimum and rises behind it
        hull = monotone(_silu, x)
        low, high = ends(x)
        return hull.union(arb(LEAST)) if low < WHERE[1] and high > WHERE[0] and not x.is_exact() else hull

    def slope_ball(self, x: arb) -> arb:
        anywhere = (1 - arb(self.slope)).union(arb(self.slope))  # symmetric about 1/2
        low, high = ends(x)
        if not math.isfinite(low + high):
            return anywhere
        value = monotone(sigmoid_ball, x)
        return intersection(value * (1 + x * (1 - value)), anywhere)

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        parts = sigmoid_coefficients(x, degree)
        return [x * parts[0], *(x * part + before for before, part in itertools.pairwise(parts))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        return spread(self.coefficients(0.5 * low + 0.5 * high, degree), low, high, LARGEST)

    def largest(self, n: int) -> float:
        return LARGEST[n - 1]


SILU = Silu()
