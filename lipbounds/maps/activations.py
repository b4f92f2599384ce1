"""Activations and their derivatives: Taylor coefficients at points, and exact ranges over intervals, by critical points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from lipbounds.rounding import FUNCTION_ERROR, UNIT, UP

__all__ = ["coefficients", "largest_of", "ranges"]

Array = NDArray[np.float64]
Range = tuple[Array, Array]

NEAR = 1e-9  # critical points are rounded; one too many does no harm


def coefficients(activation: str, x: Any, degree: int) -> list[Any]:
    """f, f', f''/2, .. up to a degree >= 1 at points, arrays or tensors; at the kink of relu those of its left.

    Off by at most FUNCTION_ERROR (1 + size), f itself by at most FUNCTION_ERROR |f|.
    """
    xp = torch if isinstance(x, torch.Tensor) else np
    match activation:
        case "tanh":
            return _solved(xp.tanh(x), 1.0, 0.0, degree)
        case "softplus":
            start = xp.logaddexp(xp.zeros_like(x), x)
            return [start, *(part / j for j, part in enumerate(_sigmoid_at(x, degree - 1), start=1))]
        case "arctan":
            angle = xp.arctan(x)
            return [angle, *(_arctan_part(angle, n) for n in range(1, degree + 1))]
        case "silu":
            parts = _sigmoid_at(x, degree)
            return [x * parts[0], *(x * part + before for before, part in itertools.pairwise(parts))]
        case _:
            rising = (x > 0) * xp.ones_like(x)
            return [x * rising, rising, *(xp.zeros_like(x) for _ in range(degree - 1))]


def _solved(value: Any, constant: float, linear: float, degree: int) -> list[Any]:
    """Taylor coefficients of a solution of u' = constant + linear u - u^2 where it has this value."""
    parts = [value, constant + (linear - value) * value]
    for n in range(1, degree):
        # of the square, pairs (i, n - i) twice
        square = sum(2 * parts[i] * parts[n - i] for i in range((n + 1) // 2))
        if n % 2 == 0:
            square = square + parts[n // 2] * parts[n // 2]
        parts.append((linear * parts[n] - square) / (n + 1))
    return parts


class _Parts(NamedTuple):
    """Polynomials, a row each, with their critical points on the interval that counts and their values there, padded.

    Attributes:
        terms: Coefficients, the constant first.
        critical: Points; infinite where there are fewer.
        values: At these.
    """

    terms: Array
    critical: Array
    values: Array


def _parts(slope: Polynomial, degree: int, low: float) -> _Parts:
    """The Taylor coefficients of t as polynomials of t in [low, 1], where t' is one."""
    terms, critical = np.zeros((degree + 1, degree + 2)), np.full((degree + 1, degree + 1), math.inf)
    values, value = np.zeros((degree + 1, degree + 1)), Polynomial([0.0, 1.0])
    for j in range(degree + 1):
        roots = value.deriv().roots()
        inside = np.real(roots[(np.abs(np.imag(roots)) < NEAR) & (np.real(roots) > low - NEAR) & (np.real(roots) < 1 + NEAR)])
        terms[j, : len(value.coef)] = value.coef
        critical[j, : len(inside)], values[j, : len(inside)] = inside, value(inside)
        value = slope * value.deriv() / (j + 1)
    return _Parts(terms, critical, values)


@cache
def _tanh_parts(degree: int) -> _Parts:
    return _parts(Polynomial([1.0, 0.0, -1.0]), degree, -1.0)


@cache
def _sigmoid_parts(degree: int) -> _Parts:
    return _parts(Polynomial([0.0, 1.0, -1.0]), degree, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _extremes(low: Array, high: Array, parts: _Parts, least: Array, greatest: Array) -> None:
    """Of polynomials on intervals: at the ends, and at critical points inside; rows of the results are polynomials."""
    for row in range(len(parts.terms)):
        terms = parts.terms[row]
        for e in range(len(low)):
            first, last = 0.0, 0.0
            for j in range(len(terms) - 1, -1, -1):
                first, last = first * low[e] + terms[j], last * high[e] + terms[j]
            least[row, e], greatest[row, e] = min(first, last), max(first, last)
        for c in range(parts.critical.shape[1]):
            point, value = parts.critical[row, c], parts.values[row, c]
            if point < math.inf:
                for e in range(len(low)):
                    if low[e] <= point + NEAR and point - NEAR <= high[e]:
                        least[row, e], greatest[row, e] = min(least[row, e], value), max(greatest[row, e], value)
    for e in range(len(low)):
        if not low[e] <= high[e]:  # what is no number has no range
            least[:, e], greatest[:, e] = math.nan, math.nan


def _of_parts(low: Array, high: Array, parts: _Parts) -> list[Range]:
    least, greatest = np.empty((2, len(parts.terms), low.size))
    _extremes(low.ravel(), high.ravel(), parts, least, greatest)
    return [(a.reshape(low.shape), b.reshape(low.shape)) for a, b in zip(least, greatest, strict=True)]


def _sigmoid(x: Any) -> Any:
    xp = torch if isinstance(x, torch.Tensor) else np
    # the exponential of -|x| is at most 1
    small = xp.exp(-abs(x))
    return xp.where(x >= 0, 1.0, small) / (1.0 + small)


def _sigmoid_at(x: Any, degree: int) -> list[Any]:
    """Taylor coefficients; derivatives are even or odd, and where the sigmoid is small they are relatively accurate."""
    sign = 1.0 - 2.0 * (x > 0)
    parts = _solved(_sigmoid(-abs(x)), 0.0, 1.0, degree)
    return [_sigmoid(x), *(part * sign ** (j + 1) for j, part in enumerate(parts[1:], start=1))]


def _arctan_part(angle: Any, n: int) -> Any:
    """The n-th Taylor coefficient of arctan at the tangent of an angle."""
    xp = torch if isinstance(angle, torch.Tensor) else np
    return xp.cos(angle) ** n * xp.sin(n * (angle + math.pi / 2)) / n


def _between(function: Callable[[Array], Array], low: Array, high: Array, critical: Iterable[float]) -> Range:
    """The range on [low, high]: values at the ends and at critical points inside."""
    ends = function(low), function(high)
    least, greatest = np.minimum(*ends), np.maximum(*ends)
    for point in critical:
        inside = (low <= point + NEAR) & (point - NEAR <= high)
        value = function(np.array(point))
        least = np.where(inside, np.minimum(least, value), least)
        greatest = np.where(inside, np.maximum(greatest, value), greatest)
    return least, greatest


def _tanh(low: Array, high: Array, degree: int) -> list[Range]:
    a, b = np.tanh(low) - 16 * UNIT, np.tanh(high) + 16 * UNIT
    return _of_parts(a, b, _tanh_parts(degree))


def _softplus(low: Array, high: Array, degree: int) -> list[Range]:
    """The derivatives are those of the sigmoid."""
    a, b = _sigmoid(low) - 16 * UNIT, _sigmoid(high) + 16 * UNIT
    sigmoids = _of_parts(a, b, _sigmoid_parts(degree - 1))
    return [
        (np.logaddexp(0.0, low), np.logaddexp(0.0, high)),
        *((least / j, greatest / j) for j, (least, greatest) in enumerate(sigmoids, start=1)),
    ]


def _arctan(low: Array, high: Array, degree: int) -> list[Range]:
    """Of the angle, that is of arctan, the next derivative has its zeros where (n + 1) (angle + pi/2) is a multiple of pi."""
    a, b = np.arctan(low) - 16 * UNIT, np.arctan(high) + 16 * UNIT
    zeros = ([m * math.pi / (n + 1) - math.pi / 2 for m in range(1, n + 1)] for n in range(1, degree + 1))
    return [(a, b), *(_between(partial(_arctan_part, n=n), a, b, points) for n, points in enumerate(zeros, start=1))]


SILU = (1.10094, 0.25025, 0.05142, 0.02086, 0.00549, 0.00209)  # largest Taylor coefficients from the first on, rounded up


def _silu(low: Array, high: Array, degree: int) -> list[Range]:
    """By the value in the middle and the largest next derivative."""
    middle, reach = 0.5 * low + 0.5 * high, (0.5 * high - 0.5 * low) * UP
    ranges = []
    for n, value in enumerate(coefficients("silu", middle, degree)):
        away = reach * (n + 1) * SILU[n] + FUNCTION_ERROR * (1 + np.abs(middle))
        least, greatest = value - away, value + away
        if n:  # never beyond the extremes
            least, greatest = np.fmax(least, -SILU[n - 1]), np.fmin(greatest, SILU[n - 1])
        ranges.append((least, greatest))
    return ranges


def _relu(low: Array, high: Array, degree: int) -> list[Range]:
    kink = np.where((low > 0) | (high < 0), 0.0, math.inf)  # also where they are no numbers
    return [
        (np.maximum(low, 0.0), np.maximum(high, 0.0)),
        ((low > 0).astype(float), 1.0 - (high < 0)),
        *((-kink, kink) for _ in range(degree - 1)),
    ]


_RANGES: dict[str, Callable[[Array, Array, int], Sequence[Range]]] = {
    "tanh": _tanh,
    "softplus": _softplus,
    "silu": _silu,
    "arctan": _arctan,
    "relu": _relu,
}


def ranges(activation: str, low: Array, high: Array, degree: int) -> Sequence[Range]:
    """Lower and upper ends of f, f', f''/2, .. on intervals, but for errors of at most FUNCTION_ERROR (1 + |f|).

    For silu they are bounds, good on short intervals.
    """
    return _RANGES[activation](low, high, degree)


@cache
def largest_of(activation: str, n: int) -> float:
    """The largest absolute value of the n-th Taylor coefficient; for silu n <= 6."""
    if activation == "silu":
        return SILU[n - 1]
    everywhere = np.array(1e9)  # critical points lie well inside
    return float(np.abs(ranges(activation, -everywhere, everywhere, n)[n]).max()) * UP
