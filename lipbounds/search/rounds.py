"""Rounds of a search: each starts from points of its own and knows nothing of the others, so that agreement means something.

A round screens points and segments, lets pairs climb by gradients, moves across kinks, looks for bumps, zooms about the best
places and ends with CMA-ES. Rounds double in size. The search ends when three rounds have come to the same best value, not
before the fourth where the map has many maxima, or when the budget is spent. Between rounds a smaller copy of the domain and
the best places of all are looked at, which counts for the value and not for the agreement.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipbounds.search.bends import climb_bumps
from lipbounds.search.climb import climb
from lipbounds.search.crossing import cross
from lipbounds.search.evaluation import Evaluation, Places
from lipbounds.search.evolution import evolve
from lipbounds.search.segments import follow
from lipbounds.search.zoom import zoom

__all__ = ["Given", "Rounds", "search"]

AGREE = 0.005  # relative: rounds whose best values are as near have come to the same
REACHED = 3  # rounds that must have
SURE = 4  # rounds at least, where places are often seen once only
OFTEN = 0.1  # share of ends seen once, above which that is so
ALIKE = 1e-4  # relative: ends whose values are as near count as one place, as those of a linear map
SAME = 1e-2  # of the domain's width: ends nearer to one another are one place

POINTS, SEGMENTS, CUTS = 256, 32, 5  # of the first round
PLACES, THROUGH = 6, 8  # zoomed, and segments through each
CLIMBING, CLIMBING_MANY, STEPS, STEPS_MANY = 16, 64, 120, 500  # pairs and steps, in few dimensions and in many
ENDS, GENERATIONS, MORE_GENERATIONS = 12, 10, 8  # runs of CMA-ES; generations, and more for each dimension
CROSSING, CROSSINGS = 16, 30  # places from which moves across kinks are made, and steps
STEP, STEP_AGAIN = 2e-3, 2e-4  # of the domain's width: first steps of CMA-ES
AGAIN = 4  # places of all rounds that are looked at again
COARSE_AGAIN = 0.02  # of the domain's width
NEAREST = 1e-4  # of the domain's width: starts as near to the middle as this
INNER = -3.0, -0.5  # decimal exponents of the size of a smaller copy of the domain
LARGEST = 256  # times the first round
BUMPS = 8  # dimensions up to which isolated bumps are looked for: in more, points are too few
FEW = 2  # dimensions up to which values alone do better than gradients


@dataclass(frozen=True, eq=False)
class Given:
    """What the caller knows: points and segments to look at in every round.

    Attributes:
        points: Shape (k, d).
        a: First ends of segments, shape (l, d).
        b: Second ends.
    """

    points: Tensor
    a: Tensor
    b: Tensor


@dataclass(frozen=True, eq=False)
class Rounds:
    """How a search went.

    Attributes:
        tops: The best value of each round on its own.
        ends: Where runs ended, of each round those that are apart.
        best: The best places of all.
    """

    tops: tuple[float, ...]
    ends: Places
    best: Places

    @property
    def reached(self) -> int:
        """Rounds whose own best value is that of the best round, to half a percent."""
        return sum(top >= (1 - AGREE) * max(self.tops) for top in self.tops)

    def unseen(self, width: float) -> float:
        """The share of ends seen once: Good and Turing's estimate of the probability that another end is a new place."""
        points = self.ends.points
        if not len(points):
            return 1.0
        values = self.ends.values
        same = (torch.cdist(points, points) <= SAME * width) | ((values[:, None] - values).abs() <= ALIKE * values)
        return float((same.sum(1) == 1).double().mean())


def search(evaluation: Evaluation, given: Given, seed: int) -> Rounds:
    """Run rounds until they agree or the budget is spent."""
    effort = _effort(evaluation)
    tops: list[float] = []
    ends = best = None
    while True:
        number = len(tops)
        rng = np.random.default_rng([seed, number])
        own = _round(evaluation, given, min(2**number, LARGEST) * effort, rng, first=number == 0)
        tops.append(float(own.values.max()))
        apart = own.spread(ENDS, SAME * evaluation.width)
        ends = apart if ends is None else ends.and_(apart)
        best = own if best is None else best.and_(own)
        if number > 0 and not evaluation.budget.spent:
            best = best.and_(_inner(evaluation, 2**number * effort, rng))
            best = best.and_(_again(evaluation, best, 2**number * effort, rng))
        best = best.spread(2 * AGAIN, 0.0)
        rounds = Rounds(tuple(tops), ends, best)
        often = rounds.unseen(evaluation.width) > OFTEN
        if evaluation.budget.spent or (rounds.reached >= REACHED and (number + 1 >= SURE or not often)):
            return rounds


