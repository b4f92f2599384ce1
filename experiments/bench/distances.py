r"""Distances beside their peers: the authors' discrepancy formula, geomloss, POT and scipy.

Every row is one contender on one problem. `ratio` is its time divided by ours on the same problem, `memory_ratio` likewise
with peak memory; ours has 1. What a contender returns is in `value`, or in `lower` and `upper`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import ot
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from experiments.bench.contenders import OURS, Contender, Work, measure_all
from lipbounds.distances import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    InverseQuadratic,
    Laplace,
    RationalQuadratic,
    discrepancy,
    max_sliced_wasserstein,
    sliced_wasserstein,
    wasserstein,
    wasserstein_large,
    wasserstein_line,
)
from lipbounds.distances.kernels import PAPER_SCALES, Kernel
from lipbounds.enclosure import Enclosure

__all__ = ["authors_discrepancy", "problems", "run"]

Array = NDArray[np.float64]


def authors_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """The squared discrepancy as the authors' program forms it: three dense matrices of products, kernels summed, one mean."""
    xx, yy, xy = x @ x.T, y @ y.T, x @ y.T
    rx, ry = xx.diagonal().expand_as(xx), yy.diagonal().expand_as(yy)
    distances = rx.T + rx - 2 * xx, ry.T + ry - 2 * yy, rx.T + ry - 2 * xy
    parts = []
    for distance in distances:
        kernel = torch.zeros_like(distance)
        for r in PAPER_SCALES:
            kernel = kernel + r**2 / (r**2 + distance)
        parts.append(kernel)
    return (parts[0] + parts[1] - 2 * parts[2]).mean()


def _training_pair(m: int, d: int) -> tuple[Tensor, Tensor]:
    """Two float32 samples; the first one is the network's output and requires the gradient."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(m, d, generator=generator).requires_grad_(), torch.randn(m, d, generator=generator)


def _with_gradient(loss: Callable[[Tensor, Tensor], Tensor], m: int, d: int) -> Callable[[], float]:
    x, y = _training_pair(m, d)

    def step() -> float:
        x.grad = None
        value = loss(x, y)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return step


def ours_squared(kernel: Kernel, m: int, d: int) -> Callable[[], float]:
    return _with_gradient(lambda x, y: discrepancy(x, y, kernel, squared=True), m, d)


def ours_half(kernel: Kernel, m: int, d: int) -> Callable[[], float]:
    """Half the square, as geomloss has it."""
    return _with_gradient(lambda x, y: discrepancy(x, y, kernel, squared=True) / 2, m, d)


def authors_quadratic(m: int, d: int) -> Callable[[], float]:
    return _with_gradient(authors_discrepancy, m, d)


def geomloss_half(name: str, m: int, d: int) -> Callable[[], float]:
    from geomloss import SamplesLoss

    return _with_gradient(SamplesLoss(name, blur=1.0, backend="tensorized"), m, d)


def ours_plain(m: int, d: int) -> Callable[[], float]:
    """The value alone, for sizes at which no dense formula fits."""
    x, y = (points.detach() for points in _training_pair(m, d))
    return lambda: float(discrepancy(x, y, InverseQuadratic(), squared=True))


def _gaussians(n: int, d: int, shift: float) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((n, d))
    y[:, 0] += shift
    return x, y


def ours_exact(n: int, d: int) -> Callable[[], Enclosure]:
    x, y = _gaussians(n, d, 2.0)
    return lambda: wasserstein(x, y)


def pot_exact(n: int, d: int) -> Callable[[], float]:
    x, y = _gaussians(n, d, 2.0)
    mass = np.full(n, 1 / n)
    return lambda: float(ot.emd2(mass, mass, ot.dist(x, y, metric="euclidean"), numItermax=100_000_000))


def _lines(n: int, weighted: bool) -> tuple[Array, Array, Array | None, Array | None]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(n), rng.standard_normal(n - 1 if weighted else n) + 1.0
    if not weighted:
        return x, y, None, None
    a, b = rng.uniform(size=len(x)), rng.uniform(size=len(y))
    return x, y, a / a.sum(), b / b.sum()


def ours_line(n: int, weighted: bool) -> Callable[[], Enclosure]:
    x, y, a, b = _lines(n, weighted)
    return lambda: wasserstein_line(x[:, None], y[:, None], x_weights=a, y_weights=b)


def scipy_line(n: int, weighted: bool) -> Callable[[], float]:
    x, y, a, b = _lines(n, weighted)
    return lambda: float(wasserstein_distance(x, y, a, b))


def _modes(n: int, d: int) -> tuple[Array, Array]:
    """Two modes against one blob: nothing that a projection on one line settles."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, d)), 0.3 * rng.standard_normal((n, d))
    y[:, 0] += rng.choice([-1.0, 1.0], n)
    return x, y


SAMPLES = {"shifted Gaussians": lambda n, d: _gaussians(n, d, 2.0), "blob to two modes": _modes}


def ours_large(kind: str, n: int, d: int) -> Callable[[], Enclosure]:
    x, y = SAMPLES[kind](n, d)
    return lambda: wasserstein_large(x, y, seed=0)


