"""The discrepancy D_K, equation (4): a finite sum over samples, and a training loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lipbounds.distances.inputs import as_points, as_weights
from lipbounds.distances.kernels import Family, Kernel
from lipbounds.distances.pair_kernel import pair_sums
from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture

__all__ = ["discrepancy", "discrepancy_of_mixtures"]

TILE_ENTRIES = 2**20  # of a tile's matrix of squared distances, where the compiled loop cannot run

RadialFunction = Callable[[Tensor], Tensor]


@overload
def discrepancy(
    x: Tensor,
    y: Tensor,
    kernel: Kernel | RadialFunction,
    *,
    squared: bool,
    unbiased: bool = False,
    x_weights: ArrayLike | Tensor | None = None,
    y_weights: ArrayLike | Tensor | None = None,
) -> Tensor: ...


@overload
def discrepancy(
    x: ArrayLike,
    y: ArrayLike,
    kernel: Kernel | RadialFunction,
    *,
    squared: bool,
    unbiased: bool = False,
    x_weights: ArrayLike | Tensor | None = None,
    y_weights: ArrayLike | Tensor | None = None,
) -> float: ...


def discrepancy(
    x: ArrayLike | Tensor,
    y: ArrayLike | Tensor,
    kernel: Kernel | RadialFunction,
    *,
    squared: bool,
    unbiased: bool = False,
    x_weights: ArrayLike | Tensor | None = None,
    y_weights: ArrayLike | Tensor | None = None,
) -> float | Tensor:
    r"""Return $\mathcal{D}_K$ or $\mathcal{D}_K^2$ between the empirical measures of two samples.

    $$\mathcal{D}_K^2=\sum_{i,j}a_ia_jK(x_i,x_j)-2\sum_{i,j}a_ib_jK(x_i,y_j)+\sum_{i,j}b_ib_jK(y_i,y_j)$$

    On the CPU one compiled pass (`loops`) sums the kernel and its gradients over all pairs, each pair within a sample once, in
    memory linear in the number of points, on as many threads as torch uses. On other devices, and for kernels that are plain
    functions, torch does the same in tiles.

    Args:
        x: Sample of shape (n, d): an array, computed in float64, or a float32 or float64 tensor.
        y: Sample of shape (m, d), of the same kind and on the same device.
        kernel: A kernel, or any function of squared distances that torch can differentiate.
        squared: True for the square (what the authors' tables call D_K), False for the root (equation (12)). There is
            no default, because the literature means both.
        unbiased: Leave out the diagonals i = j (Gretton et al. [22]); can be negative, so only with `squared`, and only
            for equal weights.
        x_weights: Masses a of shape (n,), nonnegative with sum 1; equal when None. Constants: no gradient.
        y_weights: Masses b of shape (m,).

    Returns:
        A float for arrays; a 0-d tensor for tensors, differentiable in the samples (second derivatives form the full
        matrices). With eps the machine epsilon of
        the points' type and k_0 = K(x, x), the biased square of a kernel 0 <= K <= k_0 is in error by at most
        4 (d + 20) eps k_0: each term is, and the sums run in float64. The root is that of the square clamped at this bound
        from below, where its gradient is zero instead of infinite.

    Raises:
        InvalidInput: For empty, non-finite or badly shaped samples, unequal dimensions, devices or kinds, points whose
            squared distances overflow, bad weights, or the root of an unbiased square.

    Source:
        Hagemann and Neumayer (2022), equation (4); Gretton et al., A kernel two-sample test (2012), equation (3).

    Example:
        >>> from lipbounds.distances.kernels import InverseQuadratic
        >>> round(discrepancy([[0.0], [1.0]], [[0.0], [2.0]], InverseQuadratic(), squared=True), 4)
        1.2558
    """
    if not isinstance(squared, bool):
        raise InvalidInput("squared", squared, "True or False", "say which of D_K and its square is meant")
    if isinstance(x, Tensor) != isinstance(y, Tensor):
        raise InvalidInput("x, y", (type(x).__name__, type(y).__name__), "two arrays or two tensors", "convert one of them")
    if isinstance(x, Tensor) and isinstance(y, Tensor) and x.device != y.device:
        raise InvalidInput("x, y", (str(x.device), str(y.device)), "one device", "move one of them with .to(device)")
    left, right = as_points("x", x), as_points("y", y)
    _check_pair(left, right)
    n, m = len(left), len(right)
    smallest = 2 if unbiased else 1
    if min(n, m) < smallest:
        raise InvalidInput("x, y", (n, m), f"at least {smallest} points each", "draw more points")
    if unbiased and not squared:
        raise InvalidInput("squared", squared, "True when unbiased", "the unbiased square can be negative")
    if isinstance(kernel, Kernel) and not _representable(kernel, torch.float64):
        raise InvalidInput("kernel", kernel, "scales whose powers are normal float64 numbers", "rescale points and kernel")
    if unbiased and (x_weights is not None or y_weights is not None):
        raise InvalidInput("unbiased", unbiased, "False with weights", "the unbiased form is for independent draws")
    a, b = as_weights("x_weights", x_weights, n), as_weights("y_weights", y_weights, m)
    square: Tensor = _Square.apply(left, right, a, b, kernel, unbiased)  # type: ignore[no-untyped-call]
    if not squared:
        eps = torch.finfo(left.dtype).eps
        floor = max(4 * (left.shape[1] + 20) * eps * _at_zero(kernel), torch.finfo(left.dtype).tiny)
        square = torch.where(square > floor, square, floor).sqrt()
    return square if isinstance(x, Tensor) else float(square)


def discrepancy_of_mixtures(mu: GaussianMixture, nu: GaussianMixture, kernel: Kernel, *, squared: bool) -> float:
    r"""Return $\mathcal{D}_K$ or its square between Gaussian mixtures, for Gaussian kernels in closed form.

    $\mathbb{E}\,e^{-|X-Y|^2/(2s^2)}=\det(I+C/s^2)^{-1/2}e^{-\frac12\Delta^T(s^2I+C)^{-1}\Delta}$ for the difference
    $X-Y\sim N(\Delta,C)$. Rounding: some ulps of K(x, x).

    Args:
        mu: A mixture.
        nu: A mixture on the same space.
        kernel: A `Gaussian`, or a sum of such kernels.
        squared: True for the square.

    Raises:
        InvalidInput: For unequal dimensions or another kernel.

    Example:
        >>> from lipbounds.distances.kernels import Gaussian
        >>> from lipbounds.measures import standard_normal
        >>> discrepancy_of_mixtures(standard_normal(2), standard_normal(2), Gaussian(), squared=True)
        0.0
    """
    if mu.dim != nu.dim:
        raise InvalidInput("mu, nu", (mu.dim, nu.dim), "one dimension", "compare measures on one space")
    if any(term.family is not Family.SQUARED_EXPONENTIAL for term in kernel.terms):
        raise InvalidInput("kernel", kernel, "a Gaussian kernel", "only it has a closed form; draw samples for others")
    means = np.concatenate((mu.means, nu.means))
    covariances = np.concatenate((mu.covariances, nu.covariances))
    signed = np.concatenate((mu.weights, -nu.weights))
    difference = means[:, None] - means
    total = 0.0
    for term in kernel.terms:
        scaled = (covariances[:, None] + covariances) * (2.0 / term.offset)
        matrix = np.eye(mu.dim) + scaled
        solved = np.linalg.solve(matrix, difference[..., None])[..., 0]
        exponent = -(difference * solved).sum(-1) / term.offset
        total += term.weight * float(signed @ np.exp(exponent - np.linalg.slogdet(matrix)[1] / 2) @ signed)
    return total if squared else math.sqrt(max(total, 0.0))


def _check_pair(x: Tensor, y: Tensor) -> None:
    if x.shape[1] != y.shape[1]:
        raise InvalidInput("x, y", (x.shape[1], y.shape[1]), "one dimension", "compare points of one space")
    if x.dtype != y.dtype:
        raise InvalidInput("x, y", (x.dtype, y.dtype), "one type", "convert one of them with .to(dtype)")
    largest = max(float(x.detach().abs().max()), float(y.detach().abs().max()))
    if largest > math.sqrt(torch.finfo(torch.float64).max / (8 * x.shape[1])):
        raise InvalidInput("x, y", f"coordinates up to {largest:.3g}", "finite squared distances", "rescale the points")


def _at_zero(kernel: Kernel | RadialFunction) -> float:
    return kernel.at_zero if isinstance(kernel, Kernel) else float(kernel(torch.zeros(1, dtype=torch.float64)))


def _representable(kernel: Kernel, dtype: torch.dtype) -> bool:
    """Whether the numbers of a kernel, its values and its slopes near 0 are normal numbers of the type."""
    limit = -0.9 * math.log(torch.finfo(dtype).tiny)
    for term in kernel.terms:
        if term.weight == 0.0 or (term.offset <= 0.0 and term.family is not Family.ROOT):
            return False  # an underflow
        weight = math.log(abs(term.weight))
        logs = [weight]
        if term.family is not Family.ROOT:
            offset, steps = math.log(term.offset), term.exponent if term.family is Family.POWER else 0.0
            logs += [offset, weight - steps * offset, weight - (steps + 1) * offset, 2 * offset if steps in (1.0, 2.0) else 0.0]
        if max(map(abs, logs)) > limit:
            return False
    return True


class _Sums(NamedTuple):
    """A sum over pairs and its gradients."""

    value: float
    x: Tensor | None
    y: Tensor | None


class _Square(torch.autograd.Function):
    """The square; its gradients come from the same pass over the pairs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, a: NDArray[np.float64], b: NDArray[np.float64], kernel: Kernel, unbiased: bool
    ) -> Tensor:
        want_x, want_y = ctx.needs_input_grad[:2]
        engine = _compiled if x.device.type == "cpu" and isinstance(kernel, Kernel) else _tiled
        n, m = len(x), len(y)
        across = engine(x, y, a, b, kernel, want_x, want_y)
        within_x = engine(x, None, a, a, kernel, want_x, False)
        within_y = engine(y, None, b, b, kernel, want_y, False)
        at_zero = _at_zero(kernel)
        # the sums within run over i < j with weights 1 / n^2; leaving out the diagonal changes them to 1 / (n (n - 1))
        factor_x, factor_y = (n / (n - 1), m / (m - 1)) if unbiased else (1.0, 1.0)
        diagonal = 0.0 if unbiased else at_zero * float(a @ a + b @ b)
        value = 2.0 * (factor_x * within_x.value + factor_y * within_y.value - across.value) + diagonal
        gradients = []
        for own, factor, cross in ((within_x.x, factor_x, across.x), (within_y.x, factor_y, across.y)):
            gradients.append(None if own is None or cross is None else 2.0 * (factor * own - cross))
        ctx.gradients = gradients
        ctx.save_for_backward(x, y)
        ctx.problem = a, b, kernel, unbiased
        return x.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        if torch.is_grad_enabled():  # create_graph: the stored gradients are constants, second derivatives need the formula
            # on views: y may depend on x, and that path is autograd's to follow, not ours
            points = [own.view_as(own) for own in ctx.saved_tensors]
            wanted = [own for own, stored in zip(points, gradients, strict=True) if stored is not None]
            fresh = iter(torch.autograd.grad(_dense(*points, *ctx.problem), wanted, create_graph=True))
            gradients = [None if stored is None else next(fresh) for stored in gradients]
        x, y = (None if own is None else own * gradient for own in gradients)
        return x, y, None, None, None, None


