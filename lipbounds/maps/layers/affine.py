"""Invertible affine maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from flint import arb, arb_mat
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.arb import Row, column, exact_row, spectral_norm
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers.base import BoxInverse, Layer, PointInverse

__all__ = ["Affine"]


@dataclass(frozen=True, eq=False)
class Affine(Layer):
    """$x\\mapsto Ax+b$ with an invertible A, shape (d, d)."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __post_init__(self) -> None:
        d = len(self.offset)
        if self.matrix.shape != (d, d) or not (np.isfinite(self.matrix).all() and np.isfinite(self.offset).all()):
            got = f"shapes {self.matrix.shape} and {self.offset.shape}"
            raise InvalidInput("matrix, offset", got, "finite, of shapes (d, d) and (d,)", "check the weights")
        self._inverse_matrix()

    @property
    def dim(self) -> int:
        return len(self.offset)

    def _inverse_matrix(self) -> NDArray[np.float64]:
        try:
            return np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            got = f"shape {self.matrix.shape}, {error}"
            raise InvalidInput("matrix", got, "an invertible matrix", "a layer of T has an inverse: check the weights") from error

    def _inverse_ball(self) -> arb_mat:
        try:
            return arb_mat(self.matrix.tolist()).inv()
        except ZeroDivisionError as error:
            got = f"shape {self.matrix.shape}, {error}"
            raise InvalidInput("matrix", got, "a matrix that is proven invertible", "it may have no inverse") from error

    def forward(self) -> Callable[[Tensor], Tensor]:
        linear, shift = torch.as_tensor(self.matrix), torch.as_tensor(self.offset)
        return lambda x: x @ linear.T + shift

    def inverse(self) -> Callable[[Tensor], Tensor]:
        inverse, shift = torch.as_tensor(self._inverse_matrix()), torch.as_tensor(self.offset)
        return lambda z: (z - shift) @ inverse.T

    def point_inverse(self) -> PointInverse:
        matrix, shift = arb_mat(self.matrix.tolist()), exact_row(self.offset)

        def undo(point: Row) -> Row:
            try:
                solved = matrix.solve(column([value - b for value, b in zip(point, shift, strict=True)]))
            except ZeroDivisionError:
                solved = self._inverse_ball() * column(point)  # says what is wrong
            return [solved[i, 0] for i in range(len(point))]

        return undo

    def box_inverse(self) -> BoxInverse:
        inverse, shift = self._inverse_ball(), exact_row(self.offset)

        def image(values: Row) -> Row:
            product = inverse * column([value - b for value, b in zip(values, shift, strict=True)])
            return [product[i, 0] for i in range(len(values))]

        return lambda box, middle: (image(box), image(middle), inverse)

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        image, _, inverse = self.box_inverse()(box, box)
        return image, spectral_norm(inverse)
