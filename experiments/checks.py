"""Statements checked on one trained network: sets drawn, masses and accuracy measured, constants found.

Every function yields (statement, instance, words). Verdicts use upper ends of accuracies and lower ends of masses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import chi

from experiments.networks import Trained, labels_of, relative_entropy
from lipbounds.diagnosis import Measurement, Search, measure
from lipbounds.distances import clopper_pearson, total_variation_from_kl, wasserstein, wasserstein_1_line
from lipbounds.domains import Ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import NotConverged
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.theorems import (
    BlackBoxBound,
    ConditionalSets,
    Corollary1,
    Corollary2,
    DataSets,
    DistantSets,
    FrontierBound,
    Masses,
    Proposition1,
    RestrictedProposition1,
    RestrictedSets,
    SeparatedSets,
    SharpCorollary1,
    SharpCorollary2,
    SharpProposition1,
    Statement,
    StatisticLaw,
    TotalVariationBound,
    TwoSetBound,
    TwoThresholds,
    restricted,
)
from lipbounds.theorems.remark_3 import Remark3, TransportedLaws

__all__ = ["Check", "Measured", "conditional_checks", "label_checks", "measured_on_ball", "set_checks", "unconditional_checks"]

Array = NDArray[np.float64]
Check = tuple[Statement[Any], Any, str]

ALPHA = 0.05
LATENT_MASS = 0.9999
POINTS = 20_000  # of data that give masses, kappa and the relative entropy
TRANSPORTED = 2_000  # of the plug-in W_1
FEWEST_GIVEN = 1_500  # points with Y in A
CERTIFY_SECONDS = 10.0
SUPPORT = 250  # atoms of each law in Remark 3
EXACT = Guarantee.EXACT


@dataclass(frozen=True, eq=False)
class Measured:
    """A network with what its checks share.

    Attributes:
        network: The network.
        constants: What is known of T^{-1} on `domain`.
        domain: A latent ball; for a mixture latent the ball about 0 that holds those of the components.
        seed: Of everything drawn.
    """

    network: Trained
    constants: Measurement
    domain: Ball
    seed: int

    @cached_property
    def data(self) -> Array:
        """Independent points of the data law."""
        return self.network.law.sample(POINTS, np.random.default_rng(self.seed))

    @cached_property
    def image(self) -> Array:
        """T of the data."""
        return self.network.forward(self.data)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether T(x) lies in the domain."""
        return np.asarray(self.domain.depth(torch.as_tensor(self.image)) >= 0)

    @cached_property
    def kappa(self) -> Enclosure:
        """The mass of T(data) outside the domain."""
        limits = clopper_pearson(int((~self.inside).sum()), len(self.inside), alpha=ALPHA / 2)
        return Enclosure(float(limits[0]), float(limits[1]), Guarantee.CONFIDENCE, "Clopper-Pearson", ALPHA)

    @property
    def lipschitz(self) -> Enclosure:
        """What is known of Lip(T^{-1}) on the domain: the pair found, and from above what branch and bound proves, if it ran."""
        upper = self.constants.certified if self.constants.certificates else math.inf
        return Enclosure(self.constants.found.lower, upper, EXACT, "pair of points; branch and bound")

    @cached_property
    def relative_entropy(self) -> Enclosure:
        """KL(T#mu || latent law): a mean of exact log ratios, with two standard errors."""
        mean, error = relative_entropy(self.network, POINTS, self.seed + 1)
        return Enclosure(max(0.0, mean - 2 * error), max(0.0, mean + 2 * error), Guarantee.ESTIMATE, "mean log ratio")

    def latent_distance(self, to: GaussianMixture) -> Enclosure:
        """An upper bound of W_1(T#mu, to): the plug-in value, or Talagrand's root of twice the relative entropy if smaller."""
        points = self.network.forward(self.network.law.sample_quasi(TRANSPORTED, self.seed))
        value = wasserstein(points, to.sample_quasi(TRANSPORTED, self.seed + 1)).upper
        method = "plug-in, biased upwards"
        own = self.network.setting.law_of_z.measure
        if len(own.weights) == 1 and len(to.weights) == 1:
            talagrand = math.sqrt(2 * self.relative_entropy.upper)
            value, method = min((value, method), (talagrand, "Talagrand from the relative entropy"))
        return Enclosure(0.0, value, Guarantee.ESTIMATE, method)

    @cached_property
    def labelled(self) -> tuple[Array, Array]:
        """Many points of the data with their labels, from which the law given Y in A is cut."""
        x = self.network.law.sample(6 * POINTS, np.random.default_rng([self.seed, 17]))
        return x, labels_of(x, self.network.setting)

    @cached_property
    def to_normal(self) -> Enclosure:
        """W_1(T#mu, N(0, I))."""
        return self.latent_distance(standard_normal(self.network.setting.dim))

    @cached_property
    def to_own(self) -> Enclosure:
        """W_1(T#mu, latent law)."""
        law = self.network.setting.law_of_z.measure
        return self.to_normal if len(law.weights) == 1 else self.latent_distance(law)

    @property
    def statistic(self) -> Array:
        """The direction from one mode to the other."""
        return self.network.setting.axis


