"""The whole sandwich for a user's own generator and data: how strongly must, does and can it stretch, and what would help.

Everything is measured on a latent ball of stated mass, and every number says what stands behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.spatial.distance import cdist
from scipy.stats import chi

from lipbounds.certify import Certificate, certify_lipschitz
from lipbounds.distances import wasserstein, wasserstein_1_line
from lipbounds.distances.inputs import as_discrete
from lipbounds.distances.statistics import candidates
from lipbounds.domains import Ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, LipboundsError, NotConverged
from lipbounds.maps.model import Model, as_model
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.search import (
    BiLipschitz,
    BlackBox,
    Found,
    InversionError,
    find_bilipschitz,
    find_inversion_error,
    find_lipschitz,
    lipschitz_from_generated,
)
from lipbounds.search.singular_values import LARGEST_FULL, evaluate
from lipbounds.theorems.from_data import Forced, forced_lipschitz
from lipbounds.theorems.frontier import forced_by_frontier
from lipbounds.theorems.separation import least_stretch

__all__ = ["Diagnosis", "InversionErrors", "LatentChoice", "Modes", "diagnose"]

Array = NDArray[np.float64]
Progress = Callable[[str], None]

LATENT_MASS = 0.99
GENERATED = 20_000
TRANSPORTED = 1_500  # of the plug-in W_1
FRONTIER_POINTS = 4_000
SEGMENTS = 256
MOST_COMPONENTS = 6
VALLEY = 0.5  # density between two modes, relative to the lower of both, below which they count as two
FAR_MASS = 0.999  # of a normal law of a mode's width: a point outside is far from the mode
CLUSTERED = 1500  # points from which mixture latents are judged
COST_CELLS = 100
WITHIN = 2.0  # a cost that counts as good as the best
TOLERATED = 0.02  # of the spread of the data: an accuracy beyond it makes no demands on a latent
SEPARATION = 8.0  # latent deviations between the components proposed
FEWEST = 200
SWAPPED = 0.5
CERTIFIABLE = 8  # dimensions in which branch and bound is tried


@dataclass(frozen=True, eq=False)
class Modes:
    """Clusters of the data with valleys between them.

    Attributes:
        means: Shape (k, d).
        widths: Root mean square deviation of a coordinate within each, shape (k,).
        shares: Of the data, shape (k,).
    """

    means: Array
    widths: Array
    shares: Array

    def nearest(self, points: Array) -> NDArray[np.intp]:
        """The mode of each point, relative to the widths."""
        return np.asarray(np.argmin(self._distances(points), axis=1))

    def outside(self, points: Array) -> NDArray[np.bool_]:
        """Whether a point is outside the ball of mass 0.999 of the normal law of its width about every mode."""
        return np.asarray(self._distances(points).min(axis=1) > float(chi.ppf(FAR_MASS, points.shape[1])))

    def _distances(self, points: Array) -> Array:
        return np.asarray(cdist(points, self.means) / np.maximum(self.widths, 1e-12))


@dataclass(frozen=True)
class LatentChoice:
    """A mixture latent of k components N(m_i, I), one for each cluster of the data, and what it would cost.

    Attributes:
        components: k.
        cost: Largest constant that a single cluster forces at the accuracy, by the frontier of S4 with the cluster as target;
            ESTIMATE.
        means: Proposed m_i in latent space, shape (k, d), at least 8 apart.
        widths: Deviations of the clusters in data space: what their generator has to scale by.
        shares: Their probabilities.
    """

    components: int
    cost: float
    means: tuple[tuple[float, ...], ...]
    widths: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class InversionErrors:
    """The worst |x - T^{-1}(T(x))| found on the domain, or why there is none."""

    float32: InversionError | str
    float64: InversionError | str


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        source: Where the model comes from.
        latent: The latent law.
        domain: The latent ball on which constants are meant.
        accuracy: W_1 between generated points and data: the plug-in value of two samples as upper end. ESTIMATE.
        floor: The same between two halves of the data, that is, for a perfect generator.
        line_accuracy: W_1 along the statistic that forces most. ESTIMATE.
        modes: Of the data.
        generated_shares: Share of the generated points at each mode.
        between: Share of the generated points far from every mode (`Modes.outside`).
        between_data: The same share of the data.
        forced: Lower bound of the constant of every generator with a normal latent at `line_accuracy`; 0 for a mixture
            latent. ESTIMATE.
        forced_witness: The statistic and thresholds behind it.
        found: Lower bound of Lip(T^{-1}) with its witness.
        both: Constants of T^{-1} and T and the worst condition number, in at most 24 dimensions with as many outputs as inputs.
        black_box: Lower bound from generated points alone, CONFIDENCE.
        certified: Enclosure by computation, where the layers are known.
        certified_note: Why there is none, or what it takes for granted.
        torn_pair: The two modes between which the found witness lies, if they differ.
        forcing_pair: The two modes that the forcing statistic separates.
        inversion: Worst errors of inversion found.
        latents: What mixture latents would cost, for k = 1 to 6 as far as the data allow.
        recommended: The smallest k whose cost is within a factor 2 of the best.
        verdict: All this in plain words.
        generated: Generated points, for figures, shape (n, d).
        data: The data.
        generator: The maps.
    """

    source: str
    latent: GaussianMixture
    domain: Ball
    accuracy: Enclosure
    floor: float
    line_accuracy: Enclosure | None
    modes: Modes
    generated_shares: Array
    between: float
    between_data: float
    forced: Enclosure
    forced_witness: Forced | None
    found: Found
    both: BiLipschitz | None
    black_box: BlackBox
    certified: Certificate | None
    certified_note: str
    torn_pair: tuple[int, int] | None
    forcing_pair: tuple[int, int] | None
    inversion: InversionErrors
    latents: tuple[LatentChoice, ...]
    recommended: LatentChoice
    verdict: str
    generated: Array
    data: Array
    generator: Model


