r"""Latent laws: $\sum_i p_i\,N(m_i,\tau^2I)$, of which the standard normal law is the case of one component.

Torch tensors for training; `measure` is the same law with the exact masses of lipbounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lipbounds.domains import Ball, Capsule, latent_ball
from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

__all__ = ["Latent"]


@dataclass(frozen=True)
class Latent:
    r"""A mixture of isotropic Gaussians with equal weights on $\mathbb{R}^k$.

    Attributes:
        means: The component means, r tuples of k numbers.
        scale: The common standard deviation tau > 0.

    Source:
        Hagemann and Neumayer (2022), Section 3, "A Remedy using Gaussian Mixture Models", for fixed probabilities.

    Example:
        >>> latent = Latent(means=((-5.0, 0.0), (5.0, 0.0)))
        >>> latent.sample(4, torch.Generator().manual_seed(0)).shape
        torch.Size([4, 2])
    """

    means: tuple[tuple[float, ...], ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.means or len({len(mean) for mean in self.means}) != 1:
            raise InvalidInput("means", self.means, "tuples of one length, at least one", "one tuple a component")
        if not 0.0 < self.scale < math.inf:
            raise InvalidInput("scale", self.scale, "a finite number > 0", "pass a standard deviation")

    @classmethod
    def normal(cls, dim: int) -> Latent:
        """The standard normal law."""
        return cls(means=((0.0,) * dim,))

    @property
    def dim(self) -> int:
        return len(self.means[0])

    @property
    def is_standard_normal(self) -> bool:
        """Whether this is N(0, I), which the paper's bounds assume."""
        return self == Latent.normal(self.dim)

    @cached_property
    def measure(self) -> GaussianMixture:
        """The same law with exact masses."""
        covariance = self.scale**2 * np.eye(self.dim)
        return GaussianMixture(np.array(self.means), np.broadcast_to(covariance, (len(self.means), self.dim, self.dim)))

    def drawn_together(self, spread: float) -> Latent:
        """The law with all means multiplied by `spread`: 0 is N(0, tau^2 I), 1 is this law."""
        return Latent(tuple(tuple(spread * entry for entry in mean) for mean in self.means), self.scale)

    def log_density(self, z: Tensor) -> Tensor:
        """Log-density at points of shape (..., k), by logsumexp; shape (...)."""
        means = z.new_tensor(self.means)
        squares = ((z.unsqueeze(-2) - means) / self.scale).square().sum(-1)
        constant = self.dim * (0.5 * math.log(2 * math.pi) + math.log(self.scale)) + math.log(len(self.means))
        return torch.logsumexp(-0.5 * squares, dim=-1) - constant

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent draws in float32, shape (n, k)."""
        component = torch.randint(len(self.means), (n,), generator=generator)
        noise = torch.randn(n, self.dim, generator=generator)
        return torch.tensor(self.means)[component] + self.scale * noise

    def balls(self, mass: float) -> list[Ball]:
        """For every component the ball about its mean that has `mass` under it: where constants are meant."""
        return [latent_ball(mean, mass=mass, scale=self.scale) for mean in self.means]

    def hull(self, mass: float) -> Ball | Capsule:
        """The convex hull of `balls(mass)`, for one or two components."""
        balls = self.balls(mass)
        if len(balls) == 1:
            return balls[0]
        if len(balls) > 2:
            raise InvalidInput("means", f"{len(balls)} components", "one or two", "search the balls one by one")
        return Capsule(balls[0].center.numpy(), balls[1].center.numpy(), balls[0].radius)
