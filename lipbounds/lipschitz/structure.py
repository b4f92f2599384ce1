"""A map as a sequence of layers whose formulas are known: what certificates read instead of a network.

The layers are plain data in float64, in the order in which the *forward* map T applies them; the map of interest is
$f=T^{-1}$. Networks of other libraries need only an adapter to this form: anything with a method `structure()` that returns them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput

__all__ = [
    "ACTIVATIONS",
    "Affine",
    "Conditioner",
    "Coupling",
    "Layer",
    "Permutation",
    "Structured",
    "dimension_of",
    "inverse_map",
    "structure_of",
]

Array = NDArray[np.float64]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "softplus": torch.nn.functional.softplus,
    "arctan": torch.atan,
    "silu": torch.nn.functional.silu,
}


@dataclass(frozen=True, eq=False)
class Permutation:
    """$x\\mapsto(x_{o_1},\\dots,x_{o_d})$."""

    order: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Affine:
    """$x\\mapsto Ax+b$ with an invertible A, shape (d, d)."""

    matrix: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class Conditioner:
    """A fully connected network; its outputs are s, before the clamp, and t, each half of them.

    Attributes:
        weights: Matrices of shape (out, in), input side first.
        biases: Vectors of shape (out,).
        activation: Between the layers: relu, tanh, softplus, arctan or silu.
    """

    weights: Sequence[Array]
    biases: Sequence[Array]
    activation: str

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InvalidInput("activation", repr(self.activation), f"one of {sorted(ACTIVATIONS)}", "add its enclosure")


@dataclass(frozen=True, eq=False)
class Coupling:
    r"""Equation (8): $v_1=x_1\odot e^{s_2(x_2)}+t_2(x_2)$, $v_2=x_2\odot e^{s_1(v_1)}+t_1(v_1)$, s clamped by arctan.

    Attributes:
        first: Dimension of the first half.
        on_second: The conditioner that sees x_2 and changes the first half; None leaves it (real NVP).
        on_first: The conditioner that sees v_1 and changes the second half.
        clamp: alpha.
    """

    first: int
    on_second: Conditioner | None
    on_first: Conditioner | None
    clamp: float


Layer = Permutation | Affine | Coupling


@runtime_checkable
class Structured(Protocol):
    """A network whose formula is known."""

    def structure(self) -> Sequence[Layer]:
        """Return the layers of T, in the order of the forward map."""
        ...


def structure_of(model: Structured | Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers of a network, or of a sequence of layers.

    Raises:
        InvalidInput: If there are none.
    """
    layers = model.structure() if isinstance(model, Structured) else model
    if not isinstance(layers, Sequence) or not all(isinstance(layer, Layer) for layer in layers):
        got = type(model).__name__
        raise InvalidInput("model", got, "a network with a method structure(), or its layers", "use found and black-box bounds")
    if not layers or len({dimension_of(layer) for layer in layers}) != 1:
        got = f"dimensions {[dimension_of(layer) for layer in layers]}"
        raise InvalidInput("model", got, "layers of one dimension", "pass the layers of T in order")
    return tuple(layers)


def dimension_of(layer: Layer) -> int:
    """Return the dimension d of the space on which a layer acts."""
    match layer:
        case Permutation(order=order):
            return len(order)
        case Affine(offset=offset):
            return len(offset)
        case Coupling(first=first, on_second=on_second, on_first=on_first):
            if on_second is not None:
                return first + int(on_second.weights[0].shape[1])
            if on_first is not None:
                return first + int(on_first.weights[-1].shape[0]) // 2
            raise InvalidInput("layer", "a coupling without conditioners", "at least one", "leave the identity out")


def inverse_map(layers: Sequence[Layer]) -> Callable[[Tensor], Tensor]:
    """Return f = T^{-1} of plain layers as a differentiable function of rows in float64.

    Example:
        >>> f = inverse_map([Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2))])
        >>> f(torch.tensor([[4.0, 4.0]], dtype=torch.float64))
        tensor([[2., 1.]], dtype=torch.float64)
    """
    steps = [_inverse_step(layer) for layer in reversed(layers)]

    def inverse(z: Tensor) -> Tensor:
        for step in steps:
            z = step(z)
        return z

    return inverse


def _as_function(network: Conditioner) -> Callable[[Tensor], Tensor]:
    weights = [torch.as_tensor(matrix) for matrix in network.weights]
    biases = [torch.as_tensor(bias) for bias in network.biases]
    activation = ACTIVATIONS[network.activation]

    def evaluate(x: Tensor) -> Tensor:
        for index, (matrix, bias) in enumerate(zip(weights, biases, strict=True)):
            x = x @ matrix.T + bias
            if index < len(weights) - 1:
                x = activation(x)
        return x

    return evaluate


def _inverse_step(layer: Layer) -> Callable[[Tensor], Tensor]:
    match layer:
        case Permutation(order=order):
            back = torch.as_tensor(np.argsort(order))
            return lambda z: z[:, back]
        case Affine(matrix=matrix, offset=offset):
            inverse, shift = torch.as_tensor(np.linalg.inv(matrix)), torch.as_tensor(offset)
            return lambda z: (z - shift) @ inverse.T
        case Coupling(first=first, on_second=on_second, on_first=on_first, clamp=clamp):
            of_second, of_first = (None if part is None else _as_function(part) for part in (on_second, on_first))

            def undo(changed: Tensor, network: Callable[[Tensor], Tensor] | None, seen: Tensor) -> Tensor:
                if network is None:
                    return changed
                s, t = network(seen).chunk(2, dim=1)
                return (changed - t) * torch.exp(-(2 * clamp / math.pi) * torch.atan(s / clamp))

            def coupled(z: Tensor) -> Tensor:
                x_2 = undo(z[:, first:], of_first, z[:, :first])
                return torch.cat((undo(z[:, :first], of_second, x_2), x_2), dim=1)

            return coupled
