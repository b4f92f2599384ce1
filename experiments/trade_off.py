r"""How accurate a generator can be when Lip(T^{-1}) is held down, by every means of control, beside the certified frontier of S4.

Two modes of width sigma on the diagonal (`experiments.rotated_modes`), a standard-normal latent, likelihood training. Every row
is one network, trained with one control at one strength.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.rotated_modes import measured, turned_batches
from experiments.sandwich import LATENT_MASS
from experiments.store import Store, key_of
from experiments.sweep import Progress, run_units
from inn import (
    Cosine,
    CouplingFlow,
    Ensemble,
    Geometric,
    Group,
    Latent,
    Optimization,
    WorstPairs,
    coupling_flow,
    fit,
    jacobian_penalty,
)
from inn.losses import negative_log_likelihood
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.theorems import exact_lipschitz, forced_by_frontier, two_modes

__all__ = ["CONTROLS", "TradeOff", "run"]

LIMITS = (1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)
CONTROLS: dict[str, tuple[float, ...]] = {
    "found constant": LIMITS,
    "gradient penalty": LIMITS,
    "L2 penalty": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "weight clipping": (0.1, 0.15, 0.2, 0.3, 0.5, 1.0),
    "spectral": (0.2, 0.5, 1.0, 2.0, 4.0, 8.0),
    "clamp": (0.01, 0.03, 0.1, 0.3, 1.0),
    "none": (1.0,),
}
"""Strengths of every control: limits of the constant, factors, sizes, constants of the subnetworks, bounds alpha of s."""
QUICK = {name: strengths[:: max(1, len(strengths) - 1)] for name, strengths in CONTROLS.items()}
PENALTY = Geometric(1.0, 100.0, until=0.7)  # weight of both penalties with a limit: soft at first, firm at the end
LATENT = Latent.normal(2)
FRONTIER = np.geomspace(3e-4, 0.6, 40)


@dataclass(frozen=True)
class TradeOff:
    """Accuracy against Lip(T^{-1}) of trained networks, for every control, beside the certified frontier."""

    out: Path = Path("results/trade-off")
    """Folder of the results; a run that was interrupted goes on there."""
    quick: bool = False
    """A small run, within a minute."""
    sigma: float = 0.25
    """Width of the two modes."""
    seeds: int | None = None
    """Number of seeds."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        if not 0.0 < self.sigma < 1.0:
            raise InvalidInput("--sigma", self.sigma, "a number in (0, 1)", "beyond it the modes are one")
        seeds = self.seeds if self.seeds is not None else 1
        if seeds < 1:
            raise InvalidInput("--seeds", seeds, "an integer >= 1", "one seed is the least")
        return {
            "sigma": self.sigma,
            "seeds": seeds,
            "controls": {name: list(strengths) for name, strengths in (QUICK if self.quick else CONTROLS).items()},
            "architecture": asdict(CouplingFlow()),
            "steps": 150 if self.quick else 3000,
            "batch": 256,
            "points": 8_192 if self.quick else 50_000,
        }


@dataclass(frozen=True)
class Unit:
    """One control and seed: all its strengths are trained in one batched pass where they share an architecture."""

    control: str
    strengths: tuple[float, ...]
    seed: int
    settings: Mapping[str, Any]
    store: Store = field(repr=False)

    def key(self, strength: float) -> str:
        shared = {name: value for name, value in self.settings.items() if name != "seeds"}
        return key_of({"control": self.control, "strength": strength, "seed": self.seed, **shared})

    @property
    def is_of_the_architecture(self) -> bool:
        """Whether strengths are different architectures, to be trained one by one."""
        return self.control in ("spectral", "clamp")

    def architecture(self, strength: float) -> CouplingFlow:
        plain = CouplingFlow(**self.settings["architecture"])
        if self.control == "spectral":
            return replace(plain, constant=strength)
        return replace(plain, clamp=strength) if self.control == "clamp" else plain


