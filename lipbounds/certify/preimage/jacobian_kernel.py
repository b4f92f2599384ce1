r"""The compiled loop in data space: second-order jets of T and of $A=DT^{-1}\circ T$ over boxes of data, and what they bound.

Coupling by coupling the image of a box under T is enclosed, and with it A, column by column: the inverse of the derivative of
$v_c=x_ce^{s(x_u)}+t(x_u)$ multiplies A from the right,
$$A_{\cdot u}\leftarrow A_{\cdot u}-A_{\cdot c}\,(\mathrm{diag}(x_c)s'+\mathrm{diag}(e^{-s})t'),\qquad
A_{\cdot c}\leftarrow A_{\cdot c}\,\mathrm{diag}(e^{-s}),$$
so no matrix is inverted.

Jets of all these (`taylor_kernel`) need ranges of the conditioners and their derivatives, which come from tables (`range_table`)
and are tightened by the mean value theorem.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.preimage.range_query_kernel import MOST_INPUTS, WINDOW_INTEGERS, WINDOW_NUMBERS, look_up
from lipbounds.compiled import compiled
from lipbounds.enclosures import taylor_kernel as taylor
from lipbounds.enclosures.taylor_kernel import QUARTER, ROWS, TWO_THIRDS, fill, nan_max, numbers_of
from lipbounds.rounding import DOWN_SUM, EPS, TINY, UP_KERNEL, UP_SUM

__all__ = ["LANES", "MOST_INPUTS", "Batch", "Bounds", "Program", "Zonotope", "bound_block", "bound_boxes", "scratch_of"]

SQUARINGS = 8  # of the Gram matrix: the norm is too large by a factor of at most d^(1/512)
SWEEPS = 6  # of coordinate descent
CORNERS = 4  # directions whose both ends are tried in the norm
LANES = 256  # of the processor: with fewer beginning a loop takes longer than the loop


class Program(NamedTuple):
    """The couplings of T in the order of the forward map, flattened for the compiled loop.

    Attributes:
        sizes: A row a step: coordinates changed m, inputs k, number of derivatives up to the third order, and of the fourth.
        coordinates: For every step those changed, then those seen, padded.
        begins: Where the numbers of each step begin in a row of points (k inputs, then their derivatives), and of errors.
        first: Place of the derivative along input i among the numbers of an output.
        second: Of (i, j) of k inputs, shape (5, 4, 4).
        third: Of (i, j, l).
        fourth: Of (i, j, l, h) among those of the fourth order.
    """

    sizes: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    begins: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    third: NDArray[np.int64]
    fourth: NDArray[np.int64]


class Zonotope(NamedTuple):
    """A ball plus the segments between -g and g for the rows g of `generators`, in coordinates of `Program`.

    Attributes:
        center: Shape (d,).
        radius: Of the ball.
        generators: Shape (g, d).
    """

    center: NDArray[np.float64]
    radius: float
    generators: NDArray[np.float64]


class Batch(NamedTuple):
    """Boxes of data: the points c + Fh with c the middle, F the frame and |h| at most the radii.

    Attributes:
        middles: Shape (n, d).
        radii: Shape (n, d).
        frames: Shape (n, d, d).
        points: Inputs of all conditioners at the middles, with the derivatives there, shape (n, numbers); see `Program.begins`.
    """

    middles: NDArray[np.float64]
    radii: NDArray[np.float64]
    frames: NDArray[np.float64]
    points: NDArray[np.float64]


class Bounds(NamedTuple):
    """What is found of boxes.

    Attributes:
        norms: Bounds of the norm of A; 0 if the image provably misses the zonotope, infinity if nothing is known. Where A was not
            looked at: how many times too wide the image is for that. Shape (n,).
        smear: What each side contributes to the bound, or without A to the distance from the zonotope, shape (n, d).
        curvature: Of A at the middle: the sum of the squares of the Hessians in h of its entries, not rounded outwards;
            zero without A. Shape (n, d, d).
    """

    norms: NDArray[np.float64]
    smear: NDArray[np.float64]
    curvature: NDArray[np.float64]


@compiled(error_model="numpy")
def _within(jet, n, low, high):
    """Replace a jet's radius by that of the range [low, high], each (lanes,), rounded up, where it is smaller."""
    m, R, L = jet[0], jet[n], jet[2 * n]
    for lane in range(len(m)):
        up, down = high[lane] - m[lane], m[lane] - low[lane]
        radius = nan_max(up, down) * UP_KERNEL
        radius = 0.0 if radius < 0.0 else radius
        better = radius < R[lane] - QUARTER * L[lane]
        R[lane] = radius if better else R[lane]
        L[lane] = 0.0 if better else L[lane]


