r"""What the experiments with labels share: presets, training with checkpoints, and the constants at fixed y."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.experiment import Unit, seeds_of
from inn import (
    Conditional,
    ConditionalModel,
    CouplingFlow,
    LearnedMixture,
    LikelihoodObjective,
    Optimization,
    PaperObjective,
    Phases,
    SuccessiveHalving,
    build_conditional,
    fit_best_start,
    load_model,
    save_model,
)
from inn.objectives import Draw
from inn.schedules import Number
from lipbounds.certify.layer_product import bound_by_product
from lipbounds.diagnosis import Search, measure
from lipbounds.domains import Ball, Capsule, Domain, conditional, latent_ball
from lipbounds.errors import InvalidInput
from lipbounds.maps import structure_of
from lipbounds.search import find_lipschitz

__all__ = [
    "ACTIVE",
    "Preset",
    "components",
    "constants",
    "forward_constant",
    "phased",
    "product_bound",
    "shared_settings",
    "standard_start",
    "trained",
]

Array = NDArray[np.float64]

LATENT_MASS = 0.99  # of the ball of every component in which constants are searched
ACTIVE = 0.01  # components of smaller probability do not count
EVALUATIONS = 60_000  # of the map for each search
NARROW = 32  # units of a quick run


class Options(Protocol):
    """What the command lines of these experiments share."""

    @property
    def out(self) -> Path: ...
    @property
    def quick(self) -> bool: ...
    @property
    def presets(self) -> tuple[str, ...] | None: ...
    @property
    def seeds(self) -> int | None: ...
    @property
    def share(self) -> float | None: ...


def shared_settings(
    options: Options, *, seeds: int, presets: tuple[str, ...], quick_share: float, quick_presets: tuple[str, ...]
) -> dict[str, Any]:
    """The shared options, checked and filled in.

    What they do not say: `presets` and `seeds`; for a quick run `quick_presets`, one seed, and `quick_share` of all steps.
    """
    chosen = seeds_of(options.seeds, default=1 if options.quick else seeds)
    share = options.share if options.share is not None else quick_share if options.quick else 1.0
    if not 0.0 < share <= 1.0:
        raise InvalidInput("--share", share, "a number in (0, 1]", "1 trains as long as the presets say")
    named = options.presets if options.presets is not None else quick_presets if options.quick else presets
    if not named or len(set(named)) < len(named) or not set(named) <= set(presets):
        raise InvalidInput("--presets", named, f"different ones of {', '.join(presets)}, at least one", "list every preset once")
    return {"presets": list(named), "seeds": chosen, "share": share, "quick": options.quick}


@dataclass(frozen=True)
class Preset:
    """How one network is built and trained.

    Attributes:
        model: The architecture, the latent and the sizes.
        objective: What is minimised.
        optimization: How.
        batch: Pairs a step.
        weights: Deviation of all initial weights and biases of T and of the probability network, as in the authors'
            program; None as built.
        starts: How many networks are begun, of which the best is trained.
    """

    model: Conditional
    objective: LikelihoodObjective | PaperObjective
    optimization: Optimization
    batch: int
    weights: tuple[float, float] | None = None
    starts: SuccessiveHalving = field(default_factory=SuccessiveHalving)

    def small(self) -> Preset:
        """The same for a flow of two blocks and narrow subnetworks: what a quick run trains and searches."""
        flow = self.model.flow
        if not isinstance(flow, CouplingFlow):
            return self
        return replace(self, model=replace(self.model, flow=replace(flow, blocks=2, hidden=min(flow.hidden, NARROW))))

    def build(self, seed: int) -> ConditionalModel:
        """The model before training."""
        model = build_conditional(self.model, seed=seed)
        if self.weights is not None:
            standard_start(model, *self.weights, seed=seed)
        return model


@torch.no_grad()
def standard_start(model: ConditionalModel, flow: float, latent: float, *, seed: int) -> None:
    """Normal weights and biases of these deviations, in place."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        size = latent if name.startswith("latent.") else flow
        parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


