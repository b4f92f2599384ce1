"""One mechanism for all experiments: units of work, the work, tables beside the results, figures and a summary.

An experiment is one file with an `EXPERIMENT`; the command line finds it by its name.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd

from experiments.store import Store, key_of
from experiments.sweep import FIRST_SEED, Progress, Spent, run_units
from lipbounds.errors import InvalidInput

__all__ = ["Experiment", "Shown", "Unit", "experiments_by_name", "reported", "seeds_of"]


class Options(Protocol):
    """A command line: at least a folder, and what the results depend on."""

    @property
    def out(self) -> Path: ...

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        ...


@dataclass(frozen=True)
class Unit:
    """What is worked on at once, mostly one training.

    Attributes:
        columns: What tells it from others; columns of its rows.
        depends: What its rows depend on besides.
        store: The folder of the run.
        parts: What tells its files from one another, a file for each; one file by default.
        settings: What the work needs besides and the key does not hold.
    """

    columns: Mapping[str, Any]
    depends: Mapping[str, Any]
    store: Store = field(repr=False)
    parts: tuple[Mapping[str, Any], ...] = ({},)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def key(self, part: Mapping[str, Any] | None = None) -> str:
        """The hash that names a file of rows and its checkpoint."""
        return key_of({**self.columns, **(part or {}), **self.depends})

    @property
    def missing(self) -> list[Mapping[str, Any]]:
        """The parts whose rows are not there."""
        return [part for part in self.parts if not self.store.has(self.key(part))]

    def put(self, rows: Sequence[Mapping[str, Any]], part: Mapping[str, Any] | None = None) -> None:
        """Write the rows of a part, each behind the columns of the unit, in one step."""
        self.store.put_rows(self.key(part), [{**self.columns, **(part or {}), **row} for row in rows])

    def __getitem__(self, name: str) -> Any:
        """A column, what rows depend on, or a setting."""
        return next(place[name] for place in (self.columns, self.depends, self.settings) if name in place)


Config = TypeVar("Config", bound=Options)


@dataclass(frozen=True)
class Shown:
    """A run that docs show.

    Attributes:
        minutes: What it took on two cores, or is expected to.
        options: Options that are not the default.
        needs: Variable of the environment that must name the user's files.
    """

    minutes: float
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None


def _results(results: pd.DataFrame) -> Sequence[pd.DataFrame]:
    return [results.drop(columns="key")]


@dataclass(frozen=True)
class Experiment(Generic[Config]):
    """An experiment.

    Attributes:
        name: On the command line, and of its folder.
        options: Its command line, a frozen dataclass.
        units: The units of work, from the folder, the configuration and the options.
        work: Works on one, in a process of its own if there are several, and puts the rows of its missing parts.
        order: Columns that sort the results.
        figures: Draws the figures of a folder; returns their paths.
        shown: Runs that docs show, by the name of their folder.
        tables: Further tables beside the results, each from the units and the results.
        summary: What the command line prints of the results, one table or several.
    """

    name: str
    options: type[Config]
    units: Callable[[Store, Mapping[str, Any], Config], list[Unit]]
    work: Callable[[Unit, Progress], None]
    order: tuple[str, ...]
    figures: Callable[[Path], list[Path]]
    shown: Mapping[str, Shown]
    tables: Mapping[str, Callable[[Sequence[Unit], pd.DataFrame], pd.DataFrame]] = field(default_factory=dict)
    summary: Callable[[pd.DataFrame], Sequence[pd.DataFrame]] = _results

    def run(self, config: Config) -> pd.DataFrame:
        """Run or resume; returns the results, which are also in the folder."""
        settings = config.configuration()
        started, spent = time.perf_counter(), Spent(0.0, 0, 0)
        store = Store(config.out, self.name, settings)
        units = self.units(store, settings, config)
        try:
            spent = run_units(self.work, [unit for unit in units if unit.missing], description=self.name)
            results = store.merge(list(self.order))
            for name, make in self.tables.items():
                store.put_table(name, make(units, results))
        finally:
            store.describe(wall_seconds=time.perf_counter() - started, **spent._asdict())
        return results


def seeds_of(chosen: int | None, *, default: int) -> int:
    """The number of seeds from the command line, checked.

    Raises:
        InvalidInput: For less than one.
    """
    number = default if chosen is None else chosen
    if number < 1:
        raise InvalidInput("--seeds", number, "an integer >= 1", "one seed is the least")
    return number


def reported(seeds: int) -> range:
    """That many seeds of networks that are reported."""
    return range(FIRST_SEED, FIRST_SEED + seeds)


def experiments_by_name() -> dict[str, Experiment[Any]]:
    """Every `EXPERIMENT` of this package."""
    package = importlib.import_module("experiments")
    names = [one.name for one in pkgutil.iter_modules(package.__path__) if not one.name.startswith("__")]
    found = [getattr(importlib.import_module(f"experiments.{name}"), "EXPERIMENT", None) for name in names]
    return {one.name: one for one in found if one is not None}
