r"""Which architectures explode how: the sigma sweep with equation (8), real NVP, GLOW, iResNet and a neural ODE, both latents."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.rotated_modes import measured, turned_batches
from experiments.sigma_sweep import LATENTS
from experiments.store import Store, key_of
from experiments.sweep import FIRST_SEED, Progress, run_units
from inn import Cosine, CouplingFlow, Ensemble, Glow, Group, Invertible, ODEFlow, Optimization, RealNVP, ResidualFlow, build, fit
from inn.architectures import Architecture
from lipbounds.errors import InvalidInput
from lipbounds.theorems import exact_lipschitz

__all__ = ["NETWORKS", "Architectures", "run"]

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

    @property
    def networks(self) -> dict[str, Architecture]:
        """The architectures by their names, small ones for a quick run."""
        return QUICK_NETWORKS if self.quick else NETWORKS

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        seeds = self.seeds if self.seeds is not None else 1
        if seeds < 1:
            raise InvalidInput("--seeds", seeds, "an integer >= 1", "one seed is the least")
        if importlib.util.find_spec("torchdiffeq") is None:
            raise InvalidInput("torchdiffeq", "not installed", "the extra `ode`", "pip install 'lipbounds[ode]'")
        return {
            "seeds": seeds,
            "sigmas": [0.5] if self.quick else list(SIGMAS),
            "networks": {name: asdict(architecture) for name, architecture in self.networks.items()},
            "steps": 8 if self.quick else 1500,
            "batch": 64 if self.quick else 256,
            "points": 2_048 if self.quick else 50_000,
            "certificate": 0.0 if self.quick else CERTIFY_SECONDS,
        }


@dataclass(frozen=True)
class Unit:
    """One architecture, latent and seed: its networks for all sigmas."""

    network: str
    architecture: Architecture
    latent: str
    seed: int
    settings: Mapping[str, Any]
    store: Store = field(repr=False)

    def key(self, sigma: float) -> str:
        shared = {name: self.settings[name] for name in ("sigmas", "steps", "batch", "points", "certificate")}
        own = {"network": self.network, "architecture": asdict(self.architecture), "latent": self.latent}
        return key_of(own | {"seed": self.seed, "sigma": sigma, **shared})


def work(unit: Unit, progress: Progress) -> None:
    """Train the networks of a unit and measure them."""
    latent, sigmas = LATENTS[unit.latent], unit.settings["sigmas"]
    started = time.process_time()
    flows = _train(unit, lambda share: progress(0.7 * share))
    seconds = (time.process_time() - started) / len(sigmas)
    certificate = unit.settings["certificate"] if unit.seed == FIRST_SEED else 0.0
    for index, (sigma, flow) in enumerate(zip(sigmas, flows, strict=True)):
        row = {"network": unit.network, "latent": unit.latent, "sigma": sigma, "seed": unit.seed}
        row |= measured(flow, latent, sigma, points=unit.settings["points"], seed=unit.seed, certificate=certificate)
        unit.store.put(unit.key(sigma), row | {"training_seconds": seconds, "lip_exact": exact_lipschitz(sigma)})
        progress(0.7 + 0.3 * (index + 1) / len(sigmas))


def _train(unit: Unit, report: Callable[[float], None]) -> list[Invertible]:
    sigmas = unit.settings["sigmas"]
    members = [build(unit.architecture, seed=unit.seed) for _ in sigmas]
    if unit.network == "neural ODE":  # the solver is not written for batches of networks
        for index, member in enumerate(members):
            share = lambda done, index=index: report((index + done) / len(members))
            alone = lambda x, member=member: tuple(part[None] for part in member.forward_and_log_det(x[0]))
            _fit(unit, dict(member.named_parameters()), alone, [sigmas[index]], share)
        return members
    ensemble: Ensemble[Invertible] = Ensemble(members)
    _fit(unit, ensemble.named_parameters(), ensemble.forward_and_log_det, sigmas, report)
    return ensemble.networks()


def _fit(
    unit: Unit,
    parameters: Mapping[str, Tensor],
    forward_and_log_det: Callable[[Tensor], tuple[Tensor, ...]],
    sigmas: Sequence[float],
    report: Callable[[float], None],
) -> None:
    latent, steps, batch = LATENTS[unit.latent], unit.settings["steps"], unit.settings["batch"]
    draw = turned_batches(sigmas)

    def losses(done: float, generator: torch.Generator) -> dict[str, Tensor]:
        # the modes find their components while these overlap
        spread = min(1.0, FIRST_SPREAD + (1 - FIRST_SPREAD) * done / SPREAD_UNTIL)
        z, log_det = forward_and_log_det(draw(batch, generator))
        return {"likelihood": -(latent.drawn_together(spread).log_density(z) + log_det).mean(-1)}

    optimization = Optimization(steps, (Group(learning_rate=Cosine(5e-3)),), clip_norm=50.0 * len(sigmas))
    fit(parameters, losses, optimization, seed=unit.seed, callback=lambda step, _: report((step + 1) / steps))


def run(config: Architectures) -> pd.DataFrame:
    """Run or resume; returns the rows, which are also in the folder."""
    settings = config.configuration()
    started = time.perf_counter()
    store = Store(config.out, "architectures", settings)
    units = [
        Unit(network, architecture, latent, seed, settings, store)
        for seed in range(FIRST_SEED, FIRST_SEED + settings["seeds"])
        for network, architecture in config.networks.items()
        for latent in ("normal", "mixture")
    ]
    unfinished = [unit for unit in units if not all(store.has(unit.key(sigma)) for sigma in settings["sigmas"])]
    try:
        if unfinished:
            run_units(work, unfinished, description="architectures")
        results = store.merge(["network", "latent", "sigma", "seed"])
    finally:
        store.describe(wall_seconds=time.perf_counter() - started)
    return results
