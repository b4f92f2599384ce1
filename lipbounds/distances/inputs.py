"""What the distances accept: arrays, tensors and measures, checked once and turned into one form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture

__all__ = ["Points", "as_discrete", "as_measure", "as_points", "as_weights"]

Array = NDArray[np.float64]
Points = ArrayLike | Tensor

WANTED = "shape (n, d) with n, d >= 1"
REMEDY = "points are rows; use x[:, None] for numbers on the line"


def as_points(name: str, points: Points) -> Tensor:
    """Return a float tensor of shape (n, d): a tensor as it is (integers as float64), anything else in float64.

    A tensor keeps its device and its graph.

    Raises:
        InvalidInput: For what is not an (n, d) array of finite real numbers.
    """
    if isinstance(points, Tensor):
        tensor = points if points.is_floating_point() else _real(name, points)
        if tensor.dtype not in (torch.float32, torch.float64):
            raise InvalidInput(name, tensor.dtype, "float32 or float64", "convert with .float()")
    else:
        tensor = torch.from_numpy(_array(name, points))
    if tensor.ndim != 2 or tensor.numel() == 0:
        raise InvalidInput(name, f"shape {tuple(tensor.shape)}", WANTED, REMEDY)
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise InvalidInput(name, "NaN or infinite entries", "finite numbers", "remove or repair these entries")
    return tensor


def as_weights(name: str, weights: Points | None, n: int) -> Array:
    """Return n masses with sum 1, equal ones for None.

    Raises:
        InvalidInput: For another number of weights, negative or non-finite ones, a sum that is not 1, or a gradient asked for.
    """
    return _discrete(name, np.zeros((n, 1)), weights).weights


def as_discrete(name: str, points: Points | Discrete, weights: Points | None) -> Discrete:
    """Return a discrete measure from points and weights; a `Discrete` has its own weights."""
    if isinstance(points, Discrete):
        if weights is not None:
            raise InvalidInput(f"{name}_weights", "weights", f"None, since {name} has its own", "pass one of them")
        return points
    if isinstance(points, Tensor):
        points = points.detach().cpu()
    tensor = as_points(name, points)
    return _discrete(f"{name}_weights", tensor.double().numpy(), weights)


def as_measure(name: str, measure: Points | Discrete | GaussianMixture, weights: Points | None) -> Discrete | GaussianMixture:
    """Return a measure: a mixture as it is, anything else as a discrete measure."""
    if isinstance(measure, GaussianMixture):
        if weights is not None:
            raise InvalidInput(f"{name}_weights", "weights", f"None, since {name} is a mixture", "leave them out")
        return measure
    return as_discrete(name, measure, weights)


def _array(name: str, values: Any) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise InvalidInput(name, "a masked array", "an array without mask", "pass values.compressed(), or the rows that are kept")
    try:
        raw = np.asarray(values)
        if raw.dtype.kind not in "biuf":
            raise TypeError(f"type {raw.dtype}")
        return np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(name, str(error), "an array of real numbers", "pass an (n, d) array") from None


def _real(name: str, tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        raise InvalidInput(name, tensor.dtype, "real numbers", "pass real and imaginary parts as coordinates")
    return tensor.double()


def _discrete(name: str, points: Array, weights: Points | None) -> Discrete:
    """A discrete measure on checked points; errors carry the caller's name of the weights."""
    if isinstance(weights, Tensor):
        if weights.requires_grad:
            raise InvalidInput(name, "a tensor that requires grad", "constants", "distances have no gradient in the weights")
        weights = weights.detach().cpu()
        weights = (weights.float() if weights.dtype is torch.bfloat16 else weights).numpy()
    if weights is None:
        return Discrete(points)
    masses = _array(name, weights)
    if masses.ndim != 1:
        raise InvalidInput(name, f"shape {masses.shape}", f"shape ({len(points)},)", "pass one weight a point")
    try:
        # in the type given, which tells how well they can sum to 1
        return Discrete(points, weights if isinstance(weights, np.ndarray) else masses)
    except InvalidInput as error:
        raise error.renamed(name) from None
