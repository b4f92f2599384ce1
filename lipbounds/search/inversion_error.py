"""The worst error of inverting a network on a domain, found by search: what a large constant does to arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.domains import Domain
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import NotInvertible
from lipbounds.maps.model import Map

__all__ = ["InversionError", "find_inversion_error"]

SCREENED = 8192  # random points
ROUNDS = 8  # of perturbation, at 0.3 of the distance before
KEPT = 64  # worst points a round
CHILDREN = 32  # perturbations of each


@dataclass(frozen=True, eq=False)
class InversionError(Enclosure):
    """The largest |x - f(T(x))| found, x = f(z), a Euclidean distance in data space: [lower, infinity).

    Attributes:
        point: The latent point z, shape (d,).
        evaluations: Number of points tried.
    """

    point: NDArray[np.float64] = field(kw_only=True)
    evaluations: int = field(kw_only=True)


def find_inversion_error(
    forward: Map, inverse: Map, domain: Domain, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> InversionError:
    r"""Search latent points z of a domain for the largest $|x-T^{-1}(T(x))|$ at $x=T^{-1}(z)$; a lower bound.

    The error is rounding, which has no useful gradient: many points are screened, then the worst are perturbed at shrinking
    distances.

    Args:
        forward: T, data to latent, on batches of `dtype`.
        inverse: T^{-1}.
        domain: Latent domain.
        seed: Seeds the search.
        dtype: The precision that is examined.

    Raises:
        NotInvertible: If an error is not finite.

    Example:
        >>> from lipbounds.domains import Ball
        >>> error = find_inversion_error(
        ...     torch.log, torch.exp, Ball([0.0], 1.0), dtype=torch.float32
        ... )
        >>> 0.0 < error.lower < 1e-6
        True
    """
    rng = np.random.default_rng(seed)

    def errors(points: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = inverse(points.to(dtype))
            result: torch.Tensor = torch.linalg.vector_norm((x - inverse(forward(x))).to(torch.float64), dim=-1)
        if not torch.isfinite(result).all():
            bad = points[~torch.isfinite(result)][0].tolist()
            raise NotInvertible(f"forward, inverse: error not finite at latent point {bad}; shrink the domain")
        return result

    points = domain.sample(SCREENED, rng)
    found = errors(points)
    radius = float((points - points.mean(0)).abs().max()) * 0.1
    evaluations = len(points)
    for _ in range(ROUNDS):
        worst = found.topk(KEPT).indices
        steps = torch.as_tensor(rng.standard_normal((KEPT, CHILDREN, domain.dim))) * radius
        children = domain.project((points[worst][:, None] + steps).reshape(-1, domain.dim))
        points = torch.cat((points[worst], children))
        found = torch.cat((found[worst], errors(children)))
        evaluations += len(children)
        radius *= 0.3
    index = int(found.argmax())
    return InversionError(
        float(found[index]),
        math.inf,
        Guarantee.ESTIMATE,
        "error in floating point",
        point=points[index].numpy(),
        evaluations=evaluations,
    )
