"""Layers as plain data that know their map, its inverse, and enclosures of both; one file each."""

from lipbounds.maps.layers.affine import Affine
from lipbounds.maps.layers.base import Layer
from lipbounds.maps.layers.coupling import Coupling, PartialCoupling
from lipbounds.maps.layers.permutation import Permutation
from lipbounds.maps.layers.residual import Residual
from lipbounds.maps.layers.reversed_coupling import ReversedCoupling
from lipbounds.maps.layers.spline_coupling import SplineCoupling

__all__ = [
    "Affine",
    "Coupling",
    "Layer",
    "PartialCoupling",
    "Permutation",
    "Residual",
    "ReversedCoupling",
    "SplineCoupling",
]
