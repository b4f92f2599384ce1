r"""Image inpainting, Section 5: the lower rows of a 0 or an 8 are known, the image is asked for, and with it which digit it is.

A row is one network: how the learned p(y) compares with Algorithm 2's estimate, whether what a latent component generates is the
digit it stands for, what $z\mapsto T^{-1}(y,z)$ and T do, and what a normal latent would have to pay for the posteriors.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.conditional import Preset, components, constants, forward_constant, product_bound, shared_settings, trained
from experiments.digits import VARIABLE, Digits, load_mnist, load_small
from experiments.experiment import Experiment, Shown, Unit, reported
from experiments.posterior_plots import inpainting_figure
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
    Staircase,
    means_from_image,
)
from lipbounds.distances import InverseQuadratic
from lipbounds.domains import Box
from lipbounds.search.singular_values import PowerIteration
from lipbounds.theorems import forced_lipschitz

__all__ = ["EXPERIMENT", "Inpainting", "kernel_vote", "summary"]

PRESETS = ("likelihood", "program")
FACTOR = 4.0  # of the means from the untrained image, as in the authors' program
CLASS_SAMPLES = 1000  # rows of each class that the means are taken over
WANTED = (0.82, 0.51, 0.25)  # estimates e(y) of the pictures in Figure 4
COLUMNS = 6  # pictures for each component
CLAMP, PROGRAM_CLAMP = 0.5, 3.0
IMAGE_NOISE = 0.07  # deviation of noise on images in training; the box on which T is searched reaches as far beyond them
SLOPE_IMAGES = 200  # of the test images, at which the slope of T is looked at
FORCED_SAMPLES = 4000  # of a posterior, for what a normal latent would pay for it
ALPHA = 0.05  # of that bound, shared by the labels of a row


@dataclass(frozen=True)
class Inpainting:
    """Zeros and eights from their lower rows, with both latents."""

    out: Path = Path("results/inpainting")
    """Folder of the results; a run that was interrupted goes on there."""
    quick: bool = False
    """Two small networks, within a minute."""
    images: Literal["small", "mnist"] = "small"
    """Images: scikit-learn's 8x8 digits, or MNIST from `--data`."""
    data: Path | None = None
    """Folder of the four MNIST files; the one named by LIPBOUNDS_MNIST by default."""
    presets: tuple[Literal["likelihood", "program"], ...] | None = None
    """Training: ours by likelihood, or the authors' program; both by default."""
    seeds: int | None = None
    """Seeds of the headline configuration (likelihood, mixture, clamp 0.5); other cells have one."""
    share: float | None = None
    """Shortens all trainings to this share of their steps."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked and filled in."""
        shared = shared_settings(self, seeds=5, presets=PRESETS, quick_share=0.01, quick_presets=PRESETS)
        if self.images == "mnist":
            load_mnist(self.data)  # its errors before any work
        own = {
            "images": self.images,
            "test": 40 if self.quick else 1000,
            "forced": 200 if self.quick else FORCED_SAMPLES,
            "unclear": 1 if self.quick else 3,
            # a search among images of MNIST takes minutes
            "searched": 1 if self.quick or self.images == "mnist" else 3,
        }
        return shared | own


def digits_of(unit: Unit) -> Digits:
    """The images of a unit."""
    return load_small() if unit["images"] == "small" else load_mnist(unit["folder"])


def made(unit: Unit) -> Preset:
    """How the network of a unit is built and trained."""
    preset = preset_of(unit["preset"], unit["images"], unit["latent"], unit["clamp"], unit["share"])
    return preset.small() if unit["quick"] else preset


