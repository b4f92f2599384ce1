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
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from lipbounds.certify.preimage.evaluators import Evaluator, Gpu, Problem, Processor
from lipbounds.certify.preimage.jacobian_kernel import MOST_INPUTS, Program, Region
from lipbounds.certify.preimage.oriented_boxes import Boxes, Frames
from lipbounds.certify.preimage.range_table import ripmaps
from lipbounds.certify.witness import evaluate_inverse
from lipbounds.domains import Ball, Box, Capsule
from lipbounds.enclosures.mlp_derivatives import derivatives
from lipbounds.maps.layers import Layer, PartialCoupling, Permutation, dimension_of, expanded, inverse_map, step_map
from lipbounds.rounding import EPS

__all__ = ["SpaceBound", "bound_in_space", "is_spatial"]

Array = NDArray[np.float64]

MOST_DIMENSIONS = 12
SAMPLES = 20_000
CLIMBERS = 16  # points that climb along each coordinate
CLIMBS = 60  # steps
CLIMB = (0.3, 1e-3)  # their lengths, of the domain's
ROUNDS = 16  # in which all boxes would be split,
MOST_BATCHES = 4  # if not more than so many batches at a time
LOOK_EVERY = 4  # rounds between looks for a better witness
WORST = 64
LOOK_SHARE = 0.1  # of the time: after it the cover is proven, or it is estimated how long that will take
COVER_SHARE = 0.5  # of the time that it may take by this estimate
MOST_SHARE = 0.7  # of the time, when it takes longer
MARGIN = 0.05  # of the box about the images
FAR = (1.0, 4.0, 64.0)  # bound over target from which a box is halved once, twice, three times
WIDE = (1.0, 1.5, 2.5)  # likewise how many times too wide the image of a box on a face is
NEAR = 100.0  # bound over target below which a box may get a frame of its own
TURNED = 4  # dimensions at most for that: in more, large boxes bend otherwise at their middles than elsewhere
LOOKED_AT = 512  # middles of boxes on faces whose images are looked at in a round


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
    device: torch.device,
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
        device: Where boxes are bounded; tables and witnesses are the processor's work.
        improve: Returns the lower bound after a look at latent points, the images of the middles of the worst boxes.
        callback: Called with both ends after every round.

    Returns:
        The bound, infinite if the time ends before every box has a finite one.
    """
    rng = np.random.default_rng(seed)
    images = _preimages(layers, domain, rng)
    # the pool's threads share the work; those of BLAS would stand in their way
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        problem, slopes = _problem(layers, domain, images, pool)
        evaluator: Evaluator = Processor(problem, pool) if device.type == "cpu" else Gpu(problem, device)
        point = torch.zeros((1, domain.dim), dtype=torch.float64, device=device)
        evaluator.bound(point, point, torch.diag_embed(point), True)  # compiles, where no cache has it
        width = np.ptp(images, axis=0)
        low, high = images.min(0) - MARGIN * width, images.max(0) + MARGIN * width
        cover = _Cover(evaluator, slopes, layers, domain, low, high)
        branch = _Branch(evaluator, slopes, layers, low, high, lower, ratio, improve, callback)
        begin, end = time.perf_counter(), time.perf_counter() + seconds
        cover.work(begin + LOOK_SHARE * seconds)
        if cover.seconds_left() < COVER_SHARE * seconds:  # else it is no use to begin
            cover.work(begin + MOST_SHARE * seconds)
        branch.work(end)
        cover.work(end)
        return SpaceBound(branch.upper, cover.count + branch.count, cover.proven)


def _preimages(layers: Sequence[Layer], domain: Ball | Box | Capsule, rng: np.random.Generator) -> Array:
    """Points of data whose images fill the domain, and those farthest along each coordinate, by projected ascent."""
    f = inverse_map(layers)
    inner = domain.sample(SAMPLES, rng)
    center = inner.mean(0)
    latent = torch.cat((inner, domain.project(center + 1e3 * (domain.sample(SAMPLES, rng) - center))))  # and its rim
    images = f(latent)
    signs = torch.tensor([1.0, -1.0], dtype=images.dtype).repeat_interleave(domain.dim)
    coordinates = torch.arange(domain.dim).repeat(2)
    start = (signs * images[:, coordinates]).topk(CLIMBERS, dim=0).indices  # shape (climbers, 2 d)
    z, size = latent[start.ravel()], float((inner - center).norm(dim=1).max())
    highest, tops = torch.full((len(z),), -math.inf, dtype=z.dtype), images[start.ravel()]
    for step in np.geomspace(CLIMB[0] * size, CLIMB[1] * size, CLIMBS):
        z.requires_grad_()
        points = f(z)
        height = (signs * points.reshape(CLIMBERS, -1, domain.dim)[:, torch.arange(2 * domain.dim), coordinates]).ravel()
        (slope,) = torch.autograd.grad(height.sum(), z)
        with torch.no_grad():
            higher = height > highest
            highest, tops = torch.where(higher, height, highest), torch.where(higher[:, None], points, tops)
            z = domain.project(z + step * slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-300))
    return torch.cat((images, tops.detach())).numpy()


class _Search:
    """Boxes that are bounded and split, and how many there were.

    Args:
        evaluator: Bounds them.
        slopes: How much T stretches each coordinate: what to split where bounds say nothing.
        layers: Of T.
    """

    def __init__(self, evaluator: Evaluator, slopes: Array, layers: Sequence[Layer]) -> None:
        self._evaluator, self._layers = evaluator, layers
        self._slopes = self._here(slopes)
        self._frames = Frames(len(slopes), evaluator.device)
        self.count = 0

    def _here(self, array: Array) -> Tensor:
        return torch.as_tensor(array, device=self._evaluator.device)

    def _axial(self, middles: Array, radii: Array) -> Boxes:
        """Boxes with the axes as their frame."""
        return Boxes(
            self._here(middles), self._here(radii), torch.zeros(len(middles), dtype=torch.long, device=self._slopes.device)
        )

    def _bound(self, boxes: Boxes, deep: bool) -> tuple[Tensor, Tensor, Tensor]:
        self.count += len(boxes.middles)
        frames = self._frames.of(boxes)
        if not len(frames):  # all pieces were outside
            return boxes.middles.new_zeros(0), boxes.radii, frames
        return self._evaluator.bound(boxes.middles, boxes.radii, frames, deep)

    def _blame(self, boxes: Boxes, scores: Tensor) -> Tensor:
        """What each side contributes to what was bounded, and where nothing was, to the size of the image."""
        known = torch.isfinite(scores).all(1) & (scores > 0).any(1)
        stretch = (self._frames.of(boxes).abs() * self._slopes[:, None]).sum(1)
        return torch.where(known[:, None], scores, boxes.radii * stretch)

    def _images(self, middles: Tensor) -> Tensor:
        return _forward(self._layers, middles.cpu())

    def _pieces(self, boxes: Boxes, scores: Tensor, bounds: Tensor, levels: Sequence[float]) -> tuple[Boxes, Tensor]:
        """Halve boxes, once more for every level that their bounds are not below; pieces, with the bounds of their boxes."""
        for level in levels:
            chosen = bounds >= level
            halves = self._frames.halves(boxes.at(chosen), scores[chosen])
            sides = boxes.radii[chosen].repeat(2, 1)
            shares = torch.where(sides > 0, halves.radii / sides, 1.0)  # scores are proportional to sides
            boxes = Boxes.cat((boxes.at(~chosen), halves))
            scores = torch.cat((scores[~chosen], scores[chosen].repeat(2, 1) * shares))
            bounds = torch.cat((bounds[~chosen], bounds[chosen].repeat(2)))
        inside = ~self._frames.outside(boxes)
        return boxes.at(inside), bounds[inside]


class _Cover(_Search):
    """The proof that the preimage of the domain lies between two corners.

    Attributes:
        proven: Whether it does, as far as is known.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        slopes: Array,
        layers: Sequence[Layer],
        domain: Ball | Box | Capsule,
        low: Array,
        high: Array,
    ) -> None:
        super().__init__(evaluator, slopes, layers)
        self._domain, dim = domain, len(low)
        faces, sides = np.tile(0.5 * (low + high), (2 * dim, 1)), np.tile(_radius(low, high), (2 * dim, 1))
        for i in range(dim):
            faces[2 * i : 2 * i + 2, i] = low[i], high[i]
            sides[2 * i : 2 * i + 2, i] = 0.0
        self._boxes, self._sides = self._axial(faces, sides), self._here(_radius(low, high))
        self._seconds = 0.0
        middle = evaluate_inverse(layers, domain.project(torch.as_tensor(_support(domain)[0])[None])[0].numpy())
        # without an image that is seen to be inside, or with one on a face, it cannot be proven
        self._hopeless = not all(a < value.lower and value.upper < b for a, value, b in zip(low, middle, high, strict=True))

    @property
    def proven(self) -> bool:
        return not self._hopeless and not len(self._boxes.middles)

    def seconds_left(self) -> float:
        """How long it may still take: as the area of the faces so far, of which each counts the same; infinite if hopeless."""
        radii = self._boxes.radii
        shares = torch.where(radii > 0, radii / self._sides, 1.0).prod(1)
        left = float(shares.sum()) / (2 * len(self._sides))
        return self._seconds * left / (1 - left) if left < 1 and not self._hopeless else math.inf

    def work(self, end: float) -> None:
        """Go on until it is proven or seen to be hopeless, or the time ends."""
        batch, begin = self._evaluator.batch, time.perf_counter()
        while not self.proven and not self._hopeless and time.perf_counter() < end:
            # the last first: memory stays small
            boxes = self._boxes.at(slice(-batch, None))
            bounds, scores, _ = self._bound(boxes, False)
            some = boxes.middles[:: max(1, len(boxes.middles) // LOOKED_AT)]
            self._hopeless = bool((self._domain.depth(self._images(some)) > 0).any())
            left = bounds != 0
            blame = self._blame(boxes.at(left), scores[left])
            pieces, _ = self._pieces(boxes.at(left), blame, bounds[left], WIDE)
            self._boxes = Boxes.cat((self._boxes.at(slice(None, -batch)), pieces))
        self._seconds += time.perf_counter() - begin


class _Branch(_Search):
    """The boxes between two corners whose bounds are too large, those of the greatest bounds split first.

    Attributes:
        upper: The largest bound of all boxes.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        slopes: Array,
        layers: Sequence[Layer],
        low: Array,
        high: Array,
        lower: float,
        ratio: float,
        improve: Callable[[Array], float],
        callback: Callable[[float, float], None],
    ) -> None:
        super().__init__(evaluator, slopes, layers)
        self._lower, self._ratio, self._improve, self._callback = lower, ratio, improve, callback
        self._boxes = self._axial(0.5 * (low + high)[None], _radius(low, high)[None])
        self._bounds, self._scores, _ = self._bound(self._boxes, True)
        self._done, self._rounds = 0.0, 0
        self.upper = math.inf
        self._settle()

    def _settle(self) -> None:
        """Put aside the boxes that are done."""
        alive = ~(self._bounds <= self._ratio * self._lower)
        self._done = max(self._done, _largest(self._bounds[~alive]))
        self._boxes, self._bounds, self._scores = self._boxes.at(alive), self._bounds[alive], self._scores[alive]
        self.upper = max(self._done, _largest(self._bounds))
        self._callback(self._lower, self.upper)

    def work(self, end: float) -> None:
        """Go on until every box is done, the time ends, or the memory does."""
        while len(self._bounds) and time.perf_counter() < end and len(self._bounds) <= self._evaluator.most:
            # a round looks through all: the more there are, the more it splits; but the time is only seen between rounds
            batch = self._evaluator.batch
            size = min(max(batch, len(self._bounds) // ROUNDS), MOST_BATCHES * batch, len(self._bounds))
            top = torch.topk(self._bounds, size, sorted=False).indices
            old, target = self._boxes.at(top), self._ratio * self._lower
            boxes, parents = self._pieces(
                old, self._blame(old, self._scores[top]), self._bounds[top], [far * target for far in FAR]
            )
            bounds, scores, bends = self._bound(boxes, True)
            bounds = torch.minimum(bounds, parents)
            self._rounds += 1
            if self._rounds % LOOK_EVERY == 0 and len(bounds):
                steepest = boxes.middles[torch.topk(bounds, min(len(bounds), WORST)).indices]
                self._lower = self._improve(self._images(steepest).numpy())
            if boxes.middles.shape[1] <= TURNED:
                boxes, bounds, scores = self._turn(boxes, bounds, scores, bends)
            kept = torch.ones_like(self._bounds, dtype=torch.bool)
            kept[top] = False
            # all made before any is kept
            self._boxes, self._bounds, self._scores = (
                Boxes.cat((self._boxes.at(kept), boxes)),
                torch.cat((self._bounds[kept], bounds)),
                torch.cat((self._scores[kept], scores)),
            )
            self._settle()

    def _turn(self, boxes: Boxes, bounds: Tensor, scores: Tensor, bends: Tensor) -> tuple[Boxes, Tensor, Tensor]:
        """Replace boxes by such of better frames, where their bounds are near the target and yet above it."""
        target = self._ratio * self._lower
        near = ((bounds > target) & (bounds < NEAR * target)).nonzero()[:, 0]
        replaced, pieces, origins, bent = self._frames.turn(boxes.at(near), bends[near])
        kept = torch.ones_like(bounds, dtype=torch.bool)
        kept[near[replaced]] = False
        bounds = torch.cat((bounds[kept], bounds[near[origins]]))
        return Boxes.cat((boxes.at(kept), pieces)), bounds, torch.cat((scores[kept], bent))


def _largest(bounds: Tensor) -> float:
    return float(bounds.max()) if len(bounds) else 0.0


def _radius(low: Array, high: Array) -> Array:
    return np.asarray(0.5 * (high - low) * (1 + 8 * EPS) + 8 * EPS * (np.abs(low) + np.abs(high)))


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


def _problem(
    layers: Sequence[Layer], domain: Ball | Box | Capsule, images: Array, pool: ThreadPoolExecutor
) -> tuple[Problem, Array]:
    """The network flattened and tabulated about preimages of the domain, and how much T stretches each coordinate there."""
    steps, dim = expanded(layers), dimension_of(layers[0])
    program, order, visited = _flatten(steps, images)
    maps = ripmaps([step for step in steps if isinstance(step, PartialCoupling)], visited, pool)
    middle, segments, radius = _support(domain)
    center, generators = np.zeros(dim), np.zeros((len(segments), dim))
    center[order], generators[:, order] = middle, segments
    some = torch.as_tensor(images[:: max(1, len(images) // 500)]).requires_grad_()
    slopes = np.zeros(dim)
    outputs = _forward(layers, some)
    for i in range(dim):
        (gradient,) = torch.autograd.grad(outputs[:, i].sum(), some, retain_graph=True)
        slopes += gradient.square().mean(0).numpy()
    return Problem(steps, program, maps, Region(center, radius, generators)), np.sqrt(slopes)


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
    counts = [(len(derivatives(len(step.seen))), len(derivatives(len(step.seen), 4))) for step in steps]
    sizes = [(len(step.changed), len(step.seen), few, whole - few) for step, (few, whole) in zip(steps, counts, strict=True)]
    lengths = [(k + 2 * m * count, 2 * m * count) for m, k, count, _ in sizes]
    second, third, fourth = (np.zeros((MOST_INPUTS + 1, *(MOST_INPUTS,) * order), int) for order in (2, 3, 4))
    for k in range(1, MOST_INPUTS + 1):
        places = {order: i for i, order in enumerate(derivatives(k, 4))}
        for indices in itertools.product(range(k), repeat=4):
            second[k][indices[:2]] = places[tuple(sorted(indices[:2]))]
            third[k][indices[:3]] = places[tuple(sorted(indices[:3]))]
            fourth[k][indices] = places[tuple(sorted(indices))] - len(derivatives(k))
    longest = max(map(len, coordinates))
    program = Program(
        sizes=np.array(sizes, dtype=np.int64),
        coordinates=np.array([np.pad(row, (0, longest - len(row))) for row in coordinates], dtype=np.int64),
        begins=np.concatenate((np.zeros((1, 2), dtype=np.int64), np.cumsum(lengths, axis=0)[:-1])),
        first=np.arange(1, MOST_INPUTS + 1),
        second=second,
        third=third,
        fourth=fourth,
    )
    return program, place, visited
