r"""Scales of affine couplings as jets in one variable: $e^{a\varphi(r/b+c)}$, or $\varphi(r+c)$ plus an offset, or their inverses."""

from __future__ import annotations

import math

from lipbounds.certify.plane_flows.affine_forms import line_applied, line_exp, line_inverse, reach_of_line
from lipbounds.compiled import compiled
from lipbounds.rounding import EPS, FUNCTION_ERROR

__all__ = ["ARCTAN", "EXPONENTIAL", "LINEAR", "SIGMOID", "SOFTPLUS", "SOFTSIGN", "TANH", "line_factor", "line_softsign"]

LINEAR, ARCTAN, TANH, SOFTSIGN, SOFTPLUS, SIGMOID = range(6)
EXPONENTIAL = -1.0  # in place of an offset: the scale is the exponential of a phi

LARGEST_THIRD_SOFTPLUS = 0.0963  # 1 / (6 sqrt 3), rounded up
LARGEST_THIRD_SIGMOID = 0.125


@compiled(error_model="numpy")
def _logistic(x):
    small = math.exp(-abs(x))
    return (1.0 if x >= 0 else small) / (1.0 + small)


@compiled(error_model="numpy")
def line_softsign(f, kappa, R):
    """The jet of f / (1 + kappa |f|)."""
    A = reach_of_line(f, R)
    c = f[0]
    near = max(abs(c) - A, 0.0) * (1 - 4 * EPS)
    share = 1.0 / (1.0 + kappa * abs(c))
    value, first = c * share, share * share
    if near > 0.0:
        second = -2.0 * math.copysign(kappa, c) * first * share
        most = 1.0 / (1.0 + kappa * near)
        rest = 3.0 * kappa * kappa * (most * most) * (most * most) * A * A
    else:  # the second derivative jumps at 0; the first is within [0, 1], with slopes up to 2 kappa
        second, rest = 0.0, min(2.0 * kappa * A, 1.0)
    errors = (FUNCTION_ERROR * (1.0 + abs(value)), FUNCTION_ERROR)
    return line_applied(f, value, first, second, rest * (1 + 16 * EPS), errors, 1.0, R)


@compiled(error_model="numpy")
def _line_phi(f, kind, R):
    """The jet of an activation of f."""
    A = reach_of_line(f, R)
    c = f[0]
    near = max(abs(c) - A, 0.0) * (1 - 4 * EPS)
    if kind == LINEAR:
        return f
    if kind == SOFTSIGN:
        return line_softsign(f, 1.0, R)
    bend = 1.0
    if kind == ARCTAN:
        first = 1.0 / (1.0 + c * c)
        value, second = math.atan(c), -2.0 * c * first * first
        # |6 x^2 - 2| / (1 + x^2)^3 is at most 6 / (1 + x^2)^2
        third = min(2.0, 6.0 / ((1.0 + near * near) * (1.0 + near * near)))
    elif kind == TANH:
        value = math.tanh(c)
        first = 1.0 - value * value
        second = -2.0 * value * first
        # |6 t^2 - 2| (1 - t^2) with |t| < 1
        third = min(2.0, 4.0 / (math.cosh(min(near, 300.0)) ** 2))
    else:
        p = _logistic(c)
        slope = p * _logistic(-c)
        third = math.exp(-near)  # sigma (1 - sigma) and all its derivatives
        if kind == SOFTPLUS:
            value, first, second = max(c, 0.0) + math.log1p(math.exp(-abs(c))), p, slope
            third = min(third, LARGEST_THIRD_SOFTPLUS)
        else:
            value, first, second = p, slope, slope * (1.0 - 2.0 * p)
            third, bend = min(third, LARGEST_THIRD_SIGMOID), 0.25
    rest = 0.5 * third * A * A * (1 + 64 * EPS) + 4 * FUNCTION_ERROR * A
    errors = (FUNCTION_ERROR * (1.0 + abs(value)), FUNCTION_ERROR)
    return line_applied(f, value, first, second, rest, errors, bend, R)


@compiled(error_model="numpy")
def line_factor(raw, kind, outer, inner, shift, offset, sign, R):
    """The jet of the scale (sign = 1) or of its inverse (-1); `raw` is that of the raw output of the conditioner."""
    c, e, (dc, dg, dr) = raw
    moved = inner * c + shift
    k = abs(inner)
    error = (k * e + 4 * EPS * (abs(moved) + abs(shift))) * (1 + 8 * EPS)
    f = (moved, error, (inner * dc, inner * dg, (k * dr + 4 * EPS * k * (abs(dc) + abs(dg) * R)) * (1 + 8 * EPS)))
    c, e, (dc, dg, dr) = _line_phi(f, kind, R)
    if offset == EXPONENTIAL:
        a = sign * outer
        k = abs(a)
        e = (k * e + 4 * EPS * abs(a * c)) * (1 + 8 * EPS)
        return line_exp((a * c, e, (a * dc, a * dg, (k * dr + 4 * EPS * k * (abs(dc) + abs(dg) * R)) * (1 + 8 * EPS))), R)
    scale = (c + offset, (e + EPS * abs(c + offset)) * (1 + 8 * EPS), (dc, dg, dr))
    return scale if sign > 0 else line_inverse(scale, R)
