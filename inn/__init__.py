"""Invertible networks of the paper in torch: T maps data to latent, its inverse is the generator."""

from inn.architectures import Architecture, Glow, ODEFlow, RealNVP, ResidualFlow, build
from inn.checkpoint import load_flow, load_model, save_flow, save_model
from inn.compose import Composition, CouplingFlow, coupling_flow
from inn.conditional import Conditional, ConditionalModel, MixtureLatent, build_conditional, means_from_image
from inn.control import AdversarialPairs, clip_weights, jacobian_penalty, weight_penalty
from inn.coupling import Clamp, OneSidedCoupling, SparseCoupling, TwoSidedCoupling, arctan_clamp
from inn.ensemble import Ensemble
from inn.freia import coupling_from_freia
from inn.invertible import Invertible
from inn.latents import Latent
from inn.linear import ActNorm, LearnedLinear
from inn.loop import Group, Optimization, fit
from inn.metrics import Discrepancy, SlicedWasserstein, Wasserstein1
from inn.mixture import LearnedMixture, sparsity
from inn.objectives import LikelihoodObjective, PaperObjective, first_bad_layer, fit_conditional
from inn.ode import NeuralODE
from inn.padding import Padding, label_loss, padding_loss
from inn.permutation import FixedPermutation
from inn.posterior import sample_posterior
from inn.residual import ResidualLayer
from inn.schedules import Constant, Cosine, Geometric, Linear, Phases, Ramp, Staircase
from inn.subnets import MLP
from inn.successive_halving import SuccessiveHalving, fit_best_start
from inn.training import Training, train

__all__ = [
    "MLP",
    "ActNorm",
    "AdversarialPairs",
    "Architecture",
    "Clamp",
    "Composition",
    "Conditional",
    "ConditionalModel",
    "Constant",
    "Cosine",
    "CouplingFlow",
    "Discrepancy",
    "Ensemble",
    "FixedPermutation",
    "Geometric",
    "Glow",
    "Group",
    "Invertible",
    "Latent",
    "LearnedLinear",
    "LearnedMixture",
    "LikelihoodObjective",
    "Linear",
    "MixtureLatent",
    "NeuralODE",
    "ODEFlow",
    "OneSidedCoupling",
    "Optimization",
    "Padding",
    "PaperObjective",
    "Phases",
    "Ramp",
    "RealNVP",
    "ResidualFlow",
    "ResidualLayer",
    "SlicedWasserstein",
    "SparseCoupling",
    "Staircase",
    "SuccessiveHalving",
    "Training",
    "TwoSidedCoupling",
    "Wasserstein1",
    "arctan_clamp",
    "build",
    "build_conditional",
    "clip_weights",
    "coupling_flow",
    "coupling_from_freia",
    "first_bad_layer",
    "fit",
    "fit_best_start",
    "fit_conditional",
    "jacobian_penalty",
    "label_loss",
    "load_flow",
    "load_model",
    "means_from_image",
    "padding_loss",
    "sample_posterior",
    "save_flow",
    "save_model",
    "sparsity",
    "train",
    "weight_penalty",
]
