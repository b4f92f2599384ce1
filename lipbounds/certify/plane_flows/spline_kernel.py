r"""Inverses of rational-quadratic splines on boxes of the plane, compiled; notation and formulas of `lipbounds.maps.splines`.

Knots and slopes are functions of the coordinate u that the coupling sees, lines; the position in a bin is
$\xi=Z(t,\delta_0,\delta_1)$. With $q=\xi(1-\xi)$, $D=1+(\delta_0+\delta_1-2)q$ and
$S=2q+\delta_0(1-\xi)^2+\delta_1\xi^2$
$$Z_t=\frac{D^2}S,\qquad Z_{\delta_0}=-\frac{q((1-\xi)^2+\delta_1q)}S,\qquad Z_{\delta_1}=\frac{q(\xi^2+\delta_0q)}S .$$
Evaluated on ranges these enclose the derivatives of $\xi$, hence $\xi$ by the mean value theorem; evaluated with that form of
$\xi$ they have forms of second order. Outside its bin $\xi$ is continued by 0 and 1, with derivative 0.

A box may meet several bins, whose derivatives agree at their common knots: the form is that of the bin of the middle, with a
remainder that covers the ranges of the others.
"""

from __future__ import annotations

import math

from lipbounds.certify.plane_flows.forms_kernel import (
    both,
    form_of,
    including,
    jet_composed,
    jet_minus,
    jet_times,
    line_add,
    line_exp,
    line_inverse,
    line_moved,
    line_slopes,
    line_times,
    line_with_slopes,
    narrower,
    outward,
    plus,
    product,
    range_of,
    scaled,
    sum_of,
    swing,
    times,
    within,
)
from lipbounds.certify.plane_flows.scale_kernel import SOFTPLUS, line_factor, line_softsign
from lipbounds.compiled import compiled
from lipbounds.rounding import EPS

__all__ = ["LINE", "raw_line", "spline_inverse"]

OUT, IN = 1 + 32 * EPS, 1 - 32 * EPS
LINE = 7  # numbers of a line
SHORT = 0.05  # changes of raw numbers, below which forms need no help by ranges


@compiled(error_model="numpy")
def _line(lines, k):
    return lines[k, 0], lines[k, 1], (lines[k, 2], lines[k, 3], lines[k, 4]), lines[k, 5], lines[k, 6]


@compiled(error_model="numpy")
def _store(lines, k, f):
    lines[k, 0], lines[k, 1], lines[k, 5], lines[k, 6] = f[0], f[1], f[3], f[4]
    lines[k, 2], lines[k, 3], lines[k, 4] = f[2]


@compiled(error_model="numpy")
def _number(value):
    return value, 0.0, (0.0, 0.0, 0.0), value, value


@compiled(error_model="numpy")
def raw_line(raw, k, factor, clip, R):
    """The line of a raw number times a factor, clipped."""
    v, e, s, r = raw[k, 0], raw[k, 1], raw[k, 2], raw[k, 3]
    low, high = sum_of((v, v), outward(-(e + (abs(s) + r) * R) * OUT, (e + (abs(s) + r) * R) * OUT))
    f = line_moved((v, e, (s, 0.0, r), low, high), factor, 0.0, R)
    return line_softsign(f, clip, R) if clip > 0.0 else f


