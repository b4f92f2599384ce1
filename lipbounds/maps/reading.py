"""Networks of other libraries as conditioners: matrices taken as they are, contexts and normalisations folded into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation, activation_of_module, get_activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.activations.relu import LEAKY_RELU, RELU, LeakyRelu
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation, ReversedCoupling, SplineCoupling
from lipbounds.maps.scales import Scale
from lipbounds.maps.splines import Spline

__all__ = [
    "Block",
    "Linear",
    "activation_of",
    "array",
    "autoregressive",
    "blend",
    "constant",
    "diagonal",
    "feed_forward",
    "fixed",
    "like",
    "linear",
    "needs_context",
    "refused",
    "residual",
    "reversed_layers",
    "rows_of",
    "sequential",
    "side_by_side",
    "standardised",
    "without_scale",
]

Array = NDArray[np.float64]
Linear = tuple[Array, Array]
"""Matrix, shape (out, in), and bias, shape (out,)."""

FUNCTIONS = {
    torch.relu: "relu",
    torch.nn.functional.relu: "relu",
    torch.tanh: "tanh",
    torch.nn.functional.tanh: "tanh",
    torch.nn.functional.leaky_relu: "leaky_relu",
    torch.nn.functional.elu: "elu",
    torch.nn.functional.silu: "silu",
    torch.nn.functional.gelu: "gelu",
    torch.nn.functional.softplus: "softplus",
    torch.sigmoid: "sigmoid",
}


def refused(what: object, wanted: str) -> InvalidInput:
    """Return the error for a part of a model that is not read."""
    name = what if isinstance(what, str) else f"{type(what).__module__.split('.')[0]}.{type(what).__name__}"
    return InvalidInput("model", name, wanted, "`find_lipschitz` and `diagnose` take the model as it is, without a certificate")


def needs_context(numbers: int | None, context: Array | None) -> None:
    """Raise where a flow with a context has none of the right length; None for any length.

    Raises:
        InvalidInput: With the length wanted.
    """
    if context is None or (numbers is not None and context.shape != (numbers,)):
        wanted = "a vector" if numbers is None else f"{numbers} numbers"
        got = "none" if context is None else f"shape {context.shape}"
        raise InvalidInput("context", got, wanted, "the flow is conditional: pass context=, as one vector")


def standardised(
    forward: Callable[[Tensor], Any], inverse: Callable[[Tensor], Any], loc: Tensor, scale: Tensor
) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]:
    """Return T and T^{-1} from and to the base law N(loc, scale^2) as maps from and to N(0, I)."""
    if bool((loc == 0.0).all()) and bool((scale == 1.0).all()):
        return forward, inverse
    return lambda x: (forward(x) - loc) / scale, lambda z: inverse(loc + scale * z)


def like(model: Any, context: Array | None) -> Tensor | None:
    """Return a context as one row in the precision of a model."""
    return None if context is None else torch.as_tensor(context).to(next(model.parameters()).dtype)[None]


def array(values: Tensor) -> Array:
    """Return a tensor in double precision."""
    return np.asarray(values.detach().to("cpu", torch.float64).numpy())


def linear(module: Any) -> Linear:
    """Return matrix and bias of a linear layer; a mask of its weights is applied."""
    weight = array(module.weight)
    if getattr(module, "mask", None) is not None:
        weight = weight * array(module.mask)
    bias = getattr(module, "bias", None)
    return weight, np.zeros(len(weight)) if bias is None else array(bias)


def activation_of(part: Any) -> Activation:
    """Return the activation that a module or a function of torch computes."""
    if isinstance(part, nn.LeakyReLU) and part.negative_slope != LEAKY_RELU.below:
        return LeakyRelu(part.negative_slope) if part.negative_slope else RELU
    if isinstance(part, nn.Module):
        return activation_of_module(part)
    if part in FUNCTIONS:
        return get_activation(FUNCTIONS[part])
    raise refused(f"activation {part}", f"one of {sorted(set(FUNCTIONS.values()))}")


def feed_forward(layers: Sequence[Linear], activation: Activation) -> Conditioner:
    """Return linear layers with one activation between them."""
    known = activation.name if activation.name and get_activation(activation.name) is activation else activation
    return Conditioner([matrix for matrix, _ in layers], [bias for _, bias in layers], known)


def sequential(modules: Iterable[Any]) -> Conditioner:
    """Return a chain of linear layers and activations, of one kind, that alternate; dropout is skipped, as in evaluation.

    Raises:
        InvalidInput: For another module, or activations of several kinds.
    """
    layers: list[Linear] = []
    kinds: list[Activation] = []
    for module in modules:
        if isinstance(module, nn.Dropout | nn.Identity):
            continue
        if not hasattr(module, "weight") or isinstance(module, nn.PReLU):
            kinds.append(activation_of(module))
        elif not isinstance(module, nn.Linear) and (type(module).__name__ != "Linear" or module.weight.ndim != 2):
            raise refused(module, "linear layers and activations that alternate")
        elif len(layers) > len(kinds):  # two linear layers in turn are one
            (first, shift), (second, bias) = layers.pop(), linear(module)
            layers.append((second @ first, second @ shift + bias))
        else:
            layers.append(linear(module))
    if len(layers) != len(kinds) + 1 or len({(type(kind), vars(kind).get("below")) for kind in kinds}) > 1:
        raise refused(f"a network of {len(layers)} linear layers and {len(kinds)} activations", "one activation between them")
    return feed_forward(layers, kinds[0] if kinds else LINEAR)


@dataclass(frozen=True, eq=False)
class Block:
    """A residual block h + W_2 f(W_1 g(h) + b_1) + b_2, where g is f of an affine normalisation of each unit, or the identity.

    Attributes:
        first: W_1 and b_1.
        second: W_2 and b_2.
        scale: Of the normalisation, shape (units,); 1 for none.
        shift: Likewise; 0 for none.
        activated: Whether g has f, too.
    """

    first: Linear
    second: Linear
    scale: Array
    shift: Array
    activated: bool = True


def residual(initial: Linear, blocks: Sequence[Block], final: Linear, activation: Activation) -> Conditioner:
    """Return linear layers with residual blocks between them: one activation on half of the units, h carried in the others."""
    if not blocks:
        return feed_forward([(final[0] @ initial[0], final[0] @ initial[1] + final[1])], activation)
    weights, biases = [], []
    matrix, bias = initial  # of h, as a function of the layer before
    for block in blocks:
        units, none = len(bias), np.zeros((len(bias), len(bias)))
        inner, moved = block.scale[:, None] * matrix, block.scale * bias + block.shift
        if block.activated:
            weights += [np.concatenate((matrix, inner)), np.block([[np.eye(units), none], [none, block.first[0]]])]
            biases += [np.concatenate((bias, moved)), np.concatenate((np.zeros(units), block.first[1]))]
        else:
            weights.append(np.concatenate((matrix, block.first[0] @ inner)))
            biases.append(np.concatenate((bias, block.first[0] @ moved + block.first[1])))
        matrix, bias = np.concatenate((np.eye(units), block.second[0]), 1), block.second[1]
    weights.append(final[0] @ matrix)
    biases.append(final[0] @ bias + final[1])
    return Conditioner(weights, biases, OnLastUnits(activation, len(initial[1])))


def fixed(network: Conditioner, values: Array) -> Conditioner:
    """Return a network whose last inputs have these values."""
    first, free = network.weights[0], network.inputs - len(values)
    biases = [network.biases[0] + first[:, free:] @ values, *network.biases[1:]]
    return Conditioner([first[:, :free], *network.weights[1:]], biases, network.activation)


def rows_of(network: Conditioner, rows: Sequence[int] | NDArray[np.intp], inputs: Sequence[int] | None = None) -> Conditioner:
    """Return some outputs of a network, as a function of the inputs that they depend on.

    Args:
        network: The network.
        rows: The outputs, in the order wanted.
        inputs: The inputs that are kept; all by default.

    Raises:
        InvalidInput: If an output depends on another input.
    """
    weights, biases = list(network.weights), list(network.biases)
    weights[-1], biases[-1] = weights[-1][list(rows)], biases[-1][list(rows)]
    if not isinstance(network.activation, OnLastUnits) and network.kind.split(2) is None:
        for k in range(len(weights) - 1, 0, -1):  # units that no output sees
            kept = np.flatnonzero((weights[k] != 0.0).any(0))
            kept = kept if len(kept) else np.arange(1)
            weights[k], weights[k - 1], biases[k - 1] = weights[k][:, kept], weights[k - 1][kept], biases[k - 1][kept]
    if inputs is not None:
        seen = (weights[0] != 0.0).astype(float)
        for matrix in weights[1:]:
            seen = ((matrix != 0.0) @ seen > 0.0).astype(float)
        others = np.setdiff1d(np.flatnonzero(seen.any(0)), np.asarray(inputs, dtype=int))
        if len(others):
            raise refused("an autoregressive network", f"outputs that do not depend on inputs {others.tolist()}")
        weights[0] = weights[0][:, list(inputs)]
    return Conditioner(weights, biases, network.activation)


def side_by_side(first: Conditioner, second: Conditioner) -> Conditioner:
    """Return the outputs of two networks of the same inputs, of one depth and one activation."""
    if len(first.weights) != len(second.weights) or type(first.kind) is not type(second.kind):
        raise refused("two networks of different depths or activations", "networks of one depth and one activation")
    weights = [np.concatenate((first.weights[0], second.weights[0]))]
    for a, b in zip(first.weights[1:], second.weights[1:], strict=True):
        weights.append(np.block([[a, np.zeros((len(a), b.shape[1]))], [np.zeros((len(b), a.shape[1])), b]]))
    biases = [np.concatenate(pair) for pair in zip(first.biases, second.biases, strict=True)]
    return Conditioner(weights, biases, first.activation)


def without_scale(network: Conditioner) -> Conditioner:
    """Return a network of shifts with raw scales 0 before them."""
    last, bias = network.weights[-1], network.biases[-1]
    weights = [*network.weights[:-1], np.concatenate((np.zeros_like(last), last))]
    return Conditioner(weights, [*network.biases[:-1], np.concatenate((np.zeros_like(bias), bias))], network.activation)


def constant(inputs: int, values: Array) -> Conditioner:
    """Return a network that ignores what it sees."""
    return Conditioner([np.zeros((len(values), inputs))], [values], LINEAR)


def blend(network: Conditioner, scale: Array) -> Conditioner:
    """Return a network whose outputs are multiplied by numbers."""
    last = scale[:, None] * network.weights[-1]
    return Conditioner([*network.weights[:-1], last], [*network.biases[:-1], scale * network.biases[-1]], network.activation)


def diagonal(scale: Array, shift: Array) -> Affine:
    """Return x -> scale x + shift, coordinate by coordinate."""
    return Affine(np.diag(scale), shift)


def autoregressive(
    network: Conditioner, order: Sequence[int], rows: Sequence[Sequence[int]], kind: Scale | Spline
) -> list[PartialCoupling | SplineCoupling]:
    """Return couplings of one coordinate each, the last coordinate of the order first: each sees those before it.

    Args:
        network: Of all coordinates to all numbers.
        order: The coordinates, such that each depends on those before it.
        rows: The outputs of each coordinate: its raw scale and its shift, or the raw numbers of its spline.
        kind: How they are used.
    """
    dim, layers = len(order), []
    if dim < 2:
        raise refused("an autoregressive flow of one coordinate", "two coordinates or more")
    for place in range(dim - 1, -1, -1):
        changed, seen = order[place], sorted(order[:place])
        if seen:
            part = rows_of(network, rows[changed], seen)
        else:  # numbers: the first coordinate depends on none
            seen = [order[1]]
            alone = rows_of(network, rows[changed], [])
            values = alone.function()(torch.zeros((1, 0), dtype=torch.float64))[0]
            part = constant(1, array(values))
        make = PartialCoupling if isinstance(kind, Scale) else SplineCoupling
        layers.append(make(dim, np.array([changed]), np.array(seen), part, kind))  # type: ignore[arg-type]
    return layers


def reversed_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return the inverse map as layers.

    Raises:
        InvalidInput: For splines and residual layers, which are read in one direction.
    """
    result: list[Layer] = []
    for layer in [step for one in layers for step in one.simple()][::-1]:
        if isinstance(layer, Permutation):
            result.append(Permutation(layer.back))
        elif isinstance(layer, Affine):
            inverse = np.asarray(np.linalg.inv(layer.matrix), dtype=np.float64)
            result.append(Affine(inverse, -inverse @ layer.offset))
        elif isinstance(layer, ReversedCoupling):
            result.append(layer.coupling)
        elif isinstance(layer, PartialCoupling):
            result.append(ReversedCoupling(layer))
        else:
            raise refused(layer, "a layer that can be read in the other direction")
    return result
