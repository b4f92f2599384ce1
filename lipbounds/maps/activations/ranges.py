"""Ranges of Taylor coefficients over intervals: from critical points, and by series with interval coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.polynomial import Polynomial

from lipbounds.maps.activations.base import Array, Range
from lipbounds.rounding import FUNCTION_ERROR, UP

__all__ = [
    "Polynomials",
    "between",
    "coefficients_of_solution",
    "polynomial_ranges",
    "polynomials_of",
    "product_of_ranges",
    "spread",
]

NEAR = 1e-9  # critical points are rounded; one too many does no harm


def coefficients_of_solution(value: Any, constant: float, linear: float, degree: int) -> list[Any]:
    """Taylor coefficients of the solution of u' = constant + linear u - u^2 that has this value."""
    parts = [value, constant + (linear - value) * value]
    for n in range(1, degree):
        # of the square, pairs (i, n - i) twice
        square = sum(2 * parts[i] * parts[n - i] for i in range((n + 1) // 2))
        if n % 2 == 0:
            square = square + parts[n // 2] * parts[n // 2]
        parts.append((linear * parts[n] - square) / (n + 1))
    return parts


class Polynomials(NamedTuple):
    """Polynomials, a row each, with their critical points on the interval that counts and their values there, padded.

    Attributes:
        terms: Coefficients, the constant first, shape (polynomials, terms).
        critical: Critical points, infinite where there are fewer, shape (polynomials, most).
        values: Values at these.
    """

    terms: Array
    critical: Array
    values: Array


def polynomials_of(slope: Polynomial, degree: int, low: float) -> Polynomials:
    """The Taylor coefficients of t as polynomials of t in [low, 1], where t' is the polynomial `slope` of t."""
    terms, critical = np.zeros((degree + 1, degree + 2)), np.full((degree + 1, degree + 1), math.inf)
    values, value = np.zeros((degree + 1, degree + 1)), Polynomial([0.0, 1.0])
    for j in range(degree + 1):
        roots = value.deriv().roots()
        inside = np.real(roots[(np.abs(np.imag(roots)) < NEAR) & (np.real(roots) > low - NEAR) & (np.real(roots) < 1 + NEAR)])
        terms[j, : len(value.coef)] = value.coef
        critical[j, : len(inside)], values[j, : len(inside)] = inside, value(inside)
        value = slope * value.deriv() / (j + 1)
    return Polynomials(terms, critical, values)


@njit(cache=True, nogil=True, error_model="numpy")
def _extremes(low: Array, high: Array, parts: Polynomials, least: Array, greatest: Array) -> None:
    """Extremes of polynomials on intervals [low, high] (n,), to `least` and `greatest` (polynomials, n); NaN for a NaN end.

    Not rounded outwards: callers add FUNCTION_ERROR.
    """
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
        if not low[e] <= high[e]:  # an interval with a NaN has no range
            least[:, e], greatest[:, e] = math.nan, math.nan


def polynomial_ranges(low: Array, high: Array, parts: Polynomials) -> list[Range]:
    """Ranges of all polynomials on intervals."""
    least, greatest = np.empty((2, len(parts.terms), low.size))
    _extremes(low.ravel(), high.ravel(), parts, least, greatest)
    return [(a.reshape(low.shape), b.reshape(low.shape)) for a, b in zip(least, greatest, strict=True)]


def between(function: Callable[[Array], Array], low: Array, high: Array, critical: Iterable[float]) -> Range:
    """The range on [low, high] of a function: its values at the ends and at critical points inside."""
    ends = function(low), function(high)
    least, greatest = np.minimum(*ends), np.maximum(*ends)
    for point in critical:
        inside = (low <= point + NEAR) & (point - NEAR <= high)
        value = function(np.array(point))
        least = np.where(inside, np.minimum(least, value), least)
        greatest = np.where(inside, np.maximum(greatest, value), greatest)
    return least, greatest


def product_of_ranges(first: Range, second: Range) -> Range:
    """The range of a product of two numbers in their ranges; NaN where an end is (0 times infinity is one)."""
    corners = [a * b for a in first for b in second]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def spread(coefficients: Sequence[Array], low: Array, high: Array, largest: Sequence[float]) -> list[Range]:
    """Ranges from the coefficients at the middles and the largest next ones, never beyond the largest themselves.

    Args:
        coefficients: At the middles of the intervals, as many as are asked for.
        low: Lower ends.
        high: Upper ends.
        largest: Upper bounds of the absolute values of the coefficients of order 1, 2, .., one more than asked for.
    """
    middle, reach = 0.5 * low + 0.5 * high, (0.5 * high - 0.5 * low) * UP
    ranges = []
    for n, value in enumerate(coefficients):
        away = reach * (n + 1) * largest[n] + FUNCTION_ERROR * (1 + np.abs(middle))
        least, greatest = value - away, value + away
        if n:
            least, greatest = np.fmax(least, -largest[n - 1]), np.fmin(greatest, largest[n - 1])
        ranges.append((least, greatest))
    return ranges
