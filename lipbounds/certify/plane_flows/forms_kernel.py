r"""Arithmetic of functions on a box of the plane, compiled: affine forms, and jets made of them.

A *form* (c, g_0, g_1, r) stands for a function f of $\delta$, $|\delta_i|\le h_i$, with $|f(\delta)-c-g\cdot\delta|\le r$. A
*jet* (c, e, p, q, a, b) stands for a Lipschitz function f with $|f(0)-c|\le e$ and values in [a, b], whose derivatives by
$\delta_0$ and $\delta_1$ have the forms p and q almost everywhere. Integrating them from 0 gives a form of f itself. Functions of
one variable u, $|\Delta|\le R$ about a middle, have forms (c, g, r), and jets (c, e, p, a, b) that are called *lines* here.

On small boxes forms are good to second order. On large ones ranges are better: every rule for derivatives takes the form or, if
that is narrower, the interval that ranges give.

Rounding: every operation adds to r (and e) a multiple of EPS times a bound of what it has added up, and moves the ends of ranges
outwards. A form knows nothing about its coefficients but the inequality, so it does not matter that they are rounded.
TINY stands for what underflows.
"""

from __future__ import annotations

import math

from lipbounds.compiled import compiled
from lipbounds.rounding import EPS, TINY

__all__ = [
    "both",
    "form_of",
    "including",
    "jet_add",
    "jet_composed",
    "jet_minus",
    "jet_times",
    "line_add",
    "line_applied",
    "line_exp",
    "line_inverse",
    "line_moved",
    "line_reach",
    "line_slopes",
    "line_times",
    "line_with_slopes",
    "narrower",
    "outward",
    "plus",
    "product",
    "range_of",
    "reach_of",
    "scaled",
    "sum_of",
    "swing",
    "times",
    "within",
]

LARGEST = 1.7e308  # a little below the largest double
SMALL = 0.5  # remainders below this share of the radius of an interval are kept
UP = 1 + 32 * EPS  # covers the roundings of sums of up to 30 nonnegative terms


# Intervals: pairs of a lower and an upper end; a NaN becomes the whole line.


@compiled(error_model="numpy")
def outward(low, high):
    """The interval, a little wider; all numbers if an end is NaN. What overflows is above the largest double."""
    if low != low or high != high:
        return -math.inf, math.inf
    low, high = min(low, LARGEST), max(high, -LARGEST)
    return low - 2 * EPS * abs(low) - TINY, high + 2 * EPS * abs(high) + TINY


@compiled(error_model="numpy")
def product(a, b):
    """The product of two intervals."""
    p, q, r, s = a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]
    if p != p or q != q or r != r or s != s:
        return -math.inf, math.inf
    return outward(min(min(p, q), min(r, s)), max(max(p, q), max(r, s)))


@compiled(error_model="numpy")
def sum_of(a, b):
    """The sum of two intervals."""
    return outward(a[0] + b[0], a[1] + b[1])


@compiled(error_model="numpy")
def both(a, b):
    """The intersection of two enclosures of the same numbers."""
    return max(a[0], b[0]), min(a[1], b[1])


@compiled(error_model="numpy")
def including(low, high, c):
    """The interval with the middle, of which remainders speak, too: rounding may have left it out; a NaN is not included."""
    return (c if c < low else low), (c if c > high else high)


# Forms on the box.


@compiled(error_model="numpy")
def swing(a, h):
    """How far c + g delta may be from c."""
    return (abs(a[1]) * h[0] + abs(a[2]) * h[1]) * UP


@compiled(error_model="numpy")
def range_of(a, h):
    """The interval of a form."""
    s = (swing(a, h) + a[3]) * UP
    return outward(a[0] - s, a[0] + s)


@compiled(error_model="numpy")
def narrower(a, interval, h):
    """A form, or the interval as one where it is narrower, unless the remainder of the form is small: then what is linear in it
    may cancel later."""
    middle = 0.5 * (interval[0] + interval[1])
    radius = (0.5 * (interval[1] - interval[0]) + EPS * abs(middle)) * UP
    if a[3] <= SMALL * radius or swing(a, h) + a[3] <= radius or not radius < math.inf:
        return a
    return middle, 0.0, 0.0, radius


