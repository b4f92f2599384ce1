"""Every statement of the paper, printed, sharp and repaired, on trained networks and where refutation is possible.

`python -m experiments theorems`: results.parquet with one row a check, a table and a figure of the slack. The slack is the
quotient of the larger side and the smaller, 1 where a bound is attained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.checks import Check, conditional_checks, measure, unconditional_checks
from experiments.exact_checks import extremal_checks, finite_checks, monotone_checks
from experiments.networks import SETTINGS, Setting, train_setting
from experiments.store import Store, key_of
from experiments.sweep import Progress, run_units
from lipbounds.errors import InvalidInput
from lipbounds.theorems import STATEMENTS, Outcome

__all__ = ["Theorems", "rows_of", "run", "summary"]

ORDER = {(one.number, one.version): place for place, one in reversed(list(enumerate(STATEMENTS)))}  # that of the paper
MEASURED_SHARE = 0.6  # of a unit's time is training


@dataclass(frozen=True)
class Theorems:
    """Check every statement on trained networks and on instances with exact sides; draw the slack."""

    out: Path = Path("results/theorems")
    """Folder of the results; a run that was interrupted goes on there."""
    quick: bool = False
    """Fewer sets and instances, within 50 seconds on two cores."""
    seeds: int | None = None
    """Number of trainings of every setting."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on."""
        seeds = self.seeds if self.seeds is not None else 1 if self.quick else 3
        if seeds < 1:
            raise InvalidInput("--seeds", seeds, "an integer >= 1", "one seed is the least")
        return {
            "seeds": seeds,
            "sets": 6 if self.quick else 12,
            "labels": 6 if self.quick else 10,
            "exact": 40 if self.quick else 300,
            "screening": 1024 if self.quick else 4096,
            "certify": not self.quick,
            "settings": [setting.name for setting in SETTINGS],
        }


@dataclass(frozen=True)
class Unit:
    """One training batch and its checks, or the exact instances."""

    setting: Setting | None
    seed: int
    configuration: dict[str, Any]
    store: Store = field(repr=False)

    @property
    def key(self) -> str:
        """Of the unit's rows."""
        name = "exact" if self.setting is None else self.setting.name
        return key_of({"unit": name, "seed": self.seed} | self.configuration)


def rows_of(checks: Iterable[Check], origin: str) -> list[dict[str, Any]]:
    """Check instances; one row each, the columns of the results."""
    rows = []
    for statement, instance, words in checks:
        verdict = statement.check(instance)
        rows.append(
            {
                "order": ORDER[statement.number, statement.version],
                "statement": statement.number,
                "version": statement.version,
                "origin": origin,
                "instance": words,
                "refutable": verdict.refutable,
                "verdict": verdict.outcome.name,
                "slack": verdict.slack,
                "guarantee": "" if verdict.guarantee is None else verdict.guarantee.name,
                "reason": verdict.reason,
            }
        )
    return rows


def run(config: Theorems) -> pd.DataFrame:
    """Train, check, and write results.parquet and summary.parquet; returns the rows."""
    configuration = config.configuration()
    store = Store(config.out, "theorems", configuration)
    begin = time.perf_counter()
    # the slowest units first, so that no core waits for one at the end
    trainings = sorted(SETTINGS, key=lambda setting: (setting.latent == "normal", -setting.dim))
    units = [Unit(setting, seed, configuration, store) for seed in range(configuration["seeds"]) for setting in trainings]
    units.append(Unit(None, 0, configuration, store))
    todo = [unit for unit in units if not store.has(unit.key)]
    if todo:
        run_units(_work, todo, description="theorems")
    results = store.merge(["order", "origin"])
    store.put_table("summary", summary(results))
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results


def _work(unit: Unit, report: Progress) -> None:
    configuration = unit.configuration
    if unit.setting is None:
        rng = np.random.default_rng(unit.seed)
        rows = rows_of(monotone_checks(configuration["exact"] // 4, rng), "exact, line and slabs")
        rows += rows_of(finite_checks(configuration["exact"], rng), "exact, finite support")
        rows += rows_of(extremal_checks(), "extremal")
        unit.store.put_rows(unit.key, rows)
        return
    networks = train_setting(unit.setting, seed=unit.seed, callback=lambda share: report(MEASURED_SHARE * share))
    rows = []
    for index, network in enumerate(networks):
        seed = 100 * unit.seed + index
        measured = measure(network, seed=seed, screening=configuration["screening"], certify=configuration["certify"])
        if unit.setting.labels:
            checks = conditional_checks(measured, configuration["labels"])
        else:
            checks = unconditional_checks(measured, configuration["sets"])
        rows += rows_of(checks, network.name)
        report(MEASURED_SHARE + (1 - MEASURED_SHARE) * (index + 1) / len(networks))
    unit.store.put_rows(unit.key, rows)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One row a statement, version and kind of instance: verdicts, refutations that were possible and that happened, slack."""
    kind = results["origin"].where(results["origin"].str.startswith(("exact", "extremal")), "trained networks")
    # apart: the sharp statements compare with N(0, I), from which a mixture is far, and say little
    kind = kind.where(~results["origin"].str.startswith("mixture"), "trained networks, mixture latent")
    rows = []
    for (statement, version, origin), group in results.groupby(["statement", "version", kind], sort=False):
        counts = group["verdict"].value_counts()
        applicable = len(group) - counts.get(Outcome.NOT_APPLICABLE.name, 0)
        finite = group["slack"][np.isfinite(group["slack"])]
        rows.append(
            {
                "statement": statement,
                "version": version,
                "instances": origin,
                "checks": len(group),
                "not applicable": 1 - applicable / len(group),
                "confirmed": counts.get(Outcome.CONFIRMED.name, 0) / len(group),
                "undecided": counts.get(Outcome.UNDECIDED.name, 0) / len(group),
                "refutable": int(group["refutable"].sum()),
                "refuted": int(counts.get(Outcome.REFUTED.name, 0)),
                "least slack": float(finite.min()) if len(finite) else math.nan,
                "median slack": float(finite.median()) if len(finite) else math.nan,
            }
        )
    return pd.DataFrame(rows)
