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
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from lipbounds.distances.total_variation import total_variation
from lipbounds.distances.wasserstein import wasserstein
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["AffinePosterior", "Theorem2", "Theorem2Printed", "contraction", "translation"]

Array = NDArray[np.float64]

ROUNDING = 1e-12  # of norms, roots and products of a handful of numbers, relative


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
        if np.linalg.matrix_rank(self.matrix) < d:
            raise InvalidInput("matrix", "a singular matrix", "an invertible one", "T is a bijection")
        if not self.probabilities[self.conditioned].sum() > 0:
            raise InvalidInput("conditioned", "a set A of probability 0", "P_Y(A) > 0", "choose another set")

    @cached_property
    def image(self) -> Array:
        """T(X), shape (w, d)."""
        return np.asarray(self.x @ self.matrix.T + self.offset)

    @property
    def mass(self) -> float:
        """P_Y(A)."""
        return float(self.probabilities[self.conditioned].sum())

    @property
    def epsilon(self) -> float:
        """E|T_y(X) - Y|^2, a square."""
        gaps = self.image[:, : self.y.shape[1]] - self.y
        return float(self.probabilities @ (gaps**2).sum(1))

    @property
    def delta(self) -> float:
        """Total variation of (Y, Z) and (Y, T_z(X))."""
        generated = np.concatenate((self.y, self.image[:, self.y.shape[1] :]), axis=1)
        wanted = np.concatenate((self.y, self.z), axis=1)
        return total_variation(wanted, generated, x_weights=self.probabilities, y_weights=self.probabilities).upper

    @property
    def radius(self) -> float:
        """The smallest r with |(Y, Z)| <= r and |(Y, X)| <= r."""
        pairs = (np.concatenate((self.y, part), axis=1) for part in (self.z, self.x))
        return max(float(np.linalg.norm(pair, axis=1).max()) for pair in pairs)

    @property
    def latent_diameter(self) -> float:
        """The diameter of the supports of Z and T_z(X) together."""
        present = self.probabilities > 0
        points = np.concatenate((self.z[present], self.image[present, self.y.shape[1] :]))
        return float(pdist(points).max())

    @property
    def lipschitz(self) -> tuple[float, float]:
        """Lip(T) and Lip(T^{-1})."""
        values = np.linalg.svd(self.matrix, compute_uv=False)
        return float(values[0]), float(1.0 / values[-1])

    @property
    def error(self) -> Enclosure:
        """W_1 of the true posterior given Y in A and the generated one."""
        weights = self.probabilities[self.conditioned] / self.mass
        latent = np.concatenate((self.y, self.z), axis=1)[self.conditioned]
        generated = np.linalg.solve(self.matrix, (latent - self.offset).T).T
        value = wasserstein(Discrete(self.x[self.conditioned], weights), Discrete(generated, weights))
        return Enclosure(value.lower * (1 - ROUNDING), value.upper * (1 + ROUNDING), value.guarantee, value.method)


def _bound(instance: AffinePosterior, diameter: float) -> Enclosure:
    _, inverse = instance.lipschitz
    value = inverse * (math.sqrt(instance.epsilon / instance.mass) + diameter * instance.delta / instance.mass)
    return Enclosure(value * (1 - ROUNDING), value * (1 + ROUNDING), Guarantee.EXACT, "finite sums")


class Theorem2Printed(Statement[AffinePosterior]):
    """Theorem 2 as printed; `translation` and `contraction` refute it."""

    number = "Theorem 2"
    version = "printed"
    text = "W_1(P_(X|Y in A), T^-1 # P_(Y,Z|Y in A)) <= Lip(T^-1) (sqrt(eps / P(A)) + 2 r Lip(T) delta / P(A))"

    def hypotheses(self, instance: AffinePosterior) -> list[Hypothesis]:
        """Return the bounds that the finite law has by construction."""
        return [Hypothesis(f"|(Y, Z)|, |(Y, X)| <= r = {instance.radius:.4g}", math.isfinite(instance.radius))]

    def left(self, instance: AffinePosterior) -> Enclosure:
        """Return the distance of the posteriors."""
        return instance.error

    def right(self, instance: AffinePosterior) -> Enclosure:
        """Return the printed bound."""
        return _bound(instance, 2 * instance.radius * instance.lipschitz[0])

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
        return [Hypothesis(f"diam = {instance.latent_diameter:.4g} finite", math.isfinite(instance.latent_diameter))]

    def left(self, instance: AffinePosterior) -> Enclosure:
        """Return the distance of the posteriors."""
        return instance.error

    def right(self, instance: AffinePosterior) -> Enclosure:
        """Return the repaired bound."""
        return _bound(instance, instance.latent_diameter)

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
