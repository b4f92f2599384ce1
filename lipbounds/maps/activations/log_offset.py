r"""$\log(f(x)+c)$, f softplus or the sigmoid: the logarithm of the scale of couplings whose scale is f with an offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations.base import Activation, Array, Range
from lipbounds.maps.activations.ranges import product_of_ranges
from lipbounds.rounding import UP

__all__ = ["LogOffset"]


class LogOffset(Activation):
    """log(f(x) + c).

    Args:
        inner: f, softplus or the sigmoid.
        offset: c > 0.
    """

    # of softplus sigmoid / (softplus + c) <= e^x / (1 + e^x) / log(1 + e^x) <= 1; of the sigmoid s (1 - s) / (s + c) <= 1 - s
    slope = 1.0
    absolute = 1.0  # of the logarithm near 1

    def __init__(self, inner: Activation, offset: float) -> None:
        if not offset > 0.0:
            raise InvalidInput("offset", offset, "a number > 0", "nflows takes 1e-3")
        self.inner, self.offset = inner, offset

    def torch(self, x: Tensor) -> Tensor:
        return torch.log(self.inner.torch(x) + self.offset)

    def ball(self, x: arb) -> arb:
        return (self.inner.ball(x) + arb(self.offset)).log()

    def slope_ball(self, x: arb) -> arb:
        if not x.is_finite():
            return arb(0).union(arb(1))
        return self.inner.slope_ball(x) / (self.inner.ball(x) + arb(self.offset))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        u = self.inner.coefficients(x, degree)
        first = u[0] + self.offset
        xp = torch if isinstance(x, Tensor) else np
        parts = [xp.log(first)]
        # n u_0 l_n = n u_n - sum of k l_k u_(n-k)
        for n in range(1, degree + 1):
            rest = sum(k * parts[k] * u[n - k] for k in range(1, n))
            parts.append((u[n] - rest / n) / first)
        return parts

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        u = self.inner.ranges(low, high, degree)
        first = (u[0][0] + self.offset, u[0][1] + self.offset)
        inverse = (1.0 / first[1], 1.0 / first[0])
        parts: list[Range] = [(np.log(first[0]), np.log(first[1]))]
        for n in range(1, degree + 1):
            least, greatest = u[n]
            for k in range(1, n):
                below, above = product_of_ranges(parts[k], u[n - k])
                least, greatest = least - above * (k / n), greatest - below * (k / n)
            parts.append(product_of_ranges((least, greatest), inverse))
        return parts

    def largest(self, n: int) -> float:
        # by the recurrence of `coefficients` with absolute values; the first is at most the slope
        u = [0.0, *(self.inner.largest(k) for k in range(1, n + 1))]
        parts = [0.0, 1.0]
        for order in range(2, n + 1):
            rest = sum(k * parts[k] * u[order - k] for k in range(1, order))
            parts.append((u[order] + rest / order) / self.offset * UP)
        return parts[n]
