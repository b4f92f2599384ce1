"""The one branch and bound: it owns queue, time, memory, progress and witness; a bounder knows what a node is.

A node is a part of what is to be bounded: a box of latent space or of data, or whatever a bounder cuts. Nodes are kept as
arrays, many at a time, of which the loop sees the bounds only.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.certify.problem import Problem
from lipbounds.certify.witness import Witness
from lipbounds.errors import InvalidInput
from lipbounds.progress import Progress, Report

__all__ = ["Assumed", "Bound", "Bounder", "Budget", "Nodes", "branch_and_bound"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Nodes:
    """Arrays or tensors of one length, a row a node."""

    def _columns(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def __len__(self) -> int:
        return len(self._columns()[0])

    def at(self, rows: Any) -> Self:
        """Some of them, by indices, a mask or a slice."""
        return type(self)(*(part[_rows_for(part, rows)] for part in self._columns()))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """One after the other."""
        columns = zip(*(part._columns() for part in parts), strict=True)
        return cls(*(torch.cat(one) if isinstance(one[0], Tensor) else np.concatenate(one) for one in columns))


def _rows_for(part: Any, rows: Any) -> Any:
    return torch.as_tensor(rows, device=part.device) if isinstance(part, Tensor) and isinstance(rows, np.ndarray) else rows


N = TypeVar("N", bound=Nodes)


class Assumed(NamedTuple):
    """What a bound takes for granted.

    Args:
        text: In words; empty for nothing.
        proven: Whether the bound holds if that does; False where a proof is missing.
    """

    text: str
    proven: bool


class Budget:
    """Time, and the quotient of both ends at which the work ends.

    Args:
        seconds: Of work, from `start` on.
        ratio: upper / lower at which a node is done.
    """

    def __init__(self, seconds: float, ratio: float) -> None:
        self.seconds, self.ratio = seconds, ratio
        self._begin = time.perf_counter()

    def start(self) -> None:
        """Begin to count the time."""
        self._begin = time.perf_counter()

    def over(self) -> bool:
        """Whether the time is used up."""
        return time.perf_counter() - self._begin > self.seconds

    def until(self, share: float) -> float:
        """When a share of the time is used up, on the clock of `time.perf_counter`."""
        return self._begin + share * self.seconds


class Bounder(ABC, Generic[N]):
    """Bounds the spectral norm of the derivative over nodes that together cover the domain.

    It is used as a context: tables and compilation come before the time is counted.

    Attributes:
        method: In words.
        rounds_per_look: Rounds between two looks for a steeper witness.
        looked_at: Nodes that are looked at then, those of the largest bounds.
        most: Nodes that there is memory for.
        worth: Relative gain at which a pair about the point of a node is proven, without a search; infinite for never.
        searched: Evaluations of the first search for a witness; few where the nodes themselves find one.
    """

    method: ClassVar[str]
    rounds_per_look: ClassVar[int] = 1
    looked_at: ClassVar[int] = 64
    worth: ClassVar[float] = math.inf
    searched: ClassVar[int] = 100_000
    most: int

    @classmethod
    @abstractmethod
    def applies(cls, problem: Problem) -> bool:
        """Return whether it reads the layers and the domain."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @abstractmethod
    def roots(self, budget: Budget) -> N:
        """Return nodes that cover the domain."""

    @abstractmethod
    def bound(self, nodes: N, caps: Array, target: float) -> tuple[N, Array]:
        """Return nodes that cover those given, with upper bounds of the norm over them; 0 for those outside the domain.

        Args:
            nodes: To be bounded.
            caps: Bounds that are known already, those of the nodes that they are parts of, shape (n,).
            target: A node whose bound is at most this is done.
        """

    @abstractmethod
    def split(self, nodes: N, bounds: Array, target: float) -> tuple[N, NDArray[np.intp]]:
        """Return parts that cover nodes, and which node each is a part of; a node without parts cannot be split."""

    @abstractmethod
    def points(self, nodes: N) -> Array:
        """Return a latent point of each node, where its bound may be attained, shape (n, k)."""

    def corners(self, nodes: N) -> tuple[Array, Array]:
        """Return the corners of nodes that are boxes of z, rounded outwards, each of shape (n, k).

        Raises:
            InvalidInput: If they are none.
        """
        raise InvalidInput("save", self.method, "branch and bound over boxes of z", "leave save out: others have no checker")

    @abstractmethod
    def round_size(self, waiting: int) -> int:
        """Return how many of the waiting nodes are split in a round."""

    @abstractmethod
    def assumed(self, budget: Budget) -> Assumed:
        """Return what the bounds take for granted, after a last attempt to prove it in the time that is left."""


