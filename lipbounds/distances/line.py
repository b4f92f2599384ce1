r"""Wasserstein distances on the line, exactly: $W_1(\mu,\nu)=\int|F_\mu-F_\nu|$ and $W_p^p=\int_0^1|F_\mu^{-1}-F_\nu^{-1}|^p$.

No sampling of a continuous measure: between two atoms the empirical distribution function is constant, and the integral of
|c - F| over an interval is a difference of antiderivatives of F.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from lipbounds.distances.inputs import Points, as_measure
from lipbounds.distances.quantiles import LARGEST_EXPONENT, wasserstein_power
from lipbounds.distances.signed import absolute_integral, difference
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.rounding import EPS

__all__ = ["monotone_cost", "monotone_plan", "wasserstein_1_line", "wasserstein_line"]

Array = NDArray[np.float64]
Measure = Discrete | GaussianMixture

LARGEST = 1e300


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
        if p == 1.0:
            return _exact(_discrete(mu, nu, None), "integral of |F - G|")
        lower, upper = monotone_cost(mu.points[:, 0], nu.points[:, 0], mu.weights, nu.weights, p)
        return Enclosure(lower, upper, Guarantee.EXACT, "monotone coupling")
    if isinstance(mu, GaussianMixture) and isinstance(nu, GaussianMixture) and len(mu.weights) == len(nu.weights) == 1 and p <= 2:
        closed = _gaussians(mu, nu, p)
        if closed is not None:
            return _exact(closed, "closed form")
    if p == 1.0:
        return wasserstein_1_line(mu, nu)
    if p > LARGEST_EXPONENT:
        raise InvalidInput("p", p, f"at most {LARGEST_EXPONENT} for mixtures", "use a smaller exponent")
    if isinstance(mu, GaussianMixture) and isinstance(nu, GaussianMixture) and len(difference(mu, nu).coefficients) == 0:
        return _exact(0.0, "equal laws")
    centre, scale = _frame(mu, nu)
    lower, upper = wasserstein_power(_framed(mu, centre, scale), _framed(nu, centre, scale), p, p * tolerance)
    return Enclosure(scale * lower ** (1 / p), scale * upper ** (1 / p), Guarantee.EXACT, "cells of quantiles")


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
    if clip is not None and not 0.0 < clip < np.inf:
        raise InvalidInput("clip", clip, "a finite number > 0", "clip at the width of the statistic")
    method = "integral of |F - G|"
    if isinstance(mu, Discrete):
        return _exact(_discrete(mu, nu, clip) if isinstance(nu, Discrete) else _continuous(mu, nu, clip), method)
    if isinstance(nu, Discrete):
        return _exact(_continuous(nu, mu, clip), method)
    reach = np.inf if clip is None else clip
    lower, upper = absolute_integral(difference(mu, nu), "distribution", -reach, reach)
    return Enclosure(lower, upper, Guarantee.EXACT, method)


def monotone_plan(tx: Array, ty: Array, a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return the optimal plan between atoms on the line, for every p: indices into tx and ty, and masses."""
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


def monotone_cost(tx: Array, ty: Array, a: Array, b: Array, p: float) -> tuple[float, float]:
    """Enclose W_p of atoms on the line.

    Running sums of masses round: the coupling found is that of masses which differ by at most (n + m) / 2 ulps in total, and
    each ulp costs at most the largest distance to the power p.
    """
    tx, a, ty, b = tx[a > 0], a[a > 0], ty[b > 0], b[b > 0]
    if len(tx) == len(ty) and (a == a[0]).all() and (b == b[0]).all():
        gaps, masses, error = np.abs(np.sort(tx) - np.sort(ty)), a, 0.0
    else:
        i, j, masses = monotone_plan(tx, ty, a, b)
        gaps, error = np.abs(tx[i] - ty[j]), (len(tx) + len(ty)) * EPS
    largest = max(float(tx.max()) - float(ty.min()), float(ty.max()) - float(tx.min()))
    if largest <= 0.0:
        return 0.0, 0.0
    power = float((gaps / largest) ** p @ masses)
    return largest * max(power - error, 0.0) ** (1 / p), largest * (power + error) ** (1 / p)


