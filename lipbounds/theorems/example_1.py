r"""Example 1: two modes that get sharper, $X_\sigma\sim\frac12N(-1,\sigma^2)+\frac12N(1,\sigma^2)$."""

from __future__ import annotations

import math

from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

__all__ = ["exact_lipschitz", "two_modes"]


def two_modes(sigma: float) -> GaussianMixture:
    """Return the law of X_sigma on the line.

    Source:
        Hagemann and Neumayer (2022), Example 1.
    """
    _check(sigma)
    return GaussianMixture([[-1.0], [1.0]], [[[sigma**2]], [[sigma**2]]])


def exact_lipschitz(sigma: float) -> float:
    r"""Return $\sigma\exp(1/(2\sigma^2))$: the constant of the monotone map from N(0, 1) to X_sigma, attained at 0.

    It is the least constant of any map that pushes N(0, I_n) to X_sigma exactly; for sigma < 1 (above, the modes merge and
    the supremum lies elsewhere).

    Example:
        >>> round(exact_lipschitz(0.3), 3)
        77.601
    """
    _check(sigma)
    return sigma * math.exp(1.0 / (2.0 * sigma**2))


def _check(sigma: float) -> None:
    if not 0.0 < sigma < math.inf:
        raise InvalidInput("sigma", sigma, "a finite number > 0", "at 0 the modes are atoms and no constant is finite")
