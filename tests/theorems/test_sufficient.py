"""S11: the flow has the law that it should have, its constant stays below what is enough, and two modes meet both ends."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import special_ortho_group

from lipbounds.errors import InvalidInput
from lipbounds.maps.probability_flow import ProbabilityFlow
from lipbounds.measures import GaussianMixture
from lipbounds.theorems import exact_lipschitz, forced_at, sufficient_lipschitz, two_modes

SEEDS = st.integers(0, 2**32 - 1)


def drawn_mixture(rng, dim, r):
    factor = rng.standard_normal((dim, dim)) + 2 * np.eye(dim)
    covariance = factor @ factor.T
    covariance = 0.1 * (covariance + covariance.T)
    return GaussianMixture(rng.standard_normal((r, dim)), np.tile(covariance, (r, 1, 1)), rng.dirichlet(np.ones(r)))


def norms(f, points):
    slopes = torch.func.vmap(torch.func.jacrev(lambda z: f(z[None])[0]))(torch.as_tensor(points))
    return torch.linalg.matrix_norm(slopes, 2).numpy()


@given(SEEDS)
def test_on_the_line_the_flow_is_the_monotone_map(seed):
    rng = np.random.default_rng(seed)
    law = drawn_mixture(rng, 1, 3)
    z = rng.uniform(-2, 2, (5, 1))
    images = ProbabilityFlow(law, 400)(torch.as_tensor(z)).numpy()[:, 0]
    exact = [brentq(lambda x, p=p: float(law.cdf(x)) - p, -50, 50, xtol=1e-13) for p in ndtr(z[:, 0])]
    np.testing.assert_allclose(images, exact, atol=1e-7 * np.abs(exact).max())


@given(SEEDS, st.integers(1, 4), st.integers(2, 5))
def test_forced_flow_and_enough_are_in_order(seed, dim, r):
    """Sampled norms of the flow are at most what is enough; a threshold forces no more than that."""
    rng = np.random.default_rng(seed)
    law = drawn_mixture(rng, dim, r)
    enough = sufficient_lipschitz(law).upper
    assert norms(ProbabilityFlow(law, 40), rng.standard_normal((20, dim))).max() <= enough * (1 + 1e-3)
    direction = rng.standard_normal(dim)
    line = rng.standard_normal() * 2
    assert forced_at(law, direction, line).lower <= enough


@pytest.mark.parametrize("dim", [1, 3, 100])
@pytest.mark.parametrize("sigma", [0.9, 0.3, 0.2])
def test_two_modes_are_closed(dim, sigma):
    """Forced = enough = sigma exp(1 / (2 sigma^2)) along any direction, to 1e-9."""
    direction = np.eye(dim)[0] if dim < 3 else special_ortho_group.rvs(dim, random_state=0)[0]
    means = np.stack([-direction, direction])
    law = GaussianMixture(means, np.tile(sigma**2 * np.eye(dim), (2, 1, 1)))
    exact = exact_lipschitz(sigma)
    assert forced_at(law, direction, 0.0).lower == pytest.approx(exact, rel=1e-9)
    assert sufficient_lipschitz(law).upper == pytest.approx(exact, rel=1e-9)


def test_the_law_of_the_flow_in_the_plane():
    """Moments of a triangle of modes."""
    angle = 2 * np.pi * np.arange(3) / 3
    law = GaussianMixture(
        np.stack([np.cos(angle), np.sin(angle)], 1), np.tile([[0.1, 0.03], [0.03, 0.05]], (3, 1, 1)), [0.2, 0.3, 0.5]
    )
    z = np.random.default_rng(0).standard_normal((200_000, 2))
    x = ProbabilityFlow(law, 60)(torch.as_tensor(z)).numpy()
    mean = law.weights @ law.means
    spread = law.covariances[0] + (law.means - mean).T @ np.diag(law.weights) @ (law.means - mean)
    # four deviations of a mean of 200,000 numbers of size 1
    np.testing.assert_allclose(x.mean(0), mean, atol=0.009)
    np.testing.assert_allclose(np.cov(x.T), spread, atol=0.012)
    third = ((x - mean) ** 3).mean(0)
    exact = [
        sum(w * ((m - c) ** 3 + 3 * (m - c) * s) for w, m in zip(law.weights, law.means[:, i], strict=True))
        for i, (c, s) in enumerate(zip(mean, np.diag(law.covariances[0]), strict=True))
    ]
    np.testing.assert_allclose(third, exact, atol=0.03)


@pytest.mark.parametrize(("width", "enough"), [(0.6, 2.406), (0.45, 5.316)])
def test_a_triangle(width, enough):
    """Side 2: the constant of the flow comes to the bound far out on a bisector, where two modes alone are felt."""
    means = 2 / np.sqrt(3) * np.stack([np.cos(a := 2 * np.pi * np.arange(3) / 3), np.sin(a)], 1)
    law = GaussianMixture(means, np.tile(width**2 * np.eye(2), (3, 1, 1)))
    bound = sufficient_lipschitz(law).upper
    assert bound == pytest.approx(enough, abs=6e-4)
    flow = ProbabilityFlow(law, 60)
    far = np.stack([np.linspace(-10, 10, 201)[:, None] * means[0], np.zeros((201, 2))]).reshape(-1, 2)
    assert 0.997 * bound <= norms(flow, far).max() <= bound * (1 + 1e-6)
    assert norms(flow, far[np.linalg.norm(far, axis=1) < 3]).max() < 0.99 * bound


def test_errors():
    different = GaussianMixture([[0.0], [1.0]], [[[1.0]], [[2.0]]])
    with pytest.raises(InvalidInput, match="differ"):
        sufficient_lipschitz(different)
    with pytest.raises(InvalidInput, match="one regular covariance"):
        ProbabilityFlow(different)
    with pytest.raises(InvalidInput, match="steps"):
        ProbabilityFlow(two_modes(0.5), 0)
    with pytest.raises(InvalidInput, match="direction"):
        forced_at(two_modes(0.5), [0.0], 0.0)
    with pytest.raises(InvalidInput, match="direction"):
        forced_at(two_modes(0.5), [1.0, 0.0], 0.0)
    assert sufficient_lipschitz(two_modes(0.01)).upper == np.inf
