"""What a map is: layers as plain data, activations and scales as objects, and adapters of flow libraries."""

from lipbounds.maps.activations import Activation, activation_names, get_activation
from lipbounds.maps.conditioner import Conditioner
from lipbounds.maps.layer_constants import (
    CouplingNumbers,
    LayerConstants,
    bound_of_coupling,
    bound_of_linear,
    bound_of_network,
    bound_of_residual,
    lipschitz_of_mlp,
)
from lipbounds.maps.layers import (
    Affine,
    Coupling,
    Layer,
    PartialCoupling,
    Permutation,
    Residual,
    ReversedCoupling,
    SplineCoupling,
)
from lipbounds.maps.scales import (
    Scale,
    arctan_scale,
    exponential_scale,
    freia_scale,
    sigmoid_scale,
    softplus_scale,
    softsign_scale,
    tanh_scale,
)
from lipbounds.maps.splines import Spline
from lipbounds.maps.structure import Structured, expanded, forward_map, inverse_map, structure_of

__all__ = [
    "Activation",
    "Affine",
    "Conditioner",
    "Coupling",
    "CouplingNumbers",
    "Layer",
    "LayerConstants",
    "PartialCoupling",
    "Permutation",
    "Residual",
    "ReversedCoupling",
    "Scale",
    "Spline",
    "SplineCoupling",
    "Structured",
    "activation_names",
    "arctan_scale",
    "bound_of_coupling",
    "bound_of_linear",
    "bound_of_network",
    "bound_of_residual",
    "expanded",
    "exponential_scale",
    "forward_map",
    "freia_scale",
    "get_activation",
    "inverse_map",
    "lipschitz_of_mlp",
    "sigmoid_scale",
    "softplus_scale",
    "softsign_scale",
    "structure_of",
    "tanh_scale",
]
