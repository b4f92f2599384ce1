"""Optimal transport between discrete measures, with the dual potentials as certificate."""

from __future__ import annotations

import math
import warnings

import numpy as np
import ot
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, NotConverged
from lipbounds.measures import Discrete

__all__ = ["wasserstein"]

MAX_ITERATIONS = 10_000_000  # of the network simplex; 2000 against 2000 points take about 1e5


def wasserstein(x: Discrete, y: Discrete, p: float = 1.0) -> Enclosure:
    r"""Return $W_p(x,y)=(\min_\pi\int|u-v|^p\,d\pi)^{1/p}$ for the Euclidean distance; the root, not the power.

    The network simplex of POT gives a plan and dual potentials. The plan's cost is an upper bound; the potentials, lowered
    by their largest violation of f_i + g_j <= c_ij, give a lower bound whatever the solver did.

    Args:
        x: Discrete measure on R^d.
        y: Discrete measure on R^d.
        p: Exponent in [1, inf).

    Returns:
        [dual, primal], EXACT. The ends differ by rounding, about 1e-12 relative for thousands of points.

    Raises:
        InvalidInput: For unequal dimensions or p < 1.
        NotConverged: If the simplex stops early; POT itself only warns and returns a wrong value.

    Source:
        Hagemann and Neumayer (2022), equations (5) and (6); Kantorovich duality.

    Example:
        >>> distance = wasserstein(Discrete([[0.0, 0.0]]), Discrete([[3.0, 4.0]]), p=2)
        >>> distance.lower, distance.upper
        (5.0, 5.0)
    """
    if x.dim != y.dim:
        raise InvalidInput("x, y", (x.dim, y.dim), "one dimension", "compare measures on one space")
    if not 1.0 <= p < math.inf:
        raise InvalidInput("p", p, "a number in [1, inf)", "W_1 is the usual choice")
    # exact zeros make POT drop rows; the distance does not see them
    a, b = x.weights[x.weights > 0], y.weights[y.weights > 0]
    # by differences: POT's own Euclidean cost expands |x|^2 + |y|^2 - 2xy, which cancels for near points far from 0
    distances = cdist(x.points[x.weights > 0], y.points[y.weights > 0])
    scale = float(distances.max())
    if scale == 0.0:
        return Enclosure(0.0, 0.0, Guarantee.EXACT, "network simplex with dual")
    cost = (distances / scale) ** p
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        primal, log = ot.emd2(a, b, cost, numItermax=MAX_ITERATIONS, log=True)
    if log["warning"] is not None or caught:
        messages = [str(log["warning"])] + [str(warning.message) for warning in caught]
        raise NotConverged(f"wasserstein: network simplex on {cost.shape} points: {'; '.join(messages)}")
    dual = _feasible_dual(log["u"], log["v"], cost, a, b)
    lower, upper = min(dual, float(primal)), max(dual, float(primal))
    ends = scale * max(lower, 0.0) ** (1 / p), scale * upper ** (1 / p)
    return Enclosure(*ends, Guarantee.EXACT, "network simplex with dual")


def _feasible_dual(
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    cost: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
) -> float:
    """Value of the potentials after lowering f by the largest violation."""
    violation = max(float((f[:, None] + g - cost).max()), 0.0)
    return float(f @ a + g @ b) - violation
