"""Figures of the experiments with labels, as the paper's, drawn from the parquet files of a run and from nothing else."""

from __future__ import annotations

import matplotlib

matplotlib.use("agg")

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.arm import LENGTHS
from experiments.eight_modes_data import CONTROLS, PICTURED, draw_of
from experiments.plots import COLOURS, STYLE, save_figure
from experiments.sweep import FIRST_SEED

__all__ = ["eight_modes_figures", "inpainting_figure", "kinematics_figures"]

PICTURED_CELLS = (
    ("program", "full"),
    ("padded", "full"),
    ("one start", "central"),
    ("likelihood", "central"),
    ("padded", "central"),
)
"""Presets and regions of the kinematics, those to be pictured first."""

POINTS = {0: "#c0392b", 1: "#1f6fb2", 2: "#2e8b57", 3: "#8e44ad"}
"""The four colours of the problem."""
REACH, LATENT_REACH = 4.2, 7.5  # of the frames


def _dots(axes: Axes, rows: pd.DataFrame, reach: float) -> None:
    """Points in a square frame, and the share of those outside it, if there is one to speak of."""
    colours = rows["colour"].map(POINTS).tolist()
    axes.scatter(rows["first"], rows["second"], s=1.0, c=colours, linewidths=0, rasterized=True)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.tick_params(labelsize=5, pad=1, length=2)
    outside = float((rows[["first", "second"]].abs().max(axis=1) > reach).mean())
    if outside > 0.005:
        axes.text(0.98, 0.02, f"{100 * outside:.0f}% outside", ha="right", va="bottom", transform=axes.transAxes, fontsize=5)


def _truth(labels: str) -> pd.DataFrame:
    """Points of the law itself, with their colours (Figure 1)."""
    x, y = draw_of(labels)(PICTURED, torch.Generator().manual_seed(1))
    return pd.DataFrame(x.numpy(), columns=["first", "second"]).assign(colour=y.argmax(1).numpy())


def _of_cell(table: pd.DataFrame, **cell: object) -> pd.DataFrame:
    return table[(table[list(cell)] == pd.Series(cell)).all(axis=1)]


def eight_modes_figures(folder: Path) -> list[Path]:
    """Draw eight-modes.png (Figures 1 and 3) and eight-modes-controls.png (Figure 2) with .pdf in a results folder.

    Predicted labels, backward samples and latent images, a row a kind of network, both label sets beside each other. Returns the
    paths; a figure of which the run has no networks is not drawn.
    """
    samples = pd.read_parquet(folder / "samples.parquet")
    results = pd.read_parquet(folder / "results.parquet")
    results = results[results["seed"] == FIRST_SEED]
    paths = []
    with plt.style.context(STYLE):
        # latent and clamp go together where authors chose them; of ours those with clamp 2
        shown = samples[
            samples["preset"].isin(("program", "paper")) | (samples["preset"] == "likelihood") & (samples["clamp"] == 2)
        ]
        rows = [
            (preset, latent)
            for preset in ("program", "paper", "likelihood")
            for latent in ("normal", "mixture")
            if len(_of_cell(shown, preset=preset, latent=latent))
        ]
        if rows:
            paths += save_figure(_networks(shown, results, rows), folder, "eight-modes")
        controls = [name for name in CONTROLS if name in set(samples["preset"])]
        if controls:
            panels = ("sample", "latent", "latent, padding replaced by 0")
            figure, axes = plt.subplots(len(controls), 3, figsize=(4.6, 1.6 * len(controls)), squeeze=False)
            for row, name in zip(axes, controls, strict=True):
                for axis, kind in zip(row, panels, strict=True):
                    _dots(axis, _of_cell(samples, preset=name, kind=kind), REACH)
                row[0].set_ylabel(f"{name}\n$x_2$", fontsize=6)
                row[1].set_ylabel("$z_2$", fontsize=6, labelpad=0)
                row[2].set_ylabel("$z_2$", fontsize=6, labelpad=0)
                row[0].set_title(_found(_of_cell(results, preset=name)), fontsize=6)
            for axis, coordinate in zip(axes[-1], ("x", "z", "z"), strict=True):
                axis.set_xlabel(f"${coordinate}_1$", fontsize=6)
            for axis, kind in zip(axes[0], ("samples $T^{-1}(y, z)$", "latent images", "the same, padding 0"), strict=True):
                axis.set_title("\n".join((kind, *filter(None, [axis.get_title()]))), fontsize=6)
            paths += save_figure(figure, folder, "eight-modes-controls")
    return paths


def _found(measured: pd.DataFrame) -> str:
    """The worst colour's stray samples and constant."""
    strays, constant = 100 * measured["off_modes"].max(), measured["lip_found"].max()
    return f"strays {strays:.3g}%, Lip ≥ {constant:,.{0 if constant >= 100 else 1}f}"


