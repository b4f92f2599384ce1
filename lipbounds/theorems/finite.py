"""Finite probability spaces in fractions: where statements about conditional laws are checked without rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.rounding import around

__all__ = ["FiniteSpace", "Law", "Point", "distance_of_laws", "exactly", "squared_distance"]

Point = tuple[Fraction, ...]
Law = dict[Point, Fraction]


def exactly(value: Fraction) -> Enclosure:
    """Return a fraction as an enclosure: the double that it is, or the two doubles next to it."""
    return Enclosure(*around(value), Guarantee.EXACT, "fractions")


def distance_of_laws(first: Law, second: Law) -> Fraction:
    """Return the total variation of two laws of finite support."""
    return sum((abs(first.get(point, Fraction(0)) - second.get(point, Fraction(0))) for point in first | second), Fraction(0)) / 2


def squared_distance(first: Point, second: Point) -> Fraction:
    """Return |a - b|^2."""
    return sum(((a - b) ** 2 for a, b in zip(first, second, strict=True)), Fraction(0))


@dataclass(frozen=True)
class FiniteSpace:
    """Outcomes with their probabilities, and random vectors on them.

    Attributes:
        probabilities: Of the outcomes, positive fractions with sum 1.
        x: Values of X, one point an outcome.
        y: Values of Y.
        z: Values of Z; empty if there is none.
    """

    probabilities: tuple[Fraction, ...]
    x: tuple[Point, ...]
    y: tuple[Point, ...]
    z: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        if sum(self.probabilities) != 1 or not all(p > 0 for p in self.probabilities):
            raise InvalidInput("probabilities", self.probabilities, "positive fractions with sum 1", "leave out null outcomes")
        sizes = {len(self.probabilities), len(self.x), len(self.y), len(self.z) or len(self.x)}
        if len(sizes) != 1:
            raise InvalidInput("x, y, z", sizes, "one value an outcome", "list all outcomes")

    def law(self, values: Iterable[Point]) -> Law:
        """Return the law of a random vector given by its values."""
        law: Law = {}
        for probability, value in zip(self.probabilities, values, strict=True):
            law[value] = law.get(value, Fraction(0)) + probability
        return law

    def conditional_law(self, values: tuple[Point, ...], y: Point) -> Law:
        """Return the law of a random vector given Y = y, a value that Y takes."""
        chosen = [index for index, value in enumerate(self.y) if value == y]
        mass = sum((self.probabilities[index] for index in chosen), Fraction(0))
        law: Law = {}
        for index in chosen:
            law[values[index]] = law.get(values[index], Fraction(0)) + self.probabilities[index] / mass
        return law

    def expectation(self, values: Iterable[Fraction], where: Callable[[int], bool] = lambda index: True) -> Fraction:
        """Return the integral of a random variable over the outcomes that satisfy a condition."""
        terms = (p * v for i, (p, v) in enumerate(zip(self.probabilities, values, strict=True)) if where(i))
        return sum(terms, Fraction(0))
