r"""Differences of Gaussian mixtures on the line, and the integral of their absolute value, enclosed.

W_1 and total variation see two laws only through $\mu-\nu=\sum_kc_kN(m_k,s_k^2)$, so components that both laws share
cancel exactly. $W_1=\int|h|$ with $h=\sum c_k\Phi_k$, and $\mathrm{TV}=\frac12\int|h|$ with $h=\sum c_k\varphi_k$. Where
the sign of h is known, the integral of |h| is a difference of antiderivatives; it is known on a cell when the values at both
ends have one sign and are too large for |h'| to bring them to 0 in between. The cells where it is not are halved until they do
not matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from lipbounds.measures import GaussianMixture
from lipbounds.rounding import INTEGRAL_ERROR, NORMAL_ERROR, total

__all__ = ["SignedMixture", "absolute_integral", "difference", "framed"]

Array = NDArray[np.float64]
Level = Literal["density", "distribution"]

REACH = np.array(
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0]
)  # beyond 40 deviations nothing is left in float64
RELATIVE_GAP = 1e-14
CRAMER = 1.09  # |He_n(z)| exp(-z^2 / 4) <= CRAMER sqrt(n!)
MAX_CELLS = 200_000


@dataclass(frozen=True, eq=False)
class SignedMixture:
    """sum_k c_k N(m_k, S_k) with sum 0.

    Attributes:
        coefficients: c of shape (r,), none 0.
        means: Shape (r, d).
        covariances: Shape (r, d, d).
    """

    coefficients: Array
    means: Array
    covariances: Array


def difference(mu: GaussianMixture, nu: GaussianMixture) -> SignedMixture:
    """Return mu - nu with equal components merged; r = 0 if the laws are the same."""
    parts: dict[bytes, list[float]] = {}
    where: dict[bytes, tuple[Array, Array]] = {}
    for measure, sign in ((mu, 1.0), (nu, -1.0)):
        for weight, mean, covariance in zip(measure.weights, measure.means + 0.0, measure.covariances + 0.0, strict=True):
            key = mean.tobytes() + covariance.tobytes()
            parts.setdefault(key, []).append(sign * float(weight))
            where[key] = mean, covariance
    total = {key: math.fsum(weights) for key, weights in parts.items()}  # rounded once
    keys = [key for key, coefficient in total.items() if coefficient != 0.0]
    d = mu.dim
    return SignedMixture(
        np.array([total[key] for key in keys]),
        np.array([where[key][0] for key in keys]).reshape(-1, d),
        np.array([where[key][1] for key in keys]).reshape(-1, d, d),
    )


def framed(signed: SignedMixture) -> tuple[SignedMixture, Array, float]:
    """Return the mixture moved and divided by a power of two near its size, so that powers of widths stay finite.

    Both steps are exact: it is moved by its first mean if no difference to that is rounded (as when all means are far from 0
    and near each other), else not at all. A rounded mean could be many deviations of a narrow component off.
    """
    if len(signed.coefficients) == 0:
        return signed, np.zeros(signed.means.shape[1]), 1.0
    centre = signed.means[0]
    means = signed.means - centre
    back = means + centre
    if ((signed.means - back) + (back - means - centre)).any():  # what the subtraction lost
        centre, means = np.zeros_like(centre), signed.means
    deviations = np.sqrt(np.diagonal(signed.covariances, axis1=1, axis2=2))
    size = max(float(np.abs(means).max()), float(deviations.max()))
    scale = float(np.ldexp(1.0, int(np.frexp(size)[1])))
    return SignedMixture(signed.coefficients, means / scale, signed.covariances / scale / scale), centre, scale


def absolute_integral(signed: SignedMixture, level: Level, low: float = -np.inf, high: float = np.inf) -> tuple[float, float]:
    """Enclose the integral over [low, high] of |h|, h the signed density or distribution function on the line.

    Both ends include a bound of the rounding, some ulps of the terms of h where they do not cancel.
    """
    if len(signed.coefficients) == 0:
        return 0.0, 0.0
    signed, (centre,), scale = framed(signed)
    low, high = (low - centre) / scale, (high - centre) / scale
    unit = scale if level == "distribution" else 1.0
    h = _Line(signed, level)
    edges = np.unique(np.concatenate([h.means[:, None] + h.deviations[:, None] * sign * REACH for sign in (-1.0, 1.0)]))
    edges = np.unique(np.clip(np.concatenate((edges, [low, high])), max(low, edges[0]), min(high, edges[-1])))
    if len(edges) < 2:  # all mass lies on one side of the interval
        return 0.0, 0.0
    a, b = edges[:-1], edges[1:]
    floor = float(np.abs(h.c) @ (h.deviations + np.ptp(h.means) if level == "distribution" else np.ones(len(h.c))))
    unknown_lower = unknown_upper = 0.0
    known: list[tuple[Array, Array, Array]] = []
    while len(a):
        sign, below, above = h.look(a, b)
        gap = np.where(sign == 0, above - below, 0.0)
        middle = a + (b - a) / 2
        limit = max(RELATIVE_GAP * (unknown_lower + float(below.sum())), INTEGRAL_ERROR * floor) / max(len(a), 100)
        divided = (gap > limit) & (a < middle) & (middle < b)
        if np.count_nonzero(divided) > MAX_CELLS:
            divided[:] = False
        settled = ~divided & (sign == 0)
        unknown_lower = max(0.0, total(np.append(below[settled], unknown_lower))[0])
        unknown_upper = total(np.append(above[settled], unknown_upper))[1]
        known.append((a[sign != 0], b[sign != 0], sign[sign != 0]))
        a, b, middle = a[divided], b[divided], middle[divided]
        a, b = np.concatenate((a, middle)), np.concatenate((middle, b))
    below, above = h.integrals(*_runs(known))
    lower, upper = total(np.append(below, unknown_lower))[0], total(np.append(above, unknown_upper))[1]
    return unit * max(0.0, lower), unit * upper


def _runs(known: list[tuple[Array, Array, Array]]) -> tuple[Array, Array]:
    """Merge neighbouring cells of one sign: one difference of antiderivatives a run, so that rounding does not pile up."""
    a, b, sign = (np.concatenate(column) for column in zip(*known, strict=True))
    order = np.argsort(a)
    a, b, sign = a[order], b[order], sign[order]
    first = np.ones(len(a), dtype=bool)
    first[1:] = (a[1:] != b[:-1]) | (sign[1:] != sign[:-1])
    last = np.append(first[1:], True)[: len(a)]
    return a[first], b[last]


class _Line:
    """The function h on the line: values, antiderivative, and bounds of the slope on cells."""

    def __init__(self, signed: SignedMixture, level: Level) -> None:
        self.c = signed.coefficients
        self.size = np.abs(self.c)
        self.means, self.deviations = signed.means[:, 0], np.sqrt(signed.covariances[:, 0, 0])
        self.level = level
        self.centre = float(self.means.mean())

    def _standard(self, t: Array) -> Array:
        return np.asarray((t[:, None] - self.means) / self.deviations)

    def value(self, t: Array) -> tuple[Array, Array]:
        """h(t) and a bound of its rounding; the distribution function from the side where its terms are small."""
        z = self._standard(t)
        if self.level == "density":
            terms = _phi(z) / self.deviations
            return terms @ self.c, NORMAL_ERROR * (terms * (1 + z * z)) @ self.size
        left = t <= self.centre
        z = np.where(left[:, None], z, -z)
        terms = ndtr(z)
        return np.where(left, 1.0, -1.0) * (terms @ self.c), NORMAL_ERROR * (terms + np.abs(z) * _phi(z)) @ self.size

    def integrals(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Bounds of the absolute value of the integral of h over [a, b], with rounding; again from one side."""
        za, zb = self._standard(a), self._standard(b)
        if self.level == "density":
            flip = za + zb > 0
            za, zb = np.where(flip, -zb, za), np.where(flip, -za, zb)
            value = (ndtr(zb) - ndtr(za)) @ self.c
            noise = (ndtr(zb) + ndtr(za) + np.abs(za) * _phi(za) + np.abs(zb) * _phi(zb)) @ self.size
        else:
            right = (a + (b - a) / 2 > self.centre)[:, None]
            za, zb = np.where(right, -za, za), np.where(right, -zb, zb)
            value = self.deviations * (_ramp(zb) - _ramp(za)) @ self.c
            rest = [np.abs(_ramp(z)) + np.abs(z) * ndtr(z) + (1 + z * z) * _phi(z) for z in (za, zb)]
            noise = self.deviations * (rest[0] + rest[1]) @ self.size
        value, noise = np.abs(value), NORMAL_ERROR * noise
        return np.maximum(value - noise, 0.0), value + noise

    def slope_bound(self, a: Array, b: Array) -> Array:
        """An upper bound of |h'| on [a, b]; infinite where a component is too narrow for its powers."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            bound = self._slope_bound(a, b)
        return np.where(np.isnan(bound), np.inf, bound)

    def _slope_bound(self, a: Array, b: Array) -> Array:
        """From the extremes of each term."""
        za, zb = self._standard(a), self._standard(b)
        if self.level == "distribution":
            greatest = _phi(np.clip(0.0, za, zb)) / self.deviations
            least = np.minimum(_phi(za), _phi(zb)) / self.deviations
        else:  # the slope -z phi(z) of the density has its extremes at -1 and 1
            ends = np.stack([_slope(z) for z in (za, zb, np.clip(-1.0, za, zb), np.clip(1.0, za, zb))])
            greatest, least = ends.max(0) / self.deviations**2, ends.min(0) / self.deviations**2
        plus, minus = np.maximum(self.c, 0.0), np.minimum(self.c, 0.0)
        above, below = greatest @ plus + least @ minus, least @ plus + greatest @ minus
        # Taylor from the middle sees near equal components cancel, which the extremes of single terms do not
        half = (b - a) / 2
        z = self._standard(a + half)
        nearest = np.clip(0.0, za, zb)
        first = 1 if self.level == "distribution" else 2
        slope, curvature = (abs(_hermite(n - 1, z) / self.deviations**n @ self.c) for n in (first, first + 1))
        last = CRAMER * np.sqrt(math.factorial(first + 1) / (2 * np.pi)) * np.exp(-0.25 * nearest**2)
        taylor = slope + half * curvature + half**2 / 2 * (last / self.deviations ** (first + 2) @ np.abs(self.c))
        return np.asarray(np.fmin(np.maximum(np.abs(above), np.abs(below)), taylor))

    def look(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """The sign of h on each cell, 0 where it is not known, and bounds of the integral of |h|."""
        width = b - a
        (ha, noise_a), (hb, noise_b) = self.value(a), self.value(b)
        drop = self.slope_bound(a, b) * width
        left, right = np.abs(ha) + noise_a, np.abs(hb) + noise_b
        sure = (np.abs(ha) > noise_a) & (np.abs(hb) > noise_b) & (np.sign(ha) == np.sign(hb))
        sure &= left + right - 2 * (noise_a + noise_b) > drop
        below, above = self.integrals(a, b)
        # the largest function with these ends and slopes is a tent; drop can be below |left - right| by rounding
        drop = np.maximum(drop, np.abs(left - right))
        curvature = drop - np.divide((left - right) ** 2, drop, out=np.zeros_like(drop), where=drop > 0)
        tent = np.minimum(width * ((left + right) / 2 + curvature / 4), self.ceiling(a, b))
        return np.where(sure, np.sign(ha), 0.0), below, np.where(sure, above, np.maximum(below, tent))

    def ceiling(self, a: Array, b: Array) -> Array:
        """A bound of the integral of |h| by its terms: it decides where a component is narrower than the floats resolve."""
        if self.level == "distribution":
            return np.asarray((b - a) * self.size.sum() / 2)
        za, zb = self._standard(a), self._standard(b)
        flip = za + zb > 0
        za, zb = np.where(flip, -zb, za), np.where(flip, -za, zb)
        return np.asarray((ndtr(zb) * (1 + NORMAL_ERROR) - ndtr(za) * (1 - NORMAL_ERROR)) @ self.size)


def _phi(z: Array) -> Array:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def _slope(z: Array) -> Array:
    return np.asarray(-z * _phi(z))


def _hermite(n: int, z: Array) -> Array:
    """The n-th derivative of phi."""
    polynomial = (np.ones_like(z), -z, z * z - 1, 3 * z - z**3)[n]
    return np.asarray(polynomial * _phi(z))


def _ramp(z: Array) -> Array:
    """The antiderivative of Phi that vanishes at minus infinity."""
    return np.asarray(z * ndtr(z) + _phi(z))
