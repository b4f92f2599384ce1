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

__all__ = ["MOST_INPUTS", "Program", "bound_box", "bound_boxes", "scratch_of"]

EPS = 2.220446049250313e-16
UP = 1 + 64 * EPS
MUCH = 1 + 512 * EPS
LARGEST_EXPONENT = 600.0
MOST_CELLS = (7, 5, 3, 2)  # of a window along each input, by their number
SQUARINGS = 8
SWEEPS = 6
MOST_INPUTS = 4  # of a conditioner
CORNERS = 4  # directions whose both ends are tried in the norm


class Program(NamedTuple):
    """The couplings of T in the order of the forward map, flattened for the compiled loop.

    Attributes:
        sizes: A row a step: outputs changed m, inputs seen k, derivatives of k inputs.
        coordinates: For every step those changed, then those seen, padded.
        begins: Where the numbers of each step begin in a row of points (k inputs, then their towers), and of errors.
        second: Place of the derivative (i, j) of k inputs, shape (5, 4, 4).
        third: Of (i, j, l).
    """

    sizes: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    begins: NDArray[np.int64]
    second: NDArray[np.int64]
    third: NDArray[np.int64]


@njit(cache=True, error_model="numpy")
def _larger(a, b):
    """The larger, and no number if one is none: what `max` does then differs from processor to processor."""
    return b if b > a or b != b else a


@njit(cache=True, error_model="numpy")
def _sharpen(m, R, e, r, work):
    """Taylor's formula, in place."""
    d = len(r)
    for i in range(d):
        work[i] = 0.0
    q = 1 + d
    for i in range(d):
        for j in range(i, d):
            size = abs(m[q]) + R[q]
            q += 1
            work[i] += size * r[j]
            if j > i:
                work[j] += size * r[i]
    first, second, whole = 0.0, 0.0, 0.0
    for i in range(d):
        turn = (work[i] + e[1]) * MUCH
        if turn < R[1 + i]:
            R[1 + i] = turn
        first += (abs(m[1 + i]) + e[1]) * r[i]
        second += work[i] * r[i]
        whole += (abs(m[1 + i]) + R[1 + i]) * r[i]
    curved = first + 0.5 * second
    # where second derivatives are unknown the comparison is false
    away = (e[0] + (curved if curved < whole else whole)) * MUCH
    if away < R[0]:
        R[0] = away


@njit(cache=True, error_model="numpy")
def _multiply(a, A, ae, b, B, be, p, P, pe, r, work):
    """The product of two jets; p is neither of them.

    Each loop writes one row, so that compilers can make vectors of it; the rounding of a product is charged with a radius.
    """
    d, n = len(r), len(p)
    a0, b0, A0, B0 = a[0], b[0], A[0], B[0]
    aa, bb = abs(a0), abs(b0)
    for q in range(n):
        p[q] = a0 * b[q] + b0 * a[q]
    wide_a, wide_b, off_a, off_b = aa + A0, bb + B0, A0 + 4 * EPS * aa, B0 + 4 * EPS * bb
    for q in range(n):
        P[q] = wide_a * B[q] + off_a * abs(b[q])
    for q in range(n):
        P[q] += wide_b * A[q] + off_b * abs(a[q]) + TINY
    p[0] = a0 * b0
    P[0] = aa * B0 + A0 * (bb + B0) + EPS * abs(p[0]) + TINY
    steep_a, steep_b = 0.0, 0.0
    for q in range(1, 1 + d):
        steep_a, steep_b = _larger(steep_a, abs(a[q])), _larger(steep_b, abs(b[q]))
    pe[0] = (aa * be[0] + ae[0] * (bb + be[0])) * UP + EPS * abs(p[0]) + TINY
    turn = aa * be[1] + ae[0] * (steep_b + be[1]) + bb * ae[1] + be[0] * (steep_a + ae[1])
    pe[1] = turn * UP + 4 * EPS * (aa * steep_b + bb * steep_a) + TINY
    q = 1 + d
    for i in range(d):
        ai, bi, Ai, Bi = a[1 + i], b[1 + i], A[1 + i], B[1 + i]
        wide_a, wide_b, off_a, off_b = abs(ai) + Ai, abs(bi) + Bi, Ai + 8 * EPS * abs(ai), Bi + 8 * EPS * abs(bi)
        for j in range(i, d):
            p[q - i + j] += ai * b[1 + j] + bi * a[1 + j]
        for j in range(i, d):
            P[q - i + j] += wide_a * B[1 + j] + off_a * abs(b[1 + j])
        for j in range(i, d):
            P[q - i + j] += wide_b * A[1 + j] + off_b * abs(a[1 + j])
        q += d - i
    for q in range(n):
        P[q] *= UP
    _sharpen(p, P, pe, r, work)


