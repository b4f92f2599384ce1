r"""gelu, $x\,\Phi(x)$ with the normal distribution function, as torch computes it without approximation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flint import arb
from scipy.special import ndtr
from torch import Tensor, nn

from lipbounds.arb import monotone, normal_cdf, normal_density
from lipbounds.maps.activations.base import Array, Range
from lipbounds.maps.activations.dip import Dip
from lipbounds.maps.activations.ranges import spread

__all__ = ["GELU"]

# largest Taylor coefficients from order 1 on, rounded up: of f^(n) = phi (-1)^(n-1) (x He_(n-1) - n He_(n-2)), n >= 2, over n!
LARGEST = (1.128905, 0.398943, 0.129795, 0.066491, 0.023688, 0.009974)


class Gelu(Dip):
    r"""$x\,\Phi(x)$."""

    name = "gelu"
    slope = 1.128905
    least = -0.1699712074799037
    where = (-0.7518, -0.7517)
    modules = (nn.GELU,)

    def is_computed_by(self, module: nn.Module) -> bool:
        return isinstance(module, nn.GELU) and module.approximate == "none"

    def torch(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x)

    def value(self, x: arb) -> arb:
        return x * normal_cdf(x)

    def derivative(self, x: arb) -> arb:
        return monotone(normal_cdf, x) + x * normal_density(x)

    def coefficients(self, x: Any, degree: int) -> list[Any]:
        xp = torch if isinstance(x, Tensor) else np
        phi = xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        cdf = torch.special.ndtr(x) if xp is torch else ndtr(x)
        # phi^(n) / n! by phi^(n+1) = -x phi^(n) - n phi^(n-1)
        parts = [phi, -x * phi]
        for n in range(1, degree):
            parts.append((-x * parts[n] - parts[n - 1]) / (n + 1))
        distribution = [cdf, *(part / n for n, part in enumerate(parts[:degree], start=1))]
        return [x * distribution[0], *(x * distribution[n] + distribution[n - 1] for n in range(1, degree + 1))]

    def ranges(self, low: Array, high: Array, degree: int) -> Sequence[Range]:
        with np.errstate(invalid="ignore", over="ignore"):  # at infinite middles nothing is known
            return spread(self.coefficients(0.5 * low + 0.5 * high, degree), low, high, LARGEST)

    def largest(self, n: int) -> float:
        return LARGEST[n - 1]


GELU = Gelu()
