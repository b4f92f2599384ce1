"""Proposition 1 and Corollary 1 as printed: the explicit constant, the verdicts, and trained networks."""

import copy
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import chi

from lipbounds.distances import wasserstein, wasserstein_1_line
from lipbounds.domains import latent_ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.search import find_lipschitz
from lipbounds.theorems import (
    ConditionalSets,
    Corollary1,
    Corollary2,
    Masses,
    Outcome,
    Proposition1,
    SeparatedSets,
    SharpProposition1,
    forced_as_printed,
    forced_by_frontier,
    forced_in_latent_space,
    printed_constant,
    printed_distance,
    separation,
    two_modes,
    two_modes_in_plane,
)
from tests.strategies.lines import monotone_maps

SIGMA = 0.25  # of the trained network


def exactly(value):
    return Enclosure(value, value, Guarantee.EXACT, "given")


@pytest.mark.parametrize(("n", "expected"), [(1, 9.32), (2, 6.59), (4, 4.88), (8, 3.86), (16, 3.26)])
def test_the_explicit_constant(n, expected):
    assert printed_constant(n).log_c.upper / math.log(10) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 256, 1024])
def test_the_constant_in_floats_lies_in_its_balls(n):
    constant = printed_constant(n)
    s = float(chi.ppf(0.75, n)) + 2.0
    log_volume = 0.5 * n * math.log(math.pi) - float(gammaln(0.5 * n + 1))
    log_c = math.log(4.0) + (2 * s * s + 0.5 * n * math.log(2 * math.pi) - log_volume) / n
    assert constant.s.guarantee is constant.log_c.guarantee is Guarantee.CERTIFIED
    assert constant.s.upper - constant.s.lower < 1e-13
    assert constant.s.lower <= s * (1 + 1e-14)
    assert constant.s.upper >= s * (1 - 1e-14)
    assert constant.log_c.upper == pytest.approx(log_c, rel=1e-12)
    assert constant.log_c.upper - constant.log_c.lower < 1e-12
    assert constant.threshold == 0.25


def test_the_constant_of_a_general_law():
    # nu = N(0, I) by the general construction gives the same; a wider or shifted law a larger one, and mass 3/4 in B_(s-2)
    same = printed_constant(standard_normal(3))
    assert same.log_c.upper == pytest.approx(printed_constant(3).log_c.upper, rel=1e-12)
    nu = GaussianMixture([[-2.0, 0.0], [2.0, 0.0]], [np.eye(2), 0.25 * np.eye(2)], [0.3, 0.7])
    constant = printed_constant(nu)
    assert constant.s.guarantee is Guarantee.CERTIFIED
    x = nu.sample(20_000, np.random.default_rng(0))
    assert (np.linalg.norm(x, axis=1) <= constant.s.lower - 2).mean() > 0.75
    # m bounds the density on B_2s from below: C^-n 4^n = m V_1
    ball = np.random.default_rng(1).standard_normal((5000, 2))
    ball *= 2 * constant.s.lower / np.linalg.norm(ball, axis=1, keepdims=True)
    log_m = 2 * (math.log(4.0) - constant.log_c.upper) - math.log(math.pi)
    assert nu.log_density(ball).min() >= log_m
    oblique = GaussianMixture([[0.0, 0.0]], [[[1.0, 0.5], [0.5, 1.0]]])
    assert printed_constant(oblique).s.guarantee is Guarantee.EXACT
    # negative control: half the radius does not hold the mass
    assert (np.linalg.norm(x, axis=1) <= (constant.s.lower - 2) / 2).mean() < 0.75


def test_nearly_flat_covariances_keep_the_constant_above_the_truth():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rho = 1 - 10.0 ** -rng.uniform(2, 9)
        a, b = rng.uniform(0.5, 1.5, 2)
        matrix = np.array([[a * a, rho * a * b], [rho * a * b, b * b]])
        constant = printed_constant(GaussianMixture([[0.0, 0.0]], [matrix]))
        # the smallest eigenvalue without cancellation: determinant over the largest one
        determinant = Fraction(matrix[0, 0]) * Fraction(matrix[1, 1]) - Fraction(matrix[0, 1]) ** 2
        largest = float(np.linalg.eigvalsh(matrix)[1])
        smallest = float(determinant) / largest
        log_density = -((2 * constant.s.lower) ** 2) / (2 * smallest) - 0.5 * math.log(float(determinant)) - math.log(2 * math.pi)
        exact = math.log(4.0) - (log_density + math.log(math.pi)) / 2
        assert constant.log_c.upper >= exact * (1 - 1e-12)
    with pytest.raises(InvalidInput, match="eigenvalue"):
        printed_constant(GaussianMixture([[0.0, 0.0]], [[[1.0, 1 - 1e-15], [1 - 1e-15, 1.0]]]))


