r"""Ranges of conditioners and of their derivatives over any box of their inputs, looked up.

A grid of cells, each with the enclosures of `towers`, and the same for cells joined along each input by powers of two, so that a
window long in one input and short in another is covered by a few cells that are likewise (a rip-map, as for textures). Cells
beyond the inputs that are expected grow from one to the next. What the window's own middle and the next derivatives say is added
where it is looked up (`orbits`), so cells need not be finer than the features of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.lipschitz.structure import PartialCoupling
from lipbounds.lipschitz.towers import derivatives, errors, tower

__all__ = ["Ripmaps", "ripmaps"]

Array = NDArray[np.float64]

CELLS = {1: 4096, 2: 128, 3: 32, 4: 8}  # along each input, by their number
FEWEST = 4
MEMORY = 2.5e9  # bytes of all tables
MARGIN = 0.1  # of the inputs that are expected
OUTER = {4096: 12, 2048: 12, 1024: 12, 512: 10, 256: 10, 128: 10, 64: 8, 32: 6, 16: 4, 8: 2, 4: 1}  # of the cells on either side
SMALLEST_OUTER = {
    4096: 1 / 32,
    2048: 1 / 32,
    1024: 1 / 32,
    512: 1 / 32,
    256: 1 / 32,
    128: 1 / 32,
    64: 1 / 8,
    32: 1 / 8,
    16: 1 / 2,
    8: 2.0,
    4: 4.0,
}
"""Of the range, by the cells along an input; doubled from cell to cell."""
OVERLAP = 1e-6  # of a cell: places are rounded


class Ripmaps(NamedTuple):
    """The tables of all steps.

    Attributes:
        counts: Cells along each input, a power of two, for every step.
        low: Where the inner cells begin, shape (steps, inputs).
        side: Their sides, likewise.
        range: How long all inner cells are together, likewise.
        outer: Cells on either side of them, for every step.
        grown: How long the first of these are, in shares of the range.
        least_input: What the first cells begin with, likewise.
        greatest_input: What the last ones end with, likewise.
        first: Where the places of a step begin.
        places: Where the table of each combination of levels begins.
        least: Lower ends, for each cell in the order of `towers`.
        greatest: Upper ends.
        errors: Bounds of the errors of `values` on the grid, one step after the other.
    """

    counts: NDArray[np.int64]
    low: Array
    side: Array
    range: Array
    outer: NDArray[np.int64]
    grown: Array
    least_input: Array
    greatest_input: Array
    first: NDArray[np.int64]
    places: NDArray[np.int64]
    least: NDArray[np.float32]
    greatest: NDArray[np.float32]
    errors: Array


def ripmaps(steps: Sequence[PartialCoupling], visited: Sequence[Array]) -> Ripmaps:
    """Tabulate every conditioner about the inputs that are expected.

    Args:
        steps: The couplings.
        visited: For every step a sample of its inputs, shape (n, k).
    """
    counts = _counts(steps)
    most = max(len(step.seen) for step in steps)
    low, side, length = np.zeros((len(steps), most)), np.ones((len(steps), most)), np.ones((len(steps), most))
    least_input, greatest_input = np.zeros((len(steps), most)), np.zeros((len(steps), most))
    first: list[int] = []
    places: list[int] = []
    ends: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = [], []
    wrong: list[Array] = []
    position = 0
    for index, (step, inputs) in enumerate(zip(steps, visited, strict=True)):
        k, cells = len(step.seen), counts[index]
        begin, end = inputs.min(0), inputs.max(0)
        width = end - begin + 1e-3 * (1 + np.abs(begin) + np.abs(end))
        begin, width = begin - MARGIN * width, (1 + 2 * MARGIN) * width
        beyond = OUTER[cells]
        spacing = width / (cells - 2 * beyond)
        # beyond the inner cells they grow
        away = SMALLEST_OUTER[cells] * width * (2.0 ** np.arange(1, beyond + 1)[:, None] - 1)
        inner = begin + spacing * np.arange(cells - 2 * beyond + 1)[:, None]
        edges = np.concatenate((inner[:1] - away[::-1], inner, inner[-1:] + away))
        middles, radii = 0.5 * (edges[1:] + edges[:-1]), (0.5 + OVERLAP) * (edges[1:] - edges[:-1])
        low[index, :k], side[index, :k], length[index, :k] = begin, spacing, width
        least_input[index, :k], greatest_input[index, :k] = edges[0], edges[-1]
        own = errors(step.network, step.clamp, float(np.abs(edges).max()))
        wrong.append(own.ravel())
        ranges = _ranges(step, _product(middles), _product(radii))
        shape = (cells,) * k + (-1,)
        first.append(len(places))
        lower, upper = (_levels(part.reshape(shape), k, top) for part, top in zip(ranges, (False, True), strict=True))
        for tables in zip(lower, upper, strict=True):
            places.append(position)
            position += tables[0].size
            for part, table in zip(ends, tables, strict=True):
                part.append(table.ravel())
    return Ripmaps(
        np.array(counts),
        low,
        side,
        length,
        np.array([OUTER[count] for count in counts]),
        np.array([SMALLEST_OUTER[count] for count in counts]),
        least_input,
        greatest_input,
        np.array(first),
        np.array(places),
        np.concatenate(ends[0]),
        np.concatenate(ends[1]),
        np.concatenate(wrong),
    )


def _counts(steps: Sequence[PartialCoupling]) -> list[int]:
    limits = dict(CELLS)
    while True:
        counts = [limits[len(step.seen)] for step in steps]
        # levels of n, n/2, .., 1 cells along every input
        sizes = [
            16.0 * len(step.changed) * len(derivatives(len(step.seen))) * (2 * n) ** len(step.seen)
            for step, n in zip(steps, counts, strict=True)
        ]
        largest = max(zip(sizes, counts, steps, strict=True), key=lambda one: one[0])
        if sum(sizes) <= MEMORY or largest[1] <= FEWEST:
            return counts
        limits[len(largest[2].seen)] //= 2


def _product(axes: Array) -> Array:
    """All combinations of rows, shape (n^k, k), the last input fastest."""
    grids = np.meshgrid(*axes.T, indexing="ij")
    return np.stack([grid.ravel() for grid in grids], 1)


def _ranges(step: PartialCoupling, middles: Array, radii: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both ends over cells, shape (cells, 2m, derivatives), rounded outwards."""
    low, high = tower(step.network, step.clamp, middles, radii)
    with np.errstate(over="ignore"):
        least = np.nextafter(low.astype(np.float32), np.float32(-math.inf))
        return least, np.nextafter(high.astype(np.float32), np.float32(math.inf))


def _levels(table: NDArray[np.float32], k: int, top: bool) -> list[NDArray[np.float32]]:
    """The table with cells joined along every input by powers of two, the last input's levels fastest."""
    join = np.maximum if top else np.minimum
    tables = [table]
    for axis in range(k):
        grown = []
        for one in tables:
            level = one
            grown.append(level)
            while level.shape[axis] > 1:
                parts = np.split(level.reshape(*level.shape[:axis], -1, 2, *level.shape[axis + 1 :]), 2, axis=axis + 1)
                level = join(*(part.squeeze(axis + 1) for part in parts))
                grown.append(level)
        tables = grown
    return tables
