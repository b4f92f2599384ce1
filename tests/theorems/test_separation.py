"""E and rho* against their definition, their closed form, and one another."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, ndtr, ndtri
from scipy.stats import norm

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.theorems import Masses, least_stretch, separation, separation_cost
from lipbounds.theorems.separation import _level
from tests.oracles.separation import separation_cost_on_grid

shares = st.floats(0.01, 0.98)


@st.composite
def masses(draw):
    a = draw(shares)
    gap = draw(st.sampled_from([0.0, 1e-12, 1e-3, 0.1, 0.4])) * (1 - a)
    return Masses(a, 1 - a - gap, gap)


@given(masses(), st.floats(0.05, 6.0))
@example(Masses.equal(0.0), 2.0)
def test_cost_agrees_with_its_definition(m, rho):
    step = 24.0 / 200_000
    assert separation_cost(rho, m).lower == pytest.approx(separation_cost_on_grid(rho, m.a, m.b), abs=2 * step)


@given(masses(), st.floats(1e-3, 0.999))
@example(Masses(1e-6, 1 - 1e-6, 0.0), 0.3)
@example(Masses(1e-9, 1e-9, 1 - 2e-9), 0.5)
def test_cost_of_a_level_set_by_quadrature(m, share):
    # the interval [c, d] with h(c) = h(d) = l is extremal for its length: E(d - c) is the integral of h over it
    level = share * min(m.a, m.b)

    def end(mass):
        return ndtri(mass - level) if mass <= 0.5 else -ndtri(1.0 - mass + level)

    c, d = float(end(m.a)), -float(end(m.b))
    q_a, q_b = float(ndtri(m.a)), -float(ndtri(m.b))
    left, _ = quad(lambda u: ndtr(q_a) - ndtr(u), c, q_a, epsabs=0, epsrel=1e-8)
    right, _ = quad(lambda u: ndtr(-q_b) - ndtr(-u), q_b, d, epsabs=0, epsrel=1e-8)
    assert separation_cost(d - c, m).lower == pytest.approx(left + right, rel=1e-7)
    assert separation(left + right, m).upper == pytest.approx(d - c, rel=1e-7)


def test_shrinking_moves_mass_into_the_gap():
    shrunk = Masses(0.5, 0.375, 0.125).shrunk(0.125)
    assert (shrunk.a, shrunk.b, shrunk.gap) == pytest.approx((0.375, 0.25, 0.375), rel=1e-15)


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 0.1, 1.0, 10.0, 30.0, 100.0, 1e6])
def test_cost_without_gap_in_closed_form(rho):
    # E(rho) = x erf(x / sqrt 2) + 2 phi(0) expm1(-x^2 / 2), x = rho / 2: no cancellation
    x = rho / 2
    expected = x * erf(x / math.sqrt(2)) + 2 * norm.pdf(0) * math.expm1(-(x**2) / 2)
    if rho < 0.01:  # there the two terms cancel; the leading term of the series is sharper
        expected = norm.pdf(0) * x**2
        assert separation_cost(rho, Masses.equal(0.0)).lower == pytest.approx(expected, rel=x**2)
    else:
        assert separation_cost(rho, Masses.equal(0.0)).lower == pytest.approx(expected, rel=1e-11)


@given(masses(), st.floats(1e-9, 3.0))
@example(Masses.equal(0.0), 1e-14)
@example(Masses.equal(0.0), 1e-300)
@example(Masses.equal(0.3), 50.0)
def test_separation_inverts_the_cost(m, epsilon):
    rho = separation(epsilon, m)
    # E is increasing: the ends of rho* lie on both sides of epsilon, up to the width of E's enclosure
    assert separation_cost(rho.upper, m).upper >= epsilon
    assert separation_cost(rho.lower, m).lower <= epsilon
    assert rho.upper <= rho.lower * (1 + 1e-11)
    assert separation_cost(rho.upper, m).lower == pytest.approx(epsilon, rel=1e-9)
    assert rho.lower >= separation(0.0, m).lower
    assert separation(epsilon, Masses(m.b, m.a, m.gap)) == rho
    assert rho.guarantee is Guarantee.CERTIFIED


@given(masses(), st.floats(1e-9, 0.3), st.floats(0.01, 100.0))
@example(Masses.equal(0.0), 1e-300, 1.0)
def test_least_stretch_solves_its_equation(m, share, distance):
    epsilon = share * distance * min(m.a, m.b)
    least = least_stretch(distance, m, epsilon)
    assert least.upper <= least.lower * (1 + 1e-10)
    for end in (least.lower, least.upper):
        assert end * separation_cost(distance / end, m).lower == pytest.approx(epsilon, rel=1e-7)
    # a hundredth off on either side and the equation fails; below 1e-290 E itself leaves the doubles
    if epsilon < 1e-290:
        return
    assert 1.01 * least.upper * separation_cost(distance / (1.01 * least.upper), m).upper < epsilon
    assert 0.99 * least.lower * separation_cost(distance / (0.99 * least.lower), m).lower > epsilon


@pytest.mark.parametrize("share", [0.97, 0.99, 0.999, 1 - 1e-9])
def test_least_stretch_is_sharp_where_hardly_anything_is_forced(share):
    for m in (Masses.equal(0.0), Masses.equal(0.3), Masses(0.1, 0.9, 0.0)):
        least = least_stretch(2.0, m, share * 2.0 * min(m.a, m.b))
        assert 0 < least.lower <= least.upper <= least.lower * (1 + 1e-5)


def test_the_threshold_of_nothing_is_decided_without_rounding():
    rng = np.random.default_rng(0)
    for _ in range(200):
        distance, a = float(rng.random()), float(rng.uniform(0.05, 0.45))
        least = least_stretch(distance, Masses(a, 1 - a, 0.0), distance * a)
        exactly_beyond = Fraction(distance * a) >= Fraction(distance) * Fraction(a)
        assert (least.upper == 0.0) == exactly_beyond


def test_the_smallest_doubles():
    for m in (Masses.equal(0.0), Masses.equal(0.2), Masses(1e-12, 1 - 1e-12, 0.0)):
        for epsilon in (5e-324, 1e-322, 1e-310):
            rho = separation(epsilon, m)
            # sound; near the smallest double the upper end is wide
            assert 0 <= rho.lower <= rho.upper
            if epsilon > 1e-320 and m.gap == 0 and m.a == 0.5:
                assert rho.upper < 1e-150
            # one mass of 1e-12 against a subnormal epsilon: E(rho) is below the doubles and nothing is said
            if epsilon > 1e-320 or m.a == 0.5:
                assert least_stretch(1.0, m, epsilon).lower > 0
    assert least_stretch(1e10, Masses.equal(0.0), 1e-310).lower > 1e300


def test_shrinking_by_less_than_an_ulp_still_shrinks():
    shrunk = Masses(0.3, 0.7, 0.0).shrunk(1e-17)
    assert shrunk.a < 0.3
    assert shrunk.gap > 0


def test_nothing_is_forced_beyond_the_whole_mass():
    assert least_stretch(2.0, Masses.equal(0.5), 0.5).upper == 0.0
    assert least_stretch(2.0, Masses.equal(0.5), math.inf).upper == 0.0
    assert least_stretch(2.0, Masses.equal(0.0), 0.0).lower == math.inf
    assert least_stretch(2.0, Masses.equal(0.5), 0.0).lower == pytest.approx(2.0 / (-2 * ndtri(0.25)), rel=1e-14)
    assert separation(math.inf, Masses.equal(0.5)).upper == math.inf


@given(masses(), st.floats(-30.0, 30.0), st.floats(0.01, 6.0))
def test_every_level_gives_a_lower_bound_and_the_profile_is_its_conjugate(m, logit, rho):
    # Psi(l) = I(a) + I(b) - I(a - l) - I(b - l) against its definition, the integral of (l - h)_+
    level = min(m.a, m.b) / (1 + math.exp(-logit))

    def h(u):
        return max(m.a - ndtr(u), 0.0) + max(ndtr(u) - (1 - m.b), 0.0)

    left = ndtri(max(m.a - level, 1e-300))
    right = -ndtri(max(m.b - level, 1e-300))
    points = [float(ndtri(m.a)), -float(ndtri(m.b))]
    psi, _ = quad(lambda u: max(level - h(u), 0.0), max(left, -12), min(right, 12), points=points, epsabs=1e-11, limit=200)
    assert separation_cost(rho, m).upper >= level * rho - psi - 1e-8
    exact = _level(m, logit)
    assert float(exact.conjugate) == pytest.approx(psi, abs=1e-8)


@pytest.mark.parametrize("logit", [-600.0, -30.0, 0.0, 30.0, 390.0])
@pytest.mark.parametrize("m", [Masses.equal(0.0), Masses.equal(1e-14), Masses.equal(0.1), Masses(1e-12, 1 - 1e-12, 0.0)])
def test_balls_keep_enough_digits(m, logit):
    level = _level(m, logit)
    for ball in (level.level, level.conjugate, level.rho, level.cost):
        assert ball > 0
        assert ball.rel_accuracy_bits() > 60


@given(masses())
def test_at_accuracy_zero(m):
    if m.gap > 1e-6:  # below, the difference of quantiles loses its digits; that is why it is not used
        assert separation(0.0, m).upper == pytest.approx(norm.ppf(m.a + m.gap) - norm.ppf(m.a), rel=1e-8)
    tiny = Masses.equal(1e-13)
    assert separation(0.0, tiny).upper == pytest.approx(1e-13 * math.sqrt(2 * math.pi), rel=1e-12)
    assert separation(0.0, Masses.equal(0.0)).upper == 0.0


@given(masses(), st.floats(0.01, 5.0), st.floats(0.01, 5.0))
def test_cost_is_convex_and_increasing(m, r1, r2):
    low, high = sorted((r1, r2))
    left, right, middle = (separation_cost(r, m) for r in (low, high, 0.5 * (low + high)))
    assert left.lower <= right.upper
    assert middle.lower <= 0.5 * (left.upper + right.upper) * (1 + 1e-12)


@given(st.floats(0.01, 0.49), st.floats(0.0, 0.5), st.floats(1e-6, 1.0), st.floats(0.0, 1.0))
def test_for_a_given_gap_the_lopsided_masses_cost_least(a, gap, epsilon, share):
    # what lets an interval for a be replaced by its ends (docs/theory, S4 from data)
    whole = 1 - gap
    a = a * whole
    b = a + share * (whole / 2 - a)
    near, far = Masses(b, whole - b, gap), Masses(a, whole - a, gap)
    assert separation(epsilon, far).upper >= separation(epsilon, near).lower
    assert least_stretch(1.0, far, epsilon).lower <= least_stretch(1.0, near, epsilon).upper


def test_rate_at_small_accuracy():
    for epsilon in (1e-10, 1e-6):
        expected = 2 * (2 * math.pi) ** 0.25 * math.sqrt(epsilon)
        assert separation(epsilon, Masses.equal(0.0)).upper == pytest.approx(expected, rel=10 * epsilon)


def test_the_weaker_guarantee_travels():
    kappa = Enclosure(0.0, 0.01, Guarantee.CONFIDENCE, "counted", 0.05)
    masses = Masses.equal(0.1).shrunk(kappa)
    assert (masses.guarantee, masses.alpha, masses.gap) == (Guarantee.CONFIDENCE, 0.05, pytest.approx(0.12))
    width = separation(0.01, masses)
    assert (width.guarantee, width.alpha) == (Guarantee.CONFIDENCE, 0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Masses(0.5, 0.6, 0.0),
        lambda: Masses(1e-13, 1 - 1e-13, 0.0),
        lambda: Masses(1e-10, 1e-10, 1 - 1e-10),
        lambda: Masses(0.0, 1.0, 0.0),
        lambda: Masses(0.6, 0.5, -0.1),
        lambda: separation(-1.0, Masses.equal(0.1)),
        lambda: separation(np.nan, Masses.equal(0.1)),
        lambda: separation_cost(np.inf, Masses.equal(0.1)),
        lambda: least_stretch(0.0, Masses.equal(0.1), 0.1),
        lambda: least_stretch(1.0, Masses.equal(0.1), -0.1),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
