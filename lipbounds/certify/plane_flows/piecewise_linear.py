r"""Conditioners of one input that are piecewise linear (relu, leaky relu, residual blocks), as tables of their pieces.

Breakpoints are found in floating point, then the pieces are proven. An interval is run through the network with the value at its
middle and an enclosure of the slope on it; a unit whose input keeps its sign on the interval is linear there, another one has any
slope between both of its sides. Between two breakpoints all units keep their sign, but for a margin at both ends, so the slope is
known up to rounding. If about a breakpoint one unit only can change its sign, then what lies there continues the piece on the
left or that on the right; else the margin is a piece of its own, with a wide slope. So every point of [-REACH, REACH] has a piece
whose interval contains it and whose line, with its errors, contains the network about it. Intervals of neighbours overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.maps.activations.pieces import slopes_below
from lipbounds.maps.conditioner import Conditioner
from lipbounds.rounding import EPS, TINY

__all__ = ["REACH", "Pieces", "is_piecewise_linear", "pieces_of"]

Array = NDArray[np.float64]

REACH = 1e4  # largest |u| tabulated
# pieces end there, too: rounding at the far end of one would hide its kinks
ANCHORS = [-3e3, -3e2, -3e1, -3.0, 3.0, 3e1, 3e2, 3e3]
WIDEST = 4096  # units of a layer: all of them are evaluated at all breakpoints
NOTHING = 1e-280  # a few TINY, times REACH
NUMBERS = 1 << 20  # in an array, for memory
MARGIN = 1e-9  # about a breakpoint, relative to 1 + |u|; the breakpoint itself is known to about 1e-12


@dataclass(frozen=True, eq=False)
class Pieces:
    """Linear pieces in ascending order.

    On piece k output o is `value[k, o] + slope[k, o] (u - middle[k])`, its value at the middle within `error`, its slope within
    `spread`.

    Attributes:
        low: Left ends, shape (pieces,).
        high: Right ends; the next piece begins at or before them.
        middle: Shape (pieces,).
        value: Shape (pieces, outputs).
        error: Likewise.
        slope: Likewise.
        spread: Likewise.
    """

    low: Array
    high: Array
    middle: Array
    value: Array
    error: Array
    slope: Array
    spread: Array


def is_piecewise_linear(network: Conditioner) -> bool:
    """Whether all activations have two linear pieces at most, and no layer more than WIDEST units."""
    return all(
        len(stage.bias) <= WIDEST and slopes_below(stage.activation, len(stage.bias)) is not None for stage in network.stages
    )


def pieces_of(network: Conditioner) -> Pieces:
    """Tabulate a conditioner of one input, such that `is_piecewise_linear`."""
    stages = [(s.matrix, s.bias, np.asarray(slopes_below(s.activation, len(s.bias)))) for s in network.stages]
    breaks = np.unique(np.concatenate((_breakpoints(stages), ANCHORS)))
    margin = MARGIN * (1.0 + np.abs(breaks))
    first, last = breaks - margin, breaks + margin
    # margins that meet are one
    starts = np.flatnonzero(np.concatenate(([True], first[1:] > np.maximum.accumulate(last)[:-1])))
    ends = np.concatenate((starts[1:], [len(breaks)]))
    gaps = np.array([(first[a], last[a:b].max()) for a, b in zip(starts, ends, strict=True)])
    cores = np.stack((np.concatenate(([-REACH], gaps[:, 1])), np.concatenate((gaps[:, 0], [REACH]))), 1)
    inside, undecided = _enclosed(stages, cores)
    around, switching = _enclosed(stages, gaps)
    known = undecided == 0
    clean = (switching <= 1) & known[:-1] & known[1:]
    # a piece that is known reaches over the clean margins at its ends
    low, high = cores.T.copy()
    low[1:][clean], high[:-1][clean] = gaps[clean, 0], gaps[clean, 1]
    left = np.flatnonzero(~clean)
    order = np.argsort(np.concatenate((2.0 * np.arange(len(cores)), 2.0 * left + 1.0)))
    parts = [np.concatenate((a, b[left]))[order] for a, b in zip(inside, around, strict=True)]
    return Pieces(np.concatenate((low, gaps[left, 0]))[order], np.concatenate((high, gaps[left, 1]))[order], *parts)


Stages = list[tuple[Array, Array, Array]]


def _breakpoints(stages: Stages) -> Array:
    """Where units change their sign, about; ascending."""
    edges = np.array([-REACH, REACH])
    for depth, (_, _, below) in enumerate(stages):
        values = edges[:, None]
        for index, (matrix, bias, slopes) in enumerate(stages[: depth + 1]):
            values = values @ matrix.T + bias
            if index < depth:
                values = np.where(values > 0, values, slopes * values)
        a, b = values[:-1], values[1:]
        row, unit = np.nonzero((a * b < 0) & (below != 1.0))
        share = a[row, unit] / (a[row, unit] - b[row, unit])
        found = edges[row] + share * (edges[row + 1] - edges[row])
        # a unit that is 0 at an edge bends there already
        edges = np.unique(np.concatenate((edges, np.clip(found, -REACH, REACH))))
    return edges[1:-1]


Lines = tuple[Array, Array, Array, Array, Array]


def _enclosed(stages: Stages, intervals: Array) -> tuple[Lines, NDArray[np.intp]]:
    """Middles, values there with errors, slopes with spreads on intervals, and how many units may change their sign on each."""
    at_once = max(1, NUMBERS // max(len(bias) for _, bias, _ in stages))
    parts = [_enclosed_at_once(stages, intervals[k : k + at_once]) for k in range(0, len(intervals), at_once)]
    middle, value, error, slope, spread = (
        np.concatenate(columns) for columns in zip(*(lines for lines, _ in parts), strict=True)
    )
    return (middle, value, error, slope, spread), np.concatenate([undecided for _, undecided in parts])


def _enclosed_at_once(stages: Stages, intervals: Array) -> tuple[Lines, NDArray[np.intp]]:
    middle = 0.5 * (intervals[:, 0] + intervals[:, 1])
    radius = np.maximum(intervals[:, 1] - middle, middle - intervals[:, 0])[:, None] * (1 + 4 * EPS)
    value, error = middle[:, None], np.zeros((len(middle), 1))
    slope, spread = np.ones((len(middle), 1)), np.zeros((len(middle), 1))
    undecided = np.zeros(len(middle), dtype=np.intp)
    for matrix, bias, below in stages:
        # sums of k products and a bias: k + 1 roundings of at most all absolute values, and those of the errors themselves
        size, charge = np.abs(matrix), (matrix.shape[1] + 8) * EPS
        error = (error @ size.T + charge * (np.abs(value) @ size.T + np.abs(bias))) * (1 + charge) + TINY
        spread = (spread @ size.T + charge * (np.abs(slope) @ size.T)) * (1 + charge) + TINY
        value, slope = value @ matrix.T + bias, slope @ matrix.T
        reach = (error + (np.abs(slope) + spread) * radius) * (1 + 8 * EPS) + 4 * EPS * np.abs(value)
        # a unit without input, as a masked one, is 0 on either side, but for what underflows
        nothing = (value == 0) & (slope == 0) & (reach <= NOTHING)
        up, down = (value - reach > 0) | (below == 1.0) | nothing, value + reach < 0
        undecided += (~up & ~down).sum(1)
        first, last = slope - spread, slope + spread
        low, high = np.minimum(first, below * first), np.maximum(last, below * last)
        factor = np.where(up, 1.0, below)
        hull = ~up & ~down
        value = np.where(value > 0, value, below * value)
        error = error + 2 * EPS * np.abs(value)
        spread = np.where(hull, (0.5 * (high - low)) * (1 + 8 * EPS) + 4 * EPS * (np.abs(low) + np.abs(high)), factor * spread)
        slope = np.where(hull, 0.5 * (low + high), factor * slope)
        spread = spread + 2 * EPS * np.abs(slope)
    return (middle, value, error, slope, spread), undecided
