"""Figures, drawn from the parquet files of a run and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure

from lipbounds.theorems import exact_lipschitz

__all__ = [
    "architectures_figure",
    "remark_2_figure",
    "save_figure",
    "sigma_sweep_figure",
    "theorems_figure",
    "tightness_figure",
    "trade_off_figure",
]

STYLE = Path(__file__).with_name("style.mplstyle")
COLOURS = {"normal": "#c0392b", "mixture": "#1f6fb2", "example1": "#5b8c2a"}
NAMES = {"normal": "normal latent", "mixture": "mixture latent", "example1": "Example 1's mixture"}
LOWEST, HIGHEST = 0.3, 3e4
FORMATS = ("png", "pdf")
SLACKS = 1e-2, 1e13


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.pdf, close the figure, and return the paths."""
    paths = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    for path in paths:
        figure.savefig(path)
    plt.close(figure)
    return paths


def sigma_sweep_figure(folder: Path) -> list[Path]:
    """Draw sigma-sweep.png and .pdf in a results folder; returns their paths."""
    results = pd.read_parquet(folder / "results.parquet")
    planes = pd.read_parquet(folder / "planes.parquet")
    latents = [name for name in COLOURS if name in set(planes["latent"])]
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(7.0, 8.0))
        rows = figure.add_gridspec(3, 1, height_ratios=[1.8, 1.0, 1.0])
        above, middle, below = (figure.add_subfigure(rows[index]) for index in range(3))
        widths = _widths(planes, latents)
        _against_sigma(above.add_subplot(), results)
        middle_grid = middle.add_gridspec(1, len(latents), width_ratios=widths)
        mesh, axes = None, []
        limits = np.nanpercentile(planes["log10_sigma_max"], [0.5, 100.0])
        for column, latent in enumerate(latents):
            plane = planes[planes["latent"] == latent]
            row = results[
                (results["latent"] == latent)
                & (results["sigma"] == plane["sigma"].iloc[0])
                & (results["seed"] == results["seed"].min())
            ].iloc[0]
            upper = middle.add_subplot(middle_grid[column])
            mesh = _latent_plane(upper, plane[plane["kind"] == "latent plane"], row, limits)
            axes.append(upper)
            _samples(below.add_subplot(1, len(latents), column + 1), plane[plane["kind"] == "generated sample"], row)
        if mesh is not None:
            middle.colorbar(mesh, ax=axes, label=r"$\log_{10}\,\sigma_{\max}(DT^{-1})$", pad=0.01)
        return save_figure(figure, folder, "sigma-sweep")


def remark_2_figure(folder: Path, constants: Mapping[str, float]) -> list[Path]:
    """Draw remark-2.png and .pdf in a results folder; `constants` are the c of D_K <= c W_1 by kernel. Returns the paths."""
    results = pd.read_parquet(folder / "results.parquet")
    sequences = list(dict.fromkeys(results.sort_values("compact", ascending=False, kind="stable")["sequence"]))
    kernels = [name.removeprefix("discrepancy ") for name in map(str, results.columns) if name.startswith("discrepancy ")]
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, len(sequences), figsize=(7.0, 2.9), sharex=True, sharey=True)
        for axis, sequence in zip(axes, sequences, strict=True):
            rows = results[results["sequence"] == sequence].sort_values("n")
            axis.plot(rows["n"], rows["w1"], color="black", linewidth=2.2, label="$W_1$")
            for index, kernel in enumerate(kernels):
                colour = f"C{index}"
                axis.plot(rows["n"], rows[f"discrepancy {kernel}"], color=colour, label=f"$D_K$, {kernel}")
            bound = constants["inverse multiquadric"] * rows["w1"]
            axis.plot(rows["n"], bound, color="C0", linestyle=":", label="theory: $c\\,W_1 \\geq D_K$ (multiquadric)")
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_title(f"{sequence}\n({'compact' if rows['compact'].iloc[0] else 'mass escapes'})")
            axis.set_xlabel("index n")
        axes[0].set_ylabel("distance to the limit")
        axes[0].set_ylim(1e-5, 1e4)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
        return save_figure(figure, folder, "remark-2")


