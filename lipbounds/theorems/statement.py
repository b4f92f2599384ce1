"""What a theorem looks like as code: hypotheses, two sides, and a verdict on an instance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from lipbounds.enclosure import Enclosure, Guarantee, combined

__all__ = ["Hypothesis", "Outcome", "Statement", "Verdict"]

Instance = TypeVar("Instance")


class Outcome(StrEnum):
    """What checking a statement on one instance showed."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Hypothesis:
    """One assumption of a statement on one instance.

    Attributes:
        text: The assumption, with the instance's numbers.
        holds: Whether it holds.
    """

    text: str
    holds: bool


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check, with what it rests on.

    Attributes:
        outcome: See `Outcome`. A statement "left <= right" is confirmed if left.upper <= right.lower, refuted if
            left.lower > right.upper, else undecided.
        left: The smaller side of the statement; None if it is not applicable.
        right: The larger side; None if it is not applicable.
        guarantee: The weakest guarantee of both sides.
        alpha: Error probability of the verdict, for CONFIDENCE.
        reason: The hypothesis that fails, or the comparison.
    """

    outcome: Outcome
    left: Enclosure | None
    right: Enclosure | None
    guarantee: Guarantee | None
    alpha: float | None
    reason: str


class Statement(ABC, Generic[Instance]):
    """A theorem of the form "if the hypotheses hold, then left <= right"."""

    number: ClassVar[str]
    """As the source numbers it."""
    text: ClassVar[str]
    """The statement in words and symbols."""

    @abstractmethod
    def hypotheses(self, instance: Instance) -> list[Hypothesis]:
        """Return all assumptions, evaluated on the instance."""

    @abstractmethod
    def left(self, instance: Instance) -> Enclosure:
        """Return the side that the statement says is smaller."""

    @abstractmethod
    def right(self, instance: Instance) -> Enclosure:
        """Return the side that the statement says is larger."""

    def check(self, instance: Instance) -> Verdict:
        """Return the verdict on one instance; a side that is known from one end only can confirm but not refute."""
        failed = [hypothesis.text for hypothesis in self.hypotheses(instance) if not hypothesis.holds]
        if failed:
            return Verdict(Outcome.NOT_APPLICABLE, None, None, None, None, "fails: " + "; ".join(failed))
        left, right = self.left(instance), self.right(instance)
        if left.upper <= right.lower:
            outcome = Outcome.CONFIRMED
        elif left.lower > right.upper:
            outcome = Outcome.REFUTED
        else:
            outcome = Outcome.UNDECIDED
        reason = f"[{left.lower:.4g}, {left.upper:.4g}] against [{right.lower:.4g}, {right.upper:.4g}]"
        guarantee, alpha = combined(left, right)
        return Verdict(outcome, left, right, guarantee, alpha, reason)
