"""Every split of an error probability, band and limit, against its formula written out from the source."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import binom

from lipbounds.distances import (
    clopper_pearson,
    population,
    total_variation_lower,
    wasserstein,
    wasserstein_1_line,
    wasserstein_1_lower,
    wasserstein_1_population,
    wasserstein_1_upper,
)
from lipbounds.distances.critics import Clipped
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete, standard_normal
from lipbounds.search import from_samples, lipschitz_from_components, lipschitz_from_samples
from lipbounds.theorems import Masses, forced_lipschitz, from_data, least_stretch
from tests.oracles import confidence

alphas = st.sampled_from([0.3, 0.05, 1e-3])


@given(st.integers(1, 400), st.data(), alphas)
def test_clopper_pearson(trials, data, alpha):
    k = data.draw(st.integers(0, trials))
    lower, upper = clopper_pearson(k, trials, alpha=alpha)
    assert float(lower) == pytest.approx(confidence.clopper_pearson_lower(k, trials, alpha), rel=1e-9, abs=1e-12)
    assert float(upper) == pytest.approx(confidence.clopper_pearson_upper(k, trials, alpha), rel=1e-9, abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), alphas)
def test_the_three_limits_of_forced_lipschitz_share_alpha(below, between, above, alpha):
    n = below + between + above
    a, b, gap = from_data._limits(below, between, n, alpha)
    assert a == pytest.approx(confidence.clopper_pearson_lower(below, n, alpha / 3), rel=1e-9, abs=1e-12)
    assert b == pytest.approx(confidence.clopper_pearson_lower(above, n, alpha / 3), rel=1e-9, abs=1e-12)
    assert gap == pytest.approx(confidence.clopper_pearson_upper(between, n, alpha / 3), rel=1e-9, abs=1e-12)


class Coordinate:
    """The first coordinate as a statistic."""

    def __call__(self, x):
        return x[:, 0]

    def __repr__(self):
        return "first coordinate"


@pytest.mark.parametrize("shares", [(0.3, 0.1, 0.6), (0.6, 0.1, 0.3), (0.45, 0.1, 0.45)])
@pytest.mark.parametrize("error", [0.0, 0.05])
def test_two_sets_take_the_least_favourable_of_the_masses_that_the_limits_allow(shares, error):
    n, alpha, epsilon = 1000, 0.05, 0.01
    counts = [round(share * n) for share in shares]
    values = np.repeat([-1.0, 0.0, 1.0], counts)
    forced = from_data._at_thresholds(Coordinate(), values, (-1.0, 1.0), epsilon, alpha, error)
    a, b = (confidence.clopper_pearson_lower(counts[k], n, alpha / 3) for k in (0, 2))
    gap = confidence.clopper_pearson_upper(counts[1], n, alpha / 3)
    # all pairs of masses within the limits: a fine grid between both ends
    least = min(
        least_stretch(2.0 - 2 * error, Masses(first, 1 - gap - first, gap), epsilon).lower
        for first in np.linspace(a, 1 - gap - b, 41)
    )
    assert forced.lower == pytest.approx(least, rel=1e-9)
    assert forced.lower <= least
    assert (forced.alpha, forced.guarantee) == (alpha, Guarantee.CONFIDENCE)


@given(st.sampled_from([50, 1000]), alphas, st.sampled_from([0.0, 0.02]))
def test_the_frontier_adds_the_band_and_the_rounding_to_epsilon(n, alpha, error):
    seen = []

    def record(law, accuracy, *, clip):
        seen.append((accuracy, clip))
        return Enclosure(1.0, math.inf, Guarantee.CERTIFIED, "x")

    x = np.random.default_rng(n).normal(size=(n, 1))
    low, high = np.quantile(x[:, 0], [from_data.TAIL, 1 - from_data.TAIL])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_data, "forced_by_frontier", record)
        from_data._frontier(Coordinate(), x[:, 0], x, 0.1, alpha, error)
    ((accuracy, clip),) = seen
    assert clip == pytest.approx((high - low) / 2)
    wanted = 0.1 + 2 * clip * confidence.kolmogorov_band(n, alpha) + error
    assert accuracy.upper == pytest.approx(wanted, rel=1e-12)
    assert accuracy.upper >= wanted * (1 - 1e-15)


def test_what_forces_rests_on_what_epsilon_rests_on():
    x = np.random.default_rng(0).normal(size=(60, 1)) * 0.1 + np.repeat([[-1.0], [1.0]], 30, 0)
    known = Enclosure(0.0, 0.01, Guarantee.ESTIMATE, "plug-in", assumptions=("a guess",))
    for alpha in (0.05, None):
        forced = forced_lipschitz(x, known, alpha=alpha, clusters=2)
        assert (forced.guarantee, forced.alpha, forced.assumptions) == (Guarantee.ESTIMATE, None, ("a guess",))
    both = forced_lipschitz(x, Enclosure(0.0, 0.01, Guarantee.CONFIDENCE, "band", 0.02), alpha=0.03, clusters=2)
    assert both.alpha == pytest.approx(0.05)
    assert forced_lipschitz(x, 0.01, alpha=None, clusters=2).assumptions == ("epsilon <= 0.01, as given",)


@given(st.sampled_from([30, 500]), alphas, st.sampled_from([0.7, 3.0]))
def test_the_band_of_a_statistic(n, alpha, clip):
    sample = Discrete(np.random.default_rng(n).normal(size=(n, 1)))
    plug_in = wasserstein_1_line(sample, standard_normal(1), clip=clip)
    bound = wasserstein_1_upper(sample, standard_normal(1), clip=clip, alpha=alpha)
    width = 2 * clip * confidence.kolmogorov_band(n, alpha)
    assert bound.upper == pytest.approx(plug_in.upper + width, rel=1e-14)
    assert bound.lower == pytest.approx(max(0.0, plug_in.lower - width), rel=1e-12, abs=1e-15)


class Linear:
    """A 1-Lipschitz function of the first coordinate, as a critic."""

    def __call__(self, points):
        return points[:, 0]

    def error(self, radius):
        return 0.0


@given(st.integers(0, 2**32 - 1), alphas, st.sampled_from([None, (1.0, 2.0)]))
def test_the_bounds_of_a_held_out_function(seed, alpha, constants):
    rng = np.random.default_rng(seed)
    x, y, sizes = rng.normal(size=(30, 2)), rng.normal(size=(40, 2)) + 1.0, (300, 400)
    critic = Clipped(Linear(), -0.5, 1.5)
    found = population._bound(critic, x, y, sizes, alpha, constants or (None, None))
    values = [np.clip(part[:, 0], -0.5, 1.5) for part in (x, y)]
    difference = float(values[0].mean() - values[1].mean())
    # both samples have half of alpha
    slack = sum(confidence.empirical_bernstein(v.tolist(), n, -0.5, 1.5, alpha / 2) for v, n in zip(values, sizes, strict=True))
    assert found[1] == pytest.approx(difference - slack, rel=1e-12)
    if constants is None:
        assert found[0] == -math.inf
    else:
        assert found[0] == pytest.approx(difference - confidence.martingale_margin(sizes, constants, alpha), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.01])
def test_both_ends_of_the_population_distance_share_alpha(alpha, monkeypatch):
    seen = []
    real = population._lower

    def record(mu, nu, share, constants, seed):
        seen.append(share)
        return real(mu, nu, share, constants, seed)

    monkeypatch.setattr(population, "_lower", record)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=(80, 2)) + 1.0
    bounds = wasserstein_1_population(x, y, alpha=alpha, x_subgaussian=1.0, y_subgaussian=2.0)
    margin = confidence.martingale_margin((60, 80), (1.0, 2.0), alpha / 2)
    assert bounds.upper == pytest.approx(wasserstein(x, y).upper + margin, rel=1e-12)
    wasserstein_1_lower(x, y, alpha=alpha)
    assert seen == [alpha / 2, alpha]


@given(st.integers(0, 99), st.integers(0, 99), alphas)
def test_both_thresholds_have_half_of_alpha(i, j, alpha):
    ordered = np.sort(np.random.default_rng(i).normal(size=100))
    low, high = ordered[min(i, j)], ordered[max(i, j)] + 1.0
    found = from_samples._bounds(ordered, np.array([low]), np.array([high]), alpha, 2.0)[0]
    below = [int((ordered <= t).sum()) for t in (low, high)]
    g_low = confidence.clopper_pearson_lower(below[0], 100, alpha / 2)
    g_high = confidence.clopper_pearson_upper(below[1], 100, alpha / 2)
    wanted = (high - low) / (2.0 * (ndtri(g_high) - ndtri(g_low))) if g_low > 0 and g_high < 1 else 0.0
    assert found == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("alpha", [0.3, 0.01])
def test_black_box_bounds_share_alpha_between_both_thresholds_and_all_components(alpha):
    rng = np.random.default_rng(0)
    selection, evaluation = np.sort(rng.normal(size=400)), np.sort(rng.normal(size=500)) * 2
    bound = lipschitz_from_samples(selection, evaluation, alpha=alpha)

    def best(share):
        # over all pairs of thresholds no larger value is possible
        n, places = len(evaluation), range(0, len(evaluation), 10)
        low = {i: confidence.clopper_pearson_lower(i + 1, n, share) for i in places}
        high = {j: confidence.clopper_pearson_upper(j + 1, n, share) for j in places}
        pairs = [(i, j) for i in places for j in places if i < j and high[j] < 1.0]
        return max((evaluation[j] - evaluation[i]) / (ndtri(high[j]) - ndtri(low[i])) for i, j in pairs)

    assert bound.lower <= best(alpha / 2) * 1.02
    assert bound.lower < best(alpha)
    parts = [(selection, evaluation), (selection, evaluation / 10)]
    assert (
        lipschitz_from_components(parts, alpha=alpha).lower
        == lipschitz_from_samples(selection, evaluation, alpha=alpha / 2).lower
    )


@pytest.mark.parametrize("alpha", [0.3, 0.01])
def test_a_classifier_shares_alpha_between_both_limits(alpha):
    # a score that separates: all of x above the threshold, none of y
    x, y = np.full((100, 1), 5.0), np.full((60, 1), -5.0)
    bound = total_variation_lower(x, y, alpha=alpha, score=lambda points: points[:, 0])
    wanted = confidence.clopper_pearson_lower(50, 50, alpha / 2) - confidence.clopper_pearson_upper(0, 30, alpha / 2)
    assert bound.lower == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("k", [1, 5, 25])
def test_the_limits_are_attained(k):
    # just below the limit of k successes they fail with probability alpha, which counts them all
    n, alpha = 50, 0.05
    p = float(clopper_pearson(k, n, alpha=alpha)[0]) * (1 - 1e-9)
    counts = np.arange(n + 1)
    missed = clopper_pearson(counts, n, alpha=alpha)[0] > p
    assert binom.pmf(counts, n, p)[missed].sum() == pytest.approx(alpha, rel=1e-6)
