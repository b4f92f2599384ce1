"""How common steepness is: quantiles of the Jacobian's norm under a latent law.

A constant of 1e13 at one point and a median of 3 are two facts, and a user needs both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom

from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.model import as_model
from lipbounds.measures import GaussianMixture
from lipbounds.search.singular_values import LARGEST_FULL, check_map, singular_values_of

__all__ = ["Steepness", "steepness"]

FLOATING = "norms of the Jacobian are those of floating point, as torch differentiates"


@dataclass(frozen=True, eq=False)
class Steepness:
    """Quantiles of the largest singular value of DT^{-1}(Z), Z from the latent law.

    Attributes:
        shares: Of the latent mass, each in (0, 1).
        quantiles: An enclosure for each; infinite above where the sample is too small to bound it.
        largest: The largest value in the sample.
        draws: Size of the sample.
    """

    shares: tuple[float, ...]
    quantiles: tuple[Enclosure, ...]
    largest: float
    draws: int


def steepness(
    model: object,
    law: GaussianMixture,
    *,
    draws: int = 10_000,
    shares: Sequence[float] = (0.5, 0.99, 0.9999),
    alpha: float = 0.05,
    seed: int = 0,
) -> Steepness:
    r"""Return quantiles of the spectral norm of the Jacobian of a model's map latent -> data under its latent law.

    Order statistics bound them at any sample size: of n draws the k-th smallest is at most the q-quantile unless fewer than k
    draws are, which has probability $P(\mathrm{Bin}(n,q)<k)$, and alike above. All bounds hold together with probability
    1 - alpha, CONFIDENCE; that norms are those of floating point is named in `assumptions`. Above 24 dimensions (of input or
    output) power iteration gives norms from below, and only the lower ends hold.

    Args:
        model: As in `find_lipschitz`, differentiable by torch.
        law: The latent law.
        draws: Size of the sample.
        shares: Of the latent mass.
        alpha: Probability that any of the bounds fails.
        seed: Of the draws.

    Raises:
        InvalidInput: For shares outside (0, 1), no draws, alpha outside (0, 1), or a map that `find_lipschitz` refuses.

    Example:
        >>> from lipbounds.measures import standard_normal
        >>> found = steepness(lambda z: z**2, standard_normal(1), draws=2000, shares=(0.5,))
        >>> found.quantiles[0].lower < 2 * 0.67449 < found.quantiles[0].upper
        True
    """
    if not shares or not all(0.0 < share < 1.0 for share in shares):
        raise InvalidInput("shares", tuple(shares), "numbers in (0, 1), at least one", "0.5 is the median")
    if not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", alpha, "a number in (0, 1)", "0.05 is usual")
    if draws < 1:
        raise InvalidInput("draws", draws, "an integer >= 1", "10_000 bound the quantile 0.999 from both sides")
    f = as_model(model).inverse
    points = torch.as_tensor(law.sample(draws, np.random.default_rng(seed)))
    outputs, _ = check_map(f, points[:64])
    norms = np.sort(singular_values_of(f, outputs, law.dim, None, "largest").values(points).numpy())
    from_below = min(law.dim, outputs) > LARGEST_FULL
    each = alpha / (2 * len(shares))
    method = f"order statistics of {draws} draws" + (", norms by power iteration" if from_below else "")
    quantiles = tuple(
        Enclosure(*_ends(norms, share, each, from_below=from_below), Guarantee.CONFIDENCE, method, alpha, (FLOATING,))
        for share in shares
    )
    return Steepness(tuple(shares), quantiles, float(norms[-1]), draws)


def _ends(norms: np.ndarray, share: float, alpha: float, *, from_below: bool) -> tuple[float, float]:
    """Two order statistics, each on its side of the quantile with probability 1 - alpha."""
    n = len(norms)
    # the largest k with P(fewer than k draws at or below) <= alpha, and the least with P(at least k below) <= alpha
    below = int(binom.ppf(alpha, n, share))
    while below > 0 and binom.cdf(below - 1, n, share) > alpha:
        below -= 1
    above = int(binom.ppf(1 - alpha, n, share)) + 1
    lower = float(norms[below - 1]) if below > 0 else 0.0
    upper = float(norms[above - 1]) if above <= n and not from_below else math.inf
    return lower, upper
