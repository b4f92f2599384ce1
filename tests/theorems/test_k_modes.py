"""S8: the price of k modes against a brute-force minimum, against S4 and S5, and the constants of the asymptotic problem."""

import math
from fractions import Fraction

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from lipbounds import Guarantee, forced_lipschitz
from lipbounds.distances.statistics import Margin
from lipbounds.enclosure import Enclosure
from lipbounds.errors import InvalidInput
from lipbounds.theorems import (
    KModes,
    Masses,
    forced_by_modes,
    forced_by_modes_in_total_variation,
    forced_by_total_variation,
    least_stretch,
    perimeter_of_intervals,
    separation_cost,
    simplicial_cost,
    simplicial_perimeter,
)
from lipbounds.theorems.k_modes import star_stretch
from lipbounds.theorems.star_cost import Legs
from lipbounds.theorems.stars_in_data import Star, limits

SEEDS = st.integers(0, 2**32 - 1)


def leg_cost(p, gap, rho, c):
    """g(c), by quadrature of its definition."""

    def h(u):
        return max(p - ndtr(u), 0.0) + max(ndtr(u) - p - gap, 0.0)

    kinks = [k for k in (ndtri(p), ndtri(min(p + gap, 1.0))) if c - rho < k < c]
    return quad(h, c - rho, c, points=kinks or None, epsabs=1e-13)[0]


def brute_force(p, gap, rho, steps):
    """The minimum over a grid of shares of three modes; g is least at some c at most the quantile of the share."""
    shares = np.arange(steps + 1) / steps
    tables = []
    for mass, length in zip(p, rho, strict=True):
        places = ndtri(np.clip(shares, 1e-300, 1 - 1e-16))
        values = np.array([mass * length, *(leg_cost(mass, gap, length, c) for c in places[1:])])
        tables.append(np.minimum.accumulate(values))
    best = math.inf
    for i in range(steps + 1):
        rest = tables[1][: steps + 1 - i] + tables[2][: steps + 1 - i][::-1]
        best = min(best, tables[0][i] + rest.min())
    return best


@pytest.mark.parametrize(
    ("p", "rho"),
    [
        ([0.3, 0.3, 0.3], [0.3, 0.3, 0.3]),
        ([0.2, 0.3, 0.5], [0.5, 0.5, 0.5]),
        ([0.1, 0.15, 0.7], [1.0, 0.4, 0.2]),
        ([0.05, 0.45, 0.5], [0.2, 1.5, 1.0]),
        ([0.05, 0.06, 0.89], [0.05, 0.05, 2.0]),
    ],
)
def test_the_price_is_that_of_the_best_shares(p, rho):
    """Where one or two modes are given up, where one gives some of its share, and where all keep theirs."""
    gap = 1.0 - math.fsum(p)
    legs = Legs(np.array(p), np.array(rho), max(gap, 0.0))
    least = brute_force(p, max(gap, 0.0), rho, 400)
    # the grid is above the minimum, by the square of its step at an inner one and by its step at a corner
    assert legs.proves(0.97 * least)
    assert not legs.proves(1.0001 * least)


