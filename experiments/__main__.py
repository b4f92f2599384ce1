"""`python -m experiments NAME [options]`: the experiments, from the command line."""

from __future__ import annotations

import os

# Before torch is imported: with active waiting small operations run many times slower as soon as another process
# uses a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro

from experiments.architectures import Architectures
from experiments.architectures import run as run_architectures
from experiments.bench import distances, lipschitz, training
from experiments.bench.plots import bench_distances_figure, bench_lipschitz_figure
from experiments.eight_modes import EightModes
from experiments.eight_modes import colours as eight_modes_colours
from experiments.eight_modes import run as run_eight_modes
from experiments.eight_modes import summary as eight_modes_summary
from experiments.inpainting import Inpainting
from experiments.inpainting import run as run_inpainting
from experiments.inpainting import summary as inpainting_summary
from experiments.kinematics import Kinematics
from experiments.kinematics import run as run_kinematics
from experiments.kinematics import summary as kinematics_summary
from experiments.plots import (
    architectures_figure,
    remark_2_figure,
    sigma_sweep_figure,
    theorems_figure,
    tightness_figure,
    trade_off_figure,
)
from experiments.posterior_plots import eight_modes_figures, inpainting_figure, kinematics_figures
from experiments.remark_2 import KERNELS, Remark2
from experiments.remark_2 import run as run_remark_2
from experiments.reproduce import Figures, Reproduce, draw_all, estimate, reproduce
from experiments.sigma_sweep import RECOMPUTE_TOLERANCE, Recompute, SigmaSweep, recompute, run
from experiments.theorems import Theorems, summary
from experiments.theorems import run as run_theorems
from experiments.tightness import Tightness
from experiments.tightness import run as run_tightness
from experiments.trade_off import TradeOff
from experiments.trade_off import run as run_trade_off
from lipbounds.errors import InvalidInput, LipboundsError
from lipbounds.theorems.remark_2 import feature_lipschitz

app = tyro.extras.SubcommandApp()

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
    "sandwich": "sandwich",
}


@app.command(name="sigma-sweep")
def sigma_sweep(config: tyro.conf.OmitArgPrefixes[SigmaSweep]) -> None:
    """Two modes that get sharper: normal against mixture latent."""
    results = run(config)
    paths = sigma_sweep_figure(config.out)
    shown = results[list(TABLE)].rename(columns=TABLE)
    with pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None):
        print(shown.to_string(float_format=lambda value: f"{value:.3g}", na_rep="-"))
    print(f"\n{config.out / 'results.parquet'}", *paths, sep="\n")


@app.command(name="recompute")
def recompute_row(config: tyro.conf.OmitArgPrefixes[Recompute]) -> None:
    """Check the witness of one row against its saved network."""
    stored, again = recompute(config)
    difference = abs(again - stored) / stored
    print(f"stored {stored!r}, recomputed {again!r}, relative difference {difference:.1e}")
    if difference > RECOMPUTE_TOLERANCE:
        sys.exit(1)


@dataclass(frozen=True)
class Bench:
    """Measure side by side with peers, in one run; needs the extra `bench` for all of them."""

    suite: tyro.conf.Positional[Literal["distances", "lipschitz", "training"]]
    """What is measured."""
    out: Path | None = None
    """Folder of the results; results/bench-SUITE by default."""
    quick: bool = False
    """Small problems, within a minute: to see that it runs, not to be quoted."""
    threads: int = 2
    """Threads of every contender."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where `lipschitz` certifies flows of three and more dimensions; with cuda it measures these alone."""


@app.command(name="bench")
def bench(config: tyro.conf.OmitArgPrefixes[Bench]) -> None:
    """Beside peers: distances (POT, scipy, geomloss), Lipschitz constants (torchlip, ECLipsE and others) or training (FrEIA)."""
    if config.threads < 1:
        raise InvalidInput("--threads", config.threads, "an integer >= 1", "two cores are the reference")
    if config.device != "cpu" and config.suite != "lipschitz":
        raise InvalidInput("--device", config.device, "cpu", "distances and training are measured on the processor")
    out = config.out or Path(f"results/bench-{config.suite}{'' if config.device == 'cpu' else '-' + config.device}")
    hidden = ["key", "order", "threads", "warm_seconds"]
    paths: list[Path] = []
    if config.suite == "distances":
        results = distances.run(out, quick=config.quick, threads=config.threads)
        paths = bench_distances_figure(out)
        tables = [results.drop(columns=hidden)]
    elif config.suite == "training":
        tables = [training.run(out, quick=config.quick, threads=config.threads).drop(columns=[*hidden, "lower", "upper"])]
    else:
        results = lipschitz.run(out, quick=config.quick, threads=config.threads, device=config.device)
        flows = results[results["kind"] == "flow"]
        tables = [flows[list(lipschitz.FLOW_COLUMNS)]]
        if config.device == "cpu":
            paths = bench_lipschitz_figure(out)
            tables.insert(0, lipschitz.summary(results))
    with pd.option_context("display.width", 250, "display.max_columns", None, "display.max_rows", None):
        for shown in tables:
            print(shown.to_string(float_format=lambda value: f"{value:.3g}", na_rep="-"), end="\n\n")
    print(out / "results.parquet", *paths, sep="\n")


