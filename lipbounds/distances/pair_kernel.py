"""The compiled double loop behind the discrepancy: sums of a kernel over all pairs of points, with their gradients, in one pass.

Points come transposed, one contiguous row a coordinate, in tiles of `TILE` columns that stay in the first-level cache; each
innermost loop is one vector operation over a tile. Sums run in float64 whatever the type of the points.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.compiled import compiled
from lipbounds.distances.elementary_kernel import exp, log
from lipbounds.distances.kernels import Family, Term

__all__ = ["TILE", "pair_sums"]

Array = NDArray[Any]

TILE = 512
CHUNKS_A_THREAD = 4  # the triangle's rows have unequal lengths; a few chunks a thread balance them
PAIRS_A_THREAD = 200_000  # below this the hand-over to another thread costs more than the work

POWER, SQUARED_EXPONENTIAL, EXPONENTIAL, ROOT = (int(family) for family in Family)

# Reassociation lets the sums use vector lanes; NaN and infinity keep their meaning, except that the fast reciprocal root
# needs finite t, which the caller ensures.
FLAGS = {"contract", "reassoc", "arcp", "nsz", "afn"}


_compiled = compiled(fastmath=FLAGS, error_model="numpy", nogil=True)


@_compiled
def _add_square(xc, yc, t):
    for j in range(t.shape[0]):
        z = xc - yc[j]
        t[j] += z * z


@_compiled
def _add_two_squares(xa, ya, xb, yb, t):
    for j in range(t.shape[0]):
        z = xa - ya[j]
        v = xb - yb[j]
        t[j] += z * z + v * v


# Each family adds its value to k and -k' to s.


@_compiled
def _power_half(t, weight, offset, k, s):
    one, half = t.dtype.type(1), t.dtype.type(0.5)
    for j in range(t.shape[0]):
        r = one / np.sqrt(t[j] + offset)
        v = weight * r
        k[j] += v
        s[j] += half * v * r * r


@_compiled
def _power_one(t, weight, offset, k, s):
    one = t.dtype.type(1)
    for j in range(t.shape[0]):
        r = one / (t[j] + offset)
        v = weight * r
        k[j] += v
        s[j] += v * r


@_compiled
def _power_two(t, weight, offset, k, s):
    one, two = t.dtype.type(1), t.dtype.type(2)
    for j in range(t.shape[0]):
        r = one / (t[j] + offset)
        v = weight * r * r
        k[j] += v
        s[j] += two * v * r


@_compiled
def _power(t, peak, offset, exponent, k, s):
    lowest = log(offset)
    for j in range(t.shape[0]):
        base = t[j] + offset
        v = peak * exp(-exponent * (log(base) - lowest))
        k[j] += v
        s[j] += exponent * v / base


@_compiled
def _squared_exponential(t, weight, offset, k, s):
    rate = t.dtype.type(1) / offset
    for j in range(t.shape[0]):
        v = weight * exp(-t[j] * rate)
        k[j] += v
        s[j] += v * rate


@_compiled
def _exponential(t, weight, offset, k, s):
    zero, half = t.dtype.type(0), t.dtype.type(0.5)
    rate = t.dtype.type(1) / offset
    for j in range(t.shape[0]):
        root = np.sqrt(t[j])
        v = weight * exp(-root * rate)
        k[j] += v
        if root > zero:
            s[j] += half * v * rate / root


@_compiled
def _root(t, weight, k, s):
    zero, half = t.dtype.type(0), t.dtype.type(0.5)
    for j in range(t.shape[0]):
        root = np.sqrt(t[j])
        k[j] += weight * root
        if root > zero:
            s[j] -= half * weight / root


@_compiled
def _dot(k, b):
    total = 0.0
    for j in range(k.shape[0]):
        total += k[j] * b[j]
    return total


@_compiled
def _weigh(s, b, a):
    for j in range(s.shape[0]):
        s[j] *= b[j] * a


@_compiled
def _pull(xc, yc, s):
    total = s.dtype.type(0)
    for j in range(s.shape[0]):
        total += s[j] * (xc - yc[j])
    return total


@_compiled
def _pull_and_push(xc, yc, s, gy):
    total = s.dtype.type(0)
    for j in range(s.shape[0]):
        v = s[j] * (xc - yc[j])
        total += v
        gy[j] += v
    return total


class _Pairs(NamedTuple):
    """Points x, shape (d, n), and y, shape (d, m), with weights a and b; `triangle`: y is x, and pairs i < j count alone."""

    x: Array
    y: Array
    a: Array
    b: Array
    triangle: bool


class _Summands(NamedTuple):
    """Of the kernel: its `Family`, and weight, offset, exponent and value at 0, shape (terms, 4)."""

    families: Array
    numbers: Array


class _Gradients(NamedTuple):
    """Arrays of the points' shapes to which halves of the gradients are added, and which of them are wanted."""

    x: Array
    y: Array
    want_x: bool
    want_y: bool


