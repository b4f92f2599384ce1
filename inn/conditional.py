r"""The model of Section 2 as one module: $T=(T_y,T_{pad},T_z)$, the law of Z given y, and the sizes of the paddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inn.architectures import Architecture, build
from inn.invertible import Invertible
from inn.latents import Latent
from inn.mixture import LearnedMixture
from inn.padding import Padding
from inn.posterior import sample_posterior
from lipbounds.errors import InvalidInput

__all__ = ["Conditional", "ConditionalModel", "MixtureLatent", "build_conditional", "means_from_image"]


@dataclass(frozen=True)
class MixtureLatent:
    """What a `LearnedMixture` is built from; attributes as its arguments."""

    means: tuple[tuple[float, ...], ...]
    scale: float = 1.0
    hidden: int = 64
    depth: int = 2
    activation: str = "relu"


@dataclass(frozen=True)
class Conditional:
    """What, with a seed, builds a `ConditionalModel`.

    Attributes:
        flow: Architecture of T; its `dim` is that of the padding.
        padding: Sizes of data, labels and latent.
        latent: A `Latent`, the same law for every y, or a `MixtureLatent` with learned p(y).
    """

    flow: Architecture
    padding: Padding
    latent: Latent | MixtureLatent

    def __post_init__(self) -> None:
        size = len(self.latent.means[0]) if self.latent.means else 0
        if self.flow.dim != self.padding.dim or size != self.padding.latent:
            got = f"a flow of dimension {self.flow.dim}, a latent of dimension {size}"
            wanted = f"dim {self.padding.dim} and latent {self.padding.latent} of the padding"
            raise InvalidInput("flow, latent", got, wanted, "give all three the same sizes")


class ConditionalModel(nn.Module):
    """T with the law of its latent.

    Args:
        flow: T, data to (y, padding, z).
        latent: Law of z.
        padding: The sizes.
    """

    def __init__(self, flow: Invertible, latent: Latent | LearnedMixture, padding: Padding) -> None:
        super().__init__()
        self.flow = flow
        self.latent = latent
        self.padding = padding

    def sample_latent(self, y: Tensor, generator: torch.Generator, *, temperature: float | None = None) -> Tensor:
        """One z a label, shape (n, latent); with a temperature by Algorithm 1 where the mixture is learned."""
        if isinstance(self.latent, LearnedMixture):
            return self.latent.sample(y, generator, temperature=temperature)
        return self.latent.sample(len(y), generator).to(y)

    def log_density(self, z: Tensor, y: Tensor, *, spread: float = 1.0) -> Tensor:
        """log p(z | y), shape (n,), with the means at a share of their distance from 0."""
        if isinstance(self.latent, LearnedMixture):
            return self.latent.log_density(z, y, spread=spread)
        return self.latent.drawn_together(spread).log_density(z)

    def posterior(self, y: Tensor, n: int, generator: torch.Generator, *, label_noise: float = 0.0) -> Tensor:
        """n samples of x for every label, shape (m, n, data); see `sample_posterior`."""
        return sample_posterior(self.flow, self.latent, y, n, self.padding, generator, label_noise=label_noise)

    def generator_at(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        r"""The map $z\mapsto T^{-1}_{data}(y,0,z)$ at one label y of shape (labels,): whose constant a conditional slice has.

        The padding of the image is held at 0, its mean.
        """
        head = torch.cat((y, y.new_zeros(self.padding.dim - self.padding.labels - self.padding.latent)))

        def generate(z: Tensor) -> Tensor:
            return self.padding.data_of(self.flow.inverse(torch.cat((head.to(z).expand(len(z), -1), z), dim=1)))

        return generate


def build_conditional(conditional: Conditional, *, seed: int) -> ConditionalModel:
    """Return the model with random weights, in float32.

    Example:
        >>> from inn import CouplingFlow, Padding
        >>> sizes = Padding(dim=6, data=2, labels=4, latent=2)
        >>> mixture = MixtureLatent(means=((-4.0, 0.0), (4.0, 0.0)))
        >>> model = build_conditional(Conditional(CouplingFlow(dim=6, blocks=2, hidden=8), sizes, mixture), seed=0)
        >>> model.posterior(torch.eye(4), 3, torch.Generator().manual_seed(0)).shape
        torch.Size([4, 3, 2])
    """
    generator = torch.Generator().manual_seed(seed + 1)
    latent = conditional.latent
    if isinstance(latent, MixtureLatent):
        law: Latent | LearnedMixture = LearnedMixture(
            conditional.padding.labels,
            torch.tensor(latent.means),
            latent.scale,
            hidden=latent.hidden,
            depth=latent.depth,
            activation=latent.activation,
            generator=generator,
        )
    else:
        law = latent
    return ConditionalModel(build(conditional.flow, seed=seed), law, conditional.padding)


@torch.no_grad()
def means_from_image(flow: Invertible, x: Tensor, classes: Tensor, padding: Padding, *, factor: float) -> Tensor:
    r"""Return `factor` times the mean of $T_z$ over every class: means for a mixture where a class is to be a component.

    With the weights that a network starts from, classes that differ in x differ a little in $T_z(x)$, in directions that the
    network can already tell apart; the factor takes the means far enough apart. The paper sets the means of its images so.

    Args:
        flow: T before training.
        x: Padded data, shape (n, dim).
        classes: Class of every row, shape (n,), integers 0 to r - 1, each there.
        padding: The sizes.
        factor: The scalar; the authors' program takes 4.

    Returns:
        Means of shape (r, latent).

    Source:
        Hagemann and Neumayer (2022), Section 5, "MNIST image inpainting".
    """
    if classes.shape != (len(x),) or not len(x):
        raise InvalidInput("classes", f"shape {tuple(classes.shape)}", f"shape ({len(x)},)", "one class a row of x")
    found = torch.unique(classes)
    if not torch.equal(found, torch.arange(len(found), device=found.device)):
        raise InvalidInput("classes", found.tolist(), "every one of 0, 1, ..., r - 1", "number the classes without gaps")
    z = padding.split(flow(x))[2]
    return factor * torch.stack([z[classes == index].mean(0) for index in range(len(found))])
