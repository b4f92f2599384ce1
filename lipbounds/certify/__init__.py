"""Certified: upper bounds of Lip(T^{-1}) by computation, above a proven witness."""

from lipbounds.certify.certificate import Certificate, certify_lipschitz
from lipbounds.certify.latent.bounder import certify_slice
from lipbounds.certify.witness import certify_found

__all__ = ["Certificate", "certify_found", "certify_lipschitz", "certify_slice"]
