"""Quantiles of the Jacobian's norm: order statistics against exact binomial sums, coverage, and laws with known quantiles."""

from fractions import Fraction
from math import comb, inf

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import standard_normal
from lipbounds.search import steepness
from lipbounds.search.steepness import _ends


def at_most(k, n, share):
    """P(Bin(n, share) <= k) in fractions."""
    return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize("n", [1, 5, 59, 200])
@pytest.mark.parametrize("share", [Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)])
@pytest.mark.parametrize("alpha", [Fraction(1, 20), Fraction(1, 1000)])
def test_ends_are_the_nearest_order_statistics_that_hold(n, share, alpha):
    norms = np.arange(1.0, n + 1)  # the k-th smallest is k
    lower, upper = _ends(norms, float(share), float(alpha), from_below=False)
    k = int(lower)
    # fewer than k draws at or below the quantile: at most alpha, and more than alpha for the next one
    assert k == 0 or at_most(k - 1, n, share) <= alpha
    assert k == n or at_most(k, n, share) > alpha
    if upper == inf:
        assert 1 - at_most(n - 1, n, share) > alpha
    else:
        j = int(upper)
        assert 1 - at_most(j - 1, n, share) <= alpha
        assert j == 1 or 1 - at_most(j - 2, n, share) > alpha


def test_norms_from_below_bound_nothing_from_above():
    assert _ends(np.arange(1.0, 101), 0.5, 0.05, from_below=True)[1] == inf
    many = steepness(lambda z: 2.0 * z, standard_normal(30), draws=200)
    assert [one.upper for one in many.quantiles] == [inf] * 3
    assert all("floating point" in one.assumptions[0] for one in many.quantiles)
    assert many.quantiles[0].lower == pytest.approx(2.0, rel=1e-6)


def test_quantiles_of_a_known_law_are_covered():
    # |f'| = 2 |z|: its q-quantile is 2 Phi^{-1}((1 + q) / 2); all three ends in 95 of 100 runs, at alpha = 0.2 in 80
    truth = [2 * norm.ppf(0.5 + q / 2) for q in (0.5, 0.9, 0.99)]
    held = 0
    for seed in range(60):
        found = steepness(lambda z: z**2, standard_normal(1), draws=400, shares=(0.5, 0.9, 0.99), alpha=0.2, seed=seed)
        assert {one.guarantee for one in found.quantiles} == {Guarantee.CONFIDENCE}
        held += all(one.lower <= value <= one.upper for one, value in zip(found.quantiles, truth, strict=True))
    # at least 0.8 each; fewer than 38 of 60 have probability 1e-3 then, and ends far too wide would hold in all
    assert held >= 38
    assert found.quantiles[0].upper - found.quantiles[0].lower < 0.5


def test_all_ends_share_one_error_probability():
    draws, shares = 300, (0.5, 0.9, 0.99)
    found = steepness(lambda z: z**2, standard_normal(1), draws=draws, shares=shares, alpha=0.06, seed=5)
    norms = np.sort(2 * np.abs(standard_normal(1).sample(draws, np.random.default_rng(5))[:, 0]))
    for share, one in zip((Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)), found.quantiles, strict=True):
        # six ends, 0.01 each
        below = max(k for k in range(draws + 1) if k == 0 or at_most(k - 1, draws, share) <= Fraction(1, 100))
        assert one.lower == pytest.approx(norms[below - 1], rel=1e-12)


def test_the_largest_draw_is_no_quantile():
    found = steepness(lambda z: torch.exp(z), standard_normal(1), draws=100, shares=(0.9999,))
    assert (found.quantiles[0].upper, found.draws) == (inf, 100)
    assert found.quantiles[0].lower <= found.largest


@pytest.mark.parametrize("options", [{"shares": ()}, {"shares": (1.0,)}, {"alpha": 0.0}, {"draws": 0}])
def test_bad_arguments(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        steepness(lambda z: z, standard_normal(1), **options)
