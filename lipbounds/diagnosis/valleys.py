"""How many modes data have at least: valleys of the density between components of a normal mixture, tested on other data.

One part of the data proposes: principal axes above the noise, normal mixtures of three kinds whose number of components is
chosen by BIC, and for each pair of neighbouring components a tube about the line between them, with three windows of equal length
along it. The other part tests whether the window in the middle has less mass than 0.85 of both outer ones (binomial tests,
Holm's method over the pairs, a third of alpha for each kind). Components without a proven valley between them are joined.

*Guarantee.* The tube is convex. For a log-concave law (normal, uniform on a convex set, Laplace, ...) the mass along a convex
tube is log-concave, hence without a valley (Prekopa). So such a law is split with probability at most alpha, in any dimension.
That each of several groups is a mode by itself is not proven for other laws: tails of one mode may reach into a tube of another.
"""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from scipy.stats import binom

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

__all__ = ["proven_groups"]

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

PROPOSE = 0.42  # of the data
KINDS = ("spherical", "tied", "full")
NUMBERS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 25, 30, 36, 45, 55, 66, 80)
PATIENCE = 3  # numbers of components without improvement
MOST_PROPOSING = 2500
MOST_AXES = 24
NEIGHBOURS = 0.03  # of the points of a component have another one as their second best
TUBES = (0.5, 0.8)  # of the points of both components inside
WINDOWS = (0.08, 0.12, 0.18, 0.25)  # of the distance of the components
DEPTH = 0.85  # of both peaks
FEWEST = 60  # points in all


@dataclass(frozen=True, eq=False)
class _Trial:
    """A tube and three windows along it: start and length, for peak, valley, peak."""

    origin: Array
    turn: Array
    radius: float
    starts: tuple[float, float, float]
    length: float

    def counts(self, x: Array) -> tuple[int, int, int]:
        along, away = _in_tube(x, self.origin, self.turn)
        inside = along[away <= self.radius]
        first, valley, last = (int(((inside >= start) & (inside < start + self.length)).sum()) for start in self.starts)
        return first, valley, last


def _in_tube(x: Array, origin: Array, turn: Array) -> tuple[Array, Array]:
    """The coordinate along a line, and the distance from it, after whitening; the line is the first axis."""
    turned = (x - origin) @ turn
    return turned[:, 0], np.sqrt(np.square(turned[:, 1:]).sum(1))


def proven_groups(x: Array, rng: np.random.Generator, alpha: float = 0.05) -> Labels:
    """Return the group of each row: groups have proven valleys between them, and a log-concave law one group.

    Args:
        x: Independent draws, shape (n, d).
        rng: Source of the split and the starts.
        alpha: Probability of a false valley, over all.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((1000, 2)) + 8.0 * rng.integers(0, 2, (1000, 1))
        >>> len(np.unique(proven_groups(x, rng)))
        2
    """
    best: Labels = np.zeros(len(x), dtype=np.intp)
    if len(x) < FEWEST or not x.std(0).any():
        return best
    order = rng.permutation(len(x))
    split = int(PROPOSE * len(x))
    centre, axes = _axes(x[order[:split][:MOST_PROPOSING]], rng)
    y = (x - centre) @ axes
    # independent of scale: rounding of the covariances is relative
    y = y / max(float(y.std()), 1e-300)
    proposing, testing = y[order[:split]], y[order[split:]]
    for kind in KINDS:
        mixture = _mixture(proposing[:MOST_PROPOSING], kind, rng)
        groups = _joined(mixture, proposing, testing, alpha / len(KINDS))
        labels = groups[mixture.predict(y)]
        if len(np.unique(labels)) > len(np.unique(best)):
            best = np.unique(labels, return_inverse=True)[1]
    return best


