r"""S6: the distribution function of one 1-Lipschitz statistic bounds the constant of a generator.

If s is 1-Lipschitz, $G(t)=\gamma_n(s\circ f\le t)$ and $t_1<t_2$ with $0<G(t_1)\le G(t_2)<1$, then
$$\mathrm{Lip}(f)\ge\frac{t_2-t_1}{\Phi^{-1}(G(t_2))-\Phi^{-1}(G(t_1))},$$
infinite for equal values (no continuous map skips an interval), nothing if G is 0 or 1. This is the Gaussian isoperimetric
inequality itself; half-spaces and linear maps are extremal. From samples, with confidence and for mixture latents:
`lipbounds.lipschitz_from_samples`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flint import arb

from lipbounds.arb import ends, normal_cdf, normal_quantile, working_precision
from lipbounds.enclosure import Enclosure, Guarantee, derived
from lipbounds.errors import InvalidInput
from lipbounds.rounding import outward
from lipbounds.theorems.separation import SPARE_BITS, over
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["BlackBoxBound", "TwoThresholds"]


@dataclass(frozen=True)
class TwoThresholds:
    """An instance of S6.

    Attributes:
        thresholds: t_1 < t_2.
        below: Enclosure of G(t_1); the lower end is used.
        above: Enclosure of 1 - G(t_2), so that tails keep their digits; the lower end is used.
        lipschitz: Enclosure of Lip(f).
    """

    thresholds: tuple[float, float]
    below: Enclosure
    above: Enclosure
    lipschitz: Enclosure

    def __post_init__(self) -> None:
        if not self.thresholds[0] < self.thresholds[1]:
            raise InvalidInput("thresholds", self.thresholds, "t_1 < t_2", "order the thresholds")

    @property
    def width(self) -> Enclosure:
        """The latent distance of both sets, from the lower ends of their masses."""
        with working_precision(4 * SPARE_BITS):
            low, high = ends(-normal_quantile(arb(self.below.lower)) - normal_quantile(arb(self.above.lower)))
        return derived(max(0.0, low), max(0.0, high), "normal quantiles", self.below, self.above)


class BlackBoxBound(Statement[TwoThresholds]):
    """S6: a generator that leaves little mass between two thresholds is steep."""

    number = "S6"
    version = "sharp"
    text = "(t_2 - t_1) / (Phi^{-1}(G(t_2)) - Phi^{-1}(G(t_1))) <= Lip(f)"

    def hypotheses(self, instance: TwoThresholds) -> list[Hypothesis]:
        """Return that there is mass on both sides."""
        positive = instance.below.lower > 0 and instance.above.lower > 0
        return [Hypothesis(f"0 < G(t_1) = {instance.below.lower:.4g}, 1 - G(t_2) = {instance.above.lower:.4g}", positive)]

    def left(self, instance: TwoThresholds) -> Enclosure:
        """Return the bound."""
        width = instance.width
        # the difference is rounded: by nothing if the thresholds are within a factor 2 of each other, else by half a step
        low, high = outward(instance.thresholds[1] - instance.thresholds[0])
        return derived(over(low, width)[0], over(high, width)[1], width.method, width)

    def right(self, instance: TwoThresholds) -> Enclosure:
        """Return what is known of Lip(f)."""
        return instance.lipschitz

    def extremal(self) -> TwoThresholds:
        """Return the case of equality: f = 2 id on the line, thresholds -1 and 3."""
        exact = Guarantee.EXACT
        with working_precision(SPARE_BITS):
            tails = [ends(normal_cdf(arb(t))) for t in (-0.5, -1.5)]
        # lower by a rounding, so that both sides are not equal but ordered
        below, above = (Enclosure(low * (1 - 1e-14), high, exact, "normal tails") for low, high in tails)
        return TwoThresholds((-1.0, 3.0), below, above, Enclosure(2.0, 2.0, exact, "slope"))
