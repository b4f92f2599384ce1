"""What a quantity with something to prove looks like: two ends, and what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lipbounds.errors import InvalidInput

__all__ = ["Enclosure", "Guarantee", "as_accuracy", "combined"]


class Guarantee(IntEnum):
    """How an enclosure is known, from weakest to strongest; the order is the order of the integers."""

    ESTIMATE = 0
    """Nothing is guaranteed; asymptotic intervals are estimates too."""
    CONFIDENCE = 1
    """True with probability at least 1 - alpha over the sample, at its finite size."""
    EXACT = 2
    """A closed form, or a solver whose dual certificate closes the gap; rounding is stated by the function."""
    CERTIFIED = 3
    """True including rounding: interval or ball arithmetic, or a checked certificate."""


@dataclass(frozen=True)
class Enclosure:
    """A number known to lie in [lower, upper], with the reason. Plain data: it has no arithmetic.

    A bound on one side only has the other end at minus or plus infinity.

    Attributes:
        lower: Lower end.
        upper: Upper end.
        guarantee: What stands behind both ends.
        method: How they were computed, in a few words.
        alpha: Error probability, for `Guarantee.CONFIDENCE` and only there.

    Example:
        >>> Enclosure(1.0, float("inf"), Guarantee.EXACT, "closed form")
        Enclosure(lower=1.0, upper=inf, guarantee=<Guarantee.EXACT: 2>, method='closed form', alpha=None)
    """

    lower: float
    upper: float
    guarantee: Guarantee
    method: str
    alpha: float | None = None

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise InvalidInput("lower, upper", (self.lower, self.upper), "lower <= upper, neither NaN", "order the ends")
        if (self.alpha is not None) != (self.guarantee is Guarantee.CONFIDENCE):
            raise InvalidInput(
                "alpha", self.alpha, "a value exactly for CONFIDENCE", "state the error probability of a confidence bound"
            )
        if self.alpha is not None and not 0.0 < self.alpha < 1.0:
            raise InvalidInput("alpha", self.alpha, "a number in (0, 1)", "0.05 is usual")


def as_accuracy(epsilon: float | Enclosure) -> Enclosure:
    """Return an accuracy as an enclosure; a number is taken as given exactly.

    Raises:
        InvalidInput: For NaN or a negative number.

    Example:
        >>> as_accuracy(0.02).upper
        0.02
    """
    if isinstance(epsilon, Enclosure):
        return epsilon
    if not epsilon >= 0.0:
        raise InvalidInput("epsilon", epsilon, "a number >= 0, or an Enclosure", "pass an upper bound of the distance")
    return Enclosure(0.0, float(epsilon), Guarantee.EXACT, "asked for")


def combined(*enclosures: Enclosure) -> tuple[Guarantee, float | None]:
    """Return the guarantee of a statement that uses all of these, and its error probability.

    The weakest guarantee wins. Error probabilities add (union bound); a sum of 1 or more guarantees nothing.
    """
    guarantee = min(enclosure.guarantee for enclosure in enclosures)
    if guarantee is not Guarantee.CONFIDENCE:
        return guarantee, None
    alpha = sum(enclosure.alpha for enclosure in enclosures if enclosure.alpha is not None)
    return (guarantee, alpha) if alpha < 1.0 else (Guarantee.ESTIMATE, None)
