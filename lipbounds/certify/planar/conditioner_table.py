r"""Conditioners of one variable as tables of enclosures: s and t with their derivatives, cell by cell.

A coupling layer of a plane splits 1|1, so its conditioners are functions of one number u. On a cell with middle m and half width
r every quantity a(u) inside the network is carried as value and slope at m and a bound of its second derivative on the cell:
$a(u)\in a(m)+a'(m)(u-m)\pm\frac12A_2(u-m)^2$, $a'(u)\in a'(m)\pm A_2|u-m|$. For an activation
$|(\sigma\circ a)''|\le\sup|\sigma''|\,(|a'|+A_2r)^2+\sup|\sigma'|\,A_2$, with suprema over the cell's range. Where a relu has its
kink inside a cell, the slope is enclosed by the hull of both sides and A_2 is infinite there. If it is the only kink of its cell,
the slopes of s and t with the unit on and with it off are kept as two pairs: the hulls of both would contain pairs that no point
has, and the bounds would stay above the truth however small the boxes.

Rounding. Sums of products in the network are charged with an a-priori bound (k + 8 ulps of the sum of absolute values, carried
through the layers), elementary functions with 4 ulps, which every numpy that we know keeps by a wide margin; that is the one
assumption. Cells are spaced evenly in asinh(u), fine near 0 and out to 1e4; beyond, nothing is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Conditioner
from lipbounds.rounding import ELEMENTARY_ULPS, EPS

__all__ = ["REACH", "Table", "tabulate"]

Array = NDArray[np.float64]

REACH = 1e4
CELLS = 1 << 16
CHUNK = 1 << 13


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

    def reach(self, r: Array) -> Array:
        """How far the quantity may be from its middle value on the cell."""
        return self.error + (np.abs(self.slope) + self.spread) * r


def tabulate(network: Conditioner, clamp: float, cells: int = CELLS) -> Table:
    """Tabulate a conditioner of one input.

    Args:
        network: With one input, outputs (s, t).
        clamp: alpha of s.
        cells: Number of cells.

    Raises:
        InvalidInput: If the conditioner has several inputs or outputs.
    """
    if network.weights[0].shape[1] != 1 or network.weights[-1].shape[0] != 2:
        shape = (network.weights[0].shape[1], network.weights[-1].shape[0])
        raise InvalidInput("network", f"{shape[0]} inputs, {shape[1]} outputs", "1 and 2", "tables are for planes")
    ends = edges(cells)
    middle = 0.5 * (ends[1:] + ends[:-1])
    # cells overlap a little, so that a number whose cell is looked up with rounding lies in it all the same
    half = np.maximum(ends[1:] - middle, middle - ends[:-1]) * (1 + 1e-6)
    parts = []
    for start in range(0, cells, CHUNK):
        m, r = middle[start : start + CHUNK, None], half[start : start + CHUNK, None]
        zero = np.zeros_like(m)
        jet = _Jet(m, zero, np.ones_like(m), zero, zero, zero)
        masks: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
        for index, (matrix, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            jet = _linear(jet, matrix, bias)
            if index < len(network.weights) - 1:
                if network.activation == "relu":
                    reach = jet.reach(r)
                    masks.append((jet.value - reach > 0, jet.value + reach < 0))
                jet = _activate(jet, network.activation, r)
        fields = (jet.value, jet.error, jet.slope, jet.slope_error, jet.spread, jet.curve)
        raw, t = (_Jet(*(field[:, k : k + 1] for field in fields)) for k in range(2))
        s = _smooth(raw, r, *_clamped(raw, r, clamp))
        rows = [np.concatenate((j.value, j.error, j.slope, j.spread), axis=1).T for j in (s, t)]
        both = [np.concatenate((s.slope, s.spread, t.slope, t.spread), axis=1)] * 2
        if masks:
            both = _sides(network, clamp, masks, raw, r, both[0])
        parts.append([*rows, np.concatenate(both, axis=1).T])
    s_rows, t_rows, pairs = (np.concatenate([part[k] for part in parts], axis=1) for k in range(3))
    return Table(middle, s_rows, t_rows, pairs)


def _sides(
    network: Conditioner,
    clamp: float,
    masks: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    raw: _Jet,
    r: Array,
    hull: Array,
) -> list[Array]:
    """Slopes of s and t with the one undecided unit of a cell off and on; the hull where there are several."""
    undecided = sum((~(on | off)).sum(axis=1, keepdims=True) for on, off in masks)
    sides = []
    for switched in (False, True):
        slope, error = np.ones_like(r), np.zeros_like(r)
        for index, (matrix, _) in enumerate(zip(network.weights, network.biases, strict=True)):
            size, charge = np.abs(matrix), (matrix.shape[1] + 8) * EPS
            error = (error @ size.T + charge * (np.abs(slope) @ size.T)) * (1 + charge)
            slope = slope @ matrix.T
            if index < len(masks):
                on, off = masks[index]
                live = on | (~off & switched)
                slope, error = np.where(live, slope, 0.0), np.where(live, error, 0.0)
        # the clamp's slope over the whole cell, from the reach of s there, times that of s before it
        jet = _Jet(raw.value, raw.error, slope[:, :1], error[:, :1], error[:, :1], np.zeros_like(r))
        reach = raw.reach(r)
        _, first, sup_1, sup_2, rounding = _clamped(raw, r, clamp)
        steepest = np.abs(jet.slope) + jet.spread
        spread = (sup_1 * jet.spread + sup_2 * reach * steepest + (rounding + 8 * EPS) * steepest) * (1 + 16 * EPS)
        side = np.concatenate((first * jet.slope, spread, slope[:, 1:], error[:, 1:]), axis=1)
        sides.append(np.where(undecided == 1, side, hull))
    return sides


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


def _activate(jet: _Jet, activation: str, r: Array) -> _Jet:
    a, reach = jet.value, jet.reach(r)
    rounding_1: Array | float
    nearest = np.maximum(np.abs(a) - reach, 0.0)
    if activation == "relu":
        return _relu(jet, reach)
    if activation == "tanh":
        y = np.tanh(a)
        first = 1.0 - y * y
        sup_1 = 1.0 - np.tanh(nearest) ** 2
        sup_2 = np.minimum(0.7699, 2 * np.abs(y) * first + 2 * reach)
        rounding_1 = 16 * EPS  # 1 - y^2 cancels: absolute, not relative
    elif activation == "arctan":
        y, first = np.arctan(a), 1.0 / (1.0 + a * a)
        sup_1 = 1.0 / (1.0 + nearest**2)
        sup_2 = np.minimum(0.6496, 2 * np.abs(a) * first**2 + 2 * reach)
        rounding_1 = 16 * EPS
    elif activation in ("softplus", "silu"):
        logistic = 0.5 * (1.0 + np.tanh(0.5 * a))
        product = logistic * (1.0 - logistic)
        rounding_1 = 16 * EPS * (1 + np.abs(a))
        if activation == "softplus":
            y, first, sup_1 = np.logaddexp(0.0, a), logistic, 0.5 * (1.0 + np.tanh(0.5 * (a + reach)))
            sup_2 = np.minimum(0.25, product + 0.0963 * reach)
        else:
            y, first, sup_1 = (
                a * logistic,
                logistic + a * product,
                np.minimum(1.0999, np.abs(logistic + a * product) + 0.5 * reach),
            )
            sup_2 = np.minimum(0.5, np.abs(product * (2 + a * (1 - 2 * logistic))) + 0.31 * reach)
    else:
        raise InvalidInput("activation", activation, "relu, tanh, softplus, arctan or silu", "use one of these")
    return _smooth(jet, r, y, first, sup_1 * (1 + 16 * EPS) + 16 * EPS, sup_2 * (1 + 16 * EPS) + 16 * EPS, rounding_1)


def _clamped(jet: _Jet, r: Array, alpha: float) -> tuple[Array, Array, Array, Array, float]:
    """Value and derivatives of (2 alpha / pi) arctan(s / alpha)."""
    x, reach = jet.value / alpha, jet.reach(r) / alpha
    first = 2 / math.pi / (1 + x * x)
    nearest = np.maximum(np.abs(x) - reach, 0.0)
    sup_1 = 2 / math.pi / (1 + nearest**2) * (1 + 16 * EPS)
    sup_2 = 2 / math.pi / alpha * np.minimum(0.6496, 2 * np.abs(x) / (1 + x * x) ** 2 + 2 * reach) * (1 + 16 * EPS)
    return 2 * alpha / math.pi * np.arctan(x), first, sup_1, sup_2, 16 * EPS


def _smooth(jet: _Jet, r: Array, y: Array, first: Array, sup_1: Array, sup_2: Array, rounding_1: Array | float) -> _Jet:
    """The chain rule: y and first are value and slope of the activation at the middle, the suprema hold on the cell."""
    steepest = np.abs(jet.slope) + jet.spread
    with np.errstate(invalid="ignore"):  # infinite curvature where the slope of the activation is 0
        curve = np.nan_to_num(sup_2 * steepest**2 + sup_1 * jet.curve, nan=np.inf, posinf=np.inf) * (1 + 16 * EPS)
        # of the slope: by the curvature, or where that is unknown by the spread that comes in
        by_curve = curve * r
    by_range = sup_1 * jet.spread + sup_2 * jet.reach(r) * steepest
    wrong = (np.abs(first) * 8 * EPS + rounding_1 + sup_2 * jet.error) * steepest
    slope_error = (sup_1 * jet.slope_error + wrong) * (1 + 16 * EPS)
    spread = np.minimum(by_curve + slope_error, by_range + wrong) * (1 + 16 * EPS)
    error = (sup_1 * jet.error + ELEMENTARY_ULPS * EPS * np.abs(y) + 1e-300) * (1 + 16 * EPS)
    return _Jet(y, error, first * jet.slope, slope_error, spread, curve)


def _relu(jet: _Jet, reach: Array) -> _Jet:
    on, off = jet.value - reach > 0, jet.value + reach < 0
    low, high = jet.slope - jet.spread, jet.slope + jet.spread
    # at a kink the slope is 0 or that of the line: the hull of both
    low, high = np.where(on, low, np.minimum(low, 0.0)), np.where(on, high, np.maximum(high, 0.0))
    slope, spread = 0.5 * (low + high), 0.5 * (high - low) * (1 + 4 * EPS)
    kink = ~(on | off)
    return _Jet(
        value=np.where(off, 0.0, np.maximum(jet.value, 0.0)),
        error=np.where(off, 0.0, jet.error),
        slope=np.where(off, 0.0, np.where(on, jet.slope, slope)),
        slope_error=np.where(off, 0.0, np.where(on, jet.slope_error, spread)),
        spread=np.where(off, 0.0, np.where(on, jet.spread, spread)),
        curve=np.where(off, 0.0, np.where(kink, np.inf, jet.curve)),
    )
