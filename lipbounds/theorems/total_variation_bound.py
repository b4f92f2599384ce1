r"""S5: the same in total variation, which sees no distance: sets of given mass cannot lie far apart, in every dimension.

If $\mathrm{TV}(T_\#\mu,\gamma_n)\le\tau<\min(a,b)$, then
$$\mathrm{dist}(T(Q),T(R))\le-\Phi^{-1}(\min(a,b)-\tau)-\Phi^{-1}(\max(a,b)),$$
and there is no bound for larger tau: all of one set's mass may then be moved away. In data space,
$\mathrm{TV}(f_\#\gamma_n,\mu)\le\tau$ forces $\mathrm{Lip}(f)\ge\mathrm{dist}(Q,R)$ over the right side. Pinsker's inequality
turns a Kullback-Leibler divergence into tau; from a likelihood that needs a lower bound of the entropy of the data.

Proof in docs/theory. Equality: move mass tau of gamma out of the slab next to the smaller set into it, T = id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lipbounds.arb import ends, normal_quantile, working_precision
from lipbounds.distances.gaussians import total_variation_from_kl
from lipbounds.enclosure import Enclosure, Guarantee, derived
from lipbounds.errors import InvalidInput
from lipbounds.measures import standard_normal
from lipbounds.theorems.separation import SPARE_BITS, Masses, over
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = [
    "DistantSets",
    "TotalVariationBound",
    "forced_by_kl",
    "forced_by_total_variation",
    "separation_in_total_variation",
]


def separation_in_total_variation(tau: float, masses: Masses) -> Enclosure:
    r"""Enclose the largest distance of T(Q) and T(R) at total variation tau from N(0, I); infinite for tau >= min(a, b).

    Args:
        tau: Upper bound of the total variation, in [0, 1].
        masses: Masses of the two sets and of the gap.

    Returns:
        An enclosure with the guarantee of the masses.

    Source:
        S5 (docs/theory).

    Example:
        >>> round(separation_in_total_variation(0.0, Masses.equal(0.5)).upper, 6)  # as W_1 at 0: 2 Phi^{-1}(3/4)
        1.34898
    """
    if not 0.0 <= tau <= 1.0:
        raise InvalidInput("tau", tau, "a number in [0, 1]", "total variation is half the L1 distance")
    with working_precision(SPARE_BITS + int(-3 * math.log(max(masses.gap, tau) or 1.0))):
        small, large = masses.balls()
        if not small > tau:
            return derived(math.inf, math.inf, "all of one set's mass may be elsewhere", masses.known)
        low, high = ends(-normal_quantile(small - tau) - normal_quantile(large))
    return derived(max(0.0, low), max(0.0, high), "normal quantiles, ball arithmetic", masses.known)


def forced_by_total_variation(distance: float, masses: Masses, tau: Enclosure) -> Enclosure:
    """Bound the constant of a generator, or of T^{-1}, from below at total variation tau from the data, or from N(0, I).

    Args:
        distance: dist(Q, R) > 0.
        masses: Masses of the two sets and of the gap.
        tau: Enclosure of the total variation; only its upper end is used.

    Returns:
        [bound, inf) with the weaker guarantee; 0 for tau >= min(a, b).

    Example:
        >>> tau = Enclosure(0.0, 0.01, Guarantee.EXACT, "given")
        >>> round(forced_by_total_variation(2.0, Masses.equal(0.0), tau).lower, 1)
        79.8
    """
    if not 0.0 < distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number > 0", "choose sets that do not touch")
    width = separation_in_total_variation(tau.upper, masses)
    return derived(over(distance, width)[0], math.inf, "S5, total variation", width, tau)


def forced_by_kl(distance: float, masses: Masses, kl: Enclosure) -> Enclosure:
    """Bound the constant from below at a Kullback-Leibler divergence (nats, either order): S5 with Pinsker's inequality.

    Args:
        distance: dist(Q, R) > 0.
        masses: Masses of the two sets and of the gap.
        kl: Enclosure of the divergence; only its upper end is used.

    Example:
        >>> kl = Enclosure(0.0, 0.0002, Guarantee.EXACT, "given")
        >>> round(forced_by_kl(2.0, Masses.equal(0.0), kl).lower, 1)
        79.8
    """
    known = derived(0.0, total_variation_from_kl(kl.upper).upper, "Pinsker, Bretagnolle-Huber", kl)
    return forced_by_total_variation(distance, masses, known)


@dataclass(frozen=True)
class DistantSets:
    """An instance of S5.

    Attributes:
        tau: Enclosure of TV(T#mu, N(0, I)), or of TV(f#gamma, mu).
        masses: Masses of Q and R under mu.
        distance: dist(Q, R).
        lipschitz: Enclosure of Lip(T^{-1}), or of Lip(f).
    """

    tau: Enclosure
    masses: Masses
    distance: float
    lipschitz: Enclosure


class TotalVariationBound(Statement[DistantSets]):
    """S5 as a bound of the constant."""

    number = "S5"
    version = "sharp"
    text = "dist(Q, R) / (-Phi^{-1}(min(a, b) - tau) - Phi^{-1}(max(a, b))) <= Lip(T^{-1})"

    def hypotheses(self, instance: DistantSets) -> list[Hypothesis]:
        """Return that tau is below both masses."""
        small = min(instance.masses.a, instance.masses.b)
        return [Hypothesis(f"tau = {instance.tau.upper:.4g} < min(a, b) = {small:.4g}", instance.tau.upper < small)]

    def left(self, instance: DistantSets) -> Enclosure:
        """Return the bound, from the upper end of tau."""
        width = separation_in_total_variation(instance.tau.upper, instance.masses)
        return derived(*over(instance.distance, width), width.method, width, instance.tau)

    def right(self, instance: DistantSets) -> Enclosure:
        """Return what is known of the constant."""
        return instance.lipschitz

    def extremal(self) -> DistantSets:
        """Return the case of equality: the mass of the slab 0 < t < 1/2 moved into R = {t >= 1/2}, Q = {t <= 0}, T = id."""
        return DistantSets(
            tau=standard_normal(1).slab_mass([1.0], 0.0, 0.5),
            masses=Masses.equal(0.0),
            distance=0.5,
            lipschitz=Enclosure(1.0, 1.0, Guarantee.EXACT, "identity"),
        )
