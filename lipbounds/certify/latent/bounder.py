r"""Upper bounds on conditional slices $z\mapsto T^{-1}(y,z)$: y is held, z runs through a ball or box of few dimensions.

What a conditional sampler applies to its latent draws. Only the k latent directions are differentiated, so the dimension of the
data does not matter, and boxes of z are cheap (`lipbounds.enclosures.taylor_model`): thousands at once, halved where the bound is
large until it is near the witness.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.branch_and_bound import Assumed, Bounder, Budget, Nodes
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Box, Domain
from lipbounds.enclosures.taylor_model import Expansion, Slice, is_readable
from lipbounds.rounding import ELEMENTARY_FUNCTIONS, UNIT

__all__ = ["LatentSlice", "SliceBoxes", "norms_of"]

Array = NDArray[np.float64]

MOST_LATENT = 4  # dimensions of z: the number of boxes grows exponentially with it
ROUND = 4096  # boxes halved at once
BATCH = 1024  # boxes enclosed at once: their Jacobians stay in the cache
ROOTS = 4096  # boxes to begin with, about
SUBNORMAL = 1e-320  # halves of the smallest doubles round


@dataclass(frozen=True, eq=False)
class SliceBoxes(Nodes):
    """Boxes of the latent directions.

    Attributes:
        middles: Shape (n, k).
        radii: Half sides, shape (n, k).
    """

    middles: Array
    radii: Array


class LatentSlice(Bounder[SliceBoxes]):
    """Boxes of z, bounded with second-order expansions of the whole map.

    Args:
        problem: The map and the domain.
    """

    method = "branch and bound over boxes of the slice"
    most = 4_000_000

    @classmethod
    def applies(cls, problem: Problem) -> bool:
        return (
            problem.is_slice
            and isinstance(problem.domain, Ball | Box)
            and problem.domain.dim <= MOST_LATENT
            and is_readable(problem.layers)
        )

    def __init__(self, problem: Problem) -> None:
        self._domain = problem.domain
        outputs = np.arange(problem.layers[0].dim) if problem.outputs is None else problem.outputs
        self._slice = Slice(problem.layers, problem.held, outputs)

    def roots(self, budget: Budget) -> SliceBoxes:
        low, high = (corner.numpy() for corner in self._domain.bounds())
        pieces = max(1, round(ROOTS ** (1 / len(low))))
        grid = (np.arange(pieces) + 0.5) / pieces
        axes = np.meshgrid(*(a + grid * (b - a) for a, b in zip(low, high, strict=True)))
        middles = np.stack([axis.ravel() for axis in axes], 1)
        radius = (high - low) / (2 * pieces) * (1 + 16 * UNIT) + 8 * UNIT * np.maximum(np.abs(low), np.abs(high)) + SUBNORMAL
        return SliceBoxes(middles, np.broadcast_to(radius, middles.shape).copy())

    def bound(self, nodes: SliceBoxes, caps: Array, target: float) -> tuple[SliceBoxes, Array]:
        inside = np.flatnonzero(~_misses(self._domain, nodes.middles, nodes.radii))
        bounds = np.zeros(len(nodes))
        for start in range(0, len(inside), BATCH):
            rows = inside[start : start + BATCH]
            bounds[rows] = norms_of(self._slice(nodes.middles[rows], nodes.radii[rows]))
        return nodes, np.minimum(bounds, caps)

    def split(self, nodes: SliceBoxes, bounds: Array, target: float) -> tuple[SliceBoxes, NDArray[np.intp]]:
        """Both halves of every box across its longest side."""
        rows, axis = np.arange(len(nodes)), nodes.radii.argmax(axis=1)
        step, radii = np.zeros_like(nodes.radii), nodes.radii.copy()
        step[rows, axis] = 0.5 * radii[rows, axis]
        # the halves overlap by what their middles can be off
        radii[rows, axis] = step[rows, axis] * (1 + 8 * UNIT) + 4 * UNIT * np.abs(nodes.middles[rows, axis]) + SUBNORMAL
        middles = np.concatenate((nodes.middles - step, nodes.middles + step))
        return SliceBoxes(middles, np.concatenate((radii, radii))), np.concatenate((rows, rows))

    def corners(self, nodes: SliceBoxes) -> tuple[Array, Array]:
        return np.nextafter(nodes.middles - nodes.radii, -np.inf), np.nextafter(nodes.middles + nodes.radii, np.inf)

    def points(self, nodes: SliceBoxes) -> Array:
        return nodes.middles

    def round_size(self, waiting: int) -> int:
        return ROUND

    def assumed(self, budget: Budget) -> Assumed:
        return Assumed(ELEMENTARY_FUNCTIONS, True)


def _misses(domain: Domain, middles: Array, radii: Array) -> NDArray[np.bool_]:
    """Which boxes are proven to lie outside."""
    if not isinstance(domain, Ball):
        return np.zeros(len(middles), dtype=bool)
    away = np.abs(middles - domain.center.numpy()) * (1 - 8 * UNIT) - radii * (1 + 8 * UNIT)
    # the difference of two doubles is off by an ulp of the larger; a margin of 1e-12 covers all of it
    size = 1e-12 * (domain.radius + np.abs(domain.center.numpy()).max())
    # in units of the radius, so that squares neither underflow nor overflow where it matters
    relative = np.maximum(away - size, 0.0) / domain.radius
    return np.asarray((relative**2).sum(1) > 1 + 1e-11)


def norms_of(x: Expansion) -> Array:
    """Upper bounds of the derivative's spectral norm, shape (n,), rounded up: the largest at a corner, plus the radii's norm."""
    k, _, outputs = x.g.shape
    # sums of `outputs` products, then an eigenvalue by a backward stable method, all relative to the trace <= k times it
    slack = 1 + (8 * k * (outputs + 8) + 100 * k**3) * UNIT
    largest = np.zeros(x.g.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for signs in itertools.product((-1.0, 1.0), repeat=k):
            corner = x.g + (x.H * (np.array(signs)[:, None, None] * x.h)).sum(1)
            largest = np.maximum(largest, _largest_eigenvalue(np.einsum("ino,jno->nij", corner, corner)))
        # the corners are rounded: by some ulps of g and of |H|h
        rest = x.rho + 4 * k * UNIT * (np.abs(x.g) + x.turn())
        frobenius = np.sqrt((rest * rest).sum(axis=(0, 2))) * (1 + (k * outputs + 8) * UNIT)
        return np.asarray(np.nan_to_num(np.sqrt(largest) * slack + frobenius + 1e-140, nan=np.inf, posinf=np.inf))


def _largest_eigenvalue(gram: Array) -> Array:
    k = gram.shape[1]
    if k == 1:
        return np.asarray(gram[:, 0, 0])
    if k == 2:
        a, b, c = gram[:, 0, 0], gram[:, 1, 1], gram[:, 0, 1]
        return np.asarray(0.5 * (a + b + np.hypot(a - b, 2 * c)))
    finite = np.isfinite(gram).all(axis=(1, 2))
    largest = np.full(len(gram), np.inf)
    largest[finite] = np.maximum(np.linalg.eigvalsh(gram[finite])[:, -1], 0.0)
    return largest
