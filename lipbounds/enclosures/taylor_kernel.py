r"""Jets: functions on boxes by their numbers at the middle, to second order, and radii that hold on the whole box.

A jet of a function q on a box about c with half sides r has middles of q, $\partial_iq$ and $\partial_{ij}q$, with a radius R for
each and the errors e, e' of the middles of q and $\partial_iq$ at c. Of every radius it knows a part L that grows with the
distance from c: for $|h|\le r$ and $0\le t\le1$
$$|\partial_{ij}q(c+th)-m_{ij}|\le(R_{ij}-L_{ij})+tL_{ij},$$
and likewise for q and $\partial_iq$. Sums, products, exponentials and compositions of jets are jets by the rules of
differentiation; then Taylor's formula about c, integrated along the segment to c + h, tightens them,
$$R_i\le e'+\sum_j(|m_{ij}|+R_{ij}-\tfrac12L_{ij})\,r_j,\qquad
R\le e+\sum_i(|m_i|+e')\,r_i+\tfrac12\sum_{ij}(|m_{ij}|+R_{ij}-\tfrac23L_{ij})\,r_ir_j,$$
where all but the errors grows with the distance again. So radii stay about as small as the ranges of bounded functions, on large
boxes, and of second order in r on small ones, where what is left over has a third of the weight that a radius alone would have.

A jet is an array: middles of q, of its d slopes and of its second derivatives, row by row of the upper triangle; as many rows of
radii, and of what grows of these; two rows of errors, of q and of its slopes. A row has all lanes.

Some boxes are treated at a time, a lane each: numbers of all lanes stand beside each other, and loops over lanes are innermost
and write one row or two, so that compilers make vectors of them. On a GPU a thread has one lane.

Rounding goes into radii and errors, never into what grows. With EPS of twice the unit of rounding a sum of n products has an
error of at most n EPS times that of their absolute values; UP_KERNEL and UP_SUM cover the roundings of radii, sums of at most 200
nonnegative products, and DOWN_SUM those of what grows, which may be too small but not too large.
"""

from __future__ import annotations

import math

from lipbounds.compiled import compiled
from lipbounds.rounding import DOWN_SUM, EPS, TINY, UP_KERNEL, UP_SUM

__all__ = [
    "QUARTER",
    "ROWS",
    "TWO_THIRDS",
    "add",
    "compose",
    "copy",
    "exponential",
    "fill",
    "largest",
    "multiply",
    "nan_max",
    "numbers_of",
    "tighten",
]

TWO_THIRDS = 0.6666666666666666  # rounded down
QUARTER = 0.25  # of what grows counts against a radius where two are to be compared: with 0 or 1/2 bounds were worse
LARGEST_EXPONENT = 600.0  # |s| above: exp(s) or its products may overflow or underflow
ROWS = 8  # of scratch beyond those of `tighten`


@compiled(error_model="numpy")
def nan_max(a, b):
    """max(a, b), or NaN if either is NaN. Under numba `max` returns either operand, depending on the platform."""
    return b if b > a or b != b else a


@compiled(error_model="numpy")
def fill(row, value):
    """Set all lanes."""
    for lane in range(len(row)):
        row[lane] = value


@compiled(error_model="numpy")
def largest(rows, first, end, out):
    """The largest absolute value of some rows in each lane."""
    fill(out, 0.0)
    for q in range(first, end):
        row = rows[q]
        for lane in range(len(out)):
            size = abs(row[lane])
            out[lane] = size if size > out[lane] or size != size else out[lane]


@compiled(error_model="numpy")
def numbers_of(d):
    """Number n of middles of a jet in d variables; its array has 3n + 2 rows."""
    return 1 + d + d * (d + 1) // 2


