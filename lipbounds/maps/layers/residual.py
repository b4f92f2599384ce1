"""Invertible residual layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from flint import arb, arb_mat, ctx
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.arb import Row, column, ends, exact_row, high_end, intersection, spectral_norm, working_precision
from lipbounds.errors import InvalidInput
from lipbounds.maps.conditioner import BallNetwork, Conditioner
from lipbounds.maps.layer_constants import ball_constant, lipschitz_of_mlp, network_over_box
from lipbounds.maps.layers.base import BoxInverse, Layer, PointInverse
from lipbounds.maps.residual_inverse import invert_residual

__all__ = ["Residual", "ResidualInverse", "inversion_error_of_residual"]

Array = NDArray[np.float64]

BITS = 128  # of precision of an inversion error
GAINED_BITS = 16  # at least, by a step with a Jacobian from differences
DIFFERENCE = 1e-6  # of the arguments of these differences
SLOWEST = 0.999  # contraction up to which a preimage is iterated for: what is missing then is in its radius


class ResidualInverse:
    r"""Enclosures of preimages under x + g(x).

    By Banach's theorem $|x-\hat x|\le|\hat x+g(\hat x)-z|/(1-c)$ for any $\hat x$: here a solution in doubles, improved by Newton
    steps with a fixed approximate Jacobian, and $|x-x'|\le|z-z'|/(1-c)$ from there to the preimages of other points.

    Attributes:
        lipschitz: 1 / (1 - c), an upper bound of the inverse's constant.

    Raises:
        InvalidInput: If the network is not proven to contract.
    """

    def __init__(self, network: Conditioner) -> None:
        c = ball_constant(network.weights, network.kind)
        if not c < 1:
            got = f"a constant of {ends(c)[1]:.6g}"
            raise InvalidInput("network", got, "below 1, in ball arithmetic", "normalise its matrices")
        self.lipschitz = arb(high_end(1 / (1 - c)))
        self._g, self._balls = network.function(), BallNetwork(network)
        steep = min(high_end(c), SLOWEST)
        self._iterations = math.ceil(math.log(1e-3) / math.log(steep)) if steep > 0 else 1

    def at(self, point: Row) -> Row:
        """Enclose the preimages of all points of small balls."""
        middle = [value.mid() for value in point]
        start, back = self._approximate(torch.tensor([float(value) for value in middle], dtype=torch.float64))
        x = exact_row(start)
        for _ in range(ctx.prec // GAINED_BITS):
            misses = [a + g - z for a, g, z in zip(x, self._balls.values(x), middle, strict=True)]
            step = back * column(misses)
            x = [(a - step[i, 0]).mid() for i, a in enumerate(x)]
        misses = [a + g - z for a, g, z in zip(x, self._balls.values(x), point, strict=True)]
        return self.around(x, misses)

    def around(self, x: Row, moved: Row) -> Row:
        """Enclose the preimages of z + moved, x the preimage of z."""
        # upper ends, not balls: the root of a ball that contains 0 is unknown
        most = [value.abs_upper() for value in moved]
        error = sum((value * value for value in most), arb(0)).sqrt() * self.lipschitz
        return [value + arb(0, high_end(error)) for value in x]

    def _approximate(self, z: Tensor) -> tuple[Array, arb_mat]:
        """A preimage in doubles and the inverse of an approximate Jacobian there."""
        x = z
        for _ in range(self._iterations):
            x = z - self._g(x)
        sides = DIFFERENCE * torch.eye(len(z), dtype=torch.float64)
        slopes = (self._g(x + sides) - self._g(x - sides)).T / (2 * DIFFERENCE)
        back = torch.linalg.inv(torch.eye(len(z), dtype=torch.float64) + slopes)
        return x.numpy(), arb_mat(back.tolist())


@dataclass(frozen=True, eq=False)
class Residual(Layer):
    r"""$x\mapsto x+g(x)$ of an iResNet, with Lip(g) < 1 by the norms of its matrices.

    Attributes:
        network: g, with as many outputs as inputs.
    """

    network: Conditioner

    def __post_init__(self) -> None:
        sizes = (self.network.inputs, self.network.outputs)
        if sizes[0] != sizes[1]:
            raise InvalidInput(
                "network", f"{sizes[0]} inputs, {sizes[1]} outputs", "as many outputs as inputs", "g maps R^d to R^d"
            )
        if not self.constant < 1.0:
            raise InvalidInput(
                "network", f"product of norms {self.constant:.6g}", "below 1", "without it the layer need not be invertible"
            )

    @property
    def constant(self) -> float:
        """A bound of Lip(g): the product of norms and slopes, rounded up."""
        return lipschitz_of_mlp(self.network.weights, self.network.activation).upper

    @property
    def dim(self) -> int:
        return self.network.inputs

    def forward(self) -> Callable[[Tensor], Tensor]:
        g = self.network.function()
        return lambda x: x + g(x)

    def inverse(self) -> Callable[[Tensor], Tensor]:
        return partial(invert_residual, self.network.function(), constant=self.constant)

    def point_inverse(self) -> PointInverse:
        return ResidualInverse(self.network).at

    def box_inverse(self) -> BoxInverse:
        inverse, network = ResidualInverse(self.network), BallNetwork(self.network)
        most = arb(0, high_end(inverse.lipschitz))  # of every entry of the derivative

        def undo(box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
            inner = inverse.at(middle)
            image = inverse.around(inner, [value - m for value, m in zip(box, middle, strict=True)])
            values, _ = network.values_and_slopes(image)
            image = [intersection(x, z - g) for x, z, g in zip(image, box, values, strict=True)]
            _, slopes = network.values_and_slopes(image)
            try:
                back = (slopes + arb_mat(np.eye(len(box)).tolist())).inv()
            except ZeroDivisionError:  # the box is too large for elimination
                return image, inner, arb_mat([[most] * len(box)] * len(box))
            return image, inner, arb_mat([[intersection(back[i, j], most) for j in range(len(box))] for i in range(len(box))])

        return undo

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        inverse = ResidualInverse(self.network)
        middle = [value.mid() for value in box]
        preimage = inverse.around(inverse.at(middle), [value - m for value, m in zip(box, middle, strict=True)])
        # x = z - g(x) often says more than the ball about one preimage
        values, _, _ = network_over_box(self.network, preimage)
        preimage = [intersection(x, z - g) for x, z, g in zip(preimage, box, values, strict=True)]
        values, lip_hidden, last = network_over_box(self.network, preimage)
        local = 1 - arb(high_end(lip_hidden * spectral_norm(last)))
        return preimage, arb(min(high_end(1 / local) if local > 0 else math.inf, high_end(inverse.lipschitz)))


def inversion_error_of_residual(network: Conditioner, x: Array, z: Array) -> Array:
    r"""Bound the distance of points from the exact preimages of others under x + g(x), shape (n,), rounding included.

    $|x+g(x)-z|/(1-c)$ in ball arithmetic (Banach); infinite if the network is not proven to contract.

    Args:
        network: g.
        x: Approximate preimages, shape (n, d).
        z: Points, shape (n, d).
    """
    with working_precision(BITS):
        contraction, balls = 1 - arb(high_end(ball_constant(network.weights, network.kind))), BallNetwork(network)
        if not contraction > 0:
            return np.full(len(x), math.inf)
        bounds = []
        for point, wanted in zip(x, z, strict=True):
            row = exact_row(point)
            misses = [a + g - b for a, g, b in zip(row, balls.values(row), exact_row(wanted), strict=True)]
            squares = sum((miss.abs_upper() ** 2 for miss in misses), arb(0))
            bounds.append(high_end(squares.sqrt() / contraction))
        return np.array(bounds)
