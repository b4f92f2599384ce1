"""tanh, whose derivatives are polynomials in itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from flint import arb
from numpy.polynomial import Polynomial
from torch import Tensor, nn

from lipbounds.arb import farthest_from_zero, monotone, nearest_to_zero
from lipbounds.maps.activations.base import Activation, Array, Range
from lipbounds.maps.activations.ranges import Polynomials, coefficients_of_solution, polynomial_ranges, polynomials_of
from lipbounds.rounding import UNIT, UP

__all__ = ["TANH"]


@cache
def _polynomials(degree: int) -> Polynomials:
    return polynomials_of(Polynomial([1.0, 0.0, -1.0]), degree, -1.0)


class Tanh(Activation):
    """$\\tanh x$."""

    name = "tanh"
    slope = 1.0
    modules = (nn.Tanh,)

    def torch(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def ball(self, x: arb) -> arb:
        return monotone(arb.tanh, x)

    def slope_ball(self, x: arb) -> arb:
        return (1 - farthest_from_zero(x).tanh() ** 2).union(1 - nearest_to_zero(x).tanh() ** 2)

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        return coefficients_of_solution(xp.tanh(x), 1.0, 0.0, degree)

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        return polynomial_ranges(np.tanh(low) - 16 * UNIT, np.tanh(high) + 16 * UNIT, _polynomials(degree))

    def largest(self, n: int) -> float:
        polynomials = _polynomials(n)
        critical = polynomials.critical[n] < np.inf
        ends = [abs(float(np.polynomial.polynomial.polyval(t, polynomials.terms[n]))) for t in (-1.0, 1.0)]
        return max(*ends, float(np.abs(polynomials.values[n][critical]).max(initial=0.0))) * UP


TANH = Tanh()
