"""Invertible networks of the paper in torch: T maps data to latent, its inverse is the generator."""

from inn.architectures import Architecture, Glow, ODEFlow, RealNVP, ResidualFlow, build
from inn.checkpoint import load_flow, save_flow
from inn.compose import Composition, CouplingFlow, coupling_flow
from inn.coupling import Clamp, OneSidedCoupling, SparseCoupling, TwoSidedCoupling, arctan_clamp
from inn.ensemble import Ensemble
from inn.freia import coupling_from_freia
from inn.invertible import Invertible
from inn.latents import Latent
from inn.linear import ActNorm, LearnedLinear
from inn.mixture import LearnedMixture, sparsity
from inn.ode import NeuralODE
from inn.padding import Padding, label_loss, padding_loss
from inn.permutation import FixedPermutation
from inn.posterior import sample_posterior
from inn.residual import ResidualLayer
from inn.subnets import MLP
from inn.training import Training, train

__all__ = [
    "MLP",
    "ActNorm",
    "Architecture",
    "Clamp",
    "Composition",
    "CouplingFlow",
    "Ensemble",
    "FixedPermutation",
    "Glow",
    "Invertible",
    "Latent",
    "LearnedLinear",
    "LearnedMixture",
    "NeuralODE",
    "ODEFlow",
    "OneSidedCoupling",
    "Padding",
    "RealNVP",
    "ResidualFlow",
    "ResidualLayer",
    "SparseCoupling",
    "Training",
    "TwoSidedCoupling",
    "arctan_clamp",
    "build",
    "coupling_flow",
    "coupling_from_freia",
    "label_loss",
    "load_flow",
    "padding_loss",
    "sample_posterior",
    "save_flow",
    "sparsity",
    "train",
]