@compiled(error_model="numpy")
def _powers(raw, start, bins, factor, clip, R, lines):
    """Of one side: exponentials of its numbers in lines[:bins], the sum of the first k in bins + k, the inverse of all in bins.

    A softmax does not change if a function is subtracted from all numbers: here a line, the largest number with the mean slope.
    Row 2 bins + k keeps ranges of slopes of the numbers: of number k, of those before it, and of it and those after it.
    """
    largest, low, high = -math.inf, math.inf, -math.inf
    for k in range(bins):
        f = raw_line(raw, start + k, factor, clip, R)
        _store(lines, k, f)
        largest = max(largest, f[0])
        row = 2 * bins + k
        lines[row, 0], lines[row, 1] = line_slopes(f, R)
        lines[row, 2], lines[row, 3] = low, high
        low, high = min(low, lines[row, 0]), max(high, lines[row, 1])
    whole, mean, low, high = 0.0, 0.0, math.inf, -math.inf
    for k in range(bins - 1, -1, -1):
        weight = math.exp(lines[k, 0] - largest)
        whole += weight
        mean += weight * lines[k, 2]
        row = 2 * bins + k
        low, high = min(low, lines[row, 0]), max(high, lines[row, 1])
        lines[row, 4], lines[row, 5] = low, high
    mean /= whole
    total, away = _number(0.0), abs(mean) * R * OUT
    for k in range(bins):
        f = _line(lines, k)
        d = (f[2][0] - mean, f[2][1], (f[2][2] + EPS * (abs(f[2][0]) + abs(mean))) * OUT)
        slack = away + 4 * EPS * (abs(f[3]) + abs(f[4]) + abs(largest) + away)
        f = (f[0] - largest, (f[1] + EPS * (abs(f[0]) + abs(largest))) * OUT, d, f[3] - largest - slack, f[4] - largest + slack)
        row = 2 * bins + k
        slopes = sum_of((lines[row, 0], lines[row, 1]), (-mean, -mean))
        f = line_exp(line_with_slopes(f, slopes, -math.inf, math.inf, R), R)
        _store(lines, k, f)
        if k > 0:
            _store(lines, bins + k, total)
        total = line_add(total, f, R)
    _store(lines, bins, line_inverse((total[0], total[1], total[2], max(total[3], 0.0), total[4]), R))


@compiled(error_model="numpy")
def _as_share(f, gap, R):
    """A sum s of shares in [0, 1], with the derivative s (1 - s) times a number in `gap`, the difference of the mean slopes of
    the numbers in the sum and of the others."""
    low, high = max(f[3], 0.0), min(f[4], 1.0)
    if (gap[1] - gap[0]) * R > SHORT:
        most = 0.25 if low <= 0.5 <= high else max(low * (1.0 - low), high * (1.0 - high))
        f = line_with_slopes(f, product((0.0, most * OUT), outward(gap[0], gap[1])), low, high, R)
        low, high = max(f[3], 0.0), min(f[4], 1.0)
    low, high = including(low, high, f[0])
    return f[0], f[1], f[2], low, high


@compiled(error_model="numpy")
def _slope_at(raw, k, bins, least, clip, R):
    """The line of the slope at knot k."""
    if k == 0 or k == bins:
        return _number(1.0)
    f = raw_line(raw, 2 * bins + k - 1, 1.0, clip, R)
    if least < 0.0:
        return line_exp(f, R)
    return line_factor(f, SOFTPLUS, 1.0, 1.0, 0.0, least, 1.0, R)


@compiled(error_model="numpy")
def _height(z, first, last):
    """t at the position z in [0, 1], sums of terms of one sign: good to 16 EPS of itself."""
    y = 1.0 - z
    q = z * y
    return (z * z + first * q) / (z * z + y * y + (first + last) * q)


@compiled(error_model="numpy")
def _position(t, first, last):
    """About Z(t, first, last)."""
    b = first - t * (first + last - 2.0)
    root = math.sqrt(max(b * b + 4.0 * t * (1.0 - b), 0.0))
    below = b + root
    z = 2.0 * t / below if below > 0.0 else 1.0
    return min(max(z, 0.0), 1.0)


@compiled(error_model="numpy")
def _position_beyond(t, first, last, side):
    """A number in [0, 1] proven to be on one side (-1 below, 1 above) of Z(t, first, last)."""
    z, step = _position(t, first, last), 1e-15
    while True:
        z = z + side * step
        if z <= 0.0 or z >= 1.0:
            return 0.0 if side < 0 else 1.0
        height = _height(z, first, last)
        if (side < 0 and height * (1 + 32 * EPS) <= t) or (side > 0 and height * (1 - 32 * EPS) >= t):
            return z
        step *= 4.0
        if not step < 4.0:
            return math.nan


