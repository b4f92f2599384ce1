"""The inverse of a residual layer x + g(x), differentiable like any other map."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacrev, vmap

__all__ = ["invert_residual", "jacobian_of_residual"]

TOLERANCE = 1e-3  # of the fixed point before the Newton step, which squares it


def jacobian_of_residual(g: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative of x + g(x) at every row, shape (n, d, d); g takes one point or rows."""
    slopes: Tensor = vmap(jacrev(g))(x)
    return slopes + torch.eye(x.shape[1], dtype=x.dtype, device=x.device)


def invert_residual(g: Callable[[Tensor], Tensor], z: Tensor, *, constant: float) -> Tensor:
    r"""Solve x + g(x) = z for rows z, with Lip(g) at most `constant` < 1.

    The iteration $x\leftarrow z-g(x)$ runs until its error is below 1e-3 of its first step by Banach's theorem; two Newton steps
    follow. Derivatives, by z and by whatever g is made of, are those of the implicit function, up to the third: a Newton step
    from a constant has the first, each further one doubles the order.
    """
    x = z.detach()
    # a constant g is subtracted once
    steps = math.ceil(math.log(TOLERANCE * (1 - constant)) / math.log(constant)) if constant > 0.0 else 1
    with torch.no_grad():
        for _ in range(steps):
            x = z.detach() - g(x)
    for _ in range(2):
        x = x - torch.linalg.solve(jacobian_of_residual(g, x), x + g(x) - z)
    return x
