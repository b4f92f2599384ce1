r"""Wasserstein distances on the line, exactly: $W_1(\mu,\nu)=\int|F_\mu-F_\nu|$ and $W_p^p=\int_0^1|F_\mu^{-1}-F_\nu^{-1}|^p$.

No sampling of a continuous measure: between two atoms the empirical distribution function is constant, and the integral of
|c - F| over an interval is a difference of antiderivatives of F.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
from flint import arb
from numpy.typing import NDArray
from scipy.special import ndtr

from lipbounds.arb import ends, normal_cdf, normal_density, working_precision
from lipbounds.distances.inputs import Points, as_measure
from lipbounds.distances.quantiles import LARGEST_EXPONENT, wasserstein_power
from lipbounds.distances.signed import absolute_integral, difference
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.rounding import (
    ELEMENTARY_FUNCTIONS,
    EPS,
    EXTENDED,
    NORMAL_ERROR,
    NORMAL_FUNCTIONS,
    around,
    dot,
    gamma,
    outward,
    power_error,
    product,
    root,
    total,
)

__all__ = [
    "exact_monotone_plan",
    "mean_power",
    "monotone_cost",
    "monotone_plan",
    "wasserstein_1_line",
    "wasserstein_line",
    "whole_numbers",
]

Array = NDArray[np.float64]
Measure = Discrete | GaussianMixture

LARGEST = 1e300
SMALL = 64  # points of both laws whose distance is computed in fractions
LARGEST_LOGARITHM = 700.0
CLOSED_FORM_BITS = 128


def wasserstein_line(
    x: Points | Measure,
    y: Points | Measure,
    p: float = 1.0,
    *,
    x_weights: Points | None = None,
    y_weights: Points | None = None,
    tolerance: float = 1e-8,
) -> Enclosure:
    r"""Return $W_p$ between measures on the line, discrete or Gaussian mixtures in any combination; the root.

    | measures | p | method | width |
    |---|---|---|---|
    | discrete, discrete | any | monotone coupling | rounding, for p > 1 of the masses: see below |
    | a mixture in it | 1 | distribution functions (`wasserstein_1_line`) | rounding |
    | Gaussian, Gaussian | 1, 2 | closed form | rounding |
    | a mixture in it | > 1 | cells of quantiles (`quantiles`) | `tolerance` relative; more where F and G nearly agree |

    Args:
        x: Points of shape (n, 1), array or tensor, or a measure on the line.
        y: Likewise.
        p: Exponent in [1, inf); at most 100 if a mixture is compared and p > 1.
        x_weights: Masses of the points, shape (n,); equal when None.
        y_weights: Masses of the points.
        tolerance: Relative width at which the cells of quantiles stop.

    Returns:
        An EXACT enclosure. For p = 1 rounding moves the ends by about n ulps of the largest distance for n atoms. For p > 1
        the sums of masses are right to n ulps, which the ends include: $(n\,\mathrm{ulp})^{1/p}$ of the largest distance where
        the laws agree, n ulps where they do not; nothing for equally many equal masses.

    Raises:
        InvalidInput: For measures that are not on the line, bad points or weights, or a bad exponent.

    Source:
        Villani, Optimal Transport (2009), Remark 2.19 (the monotone coupling in one dimension is optimal).

    Example:
        >>> from lipbounds.measures import gaussian
        >>> wasserstein_line(gaussian([0.0], [[1.0]]), gaussian([3.0], [[25.0]]), p=2).upper
        5.0
    """
    mu, nu = (_present(measure) for measure in (as_measure("x", x, x_weights), as_measure("y", y, y_weights)))
    _check_line(mu, nu)
    if not 1.0 <= p < math.inf:
        raise InvalidInput("p", p, "a number in [1, inf)", "W_1 is the usual choice")
    if isinstance(mu, Discrete) and isinstance(nu, Discrete):
        _check_line(mu, nu)
        assumed = () if p == 1.0 else (ELEMENTARY_FUNCTIONS,)
        return Enclosure(*monotone_cost(mu, nu, p), Guarantee.EXACT, "monotone coupling", assumptions=assumed)
    if isinstance(mu, GaussianMixture) and isinstance(nu, GaussianMixture):
        if len(mu.weights) == len(nu.weights) == 1 and p in (1.0, 2.0):
            return Enclosure(*_gaussians(mu, nu, p), Guarantee.EXACT, "closed form")
        if len(difference(mu, nu).coefficients) == 0:
            return Enclosure(0.0, 0.0, Guarantee.EXACT, "equal laws")
    if p == 1.0:
        return wasserstein_1_line(mu, nu)
    _check_densities(mu, nu)
    if p > LARGEST_EXPONENT:
        raise InvalidInput("p", p, f"at most {LARGEST_EXPONENT} for mixtures", "use a smaller exponent")
    centre, scale = _frame(mu, nu)
    lower, upper = root(*wasserstein_power(_framed(mu, centre, scale), _framed(nu, centre, scale), p, p * tolerance), p)
    # moving the points to the centre rounds each of them, and quantiles are good to some steps of their size: in the p-norm over
    # the levels that is at most the size of the centres and, for the tails, sqrt(p) deviations
    moved = 32 * EPS * (2.0 + _size(mu, centre, scale) + _size(nu, centre, scale) + math.sqrt(p))
    lower, upper = max(0.0, lower - moved), upper + moved
    both = product((lower, upper), (scale, scale))
    return Enclosure(*both, Guarantee.EXACT, "cells of quantiles", assumptions=(NORMAL_FUNCTIONS, ELEMENTARY_FUNCTIONS))


def wasserstein_1_line(mu: Measure, nu: Measure, *, clip: float | None = None) -> Enclosure:
    r"""Return $W_1(\mu,\nu)=\int|F_\mu-F_\nu|$ on the line; the distance itself, not a power.

    Args:
        mu: A measure on the line.
        nu: The measure that it is compared with.
        clip: If given, both laws are first pushed forward by the 1-Lipschitz map t -> clip(t, -clip, clip); distances
            can only shrink. The statistic is then bounded, as finite-sample confidence bounds need.

    Returns:
        An EXACT enclosure, both ends equal if a measure is discrete, else about 1e-14 apart (relative). For n atoms rounding
        is at most about n ulps of the largest |t| times the mass.

    Raises:
        InvalidInput: If a measure is not on the line or clip is not positive.

    Source:
        Villani, Optimal Transport (2009), Remark 2.19.

    Example:
        >>> wasserstein_1_line(Discrete([[0.0], [1.0]]), Discrete([[0.5], [2.0]])).upper
        0.75
    """
    _check_line(mu, nu)
    _check_densities(mu, nu)
    if clip is not None and not 0.0 < clip < np.inf:
        raise InvalidInput("clip", clip, "a finite number > 0", "clip at the width of the statistic")
    method = "integral of |F - G|"
    if isinstance(mu, Discrete) and isinstance(nu, Discrete):
        if clip is not None:
            mu, nu = (law.with_points(np.clip(law.points, -clip, clip)) for law in (mu, nu))
        return Enclosure(*monotone_cost(mu, nu, 1.0), Guarantee.EXACT, method)
    if isinstance(nu, Discrete):
        mu, nu = nu, mu
    if isinstance(mu, Discrete):
        assert isinstance(nu, GaussianMixture)
        return Enclosure(*_continuous(mu, nu, clip), Guarantee.EXACT, method, assumptions=(NORMAL_FUNCTIONS,))
    assert isinstance(nu, GaussianMixture)
    reach = np.inf if clip is None else clip
    lower, upper = absolute_integral(difference(mu, nu), "distribution", -reach, reach)
    return Enclosure(lower, upper, Guarantee.EXACT, method, assumptions=(NORMAL_FUNCTIONS,))


def monotone_plan(tx: Array, ty: Array, a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return the optimal plan between atoms on the line, for every p: indices into tx and ty, and masses.

    Running sums of masses round: good for a search, not for a proof (`exact_monotone_plan`).
    """
    order_x, order_y = np.argsort(tx, kind="stable"), np.argsort(ty, kind="stable")
    if len(tx) == len(ty) and (a == a[0]).all() and (b == b[0]).all():
        return order_x, order_y, a
    mass_x, mass_y = np.cumsum(a[order_x]), np.cumsum(b[order_y])
    levels = np.concatenate((mass_x, mass_y))
    levels.sort(kind="stable")
    levels = np.concatenate(([0.0], levels))
    middles = levels[:-1] + np.diff(levels) / 2
    i = np.minimum(np.searchsorted(mass_x, middles), len(tx) - 1)
    j = np.minimum(np.searchsorted(mass_y, middles), len(ty) - 1)
    return order_x[i], order_y[j], np.diff(levels)


