"""Posterior samples of a network whose conditional laws are known."""

import numpy as np
import pytest
import torch
from scipy import stats

from inn import FixedPermutation, Latent, LearnedMixture, Padding, sample_posterior
from lipbounds.errors import InvalidInput

SIZES = Padding(dim=4, data=3, labels=1, latent=2, noise=0.0)
# x = (pad, z_1, y, z_2) as T maps it to (y, pad, z_1, z_2)
NETWORK = FixedPermutation(torch.tensor([2, 0, 1, 3]))
MEANS = torch.tensor([[-5.0, 0.0], [5.0, 0.0]])


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_law_given_y_is_that_of_the_latent():
    y = torch.tensor([[3.0], [-1.0]])
    x = sample_posterior(NETWORK, Latent.normal(2), y, 4000, SIZES, random()).numpy()
    assert x.shape == (2, 4000, 3)
    for row, label in zip(x, y, strict=True):
        np.testing.assert_array_equal(row[:, 1], float(label))
        assert stats.kstest(row[:, 0], "norm").pvalue > 1e-4
        assert stats.kstest(row[:, 0] + 0.3, "norm").pvalue < 1e-6  # negative control
    assert abs(np.corrcoef(x[0, :, 0], x[1, :, 0])[0, 1]) < 0.08  # every label has draws of its own


def test_a_learned_mixture_depends_on_y():
    latent = LearnedMixture(1, MEANS, 0.5, hidden=4, depth=1, activation="tanh", generator=random())
    with torch.no_grad():
        latent.subnet.layers[-1].weight.mul_(50.0)
    y = torch.tensor([[2.0], [-2.0]])
    shares = (sample_posterior(NETWORK, latent, y, 3000, SIZES, random(1))[..., 0] > 0).float().mean(1)
    expected = latent.probabilities(y)[:, 1].detach()
    assert (expected[0] - expected[1]).abs() > 0.2
    assert ((shares - expected).abs() < 5 * 0.5 / 3000**0.5).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: sample_posterior(NETWORK, Latent.normal(2), torch.zeros(2, 1), 0, SIZES, random()),
        lambda: sample_posterior(NETWORK, Latent.normal(3), torch.zeros(2, 1), 5, SIZES, random()),
        lambda: sample_posterior(NETWORK, Latent.normal(2), torch.zeros(2, 2), 5, SIZES, random()),
        lambda: sample_posterior(NETWORK, Latent.normal(2), torch.full((2, 1), np.nan), 5, SIZES, random()),
        lambda: sample_posterior(FixedPermutation(torch.arange(3)), Latent.normal(2), torch.zeros(2, 1), 5, SIZES, random()),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()


def test_noise_on_the_label():
    y = torch.tensor([[3.0]])
    x = sample_posterior(NETWORK, Latent.normal(2), y, 4000, SIZES, random(), label_noise=0.2)[0].numpy()
    assert stats.kstest((x[:, 1] - 3.0) / 0.2, "norm").pvalue > 1e-3
    with pytest.raises(InvalidInput, match="label_noise"):
        sample_posterior(NETWORK, Latent.normal(2), y, 3, SIZES, random(), label_noise=-1.0)
