"""Everything that docs show: all experiments one after the other, and all figures from the stored tables."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments import architectures, eight_modes, inpainting, kinematics, remark_2, sigma_sweep, theorems, tightness, trade_off
from experiments.bench.plots import bench_distances_figure, bench_lipschitz_figure
from experiments.digits import VARIABLE
from experiments.plots import (
    architectures_figure,
    remark_2_figure,
    sigma_sweep_figure,
    theorems_figure,
    tightness_figure,
    trade_off_figure,
)
from experiments.posterior_plots import eight_modes_figures, inpainting_figure, kinematics_figures
from lipbounds.errors import InvalidInput
from lipbounds.theorems.remark_2 import feature_lipschitz

__all__ = ["RUNS", "Figures", "Reproduce", "draw_all", "estimate", "reproduce"]


@dataclass(frozen=True)
class Run:
    """One experiment at the size that docs show.

    Attributes:
        name: Of its folder.
        minutes: What it took on two cores, or is expected to.
        run: From the folder to whatever it returns.
        needs_data: Whether it needs the user's MNIST files.
    """

    name: str
    minutes: float
    run: Callable[[Path], Any]
    needs_data: bool = False


SWEEPS: dict[str, dict[str, Any]] = {
    "sigma-sweep-penalty": {"latents": ("normal",), "penalty": "all"},
    "sigma-sweep-no-penalty": {"latents": ("mixture",), "penalty": "none"},
    "sigma-sweep-example1": {"latents": ("example1",)},
    "sigma-sweep-discrepancy": {"latents": ("normal",), "objective": "discrepancy", "sigmas": (0.5, 0.3, 0.2, 0.15)},
}
"""Controls of the sigma sweep, one seed each."""


def _sweep(name: str, out: Path) -> Any:
    return sigma_sweep.run(sigma_sweep.SigmaSweep(out=out, seeds=1, **SWEEPS[name]))


RUNS = (
    Run("remark-2", 0.1, lambda out: remark_2.run(remark_2.Remark2(out=out))),
    Run("tightness", 0.2, lambda out: tightness.run(tightness.Tightness(out=out))),
    Run("theorems", 5, lambda out: theorems.run(theorems.Theorems(out=out))),
    Run("sigma-sweep", 15, lambda out: sigma_sweep.run(sigma_sweep.SigmaSweep(out=out))),
    *(Run(name, 7, partial(_sweep, name)) for name in SWEEPS),
    Run("trade-off", 12, lambda out: trade_off.run(trade_off.TradeOff(out=out))),
    Run("architectures", 20, lambda out: architectures.run(architectures.Architectures(out=out))),
    Run("inpainting", 8, lambda out: inpainting.run(inpainting.Inpainting(out=out))),
    Run("kinematics", 240, lambda out: kinematics.run(kinematics.Kinematics(out=out))),
    Run("eight-modes", 125, lambda out: eight_modes.run(eight_modes.EightModes(out=out))),
    Run("inpainting-mnist", 225, lambda out: inpainting.run(inpainting.Inpainting(out=out, images="mnist")), needs_data=True),
)
FIGURES: dict[str, Callable[[Path], list[Path]]] = {
    "remark-2": lambda folder: remark_2_figure(folder, {name: feature_lipschitz(k) for name, k in remark_2.KERNELS.items()}),
    "tightness": lambda folder: tightness_figure(folder, tightness.Tightness().sigma),
    "theorems": theorems_figure,
    "sigma-sweep": sigma_sweep_figure,
    "trade-off": trade_off_figure,
    "architectures": architectures_figure,
    "inpainting": inpainting_figure,
    "inpainting-mnist": inpainting_figure,
    "kinematics": kinematics_figures,
    "eight-modes": eight_modes_figures,
    "bench-distances": bench_distances_figure,
    "bench-lipschitz": bench_lipschitz_figure,
}


@dataclass(frozen=True)
class Reproduce:
    """Run every experiment at the size that docs show; what is finished is kept, so it can be interrupted."""

    out: Path = Path("results")
    """Folder of the folders."""
    only: tuple[str, ...] = ()
    """Names of the experiments to run; all by default."""
    estimate: bool = False
    """Print the estimate alone."""

    def chosen(self) -> list[Run]:
        """The runs, without those that need files which are not there."""
        names = [run.name for run in RUNS]
        unknown = [name for name in self.only if name not in names]
        if unknown:
            raise InvalidInput("--only", unknown, f"some of {', '.join(names)}", "choose from these")
        wanted = [run for run in RUNS if not self.only or run.name in self.only]
        return [run for run in wanted if not run.needs_data or os.environ.get(VARIABLE)]


def estimate(config: Reproduce) -> str:
    """What the chosen runs will take."""
    runs = config.chosen()
    lines = [f"{run.name:24} {run.minutes:6.1f} min" for run in runs]
    lines.append(f"{'together':24} {sum(run.minutes for run in runs) / 60:6.1f} h on two cores without a GPU")
    if not os.environ.get(VARIABLE):
        lines.append(f"(inpainting of MNIST is left out: {VARIABLE} names no folder)")
    return "\n".join(lines)


def reproduce(config: Reproduce) -> None:
    """Run all that were chosen, one after the other."""
    for run in config.chosen():
        run.run(config.out / run.name)


@dataclass(frozen=True)
class Figures:
    """Draw every figure of the docs from the stored tables."""

    results: Path = Path("docs/results")
    """Folder of the results."""
    out: Path = Path("docs/images")
    """Folder of the pictures."""


def draw_all(config: Figures) -> list[Path]:
    """Draw what there are results of; returns the paths of the pictures."""
    present = [name for name in FIGURES if (config.results / name / "results.parquet").exists()]
    if not present:
        raise InvalidInput("--results", str(config.results), "a folder of results", "run the experiments first")
    config.out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name in present:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            for table in (config.results / name).glob("*.parquet"):
                shutil.copy(table, folder)
            for path in FIGURES[name](folder):
                if path.suffix == ".png":
                    target = config.out / (f"{name}.png" if name == "inpainting-mnist" else path.name)
                    shutil.move(path, target)
                    drawn.append(target)
    return drawn
