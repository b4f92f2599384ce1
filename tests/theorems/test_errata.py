"""Every erratum as an executable counterexample with its numbers, and its repair."""

import math

import numpy as np
import pytest

from lipbounds.distances import (
    InverseMultiquadric,
    InverseQuadratic,
    discrepancy,
    kernel_report,
    wasserstein_1_line,
)
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps import activation_names, get_activation
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.theorems import (
    Example1First,
    Example1Second,
    Masses,
    Outcome,
    RestrictedProposition1,
    RestrictedSets,
    SeparatedSets,
    Theorem2,
    Theorem2Printed,
    exact_lipschitz,
    exact_lipschitz_from,
    forced_by_frontier,
    forced_by_kl,
    forced_by_two_points,
    latent_of_example_1,
    two_modes,
)
from lipbounds.theorems.errata import arm_height, arm_height_gradient, discrepancy_floor, largest_on_faces, steepness_at
from lipbounds.theorems.example_1 import ExactMap, ramp, ramp_error
from lipbounds.theorems.gumbel_max import GumbelMax, NoisyArgmax
from lipbounds.theorems.inequality_7 import entries
from lipbounds.theorems.remark_2 import LawsOnPoints, Remark1, Remark1Repaired
from lipbounds.theorems.theorem_2 import contraction, translation


def test_e1_theorem_2():
    for instance, left, right in ((translation(), 10.0, math.sqrt(3)), (contraction(), 11.0, 2.0)):
        verdict = Theorem2Printed().check(instance)
        assert verdict.outcome is Outcome.REFUTED
        assert verdict.left.lower == pytest.approx(left)
        assert verdict.right.upper == pytest.approx(right)
        assert Theorem2().check(instance).outcome is not Outcome.REFUTED
    # the hypotheses that the printed bound needs: without translation and with Lip(T) >= 1 the same data satisfy it
    assert Theorem2Printed().check(translation(0.0)).outcome is Outcome.CONFIRMED


def test_e2_at_fixed_accuracy_the_constant_stays_bounded():
    assert ramp_error(10.0).upper == pytest.approx(0.03986, abs=5e-6)
    for sigma in (0.01, 1e-3, 1e-6):
        instance = ramp(sigma, epsilon=0.05)
        assert instance.accuracy.upper <= ramp_error(10.0).upper + sigma * math.sqrt(2 / math.pi) * (1 + 1e-9) + 1e-13
        assert Example1First().check(instance).outcome is Outcome.REFUTED
    # the distance is not understated: the law of the ramp from many points
    z = standard_normal(1).sample_quasi(2**14, 0)
    measured = wasserstein_1_line(Discrete(np.clip(10 * z, -1, 1)), two_modes(0.01)).upper
    assert measured <= ramp(0.01).accuracy.upper + 1e-3
    assert measured == pytest.approx(ramp(0.01).accuracy.upper, abs=0.01)
    # a ramp that is too flat does not reach the accuracy
    assert Example1First().check(ramp(0.01, slope=5.0, epsilon=0.05)).outcome is Outcome.NOT_APPLICABLE
    # the repair: it explodes as epsilon falls, like 0.3989 / epsilon for sharp modes
    for epsilon in (0.01, 1e-3, 1e-4):
        assert forced_by_two_points(standard_normal(1), epsilon) == pytest.approx(0.398942 / epsilon, rel=1e-3)
        limit = forced_by_frontier(Discrete([[-1.0], [1.0]]), Enclosure(0.0, epsilon, Guarantee.EXACT, "given")).lower
        assert limit == pytest.approx(0.398942 / epsilon, rel=0.02)


