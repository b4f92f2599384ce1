r"""Arithmetic of functions on a box of the plane, compiled: affine forms, and jets made of them.

A *form* (c, g_0, g_1, r) stands for a function f of $\delta$, $|\delta_i|\le h_i$, with $|f(\delta)-c-g\cdot\delta|\le r$. A *jet*
(c, e, p, q) stands for a Lipschitz function f with $|f(0)-c|\le e$ whose derivatives by $\delta_0$ and $\delta_1$ have the forms p
and q almost everywhere. Integrating them from 0 gives the form of f itself. Functions of one variable u, $|\Delta|\le R$ about a
middle, have forms (c, g, r) and jets (c, e, p) likewise.

Rounding: every operation adds to r (and e) a multiple of EPS times a bound of what it has added up. A form knows nothing about
its coefficients but the inequality, so it does not matter that they are rounded.
"""

from __future__ import annotations

import math

from lipbounds.compiled import compiled
from lipbounds.rounding import EPS

__all__ = [
    "constant_jet",
    "form_of",
    "jet_add",
    "jet_composed",
    "jet_minus",
    "jet_times",
    "line_add",
    "line_applied",
    "line_exp",
    "line_form",
    "line_inverse",
    "line_times",
    "plus",
    "reach_of_line",
    "scaled",
    "size",
    "swing",
    "times",
]

UP = 1 + 32 * EPS  # covers the roundings of sums of up to 30 nonnegative terms


@compiled(error_model="numpy")
def swing(a, h):
    """How far c + g delta may be from c."""
    return (abs(a[1]) * h[0] + abs(a[2]) * h[1]) * UP


@compiled(error_model="numpy")
def size(a, h):
    """A bound of |f|."""
    return (abs(a[0]) + swing(a, h) + a[3]) * UP


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
    return c, g0, g1, (abs(factor) * a[3] + charge) * UP


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
        (rest + 4 * EPS * all_a * all_b) * UP,
    )


@compiled(error_model="numpy")
def form_of(f, h):
    """The form of a jet, by integration of its derivatives from the middle."""
    c, e, p, q = f
    second = 0.5 * (abs(p[1]) * h[0] * h[0] + abs(p[2] + q[1]) * h[0] * h[1] + abs(q[2]) * h[1] * h[1])
    # the sum of the mixed coefficients is rounded
    second += EPS * (abs(p[2]) + abs(q[1])) * h[0] * h[1]
    return c, p[0], q[0], (e + second + p[3] * h[0] + q[3] * h[1]) * UP


@compiled(error_model="numpy")
def constant_jet(value, error):
    """The jet of a number."""
    zero = (0.0, 0.0, 0.0, 0.0)
    return value, error, zero, zero


@compiled(error_model="numpy")
def jet_add(f, g, h):
    """The jet of f + g."""
    c = f[0] + g[0]
    return c, (f[1] + g[1] + EPS * abs(c)) * UP, plus(f[2], g[2], h), plus(f[3], g[3], h)


@compiled(error_model="numpy")
def jet_minus(f, g, h):
    """The jet of f - g."""
    c = f[0] - g[0]
    p, q = scaled(g[2], -1.0, h), scaled(g[3], -1.0, h)
    return c, (f[1] + g[1] + EPS * abs(c)) * UP, plus(f[2], p, h), plus(f[3], q, h)


@compiled(error_model="numpy")
def jet_times(f, g, h):
    """The jet of fg."""
    a, b = form_of(f, h), form_of(g, h)
    e = (abs(f[0]) * g[1] + abs(g[0]) * f[1] + f[1] * g[1] + EPS * abs(f[0] * g[0])) * UP
    p = plus(times(a, g[2], h), times(b, f[2], h), h)
    q = plus(times(a, g[3], h), times(b, f[3], h), h)
    return f[0] * g[0], e, p, q


@compiled(error_model="numpy")
def jet_composed(line, u, h):
    """The jet of F(u) from that of F in one variable, taken about the middle of u on all that u reaches."""
    c, e, (dc, dg, dr) = line
    reach = form_of(u, h)
    slope = (dc, dg * reach[1], dg * reach[2], (dr + abs(dg) * reach[3] + 2 * EPS * abs(dg) * swing(reach, h)) * UP)
    # the value of u at the middle is known to its error only
    away = size(slope, h) * u[1]
    return c, (e + away) * UP, times(slope, u[2], h), times(slope, u[3], h)


