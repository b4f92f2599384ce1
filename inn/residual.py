"""The invertible residual layer, with exact spectral norms and a bound of its inversion error."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from inn.invertible import Invertible
from inn.subnets import MLP
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Residual
from lipbounds.maps.layers.residual import inversion_error_of_residual
from lipbounds.maps.residual_inverse import invert_residual, jacobian_of_residual

__all__ = ["ResidualLayer"]


class ResidualLayer(Invertible):
    r"""The layer $S(x)=x+g(x)$ of an iResNet, $\mathrm{Lip}(g)\le c<1$, hence invertible.

    g is an `MLP` whose matrices are divided by their exact spectral norms where needed. The inverse iterates
    $x\leftarrow z-g(x)$ so often that the error is below 1e-3 of the first step by Banach's theorem, and ends by two Newton
    steps with the Jacobian, so it is differentiable like any other map and for smooth activations exact to rounding;
    `inversion_error` bounds what is left, with relu too. Log-determinants are those of the full Jacobian: d backward
    passes, meant for d up to some dozens.

    Args:
        dim: Dimension d >= 1.
        hidden: Width of the hidden layers of g.
        depth: Number of hidden layers of g.
        activation: Their activation.
        constant: c in (0, 1).
        generator: Source of the initial weights.

    Source:
        Behrmann, Grathwohl, Chen, Duvenaud and Jacobsen (2019), Algorithm 1; Section 2 of the paper.

    Example:
        >>> random = torch.Generator().manual_seed(0)
        >>> layer = ResidualLayer(2, hidden=8, depth=1, activation="tanh", constant=0.9, generator=random)
        >>> x = torch.randn(5, 2, generator=random)
        >>> bool((layer.inverse(layer(x)) - x).abs().max() < 1e-5)
        True
    """

    def __init__(
        self, dim: int, *, hidden: int, depth: int, activation: str, constant: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        if not 0.0 < constant < 1.0:
            raise InvalidInput("constant", constant, "a number in (0, 1)", "0.9 is usual; at 1 the layer need not be invertible")
        self.dim = dim
        self.constant = constant
        self.subnet = MLP(dim, dim, hidden=hidden, depth=depth, activation=activation, generator=generator, constant=constant)

    def residual(self, x: Tensor) -> Tensor:
        """g(x), shape (n, d)."""
        g: Tensor = self.subnet(x)
        return g

    def normalised(self) -> list[Tensor]:
        """The weight matrices of g as used, for `lipbounds.maps.bound_of_residual`."""
        return [weight.detach().cpu().double() for weight in self.subnet.normalised()]

    def inversion_error(self, z: Tensor) -> Tensor:
        r"""Return $|S(x)-z|/(1-c)$ for x = `inverse(z)`, shape (n,), in float64: a bound of the distance to the exact preimage.

        In ball arithmetic with the matrices as they are used, so rounding is included in every dtype; not differentiable.
        """
        with torch.no_grad():
            x = self.inverse(z)
        approximate, wanted = (points.detach().cpu().double().numpy() for points in (x, z))
        return torch.from_numpy(inversion_error_of_residual(self.subnet.structure(), approximate, wanted)).to(z.device)

    def structure(self) -> tuple[Residual]:
        return (Residual(self.subnet.structure()),)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        g = partial(self.subnet.evaluate, weights=self.subnet.normalised())
        return x + g(x), torch.linalg.slogdet(jacobian_of_residual(g, x)).logabsdet

    def inverse(self, z: Tensor) -> Tensor:
        return invert_residual(partial(self.subnet.evaluate, weights=self.subnet.normalised()), z, constant=self.constant)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        g = partial(self.subnet.evaluate, weights=self.subnet.normalised())
        x = invert_residual(g, z, constant=self.constant)
        return x, -torch.linalg.slogdet(jacobian_of_residual(g, x)).logabsdet
