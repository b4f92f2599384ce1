"""The robot arm: equation (14), the exact posterior against rejection and against what it must satisfy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from experiments import arm
from experiments.arm import exact_posterior, forward, prior
from experiments.rejection import approximate_bayesian_computation
from lipbounds.errors import InvalidInput

Y = torch.tensor([0.3, 1.4])


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_equation_14():
    for row in prior(5, random()).double():
        h, a, b, c = (float(entry) for entry in row)
        y_1 = h + 0.5 * math.sin(a) + 0.5 * math.sin(b - a) + 1.0 * math.sin(c - b - a)
        y_2 = 0.5 * math.cos(a) + 0.5 * math.cos(b - a) + 1.0 * math.cos(c - b - a)
        np.testing.assert_allclose(forward(row[None])[0], [y_1, y_2], rtol=1e-14)
    x = prior(40_000, random(1))
    np.testing.assert_allclose(x[:, 1:].std(0), 0.5, rtol=0.02)
    np.testing.assert_allclose((x[:, 0].abs() - 1).std(), 0.125, rtol=0.03)


def test_exact_draws_end_at_y():
    for y in (Y, torch.tensor([0.0, 1.5]), torch.tensor([-1.2, 0.4]), torch.tensor([0.9, 1.97])):
        x = exact_posterior(y, 500, random(), batch=20_000)
        assert (forward(x) - y.double()).abs().max() < 1e-12
        assert torch.isfinite(x).all()


def test_exact_draws_have_the_law_of_rejection():
    exact = exact_posterior(Y, 4000, random(1), batch=50_000)
    near = approximate_bayesian_computation(prior, forward, Y, 1200, threshold=1e-3, generator=random(2)).samples
    for column in range(4):
        assert stats.ks_2samp(exact[:, column], near[:, column]).pvalue > 1e-3
    for pair in ((0, 1), (1, 2), (2, 3)):  # joint, not only marginal
        statistic = [part[:, pair[0]] * part[:, pair[1]] for part in (exact, near)]
        assert stats.ks_2samp(*statistic).pvalue > 1e-3


def test_wrong_weights_would_be_seen(monkeypatch):
    # negative control: angles of deviation 0.8 instead of 0.5
    near = approximate_bayesian_computation(prior, forward, Y, 1200, threshold=1e-3, generator=random(2)).samples
    monkeypatch.setattr(arm, "ANGLE_SCALE", 0.8)
    wrong = exact_posterior(Y, 4000, random(1), batch=50_000)
    assert min(stats.ks_2samp(wrong[:, column], near[:, column]).pvalue for column in range(4)) < 1e-4


@pytest.mark.parametrize("y", [[0.0, 2.0], [0.0, 0.0], [0.0, math.nan], [1.0]])
def test_unreachable_positions_are_refused(y):
    with pytest.raises(InvalidInput):
        exact_posterior(torch.tensor(y), 10, random())