def _dense(
    x: Tensor, y: Tensor, a: NDArray[np.float64], b: NDArray[np.float64], kernel: RadialFunction, unbiased: bool
) -> Tensor:
    """The square as torch's own graph with full matrices, for derivatives of second order."""

    def mean(u: Tensor, v: Tensor, left: NDArray[np.float64], right: NDArray[np.float64], factor: float) -> Tensor:
        mass = torch.as_tensor(factor * np.outer(left, right), dtype=u.dtype, device=u.device)
        if factor != 1.0:
            mass.fill_diagonal_(0.0)
        return (mass * kernel((u[:, None] - v).square().sum(-1))).sum()

    n, m = len(x), len(y)
    factor_x, factor_y = (n / (n - 1), m / (m - 1)) if unbiased else (1.0, 1.0)
    return mean(x, x, a, a, factor_x) + mean(y, y, b, b, factor_y) - 2.0 * mean(x, y, a, b, 1.0)


def _compiled(
    x: Tensor, y: Tensor | None, a: NDArray[np.float64], b: NDArray[np.float64], kernel: Kernel, want_x: bool, want_y: bool
) -> _Sums:
    """Sums by the compiled loop; float32 points whose squared distances overflow are handled in float64."""
    both = [x] if y is None else [x, y]
    largest = max(float(points.detach().abs().max()) for points in both)
    fits = largest < math.sqrt(torch.finfo(x.dtype).max / (8 * x.shape[1])) and _representable(kernel, x.dtype)
    dtype = x.dtype if fits else torch.float64
    transposed = [points.detach().to(dtype).T.contiguous().numpy() for points in both]
    weights = [w.astype(transposed[0].dtype) for w in (a, b)]
    value, gx, gy = pair_sums(
        transposed[0],
        None if y is None else transposed[1],
        weights[0],
        weights[1],
        kernel.terms,
        want=(want_x, want_y),
        threads=torch.get_num_threads(),
    )
    back = [None if g is None else torch.from_numpy(g).T.to(x.dtype).contiguous() for g in (gx, gy)]
    return _Sums(value, *back)


