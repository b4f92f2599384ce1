r"""Inverses of rational-quadratic splines on boxes of the plane, compiled; notation and formulas of `lipbounds.maps.splines`.

Knots and slopes are functions of the coordinate u that the coupling sees, jets in one variable; the position in a bin is
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

from lipbounds.certify.plane_flows.affine_forms import (
    constant_jet,
    form_of,
    jet_composed,
    jet_minus,
    jet_times,
    line_add,
    line_applied,
    line_exp,
    line_inverse,
    line_times,
    plus,
    reach_of_line,
    scaled,
    size,
    swing,
    times,
)
from lipbounds.certify.plane_flows.scale_kernel import SOFTPLUS, line_factor, line_softsign
from lipbounds.compiled import compiled
from lipbounds.rounding import EPS

__all__ = ["spline_inverse"]

OUT, IN = 1 + 32 * EPS, 1 - 32 * EPS
NOTHING = (0.0, 0.0, (0.0, 0.0, 0.0))


@compiled(error_model="numpy")
def _jet(jets, k):
    return jets[k, 0], jets[k, 1], (jets[k, 2], jets[k, 3], jets[k, 4])


@compiled(error_model="numpy")
def _store(jets, k, f):
    jets[k, 0], jets[k, 1] = f[0], f[1]
    jets[k, 2], jets[k, 3], jets[k, 4] = f[2]


@compiled(error_model="numpy")
def _powers(raw, start, bins, inner, clip, R, jets):
    """Exponentials of the raw numbers of one side in jets[:bins], up to a common factor, and the inverse of their sum in jets[bins].

    Row bins + 1 + k is the sum of the first k of them.
    A softmax does not change if a function is subtracted from all numbers: here a line, the largest number with the mean slope.
    """
    largest = -math.inf
    for k in range(bins):
        v, e, s, r = raw[start + k, 0], raw[start + k, 1], raw[start + k, 2], raw[start + k, 3]
        f = (v * inner, (e * inner + EPS * abs(v) * inner) * OUT, (s * inner, 0.0, (r + EPS * abs(s)) * inner * OUT))
        if clip > 0.0:
            f = line_softsign(f, clip, R)
        _store(jets, k, f)
        largest = max(largest, f[0])
    whole, mean = 0.0, 0.0
    for k in range(bins):
        weight = math.exp(jets[k, 0] - largest)
        whole += weight
        mean += weight * jets[k, 2]
    line = (-largest, 0.0, (-mean / whole, 0.0, 0.0))
    total = NOTHING
    for k in range(bins):
        f = line_exp(line_add(_jet(jets, k), line, 1.0, R), R)
        _store(jets, k, f)
        _store(jets, bins + 1 + k, total)
        total = line_add(total, f, 1.0, R)
    _store(jets, bins, line_inverse(total, R))


@compiled(error_model="numpy")
def _moved(f, factor, shift, R):
    """The jet of factor f + shift."""
    return line_add((shift, 0.0, (0.0, 0.0, 0.0)), f, factor, R)


@compiled(error_model="numpy")
def _slope_at(raw, k, bins, least, clip, R):
    """The jet of the slope at knot k."""
    if k == 0 or k == bins:
        return 1.0, 0.0, (0.0, 0.0, 0.0)
    row = 2 * bins + k - 1
    f = (raw[row, 0], raw[row, 1], (raw[row, 2], 0.0, raw[row, 3]))
    if clip > 0.0:
        f = line_softsign(f, clip, R)
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
def _range_of(a, h):
    """Ends of a form."""
    s = (swing(a, h) + a[3]) * OUT
    return a[0] - s - EPS * abs(a[0]), a[0] + s + EPS * abs(a[0])


@compiled(error_model="numpy")
def _product(a, b):
    """The product of two intervals."""
    p, q, r, s = a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]
    low, high = min(min(p, q), min(r, s)), max(max(p, q), max(r, s))
    if p != p or q != q or r != r or s != s:
        return -math.inf, math.inf
    return low - EPS * abs(low), high + EPS * abs(high)


@compiled(error_model="numpy")
def _sum(a, b):
    low, high = a[0] + b[0], a[1] + b[1]
    return low - EPS * abs(low), high + EPS * abs(high)


@compiled(error_model="numpy")
def _derivatives_on(z0, z1, first, last):
    """Ranges of Z_t, Z_delta0, Z_delta1 and S for positions in [z0, z1] and ranges of delta_0 and delta_1, rounded outwards."""
    y0, y1 = 1.0 - z1, 1.0 - z0
    ends = min(z0 * y1, z1 * y0)
    q0, q1 = ends * IN, (0.25 if z0 <= 0.5 <= z1 else max(z0 * y1, z1 * y0)) * OUT
    s0 = (2.0 * q0 + first[0] * y0 * y0 + last[0] * z0 * z0) * IN
    s1 = (2.0 * q1 + first[1] * y1 * y1 + last[1] * z1 * z1) * OUT
    # D = 1 + (delta_0 + delta_1 - 2) q, monotone in each; 1 - 2 q is at least a half
    d0 = (1.0 - 2.0 * q1 + (first[0] + last[0]) * q1) if first[0] + last[0] < 2.0 else (1.0 + (first[0] + last[0] - 2.0) * q0)
    d1 = (1.0 + (first[1] + last[1] - 2.0) * q1) if first[1] + last[1] > 2.0 else (1.0 - 2.0 * q0 + (first[1] + last[1]) * q0)
    d0, d1 = d0 * IN, d1 * OUT
    by_t = (d0 * d0 / s1 * IN, d1 * d1 / s0 * OUT)
    by_first = (-q1 * (y1 * y1 + last[1] * q1) / s0 * OUT, -q0 * (y0 * y0 + last[0] * q0) / s1 * IN)
    by_last = (q0 * (z0 * z0 + first[0] * q0) / s1 * IN, q1 * (z1 * z1 + first[1] * q1) / s0 * OUT)
    return by_t, by_first, by_last, (s0, s1)


@compiled(error_model="numpy")
def _hull_with_0(a):
    return min(a[0], 0.0), max(a[1], 0.0)


@compiled(error_model="numpy")
def _narrower(a, interval, h):
    """A form, or the interval as one where it is narrower."""
    middle = 0.5 * (interval[0] + interval[1])
    radius = (0.5 * (interval[1] - interval[0]) + EPS * abs(middle)) * OUT
    if swing(a, h) + a[3] <= radius:
        return a
    return middle, 0.0, 0.0, radius


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
    t_form, f_form, l_form, w_form = form_of(t, h), form_of(first, h), form_of(last, h), form_of(w, h)
    t_all, f_all, l_all = _range_of(t_form, h), _range_of(f_form, h), _range_of(l_form, h)
    f_all, l_all = (max(f_all[0], 0.0), f_all[1]), (max(l_all[0], 0.0), l_all[1])
    leaves = t_all[0] < 0.0 or t_all[1] > 1.0
    z0 = _position_beyond(min(max(t_all[0], 0.0), 1.0), f_all[1], l_all[0], -1.0)
    z1 = _position_beyond(min(max(t_all[1], 0.0), 1.0), f_all[0], l_all[1], 1.0)
    by_t, by_f, by_l, s_all = _derivatives_on(z0, z1, f_all, l_all)
    d0 = _sum(_product(by_t, _range_of(t[2], h)), _sum(_product(by_f, _range_of(first[2], h)), _product(by_l, _range_of(last[2], h))))
    d1 = _sum(_product(by_t, _range_of(t[3], h)), _sum(_product(by_f, _range_of(first[3], h)), _product(by_l, _range_of(last[3], h))))
    if leaves:
        d0, d1 = _hull_with_0(d0), _hull_with_0(d1)
    # the value at the middle; what misses is measured and divided by the least slope of the height
    at = min(max(t[0], 0.0), 1.0)
    z = min(max(_position(at, first[0], last[0]), z0), z1)
    missing = abs(_height(z, first[0], last[0]) - at) + 64 * EPS
    error = (by_t[1] * (missing + t[1]) - by_f[0] * first[1] + by_l[1] * last[1]) * OUT
    value = x0[0] + w[0] * z
    away = (x0[1] + w[1] + abs(w[0]) * error + w[1] * error + 4 * EPS * (abs(x0[0]) + abs(w[0]))) * OUT
    w_all, z_all = _range_of(w_form, h), (z0, z1)
    whole0 = _sum(_range_of(x0[2], h), _sum(_product(_range_of(w[2], h), z_all), _product(w_all, d0)))
    whole1 = _sum(_range_of(x0[3], h), _sum(_product(_range_of(w[3], h), z_all), _product(w_all, d1)))
    if not as_forms:
        return value, away, whole0, whole1, (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)
    # the form of the position: coefficients of the middle, remainders by the mean value theorem
    at_t, at_f, at_l, _ = _derivatives_on(z, z, (first[0], first[0]), (last[0], last[0]))
    g0 = at_t[0] * t[2][0] + at_f[0] * first[2][0] + at_l[0] * last[2][0]
    g1 = at_t[0] * t[3][0] + at_f[0] * first[3][0] + at_l[0] * last[3][0]
    r = max(d0[1] - g0, g0 - d0[0]) * h[0] + max(d1[1] - g1, g1 - d1[0]) * h[1] + error
    position = _narrower((z, g0, g1, (r + EPS * (abs(g0) * h[0] + abs(g1) * h[1])) * OUT), z_all, h)
    other = _flipped(position, h)
    q = times(position, other, h)
    square, other_square = times(position, position, h), times(other, other, h)
    den = plus(plus(square, other_square, h), times(plus(f_form, l_form, h), q, h), h)
    s = plus(scaled(q, 2.0, h), plus(times(f_form, other_square, h), times(l_form, square, h), h), h)
    inverse = _inverse_form(s, s_all[0], s_all[1], h)
    form_t = _narrower(times(times(den, den, h), inverse, h), by_t, h)
    form_f = _narrower(scaled(times(times(q, plus(other_square, times(l_form, q, h), h), h), inverse, h), -1.0, h), by_f, h)
    form_l = _narrower(times(times(q, plus(square, times(f_form, q, h), h), h), inverse, h), by_l, h)
    p0 = plus(times(form_t, t[2], h), plus(times(form_f, first[2], h), times(form_l, last[2], h), h), h)
    p1 = plus(times(form_t, t[3], h), plus(times(form_f, first[3], h), times(form_l, last[3], h), h), h)
    if leaves:  # where the position is continued the derivative is 0, which the forms do not know
        p0, p1 = _narrower((0.0, 0.0, 0.0, math.inf), d0, h), _narrower((0.0, 0.0, 0.0, math.inf), d1, h)
    else:
        p0, p1 = _narrower(p0, d0, h), _narrower(p1, d1, h)
    p0 = plus(x0[2], plus(times(w[2], position, h), times(w_form, p0, h), h), h)
    p1 = plus(x0[3], plus(times(w[3], position, h), times(w_form, p1, h), h), h)
    return value, away, whole0, whole1, _narrower(p0, whole0, h), _narrower(p1, whole1, h)


@compiled(error_model="numpy")
def _covering(a, interval, h):
    """A form with a remainder such that it contains an interval, too."""
    s = swing(a, h)
    more = max(interval[1] - (a[0] - s), (a[0] + s) - interval[0])
    r = max(a[3], (more + 2 * EPS * (abs(a[0]) + s)) * OUT)
    return a[0], a[1], a[2], (r if more == more else math.inf)


@compiled(error_model="numpy")
def _knot(powers, k, bins, factor, bound, least, R):
    """The jets of knot k and of the distance to the next one; rows above `bins` of `powers` are sums of the first k powers."""
    inverse = _jet(powers, bins)
    at = (-bound, 0.0, (0.0, 0.0, 0.0))
    if k > 0:
        at = _moved(line_times(_jet(powers, bins + 1 + k), inverse, R), factor, bound * (2.0 * least * k - 1.0), R)
    return at, _moved(line_times(_jet(powers, k), inverse, R), factor, 2.0 * bound * least, R)


@compiled(error_model="numpy")
def _home(v, powers, bins, factor, bound, least):
    """The bin of the middle, -1 or `bins` beyond the bound."""
    if v < -bound:
        return -1
    if v > bound:
        return bins
    for k in range(1, bins):
        if v < factor * powers[bins + 1 + k, 0] * powers[bins, 0] + bound * (2.0 * least * k - 1.0):
            return k - 1
    return bins - 1


@compiled(error_model="numpy")
def _image(k, v, u, R, raw, bins, numbers, widths, heights, as_forms, h):
    """Of a bin, or of what lies beyond the bound: whether the middle may lie there, and what `_in_bin` returns."""
    bound, least, least_slope, _, _, clip_slopes = numbers
    if k < 0 or k == bins:
        there = v[0] - v[1] <= -bound if k < 0 else v[0] + v[1] >= bound
        return there, (v[0], v[1], _range_of(v[2], h), _range_of(v[3], h), v[2], v[3])
    factor = 2.0 * bound * (1.0 - least * bins)
    bottom, length = _knot(heights, k, bins, factor, bound, least, R)
    left, width = _knot(widths, k, bins, factor, bound, least, R)
    over = line_inverse(length, R)
    ratio = line_times(width, over, R)
    first = line_times(_slope_at(raw, k, bins, least_slope, clip_slopes, R), ratio, R)
    last = line_times(_slope_at(raw, k + 1, bins, least_slope, clip_slopes, R), ratio, R)
    t = jet_times(jet_minus(v, jet_composed(bottom, u, h), h), jet_composed(over, u, h), h)
    there = not (t[0] + t[1] < 0.0 or t[0] - t[1] > 1.0)
    x0, w = jet_composed(left, u, h), jet_composed(width, u, h)
    return there, _in_bin(t, x0, w, jet_composed(first, u, h), jet_composed(last, u, h), as_forms, h)


@compiled(error_model="numpy")
def _is_met(k, v_all, bins, numbers, heights, R):
    """Whether values in a range may lie in a bin, or beyond the bound."""
    bound, least = numbers[0], numbers[1]
    if k < 0 or k == bins:
        return v_all[0] < -bound if k < 0 else v_all[1] > bound
    bottom, length = _knot(heights, k, bins, 2.0 * bound * (1.0 - least * bins), bound, least, R)
    low, top = bottom[0] - reach_of_line(bottom, R), bottom[0] + length[0] + reach_of_line(bottom, R) + reach_of_line(length, R)
    slack = 8 * EPS * bound
    return not (v_all[1] < low - slack or v_all[0] > top + slack)


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
        widths: Memory of shape (2 bins + 2, 5).
        heights: Likewise.
        h: Half sides of the box.
    """
    bound, least, _, inner, clip_bins, _ = numbers
    _powers(raw, 0, bins, inner, clip_bins, R, widths)
    _powers(raw, bins, bins, inner, clip_bins, R, heights)
    v_all = _range_of(form_of(v, h), h)
    if not (v_all[0] > -math.inf and v_all[1] < math.inf and heights[bins, 4] < math.inf and widths[bins, 4] < math.inf):
        return constant_jet(math.nan, math.nan)
    home = _home(v[0], heights, bins, 2.0 * bound * (1.0 - least * bins), bound, least)
    there, (value, error, _, _, p, q) = _image(home, v, u, R, raw, bins, numbers, widths, heights, True, h)
    # the value at the middle: the hull over all bins where the middle may lie
    low, high = value - error, value + error
    for k in range(-1, bins + 1):
        if k == home or not _is_met(k, v_all, bins, numbers, heights, R):
            continue
        there, (other, away, d0, d1, _, _) = _image(k, v, u, R, raw, bins, numbers, widths, heights, False, h)
        if there:
            low, high = min(low, other - away), max(high, other + away)
        p, q = _covering(p, d0, h), _covering(q, d1, h)
    error = (max(high - value, value - low) + 2 * EPS * abs(value)) * OUT
    return value, error, p, q
