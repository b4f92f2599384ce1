"""Units that everything later sees only by a weighted sum become one unit, and units that compute the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import by_units, kinds_of_units
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.lowering.expressions import are_powers, exact_sum

__all__ = ["merged", "multiples"]

Array = NDArray[np.float64]


def multiples(columns: Array) -> list[dict[int, float]]:
    """Return groups of columns that are multiples of one another, exactly, each with its factors; columns of zeros are in none.

    Factors are relative to the first of a group that has the factor 1. Only multiples are found whose factor, or all of whose
    entries, are powers of two: other products round.

    Args:
        columns: Shape (rows, columns).

    Example:
        >>> multiples(np.array([[0.3, 1.0, 0.0, 0.7], [0.3, 1.0, 0.0, 0.1]]))
        [{0: 0.3, 1: 1.0}, {3: 1.0}]
    """
    groups: dict[bytes, list[int]] = {}
    for number, column in enumerate(np.ascontiguousarray(columns.T)):
        entries = np.flatnonzero(column)
        if entries.size:
            groups.setdefault((column / column[entries[0]] + 0.0).tobytes(), []).append(number)
    result = []
    for group in groups.values():
        best = next((number for number in group if are_powers(columns[:, number])), group[0])
        entry = np.flatnonzero(columns[:, best])[0]
        factors = {number: float(columns[entry, number] / columns[entry, best]) for number in group}
        exact = are_powers(columns[:, best])
        together = {number: f for number, f in factors.items() if _is_multiple(columns[:, number], columns[:, best], f, exact)}
        result.append(together)
        result += [{number: 1.0} for number in group if number not in together]
    return result


def _is_multiple(column: Array, of: Array, factor: float, exact: bool) -> bool:
    return (exact or are_powers(np.array(factor))) and bool((column == factor * of).all())


def merged(network: FeedForward) -> FeedForward:
    """Return the same map, as a function of real numbers, with fewer units.

    A step $x+hv(x)$ of a sampler leaves x and v in units of their own. All later steps see that sum alone: the column of v is h
    times that of x. Without merging each step adds units to all that follow. Units that nothing reads are left out. Rows are
    added only where that does not round.

    Args:
        network: The map.

    Example:
        >>> steps = (Stage(np.eye(2), np.zeros(2), LINEAR), Stage(np.array([[1.0, 0.3]]), np.zeros(1), LINEAR))
        >>> [stage.matrix.tolist() for stage in merged(FeedForward(steps)).stages]
        [[[1.0, 0.3]], [[1.0]]]
    """
    stages = list(network.stages)
    for k in range(len(stages) - 1, 0, -1):
        stages[k - 1 : k + 1] = _merged_before(stages[k - 1], stages[k])
    return FeedForward(tuple(stages))


def _merged_before(before: Stage, after: Stage) -> tuple[Stage, Stage]:
    kinds = kinds_of_units(before.activation, len(before.bias))
    affine = np.column_stack((before.matrix, before.bias))
    rows: dict[int, Array] = {}
    for group in multiples(after.matrix):
        rows.update({unit: affine[unit] for unit in group})
        _add_rows(rows, {unit: factor for unit, factor in group.items() if kinds[unit] is LINEAR})
    columns = _same_rows(rows, kinds, {unit: after.matrix[:, unit] for unit in sorted(rows)})
    units = sorted(columns)
    if not units or len(units) == len(kinds):
        return before, after
    kept = np.array([rows[unit] for unit in units])
    activation = by_units([kinds[unit] for unit in units])
    matrix = np.ascontiguousarray(np.array([columns[unit] for unit in units]).T)
    return Stage(kept[:, :-1].copy(), kept[:, -1].copy(), activation), Stage(matrix, after.bias, after.activation)


def _add_rows(rows: dict[int, Array], group: dict[int, float]) -> None:
    """Add the rows of linear units, times their factors, to that of the unit whose factor is 1."""
    first = next((unit for unit, factor in group.items() if factor == 1.0), None)
    for unit, factor in group.items():
        if first is None or unit == first or not (are_powers(rows[unit]) or are_powers(np.array(factor))):
            continue
        total = exact_sum(rows[first], factor * rows[unit])
        if total is not None:
            rows[first] = total
            del rows[unit]


def _same_rows(rows: dict[int, Array], kinds: list[Activation], columns: dict[int, Array]) -> dict[int, Array]:
    """Columns of the units that remain when units which compute the same are one."""
    first: dict[tuple[int, bytes], int] = {}
    for unit in list(columns):
        same = first.setdefault((id(kinds[unit]), (rows[unit] + 0.0).tobytes()), unit)
        if same != unit:
            total = exact_sum(columns[same], columns[unit])
            if total is not None:
                columns[same] = total
                del columns[unit]
    return columns
