"""The worst error of inverting a network on a domain, found by search: what a large constant does to arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.domains import Domain
from lipbounds.errors import NotInvertible
from lipbounds.search.find import Map

__all__ = ["InversionError", "find_inversion_error"]

SCREENED = 8192
ROUNDS = 8
KEPT = 64
CHILDREN = 32


@dataclass(frozen=True, eq=False)
class InversionError:
    """The largest |x - f(T(x))| found, x = f(z).

    Attributes:
        value: The Euclidean error in data space.
        point: The latent point z, shape (d,).
        evaluations: Number of points tried.
    """

    value: float
    point: NDArray[np.float64]
    evaluations: int


def find_inversion_error(forward: Map, inverse: Map, domain: Domain, *, seed: int, dtype: torch.dtype) -> InversionError:
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
        ...     torch.log, torch.exp, Ball([0.0], 1.0), seed=0, dtype=torch.float32
        ... )
        >>> 0.0 < error.value < 1e-6
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
    return InversionError(float(found[index]), points[index].numpy(), evaluations)