def _tiled(
    x: Tensor,
    y: Tensor | None,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    kernel: RadialFunction,
    want_x: bool,
    want_y: bool,
) -> _Sums:
    """The same sums by torch, in tiles of rows; the kernel's slope comes from autograd on each tile."""
    x = x.detach()
    within = y is None
    y = x if y is None else y.detach()
    a_all, b_all = (torch.as_tensor(w, dtype=x.dtype, device=x.device) for w in (a, b))
    gx, gy = (torch.zeros_like(points) if want else None for points, want in ((x, want_x), (y, want_y)))
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    rows = max(1, TILE_ENTRIES // len(y))
    for first in range(0, len(x), rows):
        block = x[first : first + rows]
        # by differences, one coordinate at a time: |x|^2 + |y|^2 - 2xy would cancel for near points
        t = torch.zeros(len(block), len(y), dtype=x.dtype, device=x.device)
        for c in range(x.shape[1]):
            t += (block[:, c, None] - y[:, c]).square()
        mass = a_all[first : first + rows, None] * b_all
        if within:  # pairs i < j alone would waste half of every tile: take all pairs, halve, and leave out the diagonal
            mass = 0.5 * mass
            mass[torch.arange(len(block)), torch.arange(first, first + len(block))] = 0.0
        with torch.enable_grad():
            t.requires_grad_()
            k = kernel(t)
            if want_x or want_y:
                (slope,) = torch.autograd.grad(k, t, mass)
        total += (k.detach() * mass).sum(dtype=torch.float64)
        if gx is not None:
            # within one sample every pair is met twice with half its mass, once from each end: hence the 4
            gx[first : first + rows] += (4.0 if within else 2.0) * (block * slope.sum(1, keepdim=True) - slope @ y)
        if gy is not None:
            gy += 2.0 * (y * slope.sum(0)[:, None] - slope.T @ block)
    return _Sums(float(total), gx, gy)
