r"""Conditioners of one variable as tables of enclosures: s and t with their derivatives, cell by cell.

A coupling layer of a plane splits 1|1, so its conditioners are functions of one number u. On a cell with middle m and half width
r every quantity a(u) inside the network is carried as value and slope at m and a bound of its second derivative on the cell:
$a(u)\in a(m)+a'(m)(u-m)\pm\frac12A_2(u-m)^2$, $a'(u)\in a'(m)\pm A_2|u-m|$. For an activation
$|(\sigma\circ a)''|\le\sup|\sigma''|\,(|a'|+A_2r)^2+\sup|\sigma'|\,A_2$, with suprema over the cell's range. Where a relu has its
kink inside a cell, the slope is enclosed by the hull of both sides and A_2 is infinite there. If it is the only kink of its cell,
the slopes of s and t with the unit on and with it off are kept as two pairs: the hulls of both would contain pairs that no point
has, and the bounds would stay above the truth however small the boxes.

Rounding. Sums of products in the network are charged with an a-priori bound (k + 8 ulps of the sum of absolute values, carried
through the layers), activations with FUNCTION_ERROR, which takes elementary functions to be good to 4 ulps; that is the one
assumption. Cells are spaced evenly in asinh(u), fine near 0 and out to 1e4; beyond, nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.base import Range
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.scales import Scale
from lipbounds.rounding import EPS, FUNCTION_ERROR, TINY

__all__ = ["REACH", "Table", "tabulate"]

Array = NDArray[np.float64]

REACH = 1e4  # largest |u| tabulated
CELLS = 1 << 16  # of a table
CHUNK = 1 << 13  # cells at a time, for memory


@dataclass(frozen=True, eq=False)
class Table:
    """Enclosures of the clamped s and of t of a conditioner with one input and one output of each, by cells.

    On cell i, with d = u - middle[i], s(u) lies in value + slope d -+ (error + spread |d|) and s'(u) in slope -+ spread, and t
    likewise. The pair of slopes (s'(u), t'(u)) lies in one of the two boxes of `pairs`.

    Attributes:
        middle: Shape (cells,).
        s: Rows value, error, slope, spread; shape (4, cells).
        t: Likewise.
        pairs: Rows slope and spread of s, slope and spread of t, with a lone kinking unit off and on; shape (8, cells).
    """

    middle: Array
    s: Array
    t: Array
    pairs: Array

    @property
    def stacked(self) -> Array:
        """Rows: middle; value, error, slope, spread of s; the same of t; the pairs. Shape (17, cells)."""
        return np.ascontiguousarray(np.concatenate((self.middle[None], self.s, self.t, self.pairs)))


def edges(cells: int = CELLS) -> Array:
    """Return the cells' edges, even in asinh(u)."""
    return np.sinh(np.linspace(-math.asinh(REACH), math.asinh(REACH), cells + 1))


@dataclass
class _Jet:
    """Value and slope at the middle with their errors, bounds of the slope's spread and of the curvature on the cell.

    Each of shape (cells, width). The spread includes the error of the slope.
    """

    value: Array
    error: Array
    slope: Array
    slope_error: Array
    spread: Array
    curve: Array

    def unit(self, k: int) -> _Jet:
        """One unit alone."""
        return _Jet(*(getattr(self, field.name)[:, k : k + 1] for field in fields(self)))

    def reach(self, r: Array) -> Array:
        """How far the quantity may be from its middle value on the cell."""
        return self.error + (np.abs(self.slope) + self.spread) * r


def tabulate(network: Conditioner, scale: Scale, cells: int = CELLS) -> Table:
    """Tabulate a conditioner of one input.

    Args:
        network: With one input, outputs (s, t).
        scale: Of the coupling.
        cells: Number of cells.

    Raises:
        InvalidInput: If the conditioner has several inputs or outputs.
    """
    if (network.inputs, network.outputs) != (1, 2):
        got = f"{network.inputs} inputs, {network.outputs} outputs"
        raise InvalidInput("network", got, "1 and 2", "tables are for planes")
    ends = edges(cells)
    middle = 0.5 * (ends[1:] + ends[:-1])
    # cells overlap a little, so that a number whose cell is looked up with rounding lies in it all the same
    half = np.maximum(ends[1:] - middle, middle - ends[:-1]) * (1 + 1e-6)
    parts = [
        _tabulated(network, scale, middle[start : start + CHUNK, None], half[start : start + CHUNK, None])
        for start in range(0, cells, CHUNK)
    ]
    s_rows, t_rows, pairs = (np.concatenate([part[k] for part in parts], axis=1) for k in range(3))
    return Table(middle, s_rows, t_rows, pairs)


