r"""The 8 modes problem of Section 5: the colour of a point is known, the point is asked for.

A row is one colour of one network: how far its samples are from the exact posterior, a mixture of the modes of that colour, and
what the map $z\mapsto T^{-1}(y,z)$ does to get them.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from experiments.conditional import Preset, components, constants, forward_constant, phased, shared_settings, trained
from experiments.eight_modes_data import COLOURS, CONTROLS, LABELS, MODES, PICTURED, WIDTH, draw_of, law_of_colour
from experiments.experiment import Experiment, Shown, Unit
from experiments.posterior_plots import eight_modes_figures
from experiments.store import Store
from experiments.sweep import FIRST_SEED, Progress
from inn import (
    Conditional,
    ConditionalModel,
    Cosine,
    CouplingFlow,
    Discrepancy,
    Geometric,
    Group,
    Latent,
    LearnedMixture,
    LikelihoodObjective,
    MixtureLatent,
    Optimization,
    Padding,
    PaperObjective,
    Phases,
    Ramp,
)
from inn.schedules import as_schedule
from lipbounds.diagnosis import nearness, strays
from lipbounds.distances import InverseMultiquadric, InverseQuadratic, wasserstein, wasserstein_1_line
from lipbounds.domains import Box
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.theorems import forced_by_frontier

__all__ = ["EXPERIMENT", "EightModes", "colours", "summary"]

MEANS = ((-4.0, -4.0), (-4.0, 4.0), (4.0, 4.0), (4.0, -4.0))
FAR = 4.0  # deviations from every mode of the colour beyond which a sample is of no mode
LINK = 1.25 * WIDTH  # samples nearer than this are connected; adjacent modes end 0.4 apart at 4 deviations
FEWEST = 0.01  # share of the samples that a connected component needs to count
CERTIFY_SECONDS = 60.0  # for every component, first seeds alone
PRESETS = ("likelihood", "program", "paper")
QUICK = {("likelihood", "second", "mixture"), ("program", "first", "normal"), ("paper", "second", "mixture")}
QUICK_BATCH = 128


def likelihood_preset(latent: str, clamp: float, steps: int) -> Preset:
    """Ours: likelihood of x given the colour, tempered.

    First half: p(y) stays uniform while the components are pulled apart, so every colour is cut into four parts of one mass, and
    cuts through gaps are the cheap ones. Then p(y) is free and the sparsity term merges parts that a mode was cut into;
    modes stay apart, because a cut through a gap costs nothing; and the reconstruction keeps what x is out of the label's noise,
    so that samples at y have the law that was fitted. Settings were chosen on seeds 0 and 1; reported seeds begin at 100.
    """
    law = MixtureLatent(MEANS, 1.0, hidden=64, depth=1) if latent == "mixture" else Latent.normal(2)
    objective = LikelihoodObjective(
        label_scale=Geometric(0.5, 0.15, until=0.4),
        spread=Geometric(0.2, 1.0, until=0.5) if latent == "mixture" else 1.0,
        sparsity=Phases(((0.5, 0.0), (0.85, 0.2), (1.0, 0.0))),
        reconstruction=Phases(((0.5, 0.0), (1.0, 20.0))),
    )
    groups = (Group("", Cosine(3e-3)), Group("latent.", Phases(((0.5, 0.0), (1.0, Cosine(5e-3))))))
    return Preset(
        Conditional(
            CouplingFlow(dim=6, blocks=6, hidden=64, clamp=clamp),
            Padding(dim=6, data=2, labels=4, latent=2, noise=0.05),
            law,
        ),
        objective,
        Optimization(steps, groups, clip_norm=20.0),
        batch=512,
    )


@dataclass(frozen=True)
class Program:
    """What one notebook of the authors' program sets, in its phases: epochs of 8 steps, rates, weights."""

    epochs: tuple[int, int, int]
    rate: tuple[float, float, float]
    own_rate: tuple[float, float, float]
    decay: tuple[float, float, float]
    fit: tuple[float, float, float]
    latent: tuple[float, float, float]
    data: tuple[float, float, float]
    reconstruction: tuple[float, float, float]
    padding: tuple[float, float, float]
    temperature: tuple[float, float, float]
    sparsity: tuple[float, float, float]
    start: float
    blocks: int = 6
    hidden: int = 256


