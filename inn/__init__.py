"""Invertible networks of the paper in torch: T maps data to latent, its inverse is the generator."""

from inn.checkpoint import load_flow, save_flow
from inn.compose import Composition, CouplingFlow, coupling_flow
from inn.coupling import SparseCoupling, TwoSidedCoupling, arctan_clamp
from inn.ensemble import Ensemble
from inn.invertible import Invertible
from inn.latents import Latent
from inn.permutation import FixedPermutation
from inn.subnets import MLP
from inn.training import Training, train

__all__ = [
    "MLP",
    "Composition",
    "CouplingFlow",
    "Ensemble",
    "FixedPermutation",
    "Invertible",
    "Latent",
    "SparseCoupling",
    "Training",
    "TwoSidedCoupling",
    "arctan_clamp",
    "coupling_flow",
    "load_flow",
    "save_flow",
    "train",
]
