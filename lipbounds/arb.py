r"""Ball arithmetic for the few scalars whose rounding must be proven: the normal law, and floats that enclose a ball.

A ball (`flint.arb`) is a midpoint with a radius, and every operation returns one that contains all results. Numbers that
cancel get more bits, not a rewritten formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
from flint import arb, arb_mat, ctx, fmpq
from numpy.typing import NDArray

__all__ = [
    "Row",
    "as_ball",
    "column",
    "ends",
    "exact_row",
    "farthest_from_zero",
    "high_end",
    "intersection",
    "monotone",
    "nearest_to_zero",
    "noncentral_chi_square",
    "normal_cdf",
    "normal_density",
    "normal_quantile",
    "profile",
    "spectral_norm",
    "working_precision",
]

Row = list[arb]
"""Coordinates of a point or of a box."""


@contextmanager
def working_precision(bits: int) -> Iterator[None]:
    """Compute with this many bits inside the block; the caller's precision comes back, whatever happens."""
    with ctx.workprec(bits):
        yield


def ends(ball: arb) -> tuple[float, float]:
    """Return doubles below and above everything in the ball; infinite where nothing is known.

    Example:
        >>> low, high = ends(arb(1) / 3)
        >>> low < 1 / 3 <= high and high - low < 2e-16
        True
    """
    if ball.is_nan():
        return -math.inf, math.inf
    return _double(ball.lower(), -math.inf), _double(ball.upper(), math.inf)


def _double(end: arb, outward: float) -> float:
    """A double at or beyond the end of a ball; one that the doubles hold is kept."""
    value = float(end)
    if math.isnan(value):
        return outward
    if math.isfinite(value) and arb(value) == end:
        return value
    # float() may round to either side
    return math.nextafter(value, outward)


def high_end(ball: arb) -> float:
    """Return a double at or above everything in the ball."""
    return ends(ball)[1]


def as_ball(value: Fraction) -> arb:
    """Return a fraction as a ball at the working precision."""
    return arb(fmpq(value.numerator, value.denominator))


def exact_row(point: NDArray[np.float64]) -> Row:
    """Return the doubles of a vector as exact balls."""
    return [arb(value) for value in point.tolist()]


def column(values: Row) -> arb_mat:
    """Return a row of balls as a matrix of one column."""
    return arb_mat(len(values), 1, values)


def intersection(first: arb, second: arb) -> arb:
    """Return a ball with all points that two balls share, which have one; an unknown ball contains everything."""
    lows, highs = zip(ends(first), ends(second), strict=True)
    return arb(max(lows)).union(arb(min(highs)))


def monotone(function: Callable[[arb], arb], ball: arb) -> arb:
    """Return the range of a monotone function over a ball, from its values at both ends.

    Example:
        >>> low, high = ends(monotone(arb.tanh, arb(-1).union(arb(1))))
        >>> low <= -0.7615941559557649 and 0.7615941559557649 <= high < 0.76159416
        True
    """
    if not ball.is_finite() or ball.is_exact():
        return function(ball)
    return function(ball.lower()).union(function(ball.upper()))


def nearest_to_zero(ball: arb) -> arb:
    """Return a number at most as far from 0 as everything in the ball."""
    low, high = ends(ball)
    return arb(max(low, -high, 0.0)) if math.isfinite(low) and math.isfinite(high) else arb(0)


def farthest_from_zero(ball: arb) -> arb:
    """Return a number at least as far from 0 as everything in the ball."""
    low, high = ends(ball)
    return arb(max(-low, high)) if math.isfinite(low) and math.isfinite(high) else arb(math.inf)


