"""Closed forms between two Gaussians: W_2, Kullback-Leibler, Hellinger, and what they say about total variation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, solve_triangular
from scipy.special import erf

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture
from lipbounds.rounding import EPS

__all__ = [
    "bhattacharyya",
    "gaussian_kl",
    "gaussian_total_variation",
    "gaussian_wasserstein_2",
    "total_variation_from_kl",
]

Array = NDArray[np.float64]

SMALL = 1e-3  # below, series: their next terms are below 1e-13 of the first
ROUNDING = 1e-14


def _pair(mu: GaussianMixture, nu: GaussianMixture) -> tuple[Array, Array, Array]:
    """Mean difference and both covariances."""
    for name, measure in (("mu", mu), ("nu", nu)):
        if len(measure.weights) != 1:
            raise InvalidInput(name, f"{len(measure.weights)} components", "one Gaussian", "no closed form exists for mixtures")
    if mu.dim != nu.dim:
        raise InvalidInput("mu, nu", (mu.dim, nu.dim), "one dimension", "compare measures on one space")
    return mu.means[0] - nu.means[0], mu.covariances[0], nu.covariances[0]


def gaussian_wasserstein_2(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Return $W_2=\big(|m-m'|^2+\mathrm{tr}(S+S'-2(S'^{1/2}SS'^{1/2})^{1/2})\big)^{1/2}$, the root.

    The trace is computed as $\|S^{1/2}-S'^{1/2}U\|_F^2$ with the best orthogonal U, a sum of squares, so near equal laws do not
    cancel. The ends include its rounding, some ulps of the largest deviation times the roots of the condition numbers.

    Args:
        mu: One component.
        nu: One component, same dimension.

    Returns:
        An EXACT enclosure.

    Raises:
        InvalidInput: For mixtures or unequal dimensions.

    Source:
        Gelbrich, On a formula for the L2 Wasserstein metric between measures on Euclidean and Hilbert spaces (1990).

    Example:
        >>> from lipbounds.measures import gaussian
        >>> from numpy import eye
        >>> gaussian_wasserstein_2(gaussian([3.0, 0.0], 2 * eye(2)), gaussian([0.0, 4.0], 2 * eye(2))).upper
        5.0
    """
    shift, first, second = _pair(mu, nu)
    error = 0.0
    if np.array_equal(first, second):
        value = math.hypot(*shift)
    else:
        a, b = np.linalg.cholesky(first), np.linalg.cholesky(second)
        # tr (S'^(1/2) S S'^(1/2))^(1/2) is the sum of the singular values of b^T a; the polar factor attains it
        u, _, v = np.linalg.svd(b.T @ a)
        value = math.hypot(math.hypot(*shift), float(np.linalg.norm(a - b @ (u @ v))))
        widths = [np.sqrt(np.linalg.eigvalsh(matrix)) for matrix in (first, second)]
        condition = sum(float(width[-1] / max(width[0], np.finfo(float).tiny)) for width in widths)
        error = 4 * len(shift) * EPS * condition * max(float(width[-1]) for width in widths)
    return Enclosure(max(0.0, value - error), value + error, Guarantee.EXACT, "closed form")


