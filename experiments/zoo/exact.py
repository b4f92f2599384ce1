"""Piecewise linear networks with published exact constants, read from shared/data/exact-lipschitz beside the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

__all__ = ["EXACT", "FOLDER", "exact_network"]

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "exact-lipschitz"
# over all of space, 2-norm; branch and bound over the activations of the networks (ExLipBaB)
EXACT = {
    "net-4-6-6-3-relu": 11.634355134114875,
    "net-9-16-16-1-other": 4.486583180017796,
    "net-9-16-16-1-relu": 11.121602332235268,
    "net-11-12-12-1-relu": 1.7433699967107172,
}


def exact_network(name: str) -> nn.Sequential:
    """Return one of the networks, float64."""
    arrays = np.load(FOLDER / f"{name}.npz")
    layers: list[nn.Module] = []
    while f"weight{len(layers) // 2}" in arrays:
        number = len(layers) // 2
        weight = torch.as_tensor(arrays[f"weight{number}"], dtype=torch.float64)
        linear = nn.Linear(weight.shape[1], weight.shape[0]).double()
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(torch.as_tensor(arrays[f"bias{number}"], dtype=torch.float64))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).requires_grad_(False)
