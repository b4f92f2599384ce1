r"""Theorem 1: a perfectly trained network samples from the posterior.

If $T\circ X$ and (Y, Z) have one law and $T_y\circ X=Y$ almost everywhere, then for $P_Y$-almost every y
$$P_{(X|Y)}(y,\cdot)=T^{-1}_\#(\delta_y\otimes P_{(Z|Y)}(y,\cdot)).$$
Z may depend on Y, and nothing needs a density. Checked without rounding: on finite spaces in fractions, and for Gaussians with
rational parameters, where both sides are degenerate Gaussians, whose means and covariances are exact linear algebra.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from flint import fmpq, fmpq_mat

from lipbounds.enclosure import Enclosure
from lipbounds.errors import InvalidInput
from lipbounds.theorems.finite import FiniteSpace, Law, Point, distance_of_laws, exactly
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["FinitePosterior", "GaussianPosterior", "Theorem1", "Theorem1Gaussian"]


@dataclass(frozen=True)
class FinitePosterior:
    """An instance on a finite space.

    Attributes:
        space: With X, Y and Z.
        forward: T on the values of X, to pairs of a value of Y and one of Z. Injective; its inverse is T^{-1}.
    """

    space: FiniteSpace
    forward: dict[Point, tuple[Point, Point]]

    @property
    def backward(self) -> dict[tuple[Point, Point], Point]:
        """T^{-1} on the image of T."""
        return {pair: point for point, pair in self.forward.items()}


class Theorem1(Statement[FinitePosterior]):
    """The posterior is the push-forward of the latent law at y, on finite spaces."""

    number = "Theorem 1"
    version = "printed"
    text = "P_(X|Y)(y, .) = T^{-1}_# (delta_y x P_(Z|Y)(y, .))"

    def hypotheses(self, instance: FinitePosterior) -> list[Hypothesis]:
        """Return that T is injective, T o X and (Y, Z) have one law, and T_y o X = Y."""
        space = instance.space
        images = [instance.forward[x] for x in space.x]
        same = distance_of_laws(
            space.law([y + z for y, z in images]), space.law([y + z for y, z in zip(space.y, space.z, strict=True)])
        )
        return [
            Hypothesis("T injective", len(instance.backward) == len(instance.forward)),
            Hypothesis("T o X and (Y, Z) have one law", same == 0),
            Hypothesis("T_y o X = Y", all(image[0] == y for image, y in zip(images, space.y, strict=True))),
        ]

    def left(self, instance: FinitePosterior) -> Enclosure:
        """Return the largest total variation of both sides over the values y."""
        space, worst = instance.space, Fraction(0)
        nowhere: Point = (Fraction(1, 7), Fraction(1, 7), Fraction(1, 7), Fraction(1, 7))
        for y in set(space.y):
            generated: Law = {}
            for z, mass in space.conditional_law(space.z, y).items():
                # a latent point outside the image of T counts as a point of its own
                point = instance.backward.get((y, z), nowhere + z)
                generated[point] = generated.get(point, Fraction(0)) + mass
            worst = max(worst, distance_of_laws(space.conditional_law(space.x, y), generated))
        return exactly(worst)

    def right(self, instance: FinitePosterior) -> Enclosure:
        """Return 0."""
        return exactly(Fraction(0))

    def extremal(self) -> FinitePosterior:
        """Return a posterior with two modes at one y and one at the other; Z depends on Y. Both sides are equal."""
        return posterior_with_two_modes()


def posterior_with_two_modes() -> FinitePosterior:
    """X in {0, 1, 2}, Y = 1 for X = 2 else 0, T(x) = (y, z) with z numbering the values of X at y."""
    number = [(Fraction(k),) for k in range(3)]
    x = (number[0], number[1], number[2])
    y = (number[0], number[0], number[1])
    z = (number[0], number[1], number[0])
    probabilities = (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6))
    return FinitePosterior(FiniteSpace(probabilities, x, y, z), dict(zip(x, zip(y, z, strict=True), strict=True)))


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """An instance with $X\\sim N(m,S)$, an affine T = (A x + a, B x + b), Y = T_y X and Z with the conditional law of T_z X.

    Attributes:
        mean: m, a column of d rationals.
        covariance: S, symmetric positive definite, shape (d, d).
        matrix: Of T, shape (d, d), invertible; its first n rows give T_y.
        offset: T(0), a column.
        n: Dimension of Y, 0 < n < d.
        y: The value of Y, a column of n rationals.
        latent_shift: Added to the mean of Z given Y = y; 0 unless the hypothesis on the laws is to fail.
    """

    mean: fmpq_mat
    covariance: fmpq_mat
    matrix: fmpq_mat
    offset: fmpq_mat
    n: int
    y: fmpq_mat
    latent_shift: int = 0

    def __post_init__(self) -> None:
        d = self.mean.nrows()
        if not 0 < self.n < d or self.matrix.det() == 0:
            raise InvalidInput("n, matrix", (self.n, str(self.matrix.det())), "0 < n < d, det != 0", "T is a bijection")

    def posterior(self) -> tuple[fmpq_mat, fmpq_mat]:
        """Mean and covariance of X given T_y X = y, by the formula for linear observations of a Gaussian."""
        a = _block(self.matrix, range(self.n), range(self.mean.nrows()))
        observed = a * self.mean + _block(self.offset, range(self.n), range(1))
        gain = self.covariance * a.transpose() * (a * self.covariance * a.transpose()).inv()
        return self.mean + gain * (self.y - observed), self.covariance - gain * a * self.covariance

    def generated(self) -> tuple[fmpq_mat, fmpq_mat]:
        """Mean and covariance of T^{-1}(y, Z), Z with its law given Y = y."""
        d = self.mean.nrows()
        mean, joint = self.matrix * self.mean + self.offset, self.matrix * self.covariance * self.matrix.transpose()
        first, rest = range(self.n), range(self.n, d)
        gain = _block(joint, rest, first) * _block(joint, first, first).inv()
        z_mean = _block(mean, rest, range(1)) + gain * (self.y - _block(mean, first, range(1)))
        z_covariance = _block(joint, rest, rest) - gain * _block(joint, first, rest)
        latent, spread = fmpq_mat(d, 1), fmpq_mat(d, d)
        for i in range(d):
            latent[i, 0] = self.y[i, 0] if i < self.n else z_mean[i - self.n, 0] + self.latent_shift
            for j in range(self.n, d) if i >= self.n else ():
                spread[i, j] = z_covariance[i - self.n, j - self.n]
        back = self.matrix.inv()
        return back * (latent - self.offset), back * spread * back.transpose()


def _block(matrix: fmpq_mat, rows: range, columns: range) -> fmpq_mat:
    return fmpq_mat(len(rows), len(columns), [matrix[i, j] for i in rows for j in columns])


class Theorem1Gaussian(Statement[GaussianPosterior]):
    """The same for Gaussians, in rational linear algebra."""

    number = "Theorem 1"
    version = "printed"
    text = "mean and covariance of P_(X|Y)(y, .) and of T^{-1}_# (delta_y x P_(Z|Y)(y, .)) agree"

    def hypotheses(self, instance: GaussianPosterior) -> list[Hypothesis]:
        """Return that (Y, Z) has the law of T o X."""
        return [Hypothesis("T o X and (Y, Z) have one law", instance.latent_shift == 0)]

    def left(self, instance: GaussianPosterior) -> Enclosure:
        """Return the largest difference of an entry of the means or covariances."""
        pairs = zip(instance.posterior(), instance.generated(), strict=True)
        entries = [abs(entry) for one, other in pairs for entry in (one - other).entries()]
        worst = max(entries, default=fmpq(0))
        return exactly(Fraction(int(worst.p), int(worst.q)))

    def right(self, instance: GaussianPosterior) -> Enclosure:
        """Return 0."""
        return exactly(Fraction(0))

    def extremal(self) -> GaussianPosterior:
        """Return an oblique instance in the plane; both sides are equal."""
        return GaussianPosterior(
            mean=fmpq_mat(2, 1, [1, -1]),
            covariance=fmpq_mat(2, 2, [2, 1, 1, 3]),
            matrix=fmpq_mat(2, 2, [1, 2, 0, 1]),
            offset=fmpq_mat(2, 1, [0, fmpq(1, 2)]),
            n=1,
            y=fmpq_mat(1, 1, [4]),
        )
