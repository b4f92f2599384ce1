import itertools
import sys
from fractions import Fraction

import numpy as np
import ot
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance

from lipbounds.distances import (
    gaussian_wasserstein_2,
    max_sliced_wasserstein,
    optimal_transport,
    sliced_wasserstein,
    wasserstein,
    wasserstein_1_line,
    wasserstein_1_upper,
    wasserstein_line,
)
from lipbounds.distances.transport import solve
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete, GaussianMixture, gaussian, standard_normal
from tests.strategies.lines import discrete_lines, mixtures

EPS = np.finfo(float).eps
SCALE = 40.0  # atoms lie in [-20, 20]


def fraction_w1(mu, nu):
    """The integral of |F - G| over integer atoms in exact arithmetic, masses the exact quotients of the shares."""
    atoms = sorted({int(t) for t in np.concatenate((mu.points, nu.points))[:, 0]})

    def level(law, t):
        shares = [Fraction(float(share)) for share in law.shares]
        return sum((s for p, s in zip(law.points[:, 0], shares, strict=True) if p <= t), Fraction(0)) / sum(shares)

    return sum((abs(level(mu, a) - level(nu, a)) * (b - a) for a, b in itertools.pairwise(atoms)), Fraction(0))


@given(discrete_lines(), discrete_lines())
@example(Discrete([[0.0]]), Discrete([[3.0]]))
def test_line_agrees_with_fractions_scipy_and_pot(mu, nu):
    value = wasserstein_1_line(mu, nu)
    # exact but for the doubt about weights that are rounded
    assert value.upper - value.lower <= 16 * EPS * SCALE
    assert value.lower <= fraction_w1(mu, nu) <= value.upper
    tolerance = 32 * EPS * SCALE  # at most 16 atoms, each an addition of masses times a length
    assert abs(value.upper - float(fraction_w1(mu, nu))) <= tolerance
    assert abs(value.upper - wasserstein_distance(mu.points[:, 0], nu.points[:, 0], mu.weights, nu.weights)) <= tolerance
    assert abs(value.upper - ot.wasserstein_1d(mu.points[:, 0], nu.points[:, 0], mu.weights, nu.weights, p=1)) <= 100 * tolerance
    simplex = wasserstein(mu, nu)
    assert simplex.lower - 1e-11 <= value.upper <= simplex.upper + 1e-11  # POT's stopping tolerance


@given(discrete_lines(), mixtures(), st.sampled_from([None, 0.5, 3.0]))
@example(Discrete([[0.0]]), standard_normal(1), None)
def test_discrete_against_continuous_agrees_with_quadrature(mu, nu, clip):
    order = np.argsort(mu.points[:, 0])
    points, mass = mu.points[order, 0], np.cumsum(mu.weights[order])

    def gap(t):
        return abs(float(np.concatenate(([0.0], mass))[np.searchsorted(points, t, side="right")]) - float(nu.cdf(t)))

    end = 60.0 if clip is None else clip
    breaks = np.unique(
        np.clip(np.concatenate(([-end, end], points, nu.means[:, 0], nu.quantile(np.clip(mass[:-1], 1e-9, 1 - 1e-9)))), -end, end)
    )
    # a crossing found to an ulp beside an atom leaves a sliver that quadrature cannot treat; it weighs less than 1e-12
    pieces = [quad(gap, a, b, limit=200) for a, b in itertools.pairwise(breaks) if b - a > 1e-12]
    expected, error = (sum(column) for column in zip(*pieces, strict=True))
    assert abs(wasserstein_1_line(mu, nu, clip=clip).upper - expected) <= 10 * error + 1e-10


