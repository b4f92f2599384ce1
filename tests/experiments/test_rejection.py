"""Algorithm 3 on problems whose posterior is known, its cost, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from experiments.rejection import approximate_bayesian_computation
from lipbounds.errors import InvalidInput, NotConverged


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n, generator):
    return torch.randn(n, 2, generator=generator, dtype=torch.float64)


def total(x):
    return x.sum(1, keepdim=True)


def test_a_linear_problem():
    # x ~ N(0, I), y = x_1 + x_2: given y the difference is N(0, 2), the sum uniform on the interval but for the prior's slope
    found = approximate_bayesian_computation(
        normal, total, torch.tensor([1.0]), 4000, threshold=1e-2, generator=random(), batch=100_000
    )
    x = found.samples
    assert x.shape == (4000, 2)
    assert ((x.sum(1) - 1) ** 2 < 1e-2).all()
    assert stats.kstest((x[:, 0] - x[:, 1]).numpy(), "norm", args=(0, 2**0.5)).pvalue > 1e-3
    # negative control: twice the distance is another law; with a wide threshold the sum follows the prior
    assert stats.kstest((2 * (x[:, 0] - x[:, 1])).numpy(), "norm", args=(0, 2**0.5)).pvalue < 1e-6
    mass = stats.norm.cdf(1.1, scale=2**0.5) - stats.norm.cdf(0.9, scale=2**0.5)
    assert found.rate == pytest.approx(mass, rel=5 / 4000**0.5)
    assert found.draws == round(4000 / found.rate)
    wide = approximate_bayesian_computation(normal, total, torch.tensor([1.0]), 4000, threshold=4.0, generator=random())
    spread = stats.truncnorm((1 - 3) / 2**0.5, 2 / 2**0.5, scale=2**0.5)
    sums = wide.samples.sum(1).numpy()
    assert stats.kstest(sums, stats.truncnorm(-1 / 2**0.5, 3 / 2**0.5, scale=2**0.5).cdf).pvalue > 1e-3
    assert stats.kstest(sums, spread.cdf).pvalue < 1e-6


def test_batches_do_not_matter_to_the_cost():
    draws = [
        approximate_bayesian_computation(
            normal, total, torch.tensor([0.0]), 300, threshold=1e-2, generator=random(1), batch=batch
        ).draws
        for batch in (1000, 100_000)
    ]
    assert np.abs(np.diff(np.log(draws))) < 0.3  # 300 hits each: a standard error of 0.08


def test_the_budget_ends_it():
    with pytest.raises(NotConverged, match="0 of 5 samples after 2500 draws"):
        approximate_bayesian_computation(
            normal, total, torch.tensor([50.0]), 5, threshold=1e-2, generator=random(), batch=1000, budget=2500
        )


@pytest.mark.parametrize(
    "change",
    [
        {"y": torch.zeros(2, 1)},
        {"y": torch.tensor([math.nan])},
        {"y": torch.zeros(2)},
        {"n": 0},
        {"threshold": 0.0},
        {"threshold": math.inf},
        {"batch": 0},
        {"forward": lambda x: x.sum(1)},
    ],
)
def test_bad_input(change):
    arguments = {"prior": normal, "forward": total, "y": torch.tensor([0.0]), "n": 5, "threshold": 1.0, "generator": random()}
    with pytest.raises(InvalidInput):
        approximate_bayesian_computation(**(arguments | change))
