"""Everything that docs show: all experiments one after the other, and all figures from the stored tables."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from experiments.bench.plots import (
    bench_certificates_figure,
    bench_distances_figure,
    bench_lipschitz_figure,
    bench_search_figure,
)
from experiments.experiment import Shown, experiments_by_name
from lipbounds.errors import InvalidInput

__all__ = ["Figures", "Reproduce", "draw_all", "estimate", "reproduce", "runs"]


def runs() -> dict[str, tuple[str, Shown]]:
    """What docs show: by the name of its folder the experiment and how it is run, the shortest first."""
    every = [(folder, (name, shown)) for name, one in experiments_by_name().items() for folder, shown in one.shown.items()]
    return dict(sorted(every, key=lambda run: run[1][1].minutes))


def figures() -> dict[str, Callable[[Path], list[Path]]]:
    """What draws the figures of a folder, by its name."""
    by_name = experiments_by_name()
    of_runs = {folder: by_name[name].figures for folder, (name, shown) in runs().items() if folder == name or shown.needs}
    of_certificates = {name: partial(bench_certificates_figure, name=name) for name in ("bench-certificates", "bench-generators")}
    return (
        of_runs
        | of_certificates
        | {
            "bench-distances": bench_distances_figure,
            "bench-lipschitz": bench_lipschitz_figure,
            "bench-search": bench_search_figure,
        }
    )


@dataclass(frozen=True)
class Reproduce:
    """Run every experiment at the size that docs show; what is finished is kept, so it can be interrupted."""

    out: Path = Path("results")
    """Folder of the folders."""
    only: tuple[str, ...] = ()
    """Names of the experiments to run; all by default."""
    estimate: bool = False
    """Print the estimate alone."""

    def chosen(self) -> dict[str, tuple[str, Shown]]:
        """The runs, without those that need files which are not there."""
        every = runs()
        unknown = [name for name in self.only if name not in every]
        if unknown:
            raise InvalidInput("--only", unknown, f"some of {', '.join(every)}", "choose from these")
        wanted = {name: run for name, run in every.items() if not self.only or name in self.only}
        return {name: run for name, run in wanted.items() if not run[1].needs or os.environ.get(run[1].needs)}


def estimate(config: Reproduce) -> str:
    """What the chosen runs will take."""
    minutes = {name: shown.minutes for name, (_, shown) in config.chosen().items()}
    lines = [f"{name:24} {taken:6.1f} min" for name, taken in minutes.items()]
    lines.append(f"{'together':24} {sum(minutes.values()) / 60:6.1f} h on two cores without a GPU")
    absent = {name: shown.needs for name, (_, shown) in runs().items() if shown.needs and not os.environ.get(shown.needs)}
    lines += [f"({name} is left out: {variable} names no folder)" for name, variable in absent.items()]
    return "\n".join(lines)


def reproduce(config: Reproduce) -> None:
    """Run all that were chosen, one after the other."""
    by_name = experiments_by_name()
    for folder, (name, shown) in config.chosen().items():
        by_name[name].run(by_name[name].options(out=config.out / folder, **shown.options))


@dataclass(frozen=True)
class Figures:
    """Draw every figure of the docs from the stored tables."""

    results: Path = Path("docs/results")
    """Folder of the results."""
    out: Path = Path("docs/images")
    """Folder of the pictures."""


def draw_all(config: Figures) -> list[Path]:
    """Draw what there are results of; returns the paths of the pictures."""
    draws = figures()
    present = [name for name in draws if (config.results / name / "results.parquet").exists()]
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
            for path in draws[name](folder):
                if path.suffix == ".png":
                    target = config.out / (f"{name}.png" if name == "inpainting-mnist" else path.name)
                    shutil.move(path, target)
                    drawn.append(target)
    return drawn
