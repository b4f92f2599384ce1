r"""A lower bound of total variation from samples: $\mathrm{TV}(\mu,\nu)\ge\mu(B)-\nu(B)$ for the set B that a classifier picks.

The classifier is fitted on one half of the samples and its set is evaluated on the other, by exact binomial limits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lipbounds.distances.confidence import clopper_pearson
from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.distances.transport import extent
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged

__all__ = ["total_variation_lower"]

Array = NDArray[np.float64]
Score = Callable[[Array], ArrayLike]

FEWEST = 20
RIDGES = 60
RIDGE = 1e-4  # penalty of the coefficients, against a loss of about ln 2
NEWTON_STEPS = 100  # at most; about ten are needed
SPLIT_STREAM = 20230109
LARGEST_FIT = 20_000  # points of a sample that the fit uses


def total_variation_lower(x: Points, y: Points, *, alpha: float = 0.05, seed: int = 0, score: Score | None = None) -> Enclosure:
    r"""Bound the total variation of the laws of two independent samples from below.

    Args:
        x: Independent draws, shape (N, d), array or tensor, N >= 20.
        y: Independent draws, shape (M, d), M >= 20.
        alpha: Error probability.
        seed: Seed of the split and of the classifier.
        score: A function from points (n, d) to numbers (n,), larger where x is more likely, fixed before these samples were
            seen. If None, a logistic regression on nonlinear features is fitted to one half of the samples.

    Returns:
        [lower, 1], CONFIDENCE at finite sample size, for every pair of laws.

    Raises:
        InvalidInput: For bad samples, fewer than 20 points, or a score that is not finite.
        NotConverged: If the regression does not converge.

    Source:
        The definition of total variation; Clopper and Pearson (1934).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.standard_normal((2000, 2)), rng.standard_normal((2000, 2)) + [2.0, 0.0]
        >>> 0.6 < total_variation_lower(x, y, seed=0).lower < 0.683  # the truth is 0.6827
        True
    """
    mu, nu = as_discrete("x", x, None), as_discrete("y", y, None)
    if mu.dim != nu.dim:
        raise InvalidInput("x, y", (mu.dim, nu.dim), "one dimension", "compare samples of one space")
    if not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", alpha, "a number in (0, 1)", "0.05 is usual")
    for name, points in (("x", mu.points), ("y", nu.points)):
        if len(points) < FEWEST:
            raise InvalidInput(name, f"{len(points)} points", f"at least {FEWEST}", "draw more points")
    # a stream of its own: the caller may have drawn the data from default_rng(seed)
    rng = np.random.default_rng([seed, SPLIT_STREAM])
    scale = extent(mu.points, nu.points)
    (fit_x, held_x), (fit_y, held_y) = (_halves(rng.permutation(measure.points)) for measure in (mu, nu))
    chosen = _fitted(fit_x, fit_y, scale, rng) if score is None else score
    scores = [_values(chosen, points) for points in (fit_x, fit_y, held_x, held_y)]
    threshold = _threshold(scores[0], scores[1])
    inside = [int(np.count_nonzero(values > threshold)) for values in scores[2:]]
    lower_x, _ = clopper_pearson(inside[0], len(held_x), alpha=alpha / 2)
    _, upper_y = clopper_pearson(inside[1], len(held_y), alpha=alpha / 2)
    return Enclosure(max(0.0, float(lower_x - upper_y)), 1.0, Guarantee.CONFIDENCE, "held-out set of a classifier", alpha)


def _halves(points: Array) -> tuple[Array, Array]:
    return points[: len(points) // 2], points[len(points) // 2 :]


def _values(score: Score, points: Array) -> Array:
    values = np.asarray(score(points), dtype=np.float64)
    if values.shape != (len(points),) or not np.isfinite(values).all():
        got = f"shape {values.shape}" if values.shape != (len(points),) else "NaN or infinite values"
        raise InvalidInput("score", got, f"finite numbers of shape ({len(points)},)", "return one number a point")
    return values


def _threshold(x: Array, y: Array) -> float:
    """The threshold whose upper set tells the fitting halves apart best."""
    values = np.concatenate((x, y))
    order = np.argsort(values, kind="stable")
    steps = np.concatenate((np.full(len(x), 1 / len(x)), np.full(len(y), -1 / len(y))))[order]
    # after position k the set {score > values[order][k]} has lost these masses; ties count once they have all gone
    left = np.cumsum(steps)
    last = np.append(values[order][1:] != values[order][:-1], True)
    return float(values[order][np.argmin(np.where(last, left, np.inf))])


def _fitted(x: Array, y: Array, unit: float, rng: np.random.Generator) -> Score:
    """Logistic regression on standardised coordinates, their squares and random ridge functions."""
    from sklearn.exceptions import ConvergenceWarning  # here: half a second that only this function needs
    from sklearn.linear_model import LogisticRegression

    x, y = (rng.permutation(points)[:LARGEST_FIT] / unit for points in (x, y))
    both = np.concatenate((x, y))
    centre, scale = both.mean(0), both.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    d = both.shape[1]
    directions, offsets = rng.standard_normal((d, RIDGES)) * 1.5 / d**0.5, rng.uniform(-2.0, 2.0, RIDGES)

    def features(points: Array) -> Array:
        z = (points / unit - centre) / scale
        return np.concatenate((z, z**2, np.tanh(z @ directions + offsets)), axis=1)

    side = np.repeat([True, False], [len(x), len(y)])
    mass = np.repeat([0.5 / len(x), 0.5 / len(y)], [len(x), len(y)])
    regression = LogisticRegression(C=1.0 / RIDGE, solver="newton-cholesky", max_iter=NEWTON_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            regression.fit(features(both * unit), side, sample_weight=mass)
        except ConvergenceWarning as warning:
            raise NotConverged(f"total_variation_lower: logistic regression, {warning}; pass a score of your own") from warning
    return lambda points: np.asarray(regression.decision_function(features(points)))
