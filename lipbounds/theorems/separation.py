r"""How far apart two sets of given mass can lie when a law is W_1-close to a Gaussian: the function E and its inverse.

With masses $a,b>0$, $\delta=1-a-b\ge0$ (the gap mass) and
$$h(u)=(a-\Phi(u))_++(\Phi(u)-(a+\delta))_+,\qquad E(\rho)=\min_c\int_c^{c+\rho}h,\qquad \rho^*(e)=\max\{\rho:E(\rho)\le e\},$$
E is the least price in $W_1$ of keeping two sets of masses a and b at distance rho under the standard normal law, in every
dimension (proofs: docs/theory). It is a convex conjugate: with the isoperimetric profile $I=\varphi\circ\Phi^{-1}$,
$$E(\rho)=\max_{0\le l\le\min(a,b)}\big(l\rho-\Psi(l)\big),\qquad \Psi(l)=\int(l-h)_+=I(a)+I(b)-I(a-l)-I(b-l),$$
and the maximiser has $\rho=\Psi'(l)=-\Phi^{-1}(a-l)-\Phi^{-1}(b-l)$. Hence
$$\rho^*(e)=\min_l\frac{e+\Psi(l)}l,\qquad L\,E(D/L)\le e\iff L\ge\max_l\frac{lD-e}{\Psi(l)}.$$

Guarantee. Every l gives a true bound on one side, and a point of the curve $(\rho,E)$ one on the other, so a float search for
l needs no proof: the bounds are then evaluated once, in ball arithmetic with as many bits as they cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flint import arb
from scipy.optimize import brentq

from lipbounds.arb import ends, normal_quantile, profile, working_precision
from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, combined, derived
from lipbounds.errors import InvalidInput
from lipbounds.rounding import EPS

__all__ = ["Masses", "least_stretch", "over", "separation", "separation_cost"]

SMALLEST_MASS = 1e-12  # below, rounding of the sum to 1 is no longer small against the mass
LOWEST_LOGIT, HIGHEST_LOGIT = -740.0, 400.0  # of l / min(a, b): E / rho, of order l, then spans the doubles
SPARE_BITS = 96
LOGIT_TOLERANCE = 1e-13
GIVEN = "the masses of both sets, as given"
METHOD = "convex conjugate, ball arithmetic"


@dataclass(frozen=True)
class Masses:
    """What is known of two disjoint sets: their masses are at least a and b, and at most `gap` lies outside both.

    Bounds take the least favourable masses that this allows: the smaller of a and b, and what remains for the other set.

    Args:
        a: Mass of the first set, in [1e-12, 1).
        b: Mass of the second, in [1e-12, 1).
        gap: The mass outside both, at least 0; a + b + gap = 1 up to rounding. Pass it from a computation of its own.
        guarantee: What stands behind the numbers as bounds: sets with at least these masses.
        alpha: Error probability, for CONFIDENCE.
        assumptions: What they take for granted. For numbers that are handed over, that they are such bounds; masses from
            enclosures (`equal`, `of`) assume nothing more than these.

    Example:
        >>> masses = Masses.equal(gap=0.2)
        >>> masses.a, masses.b, masses.gap
        (0.4, 0.4, 0.2)
    """

    a: float
    b: float
    gap: float
    guarantee: Guarantee = Guarantee.CERTIFIED
    alpha: float | None = None
    assumptions: tuple[str, ...] = (GIVEN,)

    def __post_init__(self) -> None:
        smaller = min(self.a, self.b)
        if not (smaller >= SMALLEST_MASS and max(self.a, self.b) < 1 and self.gap >= 0):
            got = (self.a, self.b, self.gap)
            raise InvalidInput("a, b, gap", got, f"a, b in [{SMALLEST_MASS}, 1) and gap >= 0", "use sets with mass")
        if not abs(self.a + self.b + self.gap - 1.0) <= 1e-9 * smaller + 8 * EPS:
            raise InvalidInput("a, b, gap", (self.a, self.b, self.gap), "sum 1", "the gap is all that is outside both")

    @classmethod
    def equal(cls, gap: float | Enclosure) -> Masses:
        """Masses (1 - gap) / 2 each: the paper's case with delta = gap; of an enclosure the upper end."""
        if isinstance(gap, Enclosure):
            return cls((1.0 - gap.upper) / 2, (1.0 - gap.upper) / 2, gap.upper, *combined(gap))
        return cls((1.0 - gap) / 2, (1.0 - gap) / 2, gap)

    @classmethod
    def of(cls, a: Enclosure, b: Enclosure, gap: Enclosure) -> Masses:
        """Masses from enclosures: at least the lower ends of a and b, and at most the upper end of the gap outside both."""
        return cls(a.lower, b.lower, gap.upper, *combined(a, b, gap))

    def shrunk(self, loss: float | Enclosure) -> Masses:
        """Both sets made smaller by the mass `loss` (its upper end), which joins the gap twice."""
        if not isinstance(loss, Enclosure):
            loss = Enclosure(loss, loss, Guarantee.CERTIFIED, "given", assumptions=(f"a loss of at most {loss:.6g}, as given",))
        known = combined(self.known, loss)
        if loss.upper == 0.0:
            return Masses(self.a, self.b, self.gap, *known)
        # rounded to the safe side: smaller sets, a larger gap
        a, b = (math.nextafter(mass - loss.upper, 0.0) for mass in (self.a, self.b))
        return Masses(a, b, math.nextafter(self.gap + 2 * loss.upper, math.inf), *known)

    def balls(self) -> tuple[arb, arb]:
        """The least favourable masses at the working precision, the smaller first."""
        small = arb(min(self.a, self.b))
        large = 1 - small - arb(self.gap)
        if large >= small:
            return small, large
        half = (1 - arb(self.gap)) / 2  # both masses are larger than this, by a rounding of equal ones as a rule
        return half, half

    @property
    def known(self) -> Enclosure:
        """The gap with what stands behind the masses, to be combined with other enclosures."""
        return Enclosure(self.gap, self.gap, self.guarantee, "masses", self.alpha, self.assumptions)

    @property
    def delta(self) -> float:
        """The paper's 1 - 2 min(a, b), without cancellation."""
        return self.gap + abs(self.a - self.b)


