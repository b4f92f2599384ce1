"""Couplings whose explicit direction is latent to data, as those of normflows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat
from torch import Tensor

from lipbounds.arb import Row, spectral_norm
from lipbounds.maps.conditioner import BallNetwork
from lipbounds.maps.layers.base import BoxInverse, Layer, PointInverse, middle_of
from lipbounds.maps.layers.coupling import PartialCoupling

__all__ = ["ReversedCoupling"]


@dataclass(frozen=True, eq=False)
class ReversedCoupling(Layer):
    r"""The inverse of a `PartialCoupling` as a layer of T: $T^{-1}$ is $x_c=v_c\odot e^{s(v_u)}+t(v_u)$.

    Attributes:
        coupling: The coupling that is $T^{-1}$.
    """

    coupling: PartialCoupling

    @property
    def dim(self) -> int:
        return self.coupling.dim

    def forward(self) -> Callable[[Tensor], Tensor]:
        return self.coupling.inverse()

    def inverse(self) -> Callable[[Tensor], Tensor]:
        return self.coupling.forward()

    def point_inverse(self) -> PointInverse:
        seen, changed = self.coupling.seen.tolist(), self.coupling.changed.tolist()
        coefficients = self.coupling.point_coefficients()

        def undo(point: Row) -> Row:
            s, t = coefficients([point[j] for j in seen])
            result = list(point)
            for place, log_scale, shift in zip(changed, s, t, strict=True):
                result[place] = point[place] * log_scale.exp() + shift
            return result

        return undo

    def box_inverse(self) -> BoxInverse:
        """Return $x_c=v_ce^s+t$ with derivatives $e^s$ by v_c and $v_ce^ss'+t'$ by v_u."""
        seen, changed = self.coupling.seen.tolist(), self.coupling.changed.tolist()
        network, scale, image = BallNetwork(self.coupling.network), self.coupling.scale, self.point_inverse()

        def undo(box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
            rows = np.eye(len(box)).tolist()
            values, slopes = network.values_and_slopes([box[j] for j in seen])
            for place, i in enumerate(changed):
                factor, own = scale.ball(values[place]).exp(), scale.slope_ball(values[place])
                rows[i][i] = factor
                for column, j in enumerate(seen):
                    rows[i][j] = box[i] * factor * own * slopes[place, column] + slopes[len(changed) + place, column]
            return image(box), image(middle), arb_mat(rows)

        return undo

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        image, _, slopes = self.box_inverse()(box, middle_of(box))
        return image, spectral_norm(slopes)
