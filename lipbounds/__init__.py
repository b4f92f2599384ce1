"""How strongly must a generator stretch space, how strongly does it, and do the theorems agree?"""

from lipbounds.certify import Certificate, certify_found, certify_lipschitz
from lipbounds.diagnosis import Diagnosis, Measurement, Search, diagnose, measure
from lipbounds.distances import (
    InverseMultiquadric,
    InverseQuadratic,
    discrepancy,
    optimal_transport,
    total_variation,
    wasserstein,
)
from lipbounds.domains import Ball, Box, Capsule, ConditionalSlice, ConvexHull, Segment, WholeSpace, conditional, latent_ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, LipboundsError, NotConverged, NotInvertible
from lipbounds.measures import Discrete, GaussianMixture, gaussian, standard_normal
from lipbounds.search import (
    BiLipschitz,
    Found,
    find_bilipschitz,
    find_inversion_error,
    find_lipschitz,
    lipschitz_from_components,
    lipschitz_from_generated,
    lipschitz_from_samples,
)
from lipbounds.theorems.from_data import Forced, forced_lipschitz

__version__ = "0.1.0"

__all__ = [
    "Ball",
    "BiLipschitz",
    "Box",
    "Capsule",
    "Certificate",
    "ConditionalSlice",
    "ConvexHull",
    "Diagnosis",
    "Discrete",
    "Enclosure",
    "Forced",
    "Found",
    "GaussianMixture",
    "Guarantee",
    "InvalidInput",
    "InverseMultiquadric",
    "InverseQuadratic",
    "LipboundsError",
    "Measurement",
    "NotConverged",
    "NotInvertible",
    "Search",
    "Segment",
    "WholeSpace",
    "certify_found",
    "certify_lipschitz",
    "conditional",
    "diagnose",
    "discrepancy",
    "find_bilipschitz",
    "find_inversion_error",
    "find_lipschitz",
    "forced_lipschitz",
    "gaussian",
    "latent_ball",
    "lipschitz_from_components",
    "lipschitz_from_generated",
    "lipschitz_from_samples",
    "measure",
    "optimal_transport",
    "standard_normal",
    "total_variation",
    "wasserstein",
]
