r"""The norm of a derivative that is a polynomial matrix of t plus a remainder, over the box $|t_i|\le1$.

The derivative in $z_j$ of $\sum_\alpha Z_\alpha t^\alpha$ is $\sum_\alpha\alpha_jZ_\alpha t^{\alpha-e_j}/h_j$. With
$t_i^2=\tfrac12+u_i$, $|u_i|\le\tfrac12$, what is left is affine in each $t_i$, and a norm is convex:
its maximum lies at a corner.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.smooth_maps.expansion import Expansion
from lipbounds.certify.smooth_maps.monomials import Monomials
from lipbounds.compiled import compiled
from lipbounds.enclosures.spectral import spectral_norm_kernel
from lipbounds.rounding import EPS

__all__ = ["derivative_norms"]

Array = NDArray[np.float64]


class _Parts(NamedTuple):
    """The derivative as a sum over monomials of matrices whose columns are combinations of the Z.

    Args:
        middle: Weights of the constant part with half of every square, shape (monomials - 1, d).
        squares: Of the squares, shape (squares, monomials - 1, d).
        others: Of the monomials that are affine in each variable, shape (others, monomials - 1, d).
        corners: Values of these at the corners, shape (2^d, others).
    """

    middle: Array
    squares: Array
    others: Array
    corners: Array


def derivative_norms(x: Expansion, target: float) -> Array:
    """Bound the spectral norm of the derivative in z over each box, shape (B,).

    Args:
        x: The expansion of the map.
        target: Bounds at most this need not be sharp.
    """
    z = np.ascontiguousarray(np.moveaxis(x.terms[1:], 0, 2))  # (B, outputs, monomials - 1)
    gram = np.swapaxes(z, 1, 2) @ z
    sizes = np.sqrt(np.square(z).sum(1))
    # an entry of the Gram matrix rounds by the product of the norms of its two columns, and so do sums of such entries
    charge = (z.shape[1] + 8 * z.shape[2] + 64) * EPS
    bounds = np.empty(len(z))
    _bound_all(gram, sizes, x.radii, x.slope, _parts(x.order), target, charge, bounds)
    return bounds


@cache
def _parts(order: Monomials) -> _Parts:
    d = order.exponents.shape[1]
    weights: dict[tuple[int, ...], Array] = {}
    for row, exponents in enumerate(order.exponents[1:].tolist()):
        for axis in range(d):
            if exponents[axis]:
                rest = tuple(power - (other == axis) for other, power in enumerate(exponents))
                weights.setdefault(rest, np.zeros((len(order.exponents) - 1, d)))[row, axis] = exponents[axis]
    none = np.zeros((0, len(order.exponents) - 1, d))
    squares = np.array([part for exponents, part in weights.items() if max(exponents) == 2]).reshape(-1, *none.shape[1:])
    powers = [exponents for exponents in weights if any(exponents) and max(exponents) == 1]
    others = np.array([weights[exponents] for exponents in powers]).reshape(-1, *none.shape[1:])
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=d)))
    corners = np.array([[np.prod(sign ** np.array(exponents)) for exponents in powers] for sign in signs]).reshape(len(signs), -1)
    return _Parts(weights[(0,) * d] + 0.5 * squares.sum(0), squares, others, corners)


@compiled(nogil=True, error_model="numpy")
def _norm(gram: Array, sizes: Array, weights: Array, radii: Array, charge: float, work: Array) -> Any:
    """Bound the norm of the matrix whose columns are combinations of the Z, divided by the half sides."""
    count, d = weights.shape
    inner, total = work[0], 0.0
    for i in range(d):
        for k in range(count):
            total += sizes[k] * abs(weights[k, i]) / radii[i]
        for j in range(i + 1):
            entry = 0.0
            for k in range(count):
                if weights[k, i] != 0.0:
                    for m in range(count):
                        entry += weights[k, i] * weights[m, j] * gram[k, m]
            inner[i, j] = inner[j, i] = entry / (radii[i] * radii[j])
    return math.sqrt(spectral_norm_kernel(inner, work[1:]) + charge * total * total) * (1 + 16 * EPS)


@compiled(nogil=True, error_model="numpy")
def _combined(middle: Array, factors: Array, others: Array, result: Array) -> None:
    for i in range(len(middle)):
        for j in range(middle.shape[1]):
            entry = middle[i, j]
            for k in range(len(factors)):
                entry += factors[k] * others[k, i, j]
            result[i, j] = entry


@compiled(nogil=True, error_model="numpy")
def _bound_all(  # noqa: PLR0913 (arrays of a kernel)
    gram: Array, sizes: Array, radii: Array, slope: Array, parts: _Parts, target: float, charge: float, bounds: Array
) -> None:
    """Bounds over boxes, to `bounds`: the triangle inequality first, corners where it does not do."""
    d = radii.shape[1]
    work, weights = np.empty((4, d, d)), np.empty(parts.middle.shape)
    for b in range(len(gram)):
        around = slope[b]
        for k in range(len(parts.squares)):
            part = parts.squares[k]
            around += 0.5 * _norm(gram[b], sizes[b], part, radii[b], charge, work)
        center = _norm(gram[b], sizes[b], parts.middle, radii[b], charge, work)
        total = center + around
        for k in range(len(parts.others)):
            part = parts.others[k]
            total += _norm(gram[b], sizes[b], part, radii[b], charge, work)
        bounds[b] = total * (1 + 64 * EPS)
        # the mean over the corners is the middle: where that is too much, corners are not worth their time
        if not bounds[b] <= target and not center + around > target:
            largest = 0.0
            for c in range(len(parts.corners)):
                corner = parts.corners[c]
                _combined(parts.middle, corner, parts.others, weights)
                norm = _norm(gram[b], sizes[b], weights, radii[b], charge, work)
                # a NaN, which no number equals, stays
                if largest == largest and not norm <= largest:
                    largest = norm
            bounds[b] = (largest + around) * (1 + 64 * EPS)