@compiled(error_model="numpy")
def tighten(q, r, work):
    """Taylor's formula, in place: radii of the jet q (3n + 2, lanes), rounded up; growing parts, rounded down.

    Half sides r have shape (d, lanes); the first d + 3 rows of `work` (rows, lanes) are overwritten.
    """
    d, lanes = r.shape
    n = numbers_of(d)
    first, second, whole = work[d], work[d + 1], work[d + 2]
    fill(first, 0.0)
    fill(second, 0.0)
    fill(whole, 0.0)
    for i in range(d):
        fill(work[i], 0.0)
    place = 1 + d
    for i in range(d):
        own, side = work[i], r[i]
        for j in range(i, d):
            m, R, L, other, across = q[place], q[n + place], q[2 * n + place], work[j], r[j]
            share = 0.5 if j == i else 1.0
            for lane in range(lanes):
                own[lane] += (abs(m[lane]) + (R[lane] - 0.5 * L[lane])) * across[lane]
            if j > i:
                for lane in range(lanes):
                    other[lane] += (abs(m[lane]) + (R[lane] - 0.5 * L[lane])) * side[lane]
            for lane in range(lanes):
                second[lane] += share * (abs(m[lane]) + (R[lane] - TWO_THIRDS * L[lane])) * (side[lane] * across[lane])
            place += 1
    e0, e1, R0, L0 = q[3 * n], q[3 * n + 1], q[n], q[2 * n]
    for i in range(d):
        own, m, R, L, side = work[i], q[1 + i], q[n + 1 + i], q[2 * n + 1 + i], r[i]
        for lane in range(lanes):
            turn = (own[lane] + e1[lane]) * UP_SUM
            better = turn - QUARTER * own[lane] < R[lane] - QUARTER * L[lane]
            R[lane] = turn if better else R[lane]
            L[lane] = own[lane] * DOWN_SUM if better else L[lane]
        for lane in range(lanes):
            first[lane] += (abs(m[lane]) + e1[lane]) * side[lane]
        for lane in range(lanes):
            whole[lane] += (abs(m[lane]) + (R[lane] - 0.5 * L[lane])) * side[lane]
    for lane in range(lanes):
        curved = first[lane] + second[lane]
        # where second derivatives are unknown the comparisons are false
        growth = curved if curved < whole[lane] else whole[lane]
        away = (e0[lane] + growth) * UP_SUM
        better = away - QUARTER * growth < R0[lane] - QUARTER * L0[lane]
        R0[lane] = away if better else R0[lane]
        L0[lane] = growth * DOWN_SUM if better else L0[lane]


@compiled(error_model="numpy")
def _spreads(m, R, share, wide, off):
    """What a number contributes to the radii of products: its size with its radius, and its radius with the share of rounding."""
    for lane in range(len(m)):
        wide[lane] = abs(m[lane]) + R[lane]
    for lane in range(len(m)):
        off[lane] = R[lane] + share * EPS * abs(m[lane])


