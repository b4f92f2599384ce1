import itertools
import sys
from fractions import Fraction

import numpy as np
import ot
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import wasserstein_distance

from lipbounds.distances import wasserstein, wasserstein_1_line, wasserstein_1_upper
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete, standard_normal
from tests.strategies.lines import discrete_lines, mixtures

EPS = np.finfo(float).eps
SCALE = 40.0  # atoms lie in [-20, 20]


def fraction_w1(mu, nu):
    """The integral of |F - G| over integer atoms in exact arithmetic, weights as the doubles they are."""
    atoms = sorted({int(t) for t in np.concatenate((mu.points, nu.points))[:, 0]})

    def level(law, t):
        return sum((Fraction(float(w)) for p, w in zip(law.points[:, 0], law.weights, strict=True) if p <= t), Fraction(0))

    return sum((abs(level(mu, a) - level(nu, a)) * (b - a) for a, b in itertools.pairwise(atoms)), Fraction(0))


@given(discrete_lines(), discrete_lines())
@example(Discrete([[0.0]]), Discrete([[3.0]]))
def test_line_agrees_with_fractions_scipy_and_pot(mu, nu):
    value = wasserstein_1_line(mu, nu)
    assert value.lower == value.upper
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
    monkeypatch.setattr(sys.modules["lipbounds.distances.wasserstein"], "MAX_ITERATIONS", 50)
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


def test_bad_potentials_give_a_smaller_lower_bound_not_a_wrong_one():
    from lipbounds.distances.wasserstein import _feasible_dual

    cost, mass = np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([0.5, 0.5])
    assert _feasible_dual(np.array([1.0, 1.0]), np.zeros(2), cost, mass, mass) == 1.0  # optimal
    # raised by 0.5 they violate f_i + g_j <= c_ij by 0.5, which is taken off again
    assert _feasible_dual(np.array([1.5, 1.5]), np.zeros(2), cost, mass, mass) == 1.0
    assert _feasible_dual(np.array([1.0, 4.0]), np.zeros(2), cost, mass, mass) == -0.5


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


@pytest.mark.parametrize(
    "call",
    [
        lambda: wasserstein_1_line(Discrete([[0.0]]), standard_normal(1), clip=np.inf),
        lambda: wasserstein_1_line(Discrete([[0.0, 1.0]]), standard_normal(1)),
        lambda: wasserstein_1_line(Discrete([[0.0]]), standard_normal(1), clip=0.0),
        lambda: wasserstein(Discrete([[0.0]]), Discrete([[0.0, 0.0]])),
        lambda: wasserstein(Discrete([[0.0]]), Discrete([[1.0]]), p=0.5),
        lambda: wasserstein_1_upper(Discrete([[0.0]]), standard_normal(1), clip=1.0, alpha=0.0),
        lambda: wasserstein_1_upper(Discrete([[0.0], [1.0]], [0.4, 0.6]), standard_normal(1), clip=1.0, alpha=0.1),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
