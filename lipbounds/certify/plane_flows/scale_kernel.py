r"""Scales of affine couplings as lines: $e^{a\varphi(r/b+c)}$, or $\varphi(r+c)$ plus an offset, or their inverses."""

from __future__ import annotations

import math

from lipbounds.certify.plane_flows.forms_kernel import (
    line_applied,
    line_exp,
    line_inverse,
    line_moved,
    line_reach,
    outward,
)
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
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@compiled(error_model="numpy")
def _nearest_and_farthest(low, high):
    """Bounds of |x| on an interval."""
    near = low if low > 0.0 else (-high if high < 0.0 else 0.0)
    return near * (1 - 4 * EPS), max(-low, high) * (1 + 4 * EPS)


@compiled(error_model="numpy")
def _wider(low, high):
    """The interval of a function of one variable from its ends, which are known to FUNCTION_ERROR."""
    low, high = outward(low, high)
    return low - FUNCTION_ERROR * (1.0 + abs(low)), high + FUNCTION_ERROR * (1.0 + abs(high))


@compiled(error_model="numpy")
def _soft(x, kappa):
    return x / (1.0 + kappa * abs(x)) if abs(x) < math.inf else math.copysign(1.0 / kappa, x)


@compiled(error_model="numpy")
def line_softsign(f, kappa, R):
    """The line of f / (1 + kappa |f|)."""
    A = line_reach(f, R)
    c = f[0]
    near, far = _nearest_and_farthest(f[3], f[4])
    share = 1.0 / (1.0 + kappa * abs(c))
    value, first = c * share, share * share
    if near > 0.0:
        second = -2.0 * math.copysign(kappa, c) * first * share
        most = 1.0 / (1.0 + kappa * near)
        rest = 3.0 * kappa * kappa * (most * most) * (most * most) * A * A
    else:  # the second derivative jumps at 0; the first is within [0, 1], with slopes up to 2 kappa
        second, rest = 0.0, min(2.0 * kappa * A, 1.0)
    errors = (FUNCTION_ERROR * (1.0 + abs(value)), FUNCTION_ERROR)
    values = _wider(_soft(f[3], kappa), _soft(f[4], kappa))
    slopes = ((1.0 / (1.0 + kappa * far) ** 2) * (1 - 16 * EPS), (1.0 / (1.0 + kappa * near) ** 2) * (1 + 16 * EPS))
    return line_applied(f, value, first, second, rest * (1 + 16 * EPS), errors, 1.0, values, slopes, R)


@compiled(error_model="numpy")
def _line_phi(f, kind, R):
    """The line of an activation of f."""
    A = line_reach(f, R)
    c = f[0]
    near, far = _nearest_and_farthest(f[3], f[4])
    if kind == LINEAR:
        return f
    if kind == SOFTSIGN:
        return line_softsign(f, 1.0, R)
    if kind == ARCTAN:
        first = 1.0 / (1.0 + c * c)
        value, second = math.atan(c), -2.0 * c * first * first
        # |6 x^2 - 2| / (1 + x^2)^3 is at most 6 / (1 + x^2)^2
        third = min(2.0, 6.0 / ((1.0 + near * near) * (1.0 + near * near)))
        values, slopes = (math.atan(f[3]), math.atan(f[4])), (1.0 / (1.0 + far * far), 1.0 / (1.0 + near * near))
    elif kind == TANH:
        value = math.tanh(c)
        first = 1.0 - value * value
        second = -2.0 * value * first
        # |6 t^2 - 2| (1 - t^2) with |t| < 1
        third = min(2.0, 4.0 / (math.cosh(min(near, 300.0)) ** 2))
        values = math.tanh(f[3]), math.tanh(f[4])
        slopes = 1.0 / math.cosh(min(far, 300.0)) ** 2, 1.0 / math.cosh(min(near, 300.0)) ** 2
        slopes = (slopes[0] if far < 300.0 else 0.0), slopes[1]
    else:
        p = _logistic(c)
        slope = p * _logistic(-c)
        third = math.exp(-near)  # sigma (1 - sigma) and all its derivatives
        if kind == SOFTPLUS:
            value, first, second = _softplus(c), p, slope
            third = min(third, LARGEST_THIRD_SOFTPLUS)
            values = _softplus(f[3]), _softplus(f[4])
            slopes = _logistic(f[3]), _logistic(f[4])
        else:
            value, first, second = p, slope, slope * (1.0 - 2.0 * p)
            third = min(third, LARGEST_THIRD_SIGMOID)
            values = _logistic(f[3]), _logistic(f[4])
            slopes = _logistic(far) * _logistic(-far), _logistic(near) * _logistic(-near)
    rest = 0.5 * third * A * A * (1 + 64 * EPS) + 4 * FUNCTION_ERROR * A
    errors = (FUNCTION_ERROR * (1.0 + abs(value)), FUNCTION_ERROR)
    values, slopes = _wider(values[0], values[1]), _wider(slopes[0], slopes[1])
    return line_applied(f, value, first, second, rest, errors, 1.0, values, (max(slopes[0], 0.0), slopes[1]), R)


@compiled(error_model="numpy")
def line_factor(raw, kind, outer, inner, shift, offset, sign, R):
    """The line of the scale (sign = 1) or of its inverse (-1); `raw` is that of the raw output of the conditioner."""
    # the shift and the factor are rounded numbers: line_moved charges for the products and sums
    c, e, d, low, high = _line_phi(line_moved(raw, inner, shift, R), kind, R)
    if offset == EXPONENTIAL:
        return line_exp(line_moved((c, e, d, low, high), sign * outer, 0.0, R), R)
    scale = line_moved((c, e, d, low, high), 1.0, offset, R)
    scale = (scale[0], scale[1], scale[2], max(scale[3], 0.0), scale[4])
    return scale if sign > 0 else line_inverse(scale, R)
