r"""Found: lower bounds of Lipschitz constants by gradient search, each with a pair of points that anyone can check.

On a convex set $\mathrm{Lip}(f)=\sup\|Df\|_2$, so the search climbs on $\log\sigma_{\max}(Df(z))$: a screening of many points,
projected ascent from the best, random steps of shrinking size (a map with kinks has no gradient towards its steepest piece),
an L-BFGS polish, and at last the best finite pair about the point found. The screening matters most: a map that tears two modes
apart is steep in a thin layer only, which random points miss. Segments must cross it: those between latent images of the modes,
and random ones through the domain. Of every segment the quarter with the largest quotient is kept, again and again, which leads
to a jump however thin it is, by values of f alone. A few segments come first and the best place of theirs is polished at once:
on many maps that is the constant already, and all that follows makes sure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from lipbounds.domains import ConditionalSlice, Domain
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.model import as_model
from lipbounds.progress import Progress, Report, report_to
from lipbounds.rounding import gamma
from lipbounds.search.rounding_noise import lengths, rounding_noise
from lipbounds.search.singular_values import FullSVD, Map, Quantity, SingularValues, check_map, evaluate, singular_values_of

__all__ = ["BiLipschitz", "Found", "Map", "charged_quotient", "find_bilipschitz", "find_lipschitz", "jacobian_norms", "quotient"]

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]

STARTS = 24  # points that ascend; half the best of all, half the best of random subsets, for diversity
ASCENT_STEPS = 60  # of projected Adam
SCATTERED = 4  # points that take random steps
SCATTER_ROUNDS = 8  # step sizes, each 0.35 of the one before
SCATTER_CHILDREN = 96  # random steps a point and round, fewer from 16 dimensions on
POLISHED = 3  # points polished by L-BFGS
POINTS_PER_SEGMENT = 33  # screened on each given segment
FOLLOWED = 256  # random segments that are followed to their jumps
FIRST = 16  # of the random ones, and of those given, that are followed before all else
PARTS = 4  # of a segment; the steepest is kept
ROUNDS = 15  # down to 1e-9 of a segment
SHOWN = 7  # rounds whose quotients count as found: down to 6e-5 of a segment
SHARES = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # of the size of f, by which it moves between the points of a pair
NEAR = 1e-4  # pairs of smaller shares count only up to the slope that the derivative promises
ROUNDING = 1e-6  # share of a segment's quotient that rounding of f may change
LARGEST_PULL = 1e-6  # of the way to the middle: no projection is so far off
BOUNDARY_TOLERANCE = 1e-6  # of the domain's width; the projection is exact to a few ulps


@dataclass(frozen=True, eq=False)
class Found(Enclosure):
    """A lower bound of Lip(f; D) with its witness: [lower, infinity).

    `lower` is |f(a) - f(b)| / |a - b| of the pair (a, b), less what f may round by at two points: that is measured at neighbours
    (`lipbounds.search.rounding_noise`) and named in `assumptions`; `certify_found` proves the quotient without it.

    Attributes:
        jacobian_norm: Largest singular value of the Jacobian at `point` as torch differentiates (on the span of the domain),
            the limit of such quotients where f is differentiable; at a kink it can be larger than any quotient.
        point: The point that the pair lies about, a local maximum of the Jacobian's norm, shape (d,).
        direction: Its right singular vector, shape (d,).
        pair: The witness, two points of D, each of shape (d,).
        on_boundary: Whether `point` lies on the boundary of D; then a larger domain may have a larger constant.
        evaluations: Number of points at which the derivative of f was evaluated.
        history: Largest value seen, from the first quotients of segments on, after every stage of the search and every step of
            its ascent.
    """

    jacobian_norm: float = field(kw_only=True)
    point: NDArray[np.float64] = field(kw_only=True)
    direction: NDArray[np.float64] = field(kw_only=True)
    pair: tuple[NDArray[np.float64], NDArray[np.float64]] = field(kw_only=True)
    on_boundary: bool = field(kw_only=True)
    evaluations: int = field(kw_only=True)
    history: tuple[float, ...] = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class BiLipschitz:
    """How strongly a map stretches and shrinks on a domain, and how differently at one point.

    Attributes:
        stretch: Lower bound of Lip(f; D).
        shrink: Lower bound of the constant of the inverse on f(D), for an injective f: |a - b| / |f(a) - f(b)|.
        condition: Lower bound of the largest quotient of extreme singular values of the Jacobian, in floating point; ESTIMATE.
        condition_point: Where, shape (d,).
    """

    stretch: Found
    shrink: Found
    condition: Enclosure
    condition_point: NDArray[np.float64]


def jacobian_norms(model: object, points: Tensor) -> Tensor:
    """Return the spectral norm of the Jacobian of a model's map latent -> data at each row of `points`, shape (n,).

    Example:
        >>> norms = jacobian_norms(lambda z: z * torch.tensor([2.0, 3.0]), torch.zeros(1, 2, dtype=torch.float64))
        >>> round(float(norms[0]), 12)
        3.0
    """
    return FullSVD(as_model(model).inverse).values(points)


def quotient(model: object, pair: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """Return |f(a) - f(b)| / |a - b| for the pair (a, b) and f the map latent -> data, in float64: the check of a witness.

    Example:
        >>> quotient(lambda z: 2.0 * z, (np.array([0.0, 0.0]), np.array([3.0, 4.0])))
        2.0
    """
    f, points = as_model(model).inverse, torch.as_tensor(np.stack(pair))
    if torch.equal(points[0], points[1]):
        raise InvalidInput("pair", pair, "two different points", "a quotient needs a distance")
    moved, apart = _distances(f, points)
    return moved / apart


def charged_quotient(model: object, pair: Pair, scale: float, *, inverse: bool = False) -> tuple[float, float]:
    """Return the quotient of a pair less what the map may round by at it, and that rounding, as measured at neighbours.

    Args:
        model: As in `find_lipschitz`.
        pair: Two different points, each of shape (d,).
        scale: Size of the domain, as for `rounding_noise`.
        inverse: Whether |a - b| / |f(a) - f(b)| is meant.

    Example:
        >>> lower, noise = charged_quotient(lambda z: 2.0 * z, (np.array([0.0, 0.0]), np.array([3.0, 4.0])), 4.0)
        >>> 2.0 - 1e-12 < lower < 2.0, noise < 1e-12
        (True, True)
    """
    f, points = as_model(model).inverse, torch.as_tensor(np.stack(pair))
    # of the pair alone: in a batch f may round differently
    moved, apart = _distances(f, points)
    noise = sum(rounding_noise(f, point, scale) for point in points)
    own = 1 - gamma(len(points[0]) + 16)
    return (apart / (moved + noise) if inverse else max(0.0, moved - noise) / apart) * own, noise


def _distances(f: Map, points: Tensor) -> tuple[float, float]:
    """|f(a) - f(b)| and |a - b| of two rows."""
    with torch.no_grad():
        image = evaluate(f, points)
    moved, apart = lengths(torch.stack((image[0] - image[1],))), lengths(torch.stack((points[0] - points[1],)))
    return float(moved[0]), float(apart[0])


def find_lipschitz(
    model: object,
    domain: Domain,
    *,
    seed: int = 0,
    starts: Tensor | None = None,
    segments: Sequence[tuple[Tensor, Tensor]] = (),
    screening: int = 4096,
    progress: Report | None = None,
) -> Found:
    r"""Search for the largest stretching of a map latent -> data on a convex domain: a lower bound with a witness.

    Nothing is claimed about how far the value lies below the truth: failing to find a larger one proves nothing. Up to 24
    dimensions (of input or output) singular values come from a full SVD; above, power iteration keeps memory linear.

    Args:
        model: A flow of a known library or of `inn`, whose map is T^{-1}, latent to data; a torch module or any callable on
            batches, (n, d) to (n, m), in float64 on the CPU, differentiable almost everywhere by torch. Row i of the result
            depends on row i only.
        domain: Convex set of dimension d; a `ConditionalSlice` holds a label, and then points are those of z.
        seed: Of all random points and steps.
        starts: Further points to screen, shape (k, d), for example latent images of data.
        segments: Pairs of tensors of shape (k, d); the segments between corresponding rows are screened too. Give
            latent images of points of different modes.
        screening: Number of random points screened.
        progress: Called with the largest norm so far after every step.

    Returns:
        The best finite pair found, with the point of largest derivative.

    Raises:
        InvalidInput: If f changes the number of rows, is not finite somewhere, does not return float64, answers the same
            points differently (dropout), or lets rows depend on the batch.

    Example:
        >>> from lipbounds.domains import Ball
        >>> found = find_lipschitz(lambda z: torch.tanh(5.0 * z), Ball([0.0, 0.0], 1.0))
        >>> round(found.lower, 4)
        5.0
    """
    return _Search(model, domain, _Places(seed, starts, segments, screening), progress).run("largest")


def find_bilipschitz(
    model: object,
    domain: Domain,
    *,
    seed: int = 0,
    starts: Tensor | None = None,
    segments: Sequence[tuple[Tensor, Tensor]] = (),
    screening: int = 4096,
    progress: Report | None = None,
) -> BiLipschitz:
    r"""Search Lip(f; D), the constant of the inverse of f on f(D), and the worst condition number of the Jacobian.

    For a flow, f = T^{-1}: `stretch` is Lip(T^{-1}) on the latent domain, `shrink` Lip(T) on its image.

    Args:
        model: As in `find_lipschitz`, its map f injective, with at least as many outputs as inputs, at most 24 of them.
        domain: Convex set of dimension d.
        seed: Of all random points and steps.
        starts: As in `find_lipschitz`.
        segments: As in `find_lipschitz`.
        screening: As in `find_lipschitz`.
        progress: As in `find_lipschitz`.

    Returns:
        Lower bounds with witnesses.

    Raises:
        InvalidInput: As `find_lipschitz`; for more than 24 dimensions; if f maps two points to one.

    Example:
        >>> from lipbounds.domains import Ball
        >>> both = find_bilipschitz(lambda z: z * torch.tensor([4.0, 0.5]), Ball([0.0, 0.0], 1.0))
        >>> round(both.stretch.lower, 6), round(both.shrink.lower, 6), round(both.condition.lower, 6)
        (4.0, 2.0, 8.0)
    """
    search = _Search(model, domain, _Places(seed, starts, segments, screening), progress)
    worst = search.run("condition")
    condition = Enclosure(worst.jacobian_norm, math.inf, Guarantee.ESTIMATE, "singular values of the Jacobian in floating point")
    return BiLipschitz(search.run("largest"), search.run("smallest"), condition, worst.point)


class _Places(NamedTuple):
    """Where a search begins."""

    seed: int
    starts: Tensor | None
    segments: Sequence[tuple[Tensor, Tensor]]
    screening: int


class _Search:
    """One search: the map, the domain and the points that are screened."""

    def __init__(self, model: object, domain: Domain, places: _Places, progress: Report | None) -> None:
        seed, self._given, segments, screening = places
        if screening < STARTS:
            raise InvalidInput("screening", screening, f"an integer >= {STARTS}", "the search starts from the best of these")
        f = as_model(model).inverse
        if isinstance(domain, ConditionalSlice):
            f, domain = domain.restricted(f), domain.latent
        self._f, self._domain, self._seed, self._report = f, domain, seed, report_to(progress)
        self._segments, self._screening = segments, screening
        self._rng = np.random.default_rng(seed)
        random = domain.project(domain.sample(2 * min(FOLLOWED, screening), self._rng))
        self._outputs = check_map(f, random[: min(64, len(random))])
        self._middle = random.mean(0)
        self._steepest = 0.0, self._middle, self._middle
        self._quantity: Quantity = "largest"
        self._width = float((random - self._middle).abs().max())
        kinds = [(random[::2], random[1::2])]
        if segments:
            a, b = (domain.project(torch.cat([pair[end].to(torch.float64) for pair in segments])) for end in (0, 1))
            kinds.append((a, b))
        self._first, self._others = (
            tuple(torch.cat([kind[end][part] for kind in kinds]) for end in (0, 1)) for part in (slice(FIRST), slice(FIRST, None))
        )

    @functools.cached_property
    def _points(self) -> Tensor:
        """What is screened: random points of the domain, those given, and points of the segments given."""
        candidates = [self._domain.sample(self._screening, self._rng)]
        if self._given is not None:
            candidates.append(self._given)
        fractions = torch.linspace(0.0, 1.0, POINTS_PER_SEGMENT, dtype=torch.float64)[:, None, None]
        candidates += [((1 - fractions) * a + fractions * b).reshape(-1, self._domain.dim) for a, b in self._segments]
        return self._domain.project(torch.cat([c.to(torch.float64) for c in candidates]))

    def _followed(self, a: Tensor, b: Tensor) -> Tensor:
        """The places that segments lead to when the steepest part of each is kept; the steepest pair seen is remembered."""
        if not len(a):
            return a
        inner = torch.arange(1, PARTS, dtype=a.dtype)[:, None, None] / PARTS
        rows = torch.arange(len(a))
        with torch.no_grad():
            image_a, image_b = evaluate(self._f, torch.cat((a, b))).chunk(2)
            for step in range(ROUNDS):
                between = a + inner * (b - a)
                image = evaluate(self._f, between.flatten(0, 1)).reshape(PARTS - 1, len(a), -1)
                nodes, images = torch.cat((a[None], between, b[None])), torch.cat((image_a[None], image, image_b[None]))
                jumps = torch.linalg.vector_norm(images.diff(dim=0), dim=2)
                part = jumps.argmax(0)
                a, b, image_a, image_b = nodes[part, rows], nodes[part + 1, rows], images[part, rows], images[part + 1, rows]
                if step < SHOWN:
                    lengths, size = torch.linalg.vector_norm(b - a, dim=1), images.abs().amax((0, 2))
                    # a jump that rounding of f could change by more than its share shows nothing
                    known = (lengths > 0) & (ROUNDING * jumps[part, rows] > 32 * torch.finfo(a.dtype).eps * size)
                    quotients = torch.where(known, jumps[part, rows] / lengths, 0.0)
                    best = int(quotients.argmax())
                    if float(quotients[best]) > self._steepest[0]:
                        self._steepest = float(quotients[best]), a[best], b[best]
                    if self._quantity == "largest":
                        self._record(self._steepest[0])
        return 0.5 * (a + b)

    def run(self, quantity: Quantity) -> Found:
        """Raise one quantity; the value is the quotient of the pair, inverted for the smallest singular value."""
        values_of = singular_values_of(self._f, self._outputs, self._domain.dim, self._domain.span, quantity)
        rng = np.random.default_rng([self._seed, 1])
        self._quantity, self._evaluations, self._history = quantity, 0, [0.0]
        self._steepest = 0.0, self._middle, self._middle

        places = [self._followed(*self._first)]
        sizes = [self._values(values_of, places[0])]
        polished, value, _, _ = self._polished(values_of, places[0][sizes[0].argmax()], float(sizes[0].max()))
        # where segments led to before all other points: there the steepest place mostly is
        places += [polished[None], self._followed(*self._others)]
        sizes += [sizes[0].new_tensor([value]), self._values(values_of, places[-1])]
        points, norms = torch.cat((*places, self._points)), torch.cat((*sizes, self._values(values_of, self._points)))
        order = torch.as_tensor(rng.permutation(len(norms)))
        subsets = [subset[norms[subset].argmax()] for subset in order.tensor_split(STARTS // 2)]
        chosen = torch.unique(torch.cat((norms.topk(min(STARTS // 2, len(norms))).indices, torch.stack(subsets))))

        points, values = self._ascend(values_of, points[chosen])
        points, values = self._scatter(values_of, points, values, rng)
        found = []
        for index in values.topk(min(POLISHED, len(values))).indices:
            point, value, direction, slope = self._polished(values_of, points[index], float(values[index]))
            # of each: at a kink the norm promises more than pairs keep
            found.append((*self._best_pair(point, direction, slope), value, direction, point))
        steepest, a, b = self._steepest
        if quantity == "largest" and steepest > (1 + ROUNDING) * max(one[0] for one in found):
            # a jump, where no derivative shows it
            value = float(values_of.values(0.5 * (a + b)[None])[0])
            found.append((steepest, (a.numpy(), b.numpy()), value, (b - a) / torch.linalg.vector_norm(b - a), 0.5 * (a + b)))
        charged = [(*self._charged(self._inside(pair)), value, direction, point) for _, pair, value, direction, point in found]
        lower, noise, pair, value, direction, point = max(charged, key=lambda one: one[0])
        if lower == 0.0 and max(one[3] for one in charged) > 0.0:
            raise InvalidInput(
                "f",
                f"images that differ by no more than their rounding, up to {noise:.3g}",
                "a map that changes by more than its rounding on the domain",
                "evaluate it in float64, centre its output, or enlarge the domain",
            )
        return Found(
            lower,
            math.inf,
            Guarantee.EXACT,
            "quotient of a pair of points",
            assumptions=(f"the map rounds by at most {noise:.2g} at the pair, as measured at neighbours",),
            jacobian_norm=value,
            point=point.numpy(),
            direction=direction.numpy(),
            pair=pair,
            on_boundary=bool(self._domain.depth(point[None])[0] < BOUNDARY_TOLERANCE * self._width),
            evaluations=self._evaluations,
            history=tuple(self._history),
        )

    def _inside(self, pair: Pair) -> Pair:
        """The pair, moved towards the middle by as many roundings as it takes to be proven in the domain."""
        middle, moved = self._middle.numpy(), []
        for point in pair:
            share = 2.0**-52
            inside = point
            while not self._domain.contains(inside) and share < LARGEST_PULL:
                inside, share = point + share * (middle - point), 4 * share
            moved.append(inside)
        return moved[0], moved[1]

    def _charged(self, pair: Pair) -> tuple[float, float, Pair]:
        """The lower bound that a pair shows after its rounding is charged, that rounding, and the pair."""
        lower, noise = charged_quotient(self._f, pair, self._width, inverse=self._quantity == "smallest")
        return lower, noise, pair

    def _values(self, values_of: SingularValues, points: Tensor) -> Tensor:
        if not len(points):
            return points.new_zeros(0)
        norms = values_of.values(points)
        self._evaluations += len(points)
        self._record(float(norms.max()))
        return norms

    def _polished(self, values_of: SingularValues, point: Tensor, value: float) -> tuple[Tensor, float, Tensor, float]:
        """Polish a point; returns the better of both with value, direction and slope there."""
        polished, count = self._polish(values_of, point)
        self._evaluations += count
        found, direction, slope = values_of.direction(polished)
        if found < value:
            polished = point
            found, direction, slope = values_of.direction(polished)
        self._record(found)
        return polished, found, direction, slope

    def _record(self, value: float) -> None:
        self._history.append(max(self._history[-1], value))
        self._report(Progress("searching", lower=self._history[-1]))

    def _ascend(self, values_of: SingularValues, points: Tensor) -> tuple[Tensor, Tensor]:
        """Projected Adam on the log of the value from every row; returns the best point of each path and its value."""
        best_points = points.clone()
        best_values = torch.full((len(points),), -1.0, dtype=points.dtype)
        mean, square = torch.zeros_like(points), torch.zeros_like(points)
        for step in range(1, ASCENT_STEPS + 1):
            values, gradient = values_of.values_and_gradients(points)
            self._evaluations += len(points)
            better = values > best_values
            best_points[better], best_values[better] = points[better], values[better]
            self._record(float(best_values.max()))
            if not bool(gradient.any()):
                break  # constant or linear, or flat between kinks: no direction of ascent
            mean = 0.8 * mean + 0.2 * gradient
            square = 0.95 * square + 0.05 * gradient.square()
            # steps shrink from 2 percent of the width to a tenth of a thousandth: needles of the map are thin
            size = self._width * 0.02 * (0.005 ** (step / ASCENT_STEPS))
            update = mean / (1 - 0.8**step) / ((square / (1 - 0.95**step)).sqrt() + 1e-12)
            points = self._domain.project((points + size * update).detach())
        return best_points, best_values

    def _scatter(
        self, values_of: SingularValues, points: Tensor, values: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random steps of shrinking size from the best points; each keeps its best."""
        kept = values.topk(min(SCATTERED, len(values))).indices
        points, values = points[kept], values[kept]
        children = max(8, SCATTER_CHILDREN // max(1, self._domain.dim // 8))
        size = 0.05 * self._width
        for _ in range(SCATTER_ROUNDS):
            steps = torch.as_tensor(rng.standard_normal((len(points), children, self._domain.dim))) * size
            moved = self._domain.project((points[:, None] + steps).reshape(-1, self._domain.dim))
            found = values_of.values(moved).reshape(len(points), children)
            self._evaluations += len(moved)
            best = found.max(1)
            better = best.values > values
            moved = moved.reshape(len(points), children, -1)[torch.arange(len(points)), best.indices]
            points, values = torch.where(better[:, None], moved, points), torch.where(better, best.values, values)
            self._record(float(values.max()))
            size *= 0.35
        return points, values

    def _polish(self, values_of: SingularValues, start: Tensor) -> tuple[Tensor, int]:
        """L-BFGS on minus the log of the value at the projected point; returns the point of D and the number of evaluations."""

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            free = torch.as_tensor(flat[None].copy()).requires_grad_()
            inside = self._domain.project(free)
            values, slope = values_of.values_and_gradients(inside.detach())
            if not float(values[0]) > 0:
                return 0.0, np.zeros_like(flat)
            (gradient,) = torch.autograd.grad((inside * slope).sum(), free)
            return -float(values[0].log()), -torch.nan_to_num(gradient)[0].numpy()

        result = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-14})
        return self._domain.project(torch.as_tensor(result.x[None]))[0], int(result.nfev)

    def _best_pair(self, point: Tensor, direction: Tensor, slope: float) -> tuple[float, Pair]:
        """The largest quotient of pairs about `point` along its most stretched direction, or its most shrunk one."""
        inverse = self._quantity == "smallest"
        tiny = torch.finfo(point.dtype).tiny
        inwards = self._middle - point
        inwards = inwards / torch.linalg.vector_norm(inwards).clamp_min(tiny)
        with torch.no_grad():
            size = float(evaluate(self._f, point[None]).abs().max())
            # f moves by `share` of its own size, so that rounding costs about 1e-16 / share of the quotient
            shares = torch.tensor(SHARES, dtype=point.dtype)
            halves = (shares * max(size, 1e-3) / max(slope, 1e-12)).minimum(shares * self._width / 2)
            # farther apart, too, so that a noisy map has a pair whose images move by more than its noise
            halves = torch.cat((halves, torch.tensor([0.5 * self._width], dtype=point.dtype)))[:, None]
            # at the boundary a pair about the point is bent by the projection: one a little inside keeps its direction
            middles = torch.stack((point.expand(len(halves), -1), point + 2 * halves * inwards), 1)
            steps = (halves * direction)[:, None]
            ends = self._domain.project(torch.stack((middles - steps, middles + steps)).flatten(0, 2))
            ends, images = (rows.reshape(2, -1, rows.shape[1]) for rows in (ends, evaluate(self._f, ends)))
            apart, moved = lengths(ends[1] - ends[0]), lengths(images[1] - images[0])
        places = (point, ends[0, 0], ends[1, 0])
        noise = 2 * max(rounding_noise(self._f, place, self._width) for place in places)
        best: tuple[float, int] | None = None
        promised = 1.0 / slope if inverse and slope > 0 else slope
        for i in torch.nonzero(apart > 0)[:, 0].tolist():
            if inverse and float(moved[i]) == 0.0:
                raise InvalidInput(
                    "f", f"one image of two points, {tuple(ends[:, i].tolist())}", "an injective map", "search the largest alone"
                )
            charged = float(moved[i]) + noise if inverse else max(0.0, float(moved[i]) - noise)
            found = float(apart[i]) / charged if inverse else charged / float(apart[i])
            # pairs nearer still are for boundaries and narrow pieces of f; above the derivative they show rounding only
            near = SHARES[min(i // 2, len(SHARES) - 1)] < NEAR and i // 2 < len(SHARES)
            if best is None or (found > best[0] and not (near and found > promised)):
                best = found, i
        if best is None and float(apart.max()) > 0:
            best = 0.0, int(apart.argmax())
        if best is None:
            raise InvalidInput("domain", f"no two points about {point.tolist()}", "a domain with interior", "enlarge it")
        return best[0], (ends[0, best[1]].numpy(), ends[1, best[1]].numpy())
