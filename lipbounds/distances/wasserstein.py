"""The Wasserstein distances W_p, equation (6): one front door, which picks the exact method for the measures given."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist

from lipbounds.distances.gaussians import gaussian_wasserstein_2
from lipbounds.distances.inputs import Points, as_measure
from lipbounds.distances.line import mean_power, wasserstein_line
from lipbounds.distances.transport import distance_error, extent, solve
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InconsistentBounds, InvalidInput
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.rounding import ELEMENTARY_FUNCTIONS, dot, gamma, power_error, product, root

__all__ = ["check_exponent", "same_law", "wasserstein"]

CAPS = 10, 40  # exponents of the cap of costs in a unit near the result: the rounding of the potentials is 1e-16 of it
ATTEMPTS = 40  # units that are tried; one suffices but where W_p^p is below 1e-6 of the largest cost
CLOSED = 1e-9  # relative width at which no other unit is tried
DENSE_ENTRIES = 50_000_000  # of the cost matrix: 0.4 GB, and as much again for the plan


def wasserstein(
    x: Points | Discrete | GaussianMixture,
    y: Points | Discrete | GaussianMixture,
    p: float = 1.0,
    *,
    x_weights: Points | None = None,
    y_weights: Points | None = None,
) -> Enclosure:
    r"""Return $W_p(x,y)=(\min_\pi\int|u-v|^p\,d\pi)^{1/p}$ for the Euclidean distance; the root, not the power.

    | measures | method | width |
    |---|---|---|
    | on the line | distribution functions or quantiles (`wasserstein_line`) | rounding; see there |
    | discrete | network simplex; the plan is the upper end, feasible potentials the lower | about 1e-12 of the largest W_p^p |
    | two Gaussians, p = 2 | closed form | rounding |

    Args:
        x: Points of shape (n, d), array or tensor, or a measure. Gradients are not tracked.
        y: Points of shape (m, d) or a measure on the same space.
        p: Exponent in [1, inf).
        x_weights: Masses of the points, shape (n,), nonnegative with sum 1; equal when None.
        y_weights: Masses of the points, shape (m,).

    Returns:
        An EXACT enclosure.

    Raises:
        InvalidInput: For unequal dimensions, p < 1, bad points or weights, more than 5e7 pairs of points, or continuous
            measures without an exact method.
        NotConverged: If the simplex stops early; POT itself only warns and returns a wrong value.

    Source:
        Hagemann and Neumayer (2022), equation (6).

    Example:
        >>> distance = wasserstein([[0.0, 0.0]], [[3.0, 4.0]], p=2)
        >>> round(distance.lower, 12), round(distance.upper, 12)
        (5.0, 5.0)
    """
    mu, nu = as_measure("x", x, x_weights), as_measure("y", y, y_weights)
    if mu.dim != nu.dim:
        raise InvalidInput("x, y", (mu.dim, nu.dim), "one dimension", "compare measures on one space")
    check_exponent(p)
    if mu.dim == 1:
        return wasserstein_line(mu, nu, p)
    if isinstance(mu, Discrete) and isinstance(nu, Discrete):
        if same_law(mu, nu):
            return Enclosure(0.0, 0.0, Guarantee.EXACT, "equal laws")
        return _simplex(mu, nu, p)
    if isinstance(mu, GaussianMixture) and isinstance(nu, GaussianMixture) and len(mu.weights) == len(nu.weights) == 1 and p == 2:
        return gaussian_wasserstein_2(mu, nu)
    raise InvalidInput("x, y", "a continuous measure off the line", "samples", "draw points, or take marginals")


def same_law(mu: Discrete, nu: Discrete) -> bool:
    """Whether two laws have the same points with the same shares, in any order; points that occur twice are not joined."""
    if mu.points.shape != nu.points.shape:
        return False
    first, second = (np.column_stack((law.points + 0.0, law.shares)) for law in (mu, nu))
    return np.array_equal(first[np.lexsort(first.T)], second[np.lexsort(second.T)])


def check_exponent(p: float) -> None:
    """Refuse an exponent outside [1, inf)."""
    if not 1.0 <= p < math.inf:
        raise InvalidInput("p", p, "a number in [1, inf)", "W_1 is the usual choice")


def _simplex(mu: Discrete, nu: Discrete, p: float) -> Enclosure:
    pairs = len(mu.weights) * len(nu.weights)
    if pairs > DENSE_ENTRIES:
        raise InvalidInput("x, y", f"{pairs} pairs of points", f"at most {DENSE_ENTRIES}", "use wasserstein_large")
    scale = extent(mu.points, nu.points)
    first, second = mu.with_points(mu.points / scale), nu.with_points(nu.points / scale)
    largest = float(cdist(first.points, second.points).max())
    lower, upper = _mean_shift(first, second), largest * (1 + distance_error(mu.dim))
    unit = largest
    for attempt in range(ATTEMPTS):
        if upper == 0.0 or (attempt and upper - lower <= CLOSED * upper):
            break
        below, above = _solved_in(unit, largest, first, second, p)
        if attempt and below <= lower and above >= upper:
            break
        lower, upper = max(lower, below), min(upper, above)
        # costs far below the unit underflow or drown in the rounding of the largest: a unit near the result sees them
        unit = upper if attempt == 0 else math.sqrt(max(lower, 1e-3 * upper)) * math.sqrt(upper)
    ends = product((lower, upper), (scale, scale))
    if ends[0] > ends[1]:
        raise InconsistentBounds(f"wasserstein: the potentials prove at least {ends[0]}, the plan costs {ends[1]}")
    return Enclosure(*ends, Guarantee.EXACT, "network simplex with dual", assumptions=() if p == 1.0 else (ELEMENTARY_FUNCTIONS,))


def _solved_in(unit: float, largest: float, mu: Discrete, nu: Discrete, p: float) -> tuple[float, float]:
    """Bounds of W_p from a solution with the costs min((d / unit)^p, cap).

    Smaller costs prove a lower bound, and any plan an upper one.
    """
    cost = cdist(mu.points, nu.points)
    cost /= unit
    # an optimal plan of cost 1 has no entry of more than 1 over its mass, so sixteen times that is no restriction
    lightest = min(float(law.weights[law.weights > 0].min()) for law in (mu, nu))
    cap = 1.0 if unit == largest else 2.0 ** min(max(4 - math.floor(math.log2(lightest)), CAPS[0]), CAPS[1])
    if p != 1.0:
        with np.errstate(over="ignore"):  # what overflows is cut
            cost **= p
    if cap > 1.0:
        np.minimum(cost, cap, out=cost)
        cost /= cap  # a power of two
    dual, plan, _ = solve(cost, mu, nu)
    error = distance_error(mu.dim)
    # costs are at most this far above the true ones, relative; where the sum of potentials is negative nothing is needed
    dual = max(0.0, dual * (1.0 - power_error(p, error + gamma(2))) - mu.doubt - nu.doubt)
    lower = product(root(cap * dual, cap * dual, p), (unit, unit))[0]
    gaps = np.sqrt(((mu.points[plan.i] - nu.points[plan.j]) ** 2).sum(1))
    farthest = largest * (1.0 + error)
    doubt = mu.doubt + nu.doubt
    return lower, mean_power(gaps, plan.mass, p, gap_error=error, missing=plan.missing, doubt=doubt, farthest=farthest)[1]


def _mean_shift(mu: Discrete, nu: Discrete) -> float:
    """The distance of the means, a lower bound of every W_p."""
    centre = mu.points[0]
    parts = []
    for column, middle in enumerate(centre):
        ends = []
        for law in (mu, nu):
            moved = law.points[:, column] - middle
            low, high = dot(moved, law.weights)
            # masses have two roundings, the difference one
            # a doubtful mass may lie at any other point
            error = gamma(4) * float(np.abs(moved) @ law.weights) * (1 + 1e-9) + law.doubt * float(np.ptp(moved))
            ends.append((low - error, high + error))
        (a, b), (c, d) = ends
        parts.append(max(0.0, c - b, a - d))
    return math.hypot(*parts) * (1 - gamma(len(parts) + 8))
