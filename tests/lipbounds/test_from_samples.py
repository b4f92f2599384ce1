from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import beta

from lipbounds.errors import InvalidInput
from lipbounds.search import lipschitz_from_components, lipschitz_from_generated, lipschitz_from_samples
from lipbounds.search.separating_network import SeparatingNetwork, fit_separating_network


def bounds(f, repetitions, alpha, n=2000, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(repetitions):
        z = scale * rng.standard_normal(2 * n)
        yield lipschitz_from_samples(f(z[:n]), f(z[n:]), alpha=alpha, scale=scale).lower


def test_coverage_on_maps_with_known_constant():
    # 300 repetitions at alpha = 0.2: more than 85 misses have probability below 1e-3 if the coverage is 0.8
    for constant, f in ((2.0, lambda z: 2 * z), (11.0, lambda z: z + np.tanh(10 * z)), (1.0, np.sin)):
        values = np.array(list(bounds(f, 300, 0.2)))
        assert (values > constant).sum() <= 85
        assert np.median(values) > 0.6 * min(constant, 2.0)  # the bound says something


def test_the_scale_of_the_latent_law_counts():
    (value,) = bounds(lambda z: 3 * z, 1, 0.05, n=20000, scale=0.1)
    assert 2.4 < value <= 3.0
    (wrong,) = (
        lipschitz_from_samples(s[:20000], s[20000:], alpha=0.05).lower
        for s in [0.3 * np.random.default_rng(0).standard_normal(40000)]
    )
    assert wrong < 0.31  # negative control: without it the bound is ten times too small


def test_pooling_a_mixture_is_the_mistake_it_is_said_to_be():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(40000) + 5 * rng.choice([-1, 1], 40000)
    pooled = lipschitz_from_samples(z[:20000], z[20000:], alpha=0.05).lower
    assert pooled > 100  # "Lip(identity) >= 100": the pooled law is not Gaussian
    parts = [z[z > 0], z[z < 0]]
    right = lipschitz_from_components([(p[::2], p[1::2]) for p in parts], alpha=0.05)
    assert 0.8 < right.lower <= 1.0
    assert right.alpha == 0.05
    # each component gets its share of alpha and its own scale
    singles = [
        lipschitz_from_samples(p[::2], p[1::2], alpha=0.025, scale=s).lower for p, s in zip(parts, (1.0, 2.0), strict=True)
    ]
    values = [(p[::2], p[1::2]) for p in parts]
    assert lipschitz_from_components(values, alpha=0.05, scales=[1.0, 2.0]).lower == max(singles)


def test_the_limits_are_those_of_half_the_error_probability_each():
    # values 0 and 1 only: all thresholds in [0, 1) have the same count, so both limits are of one binomial
    n, k = 1000, 400
    sample = np.repeat([0.0, 1.0], [k, n - k])
    bound = lipschitz_from_samples(sample, sample, alpha=0.1).lower
    g_low, g_high = beta.ppf(0.05, k, n - k + 1), beta.ppf(0.95, k + 1, n - k)
    assert bound == pytest.approx(1.0 / (ndtri(g_high) - ndtri(g_low)), rel=0.01)  # the thresholds are 0 and 0.995 or more


def test_a_constant_sample_gives_no_bound():
    assert lipschitz_from_samples(np.ones(10), np.ones(10), alpha=0.05).lower == 0.0


def torn(z, axis, width=0.05):
    return z + np.outer(2 * np.tanh(z @ axis / width), axis)


def test_the_statistic_is_found_in_any_dimension():
    for dim in (2, 10):
        axis = np.full(dim, dim**-0.5)
        z = np.random.default_rng(dim).standard_normal((20_000, dim))
        found = lipschitz_from_generated(torn(z, axis), seed=0)
        assert 10 < found.lower < 41  # the constant is 1 + 2 / 0.05
        direction = found.statistic.direction / np.linalg.norm(found.statistic.direction)
        assert abs(direction @ axis) > 0.98
    # a shell around a hole is seen by a distance, not by a projection
    z = np.random.default_rng(0).standard_normal((20_000, 2))
    radius = np.linalg.norm(z, axis=1, keepdims=True)
    shell = z * np.where(radius < 1, 0.1, 3.0)
    assert lipschitz_from_generated(shell, seed=0).lower > 20


def moons(z):
    """A torn plane whose halves are bent to interleaved half circles: no half-space and no centre tells them apart."""
    upper, angle = z[:, 0] > 0, np.clip(z[:, 1], -3, 3) * 0.7
    radius = 3 + 0.25 * np.tanh(np.abs(z[:, 0]) - 1)
    x, y = radius * np.sin(angle), radius * np.cos(angle)
    return np.stack((np.where(upper, x, x + 3), np.where(upper, y, 1.5 - y)), 1)


def test_a_trained_network_sees_what_centres_do_not():
    x = moons(np.random.default_rng(0).standard_normal((20_000, 2)))
    found = lipschitz_from_generated(x, seed=0)
    assert isinstance(found.statistic, SeparatingNetwork)
    assert found.lower > 1.5 * lipschitz_from_generated(x, seed=0, steps=0).lower


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_trained_network_is_1_lipschitz(seed, dim):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, dim)) * rng.uniform(0.1, 10.0, dim) + rng.uniform(-100.0, 100.0, dim)
    network = fit_separating_network(x, lambda rows: rows[:, 0], alpha=0.05, steps=3, seed=seed)
    assert all(np.linalg.norm(matrix, 2) <= 1.0 for matrix in network.matrices)
    start = x + rng.standard_normal(x.shape) * np.exp(rng.uniform(-6.0, 3.0, (200, 1)))
    slopes = np.abs(network(start) - network(x)) / np.linalg.norm(start - x, axis=1)
    # values of size up to 400 have errors of 100 ulps, distances are at least about 1e-3
    assert slopes.max() <= 1.0 + 400 * 100 * np.finfo(float).eps / np.linalg.norm(start - x, axis=1).min()