@compiled(error_model="numpy")
def _bernstein(z0, z1, a, b, c):
    """The coefficients of a (1 - z)^2 + 2 b z (1 - z) + c z^2 as a Bernstein polynomial on [z0, z1]: bounds of its values."""
    y0, y1 = 1.0 - z0, 1.0 - z1
    return (
        y0 * y0 * a + 2.0 * y0 * z0 * b + z0 * z0 * c,
        y0 * y1 * a + (y0 * z1 + y1 * z0) * b + z0 * z1 * c,
        y1 * y1 * a + 2.0 * y1 * z1 * b + z1 * z1 * c,
    )


@compiled(error_model="numpy")
def _least(z0, z1, a, b, c):
    p, q, r = _bernstein(z0, z1, a, b, c)
    return min(p, min(q, r))


@compiled(error_model="numpy")
def _largest(z0, z1, a, b, c):
    p, q, r = _bernstein(z0, z1, a, b, c)
    return max(p, max(q, r))


@compiled(error_model="numpy")
def _derivatives_on(z0, z1, first, last):
    """Ranges of Z_t, Z_delta0, Z_delta1 and S for positions in [z0, z1] and ranges of delta_0 and delta_1, rounded outwards."""
    y0, y1 = 1.0 - z1, 1.0 - z0
    ends = min(z0 * y1, z1 * y0)
    q0, q1 = ends * IN, (0.25 if z0 <= 0.5 <= z1 else max(z0 * y1, z1 * y0)) * OUT
    s0, s1 = _least(z0, z1, first[0], 1.0, last[0]) * IN, _largest(z0, z1, first[1], 1.0, last[1]) * OUT
    d0 = _least(z0, z1, 1.0, 0.5 * (first[0] + last[0]), 1.0) * IN
    d1 = _largest(z0, z1, 1.0, 0.5 * (first[1] + last[1]), 1.0) * OUT
    by_t = (d0 * d0 / s1 * IN, d1 * d1 / s0 * OUT)
    by_first = (-q1 * (y1 * y1 + last[1] * q1) / s0 * OUT, -q0 * (y0 * y0 + last[0] * q0) / s1 * IN)
    by_last = (q0 * (z0 * z0 + first[0] * q0) / s1 * IN, q1 * (z1 * z1 + first[1] * q1) / s0 * OUT)
    return by_t, by_first, by_last, (s0, s1)


@compiled(error_model="numpy")
def _hull_with_0(a):
    return min(a[0], 0.0), max(a[1], 0.0)


@compiled(error_model="numpy")
def _inverse_form(a, low, high, h):
    """The form of 1 / f for a positive f within [low, high]."""
    away = min(swing(a, h) + a[3], max(high - a[0], a[0] - low)) * OUT
    c = 1.0 / a[0]
    rest = away * away * c * c / low
    return c, -a[1] * c * c, -a[2] * c * c, (rest + a[3] * c * c + 8 * EPS * (c + swing(a, h) * c * c)) * OUT


@compiled(error_model="numpy")
def _flipped(a, h):
    """The form of 1 - f."""
    return plus((1.0, 0.0, 0.0, 0.0), scaled(a, -1.0, h), h)