def diagnose(
    model: object,
    *,
    data: ArrayLike,
    latent: GaussianMixture | int | None = None,
    epsilon: float | None = None,
    seed: int = 0,
    seconds: float = 60.0,
    callback: Progress | None = None,
) -> Diagnosis:
    """Measure a generator against its data: accuracy, modes, forced, found, black-box and certified constants, remedies.

    Args:
        model: A flow of zuko, FrEIA, normflows, nflows or `inn`, or any callable on batches, latent to data.
        data: Samples of the target, shape (N, d), N >= 200.
        latent: Latent law with isotropic components of one deviation, or the dimension of a standard normal one; that of the
            data by default.
        epsilon: Accuracy W_1 at which latents are compared; by default that measured along the steepest statistic, at most 2
            percent of the spread of the data.
        seed: Of everything random.
        seconds: Most time for the certificate.
        callback: Called with a line of words before each stage, with its expected time where it is long.

    Returns:
        The diagnosis; `lipbounds.diagnosis.report.write_report` makes a page of it.

    Raises:
        InvalidInput: For data that are no finite sample, a model that does not map latent points to points like the data, or one
            that maps data to latent.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = np.sign(rng.standard_normal((1000, 1))) + 0.2 * rng.standard_normal((1000, 1))
        >>> found = diagnose(lambda z: torch.tanh(5 * z) + 0.1 * z, data=x, seconds=1.0)
        >>> len(found.modes.means), 5.0 < found.found.lower < 5.2, found.forced.lower < found.found.lower
        (2, True, True)
    """
    say = callback or (lambda words: None)
    x = as_discrete("data", data, None).points
    if len(x) < FEWEST:
        raise InvalidInput("data", f"{len(x)} points", f"at least {FEWEST}", "pass more samples")
    if epsilon is not None and not 0.0 < epsilon < math.inf:
        raise InvalidInput("epsilon", epsilon, "a finite number > 0", "pass the accuracy W_1 asked for")
    generator = as_model(model)
    law = _latent_law(latent, x.shape[1])
    domain = _domain(law)
    rng = np.random.default_rng([seed, 20251])

    say("generating points")
    generated, component = _generate(generator, law, rng, x.shape[1])
    _check_direction(generator, x, generated, law, rng)
    accuracy, floor = _accuracy(x, generated, rng)

    say("looking for modes")
    modes = _modes(x, rng)
    labels = modes.nearest(generated)
    outside = modes.outside(generated)
    shares = np.bincount(labels[~outside], minlength=len(modes.means)) / len(generated)

    say("searching the constant of T^-1, a few seconds for small networks")
    starts, segments = _starts(generator, x, modes, rng)
    inside = None if starts is None else domain.project(starts)
    found = find_lipschitz(generator.inverse, domain, seed=seed, starts=inside, segments=segments)
    both = None
    if law.dim == x.shape[1] <= LARGEST_FULL:
        try:
            both = find_bilipschitz(generator.inverse, domain, seed=seed, starts=inside, segments=segments)
        except InvalidInput:  # two points with one image: T^-1 is not injective, and Lip(T) means nothing
            both = None
    black_box = _black_box(generated, component, law, seed)

    say("what any generator must pay")
    forced, witness, line = (
        _forced(x, generated, accuracy, seed) if len(law.means) == 1 else (_nothing("mixture latent"), None, None)
    )
    forcing = None if witness is None else _separated_pair(witness, modes, x)

    certified, note = _certify(generator, domain, found, seconds, seed, say)
    if certified is not None and certified.found.lower > found.lower:
        found = certified.found

    say("errors of inversion")
    inversion = InversionErrors(*(_inversion(generator, domain, seed, dtype) for dtype in (torch.float32, torch.float64)))

    say("which latent would do better")
    spread = math.sqrt(float(((x - x.mean(0)) ** 2).sum(1).mean()))
    measured = accuracy.upper if line is None else line.upper
    asked = min(max(measured, 1e-3 * spread), TOLERATED * spread) if epsilon is None else epsilon
    latents = _latents(x, asked, seed)
    best = min(choice.cost for choice in latents)
    recommended = next(choice for choice in latents if choice.cost <= WITHIN * best)
    torn = _torn_pair(generator, found, modes, domain)
    parts = _Parts(
        modes,
        shares,
        float(outside.mean()),
        float(modes.outside(x).mean()),
        accuracy,
        floor,
        forced,
        found,
        certified,
        torn,
        recommended,
        latents,
        law,
    )
    return Diagnosis(
        source=generator.source,
        latent=law,
        domain=domain,
        accuracy=accuracy,
        floor=floor,
        line_accuracy=line,
        modes=modes,
        generated_shares=shares,
        between=float(outside.mean()),
        between_data=float(modes.outside(x).mean()),
        forced=forced,
        forced_witness=witness,
        found=found,
        both=both,
        black_box=black_box,
        certified=certified,
        certified_note=note,
        torn_pair=torn,
        forcing_pair=forcing,
        inversion=inversion,
        latents=latents,
        recommended=recommended,
        verdict=_verdict(parts),
        generated=generated,
        data=x,
        generator=generator,
    )