def _networks(shown: pd.DataFrame, results: pd.DataFrame, rows: list[tuple[str, str]]) -> Figure:
    kinds = {"data": "predicted colours", "sample": "samples $T^{-1}(y, z)$", "latent": "latent images"}
    figure, axes = plt.subplots(1 + len(rows), 6, figsize=(7.6, 1.3 * (1 + len(rows))), squeeze=False)
    for block, labels in zip((axes[:, :3], axes[:, 3:]), ("first", "second"), strict=True):
        _dots(block[0, 0], _truth(labels), REACH)
        block[0, 0].set_title(f"{labels} labels: data", fontsize=6)
        for axis in block[0, 1:]:
            axis.set_axis_off()
        for axis, text in zip(block[1], kinds.values(), strict=True):
            axis.set_title(text, fontsize=6)
        for line, (preset, latent) in zip(block[1:], rows, strict=True):
            cell = {"preset": preset, "latent": latent, "labels": labels}
            for axis, kind in zip(line, kinds, strict=True):
                _dots(axis, _of_cell(shown, **cell, kind=kind), REACH if kind != "latent" else LATENT_REACH)
            line[2].set_ylabel("$z_2$", fontsize=6, labelpad=0)
            measured = _of_cell(results, **cell)
            measured = measured[measured["clamp"].isin(_of_cell(shown, **cell)["clamp"])]
            if len(measured):
                line[1].set_xlabel(_found(measured), fontsize=6, labelpad=1)
        for axis, coordinate in zip(block[-1], ("x", "x", "z"), strict=True):
            axis.set_xlabel("\n".join((f"${coordinate}_1$", *filter(None, [axis.get_xlabel()]))), fontsize=6, labelpad=1)
    axes[0, 0].set_ylabel("law\n$x_2$", fontsize=6)
    for axis, (preset, latent) in zip(axes[1:, 0], rows, strict=True):
        axis.set_ylabel(f"{preset}, {latent}\n$x_2$", fontsize=6)
    return figure


def _joints(rows: pd.DataFrame) -> np.ndarray:
    """Ends of the segments, shape (n, 4, 2): the base at height h, then three joints; the arm reaches to the right."""
    u = rows["theta_1"].to_numpy()
    v = rows["theta_2"].to_numpy() - u
    w = rows["theta_3"].to_numpy() - rows["theta_2"].to_numpy() - u
    steps = [np.stack((length * np.cos(a), length * np.sin(a)), axis=1) for length, a in zip(LENGTHS, (u, v, w), strict=True)]
    base = np.stack((np.zeros(len(rows)), rows["h"].to_numpy()), axis=1)
    return np.stack((base, base + steps[0], base + steps[0] + steps[1], base + sum(steps)), axis=1)


def _with_own_clamp(rows: pd.DataFrame) -> pd.DataFrame:
    """Of a cell with several clamps those with 2, which is the headline's."""
    return rows[rows["clamp"] == (2.0 if (rows["clamp"] == 2.0).any() else rows["clamp"].max())]


def kinematics_figures(folder: Path, scale: float) -> list[Path]:
    """Draw kinematics.png (Figure 5) and kinematics-slices.png with .pdf in a results folder; returns the paths.

    Args:
        folder: Of the results.
        scale: Deviation of the mixture's components.
    """
    arms = pd.read_parquet(folder / "arms.parquet")
    results = pd.read_parquet(folder / "results.parquet")
    region = next(name for name in ("central", "full") if name in set(arms["region"]))
    with plt.style.context(STYLE):
        paths = save_figure(_arms(arms), folder, "kinematics")
        return paths + save_figure(_slices(results, region, scale), folder, "kinematics-slices")