@pytest.mark.parametrize(("variance", "least"), [(0.05, 104.9), (0.03, 6.39e4), (0.02, 2.17e8)])
def test_e3_a_fixed_mixture_latent_explodes_for_exact_maps(variance, least):
    sigma = math.sqrt(variance)
    value = exact_lipschitz_from(latent_of_example_1(), sigma)
    assert value == pytest.approx(least, rel=2e-3)
    assert exact_lipschitz(sigma) / value == pytest.approx(46.93, rel=1e-3)
    assert Example1Second().check(ExactMap(latent_of_example_1(), sigma, 0.9 * least)).outcome is Outcome.REFUTED
    # the slope at 0 of the monotone map, by differences of quantiles
    latent, law = latent_of_example_1(), two_modes(sigma)
    h = 1e-3 / value
    slope = float(np.diff(law.quantile(latent.cdf(np.array([-h, h]))))[0]) / (2 * h)
    # near 0 distribution functions hold 1/2 to 1e-16, and the map moves by 1e-3: only the tamest case resolves it
    if variance == 0.05:
        assert slope == pytest.approx(value, rel=1e-3)


def test_e3_the_remedy_is_true_at_a_tolerance():
    own = [forced_by_two_points(latent_of_example_1(), e) for e in (0.1, 0.01, 1e-3, 1e-4)]
    normal = [forced_by_two_points(standard_normal(1), e) for e in (0.1, 0.01, 1e-3, 1e-4)]
    np.testing.assert_allclose(own, [1.08, 2.34, 9.26, 85.2], rtol=5e-3)
    np.testing.assert_allclose(normal, [3.97, 39.9, 399, 3989], rtol=5e-3)
    # the accuracy of the ramp of this slope, by sampling the latent
    z = latent_of_example_1().sample_quasi(2**14, 0)
    assert np.abs(np.clip(own[1] * z, -1, 1) - np.sign(z)).mean() == pytest.approx(0.01, rel=0.02)
    # X_sigma itself as latent needs the constant 1 and no tolerance: the half that is true
    assert exact_lipschitz_from(two_modes(0.2), 0.2) == pytest.approx(1.0)


def test_e4_remark_1_covers_neither_kernel():
    points = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
    laws = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25])
    for kernel in (InverseMultiquadric(), InverseQuadratic()):
        for dim in (1, 2, 3):
            report = kernel_report(kernel, dim)
            assert report.remark_1 is False
            assert report.fourier_decay == "exponential"
            assert report.metrizes is True
        instance = LawsOnPoints(kernel, points, *laws)
        assert Remark1().check(instance).outcome is Outcome.NOT_APPLICABLE
        assert Remark1Repaired().check(instance).outcome is Outcome.CONFIRMED
    assert kernel_report(InverseQuadratic(), 1).integrable is True
    assert kernel_report(InverseQuadratic(), 2).integrable is False


def test_e5_text_against_program():
    # two kernels: that of the text and that of the program
    paper, program = InverseMultiquadric(), InverseQuadratic()
    assert paper.at_zero == pytest.approx(sum((0.05, 0.2, 0.9)))  # r^2 / sqrt(0 + r^2) = r
    assert program.at_zero == pytest.approx(3.0)
    # the floor of "D_K" in Table 2, by simulation: biased squares between two samples of one law
    rng, n = np.random.default_rng(0), 200
    law = standard_normal(2)
    big = law.sample(3000, rng)
    mean_kernel = _mean_kernel(program, big)
    values = [discrepancy(law.sample(n, rng), law.sample(n, rng), program, squared=True) for _ in range(200)]
    floor = discrepancy_floor(program.at_zero, mean_kernel, n)
    assert np.mean(values) == pytest.approx(floor, rel=0.05)
    # negative control: the unbiased estimator has mean 0
    unbiased = [discrepancy(law.sample(n, rng), law.sample(n, rng), program, squared=True, unbiased=True) for _ in range(200)]
    assert abs(np.mean(unbiased)) < 0.1 * floor
    # with 2000 points no method can be below 0 or need more than 0.003 on average
    assert discrepancy_floor(3.0, 0.6, 2000) == pytest.approx(0.0024)
    assert discrepancy_floor(3.0, 0.0, 2000) == pytest.approx(0.003)
    # 6 of 28 rows of an image are 168 numbers, not 164
    assert 6 * 28 == 168
    # both entries of the maximum in (7) are equal
    assert entries(0.75, 0.5) == (0.25, 0.25)
    with pytest.raises(InvalidInput):
        discrepancy_floor(1.0, 2.0, 10)