@given(mixtures(), mixtures(), st.sampled_from([None, 0.5, 3.0]))
@example(standard_normal(1), gaussian([0.0], [[4.0]]), None)
@example(standard_normal(1), standard_normal(1), None)
def test_continuous_against_continuous_agrees_with_quadrature(mu, nu, clip):
    end = 60.0 if clip is None else clip
    grid = np.linspace(-end, end, 240_001)
    gap = abs(mu.cdf(grid) - nu.cdf(grid))
    expected = np.trapezoid(gap, grid)
    value = wasserstein_1_line(mu, nu, clip=clip)
    # trapezoids of width h: h^2 / 12 times the total variation of the slope, and h^2 |slope| at each of a few crossings
    assert abs(value.upper - expected) <= (end / 120_000) ** 2 * 100
    assert value.upper - value.lower <= 1e-13 * max(value.upper, 1.0)
    assert wasserstein_1_line(nu, mu, clip=clip).upper == pytest.approx(value.upper, rel=1e-12, abs=1e-14)


def test_shared_components_cancel():
    # only the difference of the laws matters: here 1e-9 of mass moved by 2
    means, covariances = [[-1.0], [1.0], [5.0]], [[[0.1]], [[0.1]], [[3.0]]]
    mu = GaussianMixture(means, covariances, [0.25 + 1e-9, 0.25 - 1e-9, 0.5])
    nu = GaussianMixture(means, covariances, [0.25, 0.25, 0.5])
    value = wasserstein_line(mu, nu)
    assert value.upper == pytest.approx(2e-9, rel=1e-7)  # the weights themselves are rounded to 1e-16 / 1e-9
    assert value.upper - value.lower <= 1e-13 * value.upper
    assert wasserstein_line(mu, mu).upper == wasserstein_line(mu, mu, p=3).upper == 0.0


@given(discrete_lines(), discrete_lines(), st.sampled_from([1.0, 1.5, 2.0, 5.0, 200.0]))
def test_line_agrees_with_the_simplex_for_every_exponent(mu, nu, p):
    flat = Discrete(np.pad(mu.points, ((0, 0), (0, 1))), mu.weights), Discrete(np.pad(nu.points, ((0, 0), (0, 1))), nu.weights)
    value, simplex = wasserstein_line(mu, nu, p), wasserstein(*flat, p=p)
    # running sums of at most 16 masses, to both sides, and the rounding of the roots
    assert value.upper**p - value.lower**p <= 40 * EPS * SCALE**p if p < 100 else value.lower <= value.upper
    # the simplex stops at reduced costs of 1e-12 or so of the largest cost; its root can be far wider
    assert (
        simplex.lower**p <= value.upper**p * (1 + 1e-9) + 1e-10 * 40.0**p if p < 10 else simplex.lower <= value.upper * 1.01 + 1
    )
    assert value.lower <= simplex.upper * (1 + 1e-9) + 1e-9


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 3.0, 50.0]))
def test_rounded_masses_do_not_make_equal_laws_differ(seed, p):
    # every atom split in two halves, and shuffled: the same law; slivers of rounded sums must not become a distance
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    points, weights = rng.standard_normal(n), rng.dirichlet(np.ones(n))
    order = rng.permutation(2 * n)
    halves, split = np.repeat(points, 2)[order], np.repeat(weights / 2, 2)[order]
    value = wasserstein_line(points[:, None], halves[:, None], p, x_weights=weights, y_weights=split)
    assert value.lower <= 1e-13
    assert value.upper <= (3 * n * EPS * 20.0**p) ** (1 / p) + 1e-13  # atoms within 10 of 0
    flat = np.stack((points, points), 1), np.stack((halves, halves), 1)
    assert max_sliced_wasserstein(*flat, p, seed=0, x_weights=weights, y_weights=split).lower <= 1e-13
    assert sliced_wasserstein(*flat, p, seed=0, directions=5, x_weights=weights, y_weights=split).lower <= 1e-13