@compiled(error_model="numpy")
def multiply(a, b, p, r, work):
    """p = a b, tightened; p is neither of them. Jets (3n + 2, lanes), r (d, lanes), work (at least d + 7, lanes).

    Radii and errors are rounded up, growing parts down.
    """
    d, lanes = r.shape
    n = numbers_of(d)
    wide_a, off_a, wide_b, off_b = work[d + 3], work[d + 4], work[d + 5], work[d + 6]
    a0, b0, A0, B0, growth_a, growth_b = a[0], b[0], a[n], b[n], a[2 * n], b[2 * n]
    _spreads(a0, A0, 4, wide_a, off_a)
    _spreads(b0, B0, 4, wide_b, off_b)
    for q in range(1, n):
        aq, bq, Aq, Bq, pq, Pq = a[q], b[q], a[n + q], b[n + q], p[q], p[n + q]
        growth_aq, growth_bq, growth = a[2 * n + q], b[2 * n + q], p[2 * n + q]
        for lane in range(lanes):
            pq[lane] = a0[lane] * bq[lane] + b0[lane] * aq[lane]
            left = wide_a[lane] * Bq[lane] + off_a[lane] * abs(bq[lane])
            Pq[lane] = left + (wide_b[lane] * Aq[lane] + off_b[lane] * abs(aq[lane]) + TINY)
        for lane in range(lanes):
            left = wide_a[lane] * growth_bq[lane] + growth_a[lane] * abs(bq[lane])
            growth[lane] = left + (wide_b[lane] * growth_aq[lane] + growth_b[lane] * abs(aq[lane]))
    p0, P0, growth0, e0, e1 = p[0], p[n], p[2 * n], p[3 * n], p[3 * n + 1]
    for lane in range(lanes):
        p0[lane] = a0[lane] * b0[lane]
    for lane in range(lanes):
        P0[lane] = (abs(a0[lane]) * B0[lane] + A0[lane] * wide_b[lane] + EPS * abs(p0[lane]) + TINY) * UP_KERNEL
    for lane in range(lanes):
        growth0[lane] = (abs(a0[lane]) * growth_b[lane] + growth_a[lane] * wide_b[lane]) * DOWN_SUM
    steep_a, steep_b = work[d], work[d + 1]
    largest(a, 1, 1 + d, steep_a)
    largest(b, 1, 1 + d, steep_b)
    ae0, ae1, be0, be1 = a[3 * n], a[3 * n + 1], b[3 * n], b[3 * n + 1]
    for lane in range(lanes):
        e0[lane] = (abs(a0[lane]) * be0[lane] + ae0[lane] * (abs(b0[lane]) + be0[lane])) * UP_KERNEL + EPS * abs(p0[lane]) + TINY
    for lane in range(lanes):
        e1[lane] = abs(a0[lane]) * be1[lane] + ae0[lane] * (steep_b[lane] + be1[lane])
    for lane in range(lanes):
        e1[lane] += abs(b0[lane]) * ae1[lane] + be0[lane] * (steep_a[lane] + ae1[lane])
    for lane in range(lanes):
        e1[lane] = e1[lane] * UP_KERNEL + 4 * EPS * (abs(a0[lane]) * steep_b[lane] + abs(b0[lane]) * steep_a[lane]) + TINY
    q = 1 + d
    for i in range(d):
        ai, bi, growth_a, growth_b = a[1 + i], b[1 + i], a[2 * n + 1 + i], b[2 * n + 1 + i]
        _spreads(ai, a[n + 1 + i], 8, wide_a, off_a)
        _spreads(bi, b[n + 1 + i], 8, wide_b, off_b)
        for j in range(i, d):
            aj, bj, Aj, Bj, pq, Pq = a[1 + j], b[1 + j], a[n + 1 + j], b[n + 1 + j], p[q], p[n + q]
            growth_aj, growth_bj, growth = a[2 * n + 1 + j], b[2 * n + 1 + j], p[2 * n + q]
            for lane in range(lanes):
                pq[lane] += ai[lane] * bj[lane] + bi[lane] * aj[lane]
                left = wide_a[lane] * Bj[lane] + off_a[lane] * abs(bj[lane])
                Pq[lane] = Pq[lane] + left + (wide_b[lane] * Aj[lane] + off_b[lane] * abs(aj[lane]))
            for lane in range(lanes):
                left = wide_a[lane] * growth_bj[lane] + growth_a[lane] * abs(bj[lane])
                growth[lane] = growth[lane] + left + (wide_b[lane] * growth_aj[lane] + growth_b[lane] * abs(aj[lane]))
            q += 1
    for q in range(1, n):
        Pq, growth = p[n + q], p[2 * n + q]
        for lane in range(lanes):
            Pq[lane] *= UP_KERNEL
        for lane in range(lanes):
            growth[lane] *= DOWN_SUM
    tighten(p, r, work)


@compiled(error_model="numpy")
def add(a, b, sign, work):
    """a += sign b for jets (3n + 2, lanes) and sign 1 or -1, not tightened; radii and errors up, growing parts down."""
    n, lanes = len(a) // 3, a.shape[1]
    for q in range(n):
        aq, bq, Aq, Bq, growth, other = a[q], b[q], a[n + q], b[n + q], a[2 * n + q], b[2 * n + q]
        for lane in range(lanes):
            aq[lane] += sign * bq[lane]
        for lane in range(lanes):
            Aq[lane] = (Aq[lane] + Bq[lane]) * UP_KERNEL + EPS * abs(aq[lane])
        for lane in range(lanes):
            growth[lane] = (growth[lane] + other[lane]) * DOWN_SUM
    noise = work[0]
    largest(a, 0, n, noise)  # of second derivatives too: an error need not be small
    a0, ae0, ae1, be0, be1 = a[0], a[3 * n], a[3 * n + 1], b[3 * n], b[3 * n + 1]
    for lane in range(lanes):
        ae0[lane] = (ae0[lane] + be0[lane]) * UP_KERNEL + EPS * abs(a0[lane])
    for lane in range(lanes):
        ae1[lane] = (ae1[lane] + be1[lane]) * UP_KERNEL + EPS * noise[lane]


@compiled(error_model="numpy")
def copy(a, p):
    """p = a."""
    for row in range(len(a)):
        for lane in range(a.shape[1]):
            p[row, lane] = a[row, lane]


