"""Found from samples alone: a lower confidence bound of Lip(f) that needs neither gradients nor the map T."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from lipbounds.distances import clopper_pearson
from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.distances.statistics import Statistic, candidates
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.search.separating_network import SeparatingNetwork, fit_separating_network

__all__ = ["BlackBox", "lipschitz_from_components", "lipschitz_from_generated", "lipschitz_from_samples"]

Array = NDArray[np.float64]

CANDIDATES = 400  # thresholds tried, as quantiles of the selection sample
FEWEST = 20  # generated points
CLEARLY = 1.1  # times larger a bound that a network must promise: a half-space says more to a reader
SPLIT_STREAM = 20240612  # any number: keeps this stream of random numbers apart from others of the same seed


def _sample(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise InvalidInput(name, f"shape {array.shape}", "a finite sample of shape (n,), n >= 2", "pass s(f(z_i))")
    return array


def lipschitz_from_samples(selection: ArrayLike, evaluation: ArrayLike, *, alpha: float = 0.05, scale: float = 1.0) -> Enclosure:
    r"""Bound Lip(f) from below by the values s(f(Z)) of a 1-Lipschitz statistic s at latent draws $Z\sim N(m,\tau^2I)$.

    With G the distribution function of s(f(Z)), the Gaussian isoperimetric inequality gives for $t_1<t_2$
    $$\mathrm{Lip}(f)\ge\frac{t_2-t_1}{\tau\,(\Phi^{-1}(G(t_2))-\Phi^{-1}(G(t_1)))}.$$
    G is replaced by one-sided Clopper-Pearson limits at alpha / 2 each; $t_1,t_2$ are chosen on the selection sample, so the
    limits hold on the evaluation sample. A wide gap in the values with little mass in it makes the bound large.

    For a mixture latent use `lipschitz_from_components`: the pooled law of a mixture is not Gaussian, and the bound would be
    false (it gives 591 on the identity map).

    Args:
        selection: Independent values s(f(Z)), shape (n,).
        evaluation: Further independent values, shape (m,).
        alpha: Error probability.
        scale: Standard deviation tau of the latent component.

    Returns:
        [bound, inf) with confidence 1 - alpha; the bound is 0 if the limits leave none.

    Source:
        Borell (1975) and Sudakov and Tsirelson (1974) for the inequality; Clopper and Pearson (1934).

    Example:
        The map 2z has constant 2, and half-spaces are extremal:

        >>> z = np.random.default_rng(0).standard_normal(40000)
        >>> 1.5 < lipschitz_from_samples(2 * z[:20000], 2 * z[20000:], alpha=0.05).lower <= 2.0
        True
    """
    chosen_on, tested_on = _sample("selection", selection), np.sort(_sample("evaluation", evaluation))
    if not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", alpha, "a number in (0, 1)", "0.05 is usual")
    if not 0.0 < scale < math.inf:
        raise InvalidInput("scale", scale, "a finite number > 0", "pass the standard deviation of the component")

    ordered = np.sort(chosen_on)
    thresholds = _thresholds(ordered)
    table = _bounds(ordered, thresholds[:, None], thresholds[None, :], alpha, scale)
    i, j = np.unravel_index(int(table.argmax()), table.shape)
    value = float(_bounds(tested_on, thresholds[i : i + 1], thresholds[j : j + 1], alpha, scale)[0])
    return Enclosure(value, math.inf, Guarantee.CONFIDENCE, "Gaussian isoperimetry, Clopper-Pearson", alpha)


def _bounds(ordered: Array, low: Array, high: Array, alpha: float, scale: float) -> Array:
    """Lower confidence bounds from a sorted sample for pairs of thresholds, broadcast."""
    n = len(ordered)
    below_low = np.searchsorted(ordered, low, side="right")
    below_high = np.searchsorted(ordered, high, side="right")
    g_low, _ = clopper_pearson(below_low, n, alpha=alpha / 2)
    _, g_high = clopper_pearson(below_high, n, alpha=alpha / 2)
    with np.errstate(invalid="ignore"):  # limits 0 and 1 have infinite quantiles: no bound
        latent_distance = scale * (ndtri(g_high) - ndtri(g_low))
        return np.where((high > low) & (latent_distance > 0), (high - low) / latent_distance, 0.0)


@dataclass(frozen=True, eq=False)
class BlackBox(Enclosure):
    """A lower confidence bound of Lip(f), [lower, infinity), and the statistic that showed it.

    Attributes:
        statistic: The 1-Lipschitz statistic of the generated points.
    """

    statistic: Statistic | SeparatingNetwork = field(kw_only=True)


def lipschitz_from_generated(
    points: Points, *, alpha: float = 0.05, seed: int = 0, scale: float = 1.0, clusters: int = 6, steps: int = 400
) -> BlackBox:
    r"""Bound Lip(f) from below by points f(z), z independent draws of $N(m,\tau^2I)$, of any generator in any dimension.

    One half of the points chooses among 1-Lipschitz statistics (projections on principal axes and between clusters, distances to
    clusters and differences of these, a network trained on a quarter of the points) and their thresholds, the other half
    evaluates the choice.

    Args:
        points: Generated points, shape (N, m), N >= 20, array or tensor, of one Gaussian latent component.
        alpha: Error probability.
        seed: Seed of the split and the clustering.
        scale: The latent deviation tau.
        clusters: Largest number of clusters tried, at least 2.
        steps: Of the training of the network (two seconds); 0 leaves it out.

    Returns:
        The bound with its statistic; a bound of 0 means that nothing was found.

    Raises:
        InvalidInput: For bad points, fewer than 20 of them, or bad parameters.

    Source:
        S6 (docs/theory); Borell (1975) and Sudakov and Tsirelson (1974); Clopper and Pearson (1934).

    Example:
        A generator that tears the plane into two halves four apart, without the map at hand:

        >>> z = np.random.default_rng(0).standard_normal((20_000, 2))
        >>> x = z + np.stack((2 * np.tanh(20 * z[:, 0]), 0 * z[:, 0]), 1)
        >>> found = lipschitz_from_generated(x)
        >>> 15 < found.lower < 41  # the constant is 41
        True
    """
    rows = as_discrete("points", points, None).points
    if len(rows) < FEWEST:
        raise InvalidInput("points", f"{len(rows)} points", f"at least {FEWEST}", "generate more")
    if clusters < 2:
        raise InvalidInput("clusters", clusters, "an integer >= 2", "6 is the default")
    if steps < 0:
        raise InvalidInput("steps", steps, "an integer >= 0", "400 is the default")
    rng = np.random.default_rng([seed, SPLIT_STREAM])
    order = rng.permutation(len(rows))
    chosen_on, tested_on = rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]

    def promise(statistic: Statistic | SeparatingNetwork, rows: Array) -> float:
        values = statistic(rows)
        return lipschitz_from_samples(values, values, alpha=alpha, scale=scale).lower

    tried = candidates(chosen_on, clusters, rng)
    best: Statistic | SeparatingNetwork = max(tried, key=lambda statistic: promise(statistic, chosen_on))
    fitted_on, compared_on = np.array_split(chosen_on, 2)
    if steps and np.ptp(fitted_on, axis=0).any():
        # a network can be fitted to anything: it is compared on points that it has not seen
        network = fit_separating_network(fitted_on, best, alpha=alpha, steps=steps, seed=seed)
        if promise(network, compared_on) > CLEARLY * promise(best, compared_on):
            best = network
    bound = lipschitz_from_samples(best(chosen_on), best(tested_on), alpha=alpha, scale=scale)
    method = f"Gaussian isoperimetry, {best}"
    return BlackBox(bound.lower, math.inf, Guarantee.CONFIDENCE, method, alpha, statistic=best)


def lipschitz_from_components(
    samples: Sequence[tuple[ArrayLike, ArrayLike]], *, alpha: float = 0.05, scales: Sequence[float] | float = 1.0
) -> Enclosure:
    r"""Bound Lip(f) from below for a mixture latent $\sum_kp_kN(m_k,\tau_k^2I)$, from draws of its components one by one.

    Each component is a Gaussian latent of its own: it gets alpha / r, and the largest bound counts.

    Args:
        samples: For every component a selection and an evaluation sample of s(f(Z)), Z from this component.
        alpha: Error probability of the whole.
        scales: The deviations tau_k, or one for all.

    Returns:
        [bound, inf) with confidence 1 - alpha.

    Raises:
        InvalidInput: Without components, for another number of scales, or for bad samples.

    Source:
        As `lipschitz_from_samples`.

    Example:
        The identity on two far components has constant 1:

        >>> rng = np.random.default_rng(0)
        >>> parts = [(m + rng.standard_normal(9000), m + rng.standard_normal(9000)) for m in (-5.0, 5.0)]
        >>> 0.8 < lipschitz_from_components(parts, alpha=0.05).lower <= 1.0
        True
    """
    deviations = [float(scales)] * len(samples) if isinstance(scales, (int, float)) else list(scales)
    if not samples or len(deviations) != len(samples):
        got = (len(samples), len(deviations))
        raise InvalidInput("samples, scales", got, "at least one component, one scale each", "pass one pair a component")
    bounds = [
        lipschitz_from_samples(selection, evaluation, alpha=alpha / len(samples), scale=scale)
        for (selection, evaluation), scale in zip(samples, deviations, strict=True)
    ]
    value = max(bound.lower for bound in bounds)
    return Enclosure(value, math.inf, Guarantee.CONFIDENCE, "Gaussian isoperimetry by components", alpha)


def _thresholds(ordered: Array) -> Array:
    """Quantiles of the sample and equal steps over its range: the ends of a tear lie where there are few quantiles."""
    quantiles = np.quantile(ordered, np.linspace(0.001, 0.999, CANDIDATES // 2))
    steps = np.linspace(ordered[0], ordered[-1], CANDIDATES // 2)
    return np.unique(np.concatenate((quantiles, steps)))
