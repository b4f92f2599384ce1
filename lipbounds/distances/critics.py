r"""1-Lipschitz functions that tell two laws apart: by duality $W_1(\mu,\nu)\ge\int\phi\,d\mu-\int\phi\,d\nu$ for each of them.

Fitted on one part of the data and evaluated on another, they turn samples into honest lower bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lipbounds.distances.sliced import max_sliced_wasserstein
from lipbounds.distances.transport import optimal_transport
from lipbounds.measures import Discrete
from lipbounds.rounding import gamma

__all__ = ["Clipped", "Cone", "Critic", "Ridge", "fit_critics", "thinned"]

Array = NDArray[np.float64]
BLOCK_ENTRIES = 2**22  # of distances to anchors in memory at once


class Critic(Protocol):
    """A 1-Lipschitz function of points of shape (n, d)."""

    def __call__(self, points: Array) -> Array:
        """Return the values, shape (n,)."""
        ...

    def error(self, radius: float) -> float:
        """Return by how much a computed value may differ from that of a 1-Lipschitz function, for points within `radius` of 0."""
        ...


@dataclass(frozen=True, eq=False)
class Ridge:
    r"""$\phi(x)=u(\theta\cdot x)$ with u piecewise linear of slopes in [-1, 1] and constant outside its knots.

    Attributes:
        direction: Unit vector theta, shape (d,).
        knots: Increasing, shape (k,).
        values: u at the knots, shape (k,).
    """

    direction: Array
    knots: Array
    values: Array

    def __call__(self, points: Array) -> Array:
        """Return the values, shape (n,)."""
        return np.asarray(np.interp(points @ self.direction, self.knots, self.values))

    def error(self, radius: float) -> float:
        """That of the scalar product, of the norm of theta, of the running sums at the knots and of the interpolation."""
        norm = abs(float(np.linalg.norm(self.direction)) - 1.0) + gamma(len(self.direction) + 2)
        knots = gamma(4 * len(self.knots) + 8) * float(np.abs(self.values).max() + np.abs(self.knots).max())
        return (norm + gamma(len(self.direction) + 2)) * radius + knots


@dataclass(frozen=True, eq=False)
class Cone:
    r"""$\phi(x)=\min_j(|x-a_j|+h_j)$, the form of the dual potentials of (5) for the cost |x - y|; 1-Lipschitz for any a, h.

    Attributes:
        anchors: a of shape (k, d).
        heights: h of shape (k,).
    """

    anchors: Array
    heights: Array

    def __call__(self, points: Array) -> Array:
        """Return the values, shape (n,), in blocks of points."""
        rows = max(1, BLOCK_ENTRIES // len(self.anchors))
        parts = []
        for start in range(0, len(points), rows):
            sums = cdist(points[start : start + rows], self.anchors)
            sums += self.heights
            parts.append(sums.min(1))
        return np.concatenate(parts)

    def error(self, radius: float) -> float:
        """Distances and their sums with the heights; the exact minimum of these is 1-Lipschitz whatever the heights are."""
        anchors = float(np.linalg.norm(self.anchors, axis=1).max())
        return gamma(self.anchors.shape[1] / 2 + 5) * (radius + anchors + float(np.abs(self.heights).max()))


@dataclass(frozen=True, eq=False)
class Clipped:
    """A critic cut to [low, high]: still 1-Lipschitz, and bounded."""

    critic: Critic
    low: float
    high: float

    def __call__(self, points: Array) -> Array:
        """Return the values, shape (n,)."""
        return np.clip(self.critic(points), self.low, self.high)

    def error(self, radius: float) -> float:
        """That of the critic: cutting at exact numbers adds none."""
        return self.critic.error(radius)


def fit_critics(x: Discrete, y: Discrete, *, anchors: int, seed: int) -> list[Critic]:
    """Return candidates: a linear one and the best ridge along the max-sliced direction, and potentials of a thinned problem."""
    direction = max_sliced_wasserstein(x, y, seed=seed).direction
    rng = np.random.default_rng(seed)
    return [*_ridges(x, y, direction), _cone(thinned(x, anchors, rng), thinned(y, anchors, rng))]


def thinned(measure: Discrete, n: int, rng: np.random.Generator) -> Discrete:
    """At most n points: all of a small measure, else draws from it without return (equal weights) or with."""
    if len(measure.weights) <= n:
        return measure
    if (measure.weights == measure.weights[0]).all():
        return Discrete(measure.points[rng.choice(len(measure.weights), n, replace=False)])
    return Discrete(measure.points[rng.choice(len(measure.weights), n, p=measure.weights)])


def _ridges(x: Discrete, y: Discrete, direction: Array) -> list[Critic]:
    tx, ty = x.points @ direction, y.points @ direction
    knots, where = np.unique(np.concatenate((tx, ty)), return_inverse=True)
    if len(knots) == 1:
        return [Ridge(direction, knots, np.zeros(1))]
    gap = np.cumsum(np.bincount(where, np.concatenate((x.weights, -y.weights))))[:-1]  # F_x - F_y between knots
    sign = -np.sign(gap)  # the best slope: the integral of u' (F_y - F_x) is W_1 of the projections
    best = np.concatenate(([0.0], np.cumsum(sign * np.diff(knots))))
    rising = knots if tx @ x.weights >= ty @ y.weights else -knots
    return [Ridge(direction, knots, best), Ridge(direction, knots, rising)]


def _cone(x: Discrete, y: Discrete) -> Cone:
    solution = optimal_transport(x, y, cdist)
    _, g = solution.potentials
    return Cone(y.points, -g)