def test_constants_beyond_the_doubles_claim_nothing():
    latent = GaussianMixture([[-40.0], [40.0]], [[[1.0]], [[1.0]]])
    exact = Guarantee.EXACT
    zero = Enclosure(0.0, 0.01, exact, "given")
    instance = SeparatedSets(1, zero, Masses.equal(0.1), exactly(4.0), 4.0, exactly(1.0), latent)
    right = Proposition1().right(instance)
    assert right.upper == math.inf
    assert right.lower > 1e307
    for left in (Corollary1().left(instance), Corollary2().left(ConditionalSets(instance, exactly(0.0)))):
        assert left.lower == 0.0
        assert 0.0 < left.upper < 1e-300


def test_a_mixture_latent_is_covered_by_the_general_form():
    latent = GaussianMixture([[-5.0], [5.0]], [[[1.0]], [[1.0]]])
    exact = Guarantee.EXACT
    instance = SeparatedSets(
        dim=1,
        epsilon=Enclosure(0.0, 0.0, exact, "T = id, mu = nu"),
        masses=Masses.equal(latent.slab_mass([1.0], -2.0, 2.0)),
        image_distance=Enclosure(4.0, 4.0, exact, "half-lines"),
        distance=4.0,
        lipschitz=Enclosure(1.0, 1.0, exact, "identity"),
        reference=latent,
    )
    assert Proposition1().check(instance).outcome is Outcome.CONFIRMED
    assert Corollary1().check(instance).outcome is Outcome.CONFIRMED
    # the sharp versions say nothing about it, and the printed constant of N(0, 1) would be wrong for it
    assert SharpProposition1().check(instance).outcome is Outcome.NOT_APPLICABLE
    farther = replace(instance, reference=None, masses=Masses.equal(1e-12), epsilon=instance.epsilon)
    assert Proposition1().check(farther).outcome is Outcome.REFUTED


def test_printed_is_weaker_than_sharp():
    for n in (1, 2, 16, 256):
        for delta in (0.0, 0.1):
            for epsilon in (1e-6, 0.01, 0.2):
                printed = forced_as_printed(n, 1.0, delta, exactly(epsilon)).lower
                assert printed < forced_in_latent_space(1.0, Masses.equal(delta), exactly(epsilon)).lower / 235


def instance_of(problem):
    first, last = problem.weights[: problem.left].sum(), problem.weights[len(problem.weights) - problem.right :].sum()
    between = problem.weights[problem.left : len(problem.weights) - problem.right].sum()
    return SeparatedSets(
        dim=1,
        epsilon=wasserstein_1_line(problem.image_law, standard_normal(1)),
        masses=Masses(float(first), float(last), float(between)),
        image_distance=exactly(problem.image_distance),
        distance=problem.distance,
        lipschitz=exactly(problem.lipschitz_of_inverse),
    )


@given(monotone_maps())
def test_no_drawn_map_refutes_them(problem):
    instance = instance_of(problem)
    small = instance.epsilon.upper < 0.25 and instance.masses.delta < 0.25
    for statement in (Proposition1(), Corollary1()):
        assert statement.check(instance).outcome is (Outcome.CONFIRMED if small else Outcome.NOT_APPLICABLE)


def test_every_outcome_is_reachable():
    base = SeparatedSets(2, exactly(0.1), Masses.equal(0.1), exactly(0.5), 1.0, exactly(3.0))
    assert Proposition1().check(base).outcome is Outcome.CONFIRMED
    # an instance that no map has: images farther apart than C allows
    impossible = replace(base, image_distance=exactly(1e9))
    assert Proposition1().check(impossible).outcome is Outcome.REFUTED
    assert (
        Proposition1().check(replace(base, image_distance=Enclosure(0.0, 1e9, Guarantee.EXACT, "x"))).outcome is Outcome.UNDECIDED
    )
    assert Corollary1().check(replace(base, lipschitz=exactly(1e-12))).outcome is Outcome.REFUTED
    assert (
        Corollary1().check(replace(base, lipschitz=Enclosure(0.0, math.inf, Guarantee.EXACT, "x"))).outcome is Outcome.UNDECIDED
    )
    verdict = Corollary1().check(replace(base, epsilon=Enclosure(0.0, 0.3, Guarantee.ESTIMATE, "x")))
    assert verdict.outcome is Outcome.NOT_APPLICABLE
    assert "epsilon = 0.3" in verdict.reason
    verdict = Corollary1().check(replace(base, epsilon=Enclosure(0.0, 0.2, Guarantee.ESTIMATE, "x")))
    assert verdict.guarantee is Guarantee.ESTIMATE


def test_the_logarithm_is_the_formula():
    n, delta, epsilon = 3, 0.1, 0.05
    expected = math.exp(printed_constant(n).log_c.upper) * (delta + epsilon ** (n / (n + 1))) ** (1 / n)
    assert math.exp(printed_distance(n, delta, epsilon).upper) == pytest.approx(expected, rel=1e-11)
    assert printed_distance(n, 0.0, 0.0).upper == -math.inf


