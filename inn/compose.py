"""Composition of invertible layers, and the network of equation (8) built from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from inn.coupling import Clamp, ClampForm, SparseCoupling, TwoSidedCoupling
from inn.invertible import Invertible
from inn.permutation import FixedPermutation
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer

__all__ = ["Composition", "CouplingFlow", "coupling_flow"]


class Composition(Invertible):
    """$T = T_L\\circ\\dots\\circ T_1$ of layers of one dimension; `layers[0]` sees the data first."""

    def __init__(self, layers: Sequence[Invertible]) -> None:
        super().__init__()
        if not layers:
            raise InvalidInput("layers", "an empty sequence", "at least one layer", "pass the layers in order, data side first")
        dims = [layer.dim for layer in layers]
        if len(set(dims)) > 1:
            raise InvalidInput("layers", f"dimensions {dims}", "one dimension throughout", "pad before composing")
        self.dim = dims[0]
        self.layers = nn.ModuleList(layers)

    def _in_order(self) -> list[Invertible]:
        return cast(list[Invertible], list(self.layers))

    def structure(self) -> tuple[Layer, ...]:
        return tuple(part for layer in self._in_order() for part in layer.structure())

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(x.shape[:-1])
        for layer in self._in_order():
            x, term = layer.forward_and_log_det(x)
            log_det = log_det + term
        return x, log_det

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(z.shape[:-1])
        for layer in reversed(self._in_order()):
            z, term = layer.inverse_and_log_det(z)
            log_det = log_det + term
        return z, log_det


@dataclass(frozen=True)
class CouplingFlow:
    """The architecture of equation (8): enough, with a seed, to build the network again.

    Attributes:
        dim: Dimension of data and latent space.
        blocks: Number L of two-sided coupling layers, each behind a fixed random permutation.
        hidden: Width of the subnetworks.
        depth: Number of their hidden layers.
        activation: Their activation.
        clamp: Bound of the clamped s.
        clamp_form: The paper's clamp or FrEIA's (`Clamp`).
        clamp_translation: Whether t is clamped too.
        inputs: Coordinates that a subnetwork sees: all of the other half, or few for sharp certificates (`SparseCoupling`).
        constant: Lipschitz constant that the subnetworks keep by exact spectral norms; None leaves them free.
    """

    dim: int = 2
    blocks: int = 6
    hidden: int = 32
    depth: int = 2
    activation: str = "silu"
    clamp: float = 2.0
    clamp_form: ClampForm = "paper"
    clamp_translation: bool = False
    inputs: int | None = None
    constant: float | None = None


def coupling_flow(architecture: CouplingFlow, *, seed: int) -> Composition:
    r"""Return $T = P\circ T_L\circ P_L\circ\dots\circ T_1\circ P_1$ of equation (8) with random weights, in float32.

    The last permutation $P$ undoes the product of the random ones, and the output layers of the subnetworks start
    small: T starts near the identity. Equation (8) leaves both open. With a mixture latent they matter: if coordinates
    arrive swapped, the modes lie across the axis that separates the latent components, and training stays there.

    Source:
        Hagemann and Neumayer (2022), equation (8).

    Example:
        >>> flow = coupling_flow(CouplingFlow(dim=3, blocks=2, hidden=8), seed=0)
        >>> x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
        >>> bool((flow.inverse(flow(x)) - x).abs().max() < 1e-5)
        True
    """
    if architecture.blocks < 1:
        raise InvalidInput("blocks", architecture.blocks, "an integer >= 1", "a flow needs a layer")
    generator = torch.Generator().manual_seed(seed)
    layers: list[Invertible] = []
    total = torch.arange(architecture.dim)
    for _ in range(architecture.blocks):
        order = torch.randperm(architecture.dim, generator=generator)
        total = total[order]
        layers.append(FixedPermutation(order))
        layers.append(_coupling(architecture, generator))
    layers.append(FixedPermutation(torch.argsort(total)))
    return Composition(layers)


def _coupling(architecture: CouplingFlow, generator: torch.Generator) -> Invertible:
    settings = {name: getattr(architecture, name) for name in ("hidden", "depth", "activation", "constant")}
    settings |= {"clamp": Clamp(architecture.clamp, architecture.clamp_form, architecture.clamp_translation)}
    if architecture.inputs is None:
        return TwoSidedCoupling(architecture.dim, **settings, generator=generator)
    return SparseCoupling(architecture.dim, inputs=architecture.inputs, **settings, generator=generator)