def work(unit: Unit, progress: Progress) -> None:
    """Train and measure the rows of a unit that are missing."""
    missing = tuple(strength for strength in unit.strengths if not unit.store.has(unit.key(strength)))
    batches = [(strength,) for strength in missing] if unit.is_of_the_architecture else [missing]
    done = 0
    for batch in batches:
        share = len(batch) / len(missing)
        start = done / len(missing)

        def report(part: float, share: float = share, start: float = start) -> None:
            progress(start + 0.8 * share * part)

        flows = _train(unit, batch, report)
        for strength, flow in zip(batch, flows, strict=True):
            row: dict[str, Any] = {
                "control": unit.control,
                "strength": strength,
                "seed": unit.seed,
                "sigma": unit.settings["sigma"],
            }
            row |= measured(flow, LATENT, row["sigma"], points=unit.settings["points"], seed=unit.seed)
            unit.store.put(unit.key(strength), row)
            done += 1
            progress(done / len(missing))


def _train(unit: Unit, strengths: tuple[float, ...], report: Callable[[float], None]) -> list[Any]:
    size, steps, batch = len(strengths), unit.settings["steps"], unit.settings["batch"]
    ensemble = Ensemble([coupling_flow(unit.architecture(strength), seed=unit.seed) for strength in strengths])
    draw = turned_batches([unit.settings["sigma"]] * size)
    worst = WorstPairs(LATENT, networks=size, pairs=64, mass=LATENT_MASS, seed=unit.seed)
    strength = torch.tensor(strengths)
    inverse = lambda points: ensemble.inverse_and_log_det(points)[0]
    matrices = [value for value in ensemble.parameters() if value.ndim == 3]

    def losses(done: float, generator: torch.Generator) -> dict[str, Tensor]:
        terms = {"likelihood": negative_log_likelihood(ensemble, draw(batch, generator), LATENT)}
        if unit.control == "found constant":
            terms["found"] = PENALTY(done) * worst.penalty(inverse, strength[:, None], generator)
        elif unit.control == "gradient penalty":
            points = torch.stack([LATENT.sample(64, generator) for _ in strengths])
            excess = jacobian_penalty(inverse, points, limit=strength[:, None], generator=generator)
            terms["gradient"] = PENALTY(done) * excess / strength.square()
        elif unit.control == "L2 penalty":
            terms["L2"] = 0.5 * strength * torch.stack([matrix.square().sum((1, 2)) for matrix in matrices]).sum(0)
        return terms

    @torch.no_grad()
    def clip() -> None:
        for matrix in matrices:
            matrix.copy_(matrix.clamp(-strength[:, None, None], strength[:, None, None]))

    fit(
        ensemble.named_parameters(),
        losses,
        Optimization(steps, (Group(learning_rate=Cosine(5e-3)),)),
        seed=unit.seed,
        callback=lambda step, _: report((step + 1) / steps),
        after_step=clip if unit.control == "weight clipping" else None,
    )
    return ensemble.networks()


def run(config: TradeOff) -> pd.DataFrame:
    """Run or resume; returns the rows, which are also in the folder, beside frontier.parquet."""
    settings = config.configuration()
    started = time.perf_counter()
    store = Store(config.out, "trade-off", settings)
    units = [
        Unit(name, tuple(strengths), seed, settings, store)
        for seed in range(settings["seeds"])
        for name, strengths in settings["controls"].items()
    ]
    unfinished = [unit for unit in units if not all(store.has(unit.key(strength)) for strength in unit.strengths)]
    try:
        if unfinished:
            run_units(work, unfinished, description="trade-off")
        results = store.merge(["control", "strength", "seed"])
        line = two_modes(config.sigma)
        asked = [Enclosure(0.0, float(epsilon), Guarantee.EXACT, "asked for") for epsilon in FRONTIER]
        forced = [forced_by_frontier(line, epsilon).lower for epsilon in asked]
        frontier = pd.DataFrame({"epsilon": FRONTIER, "lip_forced_frontier": forced})
        store.put_table("frontier", frontier.assign(lip_exact=exact_lipschitz(config.sigma)))
    finally:
        store.describe(wall_seconds=time.perf_counter() - started)
    return results
