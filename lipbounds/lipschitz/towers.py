r"""A conditioner's outputs with all their derivatives up to the third order: at points, and enclosed over boxes of its inputs.

A tower is s (after the clamp), t and each derivative $\partial^\alpha$, $|\alpha|\le3$, in k inputs. Through a matrix it passes
linearly, through an activation f by the chain rule
$$(f\circ u)_i=f'u_i,\quad(f\circ u)_{ij}=f'u_{ij}+f''u_iu_j,\quad
(f\circ u)_{ijk}=f'u_{ijk}+f''(u_{ij}u_k+u_{ik}u_j+u_{jk}u_i)+f'''u_iu_ju_k.$$
Over boxes the numbers are balls, and f and its derivatives have their exact ranges over that of u (ends and critical points).
This is done twice: about the middles of ranges, and about the tower at the box's middle, where after every step radii are
sharpened by the mean value theorem from the derivatives of the next order.
At the kink of relu the second and third derivatives are unknown: an infinite radius.

Rounding goes into the radii, as in `lipbounds.lipschitz.jets`; at points its bound is worked out once for a whole network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lipbounds.lipschitz.structure import Conditioner

__all__ = ["TINY", "derivatives", "errors", "tower", "values"]

Array = NDArray[np.float64]

UNIT = 2.0**-53
ULPS = 64 * UNIT  # of a few operations and elementary functions that are good to 4 ulps
UP = 1 + 64 * UNIT  # some roundings of nonnegative numbers
TINY = 1e-290  # more than underflow hides
CHUNK = 4096  # boxes at a time: their towers stay in the cache


@cache
def derivatives(k: int) -> tuple[tuple[int, ...], ...]:
    """Multi-indices up to order 3 as sorted tuples, lower orders first: (), (0,), .., (0, 0), (0, 1), .. ."""
    return tuple(itertools.chain.from_iterable(itertools.combinations_with_replacement(range(k), order) for order in range(4)))


class _Number(Protocol):
    def __add__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...


Number = TypeVar("Number", bound=_Number)


def _chain(f: Sequence[Number], u: Sequence[Number], k: int) -> list[Number]:
    """The tower of f(u) from that of u and f, f', f'', f''' at u."""
    orders = derivatives(k)
    part = dict(zip(orders, u, strict=True))
    rows = [f[0]]
    for order in orders[1:]:
        row = f[1] * part[order]
        match order:
            case (i, j):
                row = row + f[2] * (part[i,] * part[j,])
            case (i, j, l):
                cross = part[i, j] * part[l,] + part[i, l] * part[j,] + part[j, l] * part[i,]
                row = row + f[2] * cross + f[3] * (part[i,] * (part[j,] * part[l,]))
        rows.append(row)
    return rows


@dataclass(frozen=True, eq=False)
class _Ball:
    """Numbers with radii, entry by entry."""

    middle: Array
    radius: Array

    def __add__(self, other: _Ball) -> _Ball:
        middle = self.middle + other.middle
        return _Ball(middle, (self.radius + other.radius) * UP + UNIT * np.abs(middle))

    def __mul__(self, other: _Ball) -> _Ball:
        middle = self.middle * other.middle
        radius = np.abs(self.middle) * other.radius + self.radius * (np.abs(other.middle) + other.radius)
        return _Ball(middle, radius * UP + UNIT * np.abs(middle) + TINY)


@dataclass(frozen=True, eq=False)
class _Computed:
    """Bounds of numbers, and of the errors with which floating point computes them."""

    size: Array
    error: Array

    def __add__(self, other: _Computed) -> _Computed:
        size = (self.size + other.size) * UP
        return _Computed(size, (self.error + other.error) * UP + UNIT * size)

    def __mul__(self, other: _Computed) -> _Computed:
        size = self.size * other.size * UP + TINY
        error = self.size * other.error + self.error * (other.size + other.error)
        return _Computed(size, error * UP + 2 * UNIT * size + TINY)


def tower(network: Conditioner, clamp: float, middles: Array, radii: Array) -> tuple[Array, Array]:
    """Lower and upper ends of the tower over boxes of inputs.

    Args:
        network: With k inputs and 2m outputs.
        clamp: alpha.
        middles: Of the boxes, shape (n, k).
        radii: Half sides, shape (n, k).

    Returns:
        Two arrays of shape (n, 2m, len(derivatives(k))): s, then t; infinite where nothing is known.
    """
    wrong = _errors(network, clamp, float((np.abs(middles) + radii).max()))
    parts = []
    for i in range(0, len(middles), CHUNK):
        boxes = middles[i : i + CHUNK], radii[i : i + CHUNK]
        # the first is sharper on small boxes, the second on large ones
        (low, high), (least, greatest) = _tower(network, clamp, *boxes, wrong), _tower(network, clamp, *boxes, None)
        parts.append((np.fmax(low, least), np.fmin(high, greatest)))
    low, high = (np.concatenate(part, 1).transpose(1, 2, 0) for part in zip(*parts, strict=True))
    return np.where(np.isfinite(low), low, -math.inf), np.where(np.isfinite(high), high, math.inf)


def _tower(
    network: Conditioner, clamp: float, middles: Array, radii: Array, wrong: Sequence[Array] | None
) -> tuple[Array, Array]:
    """Both ends, by balls about the tower at the middle whose errors are `wrong`, or by those about the middles of ranges."""
    k = middles.shape[1]
    orders = derivatives(k)
    place = {order: i for i, order in enumerate(orders)}
    rows = _inputs(middles)
    spread = np.zeros_like(rows)
    spread[0] = radii
    stages = None if wrong is None else iter(wrong)

    def sharpened(rows: Array, spread: Array) -> tuple[Array, Array]:
        """By the mean value theorem from the next order: highest orders first, so that they help the lower ones."""
        if stages is None:
            return rows, spread
        error = next(stages)
        for row in reversed(range(len(orders))):
            if len(orders[row]) < 3:
                after = [place[tuple(sorted((*orders[row], i)))] for i in range(k)]
                reach = sum((np.abs(rows[q]) + spread[q]) * radii[:, i, None] for i, q in enumerate(after))
                spread[row] = np.fmin(spread[row], (reach + error[row]) * UP + TINY)
        return rows, spread

    def composed(rows: Array, spread: Array, activation: str) -> tuple[Array, Array]:
        reach = spread[0] * UP + 4 * UNIT * np.abs(rows[0])
        ranges = FUNCTIONS[activation](rows[0] - reach, rows[0] + reach)
        f = []
        middle = [0.5 * low + 0.5 * high for low, high in ranges] if stages is None else _at(activation, rows[0])
        for at, (low, high) in zip(middle, ranges, strict=True):
            f.append(_Ball(at, np.maximum(high - at, at - low) * UP + ULPS * (1 + np.abs(low) + np.abs(high))))
        chain = _chain(f, [_Ball(a, b) for a, b in zip(rows, spread, strict=True)], k)
        return sharpened(np.stack([ball.middle for ball in chain]), np.stack([ball.radius for ball in chain]))

    with np.errstate(over="ignore", invalid="ignore"):
        for index, (matrix, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            size, gamma = np.abs(matrix).T, _gamma(matrix)
            # sums of n products, in any order, and the radii's own
            spread = (spread + 2 * gamma * np.abs(rows)) @ size * ((1 + 2 * gamma) * UP) + TINY
            rows = rows @ matrix.T
            rows[0] += bias
            spread[0] += 2 * UNIT * (np.abs(rows[0]) + np.abs(bias))
            rows, spread = sharpened(rows, spread)
            if index < len(network.weights) - 1:
                rows, spread = composed(rows, spread, network.activation)
        m = rows.shape[2] // 2
        inner, outer = 1 / clamp, 2 * clamp / math.pi
        raw = inner * rows[..., :m]
        s, around = composed(raw, inner * spread[..., :m] * UP + 8 * UNIT * np.abs(raw) + TINY, "arctan")
        around = outer * (around * UP + 8 * UNIT * np.abs(s)) + TINY
        middle, radius = np.concatenate((outer * s, rows[..., m:]), 2), np.concatenate((around, spread[..., m:]), 2)
        radius = radius + 2 * UNIT * np.abs(middle)
        return middle - radius * UP, middle + radius * UP


def _inputs(points: Array) -> Array:
    n, k = points.shape
    rows = np.zeros((len(derivatives(k)), n, k))
    rows[0] = points
    for i in range(k):
        rows[1 + i, :, i] = 1.0
    return rows


def _gamma(matrix: Array) -> float:
    n = int(matrix.shape[1]) + 2
    return n * UNIT / (1 - n * UNIT)


def values(network: Conditioner, clamp: float, points: Array) -> Array:
    """The tower at points, shape (n, k), in floating point; `errors` says how good it is. Shape as that of `tower`."""
    k = points.shape[1]
    rows = _inputs(points)
    with np.errstate(over="ignore", invalid="ignore"):
        for index, (matrix, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            rows = rows @ matrix.T
            rows[0] += bias
            if index < len(network.weights) - 1:
                rows = np.stack(_chain(_at(network.activation, rows[0]), list(rows), k))
        m = rows.shape[2] // 2
        inner, outer = 1 / clamp, 2 * clamp / math.pi
        raw = inner * rows[..., :m]
        s = outer * np.stack(_chain(_at("arctan", raw[0]), list(raw), k))
    return np.asarray(np.concatenate((s, rows[..., m:]), 2).transpose(1, 2, 0))


def errors(network: Conditioner, clamp: float, largest: float) -> Array:
    """Bounds of the errors of `values` for inputs of at most this size; shape (2m, len(derivatives(k))).

    Derivatives of relu have none, infinity: rounding may cross a kink.
    """
    return _errors(network, clamp, largest)[-1].T


def _errors(network: Conditioner, clamp: float, largest: float) -> list[Array]:
    """Those of all stages, shapes (derivatives, width): after every matrix, after every activation, of arctan, of s and t."""
    k = network.weights[0].shape[1]
    size = np.abs(_inputs(np.full((1, k), largest)))[:, 0]
    error = np.zeros_like(size)
    stages = []

    def composed(size: Array, error: Array, activation: str) -> tuple[Array, Array]:
        far = (size[0] + error[0]) * UP
        most = [np.maximum(np.abs(low), np.abs(high)) for low, high in FUNCTIONS[activation](-far, far)]
        most.append(np.full_like(most[0], FOURTH[activation]))
        f = [_Computed(now * UP, (after * error[0] + ULPS * (1 + now)) * UP) for now, after in itertools.pairwise(most)]
        chain = _chain(f, [_Computed(a, b) for a, b in zip(size, error, strict=True)], k)
        return np.stack([number.size for number in chain]), np.stack([number.error for number in chain])

    with np.errstate(over="ignore", invalid="ignore"):
        for index, (matrix, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            gamma, weights = _gamma(matrix), np.abs(matrix).T
            error = (error + 2 * gamma * size) @ weights * ((1 + 2 * gamma) * UP) + TINY
            size = size @ weights * ((1 + 2 * gamma) * UP) + TINY
            size[0] += np.abs(bias)
            error[0] += 4 * UNIT * size[0]
            stages.append(error)
            if index < len(network.weights) - 1:
                size, error = composed(size, error, network.activation)
                stages.append(error)
        m = size.shape[1] // 2
        inner, outer = 1 / clamp, 2 * clamp / math.pi
        raw = inner * size[:, :m] * UP
        s, wrong = composed(raw, inner * error[:, :m] * UP + 8 * UNIT * raw, "arctan")
        stages.append(wrong)
        stages.append(np.concatenate((outer * (wrong * UP + 8 * UNIT * s) + TINY, error[:, m:]), 1))
    for index, stage in enumerate(stages):
        if network.activation == "relu" and len(network.weights) > 1 and index:
            stage[1:] = math.inf
        stage[~np.isfinite(stage)] = math.inf
    return stages


def _at(activation: str, x: Array) -> list[Array]:
    """The activation and its first three derivatives; at the kink of relu those of the left."""
    match activation:
        case "tanh":
            t = np.tanh(x)
            p = 1 - t * t
            return [t, p, -2 * t * p, p * (6 * t * t - 2)]
        case "softplus":
            p = _sigmoid(x)
            q = p * (1 - p)
            return [np.logaddexp(0.0, x), p, q, q * (1 - 2 * p)]
        case "arctan":
            return [np.arctan(x), _slope(x), _second(x), _third(x)]
        case "silu":
            return _silu_at(x)
        case _:
            rising = (x > 0).astype(float)
            return [x * rising, rising, np.zeros_like(x), np.zeros_like(x)]


Range = tuple[Array, Array]
Ranges = Callable[[Array, Array], Sequence[Range]]

NEAR = 1e-12  # critical points are rounded


def _between(function: Callable[[Array], Array], low: Array, high: Array, critical: Sequence[float]) -> Range:
    """The range on [low, high]: values at the ends and at critical points inside."""
    ends = function(low), function(high)
    least, greatest = np.minimum(*ends), np.maximum(*ends)
    for point in critical:
        inside = (low <= point + NEAR) & (point - NEAR <= high)
        value = function(np.array(point))
        least = np.where(inside, np.minimum(least, value), least)
        greatest = np.where(inside, np.maximum(greatest, value), greatest)
    return least, greatest


def _polynomial(low: Array, high: Array, coefficients: Sequence[float], critical: Sequence[float]) -> Range:
    return _between(lambda x: np.asarray(np.polyval(coefficients, x)), low, high, critical)


def _tanh(low: Array, high: Array) -> list[Range]:
    """All are polynomials of tanh."""
    a, b = np.tanh(low) - 16 * UNIT, np.tanh(high) + 16 * UNIT
    third, root = 3**-0.5, (2 / 3) ** 0.5
    return [
        (a, b),
        _polynomial(a, b, (-1.0, 0.0, 1.0), (0.0,)),
        _polynomial(a, b, (2.0, 0.0, -2.0, 0.0), (-third, third)),
        _polynomial(a, b, (-6.0, 0.0, 8.0, 0.0, -2.0), (-root, 0.0, root)),
    ]


def _sigmoid(x: Array) -> Array:
    # the exponential of -|x| is at most 1
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))


def _softplus(low: Array, high: Array) -> list[Range]:
    """The derivatives are polynomials of the first."""
    a, b = _sigmoid(low) - 16 * UNIT, _sigmoid(high) + 16 * UNIT
    away = 3**0.5 / 6
    return [
        (np.logaddexp(0.0, low), np.logaddexp(0.0, high)),
        (a, b),
        _polynomial(a, b, (-1.0, 1.0, 0.0), (0.5,)),
        _polynomial(a, b, (2.0, -3.0, 1.0, 0.0), (0.5 - away, 0.5 + away)),
    ]


def _slope(x: Array) -> Array:
    return np.asarray(1 / (1 + x * x))


def _second(x: Array) -> Array:
    # x^2 overflows before x times the slope does
    return np.asarray(-2 * (x * _slope(x)) * _slope(x))


def _third(x: Array) -> Array:
    slope = _slope(x)
    return np.asarray((6 * (x * slope) * (x * slope) - 2 * slope * slope) * slope)


def _arctan(low: Array, high: Array) -> list[Range]:
    third = 3**-0.5
    return [
        (np.arctan(low), np.arctan(high)),
        _between(_slope, low, high, (0.0,)),
        _between(_second, low, high, (-third, third)),
        _between(_third, low, high, (-1.0, 0.0, 1.0)),
    ]


def _silu_at(x: Array) -> list[Array]:
    p, q = _sigmoid(x), _sigmoid(-x)
    return [x * p, p + x * p * q, p * q * (2 + x * (q - p)), p * q * (3 * (q - p) + x * ((q - p) ** 2 - 2 * p * q))]


SILU = 1.0999, 0.5, 0.3083, 0.5  # largest absolute values of its first four derivatives (at 2.40, 0, 1.03 and 0), rounded up


def _silu(low: Array, high: Array) -> list[Range]:
    """By the value in the middle and the largest next derivative."""
    middle, reach = 0.5 * low + 0.5 * high, (0.5 * high - 0.5 * low) * UP
    ranges = []
    for order, (value, most) in enumerate(zip(_silu_at(middle), SILU, strict=True)):
        away = reach * most + ULPS * (1 + np.abs(middle))
        least, greatest = value - away, value + away
        if order:  # never beyond the extremes
            size = SILU[order - 1]
            least, greatest = np.maximum(least, -size), np.minimum(greatest, size)
        ranges.append((least, greatest))
    return ranges


def _relu(low: Array, high: Array) -> list[Range]:
    kink = np.where((low <= 0) & (high >= 0), math.inf, 0.0)
    return [
        (np.maximum(low, 0.0), np.maximum(high, 0.0)),
        ((low > 0).astype(float), (high >= 0).astype(float)),
        (-kink, kink),
        (-kink, kink),
    ]


FOURTH = {"tanh": 4.1, "softplus": 0.126, "silu": 0.5, "arctan": 4.67, "relu": 0.0}  # largest fourth derivatives, rounded up
FUNCTIONS: dict[str, Ranges] = {"tanh": _tanh, "softplus": _softplus, "silu": _silu, "arctan": _arctan, "relu": _relu}
