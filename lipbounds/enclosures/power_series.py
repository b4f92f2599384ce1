"""Power series in several variables, truncated at a degree: which coefficients there are, and products and compositions in balls.

A series over n boxes and w units is an array of shape (coefficients, n, w); a ball is one of middles and one of radii. Rounding
goes into the radii.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.compiled import compiled
from lipbounds.rounding import PRODUCTS_ERROR, TINY, UP

__all__ = [
    "Series",
    "compose",
    "compose_affine",
    "compose_numbers",
    "compose_tensors",
    "powers_of",
    "series",
    "tighten",
]

Array = NDArray[np.float64]

FEW = 128  # numbers or balls at a time: rows of products stay in the cache


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
    """The indices and product tables of series in k variables up to a degree."""
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


@compiled(nogil=True, error_model="numpy")
def tighten(rows, spread, raised, times, radii, error):
    """Tighten `spread` in place by the mean value theorem, rounded up, highest degrees first; NaN is replaced.

    Shapes: rows, spread (coefficients, n, w): middles and radii; raised, times (rows, k); radii (n, k): half sides of the boxes;
    error (coefficients, w): bounds of the errors of middles.
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


@compiled(nogil=True, error_model="numpy")
def _add_product(x, X, y, Y, z, Z):
    """Add the products of balls (x, X) and (y, Y) to (z, Z), all of shape (n,); the callers round radii Z up at the end."""
    for e in range(len(x)):
        size = abs(y[e])
        z[e] += x[e] * y[e]
        Z[e] += abs(x[e]) * (Y[e] + PRODUCTS_ERROR * size) + X[e] * (size + Y[e])


@compiled(nogil=True, error_model="numpy")
def _compose(products, scaled, f, F, u, U):
    """The series of f(u) in place of u, U (coefficients, n); f, F are tuples of (n,). Radii are rounded up."""
    size, n = u.shape
    own, power, new = np.empty((2, size, FEW)), np.empty((2, size, FEW)), np.empty((2, size, FEW))
    for begin in range(0, n, FEW):
        part = slice(begin, min(begin + FEW, n))
        length = part.stop - begin
        for q in range(size):
            own[0, q, :length], own[1, q, :length] = u[q, part], U[q, part]
            power[0, q, :length], power[1, q, :length] = u[q, part], U[q, part]
            u[q, part], U[q, part] = 0.0, 0.0
        u[0, part], U[0, part] = f[0][part], F[0][part]
        for j in range(len(scaled)):
            if j:
                new[:] = 0.0
                for row in range(len(products[j - 1])):
                    a, b, c = products[j - 1][row]
                    x, X, y, Y = power[0, a, :length], power[1, a, :length], own[0, b, :length], own[1, b, :length]
                    _add_product(x, X, y, Y, new[0, c, :length], new[1, c, :length])
                new[1] = new[1] * (1 + PRODUCTS_ERROR) + TINY
                power, new = new, power
            y, Y = f[j + 1][part], F[j + 1][part]
            for row in range(len(scaled[j])):
                a = scaled[j][row, 0]
                _add_product(power[0, a, :length], power[1, a, :length], y, Y, u[a, part], U[a, part])
        U[:, part] = U[:, part] * (1 + PRODUCTS_ERROR) + TINY


def compose(f: Sequence[tuple[Array, Array]], u: Array, radii: Array, terms: Series) -> tuple[Array, Array]:
    """The series of f(u) in balls from that of u and f, f', f''/2, .. at u as balls."""
    flat, wide = u.reshape(len(u), -1).copy(), radii.reshape(len(u), -1).copy()
    middles, around = (tuple(part.ravel() for part in parts) for parts in zip(*f, strict=True))
    _compose(terms.products, terms.scaled, middles, around, flat, wide)
    return flat.reshape(u.shape), wide.reshape(u.shape)


def powers_of(matrix: Array, terms: Series) -> Array:
    """Of functions w x + b, rows w of a matrix: the coefficients of (w x)^j for every multi-index of order j; shape (rows, w)."""
    powers = [
        math.factorial(len(order)) / factorial * np.prod(matrix[:, list(order)], axis=1)
        for order, factorial in zip(terms.orders, terms.factorials, strict=True)
    ]
    return np.stack(powers)


def compose_affine(f: Sequence[tuple[Array, Array]], powers: Array, terms: Series) -> tuple[Array, Array]:
    """The series of f(w x + b) in balls from the powers of w and f, f', f''/2, .. at w x + b as balls, shape (n, w)."""
    middles, radii = np.empty((2, len(powers), *f[0][0].shape))
    for row, (order, power) in enumerate(zip(terms.orders, powers, strict=True)):
        at, off = f[len(order)]
        middles[row] = at * power
        radii[row] = (off * (1 + PRODUCTS_ERROR) + PRODUCTS_ERROR * np.abs(at)) * np.abs(power) + TINY
    return middles, radii


@compiled(nogil=True, error_model="numpy")
def _accumulate(x, y, z):
    """z += xy, elementwise."""
    for e in range(len(x)):
        z[e] += x[e] * y[e]


@compiled(nogil=True, error_model="numpy")
def _compose_numbers(products, scaled, f, u):
    """The series of f(u) in place, block by block."""
    size, n = u.shape
    own, power, new = np.empty((size, FEW)), np.empty((size, FEW)), np.empty((size, FEW))
    for begin in range(0, n, FEW):
        part = slice(begin, min(begin + FEW, n))
        length = part.stop - begin
        for q in range(size):
            x, y, z = u[q, part], own[q], power[q]
            for e in range(length):
                y[e] = x[e]
            for e in range(length):
                z[e] = x[e]
            for e in range(length):
                x[e] = 0.0
        x, y = f[0][part], u[0, part]
        for e in range(length):
            y[e] = x[e]
        for j in range(len(scaled)):
            if j:
                new[:] = 0.0
                for row in range(len(products[j - 1])):
                    a, b, c = products[j - 1][row]
                    _accumulate(power[a][:length], own[b], new[c])
                power, new = new, power
            y = f[j + 1][part]
            for row in range(len(scaled[j])):
                a = scaled[j][row, 0]
                _accumulate(y, power[a], u[a, part])


def compose_numbers(f: Sequence[Array], u: Array, terms: Series) -> Array:
    """The series of f(u) in floating point, in an order that the bounds of `compose` cover; u is overwritten."""
    flat = u.reshape(len(u), -1)
    _compose_numbers(terms.products, terms.scaled, tuple(part.ravel() for part in f), flat)
    return flat.reshape(u.shape)


def compose_tensors(f: Sequence[Tensor], u: Tensor, terms: Series, add: Callable[..., None]) -> Tensor:
    """`compose_numbers` for tensors, with a function that adds products of rows of a and b to rows of p, add(rows, a, b, p)."""
    shape, u = u.shape, u.reshape(len(u), -1)
    out, power = torch.zeros_like(u), u
    out[0] = f[0].ravel()
    for j, at in enumerate(f[1:]):
        if j:
            new = torch.zeros_like(u)
            add(terms.products[j - 1], power, u, new)
            power = new
        add(terms.scaled[j], power, at.reshape(1, -1), out)
    return out.reshape(shape)
