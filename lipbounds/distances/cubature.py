r"""Total variation of Gaussian mixtures in two and three dimensions, certified by adaptive cubature.

Let $h=p-q=\sum_kc_k\varphi_k$ and B a box with centre c and half widths r. Gauss's product rule gives $\int_Bh$ up to its error
constant times $\sup_B|\partial_i^{2m}h|$, summed over the axes. If h has one sign on B then $\int_B|h|=|\int_Bh|$; else
$|\int_Bh|\le\int_B|h|$, which Taylor's formula bounds from above, and the box is cut.

*Sign.* h has the sign of $g=h/\varphi_*=\sum_kc_ke^{l_k}$, where $\varphi_*$ is the density that dominates at c and the
$l_k$ are quadratic: $|l_k-l_k(c)|\le\Delta_k=\sum_ir_i|\partial_il_k(c)|+\eta_k$, $\eta_k$ from the constant second
derivatives. Since $|e^t-1-t|\le\frac12t^2e^{|t|}$,
$$|g-g(c)-\nabla g(c)\cdot(x-c)|\le\sum_k|c_k|e^{l_k(c)}\big(\tfrac12\Delta_k^2e^{\Delta_k}+\eta_k\big).$$

The same bound times the largest $\varphi_*$ bounds |h| where near equal components cancel.

*Size.* $|h-h(c)-\nabla h(c)\cdot(x-c)|\le\frac12M$ on B, so the mean of |h| is at most the root mean square of the affine
part, $(h(c)^2+\frac13\sum r_i^2\partial_ih(c)^2)^{1/2}$, plus M/2.

For a Gaussian with precision P = W^T W, q(x) = |W(x - m)|^2 and $\rho=\max|Wv|$ over $|v_i|\le r_i$ (a corner), on B
$\sqrt{q(c)}-\rho\le\sqrt q\le\sqrt{q(c)}+\rho$, the second derivative along v is at most $\varphi\rho^2\max(1,q)$, and
by Cramér's inequality $|He_n(z)|e^{-z^2/4}\le\kappa\sqrt{n!}$, $\kappa<1.09$, along each axis
$|\partial_i^n\varphi|\le\kappa\sqrt{n!}\,P_{ii}^{n/2}\varphi(m)e^{-q/4}$, because q splits into the part along it and the rest.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from lipbounds.distances.signed import SignedMixture
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.rounding import EPS

__all__ = ["total_variation_of_mixtures"]

Array = NDArray[np.float64]

NODES = 4  # a coordinate; the rule is exact to degree 7
REACH = 7.5  # deviations that the boxes cover; beyond lie 6e-14 of a component for each axis
CRAMER = 1.09
MAX_BOXES = 400_000  # looked at in all; in three dimensions a width of 1e-3 takes about 1e5
BATCH = 4096
WORST_CONDITION = 1e6


def total_variation_of_mixtures(signed: SignedMixture, tolerance: float) -> Enclosure:
    """Enclose half the integral of |p - q| in 2 or 3 dimensions; CERTIFIED.

    Rounding: q(x) is computed with relative error at most 32 d^2 cond(S) eps, so each density with (1 + q) times that; since
    the mean of q is d, all integrals together are off by at most 32 d^2 (d + 1) cond(S) eps times sum |c_k|, which is added,
    as is what the rounding of coordinates can do to components that are narrow for their distance from 0.
    """
    d = signed.means.shape[1]
    if d > 3:
        raise InvalidInput("x, y", f"dimension {d}", "at most 3 for mixtures", "use gaussian_total_variation or samples")
    if len(signed.coefficients) == 0:
        return Enclosure(0.0, 0.0, Guarantee.CERTIFIED, "equal mixtures")
    condition = max(float(np.linalg.cond(matrix)) for matrix in signed.covariances)
    if condition > WORST_CONDITION:
        raise InvalidInput(
            "x, y", f"a covariance of condition {condition:.1e}", f"at most {WORST_CONDITION:.0e}", "whiten the space"
        )
    rounding = 32 * d * d * condition * EPS
    boxes = _Boxes(signed, rounding)
    deviations = np.sqrt(np.diagonal(signed.covariances, axis1=1, axis2=2))
    low = (signed.means - REACH * deviations).min(0)
    high = (signed.means + REACH * deviations).max(0)
    slack = float(np.abs(signed.coefficients).sum() * (2 * d * ndtr(-REACH) + (d + 1) * rounding))
    # coordinates of nodes and boxes are rounded: the mean of |grad phi| is at most sqrt(d) over the smallest deviation
    moved = 4 * EPS * max(float(np.abs(low).max()), float(np.abs(high).max()))
    narrowest = np.sqrt(np.linalg.eigvalsh(signed.covariances)[:, 0])
    slack += float(2 * d * moved * (np.abs(signed.coefficients) / narrowest).sum())
    centres, halves = ((low + high) / 2)[None], ((high - low) / 2)[None]
    below, above = boxes.enclose(centres, halves)
    seen = 1
    while float((above - below).sum()) + slack > 2 * tolerance and seen < MAX_BOXES:
        # the boxes that hold most of the gap
        cut = above - below >= 0.5 * (above - below).mean()
        new_centres, new_halves = boxes.cut(centres[cut], halves[cut])
        new_below, new_above = boxes.enclose(new_centres, new_halves)
        seen += len(new_centres)
        centres, halves = np.concatenate((centres[~cut], new_centres)), np.concatenate((halves[~cut], new_halves))
        below, above = np.concatenate((below[~cut], new_below)), np.concatenate((above[~cut], new_above))
    ends = max(0.0, (float(below.sum()) - slack) / 2), min(1.0, (float(above.sum()) + slack) / 2)
    return Enclosure(*ends, Guarantee.CERTIFIED, "adaptive cubature")


class _Boxes:
    """The mixture's values and derivative bounds on boxes."""

    def __init__(self, signed: SignedMixture, rounding: float) -> None:
        self.rounding = rounding  # of a density, relative to itself, for each 1 + q
        self.c = signed.coefficients
        self.means = signed.means
        d = self.means.shape[1]
        factors = np.linalg.cholesky(signed.covariances)
        self.whiten = np.linalg.inv(factors)
        self.precision = np.swapaxes(self.whiten, 1, 2) @ self.whiten
        self.steepness = np.sqrt(np.diagonal(self.precision, axis1=1, axis2=2))  # sqrt(P_ii), shape (r, d)
        log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        self.log_peak = -log_det - 0.5 * d * math.log(2 * math.pi)
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        grids = np.meshgrid(*[nodes] * d, indexing="ij")
        self.nodes = np.stack([grid.ravel() for grid in grids], axis=1)
        self.corners = np.stack([grid.ravel() for grid in np.meshgrid(*[[-1.0, 1.0]] * d, indexing="ij")], axis=1)
        self.weights = np.prod(np.meshgrid(*[weights / 2] * d, indexing="ij"), axis=0).ravel()
        m = NODES
        # error of Gauss's rule with m nodes on an interval of length w: constant * w^(2m + 1) |f^(2m)|; here of the mean
        self.constant = math.factorial(m) ** 4 / ((2 * m + 1) * math.factorial(2 * m) ** 3)

    def enclose(self, centres: Array, halves: Array) -> tuple[Array, Array]:
        """Lower and upper bounds of the integral of |h|."""
        # a component far narrower than a box has powers that overflow; such a bound is infinite and another one decides
        with np.errstate(over="ignore", invalid="ignore"):
            parts = [self._enclose(centres[i : i + BATCH], halves[i : i + BATCH]) for i in range(0, len(centres), BATCH)]
        return np.concatenate([below for below, _ in parts]), np.concatenate([above for _, above in parts])

    def _enclose(self, centres: Array, halves: Array) -> tuple[Array, Array]:
        volume = np.prod(2 * halves, axis=1)
        white = np.einsum("kij,nkj->nki", self.whiten, centres[:, None, :] - self.means)
        root = np.sqrt((white**2).sum(2))
        reach = self._reach(halves)
        nearest, farthest = np.maximum(root - reach, 0.0), root + reach
        peak = np.abs(self.c) * np.exp(self.log_peak)
        density = self.c * np.exp(self.log_peak - root**2 / 2)
        value = density.sum(1)
        gradient = -np.einsum("nk,nki,kij->nj", density, white, self.whiten)
        greatest = peak * np.exp(-(nearest**2) / 2)
        curvature = 0.5 * (greatest * reach**2 * np.maximum(1.0, farthest**2)).sum(1)
        slopes = halves * gradient
        one_sign, relative, leader = self._relative(white, halves)
        relative = relative * greatest[np.arange(len(leader)), leader]
        order = 2 * NODES
        high = CRAMER * math.sqrt(math.factorial(order)) * peak * np.exp(-(nearest**2) / 4)
        error = volume * self.constant * (high[:, :, None] * (self.steepness * 2 * halves[:, None, :]) ** order).sum((1, 2))
        affine = np.sqrt(value**2 + (slopes**2).sum(1) / 3)
        ceiling = volume * np.fmin(np.fmin(relative, affine + curvature), greatest.sum(1))
        # the rule is worth its evaluations where its error is small
        worth = error < ceiling
        integral = np.zeros(len(centres))
        if worth.any():
            points = centres[worth, None, :] + halves[worth, None, :] * self.nodes
            values = self._density(points.reshape(-1, points.shape[2])).reshape(len(points), -1)
            integral[worth] = volume[worth] * (values @ self.weights)
        error = np.where(worth, error, ceiling)
        below = np.maximum(np.abs(integral) - error, 0.0)
        above = np.where(one_sign & worth, np.minimum(np.abs(integral) + error, ceiling), ceiling)
        return below, np.maximum(below, above)

    def _relative(self, white: Array, halves: Array) -> tuple[NDArray[np.bool_], Array, NDArray[np.intp]]:
        """Look at g = h / |c_* phi_*| on the boxes; `white` is W(c - m) for every component.

        Returns:
            Whether g is shown to keep its sign, an upper bound of its mean absolute value, and the leading component *.
        """
        q = (white**2).sum(2)
        log_size = np.log(np.abs(self.c)) + self.log_peak - q / 2
        leader = log_size.argmax(1)
        rows = np.arange(len(leader))
        sizes = np.sign(self.c) * np.exp(log_size - log_size[rows, leader][:, None])
        slopes = -np.einsum("nki,kij->nkj", white, self.whiten)
        relative = slopes - slopes[rows, leader][:, None, :]
        change = np.abs(self.precision - self.precision[leader][:, None])  # of the second derivatives, shape (n, r, d, d)
        second = 0.5 * np.einsum("nkij,ni,nj->nk", change, halves, halves)
        delta = (np.abs(relative) * halves[:, None, :]).sum(2) + second
        rest = (np.abs(sizes) * (0.5 * delta**2 * np.exp(delta) + second)).sum(1)
        slope = np.einsum("nk,nkj->nj", sizes, relative) * halves
        rounding = self.rounding * (np.abs(sizes) * (1 + q + q[rows, leader][:, None])).sum(1)
        value = np.abs(sizes.sum(1))
        sure = value > np.abs(slope).sum(1) + rest + rounding
        return sure, np.sqrt(value**2 + (slope**2).sum(1) / 3) + rest + rounding, leader

    def _reach(self, halves: Array) -> Array:
        """The largest |Wv| over the box |v_i| <= r_i, attained at a corner, for every component."""
        corners = halves[:, None, :] * self.corners
        return np.asarray(np.sqrt((np.einsum("kij,ncj->nkci", self.whiten, corners) ** 2).sum(3)).max(2))

    def cut(self, centres: Array, halves: Array) -> tuple[Array, Array]:
        """Halve boxes across the axis along which the mixture varies most."""
        if len(centres) == 0:
            return centres, halves
        nearest = np.maximum(self._roots(centres) - self._reach(halves), 0.0)
        weight = np.abs(self.c) * np.exp(self.log_peak - nearest**2 / 4) + 1e-300
        axis = ((weight @ self.steepness) * halves).argmax(1)
        rows = np.arange(len(centres))
        new = halves.copy()
        new[rows, axis] /= 2
        step = np.zeros_like(halves)
        step[rows, axis] = new[rows, axis]
        return np.concatenate((centres - step, centres + step)), np.concatenate((new, new))

    def _roots(self, points: Array) -> Array:
        """sqrt(q) for every component, shape (n, r)."""
        white = np.einsum("kij,nkj->nki", self.whiten, points[:, None, :] - self.means)
        return np.asarray(np.sqrt((white**2).sum(2)))

    def _density(self, points: Array) -> Array:
        return np.asarray(np.exp(self.log_peak - self._roots(points) ** 2 / 2) @ self.c)