@njit(cache=True, error_model="numpy")
def _add(a, A, ae, b, B, be, sign):
    """a += sign b for jets, not sharpened."""
    noise = 0.0
    for q in range(len(a)):
        a[q] += sign * b[q]
        A[q] = (A[q] + B[q]) * UP + EPS * abs(a[q])
        noise = _larger(noise, abs(a[q]))  # of second derivatives too: an error need not be small
    ae[0] = (ae[0] + be[0]) * UP + EPS * abs(a[0])
    ae[1] = (ae[1] + be[1]) * UP + EPS * noise


@njit(cache=True, error_model="numpy")
def _copy(a, A, ae, p, P, pe):
    """p = a for jets."""
    for q in range(len(a)):
        p[q], P[q] = a[q], A[q]
    pe[0], pe[1] = ae[0], ae[1]


@njit(cache=True, error_model="numpy")
def _exponential(sign, s, S, se, p, P, pe, r, work):
    """The jet of exp(sign s)."""
    d = len(r)
    if not abs(s[0]) < LARGEST_EXPONENT:  # beyond, numbers underflow or overflow
        p[:], P[:], pe[:] = 0.0, math.inf, math.inf
        return
    e = math.exp(sign * s[0])
    away = e * math.expm1(S[0]) * UP + 8 * EPS * e
    off = e * math.expm1(se[0]) * UP + 8 * EPS * e
    p[0], P[0], pe[0] = e, away, off
    steep = 0.0
    for q in range(1, len(s)):
        p[q] = sign * e * s[q]
        P[q] = (e * S[q] + away * (abs(s[q]) + S[q])) * UP + 4 * EPS * abs(p[q]) + TINY
    for i in range(1, 1 + d):
        steep = _larger(steep, abs(s[i]))
    pe[1] = (e * se[1] + off * (steep + se[1])) * UP + 4 * EPS * e * steep + TINY
    q = 1 + d
    for i in range(d):
        si, Si = s[1 + i], S[1 + i]
        for j in range(i, d):
            sj, Sj = s[1 + j], S[1 + j]
            term = e * si * sj
            size = abs(p[q]) + abs(term)
            p[q] += term
            spread = e * (abs(si) * Sj + Si * (abs(sj) + Sj)) + away * (abs(si) + Si) * (abs(sj) + Sj)
            P[q] += spread * UP + 8 * EPS * size + TINY
            q += 1
    _sharpen(p, P, pe, r, work)


