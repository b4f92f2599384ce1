"""What is certified: a map of known layers on a domain, of which some coordinates may be held and some outputs count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lipbounds.arb import Row, exact_row
from lipbounds.domains import ConditionalSlice, Domain
from lipbounds.errors import InvalidInput
from lipbounds.maps.adapters import adapter_of, converted
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.layers import Layer
from lipbounds.maps.lowering import lowered
from lipbounds.maps.structure import Programmed, Structured, dimension_of, expanded, inverse_map, structure_of

__all__ = ["Problem", "image_by_layers", "network_of"]

Array = NDArray[np.float64]

FLAT = 1e-9  # of the size of a domain: sides below are widened by as much


@dataclass(frozen=True, eq=False)
class Problem:
    """A map latent -> data on a set of z: $z\\mapsto T^{-1}(y,z)$ by the layers of T, or a network; or some coordinates of it.

    Attributes:
        layers: Of T, in the order of the forward map; none for a network.
        network: The stages of a map that is no inverse, those of the outputs that count; None for layers.
        domain: The set of z, of dimension k.
        held: y, shape (d - k,); empty without a label.
        outputs: Coordinates of the data that count; None for all.
        is_slice: Whether the domain is a conditional slice.
        f: The map on rows of z, differentiable, in float64.
    """

    layers: tuple[Layer, ...]
    network: FeedForward | None
    domain: Domain
    held: Array
    outputs: NDArray[np.intp] | None
    is_slice: bool
    f: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, model: object, domain: Domain, outputs: Sequence[int] | None, context: ArrayLike | None = None) -> Problem:
        """Read a model, at a context if it has one, and a domain.

        Raises:
            InvalidInput: For a model without structure, a domain of another dimension, or outputs that are none.
        """
        network = network_of(model, domain.dim, context)
        if network is not None:
            return cls._of_network(network, domain, outputs)
        layers = structure_of(model, context)
        dim = dimension_of(layers)
        if domain.dim != dim:
            raise InvalidInput("domain", f"dimension {domain.dim}", f"{dim}, that of the network", "use its latent space")
        rows = _checked(outputs, dim)
        f = inverse_map(layers)
        free, held = domain, np.zeros(0)
        if isinstance(domain, ConditionalSlice):
            f, free, held = domain.restricted(f), domain.latent, domain.label.numpy()
        return cls(layers, None, free, held, rows, isinstance(domain, ConditionalSlice), _some_of(f, rows))

    @classmethod
    def _of_network(cls, network: FeedForward, domain: Domain, outputs: Sequence[int] | None) -> Problem:
        if isinstance(domain, ConditionalSlice):
            raise InvalidInput("domain", "a conditional slice", "a set of latent points", "slices are of invertible networks")
        rows = _checked(outputs, network.outputs)
        network = network if rows is None else network.some(rows.tolist())
        return cls((), network, domain, np.zeros(0), rows, is_slice=False, f=network.function())

    def box(self) -> tuple[Array, Array]:
        """Corners of a box with interior about the domain: derivatives need a neighbourhood, so flat sides are widened."""
        low, high = (corner.numpy() for corner in self.domain.bounds())
        size = np.maximum(np.abs(low), np.abs(high))
        with np.errstate(invalid="ignore"):  # of infinite corners
            flat = high - low <= FLAT * size
        away = np.where(flat, FLAT * np.where(size > 0, size, 1.0), 0.0)
        return low - away, high + away

    def image(self, z: Array) -> Row:
        """Enclose the image of a point, shape (k,), in ball arithmetic at the working precision."""
        point = np.concatenate((self.held, z))
        if self.network is not None:
            return self.network.balls(exact_row(point))
        values = image_by_layers(self.layers, point)
        return values if self.outputs is None else [values[i] for i in self.outputs.tolist()]


def network_of(model: object, inputs: int, context: ArrayLike | None = None) -> FeedForward | None:
    """Return the stages of a torch module or another callable; None for flows, and for whatever has layers."""
    if isinstance(model, FeedForward):
        return model
    if isinstance(model, Programmed):
        return lowered(converted(model, torch.float64).program(), inputs)
    if not callable(model) or isinstance(model, Structured | Sequence) or adapter_of(model) is not None:
        return None
    if context is not None:
        raise InvalidInput("context", "one, for a torch module", "none", "pass lambda z: model(z, context)")
    return lowered(converted(model, torch.float64), inputs)


def image_by_layers(layers: Sequence[Layer], point: Array) -> Row:
    """Enclose T^{-1} of a point in ball arithmetic at the working precision."""
    values = exact_row(point)
    for layer in reversed(expanded(layers)):
        values = layer.point_inverse()(values)
    return values


def _checked(outputs: Sequence[int] | None, dim: int) -> NDArray[np.intp] | None:
    rows = None if outputs is None else np.asarray(outputs, dtype=np.intp)
    if rows is not None and (not len(rows) or len(np.unique(rows)) < len(rows) or rows.min() < 0 or rows.max() >= dim):
        raise InvalidInput("outputs", rows.tolist(), f"different coordinates from 0 to {dim - 1}", "leave it out for all")
    return rows


def _some_of(f: Callable[[Tensor], Tensor], rows: NDArray[np.intp] | None) -> Callable[[Tensor], Tensor]:
    if rows is None:
        return f
    places = torch.as_tensor(rows)
    return lambda z: f(z)[:, places]
