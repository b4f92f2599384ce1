"""Numbers that change during training: learning rates, temperatures, weights of losses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from lipbounds.errors import InvalidInput

__all__ = ["Constant", "Cosine", "Geometric", "Linear", "Number", "Phases", "Ramp", "Schedule", "Staircase", "as_schedule"]

Schedule = Callable[[float], float]
"""From the share of the steps that is done, in [0, 1), to a number."""

Number = float | Schedule


def as_schedule(number: Number) -> Schedule:
    """A number as the schedule that never changes; a schedule as it is."""
    return number if callable(number) else Constant(float(number))


@dataclass(frozen=True)
class Constant:
    """One value throughout."""

    value: float

    def __call__(self, done: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear:
    """From `first` to `last` along a line, there at the share `until`."""

    first: float
    last: float
    until: float = 1.0

    def __call__(self, done: float) -> float:
        return self.first + (self.last - self.first) * min(1.0, done / self.until)


@dataclass(frozen=True)
class Geometric:
    """From `first` to `last`, both > 0, by one factor a step, there at the share `until`.

    Example:
        >>> Geometric(1.0, 0.01, until=0.5)(0.25)
        0.1
    """

    first: float
    last: float
    until: float = 1.0

    def __post_init__(self) -> None:
        if not (self.first > 0 and self.last > 0 and self.until > 0):
            raise InvalidInput("Geometric", (self.first, self.last, self.until), "numbers > 0", "a ratio of them is taken")

    def __call__(self, done: float) -> float:
        return float(self.first * (self.last / self.first) ** min(1.0, done / self.until))


@dataclass(frozen=True)
class Cosine:
    """Up to `peak` along a line in the share `warmup`, then down to 0 along half a cosine."""

    peak: float
    warmup: float = 0.02

    def __call__(self, done: float) -> float:
        start = min(1.0, done / self.warmup) if self.warmup > 0 else 1.0
        return self.peak * start * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Ramp:
    """`value` times min(1, 2 floor^(1 - t / until)): the authors' program ramps L_x so, with floor 0.002.

    t is the share that is done. The weight is there a little before `until`.
    """

    value: float
    until: float = 1.0
    floor: float = 0.002

    def __call__(self, done: float) -> float:
        return float(self.value * min(1.0, 2.0 * self.floor ** max(0.0, 1.0 - done / self.until)))


@dataclass(frozen=True)
class Staircase:
    """`value` times `factor` to the number of stairs passed, of `stairs` equal ones.

    Example:
        >>> [round(Staircase(1.0, 0.5, stairs=2)(done), 2) for done in (0.1, 0.6)]
        [1.0, 0.5]
    """

    value: float
    factor: float
    stairs: int

    def __call__(self, done: float) -> float:
        return float(self.value * self.factor ** math.floor(done * self.stairs))


@dataclass(frozen=True)
class Phases:
    """One schedule after the other, each over its own share of the steps.

    Attributes:
        parts: Pairs of an end in (0, 1], increasing, the last one 1, and what holds until there. A schedule in a phase sees
            the share of that phase.

    Example:
        >>> Phases(((0.5, 1e-3), (1.0, 1e-4)))(0.7)
        0.0001
    """

    parts: tuple[tuple[float, Number], ...]

    def __post_init__(self) -> None:
        ends = [0.0, *(end for end, _ in self.parts)]
        if ends[-1] != 1.0 or any(a >= b for a, b in itertools.pairwise(ends)):
            raise InvalidInput("Phases", tuple(ends[1:]), "increasing ends, the last one 1", "give the share at which each ends")

    def __call__(self, done: float) -> float:
        begin = 0.0
        for end, number in self.parts:
            if done < end or end == 1.0:
                return as_schedule(number)((done - begin) / (end - begin))
            begin = end
        raise AssertionError("the last phase ends at 1")