NETWORK_MARKS = {
    "coupling (8)": ("#1f6fb2", "o"),
    "real NVP": ("#c0392b", "s"),
    "GLOW": ("#8e44ad", "^"),
    "iResNet": ("#5b8c2a", "D"),
    "neural ODE": ("#d68910", "v"),
}


def architectures_figure(folder: Path) -> list[Path]:
    """Draw architectures.png and .pdf in a results folder: constants against sigma, both latents. Returns the paths."""
    results = pd.read_parquet(folder / "results.parquet")
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(6.4, 4.8), sharex=True, sharey="row")
        for column, latent in zip(axes.T, ("normal", "mixture"), strict=True):
            for network, (colour, marker) in NETWORK_MARKS.items():
                rows = results[(results["latent"] == latent) & (results["network"] == network)]
                if latent == "normal":
                    axes[0, 0].scatter(rows["sigma"], rows["lip_forced_frontier"], color=colour, marker="_", s=40, linewidths=1.2)
                for axis, name in zip(column, ("lip_found", "epsilon"), strict=True):
                    middle = rows.groupby("sigma")[name].median()
                    axis.plot(middle.index, middle, color=colour, linewidth=0.9)
                    axis.scatter(rows["sigma"], rows[name], color=colour, marker=marker, s=14, label=network)
            column[0].set_title(f"{latent} latent")
            column[1].set_xlabel("width $\\sigma$ of the modes")
            for axis in column:
                axis.set_yscale("log")
        exact = results.groupby("sigma")["lip_exact"].first()
        axes[0, 0].plot(exact.index, exact, color="black", linestyle=":", label="exact law, $\\sigma e^{1/2\\sigma^2}$")
        axes[0, 0].scatter([], [], color="black", marker="_", s=40, label="forced at its accuracy (S4)")
        axes[0, 0].invert_xaxis()  # sharper modes to the right, as in the sweep
        axes[0, 0].set_ylabel("Lip($T^{-1}$; D), found")
        axes[1, 0].set_ylabel("$W_1$ along the diagonal")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=6.5)
        return save_figure(figure, folder, "architectures")


CONTROL_MARKS = {
    "found constant": ("#1f6fb2", "o"),
    "gradient penalty": ("#c0392b", "s"),
    "L2 penalty": ("#8e44ad", "^"),
    "weight clipping": ("#d68910", "v"),
    "spectral": ("#5b8c2a", "D"),
    "clamp": ("#616a6b", "P"),
    "none": ("black", "*"),
}


def trade_off_figure(folder: Path) -> list[Path]:
    """Draw trade-off.png and .pdf in a results folder: accuracy against the constant, beside the frontier. Returns the paths."""
    results = pd.read_parquet(folder / "results.parquet")
    frontier = pd.read_parquet(folder / "frontier.parquet")
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 3.9))
        axes.fill_betweenx(frontier["epsilon"], 0.1, frontier["lip_forced_frontier"], color="black", alpha=0.12, linewidth=0)
        axes.plot(
            frontier["lip_forced_frontier"],
            frontier["epsilon"],
            color="black",
            label="frontier $L^*(\\varepsilon)$, certified (S4)",
        )
        for control, (colour, marker) in CONTROL_MARKS.items():
            rows = results[results["control"] == control]
            axes.scatter(rows["lip_found"], rows["epsilon"], s=16, color=colour, marker=marker, alpha=0.8, label=control)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.9, 2 * results["lip_found"].max())
        axes.set_xlabel("Lip($T^{-1}$; D), found")
        axes.set_ylabel("$W_1$ to the data, along the diagonal")
        axes.text(0.03, 0.05, "impossible", transform=axes.transAxes, fontsize=8, color="0.3")
        figure.legend(loc="outside lower center", ncols=4, fontsize=7)
        return save_figure(figure, folder, "trade-off")