def test_slivers_of_decimal_weights():
    value = wasserstein([[0.0], [0.0], [0.0], [1.0]], [[0.0], [1.0]], 50, x_weights=[0.1, 0.2, 0.3, 0.4], y_weights=[0.6, 0.4])
    assert value.lower == 0.0
    assert 0.0 < value.upper <= 0.6  # the fiftieth root of some ulps


def test_all_mass_outside_the_clip():
    assert wasserstein_1_line(gaussian([1e3], [[1.0]]), gaussian([2e3], [[1.0]]), clip=1.0).upper == 0.0
    assert wasserstein_1_line(gaussian([-1e3], [[1.0]]), gaussian([2e3], [[1.0]]), clip=1.0).upper == pytest.approx(2.0)


def test_components_of_weight_zero_do_not_spoil_the_scale():
    law = GaussianMixture([[0.0], [1e200]], [[[1.0]], [[1.0]]], [1.0, 0.0])
    for p in (1.0, 1.5, 2.0):
        assert wasserstein_line(law, gaussian([3.0], [[1.0]]), p).upper == pytest.approx(3.0)


@pytest.mark.parametrize("spread", [1e-6, 1e-10, 1e-13])
def test_gaussian_closed_form_for_flat_covariances_includes_its_rounding(spread):
    # commuting covariances in a rotated frame: the exact value is known
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]

    def law(variances):
        matrix = rotation @ np.diag(variances) @ rotation.T
        return gaussian(np.zeros(3), (matrix + matrix.T) / 2)

    exact = np.sqrt(spread) * (np.sqrt(2) - 1)
    value = gaussian_wasserstein_2(law([1.0, spread, spread]), law([1.0, 2 * spread, spread]))
    # the matrices themselves are rounded by ulps of 1, which moves a deviation of sqrt(spread) by ulp / sqrt(spread)
    assert value.lower - 8 * EPS / np.sqrt(spread) <= exact <= value.upper + 8 * EPS / np.sqrt(spread)


