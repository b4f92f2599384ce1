"""The operations that round outward, and every margin of the distances: on inputs where it is needed."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from lipbounds.arb import ends, working_precision
from lipbounds.distances import gaussian_wasserstein_2, large, optimal_transport, wasserstein, wasserstein_1_line
from lipbounds.distances.critics import Ridge
from lipbounds.distances.line import mean_power, monotone_cost
from lipbounds.distances.signed import SignedMixture, _Line, absolute_integral
from lipbounds.distances.sliced import _proven
from lipbounds.distances.total_variation import total_variation
from lipbounds.distances.transport import Plan, _dual, _exact_flow, _placed
from lipbounds.distances.wasserstein import same_law
from lipbounds.domains import Ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import MASS_DOUBT, Discrete, GaussianMixture, gaussian, standard_normal
from lipbounds.rounding import EPS, EXTENDED, UNIT, around, dot, gamma, outward, power_error, product, root, total
from lipbounds.search import find_inversion_error, find_lipschitz
from lipbounds.theorems import Masses
from tests.oracles import exact

numbers = st.floats(-1e300, 1e300)
sizes = st.floats(0.0, 1e150)


# operations


@given(numbers, st.floats(0.0, 1e290))
def test_outward(value, error):
    low, high = outward(value, error)
    assert Fraction(low) <= Fraction(value) - Fraction(error)
    assert Fraction(high) >= Fraction(value) + Fraction(error)
    assert low < value < high


@given(st.lists(numbers, min_size=1, max_size=40))
def test_total_and_dot(values):
    array = np.array(values) / 1e10
    low, high = total(array)
    assert low <= sum(map(Fraction, array.tolist())) <= high
    weights = np.random.default_rng(len(values)).random(len(values))
    low, high = dot(array, weights)
    assert low <= sum(Fraction(a) * Fraction(b) for a, b in zip(array.tolist(), weights.tolist(), strict=True)) <= high


def test_sums_that_cancel_keep_their_error():
    array = np.array([1e16, 1.0, -1e16] * 1000)
    low, high = total(array)
    assert low <= 1000 <= high
    assert high - low < 1e-12 * np.abs(array).sum()


@given(sizes, sizes)
def test_product(a, b):
    low, high = product((a, a), (b, b))
    truth = Fraction(a) * Fraction(b)
    assert Fraction(low) <= truth
    assert high == math.inf or truth <= Fraction(high)
    assert (low == high) == (Fraction(a * b) == truth)


@given(st.floats(1e-300, 1e300), st.sampled_from([1.0, 1.5, 2.0, 3.0, 50.0, 1e5]))
def test_root(x, p):
    with working_precision(200):
        truth = (arb(x).log() / arb(p)).exp()
    low, high = root(x, x, p)
    assert not truth < low
    assert not truth > high
    assert high - low <= 1e-12 * high


@given(st.floats(1e-3, 1.0), st.floats(0.0, 1e-10), st.sampled_from([1.0, 2.0, 7.5, 1e4]))
def test_power_error(x, relative, p):
    with working_precision(300):
        truth = (arb(p) * (arb(x) * (1 + arb(relative))).log()).exp()
        computed = arb(x**p)
        assert not abs(truth - computed) > computed * arb(power_error(p, relative)) + arb(5e-324)


@given(st.fractions(-10, 10))
def test_around(value):
    low, high = around(value)
    assert Fraction(low) <= value <= Fraction(high)
    assert high == low or high == math.nextafter(low, math.inf)


def test_gamma_is_above_its_formula():
    for k in (1, 100, 10**6):
        assert Fraction(gamma(k)) >= Fraction(k, 2**53) / (1 - Fraction(k, 2**53))
    assert gamma(2.0**53) == math.inf


# margins on the line


def test_what_a_plan_does_not_place_is_charged():
    low, high = mean_power(np.array([1.0]), np.array([0.75]), 2.0, gap_error=0.0, missing=0.25, farthest=4.0)
    assert low <= math.sqrt(0.75)
    assert high == pytest.approx(math.sqrt(0.75 + 0.25 * 16.0))
    _, high = mean_power(np.array([1.0]), np.array([1.0]), 1e5, gap_error=0.0, missing=1e-10, farthest=4.0)
    assert 4.0 * 1e-10 ** (1e-5) <= high < 5.1


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_errors_of_points_are_charged_at_both_ends(p):
    mu, nu = Discrete([[0.0], [1.0], [5.0]]), Discrete([[2.0], [4.0], [6.0]])
    plain, charged = monotone_cost(mu, nu, p), monotone_cost(mu, nu, p, 0.25)
    assert charged == pytest.approx((plain[0] - 0.5, plain[1] + 0.5))


@pytest.mark.parametrize("seed", range(20))
def test_atoms_against_a_mixture_in_balls(seed):
    # one atom: W_1 = E|X - t| has a closed form; thin components far away make the antiderivatives cancel
    rng = np.random.default_rng(seed)
    t, means, deviations = float(rng.normal()), rng.normal(size=2) * 10, 10.0 ** rng.uniform(-6, 1, 2)
    law = GaussianMixture(means[:, None], (deviations**2)[:, None, None], [0.25, 0.75])
    with working_precision(300):
        truth = arb(0)
        for share, m, v in zip((0.25, 0.75), law.means[:, 0].tolist(), law.covariances[:, 0, 0].tolist(), strict=True):
            s = arb(v).sqrt()
            z = (arb(t) - arb(m)) / s
            density = (-z * z / 2).exp() / (2 * arb.pi()).sqrt()
            truth += arb(share) * s * (2 * density + z * (z / arb(2).sqrt()).erf())
    value = wasserstein_1_line(Discrete([[t]]), law)
    assert exact.holds(value, truth)
    assert value.upper - value.lower <= 1e-13 * float(np.abs(means).max() + deviations.max())
    # many copies of the atom, not merged: the noise of each interval is charged
    many = wasserstein_1_line(Discrete(np.full((50, 1), t)), law)
    assert exact.holds(many, truth)


def crossing_integral(c, low, high, mean, deviation):
    """The integral of |c - F| over [low, high] for a Gaussian F, by 300 halvings for the place where F is c."""

    def antiderivative(t):
        z = (t - mean) / deviation
        return deviation * ((-z * z / 2).exp() / (2 * arb.pi()).sqrt() + z * (1 + (z / arb(2).sqrt()).erf()) / 2)

    def level(t):
        return (1 + ((t - mean) / deviation / arb(2).sqrt()).erf()) / 2

    a, b = low, high
    for _ in range(300):
        middle = ((a + b) / 2).mid()
        a, b = (middle, b) if level(middle) < c else (a, middle)
    return c * (2 * a - low - high) + antiderivative(low) + antiderivative(high) - 2 * antiderivative(a)


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("seed", range(4))
def test_many_atoms_against_a_gaussian_in_balls(seed, offset):
    rng = np.random.default_rng(seed)
    n, deviation = 20, float(10.0 ** rng.uniform(-2, 2))
    x = np.sort(rng.normal(size=n)) * deviation + offset
    law = gaussian([offset], [[deviation**2]])
    with working_precision(400):
        m, s = arb(offset), arb(deviation**2).sqrt()
        points = [arb(float(t)) for t in x]
        truth = sum(
            (crossing_integral(arb(k + 1) / n, a, b, m, s) for k, (a, b) in enumerate(itertools.pairwise(points))), arb(0)
        )
        for t in (points[0], 2 * m - points[-1]):  # outside of the atoms, on both sides
            z = (t - m) / s
            truth += s * ((-z * z / 2).exp() / (2 * arb.pi()).sqrt() + z * (z / arb(2).sqrt() * -1).erfc() / 2)
    value = wasserstein_1_line(Discrete(x[:, None]), law)
    assert exact.holds(value, truth)
    # the formula's sizes: n integrals of the antiderivative, each with the noise of a normal distribution function
    # far from 0 crossings are known to some steps of the doubles there only
    steps = 100 * n * float(np.spacing(offset)) ** 2 / deviation
    assert 4 * n * EPS * deviation * 0.1 <= value.upper - value.lower <= 200 * n * EPS * deviation + steps


@pytest.mark.parametrize("p", [1.5, 3.0, 7.0])
@pytest.mark.parametrize("seed", range(6))
def test_quantiles_against_closed_forms(seed, p):
    # the monotone map between Gaussians is affine: for equal deviations W_p is the shift, for equal means a moment of |Z|
    rng = np.random.default_rng(seed)
    m, s = float(rng.normal() * 10.0 ** rng.uniform(-2, 3)), float(10.0 ** rng.uniform(-2, 2))
    shifted = wasserstein(gaussian([m], [[s * s]]), gaussian([m + 3.0], [[s * s]]), p)
    with working_precision(200):
        apart = arb(m + 3.0) - arb(m)
        q = arb(p)
        moment = (q * arb(2).log() / 2 + ((q + 1) / 2).lgamma() - arb.pi().log() / 2).exp()
        stretched = abs(arb(4.0 * s * s).sqrt() - arb(s * s).sqrt()) * (moment.log() / q).exp()
    assert exact.holds(shifted, apart)
    assert exact.holds(wasserstein(gaussian([m], [[s * s]]), gaussian([m], [[4.0 * s * s]]), p), stretched)


@pytest.mark.parametrize("level", ["density", "distribution"])
@pytest.mark.parametrize("seed", range(15))
def test_signed_integrals_in_balls(level, seed):
    # two components of equal deviation: the density's difference changes sign once, half way, that of the distribution never
    rng = np.random.default_rng(seed)
    a, gap, s = float(rng.normal()), float(10.0 ** rng.uniform(-8, 1)), float(10.0 ** rng.uniform(-2, 2))
    b = a + gap
    signed = SignedMixture(np.array([1.0, -1.0]), np.array([[a], [b]]), np.full((2, 1, 1), s * s))
    low, high = absolute_integral(signed, level)
    with working_precision(300):
        apart, deviation = arb(b) - arb(a), arb(s * s).sqrt()
        truth = 2 * (apart / deviation / 2 / arb(2).sqrt()).erf() if level == "density" else apart
    assert not truth < low
    assert not truth > high


def test_a_sign_within_the_noise_is_not_known(monkeypatch):
    # near equal components: at the crossing both values are noise, whose sign says nothing
    signed = SignedMixture(np.array([1.0, -1.0]), np.array([[0.0], [1e-13]]), np.ones((2, 1, 1)))
    line = _Line(signed, "density")
    near = np.linspace(-1e-3, 1e-3, 2001)
    values, noise = line.value(near)
    inside = np.abs(values) <= noise
    assert inside.any()
    sign, _, _ = line.look(near[:-1], near[1:])
    assert (sign[inside[:-1]] == 0).all()
    # values of 1 that may be 0.7, and a slope that may bring their sum of 1.4 to 0 in between
    monkeypatch.setattr(line, "value", lambda t: (np.ones(len(t)), np.full(len(t), 0.3)))
    for drop, known in ((1.5, 0.0), (1.3, 1.0)):
        monkeypatch.setattr(line, "slope_bound", lambda a, b, drop=drop: np.full(len(a), drop))
        assert line.look(np.array([0.0]), np.array([1.0]))[0][0] == known


# margins in space


def test_laws_are_the_same_only_with_their_masses():
    points = [[0.0, 0.0], [1.0, 1.0]]
    assert same_law(Discrete(points, [0.25, 0.75]), Discrete(points[::-1], [0.75, 0.25]))
    assert not same_law(Discrete(points, [0.25, 0.75]), Discrete(points[::-1], [0.25, 0.75]))
    assert wasserstein(Discrete(points, [0.25, 0.75]), Discrete(points, [0.75, 0.25])).lower > 0.7


def test_potentials_are_charged_for_their_rounding():
    # potentials that are feasible and tight, of size 1e6: the sums round by more than the slack of small ones
    rng = np.random.default_rng(0)
    f = np.full(3, 1e6) + rng.random(3)
    g = -f.mean() - rng.random(4)
    mu, nu = Discrete(np.zeros((3, 1))), Discrete(np.zeros((4, 1)))
    truth = sum(Fraction(v) / 3 for v in f.tolist()) + sum(Fraction(v) / 4 for v in g.tolist())
    value = _dual(f, g, mu, nu)
    # masses have two roundings, each potential four, and there are two of size 1e6
    assert truth - Fraction(value) >= Fraction(gamma(8)) * 2_000_000
    assert float(truth) - value < 1e-8


def test_exact_flows_are_those_of_a_forest():
    mu, nu = Discrete.of_shares(np.zeros((2, 1)), [1.0, 2.0]), Discrete.of_shares(np.zeros((2, 1)), [2.0, 1.0])
    i, j = np.array([0, 1, 1]), np.array([0, 0, 1])
    assert _exact_flow(i, j, mu, nu) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    # the same entries cannot carry these masses: one would be negative
    assert _exact_flow(np.array([0, 0, 1]), np.array([0, 1, 1]), Discrete(np.zeros((2, 1)), [0.25, 0.75]), nu) is None
    # two parts that do not balance, and a cycle
    assert _exact_flow(np.array([0, 1]), np.array([0, 1]), mu, nu) is None
    assert _exact_flow(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), mu, nu) is None
    placed = _placed(np.array([0, 1]), np.array([0, 1]), np.array([1 / 3, 1 / 3]), mu, nu)
    assert isinstance(placed, Plan)
    assert placed.missing == pytest.approx(1 / 3)
    assert placed.missing >= 1 / 3


def test_costs_that_are_negative():
    cost = np.array([[-3.0, 1.0], [2.0, -1.0]])
    value = optimal_transport(np.zeros((2, 1)), np.zeros((2, 1)), cost)
    assert value.lower <= -2.0 <= value.upper
    assert value.upper - value.lower < 1e-13


def test_a_large_plan_that_misses_mass_is_charged():
    mu, nu = Discrete([[0.0, 0.0], [3.0, 4.0]]), Discrete([[0.0, 0.0], [3.0, 4.0]])
    half = large._Plan(np.array([0]), np.array([0]), np.array([0.5]))
    assert large._cost(mu, nu, half, 1.0) >= 2.5


def test_functions_are_charged_for_their_rounding():
    # a ridge whose direction is a little too long is not 1-Lipschitz: what it says more is taken off
    direction = np.array([1.0 + 1e-6, 0.0])
    ridge = Ridge(direction, np.array([-2.0, 2.0]), np.array([-2.0, 2.0]))
    mu, nu = Discrete([[0.0, 0.0]]), Discrete([[1.0, 0.0]])
    assert large._difference(ridge, mu, nu) <= 1.0


def test_a_direction_that_is_too_long_is_shortened():
    mu, nu = Discrete([[0.0, 0.0]]), Discrete([[1.0, 0.0]])
    assert 0.999 < _proven(mu, nu, np.array([1.5, 0.0]), 1.0) <= 1.0


@pytest.mark.parametrize("seed", range(10))
def test_total_variation_of_many_atoms_is_charged_for_sums(seed):
    rng = np.random.default_rng(seed)
    n = 500
    points, a, b = rng.integers(0, 9, (n, 1)) + 0.0, rng.random(n), rng.random(n)
    masses = {}
    for shares, sign in ((a, 1), (b, -1)):
        for point, mass in zip(points[:, 0].tolist(), exact.quotients(shares), strict=True):
            masses[point] = masses.get(point, Fraction(0)) + sign * mass
    truth = sum(map(abs, masses.values())) / 2
    value = total_variation(Discrete.of_shares(points, a), Discrete.of_shares(points, b))
    assert Fraction(value.lower) < truth < Fraction(value.upper)
    # three roundings a point of sums that are 2 at most, the result's and the doubt about the masses
    error = (3 * 2 * n + 6) * EXTENDED + UNIT + 2 * MASS_DOUBT
    assert 2 * error * (1 - 1e-3) <= value.upper - value.lower <= 2 * error + 4 * EPS


@pytest.mark.parametrize("seed", range(20))
def test_gaussian_distances_in_balls(seed):
    # in two dimensions the trace is closed: tr (S^(1/2) S' S^(1/2))^(1/2) = (tr SS' + 2 (det S det S')^(1/2))^(1/2)
    rng = np.random.default_rng(seed)
    matrices = []
    for _ in range(2):
        angle, values = rng.uniform(0, 3), 10.0 ** rng.uniform(-6, 2, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.diag(values) @ turn.T
        matrices.append((matrix + matrix.T) / 2)
    if seed % 2:  # near equal laws, where the traces cancel
        matrices[1] = matrices[0] * (1 + 1e-9)
    with working_precision(400):
        s, t = ([[arb(float(v)) for v in row] for row in matrix] for matrix in matrices)
        product_trace = sum((s[i][j] * t[j][i] for i in range(2) for j in range(2)), arb(0))
        dets = [m[0][0] * m[1][1] - m[0][1] * m[1][0] for m in (s, t)]
        if not all(det > 0 for det in dets):
            return
        cross = (product_trace + 2 * (dets[0] * dets[1]).sqrt()).sqrt()
        truth = (s[0][0] + s[1][1] + t[0][0] + t[1][1] - 2 * cross).sqrt()
    value = gaussian_wasserstein_2(*(gaussian([0.0, 0.0], matrix) for matrix in matrices))
    assert exact.holds(value, truth)
    assert value.upper - value.lower <= 1e-7 * math.sqrt(max(np.trace(m) for m in matrices))


# masses


def test_masses_of_enclosures_are_the_safe_ends():
    a, b, gap = (
        Enclosure(low, high, guarantee, "x", assumptions=(text,))
        for low, high, guarantee, text in (
            (0.29, 0.31, Guarantee.CERTIFIED, "first"),
            (0.49, 0.51, Guarantee.EXACT, "second"),
            (0.18, 0.22, Guarantee.CERTIFIED, "third"),
        )
    )
    masses = Masses.of(a, b, gap)
    assert (masses.a, masses.b, masses.gap) == (0.29, 0.49, 0.22)
    assert masses.guarantee is Guarantee.EXACT
    assert masses.assumptions == ("first", "second", "third")
    assert Masses.equal(Enclosure(0.1, 0.2, Guarantee.CERTIFIED, "x")).gap == 0.2
    assert Masses.equal(0.2).assumptions  # numbers that are handed over are an assumption


def test_weights_of_mixtures_are_normalised_exactly():
    law = GaussianMixture([[0.0], [5.0]], [[[1.0]], [[1.0]]], [0.3, 0.7])
    with working_precision(300):
        first, second = arb(0.3), arb(0.7)
        truth = (first * (-arb(0)).erfc() / 2 + second * (arb(5) / arb(2).sqrt()).erfc() / 2) / (first + second)
    assert exact.holds(law.half_space_mass([1.0], 0.0), truth)


@pytest.mark.parametrize("far", [0.0, 5.0, 30.0, 300.0])
def test_masses_of_balls_far_from_the_mean(far):
    # in one dimension a ball is a slab
    ball = standard_normal(1).ball_mass([far], 1.5)
    slab = standard_normal(1).slab_mass([1.0], far - 1.5, far + 1.5)
    assert ball.lower <= slab.upper * (1 + 1e-12)
    assert slab.lower <= ball.upper * (1 + 1e-12)
    assert ball.upper - ball.lower <= 1e-14 * ball.upper + 1e-320


def test_seeds_are_used():
    f = lambda z: torch.sin(20 * z) + torch.sin(31 * z[:, [1, 0]])
    domain = Ball([0.0, 0.0], 1.0)
    histories = [find_lipschitz(f, domain, seed=seed, evaluations=5_000).history for seed in (0, 1, 0)]
    assert histories[0] == histories[2]
    # from the first segments on, which are drawn before all else
    assert histories[0][1] != histories[1][1]
    errors = [find_inversion_error(torch.log, torch.exp, domain, seed=seed, dtype=torch.float32).point for seed in (0, 1, 0)]
    assert np.array_equal(errors[0], errors[2])
    assert not np.array_equal(errors[0], errors[1])


def test_ends_of_balls_are_outward():
    with working_precision(200):
        low, high = ends(arb(1) / 3)
    assert Fraction(low) < Fraction(1, 3) < Fraction(high)
    assert high - low <= EPS
