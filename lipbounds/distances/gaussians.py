"""Closed forms between two Gaussians: W_2, Kullback-Leibler, Hellinger, and what they say about total variation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from lipbounds.arb import column, ends, exact_row, working_precision
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InconsistentBounds, InvalidInput
from lipbounds.measures import GaussianMixture
from lipbounds.rounding import EPS, gamma

__all__ = [
    "bhattacharyya",
    "gaussian_kl",
    "gaussian_total_variation",
    "gaussian_wasserstein_2",
    "total_variation_from_kl",
]

Array = NDArray[np.float64]

PRECISIONS = (128, 256, 512, 1024, 2048, 4096)  # bits that are tried until the ends agree
AGREED = 1e-15  # relative width at which they do


def _pair(mu: GaussianMixture, nu: GaussianMixture, *, densities: bool = False) -> tuple[Array, Array, Array]:
    """Mean difference and both covariances, which must not be singular where densities are compared."""
    for name, measure in (("mu", mu), ("nu", nu)):
        if len(measure.weights) != 1:
            raise InvalidInput(name, f"{len(measure.weights)} components", "one Gaussian", "no closed form exists for mixtures")
    if mu.dim != nu.dim:
        raise InvalidInput("mu, nu", (mu.dim, nu.dim), "one dimension", "compare measures on one space")
    for name, measure in (("mu", mu), ("nu", nu)):
        if densities and measure.singular:
            raise InvalidInput(name, "a singular covariance", "a law with a density", "compare the laws on the range of both")
    return mu.means[0] - nu.means[0], mu.covariances[0], nu.covariances[0]


def gaussian_wasserstein_2(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Return $W_2=\big(|m-m'|^2+\mathrm{tr}(S+S'-2(S'^{1/2}SS'^{1/2})^{1/2})\big)^{1/2}$, the root.

    The trace is computed as $\|S^{1/2}-S'^{1/2}U\|_F^2$ with the best orthogonal U, a sum of squares, so near equal laws do not
    cancel. The covariances may be singular. The ends include the rounding: some ulps of the largest deviation times the roots of
    the condition numbers, and at most $10^{-8}\sqrt d$ of it for near singular covariances; none where both are diagonal.

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
    if all(np.array_equal(matrix, np.diag(np.diagonal(matrix))) for matrix in (first, second)):
        with working_precision(PRECISIONS[0]):
            gaps = [_root_gap(a, b) for a, b in zip(np.diagonal(first).tolist(), np.diagonal(second).tolist(), strict=True)]
            low, high = ends(sum((gap * gap for gap in [*gaps, *_exact_shift(mu, nu)]), arb(0)).sqrt())
        return Enclosure(max(0.0, low), high, Guarantee.EXACT, "closed form")
    moved = math.hypot(*shift)
    rounding = gamma(len(shift) + 8)
    if np.array_equal(first, second):
        return Enclosure(moved * (1 - rounding), moved * (1 + rounding), Guarantee.EXACT, "closed form")
    a, b = _factor(first), _factor(second)
    # tr (S'^(1/2) S S'^(1/2))^(1/2) is the sum of the singular values of b^T a; the polar factor attains it
    u, _, v = np.linalg.svd(b.T @ a)
    value = math.hypot(moved, float(np.linalg.norm(a - b @ (u @ v))))
    error = _root_error(first) + _root_error(second)
    return Enclosure(max(0.0, value * (1 - rounding) - error), value * (1 + rounding) + error, Guarantee.EXACT, "closed form")


def _root_gap(a: float, b: float) -> arb:
    """The difference of the roots of two numbers, without cancellation."""
    return arb(0) if a == b else (arb(a) - arb(b)) / (arb(a).sqrt() + arb(b).sqrt())


def _exact_shift(mu: GaussianMixture, nu: GaussianMixture) -> list[arb]:
    return [a - b for a, b in zip(exact_row(mu.means[0]), exact_row(nu.means[0]), strict=True)]


def _factor(matrix: Array) -> Array:
    """a with a a^T = S up to rounding, also for a singular S."""
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _root_error(matrix: Array) -> float:
    r"""By how much the rounding of a factor can change W_2: the Frobenius norm of a difference of roots.

    With $\|aa^T-S\|_F\le\eta$ it is at most $\eta/\sqrt{\lambda_{\min}}$, and at most $(\sqrt d\,\eta)^{1/2}$ (Powers and Stormer
    1970). A Cholesky factor has $\eta\le\gamma_{d+1}\mathrm{tr}\,S$ (Higham, Theorem 10.3), that by eigh, where the first
    fails, at most 16 d ulps of the norm. Products with orthogonal factors round by some d ulps of the root.
    """
    d = len(matrix)
    values = np.linalg.eigvalsh(matrix)
    largest = float(values[-1]) * (1 + d * EPS)
    least = float(values[0]) - 4 * d * EPS * largest
    products = gamma(4 * d) * math.sqrt(float(np.trace(matrix)))
    if least > 0.0:
        residual = gamma(d + 2) * float(np.trace(matrix))
        return min(math.sqrt(math.sqrt(d) * residual), residual / math.sqrt(least)) + products
    return math.sqrt(math.sqrt(d) * 16 * d * math.sqrt(d) * EPS * largest) + products


def _closing(value: Callable[[], arb]) -> tuple[float, float]:
    """Evaluate in ball arithmetic with more and more bits, until both ends agree; the last ends if they never do."""
    low, high = -math.inf, math.inf
    for bits in PRECISIONS:
        with working_precision(bits):
            low, high = ends(value())
        if high - low <= AGREED * max(abs(low), abs(high)) and math.isfinite(low):
            break
    return low, high


def _exact_matrix(matrix: Array) -> arb_mat:
    return arb_mat(matrix.tolist())


def _form(matrix: arb_mat, vector: list[arb]) -> arb:
    """v^T M^{-1} v; unknown where the ball of the matrix has singular ones."""
    try:
        solved = matrix.solve(column(vector))
    except ZeroDivisionError:
        return arb("nan")
    return sum((v * solved[i, 0] for i, v in enumerate(vector)), arb(0))


def gaussian_kl(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Return $\mathrm{KL}(\mu\,\|\,\nu)=\frac12\big(\sum_i(\lambda_i-1-\ln\lambda_i)+\Delta^TS'^{-1}\Delta\big)$ in nats.

    $\lambda_i$ are the eigenvalues of $S'^{-1}S$: the sum is $\mathrm{tr}(S'^{-1}S)-d-\ln\det S+\ln\det S'$, in ball arithmetic.

    Args:
        mu: One component.
        nu: One component, same dimension.

    Returns:
        An EXACT enclosure, about 1e-15 wide (relative).

    Raises:
        InvalidInput: For mixtures, unequal dimensions or singular covariances.

    Example:
        >>> from lipbounds.measures import gaussian
        >>> round(gaussian_kl(gaussian([1.0], [[1.0]]), gaussian([0.0], [[1.0]])).upper, 12)
        0.5
    """
    _, first, second = _pair(mu, nu, densities=True)
    d = mu.dim

    def value() -> arb:
        s, t = _exact_matrix(first), _exact_matrix(second)
        try:
            ratio = t.solve(s)
        except ZeroDivisionError:
            return arb("nan")
        trace = sum((ratio[i, i] for i in range(d)), arb(0))
        return (trace - d - s.det().log() + t.det().log() + _form(t, _exact_shift(mu, nu))) / 2

    low, high = _closing(value)
    return Enclosure(max(0.0, low), high, Guarantee.EXACT, "closed form, ball arithmetic")