def gaussian_kl(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Return $\mathrm{KL}(\mu\,\|\,\nu)=\frac12\big(\sum_i(\lambda_i-1-\ln\lambda_i)+\Delta^TS'^{-1}\Delta\big)$ in nats.

    $\lambda_i$ are the eigenvalues of $S'^{-1}S$. Rounding: some ulps times the condition number of S'.

    Args:
        mu: One component.
        nu: One component, same dimension.

    Returns:
        Both ends equal, EXACT.

    Raises:
        InvalidInput: For mixtures or unequal dimensions.

    Example:
        >>> from lipbounds.measures import gaussian
        >>> gaussian_kl(gaussian([1.0], [[1.0]]), gaussian([0.0], [[1.0]])).upper
        0.5
    """
    shift, first, second = _pair(mu, nu)
    ratios = _ratios(first, second)
    white = solve_triangular(np.linalg.cholesky(second), shift, lower=True)
    d = ratios
    # lambda - 1 - ln(lambda) with lambda = 1 + d cancels for small d
    spread = np.where(np.abs(d) < SMALL, d * d * (0.5 - d / 3 + d * d / 4), d - np.log1p(d))
    value = 0.5 * float(spread.sum() + white @ white)
    return Enclosure(value, value, Guarantee.EXACT, "closed form")


def bhattacharyya(mu: GaussianMixture, nu: GaussianMixture) -> float:
    r"""Return $-\ln\int\sqrt{pq}$, the Bhattacharyya distance of two Gaussians; the Hellinger affinity is exp of its negative.

    Example:
        >>> from lipbounds.measures import gaussian
        >>> bhattacharyya(gaussian([2.0], [[1.0]]), gaussian([0.0], [[1.0]]))
        0.5
    """
    shift, first, second = _pair(mu, nu)
    middle = (first + second) / 2
    white = solve_triangular(np.linalg.cholesky(middle), shift, lower=True)
    d = _ratios(first, second)
    # ln det M - (ln det S + ln det S') / 2 = sum ln((2 + d) / 2) - ln(1 + d) / 2, which cancels for small d
    spread = np.where(np.abs(d) < SMALL, d * d * (1 - d + 0.875 * d * d) / 8, np.log1p(d / 2) - np.log1p(d) / 2)
    return float(white @ white) / 8 + max(0.0, 0.5 * float(spread.sum()))


def _ratios(first: Array, second: Array) -> Array:
    """Eigenvalues of S'^{-1} S, minus 1."""
    values: Array = eigh(first - second, second, eigvals_only=True)
    return np.asarray(np.maximum(values, np.nextafter(-1.0, 0.0)))


def total_variation_from_kl(kl: float) -> Enclosure:
    r"""Bound the total variation by the Kullback-Leibler divergence (nats), in either order of the measures.

    $\mathrm{TV}\le\min\{\sqrt{\mathrm{KL}/2},\ \sqrt{1-e^{-\mathrm{KL}}}\}$: Pinsker for small, Bretagnolle and Huber for large
    divergences, where Pinsker's bound passes 1.

    Args:
        kl: An upper bound of the divergence, >= 0; infinity is allowed.

    Returns:
        [0, bound], EXACT.

    Raises:
        InvalidInput: For a negative or NaN divergence.

    Source:
        Tsybakov, Introduction to nonparametric estimation (2009), Lemma 2.5 and equation (2.25).

    Example:
        >>> total_variation_from_kl(0.02).upper, total_variation_from_kl(float("inf")).upper
        (0.1, 1.0)
    """
    if not kl >= 0.0:
        raise InvalidInput("kl", kl, "a number >= 0", "pass the divergence in nats")
    pinsker, bretagnolle_huber = math.sqrt(kl / 2), math.sqrt(-math.expm1(-kl))
    if pinsker == 0.0 < kl:  # the half of the smallest double
        pinsker = math.sqrt(kl)
    if pinsker <= bretagnolle_huber:
        return Enclosure(0.0, pinsker, Guarantee.EXACT, "Pinsker")
    return Enclosure(0.0, bretagnolle_huber, Guarantee.EXACT, "Bretagnolle-Huber")


def gaussian_total_variation(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Enclose the total variation of two Gaussians in any dimension.

    For equal covariances it is $2\Phi(|S^{-1/2}\Delta|/2)-1$. Otherwise the lower end is the best of $1-BC$ and the half-spaces
    of the direction $(S+S')^{-1}\Delta$, the upper end the best of $\sqrt{1-BC^2}$ and Pinsker's and Bretagnolle and Huber's
    bounds in both orders; BC is the Hellinger affinity.

    Args:
        mu: One component.
        nu: One component, same dimension.

    Returns:
        An EXACT enclosure in [0, 1]; in up to 3 dimensions `total_variation` is sharper. Rounding: some ulps times the
        condition number of the covariances, relative.

    Raises:
        InvalidInput: For mixtures or unequal dimensions.

    Source:
        Tsybakov, Introduction to nonparametric estimation (2009), Lemma 2.3.

    Example:
        >>> from lipbounds.measures import gaussian
        >>> round(gaussian_total_variation(gaussian([2.0], [[1.0]]), gaussian([0.0], [[1.0]])).upper, 6)
        0.682689
    """
    shift, first, second = _pair(mu, nu)
    if np.array_equal(first, second):
        white = solve_triangular(np.linalg.cholesky(first), shift, lower=True)
        half = float(np.linalg.norm(white)) / 2
        value = float(erf(half / math.sqrt(2)))
        return Enclosure(value, value, Guarantee.EXACT, "closed form")
    distance = bhattacharyya(mu, nu)
    upper = min(
        math.sqrt(-math.expm1(-2 * distance)),
        total_variation_from_kl(gaussian_kl(mu, nu).upper).upper,
        total_variation_from_kl(gaussian_kl(nu, mu).upper).upper,
    )
    lower = -math.expm1(-distance)
    direction = np.linalg.solve((first + second) / 2, shift)
    if direction.any():
        # along it: the half-space between the means where both projected deviations are equally far
        deviations = [math.sqrt(float(direction @ s @ direction)) for s in (first, second)]
        reach = float(direction @ shift) / sum(deviations)
        lower = max(lower, float(erf(reach / math.sqrt(2))))
    lower, upper = lower * (1 - ROUNDING), min(1.0, upper * (1 + ROUNDING))
    return Enclosure(min(lower, upper), upper, Guarantee.EXACT, "Hellinger, half-spaces and divergences")
