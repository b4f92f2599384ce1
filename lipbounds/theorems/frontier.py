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
$\bar g_i=E[g(Z)|i]$, all in closed form. For any admissible f with cell means $\bar f_i$, Jensen gives
$\int|f-g|\varphi\ge\sum w_i|\bar f_i-\bar g_i|$, and $0\le\bar f_{i+1}-\bar f_i\le L(\bar z_{i+1}-\bar z_i)$ because every point
of cell i + 1 lies right of every point of cell i. So the program in the cell means has a value at most e*(L), and the L that
it returns is at most L*(e), for every grid.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import bmat, coo_array, csc_array, diags_array, identity
from scipy.special import ndtr, ndtri

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import GaussianMixture

__all__ = ["forced_by_frontier"]

Array = NDArray[np.float64]

FEWEST_CELLS = 30
THINNEST_CELL = 1e-6  # in z
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def forced_by_frontier(law: GaussianMixture, epsilon: Enclosure, *, clip: float | None = None, cells: int = 1000) -> Enclosure:
    r"""Bound Lip(f) from below: L*(epsilon) for the law of a 1-Lipschitz statistic of the data.

    Args:
        law: Law of the statistic s(X) on the line.
        epsilon: Enclosure of $W_1(s_\#f_\#\gamma,s_\#\mu)$; only its upper end is used.
        clip: If the statistic is clipped to [-clip, clip], as confidence bounds for epsilon need.
        cells: Number of cells; the bound grows with it towards L*.

    Returns:
        [L, inf) with the guarantee of epsilon, EXACT at the best. The value of the linear program is confirmed by its dual
        to 1e-6 relative, and the dual value is returned.

    Raises:
        NotConverged: If the solver fails or its dual does not confirm the value.

    Source:
        The frontier is the authors' Example 1 made quantitative; proof above.

    Example:
        >>> x = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> round(forced_by_frontier(x, Enclosure(0.0, 0.02, Guarantee.EXACT, "given")).lower, 1)
        2.0
    """
    if epsilon.upper <= 0.0:
        raise InvalidInput("epsilon", epsilon.upper, "an upper end > 0", "at 0 use sup phi(z) / density of the data")
    if cells < FEWEST_CELLS:
        raise InvalidInput("cells", cells, f"an integer >= {FEWEST_CELLS}", "1000 is usual")
    if clip is not None and not 0.0 < clip < math.inf:
        raise InvalidInput("clip", clip, "a finite number > 0", "clip at the width of the statistic")
    # centred and scaled: cell means of a law far from 0 would lose their digits, and the solver's tolerances are absolute
    mean = float(law.weights @ law.means[:, 0])
    scale = math.sqrt(float(law.weights @ ((law.means[:, 0] - mean) ** 2 + law.covariances[:, 0, 0])))
    standard = GaussianMixture((law.means - mean) / scale, law.covariances / scale**2, law.weights)
    low, high = (-math.inf, math.inf) if clip is None else ((-clip - mean) / scale, (clip - mean) / scale)
    value = 0.0
    if epsilon.upper < math.inf:
        weights, z_mean, g_mean = _cells(standard, low, high, cells)
        value = scale * _least_constant(weights, np.diff(z_mean), g_mean, epsilon.upper / scale)
    return Enclosure(value, math.inf, min(epsilon.guarantee, Guarantee.EXACT), "S4, exact frontier", epsilon.alpha)


