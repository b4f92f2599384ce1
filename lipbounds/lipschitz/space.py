r"""Upper bounds of Lip(T^{-1}) in three and more dimensions: branch and bound over boxes of data, with a proof that they suffice.

For x = T^{-1}(z) the derivative of T^{-1} at z is A(x), a product along the forward orbit of x (`orbits`), so
$\mathrm{Lip}(T^{-1};D)=\sup\{\|A(x)\|:T(x)\in D\}$. Boxes of data whose images provably miss D are dropped; one is done when its
bound is within the ratio asked for of the constant found; the worst are split first. Data space is the better side: there A needs
absolute accuracy only, and T, which contracts where T^{-1} tears, spreads no errors.

*The cover.* The boxes start from one box X about images of points of D. If T of the boundary of X misses D and one image of D
lies in X, then $T^{-1}(D)$, which is connected, lies in X. Both are checked by the same enclosures; where they cannot be in the
time given, the bound is conditional.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lipbounds.domains import Ball, Box, Capsule
from lipbounds.lipschitz.orbits import EPS, Program, bound_boxes
from lipbounds.lipschitz.pointwise import evaluate_inverse
from lipbounds.lipschitz.ripmaps import ripmaps
from lipbounds.lipschitz.structure import Layer, PartialCoupling, Permutation, dimension_of, expanded, inverse_map, step_map
from lipbounds.lipschitz.towers import derivatives, values

__all__ = ["SpaceBound", "bound_in_space", "is_spatial"]

Array = NDArray[np.float64]

MOST_DIMENSIONS = 12
MOST_INPUTS = 4
SAMPLES = 20_000
BATCH = 512  # boxes split in a round
LOOK_EVERY = 4  # rounds between looks for a better witness
WORST = 64
LOOK_SHARE = 0.1  # of the time, for a cover that is proven at once
COVER_SHARE = 0.3  # of the time, kept for one that is not
MARGIN = 0.1  # of the box about the images
MOST_BOXES = 4_000_000
FAR = (1.0, 4.0, 64.0)  # bound over target from which a box is halved once, twice, three times


def is_spatial(layers: Sequence[Layer]) -> bool:
    """Whether these are layers that this method reads: couplings with conditioners of at most 4 inputs, and permutations."""
    steps = expanded(layers)
    return (
        dimension_of(layers[0]) <= MOST_DIMENSIONS
        and any(isinstance(step, PartialCoupling) for step in steps)
        and all(
            isinstance(step, Permutation) or (isinstance(step, PartialCoupling) and len(step.seen) <= MOST_INPUTS)
            for step in steps
        )
    )


@dataclass(frozen=True)
class SpaceBound:
    """What the search in data space proved.

    Attributes:
        upper: Bound of the norm of A over the part of the box of data whose images may lie in the domain.
        boxes: Number of boxes looked at, those of the cover included.
        covered: Whether the preimage of the domain is proven to lie in the box.
    """

    upper: float
    boxes: int
    covered: bool


def bound_in_space(
    layers: Sequence[Layer],
    domain: Ball | Box | Capsule,
    lower: float,
    *,
    ratio: float,
    seconds: float,
    seed: int,
    threads: int | None,
    improve: Callable[[Array], float],
    callback: Callable[[float, float], None],
) -> SpaceBound:
    """Bound Lip(T^{-1}; D) from above.

    Args:
        layers: Such that `is_spatial`.
        domain: In latent space.
        lower: A lower bound of the constant; it decides which boxes are done, not what is true.
        ratio: upper / lower at which the work ends.
        seconds: Time for cover and boxes together, after tables and compilation; then the bound that holds so far is returned.
        seed: Of the points that place the box of data.
        threads: Number of threads; all processors by default.
        improve: Returns the lower bound after a look at latent points, the images of the middles of the worst boxes.
        callback: Called with both ends after every round.

    Returns:
        The bound, infinite if the time ends before every box has a finite one.
    """
    rng = np.random.default_rng(seed)
    images = inverse_map(layers)(torch.cat((domain.sample(SAMPLES, rng), _rim(domain, rng)))).numpy()
    # the pool's threads share the work; those of BLAS would stand in their way
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        loop = _Loop(layers, domain, images, pool)
        width = np.ptp(images, axis=0)
        low, high = images.min(0) - MARGIN * width, images.max(0) + MARGIN * width
        end = time.perf_counter() + seconds
        covered = loop.covers(low, high, layers, domain, end - (1 - LOOK_SHARE) * seconds)
        upper = loop.branch(layers, low, high, lower, ratio, end if covered else end - COVER_SHARE * seconds, improve, callback)
        covered = covered or loop.covers(low, high, layers, domain, end)
        return SpaceBound(upper, loop.count, covered)


def _rim(domain: Ball | Box | Capsule, rng: np.random.Generator) -> torch.Tensor:
    """Points of the boundary: far points projected."""
    points = domain.sample(SAMPLES, rng)
    middle = points.mean(0)
    return domain.project(middle + 1e3 * (points - middle))


class _Loop:
    """The compiled network with its domain, and the boxes looked at so far."""

    def __init__(self, layers: Sequence[Layer], domain: Ball | Box | Capsule, images: Array, pool: ThreadPoolExecutor) -> None:
        dim = dimension_of(layers[0])
        self._layers = expanded(layers)
        self._program, order, visited = _flatten(self._layers, images)
        self._pool, self._parts = pool, 2 * pool._max_workers
        self._maps = ripmaps([layer for layer in self._layers if isinstance(layer, PartialCoupling)], visited, pool)
        centre, generators, radius = _support(domain)
        self._center, self._generators, self._radius = np.zeros(dim), np.zeros((len(generators), dim)), radius
        self._center[order], self._generators[:, order] = centre, generators
        # how much T stretches each coordinate: what to split where bounds say nothing
        some = torch.as_tensor(images[:: max(1, len(images) // 500)]).requires_grad_()
        slopes = np.zeros(dim)
        outputs = _forward(layers, some)
        for i in range(dim):
            (gradient,) = torch.autograd.grad(outputs[:, i].sum(), some, retain_graph=True)
            slopes += gradient.square().mean(0).numpy()
        self._slopes = np.sqrt(slopes)
        self.count = 0
        self._run(images[:1], np.zeros((1, dim)), True)  # compiles, where no cache has it
        self.count = 0

    def _run(self, middles: Array, radii: Array, deep: bool) -> tuple[Array, Array]:
        self.count += len(middles)

        def part(rows: NDArray[np.int64]) -> tuple[Array, Array]:
            result: tuple[Array, Array] = bound_boxes(
                middles[rows],
                radii[rows],
                _points(self._layers, middles[rows]),
                self._program,
                self._maps,
                self._center,
                self._radius,
                self._generators,
                deep,
            )
            return result

        results = list(self._pool.map(part, np.array_split(np.arange(len(middles)), min(self._parts, len(middles)))))
        bounds, scores = (np.concatenate([result[i] for result in results]) for i in range(2))
        return bounds, scores

    def covers(self, low: Array, high: Array, layers: Sequence[Layer], domain: Ball | Box | Capsule, end: float) -> bool:
        """Whether the preimage of the domain is proven to lie between the corners."""
        inside = evaluate_inverse(layers, domain.project(torch.as_tensor(_support(domain)[0])[None])[0].numpy())
        if not all(a < value.lower and value.upper < b for a, value, b in zip(low, inside, high, strict=True)):
            return False
        dim = len(low)
        middle, radius = 0.5 * (low + high), _radius(low, high)
        middles, radii = np.tile(middle, (2 * dim, 1)), np.tile(radius, (2 * dim, 1))
        for i in range(dim):
            middles[2 * i : 2 * i + 2, i] = low[i], high[i]
            radii[2 * i : 2 * i + 2, i] = 0.0
        while len(middles):
            if time.perf_counter() > end:
                return False
            # the last first: memory stays small
            rest_middles, rest_radii = middles[:-BATCH], radii[:-BATCH]
            middles, radii = middles[-BATCH:], radii[-BATCH:]
            bounds, scores = self._run(middles, radii, False)
            if bool((domain.depth(_forward(layers, torch.as_tensor(middles))) > 0).any()):
                return False  # a point of the boundary is an image: the box is too small
            left = bounds > 0
            middles, radii = _halves(middles[left], radii[left], self._blame(radii[left], scores[left]))
            middles, radii = np.concatenate((rest_middles, middles)), np.concatenate((rest_radii, radii))
        return True

    def branch(
        self,
        layers: Sequence[Layer],
        low: Array,
        high: Array,
        lower: float,
        ratio: float,
        end: float,
        improve: Callable[[Array], float],
        callback: Callable[[float, float], None],
    ) -> float:
        """The largest bound of all boxes, those of the greatest bounds split until the time ends or all are done."""
        middles, radii = 0.5 * (low + high)[None], _radius(low, high)[None]
        bounds, scores = self._run(middles, radii, True)
        done, rounds = 0.0, 0
        while True:
            alive = bounds > ratio * lower
            done = max(done, float(bounds[~alive].max(initial=0.0)))
            middles, radii, bounds, scores = middles[alive], radii[alive], bounds[alive], scores[alive]
            upper = max(done, float(bounds.max(initial=0.0)))
            callback(lower, upper)
            if not len(bounds) or time.perf_counter() > end or len(bounds) > MOST_BOXES:
                return upper
            size = min(len(bounds), BATCH)
            top = np.argpartition(-bounds, size - 1)[:size]
            blame = self._blame(radii[top], scores[top])
            new_middles, new_radii, parents = _pieces(middles[top], radii[top], blame, bounds[top], ratio * lower)
            kept = np.ones(len(bounds), dtype=bool)
            kept[top] = False
            new_bounds, new_scores = self._run(new_middles, new_radii, True)
            new_bounds = np.minimum(new_bounds, parents)
            rounds += 1
            if rounds % LOOK_EVERY == 0:
                worst = torch.as_tensor(new_middles[np.argsort(-new_bounds, kind="stable")[:WORST]])
                lower = improve(_forward(layers, worst).numpy())
            middles, radii = np.concatenate((middles[kept], new_middles)), np.concatenate((radii[kept], new_radii))
            bounds, scores = np.concatenate((bounds[kept], new_bounds)), np.concatenate((scores[kept], new_scores))

    def _blame(self, radii: Array, scores: Array) -> Array:
        """What each side contributes to what was bounded, and where nothing was, to the size of the image."""
        known = np.isfinite(scores).all(1) & (scores.max(1) > 0)
        return np.asarray(np.where(known[:, None], scores, radii * self._slopes))


def _radius(low: Array, high: Array) -> Array:
    return np.asarray(0.5 * (high - low) * (1 + 8 * EPS) + 8 * EPS * (np.abs(low) + np.abs(high)))


def _halves(middles: Array, radii: Array, scores: Array) -> tuple[Array, Array]:
    """Halve every box across the side of the largest score; the halves overlap by a rounding."""
    rows, side = np.arange(len(middles)), np.argmax(np.where(radii > 0, scores, -1.0), axis=1)
    half = radii.copy()
    half[rows, side] *= 0.5
    step = np.zeros_like(radii)
    step[rows, side] = half[rows, side]
    half[rows, side] = half[rows, side] * (1 + 4 * EPS) + 2 * EPS * np.abs(middles[rows, side])
    return np.concatenate((middles - step, middles + step)), np.concatenate((half, half))


def _pieces(middles: Array, radii: Array, scores: Array, bounds: Array, target: float) -> tuple[Array, Array, Array]:
    """Halve boxes, those far above the target two or three times at once; returns pieces with the bounds of their boxes."""
    for far in FAR:
        chosen = bounds > far * target
        once = middles[~chosen], radii[~chosen], scores[~chosen], bounds[~chosen]
        halves, half = _halves(middles[chosen], radii[chosen], scores[chosen])
        shares = half / np.where(half > 0, np.tile(radii[chosen], (2, 1)), 1.0)  # scores are proportional to sides
        twice = halves, half, np.tile(scores[chosen], (2, 1)) * shares, np.tile(bounds[chosen], 2)
        middles, radii, scores, bounds = (np.concatenate(parts) for parts in zip(once, twice, strict=True))
    return middles, radii, bounds


def _support(domain: Ball | Box | Capsule) -> tuple[Array, Array, float]:
    """Centre, generators and radius: the domain is the sum of segments between -g and g and a ball, radius rounded up."""
    match domain:
        case Ball(center=center, radius=radius):
            return center.numpy(), np.zeros((0, len(center))), radius * (1 + 8 * EPS)
        case Box(lower=lower, upper=upper):
            low, high = lower.numpy(), upper.numpy()
            return 0.5 * (low + high), np.diag(_radius(low, high)), 0.0
        case Capsule(start=start, end=end, radius=radius):
            first, last = start.numpy(), end.numpy()
            size = float(np.abs(first).max() + np.abs(last).max())
            return 0.5 * (first + last), 0.5 * (last - first)[None], (radius + 8 * EPS * len(first) * size) * (1 + 8 * EPS)


def _forward(layers: Sequence[Layer], x: torch.Tensor) -> torch.Tensor:
    for layer in expanded(layers):
        x = step_map(layer)(x)
    return x


def _flatten(layers: Sequence[Layer], images: Array) -> tuple[Program, NDArray[np.int64], list[Array]]:
    """The couplings in coordinates of the data, the place of every output coordinate, and inputs of each conditioner."""
    dim = dimension_of(layers[0])
    place = np.arange(dim)  # the coordinate at position i of the orbit is kept in row place[i]
    points = torch.as_tensor(images)
    steps: list[PartialCoupling] = []
    coordinates: list[NDArray[np.int64]] = []
    visited: list[Array] = []
    for layer in expanded(layers):
        if isinstance(layer, Permutation):
            place = place[layer.order]
        elif isinstance(layer, PartialCoupling):
            steps.append(layer)
            coordinates.append(np.concatenate((place[layer.changed], place[layer.seen])))
            visited.append(points[:, torch.as_tensor(layer.seen)].numpy())
        points = step_map(layer)(points)
    sizes = [(len(step.changed), len(step.seen), len(derivatives(len(step.seen)))) for step in steps]
    lengths = [(k + 2 * m * count, 2 * m * count) for m, k, count in sizes]
    second, third = np.zeros((MOST_INPUTS + 1, *(MOST_INPUTS,) * 2), int), np.zeros((MOST_INPUTS + 1, *(MOST_INPUTS,) * 3), int)
    for k in range(1, MOST_INPUTS + 1):
        places = {order: i for i, order in enumerate(derivatives(k))}
        for i, j in itertools.product(range(k), repeat=2):
            second[k, i, j] = places[tuple(sorted((i, j)))]
            for g in range(k):
                third[k, i, j, g] = places[tuple(sorted((i, j, g)))]
    longest = max(map(len, coordinates))
    program = Program(
        sizes=np.array(sizes, dtype=np.int64),
        coordinates=np.array([np.pad(row, (0, longest - len(row))) for row in coordinates], dtype=np.int64),
        begins=np.concatenate((np.zeros((1, 2), dtype=np.int64), np.cumsum(lengths, axis=0)[:-1])),
        second=second,
        third=third,
    )
    return program, place, visited


def _points(layers: Sequence[Layer], x: Array) -> Array:
    """The inputs of all conditioners on the orbits of points, each with the tower there; shape (n, numbers)."""
    parts: list[Array] = []
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has no bound
        for layer in layers:
            if isinstance(layer, Permutation):
                x = x[:, layer.order]
            elif isinstance(layer, PartialCoupling):
                seen, m = x[:, layer.seen], len(layer.changed)
                numbers = values(layer.network, layer.clamp, seen)
                parts += [seen, numbers.reshape(len(x), -1)]
                moved = x.copy()
                moved[:, layer.changed] = x[:, layer.changed] * np.exp(numbers[:, :m, 0]) + numbers[:, m:, 0]
                x = moved
    return np.concatenate(parts, 1)
