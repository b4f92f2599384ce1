"""Distances between laws: the quantities that give the theorems their epsilon and delta."""

from lipbounds.distances.classifier import total_variation_lower
from lipbounds.distances.confidence import clopper_pearson, wasserstein_1_upper
from lipbounds.distances.discrepancy import discrepancy, discrepancy_of_mixtures
from lipbounds.distances.gaussians import (
    bhattacharyya,
    gaussian_kl,
    gaussian_total_variation,
    gaussian_wasserstein_2,
    total_variation_from_kl,
)
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
from lipbounds.distances.large import wasserstein_large
from lipbounds.distances.line import wasserstein_1_line, wasserstein_line
from lipbounds.distances.population import subgaussian_constant, wasserstein_1_lower, wasserstein_1_population
from lipbounds.distances.sliced import MaxSliced, max_sliced_wasserstein, sliced_wasserstein
from lipbounds.distances.total_variation import total_variation
from lipbounds.distances.transport import Transport, optimal_transport
from lipbounds.distances.two_sets import wasserstein_lower_from_sets
from lipbounds.distances.wasserstein import wasserstein

__all__ = [
    "Energy",
    "Gaussian",
    "InverseMultiquadric",
    "InverseQuadratic",
    "Kernel",
    "KernelReport",
    "Laplace",
    "MaxSliced",
    "RationalQuadratic",
    "Transport",
    "bhattacharyya",
    "clopper_pearson",
    "discrepancy",
    "discrepancy_of_mixtures",
    "gaussian_kl",
    "gaussian_total_variation",
    "gaussian_wasserstein_2",
    "kernel_report",
    "max_sliced_wasserstein",
    "optimal_transport",
    "sliced_wasserstein",
    "subgaussian_constant",
    "total_variation",
    "total_variation_from_kl",
    "total_variation_lower",
    "wasserstein",
    "wasserstein_1_line",
    "wasserstein_1_lower",
    "wasserstein_1_population",
    "wasserstein_1_upper",
    "wasserstein_large",
    "wasserstein_line",
    "wasserstein_lower_from_sets",
]
