r"""Enclosures of T^{-1} and of its derivative on thousands of boxes at once, by expansions of second order with radii.

On a box $|\delta_j|\le h_j$ about its middle a coordinate x is known by numbers c, vectors g and symmetric matrices H with
$$|x(\delta)-c-g\cdot\delta|\le r,\qquad |\partial_jx(\delta)-g_j-(H\delta)_j|\le\rho_j .$$
What is linear passes through c, g and H, so that what cancels later does cancel; only the radii, of second order in h, meet
absolute values. A function f of one variable is expanded at c: with $A=|g|\cdot h+r$ and $|f''|\le M_2$ on $|x-c|\le A$,
$|f'''|\le M_3$,
$$r\leftarrow|f'|r+\tfrac12M_2A^2,\qquad
\rho_j\leftarrow|f'|\rho_j+|f''|\,(r|g_j|+A(|H|h+\rho)_j)+\tfrac12M_3A^2(|g|+|H|h+\rho)_j .$$

A conditioner is expanded in its own inputs, on the box that x reaches, and then composed with x. So the radii of x meet the
derivative of the conditioner, not the product of the absolute values of its matrices.

Rounding goes into the radii: sums of n products have an error of at most $\gamma_n\sum|a_i||b_i|\le\gamma_n|a||b|$ in any
order, with $\gamma_n=nu/(1-nu)$ (Higham, "Accuracy and stability of numerical algorithms", Section 3.1), elementary functions of
numpy are taken to be good to 4 ulps, and radii, sums of nonnegative numbers, are rounded up by a factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layers import Affine, Layer, PartialCoupling, Permutation
from lipbounds.maps.structure import expanded
from lipbounds.rounding import FUNCTION_ERROR, TINY, UNIT, UP

__all__ = ["Expansion", "Slice", "is_readable"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Expansion:
    """Coordinates on boxes, as the module says.

    Attributes:
        c: Shape (n, d).
        g: Shape (k, n, d).
        H: Shape (k, k, n, d), symmetric.
        r: Shape (n, d).
        rho: Shape (k, n, d).
        h: Half sides of the boxes, shape (k, n, 1).
    """

    c: Array
    g: Array
    H: Array
    r: Array
    rho: Array
    h: Array

    def part(self, places: NDArray[np.intp] | slice) -> Expansion:
        """Some of the coordinates."""
        return Expansion(
            self.c[:, places], self.g[..., places], self.H[..., places], self.r[:, places], self.rho[..., places], self.h
        )

    def replaced(self, places: NDArray[np.intp], new: Expansion) -> Expansion:
        """The same with other coordinates at some places."""
        parts = []
        for own, other in ((self.c, new.c), (self.g, new.g), (self.H, new.H), (self.r, new.r), (self.rho, new.rho)):
            copy = own.copy()
            copy[..., places] = other
            parts.append(copy)
        c, g, H, r, rho = parts
        return Expansion(c, g, H, r, rho, self.h)

    @classmethod
    def identity(cls, middles: Array, sides: Array) -> Expansion:
        """The coordinates themselves on boxes with these middles, shape (n, k), and half sides."""
        n, k = middles.shape
        g = np.broadcast_to(np.eye(k)[:, None], (k, n, k))
        zero = np.zeros((k, k, n, k))
        return cls(middles, g, zero, zero[0, 0], zero[0], np.ascontiguousarray(sides.T)[:, :, None])

    def _up(self) -> float:
        return UP + 2 * len(self.g) * UNIT  # sums over the k directions

    def reach(self) -> Array:
        """A bound of |x - c|."""
        return np.asarray(((np.abs(self.g) * self.h).sum(0) + self.r) * self._up())

    def turn(self) -> Array:
        """A bound of the change of the derivative."""
        return np.asarray(((np.abs(self.H) * self.h).sum(1) + self.rho) * self._up())

    def rounded(self, c: Array, g: Array, H: Array) -> Expansion:
        """With radii enlarged by errors of c, g and H."""
        # what underflows in g and H is multiplied by h
        tiny = TINY * (1 + self.h.sum(0))
        r = (self.r + c + (g * self.h).sum(0)) * self._up() + tiny
        rho = (self.rho + g + (H * self.h).sum(1)) * self._up() + tiny
        return Expansion(self.c, self.g, self.H, r, rho, self.h)

    def __sub__(self, other: Expansion) -> Expansion:
        c, g, H = self.c - other.c, self.g - other.g, self.H - other.H
        plain = Expansion(c, g, H, (self.r + other.r) * UP, (self.rho + other.rho) * UP, self.h)
        return plain.rounded(UNIT * np.abs(c), UNIT * np.abs(g), UNIT * np.abs(H))

    def times(self, other: Expansion) -> Expansion:
        """The product, coordinate by coordinate."""
        c = self.c * other.c
        g = self.c * other.g + other.c * self.g
        cross = self.g[:, None] * other.g[None]
        H = self.c * other.H + other.c * self.H + cross + cross.swapaxes(0, 1)
        own, far = self.reach(), other.reach()
        r = (np.abs(self.c) * other.r + np.abs(other.c) * self.r + own * far) * UP
        rho = (
            np.abs(self.c) * other.rho
            + own * other.turn()
            + self.r * np.abs(other.g)
            + np.abs(other.c) * self.rho
            + far * self.turn()
            + other.r * np.abs(self.g)
        ) * UP
        sizes = np.abs(self.c * other.g) + np.abs(other.c * self.g)
        curvatures = np.abs(self.c * other.H) + np.abs(other.c * self.H) + np.abs(cross) + np.abs(cross.swapaxes(0, 1))
        return Expansion(c, g, H, r, rho, self.h).rounded(UNIT * np.abs(c), 4 * UNIT * sizes, 6 * UNIT * curvatures)


def _composed(outer: Expansion, inner: Expansion) -> Expansion:
    """F(x) for F expanded on a box about the middle of x that x does not leave."""
    f, F, x, X = outer.g, outer.H, inner.g, inner.H

    def first(f: Array, x: Array) -> Array:
        return np.asarray(np.einsum("ino,kni->kno", f, x))

    def second(f: Array, F: Array, x: Array, X: Array) -> Array:
        return np.asarray(np.einsum("ino,klni->klno", f, X) + np.einsum("ijno,kni,lnj->klno", F, x, x, optimize=True))

    sizes, curvatures, steps = np.abs(f), np.abs(F), np.abs(x)
    turn, reach = inner.turn(), inner.reach()
    r = (np.einsum("ino,ni->no", sizes, inner.r) + outer.r) * UP
    turned = np.einsum("ijno,nj->ino", curvatures, reach)
    rho = (
        np.einsum("ino,kni->kno", sizes, inner.rho)
        + np.einsum("ijno,nj,kni->kno", curvatures, inner.r, steps, optimize=True)
        + np.einsum("ino,kni->kno", turned, turn)
        + np.einsum("ino,kni->kno", outer.rho, steps + turn)
    ) * UP
    error = 4 * (len(f) + 2) ** 2 * UNIT  # of at most (m + 1)^2 products of three numbers
    plain = Expansion(outer.c, first(f, x), second(f, F, x, X), r * (1 + error), rho * (1 + error), inner.h)
    return plain.rounded(np.zeros_like(outer.c), error * first(sizes, steps), error * second(sizes, curvatures, steps, np.abs(X)))


@dataclass(frozen=True, eq=False)
class _Derivatives:
    """A function of one variable about c: value, first two derivatives, and M_2, M_3 on |x - c| <= A, infinite where unknown."""

    value: Array
    first: Array
    second: Array
    m2: Array
    m3: Array
    absolute: float = 0.0  # of the activation


def _of_activation(activation: Activation, c: Array, reach: Array) -> _Derivatives:
    value, first, half = activation.coefficients(c, 2)
    away = reach * UP + 4 * UNIT * np.abs(c)
    known = activation.ranges(c - away, c + away, 3)
    m2, m3 = (math.factorial(n) * (most + FUNCTION_ERROR * (1 + most)) * UP for n in (2, 3) for most in [np.abs(known[n]).max(0)])
    return _Derivatives(value, first, 2 * half, m2, m3, activation.absolute)


def _falling_exponential(c: Array, reach: Array) -> _Derivatives:
    value = np.exp(-c)
    # the difference is off by ulps of numbers below 1e3
    most = np.exp(reach - c) * (1 + FUNCTION_ERROR + 4096 * UNIT) + TINY
    return _Derivatives(value, -value, value, most, most)


def _composed_with(x: Expansion, f: _Derivatives) -> Expansion:
    """f(x), as the module says; where M_3 is unknown without second derivatives, whose radius is then M_2 A."""
    reach, turn = x.reach(), x.turn()
    known = np.isfinite(f.m3)
    second, m3 = np.where(known, f.second, 0.0), np.where(known, f.m3, 0.0)
    steep, curvature = np.abs(f.first), np.abs(second)
    cross = x.g[:, None] * x.g[None]
    g, H = f.first * x.g, f.first * x.H + second * cross
    square = 0.5 * reach * reach
    # derivatives of activations are of order one or smaller, with absolute errors: a saturated tanh has a slope that is not 0
    scale = 2 * FUNCTION_ERROR * (1.0 + steep + curvature)  # the second derivative is twice a coefficient
    steep, curvature = steep + scale, curvature + scale
    r = (steep * x.r + f.m2 * square) * UP
    turned = curvature * (x.r * np.abs(x.g) + reach * turn) + m3 * square * (np.abs(x.g) + turn)
    turned = np.where(known, turned, f.m2 * reach * (np.abs(x.g) + turn))
    rho = (steep * x.rho + turned) * UP
    return Expansion(f.value, g, H, r, rho, x.h).rounded(
        FUNCTION_ERROR * (np.abs(f.value) + f.absolute), scale * np.abs(x.g), scale * (np.abs(x.H) + np.abs(cross))
    )


def _piecewise_linear(x: Expansion, activation: Activation) -> Expansion:
    """Where a box contains the kink: the mean slope times x, with half the difference of the slopes in the radii."""
    reach, turn = x.reach(), x.turn()
    below, above = activation.ranges(x.c - reach, x.c + reach, 1)[1]
    slope, unsure = 0.5 * (below + above), 0.5 * (above - below)
    r = (np.abs(slope) * x.r + unsure * (np.abs(x.c) + reach)) * UP
    rho = (np.abs(slope) * x.rho + unsure * (np.abs(x.g) + turn)) * UP
    plain = Expansion(slope * x.c, slope * x.g, slope * x.H, r, rho, x.h)
    if np.isin(slope, (0.0, 0.5, 1.0)).all():  # exact but for underflow
        return plain.rounded(np.zeros_like(x.c), np.zeros_like(x.g), np.zeros_like(x.H))
    return plain.rounded(4 * UNIT * np.abs(x.c), 4 * UNIT * np.abs(x.g), 4 * UNIT * np.abs(x.H))


def _activated(x: Expansion, activation: Activation) -> Expansion:
    if activation is LINEAR:
        return x
    if activation.kink == 1:
        return _piecewise_linear(x, activation)
    return _composed_with(x, _of_activation(activation, x.c, x.reach()))


class _Linear:
    """x -> Wx + b."""

    def __init__(self, matrix: Array, bias: Array) -> None:
        self._matrix, self._bias = np.ascontiguousarray(matrix.T), bias
        self._size = np.ascontiguousarray(np.abs(matrix).T)
        n = matrix.shape[1] + 2
        self._gamma = n * UNIT / (1 - n * UNIT)
        self._norms = self._length(matrix)[:, 0]

    def _length(self, x: Array) -> Array:
        # squares of numbers below 1e-154 underflow: divided by the largest they do not matter
        largest = np.abs(x).max(-1, keepdims=True)
        ratio = np.divide(x, largest, out=np.zeros_like(x), where=largest > 0)
        return np.asarray(largest * np.sqrt((ratio * ratio).sum(-1, keepdims=True)) * (1 + self._gamma) * UP)

    def _error(self, x: Array) -> Array:
        # Cauchy and Schwarz: one number a row instead of a product with |W|
        return np.asarray(self._gamma * self._length(x) * self._norms * UP)

    def __call__(self, x: Expansion) -> Expansion:
        c = x.c @ self._matrix + self._bias
        up = (1 + 2 * self._gamma) * UP
        image = Expansion(c, x.g @ self._matrix, x.H @ self._matrix, x.r @ self._size * up, x.rho @ self._size * up, x.h)
        return image.rounded(self._error(x.c) + UNIT * np.abs(c), self._error(x.g), self._error(x.H))


class _Network:
    def __init__(self, network: Conditioner) -> None:
        self._stages = [(_Linear(stage.matrix, stage.bias), stage.activation) for stage in network.stages]

    def __call__(self, inputs: Expansion) -> Expansion:
        x = Expansion.identity(inputs.c, inputs.reach())
        for linear, activation in self._stages:
            x = _activated(linear(x), activation)
        return _composed(x, inputs)


Step = Callable[[Expansion], Expansion]


def _uncoupled(layer: PartialCoupling) -> Step:
    r"""$(v_c-t)e^{-s}$ with $s=a\,\varphi(b\,\mathrm{raw}+c)$."""
    network, half, scale = _Network(layer.network), len(layer.changed), layer.scale

    def step(v: Expansion) -> Expansion:
        out = network(v.part(layer.seen))
        raw = _scaled(out.part(slice(0, half)), scale.inner, scale.shift)
        s = _scaled(_activated(raw, scale.function), scale.outer)
        moved = v.part(layer.changed) - out.part(slice(half, None))
        return v.replaced(layer.changed, moved.times(_composed_with(s, _falling_exponential(s.c, s.reach()))))

    return step


def _scaled(x: Expansion, factor: float, shift: float = 0.0) -> Expansion:
    """factor x + shift; the factor itself is rounded, which costs an ulp or two of everything."""
    c, g, H = factor * x.c + shift, factor * x.g, factor * x.H
    plain = Expansion(c, g, H, abs(factor) * x.r * UP, abs(factor) * x.rho * UP, x.h)
    error = 8 * UNIT * (np.abs(c) + abs(shift))
    return plain.rounded(error, 8 * UNIT * np.abs(g), 8 * UNIT * np.abs(H))


def _solved(layer: Affine) -> Step:
    r"""The inverse of Ax + b: with B near $A^{-1}$ and q = |I - BA| < 1, $|A^{-1}y-By|\le|By|q/(1-q)$ in the maximum norm."""
    try:
        inverse = np.asarray(np.linalg.inv(layer.matrix), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        got = f"shape {layer.matrix.shape}, {error}"
        raise InvalidInput("matrix", got, "an invertible matrix", "it has no inverse") from error
    n = len(inverse)
    defect = np.abs(np.eye(n) - inverse @ layer.matrix) + (n + 2) * UNIT * (np.abs(inverse) @ np.abs(layer.matrix) + 1)
    q = float(defect.sum(1).max()) * (1 + n * FUNCTION_ERROR)
    if not q < 0.5:
        raise InvalidInput("matrix", f"|I - BA| of {q:.3g}", "below 0.5 for its computed inverse B", "it is too ill-conditioned")
    miss = q / (1 - q) * UP
    shift, linear = np.asarray(layer.offset), _Linear(inverse, np.zeros(n))

    def step(x: Expansion) -> Expansion:
        c = x.c - shift
        moved = Expansion(c, x.g, x.H, (x.r + UNIT * np.abs(c)) * UP, x.rho, x.h)
        y = linear(moved)
        sizes = (np.abs(part).max(-1, keepdims=True) for part in (y.c, y.g, y.H))
        widened = Expansion(
            y.c,
            y.g,
            y.H,
            (y.r + miss * y.r.max(-1, keepdims=True)) * UP,
            (y.rho + miss * y.rho.max(-1, keepdims=True)) * UP,
            y.h,
        )
        return widened.rounded(
            *(miss * np.broadcast_to(size, part.shape) for size, part in zip(sizes, (y.c, y.g, y.H), strict=True))
        )

    return step


RULES: dict[type[Layer], Callable[..., Step]] = {
    Permutation: lambda layer: lambda x: x.part(layer.back),
    Affine: _solved,
    PartialCoupling: _uncoupled,
}
"""How each kind of layer is undone; a new kind needs a rule here to be fast."""


def is_readable(layers: Sequence[Layer]) -> bool:
    """Whether this method has rules for all layers."""
    return all(type(step) in RULES for step in expanded(layers))


class Slice:
    """z -> the `outputs` of T^{-1}(y, z) on boxes of z.

    Args:
        layers: Of T, such that `is_readable`.
        y: The coordinates of the image that are held, its first ones, shape (d - k,).
        outputs: Coordinates of T^{-1} that count.
    """

    def __init__(self, layers: Sequence[Layer], y: Array, outputs: NDArray[np.intp]) -> None:
        self._steps = [RULES[type(layer)](layer) for layer in reversed(expanded(layers))]
        self._y, self._outputs = y, outputs

    def __call__(self, middles: Array, radii: Array) -> Expansion:
        """Enclose the map on boxes with these middles and half sides, both of shape (n, k)."""
        n, k = middles.shape
        d = len(self._y) + k
        c = np.concatenate((np.broadcast_to(self._y, (n, len(self._y))), middles), 1)
        g = np.zeros((k, n, d))
        for j in range(k):
            g[j, :, len(self._y) + j] = 1.0
        x = Expansion(c, g, np.zeros((k, k, n, d)), np.zeros((n, d)), np.zeros((k, n, d)), radii.T[:, :, None])
        with np.errstate(over="ignore", invalid="ignore"):  # boxes that are too large have no bound yet
            for step in self._steps:
                x = step(x)
        return x.part(self._outputs)
