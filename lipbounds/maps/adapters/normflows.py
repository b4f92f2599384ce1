"""normflows: `forward` is latent to data; autoregressive networks and splines are those of nflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import get_activation
from lipbounds.maps.adapters.nflows import made, network_of, order_of, spline_autoregressive, spline_coupling
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation, Residual, ReversedCoupling
from lipbounds.maps.reading import (
    Linear,
    array,
    autoregressive,
    diagonal,
    feed_forward,
    like,
    linear,
    refused,
    reversed_layers,
    rows_of,
    side_by_side,
    standardised,
    without_scale,
)
from lipbounds.maps.scales import Scale, exponential_scale, sigmoid_scale

__all__ = ["layers_of", "maps_of"]

Array = NDArray[np.float64]

SCALES: dict[str, Callable[[], Scale]] = {
    "exp": exponential_scale,
    "sigmoid": lambda: sigmoid_scale(2.0, inverted=True),
    "sigmoid_inv": lambda: sigmoid_scale(2.0),
}


def maps_of(model: Any, context: Array | None = None) -> tuple[Any, Any]:
    """Return T and T^{-1} of a flow, its normal base law standardised."""
    row = like(model, context)
    forward, inverse = model.inverse, model.forward
    if row is not None:
        forward = lambda x: model.inverse(x, context=row.expand(len(x), -1))
        inverse = lambda z: model.forward(z, context=row.expand(len(z), -1))
    base: Any = getattr(model, "q0", None)
    if type(base).__name__ != "DiagGaussian":
        return forward, inverse
    return standardised(lambda x: _value(forward(x)), lambda z: _value(inverse(z)), base.loc, _scale_of(base))


def _value(image: Any) -> Tensor:
    """Some flows return their log-determinant, too."""
    result: Tensor = image[0] if isinstance(image, tuple) else image
    return result


def _scale_of(base: Any) -> Tensor:
    scale: Tensor = base.log_scale.exp() * (1.0 if base.temperature is None else base.temperature)
    return scale


def layers_of(model: Any, context: Array | None = None) -> list[Layer]:
    """Return the layers of T of a flow, its normal base law standardised.

    Raises:
        InvalidInput: For flows, networks and base laws that are not read.
    """
    if not hasattr(model, "q0"):
        return read(model, context)
    layers = [layer for flow in reversed(model.flows) for layer in read(flow, context)]
    base = model.q0
    if type(base).__name__ != "DiagGaussian":
        raise refused(base, "a normal base law with a diagonal covariance")
    scale, loc = 1.0 / array(_scale_of(base)).ravel(), array(base.loc).ravel()
    return layers if (scale == 1.0).all() and (loc == 0.0).all() else [*layers, diagonal(scale, -scale * loc)]


def read(part: Any, context: Array | None) -> list[Layer]:
    """Return the layers of a flow, data to latent."""
    name = type(part).__name__
    if name == "Reverse":
        return reversed_layers(read(part.flow, context))
    if name == "Composite":
        return [layer for one in reversed(part._flows) for layer in read(one, context)]
    if name not in READERS:
        raise refused(part, f"one of {sorted([*READERS, 'Composite', 'Reverse'])}")
    return READERS[name](part, context)


def _constants(part: Any, context: Array | None) -> list[Layer]:
    if not bool(getattr(part, "data_dep_init_done", True)):
        raise InvalidInput("model", "an ActNorm that was never initialised", "a trained one", "call the flow on data first")
    scale = np.exp(-array(part.s).ravel())
    return [diagonal(scale, -scale * array(part.t).ravel())]


def _halves(mode: str, dim: int) -> tuple[list[int], list[int]]:
    """Coordinates that are changed, and those that are seen."""
    first = (dim + 1) // 2
    channel, even = list(range(dim)), list(range(0, dim, 2))
    odd = list(range(1, dim, 2))
    halves = {
        "channel": (channel[first:], channel[:first]),
        "channel_inv": (channel[:first], channel[first:]),
        "checkerboard": (even, odd),
        "checkerboard_inv": (odd, even),
    }
    if mode not in halves:
        raise refused(f"a split by {mode!r}", f"one of {sorted(halves)}")
    return halves[mode]


def _coupling_block(part: Any, context: Array | None) -> list[Layer]:
    split, coupling, _ = part.flows
    network = network_of(coupling.param_map, context)
    numbers = network.outputs // 2 if coupling.scale else network.outputs
    changed, seen = _halves(split.mode, network.inputs + numbers)
    if coupling.scale:  # shift and scale alternate
        network = rows_of(network, [*range(1, 2 * numbers, 2), *range(0, 2 * numbers, 2)])
        scale = SCALES[coupling.scale_map]()
    else:
        network, scale = without_scale(network), exponential_scale()
    return [ReversedCoupling(PartialCoupling(len(changed) + len(seen), np.array(changed), np.array(seen), network, scale))]


def _masked(part: Any, context: Array | None) -> list[Layer]:
    mask = array(part.b).ravel()
    if not np.isin(mask, (0.0, 1.0)).all():
        raise refused("a mask of numbers", "a mask of zeros and ones")
    changed, seen = np.flatnonzero(mask == 0.0), np.flatnonzero(mask == 1.0)
    if not len(changed):
        return []
    scale, shift = (_net_of_mask(net, context, changed, seen) for net in (part.s, part.t))
    network = side_by_side(*_as_deep(scale, shift))
    return [ReversedCoupling(PartialCoupling(len(mask), changed, seen, network, exponential_scale()))]


def _net_of_mask(net: Any, context: Array | None, changed: NDArray[np.intp], seen: NDArray[np.intp]) -> Conditioner | None:
    """A network of all masked coordinates, of which those that are changed are 0; None for one that is 0."""
    if net is torch.zeros_like:
        return None
    whole = network_of(net, context)
    weights = [whole.weights[0][:, seen], *whole.weights[1:]]
    return rows_of(Conditioner(weights, whole.biases, whole.activation), changed)


def _as_deep(first: Conditioner | None, second: Conditioner | None) -> tuple[Conditioner, Conditioner]:
    """Two networks, of which one that is missing is 0."""
    known = first or second
    if known is None:
        raise refused("a masked flow without networks", "a network of scales or shifts")
    zero = Conditioner(
        [*known.weights[:-1], 0.0 * known.weights[-1]], [*known.biases[:-1], 0.0 * known.biases[-1]], known.activation
    )
    return first or zero, second or zero


def _affine_autoregressive(part: Any, context: Array | None) -> list[Layer]:
    """The numbers of a coordinate are functions of latent ones: the couplings are those of T^{-1}."""
    net = part.autoregressive_net
    order = order_of(net)
    rows = [range(2 * k, 2 * k + 2) for k in range(len(order))]
    couplings = autoregressive(made(net, context), order, rows, sigmoid_scale(2.0, least=1e-3))
    return [ReversedCoupling(one) for one in reversed(couplings)]  # type: ignore[arg-type]


def _coupled_splines(part: Any, context: Array | None) -> list[Layer]:
    return spline_coupling(part.prqct, context)


def _autoregressive_splines(part: Any, context: Array | None) -> list[Layer]:
    return spline_autoregressive(part.mprqat, context)


def _lu(part: Any, context: Array | None) -> list[Layer]:
    linear_part = part.linear
    return [
        Permutation(part.permutation._permutation.cpu().numpy()),
        Affine(array(linear_part.weight()), array(linear_part.bias)),
    ]


def _permute(part: Any, context: Array | None) -> list[Layer]:
    if part.mode == "shuffle":
        return [Permutation(part.inv_perm.cpu().numpy())]
    first = (part.num_channels + 1) // 2
    return [Permutation(np.roll(np.arange(part.num_channels), -first))]


def _invertible_affine(part: Any, context: Array | None) -> list[Layer]:
    matrix = array(part._assemble_W() if part.use_lu else part.W)
    return [Affine(matrix.T.copy(), np.zeros(len(matrix)))]


def _residual(part: Any, context: Array | None) -> list[Layer]:
    """x + g(x), data to latent; its activation x sigmoid(b x) / 1.1 is silu(b x) / (1.1 b)."""
    if not part.reverse:
        raise refused("a residual flow with reverse=False", "reverse=True, where T is x + g(x)")
    net = list(getattr(part.iresblock.nnet, "net", ()))
    names = [type(module).__name__ for module in net]
    if names != ["Swish", "InducedNormLinear"] * (len(names) // 2) or not names:
        raise refused(part.iresblock.nnet, "a LipschitzMLP")
    layers: list[Linear] = []
    slopes = [float(torch.nn.functional.softplus(module.beta.double())) for module in net[::2]]
    modules = list(net[1::2])
    layers.append((slopes[0] * np.eye(modules[0].weight.shape[1]), np.zeros(modules[0].weight.shape[1])))
    for index, module in enumerate(modules):
        matrix = array(module.compute_weight(update=False)) / (1.1 * slopes[index])
        bias = linear(module)[1]
        after = slopes[index + 1] if index + 1 < len(slopes) else 1.0
        layers.append((after * matrix, after * bias))
    return [Residual(feed_forward(layers, get_activation("silu")))]


READERS: dict[str, Callable[[Any, Array | None], list[Layer]]] = {
    "ActNorm": _constants,
    "AffineConstFlow": _constants,
    "AffineCouplingBlock": _coupling_block,
    "AutoregressiveRationalQuadraticSpline": _autoregressive_splines,
    "CoupledRationalQuadraticSpline": _coupled_splines,
    "InvertibleAffine": _invertible_affine,
    "LULinearPermute": _lu,
    "MaskedAffineAutoregressive": _affine_autoregressive,
    "MaskedAffineFlow": _masked,
    "Permute": _permute,
    "Residual": _residual,
}
