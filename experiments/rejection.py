"""Algorithm 3: samples of a posterior by rejection, for problems that can be simulated and for nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipbounds.errors import InvalidInput, NotConverged

__all__ = ["Rejection", "approximate_bayesian_computation"]


@dataclass(frozen=True, eq=False)
class Rejection:
    """Accepted draws and what they cost.

    Attributes:
        samples: Shape (n, d).
        draws: Number of draws from the prior until there were enough.
        rate: Share of the draws that was accepted, an unbiased estimate up to the last draw.
    """

    samples: Tensor
    draws: int
    rate: float


def approximate_bayesian_computation(  # noqa: PLR0913 (a user reads them one by one)
    prior: Callable[[int, torch.Generator], Tensor],
    forward: Callable[[Tensor], Tensor],
    y: Tensor,
    n: int,
    *,
    threshold: float,
    generator: torch.Generator,
    batch: int = 1_000_000,
    budget: int = 10_000_000_000,
) -> Rejection:
    r"""Return n draws x of the prior with $|f(x)-y|^2<\varepsilon$: samples of X given that f(X) is that near to y.

    The law differs from that of X given f(X) = y by the threshold; they agree as it goes to 0, where draws cost more and more.

    Args:
        prior: Draws from a number and a generator, shape (m, d).
        forward: f on rows, shape (m, labels).
        y: The label, shape (labels,).
        n: Samples wanted, at least 1.
        threshold: $\varepsilon>0$, of the SQUARED distance as printed. (The samples shipped with the authors' program have
            distances below 0.01, so 1e-4.)
        generator: Source of the draws.
        batch: Draws at a time.
        budget: Draws after which to give up.

    Raises:
        InvalidInput: For shapes that do not fit, NaN, n < 1 or a threshold that is not above 0.
        NotConverged: If the budget is spent; says how many were accepted.

    Source:
        Hagemann and Neumayer (2022), Algorithm 3.

    Example:
        >>> normal = lambda m, generator: torch.randn(m, 2, generator=generator)
        >>> height = lambda x: x[:, :1]
        >>> near = approximate_bayesian_computation(
        ...     normal, height, torch.tensor([1.0]), 50, threshold=1e-2, generator=torch.Generator().manual_seed(0), batch=1000
        ... )
        >>> bool(((near.samples[:, 0] - 1) ** 2 < 1e-2).all()), near.samples.shape
        (True, torch.Size([50, 2]))
    """
    if y.ndim != 1 or not y.numel() or not bool(torch.isfinite(y).all()):
        raise InvalidInput("y", f"shape {tuple(y.shape)}", "one label, shape (labels,), finite", "call it once for each label")
    for name, value in {"n": n, "batch": batch, "budget": budget}.items():
        if value < 1:
            raise InvalidInput(name, value, "an integer >= 1", "ask for at least one")
    if not 0.0 < threshold < math.inf:
        raise InvalidInput("threshold", threshold, "a finite number > 0", "it is compared with squared distances")
    kept: list[Tensor] = []
    accepted = draws = 0
    while accepted < n:
        if draws >= budget:
            got = f"{accepted} of {n} samples after {draws} draws"
            raise NotConverged(f"approximate_bayesian_computation: {got}; raise the threshold or the budget")
        x = prior(min(batch, budget - draws), generator)
        image = forward(x)
        if image.shape != (len(x), len(y)):
            got = f"shape {tuple(image.shape)} for {len(x)} rows"
            raise InvalidInput("forward", got, f"shape ({len(x)}, {len(y)})", "return one label a row")
        near = torch.nonzero((image - y).square().sum(1) < threshold).flatten()
        if accepted + len(near) >= n:
            near = near[: n - accepted]
            draws += int(near[-1]) + 1  # those after the last one that is needed do not count
        else:
            draws += len(x)
        kept.append(x[near])
        accepted += len(near)
    return Rejection(torch.cat(kept), draws, n / draws)