def normal_density(x: arb) -> arb:
    r"""$\varphi(x)=e^{-x^2/2}/\sqrt{2\pi}$."""
    return (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def normal_cdf(x: arb) -> arb:
    r"""$\Phi(x)$, with relative accuracy in the lower tail.

    Example:
        >>> ends(normal_cdf(arb(0)))
        (0.5, 0.5)
    """
    return (-x / arb(2).sqrt()).erfc() / 2


def normal_quantile(p: arb) -> arb:
    r"""$\Phi^{-1}(p)$; minus infinity at 0. In the upper tail use symmetry: p near 1 has lost its digits.

    Example:
        >>> low, high = ends(normal_quantile(arb("0.975")))
        >>> low <= 1.959963984540054 <= high
        True
    """
    if p.is_zero():
        return arb.neg_inf()
    return -arb(2).sqrt() * (2 * p).erfcinv()


def noncentral_chi_square(n: int, noncentrality: arb, x: arb) -> arb:
    r"""P(X <= x) for the noncentral chi-square law of n degrees of freedom.

    It is $\sum_je^{-\lambda/2}\frac{(\lambda/2)^j}{j!}P(n/2+j,x/2)$ with the regularised incomplete gamma function P.
    The factors P fall in j, so what is left out beyond j is at most P there times the Poisson mass that is left.

    Example:
        >>> low, high = ends(noncentral_chi_square(2, arb(0), arb(4)))
        >>> low <= 0.8646647167633873 <= high
        True
    """
    if x.is_zero():
        return arb(0)
    half = noncentrality / 2
    middle = float(half.mid())
    # Poisson mass more than 60 deviations below the mean is at most exp(-1800), less than any double
    first = max(0, int(middle - 60.0 * math.sqrt(middle)) if middle > 4000.0 else 0)
    share = (-half + (first * half.log() - arb(first + 1).lgamma() if first else 0)).exp()
    mass, used, j = arb(5e-324 if first else 0), arb(0), first
    while True:
        factor = (x / 2).gamma_lower(arb(n) / 2 + j, 1)
        beyond = high_end(factor * arb(max(0.0, high_end(1 - used))))
        if beyond <= 2.0**-ctx.prec * ends(mass)[0] or j > middle + 60.0 * math.sqrt(middle + 1.0) + 4 * ctx.prec:
            return mass.union(mass + arb(beyond))
        mass, used = mass + share * factor, used + share
        j += 1
        share = share * half / j


def profile(p: arb) -> arb:
    r"""$I(p)=\varphi(\Phi^{-1}(p))$, the Gaussian isoperimetric profile: the least surface of a set of mass p.

    Example:
        >>> low, high = ends(profile(arb(1) / 2))
        >>> low <= 0.3989422804014327 <= high
        True
    """
    return arb(0) if p.is_zero() else normal_density(normal_quantile(p))


def spectral_norm(matrix: arb_mat) -> arb:
    r"""Return an upper bound of the largest singular value of every matrix in a ball matrix.

    Singular vectors from floats, checked: with $W=USV^T+E$, $\|W\|\le\|U\|\|V\|s_1+\|E\|_F$ and
    $\|U\|^2\le1+\|U^TU-I\|_F$. Power iteration, which approaches from below, would prove nothing.

    Example:
        >>> 5.0 <= ends(spectral_norm(arb_mat([[3.0, 0.0], [4.0, 0.0]])))[1] < 5.0 + 1e-12
        True
    """
    rows = [[float(matrix[i, j].mid()) for j in range(matrix.ncols())] for i in range(matrix.nrows())]
    if not np.isfinite(rows).all():
        return arb(math.inf)
    left, values, right = np.linalg.svd(np.array(rows), full_matrices=False)
    u, v = arb_mat(left.tolist()), arb_mat(right.T.tolist())
    middle = arb_mat([[value * s for value, s in zip(row, map(arb, values.tolist()), strict=True)] for row in left.tolist()])
    rest = _frobenius(matrix - middle * v.transpose())
    skew = (1 + _excess(u)) * (1 + _excess(v))
    return arb(ends(skew.sqrt() * arb(float(values[0])) + rest)[1])


def _excess(factor: arb_mat) -> arb:
    return _frobenius(factor.transpose() * factor - arb_mat(np.eye(factor.ncols()).tolist()))


def _frobenius(matrix: arb_mat) -> arb:
    total = arb(0)
    for i in range(matrix.nrows()):
        for j in range(matrix.ncols()):
            total += abs(matrix[i, j]).upper() ** 2  # exact numbers: a ball about 0 has no root
    return arb(ends(total.sqrt())[1])
