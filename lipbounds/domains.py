"""Where a Lipschitz constant is meant: convex sets of latent space.

Affine coupling networks have no global Lipschitz constant, so every estimate, and every bound that it is compared with,
names one of these. All are convex: on a convex set the Lipschitz constant is the supremum of the Jacobian's norm, and the
projection onto it is 1-Lipschitz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import chi
from torch import Tensor

from lipbounds.errors import InvalidInput

__all__ = ["Ball", "Capsule", "Domain", "latent_ball"]


class Domain(Protocol):
    """A closed convex bounded set; points are rows of float64 tensors of shape (n, dim)."""

    @property
    def dim(self) -> int: ...

    def project(self, points: Tensor) -> Tensor:
        """Return the nearest points of the set, differentiable almost everywhere; points inside are kept."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        """Return n points that cover the set, its boundary included, shape (n, dim)."""
        ...

    def depth(self, points: Tensor) -> Tensor:
        """Return the distance to the boundary, shape (n,); negative outside."""
        ...


def _vector(name: str, values: ArrayLike) -> Tensor:
    vector = torch.as_tensor(np.array(values, dtype=np.float64))
    if vector.ndim != 1 or not len(vector) or not torch.isfinite(vector).all():
        raise InvalidInput(name, tuple(vector.shape), "a finite vector of shape (d,)", "pass one point")
    return vector


def _radius(radius: float) -> float:
    if not 0.0 < radius < math.inf:
        raise InvalidInput("radius", radius, "a finite number > 0", "empty and unbounded domains have no constant")
    return float(radius)


def _uniform_ball(n: int, dim: int, rng: np.random.Generator) -> Tensor:
    direction = rng.standard_normal((n, dim))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return torch.as_tensor(direction * rng.random((n, 1)) ** (1.0 / dim))


class _Tube:
    """Shared by `Ball` and `Capsule`: all points within `radius` of a core, given the nearest point of the core."""

    radius: float

    def core(self, points: Tensor) -> Tensor:
        raise NotImplementedError

    def project(self, points: Tensor) -> Tensor:
        core = self.core(points)
        offset = points - core
        # the shrink factor is 1 inside; the clamp also keeps the gradient finite at the core
        length = torch.linalg.vector_norm(offset, dim=-1, keepdim=True).clamp_min(self.radius)
        projected: Tensor = core + offset * (self.radius / length)
        return projected

    def depth(self, points: Tensor) -> Tensor:
        inward: Tensor = self.radius - torch.linalg.vector_norm(points - self.core(points), dim=-1)
        return inward


@dataclass(frozen=True, eq=False)
class Ball(_Tube):
    """The closed Euclidean ball.

    Args:
        center: Shape (d,).
        radius: > 0.

    Example:
        >>> Ball([0.0, 0.0], 2.0).project(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        tensor([[1.2000, 1.6000]], dtype=torch.float64)
    """

    center: Tensor
    radius: float

    def __init__(self, center: ArrayLike, radius: float) -> None:
        object.__setattr__(self, "center", _vector("center", center))
        object.__setattr__(self, "radius", _radius(radius))

    @property
    def dim(self) -> int:
        return len(self.center)

    def core(self, points: Tensor) -> Tensor:
        return self.center.expand_as(points)

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        return self.center + self.radius * _uniform_ball(n, self.dim, rng)


@dataclass(frozen=True, eq=False)
class Capsule(_Tube):
    """The convex hull of two balls of one radius.

    Args:
        start: Centre of the first ball, shape (d,).
        end: Centre of the second, shape (d,).
        radius: > 0.
    """

    start: Tensor
    end: Tensor
    radius: float

    def __init__(self, start: ArrayLike, end: ArrayLike, radius: float) -> None:
        first, last = _vector("start", start), _vector("end", end)
        if first.shape != last.shape:
            raise InvalidInput("start, end", (len(first), len(last)), "one dimension", "use two points of one space")
        object.__setattr__(self, "start", first)
        object.__setattr__(self, "end", last)
        object.__setattr__(self, "radius", _radius(radius))

    @property
    def dim(self) -> int:
        return len(self.start)

    def core(self, points: Tensor) -> Tensor:
        axis = self.end - self.start
        along = ((points - self.start) @ axis) / axis.square().sum().clamp_min(torch.finfo(axis.dtype).tiny)
        return self.start + along.clamp(0.0, 1.0)[..., None] * axis

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        along = torch.as_tensor(rng.random((n, 1)))
        return self.start + along * (self.end - self.start) + self.radius * _uniform_ball(n, self.dim, rng)


def latent_ball(center: ArrayLike, *, mass: float, scale: float = 1.0) -> Ball:
    r"""Return the ball about `center` that has `mass` under $N(\text{center}, \text{scale}^2 I)$.

    Its radius is scale times the `mass` quantile of $|Z|$, $Z\sim N(0, I_d)$.

    Example:
        >>> round(latent_ball([0.0, 0.0], mass=0.9999).radius, 3)
        4.292
    """
    if not 0.0 < mass < 1.0:
        raise InvalidInput("mass", mass, "a number in (0, 1)", "0.9999 leaves out one point in ten thousand")
    middle = _vector("center", center)
    return Ball(middle.numpy(), scale * float(chi.ppf(mass, len(middle))))
