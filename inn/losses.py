"""Training objectives, for an ensemble at once: every function returns one loss a network, shape (E,)."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from inn.ensemble import Ensemble
from inn.invertible import Invertible
from inn.latents import Latent
from inn.metrics import Discrepancy, Metric

__all__ = [
    "conditional_negative_log_likelihood",
    "data_discrepancy",
    "gaussian_misfit",
    "latent_discrepancy",
    "negative_log_likelihood",
]


class WithLogDet(Protocol):
    """An ensemble, or what acts as one."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Network i on x[i]: from shape (E, n, d) to shapes (E, n, d) and (E, n)."""
        ...


def negative_log_likelihood(ensemble: WithLogDet, x: Tensor, latent: Latent) -> Tensor:
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
    misfit = gaussian_misfit(image[..., :n] - y, label_scale)
    return (misfit - latent.log_density(image[..., n:]) - log_det).mean(-1)


def gaussian_misfit(deviation: Tensor, scale: float) -> Tensor:
    r"""Return minus the log-density of $N(0,\text{scale}^2I)$ at rows, shape (..., n) to (...)."""
    constant = deviation.shape[-1] * math.log(scale * math.sqrt(2 * math.pi))
    return deviation.square().sum(-1) / (2 * scale**2) + constant


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
