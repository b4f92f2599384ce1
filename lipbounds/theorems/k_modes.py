r"""S8: what any generator with a standard normal latent must pay for k modes at once.

Modes $Q_i$ have masses at least $p_i$, $\delta=1-\sum p_i$, and pairwise distances at least $D_{ij}$. Choose legs $R_i\ge0$
with $R_i+R_j\le D_{ij}$. If f is L-Lipschitz and $W_1(f_\#\gamma_n,\mu)\le\epsilon$, then $L\,V(R/L)\le\epsilon$ with V of
`star_cost`. The left side falls as L grows, so there is a least L.

Proof. S maps x to the point at distance $R_i-d(x,Q_i)$ from the hub on leg i of a star where that is positive, else to the hub.
Two positive heights would give $D_{ij}<R_i+R_j$, so S is well defined, and it is 1-Lipschitz. On a star $W_1$ is the sum over
the legs of $\int_0^{R_i}|b_i-m_i|\,dt$, $b_i(t)=\gamma(d(f,Q_i)\le t)$, $m_i(t)=\mu(d(\cdot,Q_i)\le t)\in[p_i,p_i+\delta]$ for
$t<R_i$. By the isoperimetric inequality $u_i=\Phi^{-1}\circ b_i$ has $u_i(t')-u_i(t)\ge(t'-t)/L$. Let $v_i$ be the limit of
$b_i$ at $R_i$: these neighbourhoods are disjoint, so $\sum v_i\le1$. Where $u_i$ crosses a least point of $h_i$ it is compared
with the line of slope 1/L through it, as in S1: $\int_0^{R_i}h_i(u_i)\,dt\ge L\,G_i(v_i)$.

In total variation: $\tau$ takes mass from the modes, the rest is $q_i$, and $\sum\Phi(\Phi^{-1}(q_i)+R/L)\le1$ with equal legs
R. The sum is concave in q and symmetric, so it is least where the smallest modes are emptied first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from flint import acb, arb
from numpy.typing import NDArray
from scipy.optimize import brentq, linprog
from scipy.special import ndtr, ndtri

from lipbounds.arb import ends, normal_cdf, normal_quantile, profile, working_precision
from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, derived
from lipbounds.errors import InvalidInput
from lipbounds.rounding import EPS, around
from lipbounds.theorems.separation import SMALLEST_MASS, Masses, least_stretch
from lipbounds.theorems.star_cost import Legs
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = [
    "KModes",
    "ModeSets",
    "StarBound",
    "forced_by_modes",
    "forced_by_modes_in_total_variation",
    "perimeter_of_intervals",
    "simplicial_cost",
    "simplicial_perimeter",
    "star_stretch",
]

Array = NDArray[np.float64]

GIVEN = "the masses and distances of the modes, as given"
SLACKS = (1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)  # parts of the bound given up until it is proven
SMALLEST_LENGTH, LARGEST_LENGTH = 1e-7, 60.0  # of legs, in units of 1 / L
BITS = 160
SMALLEST = 1e-290  # of distances, and of a price that is asked for
FARTHEST = 38.0  # the normal law has no mass beyond that a double could tell
PANELS = 16
SECANTS = 12


@dataclass(frozen=True, eq=False)
class KModes:
    """What is known of k disjoint sets: masses at least, and distances at least.

    Args:
        masses: p_i in [1e-12, 1), at least two, with a sum of at most 1 up to rounding.
        distances: D_ij > 0, shape (k, k), symmetric; or one number for all pairs.
        guarantee: What stands behind the numbers.
        alpha: Error probability, for CONFIDENCE.
        assumptions: What they take for granted.

    Raises:
        InvalidInput: For masses or distances that are none.

    Example:
        >>> KModes([0.25] * 4, 2.0).gap
        0.0
    """

    masses: Sequence[float]
    distances: Array | float
    guarantee: Guarantee = Guarantee.CERTIFIED
    alpha: float | None = None
    assumptions: tuple[str, ...] = (GIVEN,)

    def __post_init__(self) -> None:
        p = np.asarray(self.masses, dtype=np.float64)
        k = p.size
        if p.ndim != 1 or k < 2 or not (p >= SMALLEST_MASS).all() or not float(p.max()) < 1:
            raise InvalidInput("masses", self.masses, f"at least two numbers in [{SMALLEST_MASS}, 1)", "leave out empty modes")
        total = sum(map(Fraction, p.tolist()), Fraction(0))
        if total > 1 + Fraction(8 * k * EPS):
            raise InvalidInput("masses", float(total), "a sum of at most 1", "modes are disjoint sets")
        # where rounding exceeds 1 all lose an ulp, or a few
        given, ulps = p, 0
        while sum(map(Fraction, p.tolist()), Fraction(0)) > 1:
            ulps += 1
            p = given * (1 - ulps * EPS)
        d = np.asarray(self.distances, dtype=np.float64)
        d = d + np.zeros((k, k)) if d.ndim == 0 else d
        off = ~np.eye(k, dtype=bool)
        if d.shape != (k, k) or not (d[off] >= SMALLEST).all() or not np.isfinite(d[off]).all() or not (d == d.T)[off].all():
            raise InvalidInput(
                "distances", self.distances, f"positive numbers, symmetric, shape ({k}, {k})", "modes do not touch"
            )
        object.__setattr__(self, "masses", tuple(p.tolist()))
        object.__setattr__(self, "distances", d)

    @cached_property
    def gap(self) -> float:
        """The mass outside all modes, rounded up."""
        return max(0.0, around(1 - sum(map(Fraction, self.masses), Fraction(0)))[1])

    @property
    def matrix(self) -> Array:
        """The distances, shape (k, k)."""
        return np.asarray(self.distances)

    @property
    def closest(self) -> float:
        """The least distance of two modes."""
        return float(self.matrix[~np.eye(len(self.masses), dtype=bool)].min())

    @property
    def known(self) -> Enclosure:
        """What stands behind the numbers, to be combined with other enclosures."""
        return Enclosure(self.gap, self.gap, self.guarantee, "modes", self.alpha, self.assumptions)

    def legs(self) -> list[Array]:
        """Choices of legs with $R_i+R_j\\le D_{ij}$, rounding included: equal ones, and those of two linear programs.

        For small epsilon $L\\epsilon\\approx\\sum R_i^2I(p_i)/2$, of which the programs maximise linear approximations.
        """
        k, d = len(self.masses), self.matrix
        equal = np.full(k, self.closest / 2)
        pairs = list(itertools.combinations(range(k), 2))
        if k > 2 and all(d[i, j] == self.closest for i, j in pairs):
            return [equal]
        weight = np.exp(-0.5 * ndtri(np.array(self.masses)) ** 2)
        rows = np.zeros((len(pairs), k))
        for row, (i, j) in enumerate(pairs):
            rows[row, [i, j]] = 1.0
        limits = np.array([d[i, j] for i, j in pairs])
        found, now = [equal], np.ones(k)
        for _ in range(2):
            solution = linprog(-weight * now, A_ub=rows, b_ub=limits)
            if not solution.success:
                break
            now = np.maximum(solution.x, 1e-3 * self.closest)
            # shrunk until all pairs fit
            now = now * min(1.0, float((limits / (rows @ now)).min())) * (1 - 8 * EPS)
            found.append(now)
        return found

    def groups(self) -> list[tuple[NDArray[np.bool_], float]]:
        """Splits of the modes into two groups and their distance: one mode against the others, and by nearest neighbours."""
        d = self.matrix + np.diag(np.full(len(self.masses), np.inf))
        label = np.arange(len(d))
        splits: list[NDArray[np.bool_]] = [label == i for i in range(len(d))]
        for i, j in sorted(itertools.combinations(range(len(d)), 2), key=lambda pair: d[pair]):
            if len(np.unique(label)) > 2 and label[i] != label[j]:
                label = np.where(label == label[j], label[i], label)
                splits += [label == one for one in np.unique(label)]
        return [(split, float(d[np.ix_(split, ~split)].min())) for split in splits if split.any() and not split.all()]


def star_stretch(masses: Sequence[float], legs: Array, gap: Array | float, epsilon: float) -> tuple[float, float]:
    r"""Enclose the least L with $L\,V(R/L)\le\epsilon$, for given legs.

    Args:
        masses: p_i.
        legs: R_i > 0.
        gap: Upper bound of the mass outside, raised to what the masses leave; or for each mode of the mass by which its
            neighbourhoods exceed p_i.
        epsilon: The accuracy, positive and finite.

    Returns:
        A proven lower end, at most 1e-9 below in most cases, and a proven upper end, infinite where none was found.

    Raises:
        InvalidInput: For legs that are not positive, or masses of more than 1 together.

    Example:
        >>> low, high = star_stretch([1 / 3] * 3, np.full(3, 1.0), 0.0, 0.02)
        >>> 27.1 < low <= high < 27.2
        True
    """
    p, r = np.asarray(masses, dtype=np.float64), np.asarray(legs, dtype=np.float64)
    left = 1 - sum(map(Fraction, p.tolist()), Fraction(0))
    if left < 0 or not (r > 0).all():
        raise InvalidInput("masses, legs", (masses, legs), "a sum of at most 1, positive legs", "KModes rounds masses down")
    if np.ndim(gap) == 0:  # 1 / 3 three times is less than 1
        gap = max(float(gap), around(left)[1])

    def larger(stretch: float) -> float:
        return stretch * Legs(p, r / stretch, gap).whole()

    low, high = float(r.max()) / LARGEST_LENGTH, float(r.min()) / SMALLEST_LENGTH
    if larger(low) <= epsilon:
        return 0.0, math.inf
    if larger(high) >= epsilon:
        return high * (1 - 1e-9) if _proves(p, r, gap, high * (1 - 1e-9), epsilon) else 0.0, math.inf
    guess = _root(lambda stretch: stretch * Legs(p, r / stretch, gap).about()[0], larger, epsilon, low, high)
    upper = math.inf
    inside, share = Legs(p, r / guess, gap).about()[1:]
    for slack in SLACKS[:3]:
        stretch = guess * (1 + slack)
        value = Legs(p, r / stretch * (1 + 4 * EPS), gap).reached(inside, share)
        if math.isfinite(value) and Fraction(stretch) * Fraction(value) <= Fraction(epsilon):
            upper = stretch
            break
    return next((guess * (1 - s) for s in SLACKS if _proves(p, r, gap, guess * (1 - s), epsilon)), 0.0), upper


def _root(cost: Callable[[float], float], larger: Callable[[float], float], epsilon: float, low: float, high: float) -> float:
    """Where a falling function is epsilon: from the root of one a little larger and cheaper, by secants of the logarithms."""

    def excess(logarithm: float, function: Callable[[float], float]) -> float:
        return math.log(max(function(math.exp(logarithm)), 1e-300)) - math.log(epsilon)

    if excess(math.log(high), larger) >= 0.0:
        return high
    last = float(brentq(excess, math.log(low), math.log(high), args=(larger,), xtol=1e-13))
    error, step = excess(last, cost), -1e-3
    if error == 0.0:
        return math.exp(last)
    now = last + (error if error < 0 else step)
    for _ in range(SECANTS):
        value = excess(now, cost)
        if value in (0.0, error):
            break
        following = now - value * (now - last) / (value - error)
        last, now, error = now, min(max(following, math.log(low)), math.log(high)), value
        if abs(now - last) < 1e-14:
            break
    return math.exp(now)


def _proves(p: Array, r: Array, gap: Array | float, stretch: float, epsilon: float) -> bool:
    """Whether no generator of this constant has the accuracy: lengths rounded down, and the price asked for rounded up."""
    lengths, goal = r / stretch * (1 - 4 * EPS), epsilon / stretch * (1 + 4 * EPS)
    # below, quotients are not relatively accurate
    return goal >= SMALLEST and float(lengths.min()) >= SMALLEST and Legs(p, lengths, gap).proves(goal)


def forced_by_modes(modes: KModes, epsilon: float | Enclosure) -> Enclosure:
    r"""Bound Lip(f) from below by k modes of the data: the larger of the star (S8) and two sets (S4) over groupings.

    Args:
        modes: Masses and distances.
        epsilon: $W_1(f_\#\gamma,\mu)$, a number >= 0 or an enclosure; only its upper end is used.

    Returns:
        [L, inf) with the weaker guarantee of epsilon and the modes. At epsilon = 0 it is infinite without gap.

    Source:
        S8 and S4 (docs/theory).

    Example:
        Eight modes at distance 2, at accuracy 0.05; two sets see half of it:

        >>> bound = forced_by_modes(KModes([1 / 8] * 8, 2.0), 0.05)
        >>> round(bound.lower, 2), round(least_stretch(2.0, Masses.equal(0.0), 0.05).lower, 2)
        (16.08, 7.97)
    """
    accuracy = as_accuracy(epsilon)
    if not accuracy.upper < math.inf:
        return derived(0.0, math.inf, "nothing is forced at this accuracy", modes.known, accuracy)
    best, method = 0.0, "S8, nothing is forced at this accuracy"
    for group, distance in modes.groups():
        masses = _grouped(modes, group)
        if masses is not None:
            value = least_stretch(distance, masses, accuracy.upper).lower
            if value > best:
                best, method = value, f"S4, {int(group.sum())} modes against {int((~group).sum())}"
    if len(modes.masses) > 2:
        value = _by_star(modes, accuracy.upper)
        if value > best:
            best, method = value, f"S8, star of {len(modes.masses)} modes"
    return derived(best, math.inf, method, modes.known, accuracy)


def _by_star(modes: KModes, epsilon: float) -> float:
    if epsilon == 0.0:
        return _by_neighbourhoods(modes.masses, modes.closest / 2)[0]
    choices = modes.legs()
    if len(choices) > 1:
        # by their price at one constant: the larger the price, the more is forced
        at = _guess(modes, choices[0], epsilon)
        choices = [max(choices, key=lambda legs: Legs(np.array(modes.masses), legs / at, modes.gap).about()[0])]
    return star_stretch(modes.masses, choices[0], modes.gap, epsilon)[0]


def _guess(modes: KModes, legs: Array, epsilon: float) -> float:
    density = np.exp(-0.5 * ndtri(np.array(modes.masses)) ** 2) / math.sqrt(2 * math.pi)
    return max(float((np.square(legs) * density).sum()) / (2 * epsilon), float(legs.max()) / 10)


def _grouped(modes: KModes, group: NDArray[np.bool_]) -> Masses | None:
    parts = [
        sum((Fraction(p) for p, inside in zip(modes.masses, group, strict=True) if inside == side), Fraction(0))
        for side in (True, False)
    ]
    a, b = (around(part)[0] for part in parts)
    if min(a, b) < SMALLEST_MASS or max(a, b) >= 1:
        return None
    gap = max(0.0, around(1 - Fraction(a) - Fraction(b))[1])
    return Masses(a, b, gap, modes.guarantee, modes.alpha, modes.assumptions)


def _by_neighbourhoods(masses: Sequence[float], leg: float) -> tuple[float, float]:
    r"""Enclose the least L with $\sum\Phi(\Phi^{-1}(q_i)+R/L)\le1$ for masses that are not 0."""
    with working_precision(BITS):
        starts = [normal_quantile(arb(q)) for q in masses]

        def total(width: float) -> arb:
            return sum((normal_cdf(start + arb(width)) for start in starts), arb(0))

        if not total(0.0) < 1:
            return math.inf, math.inf
        floats = ndtri(np.asarray(masses))
        # where the masses sum to 1 but for rounding, floats see no root
        full = float(ndtr(floats).sum()) >= 1.0
        width = 0.0 if full else float(brentq(lambda w: float(ndtr(floats + w).sum()) - 1.0, 0.0, 2 * FARTHEST, xtol=1e-15))
        step = 4 * EPS * max(width, 1e-300)
        high = low = width
        while not total(high) > 1:
            high, step = high + step, 2 * step
        while not total(low) <= 1:
            low, step = max(low - step, 0.0), 2 * step
        return ends(arb(leg) / arb(high))[0], ends(arb(leg) / arb(low))[1] if low > 0 else math.inf


def forced_by_modes_in_total_variation(modes: KModes, tau: Enclosure) -> Enclosure:
    r"""Bound Lip(f) from below by k modes at total variation tau from the data (S8); k = 2 is S5.

    Args:
        modes: Masses and distances; all legs are half the least distance.
        tau: Enclosure of the total variation; only its upper end is used.

    Returns:
        [L, inf) with the weaker guarantee; 0 where tau may empty all modes but one, infinite at tau = 0 without gap.

    Source:
        S8 (docs/theory).

    Example:
        >>> tau = Enclosure(0.0, 0.01, Guarantee.EXACT, "given")
        >>> round(forced_by_modes_in_total_variation(KModes([0.5, 0.5], 2.0), tau).lower, 1)
        79.8
    """
    if not 0.0 <= tau.lower <= tau.upper:
        raise InvalidInput("tau", (tau.lower, tau.upper), "an enclosure of a number in [0, 1]", "it is half the L1 distance")
    left, kept = Fraction(min(tau.upper, 1.0)), []
    for mass in sorted(map(Fraction, modes.masses)):
        taken = min(left, mass)
        left -= taken
        if mass > taken:
            kept.append(mass - taken)
    if len(kept) < 2:
        return derived(0.0, math.inf, "all modes but one may be empty", modes.known, tau)
    # rounded down: smaller modes force less
    lows = [around(mass)[0] for mass in kept]
    low = _by_neighbourhoods([mass for mass in lows if mass >= 1e-300], modes.closest / 2)[0]
    return derived(low, math.inf, f"S8, total variation, {len(lows)} modes", modes.known, tau)


def simplicial_perimeter(k: int) -> Enclosure:
    r"""Enclose $P_k=\frac k{\sqrt2}\int(k-1)\varphi^2\Phi^{k-2}$, the Gaussian perimeter of k equal cells of a regular simplex.

    For k equidistant atoms, k at most one more than the latent dimension, the least constant at accuracy epsilon is about
    $D^2P_k/(4\epsilon)$; the star has $D^2kI(1/k)/(8\epsilon)$.

    Args:
        k: At least 2.

    Example:
        >>> [round(simplicial_perimeter(k).lower, 3) for k in (2, 3, 8, 100)]
        [0.399, 0.598, 1.007, 1.773]
    """
    if k < 2:
        raise InvalidInput("k", k, "an integer >= 2", "two modes at least")
    with working_precision(BITS):
        inner = _integral(lambda x: _complex_density(x) ** 2 * _complex_cdf(x) ** (k - 2))
        low, high = ends(inner * k * (k - 1) / arb(2).sqrt())
    return Enclosure(low, high, Guarantee.CERTIFIED, "integral in balls")


def perimeter_of_intervals(k: int) -> Enclosure:
    r"""Enclose $\sum_{j<k}I(j/k)$: the perimeter of k intervals of equal mass, what one latent dimension has in place of $P_k$.

    Example:
        >>> [round(perimeter_of_intervals(k).lower, 3) for k in (3, 8, 100)]
        [0.727, 2.205, 28.204]
    """
    if k < 2:
        raise InvalidInput("k", k, "an integer >= 2", "two modes at least")
    with working_precision(BITS):
        low, high = ends(sum((profile(arb(j) / k) for j in range(1, k)), arb(0)))
    return Enclosure(low, high, Guarantee.CERTIFIED, "profile in balls")


def simplicial_cost(k: int, length: float) -> Enclosure:
    r"""Enclose $W_1$ of the simplicial generator over its constant L: $\int_0^\rho P(\mathrm{dist}\le t)\,dt$, $\rho=D/(2L)$.

    The data space is a star with k legs of length D/2, the atoms at their ends (the half-axes of $\mathbb{R}^k$ with the sum of
    absolute values). k cells, those of a regular simplex, share $\mathbb{R}^{k-1}$; f sends a point of cell i at distance t
    from the other cells to the point of leg i at distance $L\min(t,\rho)$ from the hub. It is L-Lipschitz: within a cell clearly,
    and the way between two cells crosses the boundaries of both. A point misses its atom by $L(\rho-t)_+$. In Euclidean
    space the same price is right to leading order: near the common boundary of three cells a little more is missed.

    Args:
        k: Number of atoms, at least 2, equidistant and of equal mass.
        length: rho > 0.

    Example:
        >>> 0.0 < simplicial_cost(3, 0.1).lower < simplicial_cost(3, 0.2).lower
        True
    """
    if k < 2 or not 0.0 < length < math.inf:
        raise InvalidInput("k, length", (k, length), "an integer >= 2 and a finite number > 0", "pass D / (2 L)")
    with working_precision(64):
        step = arb(length) / PANELS

        def near(t: arb) -> arb:
            """P(dist <= t), which is concave: its derivative is the perimeter of smaller and smaller cells."""
            shift = acb(arb(2).sqrt() * t)
            inside = _integral(lambda x: _complex_density(x) * _complex_cdf(x - shift) ** (k - 1))
            return 1 - k * inside

        # for a concave function the midpoint rule is above the integral, the trapezoid rule below
        low = sum((near(step * j) for j in range(1, PANELS)), near(step * PANELS) / 2) * step
        high = sum((near(step * (j + arb(1) / 2)) for j in range(PANELS)), arb(0)) * step
    return Enclosure(max(0.0, ends(low)[0]), ends(high)[1], Guarantee.CERTIFIED, "concave integral in balls")


def _integral(function: Callable[[acb], acb]) -> arb:
    """The integral over the line of a function that is at most the normal density in absolute value."""
    inner = acb.integral(lambda x, _: function(x), -FARTHEST, FARTHEST).real
    beyond = normal_cdf(arb(-FARTHEST))
    return inner + (-2 * beyond).union(2 * beyond)


def _complex_density(x: acb) -> acb:
    return (-x * x / 2).exp() / acb(2 * arb.pi()).sqrt()


def _complex_cdf(x: acb) -> acb:
    return (-x / acb(2).sqrt()).erfc() / 2


@dataclass(frozen=True, eq=False)
class ModeSets:
    """An instance of S8.

    Attributes:
        epsilon: Enclosure of W_1(f#gamma, mu).
        modes: Masses and distances of the modes.
        lipschitz: Enclosure of Lip(f).
    """

    epsilon: Enclosure
    modes: KModes
    lipschitz: Enclosure


class StarBound(Statement[ModeSets]):
    """S8: the least L with L V(R / L) <= epsilon bounds the constant of every generator with a standard normal latent."""

    number = "S8"
    version = "sharp"
    text = "min{L : L V(R / L) <= epsilon} <= Lip(f), R_i + R_j <= D_ij"

    def hypotheses(self, instance: ModeSets) -> list[Hypothesis]:
        """Return that the accuracy is positive and finite."""
        upper = instance.epsilon.upper
        return [Hypothesis(f"W_1 <= epsilon = {upper:.4g} positive and finite", 0.0 < upper < math.inf)]

    def left(self, instance: ModeSets) -> Enclosure:
        """Return the bound of the star with equal legs, from the upper end of epsilon."""
        modes = instance.modes
        legs = np.full(len(modes.masses), modes.closest / 2)
        low, high = star_stretch(modes.masses, legs, modes.gap, instance.epsilon.upper)
        return derived(low, high, "S8, star", modes.known, instance.epsilon)

    def right(self, instance: ModeSets) -> Enclosure:
        """Return what is known of Lip(f)."""
        return instance.lipschitz

    def extremal(self) -> ModeSets:
        """Return the simplicial generator on a star of three atoms at distance 2, L = 10: 1.10 times the bound."""
        stretch = 10.0
        cost = simplicial_cost(3, 1.0 / stretch)
        epsilon = Enclosure(0.0, stretch * cost.upper * (1 + 4 * EPS), cost.guarantee, cost.method)
        known = Enclosure(stretch, stretch, Guarantee.EXACT, "a map into a star")
        return ModeSets(epsilon, KModes([1 / 3] * 3, 2.0), known)
