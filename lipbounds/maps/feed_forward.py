"""Feed-forward maps as plain data: matrices, and functions of one variable between them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from flint import arb_mat
from torch import Tensor

from lipbounds.arb import Row, column, exact_row
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.logistic import SOFTPLUS
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.conditioner import Stage

__all__ = ["FeedForward"]

SMOOTH_SOFTPLUS = "softplus is log(1 + e^x), without the jump of 2e-9 that torch's has at its threshold 20"


def _contains(activation: Activation, kind: Activation) -> bool:
    if isinstance(activation, OnLastUnits):
        return _contains(activation.inner, kind) or _contains(activation.others, kind)
    return activation is kind


@dataclass(frozen=True, eq=False)
class FeedForward:
    """A map z -> x as stages $x\\mapsto f(Ax+b)$, f a function of one variable for each unit; the last has none.

    Attributes:
        stages: In the order in which they act.

    Raises:
        InvalidInput: For no stage, matrices that do not compose, or numbers that are not finite.

    Example:
        >>> from lipbounds.maps.activations import get_activation
        >>> first = Stage(np.array([[1.0], [-1.0]]), np.zeros(2), get_activation("relu"))
        >>> absolute = FeedForward((first, Stage(np.ones((1, 2)), np.zeros(1), LINEAR)))
        >>> absolute.function()(torch.tensor([[-3.0]], dtype=torch.float64))
        tensor([[3.]], dtype=torch.float64)
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        shapes = [stage.matrix.shape for stage in self.stages]
        if not shapes or any(after[1] != before[0] for before, after in itertools.pairwise(shapes)):
            raise InvalidInput("stages", shapes, "matrices that compose", "input side first")
        if not all(np.isfinite(stage.matrix).all() and np.isfinite(stage.bias).all() for stage in self.stages):
            raise InvalidInput("stages", "numbers that are not finite", "finite arrays", "check the network")

    @property
    def inputs(self) -> int:
        """Dimension of z."""
        return int(self.stages[0].matrix.shape[1])

    @property
    def outputs(self) -> int:
        """Dimension of x."""
        return int(self.stages[-1].matrix.shape[0])

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Where the map is not quite the module that it stands for."""
        return (SMOOTH_SOFTPLUS,) if any(_contains(stage.activation, SOFTPLUS) for stage in self.stages) else ()

    def some(self, outputs: Sequence[int]) -> FeedForward:
        """The map to some of the coordinates of x."""
        last = self.stages[-1]
        rows = np.asarray(outputs, dtype=np.intp)
        return FeedForward((*self.stages[:-1], Stage(last.matrix[rows], last.bias[rows], last.activation)))

    def function(self) -> Callable[[Tensor], Tensor]:
        """Return the map as a differentiable function of rows in float64."""
        parts = [(torch.as_tensor(s.matrix.T.copy()), torch.as_tensor(s.bias), s.activation) for s in self.stages]

        def evaluate(z: Tensor) -> Tensor:
            for matrix, bias, activation in parts:
                z = torch.addmm(bias, z, matrix)
                if activation is not LINEAR:
                    z = activation.torch(z)
            return z

        return evaluate

    @cached_property
    def _exact(self) -> list[tuple[arb_mat, Row]]:
        return [(arb_mat(stage.matrix.tolist()), exact_row(stage.bias)) for stage in self.stages]

    def balls(self, row: Row) -> Row:
        """Return the image of a point, or what contains that of a box, in ball arithmetic."""
        for (matrix, bias), stage in zip(self._exact, self.stages, strict=True):
            product = matrix * column(row)
            row = stage.activation.balls([product[i, 0] + b for i, b in enumerate(bias)])
        return row
