r"""The compiled loop in data space: second-order jets of T and of $A=DT^{-1}\circ T$ over boxes of data, and what they bound.

Coupling by coupling the forward orbit of a box is enclosed, and with it A, column by column: the inverse of the derivative of
$v_c=x_ce^{s(x_u)}+t(x_u)$ multiplies A from the right,
$$A_{\cdot u}\leftarrow A_{\cdot u}-A_{\cdot c}\,(\mathrm{diag}(x_c)s'+\mathrm{diag}(e^{-s})t'),\qquad
A_{\cdot c}\leftarrow A_{\cdot c}\,\mathrm{diag}(e^{-s}),$$
so no matrix is inverted.

*A jet* of a function q on a box about c with half sides r is a middle and a radius for q, $\partial_iq$ and $\partial_{ij}q$,
which hold on the whole box, with the errors e, e' of the middles of q and $\partial_iq$ at c. Sums, products, exponentials and
conditioners of jets are jets by the rules of differentiation; then Taylor's formula about c sharpens them,
$$\mathrm{rad}(\partial_iq)\le e'+\sum_j\sup|\partial_{ij}q|\,r_j,\qquad
\mathrm{rad}(q)\le e+\sum_i(|\partial_iq(c)|+e')r_i+\tfrac12\sum_{ij}\sup|\partial_{ij}q|\,r_ir_j.$$
Ranges of conditioners and their derivatives come from tables (`ripmaps`). So radii are never worse than the ranges of bounded
functions, on large boxes, and of second order in r on small ones.

Some boxes are treated at a time, a lane each: numbers of all lanes stand beside each other, and loops over lanes are innermost
and write one row or two, so that compilers make vectors of them. On a GPU a thread has one lane.

Rounding goes into radii and errors. With EPS of twice the unit of rounding a sum of n products has an error of at most n EPS
times that of their absolute values; UP and MUCH cover the roundings of radii, sums of at most 200 nonnegative products.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lipbounds.lipschitz.series import TINY

__all__ = ["LANES", "MOST_INPUTS", "Program", "bound_block", "bound_boxes", "scratch_of"]

EPS = 2.220446049250313e-16
UP = 1 + 64 * EPS
MUCH = 1 + 512 * EPS
LARGEST_EXPONENT = 600.0
MOST_CELLS = (7, 5, 3, 2)  # of a window along each input, by their number
SQUARINGS = 8
SWEEPS = 6
MOST_INPUTS = 4  # of a conditioner
CORNERS = 4  # directions whose both ends are tried in the norm
ROWS = 8  # of scratch beyond those of `_sharpen`
LANES = 128  # of the processor: with fewer beginning a loop takes longer than the loop, with more nothing is gained


class Program(NamedTuple):
    """The couplings of T in the order of the forward map, flattened for the compiled loop.

    Attributes:
        sizes: A row a step: outputs changed m, inputs seen k, derivatives of k inputs.
        coordinates: For every step those changed, then those seen, padded.
        begins: Where the numbers of each step begin in a row of points (k inputs, then their towers), and of errors.
        first: Place of the derivative along input i among the numbers of an output.
        second: Of (i, j) of k inputs, shape (5, 4, 4).
        third: Of (i, j, l).
    """

    sizes: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    begins: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    third: NDArray[np.int64]


@njit(cache=True, error_model="numpy")
def _larger(a, b):
    """The larger, and no number if one is none: what `max` does then differs from processor to processor."""
    return b if b > a or b != b else a


@njit(cache=True, error_model="numpy")
def _fill(row, value):
    for lane in range(len(row)):
        row[lane] = value


@njit(cache=True, error_model="numpy")
def _largest(rows, first, end, out):
    """The largest absolute value of some rows in each lane."""
    _fill(out, 0.0)
    for q in range(first, end):
        row = rows[q]
        for lane in range(len(out)):
            size = abs(row[lane])
            out[lane] = size if size > out[lane] or size != size else out[lane]


@njit(cache=True, error_model="numpy")
def _sharpen(m, R, e, r, work):
    """Taylor's formula, in place; the first d + 3 rows of `work` are written to."""
    d, lanes = r.shape
    for i in range(d):
        _fill(work[i], 0.0)
    q = 1 + d
    for i in range(d):
        own, side = work[i], r[i]
        for j in range(i, d):
            mq, Rq, other, across = m[q], R[q], work[j], r[j]
            for lane in range(lanes):
                own[lane] += (abs(mq[lane]) + Rq[lane]) * across[lane]
            if j > i:
                for lane in range(lanes):
                    other[lane] += (abs(mq[lane]) + Rq[lane]) * side[lane]
            q += 1
    first, second, whole = work[d], work[d + 1], work[d + 2]
    _fill(first, 0.0)
    _fill(second, 0.0)
    _fill(whole, 0.0)
    e0, e1, R0 = e[0], e[1], R[0]
    for i in range(d):
        own, mi, Ri, side = work[i], m[1 + i], R[1 + i], r[i]
        for lane in range(lanes):
            turn = (own[lane] + e1[lane]) * MUCH
            Ri[lane] = turn if turn < Ri[lane] else Ri[lane]
        for lane in range(lanes):
            first[lane] += (abs(mi[lane]) + e1[lane]) * side[lane]
        for lane in range(lanes):
            second[lane] += own[lane] * side[lane]
        for lane in range(lanes):
            whole[lane] += (abs(mi[lane]) + Ri[lane]) * side[lane]
    for lane in range(lanes):
        curved = first[lane] + 0.5 * second[lane]
        # where second derivatives are unknown the comparisons are false
        away = (e0[lane] + (curved if curved < whole[lane] else whole[lane])) * MUCH
        R0[lane] = away if away < R0[lane] else R0[lane]


@njit(cache=True, error_model="numpy")
def _spreads(m, R, share, wide, off):
    """What a number contributes to the radii of products: its size with its radius, and its radius with the share of rounding."""
    for lane in range(len(m)):
        wide[lane] = abs(m[lane]) + R[lane]
    for lane in range(len(m)):
        off[lane] = R[lane] + share * EPS * abs(m[lane])