def theorems_figure(folder: Path) -> list[Path]:
    """Draw theorems.png and .pdf in a results folder: the slack of every check, by statement. Returns the paths."""
    results = pd.read_parquet(folder / "results.parquet")
    results = results[np.isfinite(results["slack"]) & (results["verdict"] != "NOT_APPLICABLE")]
    labels = [f"{row.statement}, {row.version}" for row in results[["statement", "version"]].drop_duplicates().itertuples()]
    kinds = {
        "trained networks": ("#1f6fb2", "o"),
        "exact": ("#5b8c2a", "s"),
        "extremal": ("black", "|"),
    }
    own = (
        results["origin"].str.split(",").str[0].where(results["origin"].str.startswith(("exact", "extremal")), "trained networks")
    )
    rng = np.random.default_rng(0)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(figsize=(7.0, 0.24 * len(labels) + 1.4))
        for kind, (colour, marker) in kinds.items():
            rows = results[own == kind]
            height = np.array([labels.index(f"{row.statement}, {row.version}") for row in rows.itertuples()], dtype=float)
            if kind != "extremal":
                height += rng.uniform(-0.28, 0.28, len(rows))
            refuted = (rows["verdict"] == "REFUTED").to_numpy()
            slack = rows["slack"].clip(SLACKS[0], SLACKS[1]).to_numpy()
            size, width = (120.0, 1.4) if kind == "extremal" else (7.0, 0.0)
            if len(rows):
                axes.scatter(slack[~refuted], height[~refuted], s=size, marker=marker, color=colour, linewidths=width, label=kind)
            if refuted.any():
                label = f"{kind}: refuted"
                edge = "#c0392b" if kind == "extremal" else "#e08214"
                axes.scatter(slack[refuted], height[refuted], s=16, marker="x", color=edge, linewidths=1.0, label=label)
        axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":", zorder=0)
        axes.set(xscale="log", xlim=(SLACKS[0] / 2, SLACKS[1] * 2))
        axes.set_xlabel("slack: larger side / smaller side (1: attained; left of it: refuted; at the edges: beyond)")
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=7)
        return save_figure(figure, folder, "theorems")


def tightness_figure(folder: Path, sigma: float) -> list[Path]:
    """Draw tightness.png and .pdf: printed bounds by dimension, sharp and exact ones, against epsilon. Returns the paths."""
    results = pd.read_parquet(folder / "results.parquet")
    every = sorted(set(results["n"]))
    # the table has all dimensions; lines at powers of two can be told apart
    dimensions = [n for n in every if n & (n - 1) == 0] or every
    colours = plt.get_cmap("viridis")(np.linspace(0.05, 0.9, len(dimensions)))
    one = results[results["n"] == dimensions[0]].sort_values("epsilon")
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.4))
        for axes, quantity in ((left, "distance"), (right, "constant")):
            for n, colour in zip(dimensions, colours, strict=True):
                rows = results[results["n"] == n].sort_values("epsilon")
                axes.plot(rows["epsilon"], rows[f"{quantity} printed"], color=colour, label=f"printed, n = {n}")
            axes.plot(one["epsilon"], one[f"{quantity} sharp"], color="#c0392b", linewidth=2.0, label="sharp (S1, S2), every n")
            axes.set(xscale="log", yscale="log", xlabel=r"accuracy $\epsilon$ ($W_1$ in latent space)")
        left.plot(one["epsilon attained"], one["distance sharp"], "ko", markersize=4, label="exact: attained, or least")
        right.plot(one["epsilon"], one["constant exact"], "ko", markersize=4)
        left.set_ylabel(r"bound of dist$(T(Q),T(R))$")
        right.set_ylabel(r"bound of Lip$(T^{-1})$")
        left.set_title("(a) upper bound, no gap", loc="left")
        right.set_title(rf"(b) lower bound, $X_\sigma$, $\sigma={sigma:g}$", loc="left")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
        return save_figure(figure, folder, "tightness")


