"""Optimal transport between discrete measures for any cost, equation (5), with potentials as certificate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ot
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.spatial.distance import cdist

from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete

__all__ = ["Transport", "distances", "extent", "optimal_transport", "plan_of", "solve"]

Array = NDArray[np.float64]
Cost = Callable[[Array, Array], ArrayLike]

LARGEST = 1e300
MAX_ITERATIONS = 100_000_000  # of the network simplex; 5000 against 5000 points take about 1e6
BLOCK_ENTRIES = 2**18  # of the cost matrix that a transform looks at in one step: they stay in the cache


@dataclass(frozen=True, eq=False)
class Transport(Enclosure):
    """A solution of (5): the least cost, EXACT; the upper end is the cost of the plan, the lower end the value of the potentials.

    Attributes:
        plan: Masses moved from point i to point j, sparse, shape (n, m), at most n + m - 1 entries.
        potentials: f of shape (n,) and g of shape (m,) with f_i + g_j <= c_ij up to rounding for all pairs, also those
            without mass.
    """

    plan: Any = field(kw_only=True)
    potentials: tuple[Array, Array] = field(kw_only=True)


def optimal_transport(
    x: Points | Discrete,
    y: Points | Discrete,
    cost: Cost | ArrayLike,
    *,
    x_weights: Points | None = None,
    y_weights: Points | None = None,
) -> Transport:
    r"""Return $\min_\pi\int c\,d\pi$ over the couplings of two discrete measures, with the plan and the potentials.

    Args:
        x: Points of shape (n, d), or a `Discrete`.
        y: Points of shape (m, k), or a `Discrete`; the spaces may differ.
        cost: The matrix of costs, shape (n, m), or a function that returns it for the two arrays of points. Finite; the
            paper asks for costs >= 0, negative ones are allowed.
        x_weights: Masses, shape (n,), nonnegative with sum 1; equal when None.
        y_weights: Masses, shape (m,).

    Returns:
        The least cost with plan and potentials. Its ends differ by the solver's tolerance, about 1e-12 of the range
        of the costs.

    Raises:
        InvalidInput: For bad points, weights or costs.
        NotConverged: If the simplex stops early.

    Source:
        Hagemann and Neumayer (2022), equation (5); Kantorovich duality.

    Example:
        Moving two atoms right by one step each costs as much as moving one of them by two:

        >>> answer = optimal_transport([[0.0], [1.0]], [[1.0], [2.0]], lambda u, v: abs(u - v.T))
        >>> answer.lower, answer.upper
        (1.0, 1.0)
    """
    mu, nu = as_discrete("x", x, x_weights), as_discrete("y", y, y_weights)
    matrix = np.asarray(cost(mu.points, nu.points) if callable(cost) else cost, dtype=np.float64)
    wanted = (len(mu.weights), len(nu.weights))
    if matrix.shape != wanted:
        raise InvalidInput("cost", f"shape {matrix.shape}", f"shape {wanted}", "one cost a pair of points")
    if not np.isfinite(matrix).all():
        raise InvalidInput("cost", "NaN or infinite entries", "finite numbers", "use a large cost for forbidden pairs")
    least = float(matrix.min())
    size = float(matrix.max()) - least
    if not np.isfinite(size):
        raise InvalidInput("cost", f"range {size}", "a finite range", "rescale the costs")
    if size == 0.0:
        *_, dense, _, _ = solve(np.zeros(wanted), mu.weights, nu.weights, plan=True)
        potentials = (np.full(wanted[0], least), np.zeros(wanted[1]))
        return Transport(least, least, Guarantee.EXACT, "constant cost", plan=coo_array(dense), potentials=potentials)
    lower, upper, dense, f, g = solve((matrix - least) / size, mu.weights, nu.weights, plan=True)
    ends = least + size * lower, least + size * upper
    return Transport(
        *ends, Guarantee.EXACT, "network simplex with dual", plan=coo_array(dense), potentials=(least + size * f, size * g)
    )


def distances(x: Array, y: Array) -> tuple[Array, float]:
    """Return Euclidean distances divided by a power of two near their largest, and that power.

    By differences: |x|^2 + |y|^2 - 2xy cancels for near points far from 0. The division is exact and keeps the squares from
    overflow and underflow.
    """
    scale = extent(x, y)
    return cdist(x / scale, y / scale), scale


def extent(x: Array, y: Array) -> float:
    """Return a power of two near the largest difference of coordinates; 1 if all points are the same.

    Raises:
        InvalidInput: If the difference overflows.
    """
    low, high = np.minimum(x.min(0), y.min(0)), np.maximum(x.max(0), y.max(0))
    with np.errstate(over="ignore"):
        size = float((high - low).max())
    scale = float(np.ldexp(1.0, min(int(np.frexp(size)[1]), 1023))) if 0 < size < np.inf else 1.0
    largest = max(float(np.abs(low).max()), float(np.abs(high).max()))
    # the points themselves, not only their differences, are divided by the scale
    if largest > LARGEST or largest / min(scale, 1.0) > LARGEST:
        got = f"coordinates from {low.min()} to {high.max()}"
        raise InvalidInput("x, y", got, "squared distances that do not overflow", "centre and rescale the points")
    return scale


def solve(cost: Array, a: Array, b: Array, *, plan: bool) -> tuple[float, float, Array | None, Array, Array]:
    """Solve with costs in [0, 1]: return dual value, primal value, plan (or None) and feasible potentials.

    Raises:
        NotConverged: If the simplex stops early; POT itself only warns and returns a wrong value.
    """
    rows, columns = a > 0, b > 0  # exact zeros make POT drop rows
    whole = bool(rows.all() and columns.all())
    part = cost if whole else np.ascontiguousarray(cost[np.ix_(rows, columns)])
    primal, log = _simplex(a[rows], b[columns], part, plan)
    # Two transforms make the potentials feasible whatever the solver did, and extend them to points without mass.
    f = _transform(cost[:, columns] if not whole else cost, log["v"])
    g = _transform(cost.T, f)
    dual = float(f @ a + g @ b)
    dense = None
    if plan:
        dense = np.zeros(cost.shape)
        dense[np.ix_(rows, columns)] = log["G"]
    return min(dual, primal), max(dual, primal), dense, f, g


def plan_of(cost: Array, a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return the entries (i, j, mass) of an optimal plan between positive masses of equal sum."""
    total = float(a.sum())
    _, log = _simplex(a / total, b / float(b.sum()), cost, True)
    i, j = np.nonzero(log["G"])
    return i, j, total * log["G"][i, j]


def _simplex(a: Array, b: Array, cost: Array, plan: bool) -> tuple[float, dict[str, Any]]:
    """POT's network simplex, whose warnings are errors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        primal, log = ot.emd2(a, b, cost, numItermax=MAX_ITERATIONS, log=True, return_matrix=plan)
    if log["warning"] is not None or caught:
        messages = [str(log["warning"])] + [str(warning.message) for warning in caught]
        raise NotConverged(f"optimal transport: network simplex on {cost.shape} points: {'; '.join(messages)}")
    return float(primal), log


def _transform(cost: Array, g: Array) -> Array:
    """Return min_j (c_ij - g_j) for all i."""
    if cost.flags.f_contiguous and not cost.flags.c_contiguous:  # a transposed matrix: run along its rows
        rows = max(1, BLOCK_ENTRIES // cost.shape[0])
        blocks = [
            (cost.T[start : start + rows] - g[start : start + rows, None]).min(0) for start in range(0, cost.shape[1], rows)
        ]
        return np.asarray(np.minimum.reduce(blocks))
    rows = max(1, BLOCK_ENTRIES // cost.shape[1])
    return np.concatenate([(cost[start : start + rows] - g).min(1) for start in range(0, cost.shape[0], rows)])
