"""Found: lower bounds of Lipschitz constants with a witness, by search or from samples alone."""

from lipbounds.search.find import (
    BiLipschitz,
    Found,
    find_bilipschitz,
    find_lipschitz,
    jacobian_norms,
)
from lipbounds.search.from_samples import (
    BlackBox,
    lipschitz_from_components,
    lipschitz_from_generated,
    lipschitz_from_samples,
)
from lipbounds.search.inversion_error import InversionError, find_inversion_error
from lipbounds.search.pairs import charged_quotient, quotient
from lipbounds.search.steepness import Steepness, steepness

__all__ = [
    "BiLipschitz",
    "BlackBox",
    "Found",
    "InversionError",
    "Steepness",
    "charged_quotient",
    "find_bilipschitz",
    "find_inversion_error",
    "find_lipschitz",
    "jacobian_norms",
    "lipschitz_from_components",
    "lipschitz_from_generated",
    "lipschitz_from_samples",
    "quotient",
    "steepness",
]
