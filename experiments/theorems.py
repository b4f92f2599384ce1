"""Every statement of the paper, printed, sharp and repaired, on trained networks and where refutation is possible.

`python -m experiments theorems`: results.parquet with one row a check, a table and a figure of the slack. The slack is the
quotient of the larger side and the smaller, 1 where a bound is attained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.checks import Check, conditional_checks, measured_on_ball, unconditional_checks
from experiments.exact_checks import extremal_checks, finite_checks, monotone_checks
from experiments.experiment import Experiment, Shown, Unit, seeds_of
from experiments.networks import SETTINGS, train_setting
from experiments.plots import theorems_figure
from experiments.store import Store
from experiments.sweep import Progress
from lipbounds.theorems import STATEMENTS, Outcome

__all__ = ["EXPERIMENT", "Theorems", "rows_of", "summary"]

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
        return {
            "seeds": seeds_of(self.seeds, default=1 if self.quick else 3),
            "sets": 6 if self.quick else 12,
            "labels": 6 if self.quick else 10,
            "exact": 40 if self.quick else 300,
            "search": 30_000 if self.quick else 200_000,
            "certify": not self.quick,
            "settings": [setting.name for setting in SETTINGS],
        }


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


def units_of(store: Store, settings: Mapping[str, Any], _: Theorems) -> list[Unit]:
    """A training batch and its checks for every setting and seed, and the exact instances."""
    # the slowest units first, so that no core waits for one at the end
    trainings = sorted(SETTINGS, key=lambda setting: (setting.latent == "normal", -setting.dim))
    named = [(setting.name, seed) for seed in range(settings["seeds"]) for setting in trainings] + [("exact", 0)]
    return [Unit({}, {"unit": name, "seed": seed, **settings}, store) for name, seed in named]


def work(unit: Unit, progress: Progress) -> None:
    """Check the statements on the networks of a setting, or on exact instances."""
    if unit["unit"] == "exact":
        rng = np.random.default_rng(unit["seed"])
        rows = rows_of(monotone_checks(unit["exact"] // 4, rng), "exact, line and slabs")
        rows += rows_of(finite_checks(unit["exact"], rng), "exact, finite support")
        unit.put(rows + rows_of(extremal_checks(), "extremal"))
        return
    setting = next(setting for setting in SETTINGS if setting.name == unit["unit"])
    networks = train_setting(setting, seed=unit["seed"], callback=lambda share: progress(MEASURED_SHARE * share))
    rows = []
    for index, network in enumerate(networks):
        seed = 100 * unit["seed"] + index
        measured = measured_on_ball(network, seed=seed, evaluations=unit["search"], certify=unit["certify"])
        check, count = (conditional_checks, unit["labels"]) if setting.labels else (unconditional_checks, unit["sets"])
        rows += rows_of(check(measured, count), network.name)
        progress(MEASURED_SHARE + (1 - MEASURED_SHARE) * (index + 1) / len(networks))
    unit.put(rows)


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


EXPERIMENT = Experiment(
    name="theorems",
    options=Theorems,
    units=units_of,
    work=work,
    order=("order", "origin"),
    tables={"summary": lambda _, results: summary(results)},
    figures=theorems_figure,
    summary=lambda results: [summary(results)],
    shown={"theorems": Shown(5)},
)