def measured_on_ball(
    network: Trained, *, seed: int, evaluations: int, latent_mass: float = LATENT_MASS, certify: bool = False
) -> Measured:
    """Search the constant of a network's inverse on the latent ball of this mass; in the plane also bound it from above."""
    latent = network.setting.law_of_z.measure
    reach = float(np.linalg.norm(latent.means, axis=1).max())
    radius = reach + float(chi.ppf(latent_mass, network.setting.dim))
    domain = Ball(np.zeros(network.setting.dim), radius)
    x = network.law.sample_quasi(512, seed)
    z, along = torch.as_tensor(network.forward(x)), x @ network.setting.axis
    left, right = z[torch.as_tensor(along < 0)], z[torch.as_tensor(along >= 0)]
    count = min(len(left), len(right))
    constants = measure(
        network.flow,
        [domain],
        search=Search(seed, z, [(left[:count], right[:count])], evaluations),
        seconds=CERTIFY_SECONDS if certify and network.setting.dim == 2 else 0.0,
        threads=None,
    )
    return Measured(network, constants, domain, seed)


@dataclass(frozen=True, eq=False)
class _Sets:
    """Q and R as indicator values on points, their distance and what is known of their masses."""

    words: str
    q: NDArray[np.bool_]
    r: NDArray[np.bool_]
    distance: float
    masses: Masses


def _from_counts(q: NDArray[np.bool_], r: NDArray[np.bool_], alpha: float) -> Masses | None:
    """Masses of two sets from independent points; None if a set may be empty."""
    (a, b), _ = clopper_pearson([int(q.sum()), int(r.sum())], len(q), alpha=alpha / 3)
    _, gap = clopper_pearson(int((~(q | r)).sum()), len(q), alpha=alpha / 3)
    small = min(float(a), float(b))
    if small < 1e-6:
        return None
    # the least favourable masses that the limits allow
    rest = max(1 - float(gap) - small, small)
    return Masses(small, rest, max(0.0, 1 - small - rest), Guarantee.CONFIDENCE, alpha)


def _draw_sets(network: Trained, x: Array, rng: np.random.Generator, kind: str, shift: float = 0.2) -> _Sets | None:
    """Half-spaces tilted against the modes' axis, balls about the modes, or a half-space against a staggered union of two."""
    axis, law = network.setting.axis, network.law
    tilt = axis + 0.3 * rng.uniform(0, 1) * _unit(rng.standard_normal(len(axis)))
    normal, t = tilt / np.linalg.norm(tilt), rng.uniform(0.05, 0.3)
    along = x @ normal
    if kind == "half-spaces":
        # off the middle, so that the masses differ
        middle = rng.uniform(-shift, shift)
        low, high = middle - t, middle + t
        known = Masses.of(law.half_space_mass(normal, low), law.half_space_mass(-normal, -high), law.slab_mass(normal, low, high))
        return _Sets(f"half-spaces, {low:.2f} and {high:.2f}", along <= low, along >= high, 2 * t, known)
    if kind == "balls":
        radius = rng.uniform(0.75, 0.98)
        q, r = (np.linalg.norm(x - side * axis, axis=1) <= radius for side in (-1.0, 1.0))
        mass = law.ball_mass(axis, radius)
        gap = Enclosure(1 - 2 * mass.upper, math.nextafter(1 - 2 * mass.lower, 1.0), mass.guarantee, "outside both balls")
        return _Sets(f"balls, r {radius:.2f}", q, r, 2 - 2 * radius, Masses.of(mass, mass, gap))
    other = _unit(rng.standard_normal(len(axis)))
    farther = t + rng.uniform(0, 0.2)
    r = np.where(x @ other >= 0, along >= t, along >= farther)
    q = along <= -t
    masses = _from_counts(q, r, ALPHA)
    return None if masses is None else _Sets(f"union, t {t:.2f}", q, r, 2 * t, masses)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))


