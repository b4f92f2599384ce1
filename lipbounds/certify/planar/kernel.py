"""The compiled loop of the branch and bound: an upper bound of the spectral norm of a plane map over each of many boxes."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from lipbounds.certify.planar.conditioner_table import REACH
from lipbounds.compiled import compiled
from lipbounds.rounding import EPS

__all__ = ["bounds_of_boxes"]

WIDEST = 4096  # cells looked at; wider ranges belong to boxes that are split anyway


@compiled(error_model="numpy")
def _cell(u, cells, span):
    """Index of the cell of u, off by one at most at an edge: cells overlap, and range queries read the neighbours too."""
    place = int((math.asinh(u) / span + 1.0) * 0.5 * cells)
    return min(max(place, 0), cells - 1)


@compiled(error_model="numpy")
def _at(table, row, u, cell):
    """Value of s (row 1) or t (row 5) at u in a cell of a table (17, cells), and a bound of its error, rounded up."""
    d = u - table[0, cell]
    slope = table[row + 2, cell] * d
    value = table[row, cell] + slope
    error = table[row + 1, cell] + table[row + 3, cell] * abs(d) + 8 * EPS * (abs(table[row, cell]) + abs(slope))
    return value, error


@compiled(error_model="numpy", parallel=True)
def bounds_of_boxes(middles, radii, program, tables, ball):
    """Upper bounds, rounded up, of the spectral norm over boxes, shape (n,); 0 outside the ball, infinity beyond the tables.

    Shapes: middles and radii (n, 2); program (steps, 2); tables (couplings, 17, cells); ball (3,): centre and radius rounded
    up, a negative radius for none. Lengths are in latent units.
    """
    n = len(middles)
    result = np.empty(n)
    cells = tables.shape[2]
    span = math.asinh(REACH)
    for k in prange(n):
        r0, r1 = radii[k, 0], radii[k, 1]
        if ball[2] > 0:
            gap0 = max(abs(middles[k, 0] - ball[0]) - r0, 0.0)
            gap1 = max(abs(middles[k, 1] - ball[1]) - r1, 0.0)
            if math.sqrt(gap0 * gap0 + gap1 * gap1) * (1 - 8 * EPS) > ball[2]:
                result[k] = 0.0
                continue
        # value at the middle with its error; Jacobian rows as middle and radius
        x = np.array([middles[k, 0], middles[k, 1]])
        e = np.zeros(2)
        jm = np.eye(2)
        jr = np.zeros((2, 2))
        lost = False
        for step in range(len(program)):
            index, which = program[step, 0], program[step, 1]
            if index < 0:
                if which == 1:
                    x[0], x[1] = x[1], x[0]
                    e[0], e[1] = e[1], e[0]
                    for c in range(2):
                        jm[0, c], jm[1, c] = jm[1, c], jm[0, c]
                        jr[0, c], jr[1, c] = jr[1, c], jr[0, c]
                continue
            table = tables[index]
            seen = 1 - which
            u = x[seen]
            reach = e[seen] + (abs(jm[seen, 0]) + jr[seen, 0]) * r0 + (abs(jm[seen, 1]) + jr[seen, 1]) * r1
            reach *= 1 + 16 * EPS
            if not (abs(u) + reach < 0.999 * REACH):
                lost = True
                break
            here = _cell(u, cells, span)
            low = max(_cell(u - reach, cells, span) - 1, 0)
            high = min(_cell(u + reach, cells, span) + 1, cells - 1)
            if high - low > WIDEST:
                lost = True
                break
            # slopes over the whole range, values by the mean value theorem about the middle
            s_low, s_high, t_low, t_high = math.inf, -math.inf, math.inf, -math.inf
            for i in range(low, high + 1):
                s_low = min(s_low, table[3, i] - table[4, i])
                s_high = max(s_high, table[3, i] + table[4, i])
                t_low = min(t_low, table[7, i] - table[8, i])
                t_high = max(t_high, table[7, i] + table[8, i])
            ds, dt = max(abs(s_low), abs(s_high)), max(abs(t_low), abs(t_high))
            t_m, t_r = 0.5 * (t_low + t_high), 0.5 * (t_high - t_low) + 4 * EPS * dt
            s, s_e = _at(table, 1, u, here)
            t, t_e = _at(table, 5, u, here)
            s_e += ds * e[seen]  # u itself is known to e
            t_e += dt * e[seen]
            s_r = (s_e + ds * reach) * (1 + 8 * EPS)
            # the factor exp(-s) at the middle and over the box
            factor = math.exp(-s)
            factor_e = factor * (math.expm1(s_e) + 16 * EPS)
            f_low, f_high = factor * math.exp(-s_r) * (1 - 16 * EPS), factor * math.exp(s_r) * (1 + 16 * EPS)
            fm, fr = 0.5 * (f_low + f_high), 0.5 * (f_high - f_low) * (1 + 4 * EPS)
            # v - t over the box: the mean value theorem with the row dv - t' du
            y, y_e = x[which] - t, e[which] + t_e + 4 * EPS * (abs(x[which]) + abs(t))
            y_r = y_e
            for c in range(2):
                size = abs(jm[which, c] - t_m * jm[seen, c]) + jr[which, c] + abs(t_m) * jr[seen, c]
                size += t_r * (abs(jm[seen, c]) + jr[seen, c]) + 16 * EPS * (abs(jm[which, c]) + abs(t_m * jm[seen, c]))
                y_r += size * (r0 if c == 0 else r1)
            y_r *= 1 + 16 * EPS
            # new row: factor (dv - q du), q = t' + (v - t) s', over the pairs of slopes that occur together
            q_low, q_high = math.inf, -math.inf
            for i in range(low, high + 1):
                for pair in (9, 13):
                    middle = table[pair + 2, i] + y * table[pair, i]
                    radius = table[pair + 3, i] + abs(y) * table[pair + 1, i] + y_r * (abs(table[pair, i]) + table[pair + 1, i])
                    radius += 8 * EPS * (abs(table[pair + 2, i]) + abs(y * table[pair, i])) + 8 * EPS * radius
                    q_low, q_high = min(q_low, middle - radius), max(q_high, middle + radius)
            q, q_r = 0.5 * (q_low + q_high), 0.5 * (q_high - q_low)
            q_r += 4 * EPS * (abs(q_low) + abs(q_high))
            for c in range(2):
                hm = jm[which, c] - q * jm[seen, c]
                hr = jr[which, c] + abs(q) * jr[seen, c] + q_r * (abs(jm[seen, c]) + jr[seen, c])
                hr = hr * (1 + 16 * EPS) + 16 * EPS * (abs(jm[which, c]) + abs(q * jm[seen, c]))
                jm[which, c] = fm * hm
                jr[which, c] = (fm * hr + fr * (abs(hm) + hr)) * (1 + 16 * EPS) + 8 * EPS * abs(fm * hm)
            x[which] = factor * y
            e[which] = (factor * y_e + factor_e * (abs(y) + y_e)) * (1 + 16 * EPS) + 8 * EPS * abs(factor * y)
        if lost:
            result[k] = math.inf
            continue
        # the norm is convex: it is largest at a corner of the interval matrix
        bound = 0.0
        for corner in range(16):
            a = jm[0, 0] + (jr[0, 0] if corner & 1 else -jr[0, 0])
            b = jm[0, 1] + (jr[0, 1] if corner & 2 else -jr[0, 1])
            c_ = jm[1, 0] + (jr[1, 0] if corner & 4 else -jr[1, 0])
            d = jm[1, 1] + (jr[1, 1] if corner & 8 else -jr[1, 1])
            norm = 0.5 * (math.sqrt((a + d) ** 2 + (b - c_) ** 2) + math.sqrt((a - d) ** 2 + (b + c_) ** 2))
            # a nan must not be lost: once there it stays
            if norm > bound or norm != norm:
                bound = norm
        bound *= 1 + 64 * EPS
        result[k] = bound if bound == bound else math.inf
    return result
