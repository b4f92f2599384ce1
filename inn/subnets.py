"""The networks s and t inside coupling layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.lipschitz.structure import Conditioner

__all__ = ["MLP", "Activation"]

Activation = Literal["tanh", "silu", "softplus", "relu"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "softplus": nn.functional.softplus,
    "relu": torch.relu,
}


OUTPUT_SCALE = 0.1


class MLP(nn.Module):
    """A fully connected network: `depth` hidden layers of width `hidden`, then an affine layer.

    Weights start as torch's `nn.Linear` does, from `generator`, so that a seed fixes the network whatever else draws
    random numbers. Inputs and outputs are of shape (n, inputs) and (n, outputs).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int,
        depth: int,
        activation: Activation,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        for name, value in {"inputs": inputs, "outputs": outputs, "hidden": hidden, "depth": depth}.items():
            if value < 1:
                raise InvalidInput(name, value, "an integer >= 1", "a subnetwork needs at least one unit everywhere")
        if activation not in ACTIVATIONS:
            raise InvalidInput("activation", repr(activation), f"one of {sorted(ACTIVATIONS)}", "choose one of these")
        widths = [inputs] + [hidden] * depth + [outputs]
        self.activation = activation
        self.layers = nn.ModuleList()
        for fan_in, fan_out in itertools.pairwise(widths):
            # skip_init: torch's own initialisation would draw from the global generator
            layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
            bound = fan_in**-0.5 * (OUTPUT_SCALE if fan_out == widths[-1] and len(self.layers) == depth else 1.0)
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
            self.layers.append(layer)

    def structure(self) -> Conditioner:
        """Return the network as plain data in float64."""
        arrays = {name: value.detach().cpu().double().numpy().copy() for name, value in self.state_dict().items()}
        weights = [arrays[f"layers.{index}.weight"] for index in range(len(self.layers))]
        return Conditioner(weights, [arrays[f"layers.{index}.bias"] for index in range(len(self.layers))], self.activation)

    def forward(self, x: Tensor) -> Tensor:
        activation = ACTIVATIONS[self.activation]
        for layer in self.layers[:-1]:
            x = activation(layer(x))
        output: Tensor = self.layers[-1](x)
        return output
