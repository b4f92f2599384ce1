"""Exponential and logarithm against numpy's in a longer type."""

import math

import numpy as np
import pytest
from numba import njit

from lipbounds.distances.elementary_kernel import exp, log
from lipbounds.distances.pair_kernel import FLAGS


def exponentials(x):
    out = np.empty_like(x)
    for j in range(len(x)):
        out[j] = exp(x[j])
    return out


def logarithms(x):
    out = np.empty_like(x)
    for j in range(len(x)):
        out[j] = log(x[j])
    return out


# as a user would compile them, and as the discrepancy's loops are, which may reassociate what is their own
COMPILED = [
    tuple(njit(**options)(f) for f in (exponentials, logarithms)) for options in ({}, {"fastmath": FLAGS, "error_model": "numpy"})
]


def with_one_part_of_log_2(x):
    """What reassociation would make of the exponential."""
    kind = x.dtype.type
    n = np.round(x / kind(math.log(2)))
    rest = x.astype(np.longdouble) - n * np.longdouble(kind(math.log(2)))
    return np.exp(rest) * np.longdouble(2) ** n


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", COMPILED, ids=["plain", "as in the loops"])
def test_errors_are_below_what_is_said(kind, compiled):
    exp_of, log_of = compiled
    rng, info = np.random.default_rng(0), np.finfo(kind)
    low, high = (info.minexp + 0.6) * math.log(2), (info.maxexp - 1.1) * math.log(2)
    x = np.concatenate((rng.uniform(low, high, 100_000), rng.uniform(-2, 2, 100_000))).astype(kind)
    truth = np.exp(x.astype(np.longdouble))
    assert np.abs(exp_of(x) / truth - 1).max() < info.eps
    assert np.abs(with_one_part_of_log_2(x) / truth - 1).max() > info.eps
    positive = np.concatenate((np.exp(x), rng.uniform(0.4, 2.5, 100_000).astype(kind)))
    truth = np.log(positive.astype(np.longdouble))
    assert (np.abs(log_of(positive) - truth) <= 2 * info.eps * np.abs(truth)).all()
    assert exp_of(x).dtype == log_of(positive).dtype == kind


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", COMPILED, ids=["plain", "as in the loops"])
def test_ends_of_the_range(kind, compiled):
    exp_of, log_of = compiled
    info = np.finfo(kind)
    nan = np.array([math.nan], kind)
    payload = (nan.view(f"u{nan.itemsize}") | 1).view(kind)
    found = exp_of(np.concatenate((np.array([0, -math.inf, -info.max, math.inf, info.max], kind), nan, payload)))
    np.testing.assert_array_equal(found, [1, 0, 0, math.inf, math.inf, math.nan, math.nan])
    ends = np.array([1, info.max, info.tiny, info.smallest_subnormal], kind)
    np.testing.assert_allclose(log_of(ends), np.log(ends.astype(np.longdouble)).astype(kind), rtol=2 * info.eps)
    for exponents, limit in ((np.linspace(-60, 0.4, 1000), 0.0), (np.linspace(-0.9, 60, 1000), math.inf)):
        start = info.minexp if limit == 0 else info.maxexp
        np.testing.assert_array_equal(exp_of(((start + exponents) * math.log(2)).astype(kind)), limit)
