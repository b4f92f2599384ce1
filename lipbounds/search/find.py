r"""Found: lower bounds of Lipschitz constants by search, each with a pair of points that anyone can check.

On a convex set $\mathrm{Lip}(f)=\sup\|Df\|_2$, and every pair of points shows a part of it. A map that tears two modes apart is
steep in a thin layer only, which random points miss, and has many local maxima there; so the search looks at many scales
(`lipbounds.search.zoom`), mostly by values of f in large batches, in rounds that start anew (`lipbounds.search.rounds`). It
returns the best pair of all; how often unrelated rounds have come to the same value says how far to trust that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from torch import Tensor

from lipbounds.domains import ConditionalSlice, Domain
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.model import as_model
from lipbounds.progress import Progress, Report, report_to
from lipbounds.search.evaluation import Budget, Evaluation, Places
from lipbounds.search.pairs import Kind, Pair, Witnessed, charged_quotient, inside, kind_of, pair_about, quotient
from lipbounds.search.rounding_noise import rounding_noise
from lipbounds.search.rounds import Given, Rounds, search
from lipbounds.search.singular_values import FullSVD, Quantity, SingularValues, check_map, singular_values_of

__all__ = ["BiLipschitz", "Found", "find_bilipschitz", "find_lipschitz", "jacobian_norms"]

SECONDS = 2.0, 20.0  # of a search by default: at least, at most
ROWS = 400_000  # that the default time reaches for, where it can
LEAST = 200  # evaluations; fewer show nothing
PROBE = 512  # points that tell the size of the domain
NOISY = 4  # of them, at which the rounding of the map is measured
ROUNDINGS = 8  # that rounding_noise charges, as its safety
WITNESSES = 6  # of the best pairs, that are charged for rounding
POLISHED = 2  # places
MOST_ROUNDING = 1e-7  # relative; a map that rounds more than float32 does is found to a tolerance
BOUNDARY_TOLERANCE = 1e-6  # of the domain's width; the projection is exact to a few ulps


@dataclass(frozen=True, eq=False)
class Found(Enclosure):
    """A lower bound of Lip(f; D) with its witness: [lower, infinity). The constant is at least `lower`; no search can say more.

    `lower` is |f(a) - f(b)| / |a - b| of the pair (a, b), less what f may round by at two points: that is measured at neighbours
    (`lipbounds.search.rounding_noise`) and named in `assumptions`; `certify_found` proves the quotient without it.

    Attributes:
        jacobian_norm: Largest singular value of the Jacobian at `point` as torch differentiates (on the span of the domain),
            the limit of such quotients where f is differentiable; at a kink it can be larger than any quotient. NaN where torch
            cannot differentiate f.
        point: The point that the pair lies about, shape (d,).
        direction: The unit vector along which f stretches most there, shape (d,).
        pair: The witness, two points of D, each of shape (d,).
        kind: What f does between them: "smooth", "kink", or "jump" where one tenth of the pair has a third or more of its change.
        on_boundary: Whether `point` lies on the boundary of D; then a larger domain may have a larger constant.
        evaluations: Number of rows at which f was evaluated; with a derivative a row counts twice.
        restarts: The best value of each round, which starts anew and knows nothing of the others.
        reached: Rounds whose own best value is that of the best one, to half a percent. With 1 or 2 of many rounds a larger value
            may well exist.
        unseen: Estimated probability that one more run ends at a place that no run has seen (Good and Turing): the share of
            ends seen once only. Near 1 the search has not begun to know the map.
        history: Largest value seen, whenever it grew.
    """

    jacobian_norm: float = field(kw_only=True)
    point: NDArray[np.float64] = field(kw_only=True)
    direction: NDArray[np.float64] = field(kw_only=True)
    pair: Pair = field(kw_only=True)
    kind: Kind = field(kw_only=True)
    on_boundary: bool = field(kw_only=True)
    evaluations: int = field(kw_only=True)
    restarts: tuple[float, ...] = field(kw_only=True)
    reached: int = field(kw_only=True)
    unseen: float = field(kw_only=True)
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


def find_lipschitz(  # noqa: PLR0913 (a user reads them one by one)
    model: object,
    domain: Domain,
    *,
    context: ArrayLike | None = None,
    seed: int = 0,
    budget: float | None = None,
    evaluations: int | None = None,
    starts: Tensor | None = None,
    segments: Sequence[tuple[Tensor, Tensor]] = (),
    known: Sequence[Found] = (),
    progress: Report | None = None,
) -> Found:
    r"""Search for the largest stretching of a map latent -> data on a convex domain: a lower bound with a witness.

    Nothing is claimed about how far the value lies below the truth: failing to find a larger one proves nothing. `reached` and
    `unseen` of the result say how well rounds agreed.

    Args:
        model: A flow of a known library or of `inn`, whose map is T^{-1}, latent to data; a torch module or any callable on
            batches, (n, d) to (n, m), in float64 on the CPU. Row i of the result depends on row i only. Where torch cannot
            differentiate it, it is searched by its values.
        domain: Convex set of dimension d; a `ConditionalSlice` holds a label, and then points are those of z.
        context: What a conditional flow of a library is conditioned on, a vector.
        seed: Of all random points and steps.
        budget: Seconds. By default 2, and up to 20 for a map that is slow to evaluate; none where `evaluations` is given. A
            search ends before, where its rounds agree.
        evaluations: Rows on which the map may be evaluated; the result then depends on nothing but the arguments.
        starts: Further points to look at, shape (k, d), for example latent images of data.
        segments: Pairs of tensors of shape (k, d); the segments between corresponding rows are followed. Give latent images of
            points of different modes.
        known: What was found before on domains within this one, or about it; pairs that lie in this domain count, so that the
            result is never less on a larger domain.
        progress: Called with the largest quotient whenever it grows.

    Returns:
        The best pair found.

    Raises:
        InvalidInput: If f changes the number of rows, is not finite somewhere, does not return float64, answers the same
            points differently (dropout), or lets rows depend on the batch.

    Example:
        >>> from lipbounds.domains import Ball
        >>> found = find_lipschitz(lambda z: torch.tanh(5.0 * z), Ball([0.0, 0.0], 1.0))
        >>> round(found.lower, 4), found.reached >= 3
        (5.0, True)
    """
    places = _Asked(seed, starts, segments, known)
    search = _Search(as_model(model, context), domain, places, _Effort(budget, evaluations), progress)
    return search.or_known(search.run("largest"))


def find_bilipschitz(  # noqa: PLR0913 (as above)
    model: object,
    domain: Domain,
    *,
    seed: int = 0,
    budget: float | None = None,
    evaluations: int | None = None,
    starts: Tensor | None = None,
    segments: Sequence[tuple[Tensor, Tensor]] = (),
    progress: Report | None = None,
) -> BiLipschitz:
    r"""Search Lip(f; D), the constant of the inverse of f on f(D), and the worst condition number of the Jacobian.

    For a flow, f = T^{-1}: `stretch` is Lip(T^{-1}) on the latent domain, `shrink` Lip(T) on its image.

    Args:
        model: As in `find_lipschitz`, its map f injective, with at least as many outputs as inputs, at most 24 of them.
        domain: Convex set of dimension d.
        seed: Of all random points and steps.
        budget: As in `find_lipschitz`, for each of the three searches.
        evaluations: As in `find_lipschitz`, for each of the three searches.
        starts: As in `find_lipschitz`.
        segments: As in `find_lipschitz`.
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
    places = _Asked(seed, starts, segments, ())
    both = _Search(model, domain, places, _Effort(budget, evaluations), progress)
    worst = both.run("condition")
    condition = Enclosure(worst.jacobian_norm, math.inf, Guarantee.ESTIMATE, "singular values of the Jacobian in floating point")
    return BiLipschitz(both.run("largest"), both.run("smallest"), condition, worst.point)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Where the caller wants the search to look."""

    seed: int
    starts: Tensor | None
    segments: Sequence[tuple[Tensor, Tensor]]
    known: Sequence[Found]


@dataclass(frozen=True)
class _Effort:
    """What the caller grants."""

    seconds: float | None
    evaluations: int | None

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise InvalidInput("budget", self.seconds, "seconds > 0, or None", "2 will do for a map in the plane")
        if self.evaluations is not None and self.evaluations < LEAST:
            raise InvalidInput(
                "evaluations", self.evaluations, f"an integer >= {LEAST}", "100_000 will do for a map in the plane"
            )

    def budget(self, cost: float) -> Budget:
        """The budget, for a map of which a row takes `cost` seconds."""
        seconds = self.seconds
        if seconds is None:
            seconds = math.inf if self.evaluations is not None else min(max(SECONDS[0], ROWS * cost), SECONDS[1])
        return Budget(seconds, math.inf if self.evaluations is None else self.evaluations)


class _Search:
    """One search: the map, the domain and what is given."""

    def __init__(self, model: object, domain: Domain, asked: _Asked, effort: _Effort, progress: Report | None) -> None:
        f = as_model(model).inverse
        if isinstance(domain, ConditionalSlice):
            f, domain = domain.restricted(f), domain.latent
        self._f, self._domain, self._seed, self._report = f, domain, asked.seed, report_to(progress)
        self._probe = domain.project(domain.sample(PROBE, np.random.default_rng(0)))
        begin = time.perf_counter()
        self._outputs, self._unit = check_map(f, self._probe[:64])
        with torch.no_grad():
            self._size = float(f(self._probe[:64]).abs().max())
        # the least: where a map bends, it looks noisy
        noise = min(rounding_noise(f, point, float(self._probe.abs().max())) for point in self._probe[:NOISY])
        self._unit = max(self._unit, noise / (ROUNDINGS * math.sqrt(self._outputs) * max(self._size, 1e-300)))
        self._effort, self._cost = effort, (time.perf_counter() - begin) / 256
        none = self._probe[:0]
        points = none if asked.starts is None else domain.project(asked.starts.to(torch.float64))
        ends = [domain.project(torch.cat([none, *(pair[end].to(torch.float64) for pair in asked.segments)])) for end in (0, 1)]
        self._given = Given(points, ends[0], ends[1])
        self._known = [one for one in asked.known if all(domain.contains(point) for point in one.pair)]

    def run(self, quantity: Quantity) -> Found:
        """Raise one quantity; the value is the quotient of the pair, inverted for the smallest singular value."""
        history = [0.0]

        def improved(value: float) -> None:
            history.append(value)
            self._report(Progress("searching", lower=value))

        values_of = singular_values_of(self._f, self._outputs, self._domain.dim, self._domain.span, quantity)
        evaluation = Evaluation(
            self._f, self._domain, quantity, self._effort.budget(self._cost), self._probe, self._unit, improved
        )
        rounds = search(evaluation, self._given, self._seed)
        places: list[_Place] = []
        for index in range(min(POLISHED, len(rounds.best.points))):
            if not places or not evaluation.late:
                places.append(self._polished(evaluation, values_of, rounds.best.of(torch.tensor([index]))))
        witnessed = [
            (self._charged(evaluation, pair_about(evaluation, place.point, place.direction, place.slope)), place)
            for place in places
        ]
        nearest = places[0]
        for index, (_, a, b) in enumerate(evaluation.pairs[:WITNESSES]):
            # the best one always
            if index and evaluation.late:
                break
            witnessed.append((self._charged(evaluation, (a.numpy(), b.numpy())), nearest))
        return self._found(evaluation, values_of, rounds, witnessed, history)

    def or_known(self, found: Found) -> Found:
        """What was found, or what was known if that is more, with how this search went."""
        for one in self._known:
            if one.lower > found.lower and quotient(self._f, one.pair) >= one.lower:
                found = replace(
                    one,
                    on_boundary=self._on_boundary(torch.as_tensor(one.point)),
                    evaluations=found.evaluations,
                    restarts=found.restarts,
                    reached=found.reached,
                    unseen=found.unseen,
                    history=(*found.history, one.lower),
                )
        return found

    def _on_boundary(self, point: Tensor) -> bool:
        width = float((self._probe - self._probe.mean(0)).abs().max())
        return bool(self._domain.depth(point[None])[0] < BOUNDARY_TOLERANCE * width)

    def _found(
        self,
        evaluation: Evaluation,
        values_of: SingularValues,
        rounds: Rounds,
        witnessed: list[tuple[Witnessed, _Place]],
        history: list[float],
    ) -> Found:
        (lower, noise, pair), place = max(witnessed, key=lambda one: one[0].lower)
        if lower == 0.0 and max(place.value for _, place in witnessed) > 0.0:
            raise InvalidInput(
                "f",
                f"images that differ by no more than their rounding, up to {noise:.3g}",
                "a map that changes by more than its rounding on the domain",
                "evaluate it in float64, centre its output, or enlarge the domain",
            )
        middle = torch.as_tensor(0.5 * (pair[0] + pair[1]))
        if (
            evaluation.quantity != "condition"
            and float(torch.linalg.vector_norm(middle - place.point)) > BOUNDARY_TOLERANCE * evaluation.width
        ):
            # the pair lies elsewhere than the place that was polished
            place = self._place(evaluation, values_of, middle)
        history.append(max(history[-1], lower))
        return Found(
            lower,
            math.inf,
            Guarantee.EXACT,
            "quotient of a pair of points",
            assumptions=(f"the map rounds by at most {noise:.2g} at the pair, as measured at neighbours",),
            jacobian_norm=place.value,
            point=place.point.numpy(),
            direction=place.direction.numpy(),
            pair=pair,
            kind=kind_of(self._f, pair, noise),
            on_boundary=self._on_boundary(place.point),
            evaluations=evaluation.budget.used,
            restarts=rounds.tops,
            reached=rounds.reached,
            unseen=rounds.unseen(evaluation.width),
            history=tuple(history),
        )

    def _charged(self, evaluation: Evaluation, pair: Pair) -> Witnessed:
        """The lower bound that a pair shows after its rounding is charged, once it is proven to lie in the domain."""
        pair = inside(evaluation, pair)
        if np.array_equal(*pair):
            return Witnessed(0.0, 0.0, pair)
        smallest = evaluation.quantity == "smallest"
        lower, noise = charged_quotient(self._f, pair, evaluation.width, inverse=smallest)
        if self._unit > MOST_ROUNDING:
            # found to a tolerance only: neighbours agree where others do not
            apart = float(np.linalg.norm(pair[0] - pair[1]))
            more = 2 * self._unit * self._size * math.sqrt(self._outputs)
            lower = lower / (1 + lower * more / apart) if smallest else max(0.0, lower - more / apart)
            noise += more
        return Witnessed(lower, noise, pair)

    def _polished(self, evaluation: Evaluation, values_of: SingularValues, at: Places) -> _Place:
        """The place raised by L-BFGS where torch can differentiate the map and time is left."""
        start = at.points[0]
        if not evaluation.late:
            with suppress(RuntimeError, NotImplementedError):
                start = self._climbed(evaluation, values_of, start)
        place = self._place(evaluation, values_of, start)
        old = float(at.values[0])
        return place if place.value >= old or math.isnan(place.value) else self._place(evaluation, values_of, at.points[0])

    def _place(self, evaluation: Evaluation, values_of: SingularValues, point: Tensor) -> _Place:
        try:
            value, direction, slope = values_of.direction(point)
        except (RuntimeError, NotImplementedError):
            found = evaluation.steepest(point[None])
            slope = float(found.values[0])
            return _Place(point, math.nan, found.directions[0], 1 / slope if evaluation.quantity == "smallest" else slope)
        return _Place(point, value, direction, slope)

    def _climbed(self, evaluation: Evaluation, values_of: SingularValues, start: Tensor) -> Tensor:
        """L-BFGS on minus the log of the value at the projected point; returns the point of D."""

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            free = torch.as_tensor(flat[None].copy()).requires_grad_()
            within = self._domain.project(free)
            values, slope = values_of.values_and_gradients(within.detach())
            evaluation.budget.used += 2
            if not float(values[0]) > 0:
                return 0.0, np.zeros_like(flat)
            (gradient,) = torch.autograd.grad((within * slope).sum(), free)
            return -float(values[0].log()), -torch.nan_to_num(gradient)[0].numpy()

        result = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-14})
        return self._domain.project(torch.as_tensor(result.x[None]))[0]


@dataclass(frozen=True, eq=False)
class _Place:
    """A point with the value that torch's derivative has there, the direction and |Jv|."""

    point: Tensor
    value: float
    direction: Tensor
    slope: float