@dataclass(frozen=True)
class _Level:
    """One level l of h, its conjugate and the point (rho, E) of the curve that it belongs to, as balls."""

    level: arb
    conjugate: arb
    rho: arb
    cost: arb


def _level(masses: Masses, logit: float) -> _Level:
    """Evaluate l = min(a, b) / (1 + exp(-logit)). The logit resolves both ends: near 0 the level, else what remains."""
    # Psi is of order l, and l rho - Psi of order l^2: as many bits are lost
    with working_precision(SPARE_BITS + int(6 * max(0.0, -logit)) + int(3 * max(0.0, logit)) + 80):
        a, b = masses.balls()
        share = (-arb(logit)).exp()
        level, left = a / (1 + share), a * share / (1 + share)
        conjugate = profile(a) + profile(b) - profile(left) - profile(b - level)
        rho = -normal_quantile(left) - normal_quantile(b - level)
        return _Level(level, conjugate, rho, level * rho - conjugate)


def _search(masses: Masses, value: Callable[[_Level], float], target: float) -> tuple[_Level, _Level]:
    """Return levels just below and just above the one where an increasing value passes the target; the end beyond all."""

    def at(logit: float) -> float:
        return value(_level(masses, logit))

    low, high = -8.0, 8.0  # far ends need thousands of bits: they are visited only if the target lies there
    while at(low) >= target:
        if low <= LOWEST_LOGIT:
            return _level(masses, low), _level(masses, low)
        low = max(4 * low, LOWEST_LOGIT)
    while at(high) <= target:
        if high >= HIGHEST_LOGIT:
            return _level(masses, high), _level(masses, high)
        high = min(4 * high, HIGHEST_LOGIT)

    def excess(logit: float) -> float:
        return math.log(max(at(logit), 5e-324)) - math.log(target)

    root = float(brentq(excess, low, high, xtol=LOGIT_TOLERANCE, rtol=4 * EPS, maxiter=500))
    step = LOGIT_TOLERANCE * max(1.0, abs(root))
    below, above = root, root
    while at(below) > target:
        below, step = below - step, 2 * step
    while at(above) < target:
        above, step = above + step, 2 * step
    return _level(masses, below), _level(masses, above)


