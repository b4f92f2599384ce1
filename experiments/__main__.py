"""`python -m experiments NAME [options]`: the experiments, from the command line."""

from __future__ import annotations

import os

# Before torch is imported: with active waiting small operations run many times slower as soon as another process
# uses a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys

import pandas as pd
import tyro

from experiments.plots import sigma_sweep_figure
from experiments.sigma_sweep import RECOMPUTE_TOLERANCE, Recompute, SigmaSweep, recompute, run
from lipbounds.errors import LipboundsError

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
