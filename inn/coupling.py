"""The two-sided affine coupling layer, equation (8) of the paper, and the arctan clamp of its Section 4."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from inn.invertible import Invertible
from inn.subnets import MLP
from lipbounds.errors import InvalidInput
from lipbounds.maps import Conditioner, Coupling, PartialCoupling, Scale, arctan_scale, freia_scale

__all__ = ["Clamp", "ClampForm", "OneSidedCoupling", "SparseCoupling", "TwoSidedCoupling", "arctan_clamp"]

ClampForm = Literal["paper", "freia"]


def arctan_clamp(s: Tensor, alpha: float) -> Tensor:
    r"""Return $\frac{2\alpha}{\pi}\arctan(s/\alpha)$, which lies in $(-\alpha, \alpha)$.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Enforcing the Lipschitz Constraint". FrEIA's present clamp is another
        one, $0.636\,\alpha\arctan(s)$.
    """
    return arctan_scale(alpha).log(s)


@dataclass(frozen=True)
class Clamp:
    r"""How a coupling layer bounds its coefficients.

    Attributes:
        alpha: The bound $\alpha>0$ of |s|.
        form: `paper`, $\frac{2\alpha}{\pi}\arctan(s/\alpha)$, whose slope at 0 is $2/\pi$ whatever $\alpha$ is; or `freia`,
            FrEIA's present one, $0.636\,\alpha\arctan(s)$, whose slope is proportional to $\alpha$.
        translation: Whether t is clamped to $(-\alpha,\alpha)$ as well, in the paper's form.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Enforcing the Lipschitz Constraint".
    """

    alpha: float
    form: ClampForm = "paper"
    translation: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < math.inf:
            raise InvalidInput("clamp", self.alpha, "a finite number > 0", "the paper's programs use 0.01 to 3")
        if self.form not in get_args(ClampForm):
            raise InvalidInput("form", repr(self.form), f"one of {get_args(ClampForm)}", "choose one of these")

    @property
    def scale(self) -> Scale:
        """The clamp of s as certificates read it."""
        return arctan_scale(self.alpha) if self.form == "paper" else freia_scale(self.alpha)

    def coefficients(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Split a subnetwork's outputs of shape (..., 2m) into clamped s and t."""
        s, t = outputs.chunk(2, dim=-1)
        return self.scale.log(s), arctan_clamp(t, self.alpha) if self.translation else t

    def structure_of(self, subnet: MLP) -> tuple[Conditioner, Scale]:
        """The subnetwork and the scale, as certificates read them.

        Raises:
            InvalidInput: If t is clamped.
        """
        if self.translation:
            raise InvalidInput("translation", True, "an unclamped t", "certificates know no clamp of t; use find_lipschitz")
        return subnet.structure(), self.scale


def _check(dim: int) -> None:
    if dim < 2:
        raise InvalidInput("dim", dim, "an integer >= 2", "a coupling layer needs two halves; add a coordinate")


