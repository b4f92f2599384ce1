"""The learned mixture: Algorithm 1 as printed, its law, its gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inn import LearnedMixture, sparsity
from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

MEANS = torch.tensor([[-4.0, 0.0], [4.0, 1.0], [0.0, 3.0]])


def latent_of(seed, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    return LearnedMixture(2, MEANS, scale, hidden=5, depth=1, activation="tanh", generator=generator).double()


def labels(seed, n):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 2**32 - 1))
def test_density_and_probabilities(seed):
    latent, y = latent_of(seed), labels(seed, 1)
    p = latent.probabilities(y).detach()
    assert float(p.sum()) == pytest.approx(1.0)
    z = 3 * labels(seed + 1, 4)
    with torch.no_grad():
        value = latent.log_density(z, y.expand(4, 2))
    parts = [stats.multivariate_normal(m, 0.25 * np.eye(2)).pdf(z.numpy()) for m in MEANS.numpy()]
    np.testing.assert_allclose(value.numpy(), np.log(np.array(parts).T @ p.numpy()[0]), rtol=1e-9, atol=1e-9)


def test_exact_samples_have_the_probabilities():
    n = 20_000
    latent = latent_of(0, scale=0.1)
    with torch.no_grad():
        latent.subnet.layers[-1].bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    y = labels(0, 1).expand(n, 2)
    z = latent.sample(y, torch.Generator().manual_seed(1))
    component = torch.cdist(z, latent.means).argmin(1)
    counts = torch.bincount(component, minlength=3).numpy()
    expected = latent.probabilities(y[:1])[0].detach().numpy()
    assert stats.chisquare(counts, n * expected).pvalue > 1e-4
    # negative control: equal probabilities are refuted
    assert stats.chisquare(counts).pvalue < 1e-10
    law = GaussianMixture(MEANS.numpy(), np.broadcast_to(0.01 * np.eye(2), (3, 2, 2)), expected)
    assert abs(float(z[:, 0].mean()) - law.weights @ MEANS.numpy()[:, 0]) < 5 * 4 / n**0.5


def test_algorithm_1_as_printed():
    latent, y, t = latent_of(1), labels(1, 6), 0.3
    z = latent.sample(y, torch.Generator().manual_seed(2), temperature=t)
    generator = torch.Generator().manual_seed(2)
    uniform = torch.rand(6, 3, generator=generator).double().numpy()
    noise = torch.randn(6, 2, generator=generator).double().numpy()
    for row in range(6):
        p = np.log(latent.probabilities(y)[row].detach().numpy()) - np.log(-np.log(uniform[row]))
        s = np.exp((p - p.max()) / t) / np.exp((p - p.max()) / t).sum()
        np.testing.assert_allclose(z[row].detach().numpy(), s @ MEANS.numpy() + 0.5 * noise[row], rtol=1e-12)


def test_a_low_temperature_is_exact_and_has_gradients():
    latent, y = latent_of(3), labels(3, 50)
    relaxed = latent.sample(y, torch.Generator().manual_seed(0), temperature=1e-3)
    exact = latent.sample(y, torch.Generator().manual_seed(0))
    far = (relaxed - exact).norm(dim=1) > 1e-6
    assert far.sum() <= 2  # only where two perturbed logits nearly tie
    assert (latent.sample(y, torch.Generator().manual_seed(0), temperature=5.0) - exact).norm(dim=1).mean() > 1
    latent.sample(y, torch.Generator().manual_seed(0), temperature=0.5).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in latent.parameters())


def test_sparsity_is_least_at_corners():
    corner, middle = torch.eye(3), torch.full((1, 3), 1 / 3)
    assert float(sparsity(corner)) == pytest.approx(1.0)
    assert float(sparsity(middle)) == pytest.approx(3.0)
    corner.requires_grad_()
    sparsity(corner).backward()
    assert torch.isfinite(corner.grad).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: LearnedMixture(2, torch.zeros(0, 2), 1.0, hidden=1, depth=1, activation="relu", generator=torch.Generator()),
        lambda: LearnedMixture(2, MEANS, 0.0, hidden=1, depth=1, activation="relu", generator=torch.Generator()),
        lambda: LearnedMixture(2, MEANS * np.nan, 1.0, hidden=1, depth=1, activation="relu", generator=torch.Generator()),
        lambda: latent_of(0).sample(labels(0, 2), torch.Generator(), temperature=0.0),
        lambda: latent_of(0).probabilities(torch.zeros(3, 5, dtype=torch.float64)),
        lambda: latent_of(0).probabilities(torch.full((3, 2), np.nan, dtype=torch.float64)),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()
