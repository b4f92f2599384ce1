r"""Ways to keep Lip(T^{-1}) small while training, from the paper's soft ones to a limit that is enforced where it is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from inn.ensemble import Ensemble
from inn.invertible import Invertible
from inn.latents import Latent
from lipbounds.errors import InvalidInput

__all__ = ["AdversarialPairs", "clip_weights", "jacobian_penalty", "stretch_penalty", "weight_penalty"]

Batched = Callable[[Tensor], Tensor]
"""A map of rows, or of an ensemble's rows: from shape (..., d) to shape (..., m)."""

RANDOM_PAIR_DISTANCE = 0.02  # of the latent deviation, of pairs that are drawn
PAIR_DISTANCE = 1e-2  # of the latent deviation: short against the modes, long against float32 rounding


def weight_penalty(module: nn.Module) -> Tensor:
    r"""Return $\frac12\sum_i\|A_i\|_F^2$ over the weight matrices of a network: $L_{reg}$ with $\lambda_{reg}=1$.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Enforcing the Lipschitz Constraint".
    """
    matrices = [parameter for parameter in module.parameters() if parameter.ndim == 2]
    if not matrices:
        raise InvalidInput("module", type(module).__name__, "a network with weight matrices", "pass the flow")
    return 0.5 * torch.stack([matrix.square().sum() for matrix in matrices]).sum()


@torch.no_grad()
def clip_weights(module: nn.Module, size: float) -> None:
    """Cut every entry of the weight matrices of a network to [-size, size], in place; for `after_step` of `fit`.

    A matrix of shape (m, n) then has a norm of at most size sqrt(mn), so every subnetwork a constant, if a large one.

    Source:
        The weight clipping that Section 4 of the paper names, from its reference [23].
    """
    if not 0.0 < size < float("inf"):
        raise InvalidInput("size", size, "a finite number > 0", "0.01 to 1 are usual")
    for parameter in module.parameters():
        if parameter.ndim == 2:
            parameter.clamp_(-size, size)


def jacobian_penalty(f: Batched, points: Tensor, *, limit: float | Tensor, generator: torch.Generator) -> Tensor:
    r"""Return the mean over points of $\max(0,|Df(p)v|-c)^2$ with random unit vectors v: the gradient penalty for maps.

    Args:
        f: T^{-1}, on rows.
        points: Latent points, shape (..., n, d).
        limit: c, a number, or one for each network, of shape (E, 1).
        generator: Source of v.

    Returns:
        One number, or one for each network where points have three axes.

    Source:
        Gulrajani et al., Improved training of Wasserstein GANs (2017), one-sided, the reference [23] of the paper.
    """
    v = torch.randn(points.shape, generator=generator).to(points)
    v = v / v.norm(dim=-1, keepdim=True)
    slope = cast(Tensor, torch.func.jvp(f, (points,), (v,))[1])
    excess: Tensor = (slope.norm(dim=-1) - limit).clamp_min(0.0).square()
    return excess.mean(-1)


def stretch_penalty(
    ensemble: Ensemble[Invertible], latent: Latent, *, pairs: int, limit: float, mass: float, generator: torch.Generator
) -> Tensor:
    r"""Return the mean over random short pairs of $\max(0, q^2-c^2)$, q the difference quotient of $T^{-1}$.

    The pairs cover the convex hull of the latent components' balls of the given mass (a uniform point between two centres
    plus a uniform point of a ball), not where the latent law has its mass: likelihood leaves the rims of the balls alone, and
    there the inverse can fold. A constant below the limit c costs nothing, so a latent that allows Lip(T^{-1}) <= c pays
    nothing at the optimum.

    Args:
        ensemble: The networks.
        latent: Latent law of one or two components.
        pairs: Number of pairs a network.
        limit: The limit c.
        mass: Mass of the balls.
        generator: Source of the pairs.
    """
    size = (len(ensemble), pairs)
    hull = latent.hull(mass)
    uniform = torch.rand(*size, 3, generator=generator)
    means = torch.tensor(latent.means)
    core = means[0] + uniform[..., :1] * (means[-1] - means[0])
    offset = torch.randn(*size, latent.dim, generator=generator)
    offset = offset / offset.norm(dim=-1, keepdim=True) * uniform[..., 1:2] ** (1.0 / latent.dim)
    z = core + hull.radius * offset
    direction = torch.randn(*size, latent.dim, generator=generator)
    step = RANDOM_PAIR_DISTANCE * latent.scale * direction / direction.norm(dim=-1, keepdim=True)
    images, _ = ensemble.inverse_and_log_det(torch.cat((z, z + step), dim=1))
    squares = (images[:, pairs:] - images[:, :pairs]).square().sum(-1) / step.square().sum(-1)
    excess: Tensor = (squares - limit**2).clamp_min(0.0)
    return excess.mean(-1)