@settings(max_examples=settings().max_examples // 4)
@given(mixtures(), mixtures(), discrete_lines(), st.sampled_from([1.0, 1.5, 2.0, 4.0]))
def test_quantile_cells_enclose_the_integral(mu, nu, atoms, p):
    # the oracle: quantiles at the midpoints of 40,000 levels, in both tails down to 1e-12
    levels = np.concatenate((np.geomspace(1e-12, 1e-3, 2000), np.linspace(1e-3, 0.5, 20_000)[1:]))
    levels = np.concatenate((levels, 1 - levels[-2::-1]))
    middles, widths = (levels[:-1] + levels[1:]) / 2, np.diff(levels)
    order = np.argsort(atoms.points[:, 0])
    steps = atoms.points[order, 0][np.minimum(np.searchsorted(np.cumsum(atoms.weights[order]), middles), len(order) - 1)]
    for other, quantiles in ((nu, nu.quantile(middles)), (atoms, steps)):
        expected = (widths @ np.abs(mu.quantile(middles) - quantiles) ** p) ** (1 / p)
        value = wasserstein_line(mu, other, p, tolerance=1e-4)
        assert value.guarantee is Guarantee.EXACT
        assert value.upper - value.lower <= 1.001e-4 * value.upper or value.upper < 1e-3
        # the oracle's own error: a step of the quantiles (of size up to 25) inside a cell of width 2.5e-5
        assert value.upper == pytest.approx(expected, rel=1e-3, abs=(25.0**p * 5e-5 * 10) ** (1 / p))


@given(st.floats(-5, 5), st.floats(0.1, 5), st.floats(0.1, 5))
@example(0.0, 1.0, 1.0)
def test_gaussians_on_the_line(shift, first, second):
    mu, nu = gaussian([0.0], [[first**2]]), gaussian([shift], [[second**2]])
    exact = np.hypot(shift, first - second)
    assert wasserstein(mu, nu, p=2).upper == pytest.approx(exact, rel=1e-12, abs=1e-15)
    closed = gaussian_wasserstein_2(mu, nu)
    assert closed.lower * (1 - 1e-12) <= exact <= closed.upper * (1 + 1e-12)
    # the closed form of W_1 against the integral of |F - G|
    general = wasserstein_1_line(mu, nu)
    assert wasserstein(mu, nu).upper == pytest.approx(general.upper, rel=1e-11, abs=1e-13)
    # one more component of weight 0 takes the path of mixtures
    padded = GaussianMixture([[0.0], [3.0]], [[[first**2]], [[1.0]]], [1.0, 0.0])
    cells = wasserstein_line(padded, nu, p=2, tolerance=1e-4)
    assert cells.lower <= exact * (1 + 1e-9) + 1e-9
    assert cells.upper >= exact * (1 - 1e-9)


@given(st.integers(0, 2**32 - 1))
def test_gaussians_in_space(seed):
    # commuting covariances: W_2 is the distance of means and of deviations, axis by axis, in any rotated frame
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    first, second, shift = rng.uniform(0.1, 3, 3), rng.uniform(0.1, 3, 3), rng.standard_normal(3)

    def law(mean, deviations):
        matrix = rotation @ np.diag(deviations**2) @ rotation.T
        return gaussian(mean, (matrix + matrix.T) / 2)

    exact = np.sqrt(shift @ shift + ((first - second) ** 2).sum())
    mu, nu = law(np.zeros(3), first), law(shift, second)
    assert wasserstein(mu, nu, p=2).upper == pytest.approx(exact, rel=1e-12)
    # what no sample sees: 1e-9 between near equal laws
    near = law(np.zeros(3), first * (1 + 1e-9))
    assert wasserstein(mu, near, p=2).upper == pytest.approx(1e-9 * np.linalg.norm(first), rel=1e-4)


def test_distance_of_an_atom_to_the_normal_law():
    # E|Z| = sqrt(2 / pi)
    assert wasserstein_1_line(Discrete([[0.0]]), standard_normal(1)).upper == pytest.approx((2 / np.pi) ** 0.5, rel=1e-14)


@given(discrete_lines(), discrete_lines(), discrete_lines(), st.integers(-5, 5), st.sampled_from([0.5, 2.0]))
def test_metric_laws(mu, nu, eta, shift, scale):
    def moved(law):
        return Discrete(scale * (law.points + shift), law.weights)

    d = wasserstein_1_line(mu, nu).upper
    tolerance = 64 * EPS * SCALE
    assert wasserstein_1_line(nu, mu).upper == pytest.approx(d, abs=tolerance)
    assert wasserstein_1_line(mu, mu).upper <= tolerance
    assert d <= wasserstein_1_line(mu, eta).upper + wasserstein_1_line(eta, nu).upper + tolerance
    assert wasserstein_1_line(moved(mu), moved(nu)).upper == pytest.approx(scale * d, abs=4 * tolerance)
    assert wasserstein_1_line(mu, nu, clip=3.0).upper <= d + tolerance


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 3.5]))
def test_simplex_finds_a_known_plan(seed, p):
    # gradients of convex functions are optimal for p = 2; a translation is optimal for every p
    rng = np.random.default_rng(seed)
    x, shift = rng.standard_normal((12, 3)), rng.standard_normal(3)
    value = wasserstein(Discrete(x), Discrete(x + shift), p=p)
    assert value.guarantee is Guarantee.EXACT
    assert value.lower - 1e-9 <= np.linalg.norm(shift) <= value.upper + 1e-9
    assert value.upper - value.lower <= 1e-8


