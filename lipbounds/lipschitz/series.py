"""Power series in several variables, truncated at a degree: which coefficients there are, and products and compositions in balls.

A series over n boxes and w units is an array of shape (coefficients, n, w); a ball is one of middles and one of radii. Rounding
goes into the radii.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

__all__ = ["MANY", "TINY", "UNIT", "UP", "Series", "add_numbers", "compose", "compose_numbers", "series", "sharpen"]

Array = NDArray[np.float64]

UNIT = 2.0**-53
MANY = 128 * UNIT  # of sums of some dozens of products
UP = 1 + 64 * UNIT  # some roundings of nonnegative numbers
TINY = 1e-290  # more than underflow hides
BLOCK = 256  # numbers at a time: rows of products stay in the cache


class Series(NamedTuple):
    """Which Taylor coefficients there are in k inputs up to a degree, and how they multiply.

    Attributes:
        orders: Multi-indices as sorted tuples, lower degrees first: (), (0,), .., (0, 0), (0, 1), .. .
        factorials: alpha! of each.
        products: For j = 1, 2, ..: rows (a, b, c) such that the coefficients a of the j-th power and b of the first give c.
        scaled: For the same j: rows (a, 0, a) for the coefficients that the j-th power has.
        raised: Place of alpha + e_i for every alpha below the degree, shape (rows, k).
        times: alpha_i + 1, likewise.
    """

    orders: tuple[tuple[int, ...], ...]
    factorials: Array
    products: tuple[NDArray[np.int64], ...]
    scaled: tuple[NDArray[np.int64], ...]
    raised: NDArray[np.int64]
    times: Array


@cache
def series(k: int, degree: int) -> Series:
    """All there is to know about series in k variables up to a degree."""
    orders = tuple(
        itertools.chain.from_iterable(itertools.combinations_with_replacement(range(k), size) for size in range(degree + 1))
    )
    place = {order: i for i, order in enumerate(orders)}
    factorials = [math.prod(math.factorial(order.count(i)) for i in range(k)) for order in orders]
    products = []
    for power in range(1, degree):
        rows = [
            (place[a], place[b], place[tuple(sorted(a + b))])
            for a, b in itertools.product(orders, orders)
            if len(a) >= power and b and len(a) + len(b) <= degree
        ]
        products.append(np.array(rows, dtype=np.int64))
    scaled = [[(i, 0, i) for i, order in enumerate(orders) if len(order) >= power] for power in range(1, degree + 1)]
    below = [order for order in orders if len(order) < degree]
    raised = [[place[tuple(sorted((*order, i)))] for i in range(k)] for order in below]
    times = [[order.count(i) + 1.0 for i in range(k)] for order in below]
    return Series(
        orders,
        np.array(factorials, dtype=float),
        tuple(products),
        tuple(map(np.array, scaled)),
        np.array(raised),
        np.array(times),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _add_products(rows, a, A, b, B, p, P):
    """Add the products of balls a and b to p; radii are A, B, P, and what rounding does goes there."""
    for begin in range(0, a.shape[1], BLOCK):
        part = slice(begin, min(begin + BLOCK, a.shape[1]))
        for row in range(len(rows)):
            x, X, y, Y = a[rows[row, 0], part], A[rows[row, 0], part], b[rows[row, 1], part], B[rows[row, 1], part]
            z, Z = p[rows[row, 2], part], P[rows[row, 2], part]
            for e in range(len(x)):
                size = abs(y[e])
                z[e] += x[e] * y[e]
                Z[e] += abs(x[e]) * (Y[e] + MANY * size) + X[e] * (size + Y[e])


@njit(cache=True, nogil=True, error_model="numpy")
def add_numbers(rows, a, b, p):
    """Add the products of numbers a and b to p."""
    for begin in range(0, a.shape[1], BLOCK):
        part = slice(begin, min(begin + BLOCK, a.shape[1]))
        for row in range(len(rows)):
            x, y, z = a[rows[row, 0], part], b[rows[row, 1], part], p[rows[row, 2], part]
            for e in range(len(x)):
                z[e] += x[e] * y[e]


@njit(cache=True, nogil=True, error_model="numpy")
def sharpen(rows, spread, raised, times, radii, error):
    """By the mean value theorem from the next degree, in place: highest degrees first, so that they help the lower ones.

    `radii` are those of the boxes, shape (n, k), and `error` bounds the errors of the middles, shape (coefficients, w).
    """
    for row in range(len(raised) - 1, -1, -1):
        for box in range(rows.shape[1]):
            for unit in range(rows.shape[2]):
                reach = error[row, unit]
                for i in range(len(radii[box])):
                    q = raised[row, i]
                    reach += times[row, i] * (abs(rows[q, box, unit]) + spread[q, box, unit]) * radii[box, i]
                reach = reach * UP + TINY
                now = spread[row, box, unit]
                if reach < now or now != now:
                    spread[row, box, unit] = reach


def compose(f: Sequence[tuple[Array, Array]], u: Array, radii: Array, terms: Series) -> tuple[Array, Array]:
    """The series of f(u) in balls from that of u and f, f', f''/2, .. at u as balls."""
    shape = u.shape
    u, radii = u.reshape(len(u), -1), radii.reshape(len(u), -1)
    out, around = np.zeros_like(u), np.zeros_like(u)
    out[0], around[0] = f[0][0].ravel(), f[0][1].ravel()
    power, wide = u, radii
    for j, (at, off) in enumerate(f[1:], start=1):
        if j > 1:
            new, away = np.zeros_like(u), np.zeros_like(u)
            _add_products(terms.products[j - 2], power, wide, u, radii, new, away)
            power, wide = new, away * (1 + MANY) + TINY
        _add_products(terms.scaled[j - 1], power, wide, at.reshape(1, -1), off.reshape(1, -1), out, around)
    return out.reshape(shape), (around * (1 + MANY) + TINY).reshape(shape)


def compose_numbers(f: Sequence[Any], u: Any, terms: Series, add: Callable[..., None] = add_numbers) -> Any:
    """The same in floating point, in an order of operations that the bounds of `compose` hold for.

    For arrays, or for tensors with the function that adds products on their device.
    """
    xp = torch if isinstance(u, torch.Tensor) else np
    shape, u = u.shape, u.reshape(len(u), -1)
    out, power = xp.zeros_like(u), u
    out[0] = f[0].ravel()
    for j, at in enumerate(f[1:]):
        if j:
            new = xp.zeros_like(u)
            add(terms.products[j - 1], power, u, new)
            power = new
        add(terms.scaled[j], power, at.reshape(1, -1), out)
    return out.reshape(shape)
