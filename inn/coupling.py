"""The two-sided affine coupling layer, equation (8) of the paper, and the arctan clamp of its Section 4."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from inn.invertible import Invertible
from inn.subnets import MLP, Activation
from lipbounds.errors import InvalidInput
from lipbounds.lipschitz.structure import Coupling, PartialCoupling

__all__ = ["SparseCoupling", "TwoSidedCoupling", "arctan_clamp"]


def arctan_clamp(s: Tensor, alpha: float) -> Tensor:
    r"""Return $\frac{2\alpha}{\pi}\arctan(s/\alpha)$, which lies in $(-\alpha, \alpha)$.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Enforcing the Lipschitz Constraint". FrEIA's present clamp is another
        one, $0.636\,\alpha\arctan(s)$.
    """
    return (2.0 * alpha / math.pi) * torch.atan(s / alpha)


def _check(dim: int, clamp: float) -> None:
    if dim < 2:
        raise InvalidInput("dim", dim, "an integer >= 2", "a coupling layer needs two halves; add a coordinate")
    if not 0.0 < clamp < math.inf:
        raise InvalidInput("clamp", clamp, "a finite number > 0", "the paper's programs use 0.01 to 3")


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
        _check(dim, clamp)
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


class SparseCoupling(Invertible):
    r"""A layer of equation (8) whose conditioners see few coordinates each: the certifiable architecture.

    Every changed coordinate has a subnetwork of its own, $v_i=x_i e^{s_i}+t_i$, that sees `inputs` neighbouring
    coordinates of the other half (cyclically). An enclosure of a function of one or two variables is sharp where one of three and
    more is not, so `lipbounds.certify_lipschitz` reaches higher dimensions; permutations between the layers mix all
    coordinates all the same.

    Args:
        dim: Dimension d >= 2, halves as in `TwoSidedCoupling`.
        inputs: Coordinates that a subnetwork sees, at least 1; the size of the other half where that is smaller.
        hidden: Width of the hidden layers of the subnetworks.
        depth: Number of hidden layers of the subnetworks.
        activation: Their activation.
        clamp: The $\alpha$ of `arctan_clamp`, > 0.
        generator: Source of the initial weights.

    Source:
        Hagemann and Neumayer (2022), equation (8), with sparse s and t.
    """

    def __init__(
        self,
        dim: int,
        *,
        inputs: int,
        hidden: int,
        depth: int,
        activation: Activation,
        clamp: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        _check(dim, clamp)
        if inputs < 1:
            raise InvalidInput("inputs", inputs, "an integer >= 1", "a subnetwork needs something to see")
        self.dim = dim
        self.clamp = clamp
        n = dim // 2
        head, tail = list(range(n)), list(range(n, dim))
        self.wiring: list[tuple[int, list[int]]] = [
            (changed, sorted(other[(place + step) % len(other)] for step in range(min(inputs, len(other)))))
            for half, other in ((head, tail), (tail, head))
            for place, changed in enumerate(half)
        ]
        self.subnets = nn.ModuleList(
            MLP(len(seen), 2, hidden=hidden, depth=depth, activation=activation, generator=generator) for _, seen in self.wiring
        )

    def structure(self) -> tuple[PartialCoupling, ...]:
        return tuple(
            PartialCoupling(self.dim, np.array([changed]), np.array(seen), cast(MLP, subnet).structure(), self.clamp)
            for (changed, seen), subnet in zip(self.wiring, self.subnets, strict=True)
        )

    def _coefficients(self, half: slice, columns: list[Tensor]) -> tuple[Tensor, Tensor]:
        """s and t of one half's coordinates, each of shape (n, size of the half)."""
        outputs = [
            subnet(torch.stack([columns[j] for j in seen], dim=-1))
            for (_, seen), subnet in zip(self.wiring[half], list(self.subnets)[half], strict=True)
        ]
        s, t = torch.stack(outputs, dim=-1).unbind(dim=-2)
        return arctan_clamp(s, self.clamp), t

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = self.dim // 2
        s_2, t_2 = self._coefficients(slice(0, n), list(x.unbind(-1)))
        v_1 = x[..., :n] * s_2.exp() + t_2
        v = torch.cat((v_1, x[..., n:]), dim=-1)
        s_1, t_1 = self._coefficients(slice(n, self.dim), list(v.unbind(-1)))
        v_2 = x[..., n:] * s_1.exp() + t_1
        return torch.cat((v_1, v_2), dim=-1), s_1.sum(-1) + s_2.sum(-1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        n = self.dim // 2
        s_1, t_1 = self._coefficients(slice(n, self.dim), list(z.unbind(-1)))
        x_2 = (z[..., n:] - t_1) * (-s_1).exp()
        v = torch.cat((z[..., :n], x_2), dim=-1)
        s_2, t_2 = self._coefficients(slice(0, n), list(v.unbind(-1)))
        x_1 = (z[..., :n] - t_2) * (-s_2).exp()
        return torch.cat((x_1, x_2), dim=-1), -s_1.sum(-1) - s_2.sum(-1)
