r"""Upper bounds for any layers in few dimensions: latent boxes, the Jacobian of the whole map on each in ball arithmetic.

On a box the inverse is followed layer by layer: an enclosure of the image, and of the derivative as the product of the layers'
ball matrices, so that worst cases of different layers need not add up as in a product of norms. The image is the intersection of
interval arithmetic and of the mean value form $f(m)+J(B-m)$, without which boxes would grow from layer to layer. The largest
spectral norm over all boxes is the bound; the worst box is cut where its image is longest, until it is near the witness.

It is slower by orders of magnitude than the tables of `planar` and `preimage`, which know couplings only; it reads residual and
linear layers too, and has no assumptions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from lipbounds.arb import Row, column, ends, intersection, spectral_norm, working_precision
from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget, Nodes
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Domain
from lipbounds.maps.structure import expanded

__all__ = ["BallJacobian", "LatentBoxes"]

Array = NDArray[np.float64]

MOST_DIMENSIONS = 6  # the number of boxes grows exponentially with it
BITS = 64  # of precision, a little above double


@dataclass(frozen=True, eq=False)
class LatentBoxes(Nodes):
    """Boxes of latent space.

    Attributes:
        low: Lower corners, shape (n, d).
        high: Upper corners.
        axis: Where each is to be cut, shape (n,).
    """

    low: Array
    high: Array
    axis: NDArray[np.intp]


class BallJacobian(Bounder[LatentBoxes]):
    """Latent boxes bounded one by one in ball arithmetic.

    Args:
        problem: The map and the domain.
    """

    method = "branch and bound over latent boxes in ball arithmetic"
    rounds_per_look = 32
    most = 1_000_000

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        return not problem.is_slice and problem.domain.dim <= MOST_DIMENSIONS

    def __init__(self, problem: Problem) -> None:
        self._domain = problem.domain
        with working_precision(BITS):
            self._steps = [layer.box_inverse() for layer in reversed(expanded(problem.layers))]

    def roots(self, budget: Budget) -> LatentBoxes:
        low, high = (corner.numpy()[None] for corner in self._domain.bounds())
        return LatentBoxes(low, high, np.zeros(1, dtype=np.intp))

    def bound(self, nodes: LatentBoxes, caps: Array, target: float) -> tuple[LatentBoxes, Array]:
        axis, bounds = nodes.axis.copy(), np.zeros(len(nodes))
        with working_precision(BITS):
            for row, (low, high) in enumerate(zip(nodes.low, nodes.high, strict=True)):
                if not _misses(self._domain, low, high):
                    bounds[row], axis[row] = self._norm_over(low, high)
        return LatentBoxes(nodes.low, nodes.high, axis), np.minimum(bounds, caps)

    def _norm_over(self, low: Array, high: Array) -> tuple[float, int]:
        """The bound on a box, infinite where nothing is known, and the axis to cut."""
        slopes = self._jacobian(low, high)
        bound = ends(spectral_norm(slopes))[1]
        dim = len(low)
        entries = np.array([[ends(abs(slopes[i, j]))[1] for j in range(dim)] for i in range(dim)])
        size = np.array([math.hypot(*one) for one in entries.T.tolist()]) * (high - low)
        cut = int(np.argmax(np.where(np.isfinite(size), size, high - low)))
        return (math.inf if math.isnan(bound) else bound), cut

    def _jacobian(self, low: Array, high: Array) -> arb_mat:
        box: Row = [arb(a).union(arb(b)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        middle: Row = [arb(0.5 * (a + b)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        radii = column([value - m for value, m in zip(box, middle, strict=True)])
        slopes = arb_mat(np.eye(len(box)).tolist())
        for step in self._steps:
            box, middle, derivative = step(box, middle)
            slopes = derivative * slopes
            around = slopes * radii
            box = [intersection(x, m + around[i, 0]) for i, (x, m) in enumerate(zip(box, middle, strict=True))]
        return slopes

    def split(self, nodes: LatentBoxes, bounds: Array, target: float) -> tuple[LatentBoxes, NDArray[np.intp]]:
        rows = np.arange(len(nodes))
        first, last = nodes.low[rows, nodes.axis], nodes.high[rows, nodes.axis]
        middle = 0.5 * (first + last)
        rows = rows[(first < middle) & (middle < last)]  # where doubles end there are no halves
        axis, middle = nodes.axis[rows], middle[rows]
        below, above = nodes.high[rows].copy(), nodes.low[rows].copy()
        below[np.arange(len(rows)), axis] = above[np.arange(len(rows)), axis] = middle
        halves = LatentBoxes(
            np.concatenate((nodes.low[rows], above)), np.concatenate((below, nodes.high[rows])), np.concatenate((axis, axis))
        )
        return halves, np.concatenate((rows, rows))

    def corners(self, nodes: LatentBoxes) -> tuple[Array, Array]:
        return nodes.low, nodes.high

    def points(self, nodes: LatentBoxes) -> Array:
        return np.asarray(0.5 * (nodes.low + nodes.high))

    def round_size(self, waiting: int) -> int:
        return 1

    def assumed(self, budget: Budget) -> Assumed:
        return Assumed("", True)


def _misses(domain: Domain, low: Array, high: Array) -> bool:
    """Whether a box is proven to lie outside."""
    if not isinstance(domain, Ball):
        return False
    centre = domain.center.numpy()
    away = np.maximum(np.maximum(low - centre, centre - high), 0.0)
    # a few roundings of numbers of one sign, in units in which squares neither underflow nor overflow
    return bool(np.sum((away / domain.radius) ** 2) > 1 + 1e-12)
