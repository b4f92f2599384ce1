"""Samplers of flow matching as users write them."""

import torch
from torch import nn


class Sampler(nn.Module):
    """Fixed steps: Euler, midpoint, Heun, or Runge and Kutta (rk4)."""

    def __init__(self, field, method, steps):
        super().__init__()
        self.field, self.method, self.steps = field, method, steps

    def velocity(self, z, t):
        return self.field(torch.cat([z, torch.full((len(z), 1), t, dtype=z.dtype)], 1))

    def forward(self, z):
        h = 1 / self.steps
        for k in range(self.steps):
            t = k * h
            a = self.velocity(z, t)
            if self.method == "euler":
                z = z + h * a
            elif self.method == "midpoint":
                z = z + h * self.velocity(z + h / 2 * a, t + h / 2)
            elif self.method == "heun":
                z = z + h / 2 * (a + self.velocity(z + h * a, t + h))
            else:
                b = self.velocity(z + h / 2 * a, t + h / 2)
                c = self.velocity(z + h / 2 * b, t + h / 2)
                z = z + h / 6 * (a + 2 * b + 2 * c + self.velocity(z + h * c, t + h))
        return z