@compiled(error_model="numpy")
def line_form(f, R):
    """The form of a jet in one variable."""
    c, e, d = f
    return c, d[0], (e + 0.5 * abs(d[1]) * R * R + d[2] * R) * UP


@compiled(error_model="numpy")
def line_add(f, g, factor, R):
    """The jet of f + factor g in one variable."""
    d, b = f[2], g[2]
    c, dc, dg = f[0] + factor * g[0], d[0] + factor * b[0], d[1] + factor * b[1]
    k = abs(factor)
    e = (f[1] + k * g[1] + 2 * EPS * (abs(f[0]) + k * abs(g[0]))) * UP
    charge = 2 * EPS * (abs(d[0]) + k * abs(b[0]) + (abs(d[1]) + k * abs(b[1])) * R)
    return c, e, (dc, dg, (d[2] + k * b[2] + charge) * UP)


@compiled(error_model="numpy")
def _line_times(a, b, R):
    sa, sb = abs(a[1]) * R * UP, abs(b[1]) * R * UP
    all_a, all_b = abs(a[0]) + sa, abs(b[0]) + sb
    rest = sa * sb + a[2] * (all_b + b[2]) + b[2] * all_a + 4 * EPS * all_a * all_b
    return a[0] * b[0], a[0] * b[1] + b[0] * a[1], rest * UP


@compiled(error_model="numpy")
def line_times(f, g, R):
    """The jet of fg in one variable."""
    a, b = line_form(f, R), line_form(g, R)
    e = (abs(f[0]) * g[1] + abs(g[0]) * f[1] + f[1] * g[1] + EPS * abs(f[0] * g[0])) * UP
    p, q = _line_times(a, g[2], R), _line_times(b, f[2], R)
    c, s = p[0] + q[0], p[1] + q[1]
    return f[0] * g[0], e, (c, s, (p[2] + q[2] + EPS * (abs(c) + abs(s) * R)) * UP)


@compiled(error_model="numpy")
def line_applied(f, value, first, second, rest, errors, bend, R):
    """The jet of phi(f) in one variable.

    Args:
        f: The jet, with values within some A of its c.
        value: phi(c), known to errors[0].
        first: phi'(c), known to errors[1].
        second: A coefficient, known to 8 EPS of itself.
        rest: A bound of |phi'(x) - phi'(c) - second (x - c)| for |x - c| <= A.
        errors: Of value and first.
        bend: A bound of |phi'| for |x - c| <= A.
        R: Half width of the variable.
    """
    a = line_form(f, R)
    # the coefficient is a computed one, and its product with that of f is rounded
    charge = 16 * EPS * abs(second) * (abs(a[1]) * R + a[2])
    slope = (first, second * a[1], (rest + abs(second) * a[2] + errors[1] + charge) * UP)
    return value, (bend * f[1] + errors[0]) * UP, _line_times(slope, f[2], R)


@compiled(error_model="numpy")
def reach_of_line(f, R):
    """How far a function of one variable may be from its c."""
    a = line_form(f, R)
    return (abs(a[1]) * R + a[2]) * UP


@compiled(error_model="numpy")
def line_exp(f, R):
    """The jet of exp(f)."""
    A = reach_of_line(f, R)
    value = math.exp(f[0])
    grown = math.exp(A) * (1 + 8 * EPS)
    # e^A - 1 - A <= A^2 / 2 + A^3 e^A / 6
    rest = value * 0.5 * A * A * (1.0 + A * grown / 3.0) * UP
    error = 8 * EPS * value
    return line_applied(f, value, value, value, rest, (error, error), value * grown * UP, R)


@compiled(error_model="numpy")
def line_inverse(f, R):
    """The jet of 1 / f for a positive f; NaN where it may not be positive."""
    A = reach_of_line(f, R)
    c = f[0]
    low = (c - A) * (1 - 4 * EPS)
    if not low > 0:
        return math.nan, math.nan, (math.nan, math.nan, math.nan)
    value = 1.0 / c
    first, second = -value * value, 2.0 * value * value * value
    # 1 / (c - A)^2 - 1 / c^2 - 2 A / c^3, without cancellation
    rest = A * A * (3.0 * c - 2.0 * A * (1 - 4 * EPS)) / (c * c * c * low * low) * UP
    errors = (EPS * value, 4 * EPS * value * value)
    return line_applied(f, value, first, second, rest, errors, 1.0 / (low * low) * UP, R)
