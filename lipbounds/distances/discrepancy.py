"""The discrepancy D_K, equation (4): a finite sum over samples, and a training loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lipbounds.distances.kernels import Kernel
from lipbounds.errors import InvalidInput

__all__ = ["discrepancy"]


def discrepancy(x: Tensor, y: Tensor, kernel: Kernel, *, squared: bool, unbiased: bool = False) -> Tensor:
    r"""Return $\mathcal{D}_K$ or $\mathcal{D}_K^2$ between the empirical measures of two samples.

    $$\mathcal{D}_K^2=\frac1{n^2}\sum_{i,j}K(x_i,x_j)-\frac2{nm}\sum_{i,j}K(x_i,y_j)+\frac1{m^2}\sum_{i,j}K(y_i,y_j).$$

    Args:
        x: Sample of shape (n, d).
        y: Sample of shape (m, d).
        kernel: Radial kernel.
        squared: True for the square (what the authors' tables call D_K), False for the root (equation (12)). There is
            no default, because the literature means both.
        unbiased: Leave out the diagonals i = j (Gretton et al. [22]); can be negative, so only with `squared`.

    Returns:
        A 0-d tensor, differentiable in both samples. The biased square is at least 0 up to rounding, at most
        8 K(x, x) machine epsilons; the root is that of the square clamped at this bound from below, where its gradient
        is zero instead of infinite.

    Raises:
        InvalidInput: For bad shapes, or the root of an unbiased square.

    Source:
        Hagemann and Neumayer (2022), equation (4); Gretton et al., A kernel two-sample test (2012), equation (3).

    Example:
        >>> from lipbounds.distances.kernels import InverseQuadratic
        >>> x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> y = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
        >>> round(float(discrepancy(x, y, InverseQuadratic(), squared=True)), 4)
        1.2558
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InvalidInput("x, y", (tuple(x.shape), tuple(y.shape)), "shapes (n, d) and (m, d)", "points are rows of one space")
    n, m = len(x), len(y)
    smallest = 2 if unbiased else 1
    if min(n, m) < smallest:
        raise InvalidInput("x, y", (n, m), f"at least {smallest} points each", "draw more points")
    if unbiased and not squared:
        raise InvalidInput("squared", squared, "True when unbiased", "the unbiased square can be negative")
    at_zero = kernel(x.new_zeros(()))
    within_x = kernel(_squared_distances(x, x)).sum()
    within_y = kernel(_squared_distances(y, y)).sum()
    across = kernel(_squared_distances(x, y)).mean()
    if unbiased:
        return (within_x - n * at_zero) / (n * (n - 1)) + (within_y - m * at_zero) / (m * (m - 1)) - 2 * across
    square = within_x / n**2 + within_y / m**2 - 2 * across
    if squared:
        return square
    return square.clamp_min(8 * torch.finfo(x.dtype).eps * at_zero).sqrt()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances by differences, which keep small distances exact; one coordinate at a time."""
    terms = [(x[:, None, i] - y[None, :, i]).square() for i in range(x.shape[1])]
    return sum(terms[1:], start=terms[0])
