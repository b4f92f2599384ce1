r"""Rounding: the constants of lipbounds, each with its derivation, and the few operations that round outward.

Double precision has a unit roundoff of $u=2^{-53}$: one operation has a relative error of at most u, and k of them, of which each
multiplies or divides, or adds numbers of one sign, an error of at most $\gamma_k=ku/(1-ku)$ (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, Lemma 3.1). A factor above 1 makes an upper bound of a nonnegative number that was computed with a
few roundings; one below 1 makes a lower bound of it. Sums over samples run in the extended precision of the platform (64 bits
of mantissa on x86, 53 on others): its unit is read from numpy, and the error bound is right for whatever it is.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DOWN_SUM",
    "ELEMENTARY_ERROR",
    "ELEMENTARY_FUNCTIONS",
    "ELEMENTARY_ULPS",
    "EPS",
    "EXTENDED",
    "FUNCTION_ERROR",
    "INTEGRAL_ERROR",
    "NORMAL_ERROR",
    "NORMAL_FUNCTIONS",
    "PARTIAL_MOMENT_ERROR",
    "PRODUCTS_ERROR",
    "TINY",
    "UNIT",
    "UP",
    "UP_KERNEL",
    "UP_SUM",
    "around",
    "dot",
    "gamma",
    "outward",
    "power_error",
    "product",
    "root",
    "total",
]

Array = NDArray[np.float64]

UNIT = 2.0**-53
"""Unit roundoff u: the relative error of one operation."""

EPS = 2.0**-52
"""Distance from 1 to the next double, 2u. A sum of n products has an error of at most n EPS times the sum of absolute values."""

EXTENDED = float(np.finfo(np.longdouble).eps)
"""Distance from 1 to the next number of the platform's extended precision: 2^-63 on x86, EPS where there is none."""

UP = 1 + 64 * UNIT
"""In numpy code: gamma_63 is below it, so it covers 63 roundings of nonnegative numbers, as sums of dozens of products."""

UP_KERNEL = 1 + 64 * EPS
"""In compiled kernels: gamma_127 is below it. Contraction and another order change no term's number of roundings; twice as many
are counted because a kernel's loops nest two sums of dozens."""

UP_SUM = 1 + 512 * EPS
"""A sum of up to 200 products of four nonnegative factors in a kernel: 199 additions, and 3 roundings of each product, twice."""

DOWN_SUM = 1 - 1024 * EPS
"""The same downwards, squared: a part of a radius that is too large by UP_SUM is made too small by as much."""

PRODUCTS_ERROR = 128 * UNIT
"""Relative error of a sum of n products in any order, n at most 127: gamma_n."""

TINY = 1e-290
"""An operation that underflows loses at most 5e-324; the product of such a loss with numbers up to 1e33 stays below this."""

ELEMENTARY_ULPS = 4.0
"""Errors of elementary functions (exp, tanh, atan, ..) in units of EPS: an assumption that every libm known to us keeps."""

ELEMENTARY_ERROR = ELEMENTARY_ULPS * EPS
"""Relative error of one elementary function, under the assumption `ELEMENTARY_FUNCTIONS`."""

ELEMENTARY_FUNCTIONS = "elementary functions of numpy and of the C library are good to 4 ulps"
"""The assumption of bounds that take exp, log, pow, tanh, .. from floating point, as the enclosures that use it name it."""

NORMAL_FUNCTIONS = "the normal distribution function of scipy is good to 4 ulps for each unit of its condition number"
"""The assumption of bounds that take `scipy.special.ndtr` from floating point."""

FUNCTION_ERROR = 256 * UNIT
"""Error of an activation and its Taylor coefficients, which are polynomials in elementary functions good to ELEMENTARY_ULPS.

The coefficients of these polynomials sum to at most 9, their slopes to 40; the error is this times 1 + the largest value.
"""

INTEGRAL_ERROR = 2 * EPS
"""Integrals of a signed difference below this share of their terms are noise: cells are not halved for them."""

NORMAL_ERROR = 4 * EPS
"""Error of a normal distribution function or density, for each unit of its condition number 1 + z^2: the argument has three
roundings, and exp and ndtr are good to 4 ulps (`NORMAL_FUNCTIONS`)."""

PARTIAL_MOMENT_ERROR = 16 * EPS
"""Error of a partial moment relative to its terms: four times that of the normal functions, of which it has two or three, each
multiplied by the mean, the deviation and the argument."""


def gamma(roundings: float) -> float:
    r"""Return a bound of the relative error of that many roundings, $\gamma_k=ku/(1-ku)$, itself rounded up.

    Example:
        >>> gamma(1) > UNIT, gamma(100) < 101 * UNIT
        (True, True)
    """
    share = roundings * UNIT
    if share >= 0.5:
        return math.inf
    return share / (1.0 - share) * (1.0 + 4 * EPS)


