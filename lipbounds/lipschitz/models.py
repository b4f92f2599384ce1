r"""Taylor models: polynomials with a remainder that enclose functions on a box, and how they are multiplied and composed.

A model of q on the cube $h\in[-1,1]^n$ is $q(h)\in\sum_\alpha c_\alpha h^\alpha+\sum_js_j\eta_j\pm\varepsilon$ with $|\alpha|\le$
the order. The $\eta_j\in[-1,1]$ are *symbols*: remainders that arose earlier and are carried along linearly, so that what
cancels later does cancel. A product keeps all terms up to the order and moves the others into $\varepsilon$. A function of one
variable is replaced by its interpolant in Chebyshev nodes of the model's range, with the error
$\sup|\varphi^{(n)}|\rho^n/(n!\,2^{n-1})$, for large ranges by the middle of its values.

In memory a model is one row: coefficients by degree, symbols, $\varepsilon$. Rounding: every product adds 64 ulps of the
product of both sums of absolute values, more than its sums can lose (a coefficient collects at most 16 terms); sums over a row
are charged an ulp for each of its entries.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["EPS", "KINDS", "Algebra", "algebra", "compose", "envelopes", "multiply", "reach"]

Array = NDArray[np.float64]

EPS = 2.220446049250313e-16
KINDS = {"tanh": 0, "softplus": 1, "silu": 2, "arctan": 3, "relu": 4}
EXPONENTIAL = 5  # pairs exp(x) and exp(-x)

STEPS = 4096  # of the envelopes
FARTHEST = 20.0
FLOOR = 1e-12  # added to every envelope; beyond FARTHEST all derivatives from the second on are smaller
HIGHEST = 9


class Algebra(NamedTuple):
    """Tables of the monomials of n variables up to an order, by degree.

    Attributes:
        starts: First monomial of each degree, and the number of monomials last; shape (order + 2,).
        degree: Of every monomial.
        where: The place of a product, shape (monomials, monomials); of monomial i the first starts[order + 1 - degree[i]] count.
        parent: For every monomial one of a degree less.
        factor: The variable by which it is multiplied.
        even: 1 where all exponents are even, so that the monomial lies in [0, 1]; the constant is not counted.
        exponents: Shape (monomials, n).
        nodes: Chebyshev nodes of [-1, 1], one more than the order.
        inverse: From values in the nodes to coefficients of powers, shape (nodes, nodes).
    """

    starts: NDArray[np.int64]
    degree: NDArray[np.int64]
    where: NDArray[np.int64]
    parent: NDArray[np.int64]
    factor: NDArray[np.int64]
    even: NDArray[np.int64]
    exponents: NDArray[np.int64]
    nodes: Array
    inverse: Array


@cache
def algebra(variables: int, order: int) -> Algebra:
    """Return the tables for polynomials of some variables up to an order.

    Example:
        >>> algebra(2, 2).exponents.tolist()
        [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """
    monomials: list[tuple[int, ...]] = []
    starts = []
    for total in range(order + 1):
        starts.append(len(monomials))
        for chosen in itertools.combinations_with_replacement(range(variables), total):
            monomials.append(tuple(chosen.count(i) for i in range(variables)))
    starts.append(len(monomials))
    index = {monomial: place for place, monomial in enumerate(monomials)}
    degree = [sum(monomial) for monomial in monomials]
    where = np.zeros((len(monomials), len(monomials)), dtype=np.int64)
    for i, j in itertools.product(range(len(monomials)), repeat=2):
        if degree[i] + degree[j] <= order:
            where[i, j] = index[tuple(x + y for x, y in zip(monomials[i], monomials[j], strict=True))]
    parent, factor = np.zeros(len(monomials), dtype=np.int64), np.zeros(len(monomials), dtype=np.int64)
    for place, monomial in enumerate(monomials[1:], start=1):
        variable = max(i for i in range(variables) if monomial[i])
        parent[place] = index[tuple(e - (i == variable) for i, e in enumerate(monomial))]
        factor[place] = variable
    even = np.array([int(sum(m) > 0 and all(e % 2 == 0 for e in m)) for m in monomials])
    nodes = np.cos(math.pi * (2 * np.arange(order + 1) + 1) / (2 * (order + 1)))
    inverse = np.linalg.inv(np.vander(nodes, increasing=True))
    first, of_degree, powers = (np.array(part, dtype=np.int64) for part in (starts, degree, monomials))
    return Algebra(first, of_degree, where, parent, factor, even, powers, nodes, inverse)


@cache
def envelopes() -> Array:
    r"""Return bounds of derivatives: [kind, n, i] is at least the sup of |f^{(n)}(a)| over |a| >= i FARTHEST / STEPS.

    Shape (3, HIGHEST + 1, STEPS + 1), for tanh, softplus and silu. Derivatives are polynomials in tanh or the logistic
    function p; between the points of a fine grid they are bounded by the next one, for which Cauchy's inequality serves:
    $|p|\le1$ where $|\mathrm{Im}\,a|\le\pi/2$, so $|p^{(n)}|\le n!(2/\pi)^n$, and tanh a = 2 p(2a) - 1.
    """
    fine = 64
    a = np.linspace(0.0, FARTHEST, STEPS * fine + 1)
    half = 0.5 * (a[1] - a[0]) * (1 + 1e-9)
    rows = np.zeros((3, HIGHEST + 1, STEPS + 1))
    y = np.polynomial.Polynomial([0.0, 1.0])
    tanh, logistic = [1 - y**2], [y * (1 - y)]
    for _ in range(HIGHEST + 1):
        tanh.append(tanh[-1].deriv() * (1 - y**2))
        logistic.append(logistic[-1].deriv() * y * (1 - y))
    p = 1.0 / (1.0 + np.exp(-a))
    cauchy = [math.factorial(n) * (2 / math.pi) ** n for n in range(HIGHEST + 2)]
    for n in range(1, HIGHEST + 1):
        of_tanh = np.abs(tanh[n - 1](np.tanh(a))) + half * 2 ** (n + 2) * cauchy[n + 1]
        if n == 1:
            of_softplus = np.ones_like(a)  # toward plus infinity
            of_silu = np.full_like(a, 1.1)
        else:
            of_softplus = np.abs(logistic[n - 2](p)) + half * cauchy[n]
            # the derivatives of p are even or odd, so both signs of a have the same size
            of_silu = (
                a * np.abs(logistic[n - 1](p))
                + n * np.abs(logistic[n - 2](p))
                + half * ((a + 1) * cauchy[n + 1] + (n + 1) * cauchy[n])
            )
        for kind, values in enumerate((of_tanh, of_softplus, of_silu)):
            above = np.maximum.accumulate(values[::-1])[::-1]
            rows[kind, n] = above[::fine] * (1 + 1e-9) + FLOOR
    return rows


@njit(cache=True, error_model="numpy")
def reach(p, even, n, ns):
    """The middle of a model's range and its radius."""
    middle, radius = p[0], 0.0
    for i in range(1, n):
        if even[i] == 1:
            middle += 0.5 * p[i]
            radius += 0.5 * abs(p[i])
        else:
            radius += abs(p[i])
    size = abs(p[0]) + 2 * radius
    for i in range(n, n + ns):
        radius += abs(p[i])
    radius += p[-1]
    charge = (256 + n + ns) * EPS
    return middle, radius * (1 + charge) + charge * size


@njit(cache=True, error_model="numpy")
def multiply(p, q, out, alg, ns, tails):
    """out = p q; all three are different rows with ns symbols in use. Scratch: order + 2 numbers."""
    starts, degree, where = alg.starts, alg.degree, alg.where
    order = starts.shape[0] - 2
    n = starts[order + 1]
    # tails[a]: sum of the coefficients of q that a term of degree a of p moves beyond the order
    tails[0] = 0.0
    for k in range(order, -1, -1):
        total = 0.0
        for j in range(starts[k], starts[k + 1]):
            total += abs(q[j])
            out[j] = 0.0
        tails[order - k + 1] = tails[order - k] + total
    tq = tails[order + 1]
    dropped, tp = 0.0, 0.0
    for i in range(n):
        value = p[i]
        if value != 0.0:
            size, a = abs(value), degree[i]
            tp += size
            dropped += size * tails[a]
            for j in range(starts[order + 1 - a]):
                out[where[i, j]] += value * q[j]
    p0, q0 = p[0], q[0]
    if ns > 0:
        sp, sq = 0.0, 0.0
        for i in range(n, n + ns):
            sp += abs(p[i])
            sq += abs(q[i])
            out[i] = p0 * q[i] + q0 * p[i]
        dropped += (tp - abs(p0)) * sq + (tq - abs(q0)) * sp + sp * sq
        tp += sp
        tq += sq
    ep, eq = p[-1], q[-1]
    # tp - |p0| may lose an ulp of tp, which the last term covers
    charge = (128 + n + ns) * EPS
    out[-1] = (dropped + ep * (tq + eq) + eq * tp) * (1 + charge) + 64 * EPS * (tp + ep) * (tq + eq) * (1 + charge)


@njit(cache=True, error_model="numpy")
def _envelope(table, kind, n, nearest):
    return table[kind, n, int(min(nearest, FARTHEST) * (STEPS / FARTHEST))]


@njit(cache=True, error_model="numpy")
def _values(kind, a):
    """A function and its partner (the derivative, or exp(-a) beside exp(a)), and what the partner's rounding is relative to."""
    if kind == 0:
        # not 1 - y^2, whose error is an ulp of 1 however small it is
        e = math.exp(-2.0 * abs(a))
        slope = 4.0 * e / ((1.0 + e) * (1.0 + e))
        return math.tanh(a), slope, slope
    if kind == EXPONENTIAL:
        return math.exp(a), math.exp(-a), math.exp(-a)
    if kind == 3:
        slope = 1.0 / (1.0 + a * a)
        return math.atan(a), slope, slope
    # the logistic function and its complement without overflow and cancellation
    e = math.exp(-abs(a))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    p, q = (large, small) if a >= 0 else (small, large)
    if kind == 1:
        return max(a, 0.0) + math.log1p(e), p, p
    return a * p, p + a * p * q, p + abs(a) * p * q


@njit(cache=True, error_model="numpy")
def _suprema(kind, n, low, high, table):
    """Bounds of the n-th derivatives of a function and of its partner on an interval."""
    if kind == EXPONENTIAL:
        return math.exp(high) * (1 + 16 * EPS), math.exp(-low) * (1 + 16 * EPS)
    nearest = max(max(low, -high), 0.0)
    if kind == 3:
        # |arctan^(n)(a)| <= (n - 1)! (1 + a^2)^(-n/2)
        base = 1.0 / math.sqrt(1.0 + nearest * nearest)
        factorial = 1.0
        for i in range(2, n):
            factorial *= i
        first = factorial * base**n
        return first * (1 + 64 * EPS), first * n * base * (1 + 64 * EPS)
    return _envelope(table, kind, n, nearest), _envelope(table, kind, n + 1, nearest)


@njit(cache=True, error_model="numpy")
def _hulls(kind, low, high):
    """Ranges of a function and of its partner on an interval, each as middle and radius."""
    f_low, g_low, _ = _values(kind, low)
    f_high, g_high, _ = _values(kind, high)
    if kind == EXPONENTIAL or kind == 1:  # both monotone
        f_0, f_1, g_0, g_1 = min(f_low, f_high), max(f_low, f_high), min(g_low, g_high), max(g_low, g_high)
    elif kind == 2:
        f_0, f_1 = min(min(f_low, f_high), -0.27846454277), max(f_low, f_high)
        g_0, g_1 = -0.1, 1.1
    else:  # increasing, with a derivative that falls away from 0
        f_0, f_1 = f_low, f_high
        g_0, g_1 = min(g_low, g_high), max(g_low, g_high)
        if low <= 0.0 <= high:
            g_1 = 1.0
    size_f, size_g = 32 * EPS * max(abs(f_0), abs(f_1)) + 1e-15, 32 * EPS * max(abs(g_0), abs(g_1)) + 1e-15
    return 0.5 * (f_0 + f_1), 0.5 * (f_1 - f_0) + size_f, 0.5 * (g_0 + g_1), 0.5 * (g_1 - g_0) + size_g


@njit(cache=True, error_model="numpy")
def compose(kind, a, f, g, alg, table, powers, work, values):
    """f = phi(a), g = partner(a) for a model a without symbols; powers holds order + 1 rows of scratch.

    relu is exact where its argument keeps its sign, and between secants elsewhere.
    """
    starts = alg.starts
    order = starts.shape[0] - 2
    n = starts[order + 1]
    middle, radius = reach(a, alg.even, n, 0)
    low, high = middle - radius, middle + radius
    for i in range(n + 1):
        f[i] = 0.0
        g[i] = 0.0
    if not (radius < 1e100):
        f[-1] = math.inf
        g[-1] = math.inf
        return
    if kind == 4:
        if low >= 0:
            for i in range(n + 1):
                f[i] = a[i]
            g[0] = 1.0
        elif high > 0:
            slope = high / (high - low)
            gap = -0.5 * slope * low
            for i in range(n):
                f[i] = slope * a[i]
            f[0] += gap
            f[-1] = slope * a[-1] + gap * (1 + 8 * EPS) + 64 * EPS * (abs(middle) + radius)
            g[0] = 0.5
            g[-1] = 0.5
        return
    # a range too short for its nodes to differ may be taken longer
    radius = max(radius, 1e-7 * (1.0 + abs(middle)))
    low, high = middle - radius, middle + radius
    nn = order + 1
    share = 1.0
    for i in range(1, nn + 1):
        share *= radius / i
    share *= 0.5 ** (nn - 1) * (1 + 1e-6)  # nodes are good to 1e-8 of the radius
    sup_f, sup_g = _suprema(kind, nn, low, high, table)
    hull_f, wide_f, hull_g, wide_g = _hulls(kind, low, high)
    plain_f, plain_g = not (sup_f * share < wide_f), not (sup_g * share < wide_g)
    if plain_f:
        f[0], f[-1] = hull_f, wide_f
    if plain_g:
        g[0], g[-1] = hull_g, wide_g
    if plain_f and plain_g:
        return
    largest_f, largest_g = 0.0, 0.0
    for i in range(nn):
        values[0, i], values[1, i], size = _values(kind, middle + radius * alg.nodes[i])
        largest_f = max(largest_f, abs(values[0, i]))
        largest_g = max(largest_g, size)
    # powers of (a - middle) / radius
    for i in range(n):
        powers[0, i] = 0.0
        powers[1, i] = a[i] / radius
    powers[0, 0], powers[0, n] = 1.0, 0.0
    powers[1, 0] = (a[0] - middle) / radius
    powers[1, n] = a[n] / radius * (1 + 4 * EPS) + 16 * EPS * (1.0 + abs(middle) / radius)
    for k in range(2, nn):
        multiply(powers[k - 1], powers[1], powers[k], alg, 0, work)
    total_f, total_g = 0.0, 0.0
    for k in range(nn):
        c_f, c_g = 0.0, 0.0
        for i in range(nn):
            c_f += alg.inverse[k, i] * values[0, i]
            c_g += alg.inverse[k, i] * values[1, i]
        if plain_f:
            c_f = 0.0
        if plain_g:
            c_g = 0.0
        norm = 0.0
        for i in range(n):
            norm += abs(powers[k, i])
            f[i] += c_f * powers[k, i]
            g[i] += c_g * powers[k, i]
        f[n] += abs(c_f) * powers[k, n]
        g[n] += abs(c_g) * powers[k, n]
        total_f += abs(c_f) * norm
        total_g += abs(c_g) * norm
    # rounding: of the values (4 ulps), of the inverse matrix (below 2,000 ulps in all up to order 6) and of the sums; the
    # last terms are for what underflows
    if not plain_f:
        f[n] = (f[n] + sup_f * share) * (1 + 64 * EPS) + EPS * (32 * total_f + 8192 * largest_f) + 1e-300
    if not plain_g:
        g[n] = (g[n] + sup_g * share) * (1 + 64 * EPS) + EPS * (32 * total_g + 8192 * largest_g) + 1e-300