def test_a_matrix_that_is_too_long_is_seen():
    x = np.random.default_rng(0).standard_normal((200, 3))
    network = fit_separating_network(x, lambda rows: rows[:, 0], alpha=0.05, steps=60, seed=0)
    longer = replace(network, matrices=tuple(1.1 * matrix for matrix in network.matrices))
    # the copy of a projection has slope 1 nearly everywhere
    slopes = np.abs(longer(x + [1e-3, 0.0, 0.0]) - longer(x)) / 1e-3
    assert slopes.max() > 1.1


def test_coverage_with_a_chosen_statistic():
    # the identity in the plane: choosing among many statistics on the sample that tests them would pass 1 too often
    misses = 0
    for seed in range(40):
        z = np.random.default_rng(seed).standard_normal((400, 2))
        found = lipschitz_from_generated(z, seed=seed, alpha=0.2, clusters=3, steps=40)
        misses += found.lower > 1.0
        assert found.alpha == 0.2
    assert misses <= 16  # 40 runs at 20 percent: more has probability below 1 percent


@pytest.mark.parametrize(
    "call",
    [
        lambda: lipschitz_from_samples([1.0], [1.0, 2.0], alpha=0.05),
        lambda: lipschitz_from_samples([1.0, np.nan], [1.0, 2.0], alpha=0.05),
        lambda: lipschitz_from_samples([1.0, 2.0], [1.0, 2.0], alpha=1.0),
        lambda: lipschitz_from_samples([1.0, 2.0], [1.0, 2.0], alpha=0.1, scale=0.0),
        lambda: lipschitz_from_components([], alpha=0.1),
        lambda: lipschitz_from_generated(np.zeros((10, 2)), seed=0),
        lambda: lipschitz_from_generated(np.full((30, 2), np.nan), seed=0),
        lambda: lipschitz_from_generated(np.eye(30), seed=0, clusters=1),
        lambda: lipschitz_from_generated(np.eye(30), seed=0, alpha=0.0),
        lambda: lipschitz_from_generated(np.eye(30), seed=0, steps=-1),
        lambda: lipschitz_from_components([([1.0, 2.0], [1.0, 2.0])], alpha=0.1, scales=[1.0, 2.0]),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()
