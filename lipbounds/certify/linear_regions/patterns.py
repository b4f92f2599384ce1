r"""Partly decided signs of the neurons of a piecewise linear map, many at a time: their constraints and bounds of the norm.

A neuron has a slope below 0 and slope 1 above. Where its sign is decided so is its slope; where not, the slope lies between. The
derivative of the map is a product of matrices and slopes, an interval matrix. Signs are decided layer by layer, so what a decided
neuron sees is an affine function of the input, with exact coefficients but for rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lipbounds.enclosures.spectral import spectral_norms
from lipbounds.maps.activations.pieces import slopes_below
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.rounding import EPS, TINY, UP

__all__ = ["Constraints", "SignedNetwork"]

Array = NDArray[np.float64]
Signs = NDArray[np.int8]
PRODUCTS = 250.0  # decimal exponent of products of entries, at most

Constraints = tuple[Array, Array, Array]
"""Rows (a, b) of inequalities a . x + b > 0, bounds of their errors, and their sizes without cancellation."""


class SignedNetwork:
    """A piecewise linear map, its neurons numbered from the first layer on.

    Args:
        network: The map.

    Attributes:
        neurons: Their number.
    """

    def __init__(self, network: FeedForward) -> None:
        self._network = network
        self._below = [_slopes(stage.activation, len(stage.bias)) for stage in network.stages]
        self._units = [np.flatnonzero(below != 1.0) for below in self._below]
        counts = [len(units) for units in self._units]
        self._starts = np.concatenate(([0], np.cumsum(counts))).astype(int)
        self.neurons = int(self._starts[-1])
        self._numbers = [np.full(len(below), -1) for below in self._below]
        for stage, units in enumerate(self._units):
            self._numbers[stage][units] = self.numbers_of(stage)
        self._weights = [stage.matrix for stage in network.stages]
        self._sizes = [np.abs(matrix) for matrix in self._weights]
        columns = np.eye(network.outputs)
        self._influence: list[Array] = []
        for matrix in reversed(self._sizes):
            self._influence.insert(0, np.linalg.norm(columns, axis=0))
            columns = columns @ matrix

    @staticmethod
    def reads(network: FeedForward) -> bool:
        """Whether all activations are linear on both sides of 0, and some is not linear."""
        below = [slopes_below(stage.activation, len(stage.bias)) for stage in network.stages]
        if any(slopes is None for slopes in below) or not any((slopes != 1.0).any() for slopes in below if slopes is not None):
            return False
        # products of entries neither underflow, which would read as a structural 0, nor overflow
        sizes = [np.abs(part[part != 0]) for stage in network.stages for part in (stage.matrix, stage.bias) if part.any()]
        return sum(float(np.abs(np.log10(size)).max()) for size in sizes) < PRODUCTS

    def _gates(self, signs: Signs, stage: int) -> tuple[Array, Array]:
        """The least and the greatest slope of each unit of a stage, shapes (n, units)."""
        below, units = self._below[stage], self._units[stage]
        low = np.ones((len(signs), len(below)))
        high = low.copy()
        own = signs[:, self._starts[stage] : self._starts[stage + 1]]
        low[:, units] = np.where(own > 0, 1.0, below[units])
        high[:, units] = np.where(own < 0, below[units], 1.0)
        return low, high

    @property
    def first_units(self) -> NDArray[np.intp]:
        """The neurons of the first stage, as rows of its matrix."""
        return self._units[0]

    @property
    def stages_with_neurons(self) -> list[int]:
        """The stages that have some, in their order."""
        return [stage for stage, units in enumerate(self._units) if len(units)]

    def numbers_of(self, stage: int) -> NDArray[np.intp]:
        """The numbers of the neurons of a stage."""
        return np.arange(self._starts[stage], self._starts[stage + 1])

    def lines(self, signs: Signs, stage: int) -> list[Constraints]:
        """For each row of signs, decided before a stage, what its neurons see as functions a . x + b, those not 0 everywhere."""
        full = signs.copy()
        full[:, self.numbers_of(stage)] = 1
        return self.constraints(full, only=stage)

    def idle_decided(self, signs: Signs) -> Signs:
        """The signs, with -1 for undecided neurons of the first such stage that see 0 everywhere: their slopes do not matter."""
        result, first = signs.copy(), self.undecided(signs)
        extent = np.ones((len(signs), self._network.inputs, 1))
        for stage in range(min(int(first.max(initial=0)) + 1, len(self._weights))):
            extent = self._sizes[stage] @ extent + np.abs(self._network.stages[stage].bias)[:, None]
            for k in np.flatnonzero(first == stage):
                idle = self._numbers[stage][self._units[stage][extent[k, self._units[stage], 0] == 0]]
                result[k, idle[result[k, idle] == 0]] = -1
            extent = extent * self._gates(signs, stage)[1][..., None]
        return result

    def signs_at(self, points: Array) -> Signs:
        """The signs at points, in floating point, shape (n, neurons)."""
        values, signs = points, []
        for stage, below, units in zip(self._network.stages, self._below, self._units, strict=True):
            values = values @ stage.matrix.T + stage.bias
            signs.append(np.where(values[:, units] > 0, 1, -1).astype(np.int8))
            values = np.where(values > 0, values, below * values)
        return np.concatenate(signs, 1)

    def undecided(self, signs: Signs) -> NDArray[np.intp]:
        """The first stage with a neuron without a sign, shape (n,); the number of stages if there is none."""
        result = np.full(len(signs), len(self._weights))
        for stage in reversed(range(len(self._weights))):
            own = signs[:, self._starts[stage] : self._starts[stage + 1]]
            result[(own == 0).any(1)] = stage
        return result

    def bounds(self, signs: Signs) -> Array:
        """Bound the norm of the derivative over all slopes that the signs allow, shape (n,)."""
        n = len(signs)
        middle = np.broadcast_to(self._weights[0], (n, *self._weights[0].shape))
        radius = np.zeros(middle.shape)
        for stage, (matrix, size) in enumerate(zip(self._weights, self._sizes, strict=True)):
            if stage:
                charge = (matrix.shape[1] + 8) * EPS
                radius = (size @ (radius + charge * np.abs(middle))) * (1 + charge)
                middle = matrix @ middle
            low, high = (gate[..., None] for gate in self._gates(signs, stage))
            left, right = middle - radius, middle + radius
            left, right = np.minimum(low * left, high * left), np.maximum(low * right, high * right)
            middle, radius = _between(left, right)
        total = (spectral_norms(middle) + np.sqrt(np.square(radius).sum((-2, -1))) * UP) * (1 + 2 * EPS) + TINY
        return np.asarray(np.minimum(total, spectral_norms(np.abs(middle) + radius) * UP))

    def constraints(self, signs: Signs, origin: int | None = None, only: int | None = None) -> list[Constraints]:
        """For each row of signs the inequalities of its decided neurons, in all stages up to the first that is not decided.

        Args:
            signs: Shape (n, neurons).
            origin: The stage whose values, before its activation, are the coordinates x of the inequalities, as if they were
                free, and that begins: a necessary condition. By default the inputs are the coordinates.
            only: A stage whose inequalities are wanted alone.
        """
        q = self._network.inputs if origin is None else len(self._below[origin])
        n, start = len(signs), origin or 0
        value = np.broadcast_to(np.eye(q, q + 1), (n, q, q + 1))
        error, extent = np.zeros((n, q, q + 1)), np.abs(value)
        parts: list[list[Constraints]] = [[] for _ in range(n)]
        first = self.undecided(signs)
        for stage in range(start, min(int(first.max(initial=0)) + 1, len(self._weights))):
            if stage != origin:
                matrix, size, bias = self._weights[stage], self._sizes[stage], self._network.stages[stage].bias
                charge = (matrix.shape[1] + 8) * EPS
                error = (size @ (error + charge * extent)) * (1 + charge)
                value, extent = matrix @ value, size @ extent
                error[..., -1] += 2 * EPS * (extent[..., -1] + np.abs(bias))
                value[..., -1] += bias
                extent[..., -1] += np.abs(bias)
                if stage == 0:
                    error[:] = 0.0  # weights and biases as they are
            own = signs[:, self._starts[stage] : self._starts[stage + 1]]
            for k in np.flatnonzero(first >= stage) if only in (None, stage) else ():
                units = self._units[stage][own[k] != 0]
                units = units[extent[k, units].any(1)]  # what is 0 everywhere has no sign
                sign = signs[k, self._numbers[stage][units]].astype(float)[:, None]
                parts[k].append((sign * value[k, units], error[k, units], extent[k, units]))
            low, high = (gate[..., None] for gate in self._gates(signs, stage))
            # the product of a rounded value with a slope rounds once more
            gate = np.where(low == high, low, 0.0)
            value, error, extent = value * gate, (error + 2 * EPS * np.abs(value)) * gate, extent * gate
        return [tuple(np.concatenate(column) for column in zip(*part, strict=True)) for part in parts]  # type: ignore[misc]

    def next_neuron(self, signs: Signs) -> NDArray[np.intp]:
        """The undecided neuron of the first such stage whose slope moves the derivative most; -1 where all are decided."""
        result = np.full(len(signs), -1)
        first = self.undecided(signs)
        value = np.broadcast_to(self._weights[0], (len(signs), *self._weights[0].shape))
        for stage, matrix in enumerate(self._weights):
            value = matrix @ value if stage else value
            here = np.flatnonzero(first == stage)
            if len(here):
                own = signs[here, self._starts[stage] : self._starts[stage + 1]]
                units = self._units[stage]
                weight = (
                    np.linalg.norm(value[here][:, units], axis=2)
                    * self._influence[stage][units]
                    * (1 - self._below[stage][units])
                )
                result[here] = self._starts[stage] + np.where(own == 0, weight, -1.0).argmax(1)
            value = value * self._gates(signs, stage)[1][..., None]
        return result


def _slopes(activation: object, units: int) -> Array:
    slopes = slopes_below(activation, units)  # type: ignore[arg-type]
    assert slopes is not None, "reads() has said so"
    return slopes


def _between(low: Array, high: Array) -> tuple[Array, Array]:
    middle = 0.5 * low + 0.5 * high
    return middle, np.maximum(high - middle, middle - low) * (1 + 4 * EPS) + 2 * EPS * np.abs(middle)