def outward(value: float, error: float = 0.0) -> tuple[float, float]:
    """Return doubles below value - error and above value + error, each at least one step away from the value.

    Example:
        >>> low, high = outward(1.0)
        >>> low < 1.0 < high and high - low < 4e-16
        True
    """
    # the subtraction rounds by half a step at most; the next double makes good for it
    return math.nextafter(value - error, -math.inf), math.nextafter(value + error, math.inf)


def around(value: Fraction) -> tuple[float, float]:
    """Return the double that a fraction is, twice, or the two doubles next to it.

    Example:
        >>> around(Fraction(1, 2)), around(Fraction(1, 3))[0] < 1 / 3 + 1e-16
        ((0.5, 0.5), True)
    """
    near = float(value)
    exact = Fraction(near)
    low = near if exact <= value else math.nextafter(near, -math.inf)
    return low, near if exact >= value else math.nextafter(near, math.inf)


def total(terms: Array) -> tuple[float, float]:
    """Enclose the sum of an array of doubles.

    In extended precision, in any order: an error of at most n units times the sum of the absolute values.

    Example:
        >>> low, high = total(np.full(10, 0.1))
        >>> low < 1.0 < high and high - low < 1e-15
        True
    """
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(np.sum(terms, dtype=np.longdouble))
        size = value if terms.min(initial=0.0) >= 0.0 else float(np.sum(np.abs(terms), dtype=np.longdouble))
    # the second term is the rounding of the sum to a double
    return outward(value, (len(terms) + 2) * EXTENDED * size * (1 + 4 * EPS) + UNIT * abs(value))


def dot(first: Array, second: Array) -> tuple[float, float]:
    """Enclose the scalar product of two arrays of doubles; as `total`, with one more rounding a product.

    Products that underflow lose at most the smallest extended number each, which `outward` covers for less than 1e300 terms.

    Example:
        >>> low, high = dot(np.array([0.1, 0.2]), np.array([3.0, 4.0]))
        >>> low < 1.1 < high
        True
    """
    terms = first.astype(np.longdouble) * second
    value, size = float(terms.sum()), float(np.abs(terms).sum())
    return outward(value, (len(terms) + 3) * EXTENDED * size * (1 + 4 * EPS) + UNIT * abs(value))


def product(*factors: tuple[float, float]) -> tuple[float, float]:
    """Enclose the product of nonnegative numbers, each given by its two ends.

    Example:
        >>> low, high = product((0.1, 0.1), (0.1, 0.1))
        >>> low < high < low + 1e-16
        True
        >>> product((0.5, 1.0), (3.0, 3.0))  # without rounding
        (1.5, 3.0)
    """
    low, high = factors[0]
    for below, above in factors[1:]:
        low = low * below if _is_exact(low, below) else max(0.0, math.nextafter(low * below, 0.0))
        high = high * above if _is_exact(high, above) else math.nextafter(high * above, math.inf)
    return low, high


def _is_exact(a: float, b: float) -> bool:
    """Whether the product of two nonnegative numbers is a double; 0 times infinity is 0 here."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return True
    value = a * b
    return math.isfinite(value) and Fraction(a) * Fraction(b) == Fraction(value)


def root(low: float, high: float, p: float) -> tuple[float, float]:
    r"""Enclose $x^{1/p}$ for x in [low, high], low >= 0, by `ELEMENTARY_FUNCTIONS`; p = 1 is exact.

    The exponent 1 / p is rounded, too: it changes the root by the factor $x^{\theta u/p}$.

    Example:
        >>> below, above = root(2.0, 2.0, 2.0)
        >>> below < math.sqrt(2) < above
        True
    """
    if p == 1.0 or low == high == 1.0:
        return low, high
    below, above = (
        0.0 if x == 0.0 else math.inf if x == math.inf else x ** (1.0 / p) * (1.0 + sign * _root_error(x, p))
        for x, sign in ((low, -1.0), (high, 1.0))
    )
    return below, above


def _root_error(x: float, p: float) -> float:
    return ELEMENTARY_ERROR + 2 * EPS + abs(math.log(x)) / p * EPS


def power_error(p: float, relative: float) -> float:
    r"""Return a bound of the relative error of a computed $x^p$ whose x has a relative error: $(1+\theta)^p-1$ and that of pow.

    Example:
        >>> power_error(2.0, 1e-15) < 3.2e-15
        True
    """
    if p == 1.0:
        return relative
    grown = math.expm1(min(p * relative * (1.0 + relative), 700.0)) * (1.0 + ELEMENTARY_ERROR)
    return (grown + ELEMENTARY_ERROR * (1.0 + grown)) * (1.0 + 4 * EPS)
