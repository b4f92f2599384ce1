"""Diagnostics of samplers of a posterior, against exact posteriors and against samplers that are wrong in a known way."""

import numpy as np
import pytest

from lipbounds.diagnosis import nearness, rank_calibration, resimulation, strays
from lipbounds.distances import InverseMultiquadric, discrepancy, wasserstein
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput


def sampled(rng, pairs, shift=0.0, scale=1.0):
    """X, Y with X given Y = y normal about y / 2 of deviation 1/sqrt 2, and samples of that, or of a wrong one."""
    x = rng.standard_normal((pairs, 2))
    y = x + rng.standard_normal((pairs, 2))
    drawn = y[:, None] / 2 + shift + scale * 0.5**0.5 * rng.standard_normal((pairs, 200, 2))
    return drawn, x


def test_ranks_of_an_exact_sampler_are_uniform():
    rng = np.random.default_rng(0)
    # the limit is exceeded in 5% of runs for each coordinate: at most 1 - 0.95^2 of runs, 20 of 200 with room of 2.2 deviations
    beyond = sum(error > limit for error, limit in (rank_calibration(*sampled(rng, 100)) for _ in range(200)))
    assert beyond <= 200 * (1 - 0.95**2) + 2.5 * (200 * 0.0975 * 0.9025) ** 0.5
    for wrong in ({"shift": 0.5}, {"scale": 2.0}, {"scale": 0.4}):
        error, limit = rank_calibration(*sampled(rng, 400, **wrong))
        assert error > limit


def test_ranks_by_hand():
    # ranks 0, 1/2 and 1 of three pairs: the distribution function jumps at these, the largest gap is 1/3
    samples = np.array([[[1.0], [2.0]], [[0.0], [2.0]], [[-2.0], [-1.0]]])
    error, limit = rank_calibration(samples, np.array([[0.5], [1.0], [0.0]]))
    assert error == pytest.approx(1 / 3)
    assert limit == pytest.approx(1.36 / 3**0.5)
    for bad in (np.zeros((3, 2)), np.zeros((2, 1)), np.zeros(3)):
        with pytest.raises(InvalidInput, match="samples, truth"):
            rank_calibration(samples, bad)


def test_resimulation_by_hand():
    # squared errors 0 and 4 for 99 points and one: the worst hundredth is the one
    samples = np.zeros((100, 1))
    samples[0] = 2.0
    result = resimulation(samples, lambda x: x, [0.0])
    assert (result.mean, result.tail) == (0.04, 1.0)
    assert resimulation(np.ones((200, 1)), lambda x: 2 * x, [0.0]) == (4.0, 2 / 200)
    assert resimulation(np.zeros((5, 1)), lambda x: x, [0.0]) == (0.0, 0.0)


def test_strays_by_hand():
    result = strays([[0.0], [0.5], [1.0], [9.0], [10.0], [4.0], [5.0], [6.0]], [[0.0], [10.0], [20.0]], 1.0)
    assert result.share == 3 / 8
    np.testing.assert_array_equal(result.shares, [3 / 8, 2 / 8, 0.0])
    assert result.covered == 2
    # a quarter of an equal share is just enough
    assert strays([[0.0]] * 11 + [[10.0]], [[0.0], [10.0], [20.0]], 1.0).covered == 2
    assert strays([[0.0]] * 12 + [[10.0]], [[0.0], [10.0], [20.0]], 1.0).covered == 1


@pytest.mark.parametrize("kernel", [None, InverseMultiquadric()])
def test_nearness_is_the_distance_beside_its_floor(kernel):
    rng = np.random.default_rng(1)
    samples, reference, again = rng.standard_normal((3, 300, 2))
    right, wrong = nearness(samples, reference, again, kernel), nearness(samples + 1.0, reference, again, kernel)
    plain = wasserstein(again, reference).upper if kernel is None else float(discrepancy(again, reference, kernel, squared=False))
    assert right.floor.upper == wrong.floor.upper == plain
    assert right.value.upper < 2 * plain < wrong.value.upper
    assert right.value.guarantee is Guarantee.ESTIMATE