def ours_sliced(kind: str, n: int, d: int) -> Callable[[], Enclosure]:
    x, y = SAMPLES[kind](n, d)
    return lambda: sliced_wasserstein(x, y, directions=100, seed=0)


def ours_max_sliced(kind: str, n: int, d: int) -> Callable[[], float]:
    x, y = SAMPLES[kind](n, d)
    return lambda: max_sliced_wasserstein(x, y, seed=0).lower


def subsampled(kind: str, n: int, d: int, part: int) -> Callable[[], float]:
    """Bare POT on a part of the points: a value without any bound, biased upwards."""
    x, y = (points[:part] for points in SAMPLES[kind](n, d))
    mass = np.full(part, 1 / part)
    return lambda: float(ot.emd2(mass, mass, ot.dist(x, y, metric="euclidean"), numItermax=100_000_000))


def pot_sinkhorn(kind: str, n: int, d: int, part: int) -> Callable[[], float]:
    """POT's Sinkhorn on a part of the points: its plan's cost, an upper bound of that part's distance up to tolerance."""
    x, y = (points[:part] for points in SAMPLES[kind](n, d))
    mass = np.full(part, 1 / part)

    def work() -> float:
        cost = ot.dist(x, y, metric="euclidean")
        return float((ot.sinkhorn(mass, mass, cost, 0.05 * cost.mean(), numItermax=200, warn=False) * cost).sum())

    return work


def geomloss_sinkhorn(kind: str, n: int, d: int, part: int) -> Callable[[], float]:
    """geomloss' debiased Sinkhorn divergence on a part of the points; no bound of W_1."""
    from geomloss import SamplesLoss

    x, y = (torch.as_tensor(points[:part]) for points in SAMPLES[kind](n, d))
    loss = SamplesLoss("sinkhorn", p=1, blur=0.05, backend="tensorized")
    return lambda: float(loss(x, y))


def problems(quick: bool) -> Iterator[Contender]:
    """All contenders; ours is the first of each problem."""
    for m in (400,) if quick else (1600, 3200):
        losses: dict[str, dict[str, Work]] = {
            "inverse quadratic": {OURS: partial(ours_squared, InverseQuadratic()), "authors' formula": authors_quadratic},
            "inverse multiquadric": {OURS: partial(ours_squared, InverseMultiquadric())},
            "energy": {OURS: partial(ours_half, Energy()), "geomloss": partial(geomloss_half, "energy")},
            "Gaussian": {OURS: partial(ours_half, Gaussian()), "geomloss": partial(geomloss_half, "gaussian")},
            "Laplace": {OURS: partial(ours_half, Laplace()), "geomloss": partial(geomloss_half, "laplacian")},
            "rational quadratic, three exponents": {OURS: partial(ours_squared, RationalQuadratic())},
        }
        for kernel, contenders in losses.items():
            for name, work in contenders.items():
                yield Contender(f"discrepancy and gradient, {kernel}", m, 6, name, work, (m, 6), (64, 6), 15)
    m = 4000 if quick else 100_000
    yield Contender("discrepancy, inverse quadratic", m, 6, OURS, ours_plain, (m, 6), (64, 6), 0)
    exact: dict[str, Work] = {OURS: ours_exact, "POT": pot_exact}
    lines: dict[str, Work] = {OURS: ours_line, "scipy": scipy_line}
    for n in (500,) if quick else (2000, 5000):
        for name, work in exact.items():
            yield Contender("exact W_1", n, 4, name, work, (n, 4), (50, 4), 5)
    n = 20_000 if quick else 1_000_000
    for weighted, title in ((False, "W_1 on the line"), (True, "W_1 on the line, weights and unequal sizes")):
        for name, work in lines.items():
            yield Contender(title, n, 1, name, work, (n, weighted), (50, weighted), 5)
    n, part = (6000, 1000) if quick else (100_000, 5000)
    for kind in SAMPLES:
        for d in (2,) if quick else (2, 4, 8, 16):
            title = f"large W_1, {kind}"
            bounds: dict[str, Work] = {OURS: ours_large, "sliced, 100 directions": ours_sliced, "max-sliced": ours_max_sliced}
            for name, work in bounds.items():
                yield Contender(title, n, d, name, work, (kind, n, d), (kind, 50, d), 0)
            parts: dict[str, Work] = {
                f"POT on {part} points": subsampled,
                f"POT's Sinkhorn on {part} points": pot_sinkhorn,
                f"geomloss' Sinkhorn on {part} points": geomloss_sinkhorn,
            }
            for name, work in parts.items():
                yield Contender(title, n, d, name, work, (kind, n, d, part), (kind, n, d, 50), 0)


def run(out: Path, *, quick: bool, threads: int) -> pd.DataFrame:
    """Measure all contenders one after the other and write results.parquet; returns it."""
    contenders = list(problems(quick))
    if importlib.util.find_spec("geomloss") is None:
        contenders = [contender for contender in contenders if "geomloss" not in contender.name]
    return measure_all(out, "distances", contenders, quick=quick, threads=threads)
