"""The sigmoid, whose derivatives are polynomials in itself, and softplus, whose derivative it is."""

from __future__ import annotations

import math
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

__all__ = ["SIGMOID", "SOFTPLUS", "sigmoid", "sigmoid_ball", "sigmoid_coefficients", "softplus_ball"]


@cache
def _polynomials(degree: int) -> Polynomials:
    return polynomials_of(Polynomial([0.0, 1.0, -1.0]), degree, 0.0)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x) at points, arrays or tensors."""
    xp = torch if isinstance(x, Tensor) else np
    # the exponential of -|x| is at most 1
    small = xp.exp(-abs(x))
    return xp.where(x >= 0, 1.0, small) / (1.0 + small)


def sigmoid_coefficients(x: Any, degree: int) -> list[Any]:
    """Taylor coefficients of the sigmoid, relatively accurate where it is small: its derivatives are even or odd."""
    sign = 1.0 - 2.0 * (x > 0)
    parts = coefficients_of_solution(sigmoid(-abs(x)), 0.0, 1.0, degree)
    return [sigmoid(x), *(part * sign ** (j + 1) for j, part in enumerate(parts[1:], start=1))]


def sigmoid_ball(x: arb) -> arb:
    """1 / (1 + e^-x) of a narrow ball."""
    return 1 / (1 + (-x).exp())


def softplus_ball(x: arb) -> arb:
    """log(1 + e^x) of a narrow ball; for positive x as x + log(1 + e^-x), which keeps the ball small."""
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


class Sigmoid(Activation):
    """$1/(1+e^{-x})$."""

    name = "sigmoid"
    slope = 0.25
    modules = (nn.Sigmoid,)

    def torch(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def ball(self, x: arb) -> arb:
        return monotone(sigmoid_ball, x)

    def slope_ball(self, x: arb) -> arb:
        # s (1 - s) falls with |x|
        near, far = nearest_to_zero(x), farthest_from_zero(x)
        steep, flat = sigmoid_ball(-near), sigmoid_ball(-far) if far.is_finite() else arb(0)
        return (flat * (1 - flat)).union(steep * (1 - steep))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        return sigmoid_coefficients(x, degree)

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        return polynomial_ranges(sigmoid(low) - 16 * UNIT, sigmoid(high) + 16 * UNIT, _polynomials(degree))

    def largest(self, n: int) -> float:
        polynomials = _polynomials(n)
        critical = polynomials.critical[n] < np.inf
        ends = [abs(float(np.polynomial.polynomial.polyval(t, polynomials.terms[n]))) for t in (0.0, 1.0)]
        return max(*ends, float(np.abs(polynomials.values[n][critical]).max(initial=0.0))) * UP


SIGMOID = Sigmoid()


class Softplus(Activation):
    """$\\log(1+e^x)$; its derivatives are those of the sigmoid."""

    name = "softplus"
    slope = 1.0
    modules = (nn.Softplus,)

    def is_computed_by(self, module: nn.Module) -> bool:
        # torch's is linear above its threshold: there it differs by less than e^-20
        return isinstance(module, nn.Softplus) and module.beta == 1 and module.threshold >= 20

    def torch(self, x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(x)

    def ball(self, x: arb) -> arb:
        return monotone(softplus_ball, x)

    def slope_ball(self, x: arb) -> arb:
        return monotone(sigmoid_ball, x) if x.is_finite() else arb(0).union(arb(1))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        start = xp.logaddexp(xp.zeros_like(x), x)
        return [start, *(part / j for j, part in enumerate(sigmoid_coefficients(x, max(degree - 1, 1))[:degree], start=1))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        slopes = SIGMOID.ranges(low, high, degree - 1)
        return [
            (np.logaddexp(0.0, low), np.logaddexp(0.0, high)),
            *((least / j, greatest / j) for j, (least, greatest) in enumerate(slopes, start=1)),
        ]

    def largest(self, n: int) -> float:
        return 1.0 if n == 1 else math.nextafter(SIGMOID.largest(n - 1) / n, math.inf)


SOFTPLUS = Softplus()
