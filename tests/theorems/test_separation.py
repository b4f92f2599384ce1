"""E and rho* against their definition, their closed form, and one another."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, ndtr, ndtri
from scipy.stats import norm

from lipbounds.errors import InvalidInput
from lipbounds.theorems import Masses, separation, separation_cost
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
    assert separation_cost(rho, m) == pytest.approx(separation_cost_on_grid(rho, m.a, m.b), abs=2 * step)


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
    assert separation_cost(d - c, m) == pytest.approx(left + right, rel=1e-7)
    assert separation(left + right, m) == pytest.approx(d - c, rel=1e-7)


def test_shrinking_moves_mass_into_the_gap():
    shrunk = Masses(0.5, 0.375, 0.125).shrunk(0.125)
    assert shrunk == Masses(0.375, 0.25, 0.375)


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 0.1, 1.0, 10.0, 30.0, 100.0, 1e6])
def test_cost_without_gap_in_closed_form(rho):
    # E(rho) = x erf(x / sqrt 2) + 2 phi(0) expm1(-x^2 / 2), x = rho / 2: no cancellation
    x = rho / 2
    expected = x * erf(x / math.sqrt(2)) + 2 * norm.pdf(0) * math.expm1(-(x**2) / 2)
    if rho < 0.01:  # there the two terms cancel; the leading term of the series is sharper
        expected = norm.pdf(0) * x**2
        assert separation_cost(rho, Masses.equal(0.0)) == pytest.approx(expected, rel=x**2)
    else:
        assert separation_cost(rho, Masses.equal(0.0)) == pytest.approx(expected, rel=1e-11)


@given(masses(), st.floats(1e-9, 3.0))
@example(Masses.equal(0.0), 1e-14)
@example(Masses.equal(0.3), 50.0)
def test_separation_inverts_the_cost(m, epsilon):
    rho = separation(epsilon, m)
    assert separation_cost(rho, m) == pytest.approx(epsilon, rel=1e-9)
    assert rho >= separation(0.0, m)
    assert separation(epsilon, Masses(m.b, m.a, m.gap)) == pytest.approx(rho, rel=1e-10)


@given(masses())
def test_at_accuracy_zero(m):
    if m.gap > 1e-6:  # below, the difference of quantiles loses its digits; that is why it is not used
        assert separation(0.0, m) == pytest.approx(norm.ppf(m.a + m.gap) - norm.ppf(m.a), rel=1e-8)
    tiny = Masses.equal(1e-13)
    assert separation(0.0, tiny) == pytest.approx(1e-13 * math.sqrt(2 * math.pi), rel=1e-12)
    assert separation(0.0, Masses.equal(0.0)) == 0.0


@given(masses(), st.floats(0.01, 5.0), st.floats(0.01, 5.0))
def test_cost_is_convex_and_increasing(m, r1, r2):
    low, high = sorted((r1, r2))
    left, right, middle = (separation_cost(r, m) for r in (low, high, 0.5 * (low + high)))
    assert left <= right * (1 + 1e-12) + 1e-15
    assert middle <= 0.5 * (left + right) * (1 + 1e-12) + 1e-15


def test_rate_at_small_accuracy():
    for epsilon in (1e-10, 1e-6):
        expected = 2 * (2 * math.pi) ** 0.25 * math.sqrt(epsilon)
        assert separation(epsilon, Masses.equal(0.0)) == pytest.approx(expected, rel=10 * epsilon)


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
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
