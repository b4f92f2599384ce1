r"""S7: on a latent domain K, for networks that have no global Lipschitz constant.

The derivative of $x\mapsto x\,e^{s(y)}+t(y)$ grows with x, so affine coupling networks with a non-constant s have
$\mathrm{Lip}(T)=\mathrm{Lip}(T^{-1})=\infty$ (erratum E6), and every bound is compared with a constant on a named domain.

*In latent space.* With $\kappa=(T_\#\mu)(K^c)<\min(a,b)$, S1 and S2 hold for T(Q) and T(R) cut by K, with masses smaller by
kappa, or with the measured masses of $Q\cap T^{-1}K$ and $R\cap T^{-1}K$: they are S1 and S2 for these sets.

*In data space.* For a closed convex K the projection onto K is 1-Lipschitz, so $f\circ\mathrm{proj}_K$ is Lip(f; K)-Lipschitz on
all of $\mathbb{R}^n$: apply S4 and S6 to it, with the accuracy and the samples of $f\circ\mathrm{proj}_K$ and no correction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import standard_normal
from lipbounds.theorems.proposition_1 import SeparatedSets, SharpProposition1
from lipbounds.theorems.separation import SMALLEST_MASS, Masses
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["RestrictedProposition1", "RestrictedSets", "restricted"]


@dataclass(frozen=True)
class RestrictedSets:
    """An instance of S7.

    Attributes:
        whole: The instance with the masses of the whole sets; its image distance and constant are those of the parts in K.
        kappa: Enclosure of (T#mu)(K^c).
    """

    whole: SeparatedSets
    kappa: Enclosure


def restricted(instance: SeparatedSets, kappa: Enclosure) -> SeparatedSets:
    """Return the instance cut to a latent domain that T#mu leaves with probability kappa.

    The image distance and the constant of the instance must be those of the parts inside.

    Args:
        instance: With the masses of the whole sets.
        kappa: Enclosure of (T#mu)(K^c).

    Returns:
        The instance with smaller masses; without any if kappa may be all of a set.
    """
    if instance.masses is None or min(instance.masses.a, instance.masses.b) - kappa.upper < 2 * SMALLEST_MASS:
        return replace(instance, masses=None)
    return replace(instance, masses=instance.masses.shrunk(kappa))


class RestrictedProposition1(Statement[RestrictedSets]):
    """S1 on a latent domain; S2 follows as before."""

    number = "S7"
    version = "sharp"
    text = "dist(T(Q) n K, T(R) n K) <= rho*(epsilon) for masses smaller by kappa"

    def hypotheses(self, instance: RestrictedSets) -> list[Hypothesis]:
        """Return those of S1 for what remains of the sets."""
        return SharpProposition1().hypotheses(restricted(instance.whole, instance.kappa))

    def left(self, instance: RestrictedSets) -> Enclosure:
        """Return what is known of the distance inside K."""
        return instance.whole.image_distance

    def right(self, instance: RestrictedSets) -> Enclosure:
        """Return rho* for the smaller masses."""
        return SharpProposition1().right(restricted(instance.whole, instance.kappa))

    def extremal(self) -> RestrictedSets:
        """Return half-lines and K without the slab (-1/2, 0): distance 1/2, bound 1 (both sets are charged with kappa)."""
        kappa = standard_normal(1).slab_mass([1.0], -0.5, 0.0)
        exact = Guarantee.EXACT
        whole = SeparatedSets(
            dim=1,
            epsilon=Enclosure(0.0, 0.0, exact, "T = id"),
            masses=Masses.equal(0.0),
            image_distance=Enclosure(0.5, 0.5, exact, "width of the slab"),
            distance=0.5,
            lipschitz=Enclosure(1.0, math.inf, exact, "identity"),
        )
        return RestrictedSets(whole, kappa)
