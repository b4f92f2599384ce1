"""The modes of data: clusters with valleys of the density between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.spatial.distance import cdist
from scipy.stats import chi

from lipbounds.diagnosis.valleys import proven_groups

__all__ = ["MOST_COMPONENTS", "Modes", "clustered", "find_modes", "modes_of"]

Array = NDArray[np.float64]

MOST_COMPONENTS = 6  # that are tried whatever the data are
ALPHA = 0.05  # probability that a law without valleys is split
FAR_MASS = 0.999  # of a normal law of a mode's width: a point outside is far from the mode


@dataclass(frozen=True, eq=False)
class Modes:
    """Clusters of the data with valleys between them.

    Attributes:
        means: Shape (k, d).
        widths: Root mean square deviation of a coordinate within each, shape (k,).
        shares: Of the data, shape (k,).
    """

    means: Array
    widths: Array
    shares: Array

    def nearest(self, points: Array) -> NDArray[np.intp]:
        """The mode of each point, relative to the widths."""
        return np.asarray(np.argmin(self._distances(points), axis=1))

    def outside(self, points: Array) -> NDArray[np.bool_]:
        """Whether a point is outside the ball of mass 0.999 of the normal law of its width about every mode."""
        return np.asarray(self._distances(points).min(axis=1) > float(chi.ppf(FAR_MASS, points.shape[1])))

    def _distances(self, points: Array) -> Array:
        return np.asarray(cdist(points, self.means) / np.maximum(self.widths, 1e-12))


def find_modes(x: Array, rng: np.random.Generator) -> Modes:
    """Groups of the data with proven valleys of the density between them: at least so many modes, with confidence 95%."""
    return modes_of(x, proven_groups(x, rng, ALPHA))


def clustered(x: Array, k: int, rng: np.random.Generator) -> NDArray[np.intp] | None:
    """k-means, the best of five starts; None where a cluster has almost nothing."""
    best: tuple[float, NDArray[np.intp]] | None = None
    for _ in range(5):
        try:
            centres, labels = kmeans2(x, k, minit="++", seed=rng, missing="raise")
        except ClusterError:
            continue
        spread = float(((x - centres[labels]) ** 2).sum())
        if np.bincount(labels, minlength=k).min() >= 0.01 * len(x) and (best is None or spread < best[0]):
            best = (spread, np.asarray(labels))
    return None if best is None else best[1]


def modes_of(x: Array, labels: NDArray[np.intp]) -> Modes:
    """Mean, width and share of every cluster, from the cluster of each point."""
    groups = [x[labels == i] for i in range(int(labels.max()) + 1)]
    means = np.stack([group.mean(0) for group in groups])
    widths = np.array([math.sqrt(float(((group - mean) ** 2).mean())) for group, mean in zip(groups, means, strict=True)])
    return Modes(means, widths, np.array([len(group) / len(x) for group in groups]))
