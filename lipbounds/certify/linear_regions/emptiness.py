r"""Whether linear inequalities have a strict solution: a point, or a proof that there is none.

The region $\{x: a_i\cdot x+\beta_i>0\}$ is not empty if and only if $\hat x=(x,t)$ exists with $a_i\cdot x+\beta_it\ge1$ and
$t\ge1$: any solution, multiplied by a large number. The nearest such point to 0 is found by nonnegative least squares (Lawson and
Hanson, Solving Least Squares Problems, 1974, chapter 23), whose other outcome is $y\ge0$, not 0, with $\sum_iy_i(a_i,\beta_i)+
y_t(0,1)=0$: Farkas' proof that there is no solution, since the sum would be positive there.

Floats only propose y. It is proven where the equations that hold it have, by a verified linear solution, exactly one solution
and that is positive, whatever the rounding of the coefficients; or on a bounded domain where the sum is negative throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from lipbounds.rounding import EPS, UP

__all__ = ["Reach", "Verdict", "strict_solution", "unbounded"]

Array = NDArray[np.float64]

INFEASIBLE = 1e-9  # residual of the least squares, of 1 at most; a proposal, which is proven or not used
SUPPORT = 1e-10  # of the largest multiplier, below which one is taken for 0


@dataclass(frozen=True, eq=False)
class Reach:
    """What bounds the solutions.

    Attributes:
        low: Least corner of a box, shape (q,); minus infinity for none.
        high: Greatest corner.
        center: Of a ball that contains them as well, shape (q,), or None.
        radius: Of the ball, rounded up.
    """

    low: Array
    high: Array
    center: Array | None = None
    radius: float = np.inf

    def rows(self) -> Array:
        """The box as inequalities of (x, t), shape (k, q + 1)."""
        eye = np.eye(len(self.low))
        below, above = np.isfinite(self.low), np.isfinite(self.high)
        return np.concatenate((
            np.concatenate((eye, -self.low[:, None]), 1)[below],
            np.concatenate((-eye, self.high[:, None]), 1)[above],
        ))  # fmt: skip

    def highest(self, row: Array, error: Array) -> float:
        """An upper bound of a . x + b over box and ball, for row = (a, b) with errors of its coefficients."""
        a, b = row[:-1], row[-1]
        with np.errstate(invalid="ignore"):
            ends = [np.where(a == 0, 0.0, a * end) + np.abs(end) * error[:-1] for end in (self.low, self.high)]
            top = np.maximum(*ends)
            best = float(b + top.sum() + (len(a) + 4) * EPS * (abs(b) + np.abs(top).sum()))
        if self.center is not None:
            size = float(np.abs(a) @ np.abs(self.center))
            length = float(np.sqrt(np.square(np.abs(a) + error[:-1]).sum())) * UP
            by_ball = float(a @ self.center + b) + float(error[:-1] @ np.abs(self.center)) * UP + length * self.radius
            best = min(best, by_ball + (len(a) + 8) * EPS * (size + abs(b) + length * self.radius))
        return (best + float(error[-1])) if np.isfinite(best) else np.inf


def unbounded(dim: int) -> Reach:
    """All of space."""
    return Reach(np.full(dim, -np.inf), np.full(dim, np.inf))


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is known of a system.

    Attributes:
        point: A strict solution in floating point, shape (q,); None where none was found.
        is_empty: Whether it is proven that there is none.
    """

    point: Array | None
    is_empty: bool


def strict_solution(rows: Array, errors: Array, sizes: Array, reach: Reach) -> Verdict:
    """Look for x with a_i . x + b_i > 0 for all i, within the reach.

    Args:
        rows: (a_i, b_i), shape (m, q + 1).
        errors: Bounds of the errors of their entries, of the same shape.
        sizes: What an entry would be without cancellation; 0 only where it is 0 exactly.
        reach: What bounds x.

    Example:
        >>> rows, zero = np.array([[1.0, -1.0], [-1.0, 0.5]]), np.zeros((2, 2))
        >>> strict_solution(rows, zero, np.abs(rows), unbounded(1)).is_empty
        True
        >>> bool(0.5 < strict_solution(-rows, zero, np.abs(rows), unbounded(1)).point[0] < 1.0)
        True
    """
    count = len(rows)
    box = reach.rows()
    last = np.zeros((1, rows.shape[1]))
    last[0, -1] = 1.0
    system = np.concatenate((rows, box, last))
    exact = np.zeros((len(box) + 1, rows.shape[1]))
    wide, structure = np.concatenate((errors, exact)), np.concatenate((sizes, np.abs(box), last))
    point, y = _nearest(system)
    if point is not None:
        return _in_ball(point, rows, errors, reach)
    if y is None:
        return Verdict(None, is_empty=False)
    proven = _is_below(y[:count], rows, errors, reach) or _is_unique(y, system, wide, structure)
    return Verdict(None, is_empty=proven)


