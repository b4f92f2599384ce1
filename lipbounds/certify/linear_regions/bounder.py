"""Branch and bound over the signs of neurons: the constant of a piecewise linear map, exactly where the tree closes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget, Nodes
from lipbounds.certify.linear_regions.emptiness import Reach, strict_solution, unbounded
from lipbounds.certify.linear_regions.patterns import SignedNetwork
from lipbounds.certify.linear_regions.plane import cover, outline
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Box
from lipbounds.maps.feed_forward import FeedForward

__all__ = ["LinearRegions"]

Array = NDArray[np.float64]

ENTRIES = 2**22  # of the arrays of a batch of nodes
PLANE = 2  # dimension in which regions are polygons
SHARE = 0.7  # of the time, for the polygons
ROUND = 128  # nodes split at a time
REACH_UP = 1 + 2**-50  # a radius with rounding


@dataclass(frozen=True, eq=False)
class Regions(Nodes):
    """Partly decided signs of neurons, each with a point whose neurons have these, where one is known.

    Attributes:
        signs: -1, 0 for undecided, or 1, shape (n, neurons).
        points: Of the domain, shape (n, d).
        reached: Whether the signs are those at the point, shape (n,).
        cuts: The neuron to decide next, or -1, shape (n,).
    """

    signs: NDArray[np.int8]
    points: Array
    reached: NDArray[np.bool_]
    cuts: NDArray[np.intp]


class LinearRegions(Bounder[Regions]):
    """Signs of neurons, decided one by one; a part of the domain without points is proven to be empty.

    On a ball a part that touches it from outside in the last digits is kept: then the bound may exceed the constant.

    Args:
        problem: The map and the domain.
    """

    method = "branch and bound over linear regions"
    looked_at = 16
    searched = 10_000
    worth = 1e-12
    most = 200_000

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        return problem.network is not None and SignedNetwork.reads(problem.network)

    def __init__(self, problem: Problem) -> None:
        assert isinstance(problem.network, FeedForward)
        self._problem, self._map = problem, problem.network
        low, high = problem.box()
        self._network = SignedNetwork(problem.network)
        ball = (problem.domain.center.numpy(), problem.domain.radius * REACH_UP) if isinstance(problem.domain, Ball) else ()
        self._reach = Reach(low, high, *ball)
        self._batch = max(
            1, ENTRIES // max(stage.matrix.size + stage.matrix.shape[0] * problem.domain.dim for stage in self._map.stages)
        )

    def roots(self, budget: Budget) -> Regions:
        if self._problem.domain.dim == PLANE and np.isfinite(self._reach.low).all():
            end = budget.until(SHARE)
            signs, points = cover(self._network, self._outline(), self.most, lambda: time.perf_counter() > end)
            points = self._problem.domain.project(torch.as_tensor(points)).numpy()
            reached = (self._network.signs_at(points) == signs).all(1)
            return Regions(signs, points, reached, np.full(len(signs), -1))
        signs = np.zeros((1, self._network.neurons), dtype=np.int8)
        signs[0] = self._settled_signs()
        point = self._problem.domain.sample(1, np.random.default_rng(0)).numpy()
        return Regions(signs, point, np.zeros(1, dtype=bool), np.full(1, -1))

    def _outline(self) -> Array:
        if isinstance(self._problem.domain, Ball):
            return outline(self._problem.domain)
        return outline(Box(self._reach.low, self._reach.high))

    def _settled_signs(self) -> NDArray[np.int8]:
        """Signs of neurons of the first layer that are the same on all of a bounded domain."""
        signs = np.zeros(self._network.neurons, dtype=np.int8)
        if not np.isfinite(self._reach.low).all():
            return signs
        stage = self._map.stages[0]
        rows = np.concatenate((stage.matrix, stage.bias[:, None]), 1)[self._network.first_units]
        nothing = np.zeros(rows.shape[1])
        for k, row in enumerate(rows):
            if self._reach.highest(row, nothing) < 0:
                signs[k] = -1
            elif self._reach.highest(-row, nothing) < 0:
                signs[k] = 1
        return signs

    def bound(self, nodes: Regions, caps: Array, target: float) -> tuple[Regions, Array]:
        if not len(nodes):  # no node could be split
            return nodes, caps
        parts = [nodes.signs[k : k + self._batch] for k in range(0, len(nodes), self._batch)]
        nodes = Regions(self._network.idle_decided(nodes.signs), nodes.points, nodes.reached, nodes.cuts)
        bounds = np.minimum(np.concatenate([self._network.bounds(part) for part in parts]), caps)
        points, reached = nodes.points.copy(), nodes.reached.copy()
        cuts = np.full(len(nodes), -1)
        unknown = np.flatnonzero((bounds > target) & ~reached)
        for row, constraints in zip(unknown, self._network.constraints(nodes.signs[unknown]), strict=True):
            verdict = strict_solution(*constraints, self._reach)
            if verdict.point is not None:
                points[row], reached[row] = verdict.point, True
            elif verdict.is_empty or self._is_empty_for_later_stages(nodes.signs[row : row + 1]):
                bounds[row] = 0.0
        left = np.flatnonzero(bounds > target)
        cuts[left] = self._network.next_neuron(nodes.signs[left])
        return Regions(nodes.signs, points, reached, cuts), bounds

    def _is_empty_for_later_stages(self, signs: NDArray[np.int8]) -> bool:
        """Whether the values of some stage cannot have these signs, nor lead to them, wherever they come from.

        Multipliers that are unique in these coordinates may not be so in those of the input: what few active neurons see
        depends on these alone, and that cannot be read from rounded coefficients.
        """
        for stage in range(int(self._network.undecided(signs)[0]) + 1):
            if stage < len(self._map.stages):
                (constraints,) = self._network.constraints(signs, stage)
                if len(constraints[0]) and strict_solution(*constraints, unbounded(len(self._map.stages[stage].bias))).is_empty:
                    return True
        return False

    def split(self, nodes: Regions, bounds: Array, target: float) -> tuple[Regions, NDArray[np.intp]]:
        """Give the next neuron either sign."""
        rows = np.flatnonzero(nodes.cuts >= 0)
        chosen, at = nodes.at(rows), np.arange(len(rows))
        here = self._network.signs_at(chosen.points)[at, chosen.cuts]
        parts = []
        for sign in (1, -1):
            signs = chosen.signs.copy()
            signs[at, chosen.cuts] = sign
            parts.append(Regions(signs, chosen.points, chosen.reached & (here == sign), chosen.cuts))
        return Regions.join(parts), np.tile(rows, 2)

    def points(self, nodes: Regions) -> Array:
        return nodes.points

    def round_size(self, waiting: int) -> int:
        return ROUND

    def assumed(self, budget: Budget) -> Assumed:
        return Assumed("", True)
