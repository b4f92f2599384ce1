"""Where a Lipschitz constant is meant: convex sets of latent space.

Affine coupling networks have no global Lipschitz constant, so every estimate, and every bound that it is compared with,
names one of these. All are convex: on a convex set the Lipschitz constant is the supremum of the Jacobian's norm, and the
projection onto it is 1-Lipschitz.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from flint import arb
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.stats import chi
from torch import Tensor

from lipbounds.arb import Row, exact_row, working_precision
from lipbounds.errors import InvalidInput

__all__ = [
    "Ball",
    "Box",
    "Capsule",
    "ConditionalSlice",
    "ConvexHull",
    "Domain",
    "Segment",
    "WholeSpace",
    "conditional",
    "latent_ball",
]


CONTAINED_BITS = 2200  # products of doubles are exact
PROJECTED = 1e-9  # of the size of a hull or a segment: projections onto it are good to that
FLAT = 1e-10  # singular values of a hull's points below this share count as no direction
HEAVY = 1e5


class Domain(Protocol):
    """A closed convex bounded set; points are rows of float64 tensors of shape (n, dim)."""

    @property
    def dim(self) -> int: ...

    def project(self, points: Tensor) -> Tensor:
        """Return the nearest points of the set, differentiable almost everywhere; points inside are kept."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        """Return n points that cover the set, its boundary included, shape (n, dim)."""
        ...

    def depth(self, points: Tensor) -> Tensor:
        """Return the distance to the boundary, shape (n,); negative outside. In a flat set the boundary is that within it."""
        ...

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest corner of a box that contains the set, rounded outwards, each of shape (dim,)."""
        ...

    def contains(self, point: NDArray[np.float64]) -> bool:
        """Return whether a point, shape (dim,), is proven to lie in the set; in a flat set or a hull, within some roundings."""
        ...

    @property
    def span(self) -> Tensor | None:
        """An orthonormal basis of the directions within the set, shape (dim, r); None for all directions."""
        ...


def _vector(name: str, values: ArrayLike) -> Tensor:
    vector = torch.as_tensor(np.array(values, dtype=np.float64))
    if vector.ndim != 1 or not len(vector) or not torch.isfinite(vector).all():
        raise InvalidInput(name, tuple(vector.shape), "a finite vector of shape (d,)", "pass one point")
    return vector


