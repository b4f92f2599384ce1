"""What a theorem looks like as code: hypotheses, two sides, and a verdict on an instance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, Literal, TypeVar

from lipbounds.enclosure import Enclosure, Guarantee, combined

__all__ = ["Hypothesis", "Outcome", "Statement", "Verdict", "Version"]

Version = Literal["printed", "sharp", "repaired"]

Instance = TypeVar("Instance")

ROUNDING = 1e-9  # a left side of at most this, enclosed from 0, is an equality up to rounding


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
        assumptions: What both sides take for granted.
    """

    outcome: Outcome
    left: Enclosure | None
    right: Enclosure | None
    guarantee: Guarantee | None
    alpha: float | None
    reason: str
    assumptions: tuple[str, ...] = ()

    @property
    def slack(self) -> float:
        """How far the sides are apart: right.lower / left.upper, at least 1 if confirmed and 1 where both are equal.

        NaN if the statement is not applicable. Infinite if the left side is at most 0 and the right one above it.
        """
        if self.left is None or self.right is None:
            return math.nan
        small, large = self.left.upper, self.right.lower
        if small == large:
            return 1.0
        if small <= 0.0:
            return math.inf if large >= small else 0.0
        return large / small if math.isfinite(small) else 0.0

    @property
    def refutable(self) -> bool:
        """Whether these sides could have refuted it: the left one known from below too, the right one from above."""
        if self.left is None or self.right is None:
            return False
        known = self.left.lower > 0.0 or self.left.upper <= ROUNDING
        return known and self.right.upper < math.inf


class Statement(ABC, Generic[Instance]):
    """A theorem of the form "if the hypotheses hold, then left <= right"."""

    number: ClassVar[str]
    """As the paper numbers it; S1 to S7 are the sharp versions of docs/theory."""
    version: ClassVar[Version]
    """Whether it is the paper's text, a sharp version, or a repair of a text that fails."""
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

    @abstractmethod
    def extremal(self) -> Instance:
        """Return an instance where both sides are as near to each other as is known; its docstring says how near."""

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
        known = combined(left, right)
        return Verdict(outcome, left, right, known.guarantee, known.alpha, reason, known.assumptions)
