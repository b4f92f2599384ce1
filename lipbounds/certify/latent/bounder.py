r"""Certified constants of conditional slices $z\mapsto T^{-1}(y,z)$: y is held, z runs through a ball or box of few dimensions.

What a conditional sampler applies to its latent draws. Only the k latent directions are differentiated, so the dimension of the
data does not matter, and boxes of z are cheap (`lipbounds.enclosures.taylor_model`): thousands at once, halved where the bound is
large until it is near the witness.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lipbounds.certify.certificate import ELEMENTARY, Certificate
from lipbounds.certify.witness import certify_pair
from lipbounds.domains import Ball, Box
from lipbounds.enclosure import Guarantee
from lipbounds.enclosures.taylor_model import Expansion, Slice, is_readable
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer, Structured, dimension_of, inverse_map, structure_of
from lipbounds.rounding import UNIT
from lipbounds.search.find import Found, find_lipschitz, jacobian_norms

__all__ = ["MOST_LATENT", "certify_slice"]

Array = NDArray[np.float64]

MOST_LATENT = 4
ROUND = 4096  # boxes halved at once
BATCH = 1024  # boxes enclosed at once: their Jacobians stay in the cache
ROOTS = 4096  # boxes to begin with, about
MOST_BOXES = 4_000_000
INSIDE = 1e-9  # projections onto a domain are good to some ulps of its size
SUBNORMAL = 1e-320  # halves of the smallest doubles round
WORST = 64  # of the boxes of a round that are looked at for a steeper witness


def certify_slice(
    model: Structured | Sequence[Layer],
    y: ArrayLike,
    domain: Ball | Box,
    *,
    outputs: Sequence[int] | None = None,
    found: Found | None = None,
    seed: int = 0,
    ratio: float = 1.05,
    seconds: float = 60.0,
    callback: Callable[[float, float], None] | None = None,
) -> Certificate:
    r"""Enclose the constant of $z\mapsto T^{-1}(y,z)$ on a domain: a proven witness below, branch and bound above.

    Args:
        model: T as a network with `structure()` or its layers, which are couplings, permutations and linear layers.
        y: The first coordinates of the image, held: labels and padding, shape (d - k,).
        domain: Of z, k of at most 4 dimensions.
        outputs: Coordinates of $T^{-1}$ that count, for example the data without their padding; all by default.
        found: A witness from `find_lipschitz` on this map and domain; searched for by default.
        seed: Of the search.
        ratio: upper / lower at which the work ends.
        seconds: Time after which it stops with the bound that holds so far.
        callback: Called with both ends after every round.

    Returns:
        A CERTIFIED enclosure; its `assumption` is that elementary functions are good to 4 ulps.

    Raises:
        InvalidInput: For a model without structure or with other layers, dimensions that do not fit, or bad parameters.

    Example:
        >>> from inn import CouplingFlow, coupling_flow
        >>> flow = coupling_flow(CouplingFlow(dim=4, blocks=2, hidden=8), seed=0)
        >>> bound = certify_slice(flow, [0.3, -0.2], Ball([0.0, 0.0], 2.0), outputs=[2, 3], ratio=1.1)
        >>> bound.upper / bound.lower < 1.1, bound.guarantee.name
        (True, 'CERTIFIED')
    """
    layers = structure_of(model)
    held = np.asarray(y, dtype=np.float64)
    dim = dimension_of(layers[0])
    if not ratio > 1.0:
        raise InvalidInput("ratio", ratio, "a number > 1", "1.05 is the default")
    if not 0.0 <= seconds < np.inf:
        raise InvalidInput("seconds", seconds, "a finite number >= 0", "60 is the default")
    if not isinstance(domain, Ball | Box):
        raise InvalidInput("domain", type(domain).__name__, "a ball or box", "cover it by one")
    if held.ndim != 1 or not np.isfinite(held).all() or len(held) + domain.dim != dim or domain.dim > MOST_LATENT:
        got = f"y of shape {held.shape}, a domain of dimension {domain.dim}"
        wanted = f"finite y of shape (d - k,) and a domain of dimension k <= {MOST_LATENT}, d = {dim}"
        raise InvalidInput("y, domain", got, wanted, "hold the labels and the padding, let z run")
    if not is_readable(layers):
        kinds = sorted({type(layer).__name__ for layer in layers})
        raise InvalidInput("model", kinds, "couplings, permutations and linear layers", "use certify_lipschitz on all of space")
    rows = np.arange(dim) if outputs is None else np.asarray(outputs, dtype=np.intp)
    if not len(rows) or len(np.unique(rows)) < len(rows) or rows.min() < 0 or rows.max() >= dim:
        raise InvalidInput("outputs", rows.tolist(), f"different coordinates from 0 to {dim - 1}", "leave it out for all")
    witness = _Witness(layers, held, domain, rows, found, seed)
    upper, boxes = _bound(Slice(layers, held, rows), domain, witness, ratio, seconds, callback or (lambda lower, upper: None))
    if upper < witness.lower * (1 - INSIDE):
        raise AssertionError(f"certify_slice: an upper bound of {upper} below a witness of {witness.lower}: please report it")
    return Certificate(
        witness.lower,
        max(witness.lower, upper),
        Guarantee.CERTIFIED,
        "witness in ball arithmetic; branch and bound over boxes of the slice",
        found=witness.found,
        boxes=boxes,
        assumption=ELEMENTARY,
    )


class _Witness:
    """The best pair so far, its quotient in ball arithmetic."""

    def __init__(
        self, layers: Sequence[Layer], held: Array, domain: Ball | Box, rows: NDArray[np.intp], found: Found | None, seed: int
    ) -> None:
        self._layers, self._held, self._domain, self._rows, self._seed = layers, held, domain, rows, seed
        whole, head, places = inverse_map(layers), torch.as_tensor(held), torch.as_tensor(rows)

        def f(z: Tensor) -> Tensor:
            return whole(torch.cat((head.expand(len(z), -1), z), dim=1))[:, places]

        self.f = f
        self.found = found or find_lipschitz(f, domain, seed=seed)
        pair = torch.as_tensor(np.stack(self.found.pair))
        if pair.shape[1] != domain.dim or float((domain.project(pair) - pair).norm(dim=1).max()) > INSIDE * _size(domain):
            got = f"a pair at {self.found.pair[0]}"
            raise InvalidInput("found", got, "a witness on the domain", "search on the domain that is to be certified")
        self.lower = self._proven(self.found)

    def _proven(self, found: Found) -> float:
        a, b = (np.concatenate((self._held, point)) for point in found.pair)
        return certify_pair(self._layers, a, b, outputs=self._rows).lower

    def improve(self, points: Array) -> None:
        """Look near points of the domain."""
        inside = self._domain.project(torch.as_tensor(points))
        if float(jacobian_norms(self.f, inside).max()) > self.lower * (1 + 1e-4):
            again = find_lipschitz(self.f, self._domain, seed=self._seed, starts=inside, screening=WORST)
            lower = self._proven(again)
            if lower > self.lower:
                self.found, self.lower = again, lower


def _size(domain: Ball | Box) -> float:
    low, high = domain.bounds()
    return float(torch.maximum(low.abs(), high.abs()).max())


def _bound(
    piece: Slice, domain: Ball | Box, witness: _Witness, ratio: float, seconds: float, callback: Callable[[float, float], None]
) -> tuple[float, int]:
    middles, radii = _roots(domain)
    begin, count, done = time.perf_counter(), 0, 0.0
    bounds = np.full(len(middles), np.inf)
    waiting = (np.zeros((0, domain.dim)), np.zeros((0, domain.dim)), np.zeros(0))
    while True:
        kept = ~_misses(domain, middles, radii)
        middles, radii, bounds = middles[kept], radii[kept], bounds[kept]
        parts = [slice(start, start + BATCH) for start in range(0, len(middles), BATCH)]
        norms = [_norm(piece(middles[part], radii[part])) for part in parts]
        # a part of a box is at most as steep as the box
        bounds = np.minimum(bounds, np.concatenate(norms) if norms else np.zeros(0))
        count += len(middles)
        if (bounds > ratio * witness.lower).any():
            witness.improve(middles[np.argsort(-bounds, kind="stable")[:WORST]])
        middles, radii, bounds = (np.concatenate(pair) for pair in zip(waiting, (middles, radii, bounds), strict=True))
        is_open = bounds > ratio * witness.lower
        done = max(done, float(bounds[~is_open].max(initial=0.0)))
        middles, radii, bounds = middles[is_open], radii[is_open], bounds[is_open]
        upper = max(done, float(bounds.max(initial=0.0)))
        callback(witness.lower, upper)
        if not len(middles) or time.perf_counter() - begin > seconds or len(middles) > MOST_BOXES:
            return upper, count
        worst = np.zeros(len(bounds), dtype=bool)
        worst[np.argpartition(-bounds, ROUND)[:ROUND] if len(bounds) > ROUND else slice(None)] = True
        waiting = middles[~worst], radii[~worst], bounds[~worst]
        middles, radii, bounds = _halved(middles[worst], radii[worst], bounds[worst])


def _roots(domain: Ball | Box) -> tuple[Array, Array]:
    """Boxes that cover the domain."""
    low, high = (corner.numpy() for corner in domain.bounds())
    pieces = max(1, round(ROOTS ** (1 / len(low))))
    grid = (np.arange(pieces) + 0.5) / pieces
    middles = np.stack([part.ravel() for part in np.meshgrid(*(a + grid * (b - a) for a, b in zip(low, high, strict=True)))], 1)
    radius = (high - low) / (2 * pieces) * (1 + 16 * UNIT) + 8 * UNIT * np.maximum(np.abs(low), np.abs(high)) + SUBNORMAL
    return middles, np.broadcast_to(radius, middles.shape).copy()


def _halved(middles: Array, radii: Array, bounds: Array) -> tuple[Array, Array, Array]:
    """Both halves of every box across its longest side."""
    row, axis = np.arange(len(radii)), radii.argmax(axis=1)
    step, radii = np.zeros_like(radii), radii.copy()
    step[row, axis] = 0.5 * radii[row, axis]
    # the halves overlap by what their middles can be off
    radii[row, axis] = step[row, axis] * (1 + 8 * UNIT) + 4 * UNIT * np.abs(middles[row, axis]) + SUBNORMAL
    return np.concatenate((middles - step, middles + step)), np.concatenate((radii, radii)), np.concatenate((bounds, bounds))


def _misses(domain: Ball | Box, middles: Array, radii: Array) -> NDArray[np.bool_]:
    """Which boxes are proven to lie outside."""
    if isinstance(domain, Box):
        return np.zeros(len(middles), dtype=bool)
    away = np.abs(middles - domain.center.numpy()) * (1 - 8 * UNIT) - radii * (1 + 8 * UNIT)
    # the difference of two doubles is off by an ulp of the larger; a margin of 1e-12 covers all of it
    size = 1e-12 * (domain.radius + np.abs(domain.center.numpy()).max())
    # in units of the radius, so that squares neither underflow nor overflow where it matters
    relative = np.maximum(away - size, 0.0) / domain.radius
    return np.asarray((relative**2).sum(1) > 1 + 1e-11)


def _norm(x: Expansion) -> Array:
    """Upper bounds of the spectral norm of the derivative: convex in delta, so largest at a corner, and the radii."""
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
