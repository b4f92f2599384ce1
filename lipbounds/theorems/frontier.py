r"""The exact frontier in one dimension: the least Lipschitz constant at accuracy epsilon, by a linear program.

For a law mu on the line with quantile function $F^{-1}$ and $g=F^{-1}\circ\Phi$, the least W_1 error of an L-Lipschitz map of a
standard normal variable is
$$e^*(L)=\min\Big\{\int|f-g|\,\varphi:f\text{ nondecreasing},\ f'\le L\Big\},$$
and L*(e) is the least L with e*(L) <= e. It bounds generators of every dimension:

Monotone maps suffice. Let u = s o f be the 1-Lipschitz statistic s of an L-Lipschitz generator, Z ~ N(0, I_n), G the
distribution function of u(Z). By the Gaussian isoperimetric inequality $\Phi^{-1}(G(t'))-\Phi^{-1}(G(t))\ge(t'-t)/L$, so
$\tilde f=G^{-1}\circ\Phi$ is nondecreasing and L-Lipschitz, and $\tilde f(Z_1)$ has the law of u(Z). The monotone coupling is
optimal on the line: $W_1=\int|\tilde f-g|\,\varphi$.

The grid errs on the safe side. Cut the line into cells with masses w_i, latent means $\bar z_i=E[Z|i]$ and data means
$\bar g_i=E[g(Z)|i]$. For any admissible f with cell means $\bar f_i$, Jensen gives
$\int|f-g|\varphi\ge\sum w_i|\bar f_i-\bar g_i|$, and $0\le\bar f_{i+1}-\bar f_i\le L(\bar z_{i+1}-\bar z_i)$ because every point
of cell i + 1 lies right of every point of cell i. So the program in the cell means has a value at most e*(L), and the L that
it returns is at most L*(e), for every grid. With atoms a cell's part of g(Z) is exact too, so laws of data need no more.

The solver is not trusted. For any weights $|\psi_i|\le1$ with $\sum w_i\psi_i=0$ and $\Psi_i=\sum_{j\le i}w_j\psi_j$,
$$e\ge\sum w_i\psi_i(\bar f_i-\bar g_i)=-\sum\Psi_i(\bar f_{i+1}-\bar f_i)-\sum w_i\psi_i\bar g_i
\quad\Longrightarrow\quad L\ge\frac{-\sum w_i\psi_i\bar g_i-e}{\sum(\Psi_i)_+(\bar z_{i+1}-\bar z_i)}.$$
The multipliers of the program are made to satisfy both conditions and the right side is evaluated in ball arithmetic.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from flint import arb
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import bmat, coo_array, csc_array, diags_array, identity
from scipy.special import ndtr, ndtri

from lipbounds.arb import ends, normal_cdf, normal_density, normal_quantile, working_precision
from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, derived
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["FrontierBound", "StatisticLaw", "forced_by_frontier"]

Array = NDArray[np.float64]

FEWEST_CELLS = 30
THINNEST_CELL = 1e-6  # in z: a step below the solver's threshold for coefficients would be dropped
FARTHEST = 5.0  # the outermost cuts, in z
BITS = 192
JUMPS = 8  # of data, near which cells crowd
MOST_SCALED = 1e6  # of the row of cell masses: the solver drops coefficients below 1e-9, and parts of little mass with them
ACCEPTED_LOSS = 1e-3  # between the solver's value and the certified one, relative


def forced_by_frontier(
    law: GaussianMixture | Discrete, epsilon: float | Enclosure, *, clip: float | None = None, cells: int = 1000
) -> Enclosure:
    r"""Bound Lip(f) from below: L*(epsilon) for the law of a 1-Lipschitz statistic of the data.

    Args:
        law: Law of the statistic s(X) on the line, a mixture or finitely many atoms (data).
        epsilon: $W_1(s_\#f_\#\gamma,s_\#\mu)$, a number or an enclosure; only its upper end is used.
        clip: If the statistic is clipped to [-clip, clip], as confidence bounds for epsilon need.
        cells: Number of cells; the bound tends to L* as it grows, though not monotonically, because the cuts move.

    Returns:
        [L, inf) with the guarantee of epsilon, CERTIFIED at the best. The bound is evaluated in ball arithmetic from the
        multipliers of the linear program.

    Raises:
        InvalidInput: For a law that is not on the line, epsilon = 0, few cells or a bad clip.
        NotConverged: If the solver fails or its value is not confirmed to 1e-3.

    Source:
        The frontier is the authors' Example 1 made quantitative; proof above.

    Example:
        >>> x = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> round(forced_by_frontier(x, 0.02).lower, 1)
        2.0
    """
    if law.dim != 1:
        raise InvalidInput("law", f"dimension {law.dim}", "dimension 1", "pass the law of a 1-Lipschitz statistic")
    epsilon = as_accuracy(epsilon)
    if epsilon.upper <= 0.0:
        raise InvalidInput("epsilon", epsilon.upper, "an upper end > 0", "at 0 use sup phi(z) / density of the data")
    if cells < FEWEST_CELLS:
        raise InvalidInput("cells", cells, f"an integer >= {FEWEST_CELLS}", "1000 is usual")
    if clip is not None and not 0.0 < clip < math.inf:
        raise InvalidInput("clip", clip, "a finite number > 0", "clip at the width of the statistic")
    value = 0.0
    if epsilon.upper < math.inf:
        low, high = (-math.inf, math.inf) if clip is None else (-clip, clip)
        with working_precision(BITS):
            grid = (
                _mixture_cells(law, low, high, cells) if isinstance(law, GaussianMixture) else _atom_cells(law, low, high, cells)
            )
            value = _certified(grid, epsilon.upper) if len(grid.levels) else 0.0
    return derived(value, math.inf, "S4, frontier, checked multipliers", epsilon)


@dataclass(frozen=True)
class _Cells:
    """Cells of the latent line and of the statistic: k levels between k + 1 cells, and the integrals of g over the cells."""

    levels: list[arb]
    integrals: list[arb]

    @property
    def masses(self) -> list[arb]:
        padded = [arb(0), *self.levels, arb(1)]
        return [b - a for a, b in itertools.pairwise(padded)]

    @property
    def latent_means(self) -> list[arb]:
        density = [arb(0), *(normal_density(normal_quantile(p)) for p in self.levels), arb(0)]
        return [(a - b) / w for a, b, w in zip(density, density[1:], self.masses, strict=False)]


def _thinned(cuts: Array) -> Array:
    """Cuts in z, sorted, without those too near to the one before or too far out."""
    cuts = np.sort(cuts[np.abs(cuts) < FARTHEST])
    kept: list[float] = []
    for cut in cuts:
        if not kept or cut - kept[-1] > THINNEST_CELL:
            kept.append(float(cut))
    return np.array(kept)


def _mixture_cells(law: GaussianMixture, low: float, high: float, cells: int) -> _Cells:
    """Cells whose ends are doubles in data space; masses and integrals are closed forms there."""
    # fine where the data are torn: a third of the cuts equally spaced in z, a third equally spaced in the data, and a third
    # crowding towards the levels at which the law passes from one component to the next
    third = cells // 3
    z = np.linspace(-4.5, 4.5, third)
    x = np.linspace(float(law.quantile(ndtr(-4.5))), float(law.quantile(ndtr(4.5))), third)
    centres = np.unique(law.means[law.weights > 0, 0])
    torn = ndtri(np.clip(law.cdf(0.5 * (centres[1:] + centres[:-1])), 1e-12, 1 - 1e-12))
    near = np.geomspace(1e-5, 1.0, max(2, third // (2 * max(1, len(torn)))))
    crowded = (torn[:, None] + np.concatenate((-near, near))).ravel()
    cuts = _thinned(np.concatenate((z, crowded, ndtri(np.clip(law.cdf(x), 1e-12, 1 - 1e-12)))))
    edges = np.unique(np.asarray(law.quantile(ndtr(cuts))))
    parts = [
        (arb(float(w)), arb(float(m)), arb(float(v)).sqrt())
        for w, m, v in zip(law.weights, law.means[:, 0], law.covariances[:, 0, 0], strict=True)
        if w > 0
    ]
    total = sum((w for w, _, _ in parts), arb(0))

    def level(t: float) -> arb:
        return sum((w * normal_cdf((arb(t) - m) / s) for w, m, s in parts), arb(0)) / total

    def mean(t: float) -> arb:
        terms = (w * (m * normal_cdf((arb(t) - m) / s) - s * normal_density((arb(t) - m) / s)) for w, m, s in parts)
        return sum(terms, arb(0)) / total

    def integral(t: float) -> arb:
        """Of the clipped statistic up to the edge t."""
        inner = min(max(t, low), high)
        value = mean(inner) - (mean(low) if low > -math.inf else 0)
        if low > -math.inf:
            value += arb(low) * level(min(t, low))
        if t > high:
            value += arb(high) * (level(t) - level(high))
        return value

    everything = sum((w * m for w, m, _ in parts), arb(0)) / total
    if high < math.inf:
        below = mean(high) - mean(low) + arb(low) * level(low)
        everything = below + arb(high) * (1 - level(high))
    levels = [level(float(t)) for t in edges]
    sums = [arb(0), *(integral(float(t)) for t in edges), everything]
    return _separate(levels, sums)


def _separate(levels: list[arb], sums: list[arb]) -> _Cells:
    """Cells from running sums, without those whose masses the balls cannot tell from 0."""
    kept_levels, kept_sums = [], [sums[0]]
    last = arb(0)
    for level, value in zip(levels, sums[1:-1], strict=True):
        if level - last > 1e-30 and 1 - level > 1e-30:
            kept_levels.append(level)
            kept_sums.append(value)
            last = level
    kept_sums.append(sums[-1])
    return _Cells(kept_levels, [b - a for a, b in itertools.pairwise(kept_sums)])


def _atom_cells(law: Discrete, low: float, high: float, cells: int) -> _Cells:
    """Cells cut between atoms at the widest jumps and evenly in the data; and inside atoms evenly in z and near the jumps."""
    present = law.weights > 0
    order = np.argsort(law.points[present, 0], kind="stable")
    values, masses = np.clip(law.points[present, 0][order], low, high), law.weights[present][order]
    mass, weighted = [arb(0)], [arb(0)]
    for value, one in zip(values.tolist(), masses.tolist(), strict=True):
        mass.append(mass[-1] + arb(one))
        weighted.append(weighted[-1] + arb(one) * arb(value))
    total = mass[-1]  # 1 up to rounding
    running = np.cumsum(masses)
    third = cells // 3
    jumps = np.argsort(np.diff(values), kind="stable")[-third:]
    spread = np.searchsorted(values, np.linspace(values[0], values[-1], third)) - 1
    between = np.unique(np.clip(np.concatenate((jumps, spread)), 0, max(0, len(values) - 2)))[: len(values) - 1]
    torn = ndtri(np.clip(running[jumps[-JUMPS:]], 1e-12, 1 - 1e-12))
    near = np.geomspace(1e-5, 1.0, max(2, third // (2 * max(1, len(torn)))))
    crowded = (torn[:, None] + np.concatenate((-near, near))).ravel()
    inside = ndtr(_thinned(np.concatenate((np.linspace(-4.5, 4.5, third), crowded))))

    cut = [(float(running[index]), mass[index + 1], weighted[index + 1]) for index in between.tolist()]
    for level in inside.tolist():
        index = int(np.searchsorted(running, level))
        part = arb(level) * total - mass[index]
        # rounding may put the level into the wrong atom: then it is left out
        if index < len(values) and part > 0 and mass[index + 1] - mass[index] > part:
            cut.append((level, mass[index] + part, weighted[index] + part * arb(float(values[index]))))
    cut.sort(key=lambda one: one[0])
    levels = [one[1] / total for one in cut]
    return _separate(levels, [arb(0), *(one[2] / total for one in cut), weighted[-1] / total])


def _certified(grid: _Cells, epsilon: float) -> float:
    """Solve the program in floats, and evaluate the bound that its multipliers prove."""
    masses, means = grid.masses, grid.latent_means
    w = np.array([float(mass) for mass in masses])
    steps = np.diff([float(mean) for mean in means])
    g = np.array([float(value / mass) for value, mass in zip(grid.integrals, masses, strict=True)])
    # centred and scaled: the solver's tolerances are absolute
    centred = g - w @ g
    largest = float(np.abs(centred).max())
    if largest == 0.0:
        return 0.0
    scale = largest * math.sqrt(float(w @ (centred / largest) ** 2))
    value, multipliers = _solve(w, steps, centred / scale, epsilon / scale)
    psi = [arb(float(one)) for one in np.clip(multipliers, -1.0, 1.0)]
    rest = sum((mass * one for mass, one in zip(masses, psi, strict=True)), arb(0))
    psi = [(one - rest) / (1 + abs(rest)) for one in psi]
    gain = -sum((one * integral for one, integral in zip(psi, grid.integrals, strict=True)), arb(0)) - arb(epsilon)
    running, price = arb(0), arb(0)
    for mass, one, (left, right) in zip(masses[:-1], psi[:-1], itertools.pairwise(means), strict=True):
        running += mass * one
        price += running.nonnegative_part() * (right - left)
    bound = ends(gain / price)[0] if price > 0 and gain > 0 else 0.0
    if not bound >= scale * value * (1 - ACCEPTED_LOSS) - 1e-9:
        raise NotConverged(f"forced_by_frontier: solver {scale * value}, certified {bound}; use fewer cells")
    return max(0.0, bound)


def _solve(weights: Array, steps: Array, target: Array, epsilon: float) -> tuple[float, Array]:
    """Minimise L over f, t, L with |f - target| <= t, weights . t <= epsilon, 0 <= f_{i+1} - f_i <= L steps_i.

    Returns the value and the psi that its multipliers are.
    """
    n = len(weights)
    row_scale = min(MOST_SCALED, 1.0 / float(weights.min()))
    eye = identity(n, format="csc")
    difference = csc_array(diags_array([-np.ones(n), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n)))
    zero = coo_array((n - 1, n))
    upper = bmat(
        [
            [eye, -eye, None],
            [-eye, -eye, None],
            [difference, zero, coo_array(-steps[:, None])],
            [-difference, zero, None],
            [None, coo_array(row_scale * weights[None, :]), coo_array((1, 1))],
        ],
        format="csc",
    )
    right = np.concatenate((target, -target, np.zeros(2 * (n - 1)), [row_scale * epsilon]))
    objective = np.concatenate((np.zeros(2 * n), [1.0]))
    bounds = [(None, None)] * n + [(0, None)] * (n + 1)
    result = linprog(objective, A_ub=upper, b_ub=right, bounds=bounds, method="highs")
    if result.status != 0:
        raise NotConverged(f"forced_by_frontier: linear program with {n} cells: {result.message}")
    above, below, accuracy = result.ineqlin.marginals[:n], result.ineqlin.marginals[n : 2 * n], result.ineqlin.marginals[-1]
    if accuracy == 0.0:
        return 0.0, np.zeros(n)
    return float(result.fun), np.asarray((below - above) / (weights * abs(accuracy) * row_scale))


@dataclass(frozen=True, eq=False)
class StatisticLaw:
    """An instance of the frontier: the law of a 1-Lipschitz statistic of the data, and a generator.

    Attributes:
        law: Law of s(X) on the line.
        epsilon: Enclosure of W_1(s#f#gamma, s#mu), upper end > 0.
        lipschitz: Enclosure of Lip(f).
        clip: Of the statistic, if it is clipped.
        cells: Of the grid.
    """

    law: GaussianMixture | Discrete
    epsilon: Enclosure
    lipschitz: Enclosure
    clip: float | None = None
    cells: int = 300


class FrontierBound(Statement[StatisticLaw]):
    """The frontier of S4: the least constant at an accuracy, attained in one dimension."""

    number = "S4, frontier"
    version = "sharp"
    text = "L*(epsilon) <= Lip(f)"

    def hypotheses(self, instance: StatisticLaw) -> list[Hypothesis]:
        """Return that the accuracy is finite and not 0."""
        return [Hypothesis(f"0 < epsilon = {instance.epsilon.upper:.4g} < inf", 0 < instance.epsilon.upper < math.inf)]

    def left(self, instance: StatisticLaw) -> Enclosure:
        """Return the bound, certified below; its own value is what a finer grid could still raise."""
        bound = forced_by_frontier(instance.law, instance.epsilon, clip=instance.clip, cells=instance.cells)
        return derived(bound.lower, bound.lower, bound.method, bound)

    def right(self, instance: StatisticLaw) -> Enclosure:
        """Return what is known of Lip(f)."""
        return instance.lipschitz

    def extremal(self) -> StatisticLaw:
        """Return a Gaussian law of deviation 2: scaling down by e / E|Z| is optimal, so both sides agree to the grid's 1e-3."""
        deviation, epsilon = 2.0, 0.1
        exact = Guarantee.EXACT
        least = deviation - epsilon * math.sqrt(math.pi / 2)
        law = GaussianMixture([[0.0]], [[[deviation**2]]])
        return StatisticLaw(
            law, Enclosure(epsilon, epsilon, exact, "given"), Enclosure(least, least, exact, "scaled"), cells=1000
        )