@compiled(error_model="numpy")
def plus(a, b, h):
    """The form of a + b."""
    c, g0, g1 = a[0] + b[0], a[1] + b[1], a[2] + b[2]
    charge = EPS * (abs(c) + abs(g0) * h[0] + abs(g1) * h[1])
    return c, g0, g1, (a[3] + b[3] + charge) * UP


@compiled(error_model="numpy")
def scaled(a, factor, h):
    """The form of a number times a."""
    c, g0, g1 = factor * a[0], factor * a[1], factor * a[2]
    charge = EPS * (abs(c) + abs(g0) * h[0] + abs(g1) * h[1])
    return c, g0, g1, (abs(factor) * a[3] + charge) * UP + TINY


@compiled(error_model="numpy")
def times(a, b, h):
    """The form of ab."""
    sa, sb = swing(a, h), swing(b, h)
    all_a, all_b = abs(a[0]) + sa, abs(b[0]) + sb
    rest = sa * sb + a[3] * (all_b + b[3]) + b[3] * all_a
    # the coefficients are sums of at most two products: three roundings of at most what all_a all_b adds up
    return (
        a[0] * b[0],
        a[0] * b[1] + b[0] * a[1],
        a[0] * b[2] + b[0] * a[2],
        (rest + 4 * EPS * all_a * all_b) * UP + TINY,
    )


# Jets on the box.


@compiled(error_model="numpy")
def form_of(f, h):
    """The form of a jet, by integration of its derivatives from the middle."""
    c, e, p, q = f[0], f[1], f[2], f[3]
    second = 0.5 * (abs(p[1]) * h[0] * h[0] + abs(p[2] + q[1]) * h[0] * h[1] + abs(q[2]) * h[1] * h[1])
    # the sum of the mixed coefficients is rounded
    second += EPS * (abs(p[2]) + abs(q[1])) * h[0] * h[1]
    return narrower((c, p[0], q[0], (e + second + p[3] * h[0] + q[3] * h[1]) * UP), (f[4], f[5]), h)


@compiled(error_model="numpy")
def within(f, h):
    """The range of a jet."""
    return both((f[4], f[5]), range_of(form_of(f, h), h))


@compiled(error_model="numpy")
def reach_of(f, h):
    """How far a jet may be from its c."""
    low, high = within(f, h)
    return max(high - f[0], f[0] - low) * UP


@compiled(error_model="numpy")
def jet_add(f, g, h):
    """The jet of f + g."""
    c = f[0] + g[0]
    low, high = sum_of((f[4], f[5]), (g[4], g[5]))
    return c, (f[1] + g[1] + EPS * abs(c)) * UP, plus(f[2], g[2], h), plus(f[3], g[3], h), low, high


@compiled(error_model="numpy")
def jet_minus(f, g, h):
    """The jet of f - g."""
    return jet_add(f, (-g[0], g[1], scaled(g[2], -1.0, h), scaled(g[3], -1.0, h), -g[5], -g[4]), h)


@compiled(error_model="numpy")
def jet_times(f, g, h):
    """The jet of fg."""
    a, b = form_of(f, h), form_of(g, h)
    e = (abs(f[0]) * g[1] + abs(g[0]) * f[1] + f[1] * g[1] + EPS * abs(f[0] * g[0])) * UP + TINY
    all_f, all_g = within(f, h), within(g, h)
    p = plus(times(a, g[2], h), times(b, f[2], h), h)
    q = plus(times(a, g[3], h), times(b, f[3], h), h)
    p = narrower(p, sum_of(product(all_f, range_of(g[2], h)), product(all_g, range_of(f[2], h))), h)
    q = narrower(q, sum_of(product(all_f, range_of(g[3], h)), product(all_g, range_of(f[3], h))), h)
    low, high = product(all_f, all_g)
    return f[0] * g[0], e, p, q, low, high


