"""What is certified: a map of known layers on a domain, of which some coordinates may be held and some outputs count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lipbounds.domains import ConditionalSlice, Domain
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer
from lipbounds.maps.structure import dimension_of, inverse_map, structure_of

__all__ = ["Problem"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """The map $z\\mapsto T^{-1}(y,z)$, or some of its coordinates, on a set of z; without a label y the whole inverse.

    Attributes:
        layers: Of T, in the order of the forward map.
        domain: The set of z, of dimension k.
        held: y, shape (d - k,).
        outputs: Coordinates of the data that count; None for all.
        is_slice: Whether the domain is a conditional slice.
        f: The map on rows of z, differentiable, in float64.
    """

    layers: tuple[Layer, ...]
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
        layers = structure_of(model, context)
        dim = dimension_of(layers)
        if domain.dim != dim:
            raise InvalidInput("domain", f"dimension {domain.dim}", f"{dim}, that of the network", "use its latent space")
        rows = None if outputs is None else np.asarray(outputs, dtype=np.intp)
        if rows is not None and (not len(rows) or len(np.unique(rows)) < len(rows) or rows.min() < 0 or rows.max() >= dim):
            raise InvalidInput("outputs", rows.tolist(), f"different coordinates from 0 to {dim - 1}", "leave it out for all")
        f = inverse_map(layers)
        free, held = domain, np.zeros(0)
        if isinstance(domain, ConditionalSlice):
            f, free, held = domain.restricted(f), domain.latent, domain.label.numpy()
        return cls(layers, free, held, rows, isinstance(domain, ConditionalSlice), _some_of(f, rows))

    def embedded(self, z: Array) -> Array:
        """The whole latent point of one z, shape (d,)."""
        return np.concatenate((self.held, z))


def _some_of(f: Callable[[Tensor], Tensor], rows: NDArray[np.intp] | None) -> Callable[[Tensor], Tensor]:
    if rows is None:
        return f
    places = torch.as_tensor(rows)
    return lambda z: f(z)[:, places]
