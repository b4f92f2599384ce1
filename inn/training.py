"""Training an ensemble of networks that see data of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from inn.control import stretch_penalty
from inn.ensemble import Ensemble
from inn.invertible import Invertible
from inn.latents import Latent
from inn.loop import Group, Optimization, fit
from inn.losses import (
    conditional_negative_log_likelihood,
    data_discrepancy,
    latent_discrepancy,
    negative_log_likelihood,
)
from lipbounds.errors import InvalidInput

__all__ = ["Objective", "Training", "train"]

Objective = Literal["likelihood", "discrepancy", "conditional"]


@dataclass(frozen=True)
class Training:
    """How to train; everything that the result depends on but the network, the data and the seed.

    Attributes:
        objective: `likelihood`, or `discrepancy`, the paper's L_x + L_z with its kernel; or `conditional`, the likelihood of x
            given y, for data (x, y) in rows.
        steps: Number of Adam steps.
        batch: Points a network and step.
        learning_rate: Peak of a cosine schedule with a short linear start.
        penalty: Weight of `stretch_penalty`; 0 leaves it out.
        penalty_limit: Its limit c.
        penalty_pairs: Its number of pairs a step.
        penalty_mass: The mass of the balls on which it acts.
        first_spread: The latent means start at this share of their distance and reach it linearly; 1 leaves them alone.
        spread_share: Share of the steps in which they do.
        label_scale: For `conditional`, the deviation that T_y(x) may have from y.
    """

    objective: Objective = "likelihood"
    steps: int = 3000
    batch: int = 256
    learning_rate: float = 5e-3
    penalty: float = 0.0
    penalty_limit: float = 1.5
    penalty_pairs: int = 32
    penalty_mass: float = 0.9999
    first_spread: float = 1.0
    spread_share: float = 0.95
    label_scale: float = 0.05

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise InvalidInput("objective", repr(self.objective), f"one of {get_args(Objective)}", "choose one of these")
        for name in ("steps", "batch", "learning_rate", "penalty_pairs", "spread_share", "label_scale"):
            if not getattr(self, name) > 0:
                raise InvalidInput(name, getattr(self, name), "a number > 0", "see the attributes of Training")

    def rate(self, step: int) -> float:
        """Learning rate of a step: up in the first 100 steps, then down to 0 along a cosine."""
        start = min(1.0, (step + 1) / min(100, self.steps))
        return self.learning_rate * start * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))

    def spread(self, step: int) -> float:
        """Share of the distance of the latent means at a step."""
        return min(1.0, self.first_spread + (1.0 - self.first_spread) * step / (self.spread_share * self.steps))


def train(
    ensemble: Ensemble[Invertible],
    draw: Callable[[int, torch.Generator], Tensor],
    latent: Latent,
    training: Training,
    *,
    seed: int,
    callback: Callable[[int, Tensor], None] | None = None,
) -> None:
    """Train all networks of an ensemble in place; network i on its own data.

    Drawing the latent means together at first lets the modes of the data find their components while they overlap: once
    the components are far apart no point changes sides, and a wrong split of the mass stays.

    Args:
        ensemble: The networks.
        draw: Gives fresh data of shape (E, n, d), float32, for n and a generator; for `conditional` rows (x, y).
        latent: The latent law.
        training: All settings.
        seed: Seeds data, latent samples and pairs.
        callback: Called with the step and the losses, shape (E,), every few steps and after the last.

    Raises:
        NotConverged: If a loss is not finite; it names the step and the networks.
    """

    def losses(done: float, generator: torch.Generator) -> dict[str, Tensor]:
        at_step = latent.drawn_together(training.spread(round(done * training.steps)))
        return {"objective": _losses(ensemble, draw(training.batch, generator), at_step, training, generator)}

    rate = lambda done: training.rate(round(done * training.steps))
    report = None if callback is None else lambda step, terms: callback(step, terms["objective"])
    optimization = Optimization(training.steps, (Group(learning_rate=rate),))
    fit(ensemble.named_parameters(), losses, optimization, seed=seed, callback=report)


def _losses(ensemble: Ensemble[Invertible], x: Tensor, latent: Latent, training: Training, generator: torch.Generator) -> Tensor:
    if training.objective == "likelihood":
        losses = negative_log_likelihood(ensemble, x, latent)
    elif training.objective == "conditional":
        n = (x.shape[-1] - latent.dim) // 2  # x has n + k coordinates, y has n
        labels = x[..., x.shape[-1] - n :]
        losses = conditional_negative_log_likelihood(
            ensemble, x[..., : x.shape[-1] - n], labels, latent, label_scale=training.label_scale
        )
    else:
        z = torch.stack([latent.sample(training.batch, generator) for _ in range(len(ensemble))])
        losses = data_discrepancy(ensemble, x, z) + latent_discrepancy(ensemble, x, z)
    if training.penalty > 0:
        losses = losses + training.penalty * stretch_penalty(
            ensemble,
            latent,
            pairs=training.penalty_pairs,
            limit=training.penalty_limit,
            mass=training.penalty_mass,
            generator=generator,
        )
    return losses