@compiled(error_model="numpy")
def jet_composed(line, u, R, h):
    """The jet of F(u) from the line of F about the middle of u, on |Delta| <= R, which u does not leave."""
    c, e, (dc, dg, dr) = line[0], line[1], line[2]
    reach = form_of(u, h)
    # about the middle of u, which a form by its range may have lost
    off = reach[0] - u[0]
    slope = (dc + dg * off, dg * reach[1], dg * reach[2], 0.0)
    rest = dr + abs(dg) * reach[3] + 4 * EPS * (abs(dc) + abs(dg) * (abs(off) + abs(u[0]) + swing(reach, h)))
    slope = (slope[0], slope[1], slope[2], rest * UP)
    slopes = line_slopes(line, R)
    slope = narrower(slope, slopes, h)
    p = narrower(times(slope, u[2], h), product(slopes, range_of(u[2], h)), h)
    q = narrower(times(slope, u[3], h), product(slopes, range_of(u[3], h)), h)
    # the value of u at the middle is known to its error only
    away = max(abs(slopes[0]), abs(slopes[1])) * u[1]
    return c, (e + away) * UP, p, q, line[3], line[4]


# Lines: jets in one variable.


@compiled(error_model="numpy")
def line_form(f, R):
    """The form of a line."""
    c, e, d = f[0], f[1], f[2]
    r = (e + 0.5 * abs(d[1]) * R * R + d[2] * R) * UP
    away = max(f[4] - c, c - f[3]) * UP
    if r > SMALL * away and away < abs(d[0]) * R + r:
        return c, 0.0, away
    return c, d[0], r


@compiled(error_model="numpy")
def line_reach(f, R):
    """How far a line may be from its c."""
    a = line_form(f, R)
    return (abs(a[1]) * R + a[2]) * UP


@compiled(error_model="numpy")
def line_slopes(f, R):
    """The interval of the derivative of a line."""
    d = f[2]
    s = (abs(d[1]) * R + d[2]) * UP
    return outward(d[0] - s, d[0] + s)


@compiled(error_model="numpy")
def _line(c, e, d, slopes, low, high, R):
    """The line with the derivative d, or an interval as in `narrower`; its range, too, is the narrower one."""
    middle = 0.5 * (slopes[0] + slopes[1])
    radius = (0.5 * (slopes[1] - slopes[0]) + EPS * abs(middle)) * UP
    if not (d[2] <= SMALL * radius or abs(d[1]) * R + d[2] <= radius) and radius < math.inf:
        d = (middle, 0.0, radius)
    away = (e + (abs(d[0]) + 0.5 * abs(d[1]) * R + d[2]) * R) * UP
    least, most = outward(c - away, c + away)
    low, high = including(max(low, least), min(high, most), c)
    return c, e, d, low, high


@compiled(error_model="numpy")
def line_with_slopes(f, slopes, low, high, R):
    """A line of which something else is known: an interval of its derivative, and one of its values."""
    return _line(f[0], f[1], f[2], slopes, max(f[3], low), min(f[4], high), R)


@compiled(error_model="numpy")
def line_add(f, g, R):
    """The line of f + g."""
    a, b = f[2], g[2]
    c, dc, dg = f[0] + g[0], a[0] + b[0], a[1] + b[1]
    charge = EPS * (abs(dc) + abs(dg) * R)
    low, high = sum_of((f[3], f[4]), (g[3], g[4]))
    d = (dc, dg, (a[2] + b[2] + charge) * UP)
    return _line(c, (f[1] + g[1] + EPS * abs(c)) * UP, d, sum_of(line_slopes(f, R), line_slopes(g, R)), low, high, R)


@compiled(error_model="numpy")
def line_moved(f, factor, shift, R):
    """The line of factor f + shift."""
    d, k = f[2], abs(factor)
    c = factor * f[0] + shift
    # the factor may be rounded itself, twice
    e = (k * f[1] + 4 * EPS * (abs(factor * f[0]) + abs(shift))) * UP + TINY
    r = (k * d[2] + 2 * EPS * k * (abs(d[0]) + abs(d[1]) * R)) * UP + TINY
    low, high = product((f[3], f[4]), (factor, factor))
    low, high = sum_of((low, high), (shift, shift))
    return c, e, (factor * d[0], factor * d[1], r), low, high


@compiled(error_model="numpy")
def _line_times(a, b, R):
    sa, sb = abs(a[1]) * R * UP, abs(b[1]) * R * UP
    all_a, all_b = abs(a[0]) + sa, abs(b[0]) + sb
    rest = sa * sb + a[2] * (all_b + b[2]) + b[2] * all_a + 4 * EPS * all_a * all_b
    return a[0] * b[0], a[0] * b[1] + b[0] * a[1], rest * UP + TINY


