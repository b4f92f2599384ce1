"""Which activations are linear on both sides of 0."""

from __future__ import annotations

import numpy as np

from lipbounds.maps.activations.base import Activation, Array
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.activations.relu import LeakyRelu

__all__ = ["slopes_below"]


def slopes_below(activation: Activation, units: int) -> Array | None:
    """Return the slope of every unit below 0, where it is 1 above, shape (units,); None for other activations.

    Example:
        >>> slopes_below(OnLastUnits(LeakyRelu(0.25), 1), 3).tolist()
        [1.0, 0.25, 0.25]
    """
    if activation is LINEAR:
        return np.ones(units)
    if isinstance(activation, LeakyRelu):
        return np.full(units, activation.below)
    if isinstance(activation, OnLastUnits):
        first = slopes_below(activation.others, activation.first)
        last = slopes_below(activation.inner, units - activation.first)
        return None if first is None or last is None else np.concatenate((first, last))
    return None