def _nearest(system: Array) -> tuple[Array | None, Array | None]:
    """A strict solution x, or multipliers that rule one out; neither where the iteration fails."""
    lengths = np.linalg.norm(system, axis=1)
    scaled = system / np.where(lengths > 0, lengths, 1.0)[:, None]
    target = np.zeros(system.shape[1] + 1)
    target[-1] = 1.0
    matrix = np.concatenate((scaled.T, np.ones((1, len(system)))))
    try:
        y, residual = nnls(matrix, target)
    except RuntimeError:
        return None, None
    if residual <= INFEASIBLE:
        return None, np.asarray(y / np.where(lengths > 0, lengths, 1.0))
    rest = matrix @ y - target
    if not rest[-1] < 0:
        return None, None
    solution = rest[:-1] / -rest[-1]
    if solution[-1] > 0 and (scaled @ solution > 0).all():
        return solution[:-1] / solution[-1], None
    return None, None


def _in_ball(inside: Array, rows: Array, errors: Array, reach: Reach) -> Verdict:
    """Move a solution into the ball, or prove that all lie beyond it."""
    if reach.center is None or np.linalg.norm(inside - reach.center) < reach.radius:
        return Verdict(inside, is_empty=False)
    # the solution of a . x + b >= 0 that is nearest to the centre
    shifted = rows.copy()
    shifted[:, -1] += rows[:, :-1] @ reach.center
    lengths = np.linalg.norm(rows[:, :-1], axis=1)
    shifted /= np.where(lengths > 0, lengths, 1.0)[:, None]
    matrix = np.concatenate((shifted[:, :-1].T * reach.radius, -shifted[:, -1:].T))
    target = np.zeros(len(matrix))
    target[-1] = reach.radius
    try:
        y, _ = nnls(matrix, target)
    except RuntimeError:
        return Verdict(None, is_empty=False)
    rest = matrix @ y - target
    if rest[-1] < 0 and (nearest := reach.radius * rest[:-1] / -rest[-1]) @ nearest < reach.radius**2:
        nearest = nearest + reach.center
        for share in (0.5, 0.1, 1e-2, 1e-3, 1e-5, 1e-7):
            moved = nearest + share * (inside - nearest)
            if np.linalg.norm(moved - reach.center) < reach.radius and (rows[:, :-1] @ moved + rows[:, -1] > 0).all():
                return Verdict(moved, is_empty=False)
        return Verdict(None, is_empty=False)
    return Verdict(None, is_empty=_is_below(y / np.where(lengths > 0, lengths, 1.0), rows, errors, reach))


def _is_below(y: Array, rows: Array, errors: Array, reach: Reach) -> bool:
    """Whether a combination of the left sides with weights y >= 0 is negative throughout."""
    total = y @ rows
    error = (y @ errors + (len(y) + 4) * EPS * (y @ np.abs(rows))) * UP
    return bool(y.any()) and reach.highest(total, error) < 0.0


def _is_unique(y: Array, system: Array, errors: Array, sizes: Array) -> bool:
    """Whether exact multipliers on the support of y are proven: the one solution of as many equations, and positive."""
    support = np.flatnonzero(y > SUPPORT * y.max())
    k = len(support)
    rows, error = system[support].T, errors[support].T
    held = np.flatnonzero(sizes[support].any(0))  # other equations are 0 = 0
    # a row of zeros alone proves nothing: what a neuron sees may be 0 everywhere, on either side of its kink
    if len(held) != k - 1 or k == 1:
        return False
    # multipliers are determined up to a factor: their weighted sum is 1
    scale = y[support]
    matrix = np.concatenate((rows[held] * scale, np.full((1, k), 1.0 / k)))
    wide = np.concatenate((error[held] * scale * (1 + EPS) + EPS * np.abs(matrix[:-1]), np.zeros((1, k))))
    return _has_positive_solution(matrix, wide, np.eye(k)[-1])


def _has_positive_solution(matrix: Array, error: Array, target: Array) -> bool:
    """Whether every matrix within the errors has exactly one solution, and that is positive (Rump's verification)."""
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return False
    solution = inverse @ target
    k = len(matrix)
    sizes, charge = np.abs(inverse), (k + 8) * EPS
    reach = np.abs(matrix) * charge + error
    excess = (np.abs(inverse @ matrix - np.eye(k)) + sizes @ reach).sum(1).max() * UP
    if not excess < 0.5:
        return False
    gap = np.abs(matrix @ solution - target) + reach @ np.abs(solution) + charge * np.abs(target)
    away = (sizes @ gap).max() * UP / (1 - excess) * UP
    return bool((solution > away).all())