@app.command(name="remark-2")
def remark_2(config: tyro.conf.OmitArgPrefixes[Remark2]) -> None:
    """W_1 and D_K agree on convergence on compact sets, and part where mass escapes."""
    results = run_remark_2(config)
    paths = remark_2_figure(config.out, {name: feature_lipschitz(kernel) for name, kernel in KERNELS.items()})
    with pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None):
        print(results.drop(columns="key").to_string(float_format=lambda value: f"{value:.3g}"))
    print(f"\n{config.out / 'results.parquet'}", *paths, sep="\n")


@app.command(name="theorems")
def theorems(config: tyro.conf.OmitArgPrefixes[Theorems]) -> None:
    """Every statement on trained networks and on exact instances: verdicts and slack."""
    results = run_theorems(config)
    paths = theorems_figure(config.out)
    with pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None):
        print(summary(results).to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-"))
    print(f"\n{config.out / 'results.parquet'}", *paths, sep="\n")


@app.command(name="tightness")
def tightness(config: tyro.conf.OmitArgPrefixes[Tightness]) -> None:
    """How far the printed bounds are from the sharp ones and from exact values."""
    results = run_tightness(config)
    paths = tightness_figure(config.out, config.sigma)
    with pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None):
        print(results.drop(columns="key").to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    print(f"\n{config.out / 'results.parquet'}", *paths, sep="\n")


@app.command(name="eight-modes")
def eight_modes(config: tyro.conf.OmitArgPrefixes[EightModes]) -> None:
    """The 8 modes problem: points from colours, with both latents."""
    results = run_eight_modes(config)
    _show(eight_modes_summary(results))
    _show(eight_modes_colours(results))
    print(config.out / "results.parquet", *eight_modes_figures(config.out), sep="\n")


@app.command(name="kinematics")
def kinematics(config: tyro.conf.OmitArgPrefixes[Kinematics]) -> None:
    """A robot arm that ends at y: posteriors of its configuration, with both latents."""
    results = run_kinematics(config)
    _show(kinematics_summary(results))
    print(config.out / "results.parquet", *kinematics_figures(config.out), sep="\n")


@app.command(name="inpainting")
def inpainting(config: tyro.conf.OmitArgPrefixes[Inpainting]) -> None:
    """Zeros and eights from their lower rows: small digits, or MNIST from your files."""
    results = run_inpainting(config)
    _show(inpainting_summary(results))
    print(config.out / "results.parquet", *inpainting_figure(config.out), sep="\n")


@app.command(name="architectures")
def architectures(config: tyro.conf.OmitArgPrefixes[Architectures]) -> None:
    """The sigma sweep with five architectures: which explode how."""
    results = run_architectures(config)
    _show(results.drop(columns="key"))
    print(config.out / "results.parquet", *architectures_figure(config.out), sep="\n")


@app.command(name="trade-off")
def trade_off(config: tyro.conf.OmitArgPrefixes[TradeOff]) -> None:
    """What accuracy remains when Lip(T^{-1}) is held down, for every means of control."""
    results = run_trade_off(config)
    paths = trade_off_figure(config.out)
    with pd.option_context("display.width", 220, "display.max_columns", None, "display.max_rows", None):
        print(results.drop(columns="key").to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    print(f"\n{config.out / 'results.parquet'}", *paths, sep="\n")


@app.command(name="reproduce")
def reproduce_all(config: tyro.conf.OmitArgPrefixes[Reproduce]) -> None:
    """Everything that the docs show, after an estimate of the time; finished work is kept."""
    print(estimate(config), flush=True)
    if not config.estimate:
        reproduce(config)


@app.command(name="figures")
def figures(config: tyro.conf.OmitArgPrefixes[Figures]) -> None:
    """All figures of the docs from their stored tables."""
    print(*draw_all(config), sep="\n")


def _show(table: pd.DataFrame) -> None:
    with pd.option_context("display.width", 250, "display.max_columns", None, "display.max_rows", None):
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-"), end="\n\n")


def main() -> None:
    """Run the command line; errors of the caller are one line and status 2."""
    try:
        app.cli(prog="python -m experiments", description=__doc__)
    except LipboundsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