@compiled(error_model="numpy")
def exponential(sign, s, p, r, work):
    """p = exp(sign s), tightened; jets (3n + 2, lanes), sign 1 or -1. Radii and errors up, growing parts down.

    Radii are infinite where |s| is at least LARGEST_EXPONENT at the middle.
    """
    d, lanes = r.shape
    n = numbers_of(d)
    e, away, off, steep, grown = work[d + 3], work[d + 4], work[d + 5], work[d + 6], work[d + 7]
    s0, S0, growth0, se0, se1 = s[0], s[n], s[2 * n], s[3 * n], s[3 * n + 1]
    for lane in range(lanes):
        # beyond, numbers underflow or overflow
        e[lane] = math.exp(sign * s0[lane]) if abs(s0[lane]) < LARGEST_EXPONENT else math.inf
        most = e[lane] * math.expm1(S0[lane])
        away[lane] = most * UP_KERNEL + 8 * EPS * e[lane]
        off[lane] = e[lane] * math.expm1(se0[lane]) * UP_KERNEL + 8 * EPS * e[lane]
        # convex in the distance: below the line from its value at the middle to that at the end
        growth = most - e[lane] * math.expm1((S0[lane] - growth0[lane]) * UP_KERNEL) - 64 * EPS * (e[lane] + most)
        grown[lane] = growth if growth > 0.0 else 0.0
    p0, P0, own, pe0, pe1 = p[0], p[n], p[2 * n], p[3 * n], p[3 * n + 1]
    for lane in range(lanes):
        p0[lane] = e[lane]
    for lane in range(lanes):
        P0[lane] = away[lane]
    for lane in range(lanes):
        own[lane] = grown[lane]
    for lane in range(lanes):
        pe0[lane] = off[lane]
    for q in range(1, n):
        sq, Sq, pq, Pq, growth_s, growth = s[q], s[n + q], p[q], p[n + q], s[2 * n + q], p[2 * n + q]
        for lane in range(lanes):
            pq[lane] = sign * e[lane] * sq[lane]
        for lane in range(lanes):
            Pq[lane] = (e[lane] * Sq[lane] + away[lane] * (abs(sq[lane]) + Sq[lane])) * UP_KERNEL + 4 * EPS * abs(pq[lane]) + TINY
        for lane in range(lanes):
            growth[lane] = e[lane] * growth_s[lane] + grown[lane] * (abs(sq[lane]) + Sq[lane])
    largest(s, 1, 1 + d, steep)
    for lane in range(lanes):
        pe1[lane] = (
            (e[lane] * se1[lane] + off[lane] * (steep[lane] + se1[lane])) * UP_KERNEL + 4 * EPS * e[lane] * steep[lane] + TINY
        )
    q = 1 + d
    for i in range(d):
        si, Si, growth_i = s[1 + i], s[n + 1 + i], s[2 * n + 1 + i]
        for j in range(i, d):
            sj, Sj, growth_j, pq, Pq, growth = s[1 + j], s[n + 1 + j], s[2 * n + 1 + j], p[q], p[n + q], p[2 * n + q]
            for lane in range(lanes):
                Pq[lane] += 8 * EPS * (abs(pq[lane]) + abs(e[lane] * si[lane] * sj[lane])) + TINY
            for lane in range(lanes):
                pq[lane] += e[lane] * si[lane] * sj[lane]
            for lane in range(lanes):
                Pq[lane] += e[lane] * (abs(si[lane]) * Sj[lane] + Si[lane] * (abs(sj[lane]) + Sj[lane])) * UP_KERNEL
            for lane in range(lanes):
                Pq[lane] += away[lane] * (abs(si[lane]) + Si[lane]) * (abs(sj[lane]) + Sj[lane]) * UP_KERNEL
            for lane in range(lanes):
                growth[lane] += e[lane] * (abs(si[lane]) * growth_j[lane] + growth_i[lane] * (abs(sj[lane]) + Sj[lane]))
            for lane in range(lanes):
                growth[lane] += grown[lane] * (abs(si[lane]) + Si[lane]) * (abs(sj[lane]) + Sj[lane])
            q += 1
    for q in range(1, n):
        growth = p[2 * n + q]
        for lane in range(lanes):
            growth[lane] *= DOWN_SUM
    tighten(p, r, work)
    for lane in range(lanes):
        if not abs(s0[lane]) < LARGEST_EXPONENT:
            for q in range(n):
                p[q, lane], p[n + q, lane], p[2 * n + q, lane] = 0.0, math.inf, 0.0
            pe0[lane], pe1[lane] = math.inf, math.inf


