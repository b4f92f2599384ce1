"""normflows: `forward` is latent to data."""

from __future__ import annotations

from typing import Any

__all__ = ["maps_of"]


def maps_of(model: Any) -> tuple[Any, Any]:
    """Return T and T^{-1} of a flow."""
    return model.inverse, model.forward
