"""The rounding constants of lipbounds: each has a name, a value and what it covers, and none stands anywhere else.

Double precision has a unit roundoff of u = 2^-53. A factor above 1 makes an upper bound of a nonnegative number that was computed
with a few roundings; one below 1 makes a lower bound of it.
"""

from __future__ import annotations

__all__ = [
    "DOWN_SUM",
    "ELEMENTARY_ULPS",
    "EPS",
    "FUNCTION_ERROR",
    "INTEGRAL_ERROR",
    "NORMAL_ERROR",
    "PARTIAL_MOMENT_ERROR",
    "PRODUCTS_ERROR",
    "TINY",
    "UNIT",
    "UP",
    "UP_KERNEL",
    "UP_SUM",
]

UNIT = 2.0**-53
"""Unit roundoff u: the relative error of one operation."""

EPS = 2.0**-52
"""Distance from 1 to the next double, 2u. A sum of n products has an error of at most n EPS times the sum of absolute values."""

UP = 1 + 64 * UNIT
"""Covers up to 64 roundings of nonnegative numbers, in numpy code."""

UP_KERNEL = 1 + 64 * EPS
"""The same in compiled kernels, where compilers may reorder sums: twice as much."""

UP_SUM = 1 + 512 * EPS
"""Covers a sum of up to 200 nonnegative products in a kernel."""

DOWN_SUM = 1 - 1024 * EPS
"""The same downwards: for parts of a radius, which may be too small but not too large."""

PRODUCTS_ERROR = 128 * UNIT
"""Relative error of a sum of some dozens of products."""

TINY = 1e-290
"""More than what underflow hides in one operation, far below any number that matters."""

ELEMENTARY_ULPS = 4.0
"""Errors of elementary functions (exp, tanh, atan, ..) in units of EPS: an assumption that every libm known to us keeps."""

FUNCTION_ERROR = 256 * UNIT
"""Error of an activation and its Taylor coefficients, which are polynomials in elementary functions good to ELEMENTARY_ULPS.

The coefficients of these polynomials sum to at most 9, their slopes to 40; the error is this times 1 + the largest value.
"""

INTEGRAL_ERROR = 2 * EPS
"""Error of an integral of a signed difference of distribution functions, relative to the size of its terms."""

NORMAL_ERROR = 4 * EPS
"""Error of a normal distribution function or density, for each unit of its condition number."""

PARTIAL_MOMENT_ERROR = 16 * EPS
"""Error of a partial moment of a law on the line, relative to its size."""
