"""Optimal transport between discrete measures for any cost, equation (5), with potentials as certificate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import ot
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array

from lipbounds.distances.inputs import Points, as_discrete
from lipbounds.distances.line import whole_numbers
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete
from lipbounds.rounding import EPS, EXTENDED, UNIT, dot, gamma, outward, product

__all__ = ["Plan", "Solution", "Transport", "distance_error", "extent", "optimal_transport", "plan_of", "solve"]

Array = NDArray[np.float64]
Cost = Callable[[Array, Array], ArrayLike]

LARGEST = 1e300
LARGEST_FOREST = 50_000  # entries whose masses are found exactly, in about 5 microseconds each
MAX_ITERATIONS = 100_000_000  # of the network simplex; 5000 against 5000 points take about 1e6
BLOCK_ENTRIES = 2**18  # of the cost matrix that a transform looks at in one step: they stay in the cache


@dataclass(frozen=True, eq=False)
class Transport(Enclosure):
    """A solution of (5): the least cost, EXACT; the upper end is the cost of the plan, the lower end the value of the potentials.

    Attributes:
        plan: Masses moved from point i to point j, sparse, shape (n, m), at most n + m - 1 entries.
        missing: Mass that the entries of the plan may leave without a place, by rounding; the upper end includes it.
        potentials: f of shape (n,) and g of shape (m,) with f_i + g_j <= c_ij up to rounding for all pairs, also those
            without mass.
    """

    plan: Any = field(kw_only=True)
    missing: float = field(kw_only=True)
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
        >>> round(answer.lower, 12), round(answer.upper, 12)
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
        solution = solve(np.zeros(wanted), mu, nu)
        potentials = (np.full(wanted[0], least), np.zeros(wanted[1]))
        return Transport(
            least,
            least,
            Guarantee.EXACT,
            "constant cost",
            plan=_sparse(solution.plan, wanted),
            potentials=potentials,
            missing=solution.plan.missing,
        )
    solution = solve((matrix - least) / size, mu, nu)
    f, g = solution.potentials
    doubt = mu.doubt + nu.doubt
    lower = least + product((max(0.0, solution.dual - gamma(4) - doubt),) * 2, (size, size))[0]
    plan = solution.plan
    # above the least cost all costs are nonnegative, and the mass without a place costs at most the range
    above = matrix[plan.i, plan.j] - least
    upper = dot(above, plan.mass)[1] * (1 + gamma(4)) + product((plan.missing + doubt,) * 2, (size, size))[1] * (1 + gamma(2))
    ends = outward(lower)[0], outward(least + upper, UNIT * abs(upper) + len(plan.i) * 5e-324)[1]
    return Transport(
        min(ends),
        ends[1],
        Guarantee.EXACT,
        "network simplex with dual",
        plan=_sparse(plan, wanted),
        missing=plan.missing + doubt + 2 * gamma(4),
        potentials=(least + size * f, size * g),
    )


def _sparse(plan: Plan, shape: tuple[int, int]) -> Any:
    return coo_array((plan.mass, (plan.i, plan.j)), shape=shape)


def distance_error(dim: int) -> float:
    """The relative error of a Euclidean distance computed by differences, for points in units near their extent (`extent`).

    One rounding a difference and a square, dim of the sum, half of all that by the root, and that of the root.
    By |x|^2 + |y|^2 - 2xy near points far from 0 would cancel.
    """
    return gamma(dim / 2 + 3)


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


class Plan(NamedTuple):
    """Entries of a plan between two discrete laws.

    Args:
        i: Indices of points of the first law.
        j: Indices of points of the second.
        mass: What moves from i to j, right to two roundings each.
        missing: An upper bound of the mass of either law that the entries do not place.
    """

    i: NDArray[np.intp]
    j: NDArray[np.intp]
    mass: Array
    missing: float


class Solution(NamedTuple):
    """What the network simplex found.

    Args:
        dual: A lower bound of the cost by the potentials, for costs whose relative error is accounted for by the caller.
        plan: The plan, whose cost is an upper bound.
        potentials: f of shape (n,) and g of shape (m,), feasible up to two roundings of the largest cost.
    """

    dual: float
    plan: Plan
    potentials: tuple[Array, Array]


def solve(cost: Array, mu: Discrete, nu: Discrete) -> Solution:
    """Solve with costs in [0, 1].

    The dual value includes the rounding of potentials, masses and sums: about 2e-15 in all.

    Raises:
        NotConverged: If the simplex stops early; POT itself only warns and returns a wrong value.
    """
    a, b = mu.weights, nu.weights
    rows, columns = a > 0, b > 0  # exact zeros make POT drop rows
    whole = bool(rows.all() and columns.all())
    part = cost if whole else np.ascontiguousarray(cost[np.ix_(rows, columns)])
    log = _simplex(a[rows], b[columns], part)
    # Two transforms make the potentials feasible whatever the solver did, and extend them to points without mass.
    f = _transform(cost[:, columns] if not whole else cost, log["v"])
    g = _transform(cost.T, f)
    # a constant moved from one to the other changes nothing but the rounding: both become as small as they can
    f, g = f - f.mean(), g + f.mean()
    i, j = np.nonzero(log["G"])
    mass = log["G"][i, j]
    i, j = np.flatnonzero(rows)[i], np.flatnonzero(columns)[j]
    return Solution(_dual(f, g, mu, nu), _placed(i, j, mass, mu, nu), (f, g))


def _dual(f: Array, g: Array, mu: Discrete, nu: Discrete) -> float:
    """A lower bound of the integral of both potentials, less what rounding may make them infeasible by."""
    largest = float(np.abs(f).max()) + float(np.abs(g).max())
    value = dot(f, mu.weights)[0] + dot(g, nu.weights)[0]
    # masses are right to two roundings; each potential has four: of the minimum over c - g and of the move by a constant
    size = float(np.abs(f) @ mu.weights) + float(np.abs(g) @ nu.weights)
    slack = gamma(3) * size * (1 + 1e-9) + gamma(8) * (1.0 + largest)
    return math.nextafter(value - slack, -math.inf)


def _placed(i: NDArray[np.intp], j: NDArray[np.intp], mass: Array, mu: Discrete, nu: Discrete) -> Plan:
    """The same plan with exact masses if its entries are a forest that has room for them, else with what is missing."""
    exact = _exact_flow(i, j, mu, nu)
    if exact is not None:
        return Plan(i, j, exact, 0.0)
    missing = 0.0
    for index, law in ((i, mu), (j, nu)):
        placed = np.zeros(len(law.weights), dtype=np.longdouble)
        np.add.at(placed, index, mass)
        # the sums have at most one step of extended precision an entry, masses two roundings
        missing += float(np.abs(placed - law.weights).sum()) / 2 + gamma(3) + len(mass) * EXTENDED
    return Plan(i, j, mass, missing * (1 + 4 * EPS))


def _exact_flow(i: NDArray[np.intp], j: NDArray[np.intp], mu: Discrete, nu: Discrete) -> Array | None:
    """The masses that a forest of entries must move between the exact masses of both laws, or None.

    Leaves are taken off one after the other: a point with one entry left moves all it has along it. A basis of the simplex is a
    forest; None if the entries are none, if a mass would be negative, or if a part of the forest does not balance.
    """
    if len(i) > LARGEST_FOREST:
        return None
    (first, total_x), (second, total_y) = whole_numbers(mu.shares), whole_numbers(nu.shares)
    n = len(first)
    left = [total_y * mass for mass in first] + [total_x * mass for mass in second]
    entries: list[set[int]] = [set() for _ in left]
    places = list(zip(i.tolist(), (j + n).tolist(), strict=True))
    for entry, (row, column) in enumerate(places):
        entries[row].add(entry)
        entries[column].add(entry)
    flow = [0] * len(places)
    leaves = [point for point, own in enumerate(entries) if len(own) == 1]
    taken = 0
    while leaves:
        point = leaves.pop()
        if not entries[point]:
            continue
        entry = entries[point].pop()
        row, column = places[entry]
        other = column if point == row else row
        if left[point] < 0:
            return None
        flow[entry], taken = left[point], taken + 1
        left[other] -= left[point]
        left[point] = 0
        entries[other].discard(entry)
        if len(entries[other]) == 1:
            leaves.append(other)
    if taken < len(places) or any(left):
        return None
    whole = total_x * total_y
    return np.array([mass / whole for mass in flow])


def plan_of(cost: Array, a: Array, b: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return the entries (i, j, mass) of an optimal plan between positive masses of equal sum."""
    whole = float(a.sum())
    log = _simplex(a / whole, b / float(b.sum()), cost)
    i, j = np.nonzero(log["G"])
    return i, j, whole * log["G"][i, j]


def _simplex(a: Array, b: Array, cost: Array) -> dict[str, Any]:
    """POT's network simplex, whose warnings are errors: the dense plan G and the potentials u and v."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan, log = ot.emd(a, b, cost, numItermax=MAX_ITERATIONS, log=True)
    if log["warning"] is not None or caught:
        messages = [str(log["warning"])] + [str(warning.message) for warning in caught]
        raise NotConverged(f"optimal transport: network simplex on {cost.shape} points: {'; '.join(messages)}")
    return {**log, "G": plan}


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