@compiled(error_model="numpy")
def _in_bin(t, x0, w, first, last, as_forms, h):
    """Value with error, ranges of both derivatives, and their forms where these are wanted, of x_k + w Z(t, delta_0, delta_1)."""
    f_form, l_form, w_form = form_of(first, h), form_of(last, h), form_of(w, h)
    t_all, f_all, l_all = within(t, h), within(first, h), within(last, h)
    f_all, l_all = (max(f_all[0], 0.0), f_all[1]), (max(l_all[0], 0.0), l_all[1])
    leaves = t_all[0] < 0.0 or t_all[1] > 1.0
    z0 = _position_beyond(min(max(t_all[0], 0.0), 1.0), f_all[1], l_all[0], -1.0)
    z1 = _position_beyond(min(max(t_all[1], 0.0), 1.0), f_all[0], l_all[1], 1.0)
    if not z0 <= z1:  # also where one is NaN
        z0, z1 = 0.0, 1.0
    by_t, by_f, by_l, s_all = _derivatives_on(z0, z1, f_all, l_all)
    d0 = sum_of(
        product(by_t, range_of(t[2], h)), sum_of(product(by_f, range_of(first[2], h)), product(by_l, range_of(last[2], h)))
    )
    d1 = sum_of(
        product(by_t, range_of(t[3], h)), sum_of(product(by_f, range_of(first[3], h)), product(by_l, range_of(last[3], h)))
    )
    if leaves:
        d0, d1 = _hull_with_0(d0), _hull_with_0(d1)
    # the value at the middle; what misses is measured and divided by the least slope of the height
    at = min(max(t[0], 0.0), 1.0)
    z = min(max(_position(at, first[0], last[0]), z0), z1)
    missing = abs(_height(z, first[0], last[0]) - at) + 64 * EPS
    error = (by_t[1] * (missing + t[1]) - by_f[0] * first[1] + by_l[1] * last[1]) * OUT
    value = x0[0] + w[0] * z
    away = (x0[1] + w[1] + abs(w[0]) * error + w[1] * error + 4 * EPS * (abs(x0[0]) + abs(w[0]))) * OUT
    w_all, z_all = within(w, h), (z0, z1)
    whole0 = sum_of(range_of(x0[2], h), sum_of(product(range_of(w[2], h), z_all), product(w_all, d0)))
    whole1 = sum_of(range_of(x0[3], h), sum_of(product(range_of(w[3], h), z_all), product(w_all, d1)))
    values = sum_of(within(x0, h), product((max(w_all[0], 0.0), w_all[1]), z_all))
    if not as_forms:
        return value, away, whole0, whole1, (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), values
    # the form of the position: coefficients of the middle, remainders by the mean value theorem
    at_t, at_f, at_l, _ = _derivatives_on(z, z, (first[0], first[0]), (last[0], last[0]))
    g0 = at_t[0] * t[2][0] + at_f[0] * first[2][0] + at_l[0] * last[2][0]
    g1 = at_t[0] * t[3][0] + at_f[0] * first[3][0] + at_l[0] * last[3][0]
    r = max(d0[1] - g0, g0 - d0[0]) * h[0] + max(d1[1] - g1, g1 - d1[0]) * h[1] + error
    position = narrower((z, g0, g1, (r + EPS * (abs(g0) * h[0] + abs(g1) * h[1])) * OUT), z_all, h)
    other = _flipped(position, h)
    q = times(position, other, h)
    square, other_square = times(position, position, h), times(other, other, h)
    den = plus(plus(square, other_square, h), times(plus(f_form, l_form, h), q, h), h)
    s = plus(scaled(q, 2.0, h), plus(times(f_form, other_square, h), times(l_form, square, h), h), h)
    inverse = _inverse_form(s, s_all[0], s_all[1], h)
    form_t = narrower(times(times(den, den, h), inverse, h), by_t, h)
    form_f = narrower(scaled(times(times(q, plus(other_square, times(l_form, q, h), h), h), inverse, h), -1.0, h), by_f, h)
    form_l = narrower(times(times(q, plus(square, times(f_form, q, h), h), h), inverse, h), by_l, h)
    p0 = plus(times(form_t, t[2], h), plus(times(form_f, first[2], h), times(form_l, last[2], h), h), h)
    p1 = plus(times(form_t, t[3], h), plus(times(form_f, first[3], h), times(form_l, last[3], h), h), h)
    if leaves:  # where the position is continued the derivative is 0, which the forms do not know
        p0, p1 = narrower((0.0, 0.0, 0.0, math.inf), d0, h), narrower((0.0, 0.0, 0.0, math.inf), d1, h)
    else:
        p0, p1 = narrower(p0, d0, h), narrower(p1, d1, h)
    p0 = plus(x0[2], plus(times(w[2], position, h), times(w_form, p0, h), h), h)
    p1 = plus(x0[3], plus(times(w[3], position, h), times(w_form, p1, h), h), h)
    return value, away, whole0, whole1, narrower(p0, whole0, h), narrower(p1, whole1, h), values