def _widest_at_zero(masses: Masses) -> Enclosure:
    """rho*(0), the width between the quantiles of both masses."""
    if masses.gap == 0.0:
        return _enclosure(masses, 0.0, 0.0, "no gap")
    # the width is gap / phi or more, so relative accuracy costs the bits of the gap
    low, high = ends(_widest(masses))
    return _enclosure(masses, low, high, "normal quantiles, ball arithmetic")


def _widest(masses: Masses) -> arb:
    # the width is gap / phi or more, so relative accuracy costs the bits of the gap
    with working_precision(SPARE_BITS + int(-3 * math.log(masses.gap or 1.0))):
        a, b = masses.balls()
        return -normal_quantile(a) - normal_quantile(b)


def _enclosure(masses: Masses, low: float, high: float, method: str) -> Enclosure:
    return derived(low, high, method, masses.known)


def over(distance: float, width: Enclosure) -> tuple[float, float]:
    """Return distance / width from below and above; infinite where the width is 0."""
    low = math.nextafter(distance / width.upper, 0.0) if width.upper > 0 else math.inf
    high = math.nextafter(distance / width.lower, math.inf) if width.lower > 0 else math.inf
    return low, high


def separation(epsilon: float | Enclosure, masses: Masses) -> Enclosure:
    r"""Enclose $\rho^*(\epsilon)$: T moves mu to within W_1 <= epsilon of N(0, I), so dist(T(Q), T(R)) <= rho*.

    At epsilon = 0 it is $\Phi^{-1}(a+\delta)-\Phi^{-1}(a)$. In the symmetric case without gap,
    $\rho^*\sim2(2\pi)^{1/4}\sqrt\epsilon$, in every dimension.

    Args:
        epsilon: Upper bound of the W_1 distance, at least 0, or an enclosure of it; infinity is allowed and bounds nothing.
        masses: Masses of the two sets and of the gap.

    Returns:
        An enclosure of rho* at the upper end of epsilon, with the weaker guarantee of masses and epsilon, CERTIFIED for numbers
        that are given; about 1e-12 wide (relative).

    Raises:
        InvalidInput: For a negative epsilon.

    Source:
        S1, the sharp Proposition 1 (docs/theory).

    Example:
        >>> round(separation(0.0, Masses.equal(gap=0.5)).upper, 6)  # 2 Phi^{-1}(3/4)
        1.34898
    """
    apart = _separation(as_accuracy(epsilon).upper, masses)
    if not isinstance(epsilon, Enclosure):  # a number is an argument of the function rho*, not a claim
        return apart
    return derived(apart.lower, apart.upper, apart.method, apart, epsilon)


def _separation(accuracy: float, masses: Masses) -> Enclosure:
    """Enclose rho* at an accuracy that is given."""
    if accuracy == 0.0:
        return _widest_at_zero(masses)
    if accuracy == math.inf:
        return _enclosure(masses, 0.0, math.inf, "no accuracy known")
    below, above = _search(masses, lambda level: ends(level.cost)[1], accuracy)
    with working_precision(SPARE_BITS):
        # E is convex: beyond the point (rho, E) of the curve its slope lies between l and the next level, or min(a, b)
        missing = accuracy - below.cost
        steepest = above.level if above.cost > accuracy else masses.balls()[0]
        upper = ends(below.rho + missing / below.level)[1]
        lower = ends(below.rho + missing / steepest if missing > 0 else _widest(masses))[0]
    return _enclosure(masses, max(0.0, min(lower, upper)), upper, METHOD)


