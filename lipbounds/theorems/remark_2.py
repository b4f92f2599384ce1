r"""Remarks 1 and 2: on finitely many points of a compact set, D_K and W_1 bound each other, so they agree on convergence.

$$\sqrt{\lambda_{\min}}\,|\mu-\nu|_2\le\mathcal{D}_K(\mu,\nu)\le c\,W_1(\mu,\nu),\qquad
W_1(\mu,\nu)\le\tfrac12\mathrm{diam}\,\sqrt{m/\lambda_{\min}}\ \mathcal{D}_K(\mu,\nu),$$
with the smallest eigenvalue of the kernel's matrix on the m points, $|\cdot|_2$ of the vectors of masses, and $c^2=2|k'(0)|$: the
feature map moves by $\sqrt{2(k(0)-k(|x-y|^2))}\le c|x-y|$, k being convex. For the last: total variation is half the sum of
$|\mu_i-\nu_i|$, at most $\tfrac12\sqrt m|\mu-\nu|_2$, and mass moves at most the diameter. Equality: two points.

*Printed.* Remark 1 asks for $\psi\in C_0\cap L^1$ whose inverse Fourier transform grows at most like a power; of the kernels
offered only `Laplace` satisfies that (`lipbounds.distances.kernel_report`), not the paper's own. *Repaired.* Bounded continuous
kernels in $C_0$ that are integrally strictly positive definite over finite signed measures metrize weak convergence (Simon-
Gabriel, Barp, Schölkopf and Mackey, 2023). Both are checked by the lower bound on finite sets, which fails for a kernel
that is not positive definite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lipbounds.distances.discrepancy import discrepancy
from lipbounds.distances.kernel_report import kernel_report
from lipbounds.distances.kernels import Family, InverseMultiquadric, Kernel, Laplace
from lipbounds.distances.wasserstein import wasserstein
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete
from lipbounds.rounding import EPS
from lipbounds.theorems.statement import Hypothesis, Statement, Version

__all__ = ["LawsOnPoints", "Remark1", "Remark1Repaired", "Remark2Lower", "Remark2Upper", "feature_lipschitz"]

Array = NDArray[np.float64]

ROUNDING = 1e-9  # of norms and eigenvalues of small matrices, relative


def feature_lipschitz(kernel: Kernel) -> float:
    r"""Return c with $\mathcal{D}_K\le c\,W_1$: the root of $2|k'(0)|$; infinite for kernels with a kink at 0.

    Example:
        >>> from lipbounds.distances.kernels import Gaussian
        >>> feature_lipschitz(Gaussian((2.0,))), feature_lipschitz(Laplace())
        (0.5, inf)
    """
    slope = 0.0
    for term in kernel.terms:
        match term.family:
            case Family.POWER:
                slope += term.weight * term.exponent * term.offset ** (-term.exponent - 1)
            case Family.SQUARED_EXPONENTIAL:
                slope += term.weight / term.offset
            case _:
                return math.inf
    return math.sqrt(2 * slope)


@dataclass(frozen=True, eq=False)
class LawsOnPoints:
    """An instance: two laws on the same points, and a kernel.

    Attributes:
        kernel: A kernel.
        points: Different points, shape (m, d).
        first: Masses of mu, shape (m,).
        second: Masses of nu, shape (m,).
    """

    kernel: Kernel
    points: Array
    first: Array
    second: Array

    @property
    def discrepancy(self) -> Enclosure:
        """D_K of the two laws, the root."""
        value = discrepancy(self.points, self.points, self.kernel, squared=True, x_weights=self.first, y_weights=self.second)
        # three sums of masses times kernel values cancel; each rounds by some ulps of the largest value
        margin = 8 * len(self.points) * EPS * float(np.abs(self._gram).max())
        low, high = (math.sqrt(max(0.0, value + sign * margin)) for sign in (-1, 1))
        return Enclosure(low, high, Guarantee.EXACT, "finite sums")

    @property
    def wasserstein(self) -> Enclosure:
        """W_1 of the two laws."""
        return wasserstein(Discrete(self.points, self.first), Discrete(self.points, self.second))

    @property
    def smallest_eigenvalue(self) -> float:
        """Of the kernel's matrix on the points."""
        return float(np.linalg.eigvalsh(self._gram)[0])

    @property
    def _gram(self) -> Array:
        return np.asarray(self.kernel(torch.from_numpy(cdist(self.points, self.points, "sqeuclidean"))))

    @property
    def mass_distance(self) -> float:
        """|mu - nu|_2."""
        return float(np.linalg.norm(self.first - self.second))


def _two_points(kernel: Kernel) -> LawsOnPoints:
    return LawsOnPoints(kernel, np.array([[0.0], [1.0]]), np.array([0.75, 0.25]), np.array([0.25, 0.75]))


