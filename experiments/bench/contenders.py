"""Contenders on problems, measured in one run: every row against ours on the same problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from experiments.bench.measure import measure
from experiments.store import Store, key_of
from lipbounds.enclosure import Enclosure

__all__ = ["OURS", "Contender", "Work", "measure_all"]

Work = Callable[..., Callable[[], Any]]
OURS = "lipbounds"


@dataclass(frozen=True)
class Contender:
    """One row to be measured."""

    problem: str
    points: int
    dim: int
    name: str
    work: Work
    arguments: tuple[object, ...]
    warm: tuple[object, ...]
    repetitions: int


def measure_all(out: Path, suite: str, contenders: Sequence[Contender], *, quick: bool, threads: int) -> pd.DataFrame:
    """Measure contenders one after the other, ours the first of each problem, and write results.parquet; returns it."""
    store = Store(out, f"bench-{suite}", {"quick": quick, "threads": threads, "rows": [_label(c) for c in contenders]})
    begin = time.perf_counter()
    ours: dict[tuple[str, int, int], dict[str, float]] = {}
    for order, contender in enumerate(tqdm(contenders, desc=f"bench {suite}")):
        key = key_of({"row": _label(contender)})
        measured = measure(
            contender.work, contender.arguments, warm=contender.warm, threads=threads, repetitions=contender.repetitions
        )
        value = measured.result
        lower, upper = (value.lower, value.upper) if isinstance(value, Enclosure) else (float("nan"), float("nan"))
        row = {
            "order": order,
            "problem": contender.problem,
            "points": contender.points,
            "dim": contender.dim,
            "contender": contender.name,
            "threads": threads,
            "seconds": measured.seconds,
            "warm_seconds": measured.warm_seconds,
            "peak_megabytes": measured.peak_megabytes,
            "value": float("nan") if isinstance(value, Enclosure) else float(value),
            "lower": lower,
            "upper": upper,
        }
        problem = contender.problem, contender.points, contender.dim
        reference = ours.setdefault(problem, {"seconds": measured.seconds, "peak": measured.peak_megabytes})
        row["ratio"] = measured.seconds / reference["seconds"]
        # below 1 MB nothing can be told apart
        row["memory_ratio"] = max(measured.peak_megabytes, 1.0) / max(reference["peak"], 1.0)
        store.put(key, row)
    results = store.merge(["order"])
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results


def _label(contender: Contender) -> str:
    return f"{contender.problem}; {contender.points} points in {contender.dim} dimensions; {contender.name}"
