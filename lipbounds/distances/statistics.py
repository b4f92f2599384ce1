"""1-Lipschitz statistics that may separate clusters of a sample: what bounds of Lipschitz constants look through.

They are fitted to one part of the data; a bound evaluates them on another.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import ClusterError, kmeans2

__all__ = ["DistanceDifference", "Margin", "Projection", "Statistic", "candidates", "turned"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Projection:
    """The 1-Lipschitz statistic x -> u . x for a unit vector u."""

    direction: Array

    def __call__(self, x: Array) -> Array:
        """Evaluate at rows."""
        # a few ulps shorter than a unit vector: rounding must not make it steeper than 1
        return np.asarray(x @ (self.direction / (np.linalg.norm(self.direction) * (1 + 1e-14))))

    def __str__(self) -> str:
        shown = [f"{v:.3g}" for v in self.direction[:6] / np.linalg.norm(self.direction)]
        return f"projection on ({', '.join(shown)}{', ...' if len(self.direction) > 6 else ''})"


@dataclass(frozen=True, eq=False)
class DistanceDifference:
    """The 1-Lipschitz statistic x -> (dist(x, A) - dist(x, B)) / 2 for finite sets A and B, or dist(x, A) if B is empty."""

    near: Array
    far: Array

    def __call__(self, x: Array) -> Array:
        """Evaluate at rows."""
        first = np.min([np.linalg.norm(x - centre, axis=1) for centre in self.near], axis=0)
        if not len(self.far):
            return np.asarray(first)
        return np.asarray(0.5 * (first - np.min([np.linalg.norm(x - centre, axis=1) for centre in self.far], axis=0)))

    def __str__(self) -> str:
        return f"distance to {len(self.near)} centres" + (f" against {len(self.far)}" if len(self.far) else "")


@dataclass(frozen=True, eq=False)
class Margin:
    """Half the difference of the distances to the two nearest centres: how far a point is inside its cell; 1-Lipschitz."""

    centres: Array

    def __call__(self, x: Array) -> Array:
        """Evaluate at rows."""
        distances = np.sort(self.distances(x), axis=1)
        return np.asarray(0.5 * (distances[:, 1] - distances[:, 0]))

    def distances(self, x: Array) -> Array:
        """Distances of rows to the centres, shape (n, k)."""
        return np.stack([np.linalg.norm(x - centre, axis=1) for centre in self.centres], 1)

    def __str__(self) -> str:
        return f"star of {len(self.centres)} modes"


Statistic = Projection | DistanceDifference | Margin


def candidates(x: Array, clusters: int, rng: np.random.Generator) -> list[Statistic]:
    """Return projections on principal axes and between clusters, distances to clusters and between them.

    Args:
        x: Sample, shape (n, d).
        clusters: Largest number of clusters tried.
        rng: Source of the clusterings.

    Example:
        >>> x = np.repeat([[0.0], [1.0]], 10, axis=0)
        >>> len(candidates(x, 2, np.random.default_rng(0))) > 3
        True
    """
    centred = x - x.mean(0)
    _, _, axes = np.linalg.svd(centred if len(x) <= 5000 else centred[:5000], full_matrices=False)
    found: list[Statistic] = [Projection(axis) for axis in axes[:6]]
    for k in range(2, min(clusters, len(x) // 4, len(np.unique(x, axis=0))) + 1):
        try:
            centres, labels = kmeans2(x, k, minit="++", seed=rng, missing="raise")
        except ClusterError:  # an empty cluster: k is too large for these data
            continue
        within = sum(
            ((x[labels == j] - centres[j]).T @ (x[labels == j] - centres[j]) for j in range(k)), np.zeros((x.shape[1],) * 2)
        )
        within += 1e-6 * (float(np.trace(within)) or 1.0) * np.eye(x.shape[1])  # clusters may be flat, or points
        nowhere = np.empty((0, x.shape[1]))
        for i, j in itertools.combinations(range(k), 2):
            step = centres[i] - centres[j]
            found += [Projection(step), Projection(np.linalg.solve(within, step)), DistanceDifference(centres[[i]], centres[[j]])]
        for size in range(1, k // 2 + 1):
            for group in itertools.combinations(range(k), size):
                rest = [j for j in range(k) if j not in group]
                found.append(DistanceDifference(centres[list(group)], centres[rest]))
                found.append(DistanceDifference(centres[list(group)], nowhere))
    return [one for one in found if not isinstance(one, Projection) or np.linalg.norm(one.direction) > 0]


def turned(statistic: Projection, size: float, rng: np.random.Generator) -> Projection:
    """Return the projection turned by a random angle of about `size`."""
    unit = statistic.direction / np.linalg.norm(statistic.direction)
    return Projection(unit + size * rng.standard_normal(len(unit)) / np.sqrt(len(unit)))