def test_a_simplex_that_stops_early_raises(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = Discrete(rng.standard_normal((300, 2))), Discrete(rng.standard_normal((300, 2)) + 2)
    monkeypatch.setattr(sys.modules["lipbounds.distances.transport"], "MAX_ITERATIONS", 50)
    with pytest.raises(NotConverged):
        wasserstein(x, y)


def test_confidence_bound_covers():
    # 200 repetitions at alpha = 0.2: a true coverage of 0.8 would fail 60 times or more with probability below 1e-3; DKW is
    # conservative, so far fewer are seen. The negative control replaces the width by nothing: then the truth is missed.
    rng = np.random.default_rng(1)
    law, shift = standard_normal(1), 0.1
    grid = np.linspace(-1.0, 1.0, 20001)
    truth = np.trapezoid(abs(law.cdf(grid - shift) - law.cdf(grid)), grid)
    missed = plug_in_missed = 0
    for _ in range(200):
        sample = Discrete(rng.standard_normal((400, 1)) + shift)
        bound = wasserstein_1_upper(sample, law, clip=1.0, alpha=0.2)
        missed += not bound.lower <= truth <= bound.upper
        plug_in_missed += wasserstein_1_line(sample, law, clip=1.0).upper < truth
    assert missed < 60
    assert plug_in_missed > 60


def test_the_confidence_width_is_the_stated_one():
    sample = Discrete(np.random.default_rng(0).standard_normal((1000, 1)))
    plug_in = wasserstein_1_line(sample, standard_normal(1), clip=0.7).upper
    bound = wasserstein_1_upper(sample, standard_normal(1), clip=0.7, alpha=0.1)
    assert bound.upper - plug_in == pytest.approx(1.4 * np.sqrt(np.log(20.0) / 2000), rel=1e-12)


def test_potentials_that_lie_give_a_smaller_lower_bound_not_a_wrong_one(monkeypatch):
    # whatever the solver's potentials are, the transforms make them feasible
    rng = np.random.default_rng(0)
    cost, a, b = rng.uniform(size=(6, 5)), np.full(6, 1 / 6), np.full(5, 0.2)
    laws = Discrete(np.zeros((6, 1)), a), Discrete(np.zeros((5, 1)), b)
    honest = solve(cost, *laws)
    real = ot.emd
    for noise in (0.01, 1.0, 100.0):

        def liar(*args, noise=noise, **options):
            value, log = real(*args, **options)
            return value, log | {"v": log["v"] + noise * rng.standard_normal(5)}

        monkeypatch.setattr(ot, "emd", liar)
        dual, plan, (f, g) = solve(cost, *laws)
        assert (f[:, None] + g <= cost + 1e-12 * noise).all()
        assert dual <= honest.dual + 1e-14
        assert cost[plan.i, plan.j] @ plan.mass == pytest.approx(cost[honest.plan.i, honest.plan.j] @ honest.plan.mass)
    assert abs(honest.dual - cost[honest.plan.i, honest.plan.j] @ honest.plan.mass) <= 1e-14


@given(st.integers(0, 2**32 - 1))
def test_any_cost_with_plan_and_potentials(seed):
    # integer costs and weights in twentieths: the optimum of the transport polytope by linear programming
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 7, 2)
    cost = rng.integers(-5, 6, (n, m)).astype(float)
    a, b = rng.multinomial(20, np.full(n, 1 / n)) / 20, rng.multinomial(20, np.full(m, 1 / m)) / 20  # zeros occur
    answer = optimal_transport(np.arange(n)[:, None], np.zeros((m, 2)), cost, x_weights=a, y_weights=b)
    equalities = np.concatenate((np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))))
    expected = linprog(cost.ravel(), A_eq=equalities, b_eq=np.concatenate((a, b))).fun
    assert answer.lower - 1e-9 <= expected <= answer.upper + 1e-9
    plan, (f, g) = answer.plan.toarray(), answer.potentials
    constant = optimal_transport(np.arange(n)[:, None], np.zeros((m, 2)), np.full((n, m), 3.0), x_weights=a, y_weights=b)
    assert constant.upper == 3.0
    assert max(answer.plan.nnz, constant.plan.nnz) <= n + m - 1
    assert plan.sum(1) == pytest.approx(a, abs=1e-14)
    assert plan.sum(0) == pytest.approx(b, abs=1e-14)
    assert (plan >= 0).all()
    assert (plan * cost).sum() == pytest.approx(expected, abs=1e-9)
    assert (f[:, None] + g <= cost + 1e-12).all()
    assert a @ f + b @ g == pytest.approx(expected, abs=1e-9)
    # the same by a function of the points
    again = optimal_transport(np.arange(n)[:, None], np.zeros((m, 2)), lambda u, v: cost, x_weights=a, y_weights=b)
    assert again.lower == answer.lower