@njit(cache=True, error_model="numpy")
def _multiply(a, A, ae, b, B, be, p, P, pe, r, work):
    """The product of two jets; p is neither of them."""
    d, lanes = r.shape
    n = len(p)
    wide_a, off_a, wide_b, off_b = work[d + 3], work[d + 4], work[d + 5], work[d + 6]
    a0, b0, A0, B0 = a[0], b[0], A[0], B[0]
    _spreads(a0, A0, 4, wide_a, off_a)
    _spreads(b0, B0, 4, wide_b, off_b)
    for q in range(1, n):
        aq, bq, Aq, Bq, pq, Pq = a[q], b[q], A[q], B[q], p[q], P[q]
        for lane in range(lanes):
            pq[lane] = a0[lane] * bq[lane] + b0[lane] * aq[lane]
            left = wide_a[lane] * Bq[lane] + off_a[lane] * abs(bq[lane])
            Pq[lane] = left + (wide_b[lane] * Aq[lane] + off_b[lane] * abs(aq[lane]) + TINY)
    p0, P0, pe0, pe1 = p[0], P[0], pe[0], pe[1]
    for lane in range(lanes):
        p0[lane] = a0[lane] * b0[lane]
    for lane in range(lanes):
        P0[lane] = (abs(a0[lane]) * B0[lane] + A0[lane] * wide_b[lane] + EPS * abs(p0[lane]) + TINY) * UP
    steep_a, steep_b = work[d], work[d + 1]
    _largest(a, 1, 1 + d, steep_a)
    _largest(b, 1, 1 + d, steep_b)
    ae0, ae1, be0, be1 = ae[0], ae[1], be[0], be[1]
    for lane in range(lanes):
        pe0[lane] = (abs(a0[lane]) * be0[lane] + ae0[lane] * (abs(b0[lane]) + be0[lane])) * UP + EPS * abs(p0[lane]) + TINY
    for lane in range(lanes):
        pe1[lane] = abs(a0[lane]) * be1[lane] + ae0[lane] * (steep_b[lane] + be1[lane])
    for lane in range(lanes):
        pe1[lane] += abs(b0[lane]) * ae1[lane] + be0[lane] * (steep_a[lane] + ae1[lane])
    for lane in range(lanes):
        pe1[lane] = pe1[lane] * UP + 4 * EPS * (abs(a0[lane]) * steep_b[lane] + abs(b0[lane]) * steep_a[lane]) + TINY
    q = 1 + d
    for i in range(d):
        ai, bi = a[1 + i], b[1 + i]
        _spreads(ai, A[1 + i], 8, wide_a, off_a)
        _spreads(bi, B[1 + i], 8, wide_b, off_b)
        for j in range(i, d):
            aj, bj, Aj, Bj, pq, Pq = a[1 + j], b[1 + j], A[1 + j], B[1 + j], p[q], P[q]
            for lane in range(lanes):
                pq[lane] += ai[lane] * bj[lane] + bi[lane] * aj[lane]
                left = wide_a[lane] * Bj[lane] + off_a[lane] * abs(bj[lane])
                Pq[lane] = Pq[lane] + left + (wide_b[lane] * Aj[lane] + off_b[lane] * abs(aj[lane]))
            q += 1
    for q in range(1, n):
        Pq = P[q]
        for lane in range(lanes):
            Pq[lane] *= UP
    _sharpen(p, P, pe, r, work)


@njit(cache=True, error_model="numpy")
def _add(a, A, ae, b, B, be, sign, work):
    """a += sign b for jets, not sharpened."""
    lanes = a.shape[1]
    for q in range(len(a)):
        aq, bq, Aq, Bq = a[q], b[q], A[q], B[q]
        for lane in range(lanes):
            aq[lane] += sign * bq[lane]
        for lane in range(lanes):
            Aq[lane] = (Aq[lane] + Bq[lane]) * UP + EPS * abs(aq[lane])
    noise = work[0]
    _largest(a, 0, len(a), noise)  # of second derivatives too: an error need not be small
    a0, ae0, ae1, be0, be1 = a[0], ae[0], ae[1], be[0], be[1]
    for lane in range(lanes):
        ae0[lane] = (ae0[lane] + be0[lane]) * UP + EPS * abs(a0[lane])
    for lane in range(lanes):
        ae1[lane] = (ae1[lane] + be1[lane]) * UP + EPS * noise[lane]


@njit(cache=True, error_model="numpy")
def _copy(a, A, ae, p, P, pe):
    """p = a for jets."""
    for q in range(len(a)):
        for lane in range(a.shape[1]):
            p[q, lane], P[q, lane] = a[q, lane], A[q, lane]
    for lane in range(a.shape[1]):
        pe[0, lane], pe[1, lane] = ae[0, lane], ae[1, lane]


