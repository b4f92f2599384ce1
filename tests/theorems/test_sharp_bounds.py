"""S1, S2 and S4 on maps of the line: W_1 integrated exactly, constants exact, an equality case, and what must fail."""

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from lipbounds.arb import working_precision
from lipbounds.distances import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.theorems import (
    Masses,
    exact_lipschitz,
    forced_by_frontier,
    forced_by_kl,
    forced_by_total_variation,
    forced_by_two_sets,
    forced_in_latent_space,
    separation,
    two_modes,
    two_modes_in_plane,
)
from lipbounds.theorems.example_1 import ramp_error
from lipbounds.theorems.frontier import _mixture_cells
from tests.strategies.instances import generated_accuracy, generators
from tests.strategies.lines import MonotoneMap, monotone_maps

ROUNDING = 1e-9  # separation is certified, W_1 of ten atoms good to 1e-14; at small epsilon its root magnifies that


def extremal_map(rho=0.8, a=0.5, n=4000):
    """Nearly the case of equality: the normal law's quantiles, those between -rho/2 and rho/2 moved to these two points.

    The data are the latent points themselves (T = id), Q and R the points outside (-rho/2, rho/2).
    """
    z = ndtri((np.arange(n) + 0.5) / n)
    z = np.where(z < 0, np.minimum(z, -rho / 2), np.maximum(z, rho / 2))
    atoms, counts = np.unique(z, return_counts=True)
    left = int((atoms < 0).sum())
    return MonotoneMap(atoms, counts / n, atoms.copy(), left, len(atoms) - left)


def masses_of(problem):
    a, b = problem.weights[: problem.left].sum(), problem.weights[len(problem.weights) - problem.right :].sum()
    gap = problem.weights[problem.left : len(problem.weights) - problem.right].sum()
    return Masses(float(a), float(b), float(gap))


def accuracy_of(problem):
    return wasserstein_1_line(problem.image_law, standard_normal(1))


def check_s1(problem, factor=1.0, epsilon_factor=1.0):
    bound = factor * separation(epsilon_factor * accuracy_of(problem).upper, masses_of(problem)).upper
    assert problem.image_distance <= bound * (1 + ROUNDING)


@given(monotone_maps())
@example(extremal_map())
@example(extremal_map(rho=0.05))
def test_s1_separated_images_cost_accuracy(problem):
    check_s1(problem)


def test_s1_is_attained():
    # the discrete normal law is about 1e-3 from the continuous one, which loosens the bound by less than one percent
    problem = extremal_map(n=20000)
    assert separation(accuracy_of(problem).upper, masses_of(problem)).upper < 1.01 * problem.image_distance


@pytest.mark.parametrize("weakened", [{"factor": 0.9}, {"epsilon_factor": 0.25}])
def test_s1_weakened_is_refuted_at_the_extremal_map(weakened):
    with pytest.raises(AssertionError):
        check_s1(extremal_map(), **weakened)


def test_s1_with_a_wrong_constant_is_refuted_by_drawn_maps_alone():
    @settings(database=None, derandomize=True, max_examples=300, phases=[Phase.generate])
    @given(monotone_maps())
    def halved(problem):
        check_s1(problem, factor=0.4)

    with pytest.raises(AssertionError):
        halved()


@given(monotone_maps())
@example(extremal_map())
def test_s2_the_inverse_is_steep(problem):
    forced = forced_in_latent_space(problem.distance, masses_of(problem), accuracy_of(problem)).lower
    assert forced <= problem.lipschitz_of_inverse * (1 + ROUNDING)