@compiled(error_model="numpy")
def _reach(q, k, f, errors, next_order, begin, places, reach, means, work):
    """The mean value theorem for one derivative of a conditioner, from those of the next order, k of them.

    `next_order` and `means` bound the mean absolute values of derivatives on segments from the window's middle. `reach[0]` are
    the window's half sides, `reach[1]` their growing parts, both (k, lanes). Radii f[1] are rounded up, growing parts f[2] down.
    """
    lanes = f.shape[2]
    m, R, L, mean, whole, growth = f[0, q], f[1, q], f[2, q], means[q], work[0], work[1]
    fill(whole, 0.0)
    fill(growth, 0.0)
    for g in range(k):
        size, far, close = next_order[begin + places[g]], reach[0, g], reach[1, g]
        for lane in range(lanes):
            whole[lane] += size[lane] * far[lane]
        for lane in range(lanes):
            growth[lane] += size[lane] * close[lane]
    for lane in range(lanes):
        turn = (errors[q] + whole[lane]) * UP_KERNEL
        better = turn - QUARTER * growth[lane] < R[lane]
        R[lane] = turn if better else R[lane]
        L[lane] = growth[lane] * DOWN_SUM if better else 0.0
        mean[lane] = abs(m[lane]) + (R[lane] - 0.5 * DOWN_SUM * whole[lane] if better else R[lane])


@compiled(error_model="numpy")
def _radii(program, step, f, errors, ranges, reach, work):
    """Radii of a conditioner's numbers on a window, from the table and by the mean value theorem, highest order first."""
    m, k, count, further = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2], program.sizes[step, 3]
    means, steepest = ranges[3], ranges[2]
    for q in range(2 * m * count):
        c, low, high, out = f[0, q], ranges[0, q], ranges[1, q], f[1, q]
        for lane in range(f.shape[2]):
            up, down = high[lane] - c[lane], c[lane] - low[lane]
            radius = (down if down > up or down != down else up) * UP_KERNEL
            radius = 0.0 if radius < 0.0 else radius
            out[lane] = radius if radius < math.inf else math.inf  # also for NaN
    for output in range(2 * m):
        begin, far = output * count, output * further
        for i in range(k):
            for j in range(i, k):
                for g in range(j, k):
                    q = begin + program.third[k, i, j, g]
                    _reach(q, k, f, errors, steepest, far, program.fourth[k, i, j, g], reach, means, work)
        for i in range(k):
            for j in range(i, k):
                q = begin + program.second[k, i, j]
                _reach(q, k, f, errors, means, begin, program.third[k, i, j], reach, means, work)
        for i in range(k):
            _reach(begin + 1 + i, k, f, errors, means, begin, program.second[k, i], reach, means, work)
        _reach(begin, k, f, errors, means, begin, program.first, reach, means, work)


@compiled(error_model="numpy")
def _look(points, program, table, step, with_jacobian, x, f, errors, ranges, joint, ends, most, reach, integers, dead, work):
    """For one coupling: the numbers of its conditioner at every lane's point, and their radii on its window."""
    m, k, count, further = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2], program.sizes[step, 3]
    width, lanes, n = 2 * m * count, x.shape[2], x.shape[1] // 3
    seen, begin = program.coordinates[step, m : m + k], program.begins[step, 0]
    middle, away, moved, spread = ends[5, :k], ends[6, :k], ends[7, :m], ends[8, :m]
    changed = program.coordinates[step, :m]
    for lane in range(lanes):
        row = points[min(lane, len(points) - 1)]
        for i in range(k):
            # these are at inputs that were computed otherwise
            off = abs(x[seen[i], 0, lane] - row[begin + i])
            reach[0, i, lane], reach[1, i, lane] = (x[seen[i], n, lane] + off) * UP_KERNEL, x[seen[i], 2 * n, lane]
            x[seen[i], 3 * n, lane] += off * UP_KERNEL
            middle[i], away[i] = x[seen[i], 0, lane], reach[0, i, lane]
        for c in range(m):
            moved[c], spread[c] = x[changed[c], 0, lane], x[changed[c], n, lane]
        for q in range(width):
            f[0, q, lane] = row[begin + k + q]
        known = look_up(program, table, step, with_jacobian, ends, most, integers)
        if not known:
            dead[lane] = 1
        for q in range(width):
            ranges[0, q, lane] = ends[0, q] if known else -math.inf
            ranges[1, q, lane] = ends[1, q] if known else math.inf
        for q in range(2 * m * further):
            ranges[2, q, lane] = ends[2, q] if known else math.inf
        for q in range(m * (1 + k)):
            joint[0, q, lane], joint[1, q, lane] = ends[3, q] if known else -math.inf, ends[4, q] if known else math.inf
    _radii(program, step, f, errors, ranges, reach, work)