@pytest.mark.parametrize("p", [1.0, 2.0, 50.0])
@pytest.mark.parametrize("far", [0.0, 1e8])
@pytest.mark.parametrize("length", [2.0**-20, 1.0, 1e10])
def test_near_points_far_from_the_origin_and_all_scales(p, far, length):
    # cancellation in |x|^2 + |y|^2 - 2xy would give 0 for the first at far = 1e8
    x, y = Discrete([[far, 0.0], [far, 5 * length]]), Discrete([[far + length, 0.0], [far + length, 5 * length]])
    value = wasserstein(x, y, p=p)
    assert value.lower * (1 - 1e-9) <= length <= value.upper * (1 + 1e-9)
    if p <= 2:  # at p = 50 the costs span 36 decimals, beyond the simplex's tolerance: the enclosure is true and wide
        assert value.lower == pytest.approx(value.upper, rel=1e-9)
    assert wasserstein(x, x, p=p).upper == 0.0


def test_atoms_of_weight_zero_do_not_count():
    law = standard_normal(1)
    assert wasserstein_1_line(Discrete([[0.0], [100.0]], [1.0, 0.0]), law) == wasserstein_1_line(Discrete([[0.0]]), law)
    assert wasserstein(Discrete([[0.0], [100.0]], [1.0, 0.0]), Discrete([[1.0]])).upper == 1.0


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("p", [1.0, 2.0, 7.0])
def test_huge_and_tiny_scales(scale, p):
    rng = np.random.default_rng(0)
    for d in (1, 3):
        x, y = rng.integers(-9, 10, (8, d)) * scale, rng.integers(-9, 10, (6, d)) * scale
        unit = wasserstein(x / scale, y / scale, p)
        value = wasserstein(x, y, p)
        assert value.lower == pytest.approx(scale * unit.lower, rel=1e-9)
        assert value.upper == pytest.approx(scale * unit.upper, rel=1e-9)
    law = GaussianMixture([[-scale], [scale]], [[[scale * scale]]] * 2)
    unit = wasserstein(GaussianMixture([[-1.0], [1.0]], [[[1.0]]] * 2), rng.standard_normal((5, 1)), p)
    value = wasserstein(law, np.random.default_rng(0).standard_normal((5, 1)) * scale, p)
    assert value.upper == pytest.approx(
        scale
        * wasserstein(GaussianMixture([[-1.0], [1.0]], [[[1.0]]] * 2), np.random.default_rng(0).standard_normal((5, 1)), p).upper,
        rel=1e-6,
    )
    assert unit.upper > 0


def test_arrays_tensors_weights_and_measures_agree():
    rng = np.random.default_rng(0)
    x, y, a = rng.standard_normal((9, 2)), rng.standard_normal((7, 2)), rng.dirichlet(np.ones(9))
    expected = wasserstein(Discrete(x, a), Discrete(y))
    frozen = x.copy()
    frozen.setflags(write=False)
    tensor = torch.as_tensor(x).requires_grad_()
    assert wasserstein(frozen, y.tolist(), x_weights=a) == expected
    assert wasserstein(tensor, torch.as_tensor(y), x_weights=torch.as_tensor(a)) == expected
    assert wasserstein(np.asfortranarray(x), y[::-1], x_weights=a).upper == pytest.approx(expected.upper, rel=1e-12)
    assert wasserstein([[0], [3]], np.array([[1], [3]], dtype=np.int8)).upper == 0.5  # exact: in fractions
    assert wasserstein([[1.0, 2.0]], [[1.0, 2.0]]).upper == 0.0
    assert wasserstein([[1.0]] * 5, [[2.0]]).upper == 1.0
    assert wasserstein(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.float64)).upper == pytest.approx(2**0.5, rel=1e-15)


