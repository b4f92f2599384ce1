r"""A conditioner's outputs with all their derivatives up to the third order: at points, and enclosed over boxes of its inputs.

A tower is s (after the clamp), t and each Taylor coefficient $\partial^\alpha/\alpha!$, $|\alpha|\le p$, in k inputs. Through a
matrix it passes linearly, through an activation f by $\sum_jf^{(j)}(u_0)(u-u_0)^j/j!$ (`series`). Over boxes the numbers are
balls, and f and its derivatives have their exact ranges over that of u (ends and critical points). With a p above 3 they are
taken about the tower at the box's middle, where after every step radii are sharpened by the mean value theorem from the
coefficients of the next degree. What interval arithmetic loses, the cancellation between units, is so lost at degree p alone;
what the third derivatives have of it is multiplied with the (p - 3)-rd power of the box's side. On large boxes they are taken
about the middles of ranges, too, with p = 3, which is better there.
At the kink of relu the second and higher derivatives are unknown: an infinite radius.

Rounding goes into the radii; at points its bound is worked out once for a whole network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.enclosures.power_series import (
    Series,
    compose,
    compose_affine,
    compose_numbers,
    powers_of,
    series,
    sharpen,
)
from lipbounds.maps.activations import coefficients, largest_of, ranges
from lipbounds.maps.layers import Conditioner
from lipbounds.rounding import FUNCTION_ERROR, PRODUCTS_ERROR, TINY, UNIT, UP

__all__ = ["derivatives", "errors", "tower", "values"]

Array = NDArray[np.float64]

KEPT = 3  # order of the derivatives that are returned
DEGREES = {1: 5, 2: 5, 3: 5, 4: 4}  # p > KEPT on small boxes, by the number of inputs
SHORT = 0.25  # of inputs of the first units: on boxes that reach no farther ranges gain nothing
CHUNK = 64  # boxes at a time: their towers stay in the cache


def derivatives(k: int, order: int = KEPT) -> tuple[tuple[int, ...], ...]:
    """Multi-indices up to an order as sorted tuples, lower orders first: (), (0,), .., (0, 0), (0, 1), .. ."""
    return series(k, order).orders


def tower(network: Conditioner, clamp: float, middles: Array, radii: Array) -> tuple[Array, Array, Array]:
    """Lower and upper ends of the tower over boxes of inputs, and how large its next derivatives are.

    Args:
        network: With k inputs and 2m outputs.
        clamp: alpha.
        middles: Of the boxes, shape (n, k).
        radii: Half sides, shape (n, k).

    Returns:
        Two arrays of shape (n, 2m, len(derivatives(k))): s, then t; infinite where nothing is known. One of shape (n, 2m,
        number of derivatives of the fourth order), as they follow in `derivatives(k, 4)`: bounds of absolute values.
    """
    k = middles.shape[1]
    small, large, more = series(k, DEGREES[k]), series(k, KEPT), series(k, KEPT + 1)
    kept = len(large.orders)
    wrong = _errors(network, clamp, float((np.abs(middles) + radii).max()), small)
    low, high = _towers(network, clamp, middles, radii, small, wrong)
    size = np.maximum(np.abs(low[kept:]), np.abs(high[kept:]))
    low, high = low[:kept], high[:kept]
    with np.errstate(over="ignore", invalid="ignore"):
        long = ~((radii @ np.abs(network.weights[0]).T).max(1) <= SHORT) | (network.activation == "relu")
    if long.any():
        least, greatest = _towers(network, clamp, middles[long], radii[long], large, None)
        low[:, long], high[:, long] = np.fmax(low[:, long], least), np.fmin(high[:, long], greatest)
    low, high, size = (part.transpose(1, 2, 0) for part in (low, high, size))
    low, high = (part * large.factorials for part in (low, high))  # small integers: a rounding
    low, high = low - UNIT * np.abs(low), high + UNIT * np.abs(high)
    size = size * more.factorials[kept:] * UP
    return (
        np.where(np.isfinite(low), low, -math.inf),
        np.where(np.isfinite(high), high, math.inf),
        np.where(np.isfinite(size), size, math.inf),
    )


def _towers(
    network: Conditioner, clamp: float, middles: Array, radii: Array, terms: Series, wrong: Sequence[Array] | None
) -> tuple[Array, Array]:
    """The same as `_tower`, some boxes at a time."""
    parts = [
        _tower(network, clamp, middles[i : i + CHUNK], radii[i : i + CHUNK], terms, wrong) for i in range(0, len(middles), CHUNK)
    ]
    low, high = (np.concatenate(part, 1) for part in zip(*parts, strict=True))
    return low, high


def _tower(
    network: Conditioner, clamp: float, middles: Array, radii: Array, terms: Series, wrong: Sequence[Array] | None
) -> tuple[Array, Array]:
    """Both ends, by balls about the tower at the middle whose errors are `wrong`, or by those about the middles of ranges."""
    degree = len(terms.orders[-1])
    rows = _inputs(middles, terms)
    spread = np.zeros_like(rows)
    spread[0] = radii
    stages = None if wrong is None else iter(wrong)

    def sharpened(rows: Array, spread: Array) -> tuple[Array, Array]:
        if stages is not None:
            sharpen(rows, spread, terms.raised, terms.times, radii, next(stages))
        return rows, spread

    def composed(rows: Array, spread: Array, activation: str, powers: Array | None = None) -> tuple[Array, Array]:
        reach = spread[0] * UP + 4 * UNIT * np.abs(rows[0])
        known = ranges(activation, rows[0] - reach, rows[0] + reach, degree)
        f = []
        middle = [0.5 * low + 0.5 * high for low, high in known] if stages is None else coefficients(activation, rows[0], degree)
        for at, (low, high) in zip(middle, known, strict=True):
            f.append((at, np.maximum(high - at, at - low) * UP + FUNCTION_ERROR * (1 + np.abs(low) + np.abs(high))))
        # the first units are affine in the inputs: no sums
        return sharpened(*(compose(f, rows, spread, terms) if powers is None else compose_affine(f, powers, terms)))

    with np.errstate(over="ignore", invalid="ignore"):
        for index, (matrix, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            # contiguous: products with transposed matrices take up to twice as long
            transposed, gamma = np.ascontiguousarray(matrix.T), _gamma(matrix)
            size = np.abs(transposed)
            # sums of n products, in any order, and the radii's own
            spread = (spread + 2 * gamma * np.abs(rows)) @ size * ((1 + 2 * gamma) * UP) + TINY
            rows = rows @ transposed
            rows[0] += bias
            spread[0] += 2 * UNIT * (np.abs(rows[0]) + np.abs(bias))
            rows, spread = sharpened(rows, spread)
            if index < len(network.weights) - 1:
                rows, spread = composed(rows, spread, network.activation, None if index else powers_of(matrix, terms))
        m = rows.shape[2] // 2
        inner, outer = 1 / clamp, 2 * clamp / math.pi
        raw = inner * rows[..., :m]
        s, around = composed(raw, inner * spread[..., :m] * UP + 8 * UNIT * np.abs(raw) + TINY, "arctan")
        around = outer * (around * UP + 8 * UNIT * np.abs(s)) + TINY
        kept = slice(len(derivatives(middles.shape[1], KEPT + 1)))
        middle, radius = np.concatenate((outer * s, rows[..., m:]), 2)[kept], np.concatenate((around, spread[..., m:]), 2)[kept]
        radius = radius + 2 * UNIT * np.abs(middle)
        return middle - radius * UP, middle + radius * UP


def _inputs(points: Array, terms: Series) -> Array:
    n, k = points.shape
    rows = np.zeros((len(terms.orders), n, k))
    rows[0] = points
    for i in range(k):
        rows[1 + i, :, i] = 1.0
    return rows


def _gamma(matrix: Array) -> float:
    n = int(matrix.shape[1]) + 2
    return n * UNIT / (1 - n * UNIT)


def values(network: Conditioner, clamp: float, points: Any, compose: Callable[..., Any] = compose_numbers) -> Any:
    """The tower at points, shape (n, k), in floating point; `errors` says how good it is. Shape as that of `tower`.

    For arrays, or for tensors with their own function in place of `series.compose_numbers`.
    """
    xp = torch if isinstance(points, torch.Tensor) else np
    terms = series(points.shape[1], KEPT)

    def here(numbers: Array) -> Any:
        return torch.as_tensor(numbers, device=points.device) if xp is torch else numbers

    def composed(rows: Any, activation: str) -> Any:
        return compose(coefficients(activation, rows[0], KEPT), rows, terms)

    # contiguous: products with transposed matrices take up to twice as long
    matrices = [here(np.ascontiguousarray(matrix.T)) for matrix in network.weights]
    biases = [here(bias) for bias in network.biases]
    with np.errstate(over="ignore", invalid="ignore"):
        # of the inputs there is themselves, and a slope of 1 along each
        start = points @ matrices[0] + biases[0]
        rows = xp.stack([start] + [xp.zeros_like(start)] * (len(terms.orders) - 1))
        for i in range(points.shape[1]):
            rows[1 + i] = matrices[0][i]
        for matrix, bias in zip(matrices[1:], biases[1:], strict=True):
            rows = composed(rows, network.activation) @ matrix
            rows[0] += bias
        m = rows.shape[2] // 2
        inner, outer = 1 / clamp, 2 * clamp / math.pi
        s = outer * composed(inner * rows[..., :m], "arctan")
    return xp.moveaxis(xp.concatenate((s, rows[..., m:]), 2), 0, 2) * here(terms.factorials)


def errors(network: Conditioner, clamp: float, largest: float) -> Array:
    """Bounds of the errors of `values` for inputs of at most this size; shape (2m, len(derivatives(k))).

    Derivatives of relu have none, infinity: rounding may cross a kink.
    """
    terms = series(network.weights[0].shape[1], KEPT)
    stages = _errors(network, clamp, largest, terms)
    return stages[-1].T * terms.factorials * UP


def _errors(network: Conditioner, clamp: float, largest: float, terms: Series) -> list[Array]:
    """Those of all stages, shapes (rows, width): after every matrix, after every activation, of arctan, of s and t.

    A ball about a bound of a number's size, with the bound of its error for the radius, passes through products as they do.
    """
    degree = len(terms.orders[-1])
    size = np.abs(_inputs(np.full((1, network.weights[0].shape[1]), largest), terms))[:, 0]
    error = np.zeros_like(size)
    stages = []

    def composed(size: Array, error: Array, activation: str) -> tuple[Array, Array]:
        far = (size[0] + error[0]) * UP
        most = [np.maximum(np.abs(low), np.abs(high)) * UP for low, high in ranges(activation, -far, far, degree)]
        most.append(np.full_like(far, largest_of(activation, degree + 1)))
        f = [
            (now, ((j + 1) * after * error[0] + FUNCTION_ERROR * (1 + now)) * UP)
            for j, (now, after) in enumerate(itertools.pairwise(most))
        ]
        size, error = compose(f, size, error, terms)
        return size * (1 + PRODUCTS_ERROR) + TINY, error

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