class Remark1(Statement[LawsOnPoints]):
    """Kernels that satisfy the printed condition separate laws."""

    number = "Remark 1"
    version: ClassVar[Version] = "printed"
    text = (
        "psi in C_0 and L^1, 1 / psi-hat of polynomial growth: D_K metrizes weak convergence; sqrt(lambda_min) |mu - nu|_2 <= D_K"
    )

    def hypotheses(self, instance: LawsOnPoints) -> list[Hypothesis]:
        """Return the printed condition, from the families of the kernel's terms."""
        report = kernel_report(instance.kernel, instance.points.shape[1])
        return [Hypothesis(f"in L^1: {report.integrable}, decay {report.fourier_decay}", report.remark_1 is True)]

    def left(self, instance: LawsOnPoints) -> Enclosure:
        """Return the lower bound of D_K on finitely many points."""
        value = math.sqrt(max(0.0, instance.smallest_eigenvalue)) * instance.mass_distance
        return Enclosure(value * (1 - ROUNDING), value * (1 + ROUNDING), Guarantee.EXACT, "smallest eigenvalue")

    def right(self, instance: LawsOnPoints) -> Enclosure:
        """Return D_K."""
        return instance.discrepancy

    def extremal(self) -> LawsOnPoints:
        """Return two points, where both sides are equal up to rounding."""
        return _two_points(Laplace())


class Remark1Repaired(Remark1):
    """Kernels that metrize weak convergence by either theorem separate laws; the paper's is one of them."""

    version = "repaired"
    text = "psi bounded, in C_0, integrally strictly positive definite: D_K metrizes weak convergence; the same inequality"

    def hypotheses(self, instance: LawsOnPoints) -> list[Hypothesis]:
        """Return that the kernel metrizes weak convergence."""
        report = kernel_report(instance.kernel, instance.points.shape[1])
        return [Hypothesis("bounded, in C_0, integrally strictly positive definite", report.metrizes is True)]

    def extremal(self) -> LawsOnPoints:
        """Return two points and the paper's kernel; equal up to rounding."""
        return _two_points(InverseMultiquadric())


class Remark2Upper(Statement[LawsOnPoints]):
    """Convergence in W_1 implies convergence in D_K, at a rate."""

    number = "Remark 2"
    version = "sharp"
    text = "D_K <= sqrt(2 |k'(0)|) W_1"

    def hypotheses(self, instance: LawsOnPoints) -> list[Hypothesis]:
        """Return that the kernel has no kink at 0."""
        return [Hypothesis("k differentiable at 0", feature_lipschitz(instance.kernel) < math.inf)]

    def left(self, instance: LawsOnPoints) -> Enclosure:
        """Return D_K."""
        return instance.discrepancy

    def right(self, instance: LawsOnPoints) -> Enclosure:
        """Return the bound."""
        distance, c = instance.wasserstein, feature_lipschitz(instance.kernel)
        return Enclosure(c * distance.lower, c * distance.upper * (1 + ROUNDING), distance.guarantee, "feature map", None)

    def extremal(self) -> LawsOnPoints:
        """Return two points so near that the feature map is linear between them; equality to 1e-6 for this kernel."""
        return LawsOnPoints(InverseMultiquadric((1.0,)), np.array([[0.0], [1e-3]]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))


class Remark2Lower(Statement[LawsOnPoints]):
    """On finitely many points convergence in D_K implies convergence in W_1, at a rate."""

    number = "Remark 2"
    version = "sharp"
    text = "W_1 <= (diam / 2) sqrt(m / lambda_min) D_K"

    def hypotheses(self, instance: LawsOnPoints) -> list[Hypothesis]:
        """Return that the kernel's matrix is positive definite beyond rounding."""
        positive = instance.smallest_eigenvalue > 1e-6 * abs(instance.kernel.at_zero)
        return [Hypothesis("the kernel's matrix is positive definite", positive)]

    def left(self, instance: LawsOnPoints) -> Enclosure:
        """Return W_1."""
        return instance.wasserstein

    def right(self, instance: LawsOnPoints) -> Enclosure:
        """Return the bound."""
        distance, m = instance.discrepancy, len(instance.points)
        factor = 0.5 * float(cdist(instance.points, instance.points).max()) * math.sqrt(m / instance.smallest_eigenvalue)
        high = factor * distance.upper * (1 + ROUNDING)
        return Enclosure(factor * distance.lower * (1 - ROUNDING), high, Guarantee.EXACT, "smallest eigenvalue")

    def extremal(self) -> LawsOnPoints:
        """Return two points, where both sides are equal up to rounding."""
        return _two_points(InverseMultiquadric())
