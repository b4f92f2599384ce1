"""Couplings by monotone rational-quadratic splines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from flint import arb, arb_mat
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.arb import Row, spectral_norm
from lipbounds.errors import InvalidInput
from lipbounds.maps.conditioner import BallNetwork, Conditioner
from lipbounds.maps.layers.base import BoxInverse, Layer, PointInverse, middle_of
from lipbounds.maps.splines import Spline

__all__ = ["SplineCoupling"]


@dataclass(frozen=True, eq=False)
class SplineCoupling(Layer):
    r"""$v_c=g(x_c;\theta(x_u))$ for some coordinates c with a spline g whose parameters are functions of some others u.

    Attributes:
        space: Dimension d of the space.
        changed: The coordinates c.
        seen: The coordinates u, none of them in c.
        network: With as many inputs as u; the outputs are the raw numbers of the first changed coordinate, then of the next.
        spline: How raw numbers become a spline.
    """

    space: int
    changed: NDArray[np.intp]
    seen: NDArray[np.intp]
    network: Conditioner
    spline: Spline

    def __post_init__(self) -> None:
        for name in ("changed", "seen"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.intp))
        together = np.concatenate((self.changed, self.seen))
        fits = len(np.unique(together)) == len(together) and np.isin(together, np.arange(self.space)).all()
        if not fits or not len(self.changed) or not len(self.seen):
            got = f"changed {self.changed.tolist()}, seen {self.seen.tolist()}"
            raise InvalidInput(
                "changed, seen", got, f"different coordinates below {self.space}", "a coupling sees what it leaves"
            )
        sizes, wanted = (self.network.inputs, self.network.outputs), len(self.changed) * self.spline.parameters
        if sizes != (len(self.seen), wanted):
            got = f"{sizes[0]} inputs, {sizes[1]} outputs"
            raise InvalidInput("network", got, f"{len(self.seen)} inputs, {wanted} outputs", "3 K - 1 raw numbers a coordinate")

    @property
    def dim(self) -> int:
        return self.space

    def _applied(self, spline: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        changed, seen, network = torch.as_tensor(self.changed), torch.as_tensor(self.seen), self.network.function()
        shape = (len(self.changed), self.spline.parameters)
        return lambda x: x.index_copy(1, changed, spline(x[:, changed], network(x[:, seen]).reshape(-1, *shape)))

    def forward(self) -> Callable[[Tensor], Tensor]:
        return self._applied(self.spline.forward)

    def inverse(self) -> Callable[[Tensor], Tensor]:
        return self._applied(self.spline.inverse)

    def point_inverse(self) -> PointInverse:
        seen, changed, size = self.seen.tolist(), self.changed.tolist(), self.spline.parameters
        network = BallNetwork(self.network)

        def undo(point: Row) -> Row:
            raw = network.values([point[j] for j in seen])
            result = list(point)
            for place, i in enumerate(changed):
                result[i] = self.spline.ball_inverse(point[i], raw[place * size : (place + 1) * size])
            return result

        return undo

    def box_inverse(self) -> BoxInverse:
        """Return the inverse with the derivatives of `Spline.ball_slopes`."""
        seen, changed, size = self.seen.tolist(), self.changed.tolist(), self.spline.parameters
        network, image = BallNetwork(self.network), self.point_inverse()

        def undo(box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
            rows = np.eye(len(box)).tolist()
            raw, slopes = network.values_and_slopes([box[j] for j in seen])
            for place, i in enumerate(changed):
                part = slice(place * size, (place + 1) * size)
                directions = [[slopes[row, column] for row in range(part.start, part.stop)] for column in range(len(seen))]
                rows[i][i], *by_seen = self.spline.ball_slopes(box[i], raw[part], directions)
                for j, slope in zip(seen, by_seen, strict=True):
                    rows[i][j] = slope
            return image(box), image(middle), arb_mat(rows)

        return undo

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        image, _, slopes = self.box_inverse()(box, middle_of(box))
        return image, spectral_norm(slopes)
