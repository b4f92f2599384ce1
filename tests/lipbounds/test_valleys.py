"""Counting modes: laws without valleys are not split, modes that are there are found, and the tests have their level."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.datasets import load_digits, make_circles, make_moons

from lipbounds.diagnosis import valleys
from lipbounds.diagnosis.modes import find_modes
from lipbounds.diagnosis.valleys import _holm, _p_value, proven_groups

SEEDS = st.integers(0, 2**32 - 1)


def count(x, seed=0, **options):
    return len(np.unique(proven_groups(x, np.random.default_rng(seed), **options)))


def ring(k, n, rng, dim=2):
    angle = 2 * np.pi * rng.integers(0, k, n) / k
    x = 0.1 * rng.standard_normal((n, dim))
    x[:, 0] += 2 * np.cos(angle)
    x[:, 1] += 2 * np.sin(angle)
    return x


LOG_CONCAVE = {
    "normal, plane": lambda rng: rng.standard_normal((500, 2)),
    "normal, 50 dimensions": lambda rng: rng.standard_normal((500, 50)),
    "normal, 784 dimensions": lambda rng: rng.standard_normal((300, 784)),
    "cube": lambda rng: rng.random((500, 3)),
    "line": lambda rng: rng.random((500, 1)),
    "exponential": lambda rng: rng.exponential(size=(500, 2)),
    "narrow": lambda rng: rng.standard_normal((500, 2)) * [100.0, 1e-3],
}


@pytest.mark.parametrize("name", list(LOG_CONCAVE))
def test_a_law_without_valleys_has_one_mode(name):
    """Each is split with probability 0.05 at most, so more than 3 of 12 are with probability 0.002."""
    split = sum(count(LOG_CONCAVE[name](np.random.default_rng(seed)), seed) > 1 for seed in range(12))
    assert split <= 3


@pytest.mark.parametrize(
    ("modes", "draw"),
    [
        (8, lambda rng: ring(8, 2000, rng)),
        (8, lambda rng: ring(8, 2000, rng, 50)),
        (16, lambda rng: ring(16, 2000, rng)),
        (2, lambda rng: make_moons(2000, noise=0.1, random_state=0)[0]),
        (2, lambda rng: make_circles(2000, noise=0.05, factor=0.5, random_state=0)[0]),
        (9, lambda rng: rng.integers(0, 3, (2000, 2)) + 0.15 * rng.standard_normal((2000, 2))),
        (2, lambda rng: rng.standard_normal((500, 1)) * 0.3 + 2 * rng.integers(0, 2, (500, 1))),
    ],
)
def test_modes_that_are_there_are_found(modes, draw):
    assert count(draw(np.random.default_rng(1))) == modes


def test_digits_of_two_kinds_are_two_modes():
    """Images of 0 and 1 of scikit-learn's digits: data that nobody here made."""
    images, kinds = load_digits(return_X_y=True)
    chosen = np.isin(kinds, (0, 1))
    labels = proven_groups(images[chosen], np.random.default_rng(0))
    assert len(np.unique(labels)) == 2
    assert max(np.mean(labels == kinds[chosen]), np.mean(labels != kinds[chosen])) > 0.95


def test_units_and_rotations_do_not_matter():
    rng = np.random.default_rng(0)
    x = ring(5, 1500, rng, 4)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    assert count(x) == count(1e9 * x + 1e10) == count(1e-9 * x) == count(x @ turn) == 5


def test_few_or_equal_points_have_one_mode():
    assert count(np.zeros((500, 2))) == 1
    assert count(np.random.default_rng(0).standard_normal((30, 2))) == 1
    assert count(np.repeat(np.arange(2.0)[:, None], 300, axis=0)) in (1, 2)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_valley_must_lie_below_both_peaks(first, valley, last):
    """The larger of two binomial tests of a share of 0.85 / 1.85."""
    values = [binom.cdf(valley, valley + peak, 0.85 / 1.85) for peak in (first, last)]
    assert _p_value(first, valley, last) == pytest.approx(max(values))


def test_the_level_of_the_test_of_a_valley():
    """At the edge of the hypothesis, a valley with 0.85 of one peak and none of the other, 5% are rejected, not more."""
    rng = np.random.default_rng(0)
    n = 20_000
    valley, peak = rng.poisson(85, n), rng.poisson(100, n)
    rejected = np.mean([_p_value(p, v, 10_000) <= 0.05 for p, v in zip(peak.tolist(), valley.tolist(), strict=True)])
    assert 0.03 < rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_alpha_is_shared_and_the_parts_are_disjoint():
    seen = []
    with pytest.MonkeyPatch.context() as patch:

        def joined(mixture, proposing, testing, alpha):
            seen.append((alpha, {tuple(row) for row in proposing.tolist()}, {tuple(row) for row in testing.tolist()}))
            return np.zeros(len(mixture.means_), dtype=int)

        patch.setattr(valleys, "_joined", joined)
        count(np.random.default_rng(0).standard_normal((400, 2)), alpha=0.03)
    assert [alpha for alpha, _, _ in seen] == pytest.approx([0.01] * 3)
    for _, proposing, testing in seen:
        assert len(proposing) == 168
        assert len(testing) == 232
        assert not proposing & testing


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=6))
def test_holms_method(values):
    """By its definition: all subsets of hypotheses that are tested together by Bonferroni's method (closed testing)."""
    p = np.array(values)
    rejected = _holm(p, 0.05)
    for i in range(len(p)):
        others = [k for k in range(len(p)) if k != i]
        closed = all(
            min(p[i], *(p[list(some)] if some else [1.0])) <= 0.05 / (1 + len(some))
            for size in range(len(p))
            for some in itertools.combinations(others, size)
        )
        assert rejected[i] == closed


def test_find_modes_gives_their_means():
    modes = find_modes(ring(8, 2000, np.random.default_rng(0)), np.random.default_rng(0))
    assert len(modes.means) == 8
    np.testing.assert_allclose(np.linalg.norm(modes.means, axis=1), 2.0, atol=0.05)
    np.testing.assert_allclose(modes.widths, 0.1, rtol=0.2)
    assert modes.shares.sum() == pytest.approx(1.0)
