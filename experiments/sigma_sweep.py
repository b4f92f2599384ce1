r"""The main experiment: two modes that get sharper, a standard-normal latent and a mixture latent.

Data: $X=(X_\sigma,N(0,1))$, $X_\sigma=\frac12N(-1,\sigma^2)+\frac12N(1,\sigma^2)$ (Example 1 of the paper, in a plane so
that coupling layers apply). Every row is one network; all sigmas of one latent and seed are trained in one batched pass.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor

from experiments.bracket import LATENT_MASS, Effort, bracket
from experiments.experiment import Experiment, Shown, Unit, reported, seeds_of
from experiments.plots import sigma_sweep_figure
from experiments.store import Store
from experiments.sweep import FIRST_SEED, Progress
from inn import CouplingFlow, Ensemble, Latent, Training, coupling_flow, load_flow, save_flow, train
from lipbounds.errors import InvalidInput
from lipbounds.search import jacobian_norms, quotient

__all__ = ["EXPERIMENT", "Recompute", "SigmaSweep", "recompute", "two_mode_batches"]

LATENTS = {
    "normal": Latent.normal(2),
    "mixture": Latent(means=((-5.0, 0.0), (5.0, 0.0))),
    "example1": Latent(means=((-1.0, 0.0), (1.0, 0.0)), scale=0.1**0.5),
}
SIGMAS = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1)
FULL_SIGMAS = (0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.22, 0.2, 0.18, 0.16, 0.15, 0.14, 0.12, 0.11, 0.1)
QUICK_SIGMAS = (0.5, 0.25, 0.15)
TRAINING_SHARE = 0.75  # of a unit's time, for the progress bar
PICTURED_SIGMA = 0.15  # the one shown in the plane, or the nearest in the run
PLANE_CELLS = 160
PLANE_SAMPLES = 3000


@dataclass(frozen=True)
class SigmaSweep:
    """Sweep the width sigma of two modes and measure Lip(T^{-1}) of trained networks beside what theory forces."""

    out: Path = Path("results/sigma-sweep")
    """Folder of the results; a run that was interrupted goes on there."""
    quick: bool = False
    """A small run, within a minute."""
    full: bool = False
    """More sigmas, 5 seeds, larger networks; hours."""
    sigmas: tuple[float, ...] | None = None
    """Widths of the modes."""
    latents: tuple[str, ...] = ("normal", "mixture")
    """Latent laws: normal, mixture (the cure), example1 (the paper's, which does not cure)."""
    seeds: int | None = None
    """Number of seeds."""
    objective: Literal["likelihood", "discrepancy"] = "likelihood"
    """Training objective; likelihood reaches the accuracy in the time, the paper's discrepancies do not."""
    penalty: Literal["mixture", "all", "none"] = "mixture"
    """Which latent trains with the stretch penalty; `all` and `none` are controls."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        if self.quick and self.full:
            raise InvalidInput("--quick, --full", "both", "at most one", "choose one size")
        sigmas = (
            self.sigmas if self.sigmas is not None else (QUICK_SIGMAS if self.quick else FULL_SIGMAS if self.full else SIGMAS)
        )
        for sigma in sigmas:
            if not 0.0 < sigma < float("inf"):
                raise InvalidInput("--sigmas", sigma, "numbers > 0", "sigma is a standard deviation")
        if not sigmas or len(set(sigmas)) < len(sigmas):
            raise InvalidInput("--sigmas", sigmas, "different numbers, at least one", "list every width once")
        for latent in self.latents:
            if latent not in LATENTS:
                raise InvalidInput("--latents", repr(latent), f"one of {', '.join(LATENTS)}", "choose from these")
        if not self.latents or len(set(self.latents)) < len(self.latents):
            raise InvalidInput("--latents", self.latents, "different names, at least one", "list every latent once")
        seeds = seeds_of(self.seeds, default=1 if self.quick else 5 if self.full else 2)
        architecture = (
            CouplingFlow(hidden=64, blocks=8) if self.full else CouplingFlow(blocks=4) if self.quick else CouplingFlow()
        )
        steps = 600 if self.quick else 20_000 if self.full else 7_000
        effort = (
            Effort(accuracy=8_192, transport=1_000, selection=20_000, evaluation=40_000, search=30_000, certificate=0.0)
            if self.quick
            else Effort()
        )
        return {
            "sigmas": list(sigmas),
            "latents": list(self.latents),
            "seeds": seeds,
            "architecture": asdict(architecture),
            "training": {
                latent: asdict(
                    Training(
                        objective=self.objective,
                        steps=steps,
                        penalty=0.1 if self.penalty in ("all", latent) else 0.0,
                        penalty_mass=LATENT_MASS,
                        first_spread=0.2,
                    )
                )
                for latent in self.latents
            },
            "effort": asdict(effort),
        }


def units_of(store: Store, settings: Mapping[str, Any], _: SigmaSweep) -> list[Unit]:
    """One training batch for every latent and seed, with a file for every sigma."""
    # the slower latents first, so that the last worker to finish is not the slowest
    order = sorted(settings["latents"], key=lambda name: settings["training"][name]["penalty"], reverse=True)
    return [
        Unit(
            columns={"latent": latent, "seed": seed},
            depends={
                "batch_sigmas": settings["sigmas"],  # one stream of random numbers serves the batch
                "architecture": settings["architecture"],
                "training": settings["training"][latent],
                # certificates for the first seed alone
                "effort": settings["effort"] | ({} if seed == FIRST_SEED else {"certificate": 0.0}),
            },
            store=store,
            parts=tuple({"sigma": sigma} for sigma in settings["sigmas"]),
        )
        for seed in reported(settings["seeds"])
        for latent in order
    ]


def work(unit: Unit, progress: Progress) -> None:
    """Train the unit's networks unless their checkpoints are there, then measure the rows that are missing."""
    missing, training = unit.missing, Training(**unit["training"])
    if any(not _checkpoint(unit, part).exists() for part in missing):
        _train(unit, training, lambda share: progress(TRAINING_SHARE * share))
    for index, part in enumerate(missing):
        path = _checkpoint(unit, part)
        flow, _ = load_flow(path)
        started = time.perf_counter()
        seed = int(unit.key(part), 16) % 2**32
        row = bracket(flow, LATENTS[unit["latent"]], part["sigma"], seed=seed, effort=Effort(**unit["effort"]))
        settings = unit["architecture"] | {name: getattr(training, name) for name in SHOWN}
        seconds = {
            "training_seconds": json.loads(path.with_suffix(".json").read_text())["training_seconds"],
            "networks_in_batch": len(unit.parts),
            "measuring_seconds": time.perf_counter() - started,
            "threads": torch.get_num_threads(),
        }
        checkpoint = {"checkpoint": str(path.relative_to(unit.store.folder))}
        unit.put([settings | row | seconds | checkpoint], part)
        progress(TRAINING_SHARE + (1 - TRAINING_SHARE) * (index + 1) / len(missing))


def _checkpoint(unit: Unit, part: Mapping[str, Any]) -> Path:
    """The network of a width; beside it a note of what it was trained with, and how long."""
    return unit.store.checkpoints / f"{unit.key(part)}.safetensors"


SHOWN = ("objective", "steps", "batch", "learning_rate", "penalty", "penalty_limit", "first_spread")


def two_mode_batches(sigmas: Sequence[float]) -> Callable[[int, torch.Generator], Tensor]:
    """Return a source of training batches, shape (E, n, 2), network i from the law with width sigmas[i].

    Half of every batch comes from each mode: stratified, so the split of the mass is learned without sampling noise.
    """
    widths = torch.tensor(sigmas)[:, None]

    def draw(n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(sigmas), n, 2, generator=generator)
        side = torch.ones(n)
        side[: n // 2] = -1.0
        return torch.stack((side + widths * noise[..., 0], noise[..., 1]), dim=-1)

    return draw


def _train(unit: Unit, training: Training, report: Callable[[float], None]) -> None:
    latent, architecture = unit["latent"], CouplingFlow(**unit["architecture"])
    states = np.random.SeedSequence([unit["seed"], sorted(LATENTS).index(latent)]).generate_state(len(unit.parts) + 1)
    ensemble = Ensemble([coupling_flow(architecture, seed=int(state)) for state in states[1:]])
    started = time.perf_counter()
    train(
        ensemble,
        two_mode_batches(unit["batch_sigmas"]),
        LATENTS[latent],
        training,
        seed=int(states[0]),
        callback=lambda step, _: report(step / training.steps),
    )
    seconds = round((time.perf_counter() - started) / len(unit.parts), 3)
    for part, network in zip(unit.parts, ensemble.networks(), strict=True):
        path, note = _checkpoint(unit, part), {**unit.columns, **part, **unit.depends, "training_seconds": seconds}
        unit.store.put_json(path.with_suffix(".json"), note)
        save_flow(path, network, architecture)


def _planes(units: Sequence[Unit], results: pd.DataFrame) -> pd.DataFrame:
    """The stretching of the latent plane and generated samples, for one small sigma and the first seed of every latent."""
    sigma = results["sigma"].iloc[(results["sigma"] - PICTURED_SIGMA).abs().argmin()]
    frames = []
    for row in results[(results["sigma"] == sigma) & (results["seed"] == FIRST_SEED)].itertuples():
        latent = LATENTS[row.latent]
        flow = load_flow(units[0].store.folder / row.checkpoint)[0].double().requires_grad_(False)
        hull = latent.hull(LATENT_MASS)
        means = np.array(latent.means)
        half = hull.radius * 2 / PLANE_CELLS
        first = np.arange(means[:, 0].min() - hull.radius + half / 2, means[:, 0].max() + hull.radius, half)
        second = np.arange(-hull.radius + half / 2, hull.radius, half)
        grid = torch.as_tensor(np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2))
        stretch = torch.where(hull.depth(grid) >= 0, jacobian_norms(flow.inverse, grid), torch.nan).log10()
        with torch.no_grad():
            samples = flow.inverse(torch.as_tensor(latent.measure.sample_quasi(PLANE_SAMPLES, 0)))
        for kind, points, values in (("latent plane", grid, stretch), ("generated sample", samples, None)):
            frame = pd.DataFrame(points.numpy(), columns=["first", "second"])
            frame["log10_sigma_max"] = np.nan if values is None else values.numpy()
            frames.append(frame.assign(kind=kind, latent=row.latent, sigma=sigma))
    # single precision: a picture needs no more, and the table is kept beside the docs
    return pd.concat(frames, ignore_index=True).astype(dict.fromkeys(["first", "second", "log10_sigma_max"], "float32"))


@dataclass(frozen=True)
class Recompute:
    """Compute a row's witness quotient again from its saved network."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the results."""
    row: Annotated[str, tyro.conf.Positional]
    """Row number in results.parquet, or the beginning of its key."""


RECOMPUTE_TOLERANCE = 1e-5  # relative; the stored bound is the quotient less what the network may round by


def recompute(config: Recompute) -> tuple[float, float]:
    """Return the stored and the recomputed quotient |f(a) - f(b)| / |a - b| of a row's witness pair (a, b)."""
    try:
        results = pd.read_parquet(config.folder / "results.parquet")
    except (OSError, ValueError) as error:
        got = f"{config.folder} ({type(error).__name__})"
        raise InvalidInput("DIR", got, "a folder with results.parquet", "run sigma-sweep first") from error
    chosen = results[results["key"].str.startswith(config.row)]
    if config.row.isdigit() and int(config.row) < len(results):
        chosen = results.iloc[[int(config.row)]]
    if len(chosen) != 1:
        raise InvalidInput(
            "ROW", repr(config.row), f"a number below {len(results)} or the beginning of one key", "see the table's first column"
        )
    row = chosen.iloc[0]
    flow = load_flow(config.folder / row["checkpoint"])[0].double().requires_grad_(False)
    pair = (np.array(row["witness_a"]), np.array(row["witness_b"]))
    return float(row["lip_found"]), quotient(flow.inverse, pair)


TABLE = {
    "latent": "latent",
    "sigma": "sigma",
    "seed": "seed",
    "accurate": "accurate",
    "epsilon": "epsilon",
    "lip_found": "found",
    "lip_found_hull": "hull",
    "lip_forced_frontier": "frontier",
    "lip_forced_data": "two sets 95%",
    "lip_forced_sharp": "sharp",
    "lip_blackbox": "black-box 95%",
    "lip_forced_printed": "printed",
    "lip_exact": "exact",
    "inversion_error_float32": "inversion",
    "sandwich": "bracket",
}

EXPERIMENT = Experiment(
    name="sigma-sweep",
    options=SigmaSweep,
    units=units_of,
    work=work,
    order=("latent", "sigma", "seed"),
    tables={"planes": _planes},
    figures=sigma_sweep_figure,
    summary=lambda results: [results[list(TABLE)].rename(columns=TABLE)],
    shown={
        "sigma-sweep": Shown(15),
        # controls, one seed each
        "sigma-sweep-penalty": Shown(7, {"seeds": 1, "latents": ("normal",), "penalty": "all"}),
        "sigma-sweep-no-penalty": Shown(7, {"seeds": 1, "latents": ("mixture",), "penalty": "none"}),
        "sigma-sweep-example1": Shown(7, {"seeds": 1, "latents": ("example1",)}),
        "sigma-sweep-discrepancy": Shown(
            7, {"seeds": 1, "latents": ("normal",), "objective": "discrepancy", "sigmas": (0.5, 0.3, 0.2, 0.15)}
        ),
    },
)
