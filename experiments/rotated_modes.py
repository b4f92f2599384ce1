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

from experiments.sandwich import LATENT_MASS, certificates, data_box
from experiments.sigma_sweep import two_mode_batches
from inn import Invertible, Latent
from lipbounds.distances import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps import Layer
from lipbounds.measures import Discrete
from lipbounds.search import find_lipschitz
from lipbounds.theorems import forced_by_frontier, two_modes

__all__ = ["measured", "turned_batches"]

TURN = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5


def turned_batches(sigmas: Sequence[float]) -> Callable[[int, torch.Generator], Tensor]:
    """A source of training batches, shape (E, n, 2), network i from the law with width sigmas[i]."""
    straight = two_mode_batches(sigmas)
    return lambda n, generator: straight(n, generator) @ TURN


def measured(
    flow: Invertible, latent: Latent, sigma: float, *, points: int, seed: int, certificate: float = 0.0
) -> dict[str, Any]:
    r"""Constants of $T^{-1}$ on the balls of the components and of T on the data, and the accuracy along the diagonal.

    The accuracy is that of $T^{-1}\circ proj_D$, D the hull of the balls. The frontier (S4) at it is NaN for a mixture, which it
    does not hold for; where it holds, the constant is at least as large, up to the error of the estimate of the accuracy.
    `certificate`: seconds for an upper bound on every ball; NaN for 0, and for a network whose layers are not known.
    """
    double = flow.double().requires_grad_(False)
    domain, balls = latent.hull(LATENT_MASS), latent.balls(LATENT_MASS)
    quasi = domain.project(torch.as_tensor(latent.measure.sample_quasi(points, seed)))
    with torch.no_grad():
        generated = double.inverse(quasi) @ TURN.double().T
    line = two_modes(sigma)
    epsilon = wasserstein_1_line(Discrete(generated[:, :1].numpy()), line).upper
    witnesses = [find_lipschitz(double.inverse, ball, seed=seed) for ball in balls]
    found, certified = max(one.lower for one in witnesses), math.nan
    if certificate > 0 and (layers := _layers(double)):
        bounds = certificates(layers, balls, witnesses, seed=seed, seconds=certificate)
        # branch and bound may have come upon a steeper place
        found, certified = max(found, *(bound.lower for bound in bounds)), max(bound.upper for bound in bounds)
    frontier = math.nan
    if latent.is_standard_normal:
        accuracy = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "quasi-random points of f o proj_D")
        frontier = forced_by_frontier(line, accuracy).lower
    return {
        "epsilon": epsilon,
        "lip_found": found,
        "lip_certified": certified,
        "lip_forced_frontier": frontier,
        "lip_forward_found": find_lipschitz(lambda x: double.forward(x @ TURN.double()), data_box(sigma), seed=seed).lower,
        "between": float((generated[:, 0].abs() < 0.5).double().mean()),
    }


def _layers(flow: Invertible) -> tuple[Layer, ...]:
    """The layers of T, none where they are not known, as those of an ODE."""
    try:
        return flow.structure()
    except InvalidInput:
        return ()
