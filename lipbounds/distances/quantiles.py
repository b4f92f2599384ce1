r"""W_p on the line for continuous measures, enclosed: $W_p^p=\int_0^1|F^{-1}(u)-G^{-1}(u)|^p\,du$ over cells of levels.

On a cell the difference D of the quantiles has a known mean (by partial means) and lies between known numbers (quantiles
are monotone). |.|^p is convex: by Jensen its mean is at least |mean D|^p, and at most the chord over the range of D, taken
at the mean. Both agree to second order in the width of the cell, and exactly where p = 1 and D has one sign. For p = 2 the
variances of both quantile functions on the cell are known too, and their covariance is at least 0 (both increase) and at most
the product of the deviations. Levels above 1/2 are those below 1/2 of the reflected measures, so both tails are resolved down
to 2^-200.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.rounding import EPS, PARTIAL_MOMENT_ERROR, gamma

__all__ = ["LARGEST_EXPONENT", "wasserstein_power"]

Array = NDArray[np.float64]
Measure = Discrete | GaussianMixture

TAIL = 200  # levels below 2^-TAIL are bounded as one cell
LARGEST_EXPONENT = 100.0  # the tail's bound needs p <= TAIL ln 2
MAX_CELLS = 50_000  # beside those that the atoms need


def wasserstein_power(mu: Measure, nu: Measure, p: float, tolerance: float) -> tuple[float, float]:
    """Enclose W_p^p of measures on the line, at least one of them a mixture; values of size about 1 are expected.

    The relative width is at most the tolerance, where `MAX_CELLS` suffice.
    """
    halves = [_half(*pair, p, tolerance) for pair in ((mu, nu), (_reflected(mu), _reflected(nu)))]
    error = sum(_jump_error(measure, other, p) for measure, other in ((mu, nu), (nu, mu)))
    # a cell's bounds have dozens of roundings, and numpy adds cells pairwise: as many again for 2^50 of them
    rounding = gamma(200)
    lower, upper = sum(lower for lower, _ in halves), sum(upper for _, upper in halves)
    return max(0.0, lower * (1 - rounding) - error), upper * (1 + rounding) + error


def _jump_error(measure: Measure, other: Measure, p: float) -> float:
    """What the rounding of the running sums of masses can do: each jump is misplaced by a few ulps of level."""
    if isinstance(measure, GaussianMixture) or isinstance(other, Discrete):
        return 0.0
    present = measure.weights > 0
    order = np.argsort(measure.points[present, 0], kind="stable")
    atoms, masses = measure.points[present, 0][order], np.cumsum(measure.weights[present][order])[:-1]
    if len(atoms) < 2:
        return 0.0
    levels = np.clip(masses, 2.0**-TAIL, 1.0 - 2.0**-53)
    cost = [np.abs(ends - other.quantile(levels)) ** p for ends in (atoms[:-1], atoms[1:])]
    return float(len(atoms) * EPS * np.abs(cost[1] - cost[0]).sum())


def _reflected(measure: Measure) -> Measure:
    if isinstance(measure, Discrete):
        return Discrete(-measure.points, measure.weights)
    return GaussianMixture(-measure.means, measure.covariances, measure.weights)


class _Cells(NamedTuple):
    """A quantile function on cells of levels: its range, and enclosures of its mean and variance."""

    least: Array
    largest: Array
    mean: tuple[Array, Array]
    variance: tuple[Array, Array]


class _Quantiles:
    """The quantile function of one measure on (0, 1/2]."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        if isinstance(measure, Discrete):
            present = measure.weights > 0
            order = np.argsort(measure.points[present, 0], kind="stable")
            self.atoms = measure.points[present, 0][order]
            self.masses = np.cumsum(measure.weights[present][order])

    def jumps(self) -> Array:
        """Levels inside (0, 1/2) at which the function jumps."""
        if isinstance(self.measure, GaussianMixture):
            return np.empty(0)
        return self.masses[(self.masses > 2.0**-TAIL) & (self.masses < 0.5)]

    def cells(self, low: Array, high: Array) -> _Cells:
        """The function on cells that contain no jump."""
        if isinstance(self.measure, Discrete):
            index = np.searchsorted(self.masses, low + (high - low) / 2)
            value = self.atoms[np.minimum(index, len(self.atoms) - 1)]
            return _Cells(value, value, (value, value), (np.zeros_like(value), np.zeros_like(value)))
        levels, inverse = np.unique(np.concatenate((low, high)), return_inverse=True)
        quantile = self.measure.quantile(levels)
        first, last = inverse[: len(low)], inverse[len(low) :]
        least, largest, width = quantile[first], quantile[last], high - low

        def mean(moment: Array) -> tuple[Array, Array]:
            """The mean over the cells of a function with these integrals, between bounds for the cancellation."""
            value = (moment[last] - moment[first]) / width
            error = PARTIAL_MOMENT_ERROR * (np.abs(moment[last]) + np.abs(moment[first])) / width
            return value - error, value + error

        low_mean, high_mean = (np.clip(end, least, largest) for end in mean(self.measure.partial_mean(quantile)))
        low_square, high_square = mean(self.measure.partial_second_moment(quantile))
        greatest = (largest - low_mean) * (high_mean - least)  # Bhatia and Davis
        squares = np.sort(np.stack((low_mean**2, high_mean**2)), axis=0)
        smallest_variance = np.clip(low_square - squares[1], 0.0, greatest)
        variance = smallest_variance, np.clip(high_square - squares[0], smallest_variance, greatest)
        return _Cells(least, largest, (low_mean, high_mean), variance)

    def tail_size(self) -> float:
        """A bound of |quantile| at level 2^-TAIL; below it the bound grows slower than a root of 1/u."""
        if isinstance(self.measure, Discrete):
            return float(np.abs(self.atoms).max())
        deviation = float(np.sqrt(self.measure.covariances[:, 0, 0].max()))
        return float(np.abs(self.measure.means).max()) + deviation * math.sqrt(2 * TAIL * math.log(2))


