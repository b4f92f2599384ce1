r"""Remark 3: $L_x\le\mathrm{Lip}(T^{-1})\,L_z$ for $D=W_1$: an inverse that is not steep carries latent accuracy to the data.

Proof. Push an optimal plan of $T_\#P_X$ and $P_{(Y,Z)}$ forward by $T^{-1}$ in both arguments. It uses $T^{-1}$ on the supports
only, so for finite laws the constant over pairs of support points will do, and both sides are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lipbounds.distances.transport import distance_error, extent
from lipbounds.distances.wasserstein import wasserstein
from lipbounds.enclosure import Enclosure, Guarantee, derived
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.rounding import gamma, product
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Remark3", "TransportedLaws", "lipschitz_on"]

Array = NDArray[np.float64]


def lipschitz_on(points: Array, images: Array, *, image_error: float = 0.0) -> Enclosure:
    """Return the largest quotient |f(a) - f(b)| / |a - b| over pairs of finitely many points, rounding included.

    Args:
        points: Shape (n, d).
        images: Their images, shape (n, m). Equal points must have equal images.
        image_error: How far a computed image may be from the true one; 0 if f is the map that the numbers give.

    Raises:
        InvalidInput: If a point has two images.

    Example:
        >>> round(lipschitz_on(np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [2.0], [3.0]])).upper, 12)
        2.0
    """
    units = [extent(values, values) for values in (points, images)]
    apart, images_apart = (cdist(values / unit, values / unit) for values, unit in zip((points, images), units, strict=True))
    same = (points[:, None] == points[None]).all(2)
    if (images[:, None] != images[None])[same].any():
        raise InvalidInput("points", "one point with two images", "a map", "the images must come from a function")
    off = 2 * image_error / units[1]
    error = distance_error(points.shape[1]) + distance_error(images.shape[1]) + gamma(4)
    low, high = (
        # a distance that underflows after the division by the extent leaves the quotient unknown
        float(
            np.divide(np.maximum(images_apart + sign * off, 0.0), apart, out=np.where(same, 0.0, none), where=apart > 0.0).max()
        )
        for sign, none in ((-1.0, 0.0), (1.0, np.inf))
    )
    ratio = units[1] / units[0]
    low, high = low * (1 - error) * ratio, high * (1 + error) * ratio
    return Enclosure(math.nextafter(low, 0.0), math.nextafter(high, math.inf), Guarantee.EXACT, "maximum over pairs")


@dataclass(frozen=True, eq=False)
class TransportedLaws:
    """An instance of Remark 3: two laws of finite support in latent space and their images under T^{-1}.

    Attributes:
        image: T_# P_X, atoms of shape (n, d).
        latent: P_(Y, Z), atoms of shape (m, d).
        data: T^{-1} of the first atoms: the data themselves, shape (n, d).
        generated: T^{-1} of the second, shape (m, d).
        lipschitz: Enclosure of Lip(T^{-1}) on a set with all atoms; the constant over the pairs of atoms if None.
    """

    image: Discrete
    latent: Discrete
    data: Array
    generated: Array
    lipschitz: Enclosure | None = None

    @property
    def constant(self) -> Enclosure:
        """The constant that the right side uses."""
        if self.lipschitz is not None:
            return self.lipschitz
        points = np.concatenate((self.image.points, self.latent.points))
        return lipschitz_on(points, np.concatenate((self.data, self.generated)))

    @property
    def losses(self) -> tuple[Enclosure, Enclosure]:
        """L_x and L_z with D = W_1."""
        data, generated = self.image.with_points(self.data), self.latent.with_points(self.generated)
        return wasserstein(data, generated), wasserstein(self.image, self.latent)


class Remark3(Statement[TransportedLaws]):
    """The loss in data space is bounded by the loss in latent space and the constant of the inverse."""

    number = "Remark 3"
    version = "printed"
    text = "L_x <= Lip(T^{-1}) L_z for D = W_1"

    def hypotheses(self, instance: TransportedLaws) -> list[Hypothesis]:
        """Return that T^{-1} is Lipschitz continuous on the supports."""
        return [Hypothesis("Lip(T^{-1}) finite", instance.constant.lower < float("inf"))]

    def left(self, instance: TransportedLaws) -> Enclosure:
        """Return L_x."""
        return instance.losses[0]

    def right(self, instance: TransportedLaws) -> Enclosure:
        """Return the bound."""
        constant, loss = instance.constant, instance.losses[1]
        ends = product((constant.lower, constant.upper), (loss.lower, loss.upper))
        return derived(*ends, "constant times W_1", constant, loss)

    def extremal(self) -> TransportedLaws:
        """Return the case of equality: two point masses one apart, T^{-1} = 3 id."""
        one, zero = np.ones((1, 1)), np.zeros((1, 1))
        return TransportedLaws(Discrete(zero), Discrete(one), zero, 3 * one)