@compiled(error_model="numpy")
def _norm(a, scratch, d, out, work):
    """Upper bounds, rounded up, of spectral norms of a (d, d, lanes), to `out` (lanes,); NaN becomes infinity.

    A root of the trace of a power of the Gram matrix. Overwrites a, two matrices of `scratch` and three rows of `work`.
    """
    lanes = len(out)
    scale, trace, logarithm = work[0], work[1], work[2]
    fill(scale, 0.0)
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
            fill(total, 0.0)
            for k in range(d):
                left, right = a[k, i], a[k, j]
                for lane in range(lanes):
                    total[lane] += left[lane] * right[lane]
            for lane in range(lanes):
                mirrored[lane] = total[lane]
    fill(logarithm, 0.0)
    weight = 1.0
    for turn in range(SQUARINGS + 1):
        fill(trace, 0.0)
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
                fill(total, 0.0)
                for k in range(d):
                    left, right = g[i, k], g[k, j]
                    for lane in range(lanes):
                        total[lane] += left[lane] * right[lane]
                for lane in range(lanes):
                    mirrored[lane] = total[lane]
        g, h = h, g
    for lane in range(lanes):
        norm = scale[lane] * math.exp(0.5 * logarithm[lane]) * (1 + 1e-11)
        out[lane] = 0.0 if scale[lane] == 0.0 else (norm if norm < math.inf else math.inf)  # also for NaN


@compiled(error_model="numpy")
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


@compiled(error_model="numpy")
def _bound(a, r, lead, rest, scratch, smear, tried, chosen, counts, out, work):
    """Upper bounds, rounded up, of the spectral norms of jets of matrices, to `out` (lanes,); contributions of sides to `smear`.

    Shapes: a (d * d, 3n + 2, lanes); r, smear, tried (d, lanes); lead (1 + d, d, d, lanes); rest (d, d, lanes).
    NaN becomes infinity.

    The most important directions of the linear part are tried at both ends, the others are added to the rest.
    """
    d, lanes = r.shape
    n = numbers_of(d)
    for v in range(d):
        side, straight, whole = r[v], tried[v], smear[v]
        fill(straight, 0.0)
        fill(whole, 0.0)
        for i in range(d):
            for j in range(d):
                slope, spread, part = a[j * d + i, 1 + v], a[j * d + i, n + 1 + v], lead[1 + v, i, j]
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
    fill(scale, 1e-300)
    fill(wide, 1e-300)
    for i in range(d):
        for j in range(d):
            jet = a[j * d + i]
            j0, R0, e0, e1, m0, own = jet[0], jet[n], jet[3 * n], jet[3 * n + 1], middle[i, j], rest[i, j]
            for lane in range(lanes):
                m0[lane] = j0[lane]
            for lane in range(lanes):
                left[lane] = e0[lane]
            for lane in range(lanes):
                rounding[lane] = abs(j0[lane])
            q = 1 + d
            for g in range(d):
                for h in range(g, d):
                    m, R, L, one, two, share = jet[q], jet[n + q], jet[2 * n + q], r[g], r[h], 0.5 if g == h else 1.0
                    for lane in range(lanes):
                        left[lane] += share * ((abs(m[lane]) + (R[lane] - TWO_THIRDS * L[lane])) * one[lane] * two[lane])
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
                own[lane] = left[lane] * UP_SUM + 64 * EPS * rounding[lane] + TINY
            for lane in range(lanes):
                scale[lane] = nan_max(scale[lane], own[lane])
            for lane in range(lanes):
                wide[lane] = nan_max(wide[lane], R0[lane])
    spread, plain = left, rounding
    fill(spread, 0.0)
    fill(plain, 0.0)
    for i in range(d):
        for j in range(d):
            own, R0 = rest[i, j], a[j * d + i, n]
            for lane in range(lanes):
                spread[lane] += (own[lane] / scale[lane]) ** 2
            for lane in range(lanes):
                plain[lane] += (R0[lane] / wide[lane]) ** 2
    for lane in range(lanes):
        spread[lane] = scale[lane] * math.sqrt(spread[lane]) * UP_SUM
        plain[lane] = wide[lane] * math.sqrt(plain[lane]) * UP_SUM
    corner, norm, largest = scratch[2], work[7], scale
    fill(largest, 0.0)
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
            largest[lane] = nan_max(largest[lane], norm[lane])
    _norm(middle, scratch, d, norm, work)
    for lane in range(lanes):
        best = norm[lane] + plain[lane] if plain[lane] < math.inf else math.inf
        other = largest[lane] + spread[lane]
        best = (other if other < best else best) * UP_SUM
        out[lane] = best if best < math.inf else math.inf  # also for NaN


