"""Flows of other libraries as pairs of maps, a file for each library; none of them is imported here.

A file is named like the package that its models' classes come from, and gives `maps_of(model)`: T and T^{-1}.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["adapter_of"]

Map = Callable[[Tensor], Any]

_KNOWN: dict[str, Callable[[Any], tuple[Map, Map]]] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").maps_of for module in pkgutil.iter_modules(__path__)
}


def adapter_of(model: object) -> tuple[str, Callable[[Any], tuple[Map, Map]]] | None:
    """Return the library that a model's class, or one of its bases, comes from, and the function that returns its maps."""
    for base in type(model).__mro__:
        package = base.__module__.split(".")[0]
        if package in _KNOWN:
            return package, _KNOWN[package]
    return None
