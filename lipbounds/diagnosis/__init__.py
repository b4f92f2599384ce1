"""How strongly must, does and can a user's own generator stretch, and what would help."""

from lipbounds.diagnosis.diagnose import Diagnosis, InversionErrors, LatentChoice, Modes, diagnose

__all__ = ["Diagnosis", "InversionErrors", "LatentChoice", "Modes", "diagnose"]