@compiled(error_model="numpy")
def _curvature_at(a, d, out):
    """Sum over all entries of A of the squared Hessian at the middle, to out (d, d, lanes); not rounded, only guides splits."""
    n, lanes = numbers_of(d), out.shape[2]
    for g in range(d):
        for h in range(g, d):
            row, mirrored = out[g, h], out[h, g]
            fill(row, 0.0)
            for entry in range(d * d):
                for v in range(d):
                    left = a[entry, n - (d - min(g, v)) * (d - min(g, v) + 1) // 2 + abs(g - v)]
                    right = a[entry, n - (d - min(h, v)) * (d - min(h, v) + 1) // 2 + abs(h - v)]
                    for lane in range(lanes):
                        row[lane] += left[lane] * right[lane]
            for lane in range(lanes):
                mirrored[lane] = row[lane]


@compiled(error_model="numpy")
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
        fill(shifts[v], 0.0)
    for _ in range(SWEEPS):
        for v in range(d + len(generators)):
            fill(square, 0.0)
            fill(along, 0.0)
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
    fill(length, 0.0)
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


@compiled(error_model="numpy")
def _excess(x, r, center, radius, generators, line, normal, shifts, smear, out, work):
    """0 if the image is beyond a half-space about the domain; else how many times too wide it is for that, or infinity.

    `smear` (d, lanes) receives what each side contributes to the image along the normal. 0 in `out` (lanes,) is proven:
    x (d, 3n + 2, lanes) has its radii rounded up and the distance is rounded down.
    """
    d, lanes = r.shape
    n = numbers_of(d)
    length, size, steep, inside, part = work[d + 3], work[d + 4], work[d + 5], work[d + 6], work[d + 7]
    _direction(x, r, center, generators, shifts, normal, length, work)
    for q in range(n):
        fill(line[q], 0.0)
        fill(line[n + q], TINY)
        fill(line[2 * n + q], 0.0)
    fill(size, 0.0)
    fill(steep, 0.0)
    line0, Line0, error0, error1 = line[0], line[n], line[3 * n], line[3 * n + 1]
    fill(error0, 0.0)
    fill(error1, 0.0)
    for i in range(d):
        along, x0, X0, e0, e1 = normal[i], x[i, 0], x[i, n], x[i, 3 * n], x[i, 3 * n + 1]
        for lane in range(lanes):
            line0[lane] += along[lane] * (x0[lane] - center[i])
        for lane in range(lanes):
            size[lane] += abs(x0[lane]) + abs(center[i])
        for lane in range(lanes):
            Line0[lane] += abs(along[lane]) * X0[lane]
        for q in range(1, n):
            xq, Xq, own, radii = x[i, q], x[i, n + q], line[q], line[n + q]
            grown_part, growing = x[i, 2 * n + q], line[2 * n + q]
            for lane in range(lanes):
                own[lane] += along[lane] * xq[lane]
            for lane in range(lanes):
                radii[lane] += abs(along[lane]) * (Xq[lane] + 32 * EPS * abs(xq[lane]))
            for lane in range(lanes):
                growing[lane] += abs(along[lane]) * grown_part[lane]
        taylor.largest(x[i], 1, 1 + d, part)
        for lane in range(lanes):
            steep[lane] = nan_max(steep[lane], part[lane])
        for lane in range(lanes):
            error0[lane] += abs(along[lane]) * e0[lane]
        for lane in range(lanes):
            error1[lane] += abs(along[lane]) * e1[lane]
    for q in range(n):
        radii, growing = line[n + q], line[2 * n + q]
        for lane in range(lanes):
            radii[lane] *= UP_SUM
        for lane in range(lanes):
            growing[lane] *= DOWN_SUM
    for lane in range(lanes):
        error0[lane] = error0[lane] * UP_SUM + 64 * EPS * size[lane]
    for lane in range(lanes):
        error1[lane] = error1[lane] * UP_SUM + 64 * EPS * d * steep[lane]
    for lane in range(lanes):
        Line0[lane] += 64 * EPS * size[lane]
    for lane in range(lanes):
        part[lane] = Line0[lane]
    taylor.tighten(line, r, work)
    for lane in range(lanes):  # what of it grows does not matter here
        Line0[lane] = part[lane] if part[lane] < Line0[lane] else Line0[lane]
    for i in range(d):
        for lane in range(lanes):
            smear[i, lane] = (abs(line[1 + i, lane]) + line[n + 1 + i, lane]) * r[i, lane]
    fill(inside, 0.0)
    for g in range(len(generators)):
        fill(part, 0.0)
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
        nearest = line0[lane] - (Line0[lane] + inside[lane]) * UP_SUM - 64 * EPS * size[lane]
        gap = line0[lane] - inside[lane] - radius
        wide = Line0[lane] / gap if gap > 0.0 else math.inf
        out[lane] = wide if wide > 1.0 else 1.0  # also for NaN
        if nearest * (1 - 1e-12) > radius:
            out[lane] = 0.0
        if not 1e-140 < length[lane] < math.inf:  # else squares are not what they should be
            out[lane] = math.inf
            for i in range(d):
                smear[i, lane] = 0.0


@compiled(error_model="numpy")
def _jets(numbers, place, count, dim, lanes):
    """View of scratch as jets (count, 3n + 2, lanes), and the end of the part."""
    rows = 3 * numbers_of(dim) + 2
    end = place + count * rows * lanes
    return numbers[place:end].reshape((count, rows, lanes)), end


@compiled(error_model="numpy")
def _matrices(numbers, place, count, dim, lanes):
    """View of scratch of shape (count, dim, dim, lanes), and the end of the part."""
    end = place + count * dim * dim * lanes
    return numbers[place:end].reshape((count, dim, dim, lanes)), end


@compiled(error_model="numpy")
def _rows(numbers, place, count, width, lanes):
    """View of scratch of shape (count, width, lanes), and the end of the part."""
    end = place + count * width * lanes
    return numbers[place:end].reshape((count, width, lanes)), end


@compiled(error_model="numpy")
def _vectors(numbers, place, count, lanes):
    """View of scratch of shape (count, lanes), and the end of the part."""
    end = place + count * lanes
    return numbers[place:end].reshape((count, lanes)), end


def scratch_of(program: Program, dim: int, generators: int, lanes: int) -> tuple[int, int]:
    """How many numbers and how many integers `bound_block` needs to work with."""
    m, k, _, _ = program.sizes.max(0).tolist()
    width = int((2 * program.sizes[:, 0] * program.sizes[:, 2]).max())
    jets = (3 * numbers_of(dim) + 2) * (dim + dim * dim + 3 * m + m * k + 2)
    matrices = (1 + dim + 1 + 3 + CORNERS) * dim * dim
    vectors = 7 * width + 2 * m * (1 + k) + 2 * k + 5 * dim + generators + dim + 3 + ROWS + 2
    integers = WINDOW_INTEGERS + 1 + MOST_INPUTS + MOST_INPUTS**2 + dim * dim
    return (jets + matrices + vectors) * lanes + 9 * width + WINDOW_NUMBERS, integers + (CORNERS + 2) * lanes


@compiled(error_model="numpy")
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


@compiled(error_model="numpy")
def _turn(program, step, f, errors, joint, x, a, y, w, pair, places, filled, r, work):
    """Multiply A with the inverse of the coupling's derivative; y are the jets of exp(-s), w and the pair scratch."""
    d = len(r)
    m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
    changed, seen = program.coordinates[step, :m], program.coordinates[step, m : m + k]
    p, v = pair[0], pair[1]
    for c in range(m):
        for g in range(k):
            own = w[c * k + g]
            _places(program, k, c * count, g, places)
            taylor.compose(places, f, errors, x, seen, k, p, r, work)
            taylor.multiply(x[changed[c]], p, own, r, work)
            _places(program, k, (m + c) * count, g, places)
            taylor.compose(places, f, errors, x, seen, k, p, r, work)
            taylor.multiply(y[c], p, v, r, work)
            taylor.add(own, v, 1.0, work)
            _within(own, numbers_of(d), joint[0, c * (1 + k) + 1 + g], joint[1, c * (1 + k) + 1 + g])
            taylor.tighten(own, r, work)
    for row in range(d):
        for c in range(m):
            here = changed[c] * d + row
            if not filled[here]:
                continue
            for g in range(k):
                there = seen[g] * d + row
                taylor.multiply(a[here], w[c * k + g], p, r, work)
                taylor.add(a[there], p, -1.0, work)
                filled[there] = 1
            taylor.multiply(a[here], y[c], p, r, work)
            taylor.copy(p, a[here])
        for g in range(k):
            there = seen[g] * d + row
            if filled[there]:
                taylor.tighten(a[there], r, work)


@compiled(error_model="numpy")
def bound_block(start, lanes, boxes, program, table, zonotope, with_jacobian, out, numbers, integers):
    """Bound the norm of A over at most `lanes` boxes, from number `start` on; see `bound_boxes`.

    The rows of `smear` and `curvature` in `out` must be zero before; `numbers` and `integers` are scratch (`scratch_of`) with
    any content. Norms are rounded up.
    """
    part = slice(start, min(start + lanes, len(boxes.middles)))
    middles, sides, frames, points = boxes.middles[part], boxes.radii[part], boxes.frames[part], boxes.points[part]
    bounds, smear, curvature = out.norms[part], out.smear[part], out.curvature[part]
    center, radius, generators = zonotope.center, zonotope.radius, zonotope.generators
    size, d = middles.shape
    steps, most_m, most_k, width = len(program.sizes), 1, 1, 1
    for step in range(steps):
        m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
        most_m, most_k, width = max(most_m, m), max(most_k, k), max(width, 2 * m * count)
    x, end = _jets(numbers, 0, d, d, lanes)
    a, end = _jets(numbers, end, d * d, d, lanes)  # entry (row, column) of A stands at column * d + row
    s, end = _jets(numbers, end, most_m, d, lanes)
    t, end = _jets(numbers, end, most_m, d, lanes)
    y, end = _jets(numbers, end, most_m, d, lanes)
    w, end = _jets(numbers, end, most_m * most_k, d, lanes)
    pair, end = _jets(numbers, end, 2, d, lanes)
    p, v = pair[0], pair[1]
    lead, end = _matrices(numbers, end, 1 + d, d, lanes)
    rest, end = _matrices(numbers, end, 1, d, lanes)
    scratch, end = _matrices(numbers, end, 3 + CORNERS, d, lanes)
    f, end = _rows(numbers, end, 3, width, lanes)  # numbers of a conditioner, their radii, and what grows of these
    ranges, end = _rows(numbers, end, 4, width, lanes)  # of these: lower and upper ends, the fourth order, means
    joint, end = _rows(numbers, end, 2, most_m * (1 + most_k), lanes)  # lower and upper ends of images and slopes of couplings
    reach, end = _rows(numbers, end, 2, most_k, lanes)  # of its inputs from their middles, and what grows of that
    r, end = _vectors(numbers, end, d, lanes)
    side_smear, end = _vectors(numbers, end, d, lanes)
    tried, end = _vectors(numbers, end, d, lanes)
    normal, end = _vectors(numbers, end, d, lanes)
    shifts, end = _vectors(numbers, end, d + len(generators), lanes)
    work, end = _vectors(numbers, end, d + 3 + ROWS, lanes)
    results, end = _vectors(numbers, end, 2, lanes)
    wide, bound = results[0], results[1]
    ends, end = _vectors(numbers, end, 9, width)  # of one lane: ranges, its inputs and their reach, likewise what is changed
    most = numbers[end : end + WINDOW_NUMBERS]
    looked, begin = integers[:WINDOW_INTEGERS], WINDOW_INTEGERS
    places = integers[begin : begin + 1 + MOST_INPUTS + MOST_INPUTS**2]
    begin += len(places)
    filled = integers[begin : begin + d * d]
    begin += d * d
    chosen = integers[begin : begin + CORNERS * lanes].reshape((CORNERS, lanes))
    begin += CORNERS * lanes
    dead, counts = integers[begin : begin + lanes], integers[begin + lanes : begin + 2 * lanes]
    dead[:] = 0
    for lane in range(lanes):
        for i in range(d):
            r[i, lane] = sides[min(lane, size - 1), i]
    if with_jacobian:
        a[:], filled[:] = 0.0, 0
        for i in range(d):
            fill(a[i * d + i, 0], 1.0)
            filled[i * d + i] = 1
    x[:], n = 0.0, numbers_of(d)
    for i in range(d):
        x0, X0, growth = x[i, 0], x[i, n], x[i, 2 * n]
        for lane in range(lanes):
            x0[lane] = middles[min(lane, size - 1), i]
        for g in range(d):
            edge, side = x[i, 1 + g], r[g]
            for lane in range(lanes):
                edge[lane] = frames[min(lane, size - 1), i, g]
            for lane in range(lanes):
                X0[lane] += abs(edge[lane]) * side[lane]
        for lane in range(lanes):
            growth[lane] = X0[lane] * DOWN_SUM
        for lane in range(lanes):
            X0[lane] *= UP_KERNEL
    for step in range(steps):
        m, k, count = program.sizes[step, 0], program.sizes[step, 1], program.sizes[step, 2]
        changed, seen = program.coordinates[step, :m], program.coordinates[step, m : m + k]
        begin = program.begins[step, 1]
        errors = table.errors[begin : begin + 2 * m * count]
        _look(points, program, table, step, with_jacobian, x, f, errors, ranges, joint, ends, most, reach, looked, dead, work)
        for c in range(m):
            _places(program, k, c * count, -1, places)
            taylor.compose(places, f, errors, x, seen, k, s[c], r, work)
            _places(program, k, (m + c) * count, -1, places)
            taylor.compose(places, f, errors, x, seen, k, t[c], r, work)
        if with_jacobian:
            for c in range(m):
                taylor.exponential(-1.0, s[c], y[c], r, work)
            _turn(program, step, f, errors, joint, x, a, y, w, pair, places, filled, r, work)
        for c in range(m):
            row = changed[c]
            taylor.exponential(1.0, s[c], p, r, work)
            taylor.multiply(x[row], p, v, r, work)
            taylor.add(v, t[c], 1.0, work)
            _within(v, n, joint[0, c * (1 + k)], joint[1, c * (1 + k)])
            taylor.tighten(v, r, work)
            taylor.copy(v, x[row])
    _excess(x, r, center, radius, generators, p, normal, shifts, side_smear, wide, work)
    missed = True
    for lane in range(size):
        bounds[lane] = math.inf if dead[lane] else wide[lane]
        missed = missed and bounds[lane] == 0.0
        for i in range(d):
            smear[lane, i] = 0.0 if dead[lane] else side_smear[i, lane]
    if not with_jacobian or missed:
        return
    _bound(a, r, lead, rest[0], scratch, side_smear, tried, chosen, counts, bound, work)
    _curvature_at(a, d, scratch[0])
    for lane in range(size):
        if bounds[lane] != 0.0 and not dead[lane]:
            bounds[lane] = bound[lane]
            for i in range(d):
                smear[lane, i] = side_smear[i, lane]
                for j in range(d):
                    curvature[lane, i, j] = scratch[0, i, j, lane]


@compiled(error_model="numpy", nogil=True)
def bound_boxes(boxes, program, table, zonotope, with_jacobian, scratch):
    """Bound the norm of A over a batch of boxes whose images may meet a zonotope; see `Bounds`.

    `scratch` has the sizes from `scratch_of` for LANES. Without `with_jacobian` A is not looked at, only which images miss the
    zonotope.
    """
    dim = boxes.middles.shape[1]
    out = Bounds(np.empty(len(boxes.middles)), np.zeros(boxes.middles.shape), np.zeros((len(boxes.middles), dim, dim)))
    numbers, integers = np.zeros(scratch[0]), np.zeros(scratch[1], dtype=np.int64)
    lanes = min(LANES, len(boxes.middles))
    for start in range(0, len(boxes.middles), lanes):
        bound_block(start, lanes, boxes, program, table, zonotope, with_jacobian, out, numbers, integers)
    return out