def preset_of(preset: str, images: str, latent: str, clamp: float, share: float) -> Preset:
    """The named preset for the small digits or MNIST; means of a mixture are set from the untrained image later.

    The program's sizes are those for MNIST: z of 14, five blocks of width 512, noise 0.07, 4500 steps of 1200 images.
    """
    small = images == "small"
    dim, labels, size = (64, 16, 6) if small else (784, 168, 14)
    law = MixtureLatent(((0.0,) * size,) * 2, 0.6, hidden=64, depth=1) if latent == "mixture" else Latent.normal(size)
    steps = 2500 if small else 4500 if preset == "program" else 2250
    batch = 252 if small else 1200 if preset == "program" else 512
    rate = Staircase(1e-3, 0.4, stairs=5)
    if preset == "program":
        objective: LikelihoodObjective | PaperObjective = PaperObjective(
            labels=100.0 / (dim - size),
            latent=150.0,
            data=0.0,
            image_padding=100.0 / (dim - size),
            reconstruction=100.0 / dim,
            from_labels=True,
            latent_metric=Discrepancy(InverseQuadratic(), squared=True),
            temperature=0.1,
            data_noise=IMAGE_NOISE,
            label_noise=0.07,
        )
        groups = (Group("", rate, 1e-4, clip_value=15.0), Group("latent.", rate, clip_value=15.0))
        betas, eps, noise = (0.8, 0.9), 1e-6, 0.0
    else:
        objective = LikelihoodObjective(
            label_scale=Geometric(0.3, 0.05, until=0.6), data_noise=IMAGE_NOISE, probability_noise=0.0 if small else 0.5**0.5
        )
        groups = (Group("", Cosine(2e-3), 1e-4), Group("latent.", Cosine(2e-3), 1e-3))
        betas, eps, noise = (0.9, 0.999), 1e-8, 0.15
    return Preset(
        Conditional(
            CouplingFlow(
                dim=dim,
                blocks=5,
                hidden=128 if small else 512,
                depth=1,
                activation="relu" if preset == "program" else "silu",
                clamp=clamp,
            ),
            Padding(dim=dim, data=dim, labels=labels, latent=size, noise=noise),
            law,
        ),
        objective,
        Optimization(
            max(5, round(steps * share)),
            groups if latent == "mixture" else groups[:1],
            betas=betas,
            eps=eps,
            clip_norm=None if preset == "program" else 20.0,
        ),
        batch=batch,
        weights=(0.043, 0.005) if preset == "program" else None,
    )


def draw_of(digits: Digits) -> Callable[[int, torch.Generator], tuple[Tensor, Tensor]]:
    """A source of pairs (image, lower rows), with replacement."""

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = digits.train[torch.randint(len(digits.train), (n,), generator=generator)]
        return x, x[:, : digits.known]

    return draw


def set_means(model: ConditionalModel, digits: Digits) -> None:
    """The heuristic of the paper: component i is to be class i, 4 times as far out as the untrained network puts it."""
    if isinstance(model.latent, LearnedMixture):
        rows = torch.cat([torch.nonzero(digits.train_class == index).flatten()[:CLASS_SAMPLES] for index in (0, 1)])
        means = means_from_image(model.flow, digits.train[rows], digits.train_class[rows], model.padding, factor=FACTOR)
        model.latent.means.copy_(means)


def kernel_vote(y: Tensor, others: Tensor, zeros: Tensor) -> Tensor:
    """Algorithm 2: for every y the share of zeros among the others, weighted by exp(-|y - y_i|^2); shape (n,)."""
    weights = torch.softmax(-torch.cdist(y, others).square(), dim=1)
    return weights @ zeros.to(weights)


def units_of(store: Store, settings: Mapping[str, Any], config: Inpainting) -> list[Unit]:
    """Latent x clamp of ours, on MNIST the mixture alone, quick runs with one clamp; of the program its own cell."""
    units = []
    sizes = {name: settings[name] for name in ("test", "forced", "unclear", "searched")}
    for preset, latent in itertools.product(settings["presets"], ("mixture", "normal")):
        small = settings["images"] == "small" and not settings["quick"]
        if latent == "normal" and (preset == "program" or not small):
            continue
        for clamp in (PROGRAM_CLAMP,) if preset == "program" else (CLAMP,) if settings["quick"] else (CLAMP, PROGRAM_CLAMP):
            headline = preset == "likelihood" and latent == "mixture" and clamp == CLAMP
            for seed in reported(settings["seeds"] if headline else 1):
                columns = {"images": settings["images"], "preset": preset, "latent": latent, "clamp": clamp, "seed": seed}
                unit = Unit(columns, sizes, store, settings={**settings, "folder": config.data})
                units.append(replace(unit, depends=sizes | {"made": repr(made(unit))}))
    # the slow one first, that two cores end at about the same time
    return sorted(units, key=lambda unit: bool(unit["preset"] != "program"))


