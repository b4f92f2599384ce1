"""Permutations of the coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from flint import arb, arb_mat
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.arb import Row
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers.base import BoxInverse, Layer, PointInverse

__all__ = ["Permutation"]


@dataclass(frozen=True, eq=False)
class Permutation(Layer):
    """$x\\mapsto(x_{o_1},\\dots,x_{o_d})$."""

    order: NDArray[np.intp]

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", np.asarray(self.order, dtype=np.intp))
        if not np.array_equal(np.sort(self.order), np.arange(len(self.order))):
            raise InvalidInput("order", list(self.order), "each of 0..d-1 once", "it is a permutation")

    @property
    def dim(self) -> int:
        return len(self.order)

    @property
    def back(self) -> NDArray[np.intp]:
        """The order of the inverse."""
        return np.argsort(self.order)

    def forward(self) -> Callable[[Tensor], Tensor]:
        places = torch.as_tensor(self.order)
        return lambda x: x[:, places]

    def inverse(self) -> Callable[[Tensor], Tensor]:
        places = torch.as_tensor(self.back)
        return lambda z: z[:, places]

    def point_inverse(self) -> PointInverse:
        places = self.back.tolist()
        return lambda row: [row[i] for i in places]

    def box_inverse(self) -> BoxInverse:
        undo, matrix = self.point_inverse(), arb_mat(np.eye(self.dim)[self.back].tolist())
        return lambda box, middle: (undo(box), undo(middle), matrix)

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        return self.point_inverse()(box), arb(1)
