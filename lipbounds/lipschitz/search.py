r"""Found: lower bounds of a Lipschitz constant by gradient search, each with a pair of points that anyone can check.

On a convex set $\mathrm{Lip}(f)=\sup\|Df\|_2$, so the search climbs on $\log\sigma_{\max}(Df(z))$: a screening of many points,
projected ascent from the best, an L-BFGS polish, and at last the best finite pair about the point found. The screening
matters most: a map that tears two modes apart is steep in a thin layer only, which random points miss; segments between
latent images of the modes must cross it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from lipbounds.domains import Domain
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput

__all__ = ["Found", "Map", "find_lipschitz", "jacobian_norms", "quotient"]

Map = Callable[[Tensor], Tensor]

STARTS = 24  # points that ascend; half the best of all, half the best of random subsets, for diversity
ASCENT_STEPS = 60
POLISHED = 3
POINTS_PER_SEGMENT = 33
BOUNDARY_TOLERANCE = 1e-6  # of the domain's width; the projection is exact to a few ulps


@dataclass(frozen=True, eq=False)
class Found:
    """A lower bound of Lip(f; D) with its witness.

    Attributes:
        value: |f(a) - f(b)| / |a - b| of the pair (a, b), evaluated in float64; a lower bound of Lip(f; D) up to the
            rounding of f at two points.
        jacobian_norm: Largest singular value of the Jacobian at `point` as torch differentiates, the limit of such quotients
            where f is differentiable; at a kink it can be larger than any quotient.
        point: The point that the pair lies about, a local maximum of the Jacobian's norm, shape (d,).
        direction: Its right singular vector, shape (d,).
        pair: The witness, two points of D, each of shape (d,).
        on_boundary: Whether `point` lies on the boundary of D; then a larger domain may have a larger constant.
        evaluations: Number of points at which the derivative of f was evaluated.
        history: Largest norm seen after the screening, after each ascent step, and after each polish.
        guarantee: EXACT: nothing but rounding stands between `value` and a proven lower bound.
    """

    value: float
    jacobian_norm: float
    point: NDArray[np.float64]
    direction: NDArray[np.float64]
    pair: tuple[NDArray[np.float64], NDArray[np.float64]]
    on_boundary: bool
    evaluations: int
    history: tuple[float, ...]
    guarantee: Guarantee = Guarantee.EXACT


def _evaluate(f: Map, points: Tensor) -> Tensor:
    image = f(points)
    if not isinstance(image, Tensor) or image.ndim != 2 or len(image) != len(points):
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InvalidInput("f", f"output {got} for {len(points)} points", "a tensor (n, m)", "map rows to rows")
    if image.dtype != torch.float64:
        raise InvalidInput("f", f"output of dtype {image.dtype}", "float64", "call .double() on the network first")
    if not torch.isfinite(image).all():
        bad = points[~torch.isfinite(image).all(dim=1)][0].tolist()
        raise InvalidInput("f", f"NaN or infinity at {bad}", "finite values on the domain", "shrink the domain")
    return image


def _jacobians(f: Map, points: Tensor, *, differentiable: bool = False) -> tuple[Tensor, Tensor]:
    """Return points that carry the graph, and the Jacobians at them, shape (n, m, d), by reverse passes."""
    points = points.detach().requires_grad_()
    image = _evaluate(f, points)
    if not image.requires_grad:  # a constant map
        return points, image.new_zeros(len(points), image.shape[1], points.shape[1])
    rows = [
        torch.autograd.grad(image[:, i].sum(), points, retain_graph=True, create_graph=differentiable)[0]
        for i in range(image.shape[1])
    ]
    jacobians = torch.stack(rows, dim=1)
    if not torch.isfinite(jacobians).all():
        bad = points[~torch.isfinite(jacobians.detach()).all(dim=(1, 2))][0].tolist()
        raise InvalidInput(
            "f", f"a derivative that is not finite at {bad}", "finite derivatives", "smooth it, or shrink the domain"
        )
    return points, jacobians


def jacobian_norms(f: Map, points: Tensor) -> Tensor:
    """Return the spectral norm of the Jacobian of f at each row of `points`, shape (n,).

    Example:
        >>> norms = jacobian_norms(lambda z: z * torch.tensor([2.0, 3.0]), torch.zeros(1, 2, dtype=torch.float64))
        >>> round(float(norms[0]), 12)
        3.0
    """
    norms = [torch.linalg.matrix_norm(_jacobians(f, chunk)[1], ord=2).detach() for chunk in torch.split(points, 8192)]
    return torch.cat(norms)


def quotient(f: Map, pair: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """Return |f(a) - f(b)| / |a - b| for the pair (a, b), in float64: the check of a witness.

    Example:
        >>> quotient(lambda z: 2.0 * z, (np.array([0.0, 0.0]), np.array([3.0, 4.0])))
        2.0
    """
    points = torch.as_tensor(np.stack(pair))
    if torch.equal(points[0], points[1]):
        raise InvalidInput("pair", pair, "two different points", "a quotient needs a distance")
    with torch.no_grad():
        image = _evaluate(f, points)
    return float(torch.linalg.vector_norm(image[0] - image[1]) / torch.linalg.vector_norm(points[0] - points[1]))


def find_lipschitz(
    f: Map,
    domain: Domain,
    *,
    seed: int,
    starts: Tensor | None = None,
    segments: Sequence[tuple[Tensor, Tensor]] = (),
    screening: int = 4096,
    callback: Callable[[float], None] | None = None,
) -> Found:
    r"""Search for the largest stretching of f on a convex domain; the result is a lower bound with a witness.

    Nothing is claimed about how far the value lies below the truth: failing to find a larger one proves nothing.

    Args:
        f: Map on batches, (n, d) to (n, m), in float64, differentiable almost everywhere by torch; row i of the result
            may depend on row i only. For a flow T the map of interest is T^{-1}, latent to data.
        domain: Convex set of dimension d.
        seed: Seeds the screening.
        starts: Further points to screen, shape (k, d), for example latent images of data.
        segments: Pairs of tensors of shape (k, d); the segments between corresponding rows are screened too. Give
            latent images of points of different modes.
        screening: Number of random points screened.
        callback: Called with the largest norm so far after every step.

    Returns:
        The best finite pair found, with the point of largest derivative.

    Raises:
        InvalidInput: If f changes the number of rows, is not finite somewhere, or does not return float64.

    Example:
        >>> from lipbounds.domains import Ball
        >>> found = find_lipschitz(lambda z: torch.tanh(5.0 * z), Ball([0.0, 0.0], 1.0), seed=0)
        >>> round(found.value, 4)
        5.0
    """
    if screening < STARTS:
        raise InvalidInput("screening", screening, f"an integer >= {STARTS}", "the search starts from the best of these")
    rng = np.random.default_rng(seed)
    candidates = [domain.sample(screening, rng)]
    if starts is not None:
        candidates.append(starts)
    fractions = torch.linspace(0.0, 1.0, POINTS_PER_SEGMENT, dtype=torch.float64)[:, None, None]
    candidates += [((1 - fractions) * a + fractions * b).reshape(-1, domain.dim) for a, b in segments]
    points = domain.project(torch.cat([c.to(torch.float64) for c in candidates]))
    width = float((points - points.mean(0)).abs().max())

    norms = jacobian_norms(f, points)
    evaluations = len(points)
    order = torch.as_tensor(rng.permutation(len(points)))
    subsets = [subset[norms[subset].argmax()] for subset in order.tensor_split(STARTS // 2)]
    chosen = torch.cat((norms.topk(min(STARTS // 2, len(norms))).indices, torch.stack(subsets)))
    chosen = torch.unique(chosen)
    history = [float(norms.max())]

    best_points, best_norms = _ascend(f, domain, points[chosen], width, history, callback)
    evaluations += (len(history) - 1) * len(chosen)

    pairs = []
    for index in best_norms.topk(min(POLISHED, len(best_norms))).indices:
        polished, count = _polish(f, domain, best_points[index])
        evaluations += count + 1
        norm = jacobian_norms(f, polished[None])[0]
        if norm > best_norms[index]:
            best_points[index], best_norms[index] = polished, norm
        history.append(max(history[-1], float(norm)))
        if callback is not None:
            callback(history[-1])
        # of each: at a kink the norm promises more than pairs keep
        pairs.append((*_best_pair(f, domain, best_points[index], width), best_points[index]))
    value, direction, pair, point = max(pairs, key=lambda one: one[0])
    return Found(
        value=value,
        jacobian_norm=float(jacobian_norms(f, point[None])[0]),
        point=point.numpy(),
        direction=direction.numpy(),
        pair=pair,
        on_boundary=bool(domain.depth(point[None])[0] < BOUNDARY_TOLERANCE * width),
        evaluations=evaluations,
        history=tuple(history),
    )


def _ascend(
    f: Map,
    domain: Domain,
    points: Tensor,
    width: float,
    history: list[float],
    callback: Callable[[float], None] | None,
) -> tuple[Tensor, Tensor]:
    """Projected Adam on log sigma_max from every row of `points`; returns the best point of each path and its norm."""
    best_points = points.clone()
    best_norms = torch.full((len(points),), -1.0, dtype=points.dtype)
    mean, square = torch.zeros_like(points), torch.zeros_like(points)
    for step in range(1, ASCENT_STEPS + 1):
        points, jacobians = _jacobians(f, points, differentiable=True)
        norms = torch.linalg.matrix_norm(jacobians, ord=2)
        better = norms.detach() > best_norms
        best_points[better], best_norms[better] = points.detach()[better], norms.detach()[better]
        history.append(max(history[-1], float(best_norms.max())))
        if callback is not None:
            callback(history[-1])
        if not norms.requires_grad or not bool((norms > 0).all()):
            break  # constant or linear: no direction of ascent
        (gradient,) = torch.autograd.grad(norms.log().sum(), points)
        gradient = torch.nan_to_num(gradient)  # equal singular values have no gradient; such a point stays
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.95 * square + 0.05 * gradient.square()
        # steps shrink from 2 percent of the width to a tenth of a thousandth: needles of the map are thin
        size = width * 0.02 * (0.005 ** (step / ASCENT_STEPS))
        update = mean / (1 - 0.8**step) / ((square / (1 - 0.95**step)).sqrt() + 1e-12)
        points = domain.project((points + size * update).detach())
    return best_points, best_norms


def _polish(f: Map, domain: Domain, start: Tensor) -> tuple[Tensor, int]:
    """L-BFGS on -log sigma_max of the projected point; returns the point of D and the number of evaluations."""

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        free = torch.as_tensor(flat[None].copy()).requires_grad_()
        inside = domain.project(free)
        at, jacobians = _jacobians(f, inside, differentiable=True)
        norm = torch.linalg.matrix_norm(jacobians, ord=2)[0]
        if not norm.requires_grad or not norm > 0:
            return 0.0, np.zeros_like(flat)
        (slope,) = torch.autograd.grad(norm.log(), at)
        (gradient,) = torch.autograd.grad((inside * slope).sum(), free)
        return -float(norm.detach().log()), -torch.nan_to_num(gradient)[0].numpy()

    result = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-14})
    return domain.project(torch.as_tensor(result.x[None]))[0], int(result.nfev)


def _best_pair(
    f: Map, domain: Domain, point: Tensor, width: float
) -> tuple[float, Tensor, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The largest quotient of pairs about `point` along its most stretched direction."""
    jacobian = _jacobians(f, point[None])[1][0].detach()
    _, singular, right = torch.linalg.svd(jacobian)
    direction = right[0]
    with torch.no_grad():
        size = float(_evaluate(f, point[None]).abs().max())
    best: tuple[float, tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None
    for share in (1.0, 0.1, 1e-2, 1e-3, 1e-4):
        # f moves by `share` of its own size, so that rounding costs about 1e-16 / share of the quotient
        half = min(share * max(size, 1e-3) / max(float(singular[0]), 1e-12), width / 2)
        ends = domain.project(torch.stack((point - half * direction, point + half * direction)))
        if torch.equal(ends[0], ends[1]):
            continue
        pair = (ends[0].numpy(), ends[1].numpy())
        value = quotient(f, pair)
        # a closer pair must gain more than rounding, which grows as the pair shrinks
        if best is None or value > best[0] * (1 + 1e-9):
            best = (value, pair)
    if best is None:
        raise InvalidInput("domain", f"no two points about {point.tolist()}", "a domain with interior", "enlarge it")
    return best[0], direction, best[1]