@compiled(error_model="numpy")
def line_times(f, g, R):
    """The line of fg."""
    a, b = line_form(f, R), line_form(g, R)
    e = (abs(f[0]) * g[1] + abs(g[0]) * f[1] + f[1] * g[1] + EPS * abs(f[0] * g[0])) * UP + TINY
    p, q = _line_times(a, g[2], R), _line_times(b, f[2], R)
    c, s = p[0] + q[0], p[1] + q[1]
    d = (c, s, (p[2] + q[2] + EPS * (abs(c) + abs(s) * R)) * UP)
    all_f, all_g = (f[3], f[4]), (g[3], g[4])
    slopes = sum_of(product(all_f, line_slopes(g, R)), product(all_g, line_slopes(f, R)))
    low, high = product(all_f, all_g)
    return _line(f[0] * g[0], e, d, slopes, low, high, R)


@compiled(error_model="numpy")
def line_applied(f, value, first, second, rest, errors, bend, values, slopes, R):
    """The line of phi(f).

    Args:
        f: The line, with values within some A of its c.
        value: phi(c), known to errors[0].
        first: phi'(c), known to errors[1].
        second: A coefficient, known to 8 EPS of itself.
        rest: A bound of |phi'(x) - phi'(c) - second (x - c)| for |x - c| <= A.
        errors: Of value and first.
        bend: A bound of |phi'| at numbers as near to c as f is at the middle.
        values: Interval of phi on the range of f.
        slopes: Interval of phi' there.
        R: Half width of the variable.
    """
    a = line_form(f, R)
    # the coefficient is a computed one, and its product with that of f is rounded
    charge = 16 * EPS * abs(second) * (abs(a[1]) * R + a[2])
    slope = (first, second * a[1], (rest + abs(second) * a[2] + errors[1] + charge) * UP)
    e = (bend * f[1] + errors[0]) * UP
    return _line(value, e, _line_times(slope, f[2], R), product(slopes, line_slopes(f, R)), values[0], values[1], R)


@compiled(error_model="numpy")
def line_exp(f, R):
    """The line of exp(f)."""
    A = line_reach(f, R)
    value = math.exp(f[0])
    # e^A - 1 - A <= A^2 / 2 + A^3 e^A / 6
    rest = value * 0.5 * A * A * (1.0 + A * math.exp(A) / 3.0) * UP
    error = 8 * EPS * value + TINY
    ends = (min(math.exp(f[3]), LARGEST) * (1 - 8 * EPS) - TINY, math.exp(f[4]) * (1 + 8 * EPS) + TINY)
    ends = (max(ends[0], 0.0), ends[1])
    bend = 2.0 * value if f[1] < 0.5 else math.inf
    return line_applied(f, value, value, value, rest, (error, error), bend, ends, ends, R)


@compiled(error_model="numpy")
def line_inverse(f, R):
    """The line of 1 / f for a positive f; NaN where it may not be positive."""
    c, low, high = f[0], f[3], f[4]
    if not (low > 0 and c >= low):
        return math.nan, math.nan, (math.nan, math.nan, math.nan), -math.inf, math.inf
    A = line_reach(f, R)
    value = 1.0 / c
    first, second = -value * value, 2.0 * value * value * value
    rest = math.inf
    if c > A:
        near = (c - A) * (1 - 4 * EPS)
        # 1 / (c - A)^2 - 1 / c^2 - 2 A / c^3, without cancellation
        rest = A * A * (3.0 * c - 2.0 * A * (1 - 4 * EPS)) / (c * c * c * near * near) * UP
    errors = (EPS * value + TINY, 4 * EPS * value * value + TINY)
    values = outward(1.0 / high, 1.0 / low)
    slopes = (-1.0 / (low * low) * UP - TINY, min(TINY - 1.0 / (high * high) * (1 - 8 * EPS), 0.0))
    bend = 4.0 * value * value if f[1] < 0.5 * c else math.inf
    return line_applied(f, value, first, second, rest, errors, bend, values, slopes, R)
