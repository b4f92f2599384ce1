r"""The bound that always exists: constants of single layers, (13), on boxes that grow from layer to layer, multiplied.

Everything is in ball arithmetic: the box is run through the inverse by interval arithmetic, which gives ranges of s and t and of
the slopes of every activation, so the constants of (13) are those of the box and not global ones. A residual layer x + g(x) has
the constant 1 / (1 - c) with c a bound of Lip(g) on the preimage of the box. The worst cases of the layers do not happen at one
point, so the product is large, often by many orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from flint import arb
from numpy.typing import NDArray

from lipbounds.arb import Row, ends, working_precision
from lipbounds.enclosures.spectral import spectral_norms
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.layers import Layer  # Affine: the example
from lipbounds.maps.structure import Structured, expanded, structure_of
from lipbounds.rounding import EPS, TINY

__all__ = ["bound_by_norms", "bound_by_product", "propagated"]

Array = NDArray[np.float64]

BITS = 64  # of precision, a little above double


def bound_by_product(model: Structured | Sequence[Layer], lower: Array, upper: Array) -> float:
    """Bound Lip(T^{-1}) on a latent box from above; infinite beyond the doubles.

    Args:
        model: A network with `structure()`, or the layers of T in the order of the forward map.
        lower: Corner of the box, shape (d,).
        upper: The opposite corner.

    Example:
        >>> from lipbounds.maps import Affine
        >>> stretch = Affine(np.array([[0.5, 0.0], [0.0, 4.0]]), np.zeros(2))
        >>> round(bound_by_product([stretch, stretch], -np.ones(2), np.ones(2)), 9)
        4.0
    """
    product = arb(1)
    with working_precision(BITS):
        for _, _, constant in propagated(structure_of(model), lower, upper):
            product *= constant
        return ends(product)[1]


def bound_by_norms(network: FeedForward) -> float:
    """Bound the constant of a network on all of space by the norms of its matrices and the slopes of its activations, multiplied.

    Example:
        >>> from lipbounds.maps.activations import get_activation
        >>> from lipbounds.maps.conditioner import Stage
        >>> halves = Stage(0.5 * np.eye(2), np.zeros(2), get_activation("tanh"))
        >>> round(bound_by_norms(FeedForward((halves, halves))), 12)
        0.25
    """
    bound = 1.0
    for stage in network.stages:
        bound = bound * float(spectral_norms(stage.matrix)) * stage.activation.slope * (1 + 4 * EPS) + TINY
    return bound


def propagated(layers: Sequence[Layer], lower: Array, upper: Array) -> Iterator[tuple[Layer, Row, arb]]:
    """The layers in the order of the inverse, each with the box of balls that its inverse acts on and its constant there."""
    with working_precision(BITS):
        box = [arb(low).union(arb(high)) for low, high in zip(lower.tolist(), upper.tolist(), strict=True)]
        for layer in reversed(expanded(layers)):
            image, constant = layer.constant_of_inverse(box)
            yield layer, box, constant
            box = image
