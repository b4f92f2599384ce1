"""Data on which the networks of the zoo are trained: the toy laws of the flow papers, and digits."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits, make_moons
from torch import Tensor

__all__ = ["SAMPLERS", "digits"]

Sampler = Callable[[int, np.random.Generator], NDArray[np.float64]]


def moons(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Two moons of noise 0.05 about the origin."""
    points, _ = make_moons(n, noise=0.05, random_state=int(rng.integers(2**31)))
    return np.asarray(points - np.array([0.5, 0.25]))


def ring(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Eight normal laws of deviation 0.1 on a circle of radius 2."""
    angle = 2 * np.pi * rng.integers(0, 8, n) / 8
    return np.asarray(2.0 * np.stack((np.cos(angle), np.sin(angle)), 1)) + 0.1 * rng.standard_normal((n, 2))


def pinwheel(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Five curved arms."""
    arm = rng.integers(0, 5, n)
    along, across = 1.0 + 0.3 * rng.standard_normal(n), 0.1 * rng.standard_normal(n)
    angle = 2 * np.pi * arm / 5 + 0.25 * np.exp(along)
    turned = np.stack((along * np.cos(angle) - across * np.sin(angle), along * np.sin(angle) + across * np.cos(angle)), 1)
    return np.asarray(1.5 * turned)


def checkerboard(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Eight of the sixteen squares of a board [-2, 2]^2."""
    x = rng.uniform(-2, 2, n)
    y = rng.uniform(0, 1, n) + 2 * rng.integers(0, 2, n) - 2 + np.floor(x) % 2
    return np.stack((x, y), 1)


def gaussians(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Four normal laws of deviation 0.3 at random corners in six dimensions."""
    corners = np.random.default_rng(6).choice([-1.5, 1.5], (4, 6))
    return np.asarray(corners[rng.integers(0, 4, n)] + 0.3 * rng.standard_normal((n, 6)))


@functools.cache
def digits(dim: int) -> Tensor:
    """The 1797 digits of scikit-learn with noise of one grey level, as 64 pixels or as their leading principal components."""
    pixels = load_digits().data
    noisy = (pixels + np.random.default_rng(0).uniform(0, 1, pixels.shape)) / 8.5 - 1.0
    if dim < noisy.shape[1]:
        centred = noisy - noisy.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        noisy = centred @ (axes[:dim].T * np.sign(axes[:dim, :1].T))
    return torch.as_tensor(noisy, dtype=torch.float32)


def _digits(dim: int) -> Sampler:
    return lambda n, rng: digits(dim)[torch.as_tensor(rng.integers(0, 1797, n))].numpy().astype(np.float64)


SAMPLERS: dict[str, Sampler] = {
    "moons": moons,
    "ring": ring,
    "pinwheel": pinwheel,
    "checkerboard": checkerboard,
    "gaussians": gaussians,
    "digits-8": _digits(8),
    "digits-16": _digits(16),
    "digits-64": _digits(64),
}
