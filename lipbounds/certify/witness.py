r"""f = T^{-1} of a structured map at single points in ball arithmetic: the proof of a witness.

All rounding is inside the balls, and the weights are taken as the doubles that they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from numpy.typing import ArrayLike, NDArray

from lipbounds.arb import ends, spectral_norm, working_precision
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.layer_constants import SLOPES
from lipbounds.maps.layers import (
    Affine,
    Conditioner,
    Layer,
    PartialCoupling,
    Permutation,
    Residual,
    Simple,
    expanded,
    function_of,
)
from lipbounds.rounding import EPS
from lipbounds.search.find import Found

__all__ = ["ResidualInverse", "certify_found", "certify_pair", "evaluate_inverse"]

Array = NDArray[np.float64]

BITS = 128
MOST_BITS = 4096
GAINED_BITS = 16  # at least, by a step with a Jacobian from differences
DIFFERENCE = 1e-6
SLOWEST = 0.999  # contraction up to which a preimage is iterated for: what is missing then is in its radius


def _relu(x: arb) -> arb:
    return x.max(arb(0))


def _softplus(x: arb) -> arb:
    # for large x log(1 + e^x) = x + log(1 + e^-x) keeps the ball small
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def _silu(x: arb) -> arb:
    return x / (1 + (-x).exp())


BALL_ACTIVATIONS: dict[str, Callable[[arb], arb]] = {
    "relu": _relu,
    "tanh": arb.tanh,
    "softplus": _softplus,
    "arctan": arb.atan,
    "silu": _silu,
}


Row = list[arb]


def _column(values: Row) -> arb_mat:
    return arb_mat(len(values), 1, values)


def _evaluate(network: Conditioner, inputs: Row) -> Row:
    activation = BALL_ACTIVATIONS[network.activation]
    values = inputs
    for index, (matrix, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        product = arb_mat(matrix.tolist()) * _column(values)
        values = [product[i, 0] + arb(b) for i, b in enumerate(bias.tolist())]
        if index < len(network.weights) - 1:
            values = [activation(value) for value in values]
    return values


def _coefficients(network: Conditioner, inputs: Row, clamp: float) -> tuple[Row, Row]:
    """The clamped s and t at one point."""
    values = _evaluate(network, inputs)
    half = len(values) // 2
    alpha = arb(clamp)
    return [2 * alpha / arb.pi() * (s / alpha).atan() for s in values[:half]], values[half:]


class ResidualInverse:
    r"""Enclosures of preimages under x + g(x).

    By Banach's theorem $|x-\hat x|\le|\hat x+g(\hat x)-z|/(1-c)$ for any $\hat x$: here a solution in doubles, improved by Newton
    steps with a fixed approximate Jacobian, and $|x-x'|\le|z-z'|/(1-c)$ from there to the preimages of other points.

    Attributes:
        lipschitz: 1 / (1 - c), an upper bound of the inverse's constant.

    Raises:
        InvalidInput: If the network is not proven to contract.
    """

    def __init__(self, network: Conditioner) -> None:
        self.network = network
        c = arb(SLOPES[network.activation]) ** (len(network.weights) - 1)
        for matrix in network.weights:
            c *= spectral_norm(arb_mat(matrix.tolist()))
        if not c < 1:
            got = f"a constant of {ends(c)[1]:.6g}"
            raise InvalidInput("network", got, "below 1, in ball arithmetic", "normalise its matrices")
        self.lipschitz = arb(ends(1 / (1 - c))[1])
        self._g = function_of(network)
        steep = min(ends(c)[1], SLOWEST)
        self._iterations = math.ceil(math.log(1e-3) / math.log(steep)) if steep > 0 else 1

    def at(self, point: Row) -> Row:
        """Enclose the preimages of all points of small balls."""
        middle = [value.mid() for value in point]
        start, back = self._approximate(torch.tensor([float(value) for value in middle], dtype=torch.float64))
        x = _exact(start)
        for _ in range(ctx.prec // GAINED_BITS):
            misses = [a + g - z for a, g, z in zip(x, _evaluate(self.network, x), middle, strict=True)]
            step = back * _column(misses)
            x = [(a - step[i, 0]).mid() for i, a in enumerate(x)]
        misses = [a + g - z for a, g, z in zip(x, _evaluate(self.network, x), point, strict=True)]
        return self.around(x, misses)

    def around(self, x: Row, moved: Row) -> Row:
        """Enclose the preimages of z + moved, x the preimage of z."""
        # upper ends, not balls: the root of a ball that contains 0 is unknown
        most = [value.abs_upper() for value in moved]
        error = sum((value * value for value in most), arb(0)).sqrt() * self.lipschitz
        return [value + arb(0, ends(error)[1]) for value in x]

    def _approximate(self, z: torch.Tensor) -> tuple[Array, arb_mat]:
        """A preimage in doubles and the inverse of an approximate Jacobian there."""
        x = z
        for _ in range(self._iterations):
            x = z - self._g(x)
        sides = DIFFERENCE * torch.eye(len(z), dtype=torch.float64)
        slopes = (self._g(x + sides) - self._g(x - sides)).T / (2 * DIFFERENCE)
        back = torch.linalg.inv(torch.eye(len(z), dtype=torch.float64) + slopes)
        return x.numpy(), arb_mat(back.tolist())


def _inverse(layer: Simple, point: Row) -> Row:
    match layer:
        case Permutation(order=order):
            result = list(point)
            for place, source in enumerate(order.tolist()):
                result[source] = point[place]
            return result
        case Affine(matrix=matrix, offset=offset):
            shifted = _column([value - arb(b) for value, b in zip(point, offset.tolist(), strict=True)])
            solved = arb_mat(matrix.tolist()).solve(shifted)
            return [solved[i, 0] for i in range(len(point))]
        case PartialCoupling(changed=changed, seen=seen, network=network, clamp=clamp):
            s, t = _coefficients(network, [point[j] for j in seen.tolist()], clamp)
            result = list(point)
            for place, scale, shift in zip(changed.tolist(), s, t, strict=True):
                result[place] = (point[place] - shift) * (-scale).exp()
            return result
        case Residual(network=network):
            return ResidualInverse(network).at(point)


def evaluate_inverse(layers: Sequence[Layer], point: ArrayLike, *, bits: int = BITS) -> list[Enclosure]:
    """Enclose f = T^{-1} at one point, coordinate by coordinate, in ball arithmetic.

    Args:
        layers: Of T, in the order of the forward map.
        point: A latent point, shape (d,), taken as exact.
        bits: Working precision.

    Returns:
        CERTIFIED enclosures of the map with exactly these weights.

    Example:
        >>> layers = [Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2)), Permutation(np.array([1, 0]))]
        >>> [value.upper for value in evaluate_inverse(layers, [4.0, 2.0])]
        [1.0, 1.0]
    """
    with working_precision(bits):
        values = _run(layers, np.asarray(point, dtype=np.float64))
        return [Enclosure(*ends(value), Guarantee.CERTIFIED, "ball arithmetic") for value in values]


def _run(layers: Sequence[Layer], point: Array) -> Row:
    values = _exact(point)
    for layer in reversed(expanded(layers)):
        values = _inverse(layer, values)
    return values


def _exact(point: Array) -> Row:
    return [arb(value) for value in point.tolist()]


def _distance(x: Row, y: Row) -> arb:
    # products, not powers: a power of a ball that contains 0 is unknown
    return sum(((a - b) * (a - b) for a, b in zip(x, y, strict=True)), arb(0)).sqrt()


def certify_pair(layers: Sequence[Layer], a: Array, b: Array, *, outputs: NDArray[np.intp] | None = None) -> Enclosure:
    """Enclose |f(a) - f(b)| / |a - b| for f = T^{-1}, or some of its coordinates, in ball arithmetic.

    Args:
        layers: Of T, in the order of the forward map.
        a: A latent point, shape (d,), taken as exact.
        b: Another.
        outputs: Coordinates of f that count; all by default.

    Returns:
        A CERTIFIED enclosure. The precision is doubled until the quotient is known to 1e-12.
    """
    bits = BITS
    while True:
        with working_precision(bits):
            images = [_run(layers, point) for point in (a, b)]
            if outputs is not None:
                images = [[image[i] for i in outputs.tolist()] for image in images]
            low, high = ends(_distance(*images) / _distance(_exact(a), _exact(b)))
        if (math.isfinite(high) and high - low <= 1e-12 * high) or bits >= MOST_BITS:
            return Enclosure(max(low, 0.0), high, Guarantee.CERTIFIED, "quotient of a pair in ball arithmetic")
        bits *= 2


def certify_found(found: Found, layers: Sequence[Layer]) -> Enclosure:
    """Re-evaluate the witness of a search in ball arithmetic: a lower bound of Lip(T^{-1}) that no rounding can break.

    Args:
        found: From `find_lipschitz` on the inverse of the network.
        layers: The network as layers of T, `structure()` of the networks of `inn`.

    Returns:
        [|f(a) - f(b)| / |a - b|, infinity), CERTIFIED. The precision is doubled until the quotient is known to 1e-12.

    Raises:
        InvalidInput: If the layers are not those that the witness was found on (the quotients disagree).

    Source:
        The quotient of two points of a set is a lower bound of the constant on it.

    Example:
        >>> import torch
        >>> from lipbounds.domains import Ball
        >>> from lipbounds.search.find import find_lipschitz
        >>> found = find_lipschitz(lambda z: z / torch.tensor([2.0, 4.0]), Ball([0.0, 0.0], 1.0), seed=0)
        >>> bound = certify_found(found, [Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2))])
        >>> round(bound.lower, 9), bound.guarantee.name
        (0.5, 'CERTIFIED')
    """
    a, b = found.pair
    bound = certify_pair(layers, a, b)
    low, high = bound.lower, bound.upper
    # the search's quotient is rounded: of values of this size, over a distance that may be tiny
    size = max(max(abs(value.lower), abs(value.upper)) for value in evaluate_inverse(layers, a))
    distance = float(np.linalg.norm(a - b))
    size += high * distance
    slack = 1e-3 * found.value + 256 * EPS * size / distance
    if not (low <= found.value + slack and found.value - slack <= high):
        got = f"a quotient in [{low:.6g}, {high:.6g}] where the search had {found.value:.6g}"
        raise InvalidInput("layers", got, "the network that was searched", "pass its own layers, in the order of T")
    return Enclosure(low, float("inf"), Guarantee.CERTIFIED, "quotient of a pair in ball arithmetic")