def work(unit: Unit, progress: Progress) -> None:
    """Train a network unless its checkpoint is there, then measure it."""
    preset, digits = made(unit), digits_of(unit)
    model, seconds = trained(
        unit,
        preset,
        draw_of(digits),
        report=lambda share: progress(0.9 * share),
        prepare=partial(set_means, digits=digits),
    )
    row = {"steps": preset.optimization.steps, "training_seconds": seconds}
    unit.put([row | _measure(model, unit, digits)])


def _measure(model: ConditionalModel, unit: Unit, digits: Digits) -> dict[str, Any]:
    n = unit["test"]
    y = digits.test[:n, : digits.known].double()
    zeros = 1.0 - digits.test_class[:n].double()
    train_y = digits.train[:, : digits.known].double()
    estimate = kernel_vote(y, train_y, 1.0 - digits.train_class.double())
    generator = torch.Generator().manual_seed(unit["seed"])
    score, accuracy = _classifier(digits)
    row: dict[str, Any] = {
        "test": len(y),
        "classifier_accuracy": accuracy,
        "half_error": float((0.5 - estimate).abs().mean()),
        "estimate_log_loss": _log_loss(estimate, zeros),
        "label_error": float((model.padding.split(model.flow(digits.test[:n].double()))[0] - y).square().sum(1).mean().sqrt()),
    }
    samples = model.posterior(y, 1, generator)[:, 0]
    row["generated_zeros"] = float((score(samples) == 0).mean())
    row["true_zeros"] = float(zeros.mean())
    if isinstance(model.latent, LearnedMixture):
        p = model.latent.probabilities(y)[:, 0]
        agreement = [float((score(_from(model, y, index, generator)) == index).mean()) for index in (0, 1)]
        row |= {
            "probability_error": float((p - estimate).abs().mean()),
            "probability_log_loss": _log_loss(p, zeros),
            "class_of_mode": min(agreement),
            "class_of_zero_mode": agreement[0],
            "class_of_eight_mode": agreement[1],
            "mean_distance": float((model.latent.means[0] - model.latent.means[1]).norm()),
        }
    unclear = y[(estimate - 0.5).abs().argsort()[: unit["unclear"]]]
    both = [len(set(score(model.posterior(one[None], 40, generator)[0]).tolist())) == 2 for one in unclear]
    at_labels = [_at_label(model, one, unit) for one in unclear[: unit["searched"]]]
    seen = torch.cat((digits.train, digits.test)).double().numpy()
    region = Box(seen.min(0) - IMAGE_NOISE, seen.max(0) + IMAGE_NOISE)
    images = digits.test[:SLOPE_IMAGES].double()
    return row | {
        "both_classes": float(np.mean(both)),
        **{name: max(one[name] for one in at_labels) for name in at_labels[0]},
        "lip_forward_found": forward_constant(model, region, seed=unit["seed"], starts=images),
        "lip_forward_images": _stretch_at(model, images),
    }


def _stretch_at(model: ConditionalModel, x: Tensor) -> float:
    """Largest |DT| at images without padding, shape (n, pixels); power iteration comes from below."""
    return float(PowerIteration(model.flow).values_and_gradients(x)[0].max())


def _at_label(model: ConditionalModel, y: Tensor, unit: Unit) -> dict[str, float]:
    """Constants of z -> T^{-1}(y, z) at one label, and what a standard normal latent would need at least for the law of that.

    The latter with confidence (alpha is shared by the labels of a row). Of a network with a normal latent draws are projected
    onto the ball in which it is searched, so that the bound holds for what is found there.
    """
    found = constants(model, y, seed=unit["seed"], hull=not unit["quick"])
    # minutes on images of MNIST, in ball arithmetic
    certified = product_bound(model, y) if unit["seed"] == FIRST_SEED else float("nan")
    z = model.sample_latent(y.expand(unit["forced"], -1), torch.Generator().manual_seed(unit["seed"]))
    if not isinstance(model.latent, LearnedMixture):
        (ball,) = components(model, y)
        z = ball.project(z)
    alpha = ALPHA / unit["searched"]
    forced = forced_lipschitz(model.generator_at(y)(z), 0.0, alpha=alpha, seed=unit["seed"]).lower
    names = ("lip_found", "lip_found_hull")
    return {name: found[name] for name in names} | {"lip_certified": certified, "lip_forced_normal": forced}