@given(SEEDS, st.integers(2, 6))
def test_nothing_above_an_upper_bound_is_proven(seed, k):
    """Shares that are drawn at random, priced by quadrature: no proof says more."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(k + 1)) * 0.98 + 0.02 / (k + 1)
    p, rho = p[:k], 10.0 ** rng.uniform(-1.5, 0.5, k)
    gap = max(0.0, 1.0 - math.fsum(p)) * (1 + 1e-15)
    shares = rng.dirichlet(20 * p + 0.1)
    paid = sum(
        min(mass * length, leg_cost(mass, gap, length, ndtri(v)))
        for mass, length, v in zip(p.tolist(), rho.tolist(), shares.tolist(), strict=True)
    )
    if paid > 0.0:
        assert not Legs(p, rho, gap).proves(paid * (1 + 1e-9))


@given(SEEDS)
def test_two_modes_are_two_sets(seed):
    rng = np.random.default_rng(seed)
    a, gap = rng.uniform(0.3, 0.6), rng.uniform(0.0, 0.05)
    b, rho = 1.0 - a - gap, 10.0 ** rng.uniform(-1.0, 0.3)
    cost = separation_cost(rho, Masses(a, b, gap))
    split = rng.uniform(0.35, 0.65)
    legs = Legs(np.array([a, b]), rho * np.array([split, 1 - split]), gap)
    if cost.lower > 1e-9:
        assert legs.proves(0.97 * cost.lower)
        assert not legs.proves(cost.upper * (1 + 1e-9))


@pytest.mark.parametrize("epsilon", [0.02, 0.005])
def test_forced_by_two_modes_is_s4(epsilon):
    for a in (0.5, 0.2):
        two = least_stretch(2.0, Masses(a, 1 - a, 0.0), epsilon).lower
        assert forced_by_modes(KModes([a, 1 - a], 2.0), epsilon).lower == pytest.approx(two, rel=1e-12)
        assert star_stretch(KModes([a, 1 - a], 2.0).masses, np.ones(2), 0.0, epsilon)[0] == pytest.approx(two, rel=2e-9)


@pytest.mark.parametrize(("k", "against_halves"), [(3, 1.37), (8, 2.06), (10, 2.20)])
def test_gain_over_two_sets(k, against_halves):
    """As epsilon falls, the star over two sets of mass 1/2 at the same distance: k I(1/k) / (2 I(1/2))."""
    epsilon = 1e-4
    star = star_stretch(KModes([1 / k] * k, 2.0).masses, np.ones(k), 0.0, epsilon)[0]
    halves = least_stretch(2.0, Masses.equal(0.0), epsilon).lower
    assert star / halves == pytest.approx(against_halves, abs=0.006)
    assert star * epsilon == pytest.approx(k * math.exp(-0.5 * ndtri(1 / k) ** 2) / math.sqrt(8 * math.pi), rel=1e-2)


@pytest.mark.parametrize(("k", "ratio"), [(3, 1.11), (8, 1.23)])
def test_the_simplicial_generator_is_near(k, ratio):
    for stretch in (5.0, 40.0):
        epsilon = stretch * simplicial_cost(k, 1 / stretch).upper
        forced = forced_by_modes(KModes([1 / k] * k, 2.0), epsilon).lower
        assert forced <= stretch <= ratio * forced


def test_a_hundred_modes():
    forced = forced_by_modes(KModes([0.01] * 100, 2.0), 0.02)
    assert forced.method == "S8, star of 100 modes"
    assert forced.lower > 3.2 * max(least_stretch(2.0, Masses(j / 100, 1 - j / 100, 0.0), 0.02).lower for j in range(1, 100))


def test_equal_shares_are_not_always_best():
    """A hundred equal modes: one gives a little of its share."""
    legs = Legs(np.full(100, 0.01), np.full(100, 0.2), 0.0)
    value, inside, share = legs.about()
    assert inside == 0
    assert share < 0.01
    assert value < legs.whole() * (1 - 1e-4)
    assert legs.reached(inside, share) < legs.whole() * (1 - 1e-4)


def test_constants_of_the_asymptotic_problem():
    for k, simplex, line in ((3, 0.598, 0.727), (8, 1.007, 2.205), (10, 1.088, 2.778), (100, 1.773, 28.2)):
        assert simplicial_perimeter(k).lower == pytest.approx(simplex, abs=6e-4)
        assert perimeter_of_intervals(k).lower == pytest.approx(line, rel=5e-4)
    assert simplicial_perimeter(2).lower <= 1 / math.sqrt(2 * math.pi) <= simplicial_perimeter(2).upper
    # the derivative of the cost at 0 is half the perimeter, times rho
    rho = 1e-4
    assert simplicial_cost(5, rho).upper == pytest.approx(simplicial_perimeter(5).lower * rho**2, rel=1e-3)


@given(SEEDS, st.integers(1, 4))
def test_masses_and_gap_are_rounded_outward(seed, k):
    rng = np.random.default_rng(seed)
    masses = rng.dirichlet(np.ones(k + 1))
    masses = masses if rng.random() < 0.5 else masses[: max(2, k)]
    if masses.min() < 1e-9:
        return
    modes = KModes(masses.tolist(), 1.0)
    total = sum(map(Fraction, modes.masses), Fraction(0))
    assert total <= 1
    assert Fraction(modes.gap) >= 1 - total
    for choice in modes.legs():
        assert all(Fraction(a) + Fraction(b) <= 1 for i, a in enumerate(choice.tolist()) for b in choice.tolist()[:i])


def test_legs_and_groups_of_distances():
    d = np.array([[0, 1, 2.0], [1, 0, 3], [2, 3, 0]])
    modes = KModes([0.2, 0.3, 0.5], d)
    for legs in modes.legs():
        for i in range(3):
            for j in range(i):
                assert Fraction(legs[i]) + Fraction(legs[j]) <= Fraction(d[i, j])
    assert any(legs[2] > 1.2 for legs in modes.legs())
    splits = {(tuple(split.tolist()), distance) for split, distance in modes.groups()}
    assert ((False, False, True), 2.0) in splits
    # far away alone: two sets see it best
    far = KModes([0.25, 0.25, 0.5], np.array([[0, 0.01, 5.0], [0.01, 0, 5], [5, 5, 0]]))
    assert forced_by_modes(far, 0.05).method.startswith("S4")


@given(SEEDS, st.integers(2, 6))
def test_total_variation(seed, k):
    """The closed form at k = 2, and its equation otherwise."""
    rng = np.random.default_rng(seed)
    masses = rng.dirichlet(np.full(k, 5.0))
    tau = Enclosure(0.0, float(rng.uniform(0.1, 0.9) * masses.min()), Guarantee.EXACT, "given")
    modes = KModes(masses.tolist(), 2.0)
    bound = forced_by_modes_in_total_variation(modes, tau)
    if k == 2:
        two = Masses(modes.masses[0], modes.masses[1], modes.gap)
        assert bound.lower == pytest.approx(forced_by_total_variation(2.0, two, tau).lower, rel=1e-9)
    q = np.sort(modes.masses)
    q[0] -= tau.upper
    assert ndtr(ndtri(q) + 1.0 / bound.lower).sum() == pytest.approx(1.0, abs=1e-9)


def test_total_variation_empties_the_smallest_modes_first():
    modes = KModes([0.1, 0.3, 0.6], 2.0)
    tau = Enclosure(0.0, 0.15, Guarantee.EXACT, "given")
    kept = forced_by_modes_in_total_variation(KModes([0.25, 0.6], 2.0), Enclosure(0.0, 0.0, Guarantee.EXACT, "given"))
    bound = forced_by_modes_in_total_variation(modes, tau)
    assert bound.lower == pytest.approx(kept.lower, rel=1e-9)
    assert forced_by_modes_in_total_variation(modes, Enclosure(0.0, 0.45, Guarantee.EXACT, "given")).lower == 0.0
    assert forced_by_modes_in_total_variation(modes, Enclosure(0.0, 0.0, Guarantee.EXACT, "given")).lower > 1e15


@pytest.mark.parametrize("k", [7, 10, 22, 48])
def test_masses_that_sum_to_one_but_for_rounding(k):
    nothing = Enclosure(0.0, 0.0, Guarantee.EXACT, "given")
    assert forced_by_modes(KModes([1 / k] * k, 2.0), 0.0).lower > 1e13
    assert forced_by_modes_in_total_variation(KModes([1 / k] * k, 2.0), nothing).lower > 1e13


@pytest.mark.parametrize("epsilon", [1e-300, 1e-200, 1e-20, 1e-12])
def test_tiny_errors_force_no_more_than_none(epsilon):
    modes = KModes([0.3, 0.3, 0.3], 2.0)
    exact = forced_by_modes(modes, 0.0).lower
    assert forced_by_modes(modes, epsilon).lower <= exact
    assert forced_by_modes(KModes([0.3, 0.3, 0.3], 1e30), epsilon).lower <= 0.5e30 * exact * (1 + 1e-9)


def test_stretches_are_of_what_they_are_given():
    assert star_stretch([0.3] * 3, np.ones(3), 0.0, 0.1) == star_stretch([0.3] * 3, np.ones(3), 1 - 3 * Fraction(0.3), 0.1)
    for masses, legs, gap in (([0.5] * 3, [1.0] * 3, 0.0), ([0.3] * 3, [1.0, 0.0, 1.0], 0.2)):
        with pytest.raises(InvalidInput, match="sum of at most 1"):
            star_stretch(masses, np.array(legs), gap, 0.1)
    for low, high in ((-1.0, -0.3), (-0.1, 0.2)):
        with pytest.raises(InvalidInput, match="tau"):
            forced_by_modes_in_total_variation(KModes([0.5, 0.5], 1.0), Enclosure(low, high, Guarantee.EXACT, "given"))
    most = Enclosure(0.0, math.inf, Guarantee.EXACT, "given")
    assert forced_by_modes_in_total_variation(KModes([0.5, 0.5], 1.0), most).lower == 0.0


def test_no_error_and_large_errors():
    assert forced_by_modes(KModes([0.5, 0.25, 0.25], 1.0), 0.0).lower == math.inf
    with_gap = forced_by_modes(KModes([0.3, 0.3, 0.3], 2.0), 0.0)
    assert 3 * ndtr(ndtri(0.3) + 1.0 / with_gap.lower) == pytest.approx(1.0, abs=1e-9)
    assert forced_by_modes(KModes([0.3, 0.3, 0.3], 2.0), 5.0).lower == 0.0
    assert forced_by_modes(KModes([0.3, 0.3, 0.3], 2.0), math.inf).lower == 0.0


@pytest.mark.parametrize(
    ("masses", "distances", "words"),
    [
        ([0.5], 1.0, "at least two"),
        ([0.5, 0.0], 1.0, "masses"),
        ([0.7, 0.7], 1.0, "sum of at most 1"),
        ([0.5, 0.5], -1.0, "distances"),
        ([0.5, 0.5], [[0, 1], [2, 0]], "symmetric"),
        ([0.5, math.nan], 1.0, "masses"),
    ],
)
def test_errors(masses, distances, words):
    with pytest.raises(InvalidInput, match=words):
        KModes(masses, distances)


def test_stars_in_samples():
    """Three clusters: the star forces more, for the sample itself and, with enough points, for the law."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(3) / 3
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    x = centres[rng.integers(0, 3, 40_000)] + 0.02 * rng.standard_normal((40_000, 2))
    two, star = (forced_lipschitz(x, 0.1, modes=modes) for modes in (None, 3))
    assert star.method == "S8, star of 3 modes"
    assert star.lower > 1.05 * two.lower
    assert star.guarantee is Guarantee.CONFIDENCE
    assert star.alpha == pytest.approx(0.05)
    exact = forced_by_modes(KModes([1 / 3] * 3, float(np.linalg.norm(centres[0] - centres[1]))), 0.1).lower
    assert star.lower < exact
    here, moved = (forced_lipschitz(y, e, modes=3, alpha=None) for y, e in ((x[:1000], 0.1), (10 * x[:1000] + 7.0, 1.0)))
    assert moved.method == "S8, star of 3 modes"
    assert moved.lower == pytest.approx(10 * here.lower, rel=1e-6)
    assert (star.statistic(x) >= star.thresholds[0]).mean() > 0.9
    with pytest.raises(InvalidInput, match="modes"):
        forced_lipschitz(x[:100], 0.1, modes=2)


