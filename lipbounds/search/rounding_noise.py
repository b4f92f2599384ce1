r"""By how much a map rounds: measured at neighbours of a point, in the precision in which the map really computes.

Nothing but the map is known, so this is an estimate, on the safe side by a factor: what a lower bound charges for the rounding of
its two images. Three things are looked at.

*Steps.* A map that works in a lower precision inside is constant over neighbours that float64 tells apart. The distance at which
its images begin to differ is the step of its inputs; images of points that many steps away say what that costs.

*Type.* If all images are numbers of a shorter type, they were rounded to it, and so, perhaps, was all that led to them.

*Noise.* Images of neighbours a few ulps apart lie on a line up to curvature; fourth differences show what is random in them
(Moré and Wild, Estimating computational noise, 2011).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lipbounds.maps.model import Map
from lipbounds.search.singular_values import evaluate, unit_of

__all__ = ["lengths", "rounding_noise"]

SAFETY = 8.0  # roundings of the largest coordinate, and multiples of the noise's deviation, that are charged
ODD = 0.7310585786300049  # neighbours that are no short numbers: images of these would be short, too
STEPS = range(-46, -6, 4)  # exponents of relative distances between neighbours
NEIGHBOURS = 8
ORDER = 4  # of differences
SPREAD = math.factorial(ORDER) ** 2 / math.factorial(2 * ORDER)  # their variance is that of the noise over this


def lengths(vectors: Tensor) -> Tensor:
    """Return Euclidean norms of rows, shape (n,), without underflow or overflow of the squares."""
    size = vectors.abs().amax(-1, keepdim=True)
    unit = torch.where(size > 0, size, torch.ones_like(size))
    norms: Tensor = size[..., 0] * torch.linalg.vector_norm(vectors / unit, dim=-1)
    return norms


def rounding_noise(f: Map, point: Tensor, scale: float) -> float:
    """Return what is charged for the rounding of f at one point, shape (d,): a Euclidean distance of images; an estimate.

    Args:
        f: The map on rows.
        point: Shape (d,).
        scale: Size of the domain: a coordinate near 0 is moved by shares of this, others by shares of themselves.

    Example:
        >>> at = torch.tensor([1.0, 0.5], dtype=torch.float64)
        >>> 1e-16 < rounding_noise(lambda z: 3.0 * z, at, 1.0) < 1e-13
        True
        >>> 1e-7 < rounding_noise(lambda z: (3.0 * z.float()).double(), at, 1.0) < 1e-4
        True
    """
    steps = torch.arange(NEIGHBOURS + 1, dtype=torch.float64)
    with torch.no_grad():
        exponents = torch.tensor([ODD * 2.0**exponent for exponent in STEPS], dtype=torch.float64)
        sizes = point.abs().clamp_min(scale)
        shifts = exponents[:, None] * (steps - NEIGHBOURS // 2)
        moved = point + shifts[:, :, None] * sizes
        images = evaluate(f, moved.flatten(0, 1)).reshape(len(exponents), NEIGHBOURS + 1, -1)
        size = float(images[0].abs().max()) * math.sqrt(images.shape[2])
        unit = unit_of(images.flatten(0, 1))
        # the first distance at which most neighbours have images of their own; at the shortest one for a map in float64
        distinct = [len(torch.unique(rows, dim=0)) for rows in images]
        moving = [index for index, count in enumerate(distinct) if count > NEIGHBOURS // 2]
        first = moving[0] if moving else 0
        noise = SAFETY * unit * size
        if first > 0:
            noise = max(noise, 2.0 * _moved(f, point, 2.0 ** STEPS[first] * sizes))
        differences = images[first].diff(n=ORDER, dim=0)
        deviation = (SPREAD * differences.square().sum(1).mean()).sqrt()
        return max(noise, SAFETY * float(deviation))


def _moved(f: Map, point: Tensor, step: Tensor) -> float:
    """The largest distance of the image from those of points whose coordinates have been moved by a step each, up or down."""
    signs = torch.as_tensor(np.random.default_rng(0).choice([-1.0, 1.0], (2 * NEIGHBOURS, len(point))))
    images = evaluate(f, torch.cat((point[None], point + step * signs)))
    return float(lengths(images[1:] - images[:1]).max())
