"""Proposition 1 and Corollary 1 as printed: the explicit constant, the verdicts, and trained networks."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipbounds.distances import wasserstein, wasserstein_1_line
from lipbounds.domains import latent_ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.lipschitz import find_lipschitz
from lipbounds.measures import Discrete, standard_normal
from lipbounds.theorems import (
    Corollary1,
    Masses,
    Outcome,
    Proposition1,
    SeparatedSets,
    forced_as_printed,
    forced_by_frontier,
    forced_in_latent_space,
    separation,
    two_modes,
    two_modes_in_plane,
)
from lipbounds.theorems.proposition_1 import log_constant, log_distance_bound
from tests.strategies.lines import monotone_maps

SIGMA = 0.25  # of the trained network


def exactly(value):
    return Enclosure(value, value, Guarantee.EXACT, "given")


@pytest.mark.parametrize(("n", "expected"), [(1, 9.32), (2, 6.59), (4, 4.88), (8, 3.86), (16, 3.26)])
def test_the_explicit_constant(n, expected):
    assert log_constant(n) / math.log(10) == pytest.approx(expected, abs=0.006)


def test_the_constant_of_a_large_dimension_does_not_overflow():
    assert math.isfinite(log_constant(1024))


def test_printed_is_weaker_than_sharp():
    for n in (1, 2, 16, 256):
        for delta in (0.0, 0.1):
            for epsilon in (1e-6, 0.01, 0.2):
                printed = forced_as_printed(n, 1.0, delta, exactly(epsilon)).lower
                assert printed < forced_in_latent_space(1.0, Masses.equal(delta), exactly(epsilon)).lower / 235


def instance_of(problem, gap):
    return SeparatedSets(
        dim=1,
        epsilon=wasserstein_1_line(problem.image_law, standard_normal(1)),
        delta=exactly(gap),
        image_distance=exactly(problem.image_distance),
        distance=problem.distance,
        lipschitz=exactly(problem.lipschitz_of_inverse),
    )


@given(monotone_maps())
def test_no_drawn_map_refutes_them(problem):
    lighter = min(problem.weights[: problem.left].sum(), problem.weights[len(problem.weights) - problem.right :].sum())
    instance = instance_of(problem, max(0.0, 1.0 - 2.0 * float(lighter)))
    small = instance.epsilon.upper < 0.25 and instance.delta.upper < 0.25
    for statement in (Proposition1(), Corollary1()):
        assert statement.check(instance).outcome is (Outcome.CONFIRMED if small else Outcome.NOT_APPLICABLE)


def test_every_outcome_is_reachable():
    base = SeparatedSets(2, exactly(0.1), exactly(0.1), exactly(0.5), 1.0, exactly(3.0))
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
    expected = math.exp(log_constant(n)) * (delta + epsilon ** (n / (n + 1))) ** (1 / n)
    assert math.exp(log_distance_bound(n, delta, epsilon)) == pytest.approx(expected, rel=1e-12)


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
    found = find_lipschitz(flow.inverse, domain, seed=0, segments=segments)
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
        delta=exactly(gap + 2 * kappa),
        image_distance=Enclosure(0.0, nearest, Guarantee.EXACT, "pair"),
        distance=2 * t,
        lipschitz=Enclosure(found.value, math.inf, Guarantee.EXACT, "pair"),
    )
    expected = Outcome.CONFIRMED if instance.delta.upper < 0.25 else Outcome.NOT_APPLICABLE
    assert Proposition1().check(instance).outcome is expected
    assert Corollary1().check(instance).outcome is expected
    masses = Masses.equal(gap).shrunk(kappa)
    # the sharp versions, which are within reach of refutation
    assert nearest <= separation(epsilon.upper, masses)
    assert forced_in_latent_space(2 * t, masses, epsilon).lower <= found.value


def test_the_default_search_is_above_every_bound_on_a_trained_network(measured):
    flow, domain, _, _, found, _ = measured
    z = domain.project(torch.as_tensor(standard_normal(2).sample_quasi(2**14, 5)))
    x = flow.inverse(z).numpy()
    accuracy = wasserstein_1_line(Discrete(x[:, :1]), two_modes(SIGMA))
    frontier = forced_by_frontier(two_modes(SIGMA), accuracy).lower
    assert 2.0 < frontier < found.value
    # negative control: with the error understated by 1e4 the network would have to be steeper than it is
    assert forced_by_frontier(two_modes(SIGMA), exactly(accuracy.upper / 1e4)).lower > found.value


@pytest.mark.parametrize(
    "call",
    [
        lambda: log_constant(0),
        lambda: forced_as_printed(1, 0.0, 0.1, exactly(0.1)),
        lambda: forced_as_printed(1, 1.0, 0.3, exactly(0.1)),
        lambda: forced_as_printed(1, 1.0, 0.1, exactly(0.3)),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
