r"""Singular values of the Jacobian of a map at points, with gradients: by a full SVD or by power iteration.

*Full SVD* for small dimensions: the Jacobian by one reverse pass a row, or by one pass a column where the image has many more
dimensions.

*Power iteration* above: $v\mapsto J^TJv$ by Jacobian-vector and vector-Jacobian products on one graph of f, so memory is that
of a few evaluations. Values are norms |Jv| of unit vectors v: never above $\sigma_{\max}$.

Both know singular vectors u, v, and the gradient of $\sigma=u^TJ(z)v$ is that of the right side for fixed u and v (Danskin): one
second derivative of f, whatever the dimension.

A domain of lower dimension (a segment, a flat hull) has few directions: J is restricted to its span.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.model import Map

__all__ = [
    "FullSVD",
    "Map",
    "PowerIteration",
    "Quantity",
    "SingularValues",
    "check_map",
    "evaluate",
    "gradient_of",
    "singular_values_of",
    "unit_of",
]

Quantity = Literal["largest", "smallest", "condition"]

TYPES = ((torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8), (torch.float32, 2.0**-24))
BATCH_ROUNDINGS = 256  # of the largest coordinate, by which a row differs alone and in a batch from rounding
MOST_CHANGE = 1e-2  # of the largest coordinate, by which it may differ: fixed points found to a tolerance
ALONE = 4  # rows that are evaluated alone
LARGEST_FULL = 24  # of min(inputs, outputs)
CHUNK_ENTRIES = 4_000_000  # of Jacobians held at a time
MOST_COPIES = 2048  # rows that a Jacobian may be evaluated on at once
FEW_COLUMNS = 3  # with more outputs than so many times the inputs, columns of the Jacobian cost less than rows
SETTLED = 1e-10  # relative change of |Jv| at which power iteration ends
MOST_ITERATIONS = 1000  # of power iteration for a direction
SINGULAR: dict[Quantity, tuple[tuple[float, int], ...]] = {
    "largest": ((1.0, 0),),
    "smallest": ((-1.0, -1),),
    "condition": ((1.0, 0), (-1.0, -1)),
}


def evaluate(f: Map, points: Tensor) -> Tensor:
    """Return f at rows, after checking that it maps rows to rows of finite float64 numbers."""
    image = f(points)
    if not isinstance(image, Tensor) or image.ndim != 2 or len(image) != len(points):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InvalidInput("f", f"output {got} for {len(points)} points", "a tensor (n, m)", "map rows to rows")
    if image.dtype != torch.float64:
        raise InvalidInput("f", f"output of dtype {image.dtype}", "float64", "call .double() on the network first")
    if image.device != points.device:
        raise InvalidInput("f", f"output on {image.device}", f"{points.device}", "move the network to the CPU, or wrap it")
    if not torch.isfinite(image).all():
        bad = points[~torch.isfinite(image).all(dim=1)][0].tolist()
        raise InvalidInput("f", f"NaN or infinity at {bad}", "finite values on the domain", "shrink the domain")
    return image


def check_map(f: Map, points: Tensor) -> tuple[int, float]:
    """Return the dimension of the image and how precisely the map is evaluated, after checking that it is a function of rows.

    The precision is that of its number type, or, for a map that iterates until a whole batch has converged, the largest change of
    a row between batches; relative to the largest coordinate.

    Raises:
        InvalidInput: If two calls differ, as with dropout, or a row depends on the batch, as with batch normalisation.
    """
    with torch.no_grad():
        image = evaluate(f, points)
        if not torch.equal(image, evaluate(f, points)):
            raise InvalidInput("f", "two different answers for the same points", "a function", "call .eval() on the network")
        alone = torch.cat([evaluate(f, points[i : i + 1]) for i in range(min(ALONE, len(points)))])
    scale = float(image.abs().max()) + 1e-300
    change = float((alone - image[: len(alone)]).abs().max()) / scale
    if change > MOST_CHANGE:
        raise InvalidInput("f", "a row whose image depends on the batch", "row by row", "call .eval() on the network")
    unit = unit_of(image)
    # batched products may round differently, in the precision in which the map computes
    return int(image.shape[1]), unit if change <= max(1e-9, BATCH_ROUNDINGS * unit) else change


def unit_of(images: Tensor) -> float:
    """The unit roundoff of the shortest type that holds all images: the map may have been computed in it."""
    return max([2.0**-53, *(unit for dtype, unit in TYPES if torch.equal(images.to(dtype).to(torch.float64), images))])


class SingularValues(ABC):
    """The quantity that the search maximises: a singular value (inverted for the smallest), or the condition number."""

    @abstractmethod
    def values(self, points: Tensor) -> Tensor:
        """Return the quantity at points, shape (n,)."""

    @abstractmethod
    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same with the gradients of their logarithms, shape (n, d); 0 where there is none."""

    @abstractmethod
    def direction(self, point: Tensor) -> tuple[float, Tensor, float]:
        """Return the value at one point, shape (d,), the unit vector v of the domain's span that attains it, and |Jv|."""


