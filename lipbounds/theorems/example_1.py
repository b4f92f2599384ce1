r"""Example 1: two modes that get sharper, $X_\sigma\sim\frac12N(-1,\sigma^2)+\frac12N(1,\sigma^2)$, and both of its claims.

*First half, printed.* With $Z\sim N(0,1)$: for every C there is $\sigma_0$ such that for $\sigma<\sigma_0$ every T with
$W_1(T^{-1}_\#P_Z,P_{X_\sigma})<\epsilon$ has $\mathrm{Lip}(T^{-1})>C$. At a fixed epsilon that fails: the ramp
$\mathrm{clip}(Kz,-1,1)$ has $W_1\le E(1-K|Z|)_++\sigma\sqrt{2/\pi}$ for every sigma (0.03986 and a bit for K = 10). The
constant explodes as epsilon falls too: `forced_by_frontier`, and 0.3989/epsilon in the limit of sharp modes.

*Second half, printed.* With $Z\sim\frac12N(-1,0.1)+\frac12N(1,0.1)$ there are T with $T^{-1}_\#P_Z=P_{X_\sigma}$ and
$\mathrm{Lip}(T^{-1})$ bounded as sigma falls. For an exact push-forward that fails too: on the line it is the monotone map (or
its mirror image), and $\mathrm{Lip}(T^{-1})\ge\rho_Z(0)/\rho_{X_\sigma}(0)$. The remedy is true at a tolerance
(`forced_by_two_points`): at W_1 = 0.001 this latent needs 9.3 where the normal one needs 399.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from flint import arb
from scipy.optimize import brentq

from lipbounds.arb import ends, normal_cdf, normal_density, working_precision
from lipbounds.distances.line import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = [
    "ExactMap",
    "Example1First",
    "Example1Second",
    "Generator",
    "exact_lipschitz",
    "exact_lipschitz_from",
    "forced_by_two_points",
    "latent_of_example_1",
    "ramp",
    "ramp_error",
    "two_modes",
    "two_modes_in_plane",
]

LARGEST_EXPONENT = math.log(sys.float_info.max)


def two_modes(sigma: float) -> GaussianMixture:
    """Return the law of X_sigma on the line.

    Source:
        Hagemann and Neumayer (2022), Example 1.
    """
    _check(sigma)
    return GaussianMixture([[-1.0], [1.0]], [[[sigma**2]], [[sigma**2]]])


def two_modes_in_plane(sigma: float) -> GaussianMixture:
    """Return the law of (X_sigma, N(0, 1)): Example 1 with a second coordinate, so that coupling layers apply."""
    _check(sigma)
    covariance = np.diag([sigma**2, 1.0])
    return GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], [covariance, covariance])


def exact_lipschitz(sigma: float) -> float:
    r"""Return $\sigma\exp(1/(2\sigma^2))$: the constant of the monotone map from N(0, 1) to X_sigma, attained at 0.

    It is the least constant of any map that pushes N(0, I_n) to X_sigma exactly; for sigma < 1 (above, the modes merge and
    the supremum lies elsewhere). Infinite where it exceeds the doubles, below sigma of about 0.0266.

    Example:
        >>> round(exact_lipschitz(0.3), 3)
        77.601
    """
    _check(sigma)
    exponent = math.log(sigma) + 1.0 / (2.0 * sigma**2)
    return math.exp(exponent) if exponent < LARGEST_EXPONENT else math.inf


def _check(sigma: float) -> None:
    if not 0.0 < sigma < math.inf:
        raise InvalidInput("sigma", sigma, "a finite number > 0", "at 0 the modes are atoms and no constant is finite")


def latent_of_example_1() -> GaussianMixture:
    """Return the fixed latent law of the second half, 0.5 N(-1, 0.1) + 0.5 N(1, 0.1); 0.1 is the variance."""
    return GaussianMixture([[-1.0], [1.0]], [[[0.1]], [[0.1]]])


def ramp_error(slope: float) -> Enclosure:
    r"""Enclose W_1 between the law of clip(K Z, -1, 1), Z standard normal, and two atoms of mass 1/2 at -1 and 1.

    It is $E(1-K|Z|)_+=2\big(\Phi(1/K)-\tfrac12-K(\varphi(0)-\varphi(1/K))\big)$, in ball arithmetic.

    Example:
        >>> round(ramp_error(10.0).upper, 5)
        0.03986
    """
    if not 0.0 < slope < math.inf:
        raise InvalidInput("slope", slope, "a finite number > 0", "the ramp rises")
    with working_precision(192):
        k = arb(slope)
        value = 2 * (normal_cdf(1 / k) - arb(1) / 2 - k * (normal_density(arb(0)) - normal_density(1 / k)))
        return Enclosure(*ends(value), Guarantee.CERTIFIED, "closed form in balls")


def forced_by_two_points(latent: GaussianMixture, epsilon: float) -> float:
    r"""Return the least Lipschitz constant of a map of `latent` to within W_1 <= epsilon of atoms at -1 and 1.

    For a law symmetric about 0 the ramp $\mathrm{clip}(Lz,-1,1)$ is optimal: the error $\int|f-\mathrm{sgn}|\,\rho$ is convex
    in f, so f may be replaced by its odd part, and an odd L-Lipschitz f has $|f(z)|\le L|z|$. Its error is
    $E(1-L|Z|)_+$, which falls from 1 to 0.

    Args:
        latent: A mixture on the line, symmetric about 0.
        epsilon: The accuracy, in (0, 1).

    Example:
        >>> [round(forced_by_two_points(latent_of_example_1(), e), 2) for e in (0.1, 0.01, 0.001)]
        [1.08, 2.34, 9.26]
    """
    if not 0.0 < epsilon < 1.0:
        raise InvalidInput("epsilon", epsilon, "a number in (0, 1)", "at 1 a constant map will do")
    points = np.linspace(0.0, 3.0, 7)
    if latent.dim != 1 or not np.allclose(latent.cdf(points) + latent.cdf(-points), 1.0, atol=1e-12):
        raise InvalidInput("latent", "a law that is not symmetric about 0", "a symmetric law on the line", "centre it")

    def excess(log_slope: float) -> float:
        width = math.exp(-log_slope)
        # E(w - |Z|)_+ is a second difference of the integral of the distribution function
        integral = latent.cdf_integral(np.array([-width, 0.0, width]))
        return float(integral[0] - 2 * integral[1] + integral[2]) / width - epsilon

    return math.exp(brentq(excess, -20.0, 20.0, xtol=1e-12))


def exact_lipschitz_from(latent: GaussianMixture, sigma: float) -> float:
    r"""Return $\rho_Z(0)/\rho_{X_\sigma}(0)$: at 0 the slope of the exact monotone map from a symmetric latent law to X_sigma.

    A lower bound of its constant. Infinite beyond the doubles.

    Example:
        >>> [float(f"{exact_lipschitz_from(latent_of_example_1(), v**0.5):.3g}") for v in (0.05, 0.03, 0.02)]
        [105.0, 63900.0, 217000000.0]
    """
    exponent = float(latent.log_pdf(0.0) - two_modes(sigma).log_pdf(0.0))
    return math.exp(exponent) if exponent < LARGEST_EXPONENT else math.inf


@dataclass(frozen=True)
class Generator:
    """An instance of the first half: a generator with standard normal latent for a member of the family X_sigma.

    Attributes:
        sigma: Width of the modes.
        epsilon: The accuracy that the claim is about.
        accuracy: Enclosure of W_1(f#Z, X_sigma).
        lipschitz: Enclosure of Lip(f).
        claimed: The C that the constant should exceed.
    """

    sigma: float
    epsilon: float
    accuracy: Enclosure
    lipschitz: Enclosure
    claimed: float


def ramp(sigma: float, *, slope: float = 10.0, epsilon: float = 0.05, claimed: float = 11.0) -> Generator:
    """Return the ramp clip(K z, -1, 1) as an instance of the first half; its constant is K for every sigma."""
    error = ramp_error(slope)
    accuracy = error.upper + wasserstein_1_line(Discrete([[-1.0], [1.0]]), two_modes(sigma)).upper * (1 + 1e-12)
    steep = Enclosure(slope, slope, Guarantee.EXACT, "slope")
    return Generator(sigma, epsilon, Enclosure(0.0, accuracy, Guarantee.EXACT, "triangle inequality"), steep, claimed)


class Example1First(Statement[Generator]):
    """The first half as printed: at fixed accuracy the constant exceeds every C for all small sigma. It does not."""

    number = "Example 1, first half"
    version = "printed"
    text = "C < Lip(T^-1) for sigma < sigma_0(C), if W_1(T^-1 # Z, X_sigma) < epsilon"

    def hypotheses(self, instance: Generator) -> list[Hypothesis]:
        """Return that the generator reaches the accuracy."""
        accuracy = instance.accuracy.upper
        return [Hypothesis(f"W_1 = {accuracy:.4g} < epsilon = {instance.epsilon:.4g}", accuracy < instance.epsilon)]

    def left(self, instance: Generator) -> Enclosure:
        """Return the claimed C."""
        return Enclosure(instance.claimed, instance.claimed, Guarantee.EXACT, "claimed")

    def right(self, instance: Generator) -> Enclosure:
        """Return what is known of the constant."""
        return instance.lipschitz

    def extremal(self) -> Generator:
        """Return a counterexample: the ramp, at a sigma so small that no smaller one changes anything."""
        return ramp(1e-6)


@dataclass(frozen=True, eq=False)
class ExactMap:
    """An instance of the second half: an exact map of a symmetric latent law on the line to X_sigma.

    Attributes:
        latent: The fixed latent law.
        sigma: Width of the modes.
        claimed: The bound B of Lip(T^{-1}) that is claimed for all sigma.
    """

    latent: GaussianMixture
    sigma: float
    claimed: float


class Example1Second(Statement[ExactMap]):
    """The second half as printed: with a fixed mixture latent exact maps stay bounded as sigma falls. They do not."""

    number = "Example 1, second half"
    version = "printed"
    text = "Lip(T^-1) <= B for all sigma, if T^-1 # Z = X_sigma and Z is the fixed mixture"

    def hypotheses(self, instance: ExactMap) -> list[Hypothesis]:
        """Return that the latent law is on the line and symmetric."""
        symmetric = instance.latent.dim == 1 and abs(float(instance.latent.cdf(0.0)) - 0.5) < 1e-12
        return [Hypothesis("Z symmetric on the line", symmetric)]

    def left(self, instance: ExactMap) -> Enclosure:
        """Return the least constant of an exact map, from the densities at 0."""
        value = exact_lipschitz_from(instance.latent, instance.sigma)
        return Enclosure(value * (1 - 1e-12), math.inf, Guarantee.EXACT, "densities at 0")

    def right(self, instance: ExactMap) -> Enclosure:
        """Return the claimed bound."""
        return Enclosure(instance.claimed, instance.claimed, Guarantee.EXACT, "claimed")

    def extremal(self) -> ExactMap:
        """Return a counterexample to B = 1e8: sigma^2 = 0.02 with the paper's latent."""
        return ExactMap(latent_of_example_1(), math.sqrt(0.02), 1e8)
