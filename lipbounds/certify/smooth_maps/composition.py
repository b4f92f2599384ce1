r"""Expansions through one block after another, remainders by the derivative of each block.

Before a block the state is $u(t)=P(t)+e(t)$ on a box of z. The block is expanded on the rectangle of $y=Tu$ that contains
$TP(t)+Te(t)$: $N(c+R\circ s)=F(s)+\epsilon(s)$ with a polynomial F. With $s_P(t)=(TP(t)-c)/R$, the new polynomial is
$LP+F\circ s_P+b$ up to its degree, and for some point of the rectangle, and for every derivative,
$$e'=(L+F'R^{-1}T)\,e+\mathrm{tail}+\epsilon,\qquad
de'=(L+F'R^{-1}T)\,de+d\,\mathrm{tail}+d\epsilon\,\frac{du}{dz}+F''\,(R^{-1}Te)\,ds_P.$$
The matrix in front of both is enclosed entry by entry, once for a block; its products over several blocks are enclosed as
centre and radius, $e=\Phi e_0+r$, up to the next state that is as narrow as z: what one part of a step adds to and another
subtracts from the state is not added in absolute value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.smooth_maps.blocks import Block
from lipbounds.certify.smooth_maps.expansion import Expansion, Layer, activated, box_expansion, transformed
from lipbounds.certify.smooth_maps.monomials import Monomials
from lipbounds.rounding import EPS, TINY

__all__ = ["Composition", "Crossing"]

Array = NDArray[np.float64]

DEGREE = 3  # of N: it has at most three variables
CHARGE = 512 * EPS  # of sums of at most 60 products of at most six factors, at most WIDEST of them over a state
FLATTEST = 1e-6  # sides of the rectangle at least, as a part of its longest


@dataclass(frozen=True, eq=False)
class Composition:
    """The state between blocks over B boxes: P(t) + Phi e_0 + r.

    Attributes:
        terms: Coefficients of P, shape (monomials, B, width).
        center: Middle of Phi, shape (B, width, first).
        spread: Radii of Phi, same shape.
        start: Bounds of e_0 and of its derivatives in z: shape (B, first, 1 + d).
        added: Bounds of r and of its derivatives in z: shape (B, width, 1 + d).
        radii: Half sides of the boxes, shape (B, d).
        order: The monomials.
    """

    terms: Array
    center: Array
    spread: Array
    start: Array
    added: Array
    radii: Array
    order: Monomials

    @classmethod
    def of(cls, x: Expansion) -> Composition:
        """The state that an expansion, whose last step was a matrix, gives."""
        d = x.radii.shape[1]
        added = np.concatenate((x.caps[:, :, None], np.broadcast_to(x.slope[:, None, None], (*x.caps.shape, d))), 2)
        return cls._restarted(x.terms, added, x.radii, x.order)

    @classmethod
    def _restarted(cls, terms: Array, start: Array, radii: Array, order: Monomials) -> Composition:
        n, width, _ = start.shape
        center = np.broadcast_to(np.eye(width), (n, width, width))
        return cls(terms, center, np.zeros((n, width, width)), start, np.zeros_like(start), radii, order)

    def remainders(self, rows: Array) -> Array:
        """Bounds of linear forms of e, shape (forms, width), and of their derivatives in z, shape (B, forms, 1 + d)."""
        size = np.abs(rows)
        reach = np.abs(rows @ self.center) + size @ self.spread + CHARGE * (size @ np.abs(self.center))
        return (reach @ self.start + size @ self.added) * (1 + CHARGE)

    def expansion(self) -> Expansion:
        """The state with remainders in the Euclidean and the operator norm."""
        every = self.remainders(np.eye(self.terms.shape[2]))
        grown = 1 + (every.shape[1] * every.shape[2] + 16) * EPS
        lengths = np.sqrt(np.square(every).sum(1)) * grown
        slope = np.sqrt(np.square(lengths[:, 1:]).sum(1)) * grown
        return Expansion(self.terms, lengths[:, 0], slope, every[:, :, 0], self.radii, self.order)

    def restarted(self) -> Composition:
        """The same state with e in place of e_0."""
        return self._restarted(self.terms, self.remainders(np.eye(self.terms.shape[2])), self.radii, self.order)


class Crossing:
    """A block, and how a state crosses it.

    Args:
        block: The block.
    """

    def __init__(self, block: Block) -> None:
        self._block = block
        self._layers = [Layer(stage) for stage in block.stages]
        self._narrow = len(block.bias)

    def __call__(self, x: Composition) -> Composition:
        """Return the state behind the block."""
        if self._layers:
            result = self._crossed(x)
        else:
            added = _charge(x, self._block.straight, self._block.bias)
            matrix = np.broadcast_to(self._block.straight, (len(x.radii), *self._block.straight.shape))
            terms = x.terms @ self._block.straight.T
            terms[0] += self._block.bias
            result = _moved(x, terms, matrix, np.zeros_like(matrix), added)
        return result.restarted() if self._narrow <= x.radii.shape[1] else result

    def _crossed(self, x: Composition) -> Composition:
        seen, straight = self._block.seen, self._block.straight
        y = x.terms @ seen.T
        rounded = _charge(x, seen, np.zeros(len(seen)))
        remainder = x.remainders(seen) + rounded
        sides = np.abs(y[1:]).sum(0) + remainder[:, :, 0]
        floor = np.maximum(FLATTEST * sides.max(1, keepdims=True), 1e-12 * (1 + np.abs(y[0]).max(1, keepdims=True)))
        sides = np.maximum(sides * (1 + CHARGE), floor)
        n = box_expansion(y[0], sides, DEGREE)
        for layer in self._layers:
            n = activated(transformed(n, layer), layer.activation)
        path = y / sides
        path[0] = 0.0
        off = remainder / sides[:, :, None] + CHARGE * _sizes(path, x) + TINY  # of s, and of its derivatives
        speed = _sizes(path, x)[:, :, 1:]  # of s_P
        inner, slopes, bend = _derivatives(n)
        terms, tail = _composed(n, path, x)
        terms += x.terms @ straight.T
        terms[0] += self._block.bias
        matrix = straight + (inner / sides[:, None, :]) @ seen
        spread = ((slopes + CHARGE * np.abs(inner)) / sides[:, None, :]) @ np.abs(seen) + CHARGE * np.abs(straight)
        added = tail + _charge(x, straight, self._block.bias)
        added[:, :, 0] += n.caps
        whole = sides[:, :, None] * (speed + off[:, :, 1:])  # of y
        added[:, :, 1:] += n.slope[:, None, None] * np.sqrt(np.square(whole).sum(1))[:, None, :]
        added[:, :, 1:] += np.einsum("bikl,bl,bkj->bij", bend, off[:, :, 0], speed, optimize=True)
        # roundings of s are errors that the block carries on
        lost = CHARGE * _sizes(path, x) + rounded / sides[:, :, None] + TINY
        added += (np.abs(inner) + slopes) @ lost
        return _moved(x, terms, matrix, spread, added * (1 + CHARGE))


def _moved(x: Composition, terms: Array, matrix: Array, spread: Array, added: Array) -> Composition:
    """The state behind a block whose derivative is enclosed."""
    size = np.abs(matrix) + spread
    center = matrix @ x.center
    radius = size @ x.spread + (spread + CHARGE * np.abs(matrix)) @ np.abs(x.center)
    return replace(x, terms=terms, center=center, spread=radius * (1 + CHARGE), added=size @ x.added * (1 + CHARGE) + added)


def _sizes(terms: Array, x: Composition) -> Array:
    """Bounds of polynomials less their constants and of their derivatives in z, shape (B, width, 1 + d)."""
    size = np.abs(terms[1:])
    slopes = [np.tensordot(x.order.exponents[1:, axis], size, 1) / x.radii[:, axis, None] for axis in range(x.radii.shape[1])]
    return np.stack((size.sum(0), *slopes), 2) * (1 + CHARGE)


def _charge(x: Composition, rows: Array, bias: Array) -> Array:
    """What linear forms of the polynomials, plus a bias, round by."""
    size = np.abs(rows)
    result = size @ _sizes(x.terms, x)
    result[:, :, 0] += np.abs(x.terms[0]) @ size.T + np.abs(bias)
    return CHARGE * result + TINY


def _derivatives(n: Expansion) -> tuple[Array, Array, Array]:
    """The derivative of F: its middle and radii, shape (B, outputs, k), and bounds of the second, shape (B, outputs, k, k)."""
    exponents, k = n.order.exponents, n.order.exponents.shape[1]
    rows = n.order.of_degree(1)
    inner = np.moveaxis(n.terms[rows], 0, 2)
    higher = n.order.degrees >= 2
    size = np.abs(n.terms[higher])
    slopes = np.stack([np.tensordot(exponents[higher, axis], size, 1) for axis in range(k)], 2)
    second = exponents[higher][:, :, None] * (exponents[higher][:, None, :] - np.eye(k))
    return inner, slopes * (1 + CHARGE), np.einsum("akl,abi->bikl", second, size, optimize=True) * (1 + CHARGE)


def _composed(n: Expansion, path: Array, x: Composition) -> tuple[Array, Array]:
    """Coefficients of F(s_P(t)) up to the degree of x, and bounds of what is left and of its derivatives in z."""
    order, degree = x.order, int(x.order.degrees[-1])
    k, d = path.shape[2], x.radii.shape[1]
    parts = [_sizes_of(path, x, j) for j in range(degree + 1)]
    powers = {tuple(row): path[:, :, axis] for axis, row in enumerate(np.eye(k, dtype=np.intp).tolist())}
    whole = {key: [part[:, axis] for part in parts] for axis, key in enumerate(powers)}
    units = list(powers)
    terms = n.terms[0][None] * np.eye(1, len(order.degrees))[0][:, None, None]
    tail = np.zeros((*n.terms.shape[1:], 1 + d))
    for exponents, coefficient in zip(n.order.exponents[1:].tolist(), n.terms[1:], strict=True):
        key = tuple(exponents)
        if key not in powers:
            axis = next(a for a in range(k) if exponents[a])
            rest = tuple(power - (a == axis) for a, power in enumerate(exponents))
            powers[key] = _product(powers[rest], powers[units[axis]], order)
            whole[key] = _product_sizes(whole[rest], whole[units[axis]])
        terms = terms + powers[key][:, :, None] * coefficient
        beyond = sum(whole[key][degree + 1 :], np.zeros((len(coefficient), 1 + d)))
        rounded = CHARGE * sum(whole[key][1:], np.zeros((len(coefficient), 1 + d)))
        tail += np.abs(coefficient)[:, :, None] * (beyond + rounded)[:, None, :]
    tail[:, :, 0] += CHARGE * np.abs(n.terms[0])
    return terms, tail * (1 + CHARGE)


def _sizes_of(path: Array, x: Composition, degree: int) -> Array:
    """Bounds of the part of a degree and of its derivatives in z, shape (B, k, 1 + d)."""
    rows = x.order.of_degree(degree)
    size = np.abs(path[rows])
    slopes = [np.tensordot(x.order.exponents[rows, axis], size, 1) / x.radii[:, axis, None] for axis in range(x.radii.shape[1])]
    return np.stack((size.sum(0), *slopes), 2)


def _product(a: Array, b: Array, order: Monomials) -> Array:
    result = np.zeros_like(a)
    top = int(order.degrees[-1])
    for first in range(1, top):
        for second in range(1, top + 1 - first):
            for i, j, k in order.products(first, second):
                result[k] += a[i] * b[j]
    return result


def _product_sizes(a: list[Array], b: list[Array]) -> list[Array]:
    """Bounds, by degree, of the values and derivatives of a product: each entry has shape (B, 1 + d)."""
    result = [np.zeros_like(a[0]) for _ in range(len(a) + len(b) - 1)]
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            result[i + j][:, :1] += first[:, :1] * second[:, :1]
            result[i + j][:, 1:] += first[:, 1:] * second[:, :1] + first[:, :1] * second[:, 1:]
    return result
