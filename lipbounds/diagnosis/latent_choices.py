"""Which Gaussian-mixture latent the data ask for, and what each would cost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lipbounds.diagnosis.modes import MOST_COMPONENTS, Modes, clustered, modes_of
from lipbounds.distances.statistics import candidates
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import NotConverged
from lipbounds.measures import Discrete
from lipbounds.theorems.frontier import forced_by_frontier

__all__ = ["LatentChoice", "latent_choices", "recommended_choice"]

Array = NDArray[np.float64]

CLUSTERED = 1500  # points from which mixture latents are judged
FEWEST_OF_CLUSTER = 50
COST_CELLS = 100
WITHIN = 2.0  # a cost that counts as good as the best
SEPARATION = 8.0  # latent deviations between the components proposed


@dataclass(frozen=True)
class LatentChoice:
    """A mixture latent of k components N(m_i, I), one for each cluster of the data, and what it would cost.

    Attributes:
        components: k.
        cost: Largest constant that a single cluster forces at the accuracy, by the frontier of S4 with the cluster as target;
            ESTIMATE.
        means: Proposed m_i in latent space, shape (k, d), at least 8 apart.
        widths: Deviations of the clusters in data space: what their generator has to scale by.
        shares: Their probabilities.
    """

    components: int
    cost: float
    means: tuple[tuple[float, ...], ...]
    widths: tuple[float, ...]
    shares: tuple[float, ...]


def latent_choices(x: Array, epsilon: float, seed: int, modes: Modes) -> tuple[LatentChoice, ...]:
    """Mixture latents of 1 to 6 components and of one for each mode, as far as every cluster of the data has points enough.

    Args:
        x: Data, shape (n, d).
        epsilon: Accuracy W_1 at which they are compared.
        seed: Of the clustering.
        modes: Of the data.
    """
    rng = np.random.default_rng([seed, 20252])
    some = x if len(x) <= CLUSTERED else x[rng.permutation(len(x))[:CLUSTERED]]
    choices = []
    found = len(modes.means)
    for k in sorted({*range(1, MOST_COMPONENTS + 1), found}):
        labels = modes.nearest(some) if k == found else clustered(some, k, rng)
        if labels is None or np.bincount(labels, minlength=k).min() < FEWEST_OF_CLUSTER:
            continue
        clusters = modes_of(some, labels)
        costs = [_cost(some[labels == i], epsilon, rng) for i in range(k)]
        choices.append(
            LatentChoice(
                k,
                max(costs),
                tuple(tuple(row) for row in _spread(clusters.means, float(np.median(clusters.widths))).tolist()),
                tuple(clusters.widths.tolist()),
                tuple(clusters.shares.tolist()),
            )
        )
    return tuple(choices)


def _cost(cluster: Array, epsilon: float, rng: np.random.Generator) -> float:
    """The largest constant that a projection of the cluster forces: the frontier of S4, on principal axes and between halves."""
    best = 0.0
    accuracy = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "asked for")
    for statistic in candidates(cluster, 2, rng):
        with suppress(NotConverged):  # others remain
            best = max(best, forced_by_frontier(Discrete(statistic(cluster)[:, None]), accuracy, cells=COST_CELLS).lower)
    return best


def _spread(means: Array, width: float) -> Array:
    """Latent means in the arrangement of the clusters, in units of their width, no two nearer than 8."""
    placed = (means - means.mean(0)) / max(width, 1e-12)
    apart = cdist(placed, placed)[np.triu_indices(len(placed), 1)]
    return np.asarray(placed * max(1.0, SEPARATION / float(apart.min()))) if len(apart) and apart.min() > 0 else placed


def recommended_choice(choices: Sequence[LatentChoice]) -> LatentChoice:
    """The smallest k whose cost is within a factor 2 of the best."""
    best = min(choice.cost for choice in choices)
    return next(choice for choice in choices if choice.cost <= WITHIN * best)
