"""relu and leaky relu: two linear pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from flint import arb
from torch import Tensor, nn

from lipbounds.arb import ends, monotone
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations.base import Activation, Array, Range

__all__ = ["LEAKY_RELU", "RELU", "LeakyRelu"]


class LeakyRelu(Activation):
    """max(x, 0) + a min(x, 0).

    Args:
        below: The slope a in [0, 1) below 0.
    """

    name = "leaky_relu"
    slope = 1.0
    kink = 1
    modules: ClassVar[tuple[type[nn.Module], ...]] = (nn.LeakyReLU,)

    def __init__(self, below: float = 0.01) -> None:
        if not 0.0 <= below < 1.0:
            raise InvalidInput("below", below, "a number in [0, 1)", "0.01 is torch's default")
        self.below = below

    def is_computed_by(self, module: nn.Module) -> bool:
        return isinstance(module, nn.LeakyReLU) and module.negative_slope == self.below

    def torch(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.below == 0.0 else torch.nn.functional.leaky_relu(x, self.below)

    def ball(self, x: arb) -> arb:
        return monotone(lambda value: value.max(arb(0)) + arb(self.below) * value.min(arb(0)), x)

    def slope_ball(self, x: arb) -> arb:
        low, high = ends(x)
        return arb(self.below if low < 0 else 1).union(arb(1 if high > 0 else self.below))

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        rising = (x > 0) * xp.ones_like(x)
        slope = rising if self.below == 0.0 else rising + self.below * (1.0 - rising)
        return [x * slope, slope, *(xp.zeros_like(x) for _ in range(degree - 1))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        below, above = (low > 0).astype(float), 1.0 - (high < 0)
        if self.below:
            below, above = (part + self.below * (1.0 - part) for part in (below, above))
        values = (
            np.maximum(end, 0.0) + self.below * np.minimum(end, 0.0) if self.below else np.maximum(end, 0.0)
            for end in (low, high)
        )
        known: list[Any] = [tuple(values), (below, above)]
        if degree > 1:
            kink = np.where((low > 0) | (high < 0), 0.0, math.inf)  # also where an end is NaN
            known += [(-kink, kink)] * (degree - 1)
        return known

    def largest(self, n: int) -> float:
        return 1.0 if n == 1 else math.inf


class Relu(LeakyRelu):
    """max(x, 0)."""

    name = "relu"
    modules = (nn.ReLU,)

    def __init__(self) -> None:
        super().__init__(0.0)

    def is_computed_by(self, module: nn.Module) -> bool:
        return isinstance(module, nn.ReLU)


RELU = Relu()
LEAKY_RELU = LeakyRelu()
