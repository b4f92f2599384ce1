"""Many networks of one architecture evaluated, and so trained, in one batched pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from inn.invertible import Invertible
from lipbounds.errors import InvalidInput

__all__ = ["Ensemble"]

Network = TypeVar("Network", bound=Invertible, covariant=True)


class _Method(nn.Module):
    """Makes one method of a network callable as a module, which is all that `functional_call` can call."""

    def __init__(self, network: Invertible, name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = getattr(self.network, self.name)(points)
        return result


class Ensemble(Generic[Network]):
    """E networks of one architecture with their weights stacked, so that one kernel call serves them all.

    Small networks are bound by the cost of launching operations; a batched product of E small matrices costs little
    more than one. The networks stay independent: gradients and results are those of training them one by one, up to
    rounding.

    Args:
        networks: E networks of the same architecture, on one device and of one dtype. They are copied.

    Example:
        >>> from inn.compose import CouplingFlow, coupling_flow
        >>> flows = [coupling_flow(CouplingFlow(blocks=2, hidden=8), seed=seed) for seed in range(3)]
        >>> x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
        >>> z, log_det = Ensemble(flows).forward_and_log_det(x)
        >>> z.shape, log_det.shape
        (torch.Size([3, 5, 2]), torch.Size([3, 5]))
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        if not networks:
            raise InvalidInput("networks", "an empty sequence", "at least one network", "pass the networks to train")
        shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in networks]
        if any(shape != shapes[0] for shape in shapes):
            raise InvalidInput("networks", "different architectures", "one architecture", "make one ensemble for each")
        self._networks = [copy.deepcopy(network) for network in networks]
        parameters, self._buffers = stack_module_state(list(self._networks))
        self._parameters = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        self._calls = {name: _Method(self._networks[0], name) for name in ("forward_and_log_det", "inverse_and_log_det")}

    def __len__(self) -> int:
        return len(self._networks)

    def parameters(self) -> Iterator[Tensor]:
        """The stacked parameters, each of shape (E, ...), for an optimizer."""
        return iter(self._parameters.values())

    def named_parameters(self) -> dict[str, Tensor]:
        """The same by name, for `fit`."""
        return dict(self._parameters)

    def _apply(self, name: str, points: Tensor) -> tuple[Tensor, Tensor]:
        call = self._calls[name]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
            state = {f"network.{key}": value for key, value in (parameters | buffers).items()}
            result: tuple[Tensor, Tensor] = functional_call(call, state, (rows,))
            return result

        result: tuple[Tensor, Tensor] = torch.vmap(one)(self._parameters, self._buffers, points)
        return result

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Network i on x[i]: from shape (E, n, d) to shapes (E, n, d) and (E, n)."""
        return self._apply("forward_and_log_det", x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse of network i on z[i]: from shape (E, n, d) to shapes (E, n, d) and (E, n)."""
        return self._apply("inverse_and_log_det", z)

    def networks(self) -> list[Network]:
        """Return the E networks as separate modules with the present weights."""
        with torch.no_grad():
            for index, network in enumerate(self._networks):
                own = dict(network.named_parameters())
                for name, stacked in self._parameters.items():
                    own[name].copy_(stacked[index])
        return [copy.deepcopy(network) for network in self._networks]
