r"""Conditioners of one variable as pyramids of intervals, each with a polynomial and a proven error.

A network evaluated with Taylor models loses by the triangle inequality, unit by unit, and more the larger the range. Where
there is one input all ranges that occur can be modelled beforehand: on short intervals by the network itself, on one of twice
the length by the polynomial that fits both halves best, with its largest distance to their models as its error. So the error on
a long interval is that of a good polynomial, not of the network's arithmetic, and the loop only looks it up. The intervals of
one length overlap by fifteen sixteenths, so that one little longer than any range holds it.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.lipschitz.models import EPS, algebra
from lipbounds.lipschitz.orbits import DENSITY, Program, model_cells

__all__ = ["Cells", "pyramid"]

Array = NDArray[np.float64]

FINEST = 4096  # intervals of the shortest length
LEVELS = 10
POINTS = 12  # of an interval, where polynomials are fitted


class Cells(NamedTuple):
    """The intervals of all conditioners of one variable; those of level l have half the length radius 2^l.

    Attributes:
        levels: Number of levels of each step, 0 for a conditioner that is not tabulated.
        radius: Of level 0.
        low: Centre of the first interval of each level, shape (steps, LEVELS).
        counts: Number of intervals, likewise.
        start: Where the models of a level begin, likewise.
        models: All models, one after the other.
    """

    levels: NDArray[np.int64]
    radius: Array
    low: Array
    counts: NDArray[np.int64]
    start: NDArray[np.int64]
    models: Array


@cache
def _fits(order: int) -> tuple[list[Array], list[Array]]:
    """For each half of an interval the matrices from its polynomial to the fitted one of the whole and back."""
    t = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    inside = np.vander(t, order + 1, increasing=True)
    halves = [(sign + t) / 2 for sign in (-1, 1)]
    above = [np.vander(half, order + 1, increasing=True) for half in halves]
    # least squares with the weight of Chebyshev: close to the smallest largest error
    weights = [(1 - half**2) ** -0.25 for half in halves]
    inverse = np.linalg.pinv(np.concatenate([w[:, None] * a for w, a in zip(weights, above, strict=True)]))
    parts = np.split(inverse, 2, axis=1)
    fits = [part @ (w[:, None] * inside) for part, w in zip(parts, weights, strict=True)]
    return fits, [np.linalg.lstsq(inside, a, rcond=None)[0] for a in above]


def pyramid(program: Program, visited: list[Array], order: int, table: Array) -> Cells:
    """Model every conditioner of one input about the inputs that are expected; others are left to the loop.

    Args:
        program: The couplings.
        visited: For every step a sample of its inputs, shape (n, k).
        order: Of the polynomials.
        table: `envelopes()`.
    """
    steps = len(program.ints)
    levels, radius = np.zeros(steps, dtype=np.int64), np.ones(steps)
    low = np.zeros((steps, LEVELS))
    counts, start = np.zeros((steps, LEVELS), dtype=np.int64), np.zeros((steps, LEVELS), dtype=np.int64)
    models: list[Array] = [np.zeros(1)]
    position = 1
    for step in range(steps):
        if program.ints[step, 1] != 1:
            continue
        width = max(float(np.ptp(visited[step])), 1e-3)
        begin, width = float(visited[step].min()) - 0.5 * width, 2 * width
        spacing = width / (FINEST - 1)
        radius[step] = DENSITY * spacing
        values = model_cells(program, step, begin + spacing * np.arange(FINEST)[:, None], radius[step], algebra(1, order), table)
        for level in range(LEVELS):
            low[step, level], counts[step, level], start[step, level] = begin, len(values), position
            models.append(values.ravel())
            position += values.size
            levels[step] = level + 1
            if len(values) <= 4 * DENSITY:
                break
            begin += DENSITY * spacing
            spacing *= 2
            values = _coarser(values, order)
    return Cells(levels, radius, low, counts, start, np.concatenate(models))


def _coarser(values: Array, order: int) -> Array:
    """Intervals of twice the length from their halves, shape (intervals, rows, monomials + 1)."""
    fits, backs = _fits(order)
    count = (len(values) - 2 * DENSITY - 1) // 2 + 1
    halves = [values[offset : offset + 2 * count - 1 : 2] for offset in (0, 2 * DENSITY)]
    fitted = np.asarray(sum(half[..., :-1] @ fit.T for half, fit in zip(halves, fits, strict=True)))
    error = np.zeros(fitted.shape[:-1])
    for half, back in zip(halves, backs, strict=True):
        away = half[..., :-1] - fitted @ back.T
        size = np.abs(half[..., :-1]).sum(-1) + np.abs(fitted) @ np.abs(back.T).sum(1)
        error = np.maximum(error, np.abs(away).sum(-1) + half[..., -1] + 4096 * EPS * size)
    return np.concatenate((fitted, error[..., None]), axis=-1)
