r"""The least price of keeping k modes apart (S8): the minimum of a sum over the legs of a star.

With masses $p_i$ of the modes, the mass $\delta=1-\sum p_i$ outside, $h_i(u)=(p_i-\Phi(u))_++(\Phi(u)-p_i-\delta)_+$ and
lengths $\rho_i=R_i/L$,
$$V=\min\Big\{\sum_iG_i(v_i):\sum_iv_i\le1\Big\},\qquad G_i(v)=\min_{c\le\Phi^{-1}(v)}g_i(c),\quad g_i(c)=\int_{c-\rho_i}^ch_i.$$

*What is known of $G_i$.* $h_i$ falls, is 0 and rises, so $g_i$ falls to a least value at some $c_i^*$ and rises: $G_i$ falls, and
is constant from $v_i^*=\Phi(c_i^*)$. On $[0,p_i]$ it is strictly concave: there
$G_i'(v)=-(\Phi(c)-\Phi(c-\rho_i))/\varphi(c)=-\int_0^{\rho_i}e^{cs-s^2/2}\,ds$, which falls in c.

*The minimum.* Two coordinates strictly inside $(0,p_i)$ and $(0,p_j)$ cannot both be minimal: moving mass from one to the
other lowers a sum of strictly concave functions. So at a minimiser a set J of modes has $v_j=0$, at most one mode i is inside,
and the others have $v_j\ge p_j$. Let $m=\sum(p_j-v_j)_+$ be the mass that is missing. With
$K_j(\lambda)=\min_{v\ge p_j}(G_j(v)+\lambda v)$ and $\lambda,\mu\ge0$ Lagrange's dual gives two bounds.

- *Less than the least mass is missing.* J is empty, and
  $V\ge G_i(v_i)+\lambda v_i+\sum_{j\ne i}K_j(\lambda)-\lambda$, where a concave function of $v_i$ is least
  at an end of an interval.
- *At least that.* $G_i(v_i)+\lambda v_i$ is at least its chord from 0 to $p_i$, so
  $V\ge\sum_j\min(K_j(\lambda),\,p_j\rho_j-\mu p_j)-\lambda+\mu m$.

Intervals of $v_i$ and of m are halved until each is proven. The numbers $\lambda,\mu$ from floats make the bounds sharp or blunt,
never wrong; the bounds are evaluated in ball arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from flint import arb
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri

from lipbounds.arb import ends, normal_cdf, normal_density, normal_quantile, working_precision

__all__ = ["Legs"]

Array = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
FAR = 38.0  # beyond, the normal distribution function is 0 in doubles
PRICES, BISECTIONS, NEWTON_STEPS, SECANTS = 400, 55, 3, 3  # of the table in floats, and from it
TOLERANCE = 1e-7  # of the place of a minimum, whose value is then good to its square
STARTS = 6  # shares of a mode that are tried before the best is refined
NARROWEST = 1e-7  # intervals of a share: below, the proof is given up
ROUNDED_DOWN = (4e-16, 1e-13, 1e-11, 1e-9)  # of the places, until the shares fit
MOST_PIECES = 500  # of the line, for the minimum of one leg
SHARPNESS = 1e-13  # of the proven minimum of one leg, as a part of the whole


def _density(c: Array) -> Array:
    return np.asarray(np.exp(-0.5 * c * c) / math.sqrt(2 * math.pi))


def _primitive(u: arb) -> arb:
    """The integral of the normal distribution function from minus infinity."""
    return u * normal_cdf(u) + normal_density(u)


@dataclass(frozen=True, eq=False)
class Legs:
    """Modes with masses, and their legs in units of 1 / L; the mass outside is what remains.

    Args:
        masses: p_i > 0, at least two, with a sum of at most 1.
        lengths: rho_i > 0.
        gaps: delta, an upper bound of the mass outside, by a computation of its own; or for each mode a bound delta_i of the
            mass by which its neighbourhoods exceed p_i.
    """

    masses: Array
    lengths: Array
    gaps: Array | float
    types: list[int] = field(init=False)
    counts: Array = field(init=False)

    def __post_init__(self) -> None:
        first: dict[tuple[float, float, float], int] = {}
        counts: dict[int, int] = {}
        gaps = np.broadcast_to(self.gaps, self.masses.shape)
        object.__setattr__(self, "gaps", gaps)
        for i, key in enumerate(zip(self.masses.tolist(), self.lengths.tolist(), gaps.tolist(), strict=True)):
            counts[first.setdefault(key, i)] = counts.get(first.setdefault(key, i), 0) + 1
        object.__setattr__(self, "types", list(counts))
        object.__setattr__(self, "counts", np.array(list(counts.values()), dtype=float))

    # In floats: where to look.

    @cached_property
    def _fullest(self) -> Array:
        """p + delta of each type."""
        gaps: Array = np.asarray(self.gaps)
        return np.asarray(self.masses[self.types] + gaps[self.types])

    def _overhang(self, u: Array) -> Array:
        """h of each type, shape (types,), at u of that shape."""
        p = self.masses[self.types]
        mass = ndtr(u)
        return np.asarray(np.maximum(p - mass, 0.0) + np.maximum(mass - self._fullest, 0.0))

    def _slope(self, c: Array, price: Array | float) -> Array:
        """The derivative in c of g(c) + price Phi(c), for c at or beyond the quantile of p."""
        rho = self.lengths[self.types]
        rising = np.maximum(ndtr(c) - self._fullest, 0.0)
        return np.asarray(rising - self._overhang(c - rho) + price * _density(c))

    @cached_property
    def _starts(self) -> Array:
        return np.asarray(ndtri(self.masses[self.types]))

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Prices, and the c of each type at each: shapes (PRICES,) and (PRICES, types)."""
        highest = float(np.max(-self._slope(self._starts, 0.0) / _density(self._starts)))
        prices = 0.5 * highest * (1 - np.cos(np.linspace(0.0, np.pi, PRICES)))
        low = np.broadcast_to(self._starts, (PRICES, len(self.types)))
        high = np.maximum(low, 0.0) + self.lengths[self.types] + 9.0
        start = low
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            falls = self._slope(middle, prices[:, None]) < 0
            low, high = np.where(falls, middle, low), np.where(falls, high, middle)
        return prices, np.where(self._slope(start, prices[:, None]) >= 0, start, 0.5 * (low + high))

    def _kept(self, price: float) -> Array:
        """The c of each type that minimises g(c) + price Phi(c) over v >= p: from the table, by Newton's method."""
        prices, places = self._table
        rho = self.lengths[self.types]
        row = min(int(np.searchsorted(prices, price, side="right")), PRICES - 1)
        first, last = places[row], places[row - 1]  # c falls as the price grows
        weight = (price - prices[row - 1]) / (prices[row] - prices[row - 1])
        c = last + min(weight, 1.0) * (first - last)
        for _ in range(NEWTON_STEPS):
            rises = (
                (ndtr(c) > self._fullest) * _density(c) + (c - rho < self._starts) * _density(c - rho) - price * c * _density(c)
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                new = c - self._slope(c, price) / rises
            c = np.where((rises > 0) & (new >= first) & (new <= last), new, c)
        return np.asarray(np.where(self._slope(self._starts, price) >= 0, self._starts, c))

    def _values(self, c: Array) -> Array:
        """g of each type, by quadrature between the kinks of h."""
        p, rho = self.masses[self.types], self.lengths[self.types]
        first, last = ndtri(p), ndtri(np.minimum(self._fullest, 1.0))
        total = np.zeros(len(p))
        for a, b in ((c - rho, np.minimum(c, first)), (np.maximum(c - rho, last), c)):
            a = np.maximum(a, -FAR)
            width = np.maximum(b - a, 0.0)
            panels = max(1, int(np.ceil(width.max())))
            places = (np.arange(panels)[:, None] + 0.5 + 0.5 * NODES).reshape(-1, 1) / panels
            heights = self._overhang(a + width * places)
            total += 0.5 * width / panels * (np.tile(WEIGHTS, panels) @ heights)
        far = np.maximum(-FAR - (c - rho), 0.0)
        return np.asarray(total + p * np.minimum(far, rho))

    def _price(self, share: float, without: int | None) -> float:
        """The price at which the kept modes, but for one of a type, use about a share of the mass."""
        counts = self.counts.copy()
        if without is not None:
            counts[without] -= 1
        prices, places = self._table
        used = ndtr(places) @ counts
        row = int(np.searchsorted(-used, -share))
        if not 0 < row < PRICES:
            return float(prices[min(row, PRICES - 1)])
        low, high = float(prices[row - 1]), float(prices[row])
        for _ in range(SECANTS):
            a, b = (float(counts @ ndtr(self._kept(price))) - share for price in (low, high))
            if not a > 0 > b:
                break
            middle = low + (high - low) * a / (a - b)
            step = 1e-3 * (high - low)
            low, high = max(low, middle - step), min(high, middle + step)
        return high if b <= 0 else low

    def _sharing(self, share: float, without: int | None) -> Array:
        """The c of each type at which the kept modes, but for one of a type, use a share of the mass."""
        counts = self.counts.copy()
        if without is not None:
            counts[without] -= 1
        if len(counts) > 1 or not counts[0]:
            return self._kept(self._price(share, without))
        # one type: no price is needed
        return np.asarray(np.minimum(np.maximum(ndtri(min(share / counts[0], 1.0)), self._starts), self._lowest))

    @cached_property
    def _lowest(self) -> Array:
        """The c of each type at which g is least."""
        return self._kept(0.0)

    def _shared(self, inside: int | None, v: float) -> tuple[float, Array]:
        """The price of one way to share the mass, and the c of each type that keeps its mass; a type inside has one mode of v."""
        kept = self._sharing(1.0 - v, inside)
        values = self._values(kept)
        if inside is None:
            return float(self.counts @ values), kept
        alone = self._values(np.full(len(kept), ndtri(v)))[inside]
        return float(self.counts @ values - values[inside] + alone), kept

    def whole(self) -> float:
        """The minimum in floats where no mode has less than its mass: at least V."""
        return self._shared(None, 0.0)[0]

    def about(self) -> tuple[float, int | None, float]:
        """The minimum in floats, where nearly all of the mass of each mode is kept: its value, the type inside, and its v."""
        best: tuple[float, int | None, float] = (self._shared(None, 0.0)[0], None, 0.0)
        for k, i in enumerate(self.types):
            p = float(self.masses[i])
            shares = np.linspace(max(p - float(self.masses.min()), 0.0), p, STARTS + 2)[1:-1]
            values = [self._shared(k, v)[0] for v in shares.tolist()]
            place = int(np.argmin(values))
            step = float(shares[1] - shares[0])
            bounds = (shares[place] - step, min(shares[place] + step, p))
            found = minimize_scalar(
                lambda v, k=k: self._shared(k, float(v))[0], bounds=bounds, method="bounded", options={"xatol": TOLERANCE}
            )
            if found.fun < best[0]:
                best = float(found.fun), k, float(found.x)
        return best

    # In balls: what is proven.

    def proves(self, least: float) -> bool:
        """Whether V >= least is proven."""
        with working_precision(self._bits):
            goal = arb(least)
            proof = _Proof(self, goal)
            return proof.complete() and all(proof.with_inside(k) for k in range(len(self.types))) and proof.incomplete()

    def reached(self, inside: int | None, v: float) -> float:
        """Return an upper bound of V: the price of one way to share the mass, in balls; infinite where none fits."""
        with working_precision(self._bits):
            proof = _Proof(self, arb(0))
            kept = self._shared(inside, v)[1]
            starts = [ends(c)[1] for c in proof.start]
            counts = [int(n) - (k == inside) for k, n in enumerate(self.counts.tolist())]
            alone = None if inside is None else normal_quantile(arb(v))
            for less in ROUNDED_DOWN:
                moved = (kept - less * (1 + np.abs(kept))).tolist()
                places = [arb(c) if c > low else proof.start[k] for k, (c, low) in enumerate(zip(moved, starts, strict=True))]
                used = sum((n * normal_cdf(c) for n, c in zip(counts, places, strict=True)), arb(0))
                if used + (0 if alone is None else normal_cdf(alone)) <= 1:
                    price = sum((n * proof.cost(k, c) for k, (n, c) in enumerate(zip(counts, places, strict=True))), arb(0))
                    return ends(price + (0 if alone is None else proof.cost(inside or 0, alone)))[1]
            return math.inf

    @property
    def _bits(self) -> int:
        # g is of the order of the square of rho
        return 128 + int(4 * max(0.0, -math.log2(self.lengths.min())))


class _Proof:
    """The two kinds of cases, at the working precision of the caller."""

    def __init__(self, legs: Legs, goal: arb) -> None:
        self._legs, self._goal = legs, goal
        self._p = [arb(legs.masses[i]) for i in legs.types]
        self._rho = [arb(legs.lengths[i]) for i in legs.types]
        gaps = np.asarray(legs.gaps)
        self._gap = [arb(gaps[i]) for i in legs.types]
        self.start = [normal_quantile(p) for p in self._p]
        # 1 - p - gap has no digits to lose: the upper quantile by symmetry
        outside = [1 - p - gap for p, gap in zip(self._p, self._gap, strict=True)]
        self._stop = [-normal_quantile(mass) if mass > 0 else arb.pos_inf() for mass in outside]
        self._kept: dict[tuple[int, float], arb] = {}

    def cost(self, k: int, c: arb) -> arb:
        """g(c)."""
        p, rho, first, last = self._p[k], self._rho[k], self.start[k], self._stop[k]
        low = c - rho
        total = arb(0)
        end = c if c <= first else first
        if low < end:
            total += p * (end - low) - (_primitive(end) - _primitive(low))
        if last.is_finite() and c > last:
            begin = low if low > last else last
            total += _primitive(c) - _primitive(begin) - (p + self._gap[k]) * (c - begin)
        return total

    def _slope(self, k: int, c: arb, price: arb) -> arb:
        p, low = self._p[k], c - self._rho[k]
        return _positive(normal_cdf(c) - p - self._gap[k]) - _positive(p - normal_cdf(low)) + price * normal_density(c)

    def _curvature(self, k: int, low: arb, high: arb, price: arb) -> bool:
        """Whether g + price Phi is convex between two points."""
        both = low.union(high)
        back = both - self._rho[k]
        bend = -price * both * normal_density(both)
        if low > self._stop[k]:
            bend += normal_density(both)
        if high - self._rho[k] < self.start[k]:
            bend += normal_density(back)
        return bool(bend >= 0)

    def kept(self, k: int, price: float) -> arb:
        """A lower bound of the least value of g + price Phi over v >= p."""
        if (k, price) not in self._kept:
            self._kept[k, price] = self._minimum(k, arb(price), float(self._legs._kept(price)[k]))
        return self._kept[k, price]

    def _minimum(self, k: int, price: arb, guess: float) -> arb:
        start = self.start[k].lower()
        top = max(guess, float(self._legs._lowest[k])) + 1e-6
        # beyond a point where g rises everything rises. Where c - rho exceeds the upper quantile, slope and curvature here leave
        # out a negative part; g rises there, so what is left out never lets a lower bound exceed it
        while not _positive(normal_cdf(arb(top)) - self._p[k] - self._gap[k]) >= _positive(
            self._p[k] - normal_cdf(arb(top) - self._rho[k])
        ):
            top += 1.0
        here = self._refined(k, arb(guess), price) if guess > start else start
        enough = (self.cost(k, here) + price * normal_cdf(here)).lower() - arb(SHARPNESS) * self._goal
        # the second derivative is at most this in absolute value
        steepest = 2 * normal_density(arb(0)) + price * arb("0.242")
        waiting, least = [(start, arb(top))], enough
        for _ in range(MOST_PIECES):
            if not waiting:
                return least.lower()
            low, high = waiting.pop()
            if self._below(k, low, high, price, here, steepest) >= enough:
                continue
            inside = here - low > (high - low) / 64 and high - here > (high - low) / 64
            middle = here if inside else ((low + high) / 2).mid()
            waiting += [(low, middle), (middle, high)]
        for low, high in waiting:
            least = _least(least, self._below(k, low, high, price, here, steepest))
        return least.lower()

    def _refined(self, k: int, c: arb, price: arb) -> arb:
        """A zero of the derivative from one that is good to half of its digits, by Newton's method; a guess, not a proof."""
        for _ in range(2):
            bend = -price * c * normal_density(c)
            if c > self._stop[k]:
                bend += normal_density(c)
            if c - self._rho[k] < self.start[k]:
                bend += normal_density(c - self._rho[k])
            step = self._slope(k, c, price) / bend
            if not (bend > 0 and abs(step) < arb("0.01")):
                break
            c = (c - step).mid()
        return c if c > self.start[k] else self.start[k].lower()

    def _below(self, k: int, low: arb, high: arb, price: arb, here: arb, steepest: arb) -> arb:
        """A lower bound between two points."""
        if self._curvature(k, low, high, price):
            point = low if here < low else high if here > high else here
            slope = self._slope(k, point, price)
            value = self.cost(k, point) + price * normal_cdf(point)
            return value + _least(slope * (low - point), slope * (high - point))
        ends_of = [self.cost(k, c) + price * normal_cdf(c) for c in (low, high)]
        return _least(*ends_of) - steepest * (high - low) ** 2 / 8

    def _others(self, price: float, without: int | None) -> arb:
        total = arb(0)
        for k, count in enumerate(self._legs.counts.tolist()):
            number = int(count) - (k == without)
            if number:
                total += number * self.kept(k, price)
        return total - arb(price)

    def complete(self) -> bool:
        """Whether the goal is proven where no mode has less than its mass."""
        price = self._legs._price(1.0, None)
        return bool(self._others(price, None) >= self._goal)

    def with_inside(self, k: int) -> bool:
        """Whether the goal is proven where one mode of a type has less than its mass, by less than the least mass."""
        p = self._p[k]
        missing = arb(self._legs.masses.min())
        waiting = [((p - missing).lower() if p > missing else arb(0), p)]
        while waiting:
            low, high = waiting.pop()
            if self._at(k, high) >= self._goal:
                continue
            middle = float((low + high).mid()) / 2
            if self._legs._shared(k, middle)[0] < float(self._goal.mid()) * (1 - 1e-12):
                return False
            both = [self._at(k, v) for v in (low, high)]
            exact = self._legs._price(1.0 - middle, k)
            # a rounded price often does, and what it costs the other modes is known from before
            if any(
                _least(*(value + arb(price) * v for value, v in zip(both, (low, high), strict=True))) + self._others(price, k)
                >= self._goal
                for price in (_rounded(exact), exact)
            ):
                continue
            if high - low < NARROWEST * p:
                return False
            centre = ((low + high) / 2).mid()
            waiting += [(low, centre), (centre, high)]
        return True

    def incomplete(self) -> bool:
        """Whether the goal is proven where at least the least mass is missing."""
        legs = self._legs
        # beyond, what is missing costs the goal
        most = min(1.0, ends(self._goal)[1] / float(legs.lengths.min()) * (1 + 1e-12))
        waiting = [(float(legs.masses.min()), most)]
        while waiting:
            low, high = waiting.pop()
            if low >= high or self._missing(low, high):
                continue
            if high - low < NARROWEST:
                return False
            waiting += [(low, 0.5 * (low + high)), (0.5 * (low + high), high)]
        return True

    def _missing(self, low: float, high: float) -> bool:
        """Whether the goal is proven where the mass that is missing is between two numbers."""
        legs = self._legs
        p, rho = legs.masses[legs.types], legs.lengths[legs.types]
        middle = 0.5 * (low + high)
        # of all modes the same part is kept: the price at which these use up the mass
        whole = float(legs.counts @ p)
        price = legs._price(whole / max(whole - middle, 1e-9), None)
        kept = legs._values(legs._kept(price)) + price * ndtr(legs._kept(price))
        ratio = (p * rho - kept) / p
        order = np.argsort(ratio)
        filled = np.cumsum((legs.counts * p)[order])
        value = float(ratio[order][min(int(np.searchsorted(filled, middle)), len(order) - 1)])
        total = -arb(price) + _least(arb(value) * low, arb(value) * high)
        for k, count in enumerate(legs.counts.tolist()):
            total += int(count) * _least(self.kept(k, price), self._p[k] * (self._rho[k] - arb(value)))
        return bool(total >= self._goal)

    def _at(self, k: int, v: arb) -> arb:
        """G(v) for v at most p."""
        return self._p[k] * self._rho[k] if v.is_zero() else self.cost(k, normal_quantile(v))


def _rounded(price: float) -> float:
    return float(f"{price:.2g}")


def _positive(x: arb) -> arb:
    if x.is_nan():
        return x
    low, high = x.lower(), x.upper()
    return (low if low > 0 else arb(0)).union(high if high > 0 else arb(0))


def _least(a: arb, b: arb) -> arb:
    """The smaller lower end; not a number where one of them is none."""
    if a.is_nan() or b.is_nan():
        return arb.nan()
    return a.lower() if a.lower() <= b.lower() else b.lower()
