"""`forced_lipschitz` against exact values, its confidence by simulation, and geometry that a projection does not see."""

import math

import numpy as np
import pytest
import torch

from lipbounds import forced_lipschitz
from lipbounds.distances.statistics import DistanceDifference, Projection
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.theorems import Masses, exact_lipschitz, forced_by_frontier, least_stretch, two_modes, two_modes_in_plane


def exact(law, epsilon):
    return forced_by_frontier(law, Enclosure(0.0, epsilon, Guarantee.EXACT, "given")).lower


@pytest.mark.parametrize(("sigma", "epsilon", "share"), [(0.3, 0.02, 0.45), (0.2, 0.005, 0.4), (0.1, 0.02, 0.6)])
def test_below_the_exact_value_and_near_it(sigma, epsilon, share):
    # the least constant in the plane is that on the line: the second coordinate of the generator is the identity
    x = two_modes_in_plane(sigma).sample(10_000, np.random.default_rng(0))
    truth = exact(two_modes(sigma), epsilon)
    forced = forced_lipschitz(x, epsilon, seed=0)
    assert share * truth < forced.lower < truth
    assert (forced.guarantee, forced.alpha) == (Guarantee.CONFIDENCE, 0.05)
    direction = forced.statistic.direction / np.linalg.norm(forced.statistic.direction)
    assert abs(direction[0]) > 0.99


def test_at_accuracy_zero():
    x = two_modes(0.5).sample(20_000, np.random.default_rng(0))
    assert 1.5 < forced_lipschitz(x, 0.0, seed=0).lower < exact_lipschitz(0.5)


def test_of_the_sample_itself_it_is_its_frontier():
    x = two_modes(0.2).sample(3000, np.random.default_rng(0))
    forced = forced_lipschitz(x, 0.02, alpha=None, seed=0)
    assert forced.guarantee is Guarantee.EXACT  # that of epsilon
    assert forced.lower == pytest.approx(exact(Discrete(x), 0.02), rel=0.02)
    # two atoms: the limit 0.3989 / epsilon, and infinity where they are to be met exactly
    atoms = np.repeat([[-1.0, 0.0], [1.0, 0.0]], 50, axis=0)
    assert forced_lipschitz(atoms, 0.01, alpha=None, seed=0).lower == pytest.approx(0.39894 / 0.01, rel=0.01)
    assert forced_lipschitz(atoms, 0.0, alpha=None, seed=0).lower == math.inf


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_coverage(epsilon):
    # a law without tear, where the exact value is small: choosing thresholds on the sample that tests them would overshoot
    law, runs = two_modes(0.6), 30
    truth = exact(law, epsilon) if epsilon else exact_lipschitz(0.6)
    bounds, careless = [], []
    for seed in range(runs):
        x = law.sample(300, np.random.default_rng(seed))
        bounds.append(forced_lipschitz(x, epsilon, alpha=0.2, seed=seed, clusters=2).lower)
        careless.append(forced_lipschitz(x, epsilon, alpha=None, seed=seed, clusters=2).lower)
    # 30 runs at 20 percent: more than 12 misses have probability below 1 percent
    assert sum(bound > truth for bound in bounds) <= 12
    assert 0 < np.median(bounds) < truth
    # negative control: the sample's own law is another law, and its bound is above the truth as a rule
    assert sum(bound > truth for bound in careless) > runs / 2


def test_a_blob_in_a_shell_needs_a_distance():
    rng = np.random.default_rng(0)
    shell = rng.standard_normal((4000, 2))
    shell *= (3.0 + 0.05 * rng.standard_normal((4000, 1))) / np.linalg.norm(shell, axis=1, keepdims=True)
    x = np.concatenate((shell, 0.1 * rng.standard_normal((4000, 2))))
    forced = forced_lipschitz(x, 0.02, seed=0)
    assert isinstance(forced.statistic, DistanceDifference)
    assert forced.lower > 20.0
    assert forced.thresholds[0] < forced.thresholds[1]
    assert forced.masses.gap < 0.01


