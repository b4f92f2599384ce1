r"""Monotone rational-quadratic splines (Durkan et al., "Neural spline flows", 2019) as zuko, nflows and normflows have them.

On [-B, B] the spline has K bins with knots $(x_k,y_k)$ and slopes $d_k>0$ there; beyond it is the identity, and the outer slopes
are 1. With $\xi=(x-x_k)/w$, $\delta_0=d_kw/h$ and $\delta_1=d_{k+1}w/h$, w and h the width and the height of the bin,
$$y=y_k+h\,\frac{\xi^2+\delta_0\xi(1-\xi)}{1+(\delta_0+\delta_1-2)\xi(1-\xi)},\qquad
\xi=\frac{2t}{b+\sqrt{b^2+4t(1-b)}},\quad t=\frac{y-y_k}h,\quad b=\delta_0-t(\delta_0+\delta_1-2).$$
Knots and slopes come from 3K - 1 numbers: K raw widths, K raw heights and K - 1 raw slopes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from flint import arb
from torch import Tensor

from lipbounds.arb import Row, farthest_from_zero, monotone, nearest_to_zero
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations.logistic import sigmoid_ball, softplus_ball

__all__ = ["Knots", "Spline"]

Pair = tuple[Tensor, Tensor]


class Knots(NamedTuple):
    """Knots and slopes, K + 1 of them on the last axis.

    Args:
        x: Data side.
        y: Latent side.
        slopes: dy / dx at the knots.
    """

    x: Tensor
    y: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class Spline:
    r"""How raw numbers become knots and slopes.

    A raw number r is divided by `divisor` (widths and heights) and clipped to $r/(1+\kappa|r|)$. Widths and heights are shares
    $m+(1-Km)\,\mathrm{softmax}(r)$ of 2B; slopes are $e^r$ or $m'+\log(1+e^r)$.

    Attributes:
        bins: K.
        bound: B.
        least_bin: m, below 1 / K.
        least_slope: m' of softplus; None for the exponential.
        divisor: Of raw widths and heights.
        clip_bins: kappa of widths and heights; 0 does not clip.
        clip_slopes: kappa of slopes.
    """

    bins: int
    bound: float
    least_bin: float = 0.0
    least_slope: float | None = None
    divisor: float = 1.0
    clip_bins: float = 0.0
    clip_slopes: float = 0.0

    def __post_init__(self) -> None:
        if self.bins < 2 or not 0.0 < self.bound < math.inf or not 0.0 <= self.least_bin * self.bins < 1.0:
            got = f"{self.bins} bins on [-{self.bound}, {self.bound}], each at least {self.least_bin}"
            raise InvalidInput("spline", got, "two bins or more that fit into a finite interval", "check the network")

    @property
    def parameters(self) -> int:
        """Number of raw numbers, 3 K - 1."""
        return 3 * self.bins - 1

    def knots(self, raw: Tensor) -> Knots:
        """Return the knots of raw numbers of shape (.., 3 K - 1), each of shape (.., K + 1)."""
        widths, heights, slopes = torch.split(raw, [self.bins, self.bins, self.bins - 1], -1)
        if self.clip_slopes:
            slopes = slopes / (1 + self.clip_slopes * slopes.abs())
        inner = slopes.exp() if self.least_slope is None else self.least_slope + torch.nn.functional.softplus(slopes)
        one = torch.ones_like(inner[..., :1])
        return Knots(self._places(widths), self._places(heights), torch.cat((one, inner, one), -1))

    def _places(self, raw: Tensor) -> Tensor:
        raw = raw / self.divisor
        if self.clip_bins:
            raw = raw / (1 + self.clip_bins * raw.abs())
        shares = self.least_bin + (1 - self.least_bin * self.bins) * raw.softmax(-1)
        inner = self.bound * (2 * shares.cumsum(-1)[..., :-1] - 1)
        end = torch.full_like(inner[..., :1], self.bound)
        return torch.cat((-end, inner, end), -1)

    def forward(self, x: Tensor, raw: Tensor) -> Tensor:
        """Return y for x of shape (..), raw of shape (.., 3 K - 1)."""
        knots = self.knots(raw)
        inside, (x0, w), (y0, h), (d0, d1) = self._bin(knots, knots.x, x)
        xi = ((x - x0) / w).clamp(0.0, 1.0)
        first, last, q = d0 * w / h, d1 * w / h, xi * (1 - xi)
        y = y0 + h * (xi * xi + first * q) / (1 + (first + last - 2) * q)
        return torch.where(inside, y, x)

    def inverse(self, y: Tensor, raw: Tensor) -> Tensor:
        """Return x for y of shape (..), raw of shape (.., 3 K - 1)."""
        knots = self.knots(raw)
        inside, (x0, w), (y0, h), (d0, d1) = self._bin(knots, knots.y, y)
        t = ((y - y0) / h).clamp(0.0, 1.0)
        first, last = d0 * w / h, d1 * w / h
        b = first - t * (first + last - 2)
        x = x0 + w * 2 * t / (b + (b * b + 4 * t * (1 - b)).clamp_min(0.0).sqrt())
        return torch.where(inside, x, y)

    def _bin(self, knots: Knots, edges: Tensor, value: Tensor) -> tuple[Tensor, Pair, Pair, Pair]:
        """Whether values are inside, and start and length of their bins on both sides, and the slopes."""
        inside = value.abs() <= self.bound
        k = (edges[..., 1:-1] <= value[..., None]).sum(-1, keepdim=True)
        both = torch.cat((k, k + 1), -1)
        (x0, x1), (y0, y1), (d0, d1) = (part.gather(-1, both).unbind(-1) for part in knots)
        return inside, (x0, x1 - x0), (y0, y1 - y0), (d0, d1)

    def ball_knots(self, raw: Row) -> tuple[Row, Row, Row]:
        """Return the knots of raw numbers in balls."""
        k = self.bins
        inner = [_clipped(value, self.clip_slopes) for value in raw[2 * k :]]
        slopes = [
            value.exp() if self.least_slope is None else arb(self.least_slope) + monotone(softplus_ball, value) for value in inner
        ]
        return self._ball_places(raw[:k]), self._ball_places(raw[k : 2 * k]), [arb(1), *slopes, arb(1)]

    def _ball_places(self, raw: Row) -> Row:
        values = [_clipped(value / arb(self.divisor), self.clip_bins) for value in raw]
        # a softmax is that of differences from one of the numbers
        largest = max(values, key=lambda value: float(value.mid()))
        powers = [(value - largest).exp() for value in values]
        whole = sum(powers, arb(0))
        places, so_far, bound, least = [arb(-self.bound)], arb(0), arb(self.bound), arb(self.least_bin)
        for i, power in enumerate(powers[:-1], start=1):
            so_far += power
            share = least * i + (1 - least * self.bins) * so_far / whole
            places.append(bound * (2 * share - 1))
        return [*places, bound]

    def ball_inverse(self, y: arb, raw: Row) -> arb:
        """Return x for a ball y: the hull over all bins that it may meet."""
        x, knots, slopes = self.ball_knots(raw)
        images = [x[k] + (x[k + 1] - x[k]) * _position(*_relative(k, y, x, knots, slopes)) for k in self._bins_of(y, knots)]
        return _hull(images if abs(y) <= arb(self.bound) else [*images, y])

    def _bins_of(self, y: arb, knots: Row) -> list[int]:
        """The bins that a ball may meet."""
        return [k for k in range(self.bins) if not (y > knots[k + 1] or y < knots[k])]

    def ball_slopes(self, y: arb, raw: Row, directions: Sequence[Row]) -> Row:
        r"""Return the derivative of x by y, and along directions of the raw numbers, over balls.

        With $q=\xi(1-\xi)$, $D=1+(\delta_0+\delta_1-2)q$ and $S=2q+\delta_0(1-\xi)^2+\delta_1\xi^2$
        $$\partial_t\xi=\frac{D^2}S,\qquad\partial_{\delta_0}\xi=-\frac{q((1-\xi)^2+\delta_1q)}S,\qquad
        \partial_{\delta_1}\xi=\frac{q(\xi^2+\delta_0q)}S,$$
        sums of positive terms all of them.
        """
        knots = self.ball_knots(raw)
        moved = [self._ball_knot_slopes(raw, direction) for direction in directions]
        slopes = [_slopes_in_bin(k, y, knots, moved) for k in self._bins_of(y, knots[1])]
        if not abs(y) <= arb(self.bound):
            slopes.append([arb(1), *(arb(0) for _ in directions)])
        return [_hull(parts) for parts in zip(*slopes, strict=True)]

    def _ball_knot_slopes(self, raw: Row, direction: Row) -> tuple[Row, Row, Row]:
        """The derivatives of the knots along a direction of the raw numbers."""
        k = self.bins
        inner = []
        for value, step in zip(raw[2 * k :], direction[2 * k :], strict=True):
            clipped = _clipped(value, self.clip_slopes)
            grows = monotone(arb.exp, clipped) if self.least_slope is None else monotone(sigmoid_ball, clipped)
            inner.append(grows * _clip_slope(value, self.clip_slopes) * step)
        x, y = (self._ball_place_slopes(raw[i : i + k], direction[i : i + k]) for i in (0, k))
        return x, y, [arb(0), *inner, arb(0)]

    def _ball_place_slopes(self, raw: Row, direction: Row) -> Row:
        inner = [value / arb(self.divisor) for value in raw]
        steps = [
            _clip_slope(value, self.clip_bins) * step / arb(self.divisor) for value, step in zip(inner, direction, strict=True)
        ]
        values = [_clipped(value, self.clip_bins) for value in inner]
        largest = max(values, key=lambda value: float(value.mid()))
        powers = [(value - largest).exp() for value in values]
        whole = sum(powers, arb(0))
        mean = sum((power * step for power, step in zip(powers, steps, strict=True)), arb(0)) / whole
        factor, so_far, places = 2 * arb(self.bound) * (1 - arb(self.least_bin) * self.bins), arb(0), [arb(0)]
        for power, step in zip(powers[:-1], steps, strict=False):
            so_far += power / whole * (step - mean)
            places.append(factor * so_far)
        return [*places, arb(0)]


def _relative(k: int, y: arb, x: Row, knots: Row, slopes: Row) -> tuple[arb, arb, arb]:
    """t, delta_0 and delta_1 of what lies in bin k."""
    w, h = x[k + 1] - x[k], knots[k + 1] - knots[k]
    return _between((y - knots[k]) / h), slopes[k] * w / h, slopes[k + 1] * w / h


def _slopes_in_bin(k: int, y: arb, knots: tuple[Row, Row, Row], moved: Sequence[tuple[Row, Row, Row]]) -> Row:
    x, heights, slopes = knots
    w, h = x[k + 1] - x[k], heights[k + 1] - heights[k]
    t, first, last = _relative(k, y, *knots)
    xi = _position(t, first, last)
    rest = 1 - xi
    q = xi * rest
    den = xi * xi + rest * rest + (first + last) * q
    whole = 2 * q + first * rest * rest + last * xi * xi
    by_t, by_first, by_last = den * den / whole, -q * (rest * rest + last * q) / whole, q * (xi * xi + first * q) / whole
    result = [by_t * w / h]
    for dx, dy, ds in moved:
        dw, dh = dx[k + 1] - dx[k], dy[k + 1] - dy[k]
        change = dw / w - dh / h
        inner = -by_t * (dy[k] + t * dh) / h
        inner += by_first * first * (ds[k] / slopes[k] + change) + by_last * last * (ds[k + 1] / slopes[k + 1] + change)
        result.append(dx[k] + dw * xi + w * inner)
    return result


def _clip_slope(value: arb, kappa: float) -> arb:
    near, far = 1 + arb(kappa) * nearest_to_zero(value), 1 + arb(kappa) * farthest_from_zero(value)
    return (1 / (far * far)).union(1 / (near * near))


def _clipped(value: arb, kappa: float) -> arb:
    return monotone(lambda r: r / (1 + arb(kappa) * abs(r)), value) if kappa else value


def _between(t: arb) -> arb:
    """What of a ball lies in [0, 1]."""
    return t.max(arb(0)).min(arb(1))


def _hull(values: Sequence[arb]) -> arb:
    hull = values[0]
    for value in values[1:]:
        hull = hull.union(value)
    return hull


def _position(t: arb, first: arb, last: arb) -> arb:
    """xi over balls of t in [0, 1], delta_0 and delta_1: it rises with t and delta_1 and falls with delta_0."""
    return _position_at(t.lower(), first.upper(), last.lower()).union(_position_at(t.upper(), first.lower(), last.upper()))


def _position_at(t: arb, first: arb, last: arb) -> arb:
    b = first - t * (first + last - 2)
    # b^2 + 4 t (1 - b) is not negative; a ball of it may reach below 0
    return _between(2 * t / (b + (b * b + 4 * t * (1 - b)).max(arb(0)).sqrt()))
