r"""The compiled loop in data space: Taylor models of T and of $A=DT^{-1}\circ T$ over boxes of data, and what they bound.

Coupling by coupling the forward orbit of a box is enclosed, and with it A, column by column: the inverse of the derivative of
$v_c=x_ce^{s(x_u)}+t(x_u)$ multiplies A from the right,
$$A_{\cdot u}\leftarrow A_{\cdot u}-A_{\cdot c}\,(\mathrm{diag}(x_c)s'+\mathrm{diag}(e^{-s})t'),\qquad
A_{\cdot c}\leftarrow A_{\cdot c}\,\mathrm{diag}(e^{-s}),$$
so no matrix is inverted. Conditioners are modelled in few variables, the ranges of what they see, with a high order, and then
composed with the models of these. What is left over after every coupling becomes a symbol of its own: of an orbit coordinate, or
of a column of A, row by row. At the end the norm of A is at most the largest at the corners of its linear part, plus the
Frobenius norm of the rest, and the box is known to miss a ball when a half-space does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lipbounds.lipschitz.models import EPS, EXPONENTIAL, compose, multiply, reach

__all__ = ["DENSITY", "Program", "bound_boxes", "model_cells"]

DENSITY = 8  # tabulated intervals of one length begin every eighth of half their length
SQUARINGS = 8
CORNERS = 4  # directions whose both ends are tried in the norm


class Program(NamedTuple):
    """The couplings of T in the order of the forward map, flattened for the compiled loop.

    Attributes:
        ints: A row a step: outputs changed m, inputs seen k, activation, linear layers, where its weights and coordinates begin.
        floats: Weights and biases.
        widths: Of the layers of every conditioner, padded.
        clamps: alpha of every step.
        coordinates: For every step those changed, then those seen.
        largest: Largest k, m and width.
        symbols: Number of symbols that a run needs.
        orbit_symbols: The same without A.
    """

    ints: NDArray[np.int64]
    floats: NDArray[np.float64]
    widths: NDArray[np.int64]
    clamps: NDArray[np.float64]
    coordinates: NDArray[np.int64]
    largest: NDArray[np.int64]
    symbols: int
    orbit_symbols: int


@njit(cache=True, error_model="numpy")
def _scaled(p, factor):
    norm = 0.0
    for i in range(len(p) - 1):
        p[i] *= factor
        norm += abs(p[i])
    p[-1] = abs(factor) * p[-1] * (1 + 4 * EPS) + 8 * EPS * norm


@njit(cache=True, error_model="numpy")
def _condition(program, step, u_mid, u_rad, alg, table, deep, y, ye, z, ze, rows, powers, work, values, out):
    """Models of e^s, t and, for A, of e^-s, s' and e^-s t', in the scaled inputs of a conditioner; rows of out in this order."""
    ints, floats, widths = program.ints, program.floats, program.widths
    m, k, kind, depth, offset = ints[step, 0], ints[step, 1], ints[step, 2], ints[step, 3], ints[step, 4]
    clamp = program.clamps[step]
    n = alg.starts[-1]
    blocks = 1 + k if deep else 1
    columns = blocks * n
    for j in range(k):
        for i in range(columns):
            y[j, i] = 0.0
        y[j, 0], y[j, 1 + j] = u_mid[j], u_rad[j]
        ye[j, 0] = 0.0
        for c in range(1, blocks):
            y[j, c * n] = 1.0 if c == 1 + j else 0.0
            ye[j, c] = 0.0
    fan = k
    for layer in range(depth):
        width = widths[step, layer + 1]
        bias = offset + width * fan
        charge = (fan + 8) * EPS
        for source in range(fan):  # the errors that the sums below multiply, rounding included
            for c in range(blocks):
                norm = 0.0
                for i in range(c * n, (c + 1) * n):
                    norm += abs(y[source, i])
                ye[source, c] = (ye[source, c] + charge * norm) * (1 + charge)
        for j in range(width):
            for i in range(columns):
                z[j, i] = 0.0
            z[j, 0] = floats[bias + j]
            for c in range(blocks):
                ze[j, c] = 0.0
            ze[j, 0] = charge * abs(floats[bias + j])
            for source in range(fan):
                w = floats[offset + j * fan + source]
                for i in range(columns):
                    z[j, i] += w * y[source, i]
                for c in range(blocks):
                    ze[j, c] += abs(w) * ye[source, c]
        offset = bias + width
        fan = width
        if layer == depth - 1:
            break
        a, f, g, d = rows[0], rows[1], rows[2], rows[3]
        for j in range(width):
            a[:n] = z[j, :n]
            a[n] = ze[j, 0]
            compose(kind, a, f, g, alg, table, powers, work, values)
            y[j, :n] = f[:n]
            ye[j, 0] = f[n]
            for c in range(1, blocks):
                a[:n] = z[j, c * n : (c + 1) * n]
                a[n] = ze[j, c]
                multiply(g, a, d, alg, 0, work)
                y[j, c * n : (c + 1) * n] = d[:n]
                ye[j, c] = d[n]
    a, f, g, d = rows[0], rows[1], rows[2], rows[3]
    for i in range(m):
        a[:n] = z[i, :n]
        a[n] = ze[i, 0]
        _scaled(a, 1.0 / clamp)
        compose(3, a, f, g, alg, table, powers, work, values)
        _scaled(f, 2.0 * clamp / math.pi)
        _scaled(g, 2.0 / math.pi)
        if deep:
            for j in range(k):
                a[:n] = z[i, (1 + j) * n : (2 + j) * n]
                a[n] = ze[i, 1 + j]
                multiply(g, a, out[3 * m + i * k + j], alg, 0, work)
        compose(EXPONENTIAL, f, out[i], d, alg, table, powers, work, values)
        out[m + i, :n] = z[m + i, :n]
        out[m + i, n] = ze[m + i, 0]
        if deep:
            out[2 * m + i, :] = d
            for j in range(k):
                a[:n] = z[m + i, (1 + j) * n : (2 + j) * n]
                a[n] = ze[m + i, 1 + j]
                multiply(d, a, out[3 * m + m * k + i * k + j], alg, 0, work)


@njit(cache=True, error_model="numpy", nogil=True)
def model_cells(program, step, centers, radius, alg, table):
    """Models of a conditioner over cells of one radius; shape (cells, rows, monomials + 1)."""
    m, k = program.ints[step, 0], program.ints[step, 1]
    n = alg.starts[-1]
    width = program.largest[2]
    result = np.empty((len(centers), 3 * m + 2 * m * k, n + 1))
    y, z = np.empty((width, (1 + k) * n)), np.empty((width, (1 + k) * n))
    ye, ze = np.empty((width, 1 + k)), np.empty((width, 1 + k))
    rows, powers = np.empty((4, n + 1)), np.empty((8, n + 1))
    work, values = np.zeros(12), np.zeros((2, 10))
    radii = np.full(k, radius)
    for cell in range(len(centers)):
        _condition(program, step, centers[cell], radii, alg, table, True, y, ye, z, ze, rows, powers, work, values, result[cell])
    return result


@njit(cache=True, error_model="numpy")
def _look_up(cells, step, middle, radius, order, rows, out):
    """Copy the models of the shortest interval that holds a range, in the range's own coordinate; the radius for which they hold.

    0 if there is no such interval.
    """
    for level in range(cells.levels[step]):
        long = cells.radius[step] * 2.0**level
        if radius > long * (1.0 - 0.51 / DENSITY):
            continue
        spacing = long / DENSITY
        index = math.floor((middle - cells.low[step, level]) / spacing + 0.5)
        if index < 0 or index >= cells.counts[step, level]:
            return 0.0
        offset = (middle - (cells.low[step, level] + index * spacing)) / long
        share = max(radius / long, 1e-9) * (1 + 1e-12)
        size = order + 2
        begin = cells.start[step, level] + index * rows * size
        for r in range(rows):
            p, total = out[r], 0.0
            for q in range(order + 1):
                p[q] = cells.models[begin + r * size + q]
                total += abs(p[q])
            # Taylor shift by Horner's scheme
            for lowest in range(order):
                for q in range(order - 1, lowest - 1, -1):
                    p[q] += offset * p[q + 1]
            factor = 1.0
            for q in range(1, order + 1):
                factor *= share
                p[q] *= factor
            # the offset is good to some ulps of a coordinate over a length, and it is below 1/8
            place = 64 * (abs(middle) + abs(cells.low[step, level])) / long
            p[order + 1] = cells.models[begin + r * size + order + 1] + (1024 + 2 * order * place) * EPS * total
        return share * long
    return 0.0


@njit(cache=True, error_model="numpy")
def _substituted(outer, monomials, count, out, used):
    """The polynomial `outer` of models whose monomials are given."""
    size = len(out)
    for i in range(size):
        out[i] = 0.0
    total = 0.0
    for q in range(count):
        c = outer[q]
        if c == 0.0:
            continue
        for i in range(used):
            out[i] += c * monomials[q, i]
        out[-1] += abs(c) * monomials[q, -1]
        total += abs(c)
    # a monomial has a sum of absolute coefficients of about 1; its models of higher order may exceed it
    norm = 0.0
    for q in range(count):
        part = 0.0
        for i in range(used):
            part += abs(monomials[q, i])
        norm += abs(outer[q]) * part
    out[-1] = (out[-1] + outer[count]) * (1 + 64 * EPS) + (count + 8) * EPS * norm


@njit(cache=True, error_model="numpy")
def _norm(a, scratch, d):
    """An upper bound of the largest singular value of a matrix: a root of the trace of a power of its Gram matrix."""
    g, h = scratch[0], scratch[1]
    scale = 0.0
    for i in range(d):
        for j in range(d):
            if not abs(a[i, j]) < math.inf:
                return math.inf
            scale = max(scale, abs(a[i, j]))
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
def _bound(a, alg, n, ns, d, lead, rest, scratch, scores, tried):
    """An upper bound of the norm of a matrix of models; scores receives how much each variable contributes."""
    even, exponents, starts = alg.even, alg.exponents, alg.starts
    for v in range(d):
        scores[v] = 0.0
    middle = lead[0]
    for i in range(d):
        for j in range(d):
            p = a[i, j]
            centre, radius = p[0], p[-1]
            for q in range(starts[2], n):
                if even[q] == 1:
                    centre += 0.5 * p[q]
                    radius += 0.5 * abs(p[q])
                else:
                    radius += abs(p[q])
            for s in range(n, n + ns):
                radius += abs(p[s])
            middle[i, j] = centre
            rest[i, j] = radius + (256 + n + ns) * EPS * (abs(p[0]) + radius)
    for v in range(d):
        frobenius = 0.0
        for i in range(d):
            for j in range(d):
                lead[1 + v][i, j] = a[i, j, 1 + v]
                frobenius += a[i, j, 1 + v] ** 2
        scores[v] = math.sqrt(frobenius)
    # the most important variables are tried at both ends, the others are added to the rest
    chosen = tried[:CORNERS]
    count = 0
    for _ in range(min(CORNERS, d)):
        best, place = 0.0, -1
        for v in range(d):
            taken = False
            for c in range(count):
                taken = taken or chosen[c] == v
            if not taken and scores[v] > best:
                best, place = scores[v], v
        if place < 0:
            break
        chosen[count] = place
        count += 1
    for v in range(d):
        taken = False
        for c in range(count):
            taken = taken or chosen[c] == v
        share = 64 * EPS if taken else 1.0  # of those tried only the rounding is left
        for i in range(d):
            for j in range(d):
                rest[i, j] += share * abs(lead[1 + v][i, j])
    spread, scale = 0.0, 1e-300
    for i in range(d):
        for j in range(d):
            scale = max(scale, rest[i, j])
    for i in range(d):
        for j in range(d):
            spread += (rest[i, j] / scale) ** 2
    spread = scale * math.sqrt(spread) * (1 + (64 + d * d) * EPS)
    largest = 0.0
    if spread < math.inf:
        corner = scratch[2]
        for signs in range(1 << count):
            for i in range(d):
                for j in range(d):
                    value = middle[i, j]
                    for c in range(count):
                        value += lead[1 + chosen[c]][i, j] * (1.0 if (signs >> c) & 1 else -1.0)
                    corner[i, j] = value
            largest = max(largest, _norm(corner, scratch, d))
    for q in range(starts[2], n):
        frobenius = 0.0
        for i in range(d):
            for j in range(d):
                frobenius += a[i, j, q] ** 2
        size = math.sqrt(frobenius)
        degree = 0
        for v in range(d):
            degree += exponents[q, v]
        for v in range(d):
            scores[v] += size * exponents[q, v] / degree
    bound = (largest + spread) * (1 + 64 * EPS)
    return bound if bound == bound else math.inf


@njit(cache=True, error_model="numpy", nogil=True)
def bound_boxes(middles, radii, program, cells, outer, algebras, table, center, radius, generators, deep, wild):
    """Bound the norm of A over boxes of data whose images may meet a domain.

    The domain is a ball plus the segments between -g and g for the rows g of `generators`. Returns, for every box, the
    bound (0 if the image provably misses the domain, infinity if nothing is known; without `deep` infinity wherever it may
    meet it), and what the variables contribute to it (to the remainders, if the bound is above `wild`).
    """
    count, d = middles.shape
    bounds = np.empty(count)
    scores = np.zeros((count, d))
    n = outer.starts[-1]
    symbols = program.symbols if deep else program.orbit_symbols
    size = n + symbols + 1
    largest_k, largest_m, width = program.largest[0], program.largest[1], program.largest[2]
    inner = 0
    for k in range(len(algebras)):
        inner = max(inner, algebras[k].starts[-1])
    y, z = np.empty((width, (1 + largest_k) * inner)), np.empty((width, (1 + largest_k) * inner))
    ye, ze = np.empty((width, 1 + largest_k)), np.empty((width, 1 + largest_k))
    u_rows, u_powers = np.empty((4, inner + 1)), np.empty((8, inner + 1))
    work, values = np.zeros(12), np.zeros((2, 10))
    coefficients = np.empty((3 * largest_m + 2 * largest_m * largest_k, inner + 1))
    monomials = np.zeros((inner, size))
    parts = np.zeros((3 * largest_m + 2 * largest_m * largest_k, size))
    v = np.zeros((largest_k, size))
    x, a = np.zeros((d, size)), np.zeros((d, d, size))
    product = np.zeros(size)
    sums = np.zeros((largest_k, size))
    lead, rest, scratch = np.zeros((1 + d, d, d)), np.zeros((d, d)), np.zeros((3, d, d))
    tried = np.zeros(CORNERS, dtype=np.int64)
    blame = np.zeros(d)
    u_mid, u_rad = np.zeros(largest_k), np.zeros(largest_k)
    for box in range(count):
        for i in range(d):
            for q in range(size):
                x[i, q] = 0.0
            x[i, 0], x[i, 1 + i] = middles[box, i], radii[box, i]
            if deep:
                for j in range(d):
                    for q in range(size):
                        a[i, j, q] = 0.0
                a[i, i, 0] = 1.0
        ns = 0
        lost = False
        blame[:] = 0.0
        for step in range(len(program.ints)):
            m, k, place = program.ints[step, 0], program.ints[step, 1], program.ints[step, 5]
            changed, seen = program.coordinates[place : place + m], program.coordinates[place + m : place + m + k]
            alg = algebras[k - 1]
            nu = alg.starts[-1]
            used = n + ns
            for j in range(k):
                u_mid[j], u_rad[j] = reach(x[seen[j]], outer.even, n, ns)
                if not u_rad[j] < 1e50:
                    lost = True
            if lost:
                break
            rows = 3 * m + 2 * m * k if deep else 2 * m
            known = 0.0
            if k == 1:
                known = _look_up(cells, step, u_mid[0], u_rad[0], len(alg.starts) - 2, 3 * m + 2 * m, coefficients)
            if known > 0.0:
                u_rad[0] = known
            else:
                for j in range(k):
                    # a degenerate range (the face of a box) must not divide by zero
                    u_rad[j] = max(u_rad[j], 1e-12 * (1.0 + abs(u_mid[j])))
                _condition(
                    program,
                    step,
                    u_mid,
                    u_rad,
                    alg,
                    table,
                    deep,
                    y,
                    ye,
                    z,
                    ze,
                    u_rows[:, : nu + 1],
                    u_powers[:, : nu + 1],
                    work,
                    values,
                    coefficients[:, : nu + 1],
                )
            for j in range(k):
                for q in range(used):
                    v[j, q] = x[seen[j], q] / u_rad[j]
                v[j, 0] = (x[seen[j], 0] - u_mid[j]) / u_rad[j]
                v[j, -1] = x[seen[j], -1] / u_rad[j] * (1 + 4 * EPS) + 16 * EPS * (1.0 + abs(u_mid[j]) / u_rad[j])
            for q in range(1, nu):
                if alg.parent[q] == 0:
                    monomials[q, :] = v[alg.factor[q], :]
                else:
                    multiply(monomials[alg.parent[q]], v[alg.factor[q]], monomials[q], outer, ns, work)
            monomials[0, :] = 0.0
            monomials[0, 0] = 1.0
            for r in range(rows):
                _substituted(coefficients[r, : nu + 1], monomials, nu, parts[r], used)
            if deep:
                for i in range(m):
                    c = changed[i]
                    for j in range(k):
                        # x_c s' + e^-s t', in place of s'
                        r, other = 3 * m + i * k + j, 3 * m + m * k + i * k + j
                        multiply(x[c], parts[r], product, outer, ns, work)
                        _add(parts[other], product, 1.0, parts[r], used)
                for row in range(d):
                    for j in range(k):
                        sums[j, :] = a[row, seen[j]]
                        for i in range(m):
                            multiply(a[row, changed[i]], parts[3 * m + i * k + j], product, outer, ns, work)
                            _add(sums[j], product, -1.0, sums[j], used)
                        a[row, seen[j], :] = sums[j]
                    for i in range(m):
                        multiply(a[row, changed[i]], parts[2 * m + i], product, outer, ns, work)
                        # only what is in use: beyond, the scratch row holds what other boxes left
                        a[row, changed[i], :used] = product[:used]
                        a[row, changed[i], -1] = product[-1]
            for i in range(m):
                c = changed[i]
                multiply(x[c], parts[i], product, outer, ns, work)
                _add(parts[m + i], product, 1.0, x[c], used)
            # what is left over becomes symbols
            for i in range(m):
                c = changed[i]
                left = min(x[c, -1], 1.0)
                for j in range(k):
                    for w in range(d):
                        blame[w] += left * abs(v[j, 1 + w])
                x[c, n + ns] = x[c, -1]
                x[c, -1] = 0.0
                ns += 1
            if deep:
                for i in range(m + k):
                    column = changed[i] if i < m else seen[i - m]
                    for row in range(d):
                        a[row, column, n + ns] = a[row, column, -1]
                        a[row, column, -1] = 0.0
                    ns += 1
        if lost:
            bounds[box] = math.inf
            scores[box] = blame
            continue
        # does the image miss the ball? along the direction from its centre to the image's middle
        length = 0.0
        for i in range(d):
            length += (x[i, 0] - center[i]) ** 2
        length = math.sqrt(length)
        nearest = -math.inf
        if length > 1e-140:  # below, squares are not what they should be
            total, size_0 = 0.0, 0.0
            for i in range(d):
                total += (x[i, 0] - center[i]) / length * (x[i, 0] - center[i])
                size_0 += abs(x[i, 0]) + abs(center[i])
            away = 0.0
            for q in range(1, n + ns):
                along, norm = 0.0, 0.0
                for i in range(d):
                    term = (x[i, 0] - center[i]) / length * x[i, q]
                    along += term
                    norm += abs(term)
                if q < n and outer.even[q] == 1:
                    away += max(-along, 0.0) + 32 * EPS * norm
                else:
                    away += abs(along) + 32 * EPS * norm
            for i in range(d):
                away += x[i, -1]
            for g in range(len(generators)):
                along = 0.0
                for i in range(d):
                    along += (x[i, 0] - center[i]) / length * generators[g, i]
                    size_0 += abs(generators[g, i])
                away += abs(along)
            nearest = total - away * (1 + (256 + n + ns) * EPS) - 64 * EPS * size_0
        if nearest * (1 - 1e-12) > radius:
            bounds[box] = 0.0
            continue
        if deep:
            bounds[box] = _bound(a, outer, n, ns, d, lead, rest, scratch, scores[box], tried)
            if bounds[box] > wild:
                scores[box] = blame
        else:
            bounds[box] = math.inf
    return bounds, scores


@njit(cache=True, error_model="numpy")
def _add(p, q, sign, out, used):
    """out = p + sign q; out may be p or q."""
    norm = 0.0
    for i in range(used):
        value = p[i] + sign * q[i]
        norm += abs(value)
        out[i] = value
    for i in range(used, len(out) - 1):
        out[i] = 0.0
    out[-1] = (p[-1] + q[-1]) * (1 + 4 * EPS) + 2 * EPS * norm