@pytest.mark.parametrize("sigma", [0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
def test_s2_over_half_lines_gives_the_exact_constant(sigma):
    # the supremum is approached by half-lines that almost touch at 0; the gap mass, as small as 1e-14, keeps its digits
    law, zero = two_modes(sigma), Enclosure(0.0, 0.0, Guarantee.EXACT, "exact push-forward")
    values = [
        forced_in_latent_space(2 * t, Masses.equal(law.slab_mass([1.0], -t, t)), zero).lower for t in np.geomspace(1e-6, 0.5, 40)
    ]
    assert max(values) == pytest.approx(exact_lipschitz(sigma), rel=1e-6)
    assert max(values) <= exact_lipschitz(sigma) * (1 + 1e-9)
    # off the middle the half-lines force less: the supremum is at 0
    off = forced_in_latent_space(2e-6, _around(law, 0.3 * sigma, 1e-6), zero).lower
    assert off < 0.99 * exact_lipschitz(sigma)


def _around(law, middle, t):
    below, above = law.half_space_mass([1.0], middle - t), law.half_space_mass([-1.0], -middle - t)
    return Masses.of(below, above, law.slab_mass([1.0], middle - t, middle + t))


@settings(max_examples=settings().max_examples // 4)
@given(generators(), st.sampled_from([0.5, 0.3, 0.2]), st.sampled_from([0.2, 0.5, 0.9]))
@example((np.array([-0.05, 0.05]), np.array([-1.0, 1.0]), 20.0), 0.2, 0.9)
def test_s4_bounds_every_generator(generator, sigma, t):
    knots, values, constant = generator
    law = two_modes(sigma)
    assert forced_by_frontier(law, generated_accuracy(knots, values, law), cells=300).lower <= constant * (1 + 1e-6)
    gap = Masses.equal(law.slab_mass([1.0], -t, t))
    assert forced_by_two_sets(2 * t, gap, generated_accuracy(knots, values, law, clip=t)).lower <= constant * (1 + ROUNDING)


def test_s4_is_attained_by_the_ramp():
    # Example 1 in the limit of atoms (E2): the ramp clip(K z, -1, 1) has W_1 = E(2/K) K and exactly the forced constant K
    slope = 10.0
    z = ndtri((np.arange(40000) + 0.5) / 40000)
    epsilon = float(np.mean(1 - abs(np.clip(slope * z, -1, 1))))
    given_accuracy = Enclosure(0.0, epsilon, Guarantee.EXACT, "quadrature")
    assert forced_by_two_sets(2.0, Masses.equal(0.0), given_accuracy).lower == pytest.approx(slope, rel=1e-3)
    # negative control: at a quarter of the error the ramp would be impossible
    quarter = Enclosure(0.0, 0.25 * epsilon, Guarantee.EXACT, "wrong")
    assert forced_by_two_sets(2.0, Masses.equal(0.0), quarter).lower > 2 * slope


@pytest.mark.parametrize(
    ("sigma", "at_002", "at_0005"), [(0.5, 2.0, 2.6), (0.3, 4.4, 9.2), (0.2, 7.6, 21.0), (0.15, 9.8, 31.0), (0.1, 12.5, 43.0)]
)
def test_frontier_values(sigma, at_002, at_0005):
    # the reference values are from a grid of 1200 points without a one-sided guarantee: two digits of them are compared
    law = two_modes(sigma)
    for epsilon, expected in ((0.02, at_002), (0.005, at_0005)):
        accuracy = Enclosure(0.0, epsilon, Guarantee.EXACT, "given")
        value = forced_by_frontier(law, accuracy).lower
        assert value == pytest.approx(expected, rel=0.035)
        # the cells (0.018 wide) are finer than the steepest part, 2 / L wide: refining them changes little
        assert forced_by_frontier(law, accuracy, cells=2000).lower == pytest.approx(value, rel=0.01)
        # two sets are one statistic of many: they force less
        t = 0.7
        sets = forced_by_two_sets(2 * t, Masses.equal(law.slab_mass([1.0], -t, t)), accuracy).lower
        assert sets <= value * 1.01


frontier_module = sys.modules["lipbounds.theorems.frontier"]
LOPSIDED = GaussianMixture([[-1.0], [1.0]], [[[0.01]], [[0.01]]], [0.1, 0.9])
UNEQUAL = GaussianMixture([[-1.0], [1.5]], [[[0.04]], [[0.09]]], [0.2, 0.8])


@pytest.mark.parametrize(("low", "high"), [(-math.inf, math.inf), (-0.9, 0.9)])
def test_cell_means_by_quadrature(low, high):
    with working_precision(192):
        grid = _mixture_cells(UNEQUAL, low, high, 90)
        weights = np.array([float(w) for w in grid.masses])
        z_mean = np.array([float(z) for z in grid.latent_means])
        g_mean = np.array([float(g) for g in grid.integrals]) / weights
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    assert (np.diff(z_mean) > 0).all()
    edges = ndtri(np.clip(np.concatenate(([0.0], np.cumsum(weights))), 0, 1))
    for i in range(0, len(weights), 7):
        a, b = max(edges[i], -9.0), min(edges[i + 1], 9.0)
        if not 1e-4 < b - a < 15:
            continue
        z = 0.5 * (a + b) + 0.5 * (b - a) * NODES
        density = np.exp(-0.5 * z**2) * NODE_WEIGHTS
        density /= density.sum()
        assert z_mean[i] == pytest.approx(float(density @ z), abs=2e-4)
        expected = float(density @ np.clip(UNEQUAL.quantile(ndtr(z)), low, high))
        assert g_mean[i] == pytest.approx(expected, abs=3e-3)  # the quantile function is steep in the torn cell


@pytest.mark.parametrize("seed", range(3))
def test_frontier_of_data_is_that_of_their_law(seed):
    # many atoms at the quantiles of a mixture lie within a known W_1 of it: the frontiers of both sandwich each other
    law, n = two_modes(0.3), 4000
    shift = np.random.default_rng(seed).random()
    atoms = Discrete(law.quantile((np.arange(n) + shift) / n + (shift == 0) / n)[:, None])
    apart = wasserstein_1_line(atoms, law).upper

    def frontier(measure, accuracy):
        return forced_by_frontier(measure, Enclosure(0.0, accuracy, Guarantee.EXACT, "given")).lower

    epsilon = 0.02
    assert frontier(atoms, epsilon) >= frontier(law, epsilon + apart) * (1 - 0.01)
    assert frontier(atoms, epsilon + apart) <= frontier(law, epsilon) * (1 + 0.01)


@pytest.mark.parametrize("slope", [2.0, 20.0, 400.0, 1e4])
def test_frontier_of_two_atoms_is_the_ramp(slope):
    value = forced_by_frontier(Discrete([[-1.0], [1.0]]), ramp_error(slope)).lower
    assert value <= slope
    assert value == pytest.approx(slope, rel=0.01)


def test_frontier_is_right_whatever_the_solver_says(monkeypatch):
    law, accuracy = two_modes(0.3), Enclosure(0.0, 0.02, Guarantee.EXACT, "given")
    truth = forced_by_frontier(law, accuracy, cells=300).lower
    solve = frontier_module._solve

    def noisy(weights, steps, target, epsilon):
        psi = solve(weights, steps, target, epsilon)[1]
        return 0.0, psi + 0.2 * np.random.default_rng(0).standard_normal(len(psi))

    monkeypatch.setattr(frontier_module, "_solve", noisy)
    worse = forced_by_frontier(law, accuracy, cells=300).lower
    assert 0 < worse < truth

    monkeypatch.setattr(frontier_module, "_solve", lambda *given: (2 * solve(*given)[0], solve(*given)[1]))
    with pytest.raises(NotConverged):
        forced_by_frontier(law, accuracy, cells=300)


NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(200)


@pytest.mark.parametrize(
    ("law", "epsilon"),
    [(two_modes(0.1), 1e-4), (two_modes(0.15), 1e-5), (two_modes(1e-3), 1e-3), (two_modes(0.02), 1e-4), (LOPSIDED, 1e-3)],
)
def test_frontier_is_below_an_explicit_map_and_near_it(law, epsilon):
    # g = F^{-1} o Phi with its tear replaced by a line of slope L is admissible; its error by quadrature is at least e*(L)
    tear = ndtri(law.cdf(0.0))
    edges = np.union1d(np.linspace(-6, 6, 10_001), tear + np.linspace(-0.05, 0.05, 40_001))
    z = 0.5 * (edges[1:] + edges[:-1])
    g = law.quantile(ndtr(z))
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * np.diff(edges)

    def error(slope):
        best = math.inf
        for middle in np.linspace(-0.6, 0.6, 25):
            start = ndtri(law.cdf(middle))
            line = middle + slope * (z - start)
            f = np.where(z < start, np.maximum(g, line), np.minimum(g, line))
            if (np.diff(f) <= slope * np.diff(z) * (1 + 1e-6)).all():
                best = min(best, float(np.abs(f - g) @ density))
        return best

    forced = forced_by_frontier(law, Enclosure(0.0, epsilon, Guarantee.EXACT, "given")).lower
    assert error(0.99 * forced) >= epsilon  # no such map does better than the bound says
    assert error(1.03 * forced) <= epsilon  # and one a little steeper attains it: the bound is sharp


@pytest.mark.parametrize(("offset", "scale"), [(1e7, 1.0), (0.0, 1e-7), (-1e4, 1e-3), (0.0, 1e9)])
def test_frontier_moves_and_scales_with_the_law(offset, scale):
    law = two_modes(0.3)
    moved = GaussianMixture(offset + scale * law.means, scale**2 * law.covariances)
    value = forced_by_frontier(moved, Enclosure(0.0, 0.02 * scale, Guarantee.EXACT, "given")).lower
    assert value == pytest.approx(scale * forced_by_frontier(law, Enclosure(0.0, 0.02, Guarantee.EXACT, "given")).lower, rel=1e-4)


@pytest.mark.parametrize("bound", [forced_by_frontier, lambda law, e: forced_in_latent_space(1.0, Masses.equal(0.1), e)])
def test_an_unknown_accuracy_forces_nothing(bound):
    assert bound(two_modes(0.3), Enclosure(0.0, math.inf, Guarantee.ESTIMATE, "nothing known")).lower == 0.0


def test_frontier_of_a_gaussian_is_its_width():
    # N(0, s^2) from N(0, 1): L = s - e / E|Z| is optimal (scale the map down until the error is e)
    for s, epsilon in ((2.0, 0.1), (0.5, 0.05)):
        law = GaussianMixture([[0.0]], [[[s**2]]])
        expected = s - epsilon / math.sqrt(2 / math.pi)
        value = forced_by_frontier(law, Enclosure(0.0, epsilon, Guarantee.EXACT, "given")).lower
        assert value <= expected * (1 + 1e-6)
        assert value == pytest.approx(expected, rel=1e-3)


def test_frontier_decreases_in_epsilon_and_vanishes():
    law = two_modes(0.3)
    values = [
        forced_by_frontier(law, Enclosure(0.0, e, Guarantee.EXACT, "given"), cells=300).lower
        for e in (0.001, 0.01, 0.1, 0.5, 2.0)
    ]
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert values[-1] == 0.0


def test_clipping_uses_the_clipped_law():
    law, accuracy = two_modes(0.3), Enclosure(0.0, 0.02, Guarantee.EXACT, "given")
    clipped = forced_by_frontier(law, accuracy, clip=1.0).lower
    assert 0.5 * forced_by_frontier(law, accuracy).lower < clipped <= forced_by_frontier(law, accuracy).lower * 1.01


def test_guarantees_travel_with_epsilon():
    confident = Enclosure(0.0, 0.02, Guarantee.CONFIDENCE, "band", 0.05)
    law = two_modes(0.3)
    for bound in (
        forced_by_frontier(law, confident, cells=200),
        forced_by_two_sets(1.0, Masses.equal(0.1), confident),
        forced_in_latent_space(1.0, Masses.equal(0.1), confident),
    ):
        assert (bound.guarantee, bound.alpha, bound.upper) == (Guarantee.CONFIDENCE, 0.05, math.inf)


@pytest.mark.parametrize(
    "call",
    [
        lambda e: forced_by_two_sets(0.0, Masses.equal(0.1), e),
        lambda e: forced_in_latent_space(math.inf, Masses.equal(0.1), e),
        lambda e: forced_by_frontier(two_modes(0.3), Enclosure(0.0, 0.0, Guarantee.EXACT, "x")),
        lambda e: exact_lipschitz(-1.0),
        lambda e: forced_by_frontier(two_modes(0.3), e, cells=1),
        lambda e: forced_by_frontier(two_modes(0.3), e, clip=-1.0),
        lambda e: forced_by_frontier(two_modes_in_plane(0.3), e),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call(Enclosure(0.0, 0.1, Guarantee.EXACT, "x"))


def test_the_numbers_of_the_exact_map():
    assert exact_lipschitz(0.5) == pytest.approx(3.6945, rel=1e-4)
    assert exact_lipschitz(0.2) == pytest.approx(53667.5, rel=1e-6)
    # phi(0) over the density at 0, straight from the definition
    assert exact_lipschitz(0.3) == pytest.approx(float(np.exp(-0.5 * np.log(2 * np.pi) - two_modes(0.3).log_pdf(0.0))), rel=1e-12)


@pytest.mark.parametrize("weight", [1e-3, 1e-6])
@pytest.mark.parametrize("cells", [300, 1000])
def test_parts_of_little_mass_count_in_the_frontier(weight, cells):
    # the solver drops coefficients below 1e-9: masses of cells must not be among them. Two atoms far apart, where S4 is attained
    accuracy = Enclosure(0.0, 1.0, Guarantee.EXACT, "given")
    far = 1e3 / weight
    least = forced_by_two_sets(far, Masses(weight, 1 - weight, 0.0), accuracy).lower
    found = forced_by_frontier(Discrete([[0.0], [far]], [1 - weight, weight]), accuracy, cells=cells).lower
    assert 0.98 * least < found <= least * (1 + 1e-6)


def test_kl_is_pinskers_total_variation():
    masses = Masses(0.4, 0.5, 0.1)
    by_kl = forced_by_kl(2.0, masses, Enclosure(0.0, 0.02, Guarantee.EXACT, "given"))
    by_tv = forced_by_total_variation(2.0, masses, Enclosure(0.0, math.sqrt(0.01), Guarantee.EXACT, "given"))
    assert by_kl.lower == pytest.approx(by_tv.lower, rel=1e-12)
    # a large divergence still leaves a total variation below 1, by the other inequality
    assert forced_by_kl(2.0, masses, Enclosure(0.0, 3.0, Guarantee.EXACT, "given")).lower == 0.0
