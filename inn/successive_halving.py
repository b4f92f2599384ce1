"""Training from the best of several starts, told by their loss on the way: successive halving."""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from inn.conditional import ConditionalModel
from inn.files import write_whole
from inn.loop import Optimization
from inn.objectives import Draw, Objective, fit_conditional
from lipbounds.errors import InvalidInput, NotConverged

__all__ = ["SuccessiveHalving", "fit_best_start"]

SEED_STEP = 10_000  # between the initial weights of two starts


@dataclass(frozen=True)
class SuccessiveHalving:
    """How many networks are begun, and when how many of the best go on.

    Attributes:
        number: Of networks; 1 chooses nothing.
        rounds: Pairs of a share of the steps and how many go on from there, shares rising, numbers falling to 1.
        pairs: Fresh pairs on which they are compared.
    """

    number: int = 1
    rounds: tuple[tuple[float, int], ...] = ()
    pairs: int = 20_000

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InvalidInput("number", self.number, "an integer >= 1", "one start is the least")
        shares = [0.0, *(share for share, _ in self.rounds)]
        kept = [self.number, *(keep for _, keep in self.rounds)]
        falls = all(late < early for early, late in itertools.pairwise(kept)) and kept[-1] == 1
        if not falls or not all(early < late <= 1.0 for early, late in itertools.pairwise(shares)):
            wanted = "shares that rise to 1 at most, numbers that fall to 1"
            raise InvalidInput("rounds", self.rounds, wanted, "((0.2, 4), (0.6, 1)) for 8 starts, () for one")
        if self.pairs < 1:
            raise InvalidInput("pairs", self.pairs, "an integer >= 1", "compare on thousands of pairs")


def fit_best_start(  # noqa: PLR0913 (a user reads them one by one)
    make: Callable[[int], ConditionalModel],
    draw: Draw,
    objective: Objective,
    optimization: Optimization,
    starts: SuccessiveHalving,
    *,
    batch: int,
    seed: int,
    compare_on: Draw | None = None,
    callback: Callable[[int, Mapping[str, Tensor]], None] | None = None,
    every: int = 50,
    state: Path | None = None,
) -> ConditionalModel:
    """Begin several networks, go on with those of smallest loss, and return the best, trained (successive halving).

    A map that must tear space tears it where the first steps happened to; later steps sharpen the tear and do not move it, so
    that networks which differ in their initial weights alone end with very different errors. Choose late: for the kinematics of
    `experiments` the loss said nothing about the end after 5% of the steps, and choosing after 20% and after 60% threw away the
    best start of two seeds out of three; at the end it found a good one for five seeds of five.

    Args:
        make: From a seed to a network before training; start k has the seed `seed` + 10,000 k.
        draw: As in `fit_conditional`, and `objective`, `optimization`, `batch`, `callback`, `every`.
        objective: See there; at the share of the steps that the starts have done, its sum on fresh pairs is compared.
        optimization: See there; the steps of the starts are the first steps of its schedules.
        starts: How many, how far.
        batch: See there.
        seed: Of data, latent samples and paddings: the same for all starts.
        compare_on: Source of the pairs for comparing, `draw` by default: where only some labels matter, pairs near those.
        callback: See there.
        every: See there.
        state: A file for the state, as in `fit`; files of the starts lie beside it until one is chosen.

    Raises:
        NotConverged: If the training of the best start fails, or that of all starts.

    Source:
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016, for the halving.
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
            note = path.with_name(f"{path.name}.rounds")  # without it a later round would be taken for an earlier one
            begun, alive = json.loads(note.read_text()) if note.exists() else (0, list(range(starts.number)))
            parts = [path.with_name(f"{path.name}.{index}") for index in range(starts.number)]
            for turn, (share, keep) in enumerate(starts.rounds[begun:], start=begun + 1):
                stop = max(1, round(share * optimization.steps))
                losses: dict[int, float] = {}
                failures = []
                for index in alive:
                    model = make(seed + SEED_STEP * index)
                    try:
                        fit_one(model, state=parts[index], stop=stop)
                        done = stop / optimization.steps
                        losses[index] = _loss(model, compare_on or draw, objective, done, starts.pairs, seed)
                    except NotConverged as failure:
                        failures.append(failure)
                if not losses:
                    raise failures[0]
                alive = sorted(losses, key=lambda index: losses[index])[:keep]
                write_whole(note, json.dumps([turn, alive]).encode())
                for index, part in enumerate(parts):
                    if index not in alive:
                        part.unlink(missing_ok=True)
            parts[alive[0]].replace(path)
            note.unlink()
        model = make(seed)
        fit_one(model, state=path)
    return model


@torch.no_grad()
def _loss(model: ConditionalModel, draw: Draw, objective: Objective, done: float, pairs: int, seed: int) -> float:
    """The objective on pairs that no step has seen, the same for every start; infinite if it is not finite."""
    generator = torch.Generator().manual_seed(seed + 1)
    place = next(model.parameters())
    x, y = (part.to(place) for part in draw(pairs, generator))
    value = float(sum(objective(model, x, y, done, generator).values()))
    return value if math.isfinite(value) else math.inf
