"""Distances between laws: the quantities that give the theorems their epsilon and delta."""

from lipbounds.distances.confidence import clopper_pearson, wasserstein_1_upper
from lipbounds.distances.discrepancy import discrepancy
from lipbounds.distances.kernels import InverseMultiquadric, InverseQuadratic, Kernel
from lipbounds.distances.line import wasserstein_1_line
from lipbounds.distances.wasserstein import wasserstein

__all__ = [
    "InverseMultiquadric",
    "InverseQuadratic",
    "Kernel",
    "clopper_pearson",
    "discrepancy",
    "wasserstein",
    "wasserstein_1_line",
    "wasserstein_1_upper",
]
