r"""Which architectures explode how: the sigma sweep with equation (8), real NVP, GLOW, iResNet and a neural ODE, both latents."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.experiment import Experiment, Shown, Unit, reported, seeds_of
from experiments.plots import architectures_figure
from experiments.rotated_modes import measured, rotated_batches
from experiments.sigma_sweep import LATENTS
from experiments.store import Store
from experiments.sweep import FIRST_SEED, Progress
from inn import Cosine, CouplingFlow, Ensemble, Glow, Group, Invertible, ODEFlow, Optimization, RealNVP, ResidualFlow, build, fit
from inn.architectures import Architecture
from inn.losses import negative_log_likelihood
from lipbounds.errors import InvalidInput
from lipbounds.theorems import exact_lipschitz

__all__ = ["EXPERIMENT", "NETWORKS", "Architectures"]

NETWORKS: dict[str, Architecture] = {
    "coupling (8)": CouplingFlow(),
    "real NVP": RealNVP(blocks=12),
    "GLOW": Glow(blocks=12),
    "iResNet": ResidualFlow(blocks=6, constant=0.9),
    "neural ODE": ODEFlow(steps=8),
}
QUICK_NETWORKS: dict[str, Architecture] = {
    "coupling (8)": CouplingFlow(blocks=2),
    "real NVP": RealNVP(blocks=2),
    "GLOW": Glow(blocks=2),
    "iResNet": ResidualFlow(blocks=2, constant=0.9),
    "neural ODE": ODEFlow(steps=2),
}
SIGMAS = (0.5, 0.3, 0.2)
FIRST_SPREAD, SPREAD_UNTIL = 0.2, 0.6
CERTIFY_SECONDS = 20.0  # for the ball of every component, first seeds alone


@dataclass(frozen=True)
class Architectures:
    """The width of two modes shrinks: how Lip(T^{-1}) of five architectures grows, with a normal and a mixture latent."""

    out: Path = Path("results/architectures")
    """Folder of the results; a run that was interrupted goes on there."""
    quick: bool = False
    """A small run, within a minute."""
    seeds: int | None = None
    """Number of seeds."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        seeds = seeds_of(self.seeds, default=1)
        if importlib.util.find_spec("torchdiffeq") is None:
            raise InvalidInput("torchdiffeq", "not installed", "the extra `ode`", "pip install 'lipbounds[ode]'")
        return {
            "seeds": seeds,
            "sigmas": [0.5] if self.quick else list(SIGMAS),
            "networks": {
                name: asdict(architecture) for name, architecture in (QUICK_NETWORKS if self.quick else NETWORKS).items()
            },
            "steps": 8 if self.quick else 1500,
            "batch": 64 if self.quick else 256,
            "points": 2_048 if self.quick else 50_000,
            "certificate": 0.0 if self.quick else CERTIFY_SECONDS,
        }


def units_of(store: Store, settings: Mapping[str, Any], _: Architectures) -> list[Unit]:
    """An architecture, latent and seed: its networks for all sigmas."""
    shared = {name: settings[name] for name in ("sigmas", "steps", "batch", "points", "certificate")}
    return [
        Unit(
            {"network": network, "latent": latent, "seed": seed},
            shared | {"architecture": architecture},
            store,
            parts=tuple({"sigma": sigma} for sigma in settings["sigmas"]),
        )
        for seed in reported(settings["seeds"])
        for network, architecture in settings["networks"].items()
        for latent in ("normal", "mixture")
    ]


def work(unit: Unit, progress: Progress) -> None:
    """Train the networks of a unit and measure them."""
    latent = LATENTS[unit["latent"]]
    started = time.process_time()
    flows = _train(unit, lambda share: progress(0.7 * share))
    seconds = (time.process_time() - started) / len(unit.parts)
    certificate = unit["certificate"] if unit["seed"] == FIRST_SEED else 0.0
    for index, (part, flow) in enumerate(zip(unit.parts, flows, strict=True)):
        row = measured(flow, latent, part["sigma"], points=unit["points"], seed=unit["seed"], certificate=certificate)
        unit.put([row | {"training_seconds": seconds, "lip_exact": exact_lipschitz(part["sigma"])}], part)
        progress(0.7 + 0.3 * (index + 1) / len(unit.parts))


@dataclass(frozen=True, eq=False)
class _Alone:
    """A network as an ensemble of one: an ODE solver is not written for batches of networks."""

    network: Invertible

    def named_parameters(self) -> dict[str, Tensor]:
        return dict(self.network.named_parameters())

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.network.forward_and_log_det(x[0])
        return z[None], log_det[None]


def _train(unit: Unit, report: Callable[[float], None]) -> list[Invertible]:
    sigmas = unit["sigmas"]
    architecture = type(NETWORKS[unit["network"]])(**unit["architecture"])
    members = [build(architecture, seed=unit["seed"]) for _ in sigmas]
    if isinstance(architecture, ODEFlow):
        for index, member in enumerate(members):
            share = lambda done, index=index: report((index + done) / len(members))
            _fit(unit, _Alone(member), [sigmas[index]], share)
        return members
    ensemble: Ensemble[Invertible] = Ensemble(members)
    _fit(unit, ensemble, sigmas, report)
    return ensemble.networks()


def _fit(unit: Unit, networks: Ensemble[Invertible] | _Alone, sigmas: Sequence[float], report: Callable[[float], None]) -> None:
    latent, steps, batch = LATENTS[unit["latent"]], unit["steps"], unit["batch"]
    draw = rotated_batches(sigmas)

    def losses(done: float, generator: torch.Generator) -> dict[str, Tensor]:
        # the modes find their components while these overlap
        spread = min(1.0, FIRST_SPREAD + (1 - FIRST_SPREAD) * done / SPREAD_UNTIL)
        return {"likelihood": negative_log_likelihood(networks, draw(batch, generator), latent.drawn_together(spread))}

    optimization = Optimization(steps, (Group(learning_rate=Cosine(5e-3)),), clip_norm=50.0 * len(sigmas))
    callback = lambda step, _: report((step + 1) / steps)
    fit(networks.named_parameters(), losses, optimization, seed=unit["seed"], callback=callback)


EXPERIMENT = Experiment(
    name="architectures",
    options=Architectures,
    units=units_of,
    work=work,
    order=("network", "latent", "sigma", "seed"),
    figures=architectures_figure,
    shown={"architectures": Shown(20)},
)