@pytest.mark.parametrize(
    "call",
    [
        lambda: wasserstein_1_line(Discrete([[0.0]]), standard_normal(1), clip=np.inf),
        lambda: wasserstein_1_line(Discrete([[0.0, 1.0]]), standard_normal(1)),
        lambda: wasserstein_1_line(Discrete([[0.0]]), standard_normal(1), clip=0.0),
        lambda: wasserstein(Discrete([[0.0]]), Discrete([[0.0, 0.0]])),
        lambda: wasserstein(Discrete([[0.0]]), Discrete([[1.0]]), p=0.5),
        lambda: wasserstein_1_upper(Discrete([[0.0]]), standard_normal(1), clip=1.0, alpha=0.0),
        lambda: wasserstein([[0.0]], [[1.0]], p=np.nan),
        lambda: wasserstein([[0.0]], [[1.0]], p=np.inf),
        lambda: wasserstein([0.0], [1.0]),
        lambda: wasserstein(np.empty((0, 2)), np.ones((1, 2))),
        lambda: wasserstein([[np.nan, 0.0]], [[1.0, 0.0]]),
        lambda: wasserstein([[np.inf]], [[1.0]]),
        lambda: wasserstein([[1e308, 0.0]], [[-1e308, 0.0]]),
        lambda: wasserstein([[0.0], [1.0]], [[1.0]], x_weights=[1.5, -0.5]),
        lambda: wasserstein([[0.0], [1.0]], [[1.0]], x_weights=[0.0, 0.0]),
        lambda: wasserstein([[0.0], [1.0]], [[1.0]], x_weights=[1.0]),
        lambda: wasserstein(Discrete([[0.0]]), [[1.0]], x_weights=[1.0]),
        lambda: wasserstein(standard_normal(1), [[1.0]], x_weights=[1.0]),
        lambda: wasserstein(standard_normal(2), [[1.0, 2.0]]),
        lambda: wasserstein(standard_normal(2), standard_normal(2), p=1),
        lambda: wasserstein(standard_normal(1), [[1.0]], p=101.0),
        lambda: wasserstein(np.zeros((8000, 2)), np.ones((8000, 2))),
        lambda: wasserstein([[-1.5e308]], [[1.5e308]]),
        lambda: wasserstein([[-1.5e308]], [[1.5e308]], p=2),
        lambda: wasserstein([[1e300, 0.0], [1e300, 1e-300]], [[1e300, 2e-300], [1e300, 3e-300]]),
        lambda: wasserstein([["a"]], [[1.0]]),
        lambda: wasserstein(np.array([[1j]]), [[1.0]]),
        lambda: wasserstein_line([[0.0, 1.0]], [[0.0, 1.0]]),
        lambda: optimal_transport([[0.0]], [[1.0]], [[np.inf]]),
        lambda: optimal_transport([[0.0]], [[1.0]], [[1.0, 2.0]]),
        lambda: optimal_transport([[0.0], [1.0]], [[1.0]], [[-1.7e308], [1.7e308]]),
        lambda: gaussian_wasserstein_2(GaussianMixture([[0.0]] * 2, [[[1.0]]] * 2), standard_normal(1)),
        lambda: gaussian_wasserstein_2(standard_normal(2), standard_normal(1)),
        lambda: wasserstein_1_upper(Discrete([[0.0], [1.0]], [0.4, 0.6]), standard_normal(1), clip=1.0, alpha=0.1),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