def _latent_law(latent: GaussianMixture | int | None, dim: int) -> GaussianMixture:
    if latent is None or isinstance(latent, int):
        return standard_normal(dim if latent is None else latent)
    deviation = float(latent.covariances[0, 0, 0])
    if not np.array_equal(latent.covariances, np.broadcast_to(deviation * np.eye(latent.dim), latent.covariances.shape)):
        raise InvalidInput("latent", "other covariances", "one multiple of the identity", "bounds are for isotropic components")
    return latent


def _deviation(law: GaussianMixture) -> float:
    return math.sqrt(float(law.covariances[0, 0, 0]))


def _domain(law: GaussianMixture) -> Ball:
    """The ball of mass 0.99; for a mixture one that holds those of all components."""
    middle = law.means.mean(0)
    reach = float(np.linalg.norm(law.means - middle, axis=1).max())
    return Ball(middle, reach + _deviation(law) * float(chi.ppf(LATENT_MASS, law.dim)))


def _generate(generator: Model, law: GaussianMixture, rng: np.random.Generator, dim: int) -> tuple[Array, NDArray[np.intp]]:
    component = rng.choice(len(law.weights), GENERATED, p=law.weights)
    z = law.means[component] + _deviation(law) * rng.standard_normal((GENERATED, law.dim))
    try:
        with torch.no_grad():
            points = evaluate(generator.inverse, torch.as_tensor(z)).numpy()
    except LipboundsError:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} on rows of {law.dim} latent numbers"
        raise InvalidInput("model", got, "a map of latent points in float64", "pass its latent dimension, or wrap it") from error
    if points.shape[1] != dim:
        raise InvalidInput("model", f"points of dimension {points.shape[1]}", f"{dim}, that of the data", "pass its own data")
    return points, component


