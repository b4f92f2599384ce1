r"""Example 1: two modes that get sharper, $X_\sigma\sim\frac12N(-1,\sigma^2)+\frac12N(1,\sigma^2)$."""

from __future__ import annotations

import math
import sys

import numpy as np

from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

__all__ = ["exact_lipschitz", "two_modes", "two_modes_in_plane"]

LARGEST_EXPONENT = math.log(sys.float_info.max)


def two_modes(sigma: float) -> GaussianMixture:
    """Return the law of X_sigma on the line.

    Source:
        Hagemann and Neumayer (2022), Example 1.
    """
    _check(sigma)
    return GaussianMixture([[-1.0], [1.0]], [[[sigma**2]], [[sigma**2]]])


def two_modes_in_plane(sigma: float) -> GaussianMixture:
    """Return the law of (X_sigma, N(0, 1)): Example 1 with a second coordinate, so that coupling layers apply."""
    _check(sigma)
    covariance = np.diag([sigma**2, 1.0])
    return GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], [covariance, covariance])


def exact_lipschitz(sigma: float) -> float:
    r"""Return $\sigma\exp(1/(2\sigma^2))$: the constant of the monotone map from N(0, 1) to X_sigma, attained at 0.

    It is the least constant of any map that pushes N(0, I_n) to X_sigma exactly; for sigma < 1 (above, the modes merge and
    the supremum lies elsewhere). Infinite where it exceeds the doubles, below sigma of about 0.0266.

    Example:
        >>> round(exact_lipschitz(0.3), 3)
        77.601
    """
    _check(sigma)
    exponent = math.log(sigma) + 1.0 / (2.0 * sigma**2)
    return math.exp(exponent) if exponent < LARGEST_EXPONENT else math.inf


def _check(sigma: float) -> None:
    if not 0.0 < sigma < math.inf:
        raise InvalidInput("sigma", sigma, "a finite number > 0", "at 0 the modes are atoms and no constant is finite")