def exact_monotone_plan(mu: Discrete, nu: Discrete) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return the same plan with masses that are right to one rounding each, relative: running sums are integers.

    Only where an atom of one law ends within 1e-300 of one of the other a mass may be rounded to 0 or a subnormal number.
    """
    if len(mu.weights) == len(nu.weights) and _uniform(mu) and _uniform(nu):
        return np.argsort(mu.points[:, 0], kind="stable"), np.argsort(nu.points[:, 0], kind="stable"), mu.weights
    rows, columns, masses = _whole_plan(mu, nu)
    whole = sum(masses)
    return np.array(rows), np.array(columns), np.array([mass / whole for mass in masses])


def _whole_plan(mu: Discrete, nu: Discrete) -> tuple[list[int], list[int], list[int]]:
    """Its indices, and masses as integers in one unit."""
    order_x, order_y = (np.argsort(measure.points[:, 0], kind="stable").tolist() for measure in (mu, nu))
    (first, total_x), (second, total_y) = (
        whole_numbers(measure.shares[order]) for measure, order in ((mu, order_x), (nu, order_y))
    )
    # levels in units of 1 / (total_x total_y)
    levels_x = [total_y * level for level in itertools.accumulate(first)]
    levels_y = [total_x * level for level in itertools.accumulate(second)]
    i = j = level = 0
    entries: list[tuple[int, int, int]] = []
    while i < len(levels_x) and j < len(levels_y):
        reached = min(levels_x[i], levels_y[j])
        if reached > level:
            entries.append((order_x[i], order_y[j], reached - level))
        level = reached
        if levels_x[i] == reached:
            i += 1
        if levels_y[j] == reached:
            j += 1
    rows, columns, masses = (list(column) for column in zip(*entries, strict=True))
    return rows, columns, masses


def whole_numbers(shares: Array) -> tuple[list[int], int]:
    """Return nonnegative doubles as integers in one unit, exactly, and their sum."""
    mantissas, exponents = np.frexp(shares)
    whole = np.ldexp(mantissas, 53).astype(np.int64).tolist()
    lowest = int(exponents[shares > 0].min())
    shifted = [
        value << (int(exponent) - lowest) if value else 0 for value, exponent in zip(whole, exponents.tolist(), strict=True)
    ]
    return shifted, sum(shifted)


def monotone_cost(mu: Discrete, nu: Discrete, p: float, error: float = 0.0) -> tuple[float, float]:
    """Enclose W_p of atoms on the line.

    Rounding: differences of points have one rounding each, masses two, and the sum runs in extended precision, so the ends are
    within (n + m) 1e-19 + 5e-16 of each other, relative (times p before the root); for p = 1 with unequal masses running sums are
    of extended precision, too, and the ends are within (n + m) 2e-19 + 1e-15 of the largest distance.

    Args:
        mu: A law on the line, at most 1e300 from 0.
        nu: Another.
        p: Exponent in [1, inf).
        error: By how much points may differ from those meant; moves the ends by twice that.
    """
    mu, nu = mu.present(), nu.present()
    x, y = mu.points[:, 0], nu.points[:, 0]
    doubt = mu.doubt + nu.doubt
    small = _in_fractions(mu, nu, p, doubt) if len(x) + len(y) <= SMALL else None
    if small is not None:
        low, high = small
    elif len(x) == len(y) and _uniform(mu) and _uniform(nu):
        low, high = mean_power(np.abs(np.sort(x) - np.sort(y)), 1.0 / len(x), p, gap_error=gamma(1))
    elif p == 1.0:
        low, high = outward(*_integral_of_gap(x, y, mu.shares, nu.shares, doubt))
    else:
        i, j, masses = exact_monotone_plan(mu, nu)
        farthest = max(float(x.max()) - float(y.min()), float(y.max()) - float(x.min())) * (1 + EPS)
        low, high = mean_power(np.abs(x[i] - y[j]), masses, p, gap_error=gamma(1), doubt=doubt, farthest=farthest)
    return max(0.0, low - 2 * error), high + 2 * error


def _in_fractions(mu: Discrete, nu: Discrete, p: float, doubt: float) -> tuple[float, float] | None:
    """The same without rounding, for p = 1 or where all mass moves equally far; None for the rest."""
    rows, columns, masses = _whole_plan(mu, nu)
    gaps = [abs(Fraction(float(mu.points[i, 0])) - Fraction(float(nu.points[j, 0]))) for i, j in zip(rows, columns, strict=True)]
    if p != 1.0 and (doubt > 0.0 or any(gap != gaps[0] for gap in gaps)):
        return None
    value = gaps[0] if p != 1.0 else sum((mass * gap for mass, gap in zip(masses, gaps, strict=True)), Fraction(0)) / sum(masses)
    span = Fraction(float(max(mu.points.max(), nu.points.max()))) - Fraction(float(min(mu.points.min(), nu.points.min())))
    return around(max(Fraction(0), value - Fraction(doubt) * span))[0], around(value + Fraction(doubt) * span)[1]


def mean_power(
    gaps: Array,
    masses: Array | float,
    p: float,
    *,
    gap_error: float,
    missing: float = 0.0,
    doubt: float = 0.0,
    farthest: float = 0.0,
) -> tuple[float, float]:
    r"""Enclose $(\sum_km_k|t_k|^p\pm m)^{1/p}$, m what mass without a place may cost; the largest gap is the unit.

    Args:
        gaps: |t|, nonnegative.
        masses: m_k, right to two roundings each; or one number for all of them.
        p: Exponent in [1, inf).
        gap_error: Relative error of the gaps.
        missing: A mass that the upper end moves by `farthest` beside the others.
        doubt: A mass that both ends so account for: the masses meant differ from those given by as much.
        farthest: An upper bound of all distances.
    """
    largest = float((gaps if isinstance(masses, float) else gaps[masses > 0]).max(initial=0.0))
    if largest == 0.0:
        rest = product(root(missing + doubt, missing + doubt, p), (farthest, farthest))[1]
        return 0.0, rest
    powers = gaps / largest
    if p != 1.0:
        powers **= p
    if isinstance(masses, float):
        low, high = product(total(powers), (masses, masses))
    else:
        low, high = dot(np.minimum(powers, 1.0), masses)
    relative = power_error(p, gamma(1) + gap_error) + gamma(2)
    # subnormal powers and masses lose at most one step each
    low, high = low * (1.0 - relative), high * (1.0 + relative) + len(gaps) * 2e-323
    low = max(0.0, low - _cost(doubt, farthest / largest, p))
    rest = _cost(missing + doubt, farthest / largest, p)
    if rest < math.inf:
        low, high = root(low, (high + rest) * (1.0 + EPS), p)
        beyond = 0.0
    else:  # by the triangle inequality of the norm
        low, high = root(low, high, p)
        beyond = product(root(missing + doubt, missing + doubt, p), (farthest, farthest))[1]
    low, high = product((low, high), (largest * (1.0 - gap_error - EPS), largest * (1.0 + gap_error + EPS)))
    return low, math.nextafter(high + beyond, math.inf)


def _cost(mass: float, ratio: float, p: float) -> float:
    """An upper bound of mass ratio^p; infinite beyond the doubles."""
    if mass == 0.0:
        return 0.0
    logarithm = math.log(mass) + p * math.log(max(ratio, 1.0))
    # the logarithms are good to an ulp, and p multiplies that of the second
    error = 4 * EPS * (abs(math.log(mass)) + p * math.log(max(ratio, 1.0)) + p * EPS + 1.0)
    return math.exp(logarithm + error) * (1.0 + 4 * EPS) if logarithm + error < LARGEST_LOGARITHM else math.inf


def _check_line(mu: Measure, nu: Measure) -> None:
    for name, measure in (("x", mu), ("y", nu)):
        if measure.dim != 1:
            raise InvalidInput(name, f"dimension {measure.dim}", "dimension 1", "use wasserstein for points of R^d")
    ends = [measure.points if isinstance(measure, Discrete) else measure.means for measure in (mu, nu)]
    if max(float(np.abs(values).max()) for values in ends) > LARGEST:
        raise InvalidInput("x, y", "coordinates beyond 1e300", "distances that do not overflow", "rescale the line")


def _check_densities(*measures: Measure) -> None:
    for measure in measures:
        if isinstance(measure, GaussianMixture):
            measure.check_density()


def _present(measure: Measure) -> Measure:
    """A mixture without its components of weight 0, which would spoil the scale of the problem."""
    if isinstance(measure, Discrete) or (measure.weights > 0).all():
        return measure
    kept = measure.weights > 0
    return GaussianMixture(measure.means[kept], measure.covariances[kept], measure.weights[kept])


def _gaussians(mu: GaussianMixture, nu: GaussianMixture, p: float) -> tuple[float, float]:
    """The monotone map between Gaussians is affine: W_p is the p-norm of N(shift, stretch^2), p = 1 or 2; ball arithmetic."""
    first, second = (arb(float(law.covariances[0, 0, 0])) for law in (mu, nu))
    if mu.means[0, 0] == nu.means[0, 0] and first == second:
        return 0.0, 0.0
    with working_precision(CLOSED_FORM_BITS):
        shift = abs(arb(float(mu.means[0, 0])) - arb(float(nu.means[0, 0])))
        stretch = abs(first - second) / (first.sqrt() + second.sqrt())  # the difference of the roots, without cancellation
        if p == 2.0:
            value = (shift * shift + stretch * stretch).sqrt()
        elif first == second:
            value = shift
        else:
            z = shift / stretch
            value = 2 * stretch * normal_density(z) + shift * (1 - 2 * normal_cdf(-z))
        low, high = ends(value)
    return max(0.0, low), high


def _frame(mu: Measure, nu: Measure) -> tuple[float, float]:
    """A centre and a power of two near the spread of both measures, so that powers neither overflow nor cancel."""
    ends = []
    for measure in (mu, nu):
        if isinstance(measure, Discrete):
            ends += [float(measure.points.min()), float(measure.points.max())]
        else:
            deviations = np.sqrt(measure.covariances[:, 0, 0])
            ends += [float((measure.means[:, 0] - deviations).min()), float((measure.means[:, 0] + deviations).max())]
    _, exponent = np.frexp(max(ends) - min(ends))
    return min(ends) / 2 + max(ends) / 2, float(np.ldexp(1.0, int(exponent)))


def _framed(measure: Measure, centre: float, scale: float) -> Measure:
    if isinstance(measure, Discrete):
        return Discrete((measure.points - centre) / scale, measure.weights)
    return GaussianMixture((measure.means - centre) / scale, measure.covariances / scale / scale, measure.weights)


def _size(measure: Measure, centre: float, scale: float) -> float:
    """The largest coordinate after centring, in units of the scale."""
    middles = measure.points if isinstance(measure, Discrete) else measure.means
    return float(np.abs(middles - centre).max()) / scale


def _uniform(measure: Discrete) -> bool:
    shares = measure.shares
    return bool((shares == shares[0]).all())


def _sorted(measure: Discrete, clip: float | None) -> tuple[Array, Array]:
    """Points in increasing order and their running masses, right to one rounding and n steps of extended precision."""
    present = measure.present()
    points = present.points[:, 0] if clip is None else np.clip(present.points[:, 0], -clip, clip)
    order = np.argsort(points, kind="stable")
    running = np.cumsum(present.shares[order], dtype=np.longdouble)
    return points[order], np.asarray(running / running[-1], dtype=np.float64)


def _integral_of_gap(x: Array, y: Array, a: Array, b: Array, doubt: float) -> tuple[float, float]:
    """The integral of |F - G| and a bound of its error, for shares a and b that are divided by their sums."""
    points = np.concatenate((x, y))
    order = np.argsort(points)
    points = points[order]
    first, second = (shares / shares.sum() for shares in (a.astype(np.longdouble), b.astype(np.longdouble)))
    gap = np.cumsum(np.concatenate((first, -second))[order])[:-1]  # F - G between neighbours; ties have length 0
    lengths = np.diff(points)
    value = float(np.abs(gap) @ lengths)
    # sums of n shares, a division, running sums of n + m of them, which are at most 2 in total; the sum over the cells
    level_error = 4 * (len(points) + 2) * EXTENDED + doubt
    error = level_error * (float(points[-1]) - float(points[0])) + (gamma(3) + (len(points) + 2) * EXTENDED) * value
    return value, error * (1 + 8 * EPS)


def _continuous(mu: Discrete, nu: GaussianMixture, clip: float | None) -> tuple[float, float]:
    """W_1 of atoms and a mixture, enclosed: the ends are about 1e-15 of its deviation apart for every atom."""
    x, mass = _sorted(mu, clip)
    levels, low, high = mass[:-1], x[:-1], x[1:]
    f, antiderivative = np.minimum(nu.cdf(x), 1.0), nu.cdf_integral(x)
    # F crosses the level inside few intervals; in the others c - F has one sign and the crossing is put at an end
    crossing = np.where(levels <= f[:-1], low, high)
    inside = (f[:-1] < levels) & (levels < f[1:])
    if inside.any():
        crossing[inside] = np.clip(nu.quantile(levels[inside]), low[inside], high[inside])
    at_crossing = np.where(crossing == low, antiderivative[:-1], antiderivative[1:])
    at_crossing[inside] = nu.cdf_integral(crossing[inside])
    # differences of neighbouring points, which far from 0 are known better than the points' sums
    middle = levels * ((crossing - low) - (high - crossing)) + antiderivative[:-1] + antiderivative[1:] - 2 * at_crossing
    reflected = GaussianMixture(-nu.means, nu.covariances, nu.weights)
    outer = [(nu, x[0])], [(reflected, -x[-1])]
    if clip is not None:
        outer = [*outer[0], (nu, -clip)], [*outer[1], (reflected, -clip)]
    sides = [[float(law.cdf_integral(np.array(t))) for law, t in side] for side in outer]
    outside = [side[0] - (side[1] if len(side) > 1 else 0.0) for side in sides]
    below, above = total(np.concatenate((np.maximum(middle, 0.0), np.maximum(outside, 0.0))))

    noise = _integral_noise(nu, x)
    error = 2 * float(noise.sum()) + 2 * float(_integral_noise(nu, crossing).sum())
    error += sum(float(_integral_noise(law, np.array([t]))[0]) for side in outer for law, t in side)
    # the formula itself has four roundings of its terms, and each level those of a running mass
    sizes = levels * (high - low) + antiderivative[:-1] + antiderivative[1:] + 2 * at_crossing
    span = float(x[-1] - x[0])
    error += gamma(6) * float(sizes.sum()) + (2 * EPS + 2 * len(x) * EXTENDED) * span
    # a crossing at the wrong place makes the value too small, by twice the integral of |c - F| from it to the right place
    return max(0.0, below - error), above + error + _misplaced(nu, crossing, levels, low, high)


def _misplaced(nu: GaussianMixture, crossing: Array, levels: Array, low: Array, high: Array) -> float:
    if not len(crossing):
        return 0.0
    step = 4 * np.spacing(np.abs(crossing))
    noise = NORMAL_ERROR * (1 + len(nu.weights))
    left, here, right = (np.asarray(nu.cdf(crossing + sign * step)) for sign in (-1.0, 0.0, 1.0))
    near = (left + noise < levels) & (levels < right - noise)
    off = np.where(near, np.minimum(step, high - low), high - low)
    at_end = (crossing == low) & (here >= levels - noise) | (crossing == high) & (here <= levels + noise)
    # at an end c - F has one sign but for the noise
    wrong = np.where(at_end, 2 * noise, np.abs(here - levels) + noise)
    return 2 * float((off * wrong).sum())


def _integral_noise(nu: GaussianMixture, t: Array) -> Array:
    """A bound of the rounding of `cdf_integral`, for each unit of the condition number of its terms."""
    u, deviations = (t[:, None] - nu.means[:, 0]) / np.sqrt(nu.covariances[:, 0, 0]), np.sqrt(nu.covariances[:, 0, 0])
    density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
    return np.asarray(2 * NORMAL_ERROR * (deviations * (2 * np.abs(u) * ndtr(u) + (1 + u * u) * density)) @ nu.weights)