@njit(cache=True, error_model="numpy")
def _compose(f0, F0, e0, f1, F1, e1, f2, F2, x, X, xe, seen, k, p, P, pe, r, work):
    """The jet of f(u) for jets u: f, its slopes and second derivatives at their middles with radii on the window.

    e0 and e1 are the errors of f and of its slopes there.
    """
    d = len(r)
    p[0], P[0] = f0, F0 + TINY
    off = e0
    for q in range(1, len(p)):
        p[q], P[q] = 0.0, TINY
    turn = 0.0
    for i in range(k):
        u, U = x[seen[i]], X[seen[i]]
        slope, wide = f1[i], F1[i]
        size = abs(slope)
        off += (size + wide) * xe[seen[i], 0]
        steep = 0.0
        for q in range(1, len(p)):
            term = slope * u[q]
            p[q] += term
            P[q] += (size * U[q] + wide * (abs(u[q]) + U[q])) * UP + 16 * EPS * abs(term)
        for q in range(1, 1 + d):
            steep = _larger(steep, abs(u[q]))
        turn += size * xe[seen[i], 1] + e1[i] * (steep + xe[seen[i], 1]) + 16 * EPS * size * steep
    for i in range(k):
        u, U = x[seen[i]], X[seen[i]]
        for j in range(k):
            v, V = x[seen[j]], X[seen[j]]
            bend, wide = f2[i, j], F2[i, j]
            size = abs(bend)
            q = 1 + d
            for g in range(d):
                ug, Ug = u[1 + g], U[1 + g]
                whole = abs(ug) + Ug
                for h in range(g, d):
                    vh, Vh = v[1 + h], V[1 + h]
                    term = bend * ug * vh
                    p[q] += term
                    P[q] += (size * (whole * Vh + Ug * abs(vh)) + wide * whole * (abs(vh) + Vh)) * UP + 64 * EPS * abs(term)
                    q += 1
    # running sums of these terms, rounded
    for q in range(1, len(p)):
        P[q] = P[q] * MUCH + TINY
    pe[0], pe[1] = off * MUCH + TINY, turn * MUCH + TINY
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
def _look_up(maps, step, k, width, x, seen, away, least, greatest, lows, highs):
    """Ranges where the inputs are at most `away` from their middles, lower ends and upper ends; False outside the tables."""
    table, row, column, third = 0, 1, 1, 1
    allowed = MOST_CELLS[k - 1]
    for i in range(k):
        middle, radius = x[seen[i], 0], away[i] * UP
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
                    for q in range(width):
                        low, high = maps.least[place + q], maps.greatest[place + q]
                        least[q] = low if low < least[q] else least[q]
                        greatest[q] = high if high > greatest[q] else greatest[q]
    return True


@njit(cache=True, error_model="numpy")
def _radii(centre, wrong, least, greatest, k, count, second, third, away, out):
    """Radii about the numbers at a point, of `count` derivatives each, on a window whose inputs are at most `away` from it.

    From the table, and by the mean value theorem from the derivatives of the next order.
    """
    for q in range(len(centre)):
        radius = _larger(_larger(greatest[q] - centre[q], centre[q] - least[q]), 0.0) * UP
        out[q] = radius if radius < math.inf else math.inf  # also where it is no number
    for begin in range(0, len(centre), count):
        for i in range(k):
            for j in range(i, k):
                q = begin + second[k, i, j]
                reach = wrong[q]
                for g in range(k):
                    p = begin + third[k, i, j, g]
                    reach += (abs(centre[p]) + out[p]) * away[g]
                if reach * UP < out[q]:
                    out[q] = reach * UP
        for i in range(k):
            q = begin + 1 + i
            reach = wrong[q]
            for g in range(k):
                p = begin + second[k, i, g]
                reach += (abs(centre[p]) + out[p]) * away[g]
            if reach * UP < out[q]:
                out[q] = reach * UP
        reach = wrong[begin]
        for g in range(k):
            p = begin + 1 + g
            reach += (abs(centre[p]) + out[p]) * away[g]
        if reach * UP < out[begin]:
            out[begin] = reach * UP


@njit(cache=True, error_model="numpy")
def _norm(a, scratch, d):
    """An upper bound of the largest singular value of a matrix: a root of the trace of a power of its Gram matrix."""
    g, h = scratch[0], scratch[1]
    scale = 0.0
    for i in range(d):
        for j in range(d):
            if not abs(a[i, j]) < math.inf:
                return math.inf
            scale = _larger(scale, abs(a[i, j]))
    if scale == 0.0:
        return 0.0
    # scaled, so that squares neither overflow nor vanish
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += (a[k, i] / scale) * (a[k, j] / scale)
            g[i, j] = total
    logarithm, weight = 0.0, 1.0
    for _ in range(SQUARINGS):
        trace = 0.0
        for i in range(d):
            trace += g[i, i]
        logarithm += weight * math.log(trace)
        weight *= 0.5
        for i in range(d):
            for j in range(d):
                g[i, j] /= trace
        for i in range(d):
            for j in range(d):
                total = 0.0
                for k in range(d):
                    total += g[i, k] * g[k, j]
                h[i, j] = total
        g, h = h, g
    trace = 0.0
    for i in range(d):
        trace += g[i, i]
    logarithm += weight * math.log(trace)
    return scale * math.exp(0.5 * logarithm) * (1 + 1e-11)


