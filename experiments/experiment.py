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
from experiments.sweep import FIRST_SEED, Progress, run_units

__all__ = ["Experiment", "Unit", "experiments_by_name", "nothing", "seeds_of"]


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
        parts: What tells its files from one another, a file for each; one file by default.
        store: The folder of the run.
        extra: What work needs and results do not depend on, as the folder of a user's data.
    """

    columns: Mapping[str, Any]
    depends: Mapping[str, Any]
    store: Store = field(repr=False)
    parts: tuple[Mapping[str, Any], ...] = ({},)
    extra: Any = None

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
        """A column or a setting."""
        return self.columns[name] if name in self.columns else self.depends[name]


Config = TypeVar("Config", bound=Options)


def nothing(*_: Any) -> list[Path]:
    """No figures."""
    return []


@dataclass(frozen=True)
class Experiment(Generic[Config]):
    """An experiment.

    Attributes:
        name: On the command line, and of its folder.
        options: Its command line, a frozen dataclass.
        units: The units of work of a configuration.
        work: Works on one, in a process of its own, and puts its rows.
        order: Columns that sort the results.
        tables: Further tables beside the results, each from the units and the results.
        figures: Draws the figures of a folder; returns their paths.
        summary: What the command line prints of the results, one table or several.
        minutes: What the run that docs show takes on two cores.
        runs: Further runs that docs show: options by the name of their folder, with their minutes.
    """

    name: str
    options: type[Config]
    units: Callable[[Store, dict[str, Any], Config], list[Unit]]
    work: Callable[[Unit, Progress], None]
    order: tuple[str, ...]
    tables: Mapping[str, Callable[[Sequence[Unit], pd.DataFrame], pd.DataFrame]] = field(default_factory=dict)
    figures: Callable[[Path], list[Path]] = nothing
    summary: Callable[[pd.DataFrame], Sequence[pd.DataFrame]] = lambda results: [results.drop(columns="key")]
    minutes: float = 1.0
    runs: Mapping[str, tuple[Mapping[str, Any], float]] = field(default_factory=dict)

    def run(self, config: Config) -> pd.DataFrame:
        """Run or resume; returns the results, which are also in the folder."""
        settings = config.configuration()
        started = time.perf_counter(), time.process_time()
        store = Store(config.out, self.name, settings)
        units = self.units(store, settings, config)
        try:
            run_units(self.work, [unit for unit in units if unit.missing], description=self.name)
            results = store.merge(list(self.order))
            for name, make in self.tables.items():
                store.put_table(name, make(units, results))
        finally:
            store.describe(wall_seconds=time.perf_counter() - started[0], cpu_seconds=time.process_time() - started[1])
        return results


def seeds_of(chosen: int | None, *, default: int) -> range:
    """The seeds of networks that are reported, for a number from the command line.

    Raises:
        InvalidInput: For less than one.
    """
    from lipbounds.errors import InvalidInput  # here, so that a list of experiments needs no torch

    number = default if chosen is None else chosen
    if number < 1:
        raise InvalidInput("--seeds", number, "an integer >= 1", "one seed is the least")
    return range(FIRST_SEED, FIRST_SEED + number)


def experiments_by_name() -> dict[str, Experiment[Any]]:
    """Every `EXPERIMENT` of this package."""
    package = importlib.import_module("experiments")
    modules = [f"experiments.{one.name}" for one in pkgutil.iter_modules(package.__path__) if not one.name.startswith("__")]
    found = [getattr(importlib.import_module(name), "EXPERIMENT", None) for name in modules]
    return {one.name: one for one in found if one is not None}