class AdversarialPairs:
    r"""A penalty on the constant found: short pairs that climb to where $T^{-1}$ stretches most while it is trained.

    Every call is one step of a search beside the training: the pairs move up the gradient of the log of their difference
    quotient q, in the balls of the latent components and between them, and the quotients that exceed the limit are charged
    $\log(q/c)^2$ each. The share of pairs with the smallest quotients starts anew somewhere at random, so that new
    peaks are found. In contrast to penalties at random points it acts where the constant is made, however small that
    place is.

    Args:
        latent: Latent law; pairs live in the convex hull of two component balls drawn for each pair.
        networks: Number of networks of an ensemble.
        pairs: Pairs a network.
        mass: Mass of the balls.
        seed: Of the starts.

    Attributes:
        state: Tensors that belong to a training state (`fit(memory=...)`).
    """

    RENEWED = 0.25  # share of pairs that start anew
    RATE = 0.05  # of a step of the search, in latent deviations

    def __init__(self, latent: Latent, *, networks: int = 1, pairs: int = 64, mass: float = 0.99, seed: int) -> None:
        self._radius = float(latent.balls(mass)[0].radius)
        self._means = torch.tensor(latent.means)
        self._scale = latent.scale
        generator = torch.Generator().manual_seed(seed)
        points = self._random(networks * pairs, generator).reshape(networks, pairs, -1)
        axes = torch.randn(points.shape, generator=generator)
        self.state = {"points": points, "axes": axes / axes.norm(dim=-1, keepdim=True)}

    def _random(self, n: int, generator: torch.Generator) -> Tensor:
        """Points of the hull of two random balls each."""
        which = torch.randint(len(self._means), (n, 2), generator=generator)
        t = torch.rand(n, 1, generator=generator)
        core = (1 - t) * self._means[which[:, 0]] + t * self._means[which[:, 1]]
        offset = torch.randn(core.shape, generator=generator)
        offset = offset / offset.norm(dim=-1, keepdim=True)
        points: Tensor = core + self._radius * torch.rand(n, 1, generator=generator) ** (1 / core.shape[1]) * offset
        return points

    def _inside(self, points: Tensor) -> Tensor:
        """Points pulled back to the nearest segment between means, if farther from it than the radius."""
        cores = []
        for a in range(len(self._means)):
            for b in range(a, len(self._means)):
                start, along = self._means[a], self._means[b] - self._means[a]
                length = along.square().sum().clamp_min(1e-30)
                t = ((points - start) @ along / length).clamp(0.0, 1.0)
                cores.append(start + t[..., None] * along)
        stacked = torch.stack(cores)
        nearest = (points - stacked).norm(dim=-1).argmin(dim=0)
        core = stacked.gather(0, nearest[None, ..., None].expand(1, *points.shape))[0]
        away = points - core
        inside: Tensor = core + away * (self._radius / away.norm(dim=-1, keepdim=True).clamp_min(1e-30)).clamp_max(1.0)
        return inside

    def penalty(self, f: Batched, limit: float | Tensor, generator: torch.Generator) -> Tensor:
        r"""Return the mean of $\max(0,\log(q/c))^2$ over the pairs, shape (E,), and let the pairs climb by one step.

        Args:
            f: T^{-1} of the ensemble, (E, n, d) to (E, n, m).
            limit: c, a number or shape (E, 1).
            generator: Source of new starts.
        """
        points = self.state["points"].clone().requires_grad_()
        axes = self.state["axes"].clone().requires_grad_()
        step = PAIR_DISTANCE * self._scale * axes / axes.norm(dim=-1, keepdim=True)
        images = f(torch.cat((points - step / 2, points + step / 2), dim=1))
        low, high = images.chunk(2, dim=1)
        logs = ((high - low).norm(dim=-1).clamp_min(1e-12) / (PAIR_DISTANCE * self._scale)).log()
        up, turn = torch.autograd.grad(logs.sum(), (points, axes), retain_graph=True)
        with torch.no_grad():
            rate = self.RATE * self._scale
            moved = self._inside(points + rate * up / up.norm(dim=-1, keepdim=True).clamp_min(1e-12))
            turned = axes + 0.5 * turn / turn.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            renewed = max(1, int(self.RENEWED * points.shape[1]))
            weakest = logs.argsort(dim=1)[:, :renewed, None].expand(-1, -1, points.shape[2])
            fresh = self._random(weakest.shape[0] * renewed, generator).reshape(weakest.shape)
            moved = moved.scatter(1, weakest, fresh)
            turned = turned.scatter(1, weakest, torch.randn(weakest.shape, generator=generator))
            self.state["points"].copy_(moved)
            self.state["axes"].copy_(turned / turned.norm(dim=-1, keepdim=True))
        bound = torch.as_tensor(limit, dtype=logs.dtype)
        excess: Tensor = (logs - bound.log()).clamp_min(0.0).square()
        return excess.mean(-1)
