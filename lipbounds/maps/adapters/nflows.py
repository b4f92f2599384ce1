"""nflows: a flow wraps its transform, whose results are pairs with log-determinants."""

from __future__ import annotations

from typing import Any

__all__ = ["maps_of"]


def maps_of(model: Any) -> tuple[Any, Any]:
    """Return T and T^{-1} of a flow or of a transform."""
    transform = getattr(model, "_transform", model)
    return lambda x: transform(x)[0], lambda z: transform.inverse(z)[0]
