r"""Probability measures with exact masses: the laws of data and latent variables.

A `GaussianMixture` knows the masses of half-spaces and slabs in closed form, its marginals on lines, and in one dimension
its distribution function, quantiles and partial means. A gap mass (the mass between two sets Q and R) is always computed
as such, from differences of error functions on the side where they do not cancel, never as 1 - mu(Q) - mu(R).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import ncx2, qmc

from lipbounds.errors import InvalidInput

__all__ = ["Discrete", "GaussianMixture", "gaussian", "standard_normal"]

Array = NDArray[np.float64]

NEWTON_STEPS = 10  # for quantiles; then they are settled to the last bit by bisection
WEIGHT_SUM_TOLERANCE = 1e-9  # weights given as decimal fractions miss 1 by a few ulps; they are renormalised


def _finite(name: str, values: ArrayLike, ndim: int) -> Array:
    array: Array = np.array(values, dtype=np.float64)
    if array.ndim != ndim:
        raise InvalidInput(name, f"an array with {array.ndim} axes", f"{ndim} axes", "reshape; points are rows")
    if array.size == 0:
        raise InvalidInput(name, f"shape {array.shape}", "at least one entry", "pass at least one point")
    if not np.isfinite(array).all():
        raise InvalidInput(name, "NaN or infinite entries", "finite numbers", "remove or repair these entries")
    return array


def _weights(name: str, values: ArrayLike | None, n: int) -> Array:
    if values is None:
        return np.full(n, 1.0 / n, dtype=np.float64)
    weights = _finite(name, values, 1)
    if weights.shape != (n,):
        raise InvalidInput(name, f"{len(weights)} weights", f"{n}, one for each point", "pass one weight a point")
    if (weights < 0).any():
        raise InvalidInput(name, f"minimum {weights.min()}", "weights >= 0", "remove the negative weights")
    if abs(weights.sum() - 1.0) > WEIGHT_SUM_TOLERANCE:
        raise InvalidInput(name, f"sum {weights.sum()}", "sum 1", "divide the weights by their sum")
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class Discrete:
    """Finitely many atoms.

    Args:
        points: Atoms, shape (n, d).
        weights: Their masses, shape (n,), nonnegative with sum 1; equal when None.

    Example:
        >>> Discrete([[0.0], [1.0]], [0.25, 0.75]).weights
        array([0.25, 0.75])
    """

    points: Array
    weights: Array

    def __init__(self, points: ArrayLike, weights: ArrayLike | None = None) -> None:
        array = _finite("points", points, 2)
        object.__setattr__(self, "points", array)
        object.__setattr__(self, "weights", _weights("weights", weights, len(array)))

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return int(self.points.shape[1])


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""$\sum_k w_k\,N(m_k, S_k)$ on $\mathbb{R}^d$.

    Args:
        means: Shape (r, d).
        covariances: Shape (r, d, d), symmetric positive definite.
        weights: Shape (r,), nonnegative with sum 1; equal when None.

    Raises:
        InvalidInput: For bad shapes, NaN, negative weights or a covariance that is not positive definite.

    Example:
        The law of Example 1 of Hagemann and Neumayer (2022) at sigma = 0.5, and the mass between -0.5 and 0.5:

        >>> x = GaussianMixture([[-1.0], [1.0]], [[[0.25]], [[0.25]]])
        >>> round(x.slab_mass([1.0], -0.5, 0.5), 6)
        0.157305
    """

    means: Array
    covariances: Array
    weights: Array
    _factors: Array

    def __init__(self, means: ArrayLike, covariances: ArrayLike, weights: ArrayLike | None = None) -> None:
        centres = _finite("means", means, 2)
        matrices = _finite("covariances", covariances, 3)
        r, d = centres.shape
        if matrices.shape != (r, d, d):
            raise InvalidInput("covariances", f"shape {matrices.shape}", f"shape {(r, d, d)}", "one matrix a mean")
        if not np.array_equal(matrices, np.swapaxes(matrices, 1, 2)):
            raise InvalidInput("covariances", "an unsymmetric matrix", "symmetric matrices", "use (S + S.T) / 2")
        try:
            factors = np.linalg.cholesky(matrices)
        except np.linalg.LinAlgError:
            smallest = np.linalg.eigvalsh(matrices).min()
            raise InvalidInput("covariances", f"smallest eigenvalue {smallest}", "> 0", "use Discrete for an atom") from None
        object.__setattr__(self, "means", centres)
        object.__setattr__(self, "covariances", matrices)
        object.__setattr__(self, "weights", _weights("weights", weights, r))
        object.__setattr__(self, "_factors", factors)

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

    def half_space_mass(self, direction: ArrayLike, offset: float) -> float:
        """Return the mass of {x : direction . x <= offset}; a few ulps of relative error."""
        return float(self.marginal(direction).cdf(offset))

    def slab_mass(self, direction: ArrayLike, lower: float, upper: float) -> float:
        """Return the mass of {x : lower < direction . x < upper}, computed as such and not as a difference from 1.

        Relative error of a few ulps times the condition number of the difference of the two error functions, which is
        taken in the tail where both are small.
        """
        if not lower <= upper:
            raise InvalidInput("lower, upper", (lower, upper), "lower <= upper", "order the ends of the slab")
        line = self.marginal(direction)
        a, b = line._standardised(lower), line._standardised(upper)
        # on the right of a mean both lower tails are near 1 and cancel: reflect there
        with np.errstate(invalid="ignore"):  # a slab that is the whole line
            flip = a + b > 0
        a, b = np.where(flip, -b, a), np.where(flip, -a, b)
        return float(self.weights @ (ndtr(b) - ndtr(a)))

    def ball_mass(self, center: ArrayLike, radius: float) -> float:
        """Return the mass of a closed ball, for covariances that are multiples of the identity."""
        middle = _finite("center", center, 1)
        variances = self.covariances[:, 0, 0]
        if not np.array_equal(self.covariances, variances[:, None, None] * np.eye(self.dim)):
            raise InvalidInput(
                "covariances", "a matrix that is no multiple of I", "multiples of I", "a general one has no closed form"
            )
        if not radius >= 0:
            raise InvalidInput("radius", radius, "a number >= 0", "a ball has a radius")
        noncentrality = ((self.means - middle) ** 2).sum(1) / variances
        return float(self.weights @ ncx2.cdf(radius**2 / variances, self.dim, noncentrality))

    def _log_weights(self) -> Array:
        with np.errstate(divide="ignore"):  # a component of weight 0 adds exp(-inf)
            return np.asarray(np.log(self.weights))

    # One dimension only.

    def _line(self) -> tuple[Array, Array]:
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
        >>> standard_normal(2).half_space_mass([1.0, 0.0], 0.0)
        0.5
    """
    return gaussian(np.zeros(dim), np.eye(dim))
