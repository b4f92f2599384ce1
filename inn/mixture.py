"""The latent Gaussian mixture whose probabilities p(y) are learned, and Algorithm 1, which samples it differentiably."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inn.subnets import MLP
from lipbounds.errors import InvalidInput

__all__ = ["LearnedMixture", "sparsity"]

TINY = 1e-30  # keeps a uniform number away from 0, where the Gumbel law has no value


class LearnedMixture(nn.Module):
    r"""The law $P_{Z|Y=y}=\sum_i p_i(y)\,N(\mu_i,\sigma^2I)$, $p=w(y)$ a network with values on the simplex.

    Args:
        labels: Dimension n of y.
        means: The $\mu_i$, shape (r, k), fixed.
        scale: $\sigma>0$.
        hidden: Width of the hidden layers of w.
        depth: Number of its hidden layers.
        activation: Their activation.
        generator: Source of its initial weights.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Learning a GMM" and Algorithm 1.

    Example:
        >>> random = torch.Generator().manual_seed(0)
        >>> means = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
        >>> latent = LearnedMixture(3, means, 1.0, hidden=8, depth=1, activation="relu", generator=random)
        >>> y = torch.zeros(5, 3)
        >>> latent.sample(y, random).shape, latent.sample(y, random, temperature=0.1).shape
        (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    means: Tensor

    def __init__(
        self,
        labels: int,
        means: Tensor,
        scale: float,
        *,
        hidden: int,
        depth: int,
        activation: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if means.ndim != 2 or not means.numel() or not bool(torch.isfinite(means).all()):
            raise InvalidInput("means", tuple(means.shape), "finite numbers, shape (components, k)", "one row a component")
        if not 0.0 < scale < float("inf"):
            raise InvalidInput("scale", scale, "a finite number > 0", "pass a standard deviation")
        self.scale = scale
        self.register_buffer("means", means.detach().clone())
        self.subnet = MLP(labels, len(means), hidden=hidden, depth=depth, activation=activation, generator=generator)

    def log_probabilities(self, y: Tensor) -> Tensor:
        """log p(y), shape (n, r), for labels of shape (n, labels)."""
        if y.ndim != 2 or y.shape[1] != self.subnet.layers[0].in_features or not bool(torch.isfinite(y).all()):
            got = f"shape {tuple(y.shape)}, finite: {bool(torch.isfinite(y).all())}"
            raise InvalidInput("y", got, f"finite rows of {self.subnet.layers[0].in_features} numbers", "pass one label a row")
        return torch.log_softmax(self.subnet(y), dim=-1)

    def probabilities(self, y: Tensor) -> Tensor:
        """p(y), shape (n, r)."""
        return self.log_probabilities(y).exp()

    def sample(self, y: Tensor, generator: torch.Generator, *, temperature: float | None = None) -> Tensor:
        """One z a label, shape (n, k).

        Args:
            y: Labels, shape (n, labels).
            generator: Source of components and noise.
            temperature: None draws components exactly, without gradient towards p. A temperature t > 0 is Algorithm 1: weights
                softmax((log p + Gumbel noise) / t) in place of one component, differentiable in p; as t falls to 0 the law
                becomes the exact one, for larger t its points lie between the means.

        Raises:
            InvalidInput: For labels of another shape, NaN, or a temperature that is not above 0.
        """
        logits = self.log_probabilities(y)
        uniform = torch.rand(logits.shape, generator=generator).clamp_min(TINY).to(logits)
        perturbed = logits - torch.log(-torch.log(uniform))
        if temperature is None:
            chosen = self.means[perturbed.argmax(-1)]
        elif temperature > 0:
            chosen = torch.softmax(perturbed / temperature, dim=-1) @ self.means
        else:
            raise InvalidInput("temperature", temperature, "a number > 0, or None", "None samples exactly")
        return chosen + self.scale * torch.randn(chosen.shape, generator=generator).to(chosen)

    def log_density(self, z: Tensor, y: Tensor, *, spread: float = 1.0) -> Tensor:
        """log p(z|y), shape (n,), by logsumexp, with the means multiplied by `spread`."""
        k = self.means.shape[1]
        squares = ((z.unsqueeze(-2) - spread * self.means) / self.scale).square().sum(-1)
        constant = k * math.log(self.scale * math.sqrt(2 * math.pi))
        return torch.logsumexp(self.log_probabilities(y) - 0.5 * squares, dim=-1) - constant


def sparsity(probabilities: Tensor) -> Tensor:
    r"""Return the mean over rows of $(\sum_ip_i^{1/2})^2$: 1 where one component has everything, r where all have the same.

    Args:
        probabilities: Shape (n, r).

    Source:
        Hagemann and Neumayer (2022), end of "Enforcing the Lipschitz Constraint".

    Example:
        >>> float(sparsity(torch.tensor([[0.25, 0.25, 0.25, 0.25]])))
        4.0
    """
    # the root has no finite slope at 0
    return probabilities.clamp_min(TINY).sqrt().sum(-1).square().mean()
