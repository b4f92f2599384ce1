r"""Total variation, $\mathrm{TV}(\mu,\nu)=\sup_B|\mu(B)-\nu(B)|=\frac12\int|p-q|$, in [0, 1]."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lipbounds.distances.cubature import total_variation_of_mixtures
from lipbounds.distances.inputs import Points, as_measure
from lipbounds.distances.signed import absolute_integral, difference, framed
from lipbounds.distances.wasserstein import same_law
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.rounding import EXTENDED, NORMAL_FUNCTIONS, UNIT, around, outward

__all__ = ["total_variation"]

Array = NDArray[np.float64]
Measure = Discrete | GaussianMixture

SMALL = 64  # atoms of both laws that are compared in fractions


def total_variation(
    x: Points | Measure,
    y: Points | Measure,
    *,
    x_weights: Points | None = None,
    y_weights: Points | None = None,
    tolerance: float = 1e-3,
) -> Enclosure:
    r"""Enclose the total variation of two measures; in [0, 1], half the L^1 distance of densities.

    | measures | method | guarantee |
    |---|---|---|
    | discrete | masses of equal atoms compared | EXACT, rounding |
    | discrete, mixture | 1: no atom has mass under the mixture | EXACT |
    | mixtures on the line | the signs of p - q, then error functions | EXACT, about 1e-14 apart |
    | mixtures in 2 or 3 dimensions | adaptive cubature (`cubature`) | CERTIFIED, width at most `tolerance` if reached |

    Between samples of continuous laws this is 1, since no two points are equal; `total_variation_lower` says what samples prove.

    Args:
        x: Points of shape (n, d), array or tensor, or a measure.
        y: Points of shape (m, d) or a measure on the same space.
        x_weights: Masses of the points, shape (n,), nonnegative with sum 1; equal when None.
        y_weights: Masses of the points, shape (m,).
        tolerance: Width at which the cubature stops.

    Returns:
        An enclosure inside [0, 1]; the cubature returns its bounds also where it stops early.

    Raises:
        InvalidInput: For unequal dimensions, bad points or weights, or mixtures in more than 3 dimensions.

    Source:
        Tsybakov, Introduction to nonparametric estimation (2009), Definition 2.4 and Lemma 2.1.

    Example:
        >>> total_variation([[0.0], [1.0]], [[1.0], [2.0], [3.0], [4.0]]).upper
        0.75
    """
    mu, nu = as_measure("x", x, x_weights), as_measure("y", y, y_weights)
    if mu.dim != nu.dim:
        raise InvalidInput("x, y", (mu.dim, nu.dim), "one dimension", "compare measures on one space")
    if not 0.0 < tolerance < 1.0:
        raise InvalidInput("tolerance", tolerance, "a number in (0, 1)", "1e-3 is usual")
    if isinstance(mu, Discrete) and isinstance(nu, Discrete):
        return Enclosure(*_discrete(mu, nu), Guarantee.EXACT, "masses of atoms")
    if isinstance(mu, Discrete) or isinstance(nu, Discrete):
        return Enclosure(1.0, 1.0, Guarantee.EXACT, "mutually singular")
    for law in (mu, nu):
        law.check_density()
    signed = difference(mu, nu)
    if mu.dim == 1:
        lower, upper = absolute_integral(signed, "density")
        return Enclosure(
            min(1.0, lower / 2), min(1.0, upper / 2), Guarantee.EXACT, "signs of p - q", assumptions=(NORMAL_FUNCTIONS,)
        )
    return total_variation_of_mixtures(framed(signed)[0], tolerance)


def _discrete(mu: Discrete, nu: Discrete) -> tuple[float, float]:
    if same_law(mu, nu):
        return 0.0, 0.0
    doubt = mu.doubt + nu.doubt
    if len(mu.points) + len(nu.points) <= SMALL:
        value = _in_fractions(mu, nu)
        # laws without a common atom have 1, whatever their masses
        off = Fraction(0) if value == 1 else Fraction(doubt)
        return around(max(Fraction(0), value - off))[0], around(min(Fraction(1), value + off))[1]
    points = np.concatenate((mu.points, nu.points)) + 0.0  # -0 and 0 are one atom
    shares = [law.shares.astype(np.longdouble) for law in (mu, nu)]
    signed = np.concatenate((shares[0] / shares[0].sum(), -shares[1] / shares[1].sum()))
    order = np.lexsort(points.T)
    points, signed = points[order], signed[order]
    first = np.flatnonzero(np.concatenate(([True], (points[1:] != points[:-1]).any(1))))
    masses = np.add.reduceat(signed, first)
    # an atom that both laws have is one however small its masses are: they may vanish in the sum
    here, there = (
        np.maximum.reduceat(np.concatenate(flags)[order], first)
        for flags in ((mu.shares > 0, np.zeros(len(nu.shares), bool)), (np.zeros(len(mu.shares), bool), nu.shares > 0))
    )
    if not (here & there).any():
        return 1.0, 1.0
    # the sum of the shares, a division, sums of an atom and of all: at most this many roundings of masses, 2 in total
    error = (3 * len(points) + 6) * EXTENDED + UNIT + doubt
    low, high = outward(float(np.abs(masses).sum()) / 2, error)
    return max(0.0, low), min(1.0, high)


def _in_fractions(mu: Discrete, nu: Discrete) -> Fraction:
    """The same for few atoms, without rounding."""
    masses: dict[tuple[float, ...], Fraction] = {}
    for law, sign in ((mu, 1), (nu, -1)):
        shares = [Fraction(share) for share in law.shares.tolist()]
        whole = sign * sum(shares)
        for point, share in zip((law.points + 0.0).tolist(), shares, strict=True):
            masses[tuple(point)] = masses.get(tuple(point), Fraction(0)) + share / whole
    return sum((abs(mass) for mass in masses.values()), Fraction(0)) / 2
