"""Training objectives, for an ensemble at once: every function returns one loss a network, shape (E,)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inn.ensemble import Ensemble
from inn.invertible import Invertible
from inn.latents import Latent
from inn.metrics import Discrepancy, Metric

__all__ = [
    "conditional_negative_log_likelihood",
    "data_discrepancy",
    "latent_discrepancy",
    "negative_log_likelihood",
    "stretch_penalty",
]

PAIR_DISTANCE = 0.02  # of the latent standard deviation: short against the modes, long against float32 rounding


def negative_log_likelihood(ensemble: Ensemble[Invertible], x: Tensor, latent: Latent) -> Tensor:
    r"""Return $-\frac1n\sum\log p(x_j)$, $\log p(x)=\log p_Z(T(x))+\log|\det DT(x)|$, for data of shape (E, n, d)."""
    z, log_det = ensemble.forward_and_log_det(x)
    return -(latent.log_density(z) + log_det).mean(-1)


def conditional_negative_log_likelihood(
    ensemble: Ensemble[Invertible], x: Tensor, y: Tensor, latent: Latent, *, label_scale: float
) -> Tensor:
    r"""Return the mean of $-\log p(x|y)$ for $T=(T_y,T_z)$ with $T_y(x)\sim N(y,\tau^2I)$ and $T_z(x)$ of the latent law.

    The Gaussian term is $L_y$ over $2\tau^2$; the first coordinates of T(x) are $T_y(x)$.

    Args:
        ensemble: The networks, of dimension n + k.
        x: Data, shape (E, N, n + k).
        y: Labels, shape (E, N, n).
        latent: Law of z, on R^k.
        label_scale: The deviation $\tau>0$.
    """
    image, log_det = ensemble.forward_and_log_det(x)
    n = y.shape[-1]
    misfit = (image[..., :n] - y).square().sum(-1) / (2 * label_scale**2) + n * math.log(label_scale * math.sqrt(2 * math.pi))
    return (misfit - latent.log_density(image[..., n:]) - log_det).mean(-1)


def latent_discrepancy(ensemble: Ensemble[Invertible], x: Tensor, z: Tensor, metric: Metric | None = None) -> Tensor:
    r"""Return $L_z=D(T_\#P_X,P_Z)$ from data x and latent samples z of shape (E, n, d).

    D is a metric of `inn.metrics`, by default the root of the discrepancy with the paper's kernel.

    Source:
        Hagemann and Neumayer (2022), equations (9) and (12).
    """
    image, _ = ensemble.forward_and_log_det(x)
    return _distances(image, z, metric)


def data_discrepancy(ensemble: Ensemble[Invertible], x: Tensor, z: Tensor, metric: Metric | None = None) -> Tensor:
    r"""Return $L_x=D(T^{-1}_\#P_Z,P_X)$ from data x and latent samples z of shape (E, n, d).

    D is a metric of `inn.metrics`, by default the root of the discrepancy with the paper's kernel.

    Source:
        Hagemann and Neumayer (2022), equations (9) and (12).
    """
    image, _ = ensemble.inverse_and_log_det(z)
    return _distances(image, x, metric)


def _distances(x: Tensor, y: Tensor, metric: Metric | None) -> Tensor:
    chosen = Discrepancy() if metric is None else metric
    return torch.stack([chosen(a, b) for a, b in zip(x, y, strict=True)])


def stretch_penalty(
    ensemble: Ensemble[Invertible], latent: Latent, *, pairs: int, limit: float, mass: float, generator: torch.Generator
) -> Tensor:
    r"""Return the mean over random short pairs of $\max(0, q^2-c^2)$, q the difference quotient of $T^{-1}$.

    The pairs cover the convex hull of the latent components' balls of the given mass (a uniform point between two centres
    plus a uniform point of a ball), not where the latent law has its mass: likelihood leaves the rims of the balls alone, and
    there the inverse can fold. A constant below the limit c costs nothing, so a latent that allows Lip(T^{-1}) <= c pays
    nothing at the optimum.

    Args:
        ensemble: The networks.
        latent: Latent law of one or two components.
        pairs: Number of pairs a network.
        limit: The limit c.
        mass: Mass of the balls.
        generator: Source of the pairs.
    """
    size = (len(ensemble), pairs)
    hull = latent.hull(mass)
    uniform = torch.rand(*size, 3, generator=generator)
    means = torch.tensor(latent.means)
    core = means[0] + uniform[..., :1] * (means[-1] - means[0])
    offset = torch.randn(*size, latent.dim, generator=generator)
    offset = offset / offset.norm(dim=-1, keepdim=True) * uniform[..., 1:2] ** (1.0 / latent.dim)
    z = core + hull.radius * offset
    direction = torch.randn(*size, latent.dim, generator=generator)
    step = PAIR_DISTANCE * latent.scale * direction / direction.norm(dim=-1, keepdim=True)
    images, _ = ensemble.inverse_and_log_det(torch.cat((z, z + step), dim=1))
    squares = (images[:, pairs:] - images[:, :pairs]).square().sum(-1) / step.square().sum(-1)
    excess: Tensor = (squares - limit**2).clamp_min(0.0)
    return excess.mean(-1)