@njit(cache=True, error_model="numpy")
def _exponential(sign, s, S, se, p, P, pe, r, work):
    """The jet of exp(sign s)."""
    d, lanes = r.shape
    e, away, off, steep = work[d + 3], work[d + 4], work[d + 5], work[d + 6]
    s0, S0, se0, se1 = s[0], S[0], se[0], se[1]
    for lane in range(lanes):
        # beyond, numbers underflow or overflow
        e[lane] = math.exp(sign * s0[lane]) if abs(s0[lane]) < LARGEST_EXPONENT else math.inf
        away[lane] = e[lane] * math.expm1(S0[lane]) * UP + 8 * EPS * e[lane]
        off[lane] = e[lane] * math.expm1(se0[lane]) * UP + 8 * EPS * e[lane]
    p0, P0, pe0, pe1 = p[0], P[0], pe[0], pe[1]
    for lane in range(lanes):
        p0[lane] = e[lane]
    for lane in range(lanes):
        P0[lane] = away[lane]
    for lane in range(lanes):
        pe0[lane] = off[lane]
    for q in range(1, len(s)):
        sq, Sq, pq, Pq = s[q], S[q], p[q], P[q]
        for lane in range(lanes):
            pq[lane] = sign * e[lane] * sq[lane]
        for lane in range(lanes):
            Pq[lane] = (e[lane] * Sq[lane] + away[lane] * (abs(sq[lane]) + Sq[lane])) * UP + 4 * EPS * abs(pq[lane]) + TINY
    _largest(s, 1, 1 + d, steep)
    for lane in range(lanes):
        pe1[lane] = (e[lane] * se1[lane] + off[lane] * (steep[lane] + se1[lane])) * UP + 4 * EPS * e[lane] * steep[lane] + TINY
    q = 1 + d
    for i in range(d):
        si, Si = s[1 + i], S[1 + i]
        for j in range(i, d):
            sj, Sj, pq, Pq = s[1 + j], S[1 + j], p[q], P[q]
            for lane in range(lanes):
                Pq[lane] += 8 * EPS * (abs(pq[lane]) + abs(e[lane] * si[lane] * sj[lane])) + TINY
            for lane in range(lanes):
                pq[lane] += e[lane] * si[lane] * sj[lane]
            for lane in range(lanes):
                Pq[lane] += e[lane] * (abs(si[lane]) * Sj[lane] + Si[lane] * (abs(sj[lane]) + Sj[lane])) * UP
            for lane in range(lanes):
                Pq[lane] += away[lane] * (abs(si[lane]) + Si[lane]) * (abs(sj[lane]) + Sj[lane]) * UP
            q += 1
    _sharpen(p, P, pe, r, work)
    for lane in range(lanes):
        if not abs(s0[lane]) < LARGEST_EXPONENT:
            for q in range(len(p)):
                p[q, lane], P[q, lane] = 0.0, math.inf
            pe[0, lane], pe[1, lane] = math.inf, math.inf


@njit(cache=True, error_model="numpy")
def _compose(at, centre, radii, wrong, x, X, xe, seen, k, p, P, pe, r, work):
    """The jet of f(u) for jets u.

    `at` says where f stands among the numbers of a conditioner, then its slopes, then its second derivatives, row by row; the
    numbers are those at the middles of u, with radii on the window, and errors.
    """
    d, lanes = r.shape
    n = len(p)
    off, turn, steep, slip = work[d + 3], work[d + 4], work[d + 5], work[d + 6]
    f0, F0, p0, P0 = centre[at[0]], radii[at[0]], p[0], P[0]
    for lane in range(lanes):
        p0[lane] = f0[lane]
    for lane in range(lanes):
        P0[lane] = F0[lane] + TINY
    for q in range(1, n):
        _fill(p[q], 0.0)
        _fill(P[q], TINY)
    _fill(off, wrong[at[0]])
    _fill(turn, 0.0)
    for i in range(k):
        u, U, slope, wide = x[seen[i]], X[seen[i]], centre[at[1 + i]], radii[at[1 + i]]
        e0, e1 = xe[seen[i], 0], xe[seen[i], 1]
        for lane in range(lanes):
            off[lane] += (abs(slope[lane]) + wide[lane]) * e0[lane]
        for q in range(1, n):
            uq, Uq, pq, Pq = u[q], U[q], p[q], P[q]
            for lane in range(lanes):
                pq[lane] += slope[lane] * uq[lane]
                size = abs(slope[lane])
                Pq[lane] += (size * Uq[lane] + wide[lane] * (abs(uq[lane]) + Uq[lane])) * UP + 16 * EPS * abs(uq[lane]) * size
        _largest(u, 1, 1 + d, steep)
        # the slope's error: its own, and that of where it is taken
        _fill(slip, wrong[at[1 + i]])
        for j in range(k):
            bend, spread, there = centre[at[1 + k + i * k + j]], radii[at[1 + k + i * k + j]], xe[seen[j], 0]
            for lane in range(lanes):
                slip[lane] += (abs(bend[lane]) + spread[lane]) * there[lane] * UP
        for lane in range(lanes):
            turn[lane] += slip[lane] * (steep[lane] + e1[lane]) + abs(slope[lane]) * (e1[lane] + 16 * EPS * steep[lane])
    for i in range(k):
        u, U = x[seen[i]], X[seen[i]]
        for j in range(k):
            v, V = x[seen[j]], X[seen[j]]
            bend, wide = centre[at[1 + k + i * k + j]], radii[at[1 + k + i * k + j]]
            q = 1 + d
            for g in range(d):
                ug, Ug = u[1 + g], U[1 + g]
                for h in range(g, d):
                    vh, Vh, pq, Pq = v[1 + h], V[1 + h], p[q], P[q]
                    for lane in range(lanes):
                        pq[lane] += bend[lane] * ug[lane] * vh[lane]
                        size, whole = abs(bend[lane]), abs(ug[lane]) + Ug[lane]
                        spread = size * (whole * Vh[lane] + Ug[lane] * abs(vh[lane])) + wide[lane] * whole * (
                            abs(vh[lane]) + Vh[lane]
                        )
                        Pq[lane] += spread * UP + 64 * EPS * (size * whole * abs(vh[lane]))
                    q += 1
    # running sums of these terms, rounded
    for q in range(1, n):
        Pq = P[q]
        for lane in range(lanes):
            Pq[lane] = Pq[lane] * MUCH + TINY
    pe0, pe1 = pe[0], pe[1]
    for lane in range(lanes):
        pe0[lane] = off[lane] * MUCH + TINY
    for lane in range(lanes):
        pe1[lane] = turn[lane] * MUCH + TINY
    _sharpen(p, P, pe, r, work)