def _tabulated(network: Conditioner, scale: Scale, m: Array, r: Array) -> tuple[Array, Array, Array]:
    """Rows of s, of t and of the pairs on cells with these middles and half widths, shape (cells, 1)."""
    zero = np.zeros_like(m)
    jet = _Jet(m, zero, np.ones_like(m), zero, zero, zero)
    ranges: list[Range] = []  # of the slopes of all units
    for stage in network.stages:
        jet = _linear(jet, stage.matrix, stage.bias)
        if stage.activation.kink == 1:
            ranges.append(_slopes(jet, stage.activation, r))
            jet = _piecewise_linear(jet, stage.activation, *ranges[-1])
        elif stage.activation is not LINEAR:
            jet = _smooth(jet, stage.activation, r)
    raw, t = jet.unit(0), jet.unit(1)
    s = _outer(_smooth(_inner(raw, scale), scale.function, r), scale)
    rows = [np.concatenate((j.value, j.error, j.slope, j.spread), axis=1).T for j in (s, t)]
    both = [np.concatenate((s.slope, s.spread, t.slope, t.spread), axis=1)] * 2
    if ranges:
        both = _sides(network, scale, ranges, raw, r, both[0])
    return rows[0], rows[1], np.concatenate(both, axis=1).T


def _sides(network: Conditioner, scale: Scale, ranges: Sequence[Range], raw: _Jet, r: Array, hull: Array) -> list[Array]:
    """Slopes of s and t with the one undecided unit of a cell at its lower and at its upper slope; the hull where several are."""
    undecided = sum((low < high).sum(axis=1, keepdims=True) for low, high in ranges)
    whole, sides = _inner(raw, scale), []
    f = _of_activation(scale.function, whole.value, whole.reach(r))
    for upper in (False, True):
        slope, error, known = np.ones_like(r), np.zeros_like(r), iter(ranges)
        for stage in network.stages:
            size, charge = np.abs(stage.matrix), (stage.matrix.shape[1] + 8) * EPS
            error = (error @ size.T + charge * (np.abs(slope) @ size.T)) * (1 + charge)
            slope = slope @ stage.matrix.T
            if stage.activation.kink == 1:
                low, high = next(known)
                factor = high if upper else low
                error, slope = (error + 2 * EPS * np.abs(slope)) * factor, slope * factor
        # the slope of the clamp over the whole cell, from the reach of s there, times that of s before it
        jet = _Jet(raw.value, raw.error, slope[:, :1], error[:, :1], error[:, :1], np.zeros_like(r))
        s = _side_of_scale(jet, f, whole.reach(r), scale)
        side = np.concatenate((s.slope, s.spread, slope[:, 1:], error[:, 1:]), axis=1)
        sides.append(np.where(undecided == 1, side, hull))
    return sides


def _side_of_scale(jet: _Jet, f: _Derivatives, reach: Array, scale: Scale) -> _Jet:
    """The scale of s, with derivatives f over its reach on the cell, where the slope of s before it is that of one side."""
    before, zero = _inner(jet, scale), np.zeros_like(reach)
    steepest = np.abs(before.slope) + before.spread
    spread = f.sup_1 * before.spread + f.sup_2 * reach * steepest + (f.rounding + 8 * EPS) * steepest
    return _outer(_Jet(f.value, zero, f.first * before.slope, zero, spread * (1 + 16 * EPS), zero), scale)


def _linear(jet: _Jet, matrix: Array, bias: Array) -> _Jet:
    size, charge = np.abs(matrix), (matrix.shape[1] + 8) * EPS
    value, slope = jet.value @ matrix.T + bias, jet.slope @ matrix.T
    error = (jet.error @ size.T + charge * (np.abs(jet.value) @ size.T + np.abs(bias))) * (1 + charge)
    rounding = charge * (np.abs(jet.slope) @ size.T)
    slope_error = (jet.slope_error @ size.T + rounding) * (1 + charge)
    spread = (jet.spread @ size.T + rounding) * (1 + charge)
    with np.errstate(invalid="ignore"):  # infinite curvature times a zero weight
        curve = np.nan_to_num(jet.curve @ size.T, nan=np.inf, posinf=np.inf) * (1 + charge)
    return _Jet(value, error, slope, slope_error, spread, curve)


