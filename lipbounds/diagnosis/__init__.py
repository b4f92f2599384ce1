"""How strongly must, does and can a user's own generator stretch, what would help, and whether its posteriors are right."""

from lipbounds.diagnosis.conditional import Nearness, Resimulation, Strays, nearness, rank_calibration, resimulation, strays
from lipbounds.diagnosis.diagnose import diagnose
from lipbounds.diagnosis.latent_choices import LatentChoice
from lipbounds.diagnosis.measure import Measurement, Search, inversion_error, measure
from lipbounds.diagnosis.modes import Modes
from lipbounds.diagnosis.result import Diagnosis, InversionErrors

__all__ = [
    "Diagnosis",
    "InversionErrors",
    "LatentChoice",
    "Measurement",
    "Modes",
    "Nearness",
    "Resimulation",
    "Search",
    "Strays",
    "diagnose",
    "inversion_error",
    "measure",
    "nearness",
    "rank_calibration",
    "resimulation",
    "strays",
]