def _half(mu: Measure, nu: Measure, p: float, tolerance: float) -> tuple[float, float]:
    """Enclose the integral over the levels (0, 1/2]."""
    first, second = _Quantiles(mu), _Quantiles(nu)
    # (A + S sqrt(2 ln(1/u)))^p sqrt(u) increases in u below 2^-TAIL, so the integral there is at most twice its value at
    # 2^-TAIL times 2^-TAIL
    tail = 2.0 * math.exp(p * math.log(first.tail_size() + second.tail_size() + 1e-300) - TAIL * math.log(2))
    levels = np.unique(np.concatenate((2.0 ** -np.arange(1.0, TAIL + 1), first.jumps(), second.jumps())))
    low, high = levels[:-1], levels[1:]
    below, above = _bounds(first.cells(low, high), second.cells(low, high), high - low, p)
    budget = MAX_CELLS
    lower, upper = 0.0, tail
    while len(low):
        gap = above - below
        total = lower + float(below.sum())
        middle = low + (high - low) / 2
        # the cells that hold most of the gap; a cell far below the average is settled for good
        fair = float(gap.sum()) / len(low)
        done = (gap <= 0.1 * tolerance * total / max(len(low), 1000)) | (middle <= low) | (high <= middle)
        split = ~done & (gap >= 0.5 * fair)
        if budget < 0 or not split.any() or (upper - lower) + float(gap.sum()) <= tolerance * total:
            done[:], split[:] = True, False
        budget -= int(np.count_nonzero(split))
        lower += float(below[done].sum())
        upper += float(above[done].sum())
        kept = ~done & ~split
        ends = (low[split], middle[split]), (middle[split], high[split])
        new_low, new_high = np.concatenate([a for a, _ in ends]), np.concatenate([b for _, b in ends])
        if len(new_low):
            new_below, new_above = _bounds(first.cells(new_low, new_high), second.cells(new_low, new_high), new_high - new_low, p)
        else:
            new_below = new_above = np.empty(0)
        low, high = np.concatenate((low[kept], new_low)), np.concatenate((high[kept], new_high))
        below, above = np.concatenate((below[kept], new_below)), np.concatenate((above[kept], new_above))
    return lower, upper


def _bounds(first: _Cells, second: _Cells, width: Array, p: float) -> tuple[Array, Array]:
    """Lower and upper bounds of the integral of |D|^p on each cell."""
    least, largest = first.least - second.largest, first.largest - second.least
    mean = first.mean[0] - second.mean[1], first.mean[1] - second.mean[0]
    nearest = np.clip(0.0, mean[0], mean[1])
    lower = np.abs(nearest) ** p
    span = largest - least
    chords = []
    for end in mean:
        share = np.clip(np.divide(end - least, span, out=np.zeros_like(span), where=span > 0), 0.0, 1.0)
        chords.append((1.0 - share) * np.abs(least) ** p + share * np.abs(largest) ** p)
    upper = np.maximum(*chords)
    if p == 2.0:
        farthest = np.maximum(np.abs(mean[0]), np.abs(mean[1]))
        upper = np.minimum(upper, farthest**2 + first.variance[1] + second.variance[1])
        roots = [tuple(np.sqrt(v) for v in cells.variance) for cells in (first, second)]
        apart = np.maximum(roots[0][0] - roots[1][1], roots[1][0] - roots[0][1])
        lower = lower + np.maximum(apart, 0.0) ** 2
    return width * lower, width * np.maximum(lower, upper)
