"""The contract of an invertible network: T maps data to latent, and its inverse is the generator."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer

__all__ = ["Invertible"]


class Invertible(nn.Module, ABC):
    r"""An invertible map $T:\mathbb{R}^d\to\mathbb{R}^d$ with a tractable log-determinant.

    The direction is fixed throughout the project: `forward` is $T$, from data to latent, and `inverse` is $f=T^{-1}$,
    from latent to data, the map whose Lipschitz constant lipbounds studies. Both act on the rows of a tensor of shape
    (n, d), row by row: the result of a row does not depend on the rest of the batch.

    Subclasses give the two methods with log-determinants; the two without are theirs and final.
    """

    dim: int

    @abstractmethod
    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return $T(x)$, shape (n, d), and $\log|\det DT(x)|$, shape (n,)."""

    @abstractmethod
    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return $T^{-1}(z)$, shape (n, d), and $\log|\det DT^{-1}(z)|$, shape (n,)."""

    def structure(self) -> tuple[Layer, ...]:
        """Return the layers of T as plain data in float64, for certificates.

        Raises:
            InvalidInput: If the layers of this network have no known form.
        """
        raise InvalidInput("network", type(self).__name__, "a network with a structure", "use found and black-box bounds")

    def forward(self, x: Tensor) -> Tensor:
        r"""Return $T(x)$, shape (n, d), for data x of shape (n, d)."""
        return self.forward_and_log_det(x)[0]

    def inverse(self, z: Tensor) -> Tensor:
        r"""Return $T^{-1}(z)$, shape (n, d), for latent points z of shape (n, d)."""
        return self.inverse_and_log_det(z)[0]
