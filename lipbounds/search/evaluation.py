"""A map on a domain as every strategy of the search sees it: images in batches, quotients of pairs, the best pairs, the budget.

Every quotient that is evaluated counts. A strategy looks for places; what it finds on the way is kept here, so that the result
is never less than anything that the search has seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lipbounds.domains import Domain
from lipbounds.search.rounding_noise import lengths
from lipbounds.search.singular_values import LARGEST_FULL, Map, Quantity, evaluate, gradient_of

__all__ = ["Budget", "Evaluation", "Places"]

KEPT = 24  # pairs that are remembered
ROUNDINGS = 32  # of the largest coordinate of an image, or of a point
KNOWN_POINTS = 1e-2  # share of a distance that rounding of the points inside the map may change
CHUNK_ENTRIES = 4_000_000  # numbers of one batch with all that a network holds for it, about 64 a coordinate
SLOW = 0.5  # seconds of a batch, beyond which a search by the clock takes smaller ones


@dataclass
class Budget:
    """What a search may spend: seconds, evaluations of the map, or both.

    Attributes:
        seconds: Of the clock; infinite for none.
        evaluations: Rows on which the map is evaluated; infinite for none.
        used: Rows so far; one with a gradient counts twice.
    """

    seconds: float
    evaluations: float
    used: int = 0
    begin: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self.evaluations or self.elapsed >= self.seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.begin


@dataclass(frozen=True, eq=False)
class Places:
    """Points where the map is steep.

    Attributes:
        points: Shape (n, d).
        values: What is maximised there, shape (n,).
        directions: Unit vectors of the pairs, shape (n, d).
    """

    points: Tensor
    values: Tensor
    directions: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Points, values, directions."""
        return self.points, self.values, self.directions

    def of(self, index: Tensor) -> Places:
        """Some of them."""
        return Places(*(part[index] for part in self.parts))

    def and_(self, others: Places) -> Places:
        """These and others."""
        return Places(*(torch.cat(both) for both in zip(self.parts, others.parts, strict=True)))

    def better(self, others: Places) -> Places:
        """Row by row the one with the larger value."""
        larger = others.values > self.values
        return Places(
            torch.where(larger[:, None], others.points, self.points),
            torch.where(larger, others.values, self.values),
            torch.where(larger[:, None], others.directions, self.directions),
        )

    def spread(self, count: int, distance: float) -> Places:
        """The best ones that are farther from one another than a distance, at most `count` of them."""
        order = self.values.argsort(descending=True)
        points = self.points[order].numpy()
        chosen: list[int] = []
        for index in range(len(points)):
            if len(chosen) == count:
                break
            if not chosen or float(np.linalg.norm(points[chosen] - points[index], axis=1).min()) > distance:
                chosen.append(index)
        return self.of(order[torch.as_tensor(chosen, dtype=torch.int64)])


