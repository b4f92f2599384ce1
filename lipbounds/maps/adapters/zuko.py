"""zuko: a lazy flow gives a distribution with a transform from data to the base."""

from __future__ import annotations

from typing import Any

__all__ = ["maps_of"]


def maps_of(model: Any) -> tuple[Any, Any]:
    """Return T and T^{-1} of a lazy flow without context."""
    transform = model().transform
    return transform, transform.inv