@njit(cache=True, error_model="numpy")
def _bound(a, A, ae, r, lead, rest, scratch, scores, tried, chosen):
    """An upper bound of the norm of a matrix of jets; scores receives how much each side contributes.

    The most important directions of the linear part are tried at both ends, the others are added to the rest.
    """
    d = len(r)
    middle = lead[0]
    for v in range(d):
        straight, whole = 0.0, 0.0
        for i in range(d):
            for j in range(d):
                slope = a[j * d + i, 1 + v]
                lead[1 + v][i, j] = slope * r[v]
                straight += slope * slope
                whole += (abs(slope) + A[j * d + i, 1 + v]) ** 2
        tried[v] = math.sqrt(straight) * r[v]
        scores[v] = math.sqrt(whole) * r[v]
    count = 0
    for _ in range(min(CORNERS, d)):
        best, place = 0.0, -1
        for v in range(d):
            taken = False
            for c in range(count):
                taken = taken or chosen[c] == v
            if not taken and tried[v] > best:
                best, place = tried[v], v
        if place < 0:
            break
        chosen[count] = place
        count += 1
    # two forms: the linear part and what is left of it, or the middle with the whole radius
    spread, plain, scale, wide = 0.0, 0.0, 1e-300, 1e-300
    for i in range(d):
        for j in range(d):
            jet, radii, wrong = a[j * d + i], A[j * d + i], ae[j * d + i]
            middle[i, j] = jet[0]
            left, rounding, q = wrong[0], abs(jet[0]), 1 + d
            for g in range(d):
                for h in range(g, d):
                    bend = (abs(jet[q]) + radii[q]) * r[g] * r[h]
                    left += 0.5 * bend if g == h else bend
                    q += 1
            for v in range(d):
                taken = False
                for c in range(count):
                    taken = taken or chosen[c] == v
                part = abs(jet[1 + v]) * r[v]
                left += wrong[1] * r[v] + (0.0 if taken else part)
                rounding += part
            rest[i, j] = left * MUCH + 64 * EPS * rounding + TINY
            scale, wide = _larger(scale, rest[i, j]), _larger(wide, radii[0])
    for i in range(d):
        for j in range(d):
            spread += (rest[i, j] / scale) ** 2
            plain += (A[j * d + i, 0] / wide) ** 2
    spread, plain = scale * math.sqrt(spread) * MUCH, wide * math.sqrt(plain) * MUCH
    best = math.inf
    if plain < math.inf:
        best = _norm(middle, scratch, d) + plain
    if spread < best:
        corner, largest = scratch[2], 0.0
        for signs in range(1 << count):
            for i in range(d):
                for j in range(d):
                    value = middle[i, j]
                    for c in range(count):
                        value += lead[1 + chosen[c]][i, j] * (1.0 if (signs >> c) & 1 else -1.0)
                    corner[i, j] = value
            largest = _larger(largest, _norm(corner, scratch, d))
        best = min(best, largest + spread)
    best *= MUCH
    return best if best < math.inf else math.inf  # also where it is no number


@njit(cache=True, error_model="numpy")
def _direction(x, r, center, generators, shifts, out):
    """Unit vector from the domain's segments to the image, both by their linear parts: where they are nearest; its length first.

    Coordinate descent; any direction is good for a proof, the nearest places give the best.
    """
    d = len(r)
    for i in range(d):
        out[i] = x[i, 0] - center[i]
    for v in range(d + len(generators)):
        shifts[v] = 0.0
    for _ in range(SWEEPS):
        for v in range(d + len(generators)):
            limit = r[v] if v < d else 1.0
            square, along = 0.0, 0.0
            for i in range(d):
                slope = x[i, 1 + v] if v < d else generators[v - d, i]
                square += slope * slope
                along += slope * out[i]
            if not square > 1e-280:
                continue
            new = min(max(shifts[v] - along / square, -limit), limit)
            step = new - shifts[v]
            shifts[v] = new
            for i in range(d):
                out[i] += step * (x[i, 1 + v] if v < d else generators[v - d, i])
    length = 0.0
    for i in range(d):
        length += out[i] ** 2
    length = math.sqrt(length)
    for i in range(d):
        out[i] /= length
    return length


