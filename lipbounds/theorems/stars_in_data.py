"""Stars of k modes in samples (S8): cells about centres, chosen on one part of the data and evaluated on another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2

from lipbounds.distances import clopper_pearson
from lipbounds.distances.statistics import Margin
from lipbounds.rounding import EPS
from lipbounds.theorems.k_modes import star_stretch
from lipbounds.theorems.separation import SMALLEST_MASS
from lipbounds.theorems.star_cost import Legs

__all__ = ["Star", "best_star", "by_star", "limits"]

Array = NDArray[np.float64]

RESTARTS = 5  # of the clustering
LEVELS = np.geomspace(5e-4, 0.1, 7)  # quantiles of the margins that are tried as legs
CLEARLY = 1.02  # times the bound by two sets: a star has to promise more


@dataclass(frozen=True, eq=False)
class Star:
    """Centres of cells, and the leg t: the modes are the points at least t inside their cell.

    Attributes:
        statistic: The margin.
        leg: t > 0.
    """

    statistic: Margin
    leg: float

    def counts(self, x: Array) -> tuple[list[int], list[int]]:
        """How many rows are in each mode, and in each cell."""
        cell = self.statistic.distances(x).argmin(1)
        inside = self.statistic(x) >= self.leg
        k = len(self.statistic.centres)
        return np.bincount(cell[inside], minlength=k).tolist(), np.bincount(cell, minlength=k).tolist()


def limits(star: Star, x: Array, alpha: float | None) -> tuple[Array, Array]:
    """Return lower bounds of the masses of all modes, and upper bounds of what their cells have beyond; they hold together."""
    modes, cells = star.counts(x)
    if alpha is None:
        low, high = np.array(modes) / len(x), np.array(cells) / len(x)
    else:
        share = alpha / (2 * len(modes))
        low, high = clopper_pearson(modes, len(x), alpha=share)[0], clopper_pearson(cells, len(x), alpha=share)[1]
    low = np.asarray(low) * (1 - 1e-15)
    return low, np.maximum(np.asarray(high) * (1 + 1e-15) - low, 0.0) * (1 + 1e-15)


def _centres(x: Array, k: int, rng: np.random.Generator) -> Array | None:
    """The best of a few clusterings; None where k is too large for these data."""
    best, size = None, math.inf
    for _ in range(RESTARTS):
        try:
            centres, labels = kmeans2(x, k, minit="++", seed=rng, missing="raise")
        except ClusterError:  # an empty cluster
            continue
        within = float(np.square(x - centres[labels]).sum())
        if within < size:
            best, size = centres, within
    return best


def best_star(x: Array, modes: int, epsilon: float, alpha: float | None, known: float, rng: np.random.Generator) -> Star | None:
    """Return the star of 3 to `modes` cells that promises most on these points, if it promises more than is known."""
    if not 0.0 < known < math.inf:
        return None
    best, price = None, epsilon / (CLEARLY * known)
    for k in range(3, min(modes, len(x) // 4, len(np.unique(x, axis=0))) + 1):
        centres = _centres(x, k, rng)
        if centres is None:
            continue
        margin = Margin(centres)
        for leg in np.quantile(margin(x), LEVELS).tolist():
            star = Star(margin, leg * (1 - 1e-9))
            masses, gaps = limits(star, x, alpha)
            if star.leg <= 0.0 or masses.min() < SMALLEST_MASS or masses.max() >= 1.0:
                continue
            # the price at a constant a little above what is known: the larger, the more is forced
            cost = Legs(masses, np.full(k, star.leg / (CLEARLY * known)), gaps).about()[0]
            if cost > price:
                best, price = star, cost
    return best


def by_star(star: Star, x: Array, epsilon: float, alpha: float | None, error: float) -> float:
    """Return what a star forces, from points that did not choose it, or from all points for alpha = None.

    Args:
        star: Centres and leg.
        x: Points, shape (n, d).
        epsilon: The accuracy, positive.
        alpha: Error probability; None for the law of the points themselves.
        error: How far a value of a statistic may be off.
    """
    masses, gaps = limits(star, x, alpha)
    leg = (star.leg - 2 * error) * (1 - 4 * EPS)
    if masses.min() < SMALLEST_MASS or masses.max() >= 1.0 or leg <= 0.0:
        return 0.0
    return star_stretch(masses.tolist(), np.full(len(masses), leg), gaps, epsilon)[0]
