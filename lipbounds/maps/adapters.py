"""Models of flow libraries as what the estimators take: f = T^{-1}, latent to data, in double precision on the CPU.

Recognised by the modules that their classes come from, so none of the libraries is imported here. Networks are copied, put into
evaluation mode and converted; the user's own stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer, Structured, structure_of
from lipbounds.search.singular_values import Map

__all__ = ["Generator", "as_generator"]


@dataclass(frozen=True, eq=False)
class Generator:
    """A generator as maps on rows.

    Attributes:
        inverse: f = T^{-1}, latent to data, float64.
        forward: T, where the model has it.
        in_precision: For a dtype the pair (T, T^{-1}) on rows of that dtype, where the model has both.
        layers: The layers of T, where the model tells them.
        source: The library it comes from, or `callable`.
    """

    inverse: Map
    forward: Map | None
    in_precision: Callable[[torch.dtype], tuple[Map, Map]] | None
    layers: tuple[Layer, ...] | None
    source: str


def _library(model: object) -> str:
    """The library that a model's class, or one of its bases, comes from."""
    known = ("zuko", "FrEIA", "normflows", "nflows")
    for base in type(model).__mro__:
        package = base.__module__.split(".")[0]
        if package in known:
            return package
    return ""


def _zuko(model: Any) -> tuple[Map, Map]:
    # a lazy flow gives a distribution with a transform from data to the base
    transform = model().transform
    return transform, transform.inv


def _freia(model: Any) -> tuple[Map, Map]:
    return lambda x: model(x, jac=False)[0], lambda z: model(z, rev=True, jac=False)[0]


def _normflows(model: Any) -> tuple[Map, Map]:
    # here `forward` is latent to data
    return model.inverse, model.forward


def _nflows(model: Any) -> tuple[Map, Map]:
    transform = getattr(model, "_transform", model)  # a Flow wraps its Transform
    return lambda x: transform(x)[0], lambda z: transform.inverse(z)[0]


PAIRS: dict[str, Callable[[Any], tuple[Map, Map]]] = {
    "zuko": _zuko,
    "FrEIA": _freia,
    "normflows": _normflows,
    "nflows": _nflows,
}


def _converted(model: Any, dtype: torch.dtype) -> Any:
    if not isinstance(model, nn.Module):
        return model
    return copy.deepcopy(model).to(device="cpu", dtype=dtype).eval().requires_grad_(False)


def as_generator(model: object) -> Generator:
    """Return a model as a generator.

    Args:
        model: A flow of zuko, FrEIA, normflows or nflows; anything with methods `forward` (data to latent) and `inverse`
            (latent to data), as the networks of `inn`; or any callable on batches that maps latent to data.

    Raises:
        InvalidInput: If it is none of these.

    Example:
        >>> as_generator(lambda z: 2.0 * z).inverse(torch.ones(1, 2, dtype=torch.float64))
        tensor([[2., 2.]], dtype=torch.float64)
    """
    library = _library(model)
    if library:
        pair = PAIRS[library]
    elif callable(getattr(model, "inverse", None)) and callable(getattr(model, "forward", None)):
        pair = lambda flow: (flow.forward, flow.inverse)
    elif callable(model):
        alone = _converted(model, torch.float64)
        return Generator(lambda z: _as_rows(alone(z)), None, None, None, "callable")
    else:
        got = type(model).__name__
        raise InvalidInput("model", got, "a flow or a callable on batches, latent to data", "wrap it in a function")

    def in_precision(dtype: torch.dtype) -> tuple[Map, Map]:
        forward, inverse = pair(_converted(model, dtype))
        return lambda x: _as_rows(forward(x)), lambda z: _as_rows(inverse(z))

    forward, inverse = in_precision(torch.float64)
    layers = None
    if isinstance(model, Structured):
        try:
            layers = structure_of(model)
        except InvalidInput:  # a network whose layers have no known form
            layers = None
    return Generator(inverse, forward, in_precision, layers, library or "pair of maps")


def _as_rows(image: Any) -> Tensor:
    """Some libraries return (value, log-determinant)."""
    result: Tensor = image[0] if isinstance(image, tuple) else image
    return result