def _mean_kernel(kernel, points):
    import torch
    from scipy.spatial.distance import pdist

    return float(kernel(torch.from_numpy(pdist(points, "sqeuclidean"))).mean())


def test_e6_coupling_layers_have_no_global_constant():
    values = [steepness_at(radius).lower for radius in (1.0, 10.0, 100.0, 1e4)]
    assert values == sorted(values)
    assert values[-1] > 6000
    assert values[-1] / values[-2] == pytest.approx(100.0, rel=0.01)  # linear in the radius


def test_e7_the_fibres_of_the_arm_are_closed_surfaces():
    assert largest_on_faces() == pytest.approx(1.0)
    # critical points have sines 0: the values there are sums of +-1/2, +-1/2, +-1, none of them in (1, 2)
    corners = np.pi * np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    np.testing.assert_allclose(arm_height_gradient(corners), 0.0, atol=1e-15)
    assert set(np.round(arm_height(corners), 12)) == {2.0, 1.0, 0.0, -1.0, -2.0}
    # so on the fibre over 1.5 the gradient does not vanish: points of it along random rays from the origin
    rng = np.random.default_rng(0)
    rays = rng.standard_normal((500, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    low, high = np.zeros(500), np.full(500, np.pi)
    # every ray leaves {y_2 > 1.5} before it reaches the sphere of radius pi, inside the cube
    assert (arm_height(rays * np.pi) < 1.5).all()
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = arm_height(rays * middle[:, None]) > 1.5
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    fibre = rays * low[:, None]
    np.testing.assert_allclose(arm_height(fibre), 1.5, atol=1e-9)
    assert np.linalg.norm(arm_height_gradient(fibre), axis=1).min() > 0.4
    # one crossing a ray and a gradient that points inwards: the surface is a sphere, star-shaped about the origin
    assert (np.einsum("ij,ij->i", arm_height_gradient(fibre), rays) < 0).all()
    # at theta = 0 no diffeomorphism has y_2 among its coordinates
    np.testing.assert_array_equal(arm_height_gradient(np.zeros((1, 3))), 0.0)


def test_bad_input():
    with pytest.raises(InvalidInput):
        forced_by_two_points(two_modes(0.3), 1.5)
    with pytest.raises(InvalidInput):
        forced_by_two_points(GaussianMixture([[1.0]], [[[1.0]]]), 0.5)
    with pytest.raises(InvalidInput):
        ramp_error(0.0)


def test_slopes_of_activations_are_upper_bounds():
    x = np.linspace(-30, 30, 600_001).astype(np.longdouble)
    for name in activation_names():
        if get_activation(name).split(2) is None:
            values = get_activation(name).coefficients(x.astype(float), 1)[0]
            # doubles of size 30 over differences of 1e-4
            assert float((np.diff(values) / np.diff(x.astype(float))).max()) <= get_activation(name).slope + 1e-9, name
    # the slope of silu in closed form near its maximum: never above, and nearly attained
    fine = np.linspace(2.3993, 2.3994, 10_001).astype(np.longdouble)
    logistic = 1 / (1 + np.exp(-fine))
    largest = (logistic + fine * logistic * (1 - logistic)).max()
    assert get_activation("silu").slope * (1 - 1e-12) < largest <= get_activation("silu").slope


def test_probabilities_that_sum_to_one_up_to_rounding():
    assert GumbelMax().check(NoisyArgmax((0.5 + 9e-13, 0.25, 0.25))).outcome is Outcome.CONFIRMED


def test_a_domain_that_leaves_almost_nothing():
    exact = Guarantee.EXACT
    kappa = Enclosure(0.3 - 1e-13, 0.3 - 1e-13, exact, "given")
    whole = SeparatedSets(1, Enclosure(0.0, 0.1, exact, "x"), Masses(0.3, 0.7, 0.0), Enclosure(0.0, 1.0, exact, "x"), 1.0, kappa)
    assert RestrictedProposition1().check(RestrictedSets(whole, kappa)).outcome is Outcome.NOT_APPLICABLE
    assert forced_by_kl(1.0, Masses.equal(0.0), Enclosure(0.0, 5e-324, exact, "x")).lower < math.inf
