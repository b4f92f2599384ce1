"""Exponential and logarithm against numpy's in a longer type."""

import math

import numpy as np
import pytest
from numba import njit

from lipbounds.distances.elementary import exp, log


@njit
def exponentials(x):
    return np.array([exp(value) for value in x])


@njit
def logarithms(x):
    return np.array([log(value) for value in x])


@njit
def plain_exponentials(x):  # in one step, without the second part of log 2
    return np.array([2.0 ** round(value / math.log(2)) * np.exp(value - round(value / math.log(2)) * 0.693359375) for value in x])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_errors_are_below_what_is_said(kind):
    rng, info, longer = np.random.default_rng(0), np.finfo(kind), np.longdouble if kind is np.float64 else np.float64
    low, high = (info.minexp + 1) * math.log(2), (info.maxexp - 1.1) * math.log(2)
    x = np.concatenate((rng.uniform(low, high, 100_000), rng.uniform(-2, 2, 100_000))).astype(kind)
    truth = np.exp(x.astype(longer))
    assert np.abs(exponentials(x).astype(longer) / truth - 1).max() < info.eps
    assert np.abs(plain_exponentials(x) / truth - 1).max() > info.eps  # as it must be: seen at this many points
    positive = np.concatenate((np.exp(x), rng.uniform(0.4, 2.5, 100_000).astype(kind)))
    truth = np.log(positive.astype(longer))
    assert (np.abs(logarithms(positive) - truth) <= 2 * info.eps * np.abs(truth)).all()
    assert exponentials(x).dtype == logarithms(positive).dtype == kind


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ends_of_the_range(kind):
    info = np.finfo(kind)
    found = exponentials(np.array([0, -math.inf, -info.max, math.inf, info.max, math.nan], kind))
    np.testing.assert_array_equal(found, [1, 0, 0, math.inf, math.inf, math.nan])
    ends = np.array([1, info.max, info.tiny, info.smallest_subnormal], kind)
    np.testing.assert_allclose(logarithms(ends), np.log(ends.astype(np.longdouble)).astype(kind), rtol=2 * info.eps)
    near = exponentials(np.linspace((info.minexp - 60) * math.log(2), info.minexp * math.log(2), 1000, dtype=kind))
    assert (near <= 2 * info.tiny).all()
    assert (near >= 0).all()