class Evaluation:
    """A map f on a domain, and what a search of it has seen.

    Args:
        f: The map on rows.
        domain: The domain.
        quantity: Which quotients count: of images by points ("largest"), or of points by images ("smallest"); for "condition"
            that of extreme singular values.
        budget: What may be spent.
        probe: Points of the domain, shape (n, d), that tell its size.
        unit: By how much the map rounds, relative to its largest coordinate.
        improved: Called with the largest quotient whenever it grows.

    Attributes:
        middle: A point well inside, shape (d,).
        width: The largest distance of a coordinate from it.
        unit: As given.
        basis: Rows that span the directions within the domain, shape (r, d).
        step: Of differences, a length.
        pairs: The best pairs with their quotients, the best first.
    """

    def __init__(
        self,
        f: Map,
        domain: Domain,
        quantity: Quantity,
        budget: Budget,
        probe: Tensor,
        unit: float,
        improved: Callable[[float], None] = lambda value: None,
    ) -> None:
        self.f, self.domain, self.quantity, self.budget = f, domain, quantity, budget
        self.middle = probe.mean(0)
        self.width = float((probe - self.middle).abs().max())
        span = domain.span
        self.basis = torch.eye(domain.dim, dtype=torch.float64) if span is None else span.T
        self.unit, self._improved = unit, improved
        # errors of a difference are about unit / step + step; of a quotient's selection about unit^(1/3), charged for later
        self.step = 10 * math.sqrt(unit) * self.width
        self._known = unit ** (1 / 3)
        self._chunk = max(16, CHUNK_ENTRIES // (64 * domain.dim))
        self.pairs: list[tuple[float, Tensor, Tensor]] = []

    @property
    def dim(self) -> int:
        """Number of directions within the domain."""
        return len(self.basis)

    @property
    def best(self) -> float:
        """The largest quotient so far; 0 before the first."""
        return self.pairs[0][0] if self.pairs else 0.0

    @property
    def few_directions(self) -> bool:
        """Whether differences in all directions are affordable."""
        return self.dim <= LARGEST_FULL

    @property
    def late(self) -> bool:
        """Whether the seconds granted are over."""
        return self.budget.elapsed > self.budget.seconds

    @property
    def rows_at_once(self) -> int:
        """Rows of one batch, so that memory stays linear in the dimension."""
        return self._chunk

    def images(self, points: Tensor, *, at_once: bool = False) -> Tensor:
        """f at rows, without gradients; in batches, or all at once."""
        done: list[Tensor] = []
        start = 0
        with torch.no_grad():
            while start < len(points):
                batch = points if at_once else points[start : start + self._chunk]
                begin = time.perf_counter()
                done.append(evaluate(self.f, batch).detach())
                took = time.perf_counter() - begin
                start += len(batch)
                self.budget.used += len(batch)
                if took > SLOW and math.isfinite(self.budget.seconds):
                    self._chunk = max(16, int(len(batch) * SLOW / took))
        return torch.cat(done) if done else points.new_zeros(0, 1)

    def logarithms_with_gradients(self, a: Tensor, b: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Images of pairs, and the gradients of log |f(a) - f(b)| by both ends within the span, each of shape (n, d)."""
        at = torch.cat((a, b)).detach().requires_grad_()
        with torch.enable_grad():
            image = evaluate(self.f, at)
            self.budget.used += 2 * len(at)
            first, second = image.chunk(2)
            difference = first - second
            scale = difference.detach().abs().amax(1, keepdim=True).clamp_min(1e-300)
            moved = torch.linalg.vector_norm(difference / scale, dim=1)
            gradient = gradient_of(moved.clamp_min(1e-300).log().sum(), at)
        flat = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        if self.domain.span is not None:
            flat = flat @ self.basis.T @ self.basis
        return (first.detach(), second.detach()), (flat[: len(a)], flat[len(a) :])

    def quotients(self, a: Tensor, b: Tensor, image_a: Tensor, image_b: Tensor) -> Tensor:
        """Quotients of pairs of rows, 0 where rounding could change them; the best are remembered."""
        apart, moved = lengths(a - b), lengths(image_a - image_b)
        size = torch.maximum(image_a.abs().amax(1), image_b.abs().amax(1))
        at = torch.maximum(a.abs().amax(1), b.abs().amax(1))
        known = (self._known * moved > ROUNDINGS * self.unit * size) & (KNOWN_POINTS * apart > ROUNDINGS * 2.0**-53 * at)
        values = torch.where(known, moved / apart if self.quantity == "largest" else apart / moved, 0.0)
        self._remember(values, a, b)
        return values

    def _remember(self, values: Tensor, a: Tensor, b: Tensor) -> None:
        least = self.pairs[-1][0] if len(self.pairs) == KEPT else 0.0
        top = values.topk(min(KEPT // 4, len(values)))
        new = [(float(v), a[i].clone(), b[i].clone()) for v, i in zip(top.values, top.indices, strict=True) if float(v) > least]
        if new:
            before = self.best
            self.pairs = sorted(self.pairs + new, key=lambda one: -one[0])[:KEPT]
            if self.best > before:
                self._improved(self.best)

    def steepest(self, points: Tensor, step: Tensor | None = None) -> Places:
        """Where the map stretches most about points, and by how much, as pairs show it.

        Forward differences give the Jacobian, its singular vector the direction, and a pair along that the value: across a kink
        differences mix and promise what no pair keeps. In many dimensions directions are drawn at random.

        Args:
            points: Of the domain, shape (n, d).
            step: Of the differences, shape (n,), at most; by default as long as rounding wants.
        """
        n = len(points)
        h = torch.full((n,), self.step, dtype=torch.float64) if step is None else step.clamp(max=self.step)
        h = h.clamp_min(1e-3 * self.step)[:, None]
        centres = self.with_room(points, h)
        scores = None
        if self.few_directions:
            images = self.images(self.corners(centres, h)).reshape(n, self.dim + 1, -1)
            jacobians = ((images[:, 1:] - images[:, :1]) / h[:, None]).transpose(1, 2)
            scores, right = self._singular(jacobians)
            along = right @ self.basis
        else:
            along = self.directions(n, np.random.default_rng(0))
        a, b = (self.domain.project(centres + sign * h * along) for sign in (1, -1))
        values = self.quotients(a, b, *self.images(torch.cat((a, b))).chunk(2))
        return Places(points, values if scores is None else scores, along)

    def with_room(self, points: Tensor, steps: Tensor) -> Tensor:
        """Points moved inwards so far that neighbours at a step, shape (n, 1), lie in the domain, too."""
        return points + 4 * steps / self.width * (self.middle - points)

    def corners(self, points: Tensor, steps: Tensor) -> Tensor:
        """Every point and its neighbours at a step, shape (n, 1), along each direction: rows (n (r + 1), d)."""
        return (points[:, None] + steps[:, None] * torch.cat((torch.zeros_like(self.basis[:1]), self.basis))).flatten(0, 1)

    def _singular(self, jacobians: Tensor) -> tuple[Tensor | None, Tensor]:
        """Right singular vectors of the singular value that is searched; for the condition number its value, too."""
        scale = jacobians.abs().amax((1, 2), keepdim=True).clamp_min(1e-300)
        scaled = jacobians / scale
        if self.quantity == "largest" and min(jacobians.shape[1:]) > 1:
            _, vectors = torch.linalg.eigh(scaled.transpose(1, 2) @ scaled)
            return None, vectors[:, :, -1]
        _, sizes, right = torch.linalg.svd(scaled, full_matrices=False)
        if self.quantity == "largest":
            return None, right[:, 0]
        condition = sizes[:, 0] / sizes[:, -1].clamp_min(1e-300) if self.quantity == "condition" else None
        return condition, right[:, -1]

    def outwards(self, points: Tensor, distances: Tensor) -> Tensor:
        """Points moved away from the middle by distances, shape (n, 1), and back into the domain where they left it."""
        away = points - self.middle
        moved = points + distances * away / torch.linalg.vector_norm(away, dim=1, keepdim=True).clamp_min(1e-300)
        return self.domain.project(moved)

    def directions(self, n: int, rng: np.random.Generator) -> Tensor:
        """Random unit vectors within the span of the domain, shape (n, d)."""
        normal = torch.as_tensor(rng.standard_normal((n, self.dim)))
        unit: Tensor = normal / torch.linalg.vector_norm(normal, dim=1, keepdim=True)
        return unit @ self.basis