def _exact(value: float, method: str) -> Enclosure:
    return Enclosure(value, value, Guarantee.EXACT, method)


def _check_line(mu: Measure, nu: Measure) -> None:
    for name, measure in (("x", mu), ("y", nu)):
        if measure.dim != 1:
            raise InvalidInput(name, f"dimension {measure.dim}", "dimension 1", "use wasserstein for points of R^d")
    ends = [measure.points if isinstance(measure, Discrete) else measure.means for measure in (mu, nu)]
    if max(float(np.abs(values).max()) for values in ends) > LARGEST:
        raise InvalidInput("x, y", "coordinates beyond 1e300", "distances that do not overflow", "rescale the line")


def _present(measure: Measure) -> Measure:
    """A mixture without its components of weight 0, which would spoil the scale of the problem."""
    if isinstance(measure, Discrete) or (measure.weights > 0).all():
        return measure
    kept = measure.weights > 0
    return GaussianMixture(measure.means[kept], measure.covariances[kept], measure.weights[kept])


def _gaussians(mu: GaussianMixture, nu: GaussianMixture, p: float) -> float | None:
    """The monotone map between Gaussians is affine: W_p is the p-norm of N(shift, stretch^2)."""
    shift = abs(float(mu.means[0, 0] - nu.means[0, 0]))
    stretch = abs(math.sqrt(float(mu.covariances[0, 0, 0])) - math.sqrt(float(nu.covariances[0, 0, 0])))
    if p == 2.0:
        return math.hypot(shift, stretch)
    if p == 1.0:
        if stretch == 0.0:
            return shift
        z = shift / stretch
        return stretch * math.sqrt(2 / math.pi) * math.exp(-z * z / 2) + shift * float(ndtr(z) - ndtr(-z))
    return None


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


def _uniform(measure: Discrete) -> bool:
    return bool((measure.weights == measure.weights[0]).all())


def _sorted(measure: Discrete, clip: float | None) -> tuple[Array, Array]:
    present = measure.weights > 0
    points, weights = measure.points[present, 0], measure.weights[present]
    if clip is not None:
        points = np.clip(points, -clip, clip)
    order = np.argsort(points, kind="stable")
    return points[order], np.minimum(np.cumsum(weights[order]), 1.0)


def _discrete(mu: Discrete, nu: Discrete, clip: float | None) -> float:
    if clip is None and len(mu.weights) == len(nu.weights) and _uniform(mu) and _uniform(nu):
        return float(np.abs(np.sort(mu.points[:, 0]) - np.sort(nu.points[:, 0])).mean())
    points = np.concatenate((mu.points[:, 0], nu.points[:, 0]))
    if clip is not None:
        points = np.clip(points, -clip, clip)
    order = np.argsort(points)
    gap = np.cumsum(np.concatenate((mu.weights, -nu.weights))[order])[:-1]  # F - G between neighbours; ties have length 0
    return float(np.abs(gap) @ np.diff(points[order]))


def _continuous(mu: Discrete, nu: GaussianMixture, clip: float | None) -> float:
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
    middle = levels * (2 * crossing - low - high) + antiderivative[:-1] + antiderivative[1:] - 2 * at_crossing
    first, last = np.array(x[0]), np.array(x[-1])
    reflected = GaussianMixture(-nu.means, nu.covariances, nu.weights)
    left, right = nu.cdf_integral(first), reflected.cdf_integral(-last)
    if clip is not None:
        left, right = left - nu.cdf_integral(np.array(-clip)), right - reflected.cdf_integral(np.array(-clip))
    return float(np.maximum(middle, 0.0).sum() + left + right)
