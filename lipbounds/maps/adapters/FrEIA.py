"""FrEIA: `forward` is data to latent, and the same with `rev=True` is its inverse."""

from __future__ import annotations

from typing import Any

__all__ = ["maps_of"]


def maps_of(model: Any) -> tuple[Any, Any]:
    """Return T and T^{-1} of a network."""
    return lambda x: model(x, jac=False)[0], lambda z: model(z, rev=True, jac=False)[0]