def _arms(arms: pd.DataFrame) -> Figure:
    """The arms of samples at both labels, a column a kind of network."""
    columns = [("exact", "", "")] + [
        (preset, region, latent)
        for preset, region in PICTURED_CELLS
        for latent in ("normal", "mixture")
        if len(_of_cell(arms, preset=preset, region=region, latent=latent))
    ]
    columns = columns[:7]
    figure, axes = plt.subplots(2, len(columns), figsize=(1.15 * len(columns), 3.6), sharex=True, sharey=True, squeeze=False)
    for line, (name, position) in zip(axes, {"y": (0.0, 1.5), "y~": (0.5, 1.5)}.items(), strict=True):
        for axis, (preset, region, latent) in zip(line, columns, strict=True):
            rows = _of_cell(arms, label=name, preset=preset)
            if preset != "exact":
                rows = _with_own_clamp(_of_cell(rows, region=region, latent=latent))
            for joints in _joints(rows):
                axis.plot(joints[:, 0], joints[:, 1], color="#1f6fb2", alpha=0.12, linewidth=0.6)
            axis.plot(position[1], position[0], marker="x", color="#c0392b", markersize=6, linestyle="none")
            axis.set(xlim=(-0.5, 2.2), ylim=(-2.2, 2.2), aspect="equal")
            if name == "y":
                axis.set_title("exact" if preset == "exact" else f"{latent}, {region}\n{preset}", fontsize=7)
        line[0].set_ylabel(f"$y_1$, h    (y = {position})", fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("$y_2$")
    return figure


def _slices(results: pd.DataFrame, region: str, scale: float) -> Figure:
    """Constants and resimulation errors along y_2 = 1.5, of one preset for both latents."""
    shown = next(name for name in ("one start", "likelihood", "padded", "program") if name in set(results["preset"]))
    results = results[results["seed"] == FIRST_SEED]
    padded = _of_cell(results, kind="slice", preset="padded", region="full")
    results = _of_cell(results, preset=shown)
    results = pd.concat([_with_own_clamp(rows) for _, rows in results.groupby(["region", "latent"])])
    figure, (above, below) = plt.subplots(2, 1, figsize=(4.6, 5.0), sharex=True)
    for latent in ("normal", "mixture"):
        rows = _of_cell(results, kind="slice", region=region, latent=latent).sort_values("y_1")
        colour = COLOURS[latent]
        deviation = scale if latent == "mixture" else 1.0  # a narrower latent needs a larger constant for the same law
        above.plot(rows["y_1"], deviation * rows["lip_found"], color=colour, label=f"{latent}, {shown}, {region}: found")
        if latent == "mixture":
            hull = deviation * rows["lip_found_hull"]
            above.plot(rows["y_1"], hull, color=colour, linestyle=":", label="the same, hull of components")
        below.plot(rows["y_1"], rows["resimulation"], color=colour)
        if shown != "padded" and len(padded):
            rows = _of_cell(padded, latent=latent).sort_values("y_1")
            name, style = f"{latent}, padded, full: found", {"color": colour, "linestyle": "--", "linewidth": 0.9}
            above.plot(rows["y_1"], deviation * rows["lip_found"], label=name, **style)
            below.plot(rows["y_1"], rows["resimulation"], **style)
        table = _of_cell(results, kind="table", latent=latent, region=region)
        table = table[table["lip_certified"] <= 10 * table["lip_found"]]  # others say little, and would stretch the axis
        if len(table):
            name, style = f"{latent}, certified from above", {"color": colour, "marker": "v", "markersize": 4}
            above.plot(table["y_1"], deviation * table["lip_certified"], linestyle="none", label=name, **style)
    forced = _of_cell(results, kind="table", latent="normal", region=region)
    above.plot(forced["y_1"], forced["lip_forced_frontier"], "k_", markersize=10, label="normal, forced (S4 of h, estimate)")
    above.set(yscale="log")
    above.set_ylabel(r"latent deviation $\times$ Lip of $z\mapsto T^{-1}(y, z)$", fontsize=8)
    below.set(yscale="log", ylabel="resimulation error $|f(x)-y|^2$", xlabel="$y_1$  ($y_2 = 1.5$)")
    # one for both: colours and lines are the same
    above.legend(fontsize=6, ncol=2, loc="lower center", bbox_to_anchor=(0.5, 1.02))
    return figure


def inpainting_figure(folder: Path) -> list[Path]:
    """Draw inpainting.png (Figure 4) with .pdf in a results folder: completions from either component; returns the paths."""
    pictures = pd.read_parquet(folder / "pictures.parquet")
    preset = "likelihood" if "likelihood" in set(pictures["preset"]) else pictures["preset"].iloc[0]
    # of ours the headline, whose clamp is the smaller one
    pictures = pictures[(pictures["preset"] == preset) & (pictures["clamp"] == pictures["clamp"].min())]
    pixels = [name for name in pictures.columns if name.startswith("pixel_")]
    side = round(len(pixels) ** 0.5)
    places = sorted(pictures["place"].unique())
    columns = 1 + 2 * int((pictures[pictures["place"] == places[0]]["component"] == "0").sum())
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(len(places), columns, figsize=(0.56 * columns, 0.8 * len(places)), squeeze=False)
        for row, place in zip(axes, places, strict=True):
            here = pictures[pictures["place"] == place]
            parts = [here[here["component"] == name] for name in ("given", "0", "8")]
            images = np.concatenate([part[pixels].to_numpy(dtype=float) for part in parts]).reshape(-1, side, side)
            known = int(here["known_rows"].iloc[0])
            images[0, : side - known] = 60.0  # what the network is not told
            for axis, image in zip(row, images, strict=True):
                axis.imshow(image, cmap="gray", vmin=0, vmax=255)
                axis.set_axis_off()
            row[0].set_title(f"p={here['p'].iloc[0]:.2f}\ne={here['e'].iloc[0]:.2f}", fontsize=6)
        axes[0][1].set_title("component of zeros", fontsize=7, loc="left")
        axes[0][1 + columns // 2].set_title("component of eights", fontsize=7, loc="left")
        return save_figure(figure, folder, "inpainting")
