"""What a quantity with something to prove looks like: two ends, and what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from lipbounds.errors import InvalidInput

__all__ = ["Enclosure", "Guarantee", "Known", "as_accuracy", "combined", "derived"]


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
        assumptions: What the ends take for granted beyond the guarantee, in words; empty for nothing. A CERTIFIED enclosure
            without assumptions is true without any.

    Example:
        >>> Enclosure(1.0, float("inf"), Guarantee.EXACT, "closed form")
        Enclosure(lower=1.0, upper=inf, guarantee=<Guarantee.EXACT: 2>, method='closed form', alpha=None, assumptions=())
    """

    lower: float
    upper: float
    guarantee: Guarantee
    method: str
    alpha: float | None = None
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise InvalidInput("lower, upper", (self.lower, self.upper), "lower <= upper, neither NaN", "order the ends")
        if (self.alpha is not None) != (self.guarantee is Guarantee.CONFIDENCE):
            raise InvalidInput(
                "alpha", self.alpha, "a value exactly for CONFIDENCE", "state the error probability of a confidence bound"
            )
        if self.alpha is not None and not 0.0 < self.alpha < 1.0:
            raise InvalidInput("alpha", self.alpha, "a number in (0, 1)", "0.05 is usual")


class Known(NamedTuple):
    """What stands behind a statement that uses several enclosures.

    Args:
        guarantee: The weakest of theirs.
        alpha: The sum of their error probabilities (union bound), for CONFIDENCE; None otherwise.
        assumptions: All of theirs, each once, in their order.
    """

    guarantee: Guarantee
    alpha: float | None
    assumptions: tuple[str, ...]


def as_accuracy(epsilon: float | Enclosure) -> Enclosure:
    """Return an accuracy as an enclosure; that a number bounds the accuracy is an assumption of whatever uses it.

    Raises:
        InvalidInput: For NaN or a negative number.

    Example:
        >>> as_accuracy(0.02).upper, as_accuracy(0.02).assumptions
        (0.02, ('epsilon <= 0.02, as given',))
    """
    if isinstance(epsilon, Enclosure):
        return epsilon
    if not epsilon >= 0.0:
        raise InvalidInput("epsilon", epsilon, "a number >= 0, or an Enclosure", "pass an upper bound of the distance")
    return Enclosure(0.0, float(epsilon), Guarantee.EXACT, "as given", assumptions=(f"epsilon <= {epsilon:.6g}, as given",))


def combined(*enclosures: Enclosure) -> Known:
    """Return what stands behind a statement that uses all of these.

    The weakest guarantee wins. Error probabilities add (union bound); a sum of 1 or more guarantees nothing.

    Example:
        >>> exact = Enclosure(1.0, 1.0, Guarantee.EXACT, "given")
        >>> combined(exact, Enclosure(0.0, 1.0, Guarantee.CONFIDENCE, "sample", 0.05)).alpha
        0.05
    """
    guarantee = min(enclosure.guarantee for enclosure in enclosures)
    assumptions = tuple(dict.fromkeys(text for enclosure in enclosures for text in enclosure.assumptions))
    if guarantee is not Guarantee.CONFIDENCE:
        return Known(guarantee, None, assumptions)
    alpha = sum(enclosure.alpha for enclosure in enclosures if enclosure.alpha is not None)
    return Known(guarantee, alpha, assumptions) if alpha < 1.0 else Known(Guarantee.ESTIMATE, None, assumptions)


def derived(lower: float, upper: float, method: str, *sources: Enclosure) -> Enclosure:
    """Return an enclosure of a number computed from others, with the guarantee, error probability and assumptions of all of them.

    Raises:
        InvalidInput: If the ends are in the wrong order or NaN.

    Example:
        >>> derived(2.0, 2.0, "twice", Enclosure(1.0, 1.0, Guarantee.EXACT, "given")).guarantee.name
        'EXACT'
    """
    known = combined(*sources)
    return Enclosure(lower, upper, known.guarantee, method, known.alpha, known.assumptions)
