r"""How strongly a map stretches at points: singular values of its Jacobian, exactly or by power iteration, with gradients.

*Exact* for small dimensions: the Jacobian by one reverse pass a row, or by one pass a column where the image has many more
dimensions, its singular values by SVD, the gradient through both.

*Power iteration* above: $v\mapsto J^TJv$ by Jacobian-vector and vector-Jacobian products on one graph of f, so memory is that
of a few evaluations. With u, v at hand the gradient of $\sigma_{\max}=u^TJ(z)v$ is that of the right side for fixed u and v
(Danskin). Values are norms |Jv| of unit vectors v: never above $\sigma_{\max}$.

A domain of lower dimension (a segment, a flat hull) has few directions: J is restricted to its span.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lipbounds.errors import InvalidInput

__all__ = ["Exact", "Map", "Power", "Quantity", "Stretch", "evaluate", "stretch_of"]

Map = Callable[[Tensor], Tensor]
Quantity = Literal["largest", "smallest", "condition"]

LARGEST_EXACT = 24  # of min(inputs, outputs)
CHUNK_ENTRIES = 4_000_000  # of Jacobians held at a time
FEW_COLUMNS = 3  # with more outputs than so many times the inputs, columns of the Jacobian cost less than rows
SETTLED = 1e-10  # relative change of |Jv| at which power iteration ends
MOST_ITERATIONS = 1000


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


def check_map(f: Map, points: Tensor) -> int:
    """Return the dimension of the image, after checking that f is one function of each row alone.

    Raises:
        InvalidInput: If two calls differ, as with dropout, or a row depends on the batch, as with batch normalisation.
    """
    with torch.no_grad():
        image = evaluate(f, points)
        if not torch.equal(image, evaluate(f, points)):
            raise InvalidInput("f", "two different answers for the same points", "a function", "call .eval() on the network")
        alone = evaluate(f, points[:1])
    # batched products may round differently
    scale = float(image.abs().max()) + 1e-300
    if float((alone - image[:1]).abs().max()) > 1e-9 * scale:
        raise InvalidInput("f", "a row whose image depends on the batch", "row by row", "call .eval() on the network")
    return int(image.shape[1])


class Stretch(ABC):
    """A score of points that the search raises: the logarithm of a singular value, or of the condition number."""

    @abstractmethod
    def values(self, points: Tensor) -> Tensor:
        """Return the scores exponentiated, shape (n,)."""

    @abstractmethod
    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same with the gradients of their logarithms, shape (n, d); 0 where there is none."""

    @abstractmethod
    def direction(self, point: Tensor) -> tuple[float, Tensor, float]:
        """Return the value at one point, shape (d,), the unit vector v of the domain's span that attains it, and |Jv|."""


def stretch_of(f: Map, outputs: int, dim: int, span: Tensor | None, quantity: Quantity) -> Stretch:
    """Choose how the stretching is computed: exactly in small dimensions, by power iteration above."""
    inputs = dim if span is None else span.shape[1]
    if min(inputs, outputs) <= LARGEST_EXACT:
        return Exact(f, span, quantity)
    if quantity != "largest":
        raise InvalidInput("f", f"{min(inputs, outputs)} dimensions", f"at most {LARGEST_EXACT}", "search the largest alone")
    return Power(f, span)


