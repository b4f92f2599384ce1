"""The one event that all long work reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Report", "report_to"]


@dataclass(frozen=True)
class Progress:
    """How far some work is.

    Attributes:
        stage: What is being done, in a few words.
        lower: The largest lower bound so far, where there is one.
        upper: The smallest upper bound so far, where there is one.

    Example:
        >>> Progress("searching", lower=3.2)
        Progress(stage='searching', lower=3.2, upper=None)
    """

    stage: str
    lower: float | None = None
    upper: float | None = None


Report = Callable[[Progress], None]


def report_to(progress: Report | None) -> Report:
    """Return the callback, or one that does nothing."""
    return progress or (lambda event: None)