@compiled(error_model="numpy")
def _covering(a, interval, h):
    """A form with a remainder such that it contains an interval, too."""
    s = swing(a, h)
    more = max(interval[1] - (a[0] - s), (a[0] + s) - interval[0])
    r = max(a[3], (more + 2 * EPS * (abs(a[0]) + s)) * OUT)
    return a[0], a[1], a[2], (r if more == more else math.inf)


@compiled(error_model="numpy")
def _charged(f, share, bound, least, R):
    """A line factor share + shift with the rounding of both numbers: they are off by some ulps of the bound, if at all."""
    if least == 0.0:
        return f
    charge, slopes = 16 * EPS * bound, line_slopes(share, R)
    d = (f[2][0], f[2][1], f[2][2] + charge * max(abs(slopes[0]), abs(slopes[1])))
    return f[0], f[1] + charge, d, f[3] - charge, f[4] + charge


@compiled(error_model="numpy")
def _knot(lines, k, bins, factor, bound, least, R):
    """The line of knot k."""
    if k == 0 or k == bins:
        return _number(-bound if k == 0 else bound)
    row = 2 * bins + k
    gap = (lines[row, 2] - lines[row, 5], lines[row, 3] - lines[row, 4])
    share = _as_share(line_times(_line(lines, bins + k), _line(lines, bins), R), gap, R)
    at = _charged(line_moved(share, factor, bound * (2.0 * least * k - 1.0), R), share, bound, least, R)
    low, high = including(max(at[3], -bound), min(at[4], bound), at[0])
    return at[0], at[1], at[2], low, high


@compiled(error_model="numpy")
def _length(lines, k, bins, factor, bound, least, R):
    """The line of the distance between the knots k and k + 1."""
    row = 2 * bins + k
    low, high = lines[row, 2], lines[row, 3]
    if k < bins - 1:
        low, high = min(low, lines[row + 1, 4]), max(high, lines[row + 1, 5])
    share = line_times(_line(lines, k), _line(lines, bins), R)
    share = _as_share(share, (lines[row, 0] - high, lines[row, 1] - low), R)
    return _charged(line_moved(share, factor, 2.0 * bound * least, R), share, bound, least, R)


@compiled(error_model="numpy")
def _home(v, lines, bins, factor, bound, least):
    """The bin of the middle, -1 or `bins` beyond the bound."""
    if v < -bound:
        return -1
    if v > bound:
        return bins
    for k in range(1, bins):
        if v < factor * lines[bins + k, 0] * lines[bins, 0] + bound * (2.0 * least * k - 1.0):
            return k - 1
    return bins - 1


