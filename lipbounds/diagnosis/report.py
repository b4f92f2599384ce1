"""A diagnosis as a figure and a page that needs no network."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lipbounds.diagnosis.result import Diagnosis
from lipbounds.enclosure import Enclosure
from lipbounds.errors import InvalidInput
from lipbounds.search import InversionError

__all__ = ["draw", "write_report"]

Array = NDArray[np.float64]

SHOWN = 3000
NEAR = 1e-6  # of the radius: points so near to the plane are drawn on it
DATA, GENERATED, BRIDGE = "#9a9a9a", "#1f6fb2", "#c0392b"


def draw(diagnosis: Diagnosis) -> Figure:
    """Draw the latent plane coloured by the stretching, and the generated points with those between the modes marked."""
    with matplotlib.rc_context({"font.size": 8, "axes.titlesize": 8, "savefig.dpi": 160}):
        figure = Figure(figsize=(7.0, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _latent(left, diagnosis)
        _points(right, diagnosis)
    return figure


def _latent(axes: Axes, diagnosis: Diagnosis) -> None:
    """The latent plane, or that through the steepest point along its two most stretched directions."""
    plane, point = diagnosis.plane, torch.as_tensor(diagnosis.found.point)
    if plane is None:
        axes.text(0.5, 0.5, "torch cannot differentiate this map", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    dim = diagnosis.domain.dim
    if dim == 1:
        axes.semilogy(plane.points[:, 0].numpy(), plane.norms.numpy(), color=GENERATED, lw=1)
        axes.set(xlabel="latent z", ylabel=r"$|f'(z)|$", title="how strongly $f=T^{-1}$ stretches")
        return
    origin, basis, sides = plane.origin, plane.basis, plane.sides.numpy()
    shift = (basis.T @ origin).tolist() if dim == 2 else [0.0, 0.0]
    colours = plane.norms.log10().reshape(len(sides), -1).numpy()
    mesh = axes.pcolormesh(sides + shift[0], sides + shift[1], colours.T, cmap="magma", rasterized=True)
    axes.figure.colorbar(mesh, ax=axes, label=r"$\log_{10}\sigma_{\max}$ of $DT^{-1}$")
    # in more dimensions the plane goes through the first steep point; a steeper one found later may lie elsewhere
    away = point - origin
    shown = float(torch.linalg.vector_norm(away - basis @ (basis.T @ away))) <= NEAR * diagnosis.domain.radius
    if shown:
        at = basis.T @ away + torch.tensor(shift, dtype=torch.float64)
        axes.plot(float(at[0]), float(at[1]), "o", mfc="none", mec="white", mew=1.2, ms=7)
    names = ("latent $z_1$", "latent $z_2$") if dim == 2 else ("most stretched direction", "second direction")
    axes.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    axes.set_title("latent ball, steepest point circled" if shown else "latent ball, through a steep point")


def _points(axes: Axes, diagnosis: Diagnosis) -> None:
    """Generated points over the data, in the plane or along the axis between modes and the widest one across it."""
    data, generated = diagnosis.data[:SHOWN], diagnosis.generated[:SHOWN]
    dim = data.shape[1]
    between = diagnosis.modes.outside(generated)
    if dim == 1:
        edges = np.histogram_bin_edges(np.concatenate((data, generated)), 80).tolist()
        axes.hist(data[:, 0], edges, color=DATA, label="data", density=True)
        axes.hist(generated[:, 0], edges, histtype="step", color=GENERATED, label="generated", density=True)
        axes.set(xlabel="x", ylabel="density", title="data and generated points")
        axes.legend(frameon=False)
        return
    basis = np.eye(dim)[:, :2] if dim == 2 else _plane(diagnosis)
    for points, colour, label in (
        (data, DATA, "data"),
        (generated[~between], GENERATED, "generated"),
        (generated[between], BRIDGE, "far from every mode"),
    ):
        at = points @ basis
        axes.plot(at[:, 0], at[:, 1], ".", ms=1.5, color=colour, label=f"{label} ({len(points)})", alpha=0.6, rasterized=True)
    names = ("$x_1$", "$x_2$") if dim == 2 else ("along the modes", "across")
    axes.set(xlabel=names[0], ylabel=names[1], title="data and generated points")
    axes.legend(
        frameon=False,
        markerscale=5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        fontsize=6,
        ncols=3,
        handletextpad=0.1,
        columnspacing=0.8,
    )


def _search_in_words(d: Diagnosis) -> str:
    found = d.found
    words = f"{found.reached} of {len(found.restarts)} independent rounds came to this value; a {found.kind} place"
    return words + (", on the rim" if found.on_boundary else "")


def _quantile_rows(d: Diagnosis) -> list[tuple[str, str, str]]:
    if d.steepness is None:
        return []
    rows = []
    for share, one in zip(d.steepness.shares, d.steepness.quantiles, strict=True):
        value = f"{one.lower:.4g} to {one.upper:.4g}" if math.isfinite(one.upper) else f"at least {one.lower:.4g}"
        rows.append(
            (f"{100 * share:g}% quantile of sigma_max of DT^-1 over latent draws", value, f"CONFIDENCE 95%: {one.method}")
        )
    return rows


def _plane(diagnosis: Diagnosis) -> Array:
    means = diagnosis.modes.means
    first = means[np.argmax(np.linalg.norm(means - means[0], axis=1))] - means[0]
    if not np.linalg.norm(first) > 0:
        return np.asarray(np.linalg.svd(diagnosis.data - diagnosis.data.mean(0), full_matrices=False)[2][:2].T)
    first = first / np.linalg.norm(first)
    rest = diagnosis.data - diagnosis.data.mean(0)
    rest = rest - np.outer(rest @ first, first)
    return np.stack((first, np.linalg.svd(rest, full_matrices=False)[2][0]), 1)


def _ends(enclosure: Enclosure | None) -> str:
    if enclosure is None:
        return "-"
    upper = "" if math.isinf(enclosure.upper) else f" to {enclosure.upper:.4g}"
    return f"{enclosure.lower:.4g}{upper}" if upper else f"at least {enclosure.lower:.4g}"


def _rows(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Quantity, value, what stands behind it."""
    d = diagnosis

    def kind(enclosure: Enclosure) -> str:
        alpha = "" if enclosure.alpha is None else f" {100 * (1 - enclosure.alpha):g}%"
        assumed = f"; assuming {', '.join(enclosure.assumptions)}" if enclosure.assumptions else ""
        return f"{enclosure.guarantee.name}{alpha}: {enclosure.method}{assumed}"

    rows = [
        ("accuracy W_1(generated, data)", f"{d.accuracy.upper:.4g}", kind(d.accuracy)),
        ("the same between two halves of the data", f"{d.floor:.4g}", "what a perfect generator would have"),
        ("modes of the data", f"at least {len(d.modes.means)}", "valleys of the density between them, with confidence 95%"),
        ("generated points far from every mode", f"{100 * d.between:.3g}%", f"{100 * d.between_data:.3g}% of the data"),
        ("forced: any generator of this accuracy", _ends(d.forced), kind(d.forced)),
        ("black-box: from generated points alone", _ends(d.black_box), kind(d.black_box)),
        ("found: Lip(T^-1) on the latent ball", f"at least {d.found.lower:.6g}", kind(d.found)),
        ("how the search went", _search_in_words(d), ""),
        *_quantile_rows(d),
        ("certified", _ends(d.certified), kind(d.certified) if d.certified else d.certified_note),
    ]
    if d.both is not None:
        rows.append(("found: Lip(T) on its image", f"at least {d.both.shrink.lower:.4g}", kind(d.both.shrink)))
        rows.append(("largest condition number found", f"{d.both.condition.lower:.4g}", "at one point"))
    for name, error in (("float32", d.inversion.float32), ("float64", d.inversion.float64)):
        value = f"at least {error.lower:.3g}" if isinstance(error, InversionError) else error
        rows.append((f"worst inversion error in {name}", value, "found by search" if isinstance(error, InversionError) else ""))
    return rows


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Diagnosis of a generator</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
td, th {{ padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top }}
tr {{ border-bottom: 1px solid #ddd }} td:nth-child(3) {{ color: #666; font-size: .85em }} img {{ width: 100% }}
.verdict {{ font-size: 1.1em; border-left: 4px solid #1f6fb2; padding-left: 1rem }}
</style></head><body>
<h1>Diagnosis of a generator</h1>
<p class="verdict">{verdict}</p>
<img alt="Left: the latent ball coloured by the stretching; right: data and generated points" src="data:image/png;base64,{image}">
<h2>Numbers</h2>
<p>f = T^-1 maps latent to data ({source}). Constants are meant on the latent ball about {center} of radius {radius:.4g}.</p>
<table><tr><th>quantity</th><th>value</th><th>what stands behind it</th></tr>{rows}</table>
<h2>Mixture latents</h2>
<p>Each cluster of the data gets its own N(m, I). The cost is the largest constant that a single cluster forces at the accuracy
(an estimate); recommended is the smallest number of components within a factor of two of the best: <b>{recommended}</b>.</p>
<table><tr><th>components</th><th>cost</th><th>widths of the clusters</th></tr>{latents}</table>
<p>Means to use, in latent space: {means}. Probabilities: {shares}.</p>
</body></html>
"""


def _page(diagnosis: Diagnosis, image: bytes) -> str:
    def row(cells: tuple[str, ...]) -> str:
        return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"

    def vector(values: tuple[float, ...]) -> str:
        shown = ", ".join(f"{value:.3g}" for value in values[:8])
        return f"({shown}{', ...' if len(values) > 8 else ''})"

    best = diagnosis.recommended
    return PAGE.format(
        verdict=html.escape(diagnosis.verdict),
        image=base64.b64encode(image).decode(),
        source=html.escape(diagnosis.source),
        center=vector(tuple(diagnosis.domain.center.tolist())),
        radius=diagnosis.domain.radius,
        rows="".join(row(cells) for cells in _rows(diagnosis)),
        recommended=best.components,
        latents="".join(row((str(c.components), f"{c.cost:.3g}", vector(c.widths))) for c in diagnosis.latents),
        means=", ".join(vector(mean) for mean in best.means),
        shares=vector(best.shares),
    )


def write_report(diagnosis: Diagnosis, folder: Path) -> list[Path]:
    """Write diagnosis.png and diagnosis.html into a folder, which is made when absent; both whole or not at all.

    Returns:
        The paths.

    Raises:
        InvalidInput: If the folder cannot be written.
    """
    buffer = io.BytesIO()
    draw(diagnosis).savefig(buffer, format="png", bbox_inches="tight")
    contents = {"diagnosis.png": buffer.getvalue(), "diagnosis.html": _page(diagnosis, buffer.getvalue()).encode()}
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                os.chmod(temporary, 0o644)
                os.replace(temporary, folder / name)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
            paths.append(folder / name)
    except OSError as error:
        raise InvalidInput("--out", f"{folder} ({error.strerror})", "a folder that can be written", "choose another") from error
    return paths
