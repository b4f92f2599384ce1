"""The random but fixed permutations between coupling layers."""

from __future__ import annotations

import torch
from torch import Tensor

from inn.invertible import Invertible
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Permutation

__all__ = ["FixedPermutation"]


class FixedPermutation(Invertible):
    """A coordinate permutation of equation (8), fixed for the life of the network and saved with it.

    Args:
        order: Integers 0..d-1 in some order; output coordinate i is input coordinate order[i].
    """

    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise InvalidInput("order", order.tolist(), "each of 0..d-1 once", "draw it with torch.randperm")
        self.dim = len(order)
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", torch.argsort(order))

    def structure(self) -> tuple[Permutation]:
        return (Permutation(self.order.cpu().numpy().copy()),)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., self.order], x.new_zeros(x.shape[:-1])

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[..., self.inverse_order], z.new_zeros(z.shape[:-1])