def _axes(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The mean, and the principal axes that are larger than those of isotropic noise at the level of the lower quartile."""
    n, d = x.shape
    centre = x.mean(0)
    if d <= 3:
        return centre, np.eye(d)
    _, values, rows = np.linalg.svd(x - centre, full_matrices=False)
    noise = np.linalg.svd(rng.standard_normal((n, d)), compute_uv=False)
    level = float(np.quantile(values, 0.25) / np.quantile(noise, 0.25))
    count = int((values > 1.05 * level * noise[0]).sum())
    return centre, rows[: min(max(count, 2), MOST_AXES)].T


def _mixture(x: Array, kind: str, rng: np.random.Generator) -> GaussianMixture:
    """The mixture whose number of components is best by BIC, from Ward's clusters."""
    from sklearn.exceptions import ConvergenceWarning  # here: half a second that only this function needs
    from sklearn.mixture import GaussianMixture

    tree = linkage(x, method="ward")
    best, score, waited = None, math.inf, 0
    for count in NUMBERS:
        if 8 * count > len(x):
            break
        labels = fcluster(tree, count, criterion="maxclust") - 1
        means = np.stack([x[labels == i].mean(0) for i in range(int(labels.max()) + 1)])
        mixture = GaussianMixture(
            len(means), covariance_type=kind, means_init=means, reg_covar=1e-6, max_iter=60, random_state=int(rng.integers(2**31))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a component more does no harm
            mixture.fit(x)
        value = mixture.bic(x)
        if value < score:
            best, score, waited = mixture, value, 0
        else:
            waited += 1
            if waited == PATIENCE:
                break
    assert best is not None
    return best


def _covariance(mixture: GaussianMixture, i: int) -> Array:
    d = mixture.means_.shape[1]
    if mixture.covariance_type == "spherical":
        return np.asarray(mixture.covariances_[i] * np.eye(d))
    return np.asarray(mixture.covariances_ if mixture.covariance_type == "tied" else mixture.covariances_[i])


def _joined(mixture: GaussianMixture, proposing: Array, testing: Array, alpha: float) -> Labels:
    """The group of each component, from tests of all pairs of neighbours."""
    k = len(mixture.means_)
    if k == 1:
        return np.zeros(1, dtype=np.intp)
    share = mixture.predict_proba(proposing)
    order = np.argsort(-share, axis=1)[:, :2]
    pairs = set()
    for i, j in itertools.combinations(range(k), 2):
        between = ((order == (i, j)).all(1) | (order == (j, i)).all(1)).sum()
        if between >= NEIGHBOURS * max(1, min((order[:, 0] == i).sum(), (order[:, 0] == j).sum())):
            pairs.add((i, j))
    tree = minimum_spanning_tree(cdist(mixture.means_, mixture.means_)).tocoo()
    pairs |= {(min(i, j), max(i, j)) for i, j in zip(tree.row.tolist(), tree.col.tolist(), strict=True)}
    tested = sorted(pairs)
    values = []
    for i, j in tested:
        own = proposing[(order[:, 0] == i) | (order[:, 0] == j)]
        trial = _trial(mixture, i, j, own, proposing)
        values.append(1.0 if trial is None else _p_value(*trial.counts(testing)))
    proven = _holm(np.array(values), alpha)
    joined = np.zeros((k, k))
    for (i, j), valley in zip(tested, proven.tolist(), strict=True):
        joined[i, j] = not valley
    return np.asarray(connected_components(joined, directed=False)[1], dtype=np.intp)


def _trial(mixture: GaussianMixture, i: int, j: int, own: Array, proposing: Array) -> _Trial | None:
    """The tube and the windows with the deepest valley on the proposing part, for its counting error."""
    within = 0.5 * (_covariance(mixture, i) + _covariance(mixture, j))
    step = mixture.means_[j] - mixture.means_[i]
    factor = np.linalg.inv(np.linalg.cholesky(within)).T  # columns whiten
    long = step @ factor
    apart = float(np.linalg.norm(long))
    if not apart > 0.0 or len(own) < 10:
        return None
    # a rotation whose first axis is the line
    rotation, _ = np.linalg.qr(np.column_stack((long / apart, np.eye(len(long)))))
    rotation[:, 0] *= np.sign(rotation[:, 0] @ long)
    turn = factor @ rotation
    best, least = None, 1.0
    distances = _in_tube(own, mixture.means_[i], turn)[1]
    along, away = _in_tube(proposing, mixture.means_[i], turn)
    for share in TUBES:
        radius = float(np.quantile(distances, share)) if distances.any() else 0.0
        inside = np.sort(along[away <= radius])
        for width in WINDOWS:
            length = width * apart
            places = np.arange(-0.25, 1.25, 0.5 * width) * apart
            counts = np.searchsorted(inside, places + length) - np.searchsorted(inside, places)
            middles = places + 0.5 * length
            for valley in np.flatnonzero((middles > 0.1 * apart) & (middles < 0.9 * apart)).tolist():
                left, right = places + length <= places[valley], places >= places[valley] + length
                if not (left.any() and right.any()):
                    continue
                a = int(np.flatnonzero(left)[counts[left].argmax()])
                b = int(np.flatnonzero(right)[counts[right].argmax()])
                value = _p_value(int(counts[a]), int(counts[valley]), int(counts[b]))
                if value < least:
                    starts = (float(places[a]), float(places[valley]), float(places[b]))
                    best, least = _Trial(mixture.means_[i], turn, radius, starts, length), value
    return best


def _p_value(first: int, valley: int, last: int) -> float:
    """Of a valley with at least 0.85 of the mass of one of the peaks: the larger of two binomial tests."""
    return float(max(binom.cdf(valley, valley + peak, DEPTH / (1 + DEPTH)) for peak in (first, last)))


def _holm(values: Array, alpha: float) -> NDArray[np.bool_]:
    """Which hypotheses Holm's method rejects."""
    order = np.argsort(values)
    limits = alpha / np.arange(len(values), 0, -1)
    passes = values[order] <= limits
    rejected = np.zeros(len(values), dtype=bool)
    rejected[order[: int(np.argmin(passes)) if not passes.all() else len(values)]] = True
    return rejected
