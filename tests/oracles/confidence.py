"""Confidence bounds written out from their sources, slowly."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import binom


def clopper_pearson_lower(successes, trials, alpha):
    """The p at which k or more successes have probability alpha (Clopper and Pearson 1934)."""
    if successes == 0:
        return 0.0
    return brentq(lambda p: binom.sf(successes - 1, trials, p) - alpha, 0.0, 1.0, xtol=1e-15)


def clopper_pearson_upper(successes, trials, alpha):
    """The p at which k or fewer successes have probability alpha."""
    if successes == trials:
        return 1.0
    return brentq(lambda p: binom.cdf(successes, trials, p) - alpha, 0.0, 1.0, xtol=1e-15)


def kolmogorov_band(trials, alpha):
    """sup |F_N - F| <= this with probability 1 - alpha (Massart 1990, Corollary 1): P <= 2 exp(-2 N t^2)."""
    return math.sqrt(math.log(2.0 / alpha) / (2.0 * trials))


def empirical_bernstein(values, size, low, high, alpha):
    """Mean minus expectation, at most this with probability 1 - alpha (Maurer and Pontil 2009, Theorem 4, scaled to a range)."""
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    return math.sqrt(2.0 * variance * math.log(2.0 / alpha) / size) + (high - low) * 7.0 * math.log(2.0 / alpha) / (
        3.0 * (size - 1)
    )


def martingale_margin(sizes, constants, alpha):
    """W_1 of samples minus its mean, at most this with probability 1 - alpha (Boucheron, Lugosi, Massart 2013, Theorem 6.2)."""
    return math.sqrt(2.0 * math.log(1.0 / alpha) * sum(sigma**2 / n for n, sigma in zip(sizes, constants, strict=True)))