@compiled(error_model="numpy")
def _image(k, v, u, R, raw, bins, numbers, widths, heights, as_forms, h):
    """Of a bin, or of what lies beyond the bound: whether the middle may lie there, and what `_in_bin` returns."""
    bound, least, least_slope, _, _, clip_slopes = numbers
    if k < 0 or k == bins:
        there = v[0] - v[1] <= -bound if k < 0 else v[0] + v[1] >= bound
        low, high = within(v, h)
        values = (min(low, -bound), min(high, -bound)) if k < 0 else (max(low, bound), max(high, bound))
        return there, (v[0], v[1], range_of(v[2], h), range_of(v[3], h), v[2], v[3], values)
    factor = 2.0 * bound * (1.0 - least * bins)
    bottom, length = _knot(heights, k, bins, factor, bound, least, R), _length(heights, k, bins, factor, bound, least, R)
    left, width = _knot(widths, k, bins, factor, bound, least, R), _length(widths, k, bins, factor, bound, least, R)
    over = line_inverse(length, R)
    ratio = line_times(width, over, R)
    first = line_times(_slope_at(raw, k, bins, least_slope, clip_slopes, R), ratio, R)
    last = line_times(_slope_at(raw, k + 1, bins, least_slope, clip_slopes, R), ratio, R)
    t = jet_times(jet_minus(v, jet_composed(bottom, u, R, h), h), jet_composed(over, u, R, h), h)
    there = not (t[0] + t[1] < 0.0 or t[0] - t[1] > 1.0)
    x0, w = jet_composed(left, u, R, h), jet_composed(width, u, R, h)
    return there, _in_bin(t, x0, w, jet_composed(first, u, R, h), jet_composed(last, u, R, h), as_forms, h)


@compiled(error_model="numpy")
def _is_beyond(k, side, v_all, bins, numbers, heights, R):
    """Whether a bin, or what lies beyond the bound, lies on one side (-1 below, 1 above) of all values in a range."""
    bound, least = numbers[0], numbers[1]
    if k < 0 or k == bins:
        return v_all[0] >= -bound if k < 0 else v_all[1] <= bound
    factor = 2.0 * bound * (1.0 - least * bins)
    if side > 0:
        return v_all[1] < _knot(heights, k, bins, factor, bound, least, R)[3]
    return v_all[0] > _knot(heights, k + 1, bins, factor, bound, least, R)[4]


@compiled(error_model="numpy")
def spline_inverse(v, u, R, raw, bins, numbers, widths, heights, h):
    """The jet of x with y = v, the spline's parameters functions of u.

    Args:
        v: Jet of the coordinate that is changed.
        u: Jet of the one that is seen.
        R: How far u may be from its c.
        raw: Lines of the raw numbers on this reach: value, error, slope, spread; shape (3 bins - 1, 4).
        bins: Number of bins.
        numbers: bound, least share of a bin, least slope (negative for the exponential), 1 / divisor, kappas of bins and slopes.
        widths: Memory of shape (3 bins, LINE).
        heights: Likewise.
        h: Half sides of the box.
    """
    bound, least, _, factor, clip_bins, _ = numbers
    _powers(raw, 0, bins, factor, clip_bins, R, widths)
    _powers(raw, bins, bins, factor, clip_bins, R, heights)
    v_all = within(v, h)
    home = _home(v[0], heights, bins, 2.0 * bound * (1.0 - least * bins), bound, least)
    there, (value, error, _, _, p, q, values) = _image(home, v, u, R, raw, bins, numbers, widths, heights, True, h)
    # the value at the middle: the hull over all bins where the middle may lie
    low, high = value - error, value + error
    # knots are in order: what follows a bin that lies beyond all values does so, too
    for side in (-1, 1):
        k = home + side
        while -1 <= k <= bins and not _is_beyond(k, side, v_all, bins, numbers, heights, R):
            there, (other, away, d0, d1, _, _, more) = _image(k, v, u, R, raw, bins, numbers, widths, heights, False, h)
            if there:
                low, high = min(low, other - away), max(high, other + away)
            p, q = _covering(p, d0, h), _covering(q, d1, h)
            values = min(values[0], more[0]), max(values[1], more[1])
            k += side
    error = max(error, (max(high - value, value - low) + 2 * EPS * abs(value)) * OUT)
    if error != error:
        error = math.inf
    # a spline maps [-bound, bound] to itself, and leaves the rest
    values = both(values, (min(v_all[0], -bound), max(v_all[1], bound)))
    return value, error, p, q, values[0], values[1]
