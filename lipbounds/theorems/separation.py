r"""How far apart two sets of given mass can lie when a law is W_1-close to a Gaussian: the function E and its inverse.

With masses $a,b>0$, $\delta=1-a-b\ge0$ (the gap mass) and
$$h(u)=(a-\Phi(u))_++(\Phi(u)-(a+\delta))_+,\qquad E(\rho)=\min_c\int_c^{c+\rho}h,\qquad \rho^*(e)=\max\{\rho:E(\rho)\le e\},$$
E is the least price in $W_1$ of keeping two sets of masses a and b at distance rho under the standard normal law, in every
dimension; it is convex and increasing with E(0) = 0. The minimising interval is a level set of h: it ends at
$q_a-w$ and $q_b+v$ with $q_a=\Phi^{-1}(a)$, $q_b=\Phi^{-1}(a+\delta)$ and $h(q_a-w)=h(q_b+v)=l$, where l = E'(rho).

Numerics. Everything is an integral of positive terms, so nothing cancels:
$$\int_{q_a-w}^{q_a}(a-\Phi)=\int_0^w(w-t)\,\varphi(q_a-t)\,dt,\qquad a-\Phi(q_a-w)=\int_0^w\varphi(q_a-t)\,dt,$$
by Gauss-Legendre panels. The gap mass is an argument of its own: 1 - a - b would lose all digits of a small one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from lipbounds.errors import InvalidInput

__all__ = ["Masses", "separation", "separation_cost"]

SMALLEST_MASS = 1e-12  # below, rounding of the sum to 1 is no longer small against the mass
DIRECT_GAP = 0.1  # from here on the difference of the two quantiles keeps its digits
HIGHEST_LOGIT = 600.0  # there the level is min(a, b) up to 1e-260: beyond, E is linear with this slope
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
RELATIVE_TOLERANCE = 4 * np.finfo(float).eps  # the smallest that brentq accepts


@dataclass(frozen=True)
class Masses:
    """The masses of two disjoint sets and of what lies between them.

    Args:
        a: Mass of the first set, in [1e-12, 1).
        b: Mass of the second, in [1e-12, 1).
        gap: The mass outside both, at least 0; a + b + gap = 1 up to rounding. Pass it from a computation of its own.

    Example:
        >>> Masses.equal(gap=0.2)
        Masses(a=0.4, b=0.4, gap=0.2)
    """

    a: float
    b: float
    gap: float

    def __post_init__(self) -> None:
        smaller = min(self.a, self.b)
        if not (smaller >= SMALLEST_MASS and max(self.a, self.b) < 1 and self.gap >= 0):
            got = (self.a, self.b, self.gap)
            raise InvalidInput("a, b, gap", got, f"a, b in [{SMALLEST_MASS}, 1) and gap >= 0", "use sets with mass")
        if not abs(self.a + self.b + self.gap - 1.0) <= 1e-9 * smaller + 8 * np.finfo(float).eps:
            raise InvalidInput("a, b, gap", (self.a, self.b, self.gap), "sum 1", "the gap is all that is outside both")

    @classmethod
    def equal(cls, gap: float) -> Masses:
        """Masses (1 - gap) / 2 each: the paper's case with delta = gap."""
        return cls((1.0 - gap) / 2, (1.0 - gap) / 2, gap)

    def shrunk(self, loss: float) -> Masses:
        """Both sets made smaller by the mass `loss`, which joins the gap twice."""
        return Masses(self.a - loss, self.b - loss, self.gap + 2 * loss)


def _integrals(end: float, width: float) -> tuple[float, float]:
    """Return the integrals over t in [0, width] of (width - t) phi(end - t) and of phi(end - t)."""
    panels = max(1, math.ceil(width))
    edges = np.linspace(0.0, width, panels + 1)
    half = 0.5 * np.diff(edges)
    t = (edges[:-1] + half)[:, None] + half[:, None] * _NODES
    density = np.exp(-0.5 * (end - t) ** 2) / math.sqrt(2 * math.pi)
    level = float(((density @ _WEIGHTS) * half).sum())
    return float(((((width - t) * density) @ _WEIGHTS) * half).sum()), level


def _edges(masses: Masses) -> tuple[float, float]:
    """Return the normal quantiles of both masses, the smaller first; that of a large one from what is outside it."""
    small, large = sorted((masses.a, masses.b))
    outside = small + masses.gap
    return float(ndtri(small)), float(ndtri(large)) if large <= 0.5 else -float(ndtri(outside))