@njit(cache=True, error_model="numpy")
def _cell(edges, begin, count, u):
    """The cell of an input, by bisection; the first and the last have what is beyond."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if edges[begin + middle] <= u:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, error_model="numpy")
def _look_up(maps, step, k, width, x, seen, lane, away, least, greatest, lows, highs):
    """Ranges where a lane's inputs are at most `away` from their middles, lower and upper ends; False outside the tables."""
    table, row, column, third = 0, 1, 1, 1
    allowed = MOST_CELLS[k - 1]
    for i in range(k):
        middle, radius = x[seen[i], 0, lane], away[i, lane] * UP
        low, high = middle - radius, middle + radius
        count, begin = maps.counts[step, i], maps.begins[step, i]
        if not (low > maps.edges[begin] and high < maps.edges[begin + count]):
            return False
        first, last = _cell(maps.edges, begin, count, low), _cell(maps.edges, begin, count, high)
        level, levels = 0, 1
        while (1 << (levels - 1)) < count:
            levels += 1
        while level < levels - 1 and (last >> level) - (first >> level) >= allowed:
            level += 1
        lows[i], highs[i] = first >> level, last >> level
        table = table * levels + level
        if i == 1:
            row = count >> level
        elif i == 2:
            column = count >> level
        elif i == 3:
            third = count >> level
    for q in range(width):
        least[q], greatest[q] = math.inf, -math.inf
    base = maps.places[maps.first[step] + table]
    for i in range(lows[0], highs[0] + 1):
        for j in range(lows[1] if k > 1 else 0, (highs[1] if k > 1 else 0) + 1):
            for g in range(lows[2] if k > 2 else 0, (highs[2] if k > 2 else 0) + 1):
                for h in range(lows[3] if k > 3 else 0, (highs[3] if k > 3 else 0) + 1):
                    place = base + (((i * row + j) * column + g) * third + h) * width
                    lower, upper = maps.least[place : place + width], maps.greatest[place : place + width]
                    for q in range(width):
                        least[q] = lower[q] if lower[q] < least[q] else least[q]
                    for q in range(width):
                        greatest[q] = upper[q] if upper[q] > greatest[q] else greatest[q]
    return True


@njit(cache=True, error_model="numpy")
def _reach(q, begin, centre, wrong, radii, k, places, away, work):
    """The mean value theorem for one derivative from those of the next order, where they stand."""
    out, reach = radii[q], work[0]
    _fill(reach, wrong[q])
    for g in range(k):
        slope, spread, far = centre[begin + places[g]], radii[begin + places[g]], away[g]
        for lane in range(len(out)):
            reach[lane] += (abs(slope[lane]) + spread[lane]) * far[lane]
    for lane in range(len(out)):
        turn = reach[lane] * UP
        out[lane] = turn if turn < out[lane] else out[lane]


@njit(cache=True, error_model="numpy")
def _radii(centre, wrong, least, greatest, k, count, program, away, radii, work):
    """Radii about the numbers at a point, of `count` derivatives each, on a window whose inputs are at most `away` from it.

    From the table, and by the mean value theorem from the derivatives of the next order, highest first.
    """
    width, lanes = radii.shape
    for q in range(width):
        c, low, high, out = centre[q], least[q], greatest[q], radii[q]
        for lane in range(lanes):
            up, down = high[lane] - c[lane], c[lane] - low[lane]
            radius = (down if down > up or down != down else up) * UP
            radius = 0.0 if radius < 0.0 else radius
            out[lane] = radius if radius < math.inf else math.inf  # also where it is no number
    for begin in range(0, width, count):
        for i in range(k):
            for j in range(i, k):
                _reach(begin + program.second[k, i, j], begin, centre, wrong, radii, k, program.third[k, i, j], away, work)
        for i in range(k):
            _reach(begin + 1 + i, begin, centre, wrong, radii, k, program.second[k, i], away, work)
        _reach(begin, begin, centre, wrong, radii, k, program.first, away, work)


@njit(cache=True, error_model="numpy")
def _look(points, program, maps, step, x, X, xe, centre, radii, least, greatest, ends, away, integers, dead, work):
    """For one coupling: the numbers of its conditioner at every lane's point, and their radii on its window."""
    m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
    width, lanes = 2 * m * count, x.shape[2]
    seen, begin = program.coordinates[step, m : m + k], program.begins[step, 0]
    for lane in range(lanes):
        row = points[min(lane, len(points) - 1)]
        for i in range(k):
            # these are at inputs that were computed otherwise
            off = abs(x[seen[i], 0, lane] - row[begin + i])
            away[i, lane] = (X[seen[i], 0, lane] + off) * UP
            xe[seen[i], 0, lane] += off * UP
        for q in range(width):
            centre[q, lane] = row[begin + k + q]
    for lane in range(lanes):
        known = _look_up(
            maps,
            step,
            k,
            width,
            x,
            seen,
            lane,
            away,
            ends[0],
            ends[1],
            integers[:MOST_INPUTS],
            integers[MOST_INPUTS : 2 * MOST_INPUTS],
        )
        if not known:
            dead[lane] = 1
        for q in range(width):
            least[q, lane] = ends[0, q] if known else -math.inf
            greatest[q, lane] = ends[1, q] if known else math.inf
    wrong = maps.errors[program.begins[step, 1] : program.begins[step, 1] + width]
    _radii(centre, wrong, least, greatest, k, count, program, away, radii, work)


@njit(cache=True, error_model="numpy")
def _norm(a, scratch, d, out, work):
    """Upper bounds of the largest singular values of matrices: a root of the trace of a power of the Gram matrix.

    The matrices are overwritten; the first three rows of `work` too.
    """
    lanes = len(out)
    scale, trace, logarithm = work[0], work[1], work[2]
    _fill(scale, 0.0)
    for i in range(d):
        for j in range(d):
            row = a[i, j]
            for lane in range(lanes):
                size = abs(row[lane])
                scale[lane] = size if size > scale[lane] or size != size else scale[lane]
    # scaled, so that squares neither overflow nor vanish
    for i in range(d):
        for j in range(d):
            row = a[i, j]
            for lane in range(lanes):
                row[lane] /= scale[lane]
    g, h = scratch[0], scratch[1]
    for i in range(d):
        for j in range(i, d):
            total, mirrored = g[i, j], g[j, i]
            _fill(total, 0.0)
            for k in range(d):
                left, right = a[k, i], a[k, j]
                for lane in range(lanes):
                    total[lane] += left[lane] * right[lane]
            for lane in range(lanes):
                mirrored[lane] = total[lane]
    _fill(logarithm, 0.0)
    weight = 1.0
    for turn in range(SQUARINGS + 1):
        _fill(trace, 0.0)
        for i in range(d):
            row = g[i, i]
            for lane in range(lanes):
                trace[lane] += row[lane]
        for lane in range(lanes):
            logarithm[lane] += weight * math.log(trace[lane])
        if turn == SQUARINGS:
            break
        weight *= 0.5
        for i in range(d):
            for j in range(d):
                row = g[i, j]
                for lane in range(lanes):
                    row[lane] /= trace[lane]
        for i in range(d):
            for j in range(i, d):
                total, mirrored = h[i, j], h[j, i]
                _fill(total, 0.0)
                for k in range(d):
                    left, right = g[i, k], g[k, j]
                    for lane in range(lanes):
                        total[lane] += left[lane] * right[lane]
                for lane in range(lanes):
                    mirrored[lane] = total[lane]
        g, h = h, g
    for lane in range(lanes):
        norm = scale[lane] * math.exp(0.5 * logarithm[lane]) * (1 + 1e-11)
        out[lane] = 0.0 if scale[lane] == 0.0 else (norm if norm < math.inf else math.inf)  # also where it is no number


