r"""Corollary 1: the inverse must be steep.

*Printed.* $\mathrm{Lip}(T^{-1})\ge\frac{\mathrm{dist}(Q,R)}{C}(\delta+\epsilon^{n/(n+1)})^{-1/n}$ with the C of Proposition 1
(the printed 2C is not needed).

*Sharp (S2).* $\mathrm{Lip}(T^{-1};T(Q\cup R))\ge\mathrm{dist}(Q,R)/\rho^*(\epsilon)$ for every n and all masses: by S1 points of
T(Q) and T(R) come as near as $\rho^*$, and their preimages are at least dist(Q, R) apart.
"""

from __future__ import annotations

import math

from flint import arb

from lipbounds.arb import ends, working_precision
from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, derived
from lipbounds.errors import InvalidInput
from lipbounds.theorems.proposition_1 import (
    LARGEST,
    SeparatedSets,
    exponentials,
    extremal_sets,
    printed_distance,
    small_enough,
    standard_latent,
)
from lipbounds.theorems.separation import SPARE_BITS, Masses, over, separation
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Corollary1", "SharpCorollary1", "forced_as_printed", "forced_in_latent_space"]


def _positive(distance: float) -> None:
    if not 0.0 < distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number > 0", "choose sets that do not touch")


def forced_as_printed(dim: int, distance: float, delta: float, epsilon: float | Enclosure) -> Enclosure:
    """Bound Lip(T^{-1}) from below as Corollary 1 prints it, with the explicit constant C.

    Args:
        dim: Latent dimension n.
        distance: dist(Q, R) > 0.
        delta: 1 - 2 min(mu(Q), mu(R)), below 1/4.
        epsilon: W_1(T#mu, N(0, I_n)), a number or an enclosure, upper end below 1/4; only this end is used.

    Returns:
        [bound, inf) with the guarantee of epsilon.

    Source:
        Hagemann and Neumayer (2022), Corollary 1.

    Example:
        >>> forced_as_printed(1, 1.0, 0.0, 1e-4).lower < 1e-6
        True
    """
    _positive(distance)
    epsilon = as_accuracy(epsilon)
    if not (0.0 <= delta < LARGEST and epsilon.upper < LARGEST):
        raise InvalidInput("delta, epsilon", (delta, epsilon.upper), "both below 1/4", "use separation, which has no limit")
    bound = printed_distance(dim, delta, epsilon.upper)
    with working_precision(SPARE_BITS):
        value = ends(arb(distance) * (-arb(bound.upper)).exp())[0] if bound.upper > -math.inf else math.inf
    return derived(value, math.inf, "Corollary 1, explicit C", bound, epsilon)


def forced_in_latent_space(distance: float, masses: Masses, epsilon: float | Enclosure) -> Enclosure:
    r"""Bound $\mathrm{Lip}(T^{-1})$ from below by dist(Q, R) / rho*(epsilon) (S2, the sharp Corollary 1), in every dimension.

    Args:
        distance: dist(Q, R) > 0.
        masses: Lower bounds of mu(Q) and mu(R), and what remains; on a domain shrunk by kappa (S7).
        epsilon: W_1(T#mu, N(0, I)), a number or an enclosure; only its upper end is used.

    Returns:
        [bound, inf) with the weaker guarantee of epsilon and the masses; infinite if epsilon and the gap are 0.

    Example:
        In one dimension at epsilon = 0 half-lines that almost touch give the constant of the monotone map:

        >>> from lipbounds.measures import GaussianMixture
        >>> x = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> masses = Masses.equal(gap=x.slab_mass([1.0], -1e-5, 1e-5))
        >>> round(forced_in_latent_space(2e-5, masses, 0.0).lower, 4)
        3.6945
    """
    _positive(distance)
    epsilon = as_accuracy(epsilon)
    width = separation(epsilon.upper, masses)
    return derived(over(distance, width)[0], math.inf, "S2, half-spaces", width, epsilon)


class Corollary1(Statement[SeparatedSets]):
    """A map to the standard normal law has a steep inverse if the data have two modes."""

    number = "Corollary 1"
    version = "printed"
    text = "dist(Q, R) / C (delta + epsilon^(n/(n+1)))^(-1/n) <= Lip(T^{-1})"

    def hypotheses(self, instance: SeparatedSets) -> list[Hypothesis]:
        """Return that epsilon and delta are small enough, below 1/4."""
        return small_enough(instance)

    def left(self, instance: SeparatedSets) -> Enclosure:
        """Return the bound, from the upper ends of epsilon and delta."""
        bound = instance.log_printed
        near, far = exponentials(bound)
        width = Enclosure(near, far, Guarantee.EXACT, "constant of the proof")
        return derived(*over(instance.distance, width), width.method, width, *instance.sources)

    def right(self, instance: SeparatedSets) -> Enclosure:
        """Return what is known of Lip(T^{-1})."""
        return instance.lipschitz

    def extremal(self) -> SeparatedSets:
        """Return the extremal instance of the sharp version: the printed bound is 1e-9 of the constant."""
        return extremal_sets()


class SharpCorollary1(Statement[SeparatedSets]):
    """S2, in every dimension and for all masses."""

    number = "S2"
    version = "sharp"
    text = "dist(Q, R) / rho*(epsilon) <= Lip(T^{-1})"

    def hypotheses(self, instance: SeparatedSets) -> list[Hypothesis]:
        """Return that the reference law is N(0, I) and both sets have mass."""
        return standard_latent(instance)

    def left(self, instance: SeparatedSets) -> Enclosure:
        """Return the bound; known exactly from the upper end of epsilon."""
        assert instance.masses is not None
        width = separation(instance.epsilon.upper, instance.masses)
        return derived(*over(instance.distance, width), width.method, width, instance.epsilon)

    def right(self, instance: SeparatedSets) -> Enclosure:
        """Return what is known of Lip(T^{-1})."""
        return instance.lipschitz

    def extremal(self) -> SeparatedSets:
        """Return an instance with both sides equal to a percent, the error of 20,000 atoms."""
        return extremal_sets()
