r"""Ranges of conditioners and of their derivatives over any box of their inputs, from a table.

A grid of cells holds the enclosures of `mlp_derivatives` on each, and the same for cells joined along each input by powers of
two, so that a query box long in one input and short in another is covered by a few joined cells of its shape. Cells are small
where the conditioner curves; beyond the expected inputs each is larger than the one before. The middle of the window itself and
the next derivatives add to this where it is looked up (`range_query_kernel`), so cells need not be finer than the features of
the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.enclosures.mlp_derivatives import derivative_errors, derivative_ranges, derivative_values, multi_indices
from lipbounds.maps.layers import PartialCoupling

__all__ = ["RangeTable", "build_range_table"]

Array = NDArray[np.float64]
Single = NDArray[np.float32]

CELLS = {1: 2**12, 2: 2**13, 3: 2**15, 4: 2**12}  # cells of a coupling, by the number of its inputs
FEWEST = 8  # cells along an input
MEMORY = 3e9  # bytes of all tables
MARGIN = 0.1  # of the range of the expected inputs
BINS = 64  # in which the curvature of a conditioner is measured
EVEN = 0.3  # share of the mean curvature that counts everywhere
OVERLAP = 1e-6  # of a cell: places are rounded
PART = 512  # cells of one task
LARGEST_FACTOR = 80.0  # logarithm of the largest scale that is tabulated, in single precision


class RangeTable(NamedTuple):
    """The tables of all couplings; what is not known is infinite, not NaN.

    Attributes:
        counts: Cells along each input, powers of two, shape (couplings, inputs).
        begins: Where the edges of these cells begin, likewise.
        edges: One more than cells along each input of each coupling.
        first: Where the places of a coupling begin.
        places: Where the table of each combination of levels begins, where that of derivatives of the fourth order does, and
            where the joint one does.
        least: Lower ends, for each cell in the order of `mlp_derivatives`.
        greatest: Upper ends.
        steepest: The largest absolute values of derivatives of the fourth order.
        joint: For each output and each of e^s, e^{-s}, t, the k slopes of s and the k slopes of t: the lower ends of all cells,
            then the upper ends.
        errors: Bounds of the errors of `derivative_values` on the grid, one coupling after the other.
    """

    counts: NDArray[np.int64]
    begins: NDArray[np.int64]
    edges: Array
    first: NDArray[np.int64]
    places: NDArray[np.int64]
    least: Single
    greatest: Single
    steepest: Single
    joint: Single
    errors: Array


def build_range_table(steps: Sequence[PartialCoupling], visited: Sequence[Array], pool: ThreadPoolExecutor) -> RangeTable:
    """Tabulate every conditioner about the inputs that are expected.

    Args:
        steps: The couplings.
        visited: For every coupling a sample of its inputs, shape (n, k).
        pool: Threads that share the work.
    """
    densities = [_densities(step, inputs) for step, inputs in zip(steps, visited, strict=True)]
    most = max(len(step.seen) for step in steps)
    counts, begins = np.ones((len(steps), most), dtype=np.int64), np.zeros((len(steps), most), dtype=np.int64)
    all_edges: list[Array] = []
    first: list[int] = []
    places: list[tuple[int, int, int]] = []
    parts: tuple[list[Single], ...] = [], [], [], []
    errors: list[Array] = []
    position = np.zeros(3, dtype=np.int64)
    for index, (step, cells, density) in enumerate(zip(steps, _grids(steps, densities), densities, strict=True)):
        axes = [_edges(*one, count) for one, count in zip(density, cells, strict=True)]
        for i, edges in enumerate(axes):
            counts[index, i], begins[index, i] = cells[i], sum(map(len, all_edges))
            all_edges.append(edges)
        largest = max(float(np.abs(edges).max()) for edges in axes)
        errors.append(derivative_errors(step.network, step.scale, largest).ravel())
        first.append(len(places))
        for tables in _levels_of(step, axes, pool):
            places.append((int(position[0]), int(position[1]), int(position[2])))
            position = position + np.array([tables[0].size, tables[2].size, tables[3].size])
            for part, one in zip(parts, tables, strict=True):
                part.append(one.ravel())
    least, greatest, steepest, joint = (np.concatenate(part) for part in parts)
    return RangeTable(
        counts=counts,
        begins=begins,
        edges=np.concatenate(all_edges),
        first=np.array(first),
        places=np.array(places),
        least=least,
        greatest=greatest,
        steepest=steepest,
        joint=joint,
        errors=np.concatenate(errors),
    )


def _levels_of(
    step: PartialCoupling, axes: Sequence[Array], pool: ThreadPoolExecutor
) -> list[tuple[Single, Single, Single, Single]]:
    """Of one coupling, for every combination of levels: lower ends, upper ends, fourth derivatives and the joint table."""
    k, cells = len(axes), [len(edges) - 1 for edges in axes]
    middles = _product([0.5 * (edges[1:] + edges[:-1]) for edges in axes])
    radii = _product([(0.5 + OVERLAP) * (edges[1:] - edges[:-1]) for edges in axes])
    ranges = _ranges(step, middles, radii, pool)
    below, above = _jointly(*ranges[:2], k)
    tops = (False, True, True, False, True)
    levels = (_levels(part.reshape(*cells, -1), k, top) for part, top in zip((*ranges, below, above), tops, strict=True))
    return [
        (least, greatest, steepest, np.stack([np.moveaxis(end, -1, 0) for end in joint], 1))
        for least, greatest, steepest, *joint in zip(*levels, strict=True)
    ]


def _densities(step: PartialCoupling, inputs: Array) -> list[tuple[Array, Array]]:
    """For each input edges of bins, and in each bin how densely cells should stand.

    That is the root of how fast second derivatives change along it, among points of the sample: with the rate itself inputs along
    which a conditioner curves less got so few cells that bounds were worse.
    """
    k = len(step.seen)
    begin, end = inputs.min(0), inputs.max(0)
    width = end - begin + 1e-3 * (1 + np.abs(begin) + np.abs(end))
    begin, width = begin - MARGIN * width, (1 + 2 * MARGIN) * width
    some = inputs[:: max(1, len(inputs) // 5000)]
    # clipped: squares are to be finite
    values = np.clip(np.nan_to_num(derivative_values(step.network, step.scale, some)), -1e100, 1e100)
    result = []
    for i in range(k):
        rows = [row for row, order in enumerate(multi_indices(k)) if len(order) == 3 and i in order]
        steep = np.sqrt(np.square(values[:, :, rows]).sum((1, 2)))
        place = np.clip(((some[:, i] - begin[i]) / width[i] * BINS).astype(int), 0, BINS - 1)
        number = np.bincount(place, minlength=BINS)
        mean = np.bincount(place, steep, BINS) / np.maximum(number, 1)
        result.append((begin[i] + width[i] * np.linspace(0, 1, BINS + 1), np.sqrt(mean + EVEN * steep.mean() + 1e-12)))
    return result


def _grids(steps: Sequence[PartialCoupling], densities: Sequence[list[tuple[Array, Array]]]) -> list[list[int]]:
    """Cells along each input: as many as a step may have, more where it curves more, fewer if memory is short."""
    share = 1.0
    while True:
        result = []
        for density in densities:
            turns = [float((np.diff(edges) * rate).sum()) for edges, rate in density]
            cells = [FEWEST] * len(turns)
            while 2 * math.prod(cells) <= share * CELLS[len(turns)]:
                cells[int(np.argmax([turn / count for turn, count in zip(turns, cells, strict=True)]))] *= 2
            result.append(cells)
        # levels of n, n/2, .., 1 cells along every input
        size = sum(
            8.0
            * len(step.changed)
            * (len(multi_indices(len(cells))) + len(multi_indices(len(cells), 4)) + 3 + 2 * len(cells))
            * math.prod(2 * n for n in cells)
            for step, cells in zip(steps, result, strict=True)
        )
        if size <= MEMORY or max(map(max, result)) <= FEWEST:
            return result
        share /= 2


def _edges(bins: Array, rate: Array, count: int) -> Array:
    """Edges of cells: between the ends of the bins such that the rate's integral is the same in each, growing beyond them.

    Up to 8 lengths away, up to 128 where cells are many: the first boxes have images far from those of points.
    """
    beyond = min(max(2 * (count.bit_length() - 3), 1), 12)
    length = bins[-1] - bins[0]
    turned = np.concatenate(([0.0], np.cumsum(np.diff(bins) * rate)))
    inner = np.interp(np.linspace(0, turned[-1], count - 2 * beyond + 1), turned, bins)
    first = length / (8 if beyond <= 8 else 32)
    reach = max(8.0, 2.0 ** (beyond - 5)) * length
    away = first * ((1 + reach / first) ** (np.arange(1, beyond + 1) / beyond) - 1)
    return np.concatenate((inner[:1] - away[::-1], inner, inner[-1:] + away))


def _product(axes: Sequence[Array]) -> Array:
    """All combinations, shape (n, k), the last input fastest."""
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack([grid.ravel() for grid in grids], 1)


def _ranges(step: PartialCoupling, middles: Array, radii: Array, pool: ThreadPoolExecutor) -> tuple[Single, Single, Single]:
    """What `derivative_ranges` says over cells, in its shapes, rounded outwards."""
    parts = -(-len(middles) // PART)
    results = list(
        pool.map(
            partial(derivative_ranges, step.network, step.scale), np.array_split(middles, parts), np.array_split(radii, parts)
        )
    )
    low, high, steepest = (np.concatenate(part) for part in zip(*results, strict=True))
    below, beyond = np.float32(-math.inf), np.float32(math.inf)
    with np.errstate(over="ignore"):
        least, greatest, most = (part.astype(np.float32) for part in (low, high, steepest))
        return np.nextafter(least, below), np.nextafter(greatest, beyond), np.nextafter(most, beyond)


def _jointly(least: Single, greatest: Single, k: int) -> tuple[Single, Single]:
    """Lower and upper ends, shape (cells, m, 3 + 2 k), of e^s, e^{-s}, t and slopes of s and t, from ranges of derivatives.

    Where something is unknown or too large, t and its slopes are infinite, the factors are 1 and the slopes of s are 0, so that
    no NaN and no product of zero and infinity arises.
    """
    m = least.shape[1] // 2
    low, high = least[..., : 1 + k], greatest[..., : 1 + k]
    known = np.isfinite(low) & np.isfinite(high)
    known[:, :m, 0] &= (low[:, :m, 0] > -LARGEST_FACTOR) & (high[:, :m, 0] < LARGEST_FACTOR)
    known = np.all(known[:, :m] & known[:, m:], axis=2, keepdims=True)
    ends = []
    for end, other, infinity in ((low, high, np.float32(-math.inf)), (high, low, np.float32(math.inf))):
        scale, inverse = (np.where(known[..., 0], one, 0).astype(np.float64) for one in (end[:, :m, 0], -other[:, :m, 0]))
        factors = [np.where(known[..., 0], _outwards(np.exp(power), infinity), np.float32(1)) for power in (scale, inverse)]
        ends.append(
            np.concatenate(
                (
                    np.stack(factors, 2),
                    np.where(known, end[:, m:, :1], infinity),
                    np.where(known, end[:, :m, 1:], np.float32(0)),
                    np.where(known, end[:, m:, 1:], infinity),
                ),
                2,
            )
        )
    return ends[0], ends[1]


def _outwards(numbers: Array, infinity: np.float32) -> Single:
    """In single precision, a unit in the last place nearer to an infinity, of which rounding takes half."""
    return np.nextafter(numbers.astype(np.float32), infinity)


def _levels(table: Single, k: int, top: bool) -> list[Single]:
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
