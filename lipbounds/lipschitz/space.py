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

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.domains import Ball, Box, Capsule
from lipbounds.lipschitz.cells import Cells, pyramid
from lipbounds.lipschitz.models import EPS, KINDS, Algebra, algebra, envelopes
from lipbounds.lipschitz.orbits import Program, bound_boxes
from lipbounds.lipschitz.pointwise import evaluate_inverse
from lipbounds.lipschitz.structure import Layer, PartialCoupling, Permutation, dimension_of, expanded, inverse_map, step_map

__all__ = ["SpaceBound", "bound_in_space", "is_spatial"]

Array = NDArray[np.float64]

MOST_DIMENSIONS = 12
MOST_INPUTS = 4
ORDERS = {1: 6, 2: 3, 3: 3, 4: 2}  # of a conditioner's models, by its inputs
SAMPLES = 20_000
BATCH = 512  # boxes split in a round
LOOK_EVERY = 4  # rounds between looks for a better witness
WORST = 64
WILD = 1e3  # bounds this many times the constant found say nothing about where to split
COVER_SHARE = 0.3  # of the time
MARGINS = (0.1, 0.4)  # of the box about the images, tried in turn: a wide one is covered fast where T is tame far out
MOST_BOXES = 4_000_000


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
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        loop = _Loop(layers, domain, images, pool)
        begin = time.perf_counter()
        width = np.ptp(images, axis=0)
        covered = False
        for margin in MARGINS:
            low, high = images.min(0) - margin * width, images.max(0) + margin * width
            covered = loop.covers(low, high, layers, domain, time.perf_counter() + COVER_SHARE * seconds / len(MARGINS))
            if covered:
                break
        else:
            low, high = images.min(0) - MARGINS[0] * width, images.max(0) + MARGINS[0] * width
        end = begin + seconds
        upper = loop.branch(layers, low, high, lower, ratio, end, improve, callback)
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
        self._program, order, visited = _flatten(layers, images)
        self._pool, self._parts = pool, 2 * pool._max_workers
        # low orders where there are many monomials
        self._outer: Algebra = algebra(dim, 3 if dim <= 4 else 2 if dim <= 8 else 1)
        self._algebras = tuple(algebra(k, ORDERS[k]) for k in range(1, MOST_INPUTS + 1))
        self._cells: Cells = pyramid(self._program, visited, ORDERS[1], envelopes())
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
        self._run(images[:1], np.zeros((1, dim)), False, math.inf)  # compiles, where no cache has it
        self.count = 0

    def _run(self, middles: Array, radii: Array, deep: bool, wild: float) -> tuple[Array, Array]:
        self.count += len(middles)

        def part(rows: NDArray[np.int64]) -> tuple[Array, Array]:
            result: tuple[Array, Array] = bound_boxes(
                middles[rows],
                radii[rows],
                self._program,
                self._cells,
                self._outer,
                self._algebras,
                envelopes(),
                self._center,
                self._radius,
                self._generators,
                deep,
                wild,
            )
            return result

        results = list(self._pool.map(part, np.array_split(np.arange(len(middles)), self._parts)))
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
            bounds, _ = self._run(middles, radii, False, math.inf)
            if bool((domain.depth(_forward(layers, torch.as_tensor(middles))) > 0).any()):
                return False  # a point of the boundary is an image: the box is too small
            middles, radii = _halves(middles[bounds > 0], radii[bounds > 0], radii[bounds > 0] * self._slopes)
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
        bounds, scores = self._run(middles, radii, True, WILD * lower)
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
            parents = bounds[top]
            new_middles, new_radii = _halves(
                middles[top], radii[top], self._split_scores(radii[top], parents, scores[top], lower)
            )
            kept = np.ones(len(bounds), dtype=bool)
            kept[top] = False
            new_bounds, new_scores = self._run(new_middles, new_radii, True, WILD * lower)
            new_bounds = np.minimum(new_bounds, np.concatenate((parents, parents)))
            rounds += 1
            if rounds % LOOK_EVERY == 0:
                worst = torch.as_tensor(new_middles[np.argsort(-new_bounds, kind="stable")[:WORST]])
                lower = improve(_forward(layers, worst).numpy())
            middles, radii = np.concatenate((middles[kept], new_middles)), np.concatenate((radii[kept], new_radii))
            bounds, scores = np.concatenate((bounds[kept], new_bounds)), np.concatenate((scores[kept], new_scores))

    def _split_scores(self, radii: Array, bounds: Array, scores: Array, lower: float) -> Array:
        """What each side contributes: to the bound, or while that is wild to the remainders and to the size of the image."""
        sizes = radii * self._slopes
        sizes = sizes / np.maximum(sizes.sum(1, keepdims=True), 1e-300)
        totals = scores.sum(1, keepdims=True)
        usable = np.isfinite(totals) & (totals > 0)
        shares = np.divide(scores, totals, out=np.ones_like(scores), where=usable)
        return np.asarray(np.where(bounds[:, None] > WILD * lower, shares * sizes**2, shares))


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
            coordinates += [place[layer.changed], place[layer.seen]]
            visited.append(points[:, torch.as_tensor(layer.seen)].numpy())
        points = step_map(layer)(points)
    networks = [step.network for step in steps]
    sizes = [sum(w.size + b.size for w, b in zip(net.weights, net.biases, strict=True)) for net in networks]
    begins = np.concatenate(([0], np.cumsum(sizes)))
    firsts = np.concatenate(([0], np.cumsum([len(step.changed) + len(step.seen) for step in steps])))
    ints = [
        (len(step.changed), len(step.seen), KINDS[step.network.activation], len(step.network.weights), begins[i], firsts[i])
        for i, step in enumerate(steps)
    ]
    widths = [[len(step.seen), *(len(bias) for bias in step.network.biases)] for step in steps]
    longest = max(map(len, widths))
    flat = [part.ravel() for net in networks for pair in zip(net.weights, net.biases, strict=True) for part in pair]
    orbit = sum(len(step.changed) for step in steps)
    program = Program(
        ints=np.array(ints, dtype=np.int64),
        floats=np.concatenate(flat),
        widths=np.array([row + [0] * (longest - len(row)) for row in widths], dtype=np.int64),
        clamps=np.array([step.clamp for step in steps]),
        coordinates=np.concatenate(coordinates),
        largest=np.array([max(len(s.seen) for s in steps), max(len(s.changed) for s in steps), max(map(max, widths))]),
        symbols=2 * orbit + sum(len(step.seen) for step in steps),
        orbit_symbols=orbit,
    )
    return program, place, visited