@njit(cache=True, error_model="numpy")
def _excess(x, X, xe, r, center, radius, generators, line, Line, error, work, normal, shifts, scores):
    """0 if the image is beyond a half-space about the domain; else how many times too wide it is for that, or infinity.

    Scores receive how much each side contributes to the image along its normal.
    """
    d = len(r)
    length = _direction(x, r, center, generators, shifts, normal)
    if not 1e-140 < length < math.inf:  # else squares are not what they should be
        return math.inf
    size, steep = 0.0, 0.0
    for q in range(len(line)):
        line[q], Line[q] = 0.0, TINY
    error[0], error[1] = 0.0, 0.0
    for i in range(d):
        along = normal[i]
        line[0] += along * (x[i, 0] - center[i])
        size += abs(x[i, 0]) + abs(center[i])
        Line[0] += abs(along) * X[i, 0]
        for q in range(1, len(line)):
            term = along * x[i, q]
            line[q] += term
            Line[q] += abs(along) * X[i, q] + 32 * EPS * abs(term)
        for q in range(1, 1 + d):
            steep = _larger(steep, abs(x[i, q]))
        error[0] += abs(along) * xe[i, 0]
        error[1] += abs(along) * xe[i, 1]
    for q in range(len(line)):
        Line[q] *= MUCH
    error[0] = error[0] * MUCH + 64 * EPS * size
    error[1] = error[1] * MUCH + 64 * EPS * d * steep
    Line[0] += 64 * EPS * size
    _sharpen(line, Line, error, r, work)
    for i in range(d):
        scores[i] = (abs(line[1 + i]) + Line[1 + i]) * r[i]
    inside = 0.0
    for g in range(len(generators)):
        part = 0.0
        for i in range(d):
            part += normal[i] * generators[g, i]
            size += abs(generators[g, i])
        inside += abs(part)
    # the normal is a unit vector up to rounding
    nearest = line[0] - (Line[0] + inside) * MUCH - 64 * EPS * size
    if nearest * (1 - 1e-12) > radius:
        return 0.0
    gap = line[0] - inside - radius
    wide = Line[0] / gap if gap > 0.0 else math.inf
    return wide if wide > 1.0 else 1.0  # also where it is no number


@njit(cache=True, error_model="numpy")
def _jets(numbers, at, count, size):
    """Middles, radii and errors of so many jets, in a part of the scratch, and where the next part begins."""
    radii, errors, end = at + count * size, at + 2 * count * size, at + 2 * count * (size + 1)
    return (
        numbers[at:radii].reshape((count, size)),
        numbers[radii:errors].reshape((count, size)),
        numbers[errors:end].reshape((count, 2)),
        end,
    )


@njit(cache=True, error_model="numpy")
def _matrices(numbers, at, count, rows, columns):
    end = at + count * rows * columns
    return numbers[at:end].reshape((count, rows, columns)), end


@njit(cache=True, error_model="numpy")
def _vectors(numbers, at, count, length):
    end = at + count * length
    return numbers[at:end].reshape((count, length)), end


def scratch_of(program: Program, dim: int, generators: int) -> tuple[int, int]:
    """How many numbers and how many integers `bound_box` needs to work with."""
    m, k, _ = program.sizes.max(0).tolist()
    width = int((2 * program.sizes[:, 0] * program.sizes[:, 2]).max())
    size = 1 + dim + dim * (dim + 1) // 2
    jets = dim + dim * dim + 3 * m + m * k + 2
    matrices = (1 + dim + 1 + 3) * dim * dim + 2 * k * k
    vectors = (2 + len(program.sizes)) * width + 4 * k + 4 * dim + generators
    return 2 * (size + 1) * jets + matrices + vectors, 2 * MOST_INPUTS + CORNERS + dim * dim


