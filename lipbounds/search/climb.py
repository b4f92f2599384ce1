"""Pairs that climb: gradient ascent on the quotient of short pairs, two images and one reverse pass a step in any dimension.

Of a pair with middle x and direction u the sum of the gradients of log |f(a) - f(b)| at its ends moves x, and their difference is
a step of power iteration for u. Directions are kept between steps, so they cost nothing further. Pairs that fall behind become
moved copies of the best.
"""

from __future__ import annotations

import numpy as np
import torch

from lipbounds.search.evaluation import Evaluation, Places

__all__ = ["climb"]

# Of the domain's width: steps of the middles. At first they cross the domain: with 0.03 the search of a flow in 64 dimensions
# ended at 1e4, with 1 at 1e21.
FIRST, LAST = 1.0, 1e-4
APART = 1e-3  # of a step: half the length of pairs, so that they see what the step would meet
MOMENTUM = 0.9
REPLACED = 20  # steps between replacements of pairs that have fallen behind


def climb(evaluation: Evaluation, places: Places, steps: int, rng: np.random.Generator, first: float = FIRST) -> Places:
    """Raise pairs about places by gradients; returns the best place of each path.

    Args:
        evaluation: The search, of the largest quotients.
        places: Where pairs begin.
        steps: Of ascent.
        rng: Of the moves of copies.
        first: The first step, as a share of the domain's width.
    """
    x, u = places.points.clone(), places.directions.clone()
    best, velocity = places, torch.zeros_like(x)
    for step in range(steps):
        if evaluation.budget.spent or not len(x):
            break
        size = evaluation.width * first * (LAST / first) ** (step / steps)
        half = max(APART * size, evaluation.step)
        a, b = (evaluation.domain.project(x + sign * half * u) for sign in (1, -1))
        image, gradient = evaluation.logarithms_with_gradients(a, b)
        values = evaluation.quotients(a, b, *image)
        best = best.better(Places(0.5 * (a + b), values, u))
        turn = gradient[0] - gradient[1]
        move = gradient[0] + gradient[1]
        length = torch.linalg.vector_norm(turn, dim=1, keepdim=True)
        u = torch.where(length > 0, turn / length.clamp_min(1e-300), u)
        move = move / torch.linalg.vector_norm(move, dim=1, keepdim=True).clamp_min(1e-300)
        velocity = MOMENTUM * velocity + (1 - MOMENTUM) * move
        x = evaluation.domain.project(x + size * velocity)
        if (step + 1) % REPLACED == 0 and len(x) > 7:
            order = best.values.argsort(descending=True)
            quarter = len(x) // 4
            lost, parents = order[-2 * quarter :], order[:quarter].repeat(2)
            moved = best.points[parents] + 3 * size * evaluation.directions(len(parents), rng)
            x[lost], u[lost], velocity[lost] = evaluation.domain.project(moved), best.directions[parents], 0.0
    return best
