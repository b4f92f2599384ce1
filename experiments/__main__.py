"""`python -m experiments NAME [options]`: the experiments, from the command line."""

from __future__ import annotations

import os

# Before torch is imported: with active waiting small operations run many times slower as soon as another process
# uses a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import tyro

from experiments.bench import certificates, distances, generators, lipschitz, search, training
from experiments.bench.plots import (
    bench_certificates_figure,
    bench_distances_figure,
    bench_lipschitz_figure,
    bench_search_figure,
)
from experiments.experiment import Experiment, experiments_by_name
from experiments.reproduce import Figures, Reproduce, draw_all, estimate, reproduce
from experiments.sigma_sweep import RECOMPUTE_TOLERANCE, Recompute, recompute
from lipbounds.errors import InvalidInput, LipboundsError

app = tyro.extras.SubcommandApp()


def _command(experiment: Experiment[Any]) -> Callable[[Any], None]:
    """Run an experiment, print its summary and draw its figures."""

    def command(config: Any) -> None:
        for table in experiment.summary(experiment.run(config)):
            _show(table)
        print(config.out / "results.parquet", *experiment.figures(config.out), sep="\n")

    options: Any = experiment.options
    command.__annotations__ = {"config": Annotated[options, tyro.conf.OmitArgPrefixes], "return": None}
    command.__doc__ = experiment.options.__doc__
    return command


for _experiment in experiments_by_name().values():
    app.command(name=_experiment.name)(_command(_experiment))


@app.command(name="recompute")
def recompute_row(config: tyro.conf.OmitArgPrefixes[Recompute]) -> None:
    """Check the witness of one row against its saved network."""
    stored, again = recompute(config)
    difference = (again - stored) / stored
    print(f"stored bound {stored!r}, quotient {again!r}, relative difference {difference:.1e}")
    # the bound is the quotient less what the network may round by
    if not 0.0 <= difference <= RECOMPUTE_TOLERANCE:
        sys.exit(1)


@dataclass(frozen=True)
class Bench:
    """Measure side by side with peers, in one run; needs the extra `bench` for all of them."""

    suite: tyro.conf.Positional[Literal["certificates", "distances", "generators", "lipschitz", "search", "training"]]
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
    """Beside peers: distances (POT, scipy, geomloss), Lipschitz constants (torchlip, ECLipsE), the search, training.

    `search` and `certificates` run on networks of zuko, normflows, nflows and FrEIA, `generators` on decoders and piecewise
    linear networks; `training` beside FrEIA.
    """
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
    elif config.suite == "search":
        tables = [search.summary(search.run(out, quick=config.quick, threads=config.threads))]
        paths = bench_search_figure(out)
    elif config.suite == "certificates":
        tables = [certificates.summary(certificates.run(out, quick=config.quick, threads=config.threads))]
        paths = bench_certificates_figure(out, "bench-certificates")
    elif config.suite == "generators":
        tables = [generators.summary(generators.run(out, quick=config.quick, threads=config.threads))]
        paths = bench_certificates_figure(out, "bench-generators")
    elif config.suite == "training":
        tables = [training.run(out, quick=config.quick, threads=config.threads).drop(columns=[*hidden, "lower", "upper"])]
    else:
        results = lipschitz.run(out, quick=config.quick, threads=config.threads, device=config.device)
        flows = results[results["kind"] == "flow"]
        tables = [flows[list(lipschitz.FLOW_COLUMNS)]]
        if config.device == "cpu":
            paths = bench_lipschitz_figure(out)
            tables.insert(0, lipschitz.summary(results))
    for shown in tables:
        _show(shown)
    print(out / "results.parquet", *paths, sep="\n")


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
