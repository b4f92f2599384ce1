r"""Section 4: for independent Gumbel(0, 1) variables, $P(\arg\max_i(G_i+\log p_i)=k)=p_k$.

Behind it: $\int g(x-\log p_k)\prod_{j\ne k}F(x-\log p_j)\,dx$ with $F(x)=\exp(-e^{-x})$, g = F'. The product of the F is
$\exp(-e^{-x}\sum_jp_j)=F(x)$, so the integral is $p_k\int e^{-x}F(x)\,dx=p_k$. The check integrates the unsimplified product by
rigorous quadrature; the noise is a parameter, so that others can be shown to fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flint import acb, arb

from lipbounds.arb import ends, working_precision
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["GumbelMax", "NoisyArgmax"]

LOWEST, HIGHEST = -6.0, 45.0  # for Gumbel noise the largest noisy logit lies outside with probability below e^-403 + e^-45
RESOLUTION = 1e-13
LARGEST = 64


def _gumbel(x: acb) -> acb:
    return (-((-x).exp())).exp()


def _gumbel_density(x: acb) -> acb:
    return (-x - (-x).exp()).exp()


@dataclass(frozen=True)
class NoisyArgmax:
    """An instance: probabilities, and the noise added to their logarithms.

    Attributes:
        probabilities: p on the simplex, positive.
        distribution: F of the noise, analytic.
        density: Its derivative.
    """

    probabilities: tuple[float, ...]
    distribution: Callable[[acb], acb] = _gumbel
    density: Callable[[acb], acb] = _gumbel_density

    def __post_init__(self) -> None:
        total = math.fsum(self.probabilities)
        if not (1 <= len(self.probabilities) <= LARGEST and min(self.probabilities) > 0 and abs(total - 1) <= 1e-12):
            raise InvalidInput("probabilities", self.probabilities, "positive numbers with sum 1", "leave out null components")

    def chosen(self, k: int) -> arb:
        """The probability that component k is chosen."""
        with working_precision(100):
            total = sum((arb(p) for p in self.probabilities), arb(0))
            logits = [(arb(p) / total).log() for p in self.probabilities]

            def integrand(x: acb, _: object) -> acb:
                value = self.density(x - logits[k])
                for j, logit in enumerate(logits):
                    if j != k:
                        value = value * self.distribution(x - logit)
                return value

            inside = acb.integral(integrand, acb(LOWEST), acb(HIGHEST), rel_tol=arb(2) ** -60, abs_tol=arb(2) ** -60)
            return inside.real + arb(0, 1e-19)


class GumbelMax(Statement[NoisyArgmax]):
    """Adding Gumbel noise to the logits and taking the argmax samples from the categorical law."""

    number = "Section 4, Gumbel"
    version = "printed"
    text = "P(argmax_i (G_i + log p_i) = k) = p_k"

    def hypotheses(self, instance: NoisyArgmax) -> list[Hypothesis]:
        """Return none: p is on the simplex by construction."""
        return []

    def left(self, instance: NoisyArgmax) -> Enclosure:
        """Return the largest difference over k."""
        with working_precision(100):
            # probabilities in floats sum to 1 up to rounding: those meant are divided by their sum
            total = sum((arb(p) for p in instance.probabilities), arb(0))
            wanted = [arb(p) / total for p in instance.probabilities]
            differences = [ends(abs(instance.chosen(k) - p)) for k, p in enumerate(wanted)]
        low, high = (max(end) for end in zip(*differences, strict=True))
        return Enclosure(max(0.0, low), high, Guarantee.CERTIFIED, "rigorous quadrature")

    def right(self, instance: NoisyArgmax) -> Enclosure:
        """Return what quadrature and the rounding of p leave open."""
        return Enclosure(RESOLUTION, RESOLUTION, Guarantee.CERTIFIED, "resolution")

    def extremal(self) -> NoisyArgmax:
        """Return three components; equality up to the resolution."""
        return NoisyArgmax((0.5, 0.25, 0.25))
