r"""The compiled bound of flows of the plane over boxes of z with windows of linear pieces.

A *node* is a box of z and, for each conditioner, a window of consecutive linear pieces: it stands for those z of the box where
every conditioner is on a piece of its window. Within its window a conditioner is the network, beyond it
is continued with the slopes of the outermost pieces. The map with such conditioners is enclosed on the whole box by jets; it
agrees with the flow on the node. In a window of one piece everything is smooth, and remainders are of second order.

The derivative of the map is then $c+g\delta\pm r$, entry by entry. Its norm is convex in $\delta$, so that the largest one
without r is at a corner of the box, and the Frobenius norm of r is added.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from lipbounds.certify.plane_flows.forms_kernel import (
    jet_add,
    jet_composed,
    jet_minus,
    jet_times,
    plus,
    product,
    reach_of,
    scaled,
    sum_of,
    swing,
    within,
)
from lipbounds.certify.plane_flows.piecewise_linear import REACH
from lipbounds.certify.plane_flows.scale_kernel import line_factor
from lipbounds.certify.plane_flows.spline_kernel import LINE, raw_line, spline_inverse
from lipbounds.compiled import compiled
from lipbounds.rounding import EPS

__all__ = ["AFFINE", "COUPLING", "FEW_PIECES", "REVERSED", "SPLINE", "bound_nodes"]

AFFINE, COUPLING, REVERSED, SPLINE = range(4)
FEW_PIECES = 4  # a window of more is not split: the box is
LONGEST = 4.0  # sides of a box that is longer are not compared: the longer one is halved
FAR = 4.0  # a node whose bound is so many times the target is halved along its longer side
LEAST = 1e-160  # squares of smaller numbers underflow
CHUNK = 32  # nodes that share memory
OUT = 1 + 64 * EPS


@compiled(error_model="numpy")
def _piece_at(u, ends, first, last):
    """The last piece of a window that begins at or before u, or its first one."""
    while first < last:
        middle = (first + last + 1) // 2
        if ends[middle, 0] <= u:
            first = middle
        else:
            last = middle - 1
    return first


@compiled(error_model="numpy")
def _lines_of(u, error, low, high, ends, lines, outputs, one_slope, raw):
    """Fill `raw` with lines of the outputs about u, on the pieces low..high: value, error, slope, spread.

    With `one_slope` all pieces get the slope of the piece of u: a guess of what remains without kinks, no bound.
    """
    here = _piece_at(u, ends, low, high)
    # where intervals overlap the piece may be the one before
    overlap = ends[here - 1, 1] - ends[here, 0] if here > low and u <= ends[here - 1, 1] else 0.0
    for o in range(outputs):
        slope, spread = lines[here, o, 2], lines[here, o, 3]
        value = lines[here, o, 0] + slope * (u - ends[here, 2])
        away = abs(u - ends[here, 2])
        off = lines[here, o, 1] + spread * away + 4 * EPS * (abs(lines[here, o, 0]) + abs(slope) * (away + abs(u)))
        if low < high and not one_slope:
            least, most = slope - spread, slope + spread
            for k in range(low, high + 1):
                least, most = min(least, lines[k, o, 2] - lines[k, o, 3]), max(most, lines[k, o, 2] + lines[k, o, 3])
            slope = 0.5 * (least + most)
            spread = (0.5 * (most - least) + 2 * EPS * (abs(least) + abs(most))) * OUT
            off += 2.0 * spread * overlap
        raw[o, 0] = value
        raw[o, 1] = (off + (abs(slope) + spread) * error) * OUT
        raw[o, 2] = slope
        raw[o, 3] = spread


@compiled(error_model="numpy")
def _affine(x, y, numbers, row, h):
    """One row of an affine map of two jets: number and error of both coefficients and of the offset."""
    a, ea, b, eb = numbers[row], numbers[row + 1], numbers[row + 2], numbers[row + 3]
    c = a * x[0] + b * y[0]
    value = c + numbers[8 + row // 4]
    e = abs(a) * x[1] + abs(b) * y[1] + ea * (abs(x[0]) + x[1]) + eb * (abs(y[0]) + y[1]) + numbers[10 + row // 4]
    e += 4 * EPS * (abs(a * x[0]) + abs(b * y[0]) + abs(value))
    p, q = plus(scaled(x[2], a, h), scaled(y[2], b, h), h), plus(scaled(x[3], a, h), scaled(y[3], b, h), h)
    p_more = ea * (abs(x[2][0]) + swing(x[2], h) + x[2][3]) + eb * (abs(y[2][0]) + swing(y[2], h) + y[2][3])
    q_more = ea * (abs(x[3][0]) + swing(x[3], h) + x[3][3]) + eb * (abs(y[3][0]) + swing(y[3], h) + y[3][3])
    low, high = sum_of(product((a - ea, a + ea), within(x, h)), product((b - eb, b + eb), within(y, h)))
    offset = numbers[8 + row // 4]
    off = numbers[10 + row // 4] + 4 * EPS * abs(offset)  # its ends are rounded
    low, high = sum_of((low, high), (offset - off, offset + off))
    return value, e * OUT, (p[0], p[1], p[2], (p[3] + p_more) * OUT), (q[0], q[1], q[2], (q[3] + q_more) * OUT), low, high


@compiled(error_model="numpy")
def _norm(a, b, c, d):
    """The spectral norm of a matrix."""
    return 0.5 * (math.sqrt((a + d) ** 2 + (b - c) ** 2) + math.sqrt((a - d) ** 2 + (b + c) ** 2))


@compiled(error_model="numpy")
def _norm_over_box(x, y, h):
    """A bound of the norm of the derivative on the box; NaN stays."""
    most = 0.0
    for corner in range(4):
        s = h[0] if corner & 1 else -h[0]
        t = h[1] if corner & 2 else -h[1]
        norm = _norm(
            x[2][0] + x[2][1] * s + x[2][2] * t,
            x[3][0] + x[3][1] * s + x[3][2] * t,
            y[2][0] + y[2][1] * s + y[2][2] * t,
            y[3][0] + y[3][1] * s + y[3][2] * t,
        )
        if norm > most or norm != norm:
            most = norm
        if most != most:
            return most
    rest = math.sqrt(x[2][3] ** 2 + x[3][3] ** 2 + y[2][3] ** 2 + y[3][3] ** 2)
    sizes = abs(x[2][0]) + abs(x[3][0]) + abs(y[2][0]) + abs(y[3][0])
    sizes += swing(x[2], h) + swing(x[3], h) + swing(y[2], h) + swing(y[3], h)
    return (most + rest + 16 * EPS * sizes) * OUT + LEAST


@compiled(error_model="numpy")
def _bound(z, h, windows, smooth, steps, numbers, ends, lines, pieces, raw, widths, heights):
    """A bound of the norm on a node, whose windows shrink to what the box reaches; 0 for an empty one, infinity for none.

    Conditioners whose bits of `smooth` are set are taken without kinks: then it is no bound, but tells what kinks cost.
    """
    zero = (0.0, 0.0, 0.0, 0.0)
    x = (z[0], 0.0, (1.0, 0.0, 0.0, 0.0), zero, z[0] - h[0] * OUT - EPS * abs(z[0]), z[0] + h[0] * OUT + EPS * abs(z[0]))
    y = (z[1], 0.0, zero, (1.0, 0.0, 0.0, 0.0), z[1] - h[1] * OUT - EPS * abs(z[1]), z[1] + h[1] * OUT + EPS * abs(z[1]))
    for step in range(len(steps)):
        kind, changed, table, outputs = steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3]
        if kind == AFFINE:
            x, y = _affine(x, y, numbers[step], 0, h), _affine(x, y, numbers[step], 4, h)
            continue
        u, v = (x, y) if changed == 1 else (y, x)
        R = reach_of(u, h) * OUT + 4 * EPS * abs(u[0])
        if not abs(u[0]) + R < 0.999 * REACH:
            return math.inf
        low, high = windows[2 * table], windows[2 * table + 1]
        at = _piece_at(u[0] + R, ends[table], low, high)
        # pieces overlap: one that ends at or after the left end is met, too
        first = low
        while first < at and ends[table, first, 1] < u[0] - R:
            first += 1
        last = at
        outside_left = u[0] + R < ends[table, first, 0] and first > 0
        outside_right = u[0] - R > ends[table, last, 1] and last < pieces[table] - 1
        if outside_left or outside_right:
            return 0.0
        windows[2 * table], windows[2 * table + 1] = first, last
        _lines_of(u[0], u[1], first, last, ends[table], lines[table], outputs, (smooth >> table) & 1 == 1, raw)
        n = numbers[step]
        if kind == SPLINE:
            w = spline_inverse(v, u, R, raw, (outputs + 1) // 3, (n[0], n[1], n[2], n[3], n[4], n[5]), widths, heights, h)
        else:
            shift = jet_composed(raw_line(raw, 1, 1.0, 0.0, R), u, R, h)
            sign = -1.0 if kind == COUPLING else 1.0
            scale = line_factor(raw_line(raw, 0, 1.0, 0.0, R), int(n[0]), n[1], n[2], n[3], n[4], sign, R)
            factor = jet_composed(scale, u, R, h)
            w = jet_times(jet_minus(v, shift, h), factor, h) if kind == COUPLING else jet_add(jet_times(v, factor, h), shift, h)
        x, y = (x, w) if changed == 1 else (w, y)
    bound = _norm_over_box(x, y, h)
    return bound if bound == bound else math.inf


@compiled(error_model="numpy")
def _misses(z, h, ball):
    """Whether a box is proven to lie outside of a ball, whose radius is rounded up; negative for none."""
    if ball[2] < 0.0:
        return False
    gap0 = max(abs(z[0] - ball[0]) - h[0], 0.0)
    gap1 = max(abs(z[1] - ball[1]) - h[1], 0.0)
    # the differences are off by an ulp of their terms
    slack = 8 * EPS * (abs(ball[0]) + abs(ball[1]) + ball[2])
    return math.sqrt(gap0 * gap0 + gap1 * gap1) * (1 - 8 * EPS) > ball[2] + slack


@compiled(error_model="numpy")
def _where_to_cut(bound, z, h, windows, target, steps, numbers, ends, lines, pieces, raw, widths, heights):
    """0 or 1 for halves along an axis, 2 + j for halves of window j: what a trial says makes the bound fall most."""
    longest = 0 if h[0] >= h[1] else 1
    if bound > FAR * target:
        return longest
    own = windows.copy()
    candidates = 0
    for table in range(len(pieces)):
        if 0 < windows[2 * table + 1] - windows[2 * table] < FEW_PIECES:
            candidates |= 1 << table
    halves = np.empty((2, 2))
    halves[0, 0], halves[0, 1], halves[1, 0], halves[1, 1] = 0.5 * h[0], h[1], h[0], 0.5 * h[1]
    trials = np.empty(2)
    for axis in range(2):
        own[:] = windows
        side = (halves[axis, 0], halves[axis, 1])
        trials[axis] = _bound(z, side, own, 0, steps, numbers, ends, lines, pieces, raw, widths, heights)
    if trials[0] == trials[1] or h[longest] > LONGEST * h[1 - longest]:  # also if both are infinite
        cut, best = longest, trials[longest]
    else:
        cut, best = (0 if trials[0] < trials[1] else 1), min(trials[0], trials[1])
    if candidates == 0 or not best > target:
        return cut
    own[:] = windows
    if _bound(z, h, own, candidates, steps, numbers, ends, lines, pieces, raw, widths, heights) > best:
        return cut
    for table in range(len(pieces)):
        if (candidates >> table) & 1:
            own[:] = windows
            trial = _bound(z, h, own, 1 << table, steps, numbers, ends, lines, pieces, raw, widths, heights)
            if trial < best:
                cut, best = 2 + table, trial
    return cut


@compiled(error_model="numpy", parallel=True)
def bound_nodes(middles, radii, windows, target, ball, steps, numbers, ends, lines, pieces):
    """Bounds of nodes, rounded up, shape (n,), and how to cut those above the target: an axis, or 2 + j for window j.

    Windows shrink in place to the pieces that the box reaches. 0 for nodes outside the ball or without points, infinity where
    nothing is known.

    Args:
        middles: Of the boxes, shape (n, 2).
        radii: Half sides, shape (n, 2).
        windows: First and last piece of each conditioner, shape (n, 2 tables).
        target: At which a node is done.
        ball: Centre and radius rounded up, negative for none, shape (3,).
        steps: Of the inverse: kind, changed coordinate, table, outputs, shape (steps, 4).
        numbers: Of the steps, shape (steps, 12).
        ends: Low and high end and middle of each piece, shape (tables, pieces, 3).
        lines: Value, error, slope, spread, shape (tables, pieces, outputs, 4).
        pieces: How many each table has, shape (tables,).
    """
    n = len(middles)
    bounds, cuts = np.zeros(n), np.zeros(n, dtype=np.int16)
    outputs = lines.shape[2]
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        raw = np.empty((outputs, 4))
        widths, heights = np.empty((outputs + 1, LINE)), np.empty((outputs + 1, LINE))
        for k in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n)):
            z, h = (middles[k, 0], middles[k, 1]), (radii[k, 0], radii[k, 1])
            if _misses(z, h, ball):
                continue
            bounds[k] = _bound(z, h, windows[k], 0, steps, numbers, ends, lines, pieces, raw, widths, heights)
            if bounds[k] > target:
                cuts[k] = _where_to_cut(
                    bounds[k], z, h, windows[k], target, steps, numbers, ends, lines, pieces, raw, widths, heights
                )
    return bounds, cuts
