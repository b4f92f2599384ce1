r"""Remark 2: on compact sets $W_1$ and $\mathcal{D}_K$ agree on convergence; where mass escapes they part.

Five sequences that converge weakly to the point mass at 0 (or to the uniform law on a grid), two of them inside a compact set:

| sequence | law of index n | W_1 to the limit |
|---|---|---|
| shrinking | half at -1/n, half at 1/n | 1/n |
| leaking | 1 - 1/n at 0, 1/n at 1 | 1/n |
| refining | uniform on n midpoints of [0, 1] against the finest grid | 1/(4n), nearly |
| escaping | 1 - 1/n at 0, 1/n at n | 1 |
| fleeing | 1 - 1/n at 0, 1/n at n^2 | n |

Beside them the flat metric, $W_1$ for the cost $\min(|x-y|,1)$, which metrizes weak convergence, $W_2$, and the differences of
the first two moments: $W_p\to0$ exactly if the flat metric and the difference of the p-th moments do (behind (6)). Escaping
converges weakly and not in $W_1$, because its first moment stays 1 away; leaking converges in $W_2$ like $n^{-1/2}$.

Theory drawn beside: $\mathcal{D}_K\le c\,W_1$ with $c^2=2|k'(0)|$, because the feature map moves by
$\sqrt{2(k(0)-k(|x-y|^2))}\le c\,|x-y|$ (finite for the smooth kernels). There is no bound the other way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.experiment import Experiment, Shown, Unit
from experiments.plots import remark_2_figure
from experiments.store import Store
from experiments.sweep import Progress
from lipbounds.distances import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    InverseQuadratic,
    Kernel,
    Laplace,
    discrepancy,
    optimal_transport,
    wasserstein_line,
)
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.theorems.remark_2 import feature_lipschitz

__all__ = ["EXPERIMENT", "KERNELS", "SEQUENCES", "Remark2", "flat_distance"]

KERNELS: dict[str, Kernel] = {
    "inverse multiquadric": InverseMultiquadric(),
    "inverse quadratic": InverseQuadratic(),
    "Gaussian": Gaussian(),
    "Laplace": Laplace(),
    "energy": Energy(),
}
FINEST = 4096  # a power of two, as the indices are: coarse midpoints then lie evenly among the fine ones


def _point(*atoms: tuple[float, float]) -> Discrete:
    """Atoms and masses."""
    return Discrete([[t] for t, _ in atoms], [mass for _, mass in atoms])


def _grid(n: int) -> Discrete:
    return Discrete((np.arange(n)[:, None] + 0.5) / n)


ZERO = _point((0.0, 1.0))
SEQUENCES: dict[str, tuple[Callable[[int], Discrete], Discrete, bool]] = {
    "shrinking": (lambda n: _point((-1 / n, 0.5), (1 / n, 0.5)), ZERO, True),
    "leaking": (lambda n: _point((0.0, 1 - 1 / n), (1.0, 1 / n)), ZERO, True),
    "refining": (_grid, _grid(FINEST), True),
    "escaping": (lambda n: _point((0.0, 1 - 1 / n), (float(n), 1 / n)), ZERO, False),
    "fleeing": (lambda n: _point((0.0, 1 - 1 / n), (float(n) ** 2, 1 / n)), ZERO, False),
}


@dataclass(frozen=True)
class Remark2:
    """W_1 and D_K along sequences of laws: they agree on convergence on compact sets and part where mass escapes."""

    out: Path = Path("results/remark-2")
    """Folder of the results."""
    largest: int = 1024
    """The largest index; indices are the powers of two up to it."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked."""
        if not 2 <= self.largest <= FINEST // 2:
            raise InvalidInput("--largest", self.largest, f"an integer in [2, {FINEST // 2}]", "1024 is the default")
        indices = [2**k for k in range(1, int(math.log2(self.largest)) + 1)]
        return {"indices": indices, "kernels": {name: str(kernel) for name, kernel in KERNELS.items()}}


def flat_distance(mu: Discrete, nu: Discrete) -> float:
    """Return the least mean of min(|x - y|, 1) over couplings, a metric of weak convergence."""

    def cost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.minimum(np.abs(x - y.T), 1.0))

    if min(len(mu.weights), len(nu.weights)) == 1:
        return float(mu.weights @ cost(mu.points, nu.points) @ nu.weights)  # one coupling only
    if float(np.ptp(np.concatenate((mu.points, nu.points)))) <= 1.0:
        return wasserstein_line(mu, nu).upper  # no distance is cut
    return optimal_transport(mu, nu, cost).upper


def _moment(mu: Discrete, p: int) -> float:
    return float(mu.weights @ np.abs(mu.points[:, 0]) ** p)


def units_of(store: Store, settings: Mapping[str, Any], _: Remark2) -> list[Unit]:
    """All laws of all sequences, with a file for each."""
    parts = tuple({"sequence": sequence, "n": n} for sequence in SEQUENCES for n in settings["indices"])
    return [Unit({}, {}, store, parts)]


def work(unit: Unit, progress: Progress) -> None:
    """The distances of every law to its limit."""
    missing = unit.missing
    for index, part in enumerate(missing):
        law, limit, compact = SEQUENCES[part["sequence"]]
        mu = law(part["n"])
        row = {
            "compact": compact,
            "w1": wasserstein_line(mu, limit).upper,
            "w2": wasserstein_line(mu, limit, 2.0).upper,
            "flat": flat_distance(mu, limit),
            "first moment": abs(_moment(mu, 1) - _moment(limit, 1)),
            "second moment": abs(_moment(mu, 2) - _moment(limit, 2)),
        }
        for name, kernel in KERNELS.items():
            row[f"discrepancy {name}"] = discrepancy(
                mu.points, limit.points, kernel, squared=False, x_weights=mu.weights, y_weights=limit.weights
            )
        unit.put([row], part)
        progress((index + 1) / len(missing))


EXPERIMENT = Experiment(
    name="remark-2",
    options=Remark2,
    units=units_of,
    work=work,
    order=("compact", "sequence", "n"),
    figures=lambda folder: remark_2_figure(folder, {name: feature_lipschitz(kernel) for name, kernel in KERNELS.items()}),
    shown={"remark-2": Shown(0.1)},
)
