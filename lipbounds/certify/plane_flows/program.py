"""The inverse of a flow of the plane as arrays that the compiled kernel reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb_mat
from numpy.typing import NDArray

from lipbounds.arb import column, ends, exact_row, working_precision
from lipbounds.certify.plane_flows.kernel import AFFINE, COUPLING, REVERSED, SPLINE
from lipbounds.certify.plane_flows.piecewise_linear import Pieces, is_piecewise_linear, pieces_of
from lipbounds.certify.plane_flows.scale_kernel import (
    ARCTAN,
    EXPONENTIAL,
    LINEAR,
    SIGMOID,
    SOFTPLUS,
    SOFTSIGN,
    TANH,
)
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.log_offset import LogOffset
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation, ReversedCoupling, SplineCoupling
from lipbounds.maps.scales import Scale

__all__ = ["Program", "compiled_program", "is_readable"]

Array = NDArray[np.float64]

PLANE = 2
BITS = 128
KINDS = {"linear": LINEAR, "arctan": ARCTAN, "tanh": TANH, "softsign": SOFTSIGN, "softplus": SOFTPLUS, "sigmoid": SIGMOID}


@dataclass(frozen=True, eq=False)
class Program:
    """Arguments of the kernel, as it describes them.

    Attributes:
        steps: Shape (steps, 4).
        numbers: Shape (steps, 12).
        ends: Shape (tables, pieces, 3).
        lines: Shape (tables, pieces, outputs, 4).
        pieces: Shape (tables,).
    """

    steps: NDArray[np.int64]
    numbers: Array
    ends: Array
    lines: Array
    pieces: NDArray[np.int64]


def is_readable(step: Layer) -> bool:
    """Whether a simple layer has a place in a program."""
    if isinstance(step, Affine | Permutation):
        return step.dim == PLANE
    if isinstance(step, ReversedCoupling):
        step = step.coupling
    if isinstance(step, PartialCoupling):
        return step.dim == PLANE and _has_kind(step.scale) and is_piecewise_linear(step.network)
    return isinstance(step, SplineCoupling) and step.dim == PLANE and is_piecewise_linear(step.network)


def _has_kind(scale: Scale) -> bool:
    """Whether the kernel knows a scale; powers of a function with an offset it does not."""
    return _kind_of(scale.function) is not None and (scale.outer == 1.0 or not isinstance(scale.function, LogOffset))


def _kind_of(function: Activation) -> int | None:
    inner = function.inner if isinstance(function, LogOffset) else function
    return KINDS.get(inner.name)


def compiled_program(layers: Sequence[Layer]) -> Program:
    """Return the inverse of simple layers, all readable, given in the order of the forward map."""
    steps: list[tuple[int, int, int, int]] = []
    numbers: list[list[float]] = []
    tables: list[Pieces] = []

    def conditioned(kind: int, changed: int, network: Conditioner, values: list[float]) -> None:
        steps.append((kind, changed, len(tables), network.outputs))
        numbers.append(values)
        tables.append(pieces_of(network))

    for layer in reversed(layers):
        if isinstance(layer, Affine | Permutation):
            steps.append((AFFINE, 0, 0, 0))
            numbers.append(_affine(layer))
        elif isinstance(layer, SplineCoupling):
            s = layer.spline
            least = -1.0 if s.least_slope is None else s.least_slope
            values = [s.bound, s.least_bin, least, 1.0 / s.divisor, s.clip_bins, s.clip_slopes]
            conditioned(SPLINE, int(layer.changed[0]), layer.network, values)
        else:
            kind, coupling = (REVERSED, layer.coupling) if isinstance(layer, ReversedCoupling) else (COUPLING, layer)
            assert isinstance(coupling, PartialCoupling)  # such are the layers that `is_readable` leaves
            conditioned(kind, int(coupling.changed[0]), coupling.network, _scale(coupling.scale))
    table = np.zeros((len(steps), 12))
    for row, values in zip(table, numbers, strict=True):
        row[: len(values)] = values
    return Program(np.array(steps, dtype=np.int64).reshape(-1, 4), table, *_stacked(tables))


def _affine(layer: Affine | Permutation) -> list[float]:
    """Middles and radii of the inverse matrix, row by row, then offsets and their errors."""
    if isinstance(layer, Permutation):
        matrix, offset = np.eye(PLANE)[layer.order], np.zeros(PLANE)
    else:
        matrix, offset = layer.matrix, layer.offset
    with working_precision(BITS):
        inverse = arb_mat(matrix.tolist()).inv()
        shift = inverse * column(exact_row(-offset))
        entries = [[_middle_and_radius(inverse[i, j]) for j in range(PLANE)] for i in range(PLANE)]
        shifts = [_middle_and_radius(shift[i, 0]) for i in range(PLANE)]
    flat = [number for row in entries for pair in row for number in pair]
    return [*flat, *(pair[0] for pair in shifts), *(pair[1] for pair in shifts)]


def _middle_and_radius(ball: Any) -> tuple[float, float]:
    low, high = ends(ball)
    middle = 0.5 * (low + high)
    return middle, float(np.nextafter(max(high - middle, middle - low), np.inf)) if high > low else 0.0


def _scale(scale: Scale) -> list[float]:
    offset = scale.function.offset if isinstance(scale.function, LogOffset) else EXPONENTIAL
    kind = _kind_of(scale.function)
    assert kind is not None  # `is_readable` has looked
    return [float(kind), scale.outer, scale.inner, scale.shift, offset]


def _stacked(tables: Sequence[Pieces]) -> tuple[Array, Array, NDArray[np.int64]]:
    counts = [len(table.low) for table in tables]
    most, outputs = max(counts, default=1), max((table.value.shape[1] for table in tables), default=1)
    ends_of, lines = np.zeros((len(tables), most, 3)), np.zeros((len(tables), most, outputs, 4))
    for k, table in enumerate(tables):
        n, m = table.value.shape
        ends_of[k, :n] = np.stack((table.low, table.high, table.middle), 1)
        lines[k, :n, :m] = np.stack((table.value, table.error, table.slope, table.spread), 2)
    return ends_of, lines, np.array(counts, dtype=np.int64)
