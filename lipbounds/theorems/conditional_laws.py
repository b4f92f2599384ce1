r"""Equations (1) to (3): what conditional expectations and conditional laws are, on finite spaces and without rounding.

1. $P_{(X|Y)}(\cdot,A)=E(1_A\circ X|Y=\cdot)$,
2. $E(f(Y)X|Y=y)=f(y)E(X|Y=y)$, component by component,
3. $P_{(X|Y)}(\cdot,T^{-1}(\cdot))=P_{(T\circ X|Y)}$.

Conditional expectations are defined by $\int_CE(V|Y)\,dP=\int_CV\,dP$ for all C in $\sigma(Y)$; the checks use that definition
(on a finite space the sets $C=\{Y=y\}$ suffice), not the quotient formula that the conditional laws are computed by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from lipbounds.enclosure import Enclosure
from lipbounds.theorems.finite import FiniteSpace, Law, Point, distance_of_laws, exactly
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["ConditionalSpace", "Equation1", "Equation2", "Equation3"]


def _identity(point: Point) -> Point:
    return point


def _conditional_law(space: FiniteSpace, values: tuple[Point, ...], y: Point) -> Law:
    return space.conditional_law(values, y)


@dataclass(frozen=True)
class ConditionalSpace:
    """An instance of equations (1) to (3).

    Attributes:
        space: The space with X and Y.
        factor: f of equation (2), from values of Y to points of the dimension of X.
        transform: T of equation (3), any map of points.
        kernel: What is claimed to be the conditional law of a random vector given Y = y; the true one by default.
    """

    space: FiniteSpace
    factor: Callable[[Point], Point] = lambda y: (Fraction(1),)
    transform: Callable[[Point], Point] = _identity
    kernel: Callable[[FiniteSpace, tuple[Point, ...], Point], Law] = _conditional_law


class _Equality(Statement[ConditionalSpace]):
    """An equation as the statement that the largest difference of its sides is at most 0."""

    version = "printed"

    def hypotheses(self, instance: ConditionalSpace) -> list[Hypothesis]:
        """Return none: every finite space has conditional laws."""
        return []

    def right(self, instance: ConditionalSpace) -> Enclosure:
        """Return 0."""
        return exactly(Fraction(0))

    def extremal(self) -> ConditionalSpace:
        """Return three outcomes, two of them with one value of Y; the sides are equal."""
        thirds = (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6))
        one, two = (Fraction(1),), (Fraction(2),)
        return ConditionalSpace(
            FiniteSpace(thirds, (one, two, two), (one, one, two)), lambda y: (y[0] + 1,), lambda x: (x[0] ** 2,)
        )


class Equation1(_Equality):
    """The conditional law of X given Y is the conditional expectation of indicators."""

    number = "(1)"
    text = "P_(X|Y)(., A) = E(1_A o X | Y = .)"

    def left(self, instance: ConditionalSpace) -> Enclosure:
        """Return the largest violation of the definition of E(1_A o X | Y) over A = {a} and C = {Y = y}."""
        space, worst = instance.space, Fraction(0)
        for value in set(space.y):
            claimed = instance.kernel(space, space.x, value)
            for point in set(space.x):
                inside = [Fraction(int(x == point)) for x in space.x]

                def on_c(index: int, value: Point = value) -> bool:
                    return space.y[index] == value

                wanted = space.expectation(inside, on_c)
                got = space.expectation([claimed.get(point, Fraction(0))] * len(space.x), on_c)
                worst = max(worst, abs(got - wanted))
        return exactly(worst)


class Equation2(_Equality):
    """What is a function of the condition can be taken out."""

    number = "(2)"
    text = "E(f(Y) X | Y = y) = f(y) E(X | Y = y)"

    def left(self, instance: ConditionalSpace) -> Enclosure:
        """Return the largest difference over the values y and the components."""
        space, worst = instance.space, Fraction(0)
        for value in set(space.y):
            law = instance.kernel(space, space.x, value)
            for component in range(len(space.x[0])):
                mean = sum((mass * point[component] for point, mass in law.items()), Fraction(0))
                factors = [instance.factor(y) for y in space.y]
                product = [f[component % len(f)] * x[component] for f, x in zip(factors, space.x, strict=True)]
                # the left side by its definition: the integral over {Y = y} divided by its probability
                where = [y == value for y in space.y]
                mass = space.expectation([Fraction(1)] * len(where), where.__getitem__)
                wanted = space.expectation(product, where.__getitem__) / mass
                factor = instance.factor(value)
                worst = max(worst, abs(factor[component % len(factor)] * mean - wanted))
        return exactly(worst)


class Equation3(_Equality):
    """Conditional laws are pushed forward like laws."""

    number = "(3)"
    text = "P_(X|Y)(., T^{-1}(.)) = P_(T o X|Y)"

    def left(self, instance: ConditionalSpace) -> Enclosure:
        """Return the largest total variation over the values y."""
        space, worst = instance.space, Fraction(0)
        images = tuple(instance.transform(point) for point in space.x)
        for value in set(space.y):
            pushed: Law = {}
            for point, mass in instance.kernel(space, space.x, value).items():
                image = instance.transform(point)
                pushed[image] = pushed.get(image, Fraction(0)) + mass
            worst = max(worst, distance_of_laws(pushed, space.conditional_law(images, value)))
        return exactly(worst)
