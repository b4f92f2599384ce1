"""The neural ordinary differential equation as an invertible map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from inn.invertible import Invertible
from inn.subnets import MLP
from lipbounds.errors import InvalidInput

__all__ = ["NeuralODE"]


class NeuralODE(Invertible):
    r"""The flow of $\dot x=v(t,x)$ from t = 0 (data) to t = 1 (latent).

    The inverse integrates backwards. Both are as exact as the solver: a round trip errs by about the tolerance times the
    condition of the flow, and $\mathrm{Lip}(T^{-1})\le e^{\mathrm{Lip}(v)}$. $\log|\det DT(x)|$ is the integral of the exact
    divergence, d backward passes an evaluation. An adaptive solver takes its steps for a batch together, so with `dopri5`
    a row depends on its batch within the tolerance; with `rk4` it does not.

    Args:
        dim: Dimension d >= 1.
        hidden: Width of the hidden layers of v, which sees (t, x).
        depth: Number of hidden layers of v.
        activation: Their activation.
        method: `rk4` with `steps` steps, or `dopri5` with the tolerance.
        steps: Of `rk4`.
        tolerance: Relative and absolute, of `dopri5`.
        adjoint: Whether gradients come from the adjoint equation (memory independent of the steps, errors of the order of the
            tolerance) or from the steps themselves. The adjoint knows no torch.func transforms.
        generator: Source of the initial weights.

    Raises:
        InvalidInput: If torchdiffeq, the extra `ode`, is not installed.

    Source:
        Chen, Rubanova, Bettencourt and Duvenaud (2018); Section 2 of the paper.
    """

    def __init__(  # noqa: PLR0913 (a user reads them one by one)
        self,
        dim: int,
        *,
        hidden: int,
        depth: int,
        activation: str,
        method: Literal["rk4", "dopri5"] = "rk4",
        steps: int = 16,
        tolerance: float = 1e-6,
        adjoint: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        try:
            import torchdiffeq
        except ImportError as error:
            raise InvalidInput("torchdiffeq", "not installed", "the extra `ode`", "pip install 'lipbounds[ode]'") from error
        if method not in ("rk4", "dopri5"):
            raise InvalidInput("method", repr(method), "rk4 or dopri5", "choose one of these")
        if steps < 1 or not 0 < tolerance < 1:
            raise InvalidInput(
                "steps, tolerance", (steps, tolerance), "steps >= 1, a tolerance in (0, 1)", "16 and 1e-6 are usual"
            )
        self.dim = dim
        self._solve = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint
        self._options = (
            {"method": "rk4", "options": {"step_size": 1.0 / steps}}
            if method == "rk4"
            else {"method": "dopri5", "rtol": tolerance, "atol": tolerance}
        )
        self.adjoint = adjoint
        self.subnet = MLP(dim + 1, dim, hidden=hidden, depth=depth, activation=activation, generator=generator)

    def velocity(self, t: Tensor, x: Tensor) -> Tensor:
        """v(t, x) for x of shape (n, d)."""
        value: Tensor = self.subnet(torch.cat((t.to(x).expand(*x.shape[:-1], 1), x), dim=-1))
        return value

    def _divergence(self, t: Tensor, x: Tensor) -> Tensor:
        slopes = vmap(jacrev(lambda row: self.velocity(t, row)))(x)
        return torch.diagonal(slopes, dim1=-2, dim2=-1).sum(-1)

    def _run(self, x: Tensor, times: tuple[float, float], log_det: bool) -> tuple[Tensor, Tensor]:
        def rates(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            velocity = self.velocity(t, state[0])
            return (velocity, self._divergence(t, state[0])) if log_det else (velocity,)

        start = (x, x.new_zeros(x.shape[:-1])) if log_det else (x,)
        extra = {"adjoint_params": tuple(self.parameters())} if self.adjoint else {}
        path = self._solve(rates, start, x.new_tensor(times), **self._options, **extra)
        return path[0][-1], path[-1][-1]

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, (0.0, 1.0), False)[0]

    def inverse(self, z: Tensor) -> Tensor:
        return self._run(z, (1.0, 0.0), False)[0]

    def program(self) -> Callable[[Tensor], Tensor]:
        """Return T^{-1} as a program of fixed operations, which certificates read.

        Raises:
            InvalidInput: For an adaptive solver, whose steps depend on the values.
        """
        if self._options["method"] != "rk4":
            raise InvalidInput("method", "dopri5", "rk4", "certify the same field with fixed steps: values decide adaptive ones")
        return self.inverse

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(x, (0.0, 1.0), True)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(z, (1.0, 0.0), True)
