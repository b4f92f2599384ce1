r"""Behind equation (9): $L_x=0\iff L_z=0$, because a bijection T pushes $P_X$ to $P_{(Y,Z)}$ exactly if its inverse pushes back.

Whatever metric D the losses use, they vanish if and only if the laws agree, so finite laws in fractions decide it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lipbounds.enclosure import Enclosure
from lipbounds.theorems.finite import Law, Point, distance_of_laws, exactly
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Equation9", "FiniteMap"]


@dataclass(frozen=True)
class FiniteMap:
    """An instance: T on finitely many points, and the laws of X and (Y, Z) on them.

    Attributes:
        forward: T, from points of data to latent points.
        backward: T^{-1}, from latent points to points of data.
        data: Law of X, on the keys of `forward`.
        latent: Law of (Y, Z), on the keys of `backward`.
    """

    forward: dict[Point, Point]
    backward: dict[Point, Point]
    data: Law
    latent: Law

    @property
    def losses(self) -> tuple[Fraction, Fraction]:
        """L_x and L_z with D the total variation."""
        back, there = _pushed(self.latent, self.backward), _pushed(self.data, self.forward)
        return distance_of_laws(back, self.data), distance_of_laws(there, self.latent)


def _pushed(law: Law, mapping: dict[Point, Point]) -> Law:
    image: Law = {}
    for point, mass in law.items():
        image[mapping[point]] = image.get(mapping[point], Fraction(0)) + mass
    return image


class Equation9(Statement[FiniteMap]):
    """One loss vanishes if and only if the other does."""

    number = "(9)"
    version = "printed"
    text = "L_x = 0 <=> L_z = 0"

    def hypotheses(self, instance: FiniteMap) -> list[Hypothesis]:
        """Return that backward is the inverse of forward where the laws live."""
        there = all(instance.backward.get(image) == point for point, image in instance.forward.items())
        back = all(instance.forward.get(image) == point for point, image in instance.backward.items())
        return [Hypothesis("T is a bijection with inverse T^{-1}", there and back)]

    def left(self, instance: FiniteMap) -> Enclosure:
        """Return 1 if one loss vanishes and the other does not, else 0."""
        first, second = instance.losses
        return exactly(Fraction(int((first == 0) != (second == 0))))

    def right(self, instance: FiniteMap) -> Enclosure:
        """Return 0."""
        return exactly(Fraction(0))

    def extremal(self) -> FiniteMap:
        """Return a swap of two points under which both losses vanish."""
        a, b = (Fraction(0),), (Fraction(1),)
        third = Fraction(1, 3)
        return FiniteMap({a: b, b: a}, {a: b, b: a}, {a: third, b: 1 - third}, {a: 1 - third, b: third})
