"""Every architecture as plain data: what, with a seed, builds a network, and what a checkpoint says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from inn.compose import Composition, CouplingFlow, coupling_flow
from inn.coupling import Clamp, OneSidedCoupling
from inn.invertible import Invertible
from inn.linear import ActNorm, LearnedLinear
from inn.ode import NeuralODE
from inn.permutation import FixedPermutation
from inn.residual import ResidualLayer
from lipbounds.errors import InvalidInput

__all__ = ["ARCHITECTURES", "Architecture", "Glow", "ODEFlow", "RealNVP", "ResidualFlow", "build"]


@dataclass(frozen=True)
class _OneSided:
    dim: int = 2
    blocks: int = 8
    hidden: int = 32
    depth: int = 2
    activation: str = "silu"
    clamp: float = 2.0


class RealNVP(_OneSided):
    """One-sided couplings behind fixed random permutations; attributes as `CouplingFlow`."""


class Glow(_OneSided):
    """Blocks of `ActNorm`, `LearnedLinear` and a one-sided coupling; attributes as `CouplingFlow`."""


@dataclass(frozen=True)
class ResidualFlow:
    """An iResNet: `blocks` residual layers of constant below `constant`; others as `CouplingFlow`."""

    dim: int = 2
    blocks: int = 8
    hidden: int = 32
    depth: int = 2
    activation: str = "tanh"
    constant: float = 0.9


@dataclass(frozen=True)
class ODEFlow:
    """A neural ODE; attributes as `NeuralODE`."""

    dim: int = 2
    hidden: int = 32
    depth: int = 2
    activation: str = "tanh"
    method: Literal["rk4", "dopri5"] = "rk4"
    steps: int = 16
    tolerance: float = 1e-6
    adjoint: bool = False


Architecture = CouplingFlow | RealNVP | Glow | ResidualFlow | ODEFlow


def _real_nvp(architecture: RealNVP, seed: int) -> Composition:
    generator = torch.Generator().manual_seed(seed)
    layers: list[Invertible] = []
    total = torch.arange(architecture.dim)
    for _ in range(architecture.blocks):
        order = torch.randperm(architecture.dim, generator=generator)
        # two blocks in a row must not leave the same half: in the plane a random permutation often does nothing
        if layers and set(order[: architecture.dim // 2].tolist()) <= set(range(architecture.dim // 2)):
            order = order.flip(0)
        total = total[order]
        layers += [FixedPermutation(order), _one_sided(architecture, generator)]
    return Composition([*layers, FixedPermutation(torch.argsort(total))] if layers else [])


def _one_sided(architecture: _OneSided, generator: torch.Generator) -> OneSidedCoupling:
    settings = {name: getattr(architecture, name) for name in ("hidden", "depth", "activation")}
    return OneSidedCoupling(architecture.dim, **settings, clamp=Clamp(architecture.clamp), generator=generator)


def _glow(architecture: Glow, seed: int) -> Composition:
    generator = torch.Generator().manual_seed(seed)
    layers: list[Invertible] = []
    for _ in range(architecture.blocks):
        linear = LearnedLinear(architecture.dim, generator=generator)
        layers += [ActNorm(architecture.dim), linear, _one_sided(architecture, generator)]
    return Composition(layers)


def _residual_flow(architecture: ResidualFlow, seed: int) -> Composition:
    generator = torch.Generator().manual_seed(seed)
    settings = {name: getattr(architecture, name) for name in ("hidden", "depth", "activation", "constant")}
    return Composition([ResidualLayer(architecture.dim, **settings, generator=generator) for _ in range(architecture.blocks)])


def _ode_flow(architecture: ODEFlow, seed: int) -> NeuralODE:
    names = ("hidden", "depth", "activation", "method", "steps", "tolerance", "adjoint")
    settings = {name: getattr(architecture, name) for name in names}
    return NeuralODE(architecture.dim, **settings, generator=torch.Generator().manual_seed(seed))


ARCHITECTURES: dict[str, tuple[type[Architecture], Callable[..., Invertible]]] = {
    "coupling": (CouplingFlow, lambda architecture, seed: coupling_flow(architecture, seed=seed)),
    "real-nvp": (RealNVP, _real_nvp),
    "glow": (Glow, _glow),
    "residual": (ResidualFlow, _residual_flow),
    "ode": (ODEFlow, _ode_flow),
}


def build(architecture: Architecture, *, seed: int) -> Invertible:
    """Return the network of an architecture with random weights, in float32.

    Raises:
        InvalidInput: For sizes that no network has, and for anything that is not an architecture.

    Example:
        >>> flow = build(Glow(dim=3, blocks=2), seed=0)
        >>> x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        >>> bool((flow.inverse(flow(x)) - x).abs().max() < 1e-4)
        True
    """
    for kind, make in ARCHITECTURES.values():
        if isinstance(architecture, kind):
            return make(architecture, seed)
    known = [kind.__name__ for kind, _ in ARCHITECTURES.values()]
    raise InvalidInput("architecture", type(architecture).__name__, f"one of {known}", "choose one of these")
