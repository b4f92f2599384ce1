r"""Inequality (7): $W_p^p(\mu,\nu)\ge\mathrm{dist}(A,B)^p\max\{\mu(A)-\nu(B^c),\ \nu(B)-\mu(A^c)\}$ for all sets A and B.

Proof. A coupling $\pi$ has $\pi(A\times B)\ge\mu(A)-\pi(A\times B^c)\ge\mu(A)-\nu(B^c)$, and on $A\times B$ the distance is at
least dist(A, B). Both entries of the maximum are equal, to $\mu(A)+\nu(B)-1$. Equality: $\mu=\delta_a$, $\nu=\delta_b$, A = {a},
B = {b}; or any masses with the rest of both laws at one common point.
"""

from __future__ import annotations

from dataclasses import dataclass

from lipbounds.distances.two_sets import two_sets
from lipbounds.enclosure import Enclosure, Guarantee, derived
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Inequality7", "TwoSets", "entries"]


@dataclass(frozen=True)
class TwoSets:
    """An instance of inequality (7): two laws and two sets.

    Attributes:
        p: Exponent in [1, inf).
        mass_a: Enclosure of mu(A), in [0, 1].
        mass_b: Enclosure of nu(B), in [0, 1].
        distance: Enclosure of dist(A, B).
        wasserstein: Enclosure of W_p(mu, nu), the root.
    """

    p: float
    mass_a: Enclosure
    mass_b: Enclosure
    distance: Enclosure
    wasserstein: Enclosure


def entries(mass_a: float, mass_b: float) -> tuple[float, float]:
    """Return both entries of the printed maximum, mu(A) - nu(B^c) and nu(B) - mu(A^c); works for fractions."""
    return mass_a - (1 - mass_b), mass_b - (1 - mass_a)


class Inequality7(Statement[TwoSets]):
    """Two sets bound the Wasserstein distance from below."""

    number = "(7)"
    version = "printed"
    text = "dist(A, B) max{mu(A) - nu(B^c), nu(B) - mu(A^c)}^(1/p) <= W_p(mu, nu)"

    def hypotheses(self, instance: TwoSets) -> list[Hypothesis]:
        """Return that p is an exponent; the sets are arbitrary."""
        return [Hypothesis(f"p = {instance.p:.4g} in [1, inf)", 1.0 <= instance.p < float("inf"))]

    def left(self, instance: TwoSets) -> Enclosure:
        """Return the bound, increasing in both masses and in the distance."""
        parts = instance.mass_a, instance.mass_b, instance.distance
        a, b, distance = parts
        # an enclosure of a mass may pass 1 by its rounding
        lower = two_sets(min(a.lower, 1.0), min(b.lower, 1.0), distance.lower, instance.p)[0]
        upper = two_sets(min(a.upper, 1.0), min(b.upper, 1.0), distance.upper, instance.p)[1]
        return derived(lower, upper, "two sets", *parts)

    def right(self, instance: TwoSets) -> Enclosure:
        """Return what is known of W_p."""
        return instance.wasserstein

    def extremal(self) -> TwoSets:
        """Return the case of equality: a point mass at 0 and one at 3."""
        one, three = (Enclosure(value, value, Guarantee.EXACT, "point masses") for value in (1.0, 3.0))
        return TwoSets(1.0, one, one, three, three)