@njit(cache=True, error_model="numpy")
def _choose(tried, chosen, counts):
    """The most important directions of each lane, and how many there are."""
    d, lanes = tried.shape
    for lane in range(lanes):
        count = 0
        for _ in range(min(CORNERS, d)):
            best, place = 0.0, -1
            for v in range(d):
                taken = False
                for c in range(count):
                    taken = taken or chosen[c, lane] == v
                if not taken and tried[v, lane] > best:
                    best, place = tried[v, lane], v
            if place < 0:
                break
            chosen[count, lane] = place
            count += 1
        counts[lane] = count


@njit(cache=True, error_model="numpy")
def _bound(a, A, ae, r, lead, rest, scratch, scores, tried, chosen, counts, out, work):
    """Upper bounds of the norms of matrices of jets; scores receive how much each side contributes.

    The most important directions of the linear part are tried at both ends, the others are added to the rest.
    """
    d, lanes = r.shape
    for v in range(d):
        side, straight, whole = r[v], tried[v], scores[v]
        _fill(straight, 0.0)
        _fill(whole, 0.0)
        for i in range(d):
            for j in range(d):
                slope, spread, part = a[j * d + i, 1 + v], A[j * d + i, 1 + v], lead[1 + v, i, j]
                for lane in range(lanes):
                    part[lane] = slope[lane] * side[lane]
                for lane in range(lanes):
                    straight[lane] += slope[lane] * slope[lane]
                for lane in range(lanes):
                    whole[lane] += (abs(slope[lane]) + spread[lane]) ** 2
        for lane in range(lanes):
            straight[lane] = math.sqrt(straight[lane]) * side[lane]
        for lane in range(lanes):
            whole[lane] = math.sqrt(whole[lane]) * side[lane]
    _choose(tried, chosen, counts)
    most = 0
    for lane in range(lanes):
        most = max(most, counts[lane])
    # the linear parts along the chosen directions, and nothing where there are fewer
    edges = scratch[3:]
    for c in range(most):
        for i in range(d):
            for j in range(d):
                row = edges[c, i, j]
                for lane in range(lanes):
                    row[lane] = lead[1 + chosen[c, lane], i, j, lane] if c < counts[lane] else 0.0
    # two forms: the linear part and what is left of it, or the middle with the whole radius
    middle = lead[0]
    scale, wide, left, rounding = work[3], work[4], work[5], work[6]
    _fill(scale, 1e-300)
    _fill(wide, 1e-300)
    for i in range(d):
        for j in range(d):
            jet, radii, wrong = a[j * d + i], A[j * d + i], ae[j * d + i]
            j0, R0, e0, e1, m0, own = jet[0], radii[0], wrong[0], wrong[1], middle[i, j], rest[i, j]
            for lane in range(lanes):
                m0[lane] = j0[lane]
            for lane in range(lanes):
                left[lane] = e0[lane]
            for lane in range(lanes):
                rounding[lane] = abs(j0[lane])
            q = 1 + d
            for g in range(d):
                for h in range(g, d):
                    jq, Rq, one, two, share = jet[q], radii[q], r[g], r[h], 0.5 if g == h else 1.0
                    for lane in range(lanes):
                        left[lane] += share * ((abs(jq[lane]) + Rq[lane]) * one[lane] * two[lane])
                    q += 1
            for v in range(d):
                side, part = r[v], lead[1 + v, i, j]
                for lane in range(lanes):
                    left[lane] += e1[lane] * side[lane] + abs(part[lane])
                for lane in range(lanes):
                    rounding[lane] += abs(part[lane])
            # those that are tried are no part of the rest
            for c in range(most):
                part = edges[c, i, j]
                for lane in range(lanes):
                    left[lane] -= abs(part[lane])
            for lane in range(lanes):
                own[lane] = left[lane] * MUCH + 64 * EPS * rounding[lane] + TINY
            for lane in range(lanes):
                scale[lane] = _larger(scale[lane], own[lane])
            for lane in range(lanes):
                wide[lane] = _larger(wide[lane], R0[lane])
    spread, plain = left, rounding
    _fill(spread, 0.0)
    _fill(plain, 0.0)
    for i in range(d):
        for j in range(d):
            own, R0 = rest[i, j], A[j * d + i, 0]
            for lane in range(lanes):
                spread[lane] += (own[lane] / scale[lane]) ** 2
            for lane in range(lanes):
                plain[lane] += (R0[lane] / wide[lane]) ** 2
    for lane in range(lanes):
        spread[lane] = scale[lane] * math.sqrt(spread[lane]) * MUCH
        plain[lane] = wide[lane] * math.sqrt(plain[lane]) * MUCH
    corner, norm, largest = scratch[2], work[7], scale
    _fill(largest, 0.0)
    for signs in range(1 << most):
        for i in range(d):
            for j in range(d):
                row, m0 = corner[i, j], middle[i, j]
                for lane in range(lanes):
                    row[lane] = m0[lane]
                for c in range(most):
                    part, sign = edges[c, i, j], 1.0 if (signs >> c) & 1 else -1.0
                    for lane in range(lanes):
                        row[lane] += sign * part[lane]
        _norm(corner, scratch, d, norm, work)
        for lane in range(lanes):
            largest[lane] = _larger(largest[lane], norm[lane])
    _norm(middle, scratch, d, norm, work)
    for lane in range(lanes):
        best = norm[lane] + plain[lane] if plain[lane] < math.inf else math.inf
        other = largest[lane] + spread[lane]
        best = (other if other < best else best) * MUCH
        out[lane] = best if best < math.inf else math.inf  # also where it is no number


