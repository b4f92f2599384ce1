r"""Corollary 2: conditioning on measurements does not help, the inverse of a conditional network must be steep too.

Let $\mu$ be the law of X given $Y\in A$, $T=(T_y,T_z)$, $W_1(T_{z\#}\mu,N(0,I_k))\le\epsilon$, and Q, R sets with
$T_y(Q\cup R)\subset A$, $\mathrm{diam}(A)=\rho$.

*Printed.* For $\mu(Q),\mu(R)\ge(1-\delta)/2$ and delta, epsilon below 1/4, with the C of Proposition 1 for dimension k (the
printed 2C is not needed),
$$\mathrm{Lip}(T^{-1})\ge\frac{\mathrm{dist}(Q,R)}{C(\delta+\epsilon^{k/(k+1)})^{1/k}+\rho}.$$

*Sharp (S3).* $\mathrm{Lip}(T^{-1})\ge\mathrm{dist}(Q,R)/\sqrt{\rho^*(\epsilon)^2+\rho^2}$ for every k and all masses. By S1 for
$T_z$ there are points x, x' of Q, R with $|T_zx-T_zx'|\le\rho^*$ (up to any margin), and $|T_yx-T_yx'|\le\rho$; the two parts are
orthogonal. Any bound of $|T_yx-T_yx'|$ over $Q\times R$ may replace diam(A). Sharp: T = id, with the extremal sets of S1 in z
and Q, R at the two ends of A in y.

At a single y of positive probability $A=\{y\}$ and $\rho=0$.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, derived
from lipbounds.errors import InvalidInput
from lipbounds.rounding import EPS
from lipbounds.theorems.proposition_1 import SeparatedSets, exponentials, extremal_sets, small_enough, standard_latent
from lipbounds.theorems.separation import Masses, over, separation
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["ConditionalSets", "Corollary2", "SharpCorollary2", "forced_for_condition"]


@dataclass(frozen=True)
class ConditionalSets:
    """An instance of Corollary 2.

    Attributes:
        sets: The instance of Corollary 1 for T_z and the conditional law: dimension k, W_1(T_z#mu, N(0, I_k)), masses under
            mu; its constant is that of T^{-1}. The image distance is not used.
        diameter: Enclosure of diam(A), or of the largest |T_y x - T_y x'| for x in Q, x' in R.
        inside: Whether T_y(Q u R) lies in A.
    """

    sets: SeparatedSets
    diameter: Enclosure
    inside: bool = True

    def __post_init__(self) -> None:
        if not self.diameter.lower >= 0.0:
            raise InvalidInput("diameter", self.diameter.lower, "a number >= 0", "pass diam(A); 0 at a single y")


def forced_for_condition(distance: float, masses: Masses, epsilon: float | Enclosure, diameter: float | Enclosure) -> Enclosure:
    r"""Bound Lip(T^{-1}) from below for a conditional network (S3, the sharp Corollary 2).

    Args:
        distance: dist(Q, R) > 0.
        masses: Of Q and R under the law of X given Y in A.
        epsilon: W_1(T_z#mu, N(0, I_k)), a number or an enclosure.
        diameter: diam(A), likewise, or of the spread of T_y over Q x R; 0 at a single y.

    Returns:
        [bound, inf) with the weakest guarantee of what it uses.

    Example:
        >>> round(forced_for_condition(2.0, Masses.equal(0.0), 0.02, 0.1).lower, 3)
        4.35
    """
    if not 0.0 < distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number > 0", "choose sets that do not touch")
    apart = _apart(masses, as_accuracy(epsilon), as_accuracy(diameter))
    return derived(over(distance, apart)[0], math.inf, "S3, conditional half-spaces", apart)


def _apart(masses: Masses, epsilon: Enclosure, diameter: Enclosure) -> Enclosure:
    """The distance within which points of T(Q) and T(R) are found, from the upper ends."""
    width = separation(epsilon.upper, masses)
    low, high = (math.hypot(end, diameter.upper) for end in (width.lower, width.upper))
    # hypot is good to one step; a second one is spare
    return derived(low * (1 - 2 * EPS), high * (1 + 2 * EPS), width.method, width, epsilon, diameter)


def _within(instance: ConditionalSets) -> Hypothesis:
    return Hypothesis("T_y(Q u R) in A", instance.inside)


class Corollary2(Statement[ConditionalSets]):
    """A conditional network with a normal latent has a steep inverse if the posterior has two modes."""

    number = "Corollary 2"
    version = "printed"
    text = "dist(Q, R) / (C (delta + epsilon^(k/(k+1)))^(1/k) + rho) <= Lip(T^{-1})"

    def hypotheses(self, instance: ConditionalSets) -> list[Hypothesis]:
        """Return that epsilon and delta are below 1/4, and that T_y maps the sets into A."""
        return [*small_enough(instance.sets), _within(instance)]

    def left(self, instance: ConditionalSets) -> Enclosure:
        """Return the bound, from the upper ends of epsilon, delta and the diameter."""
        bound, known = instance.sets.log_printed, instance.sets.sources
        near, far = (end + instance.diameter.upper for end in exponentials(bound))
        width = Enclosure(near * (1 - 2 * EPS), far * (1 + 2 * EPS), Guarantee.EXACT, "constant of the proof")
        return derived(*over(instance.sets.distance, width), width.method, width, *known, instance.diameter)

    def right(self, instance: ConditionalSets) -> Enclosure:
        """Return what is known of Lip(T^{-1})."""
        return instance.sets.lipschitz

    def extremal(self) -> ConditionalSets:
        """Return the extremal instance of the sharp version: the printed bound is about 1e-9 of the constant."""
        return extremal_condition()


class SharpCorollary2(Statement[ConditionalSets]):
    """S3, in every dimension and for all masses."""

    number = "S3"
    version = "sharp"
    text = "dist(Q, R) / sqrt(rho*(epsilon)^2 + rho^2) <= Lip(T^{-1})"

    def hypotheses(self, instance: ConditionalSets) -> list[Hypothesis]:
        """Return that the latent law is N(0, I), both sets have mass, and T_y maps them into A."""
        return [*standard_latent(instance.sets), _within(instance)]

    def left(self, instance: ConditionalSets) -> Enclosure:
        """Return the bound; known exactly from the upper ends of epsilon and the diameter."""
        sets = instance.sets
        assert sets.masses is not None
        apart = _apart(sets.masses, sets.epsilon, instance.diameter)
        return derived(*over(sets.distance, apart), apart.method, apart)

    def right(self, instance: ConditionalSets) -> Enclosure:
        """Return what is known of Lip(T^{-1})."""
        return instance.sets.lipschitz

    def extremal(self) -> ConditionalSets:
        """Return an instance with both sides equal to a percent."""
        return extremal_condition()


def extremal_condition(rho: float = 0.8, diameter: float = 0.5) -> ConditionalSets:
    """T = id, the extremal sets of S1 in z, Q and R at the ends of an interval A of this length in y."""
    sets = extremal_sets(rho)
    apart = SeparatedSets(
        dim=1,
        epsilon=sets.epsilon,
        masses=sets.masses,
        image_distance=sets.image_distance,
        distance=math.hypot(rho, diameter),
        lipschitz=sets.lipschitz,
    )
    return ConditionalSets(apart, Enclosure(diameter, diameter, Guarantee.EXACT, "by construction"))