def _cells(law: GaussianMixture, low: float, high: float, cells: int) -> tuple[Array, Array, Array]:
    """Masses of the cells, and the means of Z and of the statistic, clipped to [low, high], in them."""
    # fine where the data are torn: a third of the edges equally spaced in z, a third equally spaced in the data, and a third
    # crowding towards the levels at which the law passes from one component to the next
    third = cells // 3
    z = np.linspace(-4.5, 4.5, third)
    x = np.linspace(float(law.quantile(ndtr(-4.5))), float(law.quantile(ndtr(4.5))), third)
    centres = np.unique(law.means[:, 0])
    torn = ndtri(np.clip(law.cdf(0.5 * (centres[1:] + centres[:-1])), 1e-12, 1 - 1e-12))
    near = np.geomspace(1e-5, 1.0, max(2, third // (2 * max(1, len(torn)))))
    crowded = (torn[:, None] + np.concatenate((-near, near))).ravel()
    cuts = np.sort(np.concatenate((z, crowded, ndtri(np.clip(law.cdf(x), 1e-12, 1 - 1e-12)))))
    cuts = cuts[np.abs(cuts) < 5.0]
    # a step below the solver's threshold for coefficients would be dropped, which forbids f to rise there
    kept = [cuts[0]]
    for cut in cuts[1:]:
        if cut - kept[-1] > THINNEST_CELL:
            kept.append(cut)
    inner = np.array(kept)
    levels = ndtr(inner)
    weights = np.diff(np.concatenate(([0.0], levels, [1.0])))
    weights[-1] = ndtr(-inner[-1])

    # means of Z by quadrature inside, closed form in the tails: differences of the density cancel in thin cells
    half, middle = 0.5 * np.diff(inner), 0.5 * (inner[1:] + inner[:-1])
    t = half[:, None] * _NODES
    relative = np.exp(-0.5 * ((middle[:, None] + t) ** 2 - middle[:, None] ** 2)) * _WEIGHTS
    inside = middle + (t * relative).sum(1) / relative.sum(1)
    edge = np.exp(-0.5 * inner[[0, -1]] ** 2) / math.sqrt(2 * math.pi)
    z_mean = np.concatenate(([-edge[0] / weights[0]], inside, [edge[1] / weights[-1]]))

    quantiles = np.concatenate(([-np.inf], law.quantile(levels), [np.inf]))
    mass = np.concatenate(([0.0], levels, [1.0]))
    clipped = np.clip(quantiles, low, high)
    partial = law.partial_mean(clipped)
    # beyond the clip the statistic is constant
    if low > -math.inf:
        partial = partial + np.where(quantiles < low, low * (mass - law.cdf(low)), 0.0)
    if high < math.inf:
        partial = partial + np.where(quantiles > high, high * (mass - law.cdf(high)), 0.0)
    return weights, z_mean, np.diff(partial) / weights


def _least_constant(weights: Array, steps: Array, target: Array, epsilon: float) -> float:
    """Minimise L over f, t, L with |f - target| <= t, weights . t <= epsilon, 0 <= f_{i+1} - f_i <= L steps_i."""
    n = len(weights)
    eye = identity(n, format="csc")
    difference = csc_array(diags_array([-np.ones(n), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n)))
    zero = coo_array((n - 1, n))
    upper = bmat(
        [
            [eye, -eye, None],
            [-eye, -eye, None],
            [difference, zero, coo_array(-steps[:, None])],
            [-difference, zero, None],
            [None, coo_array(weights[None, :]), coo_array((1, 1))],
        ],
        format="csc",
    )
    right = np.concatenate((target, -target, np.zeros(2 * (n - 1)), [epsilon]))
    objective = np.concatenate((np.zeros(2 * n), [1.0]))
    bounds = [(None, None)] * n + [(0, None)] * (n + 1)
    result = linprog(objective, A_ub=upper, b_ub=right, bounds=bounds, method="highs")
    if result.status != 0:
        raise NotConverged(f"forced_by_frontier: linear program with {n} cells: {result.message}")
    dual = float(result.ineqlin.marginals @ right)
    if not abs(dual - result.fun) <= 1e-6 * abs(result.fun) + 1e-9:
        raise NotConverged(f"forced_by_frontier: primal {result.fun}, dual {dual}; use fewer cells")
    return max(0.0, min(dual, float(result.fun)))
