"""The two-sided affine coupling layer, equation (8) of the paper, and the arctan clamp of its Section 4."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inn.invertible import Invertible
from inn.subnets import MLP, Activation
from lipbounds.errors import InvalidInput
from lipbounds.lipschitz.structure import Coupling

__all__ = ["TwoSidedCoupling", "arctan_clamp"]


def arctan_clamp(s: Tensor, alpha: float) -> Tensor:
    r"""Return $\frac{2\alpha}{\pi}\arctan(s/\alpha)$, which lies in $(-\alpha, \alpha)$.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Enforcing the Lipschitz Constraint". FrEIA's present clamp is another
        one, $0.636\,\alpha\arctan(s)$.
    """
    return (2.0 * alpha / math.pi) * torch.atan(s / alpha)


class TwoSidedCoupling(Invertible):
    r"""One layer $T_l$ of equation (8): both halves are changed, each by an affine map whose coefficients see the other.

    $$v_1 = x_1\odot\exp(s_2(x_2)) + t_2(x_2),\qquad v_2 = x_2\odot\exp(s_1(v_1)) + t_1(v_1).$$

    $s_i$ and $t_i$ are the two outputs of one subnetwork; s is clamped to $(-\alpha,\alpha)$ by `arctan_clamp`.

    With a non-constant s the layer has no global Lipschitz constant (its derivative grows with the multiplied half), so
    every constant must name its domain.

    Args:
        dim: Dimension d >= 2; the halves have d // 2 and d - d // 2 coordinates.
        hidden: Width of the hidden layers of the subnetworks.
        depth: Number of hidden layers of the subnetworks.
        activation: Their activation.
        clamp: The $\alpha$ above, > 0.
        generator: Source of the initial weights.

    Source:
        Hagemann and Neumayer (2022), equation (8) and the displayed inverse below it.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int,
        depth: int,
        activation: Activation,
        clamp: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if dim < 2:
            raise InvalidInput("dim", dim, "an integer >= 2", "a coupling layer needs two halves; add a coordinate")
        if not 0.0 < clamp < math.inf:
            raise InvalidInput("clamp", clamp, "a finite number > 0", "the paper's programs use 0.01 to 3")
        self.dim = dim
        self.clamp = clamp
        self.split = [dim // 2, dim - dim // 2]
        n, k = self.split
        self.subnet_2 = MLP(k, 2 * n, hidden=hidden, depth=depth, activation=activation, generator=generator)
        self.subnet_1 = MLP(n, 2 * k, hidden=hidden, depth=depth, activation=activation, generator=generator)

    def _coefficients(self, subnet: MLP, condition: Tensor) -> tuple[Tensor, Tensor]:
        s, t = subnet(condition).chunk(2, dim=-1)
        return arctan_clamp(s, self.clamp), t

    def structure(self) -> tuple[Coupling]:
        return (Coupling(self.split[0], self.subnet_2.structure(), self.subnet_1.structure(), self.clamp),)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x_1, x_2 = torch.split(x, self.split, dim=-1)
        s_2, t_2 = self._coefficients(self.subnet_2, x_2)
        v_1 = x_1 * s_2.exp() + t_2
        s_1, t_1 = self._coefficients(self.subnet_1, v_1)
        v_2 = x_2 * s_1.exp() + t_1
        return torch.cat((v_1, v_2), dim=-1), s_1.sum(-1) + s_2.sum(-1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        v_1, v_2 = torch.split(z, self.split, dim=-1)
        s_1, t_1 = self._coefficients(self.subnet_1, v_1)
        x_2 = (v_2 - t_1) * (-s_1).exp()
        s_2, t_2 = self._coefficients(self.subnet_2, x_2)
        x_1 = (v_1 - t_2) * (-s_2).exp()
        return torch.cat((x_1, x_2), dim=-1), -s_1.sum(-1) - s_2.sum(-1)