@_compiled
def _rows(pairs, summands, first, last, gradients):
    """Sum a_i b_j k(|x_i - y_j|^2) over rows first <= i < last and all j (j > i in the triangle); add half the gradients."""
    x, y, a, b, triangle = pairs
    families, numbers = summands
    gx, gy, want_x, want_y = gradients
    d, m = y.shape
    t_buffer, k_buffer, s_buffer = np.empty(TILE, x.dtype), np.empty(TILE, x.dtype), np.empty(TILE, x.dtype)
    total = 0.0
    for left in range(0, m, TILE):
        right = min(left + TILE, m)
        for i in range(first, last):
            start = max(left, i + 1) if triangle else left
            if start >= right:
                continue
            n = right - start
            t, k, s, bt = t_buffer[:n], k_buffer[:n], s_buffer[:n], b[start:right]
            t[:] = 0
            k[:] = 0
            s[:] = 0
            for c in range(0, d - 1, 2):
                _add_two_squares(x[c, i], y[c, start:right], x[c + 1, i], y[c + 1, start:right], t)
            if d % 2:
                _add_square(x[d - 1, i], y[d - 1, start:right], t)
            for q in range(families.shape[0]):
                weight, offset, exponent = numbers[q, 0], numbers[q, 1], numbers[q, 2]
                if families[q] == POWER:
                    if exponent == 0.5:
                        _power_half(t, weight, offset, k, s)
                    elif exponent == 1.0:
                        _power_one(t, weight, offset, k, s)
                    elif exponent == 2.0:
                        _power_two(t, weight, offset, k, s)
                    else:
                        _power(t, numbers[q, 3], offset, exponent, k, s)
                elif families[q] == SQUARED_EXPONENTIAL:
                    _squared_exponential(t, weight, offset, k, s)
                elif families[q] == EXPONENTIAL:
                    _exponential(t, weight, offset, k, s)
                else:
                    _root(t, weight, k, s)
            total += _dot(k, bt) * a[i]
            if want_x or want_y:
                _weigh(s, bt, a[i])
                for c in range(d):
                    if want_y:
                        gx[c, i] -= _pull_and_push(x[c, i], y[c, start:right], s, gy[c, start:right])
                    else:
                        gx[c, i] -= _pull(x[c, i], y[c, start:right], s)
    return total


def _peak(term: Term) -> float:
    """The value at t = 0 of a power; by logarithms, for weight and power apart can leave the range of the numbers."""
    if term.family is not Family.POWER:
        return 0.0
    return math.copysign(math.exp(math.log(abs(term.weight)) - term.exponent * math.log(term.offset)), term.weight)


def pair_sums(
    x: Array, y: Array | None, a: Array, b: Array, terms: tuple[Term, ...], *, want: tuple[bool, bool], threads: int
) -> tuple[float, Array | None, Array | None]:
    r"""Return $\sum_{i,j}a_ib_jk(|x_i-y_j|^2)$ and its gradients in x and y.

    Args:
        x: Points, transposed: contiguous, shape (d, n), float32 or float64, squared distances finite in that type.
        y: Points, shape (d, m); None for the sum over the pairs i < j of x alone (b is not used then).
        a: Weights, shape (n,), in the type of the points.
        b: Weights, shape (m,).
        terms: Summands of the kernel.
        want: Whether the gradient in x is computed, and whether that in y.
        threads: Number of threads.

    Returns:
        The sum, and gradients of shape (d, n) and (d, m) or None. The gradients are sums in the type of the points over
        tiles, hence pairwise over ceil(m / TILE) tiles.
    """
    triangle, (want_x, want_y) = y is None, want
    if y is None:
        y, b, want_y = x, a, want_x
    d, n = x.shape
    m = y.shape[1]
    pairs = _Pairs(x, y, a, b, triangle)
    summands = _Summands(
        np.array([term.family for term in terms], dtype=np.int64),
        np.array([(*term[1:], _peak(term)) for term in terms], dtype=x.dtype),
    )
    threads = max(1, min(threads, n * m // PAIRS_A_THREAD))
    share = np.linspace(0.0, 1.0, 1 if threads == 1 else threads * CHUNKS_A_THREAD + 1)
    if threads == 1:
        edges = np.array([0, n])
    else:  # rows i of the triangle have n - i pairs: equal areas
        edges = np.rint(n * (1.0 - np.sqrt(1.0 - share) if triangle else share)).astype(np.int64)
    gx = np.zeros((d, n), x.dtype) if want_x or want_y else np.zeros((d, 0), x.dtype)

    def chunk(index: int) -> tuple[float, Array]:
        gy = np.zeros((d, m if want_y else 0), x.dtype)
        gradients = _Gradients(gx, gy, want_x, want_y)  # chunks own their rows of gx
        return _rows(pairs, summands, edges[index], edges[index + 1], gradients), gy

    chunks = range(len(edges) - 1)
    if threads == 1:
        results = [chunk(index) for index in chunks]
    else:
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(chunk, chunks))
    total = float(sum(value for value, _ in results))
    gy = np.sum([part for _, part in results], axis=0) if want_y else None
    if triangle:
        return total, (2.0 * (gx + gy)).astype(x.dtype) if gy is not None else None, None
    return total, 2.0 * gx if want_x else None, 2.0 * gy if gy is not None else None