@njit(cache=True, error_model="numpy")
def bound_box(middle, r, points, program, maps, center, radius, generators, deep, scores, numbers, integers):
    """Bound the norm of A over a box of data whose image may meet a domain; see `bound_boxes`.

    `points` are those of the box, `scores` are zeros that are written to unless tables know nothing, `numbers` and `integers`
    are scratch (`scratch_of`), whatever stands there.
    """
    d = len(r)
    size = 1 + d + d * (d + 1) // 2
    steps, most_m, most_k, width = len(program.sizes), 1, 1, 1
    for step in range(steps):
        m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
        most_m, most_k, width = max(most_m, m), max(most_k, k), max(width, 2 * m * count)
    x, X, xe, at = _jets(numbers, 0, d, size)
    a, A, ae, at = _jets(numbers, at, d * d, size)  # entry (column, row) at column d + row
    s, S, se, at = _jets(numbers, at, most_m, size)
    t, T, te, at = _jets(numbers, at, most_m, size)
    y, Y, ye, at = _jets(numbers, at, most_m, size)
    w, W, we, at = _jets(numbers, at, most_m * most_k, size)
    p, P, pe, at = _jets(numbers, at, 1, size)
    v, V, ve, at = _jets(numbers, at, 1, size)
    p, P, pe, v, V, ve = p[0], P[0], pe[0], v[0], V[0], ve[0]
    lead, at = _matrices(numbers, at, 1 + d, d, d)
    rest, at = _vectors(numbers, at, d, d)
    matrices, at = _matrices(numbers, at, 3, d, d)
    seconds, at = _matrices(numbers, at, 2, most_k, most_k)
    f2, F2 = seconds[0], seconds[1]
    ends, at = _vectors(numbers, at, 2, width)
    least, greatest = ends[0], ends[1]
    kept, at = _vectors(numbers, at, steps, width)  # radii of the conditioners
    slopes, at = _vectors(numbers, at, 4, most_k)
    f1, F1, e1, away = slopes[0], slopes[1], slopes[2], slopes[3]
    rows, at = _vectors(numbers, at, 3, d)
    work, tried, normal = rows[0], rows[1], rows[2]
    shifts = numbers[at : at + d + len(generators)]
    lows, highs = integers[:MOST_INPUTS], integers[MOST_INPUTS : 2 * MOST_INPUTS]
    chosen = integers[2 * MOST_INPUTS : 2 * MOST_INPUTS + CORNERS]
    filled = integers[2 * MOST_INPUTS + CORNERS : 2 * MOST_INPUTS + CORNERS + d * d]
    for turn in range(2 if deep else 1):  # first the orbit alone: most boxes that miss need no A
        if turn == 1:
            a[:], A[:], ae[:], filled[:] = 0.0, 0.0, 0.0, 0
            for i in range(d):
                a[i * d + i, 0] = 1.0
                filled[i * d + i] = 1
        x[:], X[:], xe[:] = 0.0, 0.0, 0.0
        for i in range(d):
            x[i, 0], X[i, 0], x[i, 1 + i] = middle[i], r[i], 1.0
        for step in range(steps):
            m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
            changed, seen = program.coordinates[step, :m], program.coordinates[step, m : m + k]
            begin = program.begins[step, 0] + k
            centre = points[begin : begin + 2 * m * count]
            wrong = maps.errors[program.begins[step, 1] : program.begins[step, 1] + 2 * m * count]
            for i in range(k):
                # the towers are at inputs that were computed otherwise
                off = abs(x[seen[i], 0] - points[begin - k + i])
                away[i] = (X[seen[i], 0] + off) * UP
                xe[seen[i], 0] += off * UP
            radii_of = kept[step, : 2 * m * count]  # the second time the same
            if turn == 0:
                if not _look_up(maps, step, k, 2 * m * count, x, seen, away, least, greatest, lows, highs):
                    return math.inf
                _radii(centre, wrong, least, greatest, k, count, program.second, program.third, away, radii_of)
            for c in range(m):
                for part in range(2):
                    place = (part * m + c) * count
                    for i in range(k):
                        f1[i], F1[i], e1[i] = centre[place + 1 + i], radii_of[place + 1 + i], wrong[place + 1 + i]
                        for j in range(k):
                            q = place + program.second[k, i, j]
                            f2[i, j], F2[i, j] = centre[q], radii_of[q]
                            e1[i] += (abs(centre[q]) + radii_of[q]) * xe[seen[j], 0] * UP
                    f0, F0, e0 = centre[place], radii_of[place], wrong[place]
                    if part == 0:
                        _compose(f0, F0, e0, f1, F1, e1, f2, F2, x, X, xe, seen, k, s[c], S[c], se[c], r, work)
                    else:
                        _compose(f0, F0, e0, f1, F1, e1, f2, F2, x, X, xe, seen, k, t[c], T[c], te[c], r, work)
            if turn == 1:
                for c in range(m):
                    _exponential(-1.0, s[c], S[c], se[c], y[c], Y[c], ye[c], r, work)
                    row = changed[c]
                    for g in range(k):
                        h = c * most_k + g
                        for part in range(2):
                            place = (part * m + c) * count
                            q = place + 1 + g
                            f0, F0, e0 = centre[q], radii_of[q], wrong[q]
                            for i in range(k):
                                q = place + program.second[k, g, i]
                                f1[i], F1[i], e1[i] = centre[q], radii_of[q], wrong[q]
                                for j in range(k):
                                    q = place + program.third[k, g, i, j]
                                    f2[i, j], F2[i, j] = centre[q], radii_of[q]
                                    e1[i] += (abs(centre[q]) + radii_of[q]) * xe[seen[j], 0] * UP
                            _compose(f0, F0, e0, f1, F1, e1, f2, F2, x, X, xe, seen, k, p, P, pe, r, work)
                            if part == 0:
                                _multiply(x[row], X[row], xe[row], p, P, pe, w[h], W[h], we[h], r, work)
                            else:
                                _multiply(y[c], Y[c], ye[c], p, P, pe, v, V, ve, r, work)
                        _add(w[h], W[h], we[h], v, V, ve, 1.0)
                        _sharpen(w[h], W[h], we[h], r, work)
                for row in range(d):
                    for c in range(m):
                        own = changed[c] * d + row
                        if not filled[own]:
                            continue
                        e, E, ee = a[own], A[own], ae[own]
                        for g in range(k):
                            other, h = seen[g] * d + row, c * most_k + g
                            _multiply(e, E, ee, w[h], W[h], we[h], p, P, pe, r, work)
                            _add(a[other], A[other], ae[other], p, P, pe, -1.0)
                            filled[other] = 1
                        _multiply(e, E, ee, y[c], Y[c], ye[c], p, P, pe, r, work)
                        _copy(p, P, pe, e, E, ee)
                    for g in range(k):
                        other = seen[g] * d + row
                        if filled[other]:
                            _sharpen(a[other], A[other], ae[other], r, work)
            for c in range(m):
                row = changed[c]
                _exponential(1.0, s[c], S[c], se[c], p, P, pe, r, work)
                _multiply(x[row], X[row], xe[row], p, P, pe, v, V, ve, r, work)
                _add(v, V, ve, t[c], T[c], te[c], 1.0)
                _sharpen(v, V, ve, r, work)
                _copy(v, V, ve, x[row], X[row], xe[row])
        if turn == 0:
            wide = _excess(x, X, xe, r, center, radius, generators, p, P, pe, work, normal, shifts, scores)
            if wide == 0.0 or not deep:
                return wide
    return _bound(a, A, ae, r, lead, rest, matrices, scores, tried, chosen)


@njit(cache=True, error_model="numpy", nogil=True)
def bound_boxes(middles, radii, points, program, maps, center, radius, generators, deep, scratch):
    """Bound the norm of A over boxes of data whose images may meet a domain.

    The domain is a ball plus the segments between -g and g for the rows g of `generators`; `points` are the inputs of all
    conditioners at the middles of the boxes with their towers there, `scratch` the sizes from `scratch_of`. Returns, for every
    box, the bound (0 if the image provably misses the domain, infinity if nothing is known; without `deep` how many times too
    wide the image is for that), and what the sides contribute to the bound, or without `deep` to the distance.
    """
    bounds, scores = np.empty(len(middles)), np.zeros(middles.shape)
    numbers, integers = np.zeros(scratch[0]), np.zeros(scratch[1], dtype=np.int64)
    for box in range(len(middles)):
        bounds[box] = bound_box(
            middles[box],
            radii[box],
            points[box],
            program,
            maps,
            center,
            radius,
            generators,
            deep,
            scores[box],
            numbers,
            integers,
        )
    return bounds, scores
