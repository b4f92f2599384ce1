"""What a finite sample proves about a distance between laws."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from lipbounds.distances.line import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture

__all__ = ["clopper_pearson", "wasserstein_1_upper"]

Array = NDArray[np.float64]


def wasserstein_1_upper(sample: Discrete, nu: GaussianMixture, *, clip: float, alpha: float) -> Enclosure:
    r"""Enclose $W_1(s_\#\mu, s_\#\nu)$, $s(t)=\mathrm{clip}(t,-c,c)$, from independent draws of $\mu$ on the line.

    By the Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant, $\sup_t|F_N-F_\mu|\le\sqrt{\ln(2/\alpha)/(2N)}$
    with probability at least $1-\alpha$, for every sample size; integrated over $[-c,c]$ it moves $W_1$ by at most
    $2c$ times that. Without the bound c no finite-sample upper bound exists: a mass of 1e-7 at 1e7 is worth 1.

    Args:
        sample: N independent draws of mu with equal weights, on the line.
        nu: The law compared with, known exactly.
        clip: The bound c of the statistic, fixed independently of the sample.
        alpha: Error probability.

    Returns:
        Both ends hold together with probability at least 1 - alpha.

    Source:
        Massart, The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality (1990), Corollary 1.

    Example:
        >>> import numpy as np
        >>> from lipbounds.measures import standard_normal
        >>> draws = Discrete(np.random.default_rng(0).standard_normal((10000, 1)))
        >>> bound = wasserstein_1_upper(draws, standard_normal(1), clip=3.0, alpha=0.05)
        >>> bound.lower == 0.0 and bound.upper < 0.1
        True
    """
    if not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", alpha, "a number in (0, 1)", "0.05 is usual")
    if len(set(sample.weights.tolist())) > 1:
        raise InvalidInput("sample", "unequal weights", "equal weights", "pass independent draws without weights")
    plug_in = wasserstein_1_line(sample, nu, clip=clip)
    width = 2.0 * clip * math.sqrt(math.log(2.0 / alpha) / (2 * len(sample.weights)))
    ends = max(0.0, plug_in.lower - width), plug_in.upper + width
    return Enclosure(*ends, Guarantee.CONFIDENCE, "plug-in and DKW band", alpha)


def clopper_pearson(successes: ArrayLike, trials: int, *, alpha: float) -> tuple[Array, Array]:
    """Return one-sided confidence limits of a probability, lower and upper, elementwise; each holds with 1 - alpha.

    Source:
        Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial (1934).

    Example:
        >>> lower, upper = clopper_pearson([0, 5, 10], 10, alpha=0.05)
        >>> lower.round(3), upper.round(3)
        (array([0.   , 0.222, 0.741]), array([0.259, 0.778, 1.   ]))
    """
    k = np.asarray(successes)
    with np.errstate(invalid="ignore"):  # the ends of the range have no beta law
        lower = np.where(k == 0, 0.0, beta.ppf(alpha, k, trials - k + 1))
        upper = np.where(k == trials, 1.0, beta.ppf(1 - alpha, k + 1, trials - k))
    return lower, upper
