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
from torch import nn

from inn.architectures import ARCHITECTURES, Architecture, build
from inn.conditional import Conditional, ConditionalModel, MixtureLatent, build_conditional
from inn.files import write_whole
from inn.invertible import Invertible
from inn.latents import Latent
from inn.padding import Padding
from lipbounds.errors import InvalidInput

__all__ = ["load_flow", "load_model", "save_flow", "save_model"]

ARCHITECTURE = "architecture"
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
    data = save(state, metadata={key: json.dumps(value) for key, value in description.items()})
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
        description = described(json.loads(metadata[key]))
        module = built(description)
        module.load_state_dict(state)
        if not all(bool(torch.isfinite(value).all()) for value in state.values()):
            raise ValueError("weights are not finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        got = f"{path} ({type(error).__name__}: {str(error).splitlines()[0]})"
        raise InvalidInput("path", got, f"a checkpoint written by {writer}", "train the network again") from error
    return module, description
