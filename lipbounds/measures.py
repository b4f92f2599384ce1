r"""Probability measures with exact masses: the laws of data and latent variables.

A `GaussianMixture` knows the masses of half-spaces and slabs in closed form, its marginals on lines, and in one dimension
its distribution function, quantiles and partial means. Masses of sets are enclosures, in ball arithmetic; a gap mass (the mass
between two sets Q and R) is always computed as such, never as 1 - mu(Q) - mu(R).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from flint import arb, arb_mat
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import qmc

from lipbounds.arb import column, ends, exact_row, noncentral_chi_square, normal_cdf, working_precision
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.rounding import EPS, UNIT

__all__ = ["Discrete", "GaussianMixture", "gaussian", "standard_normal"]

Array = NDArray[np.float64]

SHORT_BITS = 30  # of a weight that is meant exactly; decimal fractions have all 53
MASS_DOUBT = 2 * UNIT  # half the sum of n roundings of weights with sum 1 is at most UNIT / 2, and as much for their sum
PRECISIONS = (128, 256, 512, 1024, 2048, 4096)  # bits that are tried for a mass until its ends agree
AGREED = 1e-15  # relative width at which they do
SMALLEST_MASS = 1e-320  # below, the doubles have no digits left to agree on
NEWTON_STEPS = 10  # for quantiles; then they are settled to the last bit by bisection
WEIGHT_SUM_TOLERANCE = 1e-9  # weights given as decimal fractions miss 1 by a few ulps; they are divided by their sum


def _finite(name: str, values: ArrayLike, ndim: int) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        raise InvalidInput(name, "a masked array", "an array without mask", "pass values.compressed(), or the rows that are kept")
    array = _as_array(name, values)
    if array.ndim != ndim:
        raise InvalidInput(name, f"an array with {array.ndim} axes", f"{ndim} axes", "reshape; points are rows")
    if array.size == 0:
        raise InvalidInput(name, f"shape {array.shape}", "at least one entry", "pass at least one point")
    if not np.isfinite(array).all():
        raise InvalidInput(name, "NaN or infinite entries", "finite numbers", "remove or repair these entries")
    return array


def _as_array(name: str, values: object) -> Array:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    try:
        raw = np.asarray(values)
        if raw.dtype.kind not in "biuf":
            raise TypeError(f"type {raw.dtype}")
        return np.array(raw, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(name, str(error), "an array of real numbers", "pass numbers; points are rows") from None


def _weights(name: str, values: ArrayLike | None, n: int) -> Array:
    if values is None:
        return np.full(n, 1.0 / n, dtype=np.float64)
    weights = _finite(name, values, 1)
    if weights.shape != (n,):
        raise InvalidInput(name, f"{len(weights)} weights", f"{n}, one for each point", "pass one weight a point")
    if (weights < 0).any():
        raise InvalidInput(name, f"minimum {weights.min()}", "weights >= 0", "remove the negative weights")
    sum_ = math.fsum(weights)
    # weights that were divided by their sum in the precision they came in miss 1 by some of its roundings, one a weight
    unit = _unit_roundoff(values)
    if abs(sum_ - 1.0) > max(WEIGHT_SUM_TOLERANCE, (n + 8) * unit):
        got, wanted = f"sum {sum_}", f"sum 1 up to {max(WEIGHT_SUM_TOLERANCE, (n + 8) * unit):.1g}"
        raise InvalidInput(name, got, wanted, "divide them by their sum in float64")
    return np.asarray(weights / sum_)


def _unit_roundoff(values: object) -> float:
    """That of the type in which weights were given: they may have been normalised in it."""
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize < 8:
        return float(np.finfo(dtype).eps) / 2
    return UNIT


def _factors_of(matrices: Array) -> tuple[Array, bool]:
    """Roots a with a a^T = S, lower triangular where S is regular, and whether one of them is singular."""
    try:
        return np.asarray(np.linalg.cholesky(matrices)), False
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrices)
    rounding = matrices.shape[1] * EPS * np.abs(values).max(1)
    if (values.min(1) < -rounding).any():
        got = f"smallest eigenvalue {values.min()}"
        raise InvalidInput("covariances", got, ">= 0", "a covariance is positive semidefinite: check its entries")
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]), True


def _closing(value: Callable[[], arb]) -> Enclosure:
    """A mass in ball arithmetic, with more and more bits until its ends agree."""
    low, high = 0.0, 1.0
    for bits in PRECISIONS:
        with working_precision(bits):
            low, high = ends(value())
        if high - low <= AGREED * high or high <= SMALLEST_MASS:
            break
    return Enclosure(max(0.0, low), min(1.0, high), Guarantee.CERTIFIED, "ball arithmetic")


def _cdf(t: arb) -> arb:
    """Phi(t), also at infinity."""
    if not t.is_finite():
        return arb(1) if t > 0 else arb(0)
    return normal_cdf(t)


@dataclass(frozen=True, eq=False)
class Discrete:
    """Finitely many atoms.

    The law meant has exactly the masses w_i / sum(w), in exact arithmetic; `weights` are these numbers rounded.

    Args:
        points: Atoms, shape (n, d).
        weights: Their masses, shape (n,), nonnegative with sum 1 up to n roundings of their type; equal when None.

    Example:
        >>> Discrete([[0.0], [1.0]], [0.25, 0.75]).weights
        array([0.25, 0.75])
    """

    points: Array
    weights: Array
    _given: Array | None

    def __init__(self, points: ArrayLike, weights: ArrayLike | None = None) -> None:
        array = _finite("points", points, 2)
        object.__setattr__(self, "points", array)
        object.__setattr__(self, "weights", _weights("weights", weights, len(array)))
        object.__setattr__(self, "_given", None if weights is None else _finite("weights", weights, 1))

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return int(self.points.shape[1])

    @property
    def shares(self) -> Array:
        """Numbers whose exact quotients by their exact sum are the masses: the weights as given, or ones; shape (n,)."""
        return np.ones(len(self.points)) if self._given is None else self._given

    @property
    def doubt(self) -> float:
        """The total variation by which the masses meant may differ from those given, because these are rounded.

        Weights as 0.1 or 1 / 3 stand for numbers that are no doubles: each is good to one rounding. Equal weights, and weights
        with short binary fractions as 0.25, are meant as they are.
        """
        if self._given is None or (self._given == self._given[0]).all():
            return 0.0
        short = np.ldexp(np.frexp(self._given)[0], SHORT_BITS)
        return 0.0 if (short == np.floor(short)).all() else MASS_DOUBT

    def with_points(self, points: Array) -> Discrete:
        """Return the law of other points, shape (n, k), with the same masses, which are not rounded again."""
        moved = Discrete(points)
        object.__setattr__(moved, "weights", self.weights)
        object.__setattr__(moved, "_given", self._given)
        return moved

    def present(self) -> Discrete:
        """Return the same law without its points of mass 0."""
        kept = self.shares > 0
        return self if kept.all() else Discrete.of_shares(self.points[kept], self.shares[kept])

    @classmethod
    def of_shares(cls, points: ArrayLike, shares: ArrayLike) -> Discrete:
        """Return the law with exactly the masses s_i / sum(s): the shares need not sum to 1, as those of a condition.

        Example:
            >>> Discrete.of_shares([[0.0], [1.0]], [1.0, 3.0]).weights
            array([0.25, 0.75])
        """
        given = _finite("shares", shares, 1)
        if (given < 0).any() or not 0.0 < math.fsum(given) < math.inf:
            raise InvalidInput("shares", given.tolist(), "numbers >= 0 with a sum > 0", "pass masses or counts")
        law = cls(points)
        if len(given) != len(law.points):
            raise InvalidInput(
                "shares", f"{len(given)} shares", f"{len(law.points)}, one for each point", "pass one share a point"
            )
        object.__setattr__(law, "weights", np.asarray(given / math.fsum(given)))
        object.__setattr__(law, "_given", given)
        return law


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""$\sum_k w_k\,N(m_k, S_k)$ on $\mathbb{R}^d$.

    Args:
        means: Shape (r, d).
        covariances: Shape (r, d, d), symmetric positive semidefinite. A law with a singular one can be sampled, and compared by
            `gaussian_wasserstein_2`; what needs a density refuses it.
        weights: Shape (r,), nonnegative with sum 1; equal when None.

    Raises:
        InvalidInput: For bad shapes, NaN, negative weights or a covariance that has a negative eigenvalue.

    Example:
        The law of Example 1 of Hagemann and Neumayer (2022) at sigma = 0.5, and the mass between -0.5 and 0.5:

        >>> x = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> round(x.slab_mass([1.0], -0.5, 0.5).upper, 6)
        0.157305
    """

    means: Array
    covariances: Array
    weights: Array
    singular: bool
    _factors: Array
    _given: Array | None

    def __init__(self, means: ArrayLike, covariances: ArrayLike, weights: ArrayLike | None = None) -> None:
        centres = _finite("means", means, 2)
        matrices = _finite("covariances", covariances, 3)
        r, d = centres.shape
        if matrices.shape != (r, d, d):
            raise InvalidInput("covariances", f"shape {matrices.shape}", f"shape {(r, d, d)}", "one matrix a mean")
        if not np.array_equal(matrices, np.swapaxes(matrices, 1, 2)):
            raise InvalidInput("covariances", "an unsymmetric matrix", "symmetric matrices", "use (S + S.T) / 2")
        factors, singular = _factors_of(matrices)
        object.__setattr__(self, "means", centres)
        object.__setattr__(self, "covariances", matrices)
        object.__setattr__(self, "weights", _weights("weights", weights, r))
        object.__setattr__(self, "singular", singular)
        object.__setattr__(self, "_factors", factors)
        object.__setattr__(self, "_given", None if weights is None else _finite("weights", weights, 1))

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return int(self.means.shape[1])

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Return n independent draws, shape (n, d)."""
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        return self._place(component, rng.standard_normal((n, self.dim)))

    def sample_quasi(self, n: int, seed: int) -> Array:
        """Return n draws by randomised quasi-Monte Carlo (a scrambled Sobol sequence), shape (n, d).

        Each point has this law (the uniform numbers behind it have a resolution of 2^-30) and averages over the points are
        unbiased, but the points are not independent: they cover the law far more evenly. For distances whose sampling noise
        would drown the quantity; not for confidence bounds, which need independence.
        """
        if n < 1:
            raise InvalidInput("n", n, "an integer >= 1", "draw at least one point")
        engine = qmc.Sobol(self.dim + 1, seed=seed)
        # a power of two is drawn and cut: the first n of a Sobol sequence are balanced enough, and scipy warns otherwise
        uniform = engine.random_base2(max(0, math.ceil(math.log2(n))))[:n]
        # a coordinate can be exactly 0, where the normal quantile is infinite; half the sequence's resolution mends it
        uniform = np.clip(uniform, 2.0**-33, 1.0 - 2.0**-33)
        component = np.searchsorted(np.cumsum(self.weights)[:-1], uniform[:, -1], side="right")
        return self._place(component, ndtri(uniform[:, :-1]))

    def sample_component(self, component: int, n: int, rng: np.random.Generator) -> Array:
        """Return n independent draws of one component, shape (n, d)."""
        return self._place(np.full(n, component), rng.standard_normal((n, self.dim)))

    def _place(self, component: NDArray[np.intp], normal: Array) -> Array:
        return np.asarray(self.means[component] + np.einsum("nij,nj->ni", self._factors[component], normal))

    def log_density(self, points: ArrayLike) -> Array:
        """Return the logarithm of the density, shape (n,), at points of shape (n, d)."""
        x = _finite("points", points, 2)
        if x.shape[1] != self.dim:
            raise InvalidInput("points", f"dimension {x.shape[1]}", f"dimension {self.dim}", "use points of this space")
        self.check_density()
        difference = x[:, None, :] - self.means
        white = np.linalg.solve(self._factors, difference[..., None])[..., 0]
        log_det = np.log(np.diagonal(self._factors, axis1=1, axis2=2)).sum(1)
        terms = -0.5 * (white**2).sum(-1) - log_det - 0.5 * self.dim * math.log(2 * math.pi)
        return np.asarray(np.logaddexp.reduce(terms + self._log_weights(), axis=1))

    def marginal(self, direction: ArrayLike) -> GaussianMixture:
        """Return the law of the scalar product with `direction`, shape (d,), a mixture on the line."""
        normal = _finite("direction", direction, 1)
        if normal.shape != (self.dim,):
            raise InvalidInput("direction", f"{len(normal)} entries", f"{self.dim} entries", "one a coordinate")
        variance = np.einsum("i,kij,j->k", normal, self.covariances, normal)
        return GaussianMixture((self.means @ normal)[:, None], variance[:, None, None], self.weights)

    def half_space_mass(self, direction: ArrayLike, offset: float) -> Enclosure:
        """Return the mass of {x : direction . x <= offset}, CERTIFIED, about 1e-15 wide (relative)."""
        return self.slab_mass(direction, -math.inf, offset)

    def slab_mass(self, direction: ArrayLike, lower: float, upper: float) -> Enclosure:
        """Return the mass of {x : lower < direction . x < upper}, CERTIFIED, about 1e-15 wide (relative).

        In ball arithmetic, with as many bits as the difference of the two distribution functions cancels, and in the tail where
        both are small.

        Raises:
            InvalidInput: For ends in the wrong order, a direction of another dimension, or one along which a component has no
                variance.
        """
        normal = _finite("direction", direction, 1)
        if normal.shape != (self.dim,):
            raise InvalidInput("direction", f"{len(normal)} entries", f"{self.dim} entries", "one a coordinate")
        if not lower <= upper:
            raise InvalidInput("lower, upper", (lower, upper), "lower <= upper", "order the ends of the slab")
        return _closing(lambda: self._slab(normal, lower, upper))

    def _slab(self, normal: Array, lower: float, upper: float) -> arb:
        along = exact_row(normal)
        total = arb(0)
        for share, mean, covariance in zip(self._shares(), self.means, self.covariances, strict=True):
            if share.is_zero():
                continue
            turned = arb_mat(covariance.tolist()) * column(along)
            variance = sum((v * turned[i, 0] for i, v in enumerate(along)), arb(0))
            if not normal.any() or variance.is_zero() or (not variance > 0 and self.singular):
                raise InvalidInput("direction", normal.tolist(), "a direction in which the law has a variance", "choose another")
            middle = sum((v * m for v, m in zip(along, exact_row(mean), strict=True)), arb(0))
            a, b = ((arb(end) - middle) / variance.sqrt() if math.isfinite(end) else arb(end) for end in (lower, upper))
            # on the right of a mean both lower tails are near 1 and cancel: reflect there
            if not (math.isinf(lower) and math.isinf(upper)) and a + b > 0:
                a, b = -b, -a
            total += share * (_cdf(b) - _cdf(a))
        return total

    def _shares(self) -> list[arb]:
        """The exact weights: those given, divided by their sum, at the working precision."""
        given = [arb(1)] * len(self.means) if self._given is None else exact_row(self._given)
        whole = sum(given, arb(0))
        return [share / whole for share in given]

    def ball_mass(self, center: ArrayLike, radius: float) -> Enclosure:
        """Return the mass of a closed ball, CERTIFIED, for covariances that are multiples of the identity.

        The series of the noncentral chi-square law (a Poisson mixture of chi-square laws), with a bound of what is left out.
        """
        middle = _finite("center", center, 1)
        variances = self.covariances[:, 0, 0]
        if self.singular or not np.array_equal(self.covariances, variances[:, None, None] * np.eye(self.dim)):
            raise InvalidInput(
                "covariances", "a matrix that is no multiple of I", "multiples of I", "a general one has no closed form"
            )
        if middle.shape != (self.dim,):
            raise InvalidInput("center", f"{len(middle)} entries", f"{self.dim} entries", "one a coordinate")
        if not radius >= 0:
            raise InvalidInput("radius", radius, "a number >= 0", "a ball has a radius")
        if radius == math.inf:
            return Enclosure(1.0, 1.0, Guarantee.CERTIFIED, "the whole space")

        def value() -> arb:
            total = arb(0)
            for share, mean, variance in zip(self._shares(), self.means, variances.tolist(), strict=True):
                apart = sum(((a - b) ** 2 for a, b in zip(exact_row(mean), exact_row(middle), strict=True)), arb(0))
                total += share * noncentral_chi_square(self.dim, apart / variance, arb(radius) ** 2 / variance)
            return total

        return _closing(value)

    def _log_weights(self) -> Array:
        with np.errstate(divide="ignore"):  # a component of weight 0 adds exp(-inf)
            return np.asarray(np.log(self.weights))

    # One dimension only.

    def check_density(self) -> None:
        """Refuse a law with a singular covariance."""
        if self.singular:
            raise InvalidInput(
                "measure", "a singular covariance", "a law with a density", "project on the range of the covariance"
            )

    def _line(self) -> tuple[Array, Array]:
        self.check_density()
        if self.dim != 1:
            raise InvalidInput("measure", f"dimension {self.dim}", "dimension 1", "take a marginal first")
        return self.means[:, 0], np.sqrt(self.covariances[:, 0, 0])

    def _standardised(self, t: ArrayLike) -> Array:
        means, deviations = self._line()
        return np.asarray((np.asarray(t, dtype=np.float64)[..., None] - means) / deviations)

    def cdf(self, t: ArrayLike) -> Array:
        """Return P(X <= t), elementwise; on the line only."""
        return np.asarray(ndtr(self._standardised(t)) @ self.weights)

    def log_pdf(self, t: ArrayLike) -> Array:
        """Return the logarithm of the density, elementwise; on the line only."""
        _, deviations = self._line()
        terms = -0.5 * self._standardised(t) ** 2 - np.log(deviations) - 0.5 * math.log(2 * math.pi)
        return np.asarray(np.logaddexp.reduce(terms + self._log_weights(), axis=-1))

    def quantile(self, p: ArrayLike) -> Array:
        """Return the smallest t with P(X <= t) >= p, elementwise, to the resolution of the doubles; on the line only."""
        means, deviations = self._line()
        level = np.asarray(p, dtype=np.float64)
        if not ((level > 0) & (level < 1)).all():
            raise InvalidInput("p", level, "numbers in (0, 1)", "the quantiles of 0 and 1 are infinite")
        single = means + deviations * ndtri(level)[..., None]
        low, high = single.min(-1), single.max(-1)  # a mixture's quantile lies between those of its components
        # the tail that is small decides, so that quantiles near 1 are as sharp as those near 0
        upper = level > 0.5
        log_p = np.where(upper, np.log1p(-level), np.log(level))
        sign = np.where(upper, -1.0, 1.0)

        def excess(t: Array, index: NDArray[np.intp]) -> Array:
            """log of the tail's mass minus log p; the sign says on which side of the quantile t is."""
            tail = log_ndtr(sign.flat[index][:, None] * self._standardised(t))
            return np.asarray(sign.flat[index] * (np.logaddexp.reduce(tail + self._log_weights(), axis=-1) - log_p.flat[index]))

        shape = level.shape
        index, low, high = np.arange(level.size), np.atleast_1d(low).ravel(), np.atleast_1d(high).ravel()
        result = high.copy()
        middle = 0.5 * (low + high)
        for iteration in range(200):
            # Newton steps inside the bracket, then a few ulps to both sides of the limit, then bisection of what is left
            gap = excess(middle, index)
            right = gap >= 0
            low, high = np.where(right, low, middle), np.where(right, middle, high)
            halved = 0.5 * (low + high)
            done = (halved == low) | (halved == high)
            result[index] = high
            index, low, high, middle, gap, halved = (v[~done] for v in (index, low, high, middle, gap, halved))
            if not len(index):
                break
            if iteration < NEWTON_STEPS:
                log_mass = log_p.flat[index] + sign.flat[index] * gap
                with np.errstate(over="ignore", invalid="ignore"):  # far from all mass a step is not finite: bisection takes over
                    step = middle - gap * np.exp(log_mass - self.log_pdf(middle))
            elif iteration < NEWTON_STEPS + 2:
                step = middle + (4.0 if iteration == NEWTON_STEPS else -8.0) * np.spacing(np.abs(middle))
            else:
                step = halved
            middle = np.where((low < step) & (step < high), step, halved)
        return np.asarray(result.reshape(shape))

    def partial_mean(self, t: ArrayLike) -> Array:
        r"""Return $\int_{-\infty}^t x\,dP(x)$, elementwise; on the line only. Infinite t is allowed."""
        means, deviations = self._line()
        u = self._standardised(t)
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        return np.asarray((means * ndtr(u) - deviations * density) @ self.weights)

    def partial_second_moment(self, t: ArrayLike) -> Array:
        r"""Return $\int_{-\infty}^t x^2\,dP(x)$, elementwise; on the line only."""
        means, deviations = self._line()
        u = self._standardised(t)
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        terms = (means**2 + deviations**2) * ndtr(u) - deviations * (2 * means + deviations * u) * density
        return np.asarray(terms @ self.weights)

    def cdf_integral(self, t: ArrayLike) -> Array:
        r"""Return $\int_{-\infty}^t P(X\le s)\,ds$, elementwise; on the line only."""
        _, deviations = self._line()
        u = self._standardised(t)
        density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        return np.asarray((deviations * (u * ndtr(u) + density)) @ self.weights)


def gaussian(mean: ArrayLike, covariance: ArrayLike) -> GaussianMixture:
    """Return N(mean, covariance) as a mixture of one component; mean of shape (d,), covariance of shape (d, d)."""
    return GaussianMixture(np.asarray(mean)[None], np.asarray(covariance)[None])


def standard_normal(dim: int) -> GaussianMixture:
    """Return N(0, I), the paper's usual latent law.

    Example:
        >>> standard_normal(2).half_space_mass([1.0, 0.0], 0.0).lower
        0.5
    """
    return gaussian(np.zeros(dim), np.eye(dim))