def _nearest(first: Array, second: Array) -> Enclosure:
    """What a nearest pair shows of the distance of two images: an upper end."""
    if not len(first) or not len(second):
        return Enclosure(0.0, math.inf, EXACT, "no points")
    distance = float(cKDTree(first[:4000]).query(second[:4000])[0].min())
    return Enclosure(0.0, distance, EXACT, "pair of points")


def unconditional_checks(measured: Measured, count: int) -> Iterator[Check]:
    """All statements on sets and on the generator for a network without labels."""
    rng = np.random.default_rng([measured.seed, 7])
    kinds = ["half-spaces", "union"] + (["balls"] if measured.network.setting.round else [])
    for index in range(count):
        yield from set_checks(measured, kinds[index % len(kinds)], rng)
    yield Remark3(), _supports(measured), f"{SUPPORT} data, {SUPPORT} latent points"
    if measured.network.setting.latent == "normal":
        yield from _generator_checks(measured)
    yield from _black_box_checks(measured, rng)


def set_checks(measured: Measured, kind: str, rng: np.random.Generator) -> Iterator[Check]:
    """Proposition 1, Corollary 1, S1, S2, S5 and S7 for one pair of sets."""
    network = measured.network
    normal_latent = network.setting.latent == "normal"
    sets = _draw_sets(network, measured.data, rng, kind)
    if sets is None:
        return
    q, r = sets.q & measured.inside, sets.r & measured.inside
    whole = SeparatedSets(
        dim=network.setting.dim,
        epsilon=measured.to_own,
        masses=sets.masses,
        image_distance=_nearest(measured.image[q], measured.image[r]),
        distance=sets.distance,
        lipschitz=measured.lipschitz,
        reference=None if normal_latent else network.setting.law_of_z.measure,
    )
    cut = restricted(whole, measured.kappa)
    yield Proposition1(), cut, sets.words
    yield Corollary1(), cut, sets.words
    # the sharp versions compare with N(0, I), however far a mixture latent is from it
    against_normal = replace(whole, epsilon=measured.to_normal, reference=None)
    measured_masses = replace(against_normal, masses=_from_counts(q, r, ALPHA))
    yield SharpProposition1(), measured_masses, sets.words
    yield SharpCorollary1(), measured_masses, sets.words
    yield RestrictedProposition1(), RestrictedSets(against_normal, measured.kappa), sets.words
    if normal_latent and measured_masses.masses is not None:
        tau = total_variation_from_kl(measured.relative_entropy.upper)
        known = Enclosure(0.0, tau.upper, Guarantee.ESTIMATE, f"{tau.method} from the relative entropy")
        yield TotalVariationBound(), DistantSets(known, measured_masses.masses, sets.distance, measured.lipschitz), sets.words


def _supports(measured: Measured) -> TransportedLaws:
    """Data and latent points as finite laws: both sides of Remark 3 are exact, the constant over pairs of the support."""
    network = measured.network
    data = measured.data[:SUPPORT]
    latent = network.setting.law_of_z.measure.sample(SUPPORT, np.random.default_rng([measured.seed, 11]))
    return TransportedLaws(Discrete(network.forward(data)), Discrete(latent), data, network.inverse(latent))


def _generator_checks(measured: Measured) -> Iterator[Check]:
    """S4 and the frontier for f o proj_K (S7 in data space) and the statistic along the modes' axis."""
    network, line = measured.network, measured.network.law.marginal(measured.statistic)
    dim = network.setting.dim

    def generated(z: Array) -> Array:
        return network.inverse(measured.domain.project(torch.as_tensor(z)).numpy()) @ measured.statistic

    values = generated(standard_normal(dim).sample_quasi(POINTS, measured.seed + 2))

    def accuracy(clip: float | None) -> Enclosure:
        value = wasserstein_1_line(Discrete(values[:, None]), line, clip=clip).upper
        return Enclosure(0.0, value, Guarantee.ESTIMATE, "quasi-random points against the exact law")

    for t in (0.2, 0.5, 0.8):
        masses = Masses.equal(line.slab_mass([1.0], -t, t))
        yield TwoSetBound(), DataSets(accuracy(t), masses, 2 * t, measured.lipschitz), f"half-spaces, t {t}"
    yield FrontierBound(), StatisticLaw(line, accuracy(None), measured.lipschitz), "projection on the modes' axis"


