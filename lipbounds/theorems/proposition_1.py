r"""Proposition 1 as printed, with its constant made explicit.

If $W_1(T_\#\mu,N(0,I_n))\le\epsilon$ and $\mu(Q),\mu(R)\ge(1-\delta)/2$, then
$$\mathrm{dist}(T(Q),T(R))\le C\,(\delta+\epsilon^{n/(n+1)})^{1/n},\qquad C=4\Big(\frac{e^{2s^2}}{C_\nu V_1}\Big)^{1/n},$$
with $C_\nu=(2\pi)^{-n/2}$, $V_1$ the volume of the unit ball and, made explicit, $s=\chi_n^{-1}(3/4)+2$, for all
$\delta,\epsilon<1/4$. The constant is what the proof gives; it is huge (10^9 in one dimension), and
`separation` is the sharp bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import gammaln
from scipy.stats import chi

from lipbounds.enclosure import Enclosure, Guarantee, combined
from lipbounds.errors import InvalidInput
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Proposition1", "SeparatedSets", "log_constant", "log_distance_bound"]

LARGEST = 0.25  # "delta, epsilon small enough"


def log_constant(n: int) -> float:
    r"""Return $\ln C$ for latent dimension n, in logarithms because $e^{2s^2}$ overflows.

    Source:
        Hagemann and Neumayer (2022), proof of Proposition 1, with s explicit.

    Example:
        >>> [round(log_constant(n) / math.log(10), 2) for n in (1, 2, 4)]
        [9.32, 6.59, 4.88]
    """
    if n < 1:
        raise InvalidInput("n", n, "an integer >= 1", "give the latent dimension")
    s = float(chi.ppf(0.75, n)) + 2.0
    log_density = -0.5 * n * math.log(2 * math.pi)
    log_volume = 0.5 * n * math.log(math.pi) - float(gammaln(0.5 * n + 1))
    return math.log(4.0) + (2 * s * s - log_density - log_volume) / n


def log_distance_bound(n: int, delta: float, epsilon: float) -> float:
    """Return the logarithm of the right-hand side; -inf for delta = epsilon = 0."""
    inner = delta + epsilon ** (n / (n + 1))
    return log_constant(n) + math.log(inner) / n if inner > 0 else -math.inf


@dataclass(frozen=True)
class SeparatedSets:
    """An instance of Proposition 1 and Corollary 1: a map T, a law mu and two sets Q and R.

    Attributes:
        dim: Latent dimension n.
        epsilon: Enclosure of W_1(T#mu, N(0, I_n)).
        delta: Enclosure of 1 - 2 min(mu(Q), mu(R)).
        image_distance: Enclosure of dist(T(Q), T(R)); one pair of points gives the upper end.
        distance: dist(Q, R).
        lipschitz: Enclosure of Lip(T^{-1}) on a domain that contains T(Q) and T(R), or their parts that are used.
    """

    dim: int
    epsilon: Enclosure
    delta: Enclosure
    image_distance: Enclosure
    distance: float
    lipschitz: Enclosure


def small_enough(instance: SeparatedSets) -> list[Hypothesis]:
    """The hypotheses of Proposition 1 and Corollary 1."""
    return [
        Hypothesis(f"W_1(T#mu, N(0, I)) <= epsilon = {instance.epsilon.upper:.4g} < 1/4", instance.epsilon.upper < LARGEST),
        Hypothesis(f"delta = {instance.delta.upper:.4g} < 1/4", instance.delta.upper < LARGEST),
    ]


def in_terms_of(instance: SeparatedSets, value: float, method: str) -> Enclosure:
    """A number computed from the upper ends of epsilon and delta, with what stands behind them."""
    exact = Enclosure(value, value, Guarantee.EXACT, method)
    guarantee, alpha = combined(exact, instance.epsilon, instance.delta)
    return Enclosure(value, value, guarantee, method, alpha)


class Proposition1(Statement[SeparatedSets]):
    """Sets that carry almost all mass are mapped close together by a map to the standard normal law."""

    number = "Proposition 1"
    text = "dist(T(Q), T(R)) <= C (delta + epsilon^(n/(n+1)))^(1/n)"

    def hypotheses(self, instance: SeparatedSets) -> list[Hypothesis]:
        """Return that epsilon and delta are small enough, below 1/4."""
        return small_enough(instance)

    def left(self, instance: SeparatedSets) -> Enclosure:
        """Return what is known of dist(T(Q), T(R))."""
        return instance.image_distance

    def right(self, instance: SeparatedSets) -> Enclosure:
        """Return the bound, with the upper ends of epsilon and delta."""
        value = math.exp(log_distance_bound(instance.dim, instance.delta.upper, instance.epsilon.upper))
        return in_terms_of(instance, value, "explicit constant of the proof")
