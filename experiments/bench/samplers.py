"""Samplers of flow matching with fixed steps, for the bench of certificates."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Sampler", "trained_field"]

HIDDEN, BATCH, RATE = 64, 256, 1e-3


def trained_field(distance: float, width: float, steps: int, dim: int = 2) -> nn.Sequential:
    """Return a field v(x, t) trained to carry N(0, I) to two normal modes, float64.

    Args:
        distance: Between the modes, along the first axis.
        width: Deviation of each.
        steps: Of training.
        dim: Dimension of x.
    """
    torch.manual_seed(0)
    parts = [nn.Linear(dim + 1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, dim)]
    field = nn.Sequential(*parts)
    optimizer = torch.optim.Adam(field.parameters(), RATE)
    for _ in range(steps):
        noise, data = torch.randn(BATCH, dim), width * torch.randn(BATCH, dim)
        data[:, 0] += distance * (torch.randint(0, 2, (BATCH,)) - 0.5)
        t = torch.rand(BATCH, 1)
        loss = (field(torch.cat(((1 - t) * noise + t * data, t), 1)) - (data - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return field.double().requires_grad_(False)


class Sampler(nn.Module):
    """From noise at t = 0 to data at t = 1, in fixed steps.

    Args:
        field: v of (x, t).
        method: Euler's, or that of Runge and Kutta of order 4.
        steps: Their number.
    """

    def __init__(self, field: nn.Module, method: Literal["euler", "rk4"], steps: int) -> None:
        super().__init__()
        self.field, self.method, self.steps = field, method, steps

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """The field at rows of points and one time."""
        value: Tensor = self.field(torch.cat((x, x.new_full((len(x), 1), t)), 1))
        return value

    def forward(self, z: Tensor) -> Tensor:
        """Noise to data."""
        h, x = 1.0 / self.steps, z
        for k in range(self.steps):
            t = k * h
            first = self.velocity(x, t)
            if self.method == "euler":
                x = x + h * first
                continue
            second = self.velocity(x + h / 2 * first, t + h / 2)
            third = self.velocity(x + h / 2 * second, t + h / 2)
            last = self.velocity(x + h * third, t + h)
            x = x + h / 6 * (first + 2 * second + 2 * third + last)
        return x