ONCE = (0.0, 0.0, 0.0)
PROGRAM = {
    # fit and reconstruction are swapped in this notebook, as they stand there
    ("normal", "first"): Program(
        (200, 400, 200), (1e-3, 6e-4, 1e-4), ONCE, (2e-4, 1e-7, 0), (4, 4, 4), (300, 150, 150), (300, 600, 600), (15, 10, 10),
        ONCE, (1, 1, 1), ONCE, 0.06, 8, 512,
    ),
    ("normal", "second"): Program(
        (200, 400, 100), (1e-3, 6e-4, 1e-4), ONCE, (1e-5, 5e-5, 5e-5), (35, 10, 10), (150, 150, 150), (200, 250, 250),
        (10, 10, 10), ONCE, (1, 1, 1), ONCE, 0.10,
    ),
    ("mixture", "first"): Program(
        (100, 250, 120), (5e-3, 1e-3, 4e-4), (1e-4, 1e-3, 4e-4), (2e-3, 7e-2, 0), (12, 5, 5), (100, 150, 150), (200, 300, 300),
        (12, 5, 5), (5, 3, 0), (0.2, 0.1, 0.04), (0, 3, 0), 0.12,
    ),
    ("mixture", "second"): Program(
        (150, 200, 200), (2e-3, 1e-3, 4e-4), (1e-4, 1e-3, 4e-4), (1e-4, 7e-2, 1e-4), (35, 15, 5), (100, 150, 150),
        (200, 250, 250), (35, 15, 5), (20, 0, 0), (0.2, 0.1, 0.06), (0, 5, 0), 0.10,
    ),
}  # fmt: skip


def program_preset(latent: str, labels: str, clamp: float, share: float, *, printed: bool = False) -> Preset:
    """The authors' program, or with `printed` the losses as the paper prints them (roots, its kernel, all of L_pad).

    The program means over dimensions where the paper sums: its weights are divided by 14 coordinates of (y, padding) or of
    padding and 16 of x. `share` shortens every phase.
    """
    notebook = PROGRAM[latent, labels]
    in_phases = partial(phased, notebook.epochs)
    softer = 10.0 if printed else 1.0  # roots have larger slopes where the laws are near
    law = MixtureLatent(MEANS, 1.0, hidden=64, depth=1) if latent == "mixture" else Latent.normal(2)
    metric = Discrepancy(InverseMultiquadric()) if printed else Discrepancy(InverseQuadratic(), squared=True)
    objective = PaperObjective(
        labels=in_phases(notebook.fit, 14),
        latent=in_phases(notebook.latent, softer),
        data=in_phases((Ramp(notebook.data[0] / softer), *(value / softer for value in notebook.data[1:]))),
        image_padding=in_phases(notebook.fit, 14),
        reconstruction=in_phases(notebook.reconstruction, 16),
        data_padding=in_phases(notebook.fit if printed else notebook.padding, 14),
        fixed_image=not printed,
        sparsity=in_phases(notebook.sparsity),
        latent_metric=metric,
        data_metric=metric,
        temperature=in_phases(notebook.temperature),
        label_noise=1e-4,
        latent_noise=1e-4 if latent == "mixture" else 1e-2,
    )
    groups = (
        Group("", in_phases(notebook.rate), in_phases(notebook.decay), clip_value=15.0),
        Group("latent.", in_phases(notebook.own_rate), clip_value=1.0),
    )
    steps = max(3, round(8 * sum(notebook.epochs) * share))
    return Preset(
        Conditional(
            CouplingFlow(dim=16, blocks=notebook.blocks, hidden=notebook.hidden, depth=1, activation="relu", clamp=clamp),
            Padding(dim=16, data=2, labels=4, latent=2, noise=1e-2 if printed else 1e-4),
            law,
        ),
        objective,
        Optimization(steps, groups if latent == "mixture" else groups[:1], betas=(0.8, 0.9), eps=1e-6),
        batch=1600,
        weights=(notebook.start, 0.005),
    )