@pytest.fixture(scope="module")
def measured(trained_normal):
    """The trained network in double precision, its constant found on the ball, and its data and images."""
    flow = copy.deepcopy(trained_normal).double().requires_grad_(False)
    domain = latent_ball([0.0, 0.0], mass=0.9999)
    x = two_modes_in_plane(SIGMA).sample_quasi(2000, 0)
    z = flow(torch.as_tensor(x)).numpy()
    left, right = z[x[:, 0] < 0], z[x[:, 0] >= 0]
    count = min(len(left), len(right))
    segments = [(torch.as_tensor(left[:count]), torch.as_tensor(right[:count]))]
    found = find_lipschitz(flow.inverse, domain, seed=0, evaluations=60_000, segments=segments)
    epsilon = wasserstein(Discrete(z), Discrete(standard_normal(2).sample_quasi(2000, 1))).upper
    return flow, domain, x, z, found, Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "plug-in, biased upwards")


@given(t=st.floats(0.05, 0.9), angle=st.floats(-0.5, 0.5))
def test_a_trained_network_confirms_them_for_drawn_half_spaces(measured, t, angle):
    # Q and R: half-spaces at distance t from the origin, tilted by `angle`; masses exact, cut to the domain by kappa (S7)
    _, domain, x, z, found, epsilon = measured
    normal = np.array([np.cos(angle), np.sin(angle)])
    along = x @ normal
    kappa = 2 * float((domain.depth(torch.as_tensor(z)) < 0).double().mean()) + 1e-3
    gap = two_modes_in_plane(SIGMA).slab_mass(normal, -t, t)
    inside = (domain.depth(torch.as_tensor(z)) >= 0).numpy()
    q, r = z[inside & (along <= -t)], z[inside & (along >= t)]
    nearest = float(np.sqrt(((q[:, None] - r[None]) ** 2).sum(-1).min()))
    instance = SeparatedSets(
        dim=2,
        epsilon=epsilon,
        masses=Masses.equal(gap).shrunk(kappa),
        image_distance=Enclosure(0.0, nearest, Guarantee.EXACT, "pair"),
        distance=2 * t,
        lipschitz=Enclosure(found.lower, math.inf, Guarantee.EXACT, "pair"),
    )
    expected = Outcome.CONFIRMED if instance.masses.delta < 0.25 else Outcome.NOT_APPLICABLE
    assert Proposition1().check(instance).outcome is expected
    assert Corollary1().check(instance).outcome is expected
    masses = Masses.equal(gap).shrunk(kappa)
    # the sharp versions, which are within reach of refutation
    assert nearest <= separation(epsilon.upper, masses).upper
    assert forced_in_latent_space(2 * t, masses, epsilon).lower <= found.lower


def test_the_default_search_is_above_every_bound_on_a_trained_network(measured):
    flow, domain, _, _, found, _ = measured
    z = domain.project(torch.as_tensor(standard_normal(2).sample_quasi(2**14, 5)))
    x = flow.inverse(z).numpy()
    accuracy = wasserstein_1_line(Discrete(x[:, :1]), two_modes(SIGMA))
    frontier = forced_by_frontier(two_modes(SIGMA), accuracy).lower
    assert 2.0 < frontier < found.lower
    # negative control: with the error understated by 1e4 the network would have to be steeper than it is
    assert forced_by_frontier(two_modes(SIGMA), exactly(accuracy.upper / 1e4)).lower > found.lower


@pytest.mark.parametrize(
    "call",
    [
        lambda: printed_constant(0),
        lambda: printed_constant(2.5),
        lambda: printed_constant(True),
        lambda: forced_as_printed(1, 0.0, 0.1, exactly(0.1)),
        lambda: forced_as_printed(1, 1.0, 0.3, exactly(0.1)),
        lambda: forced_as_printed(1, 1.0, 0.1, exactly(0.3)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_the_infimum_of_a_mixtures_density_is_bounded_and_nearly_met(dim):
    # between the means the density is far above what the farthest point of every component allows
    means = np.zeros((2, dim))
    means[:, 0] = (-5.0, 5.0)
    nu = GaussianMixture(means, np.stack([np.eye(dim)] * 2))
    constant = printed_constant(nu)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100_000, dim))
    x *= 2 * constant.s.lower / np.linalg.norm(x, axis=1, keepdims=True)
    log_volume = 0.5 * dim * math.log(math.pi) - gammaln(dim / 2 + 1)
    # log C = log 4 - (log infimum + log V_1) / n
    infimum = dim * (math.log(4) - constant.log_c.upper) - log_volume
    sampled = float(nu.log_density(x).min())
    assert infimum <= sampled
    assert infimum >= sampled - 1.0


def test_an_enclosure_from_zero_against_a_large_number_could_refute_nothing():
    statement = Proposition1()
    instance = replace(statement.extremal(), image_distance=Enclosure(0.0, 0.5, Guarantee.EXACT, "pair of points"))
    verdict = statement.check(instance)
    assert verdict.right.upper > 1e3 * verdict.left.upper
    assert verdict.outcome is Outcome.CONFIRMED
    assert not verdict.refutable
