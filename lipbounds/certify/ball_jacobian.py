r"""Upper bounds for any layers in few dimensions: latent boxes, the Jacobian of the whole map on each in ball arithmetic.

On a box the inverse is followed layer by layer: an enclosure of the image, and of the derivative as the product of the layers'
ball matrices, so that worst cases of different layers need not add up as in a product of norms. The image is the meet of
interval arithmetic and of the mean value form $f(m)+J(B-m)$, without which boxes would grow from layer to layer. The largest
spectral norm over all boxes is the bound; the worst box is cut where its image is longest, until it is near the witness.

Slower by orders of magnitude than the tables of `plane` and `space`, which know couplings only; this knows residual and linear
layers too, and has no assumptions: nothing but balls.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from lipbounds.arb import ends, spectral_norm, working_precision
from lipbounds.certify.layer_product import activate, clamped, clamped_slope, meet, slope_range
from lipbounds.certify.witness import ResidualInverse
from lipbounds.domains import Ball, Domain
from lipbounds.maps.layers import Affine, Conditioner, Layer, PartialCoupling, Permutation, Residual, expanded

__all__ = ["MOST_DIMENSIONS", "bound_by_subdivision"]

Array = NDArray[np.float64]
Row = list[arb]
Undo = Callable[[Row, Row], tuple[Row, Row, arb_mat]]
"""From a box and its middle to their preimages under a layer, and the derivative of the layer's inverse on the box."""

MOST_DIMENSIONS = 6
BITS = 64
SEARCH_EVERY = 64  # boxes between two looks for a steeper witness


def bound_by_subdivision(
    layers: Sequence[Layer],
    domain: Domain,
    lower: float,
    *,
    ratio: float,
    seconds: float,
    improve: Callable[[Array], float],
    callback: Callable[[float, float], None],
) -> tuple[float, int]:
    """Bound Lip(T^{-1}; D) from above.

    Args:
        layers: Of T, in the order of the forward map.
        domain: Convex; a ball or its bounding box is covered.
        lower: A lower bound of the constant; it decides when the work ends, not what is true.
        ratio: upper / lower at which it ends.
        seconds: Time after which it stops with the bound that holds so far.
        improve: Returns the lower bound after a look at points of the domain.
        callback: Called with both ends now and then.

    Returns:
        The bound, infinite if a box has none, and the number of boxes looked at.

    Example:
        >>> from lipbounds.domains import Box
        >>> stretch = Affine(np.array([[0.5, 0.0], [0.0, 4.0]]), np.zeros(2))
        >>> none = {"improve": lambda points: 4.0, "callback": lambda lower, upper: None}
        >>> upper, _ = bound_by_subdivision([stretch] * 2, Box([0.0, 0.0], [1.0, 1.0]), 4.0, ratio=1.01, seconds=1.0, **none)
        >>> round(upper, 9)
        4.0
    """
    with working_precision(BITS):
        steps = [_undo(layer) for layer in reversed(expanded(layers))]
        low, high = (corner.numpy() for corner in domain.bounds())
        order = itertools.count()
        bound, cut = _look(steps, low, high, math.inf)
        # heaps give the smallest: the worst box first
        heap = [(-bound, next(order), low, high, cut)]
        begin, looked = time.perf_counter(), 1
        while heap:
            worst, _, low, high, cut = heap[0]
            if -worst <= ratio * lower or time.perf_counter() - begin > seconds:
                break
            heapq.heappop(heap)
            middle = 0.5 * (low[cut] + high[cut])
            if not low[cut] < middle < high[cut]:  # doubles end here: the bound stays that of this box
                return -worst, looked
            for side in (0, 1):
                corners = [low.copy(), high.copy()]
                corners[1 - side][cut] = middle
                if _misses(domain, *corners):
                    continue
                bound, axis = _look(steps, corners[0], corners[1], -worst)
                looked += 1
                heapq.heappush(heap, (-bound, next(order), corners[0], corners[1], axis))
            if looked % SEARCH_EVERY < 2:
                lower = improve(np.stack([0.5 * (box[2] + box[3]) for box in heap[:SEARCH_EVERY]]))
                callback(lower, -heap[0][0])
        return max(lower, -heap[0][0]) if heap else lower, looked


def _misses(domain: Domain, low: Array, high: Array) -> bool:
    """Whether a box is proven to lie outside."""
    if not isinstance(domain, Ball):
        return False
    centre = domain.center.numpy()
    away = np.maximum(np.maximum(low - centre, centre - high), 0.0)
    # a few roundings of numbers of one sign, in units in which squares neither underflow nor overflow
    return bool(np.sum((away / domain.radius) ** 2) > 1 + 1e-12)


