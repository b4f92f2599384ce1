r"""Remark 2: on compact sets $W_1$ and $\mathcal{D}_K$ agree on convergence; where mass escapes they part.

Four sequences that converge weakly to the point mass at 0 (or to the uniform law on a grid), two of them inside a compact set:

| sequence | law of index n | W_1 to the limit |
|---|---|---|
| shrinking | half at -1/n, half at 1/n | 1/n |
| leaking | 1 - 1/n at 0, 1/n at 1 | 1/n |
| refining | uniform on n midpoints of [0, 1] against the finest grid | 1/(4n), nearly |
| escaping | 1 - 1/n at 0, 1/n at n | 1 |
| fleeing | 1 - 1/n at 0, 1/n at n^2 | n |

Theory drawn beside: $\mathcal{D}_K\le c\,W_1$ with $c^2=2|k'(0)|$, because the feature map moves by
$\sqrt{2(k(0)-k(|x-y|^2))}\le c\,|x-y|$ (finite for the smooth kernels). There is no bound the other way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from experiments.store import Store, key_of
from lipbounds.distances import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    InverseQuadratic,
    Kernel,
    Laplace,
    discrepancy,
    wasserstein_line,
)
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete

__all__ = ["KERNELS", "SEQUENCES", "Remark2", "feature_lipschitz", "run"]

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

    def indices(self) -> list[int]:
        """The indices n."""
        if not 2 <= self.largest <= FINEST // 2:
            raise InvalidInput("--largest", self.largest, f"an integer in [2, {FINEST // 2}]", "1024 is the default")
        return [2**k for k in range(1, int(math.log2(self.largest)) + 1)]


def feature_lipschitz(kernel: Kernel) -> float:
    r"""Return c with $\mathcal{D}_K\le c\,W_1$: the root of $2|k'(0)|$; infinite for kernels with a kink at 0."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kernel(t), t)
    near = torch.tensor(1e-12, dtype=torch.float64)
    steep = float((kernel(t.detach()) - kernel(near)) / near)  # of size 1e6 where the kernel has a kink
    return math.sqrt(-2 * float(slope)) if steep < 1e5 else math.inf


def run(config: Remark2) -> pd.DataFrame:
    """Compute all rows and write results.parquet; returns it."""
    indices = config.indices()
    store = Store(config.out, "remark-2", {"indices": indices, "kernels": {name: str(k) for name, k in KERNELS.items()}})
    begin = time.perf_counter()
    for sequence, (law, limit, compact) in SEQUENCES.items():
        for n in indices:
            mu = law(n)
            row = {"sequence": sequence, "n": n, "compact": compact, "w1": wasserstein_line(mu, limit).upper}
            for name, kernel in KERNELS.items():
                row[f"discrepancy {name}"] = discrepancy(
                    mu.points, limit.points, kernel, squared=False, x_weights=mu.weights, y_weights=limit.weights
                )
            store.put(key_of({"sequence": sequence, "n": n}), row)
    results = store.merge(["compact", "sequence", "n"])
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results
