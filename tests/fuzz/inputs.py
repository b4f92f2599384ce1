"""Points, weights and exponents, ordinary in most cases and absurd in some."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

ABSURD = 0.15  # share of the cases in which one input is absurd


def points(rng: np.random.Generator, n: int, d: int) -> Any:
    """Points of shape (n, d) with any scale, offset and type; sometimes with NaN, infinities or another shape."""
    scale, offset = 10.0 ** rng.choice([-300, -160, -8, 0, 0, 0, 3, 150, 290]), rng.choice([0.0, 0.0, 1.0, 1e8])
    x = rng.normal(size=(n, d)) * scale + offset * scale
    kind = rng.integers(12)
    if kind == 0:
        x = np.round(x / scale) * scale  # ties
    elif kind == 1:
        x[rng.integers(n)] = x[rng.integers(n)] * (1 + 2.0**-50)
    elif kind == 2:
        x = np.full((n, d), float(x.flat[0]))
    elif kind == 3:
        x[0] += 1e5 * scale  # a far group
    if rng.random() < ABSURD / 3:
        return rng.choice(np.array([np.nan, np.inf, -np.inf])) * np.ones((n, d)) if rng.random() < 0.5 else np.zeros((0, d))
    if rng.random() < ABSURD / 3:
        return [x[:, 0], x[None], x.astype(complex), "points", None, x.tolist()][int(rng.integers(6))]
    if rng.random() < 0.2:
        with np.errstate(over="ignore"):
            return [torch.as_tensor(x), x.astype(np.float32), x.tolist(), np.asfortranarray(x)][int(rng.integers(4))]
    return x


def weights(rng: np.random.Generator, n: int) -> Any:
    """Weights of any spread, or none; sometimes negative, with another sum, or too few."""
    kind = rng.integers(8)
    if kind < 3:
        return None
    w = rng.random(n) + 1e-3
    if kind == 3:
        w = 10.0 ** rng.uniform(-320, 0, n)
    elif kind == 4:
        w = rng.integers(0, 3, n) + 0.0
        w[0] += 1
    elif kind == 5:
        w = np.where(rng.random(n) < 0.3, 0.0, w)
        w[0] += 0.5
    w = w / w.sum()
    if rng.random() < ABSURD / 2:
        return [-w, 2 * w, w[:-1], w * np.nan, w[:, None]][int(rng.integers(5))]
    if rng.random() < 0.1:
        single = w.astype(np.float32)
        return single / single.sum()
    return w


def exponent(rng: np.random.Generator) -> Any:
    """An exponent from 1 to 1e6; sometimes below, or NaN."""
    if rng.random() < ABSURD / 3:
        return rng.choice([0.5, 0.0, -1.0, np.nan, np.inf])
    return float(rng.choice([1, 1, 1, 2, 2, 3, 1.5, 8, 50, 1e3, 1e5, 1e6]))


def plain(x: Any) -> np.ndarray:
    """Points as the doubles that they stand for."""
    array = np.asarray(x.numpy() if isinstance(x, torch.Tensor) else x, dtype=np.float64)
    return array


def masses(w: Any, n: int) -> np.ndarray:
    """Shares of the masses."""
    return np.ones(n) if w is None else np.asarray(w, dtype=np.float64)
