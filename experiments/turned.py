r"""Two modes on the diagonal of the plane, and how a network that was trained on them is measured.

The data of the sigma sweep turned by 45 degrees: with modes along an axis the training of some networks starts at a saddle and
stays there, which would be compared instead of what is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.sandwich import CERTIFIED_RATIO, LATENT_MASS, data_box
from experiments.sigma_sweep import two_mode_batches
from inn import Invertible, Latent
from lipbounds.distances import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.lipschitz import certify_lipschitz, find_lipschitz
from lipbounds.measures import Discrete
from lipbounds.theorems import forced_by_frontier, two_modes

__all__ = ["bounded", "measured", "turned_batches"]

TURN = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5


def turned_batches(sigmas: Sequence[float]) -> Callable[[int, torch.Generator], Tensor]:
    """A source of training batches, shape (E, n, 2), network i from the law with width sigmas[i]."""
    straight = two_mode_batches(sigmas)
    return lambda n, generator: straight(n, generator) @ TURN


def measured(flow: Invertible, latent: Latent, sigma: float, *, points: int, seed: int) -> dict[str, Any]:
    r"""The constant found on D and the accuracy of $T^{-1}\circ proj_D$ along the diagonal.

    D is the hull of the components' balls. The frontier (S4) at that accuracy is NaN for a mixture, which it does not hold for;
    where it holds, the constant on D is at least as large, up to the error of the estimate of the accuracy.
    """
    double = flow.double().requires_grad_(False)
    domain = latent.hull(LATENT_MASS)
    quasi = domain.project(torch.as_tensor(latent.measure.sample_quasi(points, seed)))
    with torch.no_grad():
        generated = double.inverse(quasi) @ TURN.double().T
    line = two_modes(sigma)
    epsilon = wasserstein_1_line(Discrete(generated[:, :1].numpy()), line).upper
    found = max(find_lipschitz(double.inverse, ball, seed=seed).value for ball in latent.balls(LATENT_MASS))
    frontier = float("nan")
    if latent.is_standard_normal:
        accuracy = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "quasi-random points of f o proj_D")
        frontier = forced_by_frontier(line, accuracy).lower
    return {
        "epsilon": epsilon,
        "lip_found": found,
        "lip_forced_frontier": frontier,
        "between": float((generated[:, 0].abs() < 0.5).double().mean()),
    }


def bounded(flow: Invertible, latent: Latent, sigma: float, *, seconds: float, seed: int) -> dict[str, float]:
    """Lip(T) found on the box of the data, and an upper bound of Lip(T^{-1}) on the components' balls.

    The bound is NaN for 0 seconds, and for a network whose layers are not known, as that of an ODE.
    """
    double = flow.double().requires_grad_(False)
    forward = find_lipschitz(lambda x: double.forward(x @ TURN.double()), data_box(sigma), seed=seed).value
    return {"lip_certified": _certified(double, latent, seconds, seed) if seconds > 0 else math.nan, "lip_forward_found": forward}


def _certified(flow: Invertible, latent: Latent, seconds: float, seed: int) -> float:
    try:
        layers = flow.structure()
    except InvalidInput:
        return math.nan
    bounds = [
        certify_lipschitz(layers, ball, seed=seed, ratio=CERTIFIED_RATIO, seconds=seconds, threads=1)
        for ball in latent.balls(LATENT_MASS)
    ]
    return max(bound.upper for bound in bounds)