def trained(
    unit: Unit,
    preset: Preset,
    draw: Draw,
    *,
    report: Callable[[float], None] = lambda share: None,
    prepare: Callable[[ConditionalModel], None] | None = None,
    compare_on: Draw | None = None,
) -> tuple[ConditionalModel, float]:
    """The trained model of a unit, from its checkpoint if there is one, and the CPU seconds (one thread) that training took.

    Seconds are those of all starts. Interrupted training goes on from its last state; the state is removed when the checkpoint
    is written.
    """
    store, key = unit.store, unit.key()
    path, note = store.checkpoints / f"{key}.safetensors", store.checkpoints / f"{key}.json"
    if not path.exists():
        state = store.checkpoints / f"{key}.state"
        started = time.process_time()
        before = json.loads(note.read_text())["training_seconds"] if note.exists() else 0.0
        steps = preset.optimization.steps

        def callback(step: int, _: Any) -> None:
            store.put_json(note, {"training_seconds": round(before + time.process_time() - started, 2)})
            report((step + 1) / steps)

        def make(own: int) -> ConditionalModel:
            model = preset.build(own)
            if prepare is not None:
                prepare(model)
            return model

        model = fit_best_start(
            make,
            draw,
            preset.objective,
            preset.optimization,
            preset.starts,
            batch=preset.batch,
            seed=unit["seed"],
            compare_on=compare_on,
            callback=callback,
            state=state,
        )
        save_model(path, model, preset.model)
        state.unlink(missing_ok=True)
    model, _ = load_model(path)
    return model.double().requires_grad_(False), float(json.loads(note.read_text())["training_seconds"])


def phased(lengths: Sequence[float], values: Sequence[Number], by: float = 1.0) -> Phases:
    """One value, divided by `by`, for each phase; schedules are left as they are."""
    ends = np.cumsum(np.asarray(lengths, dtype=float)) / sum(lengths)
    parts = [value if callable(value) else value / by for value in values]
    return Phases(tuple((float(end), part) for end, part in zip(ends, parts, strict=True)))


def components(model: ConditionalModel, y: Tensor) -> list[Ball]:
    """Balls about the means of the components that y uses, in each of which a draw of that component lies with 99%."""
    if isinstance(model.latent, LearnedMixture):
        probabilities = model.latent.probabilities(y[None])[0]
        means = [mean for mean, p in zip(model.latent.means, probabilities, strict=True) if float(p) >= ACTIVE]
        scale = model.latent.scale
    else:
        means, scale = [torch.tensor(mean) for mean in model.latent.means], model.latent.scale
    return [latent_ball(mean.double().numpy(), mass=LATENT_MASS, scale=scale) for mean in means]


def held(model: ConditionalModel, y: Tensor) -> Array:
    """The coordinates of the image that a label fixes: the label and the padding at its mean."""
    padding = model.padding
    return np.concatenate((y.numpy(), np.zeros(padding.dim - padding.labels - padding.latent)))


def constants(model: ConditionalModel, y: Tensor, *, seed: int, hull: bool = True, seconds: float = 0.0) -> dict[str, Any]:
    r"""Search the constant of $z\mapsto T^{-1}_{data}(y,z)$ at one label, and bound it from above if there is time for that.

    Args:
        model: In float64.
        y: Shape (labels,).
        seed: Of the search.
        hull: Whether hulls of two balls are searched too.
        seconds: For the certificate of every ball; 0 for none. Where it comes upon a steeper place than the search, that counts.

    Returns:
        `lip_found` over the balls of `components`; `lip_found_hull` over the hulls of two balls, which contain the way between
        components that no sample takes, NaN without `hull`: lower bounds both. `lip_certified`: an upper bound on the balls,
        infinite where the time was not enough, NaN without certificate.
    """
    padding, balls = model.padding, components(model, y)
    hulls = [Capsule(a.center.numpy(), b.center.numpy(), float(a.radius)) for a, b in itertools.combinations(balls, 2)]
    found = measure(
        model.flow,
        balls,
        label=held(model, y),
        outputs=range(padding.dim - padding.data, padding.dim),
        hulls=hulls if hull else (),
        search=Search(seed, evaluations=EVALUATIONS),
        seconds=seconds,
        threads=None,
    )
    return {
        "components": len(balls),
        "lip_found": found.found.lower,
        "lip_certified": found.certified,
        "lip_found_hull": found.hull.lower if hull else math.nan,
    }


def product_bound(model: ConditionalModel, y: Tensor) -> float:
    r"""Bound the constant of $z\mapsto T^{-1}(y,z)$ on the balls of `components` from above, in any dimension.

    Certified and crude: the product of layer constants on the box about every ball, y and padding held.
    """
    layers, fixed = structure_of(model.flow), held(model, y)
    boxes = [[np.concatenate((fixed, corner.numpy())) for corner in ball.bounds()] for ball in components(model, y)]
    return max(bound_by_product(layers, low, high) for low, high in boxes)


def forward_constant(model: ConditionalModel, data: Domain, *, seed: int, starts: Tensor | None = None) -> float:
    """Search Lip(T) of x -> T(x, 0), the padding of the data at its mean, on a domain of data space, from `starts` too."""
    padding = np.zeros(model.padding.dim - model.padding.data)
    image = conditional(model.flow.forward, padding) if len(padding) else model.flow.forward
    return find_lipschitz(image, data, seed=seed, starts=starts, evaluations=EVALUATIONS).lower