def control_preset(name: str, share: float) -> Preset:
    """A variant of the program on the first label set with a normal latent, in two fifths of the steps."""
    # the second notebook's sizes: they are those of the mixture
    preset = program_preset("normal", "second", 2.0, 0.4 * share)
    objective = preset.objective
    assert isinstance(objective, PaperObjective)
    if name == "noise padding":
        return preset
    if name == "large L2":
        (group,) = preset.optimization.groups
        return replace(preset, optimization=replace(preset.optimization, groups=(replace(group, weight_decay=3e-2),)))
    padding = preset.model.padding
    if name == "zero padding":
        return replace(preset, model=replace(preset.model, padding=replace(padding, noise=0.0)))
    bare = replace(objective, data=0.0, image_padding=0.0, reconstruction=0.0, data_padding=0.0)
    return replace(preset, objective=bare, model=replace(preset.model, padding=replace(padding, noise=0.1)))


@dataclass(frozen=True)
class EightModes:
    """Points from colours: eight modes, four colours, both label sets, both latents."""

    out: Path = Path("results/eight-modes")
    """Folder of the results; a run that was interrupted goes on there."""
    quick: bool = False
    """Small networks, two by default within a minute."""
    presets: tuple[Literal["likelihood", "program", "paper"], ...] | None = None
    """Training: ours by likelihood, the authors' program, the losses as printed. All by default, with `--quick` two."""
    controls: bool = True
    """Whether the networks of Figure 2 are trained too."""
    seeds: int | None = None
    """Seeds of the headline configuration (likelihood, mixture, clamp 2); other cells have at most two, the slow presets one."""
    share: float | None = None
    """Shortens all trainings to this share of their steps."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        shared = shared_settings(self, seeds=5, presets=PRESETS, quick_share=0.01, quick_presets=PRESETS[:2])
        own = {
            "controls": self.controls and not self.quick,
            "samples": 1_000 if self.quick else 20_000,
            "transport": 500 if self.quick else 2_000,
        }
        return shared | own


def preset_of(unit: Unit) -> Preset:
    """How the network of a unit is built and trained."""
    name, share, quick = unit["preset"], unit["share"], unit["quick"]
    if name == "likelihood":
        preset = likelihood_preset(unit["latent"], unit["clamp"], max(50, round(8000 * share)))
        return preset.small() if quick else preset
    if name in CONTROLS:
        return control_preset(name, share)
    preset = program_preset(unit["latent"], unit["labels"], unit["clamp"], share, printed=name == "paper")
    return replace(preset.small(), batch=QUICK_BATCH) if quick else preset


def units_of(store: Store, settings: Mapping[str, Any], _: EightModes) -> list[Unit]:
    """All networks: latent x clamp for every preset, more seeds for the headline."""
    made = []

    def add(preset: str, labels: str, latent: str, clamp: float, seed: int) -> None:
        columns = {"preset": preset, "labels": labels, "latent": latent, "clamp": clamp, "seed": FIRST_SEED + seed}
        sizes = {name: settings[name] for name in ("samples", "transport")}
        unit = Unit(columns, sizes, store, settings=settings)
        made.append(replace(unit, depends=sizes | {"made": repr(preset_of(unit))}))

    for preset, labels, latent in itertools.product(settings["presets"], LABELS, ("normal", "mixture")):
        own = 2.0 if preset == "likelihood" or latent == "normal" else 0.01
        # latent and clamp are not mixed where networks are cheap
        clamps = (2.0, 0.01) if preset == "likelihood" and not settings["quick"] else (own,)
        if settings["quick"] and (preset, labels, latent) not in QUICK:
            continue
        for clamp in clamps:
            headline = preset == "likelihood" and latent == "mixture" and clamp == 2.0
            cell = 2 if preset == "likelihood" else 1
            for seed in range(settings["seeds"] if headline else min(cell, settings["seeds"])):
                add(preset, labels, latent, clamp, seed)
    for name in CONTROLS if settings["controls"] else ():
        add(name, "first", "normal", 2.0, 0)
    # the slow ones first
    return sorted(made, key=lambda unit: (unit["preset"] == "likelihood", unit["seed"]))


def work(unit: Unit, progress: Progress) -> None:
    """Train a network unless its checkpoint is there, then measure it."""
    preset = preset_of(unit)
    model, seconds = trained(unit, preset, draw_of(unit["labels"]), report=lambda share: progress(0.9 * share))
    region = Box(MODES.min(0) - FAR * WIDTH, MODES.max(0) + FAR * WIDTH)
    common = {
        "steps": preset.optimization.steps,
        "training_seconds": seconds,
        "lip_forward_found": forward_constant(model, region, seed=unit["seed"]),
    }
    rows = []
    for colour in range(4):
        rows.append(common | _measure(model, unit, colour))
        progress(0.9 + 0.1 * (colour + 1) / 4)
    unit.put(rows)


def _measure(model: ConditionalModel, unit: Unit, colour: int) -> dict[str, Any]:
    n, seed = unit["samples"], unit["seed"]
    law = law_of_colour(unit["labels"], colour)
    y = torch.eye(4, dtype=torch.float64)[colour]
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    samples = model.posterior(y[None], n, generator)[0].numpy()
    fresh, again = law.sample(n, rng), law.sample(n, rng)
    beside = strays(samples, law.means, FAR * WIDTH)
    some = slice(unit["transport"])
    near_w1 = nearness(samples[some], fresh[some], again[some])
    near_kernel = nearness(samples[some], fresh[some], again[some], InverseMultiquadric())
    image = model.flow(model.padding.pad_data(torch.as_tensor(fresh), generator))
    row = {
        "colour": COLOURS[colour],
        "modes": len(law.means),
        "label_accuracy": float((model.padding.split(image)[0].argmax(1) == colour).double().mean()),
        "off_modes": beside.share,
        "mass_error": float(np.abs(beside.shares - 1 / len(beside.shares)).max()),
        "modes_covered": beside.covered,
        "connected_components": _connected(samples),
        "w1": near_w1.value.upper,
        "w1_floor": near_w1.floor.upper,
        "discrepancy": near_kernel.value.upper,
        "discrepancy_floor": near_kernel.floor.upper,
        "inversion_error": _inversion_error(model, fresh, generator),
        "inversion_error_off_data": _inversion_error(model, 3.0 * rng.standard_normal((n, 2)), generator, noise=0.1),
    }
    probabilities, error = "", np.nan
    if isinstance(model.latent, LearnedMixture):
        p = model.latent.probabilities(y[None])[0].numpy()
        truth = np.sort(np.concatenate((np.full(len(law.means), 1 / len(law.means)), np.zeros(4 - len(law.means)))))
        error = float(np.abs(np.sort(p) - truth).max())
        probabilities = " ".join(f"{value:.3f}" for value in p)
    row |= {"probabilities": probabilities, "probability_error": error}
    row |= _with_label_noise(model, unit, colour)
    hull = seed == FIRST_SEED and not unit["quick"]
    # the networks of the program are too wide for a certificate in minutes, those with a small clamp too steep inside
    seconds = CERTIFY_SECONDS if hull and unit["preset"] == "likelihood" and unit["clamp"] == 2.0 else 0.0
    return row | constants(model, y, seed=seed, hull=hull, seconds=seconds) | _forced(model, y, law, unit)


def _with_label_noise(model: ConditionalModel, unit: Unit, colour: int) -> dict[str, float]:
    """W_1 and stray samples when y carries the noise that it had in training: the law that the likelihood fits."""
    objective = preset_of(unit).objective
    noise = as_schedule(objective.label_scale)(1.0) if isinstance(objective, LikelihoodObjective) else objective.label_noise
    law = law_of_colour(unit["labels"], colour)
    y = torch.eye(4, dtype=torch.float64)[colour]
    generator = torch.Generator().manual_seed(unit["seed"] + 1)
    samples = model.posterior(y[None], unit["samples"], generator, label_noise=noise)[0].numpy()
    fresh = law.sample(unit["transport"], np.random.default_rng(unit["seed"]))
    return {
        "label_noise": noise,
        "w1_label_noise": wasserstein(samples[: len(fresh)], fresh).upper,
        "off_modes_label_noise": strays(samples, law.means, FAR * WIDTH).share,
    }


def _connected(samples: np.ndarray) -> int:
    """Clusters of the samples when those nearer than LINK are connected, small ones left out."""
    pairs = cKDTree(samples).query_pairs(LINK, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(samples),) * 2)
    _, labels = connected_components(graph, directed=False)
    return int((np.bincount(labels) >= FEWEST * len(samples)).sum())


def _inversion_error(model: ConditionalModel, x: np.ndarray, generator: torch.Generator, noise: float = 0.0) -> float:
    """Largest |x - T^{-1}(T(x))| in float32 over padded points, with further noise on the padding."""
    single = copy.deepcopy(model.flow).float()
    padded = model.padding.pad_data(torch.as_tensor(x, dtype=torch.float32), generator)
    padded = padded + noise * torch.randn(padded.shape, generator=generator)
    error = (single.inverse(single(padded)) - padded).norm(dim=1).nan_to_num(nan=torch.inf)
    return float(error.max())


def _forced(model: ConditionalModel, y: Tensor, law: GaussianMixture, unit: Unit) -> dict[str, float]:
    """The frontier (S4) for projections onto lines between modes, at the accuracy of the map that is constant along rays off D.

    For a normal latent only. What a network that matches its posterior exactly would need, where finite, is unbounded in
    practice (10^5 and more): the accuracy is what it trades for a smaller constant.
    """
    if isinstance(model.latent, LearnedMixture):
        return {"lip_forced_frontier": np.nan}
    (ball,) = components(model, y)
    quasi = ball.project(torch.as_tensor(standard_normal(2).sample_quasi(unit["samples"], unit["seed"])))
    samples = model.generator_at(y)(quasi).numpy()
    best = 0.0
    for a, b in itertools.combinations(law.means, 2):
        direction = (b - a) / np.linalg.norm(b - a)
        line = GaussianMixture((law.means @ direction)[:, None], np.full((len(law.means), 1, 1), WIDTH**2))
        epsilon = wasserstein_1_line(Discrete((samples @ direction)[:, None]), line).upper
        bound = forced_by_frontier(line, Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "quasi-random points"), cells=300)
        best = max(best, bound.lower)
    return {"lip_forced_frontier": best}


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One line a cell: the worst colour of every network, then the mean over seeds, and the worst seed where it matters.

    W_1 and D_K in units of their floors, each colour of its own.
    """
    cell = ["preset", "labels", "latent", "clamp"]
    results = results.assign(
        w1=results["w1"] / results["w1_floor"],
        w1_label_noise=results["w1_label_noise"] / results["w1_floor"],
        discrepancy=results["discrepancy"] / results["discrepancy_floor"],
    )
    worst = {
        "label_accuracy": "min",
        "off_modes": "max",
        "probability_error": "max",
        "mass_error": "max",
        "modes_covered": "sum",
        "w1": "max",
        "discrepancy": "max",
        "w1_label_noise": "max",
        "off_modes_label_noise": "max",
        "lip_found": "max",
        "lip_found_hull": "max",
        "lip_certified": "max",
        "lip_forced_frontier": "max",
        "lip_forward_found": "max",
        "inversion_error_off_data": "max",
        "training_seconds": "max",
    }
    networks = results.groupby([*cell, "seed"], as_index=False).agg(worst)
    return networks.groupby(cell, as_index=False).agg(
        seeds=("seed", "size"),
        labels_right=("label_accuracy", "min"),
        strays=("off_modes", "mean"),
        worst_seed=("off_modes", "max"),
        p_error=("probability_error", "max"),
        mass_error=("mass_error", "max"),
        covered=("modes_covered", "min"),
        w1=("w1", "mean"),
        discrepancy=("discrepancy", "mean"),
        w1_noise=("w1_label_noise", "mean"),
        strays_noise=("off_modes_label_noise", "mean"),
        lip_found=("lip_found", "median"),
        hull=("lip_found_hull", "max"),
        certified=("lip_certified", "max"),
        forced=("lip_forced_frontier", "median"),
        lip_T=("lip_forward_found", "median"),
        inversion_off=("inversion_error_off_data", "max"),
        seconds=("training_seconds", "mean"),
    )


