import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erfc
from scipy.stats import norm

from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.theorems import two_modes
from tests.strategies.lines import mixtures

EPS = np.finfo(float).eps


@given(mixtures(), st.floats(-8, 8, allow_subnormal=False), st.floats(1e-6, 4))  # shorter ones defeat the quadrature
def test_slab_mass_is_the_integral_of_the_density(law, lower, width):
    expected, error = quad(
        lambda t: np.exp(law.log_pdf(t)),
        lower,
        lower + width,
        epsabs=1e-13,
        epsrel=1e-12,
        limit=400,
        points=_inside(law, lower, width),
    )
    mass = law.slab_mass([1.0], lower, lower + width)
    assert mass.lower - 10 * error - 1e-12 <= expected <= mass.upper + 10 * error + 1e-12
    assert mass.upper - mass.lower <= 1e-15 * mass.upper + 1e-320


def _inside(law, lower, width):
    means = law.means[:, 0]
    return sorted({float(m) for m in means if lower < m < lower + width}) or None


def test_a_tiny_gap_mass_keeps_its_digits():
    # between the modes at sigma = 0.1: the mass within 1e-3 of 0, by the complementary error function of one mode, twice
    law, t = two_modes(0.1), 1e-3
    expected = 0.5 * (erfc((1 - t) / 0.1 / 2**0.5) - erfc((1 + t) / 0.1 / 2**0.5))
    assert abs(law.slab_mass([1.0], -t, t).upper / expected - 1) < 1e-12
    # the difference from 1, which is the mistake to avoid, has no digit left
    assert 1 - law.cdf(-t) - (1 - law.cdf(t)) == pytest.approx(0.0, abs=4 * EPS)


@given(mixtures(), st.floats(1e-12, 1 - 1e-12))
@example(two_modes(0.2), 0.5)
@example(two_modes(0.1), 1e-12)
def test_quantile_inverts_the_distribution_function(law, p):
    t = float(law.quantile(p))
    step = 4 * EPS * max(1.0, abs(t))
    assert law.cdf(t - step) <= p * (1 + 1e-12)
    assert law.cdf(t + step) >= p * (1 - 1e-12)


def test_a_component_of_weight_zero_does_not_count():
    law = GaussianMixture([[0.0], [3.0]], [[[1.0]], [[1.0]]], [1.0, 0.0])
    assert law.quantile(0.3) == pytest.approx(float(standard_normal(1).quantile(0.3)), rel=4 * EPS)
    assert law.log_density([[0.5]]) == standard_normal(1).log_density([[0.5]])
    assert law.slab_mass([1.0], -np.inf, np.inf).lower == 1.0


@given(mixtures(), st.integers(-60, 60).map(lambda tenths: tenths / 10))
def test_antiderivatives(law, t):
    below, _ = quad(lambda s: float(law.cdf(s)), -80, t, points=sorted({*law.means[:, 0], -8.0} - {t}), limit=400)
    assert abs(law.cdf_integral(t) - below) < 1e-7  # quad over a long range
    # integration by parts: the integral of F up to t is t F(t) minus the partial mean
    assert abs(law.cdf_integral(t) - (t * law.cdf(t) - law.partial_mean(t))) < 64 * EPS * (10 + abs(t))


def test_ball_half_space_and_density_of_the_normal_law():
    law = standard_normal(2)
    assert law.ball_mass([0.0, 0.0], 2.0).upper == pytest.approx(1 - np.exp(-2.0), rel=1e-13)
    assert law.half_space_mass([0.0, 2.0], 1.0).upper == pytest.approx(norm.cdf(0.5), rel=1e-14)
    assert law.log_density([[0.0, 0.0]])[0] == pytest.approx(-np.log(2 * np.pi), rel=1e-14)


@pytest.mark.parametrize("quasi", [False, True])
def test_samples_have_the_law(quasi):
    law = GaussianMixture([[-1.0, 0.0], [2.0, 1.0]], [[[0.04, 0.01], [0.01, 1.0]], np.eye(2)], [0.25, 0.75])
    n = 2**14
    points = law.sample_quasi(n, 3) if quasi else law.sample(n, np.random.default_rng(3))
    mean = law.weights @ law.means
    deviation = np.sqrt(np.einsum("k,kii->i", law.weights, law.covariances) + law.weights @ (law.means - mean) ** 2)
    # five standard errors; the quasi-random points do far better and are held to a twentieth of that
    assert (abs(points.mean(0) - mean) < 5 * deviation / n**0.5 * (0.05 if quasi else 1.0)).all()
    share = (points[:, 0] < 0.5).mean()
    error = 5 * (0.25 / n) ** 0.5 * (0.1 if quasi else 1.0)
    assert abs(share - law.half_space_mass([1.0, 0.0], 0.5).upper) < error


@pytest.mark.parametrize(
    "make",
    [
        lambda: Discrete([[1.0], [np.nan]]),
        lambda: Discrete([[1.0], [2.0]], [0.5, 0.6]),
        lambda: Discrete([[1.0], [2.0]], [1.5, -0.5]),
        lambda: Discrete([]),
        lambda: Discrete([1.0, 2.0]),
        lambda: GaussianMixture([[0.0]], [[[-1.0]]]),
        lambda: GaussianMixture([[0.0]], [[[0.0]]]).cdf(0.0),
        lambda: GaussianMixture([[0.0, 0.0]], [[[1.0, 0.0], [0.0, 0.0]]]).log_density([[0.0, 0.0]]),
        lambda: GaussianMixture([[0.0, 0.0]], [[[1.0, 0.0], [0.0, 0.0]]]).slab_mass([0.0, 1.0], -1.0, 1.0),
        lambda: Discrete.of_shares([[1.0], [2.0]], [0.0, 0.0]),
        lambda: GaussianMixture([[0.0, 0.0]], [[[1.0]]]),
        lambda: GaussianMixture([[0.0, 0.0]], [[[1.0, 0.5], [0.4, 1.0]]]),
        lambda: standard_normal(2).cdf(0.0),
        lambda: standard_normal(1).quantile(1.0),
        lambda: standard_normal(2).slab_mass([1.0, 0.0], 1.0, -1.0),
        lambda: standard_normal(2).log_density([[0.0]]),
        lambda: GaussianMixture([[0.0, 0.0]], [[[1.0, 0.0], [0.0, 2.0]]]).ball_mass([0.0, 0.0], 1.0),
        lambda: two_modes(0.0),
        lambda: standard_normal(2).ball_mass([0.0, 0.0], -1.0),
        lambda: standard_normal(2).sample_quasi(0, 0),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput, match=r"got .*, wanted .*; "):
        make()