def bhattacharyya(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Enclose $-\ln\int\sqrt{pq}$, the Bhattacharyya distance of two Gaussians; the Hellinger affinity is exp of its negative.

    Example:
        >>> from lipbounds.measures import gaussian
        >>> round(bhattacharyya(gaussian([2.0], [[1.0]]), gaussian([0.0], [[1.0]])).upper, 12)
        0.5
    """
    _, first, second = _pair(mu, nu, densities=True)

    def value() -> arb:
        s, t = _exact_matrix(first), _exact_matrix(second)
        middle = (s + t) / 2
        spread = middle.det().log() - (s.det().log() + t.det().log()) / 2
        return spread / 2 + _form(middle, _exact_shift(mu, nu)) / 8

    low, high = _closing(value)
    return Enclosure(max(0.0, low), high, Guarantee.EXACT, "closed form, ball arithmetic")


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
        >>> round(total_variation_from_kl(0.02).upper, 12), total_variation_from_kl(float("inf")).upper
        (0.1, 1.0)
    """
    if not kl >= 0.0:
        raise InvalidInput("kl", kl, "a number >= 0", "pass the divergence in nats")
    if kl in (0.0, math.inf):
        return Enclosure(0.0, 0.0 if kl == 0.0 else 1.0, Guarantee.EXACT, "equal laws" if kl == 0.0 else "no bound")
    with working_precision(PRECISIONS[0]):
        pinsker, bretagnolle_huber = ends((arb(kl) / 2).sqrt())[1], ends((-(-arb(kl)).expm1()).sqrt())[1]
    if pinsker <= bretagnolle_huber:
        return Enclosure(0.0, pinsker, Guarantee.EXACT, "Pinsker")
    return Enclosure(0.0, min(1.0, bretagnolle_huber), Guarantee.EXACT, "Bretagnolle-Huber")


def gaussian_total_variation(mu: GaussianMixture, nu: GaussianMixture) -> Enclosure:
    r"""Enclose the total variation of two Gaussians in any dimension.

    For equal covariances it is $2\Phi(|S^{-1/2}\Delta|/2)-1$. Otherwise the lower end is the best of $1-BC$ and the half-spaces
    of the direction $(S+S')^{-1}\Delta$, the upper end the best of $\sqrt{1-BC^2}$ and Pinsker's and Bretagnolle and Huber's
    bounds in both orders; BC is the Hellinger affinity.

    Args:
        mu: One component.
        nu: One component, same dimension.

    Returns:
        An EXACT enclosure in [0, 1]; in up to 3 dimensions `total_variation` is sharper.

    Raises:
        InvalidInput: For mixtures, unequal dimensions or singular covariances.

    Source:
        Tsybakov, Introduction to nonparametric estimation (2009), Lemma 2.3.

    Example:
        >>> from lipbounds.measures import gaussian
        >>> round(gaussian_total_variation(gaussian([2.0], [[1.0]]), gaussian([0.0], [[1.0]])).upper, 6)
        0.682689
    """
    shift, first, second = _pair(mu, nu, densities=True)
    if np.array_equal(first, second):
        if not shift.any():
            return Enclosure(0.0, 0.0, Guarantee.EXACT, "equal laws")
        low, high = _closing(lambda: (_form(_exact_matrix(first), _exact_shift(mu, nu)) / 8).sqrt().erf())
        return Enclosure(max(0.0, low), min(1.0, high), Guarantee.EXACT, "closed form, ball arithmetic")
    distance = bhattacharyya(mu, nu)
    with working_precision(PRECISIONS[0]):
        upper = ends((-(-2 * arb(distance.upper)).expm1()).sqrt())[1]
        lower = max(0.0, ends(-(-arb(distance.lower)).expm1())[0])
    upper = min(
        upper,
        total_variation_from_kl(gaussian_kl(mu, nu).upper).upper,
        total_variation_from_kl(gaussian_kl(nu, mu).upper).upper,
        1.0,
    )
    direction = np.linalg.solve((first + second) / 2, shift)
    if direction.any() and np.isfinite(direction).all():
        # along it: the half-space between the means where both projected deviations are equally far
        lower = max(lower, _closing(lambda: _half_spaces(np.asarray(direction), mu, nu))[0])
    if lower > upper:
        raise InconsistentBounds(f"gaussian_total_variation: at least {lower}, at most {upper}")
    return Enclosure(lower, upper, Guarantee.EXACT, "Hellinger, half-spaces and divergences")


def _half_spaces(direction: Array, mu: GaussianMixture, nu: GaussianMixture) -> arb:
    along = exact_row(direction)
    deviations = []
    for law in (mu, nu):
        turned = _exact_matrix(law.covariances[0]) * column(along)
        deviations.append(sum((v * turned[i, 0] for i, v in enumerate(along)), arb(0)).sqrt())
    apart = sum((a * b for a, b in zip(along, _exact_shift(mu, nu), strict=True)), arb(0))
    return (abs(apart) / (deviations[0] + deviations[1]) / arb(2).sqrt()).erf()
