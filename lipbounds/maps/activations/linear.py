"""The identity: a layer without an activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flint import arb
from torch import Tensor, nn

from lipbounds.maps.activations.base import Activation, Array, Range

__all__ = ["LINEAR"]


class Linear(Activation):
    """x."""

    name = "linear"
    slope = 1.0
    modules = (nn.Identity,)

    def torch(self, x: Tensor) -> Tensor:
        return x

    def ball(self, x: arb) -> arb:
        return x

    def slope_ball(self, x: arb) -> arb:
        return arb(1)

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        return [x, xp.ones_like(x), *(xp.zeros_like(x) for _ in range(degree - 1))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        one, zero = np.ones_like(low), np.zeros_like(low)
        return [(low, high), (one, one), *((zero, zero) for _ in range(degree - 1))]

    def largest(self, n: int) -> float:
        return 1.0 if n == 1 else 0.0


LINEAR = Linear()
