r"""The bound that always exists: constants of single layers, (13), on boxes that grow from layer to layer, multiplied.

Everything is in ball arithmetic: the box is run through the inverse by interval arithmetic, which gives ranges of s and t and
of the slopes of every activation, so the constants of (13) are those of the box and not global ones. With W_i the matrices and
D_i the largest slopes of the units on the box, Lip of a conditioner is at most $\|W_l D_{l-1}\|_2\cdots\|W_2D_1\|_2\|W_1\|_2$.
A residual layer x + g(x) has the constant 1 / (1 - c) with c such a bound of Lip(g) on the preimage of the box.
The worst cases of the layers do not happen at one point, so the product is large, often by many orders of magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from lipbounds.arb import ends, spectral_norm, working_precision
from lipbounds.certify.witness import ResidualInverse
from lipbounds.maps.layers import (
    Affine,
    Conditioner,
    Layer,
    PartialCoupling,
    Permutation,
    Residual,
    Simple,
    expanded,
)

__all__ = ["activate", "bound_by_product", "clamped", "clamped_slope", "meet", "propagated", "slope_range"]

Array = NDArray[np.float64]
Row = list[arb]

BITS = 64
SILU_LEAST, SILU_WHERE = -0.2784645427610738, (-1.2785, -1.2784)  # rounded down; where it is attained
SILU_SLOPE = 1.0998393201288672


def bound_by_product(layers: Sequence[Layer], lower: Array, upper: Array) -> float:
    """Bound Lip(T^{-1}) on a latent box from above; infinite beyond the doubles.

    Args:
        layers: Of T, in the order of the forward map.
        lower: Corner of the box, shape (d,).
        upper: The opposite corner.

    Example:
        >>> stretch = Affine(np.array([[0.5, 0.0], [0.0, 4.0]]), np.zeros(2))
        >>> round(bound_by_product([stretch, stretch], -np.ones(2), np.ones(2)), 9)
        4.0
    """
    product = arb(1)
    with working_precision(BITS):
        for _, _, constant in propagated(layers, lower, upper):
            product *= constant
        return ends(product)[1]


def propagated(layers: Sequence[Layer], lower: Array, upper: Array) -> Iterator[tuple[Simple, Row, arb]]:
    """The layers in the order of the inverse, each with the box of balls that its inverse acts on and its constant there."""
    with working_precision(BITS):
        box = [arb(low).union(arb(high)) for low, high in zip(lower.tolist(), upper.tolist(), strict=True)]
        for layer in reversed(expanded(layers)):
            image, constant = _inverse(layer, box)
            yield layer, box, constant
            box = image


def _inverse(layer: Simple, box: Row) -> tuple[Row, arb]:
    """The image of a box under the inverse of a layer, and a bound of its constant there."""
    match layer:
        case Permutation(order=order):
            result = list(box)
            for place, source in enumerate(order.tolist()):
                result[source] = box[place]
            return result, arb(1)
        case Affine(matrix=matrix, offset=offset):
            inverse = arb_mat(matrix.tolist()).inv()
            shifted = arb_mat(len(box), 1, [value - arb(b) for value, b in zip(box, offset.tolist(), strict=True)])
            image = inverse * shifted
            return [image[i, 0] for i in range(len(box))], spectral_norm(inverse)
        case PartialCoupling(changed=changed, seen=seen, network=network, clamp=clamp):
            moved, constant = _undo([box[i] for i in changed], network, [box[j] for j in seen], clamp)
            result = list(box)
            for place, value in zip(changed.tolist(), moved, strict=True):
                result[place] = value
            return result, constant
        case Residual(network=network):
            inverse_layer = ResidualInverse(network)
            middle = [value.mid() for value in box]
            moved = [value - m for value, m in zip(box, middle, strict=True)]
            preimage = inverse_layer.around(inverse_layer.at(middle), moved)
            # x = z - g(x) often says more than the ball about one preimage
            values, _, _ = _hidden(network, preimage)
            preimage = [meet(x, z - g) for x, z, g in zip(preimage, box, values, strict=True)]
            values, lip_hidden, last = _hidden(network, preimage)
            local = 1 - arb(_high(lip_hidden * spectral_norm(last)))
            return preimage, arb(min(_high(1 / local) if local > 0 else math.inf, _high(inverse_layer.lipschitz)))


def meet(first: arb, second: arb) -> arb:
    """The intersection of two balls that have a point in common; what is unknown in one is what the other says."""
    lows, highs = zip(ends(first), ends(second), strict=True)
    return arb(max(lows)).union(arb(min(highs)))


def _undo(changed: Row, network: Conditioner, seen: Row, clamp: float) -> tuple[Row, arb]:
    """(v - t(u)) exp(-s(u)) over a box, and the sharp form of (13): the norm of ((1, 0), (below, c))."""
    values, lip_hidden, last = _hidden(network, seen)
    half = len(changed)
    alpha = arb(clamp)
    raw, t = values[:half], values[half:]
    s = [clamped(value, alpha) for value in raw]
    slope = arb(max(_high(clamped_slope(value, alpha)) for value in raw))
    lip_s = slope * lip_hidden * spectral_norm(_rows(last, 0, half))
    lip_t = lip_hidden * spectral_norm(_rows(last, half, 2 * half))
    factors = [(-scale).exp() for scale in s]
    moved = [value - shift for value, shift in zip(changed, t, strict=True)]
    c = arb(max(_high(factor) for factor in factors))
    below = arb(max(_high(abs(factor * value)) for factor, value in zip(factors, moved, strict=True))) * lip_s + c * lip_t
    # products, not powers: a power of a ball that contains 0 is unknown
    norm = (((1 + c) * (1 + c) + below * below).sqrt() + ((1 - c) * (1 - c) + below * below).sqrt()) / 2
    return [factor * value for factor, value in zip(factors, moved, strict=True)], arb(_high(norm))


def _hidden(network: Conditioner, seen: Row) -> tuple[Row, arb, arb_mat]:
    """The output over a box, Lip of everything before the last matrix, and the last matrix times the slopes before it."""
    values, lip = seen, arb(1)
    slopes: list[float] | None = None
    matrix = arb_mat(0, 0)
    for index, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        exact = arb_mat(weights.tolist())
        product = exact * arb_mat(len(values), 1, values)
        values = [product[i, 0] + arb(b) for i, b in enumerate(bias.tolist())]
        if slopes is None:
            matrix = exact
        else:
            matrix = arb_mat([[w * s for w, s in zip(row, slopes, strict=True)] for row in _products(weights)])
        if index < len(network.weights) - 1:
            lip *= spectral_norm(matrix)
            slopes = [_high(slope_range(value, network.activation)) for value in values]
            values = [activate(value, network.activation) for value in values]
    return values, lip, matrix


def _products(weights: Array) -> list[list[arb]]:
    return [[arb(value) for value in row] for row in weights.tolist()]


def _rows(matrix: arb_mat, start: int, stop: int) -> arb_mat:
    return arb_mat([[matrix[i, j] for j in range(matrix.ncols())] for i in range(start, stop)])


def _high(ball: arb) -> float:
    return ends(ball)[1]


def _nearest_to_zero(ball: arb) -> arb:
    low, high = ends(ball)
    return arb(max(low, -high, 0.0)) if math.isfinite(low) and math.isfinite(high) else arb(0)


def _monotone(function: Callable[[arb], arb], ball: arb) -> arb:
    low, high = ends(ball)
    if not (math.isfinite(low) and math.isfinite(high)):
        return function(ball)
    least, greatest = function(arb(low)), function(arb(high))
    return least.union(greatest)


def _farthest(ball: arb) -> arb:
    """A number at least as far from 0 as all of the ball."""
    low, high = ends(ball)
    return arb(max(-low, high)) if math.isfinite(low) and math.isfinite(high) else arb(math.inf)


def _sigmoid(x: arb) -> arb:
    return 1 / (1 + (-x).exp())


def _softplus(x: arb) -> arb:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def _silu(x: arb) -> arb:
    return x / (1 + (-x).exp())


def clamped(ball: arb, alpha: arb) -> arb:
    """The clamp of s over a ball."""
    return 2 * alpha / arb.pi() * _monotone(arb.atan, ball / alpha)


def clamped_slope(ball: arb, alpha: arb) -> arb:
    """Its slope over a ball."""
    near, far = _nearest_to_zero(ball) / alpha, _farthest(ball) / alpha
    return 2 / arb.pi() * (1 / (1 + far * far)).union(1 / (1 + near * near))


def activate(ball: arb, activation: str) -> arb:
    """An activation over a ball."""
    match activation:
        case "relu":
            return _monotone(lambda x: x.max(arb(0)), ball)
        case "tanh":
            return _monotone(arb.tanh, ball)
        case "arctan":
            return _monotone(arb.atan, ball)
        case "softplus":
            return _monotone(_softplus, ball)
        case _:  # silu falls to its minimum and rises behind it
            hull = _monotone(_silu, ball)
            low, high = ends(ball)
            return hull.union(arb(SILU_LEAST)) if low < SILU_WHERE[1] and high > SILU_WHERE[0] else hull


def slope_range(ball: arb, activation: str) -> arb:
    """A ball that contains the activation's slopes on a ball; at the kink of relu, both and all between."""
    low, high = ends(ball)
    near, far = _nearest_to_zero(ball), _farthest(ball)
    match activation:
        case "relu":
            return arb(0 if low < 0 else 1).union(arb(1 if high > 0 else 0))
        case "tanh":
            return (1 - far.tanh() ** 2).union(1 - near.tanh() ** 2)
        case "arctan":
            return (1 / (1 + far * far)).union(1 / (1 + near * near))
        case "softplus":
            return _monotone(_sigmoid, ball) if math.isfinite(low) and math.isfinite(high) else arb(0).union(arb(1))
        case _:
            anywhere = (1 - arb(SILU_SLOPE)).union(arb(SILU_SLOPE))  # symmetric about 1/2
            sigmoid = _monotone(_sigmoid, ball)
            return meet(sigmoid * (1 + ball * (1 - sigmoid)), anywhere) if math.isfinite(low + high) else anywhere
