"""The plane of a latent ball that a report colours by the stretching: evaluated once, drawn later, and part of the search."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lipbounds.domains import Ball
from lipbounds.maps.model import Map
from lipbounds.search import jacobian_norms

__all__ = ["LatentPlane", "latent_plane"]

GRID = 90
LINE = 600


@dataclass(frozen=True, eq=False)
class LatentPlane:
    """A grid of a latent ball with the norms of DT^{-1}.

    Attributes:
        sides: Coordinates along each axis of the grid, from the centre of the ball, shape (k,).
        origin: The latent point at 0, shape (d,).
        basis: Orthonormal axes, shape (d, 2), or (1, 1) on the line.
        points: The grid, the last axis fastest, shape (k^2, d) or (k, 1).
        norms: Shape (k^2,) or (k,); NaN outside the ball.
    """

    sides: Tensor
    origin: Tensor
    basis: Tensor
    points: Tensor
    norms: Tensor

    @property
    def steepest(self) -> float:
        """The largest norm on the grid."""
        return float(torch.nan_to_num(self.norms, nan=0.0).max())

    def best(self, count: int) -> Tensor:
        """The points of the largest norms, shape (count, d)."""
        return self.points[torch.nan_to_num(self.norms, nan=0.0).topk(min(count, len(self.norms))).indices]


def latent_plane(f: Map, domain: Ball, point: Tensor) -> LatentPlane:
    """Evaluate the norms on the plane through a point along its two most stretched directions; in the plane, on all of it.

    Args:
        f: Latent to data, differentiable by torch.
        domain: The ball.
        point: Shape (d,).
    """
    dim = domain.dim
    sides = torch.linspace(-domain.radius, domain.radius, LINE if dim == 1 else GRID, dtype=torch.float64)
    origin, basis = domain.center, torch.eye(dim, dtype=torch.float64)[:, :2]
    if dim > 2:
        near = point[None].clone().requires_grad_()
        image = f(near)
        rows = [torch.autograd.grad(value, near, retain_graph=True)[0][0] for value in image[0]]
        basis = torch.linalg.svd(torch.stack(rows))[2][:2].T
        away = point - domain.center
        origin = domain.center + away - basis @ (basis.T @ away)
    at = sides[:, None] if dim == 1 else torch.cartesian_prod(sides, sides)
    points = origin + at @ basis.T
    inside = domain.depth(points) >= 0
    norms = torch.full((len(points),), math.nan, dtype=torch.float64)
    norms[inside] = jacobian_norms(f, points[inside])
    return LatentPlane(sides, origin, basis, points, norms)