def _outwards(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Corners that a few roundings have not moved inside."""
    slack = 8 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs()) + 1e-300
    return low - slack, high + slack


def _within_ball(point: Row, centre: Row, radius: float) -> bool:
    """Whether a point is proven to lie in a ball; points on the sphere count where the squares are exact."""
    with working_precision(CONTAINED_BITS):
        squares = sum(((a - b) * (a - b) for a, b in zip(point, centre, strict=True)), arb(0))
        return bool(squares <= arb(radius) * arb(radius))


def _near(domain: Domain, point: NDArray[np.float64]) -> bool:
    """Whether the projection moves a point by some roundings only: doubles rarely lie in a flat set exactly."""
    low, high = domain.bounds()
    at = torch.as_tensor(point[None])
    size = float(torch.maximum(low.abs(), high.abs()).max())
    return float((domain.project(at) - at).norm()) <= PROJECTED * size


def _radius(radius: float) -> float:
    if not 0.0 < radius < math.inf:
        raise InvalidInput("radius", radius, "a finite number > 0", "empty and unbounded domains have no constant")
    return float(radius)


def _uniform_ball(n: int, dim: int, rng: np.random.Generator) -> Tensor:
    direction = rng.standard_normal((n, dim))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return torch.as_tensor(direction * rng.random((n, 1)) ** (1.0 / dim))


class _Tube:
    """Shared by `Ball` and `Capsule`: all points within `radius` of a core, given the nearest point of the core."""

    radius: float
    span = None

    def core(self, points: Tensor) -> Tensor:
        raise NotImplementedError

    def project(self, points: Tensor) -> Tensor:
        core = self.core(points)
        offset = points - core
        # the shrink factor is 1 inside; the clamp also keeps the gradient finite at the core
        length = torch.linalg.vector_norm(offset, dim=-1, keepdim=True).clamp_min(self.radius)
        projected: Tensor = core + offset * (self.radius / length)
        return projected

    def depth(self, points: Tensor) -> Tensor:
        inward: Tensor = self.radius - torch.linalg.vector_norm(points - self.core(points), dim=-1)
        return inward

    def contains(self, point: NDArray[np.float64]) -> bool:
        # any point of the core will do: the nearest one, rounded, and as an exact combination of the ends
        return _within_ball(exact_row(point), self.exact_core(point), self.radius)

    def exact_core(self, point: NDArray[np.float64]) -> Row:
        """A point of the core near the nearest one, in ball arithmetic."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Ball(_Tube):
    """The closed Euclidean ball.

    Args:
        center: Shape (d,).
        radius: > 0.

    Example:
        >>> Ball([0.0, 0.0], 2.0).project(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        tensor([[1.2000, 1.6000]], dtype=torch.float64)
    """

    center: Tensor
    radius: float

    def __init__(self, center: ArrayLike, radius: float) -> None:
        object.__setattr__(self, "center", _vector("center", center))
        object.__setattr__(self, "radius", _radius(radius))

    @property
    def dim(self) -> int:
        return len(self.center)

    def core(self, points: Tensor) -> Tensor:
        return self.center.expand_as(points)

    def exact_core(self, point: NDArray[np.float64]) -> Row:
        return exact_row(self.center.numpy())

    def bounds(self) -> tuple[Tensor, Tensor]:
        return _outwards(self.center - self.radius, self.center + self.radius)

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        return self.center + self.radius * _uniform_ball(n, self.dim, rng)


@dataclass(frozen=True, eq=False)
class Capsule(_Tube):
    """The convex hull of two balls of one radius.

    Args:
        start: Centre of the first ball, shape (d,).
        end: Centre of the second, shape (d,).
        radius: > 0.
    """

    start: Tensor
    end: Tensor
    radius: float

    def __init__(self, start: ArrayLike, end: ArrayLike, radius: float) -> None:
        first, last = _vector("start", start), _vector("end", end)
        if first.shape != last.shape:
            raise InvalidInput("start, end", (len(first), len(last)), "one dimension", "use two points of one space")
        object.__setattr__(self, "start", first)
        object.__setattr__(self, "end", last)
        object.__setattr__(self, "radius", _radius(radius))

    @property
    def dim(self) -> int:
        return len(self.start)

    def core(self, points: Tensor) -> Tensor:
        axis = self.end - self.start
        along = ((points - self.start) @ axis) / axis.square().sum().clamp_min(torch.finfo(axis.dtype).tiny)
        return self.start + along.clamp(0.0, 1.0)[..., None] * axis

    def exact_core(self, point: NDArray[np.float64]) -> Row:
        axis = self.end - self.start
        share = float(
            ((torch.as_tensor(point) - self.start) @ axis) / axis.square().sum().clamp_min(torch.finfo(axis.dtype).tiny)
        )
        share = min(max(share, 0.0), 1.0)
        ends = zip(exact_row(self.start.numpy()), exact_row(self.end.numpy()), strict=True)
        return [a + share * (b - a) for a, b in ends]

    def bounds(self) -> tuple[Tensor, Tensor]:
        low, high = torch.minimum(self.start, self.end), torch.maximum(self.start, self.end)
        return _outwards(low - self.radius, high + self.radius)

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        along = torch.as_tensor(rng.random((n, 1)))
        return self.start + along * (self.end - self.start) + self.radius * _uniform_ball(n, self.dim, rng)


@dataclass(frozen=True, eq=False)
class Box:
    """The product of intervals.

    Args:
        lower: Shape (d,).
        upper: Shape (d,), above `lower` in every coordinate.

    Example:
        >>> Box([0.0, 0.0], [1.0, 2.0]).project(torch.tensor([[3.0, -4.0]], dtype=torch.float64))
        tensor([[1., 0.]], dtype=torch.float64)
    """

    lower: Tensor
    upper: Tensor
    span = None

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        low, high = _vector("lower", lower), _vector("upper", upper)
        if low.shape != high.shape or not bool((low < high).all()):
            raise InvalidInput("lower, upper", (low.tolist(), high.tolist()), "lower < upper", "give both ends of every side")
        object.__setattr__(self, "lower", low)
        object.__setattr__(self, "upper", high)

    @property
    def dim(self) -> int:
        return len(self.lower)

    def project(self, points: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(points, self.lower), self.upper)

    def bounds(self) -> tuple[Tensor, Tensor]:
        return self.lower, self.upper

    def contains(self, point: NDArray[np.float64]) -> bool:
        return bool((self.lower.numpy() <= point).all() and (point <= self.upper.numpy()).all())

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        uniform = torch.as_tensor(rng.random((n, self.dim)))
        # every fourth point has one coordinate at an end: in many dimensions hardly any point is near a face otherwise
        rows = torch.arange(0, n, 4)
        side = torch.as_tensor(rng.integers(0, self.dim, len(rows)))
        uniform[rows, side] = torch.as_tensor(rng.integers(0, 2, len(rows)).astype(np.float64))
        return self.lower + uniform * (self.upper - self.lower)

    def depth(self, points: Tensor) -> Tensor:
        inside: Tensor = torch.minimum(points - self.lower, self.upper - points).amin(-1)
        return inside


@dataclass(frozen=True, eq=False)
class WholeSpace:
    """All of space, for maps with a global constant, as piecewise linear ones.

    Args:
        dim: Its dimension d.
        scale: Size of the points that a search looks at; half of the samples are larger, by up to a factor 1000.

    Example:
        >>> WholeSpace(3).bounds()[1].tolist()
        [inf, inf, inf]
    """

    dim: int
    scale: float = 1.0
    span = None

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise InvalidInput("dim", self.dim, "a number >= 1", "the dimension of the latent space")
        _radius(self.scale)

    def project(self, points: Tensor) -> Tensor:
        return points

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        far = torch.as_tensor(1000.0 ** np.maximum(0.0, rng.uniform(-1.0, 1.0, (n, 1))))
        return self.scale * far * torch.as_tensor(rng.standard_normal((n, self.dim)))

    def depth(self, points: Tensor) -> Tensor:
        return torch.full((len(points),), math.inf, dtype=torch.float64)

    def bounds(self) -> tuple[Tensor, Tensor]:
        corner = torch.full((self.dim,), math.inf, dtype=torch.float64)
        return -corner, corner

    def contains(self, point: NDArray[np.float64]) -> bool:
        return bool(np.isfinite(point).all())


@dataclass(frozen=True, eq=False)
class Segment:
    """The segment between two points: only stretching along it counts.

    Args:
        start: Shape (d,).
        end: Shape (d,), another point.
    """

    start: Tensor
    end: Tensor

    def __init__(self, start: ArrayLike, end: ArrayLike) -> None:
        first, last = _vector("start", start), _vector("end", end)
        if first.shape != last.shape or torch.equal(first, last):
            raise InvalidInput("start, end", (first.tolist(), last.tolist()), "two points of one space", "use different points")
        object.__setattr__(self, "start", first)
        object.__setattr__(self, "end", last)

    @property
    def dim(self) -> int:
        return len(self.start)

    @property
    def span(self) -> Tensor:
        axis = self.end - self.start
        unit: Tensor = axis / torch.linalg.vector_norm(axis)
        return unit[:, None]

    def _along(self, points: Tensor) -> Tensor:
        axis = self.end - self.start
        return ((points - self.start) @ axis) / axis.square().sum()

    def project(self, points: Tensor) -> Tensor:
        return self.start + self._along(points).clamp(0.0, 1.0)[..., None] * (self.end - self.start)

    def bounds(self) -> tuple[Tensor, Tensor]:
        return torch.minimum(self.start, self.end), torch.maximum(self.start, self.end)

    def contains(self, point: NDArray[np.float64]) -> bool:
        return _near(self, point)

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        along = torch.as_tensor(np.concatenate(([0.0, 1.0], rng.random(max(0, n - 2))))[:n])
        return self.start + along[:, None] * (self.end - self.start)

    def depth(self, points: Tensor) -> Tensor:
        along = self._along(points)
        length = torch.linalg.vector_norm(self.end - self.start)
        off = torch.linalg.vector_norm(points - self.project(points), dim=-1)
        inward: Tensor = length * torch.minimum(along, 1 - along) - off
        return inward


@dataclass(frozen=True, eq=False)
class ConvexHull:
    """The convex hull of finitely many points, for example of latent images of data; it may be flat.

    Args:
        points: Shape (n, d), not all equal.
    """

    points: Tensor
    _basis: Tensor

    def __init__(self, points: ArrayLike) -> None:
        array = torch.as_tensor(np.array(points, dtype=np.float64))
        if array.ndim != 2 or len(array) < 2 or not torch.isfinite(array).all():
            raise InvalidInput("points", tuple(array.shape), "finite points of shape (n, d), n >= 2", "pass a sample")
        centred = array - array.mean(0)
        _, values, right = torch.linalg.svd(centred, full_matrices=False)
        kept = values > FLAT * values.max()
        if not bool(values.max() > 0):
            raise InvalidInput("points", "equal points", "at least two different ones", "a point has no constant")
        object.__setattr__(self, "points", array)
        object.__setattr__(self, "_basis", right[kept].T.contiguous())

    @property
    def dim(self) -> int:
        return int(self.points.shape[1])

    @property
    def span(self) -> Tensor | None:
        return None if self._basis.shape[1] == self.dim else self._basis

    def project(self, points: Tensor) -> Tensor:
        if not len(points):
            return points
        nearest = torch.as_tensor(np.stack([self._nearest(row) for row in points.detach().numpy()]))
        # the value of the projection with the derivative of the identity: right inside, a usable slope outside
        return points + (nearest - points).detach()

    def _nearest(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """Nonnegative weights of the points by least squares, their sum held at 1 by a heavy row."""
        matrix = (self.points.numpy() - point).T
        heavy = HEAVY * max(float(np.abs(matrix).max()), 1e-300)
        weights, _ = nnls(np.vstack((matrix, np.full((1, matrix.shape[1]), heavy))), np.append(np.zeros(len(matrix)), heavy))
        return np.asarray(weights @ self.points.numpy() / weights.sum())

    def bounds(self) -> tuple[Tensor, Tensor]:
        return self.points.amin(0), self.points.amax(0)

    def contains(self, point: NDArray[np.float64]) -> bool:
        return _near(self, point)

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        # mixtures of few of the points reach the boundary, which mixtures of all do not
        chosen = rng.integers(0, len(self.points), (n, min(len(self.points), self._basis.shape[1] + 1)))
        weights = rng.dirichlet(np.full(chosen.shape[1], 0.5), n)
        return torch.einsum("nk,nkd->nd", torch.as_tensor(weights), self.points[torch.as_tensor(chosen)])

    def depth(self, points: Tensor) -> Tensor:
        """Minus the distance outside; inside only whether a step of a millionth of the width outwards leaves the hull."""
        centre = self.points.mean(0)
        outside = torch.linalg.vector_norm(points - self.project(points), dim=-1)
        step = 1e-6 * float((self.points - centre).abs().max())
        away = points - centre
        farther = points + 2 * step * away / torch.linalg.vector_norm(away, dim=-1, keepdim=True).clamp_min(1e-300)
        left = torch.linalg.vector_norm(farther - self.project(farther), dim=-1)
        return torch.where(outside > 0.1 * step, -outside, torch.where(left > 0.1 * step, 0.0, step * 1e6))


@dataclass(frozen=True, eq=False)
class ConditionalSlice:
    r"""The set of all (y, z) with a label y that is held and z in a set of latent space.

    The constant on it is that of $z\mapsto f(y,z)$: what a conditional sampler applies to its draws.

    Args:
        label: y, the first coordinates of the space, shape (d - k,): labels and padding.
        latent: The set of z, of dimension k.

    Example:
        >>> ConditionalSlice([1.0], Ball([0.0], 2.0)).project(torch.tensor([[0.0, 3.0]], dtype=torch.float64))
        tensor([[1., 2.]], dtype=torch.float64)
    """

    label: Tensor
    latent: Domain

    def __init__(self, label: ArrayLike, latent: Domain) -> None:
        values = torch.as_tensor(np.array(label, dtype=np.float64))
        if values.ndim != 1 or not torch.isfinite(values).all():
            raise InvalidInput("label", tuple(values.shape), "a finite vector of shape (d - k,)", "pass one label")
        object.__setattr__(self, "label", values)
        object.__setattr__(self, "latent", latent)

    @property
    def dim(self) -> int:
        return len(self.label) + self.latent.dim

    def restricted(self, f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return $z\\mapsto f(y,z)$."""
        return conditional(f, self.label.numpy()) if len(self.label) else f

    def _whole(self, z: Tensor) -> Tensor:
        return torch.cat((self.label.expand(len(z), -1), z), dim=1)

    def project(self, points: Tensor) -> Tensor:
        return self._whole(self.latent.project(points[:, len(self.label) :]))

    def sample(self, n: int, rng: np.random.Generator) -> Tensor:
        return self._whole(self.latent.sample(n, rng))

    def depth(self, points: Tensor) -> Tensor:
        inside = self.latent.depth(points[:, len(self.label) :])
        off = torch.linalg.vector_norm(points[:, : len(self.label)] - self.label, dim=1)
        return torch.where(off > 0, -off, inside)

    def bounds(self) -> tuple[Tensor, Tensor]:
        low, high = self.latent.bounds()
        return torch.cat((self.label, low)), torch.cat((self.label, high))

    def contains(self, point: NDArray[np.float64]) -> bool:
        return np.array_equal(point[: len(self.label)], self.label.numpy()) and self.latent.contains(point[len(self.label) :])

    @property
    def span(self) -> Tensor:
        within = self.latent.span
        basis = torch.eye(self.latent.dim, dtype=torch.float64) if within is None else within
        return torch.cat((basis.new_zeros(len(self.label), basis.shape[1]), basis))


def conditional(f: Callable[[Tensor], Tensor], y: ArrayLike) -> Callable[[Tensor], Tensor]:
    r"""Return $z\mapsto f(y,z)$ for a fixed label y, the first coordinates of f's input: a conditional slice.

    Args:
        f: Map on rows (y, z).
        y: The label, shape (n,).

    Example:
        >>> slice_at = conditional(lambda rows: rows * 2.0, [1.0])
        >>> slice_at(torch.tensor([[3.0]], dtype=torch.float64))
        tensor([[2., 6.]], dtype=torch.float64)
    """
    label = _vector("y", y)

    def at_label(z: Tensor) -> Tensor:
        return f(torch.cat((label.to(z.dtype).expand(len(z), len(label)), z), dim=1))

    return at_label


def latent_ball(center: ArrayLike, *, mass: float, scale: float = 1.0) -> Ball:
    r"""Return the ball about `center` that has `mass` under $N(\text{center}, \text{scale}^2 I)$.

    Its radius is scale times the `mass` quantile of $|Z|$, $Z\sim N(0, I_d)$.

    Example:
        >>> round(latent_ball([0.0, 0.0], mass=0.9999).radius, 3)
        4.292
    """
    if not 0.0 < mass < 1.0:
        raise InvalidInput("mass", mass, "a number in (0, 1)", "0.9999 leaves out one point in ten thousand")
    middle = _vector("center", center)
    return Ball(middle.numpy(), scale * float(chi.ppf(mass, len(middle))))
