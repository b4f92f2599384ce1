"""FrEIA: `forward` is data to latent, and the same with `rev=True` is its inverse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation
from lipbounds.maps.reading import (
    array,
    blend,
    diagonal,
    fixed,
    like,
    needs_context,
    refused,
    sequential,
    side_by_side,
    without_scale,
)
from lipbounds.maps.scales import Scale, exponential_scale, freia_scale, tanh_scale

__all__ = ["layers_of", "maps_of"]

Array = NDArray[np.float64]

HALVED = 0.1  # AllInOneBlock multiplies the outputs of its subnetwork by this


def maps_of(model: Any, context: Array | None = None) -> tuple[Any, Any]:
    """Return T and T^{-1} of a network."""
    row = like(model, context)

    def applied(x: Tensor, *, rev: bool) -> Any:
        condition = {} if row is None else {"c": [row.expand(len(x), -1)]}
        return model(x, rev=rev, jac=False, **condition)[0]

    return lambda x: applied(x, rev=False), lambda z: applied(z, rev=True)


def layers_of(model: Any, context: Array | None = None) -> list[Layer]:
    """Return the layers of T of a sequential network, or of a graph that is a chain.

    Raises:
        InvalidInput: For modules, subnetworks and graphs that are not read.
    """
    if hasattr(model, "node_list"):
        inner = [node for node in model.node_list if type(node).__name__ == "Node"]
        if any(len(node.inputs) != 1 or len(node.outputs) != 1 for node in inner):
            raise refused("a graph with branches", "a chain of modules")
        modules = [node.module for node in inner]
    else:
        modules = list(model.module_list)
    return [layer for module in modules for layer in read(module, context)]


def read(part: Any, context: Array | None) -> list[Layer]:
    """Return the layers of a module, data to latent."""
    name = type(part).__name__
    if name not in READERS:
        raise refused(part, f"one of {sorted(READERS)}")
    return READERS[name](part, context)


def _network(subnet: Any, inputs: int, context: Any) -> Conditioner:
    if not isinstance(subnet, nn.Sequential):
        raise refused(subnet, "nn.Sequential of linear layers and activations")
    network = sequential(subnet)
    wanted = network.inputs - inputs
    if wanted == 0:
        return network
    needs_context(wanted, context)
    return fixed(network, context)


def _scale(part: Any) -> Scale:
    """The clamp of a block, whose name is not stored: by its value at 1, where it is 0.636 pi / 4, tanh(1) or tanh(1/2)."""
    at_1, clamp = float(part.f_clamp(torch.ones((), dtype=torch.float64))), float(part.clamp)
    known = {
        0.636 * math.atan(1.0): freia_scale(clamp),
        math.tanh(1.0): tanh_scale(clamp),
        math.tanh(0.5): tanh_scale(clamp, 2.0),
    }
    for value, scale in known.items():
        if abs(value - at_1) < 1e-12:
            return scale
    raise refused("a clamp of one's own", "ATAN, TANH or SIGMOID")


def _halves(part: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.arange(part.split_len1), np.arange(part.split_len1, part.channels)


def _in_two_steps(part: Any, first: Conditioner, second: Conditioner, scale: Scale) -> list[Layer]:
    """The first half changes first and sees the second one, which then sees what has become of the first."""
    one, two = _halves(part)
    return [
        PartialCoupling(part.channels, one, two, first, scale),
        PartialCoupling(part.channels, two, one, second, scale),
    ]


def _glow(part: Any, context: Array | None) -> list[Layer]:
    nets = (_network(part.subnet2, part.split_len2, context), _network(part.subnet1, part.split_len1, context))
    return _in_two_steps(part, *nets, _scale(part))


def _gin(part: Any, context: Array | None) -> list[Layer]:
    """The mean of the scales is subtracted after the clamp; a half of one coordinate has scale 1."""
    if part.split_len1 != 1 or part.split_len2 != 1:
        raise refused("a GINCouplingBlock of halves of several coordinates", "halves of one")
    layers = _glow(part, context)
    return [_only_shift(layer) for layer in layers if isinstance(layer, PartialCoupling)]


def _only_shift(layer: PartialCoupling) -> PartialCoupling:
    network, n = layer.network, len(layer.changed)
    factor = np.concatenate((np.zeros(n), np.ones(n)))
    return PartialCoupling(layer.space, layer.changed, layer.seen, blend(network, factor), exponential_scale())


def _nice(part: Any, context: Array | None) -> list[Layer]:
    nets = (_network(part.F, part.split_len2, context), _network(part.G, part.split_len1, context))
    return _in_two_steps(part, without_scale(nets[0]), without_scale(nets[1]), exponential_scale())


def _real_nvp(part: Any, context: Array | None) -> list[Layer]:
    lengths = {"2": part.split_len2, "1": part.split_len1}
    nets = [
        side_by_side(*(_network(getattr(part, f"subnet_{kind}{half}"), n, context) for kind in "st"))
        for half, n in lengths.items()
    ]
    return _in_two_steps(part, nets[0], nets[1], _scale(part))


def _one_sided(part: Any, context: Array | None) -> list[Layer]:
    one, two = _halves(part)
    return [PartialCoupling(part.channels, two, one, _network(part.subnet, part.split_len1, context), _scale(part))]


def _all_in_one(part: Any, context: Array | None) -> list[Layer]:
    """A coupling of the second half, a global scale and shift, and a permutation or rotation."""
    passive, active = part.splits
    dim = passive + active
    network = blend(_network(part.subnet, passive, context), np.full(2 * active, HALVED))
    scale: Scale = tanh_scale(float(part.clamp))
    if part.GIN:
        if active != 1:
            raise refused("an AllInOneBlock with gin_block and several active coordinates", "one")
        network, scale = blend(network, np.concatenate((np.zeros(1), np.ones(1)))), exponential_scale()
    matrix = array(part._construct_householder_permutation() if part.householder else part.w_perm).reshape(dim, dim)
    stretch = np.ones(dim) if part.GIN else array(part.global_scale_activation(part.global_scale)).ravel()
    before = [_rotation(matrix.T)] if part.reverse_pre_permute else []
    coupling = PartialCoupling(dim, np.arange(passive, dim), np.arange(passive), network, scale)
    return [*before, coupling, diagonal(stretch, array(part.global_offset).ravel()), _rotation(matrix)]


def _rotation(matrix: Array) -> Layer:
    """A permutation as such."""
    if ((matrix == 0.0) | (matrix == 1.0)).all() and (matrix.sum(0) == 1.0).all() and (matrix.sum(1) == 1.0).all():
        return Permutation(matrix.argmax(1))
    return Affine(matrix.copy(), np.zeros(len(matrix)))


def _act_norm(part: Any, context: Array | None) -> list[Layer]:
    if part.init_on_next_batch:
        raise InvalidInput("model", "an ActNorm that was never initialised", "a trained one", "call the network on data first")
    return [diagonal(np.exp(array(part.scale).ravel()), array(part.bias).ravel())]


def _fixed_linear(part: Any, context: Array | None) -> list[Layer]:
    matrix = array(part.M).T.copy()
    offset = array(part.b).ravel() if isinstance(part.b, torch.Tensor) else np.full(len(matrix), float(part.b))
    return [Affine(matrix, offset)]


def _householder(part: Any, context: Array | None) -> list[Layer]:
    if part.conditional:
        raise refused("a conditional HouseholderPerm", "one without condition")
    matrix = np.eye(part.width)
    for v in array(part.Vs):
        matrix = matrix - 2.0 * np.outer(matrix @ v, v) / (v @ v)
    return [Affine(matrix.T.copy(), np.zeros(part.width))]


READERS: dict[str, Callable[[Any, Array | None], list[Layer]]] = {
    "ActNorm": _act_norm,
    "AffineCouplingOneSided": _one_sided,
    "AllInOneBlock": _all_in_one,
    "FixedLinearTransform": _fixed_linear,
    "GINCouplingBlock": _gin,
    "GLOWCouplingBlock": _glow,
    "HouseholderPerm": _householder,
    "NICECouplingBlock": _nice,
    "PermuteRandom": lambda part, context: [Permutation(part.perm.cpu().numpy())],
    "RNVPCouplingBlock": _real_nvp,
}
