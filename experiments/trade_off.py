r"""How accurate a generator can be when Lip(T^{-1}) is held down, by every means of control, beside the certified frontier of S4.

Two modes of width sigma on the diagonal (`experiments.rotated_modes`), a standard-normal latent, likelihood training. Every row
is one network, trained with one control at one strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.bracket import LATENT_MASS
from experiments.experiment import Experiment, Shown, Unit, seeds_of
from experiments.plots import trade_off_figure
from experiments.rotated_modes import measured, rotated_batches
from experiments.store import Store
from experiments.sweep import Progress
from inn import (
    AdversarialPairs,
    Cosine,
    CouplingFlow,
    Ensemble,
    Geometric,
    Group,
    Latent,
    Optimization,
    coupling_flow,
    fit,
    jacobian_penalty,
)
from inn.losses import negative_log_likelihood
from lipbounds.errors import InvalidInput
from lipbounds.theorems import exact_lipschitz, forced_by_frontier, two_modes

__all__ = ["CONTROLS", "EXPERIMENT", "TradeOff"]

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
        return {
            "sigma": self.sigma,
            "seeds": seeds_of(self.seeds, default=1),
            "controls": {name: list(strengths) for name, strengths in (QUICK if self.quick else CONTROLS).items()},
            "architecture": asdict(CouplingFlow()),
            "steps": 150 if self.quick else 3000,
            "batch": 256,
            "points": 8_192 if self.quick else 50_000,
        }


def units_of(store: Store, settings: Mapping[str, Any], _: TradeOff) -> list[Unit]:
    """One control and seed: all its strengths are trained in one batched pass where they share an architecture."""
    shared = {name: value for name, value in settings.items() if name != "seeds"}
    return [
        Unit({"control": name, "seed": seed}, shared, store, parts=tuple({"strength": strength} for strength in strengths))
        for seed in range(settings["seeds"])
        for name, strengths in settings["controls"].items()
    ]


def architecture_of(unit: Unit, strength: float) -> CouplingFlow:
    """The architecture at a strength, which two controls change."""
    plain = CouplingFlow(**unit["architecture"])
    if unit["control"] == "spectral":
        return replace(plain, constant=strength)
    return replace(plain, clamp=strength) if unit["control"] == "clamp" else plain


def work(unit: Unit, progress: Progress) -> None:
    """Train and measure the rows of a unit that are missing."""
    missing = tuple(part["strength"] for part in unit.missing)
    one_by_one = unit["control"] in ("spectral", "clamp")
    batches = [(strength,) for strength in missing] if one_by_one else [missing]
    done = 0
    for batch in batches:
        share = len(batch) / len(missing)
        start = done / len(missing)

        def report(part: float, share: float = share, start: float = start) -> None:
            progress(start + 0.8 * share * part)

        flows = _train(unit, batch, report)
        for strength, flow in zip(batch, flows, strict=True):
            row = {"sigma": unit["sigma"]}
            row |= measured(flow, LATENT, unit["sigma"], points=unit["points"], seed=unit["seed"])
            unit.put([row], {"strength": strength})
            done += 1
            progress(done / len(missing))


def _train(unit: Unit, strengths: tuple[float, ...], report: Callable[[float], None]) -> list[Any]:
    size, steps, batch = len(strengths), unit["steps"], unit["batch"]
    ensemble = Ensemble([coupling_flow(architecture_of(unit, strength), seed=unit["seed"]) for strength in strengths])
    draw = rotated_batches([unit["sigma"]] * size)
    worst = AdversarialPairs(LATENT, networks=size, pairs=64, mass=LATENT_MASS, seed=unit["seed"])
    strength = torch.tensor(strengths)
    inverse = lambda points: ensemble.inverse_and_log_det(points)[0]
    matrices = [value for value in ensemble.parameters() if value.ndim == 3]

    def losses(done: float, generator: torch.Generator) -> dict[str, Tensor]:
        terms = {"likelihood": negative_log_likelihood(ensemble, draw(batch, generator), LATENT)}
        if unit["control"] == "found constant":
            terms["found"] = PENALTY(done) * worst.penalty(inverse, strength[:, None], generator)
        elif unit["control"] == "gradient penalty":
            points = torch.stack([LATENT.sample(64, generator) for _ in strengths])
            excess = jacobian_penalty(inverse, points, limit=strength[:, None], generator=generator)
            terms["gradient"] = PENALTY(done) * excess / strength.square()
        elif unit["control"] == "L2 penalty":
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
        seed=unit["seed"],
        callback=lambda step, _: report((step + 1) / steps),
        after_step=clip if unit["control"] == "weight clipping" else None,
    )
    return ensemble.networks()


def _frontier(units: Sequence[Unit], _: pd.DataFrame) -> pd.DataFrame:
    """The least constant at each accuracy, certified."""
    sigma = units[0]["sigma"]
    forced = [forced_by_frontier(two_modes(sigma), float(epsilon)).lower for epsilon in FRONTIER]
    return pd.DataFrame({"epsilon": FRONTIER, "lip_forced_frontier": forced, "lip_exact": exact_lipschitz(sigma)})


EXPERIMENT = Experiment(
    name="trade-off",
    options=TradeOff,
    units=units_of,
    work=work,
    order=("control", "strength", "seed"),
    tables={"frontier": _frontier},
    figures=trade_off_figure,
    shown={"trade-off": Shown(12)},
)
