"""A 1-Lipschitz network trained to separate the parts of a sample, where half-spaces and distances to centres do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from lipbounds.distances import clopper_pearson

__all__ = ["SeparatingNetwork", "fit_separating_network"]

Array = NDArray[np.float64]

WIDTHS = (32, 32)  # units of the hidden layers, even: sorted in pairs
BATCH = 2048  # points a training step
THRESHOLDS = 96  # order statistics compared in the loss
ITERATIONS = 6  # of Bjoerck's, in training; finished matrices are polar factors by SVD, scaled to a norm of at most 1
SHARPNESS = 0.05  # of the soft maximum over pairs of thresholds, in units of the largest bound
SHORTER = 1e-12  # singular values are good to about 1e-14: rounding must not make a matrix longer than 1


@dataclass(frozen=True, eq=False)
class SeparatingNetwork:
    r"""$x\mapsto s\,W_L\,\sigma(W_{L-1}\cdots\sigma(W_1(x-c)/s+b_1)\cdots)$ with matrices of norm at most 1: 1-Lipschitz.

    $\sigma$ sorts neighbouring pairs of coordinates, a permutation at every point.

    Attributes:
        centre: c, shape (d,).
        size: s > 0.
        matrices: W_1, ..., W_L; the last has one row.
        biases: b_1, ..., b_{L-1}.
    """

    centre: Array
    size: float
    matrices: tuple[Array, ...]
    biases: tuple[Array, ...]

    def __call__(self, x: Array) -> Array:
        """Evaluate at rows."""
        values = (x - self.centre) / self.size
        for matrix, bias in zip(self.matrices[:-1], self.biases, strict=True):
            pairs = (values @ matrix.T + bias).reshape(len(x), -1, 2)
            values = np.sort(pairs, axis=2).reshape(len(x), -1)
        return np.asarray(self.size * (values @ self.matrices[-1].T)[:, 0])

    def __str__(self) -> str:
        return f"trained 1-Lipschitz network, widths {', '.join(str(len(matrix)) for matrix in self.matrices[:-1])}"


def fit_separating_network(
    x: Array, start: Callable[[Array], Array], *, alpha: float, steps: int, seed: int
) -> SeparatingNetwork:
    r"""Train a 1-Lipschitz network to make the bound of `lipschitz_from_samples` large on a sample.

    It begins as a copy of a given statistic. Then what is maximised is the bound itself: with values $v_{(1)}\le v_{(2)}\le\dots$
    of a batch and Clopper-Pearson limits $g$, the largest $(v_{(j)}-v_{(i)})/(\Phi^{-1}(g^+_j)-\Phi^{-1}(g^-_i))$, of which the
    denominators are fixed numbers. Matrices are kept orthogonal by Bjoerck's iteration; sorting pairs keeps
    the norm of gradients (Anil, Lucas and Grosse, "Sorting out Lipschitz function approximation", 2019).

    Args:
        x: Shape (n, d), not all equal.
        start: The statistic to begin with.
        alpha: Error probability of the limits.
        steps: Of Adam; a third of them copies.
        seed: Of weights and batches.
    """
    generator = torch.Generator().manual_seed(seed)
    centre, size = x.mean(0), float(np.linalg.norm(x - x.mean(0), axis=1).max())
    points = torch.as_tensor((x - centre) / size)
    goal = torch.as_tensor(start(x) / size)
    free = [
        torch.randn(b, a, generator=generator, dtype=torch.float64).div_((a * b) ** 0.25).requires_grad_(True)
        for a, b in itertools.pairwise((x.shape[1], *WIDTHS, 1))
    ]
    biases = [torch.zeros(width, dtype=torch.float64, requires_grad=True) for width in WIDTHS]
    shift = goal.median().clone().requires_grad_(True)
    batch = min(BATCH, len(x))
    score = _Score(batch, alpha)
    adam = torch.optim.Adam([*free, *biases, shift], lr=1e-2)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-2 * (1.0 - step / steps)
        rows = torch.randperm(len(points), generator=generator)[:batch]
        values = _values(points[rows], [_orthogonal(matrix) for matrix in free], biases)
        loss = (values + shift - goal[rows]).square().mean() if step < steps // 3 else -score(values)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    matrices = []
    for matrix in free:
        left, _, right = np.linalg.svd(matrix.detach().numpy(), full_matrices=False)
        polar = left @ right
        matrices.append(polar / (np.linalg.norm(polar, 2) * (1.0 + SHORTER)))
    return SeparatingNetwork(centre, size, tuple(matrices), tuple(bias.detach().numpy() for bias in biases))


class _Score:
    """The bound of a batch of values, softened, with the normal quantiles of its limits tabulated."""

    def __init__(self, n: int, alpha: float) -> None:
        self._places = torch.as_tensor(np.unique(np.linspace(0, n - 1, THRESHOLDS).round().astype(int)))
        below = self._places.numpy() + 1
        low, _ = clopper_pearson(below, n, alpha=alpha / 2)
        _, high = clopper_pearson(below, n, alpha=alpha / 2)
        between = ndtri(high)[None, :] - ndtri(low)[:, None]
        later = np.arange(len(below))[None, :] > np.arange(len(below))[:, None]
        self._weights = torch.as_tensor(np.where(later & np.isfinite(between) & (between > 0), 1.0 / between, 0.0))

    def __call__(self, values: Tensor) -> Tensor:
        at = values.sort().values[self._places]
        bounds = (at[None, :] - at[:, None]) * self._weights
        shares = torch.softmax((bounds / (SHARPNESS * bounds.max())).flatten(), dim=0).detach()
        return (shares * bounds.flatten()).sum()


def _values(points: Tensor, matrices: list[Tensor], biases: list[Tensor]) -> Tensor:
    for matrix, bias in zip(matrices[:-1], biases, strict=True):
        pairs = (points @ matrix.T + bias).reshape(len(points), -1, 2)
        points = pairs.sort(dim=2).values.reshape(len(points), -1)
    return (points @ matrices[-1].T)[:, 0]


def _orthogonal(matrix: Tensor) -> Tensor:
    """Near the orthogonal factor of a matrix: Bjoerck's iteration from within the region where it converges."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    scaled: Tensor = wide / torch.linalg.matrix_norm(wide.detach(), ord=2)
    for _ in range(ITERATIONS):
        scaled = 1.5 * scaled - 0.5 * scaled @ scaled.T @ scaled
    return scaled if matrix.shape[0] <= matrix.shape[1] else scaled.T