def separation_cost(rho: float, masses: Masses) -> Enclosure:
    r"""Enclose $E(\rho)$: the least W_1 distance to N(0, I) at which sets of these masses can be rho apart.

    Args:
        rho: A distance >= 0.
        masses: Masses of the two sets and of the gap.

    Returns:
        An enclosure with the guarantee of the masses; 0 for rho up to rho*(0). About 1e-12 wide, relative; wider where rho
        exceeds rho*(0) by less than a billionth.

    Raises:
        InvalidInput: For a negative or infinite rho.

    Source:
        S1 (docs/theory).

    Example:
        >>> round(separation_cost(2.0, Masses.equal(gap=0.0)).lower, 6)
        0.368746
    """
    if not 0.0 <= rho < math.inf:
        raise InvalidInput("rho", rho, "a finite number >= 0", "pass a distance")
    if rho <= _widest_at_zero(masses).lower:
        return _enclosure(masses, 0.0, 0.0, "within the gap")
    below, above = _search(masses, lambda level: ends(level.rho)[0], rho)
    with working_precision(SPARE_BITS):
        lower = ends(below.cost + below.level * (rho - below.rho))[0]
        # from the next point of the curve back, or from the last one on with the largest slope there is
        back = above.rho >= rho
        upper = ends(above.cost + (below.level if back else masses.balls()[0]) * (rho - above.rho))[1]
        if back and not below.rho <= rho:  # so close to rho*(0) that no level lies below
            upper = ends(above.cost)[1]
    return _enclosure(masses, max(0.0, min(lower, upper)), max(0.0, upper), METHOD)


def least_stretch(distance: float, masses: Masses, epsilon: float | Enclosure) -> Enclosure:
    r"""Enclose the smallest L with $L\,E(D/L)\le\epsilon$, the constant that S4 forces.

    Args:
        distance: D > 0.
        masses: Masses of the two sets and of the gap.
        epsilon: Upper bound of the W_1 error, at least 0, or an enclosure of it; infinity forces nothing.

    Returns:
        An enclosure with the guarantee of the masses: [0, 0] if epsilon >= D min(a, b), D / rho*(0) at epsilon = 0, which is
        infinite without gap.

    Raises:
        InvalidInput: For a distance that is not positive and finite, or a negative epsilon.

    Example:
        >>> round(least_stretch(2.0, Masses.equal(gap=0.0), 0.02).lower, 2)
        19.94
    """
    if not 0.0 < distance < math.inf:
        raise InvalidInput("distance", distance, "a finite number > 0", "choose sets that do not touch")
    epsilon = as_accuracy(epsilon).upper
    if epsilon == math.inf:
        return _enclosure(masses, 0.0, 0.0, "nothing is forced at this accuracy")
    with working_precision(2 * SPARE_BITS):
        if arb(epsilon) >= arb(distance) * masses.balls()[0]:
            return _enclosure(masses, 0.0, 0.0, "nothing is forced at this accuracy")
    if epsilon == 0.0:
        width = _widest_at_zero(masses)
        if width.upper == 0.0:
            return _enclosure(masses, math.inf, math.inf, "mass on both sides of no gap")
        with working_precision(SPARE_BITS):
            low, high = ends(arb(distance) / arb(width.upper))[0], ends(arb(distance) / arb(width.lower))[1]
        return _enclosure(masses, low, high, width.method)
    below, _ = _search(masses, lambda level: ends(distance * level.cost / level.rho)[1], epsilon)
    with working_precision(SPARE_BITS):
        lower = ends((below.level * distance - epsilon) / below.conjugate)[0]
        # L = D / rho meets the condition where E / rho <= epsilon / D; without such a level rho*(0) does
        met = below.cost / below.rho <= arb(epsilon) / distance
        upper = ends(arb(distance) / (below.rho if met else _widest(masses)))[1]
        if met:  # the best level is not below this one, and Psi increases: sharp where hardly anything is forced
            upper = min(upper, ends((masses.balls()[0] * distance - epsilon) / below.conjugate)[1])
    return _enclosure(masses, max(0.0, min(lower, upper)), upper, METHOD)