@njit(cache=True, error_model="numpy")
def _direction(x, r, center, generators, shifts, out, length, work):
    """Unit vector from the domain's segments to the image, both by their linear parts: where they are nearest; and its length.

    Coordinate descent; any direction is good for a proof, the nearest places give the best.
    """
    d, lanes = r.shape
    square, along, step = work[0], work[1], work[2]
    for i in range(d):
        row, middle = out[i], x[i, 0]
        for lane in range(lanes):
            row[lane] = middle[lane] - center[i]
    for v in range(d + len(generators)):
        _fill(shifts[v], 0.0)
    for _ in range(SWEEPS):
        for v in range(d + len(generators)):
            _fill(square, 0.0)
            _fill(along, 0.0)
            shift = shifts[v]
            if v < d:
                for i in range(d):
                    slope, row = x[i, 1 + v], out[i]
                    for lane in range(lanes):
                        square[lane] += slope[lane] * slope[lane]
                    for lane in range(lanes):
                        along[lane] += slope[lane] * row[lane]
            else:
                for i in range(d):
                    edge, row = generators[v - d, i], out[i]
                    for lane in range(lanes):
                        square[lane] += edge * edge
                    for lane in range(lanes):
                        along[lane] += edge * row[lane]
            for lane in range(lanes):
                limit = r[v, lane] if v < d else 1.0
                new = shift[lane] - along[lane] / square[lane]
                new = new if new > -limit else -limit
                new = new if new < limit else limit
                step[lane] = new - shift[lane] if square[lane] > 1e-280 else 0.0
            for lane in range(lanes):
                shift[lane] += step[lane]
            for i in range(d):
                row = out[i]
                if v < d:
                    slope = x[i, 1 + v]
                    for lane in range(lanes):
                        row[lane] += step[lane] * slope[lane]
                else:
                    edge = generators[v - d, i]
                    for lane in range(lanes):
                        row[lane] += step[lane] * edge
    _fill(length, 0.0)
    for i in range(d):
        row = out[i]
        for lane in range(lanes):
            length[lane] += row[lane] * row[lane]
    for lane in range(lanes):
        length[lane] = math.sqrt(length[lane])
    for i in range(d):
        row = out[i]
        for lane in range(lanes):
            row[lane] /= length[lane]


@njit(cache=True, error_model="numpy")
def _excess(x, X, xe, r, center, radius, generators, line, Line, error, work, normal, shifts, scores, out):
    """0 if the image is beyond a half-space about the domain; else how many times too wide it is for that, or infinity.

    Scores receive how much each side contributes to the image along its normal.
    """
    d, lanes = r.shape
    length, size, steep, inside, part = work[d + 3], work[d + 4], work[d + 5], work[d + 6], work[d + 7]
    _direction(x, r, center, generators, shifts, normal, length, work)
    for q in range(len(line)):
        _fill(line[q], 0.0)
        _fill(Line[q], TINY)
    _fill(size, 0.0)
    _fill(steep, 0.0)
    line0, Line0, error0, error1 = line[0], Line[0], error[0], error[1]
    _fill(error0, 0.0)
    _fill(error1, 0.0)
    for i in range(d):
        along, x0, X0, e0, e1 = normal[i], x[i, 0], X[i, 0], xe[i, 0], xe[i, 1]
        for lane in range(lanes):
            line0[lane] += along[lane] * (x0[lane] - center[i])
        for lane in range(lanes):
            size[lane] += abs(x0[lane]) + abs(center[i])
        for lane in range(lanes):
            Line0[lane] += abs(along[lane]) * X0[lane]
        for q in range(1, len(line)):
            xq, Xq, own, radii = x[i, q], X[i, q], line[q], Line[q]
            for lane in range(lanes):
                own[lane] += along[lane] * xq[lane]
            for lane in range(lanes):
                radii[lane] += abs(along[lane]) * (Xq[lane] + 32 * EPS * abs(xq[lane]))
        _largest(x[i], 1, 1 + d, part)
        for lane in range(lanes):
            steep[lane] = _larger(steep[lane], part[lane])
        for lane in range(lanes):
            error0[lane] += abs(along[lane]) * e0[lane]
        for lane in range(lanes):
            error1[lane] += abs(along[lane]) * e1[lane]
    for q in range(len(line)):
        radii = Line[q]
        for lane in range(lanes):
            radii[lane] *= MUCH
    for lane in range(lanes):
        error0[lane] = error0[lane] * MUCH + 64 * EPS * size[lane]
    for lane in range(lanes):
        error1[lane] = error1[lane] * MUCH + 64 * EPS * d * steep[lane]
    for lane in range(lanes):
        Line0[lane] += 64 * EPS * size[lane]
    _sharpen(line, Line, error, r, work)
    for i in range(d):
        for lane in range(lanes):
            scores[i, lane] = (abs(line[1 + i, lane]) + Line[1 + i, lane]) * r[i, lane]
    _fill(inside, 0.0)
    for g in range(len(generators)):
        _fill(part, 0.0)
        for i in range(d):
            along, edge = normal[i], generators[g, i]
            for lane in range(lanes):
                part[lane] += along[lane] * edge
            for lane in range(lanes):
                size[lane] += abs(edge)
        for lane in range(lanes):
            inside[lane] += abs(part[lane])
    for lane in range(lanes):
        # the normal is a unit vector up to rounding
        nearest = line0[lane] - (Line0[lane] + inside[lane]) * MUCH - 64 * EPS * size[lane]
        gap = line0[lane] - inside[lane] - radius
        wide = Line0[lane] / gap if gap > 0.0 else math.inf
        out[lane] = wide if wide > 1.0 else 1.0  # also where it is no number
        if nearest * (1 - 1e-12) > radius:
            out[lane] = 0.0
        if not 1e-140 < length[lane] < math.inf:  # else squares are not what they should be
            out[lane] = math.inf
            for i in range(d):
                scores[i, lane] = 0.0


