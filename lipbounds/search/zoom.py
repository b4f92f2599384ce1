"""Zoom: short random segments through the neighbourhoods of the best places, from coarse scales to fine ones."""

from __future__ import annotations

import math

import numpy as np
import torch

from lipbounds.search.evaluation import Evaluation, Places
from lipbounds.search.segments import follow

__all__ = ["zoom"]

COARSEST, FINEST = 0.2, 1e-6  # of the domain's width
SCALES = 9  # between them
SHORTEST = 3e-7  # of the domain's width: scale of the shortest segments
LEAST_CUTS = 2  # of a segment, each by a factor of ten


def zoom(
    evaluation: Evaluation, places: Places, count: int, segments: int, rng: np.random.Generator, coarsest: float = COARSEST
) -> Places:
    """Improve places at shrinking scales.

    Half of the segments have the scale of the stage, half any scale below the coarsest: tears are as thin as they are.

    Args:
        evaluation: The search.
        places: Where to begin.
        count: Places that are kept apart at each scale.
        segments: Through each of them, at each scale.
        rng: Of the segments.
        coarsest: The first scale, as a share of the domain's width.

    Returns:
        The best places.
    """
    width, domain = evaluation.width, evaluation.domain
    for stage in range(SCALES):
        if evaluation.budget.spent:
            break
        scale = width * coarsest * (FINEST / coarsest) ** (stage / SCALES)
        # down to a length at which a place shows what it is: coarse ones would lose against those that are refined
        cuts = max(LEAST_CUTS, math.ceil(math.log10(scale / (SHORTEST * width))))
        places = places.spread(count, scale)
        centres, along = (rows.repeat_interleave(segments, 0) for rows in (places.points, places.directions))
        n = len(centres)
        # two of four with a scale of their own, two along the direction known there, one of four on the rim
        own = torch.as_tensor(10 ** rng.uniform(math.log10(SHORTEST), math.log10(coarsest), n)) * width
        number = torch.arange(n)
        scales = torch.where(number // 2 % 2 == 1, own, torch.full((n,), scale, dtype=torch.float64))[:, None]
        centres = centres + scales * torch.as_tensor(rng.random((n, 1)) ** (1.0 / evaluation.dim)) * evaluation.directions(n, rng)
        # constants are often attained on the rim, which random steps leave
        centres[1::4] = evaluation.outwards(centres[1::4], scales[1::4])
        along = torch.where((number % 2 == 0)[:, None], along, evaluation.directions(n, rng))
        half = scales * torch.as_tensor(rng.uniform(0.25, 1.0, (n, 1)))
        a, b = (domain.project(centres + sign * half * along) for sign in (-1, 1))
        places = places.and_(follow(evaluation, a, b, cuts))
    return places.spread(count, FINEST * width)
