r"""Upper bounds of Lip(T^{-1}) on a disc or box of the latent plane, by branch and bound.

For coupling networks of the plane. Over a latent box with middle c and half widths r the inverse is run layer by layer, carrying
the value at c (with its error), an interval matrix that contains every Jacobian on the box, and by the mean value theorem the
range $f(c)\pm|J|r$ of both coordinates. Conditioners come from `conditioner_table`. The spectral norm of an interval matrix is
largest at one of its 16 corners. A box is done when its bound is within the ratio asked for of the constant found, and
is split otherwise; boxes outside the domain are dropped. Lip is the supremum of the norm over the convex domain, so the largest
bound left is an upper bound of it, whenever the work stops.

Rounding: every step adds 16 ulps of the absolute terms that it sums to its radius. What is assumed: elementary functions are good
to 4 ulps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget, Nodes
from lipbounds.certify.planar.conditioner_table import CELLS, Table, tabulate
from lipbounds.certify.planar.kernel import bounds_of_boxes
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Box
from lipbounds.errors import InvalidInput
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Coupling, Layer, Permutation
from lipbounds.rounding import ELEMENTARY_FUNCTIONS, EPS

__all__ = ["Planar", "PlanarBoxes"]

Array = NDArray[np.float64]

ROOT_CELLS = 32  # boxes along each axis at the start
ROUND = 1 << 19  # boxes split at a time
BATCH = 1 << 15  # boxes bounded at a time: their numbers stay in the cache
FEWEST_CELLS = 64  # of a table: coarser ones bound nothing


@dataclass(frozen=True, eq=False)
class PlanarBoxes(Nodes):
    """Boxes of the latent plane.

    Attributes:
        middles: Shape (n, 2).
        radii: Half sides, shape (n, 2).
    """

    middles: Array
    radii: Array


class Planar(Bounder[PlanarBoxes]):
    """Boxes of the latent plane, bounded with tables of the conditioners.

    Args:
        problem: The map and the domain.
        cells: Of the tables; by default `CELLS`, twice as many where slopes jump.
    """

    method = "branch and bound over latent boxes"
    looked_at = 256
    most = 16_000_000  # 40 bytes each

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        return (
            not problem.is_slice
            and isinstance(problem.domain, Ball | Box)
            and problem.domain.dim == 2
            and all(_is_planar(layer) for layer in problem.layers)
        )

    def __init__(self, problem: Problem, cells: int | None = None) -> None:
        if cells is not None and cells < FEWEST_CELLS:
            raise InvalidInput("cells", cells, f"an integer >= {FEWEST_CELLS}", "65536 is the default")
        self._domain = problem.domain
        self._program, self._tables = compiled(problem.layers, cells)
        self._ball = np.array([0.0, 0.0, -1.0])  # a box is not cut
        if isinstance(problem.domain, Ball):
            self._ball = np.array([*problem.domain.center.tolist(), problem.domain.radius * (1 + 4 * EPS)])

    def roots(self, budget: Budget) -> PlanarBoxes:
        low, high = (corner.numpy() for corner in self._domain.bounds())
        radius = (high - low) / (2 * ROOT_CELLS) * (1 + 8 * EPS) + 4 * EPS * np.maximum(np.abs(low), np.abs(high))
        grid = (np.arange(ROOT_CELLS) + 0.5) / ROOT_CELLS
        axes = np.meshgrid(low[0] + grid * (high[0] - low[0]), low[1] + grid * (high[1] - low[1]))
        middles = np.stack([axis.ravel() for axis in axes], 1)
        return PlanarBoxes(middles, np.broadcast_to(radius, middles.shape).copy())

    def bound(self, nodes: PlanarBoxes, caps: Array, target: float) -> tuple[PlanarBoxes, Array]:
        bounds = [
            bounds_of_boxes(nodes.middles[i : i + BATCH], nodes.radii[i : i + BATCH], self._program, self._tables, self._ball)
            for i in range(0, len(nodes), BATCH)
        ]
        return nodes, np.minimum(np.concatenate(bounds), caps)

    def split(self, nodes: PlanarBoxes, bounds: Array, target: float) -> tuple[PlanarBoxes, NDArray[np.intp]]:
        """Halve every box across its wider side; the halves overlap by a rounding."""
        rows, side = np.arange(len(nodes)), np.argmax(nodes.radii, axis=1)
        half, step = nodes.radii.copy(), np.zeros_like(nodes.radii)
        half[rows, side] *= 0.5
        step[rows, side] = half[rows, side]
        both = np.concatenate((nodes.middles - step, nodes.middles + step))
        radii = np.concatenate((half, half)) * (1 + 4 * EPS) + EPS * np.abs(both)
        return PlanarBoxes(both, radii), np.concatenate((rows, rows))

    def corners(self, nodes: PlanarBoxes) -> tuple[Array, Array]:
        return np.nextafter(nodes.middles - nodes.radii, -np.inf), np.nextafter(nodes.middles + nodes.radii, np.inf)

    def points(self, nodes: PlanarBoxes) -> Array:
        return nodes.middles

    def round_size(self, waiting: int) -> int:
        return ROUND

    def assumed(self, budget: Budget) -> Assumed:
        return Assumed(ELEMENTARY_FUNCTIONS, True)


def _is_planar(layer: Layer) -> bool:
    if isinstance(layer, Permutation):
        return layer.dim == 2
    return isinstance(layer, Coupling) and layer.first == 1 and _of_one(layer.on_first) and _of_one(layer.on_second)


def _of_one(network: Conditioner | None) -> bool:
    return network is None or (network.inputs, network.outputs) == (1, 2)


def compiled(layers: Sequence[Layer], cells: int | None) -> tuple[NDArray[np.int64], Array]:
    """The inverse as steps: (-1, swapped), or (table, half that it changes); and the stacked tables."""
    networks = [part for layer in layers if isinstance(layer, Coupling) for part in (layer.on_first, layer.on_second) if part]
    # slopes with kinks jump within a cell, and the fewer boxes see one the better
    size = cells or (2 * CELLS if any(network.kind.kink == 1 for network in networks) else CELLS)
    steps: list[tuple[int, int]] = []
    tables: list[Table] = []
    for layer in reversed(layers):
        if isinstance(layer, Permutation):
            steps.append((-1, int(layer.order[0])))
        elif isinstance(layer, Coupling):
            # x_2 is recovered from v_1, then x_1 from x_2
            for network, changed in ((layer.on_first, 1), (layer.on_second, 0)):
                if network is not None:
                    steps.append((len(tables), changed))
                    tables.append(tabulate(network, layer.scale, size))
    stacked = np.stack([table.stacked for table in tables]) if tables else np.zeros((1, 17, size))
    return np.array(steps, dtype=np.int64).reshape(-1, 2), stacked
