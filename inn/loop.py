"""The training loop: Adam or Muon on named losses, schedules, clipping, early report of NaN, states that resume bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from inn.files import write_whole
from inn.schedules import Number, as_schedule
from lipbounds.errors import InvalidInput, NotConverged

__all__ = ["Group", "Losses", "Optimization", "fit"]

Losses = Callable[[float, torch.Generator], Mapping[str, Tensor]]
"""From the share of the steps that is done and the source of randomness to named terms, whose sum is minimised."""


@dataclass(frozen=True)
class Group:
    """How the parameters whose names begin with `prefix` are trained.

    Attributes:
        prefix: Of their names; the longest that fits counts, the empty one fits all.
        learning_rate: Number or schedule.
        weight_decay: The factor $\\lambda_{reg}$ of $\\frac{\\lambda_{reg}}2|w|^2$ for every parameter, added to the gradient
            (Adam's L^2 penalty, as in the authors' program); number or schedule.
        clip_value: Every entry of the gradient is cut to this size (the authors take 15); None does not cut.
        matrix_rate: Learning rate of Muon, which then takes the weight matrices, and Adam the rest; None leaves all to Adam.
            Muon steps along the orthogonal factor of the momentum, so all singular directions of a matrix move alike; its
            weight decay is decoupled, w is shrunk by rate times decay. On one seed of the kinematics 3000 steps of it were
            better than 15,000 of Adam.
    """

    prefix: str = ""
    learning_rate: Number = 1e-3
    weight_decay: Number = 0.0
    clip_value: float | None = None
    matrix_rate: Number | None = None


@dataclass(frozen=True)
class Optimization:
    """Adam, or Muon for matrices, and their settings.

    Attributes:
        steps: Number of steps.
        groups: One `Group` at least; together they reach every parameter.
        betas: Of Adam.
        eps: Of Adam.
        clip_norm: The whole gradient is scaled down to this norm; None does not scale.
    """

    steps: int
    groups: tuple[Group, ...] = field(default=(Group(),))
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InvalidInput("steps", self.steps, "an integer >= 1", "train for at least one step")
        prefixes = [group.prefix for group in self.groups]
        if not prefixes or len(set(prefixes)) < len(prefixes):
            raise InvalidInput("groups", prefixes, "different prefixes, at least one", "one Group for each prefix")

    def group_of(self, name: str) -> int:
        """Index of the group of a parameter."""
        fitting = [index for index, group in enumerate(self.groups) if name.startswith(group.prefix)]
        if not fitting:
            raise InvalidInput("groups", [group.prefix for group in self.groups], f"a prefix of {name!r}", "add Group(prefix='')")
        return max(fitting, key=lambda index: len(self.groups[index].prefix))


def fit(  # noqa: PLR0913 (a user reads them one by one)
    parameters: Mapping[str, Tensor],
    losses: Losses,
    optimization: Optimization,
    *,
    seed: int,
    callback: Callable[[int, Mapping[str, Tensor]], None] | None = None,
    every: int = 50,
    after_step: Callable[[], None] | None = None,
    explain: Callable[[], str] | None = None,
    state: Path | None = None,
    memory: Mapping[str, Tensor] | None = None,
    stop: int | None = None,
) -> None:
    """Minimise the sum of the losses over the parameters, in place.

    Args:
        parameters: Leaf tensors by name, of one device.
        losses: The terms at a step. All their randomness comes from the generator they are given, on the CPU whatever the
            device, so that a seed means the same everywhere.
        optimization: All settings.
        seed: Of that generator.
        callback: Called with the step and the terms every `every` steps and after the last.
        every: Steps between two calls, and between two states on disk.
        after_step: Called after every step, for weights that are projected (`clip_weights`).
        explain: Called when a loss is not finite; what it returns is part of the message (`first_bad_layer`).
        state: A file for the state. If it is there training goes on from it, and on the CPU ends with the same bits as without
            interruption. It is written every `every` steps, whole or not at all, and stays. Settings are compared by their
            repr: use the schedules of `inn.schedules`, a lambda's differs from process to process.
        memory: Further tensors that belong to the state.
        stop: End after this many steps of those that the schedules count; with a state, a later call goes on from there.

    Raises:
        NotConverged: If a term is not finite: names the step, the term, parameters that are not finite, and what `explain` says.
            The parameters are left as they were before that step.
        InvalidInput: For a state that is damaged, or of other parameters or settings.

    Example:
        >>> x = torch.tensor([4.0], requires_grad=True)
        >>> fit({"x": x}, lambda done, _: {"square": (x - 1).square().sum()}, Optimization(300, (Group("", 0.1),)), seed=0)
        >>> bool((x - 1).abs() < 1e-3)
        True
    """
    kept = dict(memory or {})
    generator = torch.Generator().manual_seed(seed)
    optimizers = _Optimizers(parameters, optimization)
    begin = 0
    end = optimization.steps if stop is None else stop
    if not 1 <= end <= optimization.steps:
        raise InvalidInput(
            "stop", stop, f"an integer from 1 to {optimization.steps}, the steps", "leave it out to train to the end"
        )
    if state is not None and state.exists():
        begin = _restore(state, parameters, kept, optimizers, generator, _identity(optimization, seed))
    for step in range(begin, end):
        done = step / optimization.steps
        terms = losses(done, generator)
        bad = [name for name, term in terms.items() if not bool(torch.isfinite(term.detach()).all())]
        if bad:
            raise NotConverged(_report(step, {name: terms[name] for name in bad}, parameters, explain))
        optimizers.clear()
        sum(term.sum() for term in terms.values()).backward()  # type: ignore[union-attr]
        optimizers.step(done)
        if after_step is not None:
            after_step()
        last = step == end - 1
        if callback is not None and (step % every == 0 or last):
            callback(step, {name: term.detach() for name, term in terms.items()})
        if state is not None and ((step + 1) % every == 0 or last):
            _store(state, step + 1, parameters, kept, optimizers, generator, _identity(optimization, seed))


class _Optimizers:
    """The optimizers of all groups; they keep their moments by parameter."""

    def __init__(self, parameters: Mapping[str, Tensor], optimization: Optimization) -> None:
        self._settings = optimization
        self._values = list(parameters.values())
        self._members: list[list[Tensor]] = [[] for _ in optimization.groups]
        for name, value in parameters.items():
            self._members[optimization.group_of(name)].append(value)
        self.parts: list[torch.optim.Optimizer] = []
        self._rates: list[tuple[Number, Group]] = []
        for group, members in zip(optimization.groups, self._members, strict=True):
            matrices = [value for value in members if value.ndim == 2] if group.matrix_rate is not None else []
            rest = [value for value in members if value.ndim != 2] if matrices else members
            if matrices and group.matrix_rate is not None:
                self.parts.append(torch.optim.Muon(matrices, lr=0.0, weight_decay=0.0))
                self._rates.append((group.matrix_rate, group))
            if rest:
                self.parts.append(torch.optim.Adam(rest, lr=0.0, betas=optimization.betas, eps=optimization.eps, fused=True))
                self._rates.append((group.learning_rate, group))

    def clear(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self, done: float) -> None:
        """Clip the gradients and move all parameters."""
        for group, members in zip(self._settings.groups, self._members, strict=True):
            moving = [value for value in members if value.grad is not None]
            if group.clip_value is not None and moving:
                torch.nn.utils.clip_grad_value_(moving, group.clip_value)
        if self._settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._values, self._settings.clip_norm)
        for part, (rate, group) in zip(self.parts, self._rates, strict=True):
            part.param_groups[0]["lr"] = as_schedule(rate)(done)
            part.param_groups[0]["weight_decay"] = as_schedule(group.weight_decay)(done)
            part.step()

    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """Moments and counters of every parameter."""
        return {value: entries for part in self.parts for value, entries in part.state.items()}

    def restore(self, state: Mapping[Tensor, dict[str, Tensor]]) -> None:
        for part in self.parts:
            part.state.update({value: state[value] for value in part.param_groups[0]["params"] if value in state})


def _report(step: int, bad: Mapping[str, Tensor], parameters: Mapping[str, Tensor], explain: Callable[[], str] | None) -> str:
    where = []
    for name, term in bad.items():
        entries = torch.nonzero(~torch.isfinite(term.detach().reshape(-1))).flatten().tolist()
        where.append(f"{name!r}" + (f" of networks {entries}" if term.ndim else ""))
    message = f"fit: loss {', '.join(where)} not finite at step {step}"
    broken = [name for name, value in parameters.items() if not bool(torch.isfinite(value.detach()).all())]
    if broken:
        message += f"; parameters not finite: {broken[0]}" + (f" and {len(broken) - 1} more" if len(broken) > 1 else "")
    if explain is not None:
        message += f"; {explain()}"
    return message + "; lower the learning rate, clip gradients, or check the data"


def _identity(optimization: Optimization, seed: int) -> str:
    return repr((optimization, seed))


def _store(
    path: Path,
    step: int,
    parameters: Mapping[str, Tensor],
    memory: Mapping[str, Tensor],
    optimizers: _Optimizers,
    generator: torch.Generator,
    identity: str,
) -> None:
    tensors = {f"parameter/{name}": value for name, value in parameters.items()}
    tensors |= {f"memory/{name}": value for name, value in memory.items()}
    moments = optimizers.state()
    for name, value in parameters.items():
        tensors |= {f"moment/{key}/{name}": entry for key, entry in moments.get(value, {}).items()}
    tensors["generator"] = generator.get_state()
    data = save(
        {name: value.detach().contiguous() for name, value in tensors.items()},
        metadata={"training": json.dumps({"step": step, "identity": identity})},
    )
    write_whole(path, data)


def _restore(
    path: Path,
    parameters: Mapping[str, Tensor],
    memory: Mapping[str, Tensor],
    optimizers: _Optimizers,
    generator: torch.Generator,
    identity: str,
) -> int:
    """Fill everything from the file and return the step to go on with."""
    wanted, remedy = "a state of this training", "delete it to start again"
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if described["identity"] != identity:
            raise InvalidInput("state", f"{path}, of other settings or another seed", wanted, remedy)
        step = int(described["step"])
        sources = {f"parameter/{name}": value for name, value in parameters.items()}
        sources |= {f"memory/{name}": value for name, value in memory.items()}
        for name, value in sources.items():
            if tensors[name].shape != value.shape or tensors[name].dtype != value.dtype:
                raise InvalidInput("state", f"{path}, where {name} has another shape or dtype", wanted, remedy)
        random = tensors["generator"]
        moments: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("moment/"):
                _, key, owner = name.split("/", 2)
                moments.setdefault(owner, {})[key] = value
        filled = {
            parameters[owner]: {key: (entry if key == "step" else entry.to(parameters[owner])) for key, entry in entries.items()}
            for owner, entries in moments.items()
        }
        generator.set_state(random)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidInput):
            raise
        got = f"{path} ({type(error).__name__}: {str(error).splitlines()[0]})"
        raise InvalidInput("state", got, wanted, remedy) from error
    with torch.no_grad():
        for name, value in sources.items():
            value.copy_(tensors[name])
    optimizers.restore(filled)
    return step
