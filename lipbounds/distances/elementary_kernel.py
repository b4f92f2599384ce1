"""Exponential and logarithm in steps that a compiler turns into vector operations.

Those of the C library are calls, one number after the other: in a loop over pairs of points they take most of the time. Here
exponents are taken off and put on as bits, and what is left is a polynomial, the same steps for every number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

__all__ = ["exp", "log"]


def exp(x: Any) -> Any:
    """For compiled code: e^x, relative error below eps (2^-23 or 2^-52); measured, as that of `log`.

    Infinity from half the largest number on, 0 below 1.5 times the smallest normal one: there powers of 2 leave the range.
    """
    raise NotImplementedError("for compiled code alone: numpy.exp is what calls without it want")


def log(x: Any) -> Any:
    """For compiled code: log x for finite x > 0, relative error below 2 eps; anything for other x."""
    raise NotImplementedError("for compiled code alone: numpy.log is what calls without it want")


# No reassociation: it would join the two parts of log 2. Divisions that are checked for zero are no vector operations.
# (What calls these has them in its own cache on disk, which does not see that this file changed.)
OPTIONS: Any = {"fastmath": {"contract"}, "error_model": "numpy"}


@overload(exp, jit_options=OPTIONS)
def _choose_exp(x):  # numba compares names and annotations
    return _exponential(np.float32, np.int32, 7) if x == types.float32 else _exponential(np.float64, np.int64, 13)


@overload(log, jit_options=OPTIONS)
def _choose_log(x):
    return _logarithm(np.float32, np.int32, 4) if x == types.float32 else _logarithm(np.float64, np.int64, 10)


def _two_parts_of_log_2(number: Any) -> tuple[Any, Any]:
    """The first so short that its products with exponents are exact."""
    bits = 9 if number is np.float32 else 32
    high = math.floor(math.log(2) * 2**bits) / 2**bits
    return number(high), number(Decimal(2).ln() - Decimal(high))


def _exponential(number: Any, integer: Any, degree: int) -> Callable[..., Any]:
    info = np.finfo(number)
    coefficients = tuple(number(1 / math.factorial(i)) for i in range(degree + 1))  # Taylor's, of |r| <= log(2) / 2
    last, width = number(coefficients[-1]), integer(info.nmant)
    rounding = number(1.5 * 2**info.nmant)  # sums with it have the nearest integer in their last bits
    rate, (high, low) = number(1 / math.log(2)), _two_parts_of_log_2(number)
    least, most = number((info.minexp + 0.5) * math.log(2)), number((info.maxexp - 1) * math.log(2))
    zero, infinity = number(0), number(math.inf)

    def impl(x):
        shifted = x * rate + rounding
        n = shifted - rounding
        r = (x - n * high) - n * low
        p = last
        for i in range(degree - 1, -1, -1):
            p = coefficients[i] + r * p
        bits = number(p).view(integer) + (number(shifted).view(integer) << width)
        result = integer(bits).view(number)
        result = zero if x < least else result
        result = infinity if x > most else result
        return result if x == x else x

    return impl


def _logarithm(number: Any, integer: Any, terms: int) -> Callable[..., Any]:
    info = np.finfo(number)
    # of log(m) = 2 atanh(s) = s (2 + 2 s^2 / 3 + ..) with s = (m - 1) / (m + 1), 1/2 <= m^2 <= 2
    coefficients = tuple(number(2 / (2 * i + 1)) for i in range(terms + 1))
    last, width = number(coefficients[-1]), integer(info.nmant)
    root = integer(number(math.sqrt(0.5)).view(integer))
    exponent = integer(-(2**info.nmant))  # the bits of sign and exponent
    high, low = _two_parts_of_log_2(number)
    one, two, tiny, up = number(1), number(2), number(info.tiny), number(2.0 ** (info.nmant + 1))
    shift, none = number(info.nmant + 1), number(0)

    def impl(x):
        small = x < tiny
        bits = number(x * up if small else x).view(integer)
        lifted = integer(bits - root) & exponent
        f = integer(bits - lifted).view(number) - one
        n = number(integer(lifted) >> width) - (shift if small else none)
        s = f / (two + f)
        q = s * s
        p = last
        for i in range(terms - 1, 0, -1):
            p = coefficients[i] + q * p
        return n * high + (s * (two + q * p) + n * low)

    return impl
