"""Branch and bound over boxes of z for smooth feed-forward maps of few latent dimensions and any number of outputs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget, Nodes
from lipbounds.certify.problem import Problem
from lipbounds.certify.smooth_maps.blocks import blocks
from lipbounds.certify.smooth_maps.composition import Composition, Crossing
from lipbounds.certify.smooth_maps.expansion import Expansion, Layer, activated, box_expansion, transformed
from lipbounds.certify.smooth_maps.monomials import monomials
from lipbounds.certify.smooth_maps.norms import derivative_norms
from lipbounds.domains import Ball
from lipbounds.enclosures.spectral import spectral_norms
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.rounding import ELEMENTARY_FUNCTIONS, EPS, TINY

__all__ = ["SmoothMap"]

Array = NDArray[np.float64]

MOST_DIMENSIONS = 4  # beyond, boxes are too many
DEGREE = {1: 3, 2: 3, 3: 3, 4: 2}  # of expansions, by latent dimensions
ENTRIES = 2**21  # of the coefficients of a batch: they stay in the cache
ROUND, MOST_AT_ONCE = 256, 4096  # boxes split at a time, at least and at most
FEWEST = 64  # boxes of a batch, where there are as many
FAR = 1.5  # times the goal: a box that exceeds it is halved along all sides


@dataclass(frozen=True, eq=False)
class Boxes(Nodes):
    """Boxes of z.

    Attributes:
        middles: Shape (n, d).
        radii: Half sides, shape (n, d).
        weights: What the map makes of a unit along each side, shape (n, d).
    """

    middles: Array
    radii: Array
    weights: Array


class SmoothMap(Bounder[Boxes]):
    """Boxes of z, halved along their longest sides.

    Args:
        problem: The map and the domain.
    """

    method = "branch and bound over latent boxes by polynomial expansions"
    searched = 20_000
    worth = 1e-6
    most = 4_000_000

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        network = problem.network
        return (
            network is not None
            and network.inputs <= MOST_DIMENSIONS
            and bool(np.isfinite(problem.domain.bounds()[0].numpy()).all())
            and all(stage.activation.kink is None for stage in network.stages)
        )

    def __init__(self, problem: Problem, threads: int | None = None) -> None:
        assert isinstance(problem.network, FeedForward)
        self._domain, self._box, self._threads = problem.domain, problem.box(), threads or os.cpu_count() or 1
        self._stack, self._pool = ExitStack(), ThreadPoolExecutor(1)
        (*stages, last), later = blocks(problem.network)
        with np.errstate(over="ignore"):  # norms that overflow are infinite
            self._layers = [Layer(stage) for stage in stages]
            self._last, self._missing = (Layer(last), 0.0) if later else _reduced(last)
            self._later = [Crossing(block) for block in later]
        widest = max(stage.matrix.shape[0] for stage in problem.network.stages)
        self._degree = DEGREE[problem.network.inputs]
        self._batch = max(1, ENTRIES // (widest * len(monomials(self._domain.dim, self._degree).degrees)))

    def __enter__(self) -> Self:
        # batches have threads of their own
        self._stack.enter_context(threadpool_limits(1, user_api="blas"))
        self._pool = self._stack.enter_context(ThreadPoolExecutor(self._threads))
        self._bounds(self._root(), 0.0)  # compiles, where no cache has it
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def roots(self, budget: Budget) -> Boxes:
        return self._root()

    def _root(self) -> Boxes:
        low, high = self._box
        radii = (high - low) / 2 * (1 + 8 * EPS) + 4 * EPS * np.maximum(np.abs(low), np.abs(high))
        return Boxes((low / 2 + high / 2)[None], radii[None], np.ones((1, len(radii))))

    def bound(self, nodes: Boxes, caps: Array, target: float) -> tuple[Boxes, Array]:
        bounds, weights = np.zeros(len(nodes)), nodes.weights.copy()
        inside = np.flatnonzero(self._meets_domain(nodes))
        most = min(self._batch, max(FEWEST, -(-len(inside) // self._threads)))
        parts = [inside[k : k + most] for k in range(0, len(inside), most)]
        for rows, values in zip(parts, self._pool.map(lambda some: self._bounds(nodes.at(some), target), parts), strict=True):
            bounds[rows], weights[rows] = values
        return replace(nodes, weights=weights), np.fmin(bounds, caps)

    def _bounds(self, nodes: Boxes, target: float) -> tuple[Array, Array]:
        """Bounds over boxes, and the weights of their sides."""
        with np.errstate(all="ignore"):  # what overflows is infinite or NaN, and no bound
            x = box_expansion(nodes.middles, nodes.radii, self._degree)
            if not self._later:
                return self._one_block(x, target), nodes.weights
            return self._many_blocks(x, target)

    def _many_blocks(self, x: Expansion, target: float) -> tuple[Array, Array]:
        for layer in (*self._layers, self._last):
            x = activated(transformed(x, layer), layer.activation)
        state, stretched = Composition.of(x), np.zeros(x.radii.shape)
        for crossing in self._later:
            state = crossing(state)
            size = np.abs(state.terms[state.order.of_degree(1)]).max(2).T
            stretched = np.fmax(stretched, np.where(np.isfinite(size), size, 0.0))
        weights = stretched / x.radii
        return derivative_norms(state.expansion(), target), np.where(weights > 0, weights, TINY)

    def _one_block(self, x: Expansion, target: float) -> Array:
        for layer in self._layers:
            x = activated(transformed(x, layer), layer.activation)
        y = activated(transformed(x, self._last), self._last.activation)
        bounds = derivative_norms(y, target)
        if self._missing:
            sharp = (x.order.exponents / x.radii[:, None, :]).sum(2).T
            before = (np.sqrt(np.square(x.terms).sum(2)) * sharp).sum(0) + x.slope
            bounds = np.sqrt(np.square(bounds) + self._missing * np.square(before)) * (1 + (x.terms.shape[2] + 64) * EPS)
        return bounds

    def _meets_domain(self, nodes: Boxes) -> NDArray[np.bool_]:
        if not isinstance(self._domain, Ball):
            return np.ones(len(nodes), dtype=bool)
        center, radius = self._domain.center.numpy(), self._domain.radius
        # the nearest point of the box, less what the differences round by
        away = np.abs(nodes.middles - center) * (1 - 4 * EPS) - nodes.radii * (1 + 4 * EPS) - 4 * EPS * np.abs(center)
        return np.asarray(np.square(np.maximum(away, 0.0)).sum(1) <= radius * radius * (1 + 16 * EPS))

    def split(self, nodes: Boxes, bounds: Array, target: float) -> tuple[Boxes, NDArray[np.intp]]:
        """Halve the side that is longest in the image, and where the bound is far off others in turn."""
        parents = np.arange(len(nodes))
        nodes, parents = _halved(nodes, parents)
        for _ in range(self._domain.dim - 1):
            far = bounds[parents] > FAR * target
            more, origins = _halved(nodes.at(far), parents[far])
            nodes, parents = Boxes.join((nodes.at(~far), more)), np.concatenate((parents[~far], origins))
        return nodes, parents

    def points(self, nodes: Boxes) -> Array:
        return nodes.middles

    def round_size(self, waiting: int) -> int:
        return min(max(ROUND, waiting // 4), MOST_AT_ONCE)

    def assumed(self, budget: Budget) -> Assumed:
        return Assumed(ELEMENTARY_FUNCTIONS, True)


def _halved(nodes: Boxes, parents: NDArray[np.intp]) -> tuple[Boxes, NDArray[np.intp]]:
    """Halves of the sides that the map makes longest; they overlap by a rounding."""
    rows, side = np.arange(len(nodes)), (nodes.radii * nodes.weights).argmax(1)
    half, step = nodes.radii.copy(), np.zeros_like(nodes.radii)
    half[rows, side] *= 0.5
    step[rows, side] = half[rows, side]
    both = np.concatenate((nodes.middles - step, nodes.middles + step))
    radii = np.concatenate((half, half)) * (1 + 4 * EPS) + EPS * np.abs(both)
    return Boxes(both, radii, np.tile(nodes.weights, (2, 1))), np.tile(parents, 2)


def _reduced(last: Stage) -> tuple[Layer, float]:
    r"""The last stage with as many rows as columns, where it has more, and a bound of what its squared norms may miss.

    With a factor R of W = QR is $\|Wx\|^2\le\|Rx\|^2+\|W^TW-R^TR\|\|x\|^2$.
    """
    rows, columns = last.matrix.shape
    if rows <= columns or last.activation.name != "linear":
        return Layer(last), 0.0
    factor: Array = np.asarray(np.linalg.qr(last.matrix, mode="r"))
    gap = last.matrix.T @ last.matrix - factor.T @ factor
    size = np.square(last.matrix).sum() + np.square(factor).sum()
    missing = float(spectral_norms(gap)) + (rows + columns + 16) * EPS * float(size) * (1 + rows * columns * EPS)
    return Layer(Stage(factor, np.zeros(columns), last.activation)), missing
