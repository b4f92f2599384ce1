"""Samples of x given y from a trained network."""

from __future__ import annotations

import torch
from torch import Tensor

from inn.invertible import Invertible
from inn.latents import Latent
from inn.mixture import LearnedMixture
from inn.padding import Padding
from lipbounds.errors import InvalidInput

__all__ = ["sample_posterior"]


@torch.no_grad()
def sample_posterior(
    flow: Invertible,
    latent: Latent | LearnedMixture,
    y: Tensor,
    n: int,
    padding: Padding,
    generator: torch.Generator,
    *,
    label_noise: float = 0.0,
) -> Tensor:
    r"""Return $T^{-1}(y,z_{pad},z)$ for n independent draws of z a label: samples of the network's $P_{X|Y=y}$.

    Components of a learned mixture are drawn exactly, not by Algorithm 1.

    Args:
        flow: T.
        latent: Law of z; a `LearnedMixture` depends on y.
        y: Labels, shape (m, labels).
        n: Samples a label.
        padding: How label, padding and latent share the dimension; without padding, sizes that fill it.
        generator: Source of z and padding.
        label_noise: Deviation of noise on y. A likelihood of labels with deviation $\tau$ is matched by samples with that
            noise: at y alone they have the law of x given $T_y(x)=y$, narrower where x moves with the deviation.

    Returns:
        The data coordinates, shape (m, n, data).

    Raises:
        InvalidInput: For labels of another shape, NaN, n < 1, or sizes that differ from those of the network or the latent.

    Source:
        Hagemann and Neumayer (2022), Section 2.

    Example:
        >>> from inn import CouplingFlow, coupling_flow
        >>> flow = coupling_flow(CouplingFlow(dim=4, blocks=2, hidden=8), seed=0)
        >>> sizes = Padding(dim=4, data=4, labels=2, latent=2)
        >>> sample_posterior(flow, Latent.normal(2), torch.zeros(3, 2), 5, sizes, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 5, 4])
    """
    if n < 1:
        raise InvalidInput("n", n, "an integer >= 1", "ask for at least one sample a label")
    size = latent.means.shape[1] if isinstance(latent, LearnedMixture) else latent.dim
    if (flow.dim, size) != (padding.dim, padding.latent):
        got = f"a network of dimension {flow.dim} and a latent of dimension {size}"
        raise InvalidInput("padding", f"dim {padding.dim}, latent {padding.latent}", got, "give the sizes it was trained with")
    if not 0.0 <= label_noise < float("inf"):
        raise InvalidInput("label_noise", label_noise, "a finite number >= 0", "0, or the label scale of the training")
    labels = y.repeat_interleave(n, dim=0)
    z = latent.sample(labels, generator) if isinstance(latent, LearnedMixture) else latent.sample(len(labels), generator).to(y)
    if label_noise > 0:
        labels = labels + label_noise * torch.randn(labels.shape, generator=generator).to(labels)
    x = flow.inverse(padding.pad_image(labels, z, generator))
    return padding.data_of(x).reshape(len(y), n, padding.data)