def _check_direction(generator: Model, x: Array, generated: Array, law: GaussianMixture, rng: np.random.Generator) -> None:
    """Refuse a map from data to latent, whose constant is another one: its images of the data would look like the latent law."""
    if law.dim != x.shape[1]:
        return
    some = x[rng.permutation(len(x))[:TRANSPORTED]]
    try:
        with torch.no_grad():
            mapped = evaluate(generator.inverse, torch.as_tensor(some)).numpy()
    except LipboundsError:  # not defined on the data: then it is no map from data
        return
    z = law.sample(len(some), rng)
    as_given = _sliced(generated[: len(some)], some, rng)
    swapped = _sliced(mapped, z, rng)
    # a poor fit the right way and a good one the other way
    if swapped < SWAPPED * as_given and swapped < SWAPPED * _sliced(some, z, rng):
        got = f"a map that takes the data to the latent law (distance {swapped:.3g}) and not back ({as_given:.3g})"
        raise InvalidInput(
            "model", got, "T^-1, latent to data", "pass the inverse; a swapped one gives the inverse ratio silently"
        )


def _sliced(a: Array, b: Array, rng: np.random.Generator) -> float:
    """Mean W_1 along 50 directions, in units of the spread of b."""
    directions = rng.standard_normal((a.shape[1], 50))
    directions /= np.linalg.norm(directions, axis=0)
    n = min(len(a), len(b))
    first, second = np.sort(a[:n] @ directions, axis=0), np.sort(b[:n] @ directions, axis=0)
    return float(np.abs(first - second).mean() / max(float(b.std()), 1e-300))