def _black_box_checks(measured: Measured, rng: np.random.Generator) -> Iterator[Check]:
    """S6 for f o proj_K and the statistic along the modes' axis, component by component of the latent law."""
    components = measured.network.setting.law_of_z.measure.means
    alpha = ALPHA / len(components)
    for index, mean in enumerate(components):

        def generated(points: Array, mean: Array = mean) -> Array:
            z = measured.domain.project(torch.as_tensor(mean + points)).numpy()
            return measured.network.inverse(z) @ measured.statistic

        normal = standard_normal(measured.network.setting.dim)
        # thresholds from points of their own: about the middle, or where this component's mode has its quartiles
        quantiles = np.quantile(generated(normal.sample_quasi(2000, measured.seed + 3)), [0.1, 0.25, 0.75, 0.9])
        pairs = (
            [(-0.2, 0.2), (-0.5, 0.5)] if len(components) == 1 else [(quantiles[1], quantiles[2]), (quantiles[0], quantiles[3])]
        )
        values = generated(normal.sample(POINTS, rng))
        for low, high in pairs:
            limits, _ = clopper_pearson([int((values <= low).sum()), int((values > high).sum())], POINTS, alpha=alpha / 2)
            below, above = (Enclosure(float(v), 1.0, Guarantee.CONFIDENCE, "Clopper-Pearson", alpha / 2) for v in limits)
            words = f"component {index}, thresholds {low:.2f} and {high:.2f}"
            yield BlackBoxBound(), TwoThresholds((float(low), float(high)), below, above, measured.lipschitz), words


def conditional_checks(measured: Measured, count: int) -> Iterator[Check]:
    """Corollary 2 and S3 for balls A about drawn labels."""
    rng = np.random.default_rng([measured.seed, 13])
    for _ in range(count):
        yield from label_checks(measured, rng)


def label_checks(measured: Measured, rng: np.random.Generator) -> Iterator[Check]:
    """Corollary 2 and S3 for one ball A; the law of X given Y in A by rejection, masses by exact binomial intervals."""
    network, n = measured.network, measured.network.setting.labels
    k = network.setting.dim - n
    x, y = measured.labelled
    # a label of its own: the points that are counted do not choose the ball
    centre = labels_of(network.law.sample(1, rng), network.setting)[0]
    others = np.linalg.norm(labels_of(network.law.sample(POINTS, rng), network.setting) - centre, axis=1)
    # large enough to hold eight times the points that are needed, by points that are not counted
    radius = max(rng.uniform(0.3, 0.5) * math.sqrt(n), float(np.quantile(others, 8 * FEWEST_GIVEN / len(x))))
    given = x[np.linalg.norm(y - centre, axis=1) <= radius]
    if len(given) < FEWEST_GIVEN:
        raise NotConverged(f"label_checks: {len(given)} points with Y within {radius} of {centre}, wanted {FEWEST_GIVEN}")
    image = network.forward(given)
    predicted, z = image[:, :n], image[:, n:]
    if k == 1:
        value = wasserstein_1_line(Discrete(z), standard_normal(1)).upper
    else:
        value = wasserstein(z[:FEWEST_GIVEN], standard_normal(k).sample_quasi(FEWEST_GIVEN, measured.seed)).upper
    # nearer to the middle: the part of the posterior that T_y maps out of A joins the gap, which the printed text wants below 1/4
    sets = _draw_sets(network, given, rng, "half-spaces", shift=0.05)
    assert sets is not None
    within = (np.linalg.norm(predicted - centre, axis=1) <= radius) & np.asarray(
        measured.domain.depth(torch.as_tensor(image)) >= 0
    )
    instance = SeparatedSets(
        dim=k,
        epsilon=Enclosure(0.0, value, Guarantee.ESTIMATE, "plug-in, biased upwards"),
        masses=_from_counts(sets.q & within, sets.r & within, ALPHA),
        image_distance=Enclosure(0.0, math.inf, EXACT, "not used"),
        distance=sets.distance,
        lipschitz=measured.lipschitz,
    )
    ball = ConditionalSets(instance, Enclosure(2 * radius, 2 * radius, EXACT, "diameter of the ball"))
    words = f"{sets.words}, y within {radius:.2f} of ({', '.join(f'{v:.2f}' for v in centre)})"
    yield Corollary2(), ball, words
    yield SharpCorollary2(), ball, words