def test_eight_modes_on_a_circle():
    rng = np.random.default_rng(0)
    angles = 2 * np.pi * rng.integers(0, 8, 8000) / 8
    x = 2 * np.stack((np.cos(angles), np.sin(angles)), 1) + 0.05 * rng.standard_normal((8000, 2))
    forced = forced_lipschitz(x, 0.02, seed=0, clusters=8)
    assert forced.lower > 4.0
    assert str(forced.statistic) in forced.method


def test_statistics_are_1_lipschitz():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5000, 3))
    for statistic in (
        Projection(np.array([1.0, 2.0, -5.0])),
        DistanceDifference(rng.standard_normal((2, 3)), rng.standard_normal((3, 3))),
        DistanceDifference(rng.standard_normal((2, 3)), np.empty((0, 3))),
    ):
        assert (np.abs(statistic(a) - statistic(b)) <= np.linalg.norm(a - b, axis=1) * (1 + 1e-12)).all()


@pytest.mark.parametrize(("offset", "gap"), [(1.5e8, 1e-7), (1e6, 1e-6), (1e3, 1e-3), (0.0, 1.0)])
def test_rounding_far_from_the_origin_is_charged(offset, gap):
    # two atoms whose distance is a few ulps of their size: the ramp between them attains the bound, so none may be larger
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = offset * (1 + rng.random(2))
        x = np.repeat(np.stack((p, p + gap * rng.standard_normal(2))), 15, axis=0)
        distance = float(np.linalg.norm(x[0] - x[-1]))
        if distance == 0.0:
            continue
        truth = least_stretch(distance * (1 + 1e-15), Masses.equal(0.0), 0.01 * distance).upper
        assert forced_lipschitz(x, 0.01 * distance, alpha=None, seed=seed, clusters=2).lower <= truth


@pytest.mark.parametrize("scale", [1e-250, 1e150, 1e250])
def test_extreme_scales(scale):
    x = np.random.default_rng(0).standard_normal((40, 2)) + np.repeat([[-4.0, 0.0], [4.0, 0.0]], 20, axis=0)
    plain = forced_lipschitz(x, 0.1, alpha=None, seed=0)
    scaled = forced_lipschitz(x * scale, 0.1 * scale, alpha=None, seed=0)
    assert scaled.lower == pytest.approx(scale * plain.lower, rel=1e-6)
    with pytest.raises(InvalidInput, match="extent"):
        forced_lipschitz(x * 1e306, 0.1, seed=0)


def test_thresholds_are_in_the_units_of_the_data():
    x = 100.0 + 10.0 * two_modes_in_plane(0.1).sample(4000, np.random.default_rng(0))
    forced = forced_lipschitz(x, 0.2, seed=0)
    values = forced.statistic(x)
    between = ((values > forced.thresholds[0]) & (values < forced.thresholds[1])).mean()
    assert between < 0.01
    assert 0.4 < (values <= forced.thresholds[0]).mean() < 0.6


def test_tensors_seeds_and_scales():
    x = two_modes_in_plane(0.2).sample(2000, np.random.default_rng(0))
    forced = forced_lipschitz(torch.as_tensor(x), 0.02, seed=3)
    assert forced_lipschitz(x, 0.02, seed=3).lower == forced.lower
    assert forced_lipschitz(1e6 * x, 2e4, seed=3).lower == pytest.approx(1e6 * forced.lower, rel=1e-6)


def test_constant_data_force_nothing():
    assert forced_lipschitz(np.ones((50, 2)), 0.1, seed=0).lower == 0.0
    assert forced_lipschitz(np.ones((50, 1)), 0.1, alpha=None, seed=0).lower == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"samples": np.zeros((10, 2))},
        {"samples": np.full((30, 2), np.nan)},
        {"samples": np.zeros(30)},
        {"epsilon": -0.1},
        {"epsilon": math.nan},
        {"alpha": 1.0},
        {"clusters": 1},
    ],
)
def test_bad_input(change):
    arguments = {"samples": np.random.default_rng(0).standard_normal((30, 2)), "epsilon": 0.1, "seed": 0} | change
    with pytest.raises(InvalidInput):
        forced_lipschitz(**arguments)
