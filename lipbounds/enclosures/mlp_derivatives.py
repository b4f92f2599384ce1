r"""The outputs of a conditioner with all derivatives up to the third order: at points, and enclosed over boxes of inputs.

The outputs are s, the logarithm of the scale, and t. Their Taylor coefficients $\partial^\alpha/\alpha!$, $|\alpha|\le p$, in k
inputs form a truncated power series. It passes through a matrix linearly, and through an activation f by
$\sum_jf^{(j)}(u_0)(u-u_0)^j/j!$ (`power_series`). Over boxes the numbers are balls, and f and its derivatives have their exact
ranges over that of u. With p above 3 the series are taken about the one at the middle of the box, where after every step the
mean value theorem tightens radii by the coefficients of the next degree. So interval arithmetic loses the cancellation between
units at degree p alone, and third derivatives lose it times the (p - 3)-rd power of the side of the box. On large boxes, and for
activations with a kink, series with p = 3 about the middles of ranges are intersected with these. Derivatives
of the order of the activation's kink and above are unknown on boxes that contain it: an infinite radius.

Rounding goes into the radii; at points its bound is computed once for a whole network.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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
    tighten,
)
from lipbounds.maps.activations import Activation
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.scales import Scale
from lipbounds.rounding import FUNCTION_ERROR, PRODUCTS_ERROR, TINY, UNIT, UP

__all__ = ["derivative_errors", "derivative_ranges", "derivative_values", "multi_indices", "stage_errors"]

Array = NDArray[np.float64]

KEPT = 3  # order of the derivatives that are returned
DEGREES = {1: 5, 2: 5, 3: 5, 4: 4}  # p > KEPT on small boxes, by the number of inputs
SHORT = 0.25  # reach of the inputs of the first units below which ranges gain nothing
CHUNK = 64  # boxes at a time: their series stay in the cache


def multi_indices(k: int, order: int = KEPT) -> tuple[tuple[int, ...], ...]:
    """Multi-indices up to an order as sorted tuples, lower orders first: (), (0,), .., (0, 0), (0, 1), .. ."""
    return series(k, order).orders


def derivative_ranges(network: Conditioner, scale: Scale, middles: Array, radii: Array) -> tuple[Array, Array, Array]:
    """Lower and upper ends of all derivatives over boxes of inputs, and how large the next ones are.

    Args:
        network: With k inputs and 2m outputs.
        scale: Of the coupling.
        middles: Of the boxes, shape (n, k).
        radii: Half sides, shape (n, k).

    Returns:
        Two arrays of shape (n, 2m, len(multi_indices(k))): s, then t; infinite where nothing is known. One of shape (n, 2m,
        number of derivatives of the fourth order), as they follow in `multi_indices(k, 4)`: bounds of absolute values.
    """
    k = middles.shape[1]
    small, large, more = series(k, DEGREES[k]), series(k, KEPT), series(k, KEPT + 1)
    kept = len(large.orders)
    error = stage_errors(network, scale, float((np.abs(middles) + radii).max()), small)
    low, high = _in_chunks(network, scale, middles, radii, small, error)
    size = np.maximum(np.abs(low[kept:]), np.abs(high[kept:]))
    low, high = low[:kept], high[:kept]
    with np.errstate(over="ignore", invalid="ignore"):
        long = ~((radii @ np.abs(network.weights[0]).T).max(1) <= SHORT) | (network.kind.kink is not None)
    if long.any():
        least, greatest = _in_chunks(network, scale, middles[long], radii[long], large, None)
        low[:, long], high[:, long] = np.fmax(low[:, long], least), np.fmin(high[:, long], greatest)
    low, high, size = (part.transpose(1, 2, 0) for part in (low, high, size))
    low, high = (part * large.factorials for part in (low, high))  # small integers: a rounding
    low, high = low - UNIT * np.abs(low), high + UNIT * np.abs(high)
    size = size * more.factorials[kept:] * UP
    return (
        np.where(np.isfinite(low), low, -np.inf),
        np.where(np.isfinite(high), high, np.inf),
        np.where(np.isfinite(size), size, np.inf),
    )


def _in_chunks(
    network: Conditioner, scale: Scale, middles: Array, radii: Array, terms: Series, errors: Sequence[Array] | None
) -> tuple[Array, Array]:
    """Both ends of all coefficients, some boxes at a time."""
    parts = [
        _BallSeries(terms, middles[i : i + CHUNK], radii[i : i + CHUNK], errors).through(network, scale)
        for i in range(0, len(middles), CHUNK)
    ]
    low, high = (np.concatenate(part, 1) for part in zip(*parts, strict=True))
    return low, high


class _BallSeries:
    """Series of balls that pass through a network.

    With `errors`, those of the stages at points, they are about the series at the middles of the boxes; without, about the
    middles of ranges.
    """

    def __init__(self, terms: Series, middles: Array, radii: Array, errors: Sequence[Array] | None) -> None:
        self._terms, self._radii = terms, radii
        self._errors: Iterator[Array] | None = None if errors is None else iter(errors)
        self._middle = _inputs(middles, terms)
        self._radius = np.zeros_like(self._middle)
        self._radius[0] = radii

    def _tighten(self) -> None:
        if self._errors is not None:
            tighten(self._middle, self._radius, self._terms.raised, self._terms.times, self._radii, next(self._errors))

    def _multiply(self, matrix: Array, bias: Array) -> None:
        # contiguous: products with transposed matrices take up to twice as long
        transposed, gamma = np.ascontiguousarray(matrix.T), _gamma(matrix)
        # sums of n products, in any order, and the radii's own
        radius = self._radius + 2 * gamma * np.abs(self._middle)
        self._radius = radius @ np.abs(transposed) * ((1 + 2 * gamma) * UP) + TINY
        self._middle = self._middle @ transposed
        self._middle[0] += bias
        self._radius[0] += 2 * UNIT * (np.abs(self._middle[0]) + np.abs(bias))
        self._tighten()

    def _apply(self, activation: Activation, powers: Array | None = None) -> None:
        """Compose with an activation; `powers` of the first units, which are affine in the inputs, save the sums."""
        degree, middle = len(self._terms.orders[-1]), self._middle[0]
        reach = self._radius[0] * UP + 4 * UNIT * np.abs(middle)
        known = activation.ranges(middle - reach, middle + reach, degree)
        if self._errors is None:
            centers = [0.5 * low + 0.5 * high for low, high in known]
        else:
            centers = activation.coefficients(middle, degree)
        f = [
            (at, np.maximum(high - at, at - low) * UP + FUNCTION_ERROR * (1 + np.abs(low) + np.abs(high)))
            for at, (low, high) in zip(centers, known, strict=True)
        ]
        if powers is None:
            self._middle, self._radius = compose(f, self._middle, self._radius, self._terms)
        else:
            self._middle, self._radius = compose_affine(f, powers, self._terms)
        self._tighten()

    def through(self, network: Conditioner, scale: Scale) -> tuple[Array, Array]:
        """Lower and upper ends of the coefficients of s and t, shape (coefficients, n, 2m), up to one order above KEPT."""
        with np.errstate(over="ignore", invalid="ignore"):
            for index, stage in enumerate(network.stages):
                self._multiply(stage.matrix, stage.bias)
                if index < len(network.stages) - 1:
                    self._apply(stage.activation, None if index else powers_of(stage.matrix, self._terms))
            m = self._middle.shape[2] // 2
            shifted, shifted_radius = self._middle[..., m:], self._radius[..., m:]
            raw, radius = scale.inner * self._middle[..., :m], abs(scale.inner) * self._radius[..., :m]
            raw[0] += scale.shift
            self._middle = raw
            self._radius = radius * UP + 8 * UNIT * (np.abs(raw) + abs(scale.shift)) + TINY
            self._apply(scale.function)
            outer = abs(scale.outer)
            radius = outer * (self._radius * UP + 8 * UNIT * np.abs(self._middle)) + TINY
            kept = slice(len(multi_indices(self._radii.shape[1], KEPT + 1)))
            middle = np.concatenate((scale.outer * self._middle, shifted), 2)[kept]
            radius = np.concatenate((radius, shifted_radius), 2)[kept]
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


def derivative_values(network: Conditioner, scale: Scale, points: Any, compose: Callable[..., Any] = compose_numbers) -> Any:
    """All derivatives at points, shape (n, k), in floating point; `derivative_errors` bounds their errors.

    For arrays, or for tensors with their own function in place of `power_series.compose_numbers`. Shape as in
    `derivative_ranges`.
    """
    xp = torch if isinstance(points, torch.Tensor) else np
    terms = series(points.shape[1], KEPT)

    def here(numbers: Array) -> Any:
        return torch.as_tensor(numbers, device=points.device) if xp is torch else numbers

    def composed(rows: Any, activation: Activation) -> Any:
        return compose(activation.coefficients(rows[0], KEPT), rows, terms)

    # contiguous: products with transposed matrices take up to twice as long
    matrices = [here(np.ascontiguousarray(stage.matrix.T)) for stage in network.stages]
    with np.errstate(over="ignore", invalid="ignore"):
        # of the inputs there is themselves, and a slope of 1 along each
        start = points @ matrices[0] + here(network.stages[0].bias)
        rows = xp.stack([start] + [xp.zeros_like(start)] * (len(terms.orders) - 1))
        for i in range(points.shape[1]):
            rows[1 + i] = matrices[0][i]
        for before, stage, matrix in zip(network.stages, network.stages[1:], matrices[1:], strict=False):
            rows = composed(rows, before.activation) @ matrix
            rows[0] += here(stage.bias)
        m = rows.shape[2] // 2
        raw = scale.inner * rows[..., :m]
        raw[0] += scale.shift
        s = scale.outer * composed(raw, scale.function)
    return xp.moveaxis(xp.concatenate((s, rows[..., m:]), 2), 0, 2) * here(terms.factorials)


def derivative_errors(network: Conditioner, scale: Scale, largest: float) -> Array:
    """Bounds of the errors of `derivative_values` for inputs of at most this size; shape (2m, len(multi_indices(k))).

    Derivatives of the order of a kink and above have none, infinity: rounding may cross it.
    """
    terms = series(network.inputs, KEPT)
    stages = stage_errors(network, scale, largest, terms)
    return stages[-1].T * terms.factorials * UP


class _Sizes(NamedTuple):
    """Bounds of the absolute values of coefficients and of their errors, shape (coefficients, width)."""

    size: Array
    error: Array

    def times(self, matrix: Array, bias: Array) -> _Sizes:
        gamma, weights = _gamma(matrix), np.abs(matrix).T
        error = (self.error + 2 * gamma * self.size) @ weights * ((1 + 2 * gamma) * UP) + TINY
        size = self.size @ weights * ((1 + 2 * gamma) * UP) + TINY
        size[0] += np.abs(bias)
        error[0] += 4 * UNIT * size[0]
        return _Sizes(size, error)

    def composed(self, activation: Activation, terms: Series) -> _Sizes:
        degree = len(terms.orders[-1])
        far = (self.size[0] + self.error[0]) * UP
        most = [np.maximum(np.abs(low), np.abs(high)) * UP for low, high in activation.ranges(-far, far, degree)]
        most.append(np.full_like(far, activation.largest(degree + 1)))
        f = [
            (now, ((j + 1) * after * self.error[0] + FUNCTION_ERROR * (1 + now)) * UP)
            for j, (now, after) in enumerate(itertools.pairwise(most))
        ]
        size, error = compose(f, self.size, self.error, terms)
        return _Sizes(size * (1 + PRODUCTS_ERROR) + TINY, error)


def stage_errors(network: Conditioner, scale: Scale, largest: float, terms: Series) -> list[Array]:
    """Bounds of the errors of all stages: after every matrix and every activation, of the clamp, of s and t.

    A ball about a bound of a number's size, with the bound of its error for the radius, passes through products as they do.
    Shapes are (coefficients, width).
    """
    start = np.abs(_inputs(np.full((1, network.inputs), largest), terms))[:, 0]
    now, stages = _Sizes(start, np.zeros_like(start)), []
    with np.errstate(over="ignore", invalid="ignore"):
        for index, stage in enumerate(network.stages):
            now = now.times(stage.matrix, stage.bias)
            stages.append(now.error)
            if index < len(network.stages) - 1:
                now = now.composed(stage.activation, terms)
                stages.append(now.error)
        m, inner, outer = now.size.shape[1] // 2, abs(scale.inner), abs(scale.outer)
        raw = inner * now.size[:, :m] * UP
        raw[0] += abs(scale.shift)
        clamped = _Sizes(raw, inner * now.error[:, :m] * UP + 8 * UNIT * raw).composed(scale.function, terms)
        stages.append(clamped.error)
        s = outer * (clamped.error * UP + 8 * UNIT * clamped.size) + TINY
        stages.append(np.concatenate((s, now.error[:, m:]), 1))
    orders = np.array([len(order) for order in terms.orders])
    for index, error in enumerate(stages):
        if network.kink is not None and index:
            error[orders >= network.kink] = np.inf
        error[~np.isfinite(error)] = np.inf
    return stages
