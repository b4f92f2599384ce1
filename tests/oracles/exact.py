"""Distances of finite laws without rounding: fractions for masses and points, balls of 400 bits for roots."""

from __future__ import annotations

import itertools
from fractions import Fraction

from flint import arb, fmpq

from lipbounds.arb import working_precision

BITS = 400


def ball(value):
    """A fraction, or a double, at 400 bits."""
    value = Fraction(value)
    return arb(fmpq(value.numerator, value.denominator))


def quotients(shares):
    """The exact masses s_i / sum(s)."""
    given = [Fraction(float(share)) for share in shares]
    whole = sum(given)
    return [share / whole for share in given]


def mean_power_root(gaps, masses, p):
    """(sum m t^p)^(1/p) for gaps as balls, in units of the largest gap that moves."""
    with working_precision(BITS):
        moved = [(gap, mass) for gap, mass in zip(gaps, masses, strict=True) if mass > 0 and not gap.is_zero()]
        if not moved:
            return arb(0)
        unit = max(moved, key=lambda pair: float(pair[0].mid()) if float(pair[0].mid()) else 0.0)[0]
        total = arb(0)
        for gap, mass in moved:
            total += ball(mass) * (ball(p) * (gap / unit).log()).exp()
        return unit * (total.log() / ball(p)).exp()


def line(x, y, a, b, p):
    """W_p of atoms on the line by the monotone coupling; x and y doubles, a and b fractions with sum 1."""
    left, right = (sorted(zip(map(Fraction, map(float, t)), m, strict=True)) for t, m in ((x, a), (y, b)))
    gaps, masses, i, j = [], [], 0, 0
    rest_x, rest_y = left[0][1], right[0][1]
    while i < len(left) and j < len(right):
        step = min(rest_x, rest_y)
        gaps.append(abs(left[i][0] - right[j][0]))
        masses.append(step)
        rest_x, rest_y = rest_x - step, rest_y - step
        if rest_x == 0:
            i += 1
            rest_x = left[i][1] if i < len(left) else Fraction(0)
        if rest_y == 0:
            j += 1
            rest_y = right[j][1] if j < len(right) else Fraction(0)
    with working_precision(BITS):
        return mean_power_root([ball(gap) for gap in gaps], masses, p)


def distance(x, y):
    """The Euclidean distance of two points given by doubles."""
    with working_precision(BITS):
        square = sum((Fraction(float(s)) - Fraction(float(t))) ** 2 for s, t in zip(x, y, strict=True))
        return ball(square).sqrt()


def permutations(x, y, p):
    """W_p of equally many equal masses, the least over all permutations."""
    n = len(x)
    with working_precision(BITS):
        table = [[distance(a, b) for b in y] for a in x]
        values = [
            mean_power_root([table[i][k] for i, k in enumerate(order)], [Fraction(1, n)] * n, p)
            for order in itertools.permutations(range(n))
        ]
        return min(values, key=lambda value: float(value.mid()))


def holds(enclosure, truth):
    """Whether an enclosure may contain a number that is known as a ball: neither end is proven wrong."""
    return not (truth < enclosure.lower or truth > enclosure.upper)