def colours(results: pd.DataFrame) -> pd.DataFrame:
    """One line a colour of a cell: p(y) as in Table 1 (first seed), means over seeds, connected components of every seed."""
    own = results.assign(colour=pd.Categorical(results["colour"], COLOURS, ordered=True))
    return own.groupby(["preset", "labels", "latent", "clamp", "colour"], as_index=False, observed=True).agg(
        modes=("modes", "first"),
        probabilities=("probabilities", "first"),
        covered=("modes_covered", "min"),
        strays=("off_modes", "mean"),
        w1=("w1", "mean"),
        w1_floor=("w1_floor", "mean"),
        discrepancy=("discrepancy", "mean"),
        discrepancy_floor=("discrepancy_floor", "mean"),
        connected=("connected_components", lambda counts: " ".join(map(str, counts))),
    )


def _pictured(units: Sequence[Unit], results: pd.DataFrame) -> pd.DataFrame:
    """Points for the figures, for the first seed of every cell: data with predicted colour, generated samples, latent images."""
    frames = []
    for unit in units:
        if unit["seed"] != FIRST_SEED:
            continue
        model, _ = trained(unit, preset_of(unit), draw_of(unit["labels"]))
        generator = torch.Generator().manual_seed(1)
        x, y = (part.double() for part in draw_of(unit["labels"])(PICTURED, generator))
        padded = model.padding.pad_data(x, generator)
        own_y, _, z = model.padding.split(model.flow(padded))
        bare = torch.cat((torch.zeros_like(padded[:, : -x.shape[1]]), x), dim=1)
        parts = {
            "data": (x, own_y.argmax(1)),
            "latent": (z, y.argmax(1)),
            "latent, padding replaced by 0": (model.padding.split(model.flow(bare))[2], y.argmax(1)),
            "sample": (model.posterior(y, 1, generator)[:, 0], y.argmax(1)),
        }
        for kind, (points, colour) in parts.items():
            frame = pd.DataFrame(points.numpy(), columns=["first", "second"], dtype="float32")
            frames.append(frame.assign(colour=colour.numpy().astype("int8"), kind=kind, **unit.columns))
    return pd.concat(frames, ignore_index=True)


EXPERIMENT = Experiment(
    name="eight-modes",
    options=EightModes,
    units=units_of,
    work=work,
    order=("preset", "labels", "latent", "clamp", "seed"),
    tables={"samples": _pictured},
    figures=eight_modes_figures,
    summary=lambda results: [summary(results), colours(results)],
    shown={"eight-modes": Shown(125)},
)
