"""The networks s and t inside coupling layers."""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.maps import Conditioner, get_activation

__all__ = ["MLP"]

OUTPUT_SCALE = 0.1
ROUNDING = 1e-5  # singular values of float32 are good to a few ulps: normalised matrices stay below by that much


class MLP(nn.Module):
    """A fully connected network: `depth` hidden layers of width `hidden`, then an affine layer.

    Weights start as torch's `nn.Linear` does, from `generator`, so that a seed fixes the network whatever else draws
    random numbers. Inputs and outputs are of shape (n, inputs) and (n, outputs).

    With a `constant` c the network is c-Lipschitz whatever its weights: every matrix is divided by its spectral norm where that
    exceeds $c^{1/L}$ over the activation's slope (`normalised`). The norm is exact (a singular value decomposition); power
    iteration, as elsewhere, normalises by less than the norm and guarantees nothing.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int,
        depth: int,
        activation: str,
        generator: torch.Generator,
        constant: float | None = None,
    ) -> None:
        super().__init__()
        if constant is not None and not 0.0 < constant < math.inf:
            raise InvalidInput("constant", constant, "a finite number > 0, or None", "None leaves the weights free")
        self.constant = constant
        for name, value in {"inputs": inputs, "outputs": outputs, "hidden": hidden, "depth": depth}.items():
            if value < 1:
                raise InvalidInput(name, value, "an integer >= 1", "a subnetwork needs at least one unit everywhere")
        get_activation(activation)
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

    def normalised(self) -> list[Tensor]:
        """The weight matrices as used."""
        weights = [cast(Tensor, layer.weight) for layer in self.layers]
        if self.constant is None:
            return weights
        depth = len(weights)
        limit = self.constant ** (1 / depth) / get_activation(self.activation).slope ** ((depth - 1) / depth)
        limit *= 1 - ROUNDING
        norms = [torch.linalg.matrix_norm(weight, ord=2) for weight in weights]
        return [weight * (limit / norm).clamp_max(1.0) for weight, norm in zip(weights, norms, strict=True)]

    def structure(self) -> Conditioner:
        """Return the network as plain data in float64."""
        biases = [cast(Tensor, layer.bias) for layer in self.layers]
        weights, shifts = (
            [part.detach().cpu().double().numpy().copy() for part in parts] for parts in (self.normalised(), biases)
        )
        return Conditioner(weights, shifts, self.activation)

    def evaluate(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """The network at x with matrices of `normalised`, for callers that use them more than once."""
        activation = get_activation(self.activation).torch
        for index, (weight, layer) in enumerate(zip(weights, self.layers, strict=True)):
            x = nn.functional.linear(x, weight, cast(Tensor, layer.bias))
            if index < len(weights) - 1:
                x = activation(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.evaluate(x, self.normalised())
