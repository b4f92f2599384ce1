r"""Upper bounds of spectral norms of many small matrices of doubles, with rounding.

For any matrix V whatever, $x=Vy$ gives $\lambda_{\max}(G)\le\|V^TGV\|_\infty/(1-\|V^TV-I\|_\infty)$. V are the eigenvectors that
LAPACK finds of the Gram matrix G, so the row sums of $V^TGV$ are its eigenvalues but for rounding, which is charged.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipbounds.compiled import compiled
from lipbounds.rounding import EPS, TINY

__all__ = ["largest_eigenvalues", "spectral_norm_kernel", "spectral_norms"]

Array = NDArray[np.float64]

SQUARINGS = 9  # for small matrices: a norm of order n is exceeded by the factor n^(1/1024) at most


@compiled(nogil=True, error_model="numpy")
def _frobenius(matrix: Array) -> Any:
    total = 0.0
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            total += matrix[i, j] * matrix[i, j]
    return math.sqrt(total)


@compiled(nogil=True, error_model="numpy")
def _divided(matrix: Array, by: float, result: Array) -> None:
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            result[i, j] = matrix[i, j] / by


@compiled(nogil=True, error_model="numpy")
def _square(matrix: Array, result: Array) -> None:
    n = len(matrix)
    for i in range(n):
        for j in range(n):
            entry = 0.0
            for k in range(n):
                entry += matrix[i, k] * matrix[k, j]
            result[i, j] = entry


@compiled(nogil=True, error_model="numpy")
def spectral_norm_kernel(matrix: Array, work: Array) -> Any:
    r"""Bound the spectral norm of a symmetric matrix of order n, at most 8, from above; NaN where an entry is none.

    $\|G\|^2=\|G^2\|$, and the norm of the last square is at most its Frobenius norm. A square rounds by at most
    $n\,2^{-52}\|G\|_F^2$.

    Args:
        matrix: Shape (n, n).
        work: Space, shape (2, n, n) at least.
    """
    n = len(matrix)
    lengths, scales = np.empty(SQUARINGS + 1), np.empty(SQUARINGS + 1)
    now, after = work[0], work[1]
    largest = 0.0
    for i in range(n):
        for j in range(n):
            if not abs(matrix[i, j]) < np.inf:
                return np.nan
            largest = max(largest, abs(matrix[i, j]))
    if largest == 0.0:
        return 0.0
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    _divided(matrix, unit, now)
    for step in range(SQUARINGS + 1):
        length = _frobenius(now) * (1 + (n * n + 8) * EPS)
        if length == 0.0:  # of a matrix whose powers vanish
            return np.nan
        # a power of two: the next square neither overflows nor underflows
        scale = math.ldexp(1.0, math.frexp(length)[1])
        lengths[step], scales[step] = length / scale, scale
        _divided(now, scale, now)
        if step < SQUARINGS:
            _square(now, after)
            now, after = after, now
    norm = lengths[SQUARINGS] * scales[SQUARINGS]
    for step in range(SQUARINGS - 1, -1, -1):
        norm = math.sqrt(norm + (n + 4) * EPS * lengths[step] * lengths[step]) * (1 + 4 * EPS) * scales[step]
    return norm * unit


def largest_eigenvalues(gram: Array, error: Array | float = 0.0) -> Array:
    """Bound the largest eigenvalues of symmetric matrices, shape (..., n, n), from above; NaN where an entry is none.

    Args:
        gram: The matrices; each is taken as the symmetric matrix of its lower half.
        error: Bounds, in the spectral norm, of how far the matrices meant are from these, shape (...).
    """
    n = gram.shape[-1]
    lower = np.tril(gram)
    gram = lower + np.swapaxes(np.tril(gram, -1), -1, -2)
    known = np.asarray(np.isfinite(gram).all((-2, -1)))
    safe = np.where(known[..., None, None], gram, 0.0)
    vectors = np.linalg.eigh(safe)[1]
    turned = np.swapaxes(vectors, -1, -2)
    sizes = np.abs(vectors)
    # products of three matrices: 2 n roundings of at most the product of absolute values, of which row sums are taken
    rounding = (2 * n + 8) * EPS * (np.swapaxes(sizes, -1, -2) @ (np.abs(safe) @ sizes)).sum(-1)
    rows = np.abs(turned @ (safe @ vectors)).sum(-1)
    largest = (rows + rounding).max(-1) * (1 + (n + 4) * EPS)
    skew = np.abs(turned @ vectors - np.eye(n)).sum(-1) + (n + 8) * EPS * (np.swapaxes(sizes, -1, -2) @ sizes).sum(-1)
    with np.errstate(divide="ignore"):
        value = largest / (1 - skew.max(-1)) * (1 + 8 * EPS)
    # vectors that are none prove nothing; rows sums do
    crude = np.abs(safe).sum(-1).max(-1) * (1 + (n + 4) * EPS)
    value = np.where(skew.max(-1) < 0.5, np.minimum(value, crude), crude)
    return np.where(known, (value + error) * (1 + 2 * EPS), np.nan)


def spectral_norms(matrices: Array) -> Array:
    """Bound the spectral norms of matrices of doubles, shape (..., m, n), from above; NaN where an entry is none.

    Example:
        >>> bound = float(spectral_norms(np.array([[3.0, 0.0], [4.0, 0.0]])))
        >>> 5.0 <= bound < 5.0 + 1e-13
        True
    """
    if matrices.shape[-1] > matrices.shape[-2]:
        matrices = np.swapaxes(matrices, -1, -2)
    if matrices.shape[-1] == 0:
        return np.zeros(matrices.shape[:-2])
    # scaled by powers of two: squares neither overflow nor underflow, but for entries that do not matter
    largest = np.abs(matrices).max((-2, -1), keepdims=True)
    known = np.isfinite(largest) & (largest > 0)
    scale = np.exp2(np.floor(np.log2(np.where(known, largest, 1.0))))
    scaled = matrices / scale
    gram = np.swapaxes(scaled, -1, -2) @ scaled
    squares = np.square(scaled).sum((-2, -1))
    error = (matrices.shape[-2] + 4) * EPS * squares * (1 + 1e-9) + TINY
    norms = np.sqrt(largest_eigenvalues(gram, error)) * (1 + 4 * EPS) * scale[..., 0, 0] * (1 + 2 * EPS)
    return np.where(largest[..., 0, 0] == 0, 0.0, norms)