def _effort(evaluation: Evaluation) -> float:
    """The size of the first round: 1, or less where the budget would not reach for three rounds."""
    rows = evaluation.domain.sample(64, np.random.default_rng(0))
    begin = time.perf_counter()
    evaluation.images(evaluation.domain.project(rows))
    cost = (time.perf_counter() - begin) / len(rows)
    left = evaluation.budget.evaluations - evaluation.budget.used
    if math.isfinite(evaluation.budget.seconds):
        left = min(left, (evaluation.budget.seconds - evaluation.budget.elapsed) / cost)
    look = evaluation.dim + 3 if evaluation.few_directions else 2
    first = (
        POINTS * look + SEGMENTS * 45 + 9 * PLACES * THROUGH * (20 + look) + ENDS * 12 * (GENERATIONS + MORE_GENERATIONS) * look
    )
    return min(1.0, max(left, 1.0) / (4 * first))


def _starts(evaluation: Evaluation, n: int, rng: np.random.Generator) -> Tensor:
    """Points of the domain: half over all of it, others at all distances from the middle, and on the rim."""
    quarter = max(1, n // 4)
    inside = evaluation.domain.sample(max(1, n - 2 * quarter), rng)
    direction = evaluation.directions(2 * quarter, rng)
    near = 10 ** rng.uniform(math.log10(NEAREST), 0.0, (quarter, 1))
    far = 10 ** rng.uniform(0.0, 1.0, (quarter, 1))
    shares = torch.as_tensor(np.concatenate((near, far)))
    around = evaluation.middle + evaluation.width * shares * direction
    return evaluation.domain.project(torch.cat((inside, around)))


def _round(evaluation: Evaluation, given: Given, size: float, rng: np.random.Generator, *, first: bool) -> Places:
    """One round from new starts; returns where its runs end."""
    points = _starts(evaluation, max(24, int(POINTS * size)), rng)
    order = torch.as_tensor(rng.permutation(len(points)))
    crossing = max(6, int(SEGMENTS * size))
    a, b = points[order[:crossing]], points[order.roll(1)[:crossing]]
    # in the first round all that is given, later a part, so that rounds stay independent of what all of them know
    share = slice(None) if first else torch.as_tensor(rng.permutation(len(given.a))[:crossing])
    places = follow(evaluation, torch.cat((given.a[share], a)), torch.cat((given.b[share], b)), CUTS)
    if len(given.points):
        kept = given.points if first else given.points[torch.as_tensor(rng.permutation(len(given.points))[: len(points)])]
        points = torch.cat((kept, points))
    places = places.and_(evaluation.steepest(points))
    root = math.sqrt(size)
    if evaluation.quantity == "largest" and evaluation.dim > FEW:
        many = not evaluation.few_directions
        count = max(4, min(int((CLIMBING_MANY if many else CLIMBING) * root), evaluation.rows_at_once // 2))
        steps = max(20, int((STEPS_MANY if many else STEPS) * min(1.0, root)))
        # a map that torch cannot differentiate is searched by its values
        with suppress(RuntimeError, NotImplementedError):
            places = places.and_(climb(evaluation, places.spread(count, SAME * evaluation.width), steps, rng))
    if evaluation.few_directions and evaluation.quantity == "largest":
        places = places.and_(cross(evaluation, places, max(2, int(CROSSING * root)), CROSSINGS, rng))
    if evaluation.quantity == "largest" and evaluation.dim <= BUMPS:
        with suppress(RuntimeError, NotImplementedError):
            bumps = climb_bumps(evaluation, size, rng)
            places = places if bumps is None else places.and_(bumps)
    places = zoom(evaluation, places, max(2, int(PLACES * root)), max(4, int(THROUGH * root)), rng)
    return _evolved(evaluation, places, STEP, root, rng)


def _evolved(evaluation: Evaluation, places: Places, step: float, root: float, rng: np.random.Generator) -> Places:
    ends = places.spread(max(2, int(ENDS * min(1.0, root))), 1e-5 * evaluation.width)
    if not evaluation.few_directions:
        return ends
    return evolve(evaluation, ends, GENERATIONS + MORE_GENERATIONS * evaluation.dim, rng, step)


def _inner(evaluation: Evaluation, size: float, rng: np.random.Generator) -> Places:
    """The best places of a smaller copy of the domain: what lies within a thousandth of a large one is seen as in a small one."""
    size = min(size, LARGEST)
    points = evaluation.domain.sample(max(24, int(POINTS * size)), rng)
    places = evaluation.steepest(evaluation.middle + 10 ** rng.uniform(*INNER) * (points - evaluation.middle))
    if not evaluation.few_directions or evaluation.quantity != "largest":
        return places
    return cross(evaluation, places, max(2, int(CROSSING * math.sqrt(size))), CROSSINGS, rng)


def _again(evaluation: Evaluation, best: Places, size: float, rng: np.random.Generator) -> Places:
    """The best places of all rounds, zoomed from a finer scale on."""
    root = math.sqrt(min(size, LARGEST))
    places = zoom(
        evaluation,
        best.spread(AGAIN, 1e-3 * evaluation.width),
        max(2, int(PLACES * root)),
        max(4, int(THROUGH * root)),
        rng,
        COARSE_AGAIN,
    )
    return _evolved(evaluation, places, STEP_AGAIN, root, rng)
