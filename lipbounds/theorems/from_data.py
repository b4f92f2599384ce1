r"""What any generator with a standard normal latent must pay, from samples of the data alone.

For a 1-Lipschitz statistic s and thresholds $t_1<t_2$ the sets $Q=\{s\le t_1\}$ and $R=\{s\ge t_2\}$ are at least
$t_2-t_1$ apart, so S4 applies to their masses: half-spaces are projections, a cluster against the others is the distance to its
centre, a pair of clusters half the difference of the distances to both. The frontier of S4 uses the whole law of s.

*With confidence.* Statistic and thresholds are chosen on one half of the samples. On the other half three Clopper-Pearson limits
hold together: of the gap's mass from above, of both sets' from below. Among the masses they allow the bound is least at one of
two ends, because for a given gap the cost E grows with the smaller mass a up to (1 - gap) / 2: dE/da is the overhang of the best
interval beyond the smaller set minus that beyond the larger, and both reach the same level of h, the former where the normal
density is lower. For the frontier a Dvoretzky-Kiefer-Wolfowitz band adds to epsilon.

*Stars* (S8). The modes are inside cells about k centres: $s_i(x)=\tfrac12(\min_{j\ne i}|x-c_j|-|x-c_i|)$ is 1-Lipschitz, and
$Q_i=\{s_i\ge t\}$. For x in $Q_i$ and y in $Q_j$ the function $\tfrac12(|\cdot-c_j|-|\cdot-c_i|)$ is at least t at x and at most
-t at y, so the sets are 2t apart. Centres and t are chosen on one half, and masses bounded on the other, together, at alpha.

*Rounding.* Points are centred (at a mean of the selection half) and divided by a power of two, which changes the constant by this
power only. A value of a statistic is then off by at most r = (d + 16) ulps of the largest |x|, which is taken off the distance of
the sets twice and added to epsilon for the frontier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from lipbounds.distances import clopper_pearson
from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.distances.statistics import DistanceDifference, Margin, Projection, Statistic, candidates, turned
from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, combined
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete
from lipbounds.rounding import EPS
from lipbounds.theorems.frontier import forced_by_frontier
from lipbounds.theorems.separation import SMALLEST_MASS, Masses, least_stretch
from lipbounds.theorems.stars_in_data import best_star, by_star

__all__ = ["Forced", "forced_lipschitz"]

Array = NDArray[np.float64]

FEWEST = 20
SPLIT_STREAM = 20240117
MIDDLES, WIDTHS, LEVELS = 60, 25, 24
CLIMB_STEPS = 80
JUMPS = 4  # of the values of a statistic whose middles are tried
FINALISTS = 4  # statistics that are evaluated in full
FRONTIERS = 2  # statistics for which the linear program is solved, too
FRONTIER_POINTS = 20_000
TAIL = 0.002  # cut off on both sides where the frontier needs a bounded statistic


@dataclass(frozen=True, eq=False)
class Forced(Enclosure):
    """A lower bound of the Lipschitz constant, [lower, infinity), and what forces it.

    Attributes:
        statistic: The 1-Lipschitz statistic of the data; of a star, the height of a point on its leg but for the hub's.
        thresholds: The ends of the gap, for a bound by two sets; for a star the leg, and infinity.
        masses: What is known of the masses of both sets, least favourable.
    """

    statistic: Statistic = field(kw_only=True)
    thresholds: tuple[float, float] | None = field(kw_only=True)
    masses: Masses | None = field(kw_only=True)

    @classmethod
    def by(
        cls,
        value: float,
        alpha: float | None,
        method: str,
        statistic: Statistic,
        *,
        thresholds: tuple[float, float] | None = None,
        masses: Masses | None = None,
    ) -> Forced:
        """A bound with confidence 1 - alpha, or for alpha = None a certified one."""
        guarantee = Guarantee.CERTIFIED if alpha is None else Guarantee.CONFIDENCE
        low = max(0.0, value)
        return cls(low, math.inf, guarantee, method, alpha, statistic=statistic, thresholds=thresholds, masses=masses)


def forced_lipschitz(
    samples: Points,
    epsilon: float | Enclosure,
    *,
    alpha: float | None = 0.05,
    seed: int = 0,
    clusters: int = 6,
    modes: int | None = None,
) -> Forced:
    r"""Bound from below the constant of every generator with standard normal latent and $W_1(f_\#\gamma,\mu)\le\epsilon$.

    Args:
        samples: Independent draws of mu, shape (N, d), N >= 20, array or tensor.
        epsilon: The accuracy asked for, finite and >= 0, a number or an enclosure whose upper end is used.
        alpha: Error probability; mu is the law behind the samples. None: mu is the law of the samples themselves, uniform on
            them, and nothing is random.
        seed: Seed of the split, the clustering and the search.
        clusters: Largest number of clusters tried, at least 2.
        modes: With a number of at least 3, stars of 3 to so many modes are tried as well (S8); they force more where there
            are more than two modes.

    Returns:
        The best bound found with its witness: CONFIDENCE, or for alpha = None what stands behind epsilon, EXACT for a number. The
        search makes it small or large, never wrong. A bound of 0 means that nothing was found.

    Raises:
        InvalidInput: For bad samples, fewer than 20 points, a negative epsilon, or a bad alpha.

    Source:
        S4 (docs/theory); Clopper and Pearson (1934); Massart (1990).

    Example:
        >>> from lipbounds.theorems.example_1 import two_modes
        >>> x = two_modes(0.1).sample(4000, np.random.default_rng(0))
        >>> forced = forced_lipschitz(x, 0.02)
        >>> 5.0 < forced.lower < 12.5, forced.guarantee.name  # 12.5 is the exact value
        (True, 'CONFIDENCE')
    """
    points = as_discrete("samples", samples, None).points
    if len(points) < FEWEST:
        raise InvalidInput("samples", f"{len(points)} points", f"at least {FEWEST}", "draw more points")
    given = as_accuracy(epsilon)
    accuracy = given.upper
    if not accuracy < math.inf:
        raise InvalidInput("epsilon", epsilon, "a finite number >= 0", "pass the accuracy asked for")
    if alpha is not None and not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", alpha, "a number in (0, 1), or None", "0.05 is usual")
    if clusters < 2:
        raise InvalidInput("clusters", clusters, "an integer >= 2", "6 is the default")
    if modes is not None and modes < 3:
        raise InvalidInput("modes", modes, "an integer >= 3, or None", "two sets are always tried")
    rng = np.random.default_rng([seed, SPLIT_STREAM])
    half = len(points) if alpha is None else len(points) // 2
    order = np.arange(len(points)) if alpha is None else rng.permutation(len(points))
    # halved first, so that sums of the largest doubles do not overflow
    centre = 2 * (points[order[:half]] / 2).mean(0)
    extent = float(np.abs(points / 2 - centre / 2).max())
    if extent == 0.0:
        nothing = Projection(np.eye(points.shape[1])[0])
        return Forced.by(0.0, alpha, "equal points", nothing)
    exponent = int(np.frexp(extent)[1]) + 1
    if not -900 < exponent < 1000:
        raise InvalidInput("samples", f"an extent of 2^{exponent}", "between 2^-900 and 2^1000", "use other units")
    # x - centre is rounded relative to itself, and the power of two is exact
    scaled = np.ldexp(points - centre, -exponent)
    scale = float(np.ldexp(1.0, exponent))
    chosen_on, tested_on = scaled[order[:half]], scaled[order if alpha is None else order[half:]]
    scaled_accuracy = math.nextafter(accuracy / scale, math.inf) if accuracy > 0.0 else 0.0
    found = _unscaled(_search(chosen_on, tested_on, scaled_accuracy, alpha, clusters, rng, modes), centre, scale)
    known = combined(found, given)
    return replace(found, guarantee=known.guarantee, alpha=known.alpha, assumptions=known.assumptions)


def _unscaled(forced: Forced, centre: Array, scale: float) -> Forced:
    """The same in the units and about the origin of the caller."""
    statistic, thresholds = forced.statistic, forced.thresholds
    if isinstance(statistic, Projection):
        moved: Statistic = statistic
        offset = float(statistic(centre[None])[0])
    elif isinstance(statistic, Margin):
        moved, offset = Margin(statistic.centres * scale + centre), 0.0
    else:
        moved = DistanceDifference(statistic.near * scale + centre, statistic.far * scale + centre)
        offset = 0.0
    if thresholds is not None:
        thresholds = (thresholds[0] * scale + offset, thresholds[1] * scale + offset)
    return replace(forced, lower=min(forced.lower * scale, math.inf), statistic=moved, thresholds=thresholds)


def _rounding(points: Array) -> float:
    """How far a value of a statistic may be off at points of this size."""
    return float((points.shape[1] + 16) * EPS * np.linalg.norm(points, axis=1).max())


def _search(
    chosen_on: Array,
    tested_on: Array,
    epsilon: float,
    alpha: float | None,
    clusters: int,
    rng: np.random.Generator,
    modes: int | None,
) -> Forced:
    """Choose statistic and thresholds on one half, evaluate them on the other."""
    error = max(_rounding(chosen_on), _rounding(tested_on))
    tried = [_choose(statistic, statistic(chosen_on), epsilon, alpha) for statistic in candidates(chosen_on, clusters, rng)]
    tried.append(_climb(max(tried, key=_promise), chosen_on, epsilon, alpha, rng))
    tried.sort(key=_promise, reverse=True)
    trials = [
        _at_thresholds(one.statistic, one.statistic(chosen_on), one.thresholds, epsilon, alpha, error)
        for one in tried[:FINALISTS]
    ]
    if epsilon > 0.0:
        trials += [
            _frontier(one.statistic, one.statistic(chosen_on), chosen_on, epsilon, alpha, error) for one in tried[:FRONTIERS]
        ]
    best = max(trials, key=lambda trial: trial.lower)
    star = None if modes is None or epsilon == 0.0 else best_star(chosen_on, modes, epsilon, alpha, best.lower, rng)
    if star is not None:
        bound = by_star(star, tested_on, epsilon, alpha, error)
        if alpha is not None or bound > best.lower:
            return Forced.by(bound, alpha, f"S8, {star.statistic}", star.statistic, thresholds=(star.leg, math.inf))
    if alpha is None:
        return best
    values = best.statistic(tested_on)
    if best.thresholds is None:
        return _frontier(best.statistic, values, chosen_on, epsilon, alpha, error)
    return _at_thresholds(best.statistic, values, best.thresholds, epsilon, alpha, error)


@dataclass(frozen=True, eq=False)
class _Choice:
    """A statistic with its best thresholds on the selection sample, and about what they promise."""

    statistic: Statistic
    thresholds: tuple[float, float]
    promise: float


def _promise(choice: _Choice) -> float:
    return choice.promise


def _climb(start: _Choice, x: Array, epsilon: float, alpha: float | None, rng: np.random.Generator) -> _Choice:
    """Turn the direction of a projection at random while that helps."""
    best, size = start, 0.3
    if not isinstance(start.statistic, Projection) or x.shape[1] == 1:
        return best
    for _ in range(CLIMB_STEPS):
        assert isinstance(best.statistic, Projection)
        other = turned(best.statistic, size, rng)
        trial = _choose(other, other(x), epsilon, alpha)
        best, size = (trial, size) if trial.promise > best.promise else (best, 0.95 * size)
    return best


def _limits(below: int, between: int, n: int, alpha: float | None) -> tuple[float, float, float]:
    """Bounds of the masses of Q and R from below and of the gap from above."""
    above = n - below - between
    if alpha is None:
        return below / n, above / n, between / n
    (a, b), _ = clopper_pearson([below, above], n, alpha=alpha / 3)
    _, gap = clopper_pearson(between, n, alpha=alpha / 3)
    return float(a), float(b), float(gap)


def _choose(statistic: Statistic, values: Array, epsilon: float, alpha: float | None) -> _Choice:
    """Choose the thresholds that force most, in floats and with quick confidence limits: only the choice depends on them."""
    ordered = np.sort(values)
    n = len(ordered)
    low, high = ordered[int(0.01 * n)], ordered[int(0.99 * n)]
    jumps = np.argsort(np.diff(ordered), kind="stable")[-JUMPS:]
    inside = 0.5 * (ordered[jumps] + ordered[jumps + 1])
    middles = np.concatenate(
        (np.quantile(ordered, np.linspace(0.03, 0.97, MIDDLES // 2)), np.linspace(low, high, MIDDLES // 2), inside)
    )
    half = 0.5 * float(high - low) * np.geomspace(1e-3, 1.0, WIDTHS)
    widest = 0.5 * (ordered[jumps + 1] - ordered[jumps]) * (1 - 1e-9)
    t_1 = np.concatenate(((middles[:, None] - half).ravel(), inside - widest))
    t_2 = np.concatenate(((middles[:, None] + half).ravel(), inside + widest))
    below = np.searchsorted(ordered, t_1, side="right")
    between = np.maximum(np.searchsorted(ordered, t_2, side="left") - below, 0)
    counts = np.stack((below, n - below - between, between)).astype(float)
    spread = 0.0 if alpha is None else -float(ndtri(alpha / 3))
    margin = spread * np.sqrt(counts * (1 - counts / n) + spread**2 / 4)
    a, b, gap = (counts + 0.5 * spread**2 + np.array([[-1.0], [-1.0], [1.0]]) * margin) / n
    worst = np.minimum(
        _dual(t_2 - t_1, a, 1 - gap - a, epsilon, gap),
        _dual(t_2 - t_1, 1 - gap - b, b, epsilon, gap),
    )
    index = int(np.argmax(worst))
    return _Choice(statistic, (float(t_1[index]), float(t_2[index])), float(worst[index]))


def _dual(distance: Array, a: Array, b: Array, epsilon: float, gap: Array) -> Array:
    """max over a few l of (l D - epsilon) / Psi(l), in floats: good enough to choose by."""
    small = np.maximum(np.minimum(a, b), 0.0)
    large = np.maximum(np.maximum(a, b), 0.0)
    level = small[:, None] * np.geomspace(1e-3, 1.0, LEVELS)

    def surface(mass: Array) -> Array:
        inside = np.clip(mass, 1e-300, 1 - 1e-16)
        return np.asarray(np.exp(-0.5 * ndtri(inside) ** 2) / math.sqrt(2 * math.pi))

    price = surface(small)[:, None] + surface(large)[:, None] - surface(small[:, None] - level) - surface(large[:, None] - level)
    # where the price drowns in rounding its first order is the gap's width, at least the gap over the density's maximum
    price = np.maximum(price, level * np.maximum(gap, 1e-15)[:, None] * math.sqrt(2 * math.pi))
    value = (level * distance[:, None] - epsilon) / np.maximum(price, 1e-300)
    return np.where(small > SMALLEST_MASS, value.max(1), 0.0)


def _at_thresholds(
    statistic: Statistic,
    values: Array,
    thresholds: tuple[float, float],
    epsilon: float,
    alpha: float | None,
    error: float,
) -> Forced:
    """The bound of S4 for two thresholds, from the values of the statistic at n independent points or at all points."""
    n = len(values)
    distance = (thresholds[1] - thresholds[0]) * (1 - 4 * EPS) - 2 * error
    if not distance > 0:
        return Forced.by(0.0, alpha, "constant statistic", statistic, thresholds=thresholds)
    below, between = int((values <= thresholds[0]).sum()), int(((values > thresholds[0]) & (values < thresholds[1])).sum())
    a, b, gap = _limits(below, between, n, alpha)
    guarantee = Guarantee.CERTIFIED if alpha is None else Guarantee.CONFIDENCE
    best: Forced | None = None
    for first, second in ((a, 1 - gap - a), (1 - gap - b, b)):
        if min(first, second) < SMALLEST_MASS:
            return Forced.by(0.0, alpha, "a set without mass", statistic, thresholds=thresholds)
        # counts and limits are rounded: each mass loses an ulp
        masses = Masses(first * (1 - 1e-15), second * (1 - 1e-15), gap * (1 + 1e-15), guarantee, alpha)
        forced = least_stretch(distance, masses, epsilon).lower
        if best is None or forced < best.lower:
            best = Forced.by(forced, alpha, f"S4, two sets, {statistic}", statistic, thresholds=thresholds, masses=masses)
    assert best is not None
    return best


def _frontier(statistic: Statistic, values: Array, chosen_on: Array, epsilon: float, alpha: float | None, error: float) -> Forced:
    """The bound of the frontier, for the statistic clipped to a range that was chosen beforehand."""
    reference = statistic(chosen_on)
    low, high = np.quantile(reference, [TAIL, 1 - TAIL]) if alpha is not None else (reference.min(), reference.max())
    middle, radius = float(0.5 * (low + high)), float(0.5 * (high - low))
    none = Forced.by(0.0, alpha, "constant statistic", statistic)
    if radius <= 0.0:
        return none
    clipped = np.clip(values - middle, -radius, radius)
    if alpha is None and len(clipped) > FRONTIER_POINTS:
        return none  # the grid of the program is no finer; two sets have been tried on all points
    band = 0.0 if alpha is None else 2 * radius * math.sqrt(math.log(2 / alpha) / (2 * len(clipped)))
    accuracy = Enclosure(0.0, (epsilon + band + error) * (1 + 1e-14), Guarantee.CERTIFIED, "accuracy, band and rounding")
    try:
        value = forced_by_frontier(Discrete(clipped[:, None]), accuracy, clip=radius).lower
    except NotConverged:
        return none
    return Forced.by(value * (1 - 1e-13), alpha, f"S4, frontier, {statistic}", statistic)
