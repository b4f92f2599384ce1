"""The proof of a lower bound: the quotient of a pair of points in ball arithmetic, and a witness that grows with the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from flint import arb
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lipbounds.arb import Row, ends, exact_row, working_precision
from lipbounds.certify.problem import Problem, image_by_layers, network_of
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer
from lipbounds.maps.structure import Structured, structure_of
from lipbounds.rounding import EPS
from lipbounds.search import Found, find_lipschitz, jacobian_norms
from lipbounds.search.singular_values import FullSVD

__all__ = ["Witness", "certify_found", "certify_pair", "evaluate_inverse"]

Array = NDArray[np.float64]

BITS = 128  # of precision to begin with
MOST_BITS = 4096  # at which doubling the precision stops
AGAIN = 10_000  # evaluations of a search from the middle of a box
WORTH_A_SEARCH = 1e-4  # relative gain at the middle of a box that starts a search from there
PAIRS = 40  # distances, each half of the one before
PAIR_NOISE = 4 * EPS

Image = Callable[[Array], Row]


def evaluate_inverse(model: Structured | Sequence[Layer], point: ArrayLike, *, bits: int = BITS) -> list[Enclosure]:
    """Enclose f = T^{-1} at one point, coordinate by coordinate, in ball arithmetic.

    Args:
        model: A network with `structure()`, or the layers of T in the order of the forward map.
        point: A latent point, shape (d,), taken as exact.
        bits: Working precision.

    Returns:
        CERTIFIED enclosures of the map with exactly these weights.

    Example:
        >>> from lipbounds.maps import Affine, Permutation
        >>> layers = [Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2)), Permutation(np.array([1, 0]))]
        >>> [value.upper for value in evaluate_inverse(layers, [4.0, 2.0])]
        [1.0, 1.0]
    """
    with working_precision(bits):
        values = image_by_layers(structure_of(model), np.asarray(point, dtype=np.float64))
        return [Enclosure(*ends(value), Guarantee.CERTIFIED, "ball arithmetic") for value in values]


def _distance(x: Row, y: Row) -> arb:
    # products, not powers: a power of a ball that contains 0 is unknown
    return sum(((a - b) * (a - b) for a, b in zip(x, y, strict=True)), arb(0)).sqrt()


def certify_pair(model: object, a: Array, b: Array, *, outputs: NDArray[np.intp] | None = None) -> Enclosure:
    """Enclose |f(a) - f(b)| / |a - b| for the map f latent -> data, or some of its coordinates, in ball arithmetic.

    Args:
        model: A network with `structure()`, the layers of T in the order of the forward map, or a torch module z -> x.
        a: A latent point, shape (d,), taken as exact.
        b: Another.
        outputs: Coordinates of f that count; all by default.

    Returns:
        A CERTIFIED enclosure. The precision is doubled until the quotient is known to 1e-12.
    """
    image = _image_of(model, len(a))
    return _quotient(image if outputs is None else lambda z: [image(z)[i] for i in outputs.tolist()], a, b)


def _image_of(model: object, inputs: int) -> Image:
    network = network_of(model, inputs)
    if network is not None:
        return lambda z: network.balls(exact_row(z))
    layers = structure_of(model)
    return lambda z: image_by_layers(layers, z)


def _quotient(image: Image, a: Array, b: Array) -> Enclosure:
    bits = BITS
    while True:
        with working_precision(bits):
            low, high = ends(_distance(image(a), image(b)) / _distance(exact_row(a), exact_row(b)))
        if (math.isfinite(high) and high - low <= 1e-12 * high) or bits >= MOST_BITS:
            return Enclosure(max(low, 0.0), high, Guarantee.CERTIFIED, "quotient of a pair in ball arithmetic")
        bits *= 2


def certify_found(found: Found, model: object) -> Enclosure:
    """Re-evaluate the witness of a search in ball arithmetic: a lower bound of the constant that no rounding can break.

    Args:
        found: From `find_lipschitz` on the model.
        model: A network with `structure()`, its layers of T, or a torch module z -> x.

    Returns:
        [|f(a) - f(b)| / |a - b|, infinity), CERTIFIED. The precision is doubled until the quotient is known to 1e-12.

    Raises:
        InvalidInput: If the model is not the one that the witness was found on (the quotients disagree).

    Source:
        The quotient of two points of a set is a lower bound of the constant on it.

    Example:
        >>> from lipbounds.domains import Ball
        >>> from lipbounds.maps import Affine
        >>> found = find_lipschitz(lambda z: z / torch.tensor([2.0, 4.0]), Ball([0.0, 0.0], 1.0))
        >>> bound = certify_found(found, [Affine(np.array([[2.0, 0.0], [0.0, 4.0]]), np.zeros(2))])
        >>> round(bound.lower, 9), bound.guarantee.name
        (0.5, 'CERTIFIED')
    """
    return _checked(found, _image_of(model, len(found.point)))


def _checked(found: Found, image: Image) -> Enclosure:
    a, b = found.pair
    bound = _quotient(image, a, b)
    low, high = bound.lower, bound.upper
    # the search's quotient is rounded: of values of this size, over a distance that may be tiny
    with working_precision(BITS):
        size = max(max(map(abs, ends(value))) for value in image(a))
    distance = float(np.linalg.norm(a - b))
    size += high * distance
    slack = 1e-3 * found.lower + 256 * EPS * size / distance
    # the search lowers a quotient by what it took for rounding, but has seen at least as large values
    seen = max(found.lower, *found.history, 0.0 if math.isnan(found.jacobian_norm) else found.jacobian_norm)
    if not (low <= seen * (1 + 1e-3) + slack and found.lower - slack <= high):
        got = f"a quotient in [{low:.6g}, {high:.6g}] where the search had {found.lower:.6g}"
        raise InvalidInput("layers", got, "the network that was searched", "pass its own layers, in the order of T")
    return Enclosure(low, math.inf, Guarantee.CERTIFIED, bound.method)


class Witness:
    """The best pair so far, its quotient in ball arithmetic; it grows where the middle of a box is steeper.

    Args:
        problem: The map and the domain.
        found: A pair to begin with; searched for by default.
        seed: Of searches.
        evaluations: Of the first.
        worth: Relative gain at the middle of a box that is worth the proof of a pair there, without a search.

    Attributes:
        found: The search's result with the best pair.
        lower: Its quotient, proven.

    Raises:
        InvalidInput: For a pair that lies outside the domain, or was found on another map.
    """

    def __init__(self, problem: Problem, found: Found | None, seed: int, evaluations: int, worth: float = math.inf) -> None:
        self._problem, self._seed, self._worth = problem, seed, worth
        self.found = found or find_lipschitz(problem.f, problem.domain, seed=seed, evaluations=evaluations)
        if any(len(point) != problem.domain.dim or not problem.domain.contains(point) for point in self.found.pair):
            got = f"a pair at {self.found.pair[0]}"
            raise InvalidInput("found", got, "a witness on the domain", "search on the domain that is to be certified")
        self.lower = self._proven(self.found)

    def _proven(self, found: Found) -> float:
        return _checked(found, self._problem.image).lower

    def improve(self, points: Array) -> None:
        """Look near points of the domain, shape (n, k).

        A pair that balls do not confirm is not taken: torch's slopes of saturated units are rounded to 0.
        """
        inside = self._problem.domain.project(torch.as_tensor(points))
        norms = jacobian_norms(self._problem.f, inside)
        steepest = float(norms.max())
        if steepest > self.lower * (1 + WORTH_A_SEARCH):
            with suppress(InvalidInput):
                again = find_lipschitz(self._problem.f, self._problem.domain, seed=self._seed, starts=inside, evaluations=AGAIN)
                self._take(again)
        if steepest > self.lower * (1 + self._worth):
            with suppress(InvalidInput):
                self._take(self._pair_about(inside[int(norms.argmax())]))

    def _take(self, found: Found) -> None:
        """Keep a pair if its quotient is proven to be larger."""
        lower = self._proven(found) if found.lower > self.found.lower * (1 - WORTH_A_SEARCH) else 0.0
        if lower > self.lower:
            # what is proven counts, where the search promised more
            self.found, self.lower = replace(found, lower=min(found.lower, lower)), lower

    def _pair_about(self, point: Tensor) -> Found:
        """The steepest of pairs about a point along the direction of its Jacobian, at distances from large to small."""
        f, domain = self._problem.f, self._problem.domain
        _, direction, norm = FullSVD(f, domain.span).direction(point)
        steps = (1.0 + point.norm()) * 2.0 ** -torch.arange(PAIRS, dtype=torch.float64)[:, None]
        a, b = (domain.project(point + sign * steps * direction) for sign in (1, -1))
        with torch.no_grad():
            images = [f(end) for end in (a, b)]
        lengths = (a - b).norm(dim=1)
        # what values round by counts against a pair
        noise = PAIR_NOISE * torch.maximum(*(image.norm(dim=1) for image in images))
        quotients = ((images[0] - images[1]).norm(dim=1) - noise) / lengths
        best = int(torch.nan_to_num(quotients, nan=-math.inf).argmax())
        pair = (a[best].numpy().copy(), b[best].numpy().copy())
        if not all(domain.contains(end) for end in pair):
            return self.found
        return replace(
            self.found,
            lower=float(quotients[best]),
            jacobian_norm=norm,
            point=point.numpy().copy(),
            direction=direction.numpy().copy(),
            pair=pair,
        )
