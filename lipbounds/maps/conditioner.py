"""Fully connected networks as plain data, and what is asked of them: values in torch, values and slopes in ball arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from flint import arb_mat
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.arb import Row, column, exact_row
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation, get_activation
from lipbounds.maps.activations.linear import LINEAR

__all__ = ["BallNetwork", "Conditioner", "Stage"]

Array = NDArray[np.float64]


class Stage(NamedTuple):
    """x -> f(Ax + b) with f a function of one variable.

    Args:
        matrix: A, shape (out, in).
        bias: b, shape (out,).
        activation: f.
    """

    matrix: Array
    bias: Array
    activation: Activation


@dataclass(frozen=True, eq=False)
class Conditioner:
    """A fully connected network; in a coupling its outputs are s, before the clamp, and t, each half of them.

    Attributes:
        weights: Matrices of shape (out, in), input side first.
        biases: Vectors of shape (out,).
        activation: Name of the activation between the layers (`lipbounds.maps.activations`), or the activation itself.

    Raises:
        InvalidInput: For an unknown activation, numbers that are not finite, or shapes that do not fit.
    """

    weights: Sequence[Array]
    biases: Sequence[Array]
    activation: str | Activation

    def __post_init__(self) -> None:
        if isinstance(self.activation, str):
            get_activation(self.activation)
        # the doubles that a certificate speaks of
        for name in ("weights", "biases"):
            arrays = [np.asarray(part, dtype=np.float64) for part in getattr(self, name)]
            if not arrays or not all(np.isfinite(part).all() for part in arrays):
                raise InvalidInput(name, "none, or numbers that are not finite", "finite arrays", "check the network")
            object.__setattr__(self, name, arrays)
        shapes = [part.shape for part in self.weights]
        if [len(bias) for bias in self.biases] != [shape[0] for shape in shapes] or any(
            after[1] != before[0] for before, after in itertools.pairwise(shapes)
        ):
            raise InvalidInput("weights, biases", shapes, "matrices that compose, one bias each", "input side first")

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.weights[0].shape[1])

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.weights[-1].shape[0])

    @property
    def kind(self) -> Activation:
        """The activation itself."""
        return get_activation(self.activation) if isinstance(self.activation, str) else self.activation

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The network as stages with activations of one variable; the last has none (`linear`).

        An activation that mixes units, as groupsort, becomes a matrix, one that does not, and another matrix.
        """
        stages: list[Stage] = []
        for index, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            parts = self.kind.split(len(bias)) if index < len(self.weights) - 1 else None
            if index == len(self.weights) - 1:
                stages.append(Stage(matrix, bias, LINEAR))
            elif parts is None:
                stages.append(Stage(matrix, bias, self.kind))
            else:
                before, inner, after = parts
                stages.append(Stage(matrix, bias, LINEAR))
                stages.append(Stage(before, np.zeros(len(before)), inner))
                stages.append(Stage(after, np.zeros(len(after)), LINEAR))
        return tuple(stages)

    @property
    def kink(self) -> int | None:
        """The order of the lowest derivative that may jump; None for a smooth network."""
        return self.kind.kink if len(self.weights) > 1 else None

    def function(self) -> Callable[[Tensor], Tensor]:
        """Return the network as a differentiable function of one point or of rows in float64."""
        weights = [torch.as_tensor(matrix) for matrix in self.weights]
        biases = [torch.as_tensor(bias) for bias in self.biases]
        activation = self.kind.torch

        def evaluate(x: Tensor) -> Tensor:
            for index, (matrix, bias) in enumerate(zip(weights, biases, strict=True)):
                x = x @ matrix.T + bias
                if index < len(weights) - 1:
                    x = activation(x)
            return x

        return evaluate


class BallNetwork:
    """A conditioner whose weights are balls already.

    Args:
        network: The conditioner.
    """

    def __init__(self, network: Conditioner) -> None:
        self._network = network
        self._layers = [(arb_mat(w.tolist()), exact_row(b)) for w, b in zip(network.weights, network.biases, strict=True)]
        self._stages: list[tuple[arb_mat, Row, Activation]] | None = None

    def values(self, inputs: Row) -> Row:
        """Outputs at a point or over a box."""
        values = inputs
        for index, (matrix, bias) in enumerate(self._layers):
            product = matrix * column(values)
            values = [product[i, 0] + b for i, b in enumerate(bias)]
            if index < len(self._layers) - 1:
                values = self._network.kind.balls(values)
        return values

    def values_and_slopes(self, inputs: Row) -> tuple[Row, arb_mat]:
        """Outputs and derivative over a box."""
        if self._stages is None:
            self._stages = [(arb_mat(s.matrix.tolist()), exact_row(s.bias), s.activation) for s in self._network.stages]
        values, slopes = inputs, arb_mat(np.eye(len(inputs)).tolist())
        for matrix, bias, activation in self._stages:
            product, slopes = matrix * column(values), matrix * slopes
            values = [product[i, 0] + b for i, b in enumerate(bias)]
            if activation is not LINEAR:
                steep = activation.slope_balls(values)
                slopes = arb_mat([[factor * slopes[i, j] for j in range(slopes.ncols())] for i, factor in enumerate(steep)])
                values = activation.balls(values)
        return values, slopes
