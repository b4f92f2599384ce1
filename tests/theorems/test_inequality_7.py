from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lipbounds.distances import wasserstein, wasserstein_lower_from_sets
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.theorems import Inequality7, Outcome, TwoSets
from lipbounds.theorems.inequality_7 import entries


def exact(value):
    return Enclosure(value, value, Guarantee.EXACT, "counted")


def widened(value):
    """An enclosure for a number with rounding of its own, which an equality case meets exactly."""
    return Enclosure(value * (1 - 1e-12), value * (1 + 1e-12), Guarantee.EXACT, "counted")


def instance(x, y, a, b, in_a, in_b, p, stretch=1.0):
    """Two laws and two sets of their atoms; the distance of the sets is computed from the atoms, or stretched for a control."""
    mu, nu = Discrete(x, a), Discrete(y, b)
    gaps = np.linalg.norm(x[in_a][:, None] - y[in_b], axis=2)
    distance = float(gaps.min()) if gaps.size else 0.0
    # A and B as sets of points: atoms of either law that lie in them count
    return TwoSets(p, exact(float(a[in_a].sum())), exact(float(b[in_b].sum())), exact(stretch * distance), wasserstein(mu, nu, p))


def drawn(seed, p, stretch=1.0):
    """Atoms of mu near 0 and of nu near (5, 0), with a share of both at other places; A and B hold the near ones."""
    rng = np.random.default_rng(seed)
    n = 6
    x, y = rng.standard_normal((n, 2)) * 0.3, rng.standard_normal((n, 2)) * 0.3 + [5.0, 0.0]
    x[4:] += [20.0, 0.0]
    y[5:] += [20.0, 0.0]
    a, b = rng.multinomial(16, np.full(n, 1 / n)) / 16, rng.multinomial(16, np.full(n, 1 / n)) / 16
    return instance(x, y, a, b, np.arange(4), np.arange(5), p, stretch)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 5.0]))
def test_holds(seed, p):
    assert Inequality7().check(drawn(seed, p)).outcome is Outcome.CONFIRMED


@pytest.mark.parametrize("p", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("mass", [0.25, 0.5, 1.0])
def test_equality_and_negative_controls(p, mass):
    # mass m travels from 0 to 3, the rest of both laws lies at one common point between A and B that belongs to neither
    x, y = np.array([[0.0], [1.5]]), np.array([[3.0], [1.5]])
    law = np.array([mass, 1 - mass])
    bound = wasserstein_lower_from_sets(mass, 1.0, 3.0, p).lower
    # with B = {3, 1.5}: nu(B) = 1, but then dist(A, B) = 1.5; equality needs the common point in no set
    distance = wasserstein(Discrete(x, law), Discrete(y, law), p)
    if mass == 1.0:
        assert distance.upper == pytest.approx(bound, rel=1e-12)
    shared = TwoSets(p, exact(mass), exact(mass), exact(3.0), distance)
    assert Inequality7().check(shared).outcome is Outcome.CONFIRMED  # for mass 1 an equality without any rounding
    one = np.array([1.0])
    atoms = instance(np.array([[0.0]]), np.array([[3.0]]), one, one, np.array([0]), np.array([0]), p)
    assert Inequality7().check(atoms).outcome is Outcome.CONFIRMED
    assert atoms.wasserstein.lower == pytest.approx(3.0)
    stretched = TwoSets(p, exact(1.0), exact(1.0), exact(3.0 * 1.001), atoms.wasserstein)
    assert Inequality7().check(stretched).outcome is Outcome.REFUTED
    # masses claimed larger than they are, and the power taken for the root
    wrong = TwoSets(p, exact(1.0), exact(1.0), exact(3.0), wasserstein(Discrete(x, law), Discrete([[0.0], [1.5]], law), p))
    assert Inequality7().check(wrong).outcome is Outcome.REFUTED


@given(st.fractions(0, 1), st.fractions(0, 1))
@example(Fraction(1, 3), Fraction(2, 3))
def test_both_entries_of_the_maximum_are_equal(a, b):
    first, second = entries(a, b)
    assert first == second == a + b - 1
    # and the function computes it without cancelling
    value = wasserstein_lower_from_sets(float(a), float(b), 1.0).lower
    exact_value = max(Fraction(0), Fraction(float(a)) + Fraction(float(b)) - 1)
    assert value == float(exact_value)


def test_bounds_that_are_enclosures():
    half_known = TwoSets(
        1.0,
        Enclosure(0.5, 0.75, Guarantee.CONFIDENCE, "counted", 0.1),
        Enclosure(0.5, 1.0, Guarantee.CONFIDENCE, "counted", 0.1),
        exact(2.0),
        exact(1.0),
    )
    verdict = Inequality7().check(half_known)
    assert verdict.outcome is Outcome.UNDECIDED
    assert (verdict.left.lower, verdict.left.upper) == (0.0, 1.5)
    assert verdict.alpha == pytest.approx(0.2)
    infinite = TwoSets(np.inf, exact(1.0), exact(1.0), exact(1.0), exact(1.0))
    assert Inequality7().check(infinite).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(
    "arguments",
    [(-0.1, 1.0, 1.0), (0.5, 1.1, 1.0), (0.5, 0.5, -1.0), (0.5, 0.5, np.inf), (0.5, 0.5, 1.0, 0.5), (np.nan, 0.5, 1.0)],
)
def test_bad_input(arguments):
    with pytest.raises(InvalidInput):
        wasserstein_lower_from_sets(*arguments)