@njit(cache=True, error_model="numpy")
def _jets(numbers, at, count, size, lanes):
    """Middles, radii and errors of so many jets, in a part of the scratch, and where the next part begins."""
    radii, errors, end = at + count * size * lanes, at + 2 * count * size * lanes, at + 2 * count * (size + 1) * lanes
    return (
        numbers[at:radii].reshape((count, size, lanes)),
        numbers[radii:errors].reshape((count, size, lanes)),
        numbers[errors:end].reshape((count, 2, lanes)),
        end,
    )


@njit(cache=True, error_model="numpy")
def _matrices(numbers, at, count, dim, lanes):
    end = at + count * dim * dim * lanes
    return numbers[at:end].reshape((count, dim, dim, lanes)), end


@njit(cache=True, error_model="numpy")
def _vectors(numbers, at, count, lanes):
    end = at + count * lanes
    return numbers[at:end].reshape((count, lanes)), end


def scratch_of(program: Program, dim: int, generators: int, lanes: int) -> tuple[int, int]:
    """How many numbers and how many integers `bound_block` needs to work with."""
    m, k, _ = program.sizes.max(0).tolist()
    width = int((2 * program.sizes[:, 0] * program.sizes[:, 2]).max())
    size = 1 + dim + dim * (dim + 1) // 2
    jets = dim + dim * dim + 3 * m + m * k + 2
    matrices = (1 + dim + 1 + 3 + CORNERS) * dim * dim
    vectors = 4 * width + k + 5 * dim + generators + dim + 3 + ROWS + 2
    integers = 2 * MOST_INPUTS + 1 + MOST_INPUTS + MOST_INPUTS**2 + dim * dim
    return (2 * (size + 1) * jets + matrices + vectors) * lanes + 2 * width, integers + (CORNERS + 2) * lanes


@njit(cache=True, error_model="numpy")
def _places(program, k, place, g, at):
    """Where an output of a conditioner stands, or its derivative along input g, with its slopes and second derivatives."""
    if g < 0:
        at[0] = place
        for i in range(k):
            at[1 + i] = place + 1 + i
            for j in range(k):
                at[1 + k + i * k + j] = place + program.second[k, i, j]
    else:
        at[0] = place + 1 + g
        for i in range(k):
            at[1 + i] = place + program.second[k, g, i]
            for j in range(k):
                at[1 + k + i * k + j] = place + program.third[k, g, i, j]


@njit(cache=True, error_model="numpy")
def _turn(program, step, centre, radii, wrong, x, X, xe, a, A, ae, y, Y, ye, w, W, we, p, P, pe, v, V, ve, at, filled, r, work):
    """Multiply A with the inverse of the coupling's derivative; y are the jets of exp(-s)."""
    d = len(r)
    m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
    changed, seen = program.coordinates[step, :m], program.coordinates[step, m : m + k]
    for c in range(m):
        row = changed[c]
        for g in range(k):
            h = c * k + g
            _places(program, k, c * count, g, at)
            _compose(at, centre, radii, wrong, x, X, xe, seen, k, p, P, pe, r, work)
            _multiply(x[row], X[row], xe[row], p, P, pe, w[h], W[h], we[h], r, work)
            _places(program, k, (m + c) * count, g, at)
            _compose(at, centre, radii, wrong, x, X, xe, seen, k, p, P, pe, r, work)
            _multiply(y[c], Y[c], ye[c], p, P, pe, v, V, ve, r, work)
            _add(w[h], W[h], we[h], v, V, ve, 1.0, work)
            _sharpen(w[h], W[h], we[h], r, work)
    for row in range(d):
        for c in range(m):
            own = changed[c] * d + row
            if not filled[own]:
                continue
            for g in range(k):
                other, h = seen[g] * d + row, c * k + g
                _multiply(a[own], A[own], ae[own], w[h], W[h], we[h], p, P, pe, r, work)
                _add(a[other], A[other], ae[other], p, P, pe, -1.0, work)
                filled[other] = 1
            _multiply(a[own], A[own], ae[own], y[c], Y[c], ye[c], p, P, pe, r, work)
            _copy(p, P, pe, a[own], A[own], ae[own])
        for g in range(k):
            other = seen[g] * d + row
            if filled[other]:
                _sharpen(a[other], A[other], ae[other], r, work)