@compiled(error_model="numpy")
def compose(place, f, errors, x, seen, k, p, r, work):
    """p = f(u), where u are some of the jets x.

    Rows of `f` (3, numbers, lanes) are middles, radii and growing parts, in the order of `mlp_derivatives`; `errors` (numbers,)
    bound the errors of the middles in all lanes. Radii and errors of p are rounded up, growing parts down. `place` says where f
    stands among these, then its slopes, then its second derivatives, row by row.
    """
    d, lanes = r.shape
    n = numbers_of(d)
    off, turn, steep, slip = work[d + 3], work[d + 4], work[d + 5], work[d + 6]
    f0, F0, growth0, p0, P0, own = f[0, place[0]], f[1, place[0]], f[2, place[0]], p[0], p[n], p[2 * n]
    for lane in range(lanes):
        p0[lane] = f0[lane]
    for lane in range(lanes):
        P0[lane] = F0[lane] + TINY
    for lane in range(lanes):
        own[lane] = growth0[lane]
    for q in range(1, n):
        fill(p[q], 0.0)
        fill(p[n + q], TINY)
        fill(p[2 * n + q], 0.0)
    fill(off, errors[place[0]])
    fill(turn, 0.0)
    for i in range(k):
        u, e0, e1 = x[seen[i]], x[seen[i], 3 * n], x[seen[i], 3 * n + 1]
        slope, wide, grown = f[0, place[1 + i]], f[1, place[1 + i]], f[2, place[1 + i]]
        for lane in range(lanes):
            off[lane] += (abs(slope[lane]) + wide[lane]) * e0[lane]
        for q in range(1, n):
            uq, Uq, growth_q, pq, Pq, growth = u[q], u[n + q], u[2 * n + q], p[q], p[n + q], p[2 * n + q]
            for lane in range(lanes):
                pq[lane] += slope[lane] * uq[lane]
                size = abs(slope[lane])
                Pq[lane] += (size * Uq[lane] + wide[lane] * (abs(uq[lane]) + Uq[lane])) * UP_KERNEL + 16 * EPS * abs(
                    uq[lane]
                ) * size
            for lane in range(lanes):
                growth[lane] += abs(slope[lane]) * growth_q[lane] + grown[lane] * (abs(uq[lane]) + Uq[lane])
        largest(u, 1, 1 + d, steep)
        # the slope's error: its own, and that of where it is taken
        fill(slip, errors[place[1 + i]])
        for j in range(k):
            curvature, spread = f[0, place[1 + k + i * k + j]], f[1, place[1 + k + i * k + j]]
            there = x[seen[j], 3 * n]
            for lane in range(lanes):
                slip[lane] += (abs(curvature[lane]) + spread[lane]) * there[lane] * UP_KERNEL
        for lane in range(lanes):
            turn[lane] += slip[lane] * (steep[lane] + e1[lane]) + abs(slope[lane]) * (e1[lane] + 16 * EPS * steep[lane])
    for i in range(k):
        u = x[seen[i]]
        for j in range(k):
            v = x[seen[j]]
            there = place[1 + k + i * k + j]
            curvature, wide, grown = f[0, there], f[1, there], f[2, there]
            q = 1 + d
            for g in range(d):
                ug, Ug, growth_g = u[1 + g], u[n + 1 + g], u[2 * n + 1 + g]
                for h in range(g, d):
                    vh, Vh, growth_h = v[1 + h], v[n + 1 + h], v[2 * n + 1 + h]
                    pq, Pq, growth = p[q], p[n + q], p[2 * n + q]
                    for lane in range(lanes):
                        pq[lane] += curvature[lane] * ug[lane] * vh[lane]
                        size, whole = abs(curvature[lane]), abs(ug[lane]) + Ug[lane]
                        spread = size * (whole * Vh[lane] + Ug[lane] * abs(vh[lane])) + wide[lane] * whole * (
                            abs(vh[lane]) + Vh[lane]
                        )
                        Pq[lane] += spread * UP_KERNEL + 64 * EPS * (size * whole * abs(vh[lane]))
                    for lane in range(lanes):
                        whole = abs(ug[lane]) + Ug[lane]
                        part = abs(curvature[lane]) * (whole * growth_h[lane] + growth_g[lane] * abs(vh[lane]))
                        growth[lane] += part + grown[lane] * whole * (abs(vh[lane]) + Vh[lane])
                    q += 1
    # running sums of these terms, rounded
    for q in range(1, n):
        Pq, growth = p[n + q], p[2 * n + q]
        for lane in range(lanes):
            Pq[lane] = Pq[lane] * UP_SUM + TINY
        for lane in range(lanes):
            growth[lane] *= DOWN_SUM
    pe0, pe1 = p[3 * n], p[3 * n + 1]
    for lane in range(lanes):
        pe0[lane] = off[lane] * UP_SUM + TINY
    for lane in range(lanes):
        pe1[lane] = turn[lane] * UP_SUM + TINY
    tighten(p, r, work)
