"""Training from the best of several starts, told by their loss after a small share of the steps."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from inn.conditional import ConditionalModel
from inn.loop import Optimization
from inn.objectives import Draw, Objective, fit_conditional
from lipbounds.errors import InvalidInput, NotConverged

__all__ = ["Starts", "fit_best_start"]

SEED_STEP = 10_000  # between the initial weights of two starts


@dataclass(frozen=True)
class Starts:
    """How many networks are begun, and when the best of them is chosen.

    Attributes:
        number: Of networks; 1 chooses nothing.
        share: Of the steps that every one of them is trained for.
        pairs: Fresh pairs on which they are compared.
    """

    number: int = 1
    share: float = 0.5
    pairs: int = 20_000

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InvalidInput("number", self.number, "an integer >= 1", "one start is the least")
        if not 0.0 < self.share <= 1.0:
            raise InvalidInput("share", self.share, "a number in (0, 1]", "late enough for the loss to tell starts apart")
        if self.pairs < 1:
            raise InvalidInput("pairs", self.pairs, "an integer >= 1", "compare on thousands of pairs")


def fit_best_start(
    make: Callable[[int], ConditionalModel],
    draw: Draw,
    objective: Objective,
    optimization: Optimization,
    starts: Starts,
    *,
    batch: int,
    seed: int,
    callback: Callable[[int, Mapping[str, Tensor]], None] | None = None,
    every: int = 50,
    state: Path | None = None,
) -> ConditionalModel:
    """Begin several networks, go on with the one of smallest loss, and return it trained.

    A map that must tear space tears it where the first steps happened to; later steps sharpen the tear and do not move it, so
    that networks which differ in their initial weights alone end with very different errors. How early the loss tells them
    apart depends on the problem: for the kinematics of `experiments`, where the label scale falls during 60% of the steps, it
    said nothing about the end after 5%, saw the worst of five after 20%, and had all in their final order but one pair after 60%.

    Args:
        make: From a seed to a network before training; start k has the seed `seed` + 10,000 k.
        draw: As in `fit_conditional`, and `objective`, `optimization`, `batch`, `callback`, `every`.
        objective: See there; at the share of the steps that the starts have done, its sum on fresh pairs is compared.
        optimization: See there; the steps of the starts are the first steps of its schedules.
        starts: How many, how far.
        batch: See there.
        seed: Of data, latent samples and paddings: the same for all starts.
        callback: See there.
        every: See there.
        state: A file for the state, as in `fit`; files of the starts lie beside it until one is chosen.

    Raises:
        NotConverged: If the training of the best start fails, or that of all starts.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = state or (Path(folder) / "state" if starts.number > 1 else None)
        fit_one = partial(
            fit_conditional,
            draw=draw,
            objective=objective,
            optimization=optimization,
            batch=batch,
            seed=seed,
            callback=callback,
            every=every,
        )
        if starts.number > 1 and path is not None and not path.exists():
            stop = max(1, round(starts.share * optimization.steps))
            parts = [path.with_name(f"{path.name}.{index}") for index in range(starts.number)]
            losses, failures = [], []
            for index, part in enumerate(parts):
                model = make(seed + SEED_STEP * index)
                try:
                    fit_one(model, state=part, stop=stop)
                except NotConverged as failure:
                    failures.append(failure)
                    losses.append(math.inf)
                    continue
                losses.append(_loss(model, draw, objective, stop / optimization.steps, starts.pairs, seed))
            if len(failures) == starts.number:
                raise failures[0]
            parts[losses.index(min(losses))].replace(path)
            for part in parts:
                part.unlink(missing_ok=True)
        model = make(seed)
        fit_one(model, state=path)
    return model


@torch.no_grad()
def _loss(model: ConditionalModel, draw: Draw, objective: Objective, done: float, pairs: int, seed: int) -> float:
    """The objective on pairs that no step has seen, the same for every start."""
    generator = torch.Generator().manual_seed(seed + 1)
    place = next(model.parameters())
    x, y = (part.to(place) for part in draw(pairs, generator))
    value = float(sum(objective(model, x, y, done, generator).values()))
    return value if math.isfinite(value) else math.inf
