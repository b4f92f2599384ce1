"""A map as a sequence of layers whose formulas are known: what certificates read instead of a network.

The layers are plain data in float64, in the order in which the *forward* map T applies them; the map of interest is
$f=T^{-1}$. Networks of other libraries need only an adapter to this form: anything with a method `structure()` that returns them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.layer_constants import lipschitz_of_mlp
from lipbounds.maps.residual_inverse import invert_residual

__all__ = [
    "ACTIVATIONS",
    "Affine",
    "Conditioner",
    "Coupling",
    "Layer",
    "PartialCoupling",
    "Permutation",
    "Residual",
    "Simple",
    "Structured",
    "dimension_of",
    "expanded",
    "function_of",
    "inverse_map",
    "step_map",
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

    def __post_init__(self) -> None:
        if not np.array_equal(np.sort(self.order), np.arange(len(self.order))):
            raise InvalidInput("order", list(self.order), "each of 0..d-1 once", "it is a permutation")


@dataclass(frozen=True, eq=False)
class Affine:
    """$x\\mapsto Ax+b$ with an invertible A, shape (d, d)."""

    matrix: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class Conditioner:
    """A fully connected network; in a coupling its outputs are s, before the clamp, and t, each half of them.

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
        # the doubles that a certificate speaks of
        for name in ("weights", "biases"):
            arrays = [np.asarray(part, dtype=np.float64) for part in getattr(self, name)]
            if not arrays or not all(np.isfinite(part).all() for part in arrays):
                raise InvalidInput(name, "none, or numbers that are not finite", "finite arrays", "check the network")
            object.__setattr__(self, name, arrays)
        shapes = [part.shape for part in self.weights]
        if [len(bias) for bias in self.biases] != [shape[0] for shape in shapes] or any(
            after[1] != before[0] for before, after in itertools.pairwise(shapes)
        ):
            raise InvalidInput("weights, biases", shapes, "matrices that compose, one bias each", "input side first")


def _check_clamp(clamp: float) -> None:
    if not 0.0 < clamp < math.inf:
        raise InvalidInput("clamp", clamp, "a finite number > 0", "it bounds |s|")


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

    def __post_init__(self) -> None:
        _check_clamp(self.clamp)


@dataclass(frozen=True, eq=False)
class PartialCoupling:
    r"""$v_c=x_c\odot e^{s(x_u)}+t(x_u)$ for some coordinates c, which sees some others u; all but c stay.

    The half of a `Coupling`, and what sparse couplings are made of.

    Attributes:
        dim: Dimension d of the space.
        changed: The coordinates c.
        seen: The coordinates u, none of them in c.
        network: With as many inputs as u and twice as many outputs as c.
        clamp: alpha.
    """

    dim: int
    changed: NDArray[np.intp]
    seen: NDArray[np.intp]
    network: Conditioner
    clamp: float

    def __post_init__(self) -> None:
        together = np.concatenate((self.changed, self.seen))
        _check_clamp(self.clamp)
        fits = len(np.unique(together)) == len(together) and np.isin(together, np.arange(self.dim)).all()
        if not fits or not len(self.changed) or not len(self.seen):
            got = f"changed {self.changed.tolist()}, seen {self.seen.tolist()}"
            raise InvalidInput("changed, seen", got, f"different coordinates below {self.dim}", "a coupling sees what it leaves")
        sizes = (self.network.weights[0].shape[1], self.network.weights[-1].shape[0])
        if sizes != (len(self.seen), 2 * len(self.changed)):
            raise InvalidInput(
                "network", f"{sizes[0]} inputs, {sizes[1]} outputs", "one input a seen, two outputs a changed", "see s, t"
            )


@dataclass(frozen=True, eq=False)
class Residual:
    r"""$x\mapsto x+g(x)$ of an iResNet, with Lip(g) < 1 by the norms of its matrices.

    Attributes:
        network: g, with as many outputs as inputs.
    """

    network: Conditioner

    def __post_init__(self) -> None:
        sizes = (self.network.weights[0].shape[1], self.network.weights[-1].shape[0])
        if sizes[0] != sizes[1]:
            raise InvalidInput(
                "network", f"{sizes[0]} inputs, {sizes[1]} outputs", "as many outputs as inputs", "g maps R^d to R^d"
            )
        if not self.constant < 1.0:
            raise InvalidInput(
                "network", f"product of norms {self.constant:.6g}", "below 1", "without it the layer need not be invertible"
            )

    @property
    def constant(self) -> float:
        """A bound of Lip(g): the product of norms and slopes, rounded up."""
        return lipschitz_of_mlp(self.network.weights, self.network.activation).upper