def _log_loss(p: Tensor, zeros: Tensor) -> float:
    """Mean of -log of the probability of the true class: what a calibrated p makes small; cut at 1e-3."""
    p = p.clamp(1e-3, 1 - 1e-3)
    return float(-(zeros * p.log() + (1 - zeros) * (1 - p).log()).mean())


def _from(model: ConditionalModel, y: Tensor, component: int, generator: torch.Generator) -> Tensor:
    """One image for every y from one component, shape (n, pixels)."""
    assert isinstance(model.latent, LearnedMixture)
    noise = torch.randn(len(y), model.padding.latent, generator=generator).to(y)
    z = model.latent.means[component] + model.latent.scale * noise
    return model.flow.inverse(model.padding.pad_image(y, z, generator))


def _classifier(digits: Digits) -> tuple[Callable[[Tensor], Any], float]:
    """A support-vector machine on whole images and its accuracy on the test images: it never saw the networks."""
    from sklearn.svm import SVC

    def pixels(x: Tensor) -> Any:
        return digits.picture(x.double()).clamp(0, 1).flatten(1).numpy()

    machine = SVC(gamma="scale").fit(pixels(digits.train), digits.train_class.numpy())
    accuracy = float((machine.predict(pixels(digits.test)) == digits.test_class.numpy()).mean())
    return lambda x: machine.predict(pixels(x)), accuracy


def _pictured(units: Sequence[Unit], _: pd.DataFrame) -> pd.DataFrame:
    """Pixels for Figure 4: three y of different certainty, completions from either component, first seeds with a mixture."""
    frames = []
    for unit in units:
        if unit["seed"] != FIRST_SEED or unit["latent"] != "mixture":
            continue
        digits = digits_of(unit)
        model = trained(unit, made(unit), draw_of(digits))[0]
        y = digits.test[:, : digits.known].double()
        estimate = kernel_vote(y, digits.train[:, : digits.known].double(), 1.0 - digits.train_class.double())
        generator = torch.Generator().manual_seed(3)
        for place, wanted in enumerate(WANTED):
            index = int((estimate - wanted).abs().argmin())
            assert isinstance(model.latent, LearnedMixture)
            p = float(model.latent.probabilities(y[index][None])[0, 0])
            parts = [digits.test[index][None].double()]
            parts += [_from(model, y[index].expand(COLUMNS, -1), component, generator) for component in (0, 1)]
            pixels = digits.picture(torch.cat(parts)).clamp(0, 1).mul(255).round().numpy().astype("uint8")
            frame = pd.DataFrame(pixels.reshape(len(pixels), -1), columns=[f"pixel_{k}" for k in range(digits.side**2)])
            component = ["given", *["0"] * COLUMNS, *["8"] * COLUMNS]
            frames.append(
                frame.assign(
                    preset=unit["preset"],
                    clamp=unit["clamp"],
                    place=place,
                    component=component,
                    p=p,
                    e=float(estimate[index]),
                    known_rows=digits.known // digits.side,
                )
            )
    return pd.concat(frames, ignore_index=True)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One line a cell: means over seeds, the worst seed, medians of constants; certificates are of the first seed."""
    names = {
        "probability_error": "mean",
        "half_error": "mean",
        "class_of_mode": "min",
        "both_classes": "min",
        "generated_zeros": "mean",
        "true_zeros": "mean",
        "classifier_accuracy": "mean",
        "label_error": "mean",
        "lip_found": "median",
        "lip_found_hull": "median",
        "lip_certified": "max",
        "lip_forced_normal": "median",
        "lip_forward_images": "median",
        "lip_forward_found": "median",
        "training_seconds": "mean",
    }
    table = results.groupby(["images", "preset", "latent", "clamp"], as_index=False)
    short = table.agg({"seed": "size", **names}).rename(columns={"seed": "seeds"})
    return short


EXPERIMENT = Experiment(
    name="inpainting",
    options=Inpainting,
    units=units_of,
    work=work,
    order=("preset", "latent", "clamp", "seed"),
    tables={"pictures": _pictured},
    figures=inpainting_figure,
    summary=lambda results: [summary(results)],
    shown={"inpainting": Shown(8), "inpainting-mnist": Shown(225, {"images": "mnist"}, needs=VARIABLE)},
)
