"""From a place to a witness: a pair about it, proven in the domain, with the rounding of its images charged."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.model import as_model
from lipbounds.rounding import gamma
from lipbounds.search.evaluation import Evaluation
from lipbounds.search.rounding_noise import lengths, rounding_noise
from lipbounds.search.segments import PARTS
from lipbounds.search.singular_values import Map, evaluate

__all__ = ["Kind", "Pair", "Witnessed", "charged_quotient", "inside", "kind_of", "pair_about", "quotient"]

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
Kind = Literal["smooth", "kink", "jump"]

SHARES = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # of the size of f, by which it moves between the points of a pair
NEAR = 1e-4  # pairs of smaller shares count only up to the slope that the derivative promises
LARGEST_PULL = 1e-6  # of the way to the middle: no projection is so far off
BENT = 0.1  # relative change of the slope within a pair that makes a kink
TORN = 3.0  # share of a pair's slope that one tenth of it has at a jump; the whole of it would be 10


class Witnessed(NamedTuple):
    """A pair with what it shows."""

    lower: float
    noise: float
    pair: Pair


def quotient(model: object, pair: Pair) -> float:
    """Return |f(a) - f(b)| / |a - b| for the pair (a, b) and f the map latent -> data, in float64: the check of a witness.

    Example:
        >>> quotient(lambda z: 2.0 * z, (np.array([0.0, 0.0]), np.array([3.0, 4.0])))
        2.0
    """
    f, points = as_model(model).inverse, torch.as_tensor(np.stack(pair))
    if torch.equal(points[0], points[1]):
        raise InvalidInput("pair", pair, "two different points", "a quotient needs a distance")
    moved, apart = _distances(f, points)
    return moved / apart


def charged_quotient(model: object, pair: Pair, scale: float, *, inverse: bool = False) -> tuple[float, float]:
    """Return the quotient of a pair less what the map may round by at it, and that rounding, as measured at neighbours.

    Args:
        model: As in `find_lipschitz`.
        pair: Two different points, each of shape (d,).
        scale: Size of the domain, as for `rounding_noise`.
        inverse: Whether |a - b| / |f(a) - f(b)| is meant.

    Example:
        >>> lower, noise = charged_quotient(lambda z: 2.0 * z, (np.array([0.0, 0.0]), np.array([3.0, 4.0])), 4.0)
        >>> 2.0 - 1e-12 < lower < 2.0, noise < 1e-12
        (True, True)
    """
    f, points = as_model(model).inverse, torch.as_tensor(np.stack(pair))
    # of the pair alone: in a batch f may round differently
    moved, apart = _distances(f, points)
    noise = sum(rounding_noise(f, point, scale) for point in points)
    own = 1 - gamma(len(points[0]) + 16)
    return (apart / (moved + noise) if inverse else max(0.0, moved - noise) / apart) * own, noise


def _distances(f: Map, points: Tensor) -> tuple[float, float]:
    """|f(a) - f(b)| and |a - b| of two rows."""
    with torch.no_grad():
        image = evaluate(f, points)
    moved, apart = lengths(torch.stack((image[0] - image[1],))), lengths(torch.stack((points[0] - points[1],)))
    return float(moved[0]), float(apart[0])


def inside(evaluation: Evaluation, pair: Pair) -> Pair:
    """The pair, moved towards the middle by as many roundings as it takes to be proven in the domain."""
    middle, moved = evaluation.middle.numpy(), []
    for point in pair:
        share = 2.0**-52
        within = point
        while not evaluation.domain.contains(within) and share < LARGEST_PULL:
            within, share = point + share * (middle - point), 4 * share
        moved.append(within)
    return moved[0], moved[1]


def pair_about(evaluation: Evaluation, point: Tensor, direction: Tensor, slope: float) -> Pair:
    """The pair with the largest quotient about a point along its most stretched direction, or its most shrunk one.

    Args:
        evaluation: The search.
        point: Shape (d,).
        direction: Unit vector, shape (d,).
        slope: |Jv| there.
    """
    f, domain, width = evaluation.f, evaluation.domain, evaluation.width
    inverse = evaluation.quantity == "smallest"
    tiny = torch.finfo(point.dtype).tiny
    inwards = evaluation.middle - point
    inwards = inwards / torch.linalg.vector_norm(inwards).clamp_min(tiny)
    with torch.no_grad():
        size = float(evaluate(f, point[None]).abs().max())
        # f moves by `share` of its own size, so that rounding costs about 1e-16 / share of the quotient
        shares = torch.tensor(SHARES, dtype=point.dtype)
        halves = (shares * max(size, 1e-3) / max(slope, 1e-12)).minimum(shares * width / 2)
        # farther apart, too, so that a noisy map has a pair whose images move by more than its noise
        halves = torch.cat((halves, torch.tensor([0.5 * width], dtype=point.dtype)))[:, None]
        # at the boundary a pair about the point is bent by the projection: one a little inside keeps its direction
        middles = torch.stack((point.expand(len(halves), -1), point + 2 * halves * inwards), 1)
        steps = (halves * direction)[:, None]
        ends = domain.project(torch.stack((middles - steps, middles + steps)).flatten(0, 2))
        ends, images = (rows.reshape(2, -1, rows.shape[1]) for rows in (ends, evaluate(f, ends)))
        apart, moved = lengths(ends[1] - ends[0]), lengths(images[1] - images[0])
    places = (point, ends[0, 0], ends[1, 0])
    noise = 2 * max(rounding_noise(f, place, width) for place in places)
    best: tuple[float, int] | None = None
    promised = 1.0 / slope if inverse and slope > 0 else slope
    for i in torch.nonzero(apart > 0)[:, 0].tolist():
        if inverse and float(moved[i]) == 0.0:
            raise InvalidInput(
                "f", f"one image of two points, {tuple(ends[:, i].tolist())}", "an injective map", "search the largest alone"
            )
        charged = float(moved[i]) + noise if inverse else max(0.0, float(moved[i]) - noise)
        found = float(apart[i]) / charged if inverse else charged / float(apart[i])
        # pairs nearer still are for boundaries and narrow pieces of f; above the derivative they show rounding only
        near = SHARES[min(i // 2, len(SHARES) - 1)] < NEAR and i // 2 < len(SHARES)
        if best is None or (found > best[0] and not (near and found > promised)):
            best = found, i
    if best is None and float(apart.max()) > 0:
        best = 0.0, int(apart.argmax())
    if best is None:
        raise InvalidInput("domain", f"no two points about {point.tolist()}", "a domain with interior", "enlarge it")
    return ends[0, best[1]].numpy(), ends[1, best[1]].numpy()


def kind_of(f: Map, pair: Pair, noise: float) -> Kind:
    """What a map does between two points: bends smoothly, has a kink, or jumps; as far as its rounding lets one see.

    Args:
        f: The map on rows.
        pair: Two points.
        noise: What is charged for its rounding.
    """
    a, b = (torch.as_tensor(point) for point in pair)
    shares = torch.linspace(0.0, 1.0, PARTS + 1, dtype=torch.float64)[:, None]
    with torch.no_grad():
        parts = evaluate(f, a + shares * (b - a)).diff(dim=0)
    sizes = lengths(parts)
    whole = float(lengths(parts.sum(0, keepdim=True))[0])
    largest = float(sizes.max())
    if PARTS * largest > TORN * whole + PARTS * noise:
        return "jump"
    change = float(lengths((parts[-1] - parts[0])[None])[0])
    return "kink" if change > BENT * largest + 2 * noise else "smooth"
