r"""Inequality (7): mass that sits in A under one law and in B under the other has to travel from A to B."""

from __future__ import annotations

import math
from fractions import Fraction

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.rounding import around, product, root

__all__ = ["two_sets", "wasserstein_lower_from_sets"]


def wasserstein_lower_from_sets(mass_a: float, mass_b: float, distance: float, p: float = 1.0) -> Enclosure:
    r"""Return the lower bound (7): $W_p(\mu,\nu)\ge\mathrm{dist}(A,B)\,\max\{0,\mu(A)+\nu(B)-1\}^{1/p}$, the root.

    The paper writes $\max\{\mu(A)-\nu(B^c),\ \nu(B)-\mu(A^c)\}$; both entries are $\mu(A)+\nu(B)-1$.

    Args:
        mass_a: $\mu(A)$ in [0, 1].
        mass_b: $\nu(B)$ in [0, 1].
        distance: dist(A, B) >= 0.
        p: Exponent in [1, inf).

    Returns:
        [bound, infinity), EXACT for exact arguments; lower bounds of all three give a lower bound.

    Raises:
        InvalidInput: For masses outside [0, 1], a negative distance or a bad exponent.

    Source:
        Hagemann and Neumayer (2022), inequality (7).

    Example:
        >>> round(wasserstein_lower_from_sets(0.75, 0.5, 4.0).lower, 12)
        1.0
    """
    for name, mass in (("mass_a", mass_a), ("mass_b", mass_b)):
        if not 0.0 <= mass <= 1.0:
            raise InvalidInput(name, mass, "a number in [0, 1]", "pass a probability")
    if not 0.0 <= distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number >= 0", "pass dist(A, B)")
    if not 1.0 <= p < math.inf:
        raise InvalidInput("p", p, "a number in [1, inf)", "W_1 is the usual choice")
    return Enclosure(two_sets(mass_a, mass_b, distance, p)[0], math.inf, Guarantee.EXACT, "two sets")


def two_sets(mass_a: float, mass_b: float, distance: float, p: float) -> tuple[float, float]:
    """Enclose the right-hand side of (7) for numbers that are given exactly."""
    if Fraction(mass_a) + Fraction(mass_b) <= 1 or distance == 0.0:
        return 0.0, 0.0
    ends = around(Fraction(mass_a) + Fraction(mass_b) - 1)
    return product(root(*ends, p), (distance, distance))
