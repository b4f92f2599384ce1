r"""Padding of data and image, and the losses on labels and padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inn.invertible import Invertible
from lipbounds.errors import InvalidInput

__all__ = ["Padding", "label_loss", "padding_loss", "padding_terms"]


@dataclass(frozen=True)
class Padding:
    r"""How data $x=(x_{pad},x_{data})$ and image $(y,z_{pad},z)$ share the dimension of the network.

    The data come last, as z does (the paper writes them first): a network near the identity then starts by carrying data to z and
    padding to y and z_pad. The other way round it starts by carrying padding to z, and training that way ends with a latent that
    holds noise instead of x.

    Attributes:
        dim: Dimension of the network.
        data: Coordinates of $x_{data}$, the last ones.
        labels: Coordinates n of y, the first of the image.
        latent: Coordinates k of z, the last of the image.
        noise: Deviation of the random padding; 0 pads by zeros, and then nothing is learned off the data.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Padding".

    Example:
        >>> padding = Padding(dim=16, data=2, labels=4, latent=2)
        >>> padding.pad_data(torch.zeros(5, 2), torch.Generator().manual_seed(0)).shape
        torch.Size([5, 16])
    """

    dim: int
    data: int
    labels: int
    latent: int
    noise: float = 1e-2

    def __post_init__(self) -> None:
        if self.labels < 0 or not 1 <= self.data <= self.dim or self.latent < 1 or self.labels + self.latent > self.dim:
            got = f"data {self.data}, labels {self.labels}, latent {self.latent}"
            raise InvalidInput("padding", got, f"sizes that fit into {self.dim}", "enlarge dim")
        if not 0.0 <= self.noise < float("inf"):
            raise InvalidInput("noise", self.noise, "a finite number >= 0", "the paper pads with noise of small variance")

    def _noise(self, like: Tensor, columns: int, generator: torch.Generator) -> Tensor:
        return self.noise * torch.randn(len(like), columns, generator=generator).to(like)

    def pad_data(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """(noise, x), shape (n, dim)."""
        _check_rows("x", x, self.data)
        return torch.cat((self._noise(x, self.dim - self.data, generator), x), dim=1)

    def pad_image(self, y: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """(y, noise, z), shape (n, dim)."""
        _check_rows("y", y, self.labels)
        _check_rows("z", z, self.latent)
        if len(y) != len(z):
            raise InvalidInput("y, z", (len(y), len(z)), "one number of rows", "draw one z a label")
        return torch.cat((y, self._noise(y, self.dim - self.labels - self.latent, generator), z), dim=1)

    def check_pairs(self, x: Tensor, y: Tensor) -> None:
        """Refuse data and labels that are not finite rows of these sizes, one label a row."""
        _check_rows("x", x, self.data)
        _check_rows("y", y, self.labels)
        if len(x) != len(y):
            raise InvalidInput("x, y", (len(x), len(y)), "one number of rows", "pass one label a row of x")

    def data_of(self, x: Tensor) -> Tensor:
        """The data coordinates of padded data, shape (n, data)."""
        return x[:, self.dim - self.data :]

    def split(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Y, padding and z of an image, shape (n, dim); what a network returns may be NaN."""
        if image.ndim != 2 or image.shape[1] != self.dim:
            raise InvalidInput("image", f"shape {tuple(image.shape)}", f"shape (n, {self.dim})", "check the sizes of Padding")
        y, pad, z = torch.split(image, [self.labels, self.dim - self.labels - self.latent, self.latent], dim=1)
        return y, pad, z


def _check_rows(name: str, rows: Tensor, columns: int) -> None:
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != columns or not bool(torch.isfinite(rows).all()):
        got = f"shape {tuple(rows.shape)}, finite: {bool(torch.isfinite(rows).all())}"
        raise InvalidInput(name, got, f"one or more finite rows of {columns} numbers", "check the data and the sizes of Padding")


def label_loss(image: Tensor, y: Tensor, padding: Padding) -> Tensor:
    r"""Return $L_y$, the mean over rows of $|T_y(x)-y|^2$, from the image T(x) of padded data.

    Source:
        Hagemann and Neumayer (2022), the displayed losses before equation (9).
    """
    return (padding.split(image)[0] - y).square().sum(-1).mean()


def padding_terms(
    x: Tensor, image: Tensor, again: Tensor, generated: Tensor, target: Tensor, padding: Padding
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the means over rows of the three terms of $L_{pad}$ from maps that are already evaluated.

    Args:
        x: Padded data, shape (n, dim).
        image: T(x).
        again: $T^{-1}$ where x should come back.
        generated: $T^{-1}$ of `target`.
        target: Padded $(y,z_{pad},z)$.
        padding: The sizes.
    """
    kept = padding.split(image)[1] - padding.split(target)[1]
    terms = kept, x - again, generated[:, : padding.dim - padding.data]
    first, second, third = (term.square().sum(-1).mean() for term in terms)
    return first, second, third


def padding_loss(
    flow: Invertible, x: Tensor, image: Tensor, target: Tensor, padding: Padding, *, from_labels: bool = False
) -> Tensor:
    r"""Return the mean over rows of the three terms of $L_{pad}$.

    $$|T_{pad}(x)-z_{pad}|^2+|x-T^{-1}(T_y(x),z_{pad},T_z(x))|^2+|T^{-1}_{pad}(y,z_{pad},z)|^2.$$

    The first keeps the padding of the image where it was drawn, the second teaches the way back to ignore it, the third keeps the
    generator from using the padding of x.

    Args:
        flow: T.
        x: Padded data, shape (n, dim).
        image: T(x).
        target: Padded $(y,z_{pad},z)$ of `Padding.pad_image`.
        padding: The sizes.
        from_labels: The variant for images: y itself in place of $T_y(x)$ in the second term.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Padding"; the variant in Section 5, "MNIST image inpainting".
    """
    _check_rows("x", x, padding.dim)
    y, z_pad, _ = padding.split(target)
    own_y, _, own_z = padding.split(image)
    start = torch.cat((y if from_labels else own_y, z_pad, own_z), dim=1)
    # one pass for both: rows are independent
    again, generated = torch.split(flow.inverse(torch.cat((start, target))), len(x))
    return torch.stack(padding_terms(x, image, again, generated, target, padding)).sum()
