r"""Upper bounds of Lip(T^{-1}) for flows of the plane with piecewise linear conditioners, the default of zuko, nflows, normflows
and FrEIA: affine couplings and autoregressive layers, splines, and linear layers between them.

Boxes of z are halved; where kinks of a conditioner dominate the bound of a small box, its window of linear pieces is split
instead (`kernel`). A box is done when its bound is within the ratio asked for of the constant found. On the ball or box the
constant is the supremum of the derivative's norm over points where no conditioner has a kink, since kinks lie on curves: that is
what nodes with all windows cover.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget, Nodes
from lipbounds.certify.plane_flows.kernel import bound_nodes
from lipbounds.certify.plane_flows.program import PLANE, compiled_program, is_readable
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Box
from lipbounds.maps.structure import expanded
from lipbounds.rounding import ELEMENTARY_FUNCTIONS, EPS

__all__ = ["FlowNodes", "PlaneFlow"]

Array = NDArray[np.float64]

ROOT_CELLS = 16  # boxes along each axis at the start
ROUND = 4096  # nodes split at a time, at least, if so many wait
MOST_TABLES = 62  # bits of a word that the kernel uses


@dataclass(frozen=True, eq=False)
class FlowNodes(Nodes):
    """Boxes of the latent plane with windows of linear pieces.

    Attributes:
        middles: Shape (n, 2).
        radii: Half sides, shape (n, 2).
        windows: First and last piece of each conditioner, shape (n, 2 conditioners).
        cuts: 0 or 1 to halve along an axis, 2 + j to split window j, shape (n,).
    """

    middles: Array
    radii: Array
    windows: NDArray[np.int32]
    cuts: NDArray[np.int16]


class PlaneFlow(Bounder[FlowNodes]):
    """Boxes of z with windows of linear pieces.

    Args:
        problem: The map and the domain.
    """

    method = "branch and bound over latent boxes and linear pieces"
    looked_at = 256
    most = 4_000_000

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        steps = expanded(problem.layers)
        return (
            not problem.is_slice
            and isinstance(problem.domain, Ball | Box)
            and problem.outputs is None
            and problem.domain.dim == PLANE
            and len(steps) <= MOST_TABLES
            and all(is_readable(step) for step in steps)
        )

    def __init__(self, problem: Problem) -> None:
        self._domain = problem.domain
        self._program = compiled_program(expanded(problem.layers))
        self._ball = np.array([0.0, 0.0, -1.0])
        if isinstance(problem.domain, Ball):
            self._ball = np.array([*problem.domain.center.tolist(), problem.domain.radius * (1 + 4 * EPS)])

    def __enter__(self) -> Self:
        root = self._root_boxes().at(slice(0, 1))
        self.bound(root, np.full(1, np.inf), math.inf)  # compiles, where no cache has it
        return self

    def roots(self, budget: Budget) -> FlowNodes:
        return self._root_boxes()

    def _root_boxes(self) -> FlowNodes:
        low, high = (corner.numpy() for corner in self._domain.bounds())
        radius = (high - low) / (2 * ROOT_CELLS) * (1 + 8 * EPS) + 4 * EPS * np.maximum(np.abs(low), np.abs(high))
        grid = (np.arange(ROOT_CELLS) + 0.5) / ROOT_CELLS
        axes = np.meshgrid(low[0] + grid * (high[0] - low[0]), low[1] + grid * (high[1] - low[1]))
        middles = np.stack([axis.ravel() for axis in axes], 1)
        window = np.stack((np.zeros_like(self._program.pieces), self._program.pieces - 1), 1).ravel().astype(np.int32)
        radii, windows = (np.broadcast_to(part, (len(middles), len(part))).copy() for part in (radius, window))
        return FlowNodes(middles, radii, windows, np.zeros(len(middles), dtype=np.int16))

    def bound(self, nodes: FlowNodes, caps: Array, target: float) -> tuple[FlowNodes, Array]:
        p, windows = self._program, np.ascontiguousarray(nodes.windows)
        arrays = (p.steps, p.numbers, p.ends, p.lines, p.pieces)
        bounds, cuts = bound_nodes(nodes.middles, nodes.radii, windows, target, self._ball, *arrays)
        return FlowNodes(nodes.middles, nodes.radii, windows, cuts), np.minimum(bounds, caps)

    def split(self, nodes: FlowNodes, bounds: Array, target: float) -> tuple[FlowNodes, NDArray[np.intp]]:
        """Halve the box or the window of every node; halves of boxes overlap by a rounding."""
        rows = np.arange(len(nodes))
        boxes, windows = nodes.at(nodes.cuts < 2), nodes.at(nodes.cuts >= 2)
        at, side = np.arange(len(boxes)), boxes.cuts
        half, step = boxes.radii.copy(), np.zeros_like(boxes.radii)
        half[at, side] *= 0.5
        step[at, side] = half[at, side]
        both = np.concatenate((boxes.middles - step, boxes.middles + step))
        radii = np.concatenate((half, half)) * (1 + 4 * EPS) + EPS * np.abs(both)
        parts = FlowNodes(both, radii, np.tile(boxes.windows, (2, 1)), np.tile(boxes.cuts, 2))
        at, first = np.arange(len(windows)), 2 * (windows.cuts - 2)
        left, right = windows.windows.copy(), windows.windows.copy()
        middle = (left[at, first] + left[at, first + 1]) // 2
        left[at, first + 1], right[at, first] = middle, middle + 1
        pieces = [FlowNodes(windows.middles, windows.radii, part, windows.cuts) for part in (left, right)]
        origins = [rows[nodes.cuts < 2], rows[nodes.cuts >= 2]]
        return FlowNodes.join((parts, *pieces)), np.concatenate([np.tile(origin, 2) for origin in origins])

    def points(self, nodes: FlowNodes) -> Array:
        return nodes.middles

    def round_size(self, waiting: int) -> int:
        return max(ROUND, waiting // 4)

    def assumed(self, budget: Budget) -> Assumed:
        return Assumed(ELEMENTARY_FUNCTIONS, True)
