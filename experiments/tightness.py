r"""How far the printed bounds are from the truth: Proposition 1 and Corollary 1 against their sharp versions and exact values.

*Distance.* For sets of half the mass each without gap: the printed bound in n dimensions, $\rho^*(\epsilon)$, and the distance
that an explicit example attains: the mass of a slab of the normal law moved to its sides. Its accuracy is the cost of this
transport by quadrature, independently of the formula. The sharp bound and the attained distance do not depend on n.

*Constant.* For $X_\sigma$ of Example 1 and accuracy epsilon in latent space: the printed bound and S2, each best over half-lines,
and the least constant of $T^{-1}$ over increasing T on the line (`exact`), a linear program: with $t=T\circ F^{-1}$ and
$g=F^{-1}$ it asks for the largest m with $t(u')-t(u)\ge m(g(u')-g(u))$ and $\int|t-\Phi^{-1}|\le\epsilon$; the constant is 1/m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import linprog, minimize_scalar
from scipy.sparse import bmat, coo_array, csc_array, diags_array, identity
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from experiments.experiment import Experiment, Shown, Unit
from experiments.plots import tightness_figure
from experiments.store import Store
from experiments.sweep import Progress
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import GaussianMixture
from lipbounds.theorems import (
    Masses,
    forced_as_printed,
    forced_in_latent_space,
    printed_distance,
    separation,
    two_modes,
)

__all__ = ["EXPERIMENT", "Tightness", "exact_in_latent_space"]

Array = NDArray[np.float64]

CELLS = 1500
WIDEST = 0.95  # largest offset of the half-lines tried


@dataclass(frozen=True)
class Tightness:
    """Compare the printed bounds with the sharp ones and with exact values, over dimensions and accuracies."""

    out: Path = Path("results/tightness")
    """Folder of the results."""
    sigma: float = 0.2
    """Width of the modes of Example 1."""
    dimensions: tuple[int, ...] = tuple(range(1, 65))
    """Latent dimensions."""
    accuracies: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2)
    """Values of epsilon, below 1/4, where the printed statements end."""

    def configuration(self) -> dict[str, Any]:
        """All that the results depend on, checked."""
        if not self.sigma > 0:
            raise InvalidInput("--sigma", self.sigma, "a number > 0", "sigma is a standard deviation")
        if not self.dimensions or min(self.dimensions) < 1:
            raise InvalidInput("--dimensions", self.dimensions, "integers >= 1", "list the latent dimensions")
        if not self.accuracies or not all(0 < e < 0.25 for e in self.accuracies):
            raise InvalidInput("--accuracies", self.accuracies, "numbers in (0, 1/4)", "the printed statements end at 1/4")
        return {"sigma": self.sigma, "dimensions": list(self.dimensions), "accuracies": list(self.accuracies)}


def units_of(store: Store, settings: Mapping[str, Any], config: Tightness) -> list[Unit]:
    """All accuracies, with a file for each."""
    depends = {name: settings[name] for name in ("sigma", "dimensions")}
    return [Unit({}, depends, store, parts=tuple({"epsilon": epsilon} for epsilon in config.accuracies))]


def work(unit: Unit, progress: Progress) -> None:
    """The rows of every accuracy, one for each dimension."""
    law = two_modes(unit["sigma"])
    for index, part in enumerate(unit.missing):
        epsilon = part["epsilon"]
        sharp = separation(epsilon, Masses.equal(0.0)).upper
        cost, _ = quad(lambda z, half=sharp / 2: 2 * (half - z) * norm.pdf(z), 0.0, sharp / 2, epsabs=0.0, epsrel=1e-10)
        shared = {
            "epsilon attained": cost,
            "distance sharp": sharp,
            "constant sharp": _best_half_lines(law, epsilon, None),
            "constant exact": exact_in_latent_space(law, epsilon),
        }
        rows = [
            {
                "n": n,
                **shared,
                "distance printed": math.exp(printed_distance(n, 0.0, epsilon).upper),
                "constant printed": _best_half_lines(law, epsilon, n),
            }
            for n in unit["dimensions"]
        ]
        unit.put(rows, part)
        progress((index + 1) / len(unit.parts))


def _best_half_lines(law: GaussianMixture, epsilon: float, printed_dim: int | None) -> float:
    """The largest bound over x <= -t and x >= t; printed in n dimensions, or sharp."""
    known = Enclosure(0.0, epsilon, Guarantee.EXACT, "given")

    def bound(t: float) -> float:
        gap = law.slab_mass([1.0], -t, t)
        if printed_dim is None:
            return forced_in_latent_space(2 * t, Masses.equal(gap), known).lower
        return forced_as_printed(printed_dim, 2 * t, gap.upper, known).lower if gap.upper < 0.2499 else 0.0

    grid = np.geomspace(1e-3, WIDEST, 40)
    values = [bound(float(t)) for t in grid]
    best = int(np.argmax(values))
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    found = minimize_scalar(lambda t: -bound(t), bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return max(values[best], -float(found.fun))


def exact_in_latent_space(law: GaussianMixture, epsilon: float, *, cells: int = CELLS) -> float:
    """Return the least constant of T^{-1} over increasing T with W_1(T#law, N(0, 1)) <= epsilon, for a law on the line.

    In cell means, which is a relaxation: the value is at most the exact one, and tends to it with the number of cells.
    """
    z = np.linspace(-4.5, 4.5, cells // 2)
    x = np.linspace(float(law.quantile(ndtr(-4.5))), float(law.quantile(ndtr(4.5))), cells // 2)
    cuts = np.unique(np.concatenate((z, ndtri(np.clip(law.cdf(x), 1e-9, 1 - 1e-9)))))
    cuts = cuts[np.concatenate(([True], np.diff(cuts) > 1e-7))]
    levels = ndtr(cuts)
    weights = np.diff(np.concatenate(([0.0], levels, [1.0])))
    density = np.concatenate(([0.0], np.exp(-0.5 * cuts**2) / math.sqrt(2 * math.pi), [0.0]))
    partial = law.partial_mean(np.concatenate(([-np.inf], law.quantile(levels), [np.inf])))
    kept = weights > 1e-9
    target = ((density[:-1] - density[1:]) / weights)[kept]
    steps = np.diff((np.diff(partial) / weights)[kept])
    weights = weights[kept]
    n = len(weights)
    eye = identity(n, format="csc")
    difference = csc_array(diags_array([-np.ones(n), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n)))
    upper = bmat(
        [
            [eye, -eye, None],
            [-eye, -eye, None],
            [-difference, None, coo_array(steps[:, None])],
            [None, coo_array(weights[None, :]), None],
        ],
        format="csc",
    )
    right = np.concatenate((target, -target, np.zeros(n - 1), [epsilon]))
    bounds = [(None, None)] * n + [(0, None)] * (n + 1)
    result = linprog(np.concatenate((np.zeros(2 * n), [-1.0])), A_ub=upper, b_ub=right, bounds=bounds, method="highs")
    if result.status != 0:
        raise NotConverged(f"exact_in_latent_space: {result.message}")
    return 1.0 / -float(result.fun)


EXPERIMENT = Experiment(
    name="tightness",
    options=Tightness,
    units=units_of,
    work=work,
    order=("n", "epsilon"),
    figures=lambda folder: tightness_figure(folder, Tightness().sigma),
    shown={"tightness": Shown(0.2)},
)
