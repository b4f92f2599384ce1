"""Certified: upper bounds of Lip(T^{-1}) by computation, above a proven witness."""

from lipbounds.certify.certificate import Certificate, certify_lipschitz
from lipbounds.certify.layer_product import bound_by_product
from lipbounds.certify.witness import certify_found, certify_pair, evaluate_inverse

__all__ = [
    "Certificate",
    "bound_by_product",
    "certify_found",
    "certify_lipschitz",
    "certify_pair",
    "evaluate_inverse",
]
