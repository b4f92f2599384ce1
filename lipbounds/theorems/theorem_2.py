r"""Theorem 2: the posterior that an approximate network generates, as printed (false) and repaired.

Printed: if $|(Y,Z)|\le r$ and $|(Y,X)|\le r$ almost everywhere, $E|T_y(X)-Y|^2\le\epsilon$ and
$\|P_{(Y,Z)}-P_{(Y,T_z(X))}\|_{TV}\le\delta$, then for all A with $P_Y(A)\ne0$
$$W_1\big(P_{(X|Y\in A)},\,T^{-1}_\#P_{(Y,Z|Y\in A)}\big)\le\mathrm{Lip}(T^{-1})\Big(\frac{\epsilon^{1/2}}{P_Y(A)^{1/2}}
+\frac{2r\,\mathrm{Lip}(T)}{P_Y(A)}\delta\Big).$$

The proof bounds the diameter of the space on which the total variation is turned into W_1 by $2r\,\mathrm{Lip}(T)$, from
$|(Y,T_z(X))|\le r\,\mathrm{Lip}(T)$. That needs $T_z(0)=0$ and $\mathrm{Lip}(T)\ge1$. Both fail easily: a translation
has Lip(T) = 1 and moves T_z(X) anywhere; a contraction cX has a small Lip(T) and leaves Z where it is.

Repaired: both laws share the marginal of Y, so mass is moved with Y fixed, and the distance it moves is at most the
diameter of $\mathrm{supp}\,Z\cup\mathrm{supp}\,T_z(X)$, which replaces $2r\,\mathrm{Lip}(T)$.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from flint import arb, arb_mat, fmpq, fmpq_mat
from numpy.typing import NDArray

from lipbounds.arb import as_ball, column, ends, exact_row, spectral_norm, working_precision
from lipbounds.distances.inputs import as_weights
from lipbounds.distances.wasserstein import wasserstein
from lipbounds.enclosure import Enclosure, Guarantee, derived
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.rounding import gamma
from lipbounds.theorems.finite import Law, Point, distance_of_laws, squared_distance
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["AffinePosterior", "Theorem2", "Theorem2Printed", "contraction", "translation"]

Array = NDArray[np.float64]

BITS = 256  # of roots and singular values; all else is in fractions


@dataclass(frozen=True, eq=False)
class AffinePosterior:
    r"""A finite probability space with X, Y, Z on it, an affine bijection T, and a set A of values of Y.

    Attributes:
        probabilities: Of the outcomes, shape (w,), sum 1.
        x: Values of X, shape (w, d).
        y: Values of Y, shape (w, n).
        z: Values of Z, shape (w, k), n + k = d.
        matrix: Of T, shape (d, d), invertible.
        offset: T(0), shape (d,).
        conditioned: Whether Y lies in A, shape (w,); a function of y.
    """

    probabilities: Array
    x: Array
    y: Array
    z: Array
    matrix: Array
    offset: Array
    conditioned: NDArray[np.bool_]

    def __post_init__(self) -> None:
        d = self.x.shape[1]
        if self.y.shape[1] + self.z.shape[1] != d or self.matrix.shape != (d, d) or self.offset.shape != (d,):
            shapes = (self.x.shape, self.y.shape, self.z.shape, self.matrix.shape, self.offset.shape)
            raise InvalidInput(
                "x, y, z, matrix, offset", shapes, "shapes (w, d), (w, n), (w, d - n), (d, d), (d,)", "see the docstring"
            )
        as_weights("probabilities", self.probabilities, len(self.x))
        if self.conditioned.shape != (len(self.x),):
            raise InvalidInput("conditioned", self.conditioned.shape, f"shape ({len(self.x)},)", "one truth value an outcome")
        if not all(np.isfinite(part).all() for part in (self.x, self.y, self.z, self.matrix, self.offset)):
            raise InvalidInput("x, y, z, matrix, offset", "NaN or infinite entries", "finite numbers", "repair these entries")
        if not self.probabilities[self.conditioned].sum() > 0:
            raise InvalidInput("conditioned", "a set A of probability 0", "P_Y(A) > 0", "choose another set")
        if fmpq_mat(_fractions(self.matrix)).det() == 0:
            raise InvalidInput("matrix", "a singular matrix", "an invertible one", "T is a bijection")

    @cached_property
    def masses(self) -> list[Fraction]:
        """The probabilities divided by their sum, exactly."""
        given = [Fraction(value) for value in self.probabilities.tolist()]
        return [value / sum(given) for value in given]

    @cached_property
    def image(self) -> list[Point]:
        """T(X), exactly."""
        rows = [[Fraction(value) for value in row] for row in self.matrix.tolist()]
        offset = [Fraction(value) for value in self.offset.tolist()]
        return [
            tuple(sum((m * v for m, v in zip(row, point, strict=True)), shift) for row, shift in zip(rows, offset, strict=True))
            for point in _points(self.x)
        ]

    @property
    def mass(self) -> Fraction:
        """P_Y(A)."""
        return sum((mass for mass, inside in zip(self.masses, self.conditioned.tolist(), strict=True) if inside), Fraction(0))

    @property
    def epsilon(self) -> Fraction:
        """E|T_y(X) - Y|^2, a square."""
        gaps = (squared_distance(image[: len(y)], y) for image, y in zip(self.image, _points(self.y), strict=True))
        return sum((mass * gap for mass, gap in zip(self.masses, gaps, strict=True)), Fraction(0))

    @property
    def delta(self) -> Fraction:
        """Total variation of (Y, Z) and (Y, T_z(X))."""
        n = self.y.shape[1]
        laws: tuple[Law, Law] = ({}, {})
        for mass, y, z, image in zip(self.masses, _points(self.y), _points(self.z), self.image, strict=True):
            for law, point in zip(laws, (y + z, y + image[n:]), strict=True):
                law[point] = law.get(point, Fraction(0)) + mass
        return distance_of_laws(*laws)

    @property
    def radius(self) -> Enclosure:
        """The smallest r with |(Y, Z)| <= r and |(Y, X)| <= r."""
        present = [mass > 0 for mass in self.masses]
        pairs = [
            sum((v * v for v in y + part), Fraction(0))
            for values in (self.z, self.x)
            for y, part, there in zip(_points(self.y), _points(values), present, strict=True)
            if there
        ]
        return _root(max(pairs))

    @property
    def latent_diameter(self) -> Enclosure:
        """The diameter of the supports of Z and T_z(X) together."""
        n = self.y.shape[1]
        points = {point for point, mass in zip(_points(self.z), self.masses, strict=True) if mass > 0}
        points |= {image[n:] for image, mass in zip(self.image, self.masses, strict=True) if mass > 0}
        return _root(max((squared_distance(a, b) for a in points for b in points), default=Fraction(0)))

    @property
    def lipschitz(self) -> tuple[Enclosure, Enclosure]:
        """Lip(T) and Lip(T^{-1})."""
        exact = fmpq_mat(_fractions(self.matrix))
        return _largest_singular_value(exact), _largest_singular_value(exact.inv())

    @property
    def error(self) -> Enclosure:
        """W_1 of the true posterior given Y in A and the generated one."""
        chosen = np.flatnonzero(self.conditioned)
        inverse = fmpq_mat(_fractions(self.matrix)).inv()
        latent = np.concatenate((self.y, self.z), axis=1)[chosen]
        moved = fmpq_mat(
            [[_fmpq(a) - _fmpq(b) for a, b in zip(row, self.offset.tolist(), strict=True)] for row in latent.tolist()]
        )
        generated = (inverse * moved.transpose()).transpose()
        rounded = np.array([[int(v.p) / int(v.q) for v in row] for row in generated.tolist()])
        shares = self.probabilities[chosen]
        value = wasserstein(Discrete.of_shares(self.x[chosen], shares), Discrete.of_shares(rounded, shares))
        # each generated point is the nearest double in every coordinate, and mostly the point itself
        exact = all(
            Fraction(near) == Fraction(int(v.p), int(v.q))
            for row, points in zip(generated.tolist(), rounded.tolist(), strict=True)
            for v, near in zip(row, points, strict=True)
        )
        off = 0.0 if exact else gamma(2) * float(np.linalg.norm(rounded, axis=1).max()) + 1e-300
        return derived(max(0.0, value.lower - off), value.upper + off, value.method, value)


def _fmpq(value: float) -> fmpq:
    return fmpq(*value.as_integer_ratio())


def _fractions(matrix: Array) -> list[list[fmpq]]:
    return [[_fmpq(value) for value in row] for row in matrix.tolist()]


def _points(values: Array) -> list[Point]:
    return [tuple(Fraction(value) for value in row) for row in values.tolist()]


def _root(square: Fraction) -> Enclosure:
    with working_precision(BITS):
        return Enclosure(*ends(as_ball(square).sqrt()), Guarantee.CERTIFIED, "fractions")


def _largest_singular_value(matrix: fmpq_mat) -> Enclosure:
    """By singular vectors from floats: the quotient of one is a lower bound, all together check the upper one."""
    with working_precision(BITS):
        ball = arb_mat(matrix)
        direction = np.linalg.svd(np.array([[float(v.mid()) for v in row] for row in ball.tolist()]))[2][0]
        vector = column(exact_row(direction))
        squares = ((v * v for v in part.entries()) for part in (ball * vector, vector))
        reached, length = (sum(terms, arb(0)).sqrt() for terms in squares)
        return Enclosure(ends(reached / length)[0], ends(spectral_norm(ball))[1], Guarantee.CERTIFIED, "singular vectors")


def _bound(instance: AffinePosterior, diameter: arb) -> Enclosure:
    mass, steep = as_ball(instance.mass), _ball(instance.lipschitz[1])
    value = steep * ((as_ball(instance.epsilon) / mass).sqrt() + diameter * as_ball(instance.delta) / mass)
    low, high = ends(value)
    return Enclosure(max(0.0, low), high, Guarantee.CERTIFIED, "finite sums, ball arithmetic")


def _ball(enclosure: Enclosure) -> arb:
    return arb(enclosure.lower).union(arb(enclosure.upper))


class Theorem2Printed(Statement[AffinePosterior]):
    """Theorem 2 as printed; `translation` and `contraction` refute it."""

    number = "Theorem 2"
    version = "printed"
    text = "W_1(P_(X|Y in A), T^-1 # P_(Y,Z|Y in A)) <= Lip(T^-1) (sqrt(eps / P(A)) + 2 r Lip(T) delta / P(A))"

    def hypotheses(self, instance: AffinePosterior) -> list[Hypothesis]:
        """Return the bounds that the finite law has by construction."""
        radius = instance.radius.upper
        return [Hypothesis(f"|(Y, Z)|, |(Y, X)| <= r = {radius:.4g}", radius < math.inf)]

    def left(self, instance: AffinePosterior) -> Enclosure:
        """Return the distance of the posteriors."""
        return instance.error

    def right(self, instance: AffinePosterior) -> Enclosure:
        """Return the printed bound."""
        with working_precision(BITS):
            return _bound(instance, 2 * _ball(instance.radius) * _ball(instance.lipschitz[0]))

    def extremal(self) -> AffinePosterior:
        """Return a counterexample, the translation: left side 10, right side below 2."""
        return translation()


class Theorem2(Statement[AffinePosterior]):
    """Theorem 2 with the diameter that its proof needs."""

    number = "Theorem 2"
    version = "repaired"
    text = "... <= Lip(T^-1) (sqrt(eps / P(A)) + diam(supp Z u supp T_z(X)) delta / P(A))"

    def hypotheses(self, instance: AffinePosterior) -> list[Hypothesis]:
        """Return that the supports are bounded."""
        diameter = instance.latent_diameter.upper
        return [Hypothesis(f"diam = {diameter:.4g} finite", diameter < math.inf)]

    def left(self, instance: AffinePosterior) -> Enclosure:
        """Return the distance of the posteriors."""
        return instance.error

    def right(self, instance: AffinePosterior) -> Enclosure:
        """Return the repaired bound."""
        with working_precision(BITS):
            return _bound(instance, _ball(instance.latent_diameter))

    def extremal(self) -> AffinePosterior:
        """Return the contraction, a case of equality up to rounding."""
        return contraction()


def translation(shift: float = 10.0) -> AffinePosterior:
    """Erratum E1, first half: T(x_1, x_2) = (x_1, x_2 + shift), Y = X_1, Z = X_2, four outcomes on a square of side 1.

    Lip(T) = Lip(T^{-1}) = 1, epsilon = 0, delta = 1 and r < 1, so the printed bound is below 2; the distance is the shift.
    """
    corners = np.array([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    return AffinePosterior(
        probabilities=np.full(4, 0.25),
        x=corners,
        y=corners[:, :1],
        z=corners[:, 1:],
        matrix=np.eye(2),
        offset=np.array([0.0, shift]),
        conditioned=np.ones(4, dtype=bool),
    )


def contraction(factor: float = 0.1) -> AffinePosterior:
    """Erratum E1, second half: T = factor Id, Y = 0, X = (0, 1), Z = -1: one outcome.

    The distance is 1 + 1 / factor, the printed bound 2 r Lip(T) Lip(T^{-1}) = 2.
    """
    return AffinePosterior(
        probabilities=np.ones(1),
        x=np.array([[0.0, 1.0]]),
        y=np.zeros((1, 1)),
        z=np.array([[-1.0]]),
        matrix=factor * np.eye(2),
        offset=np.zeros(2),
        conditioned=np.ones(1, dtype=bool),
    )