def _accuracy(x: Array, generated: Array, rng: np.random.Generator) -> tuple[Enclosure, float]:
    size = min(TRANSPORTED, len(x) // 2)
    order = rng.permutation(len(x))
    first, second = x[order[:size]], x[order[size : 2 * size]]
    value = wasserstein(generated[:size], first).upper
    return Enclosure(0.0, value, Guarantee.ESTIMATE, "plug-in, biased upwards"), wasserstein(first, second).upper


def _modes(x: Array, rng: np.random.Generator) -> Modes:
    """The finest clustering of at most 6 whose clusters all have valleys between them."""
    best = _clusters(x, np.zeros(len(x), dtype=np.intp))
    for k in range(2, MOST_COMPONENTS + 1):
        labels = _labels(x, k, rng)
        if labels is not None and all(_valley(x, labels, i, j) for i in range(k) for j in range(i)):
            best = _clusters(x, labels)
    return best


def _labels(x: Array, k: int, rng: np.random.Generator) -> NDArray[np.intp] | None:
    """k-means, the best of five starts; None where a cluster has almost nothing."""
    best: tuple[float, NDArray[np.intp]] | None = None
    for _ in range(5):
        try:
            centres, labels = kmeans2(x, k, minit="++", seed=rng, missing="raise")
        except ClusterError:
            continue
        spread = float(((x - centres[labels]) ** 2).sum())
        if np.bincount(labels, minlength=k).min() >= 0.01 * len(x) and (best is None or spread < best[0]):
            best = (spread, np.asarray(labels))
    return None if best is None else best[1]


def _clusters(x: Array, labels: NDArray[np.intp]) -> Modes:
    groups = [x[labels == i] for i in range(int(labels.max()) + 1)]
    means = np.stack([group.mean(0) for group in groups])
    widths = np.array([math.sqrt(float(((group - mean) ** 2).mean())) for group, mean in zip(groups, means, strict=True)])
    return Modes(means, widths, np.array([len(group) / len(x) for group in groups]))


def _valley(x: Array, labels: NDArray[np.intp], i: int, j: int) -> bool:
    """Whether the density along the best separating direction falls between two clusters."""
    first, second = x[labels == i], x[labels == j]
    step = second.mean(0) - first.mean(0)
    within = np.atleast_2d(np.cov(first.T) + np.cov(second.T)) + 1e-9 * np.eye(x.shape[1]) * max(float(x.var()), 1e-300)
    direction = np.linalg.solve(within, step)
    a, b = first @ direction, second @ direction
    centre_a, centre_b = np.median(a), np.median(b)
    both = np.concatenate((a, b))
    edges = np.linspace(centre_a, centre_b, 8)
    counts = np.histogram(both, np.sort(edges))[0]
    # the ends are half peaks: compare the least part in the middle with the lower end
    return bool(counts[1:-1].min() < VALLEY * min(counts[0], counts[-1]))


def _starts(
    generator: Model, x: Array, modes: Modes, rng: np.random.Generator
) -> tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Latent images of data, and segments between those of every pair of modes."""
    if generator.forward is None:
        return None, []
    some = x[rng.permutation(len(x))[: 4 * SEGMENTS]]
    with torch.no_grad():
        z = evaluate(generator.forward, torch.as_tensor(some))
    labels = modes.nearest(some)
    groups = [z[torch.as_tensor(labels == i)] for i in range(len(modes.means))]
    segments = []
    for i in range(len(groups)):
        for j in range(i):
            count = min(len(groups[i]), len(groups[j]), SEGMENTS)
            if count:
                segments.append((groups[i][:count], groups[j][:count]))
    return z, segments


def _black_box(generated: Array, component: NDArray[np.intp], law: GaussianMixture, seed: int) -> BlackBox:
    """The largest bound of all components, each at its share of alpha."""
    alpha = 0.05 / len(law.weights)
    parts = [generated[component == index] for index in range(len(law.weights))]
    bounds = [
        lipschitz_from_generated(part, alpha=alpha, seed=seed, scale=_deviation(law)) for part in parts if len(part) >= FEWEST
    ]
    best = max(bounds, key=lambda bound: bound.lower)
    return replace(best, alpha=0.05)


def _nothing(why: str) -> Enclosure:
    return Enclosure(0.0, math.inf, Guarantee.ESTIMATE, why)


def _forced(x: Array, generated: Array, accuracy: Enclosure, seed: int) -> tuple[Enclosure, Forced | None, Enclosure | None]:
    """S4 at the accuracy along the statistic itself, which a sample knows far better than W_1 in space."""
    best: tuple[Enclosure, Forced | None, Enclosure | None] = (_nothing("no statistic separates the data"), None, None)
    for share in (1.0, 0.2, 0.04):
        tried = forced_lipschitz(x, share * accuracy.upper, alpha=None, seed=seed)
        values, images = tried.statistic(x), tried.statistic(generated)
        error = wasserstein_1_line(Discrete(images[:, None]), Discrete(values[:, None])).upper
        line = Enclosure(0.0, error, Guarantee.ESTIMATE, f"plug-in along the {tried.statistic}")
        bounds = []
        if tried.thresholds is not None and tried.masses is not None:
            bounds.append(least_stretch(tried.thresholds[1] - tried.thresholds[0], tried.masses, error).lower)
        some = (
            values
            if len(values) <= FRONTIER_POINTS
            else np.quantile(values, (np.arange(FRONTIER_POINTS) + 0.5) / FRONTIER_POINTS)
        )
        if error > 0:
            with suppress(NotConverged):  # two sets remain
                bounds.append(forced_by_frontier(Discrete(some[:, None]), line).lower)
        bound = max(bounds, default=0.0)
        if bound > best[0].lower:
            best = (
                Enclosure(bound, math.inf, Guarantee.ESTIMATE, f"S4 at the measured accuracy, {tried.statistic}"),
                tried,
                line,
            )
    return best


def _separated_pair(forced: Forced, modes: Modes, x: Array) -> tuple[int, int] | None:
    """The modes that prevail on both sides of the statistic's gap."""
    values, labels = forced.statistic(x), modes.nearest(x)
    low, high = forced.thresholds or (float(np.quantile(values, 0.4)), float(np.quantile(values, 0.6)))
    sides = [np.bincount(labels[side], minlength=len(modes.means)) for side in (values <= low, values >= high)]
    first, second = (int(side.argmax()) for side in sides)
    return None if first == second else (first, second)


def _torn_pair(generator: Model, found: Found, modes: Modes, domain: Ball) -> tuple[int, int] | None:
    """The modes that a walk from the found point reaches in both directions of its stretching."""
    if len(modes.means) < 2:
        return None
    steps = torch.linspace(0.0, 1.0, 65, dtype=torch.float64)[1:, None] * domain.radius
    point, direction = torch.as_tensor(found.point), torch.as_tensor(found.direction)
    reached = []
    for sign in (-1.0, 1.0):
        with torch.no_grad():
            images = evaluate(generator.inverse, domain.project(point + sign * steps * direction)).numpy()
        near = ~modes.outside(images)
        if not near.any():
            return None
        reached.append(int(modes.nearest(images[near][:1])[0]))
    return None if reached[0] == reached[1] else (reached[0], reached[1])


def _certify(
    generator: Model, domain: Ball, found: Found, seconds: float, seed: int, say: Progress
) -> tuple[Certificate | None, str]:
    if generator.layers is None:
        return None, "unavailable, no structure"
    if domain.dim <= CERTIFIABLE:
        say(f"certifying: up to {seconds:.0f} s and 1 GB; in {domain.dim} dimensions {_hope(domain.dim)}")
    certificate = certify_lipschitz(generator.layers, domain, found=found, seed=seed, seconds=seconds)
    return certificate, certificate.assumption


def _hope(dim: int) -> str:
    return "a few seconds for small networks" if dim == 2 else "mostly all of it" if dim > 3 else "often less"


def _inversion(generator: Model, domain: Ball, seed: int, dtype: torch.dtype) -> InversionError | str:
    if generator.in_precision is None:
        return "unavailable, no inverse of the generator"
    forward, inverse = generator.in_precision(dtype)
    try:
        return find_inversion_error(forward, inverse, domain, seed=seed, dtype=dtype)
    except LipboundsError as error:
        return str(error)


def _latents(x: Array, epsilon: float, seed: int) -> tuple[LatentChoice, ...]:
    rng = np.random.default_rng([seed, 20252])
    some = x if len(x) <= CLUSTERED else x[rng.permutation(len(x))[:CLUSTERED]]
    choices = []
    for k in range(1, MOST_COMPONENTS + 1):
        labels = np.zeros(len(some), dtype=np.intp) if k == 1 else _labels(some, k, rng)
        if labels is None or np.bincount(labels, minlength=k).min() < 50:
            continue
        clusters = _clusters(some, labels)
        costs = [_cost(some[labels == i], epsilon, rng) for i in range(k)]
        choices.append(
            LatentChoice(
                k,
                max(costs),
                tuple(tuple(row) for row in _spread(clusters.means, float(np.median(clusters.widths))).tolist()),
                tuple(clusters.widths.tolist()),
                tuple(clusters.shares.tolist()),
            )
        )
    return tuple(choices)


def _cost(cluster: Array, epsilon: float, rng: np.random.Generator) -> float:
    """The largest constant that a projection of the cluster forces: the frontier of S4, on principal axes and between halves."""
    best = 0.0
    accuracy = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "asked for")
    for statistic in candidates(cluster, 2, rng):
        with suppress(NotConverged):  # others remain
            best = max(best, forced_by_frontier(Discrete(statistic(cluster)[:, None]), accuracy, cells=COST_CELLS).lower)
    return best


