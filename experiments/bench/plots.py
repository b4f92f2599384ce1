"""Figures of the benchmarks, drawn from results.parquet and from nothing else."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

__all__ = ["bench_distances_figure"]

STYLE = Path(__file__).parent.parent / "style.mplstyle"
OURS = "lipbounds"
MARKS = {
    "sliced": ("v", "#5b8c2a"),
    "max-sliced": ("^", "#8e44ad"),
    "POT on": ("s", "#c0392b"),
    "POT's": ("D", "#d68910"),
    "geomloss'": ("P", "#7f8c8d"),
}


def bench_distances_figure(folder: Path) -> list[Path]:
    """Draw bench-distances.png and .pdf in a results folder; returns their paths."""
    results = pd.read_parquet(folder / "results.parquet")
    large = results[results["problem"].str.startswith("large")]
    kinds = list(dict.fromkeys(large["problem"]))
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(7.0, 7.0))
        rows = figure.add_gridspec(2, 1, height_ratios=[1.0, 1.1])
        above, below = (figure.add_subfigure(rows[index]) for index in range(2))
        _ratios(above.add_subplot(), results[~results["problem"].str.startswith("large")])
        axes = [below.add_subplot(1, len(kinds), index + 1) for index in range(len(kinds))]
        for axis, kind in zip(axes, kinds, strict=True):
            _enclosures(axis, large[large["problem"] == kind])
        below.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
        paths = [folder / f"bench-distances.{suffix}" for suffix in ("png", "pdf")]
        for path in paths:
            figure.savefig(path)
        plt.close(figure)
    return paths


def _ratios(axes: Axes, results: pd.DataFrame) -> None:
    peers = results[results["contender"] != OURS].iloc[::-1]
    labels = [f"{row.problem}\n{row.points:,} points, against {row.contender}" for row in peers.itertuples()]
    at = np.arange(len(peers))
    axes.barh(at + 0.19, peers["ratio"], height=0.36, color="#1f6fb2", label="time")
    axes.barh(at - 0.19, peers["memory_ratio"].clip(lower=0.1), height=0.36, color="#a9cce3", label="peak memory")
    for y, value in zip(at, peers["ratio"], strict=True):
        axes.text(max(value, 1.0) * 1.08, y + 0.19, f"{value:.3g}", va="center", fontsize=6.5)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(at, labels, fontsize=6.5)
    axes.set_xlabel("peer / lipbounds (larger is better for lipbounds)")
    axes.set_title(f"Time and peak memory, {results['threads'].iloc[0]} threads")
    axes.legend(loc="lower right")


def _enclosures(axes: Axes, rows: pd.DataFrame) -> None:
    dims = sorted(rows["dim"].unique())
    ours = rows[rows["contender"] == OURS].sort_values("dim")
    at = np.arange(len(dims), dtype=float)
    middle, half = (ours["upper"] + ours["lower"]) / 2, (ours["upper"] - ours["lower"]) / 2
    axes.errorbar(at, middle, half, fmt="none", ecolor="#1f6fb2", elinewidth=5, capsize=8, label="lipbounds: contains $W_1$")
    for prefix, (mark, colour) in MARKS.items():
        part = rows[rows["contender"].str.startswith(prefix)].sort_values("dim")
        value = part["value"].where(part["value"].notna(), part["lower"])
        if len(part):
            name = part["contender"].iloc[0].replace(", 100 directions", "")
            kind = " (below $W_1$)" if "sliced" in prefix else " (no bound)"
            axes.plot(at + 0.22, value, mark, color=colour, markersize=4, label=name + kind)
    if rows["problem"].iloc[0].endswith("shifted Gaussians"):
        axes.axhline(2.0, color="black", linestyle="--", linewidth=0.8, label="$W_1$ of the laws")
    axes.set_xticks(at, [str(d) for d in dims])
    axes.set_xlabel("dimension")
    axes.set_ylabel("$W_1$ (units of the data)")
    axes.set_ylim(0.0, None)
    axes.set_title(f"{rows['points'].iloc[0]:,} points: {rows['problem'].iloc[0].removeprefix('large W_1, ')}")
