r"""Polynomial expansions of a feed-forward map over many boxes, their remainders in operator norm.

On a box $z=c+h\circ t$, $|t_i|\le1$, what a layer sees is $P(t)+e(t)$: a polynomial P of degree p, of which every coefficient is
a vector over the units, and a remainder of which only $\|e\|_2\le\varepsilon$ and $\|de/dz\|\le\eta$ are kept, for all t, and a
cap $|e_i|\le r_i$ for each unit. A matrix W maps the coefficients exactly but for rounding, and multiplies both numbers by
$\|W\|$: errors of units are not added in absolute value, which would cost the root of the width at each layer.

An activation is replaced for each unit, on its range $P_i(0)\pm Q_i$, by the polynomial whose derivative interpolates f' at the
Chebyshev nodes of that range; with $f'$ off by at most $\delta_i$ there. What truncation to degree p and this interpolation leave
is bounded unit by unit, with $q_k$ the largest value and $d_k$ the largest gradient of the homogeneous part $X_k$ of P:
$$|f'(P)\,dP-dY|\le\theta_i|dX_1|+\rho_i,\qquad \theta=\delta+2|T_2|q_3+3|T_3|(Q^2-q_1^2)$$
(p = 3), and enters $\eta$ as $\|\mathrm{diag}(\theta)\,dX_1\|+\|\rho\|_2$. Roundings are charged to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.smooth_maps.monomials import Monomials, monomials
from lipbounds.enclosures.spectral import largest_eigenvalues, spectral_norms
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.conditioner import Stage
from lipbounds.rounding import EPS, FUNCTION_ERROR, TINY

__all__ = ["Expansion", "Layer", "activated", "box_expansion", "transformed"]

Array = NDArray[np.float64]

NODE = np.sqrt(3.0) / 2.0, np.sqrt(0.5)  # outer Chebyshev nodes of three, and both of two
FEWEST = 1e-30  # half-width of nodes at least: units that do not move
ROUNDINGS = 32 * EPS  # of a coefficient of a composed polynomial: sums of at most 12 products of four factors


@dataclass(frozen=True, eq=False)
class Expansion:
    """The values of a layer over B boxes.

    Attributes:
        terms: Coefficients of monomials of t, shape (monomials, B, units).
        error: Bounds of the Euclidean norm of the remainder, shape (B,).
        slope: Bounds of the spectral norm of its derivative in z, shape (B,).
        caps: Bounds of the remainder of each unit, shape (B, units).
        radii: Half sides h of the boxes, shape (B, d).
        order: The monomials.
    """

    terms: Array
    error: Array
    slope: Array
    caps: Array
    radii: Array
    order: Monomials


class Layer:
    """A stage with the norms of its matrix.

    Args:
        stage: The stage.
    """

    def __init__(self, stage: Stage) -> None:
        self.matrix, self.bias, self.activation = stage.matrix, stage.bias, stage.activation
        self.turned = np.ascontiguousarray(stage.matrix.T)
        self.norm = float(spectral_norms(stage.matrix))
        charge = 1 + (self.matrix.size + 8) * EPS
        self.rows = np.sqrt(np.square(stage.matrix).sum(1)) * charge
        self.size = float(np.sqrt(np.square(stage.matrix).sum())) * charge
        self.bias_size = float(np.sqrt(np.square(stage.bias).sum())) * charge


def box_expansion(middles: Array, radii: Array, degree: int) -> Expansion:
    """Return the identity over boxes, shapes (B, d), as polynomials of a degree, 2 or 3."""
    n, d = middles.shape
    order = monomials(d, degree)
    terms = np.zeros((len(order.degrees), n, d))
    terms[0] = middles
    for axis, row in enumerate(order.of_degree(1)):
        terms[row, :, axis] = radii[:, axis]
    return Expansion(terms, np.zeros(n), np.zeros(n), np.zeros((n, d)), radii, order)


def gradients(terms: Array, radii: Array, order: Monomials, degree: int) -> Array:
    """Bounds of the Euclidean norm of the gradient in z of the part of a degree, over the box, shape (B, units)."""
    squares = np.zeros(terms.shape[1:])
    rows = order.of_degree(degree)
    for axis in range(radii.shape[1]):
        part = np.zeros(terms.shape[1:])
        for row in rows:
            if order.exponents[row, axis]:
                part += order.exponents[row, axis] * np.abs(terms[row])
        squares += np.square(part / radii[:, axis, None])
    return np.sqrt(squares) * (1 + ROUNDINGS)


def transformed(x: Expansion, layer: Layer) -> Expansion:
    """Apply the matrix and the bias of a stage."""
    count, n, width = x.terms.shape
    terms = (x.terms.reshape(-1, width) @ layer.turned).reshape(count, n, -1)
    # a sum of `width` products rounds by this times the product of the norms of a row and of the coefficients
    charge = (width + 8) * EPS
    sizes = np.sqrt(np.square(x.terms).sum(2))
    sharp = (x.order.exponents / x.radii[:, None, :]).sum(2).T
    terms[0] += layer.bias
    lost = charge * sizes.sum(0)
    bias = charge * (layer.bias_size + np.sqrt(np.square(terms[0]).sum(1)))
    grown = 1 + (width + 64) * EPS
    error = (layer.norm * x.error + layer.size * lost + bias) * grown + TINY
    slope = (layer.norm * x.slope + charge * layer.size * (sizes * sharp).sum(0)) * grown + TINY
    caps = (layer.rows * (x.error + lost)[:, None] + charge * (np.abs(layer.bias) + np.abs(terms[0]))) * grown + TINY
    return Expansion(terms, error, slope, caps, x.radii, x.order)


def activated(x: Expansion, activation: Activation) -> Expansion:
    """Apply an activation, to all units."""
    if activation is LINEAR:
        return x
    order, cubic = x.order, int(x.order.degrees[-1]) == 3
    parts = [np.abs(x.terms[order.of_degree(k)]).sum(0) * (1 + ROUNDINGS) for k in range(1, 4)]
    slopes = [gradients(x.terms, x.radii, order, k) for k in range(1, 4)]
    (q1, q2, q3), (d1, d2, d3) = parts, slopes
    width, steep = (q1 + q2 + q3) * (1 + ROUNDINGS), (d1 + d2 + d3) * (1 + ROUNDINGS)
    center = x.terms[0]
    reach = (width + x.caps) * (1 + ROUNDINGS) + 4 * EPS * np.abs(center)
    derivatives = [
        np.maximum(np.abs(low), np.abs(high))
        for low, high in activation.ranges(center - reach, center + reach, 4 if cubic else 3)
    ]
    largest = derivatives[1] + FUNCTION_ERROR * (1 + derivatives[1])
    bend = derivatives[2] + FUNCTION_ERROR * (1 + derivatives[2])
    top = derivatives[-1] + FUNCTION_ERROR * (1 + derivatives[-1])
    value, first, second, third = _interpolated(activation, center, width, cubic)
    # of f' on the range: of interpolation, of f' at the nodes (their weights sum to 5/3 at most), of the nodes themselves
    theory = top * width**3 if cubic else 1.5 * top * np.square(width)
    function = FUNCTION_ERROR * (1 + np.abs(value) + largest)
    off = (theory + 4 * function + 8 * bend * EPS * (np.abs(center) + width)) * (1 + ROUNDINGS)
    terms = _composed(x.terms, order, (value, first, second, third))
    second, third = np.abs(second), np.abs(third)
    if cubic:
        beyond = second * (np.square(q2) + 2 * q1 * q3 + 2 * q2 * q3 + np.square(q3)) + third * (width**3 - q1**3)
        theta = off + 2 * second * q3 + 3 * third * (np.square(width) - np.square(q1))
        rest = 2 * second * (q2 * d2 + q1 * d3 + q2 * d3 + q3 * d2 + q3 * d3) + (off + 3 * third * np.square(width)) * (d2 + d3)
    else:
        beyond = second * (2 * q1 * q2 + np.square(q2))
        theta = off + 2 * second * q2
        rest = (off + 2 * second * width) * d2
    powers = largest + second * width + third * np.square(width)
    local = beyond + off * width + function + ROUNDINGS * (np.abs(value) + powers * width)
    theta, rest = theta + ROUNDINGS * powers, rest + 3 * ROUNDINGS * powers * steep
    grown = 1 + (center.shape[1] + 128) * EPS
    error = (largest.max(1) * x.error + _length(local)) * grown + TINY
    linear = np.stack([theta * x.terms[row] / x.radii[:, axis, None] for axis, row in enumerate(order.of_degree(1))], 2)
    gram = np.swapaxes(linear, 1, 2) @ linear
    slack = (center.shape[1] + 16) * EPS * np.square(linear).sum((1, 2))
    by_linear = np.sqrt(largest_eigenvalues(gram, slack))
    slope = (largest.max(1) * x.slope + (bend * 2 * steep).max(1) * x.error + by_linear + _length(rest)) * grown + TINY
    return Expansion(terms, error, slope, np.full(center.shape, np.nan), x.radii, order)


def _length(rows: Array) -> Array:
    return np.asarray(np.sqrt(np.square(rows).sum(1)))


def _interpolated(activation: Activation, center: Array, width: Array, cubic: bool) -> tuple[Array, Array, Array, Array]:
    """Coefficients of the polynomial of s that stands for f(center + s), |s| <= width."""
    value, middle = activation.coefficients(center, 1)
    away = np.maximum(NODE[0 if cubic else 1] * width, FEWEST)
    right, left = (activation.coefficients(center + sign * away, 1)[1] for sign in (1, -1))
    second = (right - left) / (4 * away)
    if not cubic:
        return value, 0.5 * (right + left), second, np.zeros_like(second)
    return value, middle, second, (right + left - 2 * middle) / (6 * np.square(away))


def _composed(terms: Array, order: Monomials, taylor: tuple[Array, Array, Array, Array]) -> Array:
    """Coefficients, up to the degree of the expansion, of a polynomial of P - P(0)."""
    value, first, second, third = taylor
    result = first * terms
    result[0] = value
    square = np.zeros((len(terms), *value.shape))
    for i, j, k in order.products(1, 1):
        square[k] += terms[i] * terms[j]
    for k in order.of_degree(2):
        result[k] += second * square[k]
    if order.degrees[-1] == 3:
        for i, j, k in order.products(1, 2):
            result[k] += (2 * second * terms[j] + third * square[j]) * terms[i]
    return result