def _look(steps: Sequence[Undo], low: Array, high: Array, known: float) -> tuple[float, int]:
    """The bound on a box, at most that of its parent, and the axis to cut."""
    box = [arb(a).union(arb(b)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    middle = [arb(0.5 * (a + b)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    radii = _column([value - m for value, m in zip(box, middle, strict=True)])
    slopes = arb_mat(np.eye(len(box)).tolist())
    for step in steps:
        box, middle, derivative = step(box, middle)
        slopes = derivative * slopes
        around = slopes * radii
        box = [meet(x, m + around[i, 0]) for i, (x, m) in enumerate(zip(box, middle, strict=True))]
    bound = ends(spectral_norm(slopes))[1]
    entries = np.array([[ends(abs(slopes[i, j]))[1] for j in range(len(box))] for i in range(len(box))])
    size = np.array([math.hypot(*column) for column in entries.T.tolist()]) * (high - low)
    cut = int(np.argmax(np.where(np.isfinite(size), size, high - low)))
    return min(known, bound if not math.isnan(bound) else math.inf), cut


def _undo(layer: Permutation | Affine | PartialCoupling | Residual) -> Undo:
    match layer:
        case Permutation(order=order):
            back = np.argsort(order)
            turned = arb_mat(np.eye(len(order))[back].tolist())
            return lambda box, middle: ([box[i] for i in back.tolist()], [middle[i] for i in back.tolist()], turned)
        case Affine(matrix=matrix, offset=offset):
            inverse = arb_mat(matrix.tolist()).inv()
            shift = [arb(value) for value in offset.tolist()]

            def image(values: Row) -> Row:
                column = inverse * _column([value - b for value, b in zip(values, shift, strict=True)])
                return [column[i, 0] for i in range(len(values))]

            return lambda box, middle: (image(box), image(middle), inverse)
        case PartialCoupling():
            return partial(_undo_coupling, layer, _Network(layer.network))
        case Residual(network=network):
            return partial(_undo_residual, _Network(network), ResidualInverse(network))


class _Network:
    """A conditioner whose weights are balls already."""

    def __init__(self, network: Conditioner) -> None:
        self.plain = network
        self._weights = [arb_mat(matrix.tolist()) for matrix in network.weights]
        self._biases = [[arb(value) for value in bias.tolist()] for bias in network.biases]

    def __call__(self, values: Row) -> tuple[Row, arb_mat]:
        """Outputs and derivative over a box."""
        slopes = arb_mat(np.eye(len(values)).tolist())
        for index, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            product, slopes = weight * _column(values), weight * slopes
            values = [product[i, 0] + b for i, b in enumerate(bias)]
            if index < len(self._weights) - 1:
                steep = [slope_range(value, self.plain.activation) for value in values]
                slopes = arb_mat([[factor * slopes[i, j] for j in range(slopes.ncols())] for i, factor in enumerate(steep)])
                values = [activate(value, self.plain.activation) for value in values]
        return values, slopes


def _undo_coupling(layer: PartialCoupling, network: _Network, box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
    r"""$y_c=(v_c-t)e^{-s}$ with derivatives $e^{-s}$ by v_c and $-y_cs'-e^{-s}t'$ by v_u."""
    seen, changed, alpha = layer.seen.tolist(), layer.changed.tolist(), arb(layer.clamp)
    half = len(changed)
    rows = np.eye(len(box)).tolist()
    values, slopes = network([box[j] for j in seen])
    exact, _ = network([middle[j] for j in seen])
    image, inner = list(box), list(middle)
    for place, i in enumerate(changed):
        factor = (-clamped(values[place], alpha)).exp()
        image[i] = (box[i] - values[half + place]) * factor
        inner[i] = (middle[i] - exact[half + place]) * (-clamped(exact[place], alpha)).exp()
        own = clamped_slope(values[place], alpha)
        rows[i][i] = factor
        for column, j in enumerate(seen):
            rows[i][j] = -(image[i] * own * slopes[place, column]) - factor * slopes[half + place, column]
    return image, inner, arb_mat(rows)


def _undo_residual(network: _Network, inverse: ResidualInverse, box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
    """The preimages, and (1 + g')^{-1} on that of the box."""
    inner = inverse.at(middle)
    image = inverse.around(inner, [value - m for value, m in zip(box, middle, strict=True)])
    values, _ = network(image)
    image = [meet(x, z - g) for x, z, g in zip(image, box, values, strict=True)]
    _, slopes = network(image)
    most = arb(0, ends(inverse.lipschitz)[1])  # of every entry
    try:
        back = (slopes + arb_mat(np.eye(len(box)).tolist())).inv()
    except ZeroDivisionError:  # the box is too large for elimination
        return image, inner, arb_mat([[most] * len(box)] * len(box))
    return image, inner, arb_mat([[meet(back[i, j], most) for j in range(len(box))] for i in range(len(box))])


def _column(values: Row) -> arb_mat:
    return arb_mat(len(values), 1, values)