def _multiplied(jet: _Jet, factor: float, shift: float = 0.0) -> _Jet:
    """factor jet + shift; the factor itself is rounded."""
    value, slope, size = factor * jet.value + shift, factor * jet.slope, abs(factor)
    return _Jet(
        value,
        (size * jet.error + 8 * EPS * (np.abs(value) + abs(shift))) * (1 + 16 * EPS),
        slope,
        (size * jet.slope_error + 8 * EPS * np.abs(slope)) * (1 + 16 * EPS),
        (size * jet.spread + 8 * EPS * np.abs(slope)) * (1 + 16 * EPS),
        size * jet.curve * (1 + 16 * EPS),
    )


def _inner(raw: _Jet, scale: Scale) -> _Jet:
    return _multiplied(raw, scale.inner, scale.shift)


def _outer(jet: _Jet, scale: Scale) -> _Jet:
    return _multiplied(jet, scale.outer)


class _Derivatives(NamedTuple):
    """Value and slope of an activation at points, suprema of |f'| and |f''| about them, and the error of the slope."""

    value: Array
    first: Array
    sup_1: Array
    sup_2: Array
    rounding: Array


def _of_activation(activation: Activation, a: Array, reach: Array) -> _Derivatives:
    value, first = activation.coefficients(a, 1)
    away = reach * (1 + 16 * EPS) + 4 * EPS * np.abs(a)
    known = activation.ranges(a - away, a + away, 2)
    # the larger absolute end and the error of the function, in as few passes as can be: tables are most of the time in the plane
    suprema: list[Array] = []
    for n in (1, 2):
        largest = np.maximum(-known[n][0], known[n][1])
        largest *= n * (1 + FUNCTION_ERROR) * (1 + 32 * EPS)
        largest += n * FUNCTION_ERROR * (1 + 32 * EPS)
        suprema.append(largest)
    return _Derivatives(value, first, suprema[0], suprema[1], FUNCTION_ERROR * (1 + np.abs(first)))


def _smooth(jet: _Jet, activation: Activation, r: Array) -> _Jet:
    """The chain rule."""
    if activation is LINEAR:
        return jet
    f = _of_activation(activation, jet.value, jet.reach(r))
    steepest = np.abs(jet.slope) + jet.spread
    with np.errstate(invalid="ignore"):  # infinite curvature where the slope of the activation is 0
        curve = np.nan_to_num(f.sup_2 * steepest**2 + f.sup_1 * jet.curve, nan=np.inf, posinf=np.inf) * (1 + 16 * EPS)
        # of the slope: by the curvature, or where that is unknown by the spread that comes in
        by_curve = curve * r
    by_range = f.sup_1 * jet.spread + f.sup_2 * jet.reach(r) * steepest
    error = (np.abs(f.first) * 8 * EPS + f.rounding + f.sup_2 * jet.error) * steepest
    slope_error = (f.sup_1 * jet.slope_error + error) * (1 + 16 * EPS)
    spread = np.minimum(by_curve + slope_error, by_range + error) * (1 + 16 * EPS)
    value_error = (f.sup_1 * jet.error + FUNCTION_ERROR * (np.abs(f.value) + activation.absolute) + TINY) * (1 + 16 * EPS)
    return _Jet(f.value, value_error, f.first * jet.slope, slope_error, spread, curve)


def _slopes(jet: _Jet, activation: Activation, r: Array) -> Range:
    """The range of the slopes of a piecewise linear activation on the cell."""
    reach = jet.reach(r)
    return activation.ranges(jet.value - reach, jet.value + reach, 1)[1]


def _piecewise_linear(jet: _Jet, activation: Activation, below: Array, above: Array) -> _Jet:
    """An activation of two linear pieces; where a cell has the kink, the slope is in the hull of both sides."""
    kink = below < above
    first, last = jet.slope - jet.spread, jet.slope + jet.spread
    # slopes of the activation are not negative
    low, high = np.minimum(below * first, above * first), np.maximum(below * last, above * last)
    slope, spread = 0.5 * (low + high), 0.5 * (high - low) * (1 + 4 * EPS)
    value = activation.coefficients(jet.value, 1)[0]
    with np.errstate(invalid="ignore"):  # the slope 0 of an infinite curvature
        curve = np.where(kink, np.inf, np.where(above > 0, above * jet.curve, 0.0))
    error, slope_error = above * jet.error, np.where(kink, spread, above * jet.slope_error)
    spread = np.where(kink, spread, above * jet.spread)
    inexact = (above != 0.0) & (above != 1.0)
    if inexact.any():  # products by other slopes are rounded
        rounding = np.where(inexact, 4 * EPS, 0.0)
        error, slope_error = error + rounding * np.abs(value), slope_error + rounding * np.abs(jet.slope)
        spread = spread + rounding * np.abs(jet.slope)
    return _Jet(value, error, np.where(kink, slope, above * jet.slope), slope_error, spread, curve)
