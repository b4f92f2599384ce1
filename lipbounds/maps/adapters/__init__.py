"""Flows of other libraries, a file for each library; none of them is imported here.

A file is named like the package that its models' classes come from, and gives `maps_of(model, context)`, T and T^{-1}, and
`layers_of(model, context)`, the layers of T as this library has them.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, dtype, nn

from lipbounds.maps.layers import Layer

__all__ = ["Adapter", "adapter_of", "converted"]

Map = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Adapter:
    """How models of a library are read.

    Attributes:
        source: The library.
        maps: Returns T and T^{-1} of a model at a context, its normal base law with a diagonal covariance standardised.
        layers: Returns the layers of T of a model at a context, a vector or None; InvalidInput for what is not read.
    """

    source: str
    maps: Callable[[Any, NDArray[np.float64] | None], tuple[Map, Map]]
    layers: Callable[[Any, NDArray[np.float64] | None], list[Layer]]


_KNOWN: dict[str, Adapter] = {}

for _module in pkgutil.iter_modules(__path__):
    _adapter = importlib.import_module(f"{__name__}.{_module.name}")
    _KNOWN[_module.name] = Adapter(_module.name, _adapter.maps_of, _adapter.layers_of)


def converted(model: Any, precision: dtype) -> Any:
    """Return a copy of a torch module on the CPU, in evaluation mode and in this precision; other objects as they are."""
    if not isinstance(model, nn.Module):
        return model
    return copy.deepcopy(model).to(device="cpu", dtype=precision).eval().requires_grad_(False)


def adapter_of(model: object) -> Adapter | None:
    """Return the adapter of the library that a model's class, or one of its bases, comes from."""
    for base in type(model).__mro__:
        package = base.__module__.split(".")[0]
        if package in _KNOWN:
            return _KNOWN[package]
    return None
