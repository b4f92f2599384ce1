r"""Corollary 1: the inverse must be steep. As printed, and in its sharp form S2.

Printed: $\mathrm{Lip}(T^{-1})\ge\frac{\mathrm{dist}(Q,R)}{C}(\delta+\epsilon^{n/(n+1)})^{-1/n}$ with the C of Proposition 1 (the
printed 2C is not needed). Sharp, for every n and all masses:
$\mathrm{Lip}(T^{-1};T(Q\cup R))\ge\mathrm{dist}(Q,R)/\rho^*(\epsilon)$.

On a latent domain K (S7): with $\kappa=(T_\#\mu)(K^c)$, both hold for T(Q) and T(R) cut by K, with masses smaller by kappa.

Proof of the sharp form. Let A = T(Q), B = T(R), rho = dist(A, B) > 0 and s = min(dist(., A), rho), which is 1-Lipschitz, 0 on
A and rho on B. Pushing forward by s contracts W_1, so epsilon is at least the integral over [0, rho] of |G - H|, where H, the
distribution function of s under T#mu, lies in [a, 1 - b], and G that under the normal law. The isoperimetric inequality
gives $m=\Phi^{-1}\circ G$, m(t') - m(t) >= t' - t, and |G - H| >= h(m), so epsilon >= E(rho), that is rho <= rho*(epsilon); the
points of A and B that are rho apart have preimages at least dist(Q, R) apart.
"""

from __future__ import annotations

import math

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.theorems.proposition_1 import SeparatedSets, in_terms_of, log_distance_bound, small_enough
from lipbounds.theorems.separation import Masses, separation
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Corollary1", "forced_as_printed", "forced_in_latent_space"]


def _positive(distance: float) -> None:
    if not 0.0 < distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number > 0", "choose sets that do not touch")


def forced_as_printed(dim: int, distance: float, delta: float, epsilon: Enclosure) -> Enclosure:
    """Bound Lip(T^{-1}) from below as Corollary 1 prints it, with the explicit constant C.

    Args:
        dim: Latent dimension n.
        distance: dist(Q, R) > 0.
        delta: 1 - 2 min(mu(Q), mu(R)), below 1/4.
        epsilon: Enclosure of W_1(T#mu, N(0, I_n)), upper end below 1/4; only this end is used.

    Returns:
        [bound, inf) with the guarantee of epsilon.

    Source:
        Hagemann and Neumayer (2022), Corollary 1.

    Example:
        >>> forced_as_printed(1, 1.0, 0.0, Enclosure(0.0, 1e-4, Guarantee.EXACT, "given")).lower < 1e-6
        True
    """
    _positive(distance)
    if not (0.0 <= delta < 0.25 and epsilon.upper < 0.25):
        raise InvalidInput("delta, epsilon", (delta, epsilon.upper), "both below 1/4", "use separation, which has no limit")
    value = math.exp(math.log(distance) - log_distance_bound(dim, delta, epsilon.upper))
    return Enclosure(value, math.inf, min(epsilon.guarantee, Guarantee.EXACT), "Corollary 1, explicit C", epsilon.alpha)


def forced_in_latent_space(distance: float, masses: Masses, epsilon: Enclosure) -> Enclosure:
    r"""Bound $\mathrm{Lip}(T^{-1})$ from below by dist(Q, R) / rho*(epsilon) (S2, the sharp Corollary 1), in every dimension.

    Args:
        distance: dist(Q, R) > 0.
        masses: Lower bounds of mu(Q) and mu(R), and what remains; on a domain shrunk by kappa (S7).
        epsilon: Enclosure of W_1(T#mu, N(0, I)); only its upper end is used.

    Returns:
        [bound, inf) with the guarantee of epsilon; infinite if epsilon and the gap are 0.

    Example:
        In one dimension at epsilon = 0 half-lines that almost touch give the constant of the monotone map:

        >>> from lipbounds.measures import GaussianMixture
        >>> x = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> masses = Masses.equal(gap=x.slab_mass([1.0], -1e-5, 1e-5))
        >>> round(forced_in_latent_space(2e-5, masses, Enclosure(0.0, 0.0, Guarantee.EXACT, "given")).lower, 4)
        3.6945
    """
    _positive(distance)
    width = separation(epsilon.upper, masses) if epsilon.upper < math.inf else math.inf
    value = distance / width if width > 0 else math.inf
    return Enclosure(value, math.inf, min(epsilon.guarantee, Guarantee.EXACT), "S2, half-spaces", epsilon.alpha)


class Corollary1(Statement[SeparatedSets]):
    """A map to the standard normal law has a steep inverse if the data have two modes."""

    number = "Corollary 1"
    text = "dist(Q, R) / C (delta + epsilon^(n/(n+1)))^(-1/n) <= Lip(T^{-1})"

    def hypotheses(self, instance: SeparatedSets) -> list[Hypothesis]:
        """Return that epsilon and delta are small enough, below 1/4."""
        return small_enough(instance)

    def left(self, instance: SeparatedSets) -> Enclosure:
        """Return the bound, with the upper ends of epsilon and delta."""
        bound = forced_as_printed(instance.dim, instance.distance, instance.delta.upper, instance.epsilon)
        return in_terms_of(instance, bound.lower, bound.method)

    def right(self, instance: SeparatedSets) -> Enclosure:
        """Return what is known of Lip(T^{-1})."""
        return instance.lipschitz
