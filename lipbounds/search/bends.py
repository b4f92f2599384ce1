"""Isolated bumps of a map that is nearly linear elsewhere: second differences see them from several widths away.

A bump exp(-r^2 / (2 w^2)) is 1e-13 at 7.7 widths: no slope shows that, but a second difference does, and gradients lead on. Where
a map bends everywhere, as a trained network does, there is nothing to tell a bump from the rest, and nothing is done.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lipbounds.search.climb import climb
from lipbounds.search.evaluation import Evaluation, Places
from lipbounds.search.rounding_noise import lengths

__all__ = ["climb_bumps"]

HALF = 1e-3  # of the domain's width: half the length over which second differences are taken
LOOK = 256  # points that tell whether a map is nearly linear
STRAIGHT = 1e-7  # median share of a change that is no linear one, below which it is
ODD = 100.0  # times the median: a point that bends
POINTS = 16_384  # of the first round
CLIMBING, STEPS = 16, 80  # pairs, and steps of each climb
STEPS_FROM = 1e-3, 2e-2  # of the domain's width: first steps of two climbs, for narrow bumps and for wide ones


def climb_bumps(evaluation: Evaluation, size: float, rng: np.random.Generator) -> Places | None:
    """Look for points where a nearly linear map bends and climb from there; none for a map that bends everywhere.

    Args:
        evaluation: The search, of the largest quotients.
        size: Of the round.
        rng: Of the points.
    """
    points = evaluation.domain.sample(LOOK, rng)
    median = float(_bending(evaluation, points, rng).median())
    if median > STRAIGHT:
        return None
    points = evaluation.domain.sample(int(POINTS * size), rng)
    bending = _bending(evaluation, points, rng)
    top = bending.topk(min(CLIMBING, len(points)))
    odd = points[top.indices[top.values > ODD * max(median, evaluation.unit / HALF)]]
    if not len(odd):
        return None
    places = evaluation.steepest(odd)
    found = places
    for first in STEPS_FROM:
        found = found.and_(climb(evaluation, places, STEPS, rng, first))
    return found


def _bending(evaluation: Evaluation, points: Tensor, rng: np.random.Generator) -> Tensor:
    """|f(x + s) - 2 f(x) + f(x - s)| / |f(x + s) - f(x - s)| for random short s, shape (n,)."""
    step = HALF * evaluation.width * evaluation.directions(len(points), rng)
    # within the domain, the middle between two of its points
    a, b = (evaluation.domain.project(points + sign * step) for sign in (1, -1))
    left, middle, right = evaluation.images(torch.cat((a, 0.5 * (a + b), b))).chunk(3)
    moved = lengths(left - right)
    return lengths(left - 2 * middle + right) / moved.clamp_min(1e-300)
