"""Diagnostics of samplers of a posterior: ranks, resimulation, stray samples, and distances beside their floors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from lipbounds.distances import Kernel, discrepancy, wasserstein
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput

__all__ = ["Nearness", "Resimulation", "Strays", "nearness", "rank_calibration", "resimulation", "strays"]

Array = NDArray[np.float64]

LEVEL = 1.36  # of Kolmogorov's statistic times the root of n at 95%, for large n


def rank_calibration(samples: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """Compare the ranks of the true x among samples given its y with the uniform law.

    Args:
        samples: For each of n pairs (x, y) m samples of x given y, shape (n, m, d).
        truth: The x themselves, shape (n, d).

    Returns:
        The worst coordinate's Kolmogorov distance from uniform, and the value below which it is with probability 95% for an exact
        sampler, for each coordinate.

    Raises:
        InvalidInput: For shapes that do not fit.

    Source:
        Talts et al., Validating Bayesian inference algorithms with simulation-based calibration (2018).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> error, limit = rank_calibration(rng.standard_normal((400, 100, 2)), rng.standard_normal((400, 2)))
        >>> error < limit < rank_calibration(rng.standard_normal((400, 100, 2)), 2 + rng.standard_normal((400, 2)))[0]
        True
    """
    drawn, own = np.asarray(samples), np.asarray(truth)
    if drawn.ndim != 3 or own.shape != (drawn.shape[0], drawn.shape[2]):
        got = f"shapes {drawn.shape} and {own.shape}"
        raise InvalidInput("samples, truth", got, "shapes (n, m, d) and (n, d)", "give m samples for each pair")
    ranks = np.sort((drawn < own[:, None]).mean(1), axis=0)
    n = len(ranks)
    grid = np.arange(1, n + 1)[:, None] / n
    return float(np.maximum(np.abs(ranks - grid), np.abs(ranks - grid + 1 / n)).max()), LEVEL / n**0.5


class Resimulation(NamedTuple):
    """How far forward images of samples are from the label.

    Args:
        mean: Mean squared distance.
        tail: Share of the sum that the worst hundredth makes.
    """

    mean: float
    tail: float


def resimulation(samples: ArrayLike, forward: Callable[[Array], ArrayLike], y: ArrayLike) -> Resimulation:
    """Send samples of x given y through the forward model and compare with y.

    Args:
        samples: Shape (n, d).
        forward: The forward model, rows (n, d) to (n, labels).
        y: The label, shape (labels,).

    Example:
        >>> resimulation([[1.0], [3.0]], lambda x: x, [2.0]).mean
        1.0
    """
    images = np.asarray(forward(np.asarray(samples)))
    errors = np.sort(((images - np.asarray(y)) ** 2).sum(1))
    worst = errors[-max(1, len(errors) // 100) :].sum()
    return Resimulation(float(errors.mean()), float(worst / errors.sum()) if errors.sum() > 0 else 0.0)


@dataclass(frozen=True, eq=False)
class Strays:
    """Samples beside the modes of a known law.

    Attributes:
        share: Of the samples far from every mode.
        shares: Of the samples near each mode, shape (k,).
    """

    share: float
    shares: Array

    @property
    def covered(self) -> int:
        """Modes that get at least a quarter of an equal share."""
        return int((self.shares >= 0.25 / len(self.shares)).sum())


def strays(samples: ArrayLike, modes: ArrayLike, radius: float) -> Strays:
    """Count samples farther than `radius` from every mode.

    Args:
        samples: Shape (n, d).
        modes: Shape (k, d).
        radius: For example 4 deviations of a mode.

    Example:
        >>> strays([[0.0], [0.1], [5.0], [9.0]], [[0.0], [5.0]], 1.0).share
        0.25
    """
    distance = cdist(np.asarray(samples), np.asarray(modes))
    near = distance.min(axis=1) <= radius
    counts = np.bincount(distance.argmin(axis=1)[near], minlength=distance.shape[1])
    return Strays(1.0 - float(near.mean()), counts / len(near))


class Nearness(NamedTuple):
    """A distance between samples and reference points beside its floor, that of fresh reference points.

    Args:
        value: W_1 or D_K, the plug-in value; its upper end. ESTIMATE.
        floor: The same for a perfect sampler.
    """

    value: Enclosure
    floor: Enclosure


def nearness(samples: ArrayLike, reference: ArrayLike, again: ArrayLike, kernel: Kernel | None = None) -> Nearness:
    """Measure W_1, or with a kernel D_K (the root), between samples and reference points, and its floor.

    Args:
        samples: Shape (n, d).
        reference: Points of the true law, shape (m, d).
        again: Further ones, as many as samples.
        kernel: Of D_K; None measures W_1. The paper's is `InverseMultiquadric()`.

    Example:
        >>> from lipbounds.distances import InverseMultiquadric
        >>> rng = np.random.default_rng(0)
        >>> near = nearness(*(rng.standard_normal((500, 2)) for _ in range(3)), InverseMultiquadric())
        >>> near.value.upper < 2 * near.floor.upper
        True
    """

    def distance(points: ArrayLike) -> Enclosure:
        own, other = np.asarray(points, dtype=np.float64), np.asarray(reference, dtype=np.float64)
        if kernel is None:
            value, words = wasserstein(own, other).upper, "plug-in W_1, biased upwards"
        else:
            value, words = float(discrepancy(own, other, kernel, squared=False)), "plug-in D_K"
        return Enclosure(0.0, value, Guarantee.ESTIMATE, words)

    return Nearness(distance(samples), distance(again))
