r"""Upper bounds of Lip(T^{-1}) in three and more dimensions: branch and bound over boxes of data, with a proof that they suffice.

For x = T^{-1}(z) the derivative of T^{-1} at z is A(x), a product along the images of x (`jacobian_kernel`), so
$\mathrm{Lip}(T^{-1};D)=\sup\{\|A(x)\|:T(x)\in D\}$. Boxes of data whose images provably miss D are done; so is one whose
bound is within the ratio asked for of the constant found; the worst are split first. Data space is the better side: there A needs
absolute accuracy only, and T, which contracts where T^{-1} tears, spreads no errors.

The boxes start from one box about images of points of D; `containment` proves that it contains the whole preimage of D. Where
that is not proven in the time given, the bound is conditional.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget
from lipbounds.certify.preimage.containment import Containment
from lipbounds.certify.preimage.evaluators import Evaluator, Gpu, Processor
from lipbounds.certify.preimage.jacobian_kernel import MOST_INPUTS
from lipbounds.certify.preimage.oriented_boxes import OrientedBoxes
from lipbounds.certify.preimage.program import half_sides, preimages, stretch_of_coordinates, tabulated
from lipbounds.certify.preimage.splitting import Splitting
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Box, Capsule
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer, PartialCoupling, Permutation
from lipbounds.maps.structure import expanded, forward_map
from lipbounds.rounding import ELEMENTARY_FUNCTIONS

__all__ = ["Preimage"]

Array = NDArray[np.float64]

ON_GPU = "; so are those of CUDA and of torch on it"
CONDITIONAL = "; conditional: that the boxes contain the preimage of the domain is not proven"
MOST_DIMENSIONS = 12  # for which SLACK of `oriented_boxes` is justified
ROUNDS = 16  # a round splits at least this fraction (1 / ROUNDS) of the waiting boxes, up to MOST_BATCHES
MOST_BATCHES = 4  # batches a round: time is checked between rounds only
LOOK_SHARE = 0.1  # of the time for the containment proof before its remaining time is estimated
PROOF_SHARE = 0.5  # of the time: with a smaller estimate the proof goes on at once
MOST_SHARE = 0.7  # of the time at which this proof is interrupted
MARGIN = 0.05  # of the box about the images
FAR = (1.0, 4.0, 64.0)  # bound over target from which a box is halved once, twice, three times
NEAR = 100.0  # bound over target below which a box may get a frame of its own
ORIENTED = 4  # most dimensions for oriented boxes: above, the curvature at the middle says little about a large box


class Preimage(Bounder[OrientedBoxes]):
    """Boxes of data, bounded by compiled second-order enclosures of T and A.

    Args:
        problem: The map and the domain.
        seed: Of the points that place the box of data.
        threads: Number of threads; all processors by default.
        device: Where boxes are bounded; tables and witnesses are the processor's work.
    """

    method = "branch and bound over boxes of data"
    rounds_per_look = 4

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        steps = expanded(problem.layers)
        return (
            not problem.is_slice
            and isinstance(problem.domain, Ball | Box | Capsule)
            and 2 < problem.domain.dim <= MOST_DIMENSIONS
            and any(isinstance(step, PartialCoupling) for step in steps)
            and all(_is_readable(step) for step in steps)
        )

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        threads: int | None = None,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        if threads is not None and threads < 1:
            raise InvalidInput("threads", threads, "an integer >= 1, or None", "None takes all processors")
        self._problem, self._seed, self._threads, self._device = problem, seed, threads, device
        self._forward = forward_map(problem.layers)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        layers, domain, images = self._problem.layers, self._problem.domain, self._images()
        # the pool's threads share the work; those of BLAS would stand in their way
        self._stack.enter_context(threadpool_limits(1, user_api="blas"))
        pool = self._stack.enter_context(ThreadPoolExecutor(self._threads or os.cpu_count() or 1))
        kernel_input = tabulated(layers, domain, images, pool)
        self._evaluator: Evaluator = (
            Processor(kernel_input, pool) if self._device.type == "cpu" else Gpu(kernel_input, self._device)
        )
        self.most = self._evaluator.most
        point = torch.zeros((1, domain.dim), dtype=torch.float64, device=self._device)
        self._evaluator.bound(point, point, torch.diag_embed(point), True)  # compiles, where no cache has it
        width = np.ptp(images, axis=0)
        self._low, self._high = images.min(0) - MARGIN * width, images.max(0) + MARGIN * width
        self._splitting = Splitting(stretch_of_coordinates(layers, images), self._device)
        self._containment = Containment(self._evaluator, self._splitting, layers, domain, self._low, self._high)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _images(self) -> Array:
        return preimages(self._problem.layers, self._problem.domain, np.random.default_rng(self._seed))

    def roots(self, budget: Budget) -> OrientedBoxes:
        self._containment.work(budget.until(LOOK_SHARE))
        if self._containment.seconds_left() < PROOF_SHARE * budget.seconds:  # else it is no use to begin
            self._containment.work(budget.until(MOST_SHARE))
        middle, radius = 0.5 * (self._low + self._high), half_sides(self._low, self._high)
        here = (torch.as_tensor(part[None], device=self._device) for part in (middle, radius))
        return OrientedBoxes.axial(*here)

    def bound(self, nodes: OrientedBoxes, caps: Array, target: float) -> tuple[OrientedBoxes, Array]:
        known = torch.as_tensor(caps, device=self._device)
        kept = ~self._splitting.frames.outside(nodes)
        nodes, known = nodes.at(kept), known[kept]
        if not len(nodes):  # all pieces lie outside the boxes that were replaced
            return nodes, np.zeros(0)
        frames = self._splitting.frames.of(nodes)
        bounds, smear, curvature = self._evaluator.bound(nodes.middles, nodes.radii, frames, True)
        bounds, nodes = torch.minimum(bounds, known), replace(nodes, smear=smear)
        if nodes.middles.shape[1] <= ORIENTED:
            nodes, bounds = self._oriented(nodes, bounds, curvature, target)
        return nodes, bounds.cpu().numpy()

    def _oriented(self, nodes: OrientedBoxes, bounds: Tensor, curvature: Tensor, target: float) -> tuple[OrientedBoxes, Tensor]:
        """Replace boxes by such of better frames, where their bounds are near the target and yet above it."""
        near = ((bounds > target) & (bounds < NEAR * target)).nonzero()[:, 0]
        replaced, pieces, origins = self._splitting.frames.oriented(nodes.at(near), curvature[near])
        kept = torch.ones_like(bounds, dtype=torch.bool)
        kept[near[replaced]] = False
        return OrientedBoxes.join((nodes.at(kept), pieces)), torch.cat((bounds[kept], bounds[near[origins]]))

    def split(self, nodes: OrientedBoxes, bounds: Array, target: float) -> tuple[OrientedBoxes, NDArray[np.intp]]:
        smeared = self._splitting.smeared(nodes, nodes.smear)
        here = torch.as_tensor(bounds, device=self._device)
        pieces, origins = self._splitting.pieces(smeared, here, [far * target for far in FAR])
        return pieces, origins.cpu().numpy()

    def points(self, nodes: OrientedBoxes) -> Array:
        return np.asarray(self._forward(nodes.middles.cpu()).numpy())

    def round_size(self, waiting: int) -> int:
        # a round looks through all: the more there are, the more it splits; but the time is only seen between rounds
        batch = self._evaluator.batch
        return min(max(batch, waiting // ROUNDS), MOST_BATCHES * batch)

    def assumed(self, budget: Budget) -> Assumed:
        self._containment.work(budget.until(1.0))
        text = ELEMENTARY_FUNCTIONS + (ON_GPU if self._device.type == "cuda" else "")
        return Assumed(text, True) if self._containment.proven else Assumed(text + CONDITIONAL, False)


def _is_readable(step: Layer) -> bool:
    return isinstance(step, Permutation) or (isinstance(step, PartialCoupling) and len(step.seen) <= MOST_INPUTS)
