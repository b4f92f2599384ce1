"""Figures of the benchmarks, drawn from results.parquet and from nothing else."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["bench_certificates_figure", "bench_distances_figure", "bench_lipschitz_figure", "bench_search_figure"]

STYLE = Path(__file__).parent.parent / "style.mplstyle"
OURS = "lipbounds"
LINES = ("#c0392b", "#1f6fb2", "#5b8c2a", "#d68910", "#8e44ad", "#7f8c8d", "#16a085")
LEAST_SHARE = 1e-3
BEYOND = 1e30
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
        return _saved(figure, folder, "bench-distances")


def _saved(figure: Figure, folder: Path, name: str) -> list[Path]:
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "pdf")]
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


def bench_lipschitz_figure(folder: Path) -> list[Path]:
    """Draw bench-lipschitz.png and .pdf in a results folder; returns their paths.

    Rows that were measured on a GPU may lie beside in gpu.parquet.
    """
    results = pd.read_parquet(folder / "results.parquet")
    gpu = folder / "gpu.parquet"
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.4), layout="constrained", width_ratios=[1.0, 1.1])
        _reached_in_time(left, results[results["kind"] == "known"])
        _flow_bounds(right, results[results["kind"] == "flow"], pd.read_parquet(gpu) if gpu.exists() else None)
        return _saved(figure, folder, "bench-lipschitz")


def bench_search_figure(folder: Path) -> list[Path]:
    """Draw bench-search.png and .pdf in a results folder; returns their paths."""
    results = pd.read_parquet(folder / "results.parquet")
    table = pd.read_parquet(folder / "summary.parquet").iloc[::-1]
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.9), layout="constrained", width_ratios=[1.0, 1.1])
        _reached_in_time(left, results[results["kind"] == "contender"])
        left.set(title="trained networks", ylabel="share at 0.99 of the best known value")
        rows = np.arange(len(table))
        right.hlines(rows, table["least share"], table["median share"], color="#c0392b", lw=1.5)
        right.plot(table["median share"], rows, "o", ms=4, color="#c0392b", label="lipbounds: median, least of seeds")
        right.plot(table["its share"].clip(lower=LEAST_SHARE), rows, "s", ms=3, color="#1f6fb2", label="best peer in 5 s")
        right.axvline(1.0, color="grey", lw=0.6)
        right.set(xscale="log", xlim=(0.8 * LEAST_SHARE, 1.2), xlabel="value / best known value", yticks=rows)
        right.set_yticklabels([f"{name} (d = {d})" for name, d in zip(table["network"], table["d"], strict=True)], fontsize=5.5)
        right.legend(fontsize=5.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        return _saved(figure, folder, "bench-search")


CLOCKS = {
    "bench-certificates": "seconds of branch and bound",
    "bench-generators": "seconds, search and reading included",
}


def bench_certificates_figure(folder: Path, name: str) -> list[Path]:
    """Draw the ratios of certificates as time passes, as NAME.png and .pdf, in a results folder; returns their paths."""
    results = pd.read_parquet(folder / "results.parquet").dropna(subset=["ratio"])
    # small random networks are in the table
    results = results[~results["network"].str.startswith("random ")]
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
        for index, (_, row) in enumerate(results.iterrows()):
            excess = np.asarray(row["ratios"]) - 1.0
            style = ("-", "--", ":")[index // len(LINES)]
            axes.plot(row["times"], excess, style, color=LINES[index % len(LINES)], lw=1.0, label=row["network"])
        for ratio in (1.05, 1.01):
            axes.axhline(ratio - 1.0, color="grey", lw=0.6, ls=":")
            axes.text(0.012, (ratio - 1.0) * 1.1, f"ratio {ratio:g}", fontsize=5.5, color="grey")
        axes.set(xscale="log", yscale="log", xlim=(0.01, 80.0), ylim=(5e-3, 1e4))
        axes.set(xlabel=CLOCKS[name], ylabel="certified / found - 1")
        axes.legend(fontsize=5.0, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _saved(figure, folder, name)


def _reached_in_time(axes: Axes, known: pd.DataFrame) -> None:
    """How many of the maps each contender has at 0.99 of the truth, as time passes."""
    total = known["case"].nunique()
    for index, (name, group) in enumerate(known.groupby("contender", sort=False)):
        times = np.sort(group["seconds_to_99"].replace(np.inf, np.nan).dropna())
        steps = np.arange(1, len(times) + 1) / total
        end = max(20.0, float(known["seconds"].max()))
        axes.step(
            np.concatenate(([1e-3], times, [end])),
            np.concatenate(([0.0], steps, [steps[-1] if len(steps) else 0.0])),
            where="post",
            label=name,
            color=LINES[index % len(LINES)],
            lw=1.8 if index == 0 else 1.0,
        )
    axes.axhline(0.95, color="grey", lw=0.6, ls=":")
    axes.set(xscale="log", xlabel="seconds", ylabel="share of maps at 0.99 of the truth", ylim=(-0.02, 1.04))
    axes.set_title("maps with known constants")
    axes.legend(fontsize=5.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _flow_bounds(axes: Axes, flows: pd.DataFrame, on_gpu: pd.DataFrame | None) -> None:
    """Upper bounds over the constant found, flow by flow."""
    labels = [f"{case}" + (f" ({int(seed)})" if seed else "") for case, seed in zip(flows["case"], flows["seed"], strict=True)]
    rows = np.arange(len(flows))[::-1]
    for column, marker, colour, label in (
        ("eclipse", "^", "#5b8c2a", "ECLipsE in (13)"),
        ("lirpa", "v", "#8e6bb0", "auto_LiRPA in (13)"),
        ("product", "s", "#1f6fb2", "product of layers"),
    ):
        values = flows[column] / flows["found"]
        if values.isna().all():  # a peer that is not installed
            continue
        axes.plot(values.clip(upper=BEYOND), rows, marker, ms=3, color=colour, label=label)
    proven = (flows["guarantee"] == "CERTIFIED").to_numpy()
    ratio = flows["certified_ratio"].to_numpy()
    axes.plot(ratio[proven], rows[proven], "o", ms=4, color="#c0392b", label="certified")
    if not proven.all():
        axes.plot(ratio[~proven], rows[~proven], "o", ms=4, mfc="none", color="#c0392b", label="conditional")
    if on_gpu is not None:
        place = {(case, seed): row for case, seed, row in zip(flows["case"], flows["seed"], rows, strict=True)}
        for case, seed, value, guarantee in on_gpu[["case", "seed", "certified_ratio", "guarantee"]].itertuples(index=False):
            face = "#e8a33d" if guarantee == "CERTIFIED" else "none"
            axes.plot(value, place[case, seed], "D", ms=3.2, color="#e8a33d", mfc=face)
        axes.plot([], [], "D", ms=3.2, color="#e8a33d", label="certified, GPU (open: conditional)")
    axes.axvline(1.0, color="grey", lw=0.6)
    axes.set(xscale="log", xlabel="upper bound / constant found", yticks=rows)
    axes.set_yticklabels(labels, fontsize=5.5)
    axes.set_title("trained flows, 99% latent ball")
    axes.legend(fontsize=5.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
