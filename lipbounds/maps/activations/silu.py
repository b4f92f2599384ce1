"""silu, x times the sigmoid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from flint import arb
from torch import Tensor, nn

from lipbounds.arb import monotone
from lipbounds.maps.activations.base import Array, Range
from lipbounds.maps.activations.dip import Dip
from lipbounds.maps.activations.logistic import sigmoid_ball, sigmoid_coefficients
from lipbounds.maps.activations.ranges import spread

__all__ = ["SILU"]

LARGEST = (1.10094, 0.25025, 0.05142, 0.02086, 0.00549, 0.00209)  # largest Taylor coefficients from order 1 on, rounded up


class Silu(Dip):
    """$x/(1+e^{-x})$."""

    name = "silu"
    slope = 1.0998393201288672
    least = -0.2784645427610738
    where = (-1.2785, -1.2784)
    modules = (nn.SiLU,)

    def torch(self, x: Tensor) -> Tensor:
        return torch.nn.functional.silu(x)

    def value(self, x: arb) -> arb:
        return x / (1 + (-x).exp())

    def derivative(self, x: arb) -> arb:
        sigmoid = monotone(sigmoid_ball, x)
        return sigmoid * (1 + x * (1 - sigmoid))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        parts = sigmoid_coefficients(x, degree)
        return [x * parts[0], *(x * part + before for before, part in itertools.pairwise(parts))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        return spread(self.coefficients(0.5 * low + 0.5 * high, degree), low, high, LARGEST)

    def largest(self, n: int) -> float:
        return LARGEST[n - 1]


SILU = Silu()
