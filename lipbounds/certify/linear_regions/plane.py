r"""The linear regions of a map of two inputs, as polygons: signs that together cover a bounded part of the plane.

A polygon is cut by the lines on which neurons of one layer change their sign, then by those of the next layer, where what they
see is affine on each part. Rounding moves lines and vertices, so a part is known only up to a distance $\delta$: the points of
the domain with the signs of a part lie within $\delta$ of its polygon. If x is such a point and p one of the polygon at most
$\delta$ away, then $a\cdot x+b\ge0$ implies $a\cdot p+b\ge-\delta|a|$: a polygon that is cut a little beyond the line keeps p.
Parts overlap in strips of this width, so some have no points; that is found out where it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.linear_regions.patterns import Constraints, SignedNetwork
from lipbounds.domains import Ball, Box
from lipbounds.rounding import EPS

__all__ = ["cover", "outline"]

Array = NDArray[np.float64]
Signs = NDArray[np.int8]

TOGETHER = 128  # parts whose lines are computed at a time
CORNERS = 24  # of the polygon about a ball
NEAR = 1e-11  # delta, of the size of the domain, at least
SMALLEST = 100.0  # times delta: lines that meet in a point cut a part of that size into all combinations of signs
A_CUT = 64 * EPS  # more than the rounding of a corner, of that size; a polygon is cut once a neuron at most


class _Part(NamedTuple):
    """A polygon, shape (m, 2), and the signs of its neurons, those of some stage known up to there."""

    polygon: Array
    signs: Signs


def outline(domain: Ball | Box) -> Array:
    """Return the corners of a polygon that contains a ball or a box of the plane, in their order, shape (m, 2)."""
    if isinstance(domain, Ball):
        angles = 2 * np.pi * np.arange(CORNERS) / CORNERS
        reach = domain.radius / np.cos(np.pi / CORNERS) * (1 + 1e-12)
        return np.asarray(domain.center.numpy() + reach * np.stack((np.cos(angles), np.sin(angles)), 1))
    (a, c), (b, d) = (corner.tolist() for corner in domain.bounds())
    return np.array([[a, c], [b, c], [b, d], [a, d]])


def cover(network: SignedNetwork, polygon: Array, most: int, is_over: Callable[[], bool]) -> tuple[Signs, Array]:
    """Return signs that every point of a polygon has, but for undecided ones, and a point near each, shape (n, 2).

    Args:
        network: Of two inputs.
        polygon: Its corners.
        most: Parts at which the work ends, with signs of later stages undecided.
        is_over: Whether the time is used up: as above.
    """
    size = float(np.abs(polygon).max()) * (1 + 1e-9)
    parts = [_Part(polygon, np.zeros(network.neurons, dtype=np.int8))]
    done: list[_Part] = []
    for stage in network.stages_with_neurons:
        finer: list[_Part] = []
        while parts:
            if len(parts) + len(finer) > most or is_over():
                return _all([*done, *parts, *finer])
            some, parts = parts[-TOGETHER:], parts[:-TOGETHER]
            signs = network.idle_decided(np.stack([part.signs for part in some]))
            some = [_Part(part.polygon, row) for part, row in zip(some, signs, strict=True)]
            for part, lines in zip(some, network.lines(signs, stage), strict=True):
                cut, tiny = _cut(network.numbers_of(stage), lines, part, size)
                finer, done = finer + cut, done + tiny
        parts = finer
    return _all([*done, *parts])


def _all(parts: list[_Part]) -> tuple[Signs, Array]:
    return np.stack([part.signs for part in parts]), np.stack([part.polygon.mean(0) for part in parts])


def _cut(numbers: NDArray[np.intp], lines: Constraints, part: _Part, size: float) -> tuple[list[_Part], list[_Part]]:
    """The parts of a part in which the neurons of these numbers have one sign each, and those too small to be cut further."""
    coefficients, errors, _ = lines
    own = numbers[part.signs[numbers] == 0]  # the others see 0 everywhere
    slopes, offsets = coefficients[:, :2], coefficients[:, 2]
    # the error of a value at a point of this size, that of its evaluation included, and what a shift by delta changes
    lengths = np.abs(slopes).sum(1)
    error = errors[:, :2].sum(1) * size + errors[:, 2] + 8 * EPS * (lengths * size + np.abs(offsets))
    slack = max(NEAR, A_CUT * len(part.signs)) * size * (lengths + errors[:, :2].sum(1)) + error
    waiting, result, tiny = [part], [], []
    smallest = SMALLEST * max(NEAR, A_CUT * len(part.signs)) * size
    while waiting:
        polygon, signs = waiting.pop()
        values = polygon @ slopes.T + offsets
        above, below = values.min(0) > slack, values.max(0) < -slack
        signs = signs.copy()
        known = signs[own] != 0
        signs[own] = np.where(known, signs[own], np.where(above, 1, np.where(below, -1, 0)))
        left = np.flatnonzero(signs[own] == 0)
        if not len(left):
            result.append(_Part(polygon, signs))
            continue
        if np.ptp(polygon, axis=0).max() <= smallest:
            tiny.append(_Part(polygon, signs))
            continue
        # the line that divides best first: fewer thin parts
        balance = np.minimum(values[:, left].max(0), -values[:, left].min(0)) / (lengths[left] + slack[left])
        neuron = left[balance.argmax()]
        for sign in (1, -1):
            kept = _kept(polygon, sign * values[:, neuron], 2 * slack[neuron])
            if len(kept):
                signs[own[neuron]] = sign
                waiting.append(_Part(kept, signs.copy()))
    return result, tiny


def _kept(polygon: Array, values: Array, slack: float) -> Array:
    """The part of a polygon on which an affine function with these values at the corners is at least -slack."""
    inside = values >= -slack
    if inside.all():
        return polygon
    if not inside.any():
        return polygon[:0]
    after = np.arange(1, len(polygon) + 1) % len(polygon)
    (crossed,) = np.nonzero(inside != inside[after])
    beyond = after[crossed]
    share = (values[crossed] + slack) / (values[crossed] - values[beyond])
    points = np.concatenate((polygon, polygon[crossed] + share[:, None] * (polygon[beyond] - polygon[crossed])))
    # a cut point follows the corner before it
    order = np.argsort(np.concatenate((np.arange(len(polygon)), crossed + 0.5)))
    kept = np.concatenate((inside, np.ones(len(crossed), dtype=bool)))
    return np.asarray(points[order[kept[order]]])
