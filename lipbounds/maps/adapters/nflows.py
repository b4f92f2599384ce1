"""nflows: a flow wraps its transform, data to latent, whose results are pairs with log-determinants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation, SplineCoupling
from lipbounds.maps.reading import (
    Block,
    Linear,
    activation_of,
    array,
    autoregressive,
    constant,
    diagonal,
    feed_forward,
    like,
    linear,
    needs_context,
    refused,
    residual,
    reversed_layers,
    rows_of,
    sequential,
    standardised,
    without_scale,
)
from lipbounds.maps.scales import exponential_scale, sigmoid_scale, softplus_scale
from lipbounds.maps.splines import Spline

__all__ = ["layers_of", "maps_of"]

Array = NDArray[np.float64]


def maps_of(model: Any, context: Array | None = None) -> tuple[Any, Any]:
    """Return T and T^{-1} of a flow or of a transform, its normal base law standardised."""
    transform, row = getattr(model, "_transform", model), like(model, context)
    base: Any = getattr(model, "_distribution", None)
    if row is not None and hasattr(model, "_embedding_net"):
        row = model._embedding_net(row)

    def rows(x: Tensor) -> Tensor | None:
        return None if row is None else row.expand(len(x), -1)

    maps = (lambda x: transform(x, context=rows(x))[0]), (lambda z: transform.inverse(z, context=rows(z))[0])
    return standardised(*maps, base.mean_, base.log_std_.exp()) if type(base).__name__ == "DiagonalNormal" else maps


def layers_of(model: Any, context: Array | None = None) -> list[Layer]:
    """Return the layers of T of a flow or a transform, its normal base law standardised.

    Raises:
        InvalidInput: For transforms, networks and base laws that are not read.
    """
    if context is not None and hasattr(model, "_embedding_net"):
        context = array(model._embedding_net(torch.as_tensor(context)[None])[0])
    layers = read(getattr(model, "_transform", model), context)
    base = getattr(model, "_distribution", None)
    if base is None or type(base).__name__ == "StandardNormal":
        return layers
    if type(base).__name__ != "DiagonalNormal":
        raise refused(base, "a normal base law with a diagonal covariance")
    scale = np.exp(-array(base.log_std_).ravel())
    return [*layers, diagonal(scale, -scale * array(base.mean_).ravel())]


def read(part: Any, context: Array | None) -> list[Layer]:
    """Return the layers of a transform, data to latent."""
    name = type(part).__name__
    if name == "CompositeTransform":
        return [layer for one in part._transforms for layer in read(one, context)]
    if name == "InverseTransform":
        return reversed_layers(read(part._transform, context))
    if name not in READERS:
        raise refused(part, f"one of {sorted([*READERS, 'CompositeTransform', 'InverseTransform'])}")
    return READERS[name](part, context)


def _permutation(part: Any, context: Array | None) -> list[Layer]:
    return [Permutation(part._permutation.cpu().numpy())]


def _linear(part: Any, context: Array | None) -> list[Layer]:
    return [Affine(array(part.weight()), array(part.bias))]


def _act_norm(part: Any, context: Array | None) -> list[Layer]:
    if not bool(part.initialized):
        raise InvalidInput("model", "an ActNorm that was never initialised", "a trained one", "call the flow on data first")
    return [diagonal(np.exp(array(part.log_scale)), array(part.shift))]


def _batch_norm(part: Any, context: Array | None) -> list[Layer]:
    weight = array(torch.nn.functional.softplus(part.unconstrained_weight) + part.eps)
    scale = weight / np.sqrt(array(part.running_var) + part.eps)
    return [diagonal(scale, array(part.bias) - scale * array(part.running_mean))]


def _pointwise(part: Any, context: Array | None) -> list[Layer]:
    if part._scale.ndim != 1 or part._shift.ndim != 1:
        raise refused("a pointwise transform without the dimension of the space", "vectors of scales and shifts")
    return [diagonal(array(part._scale), array(part._shift))]


def _features(part: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return part.transform_features.cpu().numpy(), part.identity_features.cpu().numpy()


def _affine_coupling(part: Any, context: Array | None) -> list[Layer]:
    changed, seen = _features(part)
    network, n = network_of(part.transform_net, context), len(changed)
    network = rows_of(network, [*range(n, 2 * n), *range(n)])  # shifts stand first there
    return [PartialCoupling(part.features, changed, seen, network, sigmoid_scale(2.0, least=1e-3))]


def _additive_coupling(part: Any, context: Array | None) -> list[Layer]:
    changed, seen = _features(part)
    network = without_scale(network_of(part.transform_net, context))
    return [PartialCoupling(part.features, changed, seen, network, exponential_scale())]


def spline_of(part: Any, bins: int, divisor: float) -> Spline:
    """Return the spline of a transform with linear tails."""
    if part.tails != "linear" or isinstance(part.tail_bound, torch.Tensor):
        raise refused(f"a spline with tails {part.tails!r}", "linear tails and one bound")
    if part.min_bin_width != part.min_bin_height:
        raise refused("a spline with different least widths and heights", "one number for both")
    return Spline(bins, float(part.tail_bound), part.min_bin_width, part.min_derivative, divisor)


def spline_coupling(part: Any, context: Array | None) -> list[Layer]:
    """Return a coupling by splines, also that of normflows."""
    changed, seen = _features(part)
    net = part.transform_net
    width = getattr(net, "hidden_features", getattr(net, "hidden_channels", 1))
    spline, dim = spline_of(part, part.num_bins, float(np.sqrt(width))), len(changed) + len(seen)
    layers: list[Layer] = [SplineCoupling(dim, changed, seen, network_of(net, context), spline)]
    if part.unconditional_transform is not None:
        cdf = part.unconditional_transform
        raw = (cdf.unnormalized_widths, cdf.unnormalized_heights, cdf.unnormalized_derivatives)
        values = array(torch.cat([one.reshape(len(seen), -1) for one in raw], 1)).ravel()
        layers.append(SplineCoupling(dim, seen, changed, constant(len(changed), values), spline_of(cdf, part.num_bins, 1.0)))
    return layers


def spline_autoregressive(part: Any, context: Array | None) -> list[Layer]:
    """Return an autoregressive layer of splines, also that of normflows."""
    net = part.autoregressive_net
    spline = spline_of(part, part.num_bins, float(np.sqrt(getattr(net, "hidden_features", 1))))
    return list(autoregressive(made(net, context), order_of(net), _rows(order_of(net), spline.parameters), spline))


def _affine_autoregressive(part: Any, context: Array | None) -> list[Layer]:
    net = part.autoregressive_net
    return list(autoregressive(made(net, context), order_of(net), _rows(order_of(net), 2), softplus_scale(part._epsilon)))


def order_of(net: Any) -> list[int]:
    """Return coordinates such that the outputs of each depend on those before it only."""
    features = net.initial_layer.mask.shape[1]
    degrees = net.final_layer.degrees.reshape(features, -1)[:, 0]
    return [int(k) for k in torch.argsort(degrees, stable=True)]


def network_of(net: Any, context: Any) -> Conditioner:
    """Return the conditioner of a coupling: a ResidualNet, or a chain of linear layers."""
    if type(net).__name__ == "ResidualNet" and getattr(net, "preprocessing", None) is None:
        initial = linear(net.initial_layer)
        if net.context_features is not None:
            needs_context(net.context_features, context)
            free = initial[0].shape[1] - net.context_features
            initial = (initial[0][:, :free], initial[1] + initial[0][:, free:] @ context)
        blocks = [_block(block, context, gated=True) for block in net.blocks]
        return residual(initial, blocks, linear(net.final_layer), _activation_of_blocks(net.blocks))
    if isinstance(net, nn.Sequential):
        return sequential(net)
    if type(net).__name__ == "MLP" and isinstance(getattr(net, "net", None), nn.Sequential):
        return sequential(net.net)
    raise refused(net, "a ResidualNet, or nn.Sequential of linear layers and activations")


def _activation_of_blocks(blocks: Any) -> Activation:
    return activation_of(blocks[0].activation) if len(blocks) else LINEAR


def _normalised(block: Any, index: int, units: int) -> Linear:
    """Scale and shift of a batch norm in evaluation, or 1 and 0."""
    if not block.use_batch_norm:
        return np.ones(units), np.zeros(units)
    return _scale_and_shift(block.batch_norm_layers[index])


def _scale_and_shift(norm: Any) -> Linear:
    scale = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
    return scale, array(norm.bias) - scale * array(norm.running_mean)


def _block(block: Any, context: Any, *, gated: bool) -> Block:
    """A residual block; its context multiplies the second linear layer by a sigmoid, or is added to the first."""
    (first, shift), (second, last) = (linear(layer) for layer in block.linear_layers)
    units = len(shift)
    layer = getattr(block, "context_layer", None)
    if layer is not None:
        needs_context(None, context)
        matrix, bias = linear(layer)
        moved = matrix @ context + bias
        if gated:
            gate = 1.0 / (1.0 + np.exp(-moved))
            second, last = gate[:, None] * second, gate * last
        else:
            shift = shift + moved
    scale, offset = _normalised(block, 1, units)
    return Block((scale[:, None] * first, scale * shift + offset), (second, last), *_normalised(block, 0, first.shape[1]))


def made(net: Any, context: Any) -> Conditioner:
    """Return a MADE of nflows or of normflows, which differ in what they do with contexts and after the first layer."""
    theirs = type(net).__module__.startswith("nflows")
    if type(getattr(net, "preprocessing", nn.Identity())) is not nn.Identity:
        raise refused(net.preprocessing, "no preprocessing")
    matrix, bias = linear(net.initial_layer)
    if hasattr(net, "context_layer"):
        needs_context(None, context)
        weight, shift = linear(net.context_layer)
        moved = torch.as_tensor(weight @ context + shift)
        bias = bias + array(net.activation(moved) if theirs else moved)
    kinds = {type(block).__name__ for block in net.blocks}
    if kinds <= {"MaskedResidualBlock"}:
        blocks = [_block(block, context, gated=not theirs) for block in net.blocks]
        return residual((matrix, bias), blocks, linear(net.final_layer), _activation_of_blocks(net.blocks))
    if kinds != {"MaskedFeedforwardBlock"}:
        raise refused(f"blocks {sorted(kinds)}", "residual or feed-forward blocks of one kind")
    layers = [(matrix, bias)]
    for index, block in enumerate(net.blocks):
        weight, shift = linear(block.linear)
        if block.batch_norm is not None:
            scale, offset = _scale_and_shift(block.batch_norm)
            weight, shift = weight * scale, shift + weight @ offset
        if index == 0 and not theirs:  # no activation before it
            weight, shift = weight @ layers[0][0], weight @ layers[0][1] + shift
            layers = []
        layers.append((weight, shift))
    return feed_forward([*layers, linear(net.final_layer)], _activation_of_blocks(net.blocks))


def _rows(order: Sequence[int], numbers: int) -> list[range]:
    return [range(k * numbers, (k + 1) * numbers) for k in range(len(order))]


READERS: dict[str, Callable[[Any, Array | None], list[Layer]]] = {
    "ActNorm": _act_norm,
    "AdditiveCouplingTransform": _additive_coupling,
    "AffineCouplingTransform": _affine_coupling,
    "BatchNorm": _batch_norm,
    "IdentityTransform": lambda part, context: [],
    "LULinear": _linear,
    "MaskedAffineAutoregressiveTransform": _affine_autoregressive,
    "MaskedPiecewiseRationalQuadraticAutoregressiveTransform": spline_autoregressive,
    "NaiveLinear": _linear,
    "Permutation": _permutation,
    "PiecewiseRationalQuadraticCouplingTransform": spline_coupling,
    "PointwiseAffineTransform": _pointwise,
    "QRLinear": _linear,
    "RandomPermutation": _permutation,
    "ReversePermutation": _permutation,
    "SVDLinear": _linear,
}
