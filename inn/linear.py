"""Affine layers: the activation normalisation and the learned permutation of GLOW."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inn.invertible import Invertible
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Affine

__all__ = ["ActNorm", "LearnedLinear"]


class ActNorm(Invertible):
    r"""Scale and shift of every coordinate, $v=(x+b)\odot e^{s}$; the identity until `initialise` is called.

    Args:
        dim: Dimension d >= 1.

    Source:
        Kingma and Dhariwal (2018), Section 3.1.

    Example:
        >>> layer = ActNorm(2)
        >>> x = 3.0 + 2.0 * torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        >>> layer.initialise(x)
        >>> bool(layer(x).mean(0).abs().max() < 1e-5), bool((layer(x).std(0) - 1).abs().max() < 1e-5)
        (True, True)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise InvalidInput("dim", dim, "an integer >= 1", "pass the dimension of the data")
        self.dim = dim
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Choose scale and shift such that the rows of x, shape (n, d), get mean 0 and deviation 1.

        It is a call of its own: a layer that did this in its first forward pass would depend on what it saw first.

        Raises:
            InvalidInput: If a coordinate of x is constant or not finite, or there are fewer than 2 rows.
        """
        deviation = x.std(0) if x.ndim == 2 and len(x) > 1 else x.new_zeros(self.dim)
        if x.shape[-1] != self.dim or not bool(torch.isfinite(deviation).all() and (deviation > 0).all()):
            got = f"shape {tuple(x.shape)}, deviations {deviation.tolist()}"
            raise InvalidInput("x", got, f"two or more rows of {self.dim} numbers that vary", "pass a batch of data")
        self.shift.copy_(-x.mean(0))
        self.log_scale.copy_(-deviation.log())

    def structure(self) -> tuple[Affine]:
        scale = self.log_scale.detach().cpu().double().exp()
        return (Affine(torch.diag(scale).numpy(), (scale * self.shift.detach().cpu().double()).numpy()),)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self.log_scale.sum().expand(x.shape[:-1])
        return (x + self.shift) * self.log_scale.exp(), log_det

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = -self.log_scale.sum().expand(z.shape[:-1])
        return z * (-self.log_scale).exp() - self.shift, log_det


class LearnedLinear(Invertible):
    r"""The learned permutation of GLOW, $v=Wx$ with $W=P\,L\,(U+\mathrm{diag}(\varsigma\odot e^{s}))$.

    P is a fixed permutation, L unit lower triangular, U strictly upper triangular, the signs $\varsigma$ fixed; so
    $\log|\det W|=\sum s$ and the inverse takes two triangular solves. It starts as a random rotation.

    Args:
        dim: Dimension d >= 1.
        generator: Source of the rotation.

    Source:
        Kingma and Dhariwal (2018), equation (10).
    """

    order: Tensor
    sign: Tensor

    def __init__(self, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        if dim < 1:
            raise InvalidInput("dim", dim, "an integer >= 1", "pass the dimension of the data")
        self.dim = dim
        rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = torch.diagonal(upper)
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("sign", diagonal.sign().float())
        self.log_scale = nn.Parameter(diagonal.abs().log().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(self.dim, dtype=self.lower.dtype, device=self.lower.device)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())

    def structure(self) -> tuple[Affine]:
        with torch.no_grad():
            lower, upper = (factor.cpu().double() for factor in self._factors())
            matrix = (lower @ upper)[self.order.cpu()]
        return (Affine(matrix.numpy(), torch.zeros(self.dim, dtype=torch.float64).numpy()),)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        return (x @ upper.T @ lower.T)[..., self.order], self.log_scale.sum().expand(x.shape[:-1])

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        rows = z[..., torch.argsort(self.order)]
        rows = torch.linalg.solve_triangular(lower.T, rows, upper=True, left=False, unitriangular=True)
        rows = torch.linalg.solve_triangular(upper.T, rows, upper=False, left=False)
        return rows, -self.log_scale.sum().expand(z.shape[:-1])
