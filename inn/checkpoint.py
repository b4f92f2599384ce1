"""Networks on disk: safetensors with the architecture as JSON in its header. Nothing in a file is ever executed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from inn.architectures import ARCHITECTURES, Architecture, build
from inn.invertible import Invertible
from lipbounds.errors import InvalidInput

__all__ = ["load_flow", "save_flow"]

ARCHITECTURE = "architecture"


def save_flow(path: Path, flow: Invertible, architecture: Architecture) -> None:
    """Write a network; the file appears whole or not at all.

    Args:
        path: File to write; its folder exists.
        flow: The network.
        architecture: What it was built from.
    """
    name = next(name for name, (kind, _) in ARCHITECTURES.items() if isinstance(architecture, kind))
    state = {key: value.contiguous() for key, value in flow.state_dict().items()}
    data = save(state, metadata={ARCHITECTURE: json.dumps({"kind": name, **asdict(architecture)})})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_flow(path: Path) -> tuple[Invertible, Architecture]:
    """Read a network and its architecture.

    Raises:
        InvalidInput: If the file is missing, truncated, or not of a network of `ARCHITECTURES`.
    """
    wanted, remedy = "a checkpoint written by save_flow", "train the network again"
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        fields = json.loads(metadata[ARCHITECTURE])
        architecture = ARCHITECTURES[fields.pop("kind")][0](**fields)
        flow = build(architecture, seed=0)
        flow.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput("path", f"{path} ({type(error).__name__}: {str(error).splitlines()[0]})", wanted, remedy) from error
    return flow, architecture
