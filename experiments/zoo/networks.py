"""Networks of other libraries, with their defaults, and the generators that people write themselves.

Every builder returns a torch module; what it means as a map latent -> data is what `lipbounds.maps.as_model` reads from it.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["NETWORKS", "Decoder", "FlowMatching", "Network", "installed"]

Half = Literal["settings", "report"]


@dataclass(frozen=True, eq=False)
class Network:
    """One network of the zoo.

    Attributes:
        name: Unique; its weights are stored under it.
        half: Whether settings of the search may be chosen on it, or results are reported.
        library: The package that its layers come from.
        build: Returns the untrained module.
        data: What it is trained on, a name in `SAMPLERS`.
        dim: Latent dimension.
        train: How: a name in `experiments.zoo.training`.
        steps: Of Adam with a batch of 256.
        context: Dimension of the context, held at 0.5 each; 0 for none.
    """

    name: str
    half: Half
    library: str
    build: Callable[[], nn.Module]
    data: str
    dim: int
    train: str = "likelihood"
    steps: int = 1500
    context: int = 0


def installed(network: Network) -> bool:
    """Whether the library of a network is installed."""
    return importlib.util.find_spec(network.library) is not None


def _zuko(kind: str, features: int, context: int = 0, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import zuko

        flow: nn.Module = getattr(zuko.flows, kind)(features, context, **options)
        return flow

    return build


def _normflows(kind: str, features: int, blocks: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import normflows as nf

        layers: list[nn.Module] = []
        for block in range(blocks):
            if kind == "RealNVP":
                net = nf.nets.MLP([features // 2, 64, 64, features], init_zeros=True)
                layers += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(features, mode="swap")]
            elif kind == "coupled RQS":
                layers += [nf.flows.CoupledRationalQuadraticSpline(features, 2, 32), nf.flows.LULinearPermute(features)]
            elif kind == "autoregressive RQS":
                layers += [nf.flows.AutoregressiveRationalQuadraticSpline(features, 2, 32), nf.flows.LULinearPermute(features)]
            else:
                net = nf.nets.LipschitzMLP([features, 64, 64, features], init_zeros=True, lipschitz_const=0.9)
                layers += [nf.flows.Residual(net, reverse=True, reduce_memory=False), nf.flows.ActNorm(features)][
                    : 2 - (block == blocks - 1)
                ]
        flow: nn.Module = nf.NormalizingFlow(nf.distributions.DiagGaussian(features, trainable=False), layers)
        return flow

    return build


def _nflows(kind: str, features: int, blocks: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from nflows import distributions, flows, transforms
        from nflows import nn as parts

        layers: list[nn.Module] = []
        for block in range(blocks):
            layers.append(transforms.ReversePermutation(features))
            if kind == "MAF":
                layers.append(transforms.MaskedAffineAutoregressiveTransform(features, hidden_features=64))
            elif kind == "autoregressive RQS":
                layers.append(
                    transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                        features, hidden_features=64, tails="linear", tail_bound=5.0
                    )
                )
            else:
                mask = torch.arange(features) % 2 if block % 2 else 1 - torch.arange(features) % 2
                layers.append(
                    transforms.PiecewiseRationalQuadraticCouplingTransform(
                        mask,
                        lambda inputs, outputs: parts.nets.ResidualNet(inputs, outputs, hidden_features=32),
                        tails="linear",
                        tail_bound=5.0,
                    )
                )
        flow: nn.Module = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([features]))
        return flow

    return build


def _freia(kind: str, features: int, blocks: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from FrEIA import framework, modules

        net = framework.SequenceINN(features)
        for _ in range(blocks):
            if kind == "GLOW":
                net.append(modules.GLOWCouplingBlock, subnet_constructor=_subnet)
                net.append(modules.PermuteRandom, seed=len(net))
            else:
                net.append(modules.AllInOneBlock, subnet_constructor=_subnet)
        flow: nn.Module = net
        return flow

    return build


def _subnet(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


class FlowMatching(nn.Module):
    """A velocity field trained by flow matching, and its sampler: Runge-Kutta of order 4 in fixed steps, noise to data."""

    def __init__(self, features: int, steps: int = 20) -> None:
        super().__init__()
        self.steps = steps
        self.field = _mlp([features + 1, 64, 64, features], nn.Tanh)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """The field at points and times."""
        image: Tensor = self.field(torch.cat((x, t), 1))
        return image

    def forward(self, z: Tensor) -> Tensor:
        """Noise to data."""
        size, x = 1.0 / self.steps, z
        for step in range(self.steps):
            t = torch.full_like(z[:, :1], step * size)
            k1 = self.velocity(x, t)
            k2 = self.velocity(x + 0.5 * size * k1, t + 0.5 * size)
            k3 = self.velocity(x + 0.5 * size * k2, t + 0.5 * size)
            k4 = self.velocity(x + size * k3, t + size)
            x = x + size / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return x


class Decoder(nn.Module):
    """A generator; those trained as autoencoders have their encoder beside them."""

    def __init__(self, sizes: list[int], activation: type[nn.Module], *, variational: bool = True, encoder: bool = True) -> None:
        super().__init__()
        self.variational = variational
        self.decode = _mlp(sizes, activation)
        self.encode = _mlp([*sizes[:0:-1], sizes[0] * (2 if variational else 1)], activation) if encoder else None

    def forward(self, z: Tensor) -> Tensor:
        """Latent to data."""
        image: Tensor = self.decode(z)
        return image


def _mlp(sizes: list[int], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def _random(sizes: list[int], seed: int) -> Callable[[], nn.Module]:
    """All weights and biases standard normal, as in the demonstration of ECLipsE."""

    def build() -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        net = _mlp(sizes, nn.ReLU)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return net

    return build


NETWORKS: tuple[Network, ...] = (
    Network("zuko NSF moons", "settings", "zuko", _zuko("NSF", 2), "moons", 2),
    Network("zuko NSF ring", "report", "zuko", _zuko("NSF", 2), "ring", 2),
    Network("zuko MAF moons", "report", "zuko", _zuko("MAF", 2, transforms=4), "moons", 2),
    Network("zuko MAF pinwheel", "settings", "zuko", _zuko("MAF", 2, transforms=4), "pinwheel", 2),
    Network("zuko NICE ring", "settings", "zuko", _zuko("NICE", 2, transforms=6), "ring", 2),
    Network("zuko RealNVP moons", "report", "zuko", _zuko("RealNVP", 2, transforms=6), "moons", 2),
    Network("zuko NAF moons", "report", "zuko", _zuko("NAF", 2, transforms=2), "moons", 2, steps=600),
    Network("normflows RealNVP moons", "settings", "normflows", _normflows("RealNVP", 2, 8), "moons", 2),
    Network("normflows coupled RQS moons", "report", "normflows", _normflows("coupled RQS", 2, 6), "moons", 2, steps=2500),
    Network("normflows coupled RQS ring", "settings", "normflows", _normflows("coupled RQS", 2, 6), "ring", 2),
    Network(
        "normflows autoregressive RQS board", "report", "normflows", _normflows("autoregressive RQS", 2, 4), "checkerboard", 2
    ),
    Network("normflows residual moons", "settings", "normflows", _normflows("residual", 2, 6), "moons", 2, steps=600),
    Network("nflows MAF ring", "settings", "nflows", _nflows("MAF", 2, 5), "ring", 2),
    Network("nflows coupled RQS moons", "report", "nflows", _nflows("coupled RQS", 2, 4), "moons", 2),
    Network("nflows autoregressive RQS pinwheel", "settings", "nflows", _nflows("autoregressive RQS", 2, 3), "pinwheel", 2),
    Network("FrEIA GLOW moons", "report", "FrEIA", _freia("GLOW", 2, 6), "moons", 2),
    Network("FrEIA AllInOne ring", "settings", "FrEIA", _freia("AllInOne", 2, 6), "ring", 2),
    Network("flow matching moons", "report", "torch", lambda: FlowMatching(2), "moons", 2, "flow matching"),
    Network("MLP 2-2 ring", "settings", "torch", lambda: Decoder([2, 64, 64, 2], nn.ReLU, encoder=False), "ring", 2, "sliced"),
    Network("FrEIA GLOW 6-d", "settings", "FrEIA", _freia("GLOW", 6, 6), "gaussians", 6),
    Network("zuko NSF digits-8", "report", "zuko", _zuko("NSF", 8), "digits-8", 8),
    Network("zuko MAF digits-16", "report", "zuko", _zuko("MAF", 16), "digits-16", 16),
    Network("zuko RealNVP digits-16", "settings", "zuko", _zuko("RealNVP", 16, transforms=4), "digits-16", 16),
    Network("VAE 2-64 digits", "settings", "torch", lambda: Decoder([2, 64, 64, 64], nn.ReLU), "digits-64", 2, "autoencoder"),
    Network("VAE 8-64 digits", "report", "torch", lambda: Decoder([8, 128, 128, 64], nn.SiLU), "digits-64", 8, "autoencoder"),
    Network(
        "MLP 8-64 digits",
        "report",
        "torch",
        lambda: Decoder([8, 64, 64, 64], nn.ReLU, variational=False),
        "digits-64",
        8,
        "autoencoder",
    ),
    Network(
        "zuko RealNVP digits-64",
        "report",
        "zuko",
        _zuko("RealNVP", 64, transforms=6, hidden_features=(128, 128)),
        "digits-64",
        64,
        steps=1000,
    ),
    Network("zuko NSF digits-64", "settings", "zuko", _zuko("NSF", 64), "digits-64", 64, steps=500),
    Network("zuko NSF at a label", "report", "zuko", _zuko("NSF", 2, 1), "ring", 2, context=1),
    Network("zuko MAF at a label", "settings", "zuko", _zuko("MAF", 2, 1), "moons", 2, context=1),
    Network("ECLipsE 5-10-10-10-10-2", "settings", "torch", _random([5, 10, 10, 10, 10, 2], 1), "none", 5, "none"),
    Network("ECLipsE 4-20-20-20-1", "report", "torch", _random([4, 20, 20, 20, 1], 2), "none", 4, "none"),
)
