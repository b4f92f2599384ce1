r"""A deep map as blocks between its narrow layers: $u\mapsto N(Tu)+Lu+b$ with a function N of few variables.

The state u of a sampler between two evaluations of its field is a handful of numbers, of which the field sees fewer: Tu. A
remainder of u that crosses the block grows by the derivative of the block; if it crossed layer by layer, by the product of their
norms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import by_units, kinds_of_units
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.lowering.expressions import are_powers
from lipbounds.maps.lowering.merging import multiples

__all__ = ["Block", "blocks"]

Array = NDArray[np.float64]
Computed = tuple[Array, Array, list[Activation]]  # rows on computed units, biases, activations

MOST_SEEN = 3  # variables of N: polynomials in more have too many terms
WIDEST = 32  # state between blocks


@dataclass(frozen=True, eq=False)
class Block:
    """Part of a map.

    Attributes:
        seen: T, shape (variables of N, inputs); every column has one entry at most.
        stages: N; none where the block is linear.
        straight: L, shape (outputs, inputs).
        bias: What is added, shape (outputs,).
    """

    seen: Array
    stages: tuple[Stage, ...]
    straight: Array
    bias: Array


def blocks(network: FeedForward) -> tuple[tuple[Stage, ...], list[Block]]:
    """Return the stages before the first narrow layer, and the blocks after it.

    Args:
        network: The map.

    Example:
        >>> from lipbounds.maps.activations import get_activation
        >>> up, down = np.ones((8, 2)), np.ones((2, 8))
        >>> stages = (Stage(up, np.zeros(8), get_activation("tanh")), Stage(down, np.zeros(2), LINEAR))
        >>> first, later = blocks(FeedForward(2 * stages))
        >>> len(first), [block.seen.shape for block in later]
        (2, [(1, 2)])
    """
    if not _is_linear(network.stages[-1]):
        return network.stages, []
    runs: list[list[Stage]] = [[]]
    for stage in network.stages:
        linear = _is_linear(stage)
        runs[-1].append(stage._replace(activation=LINEAR) if linear else stage)
        # a constant, as the time of a step, is to be no variable of the next block
        if linear and len(stage.bias) <= WIDEST and stage.matrix.any(1).all():
            runs.append([])
    first, later = runs[0], [run for run in runs[1:] if run]
    parts: list[tuple[list[Stage], Block]] = []
    for run in later:
        stages, block = run, _block(run)
        while block is None and parts:
            # without a cut here
            stages = parts.pop()[0] + stages
            block = _block(stages)
        if block is None:
            first, parts = first + stages, []
        else:
            parts.append((stages, block))
    return tuple(first), [block for _, block in parts]


def _is_linear(stage: Stage) -> bool:
    return all(kind is LINEAR for kind in kinds_of_units(stage.activation, len(stage.bias)))


def _block(run: list[Stage]) -> Block | None:
    """Split stages into what carries linear forms of their inputs and what computes; None where N has too many variables."""
    inputs = run[0].matrix.shape[1]
    forms, computed = np.eye(inputs), np.zeros(0, dtype=np.intp)
    reads: list[Array] = []
    wholes: list[Computed] = []
    for stage, straight in zip(run[:-1], _only_copied(run), strict=True):
        kinds = kinds_of_units(stage.activation, len(stage.bias))
        read, exact = _exact_product(stage.matrix, forms)
        whole = stage.matrix[:, computed]
        linear = np.array([kind is LINEAR for kind in kinds]) & (stage.bias == 0) & ~whole.any(1)
        copy = (stage.matrix == 1).sum(1) + (stage.matrix == 0).sum(1) == stage.matrix.shape[1]
        carried = linear & exact & (straight | (copy & ((stage.matrix != 0).sum(1) == 1)))
        if not exact[~carried].all():
            return None
        computed = np.flatnonzero(~carried)
        reads.append(read[computed])
        wholes.append((whole[computed], stage.bias[computed], [kinds[unit] for unit in computed]))
        forms = np.where(carried[:, None], read, 0.0)
    last = run[-1]
    through, exact = _exact_product(last.matrix, forms)
    groups = multiples(np.concatenate(reads)) if reads else []
    if len(groups) > MOST_SEEN or not exact.all() or (len(run) > 1 and not groups):
        return None
    seen = np.zeros((len(groups), inputs))
    for row, group in enumerate(groups):
        seen[row, list(group)] = list(group.values())
    if not groups:
        return Block(seen, (), through, last.bias)
    return Block(seen, _stages(reads, wholes, groups, last.matrix[:, computed]), through, last.bias)


def _exact_product(rows: Array, forms: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The product of a matrix with linear forms, and for each row whether it does not round: no sums, and powers of two."""
    used = (rows != 0).astype(float)
    alone = (used @ (forms != 0) <= 1).all(1)
    plain = np.array([are_powers(form) for form in forms])
    powers = np.array([are_powers(row[~plain]) for row in rows])
    return rows @ forms, alone & powers


def _only_copied(run: list[Stage]) -> list[NDArray[np.bool_]]:
    """For each stage but the last, which units reach the last stage by copies alone."""
    result = [np.ones(len(run[-2].bias), dtype=bool)] if len(run) > 1 else []
    for before, stage in zip(reversed(run[:-2]), reversed(run[1:-1]), strict=True):
        kinds = kinds_of_units(stage.activation, len(stage.bias))
        linear = np.array([kind is LINEAR for kind in kinds]) & (stage.bias == 0)
        copies = linear & ((stage.matrix != 0).sum(1) == 1) & (stage.matrix.sum(1) == 1) & result[0]
        result.insert(0, ~(stage.matrix[~copies] != 0).any(0) if len(before.bias) else copies[:0])
    return result


def _stages(reads: list[Array], wholes: list[Computed], groups: list[dict[int, float]], last: Array) -> tuple[Stage, ...]:
    """The stages of N, which carry its variables along where later stages read them."""
    chief = [next(unit for unit, factor in group.items() if factor == 1.0) for group in groups]
    keep = len(chief) if any(read.any() for read in reads[1:]) else 0
    stages = []
    for k, (read, (whole, offset, kinds)) in enumerate(zip(reads, wholes, strict=True)):
        variables = read[:, chief]
        own = variables if not k else np.concatenate((variables[:, :keep], whole), 1)
        carried = np.eye(keep, own.shape[1])
        activation = by_units([LINEAR] * keep + kinds)
        stages.append(Stage(np.concatenate((carried, own)), np.concatenate((np.zeros(keep), offset)), activation))
    matrix = np.concatenate((np.zeros((len(last), keep)), last), 1)
    return (*stages, Stage(matrix, np.zeros(len(last)), LINEAR))
