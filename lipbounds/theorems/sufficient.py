r"""S11: what is enough to reach a mixture of normal laws with one covariance exactly, and what an exact map needs at least.

Let $\mu=\sum_jw_jN(m_j,\Sigma)$, $\Delta^2=\max(m_i-m_j)^T\Sigma^{-1}(m_i-m_j)$. There is a generator f on $\mathbb{R}^d$ with
$f_\#\gamma_d=\mu$ and $\mathrm{Lip}(f)\le\|\Sigma\|^{1/2}\exp(\Delta^2/8)$.

Proof. Let $\Sigma=AA^T$ and U the law of $A^{-1}m_j$. The law of $rU+N(0,I)$, $0\le r\le1$, is carried along by
$\dot y=E(U\mid y)$, the posterior mean with weights in proportion to $w_j\exp(r\,u_j\cdot y-r^2|u_j|^2/2)$: the probability flow
of the Ornstein-Uhlenbeck process, in another time. Its derivative is r times a covariance of U, at most $r\Delta^2/4$ for a law
of diameter $\Delta$. So $|y_1-y_1'|\le\exp(\int_0^1r\Delta^2/4\,dr)|y_0-y_0'|$, $f=Ay_1$.

At least. For every unit vector u and number t an exact map has $\mathrm{Lip}(f)\ge I(F(t))/p(t)$, F and p those of $u\cdot X$,
I the isoperimetric profile: S4 at accuracy 0 with the half-spaces at t and t + h, h to 0. For two modes of equal mass both meet.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat
from numpy.typing import ArrayLike, NDArray

from lipbounds.arb import ends, normal_cdf, normal_density, profile, spectral_norm, working_precision
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import GaussianMixture
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["Enough", "MixtureAt", "forced_at", "sufficient_lipschitz"]

Array = NDArray[np.float64]

BITS = 256
NOT_NORMAL = 1e-12


def _common(law: GaussianMixture) -> Array:
    covariance: Array = law.covariances[0]
    if law.singular or not (law.covariances == covariance).all():
        got = "a singular covariance" if law.singular else "covariances that differ"
        raise InvalidInput(
            "law", got, "one regular covariance for all components", "bound it by the smallest one and a wider law"
        )
    return covariance


def sufficient_lipschitz(law: GaussianMixture) -> Enclosure:
    r"""Bound the least constant of an exact generator of a mixture from above (S11).

    Args:
        law: Components with one regular covariance.

    Returns:
        [0, L]: a generator on $\mathbb{R}^d$ with f # N(0, I) = law and this constant L exists. CERTIFIED; infinite beyond the
        doubles.

    Raises:
        InvalidInput: For covariances that differ, or a singular one.

    Source:
        S11 (docs/theory).

    Example:
        >>> from lipbounds.theorems.example_1 import exact_lipschitz, two_modes
        >>> round(sufficient_lipschitz(two_modes(0.3)).upper, 3), round(exact_lipschitz(0.3), 3)
        (77.601, 77.601)
    """
    covariance = _common(law)
    with working_precision(BITS):
        matrix = arb_mat(covariance.tolist())
        largest = arb(0)
        for a, b in itertools.combinations(law.means.tolist(), 2):
            step = arb_mat([[arb(x) - arb(y)] for x, y in zip(a, b, strict=True)])
            apart = (step.transpose() * matrix.solve(step))[0, 0]
            largest = largest.max(apart)
        value = spectral_norm(matrix).sqrt() * (largest / 8).exp()
        upper = ends(value)[1]
    return Enclosure(0.0, upper, Guarantee.CERTIFIED, "S11, probability flow")


def forced_at(law: GaussianMixture, direction: ArrayLike, t: float) -> Enclosure:
    r"""Enclose $I(F(t))/p(t)$, which every exact map from a standard normal law to the mixture has as its constant at least.

    Args:
        law: The mixture, with variances along the direction that are not 0.
        direction: u, shape (d,), not 0; it is normalised.
        t: The threshold of u . x.

    Returns:
        An enclosure, CERTIFIED.

    Raises:
        InvalidInput: For a direction that is none, or along which the law is singular.

    Example:
        >>> from lipbounds.theorems.example_1 import two_modes
        >>> round(forced_at(two_modes(0.5), [1.0], 0.0).lower, 4)
        3.6945
    """
    u = np.asarray(direction, dtype=np.float64)
    if u.shape != (law.dim,) or not np.isfinite(u).all() or not u.any():
        raise InvalidInput("direction", direction, f"a vector of {law.dim} numbers, not 0", "choose a direction")
    with working_precision(BITS):
        row = [arb(v) for v in u.tolist()]
        size = sum((v * v for v in row), arb(0)).sqrt()
        total, mass, density = arb(0), arb(0), arb(0)
        for weight, mean, covariance in zip(law.weights.tolist(), law.means.tolist(), law.covariances.tolist(), strict=True):
            variance = sum((row[i] * arb(covariance[i][j]) * row[j] for i in range(len(row)) for j in range(len(row))), arb(0))
            if not variance > 0:
                raise InvalidInput("law", "a component without width along the direction", "a variance above 0", "turn it")
            deviation = variance.sqrt() / size
            place = (arb(t) - sum((v * arb(m) for v, m in zip(row, mean, strict=True)), arb(0)) / size) / deviation
            total += arb(weight)
            mass += arb(weight) * normal_cdf(place)
            density += arb(weight) * normal_density(place) / deviation
        # the profile is that of the smaller side too
        below = mass / total
        share = below if below < 0.5 else 1 - below
        low, high = ends(profile(share) / (density / total))
    return Enclosure(max(0.0, low), high, Guarantee.CERTIFIED, "S4 at a threshold, accuracy 0")


@dataclass(frozen=True, eq=False)
class MixtureAt:
    """An instance of S11.

    Attributes:
        law: A mixture with one covariance.
        direction: u.
        t: The threshold.
    """

    law: GaussianMixture
    direction: Array
    t: float


class Enough(Statement[MixtureAt]):
    """S11: what is forced by a threshold is at most what is enough."""

    number = "S11"
    version = "sharp"
    text = "I(F(t)) / p(t) <= min Lip(f) <= |Sigma|^(1/2) exp(Delta^2 / 8), f # N(0, I) = sum w_j N(m_j, Sigma)"

    def hypotheses(self, instance: MixtureAt) -> list[Hypothesis]:
        """Return that all components have one covariance."""
        same = bool((instance.law.covariances == instance.law.covariances[0]).all())
        return [Hypothesis("one covariance", same and not instance.law.singular)]

    def left(self, instance: MixtureAt) -> Enclosure:
        """Return what is forced."""
        return forced_at(instance.law, instance.direction, instance.t)

    def right(self, instance: MixtureAt) -> Enclosure:
        """Return what is enough."""
        enough = sufficient_lipschitz(instance.law).upper
        return Enclosure(math.nextafter(enough * (1 - NOT_NORMAL), 0.0), enough, Guarantee.CERTIFIED, "S11")

    def extremal(self) -> MixtureAt:
        """Return the case of equality: two modes of equal mass, between them."""
        return MixtureAt(GaussianMixture([[-1.0], [1.0]], [[[0.25]]] * 2), np.ones(1), 0.0)
