r"""S4: what any generator with a standard-normal latent must pay, from the data and the accuracy alone.

If f is L-Lipschitz, mu(Q) >= a, mu(R) >= b, D = dist(Q, R) and $W_1(s_\#f_\#\gamma_n,s_\#\mu)\le\epsilon$ for
$s=\min(\mathrm{dist}(\cdot,Q),D)$, then $L\,E(D/L)\le\epsilon$, E as in `separation`. The left side falls from
D min(a, b) to 0 as L grows, so there is a least L.

Proof. s o f is L-Lipschitz. With G(t) = gamma(s o f <= t) the isoperimetric inequality gives
$m=\Phi^{-1}\circ G$, $m(t')-m(t)\ge(t'-t)/L$, and the distribution function of s#mu lies in [a, 1 - b] on [0, D), so
$\epsilon\ge\int_0^D h(m(t))\,dt\ge L\,E(D/L)$ by substituting t = L u. No T is needed, only the data.

On a closed convex latent domain K replace f by f o proj_K, which is Lip(f; K)-Lipschitz everywhere, and measure epsilon for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, derived
from lipbounds.theorems.example_1 import ramp_error
from lipbounds.theorems.separation import Masses, least_stretch
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["DataSets", "TwoSetBound", "forced_by_two_sets"]


def forced_by_two_sets(distance: float, masses: Masses, epsilon: float | Enclosure) -> Enclosure:
    r"""Bound Lip(f) from below by two sets of the data (S4): the smallest L with $L\,E(D/L)\le\epsilon$.

    Args:
        distance: D = dist(Q, R) > 0.
        masses: Lower bounds of mu(Q) and mu(R), and what remains.
        epsilon: $W_1(s_\#f_\#\gamma,s_\#\mu)$, a number or an enclosure; only its upper end is used.

    Returns:
        [L, inf) with the weaker guarantee of epsilon and the masses. At epsilon = 0 it is D / rho*(0), infinite without gap.

    Example:
        Two atoms at -1 and 1 in the limit of sharp modes, at accuracy 0.02 (the paper's Example 1 at fixed accuracy):

        >>> round(forced_by_two_sets(2.0, Masses.equal(gap=0.0), 0.02).lower, 2)
        19.94
    """
    accuracy = as_accuracy(epsilon)
    least = least_stretch(distance, masses, accuracy)
    return derived(least.lower, math.inf, "S4, two sets", least, accuracy)


@dataclass(frozen=True)
class DataSets:
    """An instance of S4: two sets of the data and a generator f.

    Attributes:
        epsilon: Enclosure of W_1(s#f#gamma, s#mu), s = min(dist(., Q), D), or of W_1(f#gamma, mu).
        masses: Masses of Q and R under mu.
        distance: D = dist(Q, R).
        lipschitz: Enclosure of Lip(f).
    """

    epsilon: Enclosure
    masses: Masses
    distance: float
    lipschitz: Enclosure


class TwoSetBound(Statement[DataSets]):
    """S4: the least L with L E(D / L) <= epsilon bounds the constant of every generator with a standard normal latent."""

    number = "S4"
    version = "sharp"
    text = "min{L : L E(D / L) <= epsilon} <= Lip(f)"

    def hypotheses(self, instance: DataSets) -> list[Hypothesis]:
        """Return that the accuracy is finite."""
        return [Hypothesis(f"W_1 <= epsilon = {instance.epsilon.upper:.4g} finite", instance.epsilon.upper < math.inf)]

    def left(self, instance: DataSets) -> Enclosure:
        """Return the bound, from the upper end of epsilon."""
        least = least_stretch(instance.distance, instance.masses, instance.epsilon.upper)
        return derived(least.lower, least.upper, least.method, least, instance.epsilon)

    def right(self, instance: DataSets) -> Enclosure:
        """Return what is known of Lip(f)."""
        return instance.lipschitz

    def extremal(self) -> DataSets:
        """Return the case of equality: the ramp clip(10 z, -1, 1) against two atoms at -1 and 1."""
        slope, error = 10.0, ramp_error(10.0)
        return DataSets(
            # a rounding larger, so that both sides are not equal but ordered
            epsilon=Enclosure(error.lower, error.upper * (1 + 1e-12), error.guarantee, error.method),
            masses=Masses.equal(0.0),
            distance=2.0,
            lipschitz=Enclosure(slope, slope, Guarantee.EXACT, "slope of the ramp"),
        )
