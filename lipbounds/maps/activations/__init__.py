"""Activations as objects that know all that is asked of them, found by name or by the torch module that computes them.

Each is one file of this package, which is imported when the package is; a new one needs no other change.
"""

from __future__ import annotations

import importlib
import pkgutil

from torch import nn

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations.base import Activation

__all__ = ["Activation", "activation_names", "activation_of_module", "get_activation"]

_KNOWN: dict[str, Activation] = {}

for _module in pkgutil.iter_modules(__path__):
    for _value in vars(importlib.import_module(f"{__name__}.{_module.name}")).values():
        if isinstance(_value, Activation) and _value.name:
            _KNOWN[_value.name] = _value


def activation_names() -> list[str]:
    """Return the names of all activations."""
    return sorted(_KNOWN)


def get_activation(name: str) -> Activation:
    """Return the activation of this name.

    Raises:
        InvalidInput: For an unknown name.

    Example:
        >>> get_activation("tanh").slope
        1.0
    """
    if name not in _KNOWN:
        raise InvalidInput(
            "activation", repr(name), f"one of {activation_names()}", "add a file with it to lipbounds/maps/activations"
        )
    return _KNOWN[name]


def activation_of_module(module: nn.Module) -> Activation:
    """Return the activation that a torch module computes.

    Raises:
        InvalidInput: For a module that is none of them, or one with other parameters.

    Example:
        >>> activation_of_module(nn.SiLU()).name
        'silu'
    """
    for known in _KNOWN.values():
        if known.is_computed_by(module):
            return known
    raise InvalidInput("module", str(module), f"one of {activation_names()}", "use found and black-box bounds")
