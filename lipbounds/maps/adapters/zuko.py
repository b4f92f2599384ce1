"""zuko: a lazy flow gives a distribution with a transform from data to the base."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
    diagonal,
    fixed,
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
from lipbounds.maps.scales import Scale, exponential_scale, softsign_scale
from lipbounds.maps.splines import Spline

__all__ = ["layers_of", "maps_of"]

Array = NDArray[np.float64]

SLOPE = 1e-3  # the default of all transforms
BOUND = 5.0  # of splines


def maps_of(model: Any, context: Array | None = None) -> tuple[Any, Any]:
    """Return T and T^{-1} of a lazy flow, its normal base law standardised."""
    transform = (model() if context is None else model(like(model, context)[0])).transform  # type: ignore[index]
    if getattr(getattr(model.base, "f", None), "__name__", "") != "DiagNormal":
        return transform, transform.inv
    return standardised(transform, transform.inv, model.base.loc, model.base.scale)


def layers_of(model: Any, context: Array | None = None) -> list[Layer]:
    """Return the layers of T of a lazy flow, its normal base law standardised.

    Raises:
        InvalidInput: For transforms, networks and base laws that are not read.
    """
    layers = read(model.transform, context)
    base = getattr(model.base, "f", None)
    if getattr(base, "__name__", "") != "DiagNormal":
        raise refused(f"base law {getattr(base, '__name__', base)}", "DiagNormal")
    loc, scale = array(model.base.loc), array(model.base.scale)
    return layers if (loc == 0.0).all() and (scale == 1.0).all() else [*layers, diagonal(1.0 / scale, -loc / scale)]


def read(part: Any, context: Array | None) -> list[Layer]:
    """Return the layers of a lazy transform, data to latent."""
    name = type(part).__name__
    if name == "LazyComposedTransform":
        return [layer for one in part.transforms for layer in read(one, context)]
    if name == "LazyInverse":
        return reversed_layers(read(part.transform, context))
    if name == "UnconditionalTransform":
        return _unconditional(part)
    if name not in ("GeneralCouplingTransform", "MaskedAutoregressiveTransform"):
        wanted = "GeneralCouplingTransform, MaskedAutoregressiveTransform and linear transforms"
        raise refused(part, wanted)
    kind, rows = _univariate(part)
    network = _network(part.hyper)
    if name == "GeneralCouplingTransform":
        mask = part.mask.cpu().numpy()
        changed, seen = np.flatnonzero(~mask), np.flatnonzero(mask)
        network = _in_context(network, len(seen), context)
        if isinstance(kind, Spline):
            return [SplineCoupling(len(mask), changed, seen, network, kind)]
        n = len(changed)
        if rows is None:
            return [PartialCoupling(len(mask), changed, seen, without_scale(network), kind)]
        return [PartialCoupling(len(mask), changed, seen, rows_of(network, [*range(1, 2 * n, 2), *range(0, 2 * n, 2)]), kind)]
    if part.order is None:
        raise refused("a MaskedAutoregressiveTransform with an adjacency", "an order")
    dim = len(part.order)
    network = _in_context(network, dim, context)
    # a coordinate sees those of lower rank; any order that sorts the ranks will do
    order = [int(k) for k in torch.argsort(part.order, stable=True)]
    if rows is None:
        network = without_scale(network)
        numbers = [[k, dim + k] for k in range(dim)]
    elif isinstance(kind, Spline):
        numbers = [list(range(k * part.total, (k + 1) * part.total)) for k in range(dim)]
    else:
        numbers = [[2 * k + 1, 2 * k] for k in range(dim)]
    return list(autoregressive(network, order, numbers, kind))


def _univariate(part: Any) -> tuple[Scale | Spline, tuple[int, int] | None]:
    """How the numbers of a coordinate are used, and which are the raw scale and the shift; None for shifts alone."""
    function: Any = part.univariate
    options: dict[str, Any] = {}
    if isinstance(function, partial):
        if function.args:
            raise refused("a univariate transform with arguments by place", "keywords")
        function, options = function.func, dict(function.keywords)
    name = getattr(function, "__name__", type(function).__name__)
    log_slope = -math.log(options.get("slope", SLOPE))
    if name == "MonotonicAffineTransform":
        return softsign_scale(log_slope), (1, 0)
    if name == "AdditiveTransform":
        return exponential_scale(), None
    if name == "MonotonicRQSTransform":
        bins = math.prod(part.shapes[0])
        bound = float(options.get("bound", BOUND))
        return Spline(bins, bound, clip_bins=2.0 / log_slope, clip_slopes=1.0 / log_slope), (0, 0)
    raise refused(name, "MonotonicAffineTransform, AdditiveTransform or MonotonicRQSTransform")


def _network(hyper: Any) -> Conditioner:
    """An MLP, masked or not, or a chain of residual blocks."""
    modules = list(hyper)
    if not any(type(module).__name__ == "Residual" for module in modules):
        return sequential(modules)
    first, last = linear(modules[0]), linear(modules[-1])
    blocks: list[Block] = []
    activation: Activation = LINEAR
    for module in modules[1:-1]:
        if type(module).__name__ != "Residual":
            raise refused("residual blocks of different widths", "one width")
        inner, act, outer = list(module)
        activation, units = activation_of(act), len(first[1])
        parts: list[Linear] = [linear(inner), linear(outer)]
        blocks.append(Block(parts[0], parts[1], np.ones(units), np.zeros(units), activated=False))
    return residual(first, blocks, last, activation)


def _in_context(network: Conditioner, inputs: int, context: Any) -> Conditioner:
    wanted = network.inputs - inputs
    if wanted == 0:
        return network
    needs_context(wanted, context)
    return fixed(network, context)


def _unconditional(part: Any) -> list[Layer]:
    transform = part()
    name = type(transform).__name__
    if name == "PermutationTransform":
        return [Permutation(transform.order.cpu().numpy())]
    if name == "RotationTransform":
        return [Affine(array(transform.R), np.zeros(len(transform.R)))]
    if name == "LULinearTransform":
        matrix = array(transform.L @ transform.U)
        return [Affine(matrix, np.zeros(len(matrix)))]
    if name == "IdentityTransform":
        return []
    raise refused(name, "PermutationTransform, RotationTransform or LULinearTransform")