class TwoSidedCoupling(Invertible):
    r"""One layer $T_l$ of equation (8): both halves are changed, each by an affine map whose coefficients see the other.

    $$v_1 = x_1\odot\exp(s_2(x_2)) + t_2(x_2),\qquad v_2 = x_2\odot\exp(s_1(v_1)) + t_1(v_1).$$

    $s_i$ and $t_i$ are the two outputs of one subnetwork; s is clamped to $(-\alpha,\alpha)$. FrEIA's GLOWCouplingBlock is the
    same layer with its clamp; `inn.coupling_from_freia` reads its weights.

    With a non-constant s the layer has no global Lipschitz constant (its derivative grows with the multiplied half), so
    every constant must name its domain.

    Args:
        dim: Dimension d >= 2; the halves have d // 2 and d - d // 2 coordinates.
        hidden: Width of the hidden layers of the subnetworks.
        depth: Number of hidden layers of the subnetworks.
        activation: Their activation.
        clamp: The $\alpha$ of the paper's clamp, > 0, or another `Clamp`.
        generator: Source of the initial weights.
        constant: Lipschitz constant that every subnetwork keeps by exact spectral norms (`MLP`); None leaves them free.

    Source:
        Hagemann and Neumayer (2022), equation (8) and the displayed inverse below it.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int,
        depth: int,
        activation: str,
        clamp: float | Clamp,
        generator: torch.Generator,
        constant: float | None = None,
    ) -> None:
        super().__init__()
        _check(dim)
        self.dim = dim
        self.clamp = clamp if isinstance(clamp, Clamp) else Clamp(clamp)
        self.split = [dim // 2, dim - dim // 2]
        n, k = self.split
        settings: dict[str, Any] = {"hidden": hidden, "depth": depth, "activation": activation}
        settings |= {"generator": generator, "constant": constant}
        self.subnet_2 = MLP(k, 2 * n, **settings)
        self.subnet_1 = MLP(n, 2 * k, **settings)

    def structure(self) -> tuple[Coupling]:
        on_second, scale = self.clamp.structure_of(self.subnet_2)
        on_first, _ = self.clamp.structure_of(self.subnet_1)
        return (Coupling(self.split[0], on_second, on_first, scale),)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x_1, x_2 = torch.split(x, self.split, dim=-1)
        s_2, t_2 = self.clamp.coefficients(self.subnet_2(x_2))
        v_1 = x_1 * s_2.exp() + t_2
        s_1, t_1 = self.clamp.coefficients(self.subnet_1(v_1))
        v_2 = x_2 * s_1.exp() + t_1
        return torch.cat((v_1, v_2), dim=-1), s_1.sum(-1) + s_2.sum(-1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        v_1, v_2 = torch.split(z, self.split, dim=-1)
        s_1, t_1 = self.clamp.coefficients(self.subnet_1(v_1))
        x_2 = (v_2 - t_1) * (-s_1).exp()
        s_2, t_2 = self.clamp.coefficients(self.subnet_2(x_2))
        x_1 = (v_1 - t_2) * (-s_2).exp()
        return torch.cat((x_1, x_2), dim=-1), -s_1.sum(-1) - s_2.sum(-1)


class OneSidedCoupling(Invertible):
    r"""The coupling layer of real NVP: the first half stays, $v_1=x_1$, $v_2=x_2\odot\exp(s(x_1))+t(x_1)$.

    Arguments as `TwoSidedCoupling`.

    Source:
        Dinh, Sohl-Dickstein and Bengio (2017), equations (4) and (5), with the arctan clamp; Section 2 of the paper.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int,
        depth: int,
        activation: str,
        clamp: float | Clamp,
        generator: torch.Generator,
        constant: float | None = None,
    ) -> None:
        super().__init__()
        _check(dim)
        self.dim = dim
        self.clamp = clamp if isinstance(clamp, Clamp) else Clamp(clamp)
        self.split = [dim // 2, dim - dim // 2]
        n, k = self.split
        self.subnet = MLP(n, 2 * k, hidden=hidden, depth=depth, activation=activation, generator=generator, constant=constant)

    def structure(self) -> tuple[Coupling]:
        on_first, scale = self.clamp.structure_of(self.subnet)
        return (Coupling(self.split[0], None, on_first, scale),)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x_1, x_2 = torch.split(x, self.split, dim=-1)
        s, t = self.clamp.coefficients(self.subnet(x_1))
        return torch.cat((x_1, x_2 * s.exp() + t), dim=-1), s.sum(-1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        v_1, v_2 = torch.split(z, self.split, dim=-1)
        s, t = self.clamp.coefficients(self.subnet(v_1))
        return torch.cat((v_1, (v_2 - t) * (-s).exp()), dim=-1), -s.sum(-1)


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
        clamp: The $\alpha$ of the paper's clamp, > 0, or another `Clamp`.
        generator: Source of the initial weights.
        constant: Lipschitz constant that every subnetwork keeps by exact spectral norms (`MLP`); None leaves them free.

    Source:
        Hagemann and Neumayer (2022), equation (8), with sparse s and t.
    """

    def __init__(  # noqa: PLR0913 (a user reads them one by one)
        self,
        dim: int,
        *,
        inputs: int,
        hidden: int,
        depth: int,
        activation: str,
        clamp: float | Clamp,
        generator: torch.Generator,
        constant: float | None = None,
    ) -> None:
        super().__init__()
        _check(dim)
        if inputs < 1:
            raise InvalidInput("inputs", inputs, "an integer >= 1", "a subnetwork needs something to see")
        self.dim = dim
        self.clamp = clamp if isinstance(clamp, Clamp) else Clamp(clamp)
        n = dim // 2
        head, tail = list(range(n)), list(range(n, dim))
        self.wiring: list[tuple[int, list[int]]] = [
            (changed, sorted(other[(place + step) % len(other)] for step in range(min(inputs, len(other)))))
            for half, other in ((head, tail), (tail, head))
            for place, changed in enumerate(half)
        ]
        self.subnets = nn.ModuleList(
            MLP(len(seen), 2, hidden=hidden, depth=depth, activation=activation, generator=generator, constant=constant)
            for _, seen in self.wiring
        )

    def structure(self) -> tuple[PartialCoupling, ...]:
        return tuple(
            PartialCoupling(self.dim, np.array([changed]), np.array(seen), *self.clamp.structure_of(cast(MLP, subnet)))
            for (changed, seen), subnet in zip(self.wiring, self.subnets, strict=True)
        )

    def _coefficients(self, half: slice, columns: list[Tensor]) -> tuple[Tensor, Tensor]:
        """s and t of one half's coordinates, each of shape (n, size of the half)."""
        outputs = [
            subnet(torch.stack([columns[j] for j in seen], dim=-1))
            for (_, seen), subnet in zip(self.wiring[half], list(self.subnets)[half], strict=True)
        ]
        # outputs are pairs: all s first, then all t
        return self.clamp.coefficients(torch.stack(outputs, dim=-1).flatten(-2))

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
