"""Differentiable distances between samples, one of which a loss of the paper takes for its D."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipbounds.distances import InverseMultiquadric, Kernel, discrepancy, optimal_transport
from lipbounds.errors import InvalidInput

__all__ = ["Discrepancy", "Metric", "SlicedWasserstein", "Wasserstein1"]

Metric = Callable[[Tensor, Tensor], Tensor]
"""From samples of shapes (n, d) and (m, d) to a number, differentiable in both."""


@dataclass(frozen=True)
class Discrepancy:
    r"""$\mathcal{D}_K$, the root as in equation (12), or $\mathcal{D}_K^2$ as in the authors' program.

    The root has a slope of order one where the laws nearly agree, the square one that vanishes there.
    """

    kernel: Kernel = field(default_factory=InverseMultiquadric)
    squared: bool = False

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return discrepancy(x, y, self.kernel, squared=self.squared)


@dataclass(frozen=True)
class SlicedWasserstein:
    r"""$\frac1N\sum_iW_1(\theta_i\cdot x,\theta_i\cdot y)$ over fixed random directions; samples of one size.

    A lower bound of $W_1$ of the samples for any directions. With the same directions in every step what they miss is never
    seen; a loss may draw another `seed` a step.
    """

    directions: int = 64
    seed: int = 0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        _check(x, y)
        if len(x) != len(y):
            raise InvalidInput("x, y", (len(x), len(y)), "one number of points", "draw samples of one size")
        generator = torch.Generator().manual_seed(self.seed)
        theta = torch.randn(x.shape[1], self.directions, generator=generator).to(x)
        theta = theta / theta.norm(dim=0)
        gaps: Tensor = (x @ theta).sort(dim=0).values - (y @ theta).sort(dim=0).values
        return gaps.abs().mean()


@dataclass(frozen=True)
class Wasserstein1:
    r"""$W_1$ of the samples with the exact plan of POT's network simplex.

    The plan is a constant in the derivative, which is that of $W_1$ where the best plan is unique (envelope theorem). On the CPU
    whatever the device; meant for up to a few thousand points.
    """

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        _check(x, y)
        with torch.no_grad():
            cost = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
        plan = optimal_transport(x.detach().cpu().numpy(), y.detach().cpu().numpy(), cost).plan.tocoo()
        rows, columns = (torch.as_tensor(index, dtype=torch.int64, device=x.device) for index in (plan.row, plan.col))
        masses = torch.as_tensor(plan.data, dtype=x.dtype, device=x.device)
        squares = (x[rows] - y[columns]).square().sum(-1)
        # the root has no finite slope at 0: points that agree pull nowhere
        apart = squares > 0
        total: Tensor = (masses * torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)).sum()
        return total


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        got = f"shapes {tuple(x.shape)} and {tuple(y.shape)}"
        raise InvalidInput("x, y", got, "shapes (n, d) and (m, d), n and m >= 1", "pass two samples of one space")
    if not math.isfinite(float((x.detach().sum() + y.detach().sum()).item())):
        raise InvalidInput("x, y", "NaN or infinite values", "finite numbers", "the network may have diverged")
