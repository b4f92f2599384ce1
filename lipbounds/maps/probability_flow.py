r"""The probability flow of a mixture of normal laws: a generator whose law is known, in any dimension.

$f(z)=Ay(1)$, $\dot y=E(U\mid y)$, $y(0)=z$ (`lipbounds.theorems.sufficient`). The posterior mean is exact; the equation is
solved by the method of Runge and Kutta of order 4 in fixed steps, so the law of f is that of the mixture up to $O(n^{-4})$.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

__all__ = ["ProbabilityFlow"]


class ProbabilityFlow(nn.Module):
    """A map from N(0, I) to a mixture of normal laws with one covariance, on rows in float64, differentiable.

    Args:
        law: The mixture.
        steps: Number of steps, at least 1.

    Raises:
        InvalidInput: For covariances that differ, or a singular one; for no step.

    Example:
        >>> law = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> f = ProbabilityFlow(law)
        >>> slope = torch.func.jacrev(lambda z: f(z[None])[0])(torch.zeros(1, dtype=torch.float64))
        >>> round(float(slope), 4)  # 0.5 exp(1 / (2 * 0.25))
        3.6945
    """

    centres: Tensor
    weights: Tensor
    factor: Tensor

    def __init__(self, law: GaussianMixture, steps: int = 200) -> None:
        super().__init__()
        if law.singular or not (law.covariances == law.covariances[0]).all():
            raise InvalidInput("law", "covariances that differ", "one regular covariance", "flow to a wider law")
        if steps < 1:
            raise InvalidInput("steps", steps, "an integer >= 1", "200 is the default")
        factor = np.linalg.cholesky(law.covariances[0])
        self.steps = steps
        self.register_buffer("factor", torch.as_tensor(factor.T.copy()))
        self.register_buffer("centres", torch.as_tensor(np.linalg.solve(factor, law.means.T).T.copy()))
        self.register_buffer("weights", torch.as_tensor(np.log(np.maximum(law.weights, 1e-300))))

    def velocity(self, y: Tensor, r: float) -> Tensor:
        """E(U | y), shape (n, d)."""
        exponents = self.weights + r * y @ self.centres.T - 0.5 * r * r * self.centres.square().sum(1)
        return torch.softmax(exponents, dim=-1) @ self.centres

    def forward(self, z: Tensor) -> Tensor:
        """Return f(z), shape (n, d)."""
        h, y = 1.0 / self.steps, z
        for k in range(self.steps):
            r = k * h
            first = self.velocity(y, r)
            second = self.velocity(y + h / 2 * first, r + h / 2)
            third = self.velocity(y + h / 2 * second, r + h / 2)
            y = y + h / 6 * (first + 2 * second + 2 * third + self.velocity(y + h * third, r + h))
        return y @ self.factor