Layer = Permutation | Affine | Coupling | PartialCoupling | Residual
Simple = Permutation | Affine | PartialCoupling | Residual


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
        case PartialCoupling(dim=dim):
            return dim
        case Residual(network=network):
            return int(network.weights[0].shape[1])
        case Coupling(first=first, on_second=on_second, on_first=on_first):
            if on_second is not None:
                return first + int(on_second.weights[0].shape[1])
            if on_first is not None:
                return first + int(on_first.weights[-1].shape[0]) // 2
            raise InvalidInput("layer", "a coupling without conditioners", "at least one", "leave the identity out")


def expanded(layers: Sequence[Layer]) -> list[Simple]:
    """Return the same map with every two-sided coupling as its two halves, in the order of the forward map.

    Example:
        >>> shear = Conditioner([np.array([[0.0], [3.0]])], [np.zeros(2)], "tanh")
        >>> [type(step).__name__ for step in expanded([Coupling(1, shear, shear, 1.0)])]
        ['PartialCoupling', 'PartialCoupling']
    """
    simple: list[Simple] = []
    for layer in layers:
        if isinstance(layer, Coupling):
            dim = dimension_of(layer)
            head, tail = np.arange(layer.first), np.arange(layer.first, dim)
            for network, changed, seen in ((layer.on_second, head, tail), (layer.on_first, tail, head)):
                if network is not None:
                    simple.append(PartialCoupling(dim, changed, seen, network, layer.clamp))
        else:
            simple.append(layer)
    return simple


def inverse_map(layers: Sequence[Layer]) -> Callable[[Tensor], Tensor]:
    """Return f = T^{-1} of plain layers as a differentiable function of rows in float64.

    Example:
        >>> f = inverse_map([Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2))])
        >>> f(torch.tensor([[4.0, 4.0]], dtype=torch.float64))
        tensor([[2., 1.]], dtype=torch.float64)
    """
    steps = [_inverse_step(layer) for layer in reversed(expanded(layers))]

    def inverse(z: Tensor) -> Tensor:
        for step in steps:
            z = step(z)
        return z

    return inverse


def function_of(network: Conditioner) -> Callable[[Tensor], Tensor]:
    """Return a network as a differentiable function of one point or of rows in float64."""
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


def step_map(layer: Simple) -> Callable[[Tensor], Tensor]:
    """Return one layer of T as a differentiable function of rows in float64."""
    match layer:
        case Permutation(order=order):
            places = torch.as_tensor(order)
            return lambda x: x[:, places]
        case Affine(matrix=matrix, offset=offset):
            linear, shift = torch.as_tensor(matrix), torch.as_tensor(offset)
            return lambda x: x @ linear.T + shift
        case PartialCoupling():
            changed, coefficients = torch.as_tensor(layer.changed), _coefficients(layer)

            def coupled(x: Tensor) -> Tensor:
                s, t = coefficients(x)
                return x.index_copy(1, changed, x[:, changed] * torch.exp(s) + t)

            return coupled
        case Residual(network=network):
            g = function_of(network)
            return lambda x: x + g(x)


def _coefficients(layer: PartialCoupling) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The clamped s and t as functions of rows."""
    seen, network, clamp = torch.as_tensor(layer.seen), function_of(layer.network), layer.clamp

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        s, t = network(x[:, seen]).chunk(2, dim=1)
        return (2 * clamp / math.pi) * torch.atan(s / clamp), t

    return evaluate


def _inverse_step(layer: Simple) -> Callable[[Tensor], Tensor]:
    match layer:
        case Permutation(order=order):
            back = torch.as_tensor(np.argsort(order))
            return lambda z: z[:, back]
        case Affine(matrix=matrix, offset=offset):
            inverse, shift = torch.as_tensor(np.linalg.inv(matrix)), torch.as_tensor(offset)
            return lambda z: (z - shift) @ inverse.T
        case PartialCoupling():
            changed, coefficients = torch.as_tensor(layer.changed), _coefficients(layer)

            def uncoupled(v: Tensor) -> Tensor:
                s, t = coefficients(v)
                return v.index_copy(1, changed, (v[:, changed] - t) * torch.exp(-s))

            return uncoupled
        case Residual(network=network):
            return partial(invert_residual, function_of(network), constant=layer.constant)
