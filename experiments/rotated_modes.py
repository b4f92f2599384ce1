r"""Two modes on the diagonal of the plane, and how a network that was trained on them is measured.

The data of the sigma sweep rotated by 45 degrees: with modes along an axis the training of some networks starts at a saddle and
stays there, which would be compared instead of what is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.bracket import LATENT_MASS, data_box
from experiments.sigma_sweep import two_mode_batches
from inn import Invertible, Latent
from lipbounds.diagnosis import Search, measure
from lipbounds.distances import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete
from lipbounds.search import find_lipschitz
from lipbounds.theorems import forced_by_frontier, two_modes

__all__ = ["measured", "rotated_batches"]

ROTATION = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5


def rotated_batches(sigmas: Sequence[float]) -> Callable[[int, torch.Generator], Tensor]:
    """A source of training batches, shape (E, n, 2), network i from the law with width sigmas[i]."""
    straight = two_mode_batches(sigmas)
    return lambda n, generator: straight(n, generator) @ ROTATION


def measured(
    flow: Invertible, latent: Latent, sigma: float, *, points: int, seed: int, certificate: float = 0.0
) -> dict[str, Any]:
    r"""Constants of $T^{-1}$ on the balls of the components and of T on the data, and the accuracy along the diagonal.

    The accuracy is that of $T^{-1}\circ proj_D$, D the hull of the balls. The frontier (S4) at it is NaN for a mixture, which it
    does not hold for; where it holds, the constant is at least as large, up to the error of the estimate of the accuracy.
    `certificate`: seconds for an upper bound on every ball; NaN for 0, and for a network whose layers are not known.
    """
    double = flow.double().requires_grad_(False)
    quasi = latent.hull(LATENT_MASS).project(torch.as_tensor(latent.measure.sample_quasi(points, seed)))
    with torch.no_grad():
        generated = double.inverse(quasi) @ ROTATION.double().T
    line = two_modes(sigma)
    epsilon = wasserstein_1_line(Discrete(generated[:, :1].numpy()), line).upper
    found = measure(double, latent.balls(LATENT_MASS), search=Search(seed), seconds=certificate)
    frontier = math.nan
    if latent.is_standard_normal:
        accuracy = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "quasi-random points of f o proj_D")
        frontier = forced_by_frontier(line, accuracy).lower
    return {
        "epsilon": epsilon,
        "lip_found": found.found.lower,
        "lip_certified": found.certified,
        "lip_forced_frontier": frontier,
        "lip_forward_found": find_lipschitz(lambda x: double.forward(x @ ROTATION.double()), data_box(sigma), seed=seed).lower,
        "between": float((generated[:, 0].abs() < 0.5).double().mean()),
    }
