"""Lipschitz constants of maps on named domains: found with a witness, or bounded from samples."""

from lipbounds.lipschitz.blackbox import BlackBox, lipschitz_from_components, lipschitz_from_generated, lipschitz_from_samples
from lipbounds.lipschitz.certify import Certificate, certify_lipschitz
from lipbounds.lipschitz.inversion import InversionError, find_inversion_error
from lipbounds.lipschitz.pointwise import certify_found
from lipbounds.lipschitz.search import BiLipschitz, Found, Map, find_bilipschitz, find_lipschitz, jacobian_norms, quotient
from lipbounds.lipschitz.slices import certify_slice

__all__ = [
    "BiLipschitz",
    "BlackBox",
    "Certificate",
    "Found",
    "InversionError",
    "Map",
    "certify_found",
    "certify_lipschitz",
    "certify_slice",
    "find_bilipschitz",
    "find_inversion_error",
    "find_lipschitz",
    "jacobian_norms",
    "lipschitz_from_components",
    "lipschitz_from_generated",
    "lipschitz_from_samples",
    "quotient",
]
