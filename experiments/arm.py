r"""The robot arm of the kinematics experiment: forward map (14), prior, and a sampler of the exact posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipbounds.errors import InvalidInput, NotConverged

__all__ = ["exact_posterior", "forward", "prior"]

LENGTHS = (0.5, 0.5, 1.0)
HEIGHT, HEIGHT_SCALE, ANGLE_SCALE = 1.0, 0.125, 0.5


def forward(x: Tensor) -> Tensor:
    """Y of x = (h, theta_1, theta_2, theta_3), shapes (n, 4) to (n, 2): equation (14)."""
    h, first, second, third = x.unbind(-1)
    u, v, w = first, second - first, third - second - first
    across = h + LENGTHS[0] * u.sin() + LENGTHS[1] * v.sin() + LENGTHS[2] * w.sin()
    along = LENGTHS[0] * u.cos() + LENGTHS[1] * v.cos() + LENGTHS[2] * w.cos()
    return torch.stack((across, along), dim=-1)


def prior(n: int, generator: torch.Generator) -> Tensor:
    """Draws of x, shape (n, 4): h near 1 or -1, angles N(0, 1/4)."""
    side = torch.where(torch.rand(n, generator=generator) < 0.5, -HEIGHT, HEIGHT)
    h = side + HEIGHT_SCALE * torch.randn(n, generator=generator)
    return torch.cat((h[:, None], ANGLE_SCALE * torch.randn(n, 3, generator=generator)), dim=1)


def _log_prior(x: Tensor) -> Tensor:
    """Log-density of the prior up to a constant."""
    h = torch.stack([-((x[:, 0] - side * HEIGHT) ** 2) / (2 * HEIGHT_SCALE**2) for side in (-1, 1)])
    return torch.logsumexp(h, dim=0) - x[:, 1:].square().sum(1) / (2 * ANGLE_SCALE**2)


def exact_posterior(y: Tensor, n: int, generator: torch.Generator, *, batch: int = 200_000) -> Tensor:
    r"""Return n independent draws of x given f(x) = y, shape (n, 4), in double precision; no threshold.

    With u, v, w the angles of the three segments, $\ell\cdot(\cos u,\cos v,\cos w)=y_2$ is a surface and h follows from $y_1$.
    Two of the angles are drawn, the third solves for $y_2$ in closed form; which one is drawn at random too. So the density
    of the proposals on the surface, $\propto\sum_kq_k|\partial_kg|/|\nabla g|$, vanishes nowhere where that of the posterior,
    $\pi/|\nabla g|$, does not: with one chart alone the weights have poles. Accepted are proposals with probability
    weight over largest weight, the largest taken from a first batch and doubled; should a later weight exceed it, all begins
    again with that one. Angles beyond a half turn have a mass below 1e-6 and are left out.

    Args:
        y: The position, shape (2,), with 0 < y_2 < 2.
        n: Number of draws.
        generator: Source of randomness.
        batch: Proposals at a time.

    Raises:
        InvalidInput: For y that no angles reach.
        NotConverged: If almost nothing is accepted.
    """
    if y.shape != (2,) or not bool(torch.isfinite(y).all()) or not 0.0 < float(y[1]) < sum(LENGTHS):
        raise InvalidInput("y", y.tolist(), f"two numbers, the second in (0, {sum(LENGTHS):g})", "the arm reaches no farther")
    y = y.double()
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)
    # deviations of u, v, w under the prior
    scales = ANGLE_SCALE * torch.tensor([1.0, 2.0**0.5, 3.0**0.5], dtype=torch.float64)

    def proposals() -> tuple[Tensor, Tensor]:
        angles = scales * torch.randn(batch, 3, generator=generator, dtype=torch.float64)
        chart = torch.randint(3, (batch,), generator=generator)
        rows = torch.arange(batch)
        rest = y[1] - (lengths * angles.cos()).sum(1) + lengths[chart] * angles[rows, chart].cos()
        cosine = rest / lengths[chart]
        sign = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
        angles[rows, chart] = sign * torch.where(cosine.abs() < 1, cosine, 0.0).acos()
        angles = angles[cosine.abs() < 1]
        u, v, w = angles.unbind(1)
        h = y[0] - (lengths * angles.sin()).sum(1)
        x = torch.stack((h, u, u + v, w + 2 * u + v), dim=1)
        slopes = (lengths * angles.sin()).abs()
        normal = torch.exp(-0.5 * (angles / scales).square()) / scales
        drawn = torch.stack([normal[:, (k + 1) % 3] * normal[:, (k + 2) % 3] for k in range(3)], dim=1)
        return x, _log_prior(x) - (slopes * drawn).sum(1).log()

    log_bound = float(proposals()[1].max()) + math.log(2.0)
    kept: list[Tensor] = []
    count = tried = 0
    while count < n:
        x, log_weight = proposals()
        tried += batch
        if float(log_weight.max()) > log_bound:
            log_bound, kept, count = float(log_weight.max()) + math.log(2.0), [], 0
            continue
        accepted = x[torch.rand(len(x), generator=generator).log() < log_weight - log_bound]
        kept.append(accepted)
        count += len(accepted)
        if tried > 1000 * batch:
            raise NotConverged(f"exact_posterior: {count} of {n} draws after {tried} proposals; y is hardly reached")
    return torch.cat(kept)[:n]
