r"""What two samples prove about $W_1$ between the laws behind them.

*From above.* $\mathbb{E}\,W_1(\hat\mu_N,\hat\nu_M)\ge W_1(\mu,\nu)$ (Jensen), so the plug-in value errs on the safe side in
the mean, and it concentrates: as a function of one sample point it is 1/N-Lipschitz. If every 1-Lipschitz function of X has
$\mathbb{E}e^{\lambda(f-\mathbb{E}f)}\le e^{\lambda^2\sigma^2/2}$ (a sub-Gaussian law with constant $\sigma$), conditioning on
one point after the other gives, with probability at least $1-\alpha$,
$$W_1(\mu,\nu)\le W_1(\hat\mu_N,\hat\nu_M)+\sqrt{2\ln(1/\alpha)(\sigma_x^2/N+\sigma_y^2/M)}.$$
Without such a constant no finite-sample upper bound exists: a mass of 1e-7 at 1e7 is worth 1 and is not seen.

*From below.* A 1-Lipschitz function fixed on one part of the samples and cut to a bounded range has a mean on the other part
that an empirical Bernstein bound controls for every law.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from lipbounds.distances.critics import Clipped, fit_critics, thinned
from lipbounds.distances.gaussians import gaussian_wasserstein_2
from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.distances.large import wasserstein_large
from lipbounds.distances.transport import extent, optimal_transport
from lipbounds.distances.wasserstein import wasserstein
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture, gaussian

__all__ = ["subgaussian_constant", "wasserstein_1_lower", "wasserstein_1_population"]

Array = NDArray[np.float64]

EXACT_ENTRIES = 10_000_000  # of the plug-in's cost matrix; beyond, its upper end comes from `wasserstein_large`
FEWEST = 20  # points of a sample: a quarter of them fits the function, a quarter chooses it
CUTS = (0.0, 0.002, 0.02)  # share of the values of a function that is cut off on each side
ANCHORS = 1500
SPLIT_STREAM = 20230109


def subgaussian_constant(law: GaussianMixture) -> float:
    r"""Return a sub-Gaussian constant of all 1-Lipschitz functions f of a Gaussian mixture.

    That is a $\sigma$ with $\mathbb{E}e^{\lambda(f-\mathbb{E}f)}\le e^{\lambda^2\sigma^2/2}$. One component: its largest
    deviation. Several: f has component means within $\Delta=\max W_2$ of each other, so by Hoeffding's lemma
    $\sigma^2=\max_k\sigma_k^2+\Delta^2/4$. Other laws: an L-Lipschitz image of N(0, I) has $\sigma=L$, a law with support of
    diameter D has $\sigma=D/2$.

    Source:
        Boucheron, Lugosi and Massart, Concentration inequalities (2013), Theorem 5.5 and Lemma 2.2.

    Example:
        >>> from lipbounds.measures import standard_normal
        >>> subgaussian_constant(standard_normal(3))
        1.0
    """
    present = [k for k, weight in enumerate(law.weights) if weight > 0]
    deviation = math.sqrt(max(float(np.linalg.eigvalsh(law.covariances[k])[-1]) for k in present))
    parts = [gaussian(law.means[k], law.covariances[k]) for k in present]
    apart = max((gaussian_wasserstein_2(a, b).upper for a in parts for b in parts if a is not b), default=0.0)
    return math.hypot(deviation, apart / 2)


def wasserstein_1_population(
    x: Points,
    y: Points,
    *,
    alpha: float = 0.05,
    x_subgaussian: float | None = None,
    y_subgaussian: float | None = None,
    seed: int = 0,
) -> Enclosure:
    r"""Enclose $W_1$ between the laws of two independent samples.

    Args:
        x: N independent draws, shape (N, d), array or tensor.
        y: M independent draws, shape (M, d).
        alpha: Error probability of both ends together; each gets half.
        x_subgaussian: The constant of the law of x (`subgaussian_constant`; half the diameter of a bounded support;
            the Lipschitz constant of a generator with standard normal latent). None if none is known.
        y_subgaussian: The constant of the law of y.
        seed: Seed of the split and of the functions fitted.

    Returns:
        With both constants CONFIDENCE. Without them the lower end is still a confidence bound (`wasserstein_1_lower`
        returns it as such), but the upper end is the plug-in value with a normal quantile of its asymptotic deviation, so the
        whole is an ESTIMATE. The width does not vanish where the laws are near: the plug-in value has a floor of order
        $N^{-1/d}$ in d > 2 dimensions.

    Raises:
        InvalidInput: For bad samples, fewer than 20 points, or bad constants.

    Source:
        Boucheron, Lugosi and Massart (2013), Theorem 6.2 (the martingale method); del Barrio and Loubes, Central limit
        theorems for empirical transportation cost in general dimension (2019), for the estimate.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.standard_normal((400, 2)), rng.standard_normal((400, 2)) + [1.0, 0.0]
        >>> bounds = wasserstein_1_population(x, y, x_subgaussian=1.0, y_subgaussian=1.0, seed=0)
        >>> bounds.lower < 1.0 < bounds.upper, bounds.guarantee.name
        (True, 'CONFIDENCE')
    """
    for name, constant in (("x_subgaussian", x_subgaussian), ("y_subgaussian", y_subgaussian)):
        if constant is not None and not 0.0 <= constant < math.inf:
            raise InvalidInput(name, constant, "a finite number >= 0", "use None if no constant is known")
    mu, nu, scale = _samples(x, y, alpha)
    sigma_x, sigma_y = (None if constant is None else constant / scale for constant in (x_subgaussian, y_subgaussian))
    constants = sigma_x, sigma_y
    n, m = len(mu.points), len(nu.points)
    lower = _lower(mu, nu, alpha / 2, constants, seed)
    plug_in = _plug_in(mu, nu, seed)
    if sigma_x is not None and sigma_y is not None:
        margin = math.sqrt(2 * math.log(2 / alpha) * (sigma_x**2 / n + sigma_y**2 / m))
        # the ends can cross only when one of them is wrong; the enclosure then still has to be one
        upper = plug_in + margin
        ends = scale * min(lower, upper), scale * upper
        return Enclosure(*ends, Guarantee.CONFIDENCE, "held-out function; concentration", alpha)
    deviation = _asymptotic_deviation(mu, nu, seed)
    upper = plug_in - float(ndtri(alpha / 2)) * deviation
    ends = scale * min(lower, upper), scale * upper
    return Enclosure(*ends, Guarantee.ESTIMATE, "held-out function; asymptotic normal quantile")


def wasserstein_1_lower(x: Points, y: Points, *, alpha: float = 0.05, seed: int = 0) -> Enclosure:
    r"""Bound $W_1$ between the laws of two independent samples from below, whatever the laws are.

    A quarter of each sample fits candidates (a linear function and the best ridge along the max-sliced direction, and the
    potentials of an optimal transport problem), a quarter chooses among them and the range they are cut to, and the rest
    evaluates the choice.

    Args:
        x: Independent draws, shape (N, d), array or tensor, N >= 20.
        y: Independent draws, shape (M, d), M >= 20.
        alpha: Error probability.
        seed: Seed of the split and of the fits.

    Returns:
        [lower, infinity), CONFIDENCE at finite sample size, without assumption.

    Raises:
        InvalidInput: For bad samples or fewer than 20 points.

    Source:
        Kantorovich duality; Maurer and Pontil, Empirical Bernstein bounds and sample variance penalization (2009), Theorem 4.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.standard_normal((4000, 2)), rng.standard_normal((4000, 2)) + [1.0, 0.0]
        >>> 0.8 < wasserstein_1_lower(x, y, seed=0).lower < 1.0
        True
    """
    mu, nu, scale = _samples(x, y, alpha)
    lower = scale * _lower(mu, nu, alpha, (None, None), seed)
    return Enclosure(lower, math.inf, Guarantee.CONFIDENCE, "held-out function, empirical Bernstein", alpha)


def _samples(x: Points, y: Points, alpha: float) -> tuple[Discrete, Discrete, float]:
    """Both samples divided by a power of two near their extent, and that power."""
    mu, nu = as_discrete("x", x, None), as_discrete("y", y, None)
    if mu.dim != nu.dim:
        raise InvalidInput("x, y", (mu.dim, nu.dim), "one dimension", "compare samples of one space")
    if not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", alpha, "a number in (0, 1)", "0.05 is usual")
    for name, measure in (("x", mu), ("y", nu)):
        if len(measure.points) < FEWEST:
            raise InvalidInput(name, f"{len(measure.points)} points", f"at least {FEWEST}", "draw more points")
    scale = extent(mu.points, nu.points)
    return Discrete(mu.points / scale), Discrete(nu.points / scale), scale


def _plug_in(mu: Discrete, nu: Discrete, seed: int) -> float:
    if mu.dim == 1 or len(mu.points) * len(nu.points) <= EXACT_ENTRIES:
        return wasserstein(mu, nu).upper
    return wasserstein_large(mu, nu, seed=seed).upper


def _asymptotic_deviation(mu: Discrete, nu: Discrete, seed: int) -> float:
    """The standard deviation of the plug-in value in the central limit: that of the mean potentials."""
    rng = np.random.default_rng(seed)
    parts = thinned(mu, ANCHORS, rng), thinned(nu, ANCHORS, rng)
    potentials = optimal_transport(*parts, cdist).potentials
    return math.sqrt(sum(float(f.var()) / len(measure.points) for f, measure in zip(potentials, (mu, nu), strict=True)))


def _lower(mu: Discrete, nu: Discrete, alpha: float, constants: tuple[float | None, float | None], seed: int) -> float:
    # a stream of its own: the caller may have drawn the data from default_rng(seed)
    rng = np.random.default_rng([seed, SPLIT_STREAM])
    (fit_x, choose_x, held_x), (fit_y, choose_y, held_y) = (_split(measure.points, rng) for measure in (mu, nu))
    candidates: list[Clipped] = []
    for critic in fit_critics(Discrete(fit_x), Discrete(fit_y), anchors=ANCHORS, seed=seed):
        values = np.concatenate((critic(fit_x), critic(fit_y)))
        # without a sub-Gaussian constant the range must be bounded beforehand: the values of the fit, or fewer
        for cut in CUTS:
            low, high = np.quantile(values, (cut, 1 - cut))
            candidates.append(Clipped(critic, float(low), float(high)))
    sizes = len(held_x), len(held_y)
    promises = [_bound(critic, choose_x, choose_y, sizes, alpha, constants) for critic in candidates]
    best, bernstein = max(
        ((index, kind) for index in range(len(candidates)) for kind in (0, 1)), key=lambda pair: promises[pair[0]][pair[1]]
    )
    return max(0.0, _bound(candidates[best], held_x, held_y, sizes, alpha, constants)[bernstein])


def _split(points: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    shuffled = rng.permutation(points)
    quarter = len(points) // 4
    return shuffled[:quarter], shuffled[quarter : 2 * quarter], shuffled[2 * quarter :]


def _bound(
    critic: Clipped, x: Array, y: Array, sizes: tuple[int, int], alpha: float, constants: tuple[float | None, float | None]
) -> tuple[float, float]:
    """The lower bounds that these values would give for samples of the given sizes: by concentration, and by Bernstein."""
    values = critic(x), critic(y)
    difference = float(values[0].mean() - values[1].mean())
    sigma_x, sigma_y = constants
    concentration = -math.inf
    if sigma_x is not None and sigma_y is not None:
        concentration = difference - math.sqrt(2 * math.log(1 / alpha) * (sigma_x**2 / sizes[0] + sigma_y**2 / sizes[1]))
    bernstein = difference
    for sample, size in zip(values, sizes, strict=True):
        log = math.log(4 / alpha)  # two samples at alpha / 2 each, and ln(2 / .) of the theorem
        bernstein -= math.sqrt(2 * float(sample.var(ddof=1)) * log / size) + 7 * (critic.high - critic.low) * log / (
            3 * (size - 1)
        )
    return concentration, bernstein