def singular_values_of(f: Map, outputs: int, dim: int, span: Tensor | None, quantity: Quantity) -> SingularValues:
    """Choose how singular values are computed: by a full SVD in small dimensions, by power iteration above."""
    inputs = dim if span is None else span.shape[1]
    if min(inputs, outputs) <= LARGEST_FULL:
        return FullSVD(f, span, quantity)
    if quantity != "largest":
        raise InvalidInput("f", f"{min(inputs, outputs)} dimensions", f"at most {LARGEST_FULL}", "search the largest alone")
    return PowerIteration(f, span)


class FullSVD(SingularValues):
    """By the Jacobian and its singular values."""

    def __init__(self, f: Map, span: Tensor | None = None, quantity: Quantity = "largest") -> None:
        self._f, self._span, self._quantity = f, span, quantity
        self._outputs: int | None = None

    def jacobians(self, points: Tensor) -> Tensor:
        """Return the Jacobians on the span, shape (n, m, r)."""
        points = points.detach()
        if self._outputs is None:
            with torch.no_grad():
                self._outputs = evaluate(self._f, points[:1]).shape[1]
        if self._outputs > FEW_COLUMNS * points.shape[1]:
            jacobians = _columns(self._f, points)
        elif len(points) * self._outputs <= MOST_COPIES:
            jacobians = _rows_at_once(self._f, points, self._outputs)
        else:
            jacobians = _rows(self._f, points)
        _check_finite(jacobians.flatten(1), points)
        return jacobians if self._span is None else jacobians @ self._span

    def _score(self, sizes: Tensor) -> Tensor:
        """From singular values, shape (n, k), to what is raised."""
        if self._quantity == "largest":
            return sizes[:, 0]
        # the inverse of a map that collapses a direction has no constant
        last = sizes[:, -1].clamp_min(torch.finfo(sizes.dtype).tiny)
        score: Tensor = 1.0 / last if self._quantity == "smallest" else sizes[:, 0] / last
        return score

    def values(self, points: Tensor) -> Tensor:
        size = max(1, CHUNK_ENTRIES // (points.shape[1] * max(1, points.shape[1])))
        return torch.cat([self._score(torch.linalg.svdvals(self.jacobians(c))) for c in torch.split(points, size)])

    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        left, sizes, right = torch.linalg.svd(self.jacobians(points), full_matrices=False)
        if self._span is not None:
            right = right @ self._span.T
        score = self._score(sizes)
        gradients = torch.zeros_like(points)
        at = points.detach().requires_grad_()
        image = evaluate(self._f, at)
        for sign, k in SINGULAR[self._quantity]:
            if image.requires_grad:
                along = gradient_of(image, at, left[:, :, k], create_graph=True)
                if along.requires_grad:
                    gradient = gradient_of((along * right[:, k]).sum(), at, retain_graph=True)
                    gradients += sign * gradient / sizes[:, k, None]
        # where the value is 0 its logarithm has no gradient; such a point stays
        return score, torch.nan_to_num(gradients, nan=0.0, posinf=0.0, neginf=0.0)

    def direction(self, point: Tensor) -> tuple[float, Tensor, float]:
        jacobian = self.jacobians(point[None])[0]
        _, sizes, right = torch.linalg.svd(jacobian, full_matrices=False)
        v = right[-1 if self._quantity == "smallest" else 0]
        slope = float(torch.linalg.vector_norm(jacobian @ v))
        return float(self._score(sizes[None])[0]), v if self._span is None else self._span @ v, slope


def gradient_of(
    output: Tensor, at: Tensor, along: Tensor | None = None, *, retain_graph: bool | None = None, create_graph: bool = False
) -> Tensor:
    """The gradient by `at`; 0 where the output depends on parameters of the map only, as the slope of a linear one does."""
    if not output.requires_grad:
        return torch.zeros_like(at)
    keep = create_graph if retain_graph is None else retain_graph
    (gradient,) = torch.autograd.grad(output, at, along, retain_graph=keep, create_graph=create_graph, allow_unused=True)
    return torch.zeros_like(at) if gradient is None else gradient


def _rows(f: Map, points: Tensor) -> Tensor:
    """Jacobians by one reverse pass an output, shape (n, m, d)."""
    at = points.requires_grad_()
    image = evaluate(f, at)
    if not image.requires_grad:  # a constant map
        return image.new_zeros(len(points), image.shape[1], points.shape[1])
    rows = [gradient_of(image[:, i].sum(), at, retain_graph=True) for i in range(image.shape[1])]
    return torch.stack(rows, dim=1)


def _rows_at_once(f: Map, points: Tensor, outputs: int) -> Tensor:
    """The same by one reverse pass over a copy of every point for each output: for few points calls cost more than rows."""
    at = points.repeat_interleave(outputs, 0).requires_grad_()
    image = evaluate(f, at)
    if not image.requires_grad:
        return image.new_zeros(len(points), outputs, points.shape[1])
    rows = gradient_of(image, at, torch.eye(outputs, dtype=image.dtype).repeat(len(points), 1))
    return rows.reshape(len(points), outputs, points.shape[1])


def _columns(f: Map, points: Tensor) -> Tensor:
    r"""The same by one pass an input: $u\mapsto u^TJ$ is linear, and its derivative along e_k is the k-th column."""
    at = points.requires_grad_()
    image = evaluate(f, at)
    if not image.requires_grad:
        return image.new_zeros(len(points), image.shape[1], points.shape[1])
    u = torch.zeros_like(image, requires_grad=True)
    products = gradient_of(image, at, u, create_graph=True)
    if not products.requires_grad:  # no input reaches the image
        return image.new_zeros(len(points), image.shape[1], points.shape[1])
    columns = [gradient_of(products[:, k].sum(), u, retain_graph=True) for k in range(points.shape[1])]
    return torch.stack(columns, dim=2)


class PowerIteration(SingularValues):
    """By power iteration; remembers the vectors of the points that it saw last."""

    def __init__(self, f: Map, span: Tensor | None = None) -> None:
        self._f, self._span = f, span
        self._warm: Tensor | None = None

    def _unit(self, vectors: Tensor) -> Tensor:
        if self._span is not None:
            vectors = vectors @ self._span @ self._span.T
        lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        return vectors / lengths.clamp_min(torch.finfo(vectors.dtype).tiny)

    def _iterate(self, points: Tensor, v: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the norms |Jv|, v, u and points with the gradient of log |u^T J v|."""
        points = points.detach().requires_grad_()
        image = evaluate(self._f, points)
        if not image.requires_grad:
            zero = torch.zeros(len(points), dtype=points.dtype)
            return zero, v, torch.zeros_like(image), torch.zeros_like(points)
        # the transposed product as a linear function of w, whose derivative along v is J v
        w = torch.zeros_like(image, requires_grad=True)
        transposed = gradient_of(image, points, w, create_graph=True)
        norms = torch.zeros(len(points), dtype=points.dtype)
        u = torch.zeros_like(image)
        for _ in range(iterations):
            forward = gradient_of(transposed, w, v, retain_graph=True)
            before, norms = norms, torch.linalg.vector_norm(forward, dim=1)
            u = forward / norms.clamp_min(torch.finfo(norms.dtype).tiny)[:, None]
            back = gradient_of(image, points, u, retain_graph=True)
            _check_finite(back, points)
            v = self._unit(back.detach())
            if bool(((norms - before).abs() <= SETTLED * norms).all()):
                break
        along = gradient_of(image, points, u.detach(), create_graph=True)
        stretch = (along * v).sum(1)
        gradient = torch.zeros_like(points)
        if stretch.requires_grad and bool((stretch > 0).all()):
            gradient = gradient_of(stretch.log().sum(), points)
        return norms.detach(), v, u.detach(), torch.nan_to_num(gradient.detach(), nan=0.0, posinf=0.0, neginf=0.0)

    def _start(self, points: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return self._unit(torch.randn(points.shape, dtype=points.dtype, generator=generator))

    def values(self, points: Tensor) -> Tensor:
        size = max(1, CHUNK_ENTRIES // (64 * points.shape[1]))
        return torch.cat([self._iterate(chunk, self._start(chunk), 8)[0] for chunk in torch.split(points, size)])

    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        warm = self._warm is not None and self._warm.shape == points.shape
        v = self._warm if warm and self._warm is not None else self._start(points)
        norms, v, _, gradients = self._iterate(points, v, 4 if warm else 30)
        self._warm = v
        return norms, gradients

    def direction(self, point: Tensor) -> tuple[float, Tensor, float]:
        norms, v, _, _ = self._iterate(point[None], self._start(point[None]), MOST_ITERATIONS)
        return float(norms[0]), v[0], float(norms[0])


def _check_finite(derivatives: Tensor, points: Tensor) -> None:
    if not torch.isfinite(derivatives).all():
        bad = points.detach()[~torch.isfinite(derivatives).all(dim=1)][0].tolist()
        raise InvalidInput(
            "f", f"a derivative that is not finite at {bad}", "finite derivatives", "smooth it, or shrink the domain"
        )
