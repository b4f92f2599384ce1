r"""Inequality (13) and its ingredients: $\mathrm{Lip}(s)\le\prod\|A_i\|_2$, a coupling layer on a box, products of layers.

The constants are those of `lipbounds.maps.layer_constants`. Checked on the quotients over finitely many points of the box, which
are exact lower bounds of the constants: they confirm the inequality for these points, and would refute it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import get_activation
from lipbounds.maps.layer_constants import CouplingNumbers, bound_of_coupling, bound_of_network, lipschitz_of_mlp
from lipbounds.rounding import EPS
from lipbounds.theorems.remark_3 import lipschitz_on
from lipbounds.theorems.statement import Hypothesis, Statement, Version

__all__ = ["ClampedCoupling", "Inequality13", "LayersOnBox", "MatrixProduct", "Mlp", "MlpOnPoints", "SharpInequality13"]

Array = NDArray[np.float64]

LARGEST_CLAMP = 709.0  # exp of more is beyond the doubles
NORMS_ERROR = 1e-12  # of a product of spectral norms that is bounded from above: far more than its balls' radii


@dataclass(frozen=True, eq=False)
class Mlp:
    """A fully connected network in numpy.

    Attributes:
        weights: Matrices of shape (out, in), input side first.
        biases: Vectors of shape (out,).
        activation: Between the layers.
    """

    weights: Sequence[Array]
    biases: Sequence[Array]
    activation: str = "relu"

    def __call__(self, x: Array) -> Array:
        """Evaluate at rows."""
        for index, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ matrix.T + bias
            if index < len(self.weights) - 1:
                x = get_activation(self.activation).coefficients(x, 1)[0]
        return x

    def error(self, size: float, inherited: float = 0.0) -> float:
        """Bound the rounding of an output, for inputs up to `size` that are themselves wrong by `inherited`."""
        error = inherited
        for matrix, bias in zip(self.weights, self.biases, strict=True):
            spread = float(np.abs(matrix).sum(1).max())
            largest = spread * (size + error) + float(np.abs(bias).max(initial=0.0))
            # a sum of k products, a bias, and an activation of slope at most 1.1 good to a few ulps
            error = 1.1 * (spread * error + (matrix.shape[1] + 8) * EPS * largest)
            size = 1.1 * largest
        return error


@dataclass(frozen=True, eq=False)
class MlpOnPoints:
    """An instance of the product bound: a network and the points over which its quotients are taken."""

    network: Mlp
    points: Array


class MatrixProduct(Statement[MlpOnPoints]):
    """A network with 1-Lipschitz activations is at most as steep as the product of its matrix norms."""

    number = "Section 4, Lip(s)"
    version = "printed"
    text = "Lip(s) <= prod |A_i|_2"

    def hypotheses(self, instance: MlpOnPoints) -> list[Hypothesis]:
        """Return that the activation is 1-Lipschitz: silu is not."""
        slope = get_activation(instance.network.activation).slope
        return [Hypothesis(f"slope of {instance.network.activation} {slope} <= 1", slope <= 1.0)]

    def left(self, instance: MlpOnPoints) -> Enclosure:
        """Return the largest quotient over the points."""
        error = math.sqrt(len(instance.network.biases[-1])) * instance.network.error(float(np.abs(instance.points).max()))
        return lipschitz_on(instance.points, instance.network(instance.points), image_error=error)

    def right(self, instance: MlpOnPoints) -> Enclosure:
        """Return the product."""
        bound = lipschitz_of_mlp(instance.network.weights, "linear")
        # the product itself, which the largest quotients of singular vectors attain up to rounding
        return Enclosure(bound.upper * (1 - NORMS_ERROR), bound.upper, bound.guarantee, "product of norms")

    def extremal(self) -> MlpOnPoints:
        """Return the case of equality: aligned matrices of rank one on the positive axis, where relu does nothing."""
        network = Mlp([np.array([[2.0], [0.0]]), np.array([[3.0, 0.0]])], [np.zeros(2), np.zeros(1)])
        return MlpOnPoints(network, np.array([[0.0], [1.0], [2.0]]))


@dataclass(frozen=True, eq=False)
class ClampedCoupling:
    r"""The layer $S(x_1,x_2)=(x_1,x_2\odot e^{s(x_1)}+t(x_1))$, s and t clamped by $\frac{2\alpha}\pi\arctan(\cdot/\alpha)$.

    Attributes:
        s: Network from the first half to the second.
        t: Likewise.
        clamp: alpha of s.
        clamp_t: Of t.
    """

    s: Mlp
    t: Mlp
    clamp: float
    clamp_t: float

    def _coefficients(self, x_1: Array) -> tuple[Array, Array]:
        s, t = self.s(x_1), self.t(x_1)
        clamped = [2 * a / math.pi * np.arctan(v / a) if a > 0 else 0.0 * v for v, a in ((s, self.clamp), (t, self.clamp_t))]
        return clamped[0], clamped[1]

    def forward(self, x: Array) -> Array:
        """S at rows."""
        n = self.s.weights[0].shape[1]
        s, t = self._coefficients(x[:, :n])
        return np.concatenate((x[:, :n], x[:, n:] * np.exp(s) + t), axis=1)

    def inverse(self, v: Array) -> Array:
        """S^{-1} at rows."""
        n = self.s.weights[0].shape[1]
        s, t = self._coefficients(v[:, :n])
        return np.concatenate((v[:, :n], (v[:, n:] - t) * np.exp(-s)), axis=1)

    def error(self, size: float, inherited: float) -> float:
        """Bound the rounding of a coordinate of S or its inverse, for inputs up to `size` wrong by `inherited`."""
        wrong_s, wrong_t = (net.error(size, inherited) for net in (self.s, self.t))
        grown = math.exp(self.clamp) if self.clamp < LARGEST_CLAMP else math.inf
        largest = (size + self.clamp_t) * grown
        return grown * (inherited + wrong_t) + largest * (wrong_s + 16 * EPS) + inherited

    @property
    def numbers(self) -> CouplingNumbers:
        """What (13) needs: the clamp has slope 2 / pi at most."""
        # the slope 2 / pi of the clamp, rounded up
        lips = [lipschitz_of_mlp(net.weights, net.activation).upper * (2 / math.pi) * (1 + 2 * EPS) for net in (self.s, self.t)]
        return CouplingNumbers(lips[0] if self.clamp > 0 else 0.0, lips[1] if self.clamp_t > 0 else 0.0, self.clamp, self.clamp_t)


@dataclass(frozen=True, eq=False)
class LayersOnBox:
    """An instance of (13) and its product: layers that act one after the other, halves swapped between them.

    Attributes:
        layers: In order of action.
        radius: Half the side of the box.
        points: Of the box, shape (n, d).
        inverse: Whether the layers act by their inverses.
    """

    layers: Sequence[ClampedCoupling]
    radius: float
    points: Array
    inverse: bool = False

    def __post_init__(self) -> None:
        largest = float(np.abs(self.points).max())
        if largest > self.radius:
            raise InvalidInput("points", largest, f"coordinates within {self.radius}", "the bound holds on the box")

    @property
    def images(self) -> tuple[Array, float]:
        """Of the points, and a bound of their rounding."""
        x, error = self.points, 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # beyond the doubles nothing is known of the quotients
            for layer in self.layers:
                error = layer.error(float(np.abs(x).max()), error)
                x = (layer.inverse if self.inverse else layer.forward)(x)[:, ::-1]
        return x, math.sqrt(x.shape[1]) * error


class Inequality13(Statement[LayersOnBox]):
    """A coupling layer, its inverse and their compositions are at most as steep as (13) says."""

    number = "(13)"
    version: ClassVar[Version] = "printed"
    text = "max{Lip(S), Lip(S^{-1})} <= c + c_1 Lip(s) + c_2 Lip(t) on a box, and products over layers"

    def hypotheses(self, instance: LayersOnBox) -> list[Hypothesis]:
        """Return that the numbers of the layers are finite."""
        return [Hypothesis("s and t clamped", all(layer.clamp < math.inf for layer in instance.layers))]

    def left(self, instance: LayersOnBox) -> Enclosure:
        """Return the largest quotient over the points."""
        images, error = instance.images
        if not (np.isfinite(images).all() and math.isfinite(error)):
            return Enclosure(0.0, math.inf, Guarantee.EXACT, "images beyond the doubles")
        return lipschitz_on(instance.points, images, image_error=error)

    def right(self, instance: LayersOnBox) -> Enclosure:
        """Return the sum of (13), or the product of these sums."""
        return self._bound(instance, printed=True)

    def _bound(self, instance: LayersOnBox, *, printed: bool) -> Enclosure:
        numbers = [layer.numbers for layer in instance.layers]
        if len(numbers) == 1:
            bound = bound_of_coupling(numbers[0], instance.radius, inverse=instance.inverse, printed=printed)
        else:
            bound = bound_of_network(numbers, instance.radius, inverse=instance.inverse, printed=printed)
        return bound

    def extremal(self) -> LayersOnBox:
        """Return a layer that only shears: t' = 40 / pi, s = 0, near 0. The sum is 1 larger than the slope, 8 percent."""
        return sheared(40.0)


class SharpInequality13(Inequality13):
    """(13) with the singular value in place of the sum: equality for a shear."""

    version = "sharp"
    text = "max{Lip(S), Lip(S^{-1})} <= sigma_max((1, 0), (c_1 Lip(s) + c_2 Lip(t), c)) on a box"

    def right(self, instance: LayersOnBox) -> Enclosure:
        """Return the singular value, or the product of these."""
        return self._bound(instance, printed=False)

    def extremal(self) -> LayersOnBox:
        """Return a shear: equality up to the curvature of the clamp at 0, 1e-9."""
        return sheared(40.0)


def sheared(slope: float) -> LayersOnBox:
    """A layer in the plane with s = 0 and t of slope 2 slope / pi at 0, on points around 0 along its steepest direction."""
    t = Mlp([np.array([[slope]])], [np.zeros(1)], "linear")
    s = Mlp([np.zeros((1, 1))], [np.zeros(1)], "linear")
    layer = ClampedCoupling(s, t, 0.0, 1.0)
    steep = np.linalg.svd(np.array([[1.0, 0.0], [2 * slope / math.pi, 1.0]]))[2][0]
    return LayersOnBox([layer], 1.0, np.outer([-1e-7, 1e-7], steep))
