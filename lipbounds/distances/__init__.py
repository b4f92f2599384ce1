"""Distances between laws: the quantities that give the theorems their epsilon and delta."""

from lipbounds.distances.confidence import clopper_pearson, wasserstein_1_upper
from lipbounds.distances.discrepancy import discrepancy, discrepancy_of_mixtures
from lipbounds.distances.kernel_report import KernelReport, kernel_report
from lipbounds.distances.kernels import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    InverseQuadratic,
    Kernel,
    Laplace,
    RationalQuadratic,
)
from lipbounds.distances.line import wasserstein_1_line
from lipbounds.distances.wasserstein import wasserstein

__all__ = [
    "Energy",
    "Gaussian",
    "InverseMultiquadric",
    "InverseQuadratic",
    "Kernel",
    "KernelReport",
    "Laplace",
    "RationalQuadratic",
    "clopper_pearson",
    "discrepancy",
    "discrepancy_of_mixtures",
    "kernel_report",
    "wasserstein",
    "wasserstein_1_line",
    "wasserstein_1_upper",
]
