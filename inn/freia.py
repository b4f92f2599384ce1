"""Weights of FrEIA's GLOWCouplingBlock, read into the layer of equation (8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from inn.coupling import Clamp, ClampForm, TwoSidedCoupling
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import activation_of_module

__all__ = ["coupling_from_freia"]


def coupling_from_freia(block: Any, *, form: ClampForm = "freia") -> TwoSidedCoupling:
    """Return FrEIA's unconditional GLOWCouplingBlock as a layer with the same outputs.

    Args:
        block: The block, its subnetworks `nn.Sequential` of linear layers of one hidden width and one activation of
            `lipbounds.maps.activations` between them. FrEIA itself is not imported.
        form: `freia` for FrEIA since 2021, whose clamp is 0.636 alpha arctan(s); `paper` for weights trained with the version
            that the paper used.

    Raises:
        InvalidInput: For other blocks or subnetworks.
    """
    name, remedy = type(block).__name__, "build the layer by hand and load its weights"
    if name != "GLOWCouplingBlock" or block.conditional:
        raise InvalidInput("block", name, "an unconditional GLOWCouplingBlock", remedy)
    if block.split_len1 != block.channels // 2:
        raise InvalidInput("split_len", block.split_len1, f"{block.channels // 2}, half of the channels", remedy)
    probe = torch.ones((), dtype=torch.float64)
    if abs(float(block.f_clamp(probe)) - 0.636 * torch.pi / 4) > 1e-12:
        raise InvalidInput("clamp_activation", "another one", "ATAN", remedy)
    parts = [_read(block.subnet2), _read(block.subnet1)]
    if len({(kind, len(layers), tuple(layer.out_features for layer in layers[:-1])) for layers, kind in parts}) != 1:
        raise InvalidInput("subnet1, subnet2", "different architectures", "one architecture", remedy)
    linears, activation = parts[0]
    layer = TwoSidedCoupling(
        block.channels,
        hidden=linears[0].out_features,
        depth=len(linears) - 1,
        activation=activation,
        clamp=Clamp(float(block.clamp), form),
        generator=torch.Generator(),
    ).to(linears[0].weight)
    with torch.no_grad():
        for subnet, (sources, _) in zip((layer.subnet_2, layer.subnet_1), parts, strict=True):
            for target, source in zip(subnet.layers, sources, strict=True):
                target.load_state_dict(source.state_dict())
    return layer


def _read(subnet: Any) -> tuple[list[nn.Linear], str]:
    """The linear layers of a subnetwork, and the name of its activation."""
    linears = [part for part in subnet if isinstance(part, nn.Linear)]
    between = [part for part in subnet if not isinstance(part, nn.Linear)]
    alternate = all(isinstance(part, nn.Linear) == (i % 2 == 0) for i, part in enumerate(subnet)) and len(subnet) % 2 == 1
    widths = {layer.out_features for layer in linears[:-1]}
    if not alternate or len(widths) != 1 or len({str(part) for part in between}) != 1:
        raise InvalidInput(
            "subnet", str(subnet), "linear layers of one width, one activation between", "rebuild the layer by hand"
        )
    if any(layer.bias is None for layer in linears):
        raise InvalidInput("subnet", "a linear layer without bias", "biases", "add zero biases")
    return linears, activation_of_module(between[0]).name
