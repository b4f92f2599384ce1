"""A map as a sequence of layers whose formulas are known: what certificates read instead of a network.

Layers stand in the order in which the *forward* map T applies them; the map of interest is $f=T^{-1}$. Networks of other
libraries need only an adapter to this form: anything with a method `structure()` that returns them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.adapters import adapter_of, converted
from lipbounds.maps.layers import Layer

__all__ = ["Programmed", "Structured", "dimension_of", "expanded", "forward_map", "inverse_map", "structure_of"]


@runtime_checkable
class Structured(Protocol):
    """A network whose formula is known."""

    def structure(self) -> Sequence[Layer]:
        """Return the layers of T, in the order of the forward map."""
        ...


@runtime_checkable
class Programmed(Protocol):
    """A network whose inverse is a torch program of fixed operations, and which has no layers."""

    def program(self) -> Callable[[Tensor], Tensor]:
        """Return T^{-1} on rows of latent points."""
        ...


def structure_of(model: object, context: ArrayLike | None = None) -> tuple[Layer, ...]:
    """Return the layers of a network, of a flow of another library, or of a sequence of layers.

    Args:
        model: A flow of zuko, nflows, normflows or FrEIA, a network with `structure()`, or layers.
        context: What a conditional flow of a library is conditioned on, a vector; it is folded into the biases.

    Raises:
        InvalidInput: If there are none, or of different dimensions; for a flow with a part that is not read, which it names.
    """
    adapter = None if isinstance(model, Structured | Sequence) else adapter_of(model)
    if adapter is not None:
        values = None if context is None else np.asarray(context, dtype=np.float64)
        layers: object = adapter.layers(converted(model, torch.float64), values)
    else:
        layers = model.structure() if isinstance(model, Structured) else model
    if not isinstance(layers, Sequence) or not all(isinstance(layer, Layer) for layer in layers):
        got = type(model).__name__
        raise InvalidInput("model", got, "a network with a method structure(), or its layers", "use found and black-box bounds")
    if not layers or len({layer.dim for layer in layers}) != 1:
        got = f"dimensions {[layer.dim for layer in layers]}"
        raise InvalidInput("model", got, "layers of one dimension", "pass the layers of T in order")
    return tuple(layers)


def dimension_of(layers: Sequence[Layer]) -> int:
    """Return the dimension d of the space on which layers act."""
    return layers[0].dim


def expanded(layers: Sequence[Layer]) -> list[Layer]:
    """Return the same map with every two-sided coupling as its two halves, in the order of the forward map.

    Example:
        >>> from lipbounds.maps import Conditioner, Coupling
        >>> shear = Conditioner([[[0.0], [3.0]]], [[0.0, 0.0]], "tanh")
        >>> [type(step).__name__ for step in expanded([Coupling(1, shear, shear, 1.0)])]
        ['PartialCoupling', 'PartialCoupling']
    """
    return [step for layer in layers for step in layer.simple()]


def _chain(steps: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    def chained(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return chained


def forward_map(layers: Sequence[Layer]) -> Callable[[Tensor], Tensor]:
    """Return T of plain layers as a differentiable function of rows in float64."""
    return _chain([layer.forward() for layer in layers])


def inverse_map(layers: Sequence[Layer]) -> Callable[[Tensor], Tensor]:
    """Return f = T^{-1} of plain layers as a differentiable function of rows in float64.

    Example:
        >>> import numpy as np, torch
        >>> from lipbounds.maps import Affine
        >>> f = inverse_map([Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2))])
        >>> f(torch.tensor([[4.0, 4.0]], dtype=torch.float64))
        tensor([[2., 1.]], dtype=torch.float64)
    """
    return _chain([layer.inverse() for layer in reversed(layers)])