def _gap_width(masses: Masses) -> float:
    """Return rho*(0), the width of the interval between the two edges, without cancellation."""
    start, other = _edges(masses)
    if masses.gap == 0.0:
        return 0.0
    if masses.gap > DIRECT_GAP:
        return -start - other
    # the mass of [start, start + u] is that of phi(start + t), t in [0, u]: _integrals seen from -start
    high = 1e-300
    while _integrals(-start, high)[1] < masses.gap:
        high *= 2.0 if high > 1e-8 else 1e8
    return _root(lambda u: _integrals(-start, u)[1] - masses.gap, 0.0, high)


def _root(function: Callable[[float], float], low: float, high: float, xtol: float = 1e-300) -> float:
    return float(brentq(function, low, high, xtol=xtol, rtol=RELATIVE_TOLERANCE, maxiter=2000))


def _sigmoid(s: float) -> float:
    return 1.0 / (1.0 + math.exp(-s)) if s > -700.0 else 0.0


def _interval(masses: Masses, s: float) -> tuple[float, float]:
    """Return E and rho of the level set {h <= l} at l = min(a, b) sigmoid(s).

    The logit s resolves both ends of the range of l: near 0 the level, near min(a, b) what remains, which is handled as such.
    """
    small, large = sorted((masses.a, masses.b))
    level, left = small * _sigmoid(s), small * _sigmoid(-s)
    cost, width = 0.0, _gap_width(masses)
    for mass, end in zip((small, large), _edges(masses), strict=True):
        # the set of mass Phi(end) loses `level` when its edge retreats by the overhang
        remaining = (mass - small) + left
        if remaining < 0.5 * mass:
            overhang = end - float(ndtri(remaining))
        else:
            half = end - float(ndtri(0.5 * mass))

            def excess(w: float, end: float = end) -> float:
                return _integrals(end, w)[1] - level

            overhang = _root(excess, 0.0, 1.01 * half)
        cost += _integrals(end, overhang)[0]
        width += overhang
    return cost, width


def _level_where(masses: Masses, index: int, value: float) -> float | None:
    """Return s where E (index 0) or rho (index 1) of the level set has this value; None if it lies beyond all level sets."""
    low, high = -80.0, HIGHEST_LOGIT
    if _interval(masses, high)[index] <= value:
        return None
    while _interval(masses, low)[index] > value and low > -650.0:
        low -= 80.0
    if _interval(masses, low)[index] > value:
        return low  # an epsilon below 1e-280
    return _root(lambda s: _interval(masses, s)[index] - value, low, high, xtol=1e-13)


def separation(epsilon: float, masses: Masses) -> float:
    r"""Return $\rho^*(\epsilon)$: T moves mu to within W_1 <= epsilon of N(0, I), so dist(T(Q), T(R)) <= rho*.

    Relative error about 1e-11 for masses above 1e-6, by quadrature and root finding; at epsilon = 0 it is
    $\Phi^{-1}(a+\delta)-\Phi^{-1}(a)$. In the symmetric case without gap, $\rho^*\sim2(2\pi)^{1/4}\sqrt\epsilon$.

    Args:
        epsilon: Upper bound of the W_1 distance, at least 0.
        masses: Masses of the two sets and of the gap.

    Example:
        >>> round(separation(0.0, Masses.equal(gap=0.5)), 6)  # 2 Phi^{-1}(3/4)
        1.34898
    """
    if not 0.0 <= epsilon < math.inf:
        raise InvalidInput("epsilon", epsilon, "a finite number >= 0", "pass an upper bound of the W_1 distance")
    if epsilon == 0.0:
        return _gap_width(masses)
    s = _level_where(masses, 0, epsilon)
    if s is None:
        cost, width = _interval(masses, HIGHEST_LOGIT)
        return width + (epsilon - cost) / min(masses.a, masses.b)
    return _interval(masses, s)[1]


def separation_cost(rho: float, masses: Masses) -> float:
    r"""Return $E(\rho)$: the least W_1 distance to N(0, I) at which sets of these masses can be rho apart.

    Relative error about 1e-11 for masses above 1e-6 where rho exceeds rho*(0) by a percent; 0 for rho <= rho*(0).

    Example:
        >>> round(separation_cost(2.0, Masses.equal(gap=0.0)), 6)
        0.368746
    """
    if not 0.0 <= rho < math.inf:
        raise InvalidInput("rho", rho, "a finite number >= 0", "pass a distance")
    if rho <= _gap_width(masses):
        return 0.0
    s = _level_where(masses, 1, rho)
    if s is None:
        cost, width = _interval(masses, HIGHEST_LOGIT)
        return cost + min(masses.a, masses.b) * (rho - width)
    return _interval(masses, s)[0]