def _spread(means: Array, width: float) -> Array:
    """Latent means in the arrangement of the clusters, in units of their width, no two nearer than 8."""
    placed = (means - means.mean(0)) / max(width, 1e-12)
    apart = cdist(placed, placed)[np.triu_indices(len(placed), 1)]
    return np.asarray(placed * max(1.0, SEPARATION / float(apart.min()))) if len(apart) and apart.min() > 0 else placed


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the verdict speaks of."""

    modes: Modes
    shares: Array
    between: float
    between_data: float
    accuracy: Enclosure
    floor: float
    forced: Enclosure
    found: Found
    certified: Certificate | None
    torn: tuple[int, int] | None
    recommended: LatentChoice
    latents: Sequence[LatentChoice]
    law: GaussianMixture


def _verdict(parts: _Parts) -> str:
    """A few sentences: what the data are, how the generator fares, what it must pay, what would help."""
    count = len(parts.modes.means)
    words = [f"The data have {count} mode{'s' if count > 1 else ''}."]
    fit = parts.accuracy.upper / max(parts.floor, 1e-300)
    accurate = (
        "as near to the data as fresh data are" if fit < 1.25 else f"{fit:.1f} times as far from the data as fresh data are"
    )
    words.append(f"Generated points are {accurate} (W_1 {parts.accuracy.upper:.3g} against {parts.floor:.3g}).")
    if count > 1:
        missed = int((parts.shares < 0.2 * parts.modes.shares).sum())
        words.append(
            f"{100 * parts.between:.2g}% of them lie far from every mode ({100 * parts.between_data:.2g}% of the data do)"
            + (f", and {missed} mode{'s are' if missed > 1 else ' is'} hardly generated." if missed else ".")
        )
    stretch = f"On the latent ball T^-1 stretches by at least {parts.found.lower:.3g}"
    if parts.certified is not None and math.isfinite(parts.certified.upper):
        kind = "at most" if parts.certified.guarantee is Guarantee.CERTIFIED else "conditionally at most"
        stretch += f" and {kind} {parts.certified.upper:.3g}"
    words.append(stretch + ".")
    if parts.torn is not None:
        words.append(f"The steepest place lies between modes {parts.torn[0] + 1} and {parts.torn[1] + 1}.")
    if len(parts.law.means) == 1 and parts.forced.lower > 0:
        words.append(f"Any generator with a normal latent of this accuracy must stretch by {parts.forced.lower:.3g} somewhere.")
    one = parts.latents[0].cost
    best = parts.recommended
    if best.components == 1:
        words.append("A single Gaussian latent is as good as a mixture for these data.")
    else:
        words.append(
            f"A Gaussian-mixture latent with {best.components} components would have to stretch by {best.cost:.3g} only, "
            f"a single one by {one:.3g}."
        )
    if parts.found.on_boundary:
        words.append("The steepest point found is on the rim of the ball: on a larger one the constant may be larger.")
    return " ".join(words)
