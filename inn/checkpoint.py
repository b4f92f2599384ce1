"""Networks on disk: safetensors with the architecture as JSON in its header. Nothing in a file is ever executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from inn.architectures import ARCHITECTURES, Architecture, build
from inn.conditional import Conditional, ConditionalModel, MixtureLatent, build_conditional
from inn.files import write_whole
from inn.invertible import Invertible
from inn.latents import Latent
from inn.padding import Padding
from lipbounds.errors import InvalidInput

__all__ = ["load_flow", "load_model", "save_flow", "save_model"]

ARCHITECTURE = "architecture"
DTYPE = "dtype"
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LEAST_SIZE = 64  # settings up to this are never refused for their size
ORDERS = ("order", "inverse_order")  # buffers that hold permutations
CONDITIONAL = "conditional"
Module = TypeVar("Module", bound=nn.Module)
Description = TypeVar("Description")


def save_flow(path: Path, flow: Invertible, architecture: Architecture) -> None:
    """Write a network; the file appears whole or not at all.

    Args:
        path: File to write; its folder exists.
        flow: The network.
        architecture: What it was built from.
    """
    _save(path, flow, {ARCHITECTURE: _described(architecture)})


def load_flow(path: Path) -> tuple[Invertible, Architecture]:
    """Read a network and its architecture.

    Raises:
        InvalidInput: If the file is missing, truncated, or not of a network of `ARCHITECTURES`.
    """
    return _load(path, ARCHITECTURE, _architecture, lambda described: build(described, seed=0), "save_flow")


def save_model(path: Path, model: ConditionalModel, conditional: Conditional) -> None:
    """Write a conditional model, latent and sizes included; the file appears whole or not at all."""
    latent = conditional.latent
    described = {
        "flow": _described(conditional.flow),
        "padding": asdict(conditional.padding),
        "latent": {"learned": isinstance(latent, MixtureLatent), **asdict(latent)},
    }
    _save(path, model, {CONDITIONAL: described})


def load_model(path: Path) -> tuple[ConditionalModel, Conditional]:
    """Read a conditional model and what it was built from.

    Raises:
        InvalidInput: If the file is missing, truncated, or not of a conditional model.
    """
    return _load(path, CONDITIONAL, _conditional, lambda described: build_conditional(described, seed=0), "save_model")


def _described(architecture: Architecture) -> dict[str, Any]:
    name = next(name for name, (kind, _) in ARCHITECTURES.items() if isinstance(architecture, kind))
    return {"kind": name, **asdict(architecture)}


def _architecture(fields: dict[str, Any]) -> Architecture:
    return ARCHITECTURES[fields.pop("kind")][0](**fields)


def _conditional(fields: dict[str, Any]) -> Conditional:
    latent = fields["latent"]
    kind = MixtureLatent if latent.pop("learned") else Latent
    means = tuple(tuple(float(entry) for entry in mean) for mean in latent.pop("means"))
    return Conditional(_architecture(fields["flow"]), Padding(**fields["padding"]), kind(means=means, **latent))


def _save(path: Path, module: nn.Module, description: dict[str, Any]) -> None:
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    kinds = {str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()}
    if len(kinds) != 1 or not kinds <= DTYPES.keys():
        raise InvalidInput("flow", sorted(kinds), f"one type of {sorted(DTYPES)}", "convert it with .float() or .double()")
    metadata = {key: json.dumps(value) for key, value in description.items()} | {DTYPE: kinds.pop()}
    data = save(state, metadata=metadata)
    write_whole(path, data)


def _load(
    path: Path,
    key: str,
    described: Callable[[dict[str, Any]], Description],
    built: Callable[[Description], Module],
    writer: str,
) -> tuple[Module, Description]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        fields = json.loads(metadata[key])
        _check_sizes(fields, state)
        _check_values(state)
        description = described(fields)
        module = built(description).to(DTYPES[metadata.get(DTYPE, "float32")])
        _check_types(module, state)
        module.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        got = f"{path} ({type(error).__name__}: {str(error).splitlines()[0]})"
        raise InvalidInput("path", got, f"a checkpoint written by {writer}", "train the network again") from error
    return module, description


def _check_sizes(fields: Any, state: dict[str, Tensor]) -> None:
    """Refuse sizes that the tensors cannot have, before a network of these sizes is built.

    Dimensions and widths are sizes of tensors, or sums of two of them; blocks and depths are at most the number of tensors.
    """
    most = 2 * max([len(state), *(size for value in state.values() for size in value.shape)], default=0) + LEAST_SIZE
    todo = [fields]
    while todo:
        value = todo.pop()
        if isinstance(value, dict | list):
            todo.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > most:
            raise ValueError(f"a size of {value} for tensors with at most {most} entries an axis")


def _check_values(state: dict[str, Tensor]) -> None:
    for name, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: weights are not finite")
        ordered = torch.arange(value.numel(), dtype=value.dtype)
        if name.rpartition(".")[2] in ORDERS and not torch.equal(value.sort().values, ordered):
            raise ValueError(f"{name}: {value.tolist()} is no permutation")
    for name, value in state.items():
        prefix, _, last = name.rpartition(".")
        back = state.get(f"{prefix}.inverse_order" if prefix else "inverse_order")
        if last == "order" and back is not None and not torch.equal(back, torch.argsort(value)):
            raise ValueError(f"{name}: not the inverse of its inverse_order")


def _check_types(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Loading converts silently: a number beyond the range of the network's type would become infinite."""
    for name, value in module.state_dict().items():
        if name in state and state[name].dtype != value.dtype:
            raise ValueError(f"{name}: {state[name].dtype}, where the network has {value.dtype}")
