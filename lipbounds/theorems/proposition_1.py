r"""Proposition 1: sets that carry almost all mass are mapped close together by a map to the normal law.

*Printed.* If $W_1(T_\#\mu,\nu)\le\epsilon$ and $\mu(Q),\mu(R)\ge(1-\delta)/2$, then
$$\mathrm{dist}(T(Q),T(R))\le C\,(\delta+\epsilon^{n/(n+1)})^{1/n},\qquad C=4\Big(\frac1{m\,V_1}\Big)^{1/n},$$
with $V_1$ the volume of the unit ball and m the infimum of the density of $\nu$ on $B_{2s}$, $s=r+2$, $\nu(B_r)\ge3/4$, for
all $\delta,\epsilon<1/4$. For $\nu=N(0,I_n)$ this is the paper's $C=4(e^{2s^2}/(C_\nu V_1))^{1/n}$ with
$s=\chi_n^{-1}(3/4)+2$ made explicit. The paper's further demands on s never bind: $mV_1<1$ because $m V_1(2s)^n\le1$ and
$s\ge2$, and where the bound exceeds 2s it is trivial, since both image sets meet $B_s$. The constant is huge ($10^9$ in one
dimension).

*Sharp (S1).* For N(0, I_n), every n and all masses, $\mathrm{dist}(T(Q),T(R))\le\rho^*(\epsilon)$, `separation`. T need not be
injective, Q and R need not be disjoint. Proof in docs/theory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from flint import arb
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import chi

from lipbounds.arb import ends, working_precision
from lipbounds.distances.line import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee, derived
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.rounding import EPS
from lipbounds.theorems.separation import Masses, separation, separation_cost
from lipbounds.theorems.statement import Hypothesis, Statement

__all__ = ["PrintedConstant", "Proposition1", "SeparatedSets", "SharpProposition1", "printed_constant", "printed_distance"]

LARGEST = 0.25  # "delta, epsilon small enough"
BITS = 160
LARGEST_DIM = 100_000
LARGEST_EXPONENT = 709.0


@dataclass(frozen=True)
class PrintedConstant:
    r"""The constants of Proposition 1's proof.

    Attributes:
        s: Radius of the ball that both image sets meet.
        log_c: $\ln C$; C itself overflows for mixtures with distant means.
        threshold: delta and epsilon must be below it.
    """

    s: Enclosure
    log_c: Enclosure
    threshold: float = LARGEST


def printed_constant(reference: int | GaussianMixture) -> PrintedConstant:
    r"""Enclose the constants of Proposition 1 in ball arithmetic.

    Args:
        reference: The dimension n of $\nu=N(0,I_n)$, or $\nu$ itself. For a mixture the mass of a ball and the infimum of the
            density are bounded component by component, by its distance from 0 and its extreme deviations.

    Returns:
        CERTIFIED enclosures; EXACT for covariances that are not diagonal, whose eigenvalues are floats. The upper ends
        are valid constants; for a mixture the lower ends are only those of this construction.

    Raises:
        InvalidInput: For n < 1.

    Source:
        Hagemann and Neumayer (2022), proof of Proposition 1, with s explicit, and the remark behind it on general nu.

    Example:
        >>> [round(printed_constant(n).log_c.upper / math.log(10), 2) for n in (1, 2, 4)]
        [9.32, 6.59, 4.88]
    """
    if isinstance(reference, GaussianMixture):
        return _constant_of(reference)
    if isinstance(reference, bool) or int(reference) != reference or not 1 <= reference <= LARGEST_DIM:
        raise InvalidInput("reference", reference, f"an integer in [1, {LARGEST_DIM}]", "give the latent dimension")
    return _normal_constant(int(reference))


@lru_cache(maxsize=256)
def _normal_constant(n: int) -> PrintedConstant:
    with working_precision(BITS + n):
        radius = _radius(n, float(chi.ppf(0.75, n)), lambda r: _chi_cdf(n, r))
        s = radius + 2
        log_density = -arb(n) * (2 * arb.pi()).log() / 2 - 2 * s * s
        return _finish(n, s, log_density, Guarantee.CERTIFIED, "chi quantile and volume")


def _constant_of(nu: GaussianMixture) -> PrintedConstant:
    n, present = nu.dim, nu.weights > 0
    diagonal = all(np.array_equal(matrix, np.diag(np.diag(matrix))) for matrix in nu.covariances[present])
    eigenvalues: NDArray[np.float64] = np.asarray(np.linalg.eigvalsh(nu.covariances[present]), dtype=np.float64)
    if diagonal:
        eigenvalues = np.asarray(np.sort(np.diagonal(nu.covariances[present], axis1=1, axis2=2), axis=1), dtype=np.float64)
    # eigenvalues are floats with an error of some ulps of the largest
    margin = 0.0 if diagonal else 64 * n * EPS * float(eigenvalues.max())
    if not float(eigenvalues.min()) > margin:
        raise InvalidInput("reference", f"smallest eigenvalue {eigenvalues.min()}", f"above {margin}", "use a rounder covariance")
    largest = np.sqrt(eigenvalues[:, -1] + margin) * (1 + 4 * EPS)
    with working_precision(BITS + n):
        weights = [arb(float(w)) for w in nu.weights[present]]
        means = [sum((arb(float(x)) ** 2 for x in mean), arb(0)).sqrt() for mean in nu.means[present]]
        total = sum(weights, arb(0))  # renormalised in floats: the sum is 1 up to rounding

        def mass(radius: arb) -> arb:
            parts = (
                w * _chi_cdf(n, (radius - m) / arb(float(d)))
                for w, m, d in zip(weights, means, largest, strict=True)
                if radius > m
            )
            return sum(parts, arb(0)) / total

        guess = max(float(m.upper()) for m in means) + float(largest.max()) * float(chi.ppf(0.75, n))
        low, high = 0.0, guess
        for _ in range(60):  # the smallest radius of this bound; its error only loses sharpness
            middle = 0.5 * (low + high)
            low, high = (low, middle) if mass(arb(middle)) > 0.75 else (middle, high)
        s = _radius(n, high, mass) + 2
        terms = []
        for w, m, values in zip(weights, means, eigenvalues, strict=True):
            log_det = sum((arb(float(v) + margin).log() for v in values), arb(0))
            smallest = arb(float(values[0])) - margin
            terms.append((w / total).log() - (m + 2 * s) ** 2 / (2 * smallest) - log_det / 2 - arb(n) * (2 * arb.pi()).log() / 2)
        peak = max(terms, key=lambda term: float(term.mid()))
        by_components = peak + sum(((term - peak).exp() for term in terms), arb(0)).log()
        together = _log_density_by_concavity(n, s, [w / total for w in weights], nu.means[present], eigenvalues, margin)
        log_density = by_components.max(together)
        guarantee = Guarantee.CERTIFIED if diagonal else Guarantee.EXACT
        return _finish(n, s, log_density, guarantee, "mass by components, infimum by components or concavity")


def _log_density_by_concavity(
    n: int, s: arb, weights: list[arb], means: NDArray[np.float64], eigenvalues: NDArray[np.float64], margin: float
) -> arb:
    r"""A lower bound of the log density on $B_{2s}$: $\log\sum w_kN_k\ge\sum w_k\log N_k$, a quadratic.

    $\sum_kw_k|x-m_k|^2/\lambda_k\le4s^2\sum v_k+4s|\sum v_km_k|+\sum v_k|m_k|^2$ for $|x|\le2s$, $v_k=w_k/\lambda_k$, with the
    smallest eigenvalue of each component. Better than the farthest point of every component where the means balance.
    """
    shares = [w / (arb(float(values[0])) - margin) for w, values in zip(weights, eigenvalues, strict=True)]
    vectors = [[arb(float(x)) for x in mean] for mean in means]
    pulled = [sum((v * mean[i] for v, mean in zip(shares, vectors, strict=True)), arb(0)) for i in range(n)]
    length = sum((x * x for x in pulled), arb(0)).sqrt() if any(not x.is_zero() for x in pulled) else arb(0)
    quadratic = 4 * s * s * sum(shares, arb(0)) + 4 * s * length
    quadratic += sum((v * sum((x * x for x in mean), arb(0)) for v, mean in zip(shares, vectors, strict=True)), arb(0))
    log_det = sum(
        (
            w * sum(((arb(float(v)) + margin).log() for v in values), arb(0))
            for w, values in zip(weights, eigenvalues, strict=True)
        ),
        arb(0),
    )
    return -(quadratic + log_det + arb(n) * (2 * arb.pi()).log()) / 2


def _chi_cdf(n: int, radius: arb) -> arb:
    return (radius * radius / 2).gamma_lower(arb(n) / 2, 1)


def _radius(n: int, guess: float, mass: Callable[[arb], arb]) -> arb:
    """A ball around a radius r with mass(r) = 3/4, whose upper end is proven to hold 3/4."""
    step = 4.0 * np.spacing(guess)
    high, low = guess + step, max(guess - step, 0.0)
    while not mass(arb(high)) >= 0.75:
        high, step = high + step, 2 * step
    while not mass(arb(low)) <= 0.75:
        low, step = max(low - step, 0.0), 2 * step
    return arb(low).union(arb(high))


def _finish(n: int, s: arb, log_density: arb, guarantee: Guarantee, method: str) -> PrintedConstant:
    log_volume = arb(n) * arb.pi().log() / 2 - (arb(n) / 2 + 1).lgamma()
    log_c = arb(4).log() - (log_density + log_volume) / n
    return PrintedConstant(Enclosure(*ends(s), guarantee, method), Enclosure(*ends(log_c), guarantee, method))


def printed_distance(reference: int | GaussianMixture, delta: float, epsilon: float) -> Enclosure:
    """Enclose the logarithm of the right-hand side; -inf for delta = epsilon = 0.

    Example:
        >>> 8.0 < printed_distance(1, 0.0, 0.01).upper / math.log(10) < 9.0
        True
    """
    n = reference.dim if isinstance(reference, GaussianMixture) else reference
    constant = printed_constant(reference).log_c
    if delta == epsilon == 0.0:
        return Enclosure(-math.inf, -math.inf, constant.guarantee, constant.method)
    with working_precision(BITS):
        inner = arb(delta) + (arb(epsilon) ** (arb(n) / (n + 1)) if epsilon > 0 else 0)
        low, high = ends(arb(constant.lower).union(arb(constant.upper)) + inner.log() / n)
    return Enclosure(low, high, constant.guarantee, constant.method)


@dataclass(frozen=True)
class SeparatedSets:
    """An instance of Proposition 1 and Corollary 1: a map T, a law mu and two sets Q and R.

    Attributes:
        dim: Latent dimension n.
        epsilon: Enclosure of W_1(T#mu, nu); the upper end is used.
        masses: What is known of mu(Q) and mu(R), or of their parts that T maps into a domain (S7); None if nothing is left.
        image_distance: Enclosure of dist(T(Q), T(R)); one pair of points gives the upper end.
        distance: dist(Q, R).
        lipschitz: Enclosure of Lip(T^{-1}) on a domain that contains T(Q) and T(R), or their parts that are used.
        reference: nu, if it is not N(0, I_n).
    """

    dim: int
    epsilon: Enclosure
    masses: Masses | None
    image_distance: Enclosure
    distance: float
    lipschitz: Enclosure
    reference: GaussianMixture | None = None

    @property
    def sources(self) -> tuple[Enclosure, Enclosure]:
        """What bounds from epsilon and the masses rest on."""
        assert self.masses is not None
        return self.masses.known, self.epsilon

    @property
    def log_printed(self) -> Enclosure:
        """Logarithm of the printed bound of the distance, from the upper ends of epsilon and delta."""
        assert self.masses is not None
        return printed_distance(self.dim if self.reference is None else self.reference, self.masses.delta, self.epsilon.upper)


def exponentials(logarithm: Enclosure) -> tuple[float, float]:
    """Return doubles below and above exp of an enclosed logarithm; beyond the doubles the largest, and infinity."""
    low = math.exp(min(logarithm.lower, LARGEST_EXPONENT)) * (1 - 1e-14)
    high = math.exp(logarithm.upper) * (1 + 1e-14) + 5e-324 if logarithm.upper < LARGEST_EXPONENT else math.inf
    return low, high if logarithm.upper > -math.inf else 0.0


def small_enough(instance: SeparatedSets) -> list[Hypothesis]:
    """The hypotheses of the printed Proposition 1 and Corollary 1."""
    delta = math.nan if instance.masses is None else instance.masses.delta
    return [
        Hypothesis(f"W_1(T#mu, nu) <= epsilon = {instance.epsilon.upper:.4g} < 1/4", instance.epsilon.upper < LARGEST),
        Hypothesis(f"delta = {delta:.4g} < 1/4", delta < LARGEST),
    ]


def standard_latent(instance: SeparatedSets) -> list[Hypothesis]:
    """The hypotheses of the sharp versions."""
    return [
        Hypothesis("nu = N(0, I)", instance.reference is None),
        Hypothesis("mu(Q), mu(R) > 0", instance.masses is not None),
        Hypothesis(f"epsilon = {instance.epsilon.upper:.4g} finite", instance.epsilon.upper < math.inf),
    ]


def extremal_sets(rho: float = 0.8, *, atoms: int = 20_000) -> SeparatedSets:
    """Nearly the case of equality of S1 and S2: the mass of N(0, 1) between -rho/2 and rho/2 moved to these points, T = id.

    On the line with finitely many atoms, W_1 integrated exactly: image distance and rho* agree to a percent.
    """
    z = ndtri((np.arange(atoms) + 0.5) / atoms)
    z = np.where(z < 0, np.minimum(z, -rho / 2), np.maximum(z, rho / 2))
    exact = Guarantee.EXACT
    return SeparatedSets(
        dim=1,
        epsilon=wasserstein_1_line(Discrete(z[:, None]), standard_normal(1)),
        masses=Masses.equal(0.0),
        image_distance=Enclosure(rho, rho, exact, "by construction"),
        distance=rho,
        lipschitz=Enclosure(1.0, 1.0, exact, "identity"),
    )


def moved_slab(rho: float, *, dim: int = 1, masses: Masses | None = None) -> SeparatedSets:
    """The case of equality of S1 in n dimensions: the mass of the slab of width rho that E picks moved to its sides, T = id.

    epsilon is the cost E(rho) of this explicit transport, certified; Q and R are the half-spaces that remain.

    Args:
        rho: Width of the slab, > rho*(0).
        dim: Dimension n.
        masses: Of the two sets; half each without gap by default.
    """
    chosen = Masses.equal(0.0) if masses is None else masses
    cost = separation_cost(rho, chosen)
    exact = Guarantee.EXACT
    return SeparatedSets(
        dim=dim,
        epsilon=Enclosure(0.0, cost.upper, cost.guarantee, "cost of moving the slab"),
        masses=chosen,
        image_distance=Enclosure(rho, rho, exact, "by construction"),
        distance=rho,
        lipschitz=Enclosure(1.0, 1.0, exact, "identity"),
    )


class Proposition1(Statement[SeparatedSets]):
    """Sets that carry almost all mass are mapped close together by a map to the reference law."""

    number = "Proposition 1"
    version = "printed"
    text = "dist(T(Q), T(R)) <= C (delta + epsilon^(n/(n+1)))^(1/n)"

    def hypotheses(self, instance: SeparatedSets) -> list[Hypothesis]:
        """Return that epsilon and delta are small enough, below 1/4."""
        return small_enough(instance)

    def left(self, instance: SeparatedSets) -> Enclosure:
        """Return what is known of dist(T(Q), T(R))."""
        return instance.image_distance

    def right(self, instance: SeparatedSets) -> Enclosure:
        """Return the bound, from the upper ends of epsilon and delta."""
        value = instance.log_printed
        exact = Enclosure(0.0, 0.0, Guarantee.EXACT, "exponential in floating point")
        return derived(*exponentials(value), "constant of the proof", exact, *instance.sources)

    def extremal(self) -> SeparatedSets:
        """Return the extremal instance of the sharp version: the printed bound is 1e9 times as large."""
        return extremal_sets()


class SharpProposition1(Statement[SeparatedSets]):
    """S1, in every dimension and for all masses."""

    number = "S1"
    version = "sharp"
    text = "dist(T(Q), T(R)) <= rho*(epsilon)"

    def hypotheses(self, instance: SeparatedSets) -> list[Hypothesis]:
        """Return that the reference law is N(0, I) and both sets have mass."""
        return standard_latent(instance)

    def left(self, instance: SeparatedSets) -> Enclosure:
        """Return what is known of dist(T(Q), T(R))."""
        return instance.image_distance

    def right(self, instance: SeparatedSets) -> Enclosure:
        """Return rho* at the upper end of epsilon."""
        assert instance.masses is not None
        width = separation(instance.epsilon.upper, instance.masses)
        return derived(width.lower, width.upper, width.method, width, instance.epsilon)

    def extremal(self) -> SeparatedSets:
        """Return an instance with both sides equal to a percent, the error of 20,000 atoms."""
        return extremal_sets()