class Exact(Stretch):
    """By the Jacobian and its singular values."""

    def __init__(self, f: Map, span: Tensor | None = None, quantity: Quantity = "largest") -> None:
        self._f, self._span, self._quantity = f, span, quantity

    def jacobians(self, points: Tensor, *, differentiable: bool = False) -> tuple[Tensor, Tensor]:
        """Return points that carry the graph, and the Jacobians on the span at them, shape (n, m, r)."""
        points = points.detach().requires_grad_()
        image = evaluate(self._f, points)
        if not image.requires_grad:  # a constant map
            jacobians = image.new_zeros(len(points), image.shape[1], points.shape[1])
        else:
            by_columns = image.shape[1] > FEW_COLUMNS * points.shape[1]
            jacobians = (_columns if by_columns else _rows)(image, points, differentiable)
        _check_finite(jacobians.detach().flatten(1), points)
        return points, jacobians if self._span is None else jacobians @ self._span

    def _score(self, jacobians: Tensor) -> Tensor:
        if self._quantity == "largest":
            norms: Tensor = torch.linalg.matrix_norm(jacobians, ord=2)
            return norms
        values = torch.linalg.svdvals(jacobians)
        # the inverse of a map that collapses a direction has no constant
        last = values[:, -1].clamp_min(torch.finfo(values.dtype).tiny)
        score: Tensor = 1.0 / last if self._quantity == "smallest" else values[:, 0] / last
        return score

    def values(self, points: Tensor) -> Tensor:
        size = max(1, CHUNK_ENTRIES // (points.shape[1] * max(1, points.shape[1])))
        return torch.cat([self._score(self.jacobians(chunk)[1]).detach() for chunk in torch.split(points, size)])

    def values_and_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        at, jacobians = self.jacobians(points, differentiable=True)
        score = self._score(jacobians)
        gradients = torch.zeros_like(at)
        if score.requires_grad and bool((score > 0).all()):
            (gradients,) = torch.autograd.grad(score.log().sum(), at)
        # equal singular values have no gradient; such a point stays
        return score.detach(), torch.nan_to_num(gradients, nan=0.0, posinf=0.0, neginf=0.0)

    def direction(self, point: Tensor) -> tuple[float, Tensor, float]:
        jacobian = self.jacobians(point[None])[1][0].detach()
        _, _, right = torch.linalg.svd(jacobian)
        v = right[-1 if self._quantity == "smallest" else 0]
        score, slope = float(self._score(jacobian[None])[0]), float(torch.linalg.vector_norm(jacobian @ v))
        return score, v if self._span is None else self._span @ v, slope


def _rows(image: Tensor, points: Tensor, differentiable: bool) -> Tensor:
    """Jacobians by one reverse pass an output, shape (n, m, d)."""
    rows = [
        torch.autograd.grad(image[:, i].sum(), points, retain_graph=True, create_graph=differentiable)[0]
        for i in range(image.shape[1])
    ]
    return torch.stack(rows, dim=1)


def _columns(image: Tensor, points: Tensor, differentiable: bool) -> Tensor:
    r"""The same by one pass an input: $u\mapsto u^TJ$ is linear, and its derivative along e_k is the k-th column."""
    u = torch.zeros_like(image, requires_grad=True)
    (products,) = torch.autograd.grad(image, points, grad_outputs=u, create_graph=True)
    if not products.requires_grad:  # no input reaches the image
        return image.new_zeros(len(points), image.shape[1], points.shape[1])
    columns = [
        torch.autograd.grad(products[:, k].sum(), u, retain_graph=True, create_graph=differentiable)[0]
        for k in range(points.shape[1])
    ]
    return torch.stack(columns, dim=2)


class Power(Stretch):
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
        (transposed,) = torch.autograd.grad(image, points, w, create_graph=True)
        norms = torch.zeros(len(points), dtype=points.dtype)
        u = torch.zeros_like(image)
        for _ in range(iterations):
            (forward,) = torch.autograd.grad(transposed, w, v, retain_graph=True)
            before, norms = norms, torch.linalg.vector_norm(forward, dim=1)
            u = forward / norms.clamp_min(torch.finfo(norms.dtype).tiny)[:, None]
            (back,) = torch.autograd.grad(image, points, u, retain_graph=True)
            _check_finite(back, points)
            v = self._unit(back.detach())
            if bool(((norms - before).abs() <= SETTLED * norms).all()):
                break
        (along,) = torch.autograd.grad(image, points, u.detach(), create_graph=True)
        stretch = (along * v).sum(1)
        gradient = torch.zeros_like(points)
        if stretch.requires_grad and bool((stretch > 0).all()):
            (gradient,) = torch.autograd.grad(stretch.log().sum(), points)
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
