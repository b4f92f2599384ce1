r"""Sliced distances: projections on lines contract every $W_p$, so each of them is a lower bound of it.

On the line $W_p$ costs a sort. The average over directions is the sliced distance; the largest, found by gradient search over
the sphere, the max-sliced one, which is the sharper bound (exact for a translation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.distances.line import mean_power, monotone_cost, monotone_plan
from lipbounds.distances.transport import extent
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.rounding import EPS, gamma

__all__ = ["MaxSliced", "max_sliced_wasserstein", "sliced_wasserstein"]

Array = NDArray[np.float64]

SEARCH_POINTS = 4000  # the search runs on so many points of each sample, the last steps and the value on all
STEPS = 40
LAST_STEPS = 5
RATES = (np.inf, 1.0, 0.3, 0.1, 0.03)  # of a step along the unit tangent gradient; infinity jumps to the gradient itself


@dataclass(frozen=True, eq=False)
class MaxSliced(Enclosure):
    """W_p of the projections on the best direction found, a lower bound of W_p in space: [lower, infinity).

    Attributes:
        direction: Unit vector of shape (d,).
    """

    direction: Array = field(kw_only=True)


def sliced_wasserstein(
    x: Points | Discrete,
    y: Points | Discrete,
    p: float = 1.0,
    *,
    directions: int = 200,
    seed: int = 0,
    x_weights: Points | None = None,
    y_weights: Points | None = None,
) -> Enclosure:
    r"""Return the sliced distance $(\frac1N\sum_iW_p(\theta_i\cdot x,\theta_i\cdot y)^p)^{1/p}$ over random directions.

    Args:
        x: Points of shape (n, d), array or tensor, or a `Discrete`.
        y: Points of shape (m, d) or a `Discrete`.
        p: Exponent in [1, inf).
        directions: Number N of directions, uniform on the sphere.
        seed: Seed of the directions.
        x_weights: Masses of the points, shape (n,); equal when None.
        y_weights: Masses of the points, shape (m,).

    Returns:
        [value, infinity), EXACT as a lower bound of W_p for any directions, an average of numbers below W_p.

    Raises:
        InvalidInput: For bad points, weights, exponent or number.

    Source:
        Rabin, Peyré, Delon and Bernot, Wasserstein barycenter and its application to texture mixing (2011), reference [29].

    Example:
        >>> round(sliced_wasserstein([[0.0, 0.0]], [[3.0, 4.0]], seed=0, directions=10000).lower / 5, 1)  # 2 / pi
        0.6
    """
    mu, nu, scale = _pair(x, y, x_weights, y_weights, p)
    if directions < 1:
        raise InvalidInput("directions", directions, "an integer >= 1", "100 or more are usual")
    unit = _sphere(np.random.default_rng(seed), directions, mu.dim)
    values = np.array([_proven(mu, nu, theta, p) for theta in unit])
    value = mean_power(values, 1.0 / directions, p, gap_error=0.0)[0]
    return Enclosure(scale * value, math.inf, Guarantee.EXACT, f"average over {directions} directions")


def max_sliced_wasserstein(
    x: Points | Discrete,
    y: Points | Discrete,
    p: float = 1.0,
    *,
    starts: int = 50,
    seed: int = 0,
    x_weights: Points | None = None,
    y_weights: Points | None = None,
) -> MaxSliced:
    r"""Search the direction on which the projections are farthest apart: $\max_\theta W_p(\theta\cdot x,\theta\cdot y)$.

    Gradient ascent on the sphere. For the optimal plan of the projections the gradient of $W_p^p$ is
    $\sum\pi_{ij}\,p\,|t|^{p-1}\mathrm{sign}(t)\,(x_i-y_j)$ with $t=\theta\cdot(x_i-y_j)$.

    Args:
        x: Points of shape (n, d), array or tensor, or a `Discrete`.
        y: Points of shape (m, d) or a `Discrete`.
        p: Exponent in [1, inf).
        starts: Random directions tried first, beside the axes, the principal ones and the difference of the means.
        seed: Seed of the directions.
        x_weights: Masses of the points, shape (n,); equal when None.
        y_weights: Masses of the points, shape (m,).

    Returns:
        [value, infinity), EXACT as a lower bound of W_p, and the direction; not proved to be the largest.

    Raises:
        InvalidInput: For bad points, weights, exponent or number.

    Source:
        Deshpande et al., Max-sliced Wasserstein distance and its use for GANs (2019).

    Example:
        >>> round(max_sliced_wasserstein([[0.0, 0.0]], [[3.0, 4.0]], seed=0).lower, 12)
        5.0
    """
    mu, nu, scale = _pair(x, y, x_weights, y_weights, p)
    if starts < 0:
        raise InvalidInput("starts", starts, "an integer >= 0", "50 are usual")
    rng = np.random.default_rng(seed)
    small = _thinned(mu, rng), _thinned(nu, rng)
    shift = mu.weights @ mu.points - nu.weights @ nu.points
    spread = np.linalg.svd(np.concatenate([part.points - part.points.mean(0) for part in small]), full_matrices=False)[2]
    candidates = np.concatenate((shift[None], np.eye(mu.dim), spread, _sphere(rng, starts, mu.dim)))
    norms = np.linalg.norm(candidates, axis=1)
    candidates = candidates[norms > 0] / norms[norms > 0, None]
    best = sorted(candidates, key=lambda theta: _along(*small, theta, p), reverse=True)[:3]
    climbed = [_climb(*small, theta, p, STEPS) for theta in best]
    theta = max(climbed, key=lambda theta: _along(mu, nu, theta, p))
    theta = _climb(mu, nu, theta, p, LAST_STEPS)
    value = _proven(mu, nu, theta, p)
    return MaxSliced(scale * value, math.inf, Guarantee.EXACT, "best direction found", direction=theta)


def _pair(
    x: Points | Discrete, y: Points | Discrete, a: Points | None, b: Points | None, p: float
) -> tuple[Discrete, Discrete, float]:
    """Both measures centred and divided by a power of two near their extent, and that power.

    Far from 0 the projections would have the rounding of the offset; centring rounds the points relative to what is left.
    """
    mu, nu = as_discrete("x", x, a), as_discrete("y", y, b)
    if mu.dim != nu.dim:
        raise InvalidInput("x, y", (mu.dim, nu.dim), "one dimension", "compare measures on one space")
    if not 1.0 <= p < math.inf:
        raise InvalidInput("p", p, "a number in [1, inf)", "W_1 is the usual choice")
    scale = extent(mu.points, nu.points)
    centre = (np.minimum(mu.points.min(0), nu.points.min(0)) / 2 + np.maximum(mu.points.max(0), nu.points.max(0)) / 2) / scale
    return mu.with_points(mu.points / scale - centre), nu.with_points(nu.points / scale - centre), scale


def _sphere(rng: np.random.Generator, n: int, d: int) -> Array:
    normal = rng.standard_normal((n, d))
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _thinned(measure: Discrete, rng: np.random.Generator) -> Discrete:
    n = len(measure.weights)
    if n <= SEARCH_POINTS:
        return measure
    return Discrete(measure.points[rng.choice(n, SEARCH_POINTS, p=measure.weights)])


def _gaps(mu: Discrete, nu: Discrete, theta: Array) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
    tx, ty = mu.points @ theta, nu.points @ theta
    i, j, masses = monotone_plan(tx, ty, mu.weights, nu.weights)
    return tx[i] - ty[j], masses, i, j


def _along(mu: Discrete, nu: Discrete, theta: Array, p: float) -> float:
    """W_p of the projections, up to rounding."""
    gaps, masses, _, _ = _gaps(mu, nu, theta)
    sizes = np.abs(gaps)
    largest = float(sizes.max())
    return largest * float((sizes / largest) ** p @ masses) ** (1 / p) if largest > 0.0 else 0.0


def _proven(mu: Discrete, nu: Discrete, theta: Array, p: float) -> float:
    """A lower bound of W_p by the projections, with the rounding of scalar products, centring and the norm of theta."""
    farthest = max(float(np.sqrt((law.points**2).sum(1)).max()) for law in (mu, nu))
    norm = float(np.linalg.norm(theta)) * (1 + mu.dim * EPS)
    error = gamma(mu.dim + 4) * farthest * norm
    first, second = (law.with_points((law.points @ theta)[:, None]) for law in (mu, nu))
    lower, _ = monotone_cost(first, second, p, error)
    return math.nextafter(lower / max(1.0, norm), 0.0)


def _climb(mu: Discrete, nu: Discrete, theta: Array, p: float, steps: int) -> Array:
    value = _along(mu, nu, theta, p)
    for _ in range(steps):
        gaps, masses, i, j = _gaps(mu, nu, theta)
        largest = float(np.abs(gaps).max())
        if largest == 0.0:
            return theta
        pull = masses * np.sign(gaps) * (np.abs(gaps) / largest) ** (p - 1)
        # sum over pairs as two sums over points: memory stays linear
        size = (len(mu.weights), len(nu.weights))
        at_x, at_y = (np.bincount(index, pull, length) for index, length in zip((i, j), size, strict=True))
        gradient = at_x @ mu.points - at_y @ nu.points
        tangent = gradient - (gradient @ theta) * theta
        length = float(np.linalg.norm(tangent))
        if length <= 1e-12 * float(np.linalg.norm(gradient)):
            return theta
        for rate in RATES:
            trial = gradient if rate == np.inf else theta + rate * tangent / length
            trial = trial / np.linalg.norm(trial)
            reached = _along(mu, nu, trial, p)
            if reached > value * (1 + 1e-12):
                theta, value = trial, reached
                break
        else:
            return theta
    return theta