class Bound(NamedTuple):
    """What branch and bound found.

    Args:
        upper: The largest bound of all nodes; infinite if the time ended before every node had a finite one.
        nodes: How many were bounded.
        assumed: What the bound takes for granted.
    """

    upper: float
    nodes: int
    assumed: Assumed


def branch_and_bound(
    bounder: Bounder[N], witness: Witness, budget: Budget, report: Report, record: Callable[[N, Array], None] | None = None
) -> Bound:
    """Bound the norm from above: nodes of the largest bounds are split until all are within the ratio of the witness.

    Args:
        bounder: Knows the nodes.
        witness: Its quotient decides which nodes are done, not what is true.
        budget: Time and ratio.
        report: Called with both ends after every round.
        record: Called with nodes that are done, and in the end with those that are not, and their bounds: together these nodes
            cover the domain.
    """
    keep: Callable[[N, Array], None] = record or (lambda nodes, bounds: None)
    with bounder:
        budget.start()
        fresh = bounder.roots(budget)
        caps = np.full(len(fresh), np.inf)
        waiting, bounds = fresh.at(np.arange(0)), np.zeros(0)
        settled, count, rounds = 0.0, 0, 0
        while True:
            count, rounds = count + len(fresh), rounds + 1
            fresh, found = bounder.bound(fresh, caps, budget.ratio * witness.lower)
            # a NaN says nothing: comparisons would drop it and close the node without proof
            found = np.where(np.isnan(found), np.inf, found)
            waiting, bounds = type(fresh).join((waiting, fresh)), np.concatenate((bounds, found))
            if rounds % bounder.rounds_per_look == 0 and (bounds > budget.ratio * witness.lower).any():
                witness.improve(bounder.points(waiting.at(_largest(bounds, bounder.looked_at))))
            target = budget.ratio * witness.lower
            is_open = bounds > target
            settled = max(settled, float(bounds[~is_open].max(initial=0.0)))
            keep(waiting.at(~is_open), bounds[~is_open])
            waiting, bounds = waiting.at(is_open), bounds[is_open]
            upper = max(settled, float(bounds.max(initial=0.0)))
            report(Progress(bounder.method, witness.lower, upper))
            if not len(bounds) or budget.over() or len(bounds) > bounder.most:
                keep(waiting, bounds)
                return Bound(upper, count, bounder.assumed(budget))
            worst = _largest(bounds, bounder.round_size(len(bounds)))
            fresh, parents = bounder.split(waiting.at(worst), bounds[worst], target)
            caps = bounds[worst][parents]
            stuck = np.setdiff1d(np.arange(len(worst)), parents)
            settled = max(settled, float(bounds[worst][stuck].max(initial=0.0)))
            keep(waiting.at(worst).at(stuck), bounds[worst][stuck])
            left = np.ones(len(bounds), dtype=bool)
            left[worst] = False
            waiting, bounds = waiting.at(left), bounds[left]


def _largest(bounds: Array, count: int) -> NDArray[np.intp]:
    """Rows of the largest bounds."""
    if len(bounds) <= count:
        return np.arange(len(bounds))
    return np.argpartition(-bounds, count)[:count]
