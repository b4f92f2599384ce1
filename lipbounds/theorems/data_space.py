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

from scipy.optimize import brentq

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.theorems.separation import Masses, separation, separation_cost

__all__ = ["forced_by_two_sets"]


def forced_by_two_sets(distance: float, masses: Masses, epsilon: Enclosure) -> Enclosure:
    r"""Bound Lip(f) from below by two sets of the data (S4): the smallest L with $L\,E(D/L)\le\epsilon$.

    Args:
        distance: D = dist(Q, R) > 0.
        masses: Lower bounds of mu(Q) and mu(R), and what remains.
        epsilon: Enclosure of $W_1(s_\#f_\#\gamma,s_\#\mu)$; only its upper end is used.

    Returns:
        [L, inf) with the guarantee of epsilon, EXACT at the best. At epsilon = 0 it is D / rho*(0), infinite without gap.

    Example:
        Two atoms at -1 and 1 in the limit of sharp modes, at accuracy 0.02 (the paper's Example 1 at fixed accuracy):

        >>> epsilon = Enclosure(0.0, 0.02, Guarantee.EXACT, "given")
        >>> round(forced_by_two_sets(2.0, Masses.equal(gap=0.0), epsilon).lower, 2)
        19.94
    """
    if not 0.0 < distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number > 0", "choose sets that do not touch")
    value = _least(distance, masses, epsilon.upper)
    return Enclosure(value, math.inf, min(epsilon.guarantee, Guarantee.EXACT), "S4, two sets", epsilon.alpha)


def _least(distance: float, masses: Masses, epsilon: float) -> float:
    if epsilon >= distance * min(masses.a, masses.b):
        return 0.0
    if epsilon < 1e-250 * distance:
        width = separation(0.0, masses)
        return distance / width if width > 0 else math.inf

    def excess(log_l: float) -> float:
        constant = math.exp(log_l)
        return constant * separation_cost(distance / constant, masses) - epsilon

    low, high = math.log(distance), math.log(distance)
    while excess(low) < 0:
        low -= 2.0
    while excess(high) > 0:
        high += 2.0
    # E(rho) is 0 up to rho*(0), so a flat zero never has excess > 0 and the bracket is sound
    return math.exp(brentq(excess, low, high, xtol=1e-13)) if high > low else math.exp(low)