@njit(cache=True, error_model="numpy")
def bound_block(
    middles, sides, points, program, maps, center, radius, generators, deep, bounds, scores, numbers, integers, lanes
):
    """Bound the norm of A over at most `lanes` boxes of data; see `bound_boxes`, whose arrays are given and written to by rows.

    `scores` are zeros; `numbers` and `integers` are scratch (`scratch_of`), whatever stands there.
    """
    boxes, d = middles.shape
    size = 1 + d + d * (d + 1) // 2
    steps, most_m, most_k, width = len(program.sizes), 1, 1, 1
    for step in range(steps):
        m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
        most_m, most_k, width = max(most_m, m), max(most_k, k), max(width, 2 * m * count)
    x, X, xe, end = _jets(numbers, 0, d, size, lanes)
    a, A, ae, end = _jets(numbers, end, d * d, size, lanes)  # entry (column, row) at column d + row
    s, S, se, end = _jets(numbers, end, most_m, size, lanes)
    t, T, te, end = _jets(numbers, end, most_m, size, lanes)
    y, Y, ye, end = _jets(numbers, end, most_m, size, lanes)
    w, W, we, end = _jets(numbers, end, most_m * most_k, size, lanes)
    pair, Pair, pair_e, end = _jets(numbers, end, 2, size, lanes)
    p, P, pe, v, V, ve = pair[0], Pair[0], pair_e[0], pair[1], Pair[1], pair_e[1]
    lead, end = _matrices(numbers, end, 1 + d, d, lanes)
    rest, end = _matrices(numbers, end, 1, d, lanes)
    scratch, end = _matrices(numbers, end, 3 + CORNERS, d, lanes)
    centre, end = _vectors(numbers, end, width, lanes)  # numbers of a conditioner, and their radii
    spread, end = _vectors(numbers, end, width, lanes)
    least, end = _vectors(numbers, end, width, lanes)
    greatest, end = _vectors(numbers, end, width, lanes)
    away, end = _vectors(numbers, end, most_k, lanes)
    r, end = _vectors(numbers, end, d, lanes)
    score, end = _vectors(numbers, end, d, lanes)
    tried, end = _vectors(numbers, end, d, lanes)
    normal, end = _vectors(numbers, end, d, lanes)
    shifts, end = _vectors(numbers, end, d + len(generators), lanes)
    work, end = _vectors(numbers, end, d + 3 + ROWS, lanes)
    results, end = _vectors(numbers, end, 2, lanes)
    wide, bound = results[0], results[1]
    ends, end = _vectors(numbers, end, 2, width)
    at = integers[2 * MOST_INPUTS : 2 * MOST_INPUTS + 1 + MOST_INPUTS + MOST_INPUTS**2]
    begin = 2 * MOST_INPUTS + len(at)
    filled = integers[begin : begin + d * d]
    begin += d * d
    chosen = integers[begin : begin + CORNERS * lanes].reshape((CORNERS, lanes))
    begin += CORNERS * lanes
    dead, counts = integers[begin : begin + lanes], integers[begin + lanes : begin + 2 * lanes]
    dead[:] = 0
    for lane in range(lanes):
        for i in range(d):
            r[i, lane] = sides[min(lane, boxes - 1), i]
    if deep:
        a[:], A[:], ae[:], filled[:] = 0.0, 0.0, 0.0, 0
        for i in range(d):
            _fill(a[i * d + i, 0], 1.0)
            filled[i * d + i] = 1
    x[:], X[:], xe[:] = 0.0, 0.0, 0.0
    for i in range(d):
        for lane in range(lanes):
            x[i, 0, lane], x[i, 1 + i, lane], X[i, 0, lane] = middles[min(lane, boxes - 1), i], 1.0, r[i, lane]
    for step in range(steps):
        m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
        changed, seen = program.coordinates[step, :m], program.coordinates[step, m : m + k]
        width = 2 * m * count
        wrong = maps.errors[program.begins[step, 1] : program.begins[step, 1] + width]
        now, radii = centre[:width], spread[:width]
        _look(points, program, maps, step, x, X, xe, now, radii, least, greatest, ends, away, integers, dead, work)
        for c in range(m):
            _places(program, k, c * count, -1, at)
            _compose(at, now, radii, wrong, x, X, xe, seen, k, s[c], S[c], se[c], r, work)
            _places(program, k, (m + c) * count, -1, at)
            _compose(at, now, radii, wrong, x, X, xe, seen, k, t[c], T[c], te[c], r, work)
        if deep:
            for c in range(m):
                _exponential(-1.0, s[c], S[c], se[c], y[c], Y[c], ye[c], r, work)
            _turn(
                program,
                step,
                now,
                radii,
                wrong,
                x,
                X,
                xe,
                a,
                A,
                ae,
                y,
                Y,
                ye,
                w,
                W,
                we,
                p,
                P,
                pe,
                v,
                V,
                ve,
                at,
                filled,
                r,
                work,
            )
        for c in range(m):
            row = changed[c]
            _exponential(1.0, s[c], S[c], se[c], p, P, pe, r, work)
            _multiply(x[row], X[row], xe[row], p, P, pe, v, V, ve, r, work)
            _add(v, V, ve, t[c], T[c], te[c], 1.0, work)
            _sharpen(v, V, ve, r, work)
            _copy(v, V, ve, x[row], X[row], xe[row])
    _excess(x, X, xe, r, center, radius, generators, p, P, pe, work, normal, shifts, score, wide)
    missed = True
    for lane in range(boxes):
        bounds[lane] = math.inf if dead[lane] else wide[lane]
        missed = missed and bounds[lane] == 0.0
        for i in range(d):
            scores[lane, i] = 0.0 if dead[lane] else score[i, lane]
    if not deep or missed:
        return
    _bound(a, A, ae, r, lead, rest[0], scratch, score, tried, chosen, counts, bound, work)
    for lane in range(boxes):
        if bounds[lane] != 0.0 and not dead[lane]:
            bounds[lane] = bound[lane]
            for i in range(d):
                scores[lane, i] = score[i, lane]


@njit(cache=True, error_model="numpy", nogil=True)
def bound_boxes(middles, radii, points, program, maps, center, radius, generators, deep, scratch):
    """Bound the norm of A over boxes of data whose images may meet a domain.

    The domain is a ball plus the segments between -g and g for the rows g of `generators`; `points` are the inputs of all
    conditioners at the middles of the boxes with their towers there, `scratch` the sizes from `scratch_of` for LANES. Returns,
    for every box, the bound (0 if the image provably misses the domain, infinity if nothing is known; without `deep` how many
    times too wide the image is for that), and what the sides contribute to the bound, or without `deep` to the distance.
    """
    bounds, scores = np.empty(len(middles)), np.zeros(middles.shape)
    numbers, integers = np.zeros(scratch[0]), np.zeros(scratch[1], dtype=np.int64)
    lanes = min(LANES, len(middles))
    for begin in range(0, len(middles), lanes):
        part = slice(begin, min(begin + lanes, len(middles)))
        bound_block(
            middles[part],
            radii[part],
            points[part],
            program,
            maps,
            center,
            radius,
            generators,
            deep,
            bounds[part],
            scores[part],
            numbers,
            integers,
            lanes,
        )
    return bounds, scores
