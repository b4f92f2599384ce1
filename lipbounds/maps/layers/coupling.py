"""Affine couplings: that of equation (8), which changes both halves, and its halves, which change some coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from flint import arb, arb_mat
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.arb import Row, high_end, spectral_norm
from lipbounds.errors import InvalidInput
from lipbounds.maps.conditioner import BallNetwork, Conditioner
from lipbounds.maps.layer_constants import network_over_box, rows_of
from lipbounds.maps.layers.base import BoxInverse, Layer, PointInverse
from lipbounds.maps.scales import Scale, as_scale

__all__ = ["Coupling", "PartialCoupling"]

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class PartialCoupling(Layer):
    r"""$v_c=x_c\odot e^{s(x_u)}+t(x_u)$ for some coordinates c, which sees some others u; all but c stay.

    The half of a `Coupling`, and what sparse couplings are made of.

    Attributes:
        space: Dimension d of the space.
        changed: The coordinates c.
        seen: The coordinates u, none of them in c.
        network: With as many inputs as u and twice as many outputs as c.
        scale: How s comes from its raw output; a number is the bound alpha of the paper's clamp.
    """

    space: int
    changed: NDArray[np.intp]
    seen: NDArray[np.intp]
    network: Conditioner
    scale: Scale

    def __init__(
        self,
        space: int,
        changed: NDArray[np.intp],
        seen: NDArray[np.intp],
        network: Conditioner,
        scale: Scale | float,
    ) -> None:
        values = (space, np.asarray(changed, dtype=np.intp), np.asarray(seen, dtype=np.intp), network, as_scale(scale))
        for name, value in zip(("space", "changed", "seen", "network", "scale"), values, strict=True):
            object.__setattr__(self, name, value)
        together = np.concatenate((self.changed, self.seen))
        fits = len(np.unique(together)) == len(together) and np.isin(together, np.arange(space)).all()
        if not fits or not len(self.changed) or not len(self.seen):
            got = f"changed {self.changed.tolist()}, seen {self.seen.tolist()}"
            raise InvalidInput("changed, seen", got, f"different coordinates below {space}", "a coupling sees what it leaves")
        sizes = (network.inputs, network.outputs)
        if sizes != (len(self.seen), 2 * len(self.changed)):
            raise InvalidInput(
                "network", f"{sizes[0]} inputs, {sizes[1]} outputs", "one input a seen, two outputs a changed", "see s, t"
            )

    @property
    def dim(self) -> int:
        return self.space

    def coefficients(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Return s and t as functions of rows of the whole space."""
        seen, network, scale = torch.as_tensor(self.seen), self.network.function(), self.scale

        def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
            raw, t = network(x[:, seen]).chunk(2, dim=1)
            return scale.log(raw), t

        return evaluate

    def forward(self) -> Callable[[Tensor], Tensor]:
        changed, coefficients = torch.as_tensor(self.changed), self.coefficients()

        def coupled(x: Tensor) -> Tensor:
            s, t = coefficients(x)
            return x.index_copy(1, changed, x[:, changed] * torch.exp(s) + t)

        return coupled

    def inverse(self) -> Callable[[Tensor], Tensor]:
        changed, coefficients = torch.as_tensor(self.changed), self.coefficients()

        def uncoupled(v: Tensor) -> Tensor:
            s, t = coefficients(v)
            return v.index_copy(1, changed, (v[:, changed] - t) * torch.exp(-s))

        return uncoupled

    def point_coefficients(self) -> Callable[[Row], tuple[Row, Row]]:
        """Return s and t as functions of the seen coordinates, in balls."""
        network, half = BallNetwork(self.network), len(self.changed)

        def evaluate(inputs: Row) -> tuple[Row, Row]:
            values = network.values(inputs)
            return [self.scale.ball(raw) for raw in values[:half]], values[half:]

        return evaluate

    def point_inverse(self) -> PointInverse:
        seen, changed, coefficients = self.seen.tolist(), self.changed.tolist(), self.point_coefficients()

        def undo(point: Row) -> Row:
            s, t = coefficients([point[j] for j in seen])
            result = list(point)
            for place, log_scale, shift in zip(changed, s, t, strict=True):
                result[place] = (point[place] - shift) * (-log_scale).exp()
            return result

        return undo

    def box_inverse(self) -> BoxInverse:
        r"""Return $y_c=(v_c-t)e^{-s}$ with derivatives $e^{-s}$ by v_c and $-y_cs'-e^{-s}t'$ by v_u."""
        seen, changed, half = self.seen.tolist(), self.changed.tolist(), len(self.changed)
        network, scale = BallNetwork(self.network), self.scale

        def undo(box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
            rows = np.eye(len(box)).tolist()
            values, slopes = network.values_and_slopes([box[j] for j in seen])
            exact = network.values([middle[j] for j in seen])
            image, inner = list(box), list(middle)
            for place, i in enumerate(changed):
                factor = (-scale.ball(values[place])).exp()
                image[i] = (box[i] - values[half + place]) * factor
                inner[i] = (middle[i] - exact[half + place]) * (-scale.ball(exact[place])).exp()
                own = scale.slope_ball(values[place])
                rows[i][i] = factor
                for place_seen, j in enumerate(seen):
                    rows[i][j] = -(image[i] * own * slopes[place, place_seen]) - factor * slopes[half + place, place_seen]
            return image, inner, arb_mat(rows)

        return undo

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        """The sharp form of (13): the norm of ((1, 0), (below, c))."""
        values, lip_hidden, last = network_over_box(self.network, [box[j] for j in self.seen])
        half = len(self.changed)
        raw, t = values[:half], values[half:]
        slope = arb(max(high_end(abs(self.scale.slope_ball(value))) for value in raw))
        lip_s = slope * lip_hidden * spectral_norm(rows_of(last, 0, half))
        lip_t = lip_hidden * spectral_norm(rows_of(last, half, 2 * half))
        factors = [(-self.scale.ball(value)).exp() for value in raw]
        moved = [box[i] - shift for i, shift in zip(self.changed.tolist(), t, strict=True)]
        c = arb(max(high_end(factor) for factor in factors))
        below = arb(max(high_end(abs(factor * value)) for factor, value in zip(factors, moved, strict=True))) * lip_s + c * lip_t
        # products, not powers: a power of a ball that contains 0 is unknown
        norm = (((1 + c) * (1 + c) + below * below).sqrt() + ((1 - c) * (1 - c) + below * below).sqrt()) / 2
        result = list(box)
        for place, factor, value in zip(self.changed.tolist(), factors, moved, strict=True):
            result[place] = factor * value
        return result, arb(high_end(norm))


@dataclass(frozen=True, eq=False)
class Coupling(Layer):
    r"""Equation (8): $v_1=x_1\odot e^{s_2(x_2)}+t_2(x_2)$, $v_2=x_2\odot e^{s_1(v_1)}+t_1(v_1)$.

    Attributes:
        first: Dimension of the first half.
        on_second: The conditioner that sees x_2 and changes the first half; None leaves it (real NVP).
        on_first: The conditioner that sees v_1 and changes the second half.
        scale: How s comes from its raw output; a number is the bound alpha of the paper's clamp.
    """

    first: int
    on_second: Conditioner | None
    on_first: Conditioner | None
    scale: Scale

    def __init__(self, first: int, on_second: Conditioner | None, on_first: Conditioner | None, scale: Scale | float) -> None:
        values = (first, on_second, on_first, as_scale(scale))
        for name, value in zip(("first", "on_second", "on_first", "scale"), values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        if self.on_second is not None:
            return self.first + self.on_second.inputs
        if self.on_first is not None:
            return self.first + self.on_first.outputs // 2
        raise InvalidInput("layer", "a coupling without conditioners", "at least one", "leave the identity out")

    def simple(self) -> Sequence[PartialCoupling]:
        head, tail = np.arange(self.first), np.arange(self.first, self.dim)
        halves = ((self.on_second, head, tail), (self.on_first, tail, head))
        return [PartialCoupling(self.dim, to, of, network, self.scale) for network, to, of in halves if network is not None]

    def forward(self) -> Callable[[Tensor], Tensor]:
        steps = [half.forward() for half in self.simple()]
        return lambda x: _in_turn(steps, x)

    def inverse(self) -> Callable[[Tensor], Tensor]:
        steps = [half.inverse() for half in reversed(self.simple())]
        return lambda z: _in_turn(steps, z)

    def point_inverse(self) -> PointInverse:
        steps = [half.point_inverse() for half in reversed(self.simple())]
        return lambda point: _in_turn(steps, point)

    def box_inverse(self) -> BoxInverse:
        steps = [half.box_inverse() for half in reversed(self.simple())]

        def undo(box: Row, middle: Row) -> tuple[Row, Row, arb_mat]:
            whole = arb_mat(np.eye(len(box)).tolist())
            for step in steps:
                box, middle, derivative = step(box, middle)
                whole = derivative * whole
            return box, middle, whole

        return undo

    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        whole = arb(1)
        for half in reversed(self.simple()):
            box, constant = half.constant_of_inverse(box)
            whole *= constant
        return box, whole


def _in_turn(steps: Sequence[Callable[[Value], Value]], value: Value) -> Value:
    for step in steps:
        value = step(value)
    return value