def test_limits_of_a_star_hold_together():
    """2 k limits of Clopper and Pearson at alpha / (2 k): of the modes from below, of their cells from above."""
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    x = centres[rng.integers(0, 3, 900)] + rng.standard_normal((900, 2))
    star = Star(Margin(centres), 0.7)
    low, beyond = limits(star, x, 0.06)
    near = np.linalg.norm(x[:, None] - centres, axis=2)
    for i in range(3):
        others = np.delete(near, i, axis=1).min(1)
        mode, cell = int((0.5 * (others - near[:, i]) >= 0.7).sum()), int((near[:, i] < others).sum())
        assert low[i] == pytest.approx(beta.ppf(0.01, mode, 900 - mode + 1), rel=1e-9)
        assert low[i] + beyond[i] == pytest.approx(beta.ppf(0.99, cell + 1, 900 - cell), rel=1e-9)
    low, beyond = limits(star, x, None)
    assert low.sum() + beyond.sum() == pytest.approx(1.0)


def test_balls_are_used():
    """The float minimum alone is not the proof: a goal one part in 1e9 above it is refused, one below is proven."""
    legs = Legs(np.full(3, 1 / 3), np.full(3, 0.3), 0.0)
    value = legs.about()[0]
    assert legs.proves(value * (1 - 1e-12))
    assert not legs.proves(value * (1 + 1e-12))
    assert arb(legs.reached(None, 0.0)) >= arb(value) * (1 - arb("1e-12"))
