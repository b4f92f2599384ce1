"""Moves across kinks: from a place to the other side of every hyperplane on which a unit of the map switches.

A map made of relu and the like is steepest in one of many small pieces, between which neither gradients nor small steps
lead. What goes into such units is read while torch evaluates the map, whatever the map is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lipbounds.search.evaluation import Evaluation, Places

__all__ = ["cross"]

SWITCHES: frozenset[Callable[..., Any]] = frozenset(
    (
        functional.relu,
        functional.leaky_relu,
        torch.relu,
        torch.relu_,
        Tensor.relu,
        Tensor.relu_,
        torch.abs,
        Tensor.abs,
        Tensor.__abs__,
    )
)
BEYOND = -4.0, 0.0  # decimal exponents of how far beyond a hyperplane, as a share of the distance to it
CANDIDATES = 64  # points of one step for each place
PATIENCE = 2  # steps without a gain, after which moves end
GAIN = 1e-6  # relative
APART = 1e-9  # of the domain's width: places nearer to one another are one
UNITS = 20_000  # that are read at most


class _Switches(TorchFunctionMode):
    """Records what goes into units that switch at 0, for a batch of n rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows, self._units = rows, 0
        self.seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = args[0] if func in SWITCHES and args else None
        if isinstance(inputs, Tensor) and inputs.ndim > 1 and len(inputs) == self._rows and self._units < UNITS:
            self.seen.append(inputs.detach().reshape(self._rows, -1).to(torch.float64, copy=True))
            self._units += self.seen[-1].shape[1]
        return func(*args, **(kwargs or {}))


def cross(evaluation: Evaluation, places: Places, count: int, steps: int, rng: np.random.Generator) -> Places:
    """Improve places by moves across kinks; returns the best ones, or those given where the map has no kinks.

    Args:
        evaluation: The search, in few dimensions.
        places: Where to begin.
        count: Places from which moves are made in each step.
        steps: At most.
        rng: Of how far moves go.
    """
    idle = 0
    for _ in range(steps):
        places = places.spread(count, APART * evaluation.width)
        before = float(places.values.max())
        points = _beyond(evaluation, places.points, rng)
        if not len(points) or evaluation.budget.spent:
            break
        places = places.and_(evaluation.steepest(points))
        idle = 0 if float(places.values.max()) > (1 + GAIN) * before else idle + 1
        if idle == PATIENCE:
            break
    return places


def _beyond(evaluation: Evaluation, points: Tensor, rng: np.random.Generator) -> Tensor:
    """Points a little beyond the hyperplanes next to points, shape (m, d)."""
    n, d = len(points), evaluation.dim
    steps = torch.full((n, 1), evaluation.step, dtype=torch.float64)
    points = evaluation.with_room(points, steps)
    corners = evaluation.corners(points, steps)
    with _Switches(len(corners)) as switches:
        evaluation.images(corners, at_once=True)
    if not switches.seen:
        return points[:0]
    inputs = torch.cat(switches.seen, 1).reshape(n, d + 1, -1)
    values, gradients = inputs[:, 0], ((inputs[:, 1:] - inputs[:, :1]) / evaluation.step).transpose(1, 2)
    # to a hyperplane by the shortest way, and on
    share = 1 + torch.as_tensor(10 ** rng.uniform(*BEYOND, values.shape))
    moves = -(share * values / gradients.square().sum(2).clamp_min(1e-300))[:, :, None] * gradients
    lengths = torch.linalg.vector_norm(moves, dim=2)
    reached = torch.isfinite(lengths) & (lengths > 0) & (lengths < 4 * evaluation.width)
    chosen = torch.nonzero(reached)
    chosen = chosen[torch.as_tensor(rng.permutation(len(chosen))[: CANDIDATES * n])]
    row, unit = chosen.T
    return evaluation.domain.project(points[row] + moves[row, unit] @ evaluation.basis)