def _widths(planes: pd.DataFrame, latents: list[str]) -> list[float]:
    plane = planes[planes["kind"] == "latent plane"]
    return [float(np.ptp(plane.loc[plane["latent"] == latent, "first"])) for latent in latents]


def _against_sigma(axes: Axes, results: pd.DataFrame) -> None:
    """Panel (a): found, certified, frontier, black-box and exact constants against sigma."""
    fine = np.geomspace(results["sigma"].min(), results["sigma"].max(), 200)
    axes.plot(
        fine, [exact_lipschitz(sigma) for sigma in fine], color="black", linestyle=":", label="normal latent: exact push-forward"
    )
    for latent, colour in COLOURS.items():
        rows = results[results["latent"] == latent]
        if rows.empty:
            continue
        for column, style, marker, text in (
            ("lip_found", "-", "o", "found"),
            ("lip_forced_frontier", "--", None, r"forced at its $\epsilon$ (frontier)"),
            ("lip_blackbox", "-.", "^", "forced, samples only (95%)"),
        ):
            groups = rows.groupby("sigma")[column]
            middle = groups.median()
            if middle.isna().all():
                continue
            axes.plot(middle.index, middle, style, marker=marker, markersize=3.5, color=colour, label=f"{NAMES[latent]}: {text}")
            axes.fill_between(middle.index, groups.min(), groups.max(), color=colour, alpha=0.15, linewidth=0)
        if rows["lip_certified"].notna().any():
            text = f"{NAMES[latent]}: proven upper bound, first seed"
            axes.scatter(
                rows["sigma"], rows["lip_certified"], s=70, marker="_", linewidths=1.4, color=colour, label=text, zorder=3
            )
    axes.set(xscale="log", yscale="log", ylim=(LOWEST, HIGHEST), xlabel=r"width $\sigma$ of the two modes (their distance is 2)")
    axes.set_ylabel(r"Lipschitz constant of $T^{-1}$ on $D$")
    ticks = [t for t in (0.1, 0.15, 0.2, 0.3, 0.4, 0.5) if fine[0] <= t <= fine[-1] * 1.001]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set_title(
        "(a) two modes that get sharper: the constants that trained networks have, and what is forced", loc="left", pad=60
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, handlelength=3.0)


def _latent_plane(axes: Axes, plane: pd.DataFrame, row: pd.Series, limits: np.ndarray) -> QuadMesh:
    """Panels (b): where T^{-1} stretches the latent plane, and the witness pair."""
    table = plane.pivot(index="second", columns="first", values="log10_sigma_max")
    mesh = axes.pcolormesh(table.columns, table.index, table, cmap="magma", vmin=limits[0], vmax=limits[1], rasterized=True)
    a, b = np.array(row["witness_a"]), np.array(row["witness_b"])
    axes.plot(*np.stack((a, b)).T, "o", markersize=5, markerfacecolor="none", markeredgecolor="cyan", clip_on=False, zorder=5)
    axes.set(aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    axes.grid(False)
    axes.set_title(rf"(b) {row['latent']}, $\sigma={row['sigma']:g}$: $\geq${row['lip_found']:.3g}", loc="left")
    return mesh


def _samples(axes: Axes, samples: pd.DataFrame, row: pd.Series) -> PathCollection:
    """Panels (c): what the network generates."""
    dots = axes.scatter(samples["first"], samples["second"], s=1.5, linewidths=0, color=COLOURS[row["latent"]], rasterized=True)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-2, 2), ylim=(-4, 4))
    between = float((samples["first"].abs() < 0.4).mean())
    axes.set_title(rf"(c) {row['latent']}: {100 * between:.2g}% with $|x_1|<0.4$", loc="left")
    return dots
