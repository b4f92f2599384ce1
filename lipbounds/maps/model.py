"""Whatever a user brings as one thing: the map f = T^{-1}, latent to data, in double precision on the CPU.

Networks are copied, put into evaluation mode and converted; the user's own stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.adapters import adapter_of, converted
from lipbounds.maps.layers import Layer, Residual
from lipbounds.maps.structure import Structured, forward_map, inverse_map, structure_of

__all__ = ["Map", "Model", "as_model"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Model:
    """A generator as maps on rows.

    Attributes:
        inverse: f = T^{-1}, latent to data, float64.
        forward: T, where the model has it.
        in_precision: For a dtype the pair (T, T^{-1}) on rows of that dtype, where the model has both.
        layers: The layers of T, where the model tells them.
        source: The library it comes from, `layers`, `pair of maps` or `callable`.
    """

    inverse: Map
    forward: Map | None
    in_precision: Callable[[torch.dtype], tuple[Map, Map]] | None
    layers: tuple[Layer, ...] | None
    source: str


def as_model(model: object, context: ArrayLike | None = None) -> Model:
    """Return what a user brings as a model.

    Args:
        model: A flow of zuko, FrEIA, normflows or nflows; anything with methods `forward` (data to latent) and `inverse` (latent
            to data), as the networks of `inn`; layers of T; any callable on batches that maps latent to data; or a `Model`.
        context: What a conditional flow of a library is conditioned on, a vector.

    Raises:
        InvalidInput: If it is none of these.

    Example:
        >>> as_model(lambda z: 2.0 * z).inverse(torch.ones(1, 2, dtype=torch.float64))
        tensor([[2., 2.]], dtype=torch.float64)
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, Sequence):
        layers = structure_of(model)
        return Model(inverse_map(layers), forward_map(layers), None, layers, "layers")
    adapter = adapter_of(model)
    if adapter is None and not (callable(getattr(model, "inverse", None)) and callable(getattr(model, "forward", None))):
        if not callable(model):
            got = type(model).__name__
            raise InvalidInput("model", got, "a flow or a callable on batches, latent to data", "wrap it in a function")
        alone = converted(model, torch.float64)
        return Model(lambda z: _as_rows(alone(z)), None, None, None, "callable")
    values = None if context is None else np.asarray(context, dtype=np.float64)

    def in_precision(dtype: torch.dtype) -> tuple[Map, Map]:
        own = converted(model, dtype)
        forward, inverse = adapter.maps(own, values) if adapter else (own.forward, own.inverse)
        return lambda x: _as_rows(forward(x)), lambda z: _as_rows(inverse(z))

    forward, inverse = in_precision(torch.float64)
    source = adapter.source if adapter else "pair of maps"
    known = _layers_of(model, context)
    if adapter is not None and known is not None and any(isinstance(layer, Residual) for layer in known):
        # normflows ends its iteration at steps of about 1e-3: quotients of near points would be those of its errors
        inverse = inverse_map(known)
    return Model(inverse, forward, in_precision, known, source)


def _layers_of(model: object, context: ArrayLike | None) -> tuple[Layer, ...] | None:
    """The layers of T; None for a model that does not tell them, or has some without a known form."""
    if not isinstance(model, Structured) and adapter_of(model) is None:
        return None
    try:
        return structure_of(model, context)
    except InvalidInput:
        return None


def _as_rows(image: Any) -> Tensor:
    """Some libraries return (value, log-determinant)."""
    result: Tensor = image[0] if isinstance(image, tuple) else image
    return result
