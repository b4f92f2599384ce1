"""The whole sandwich for a user's own generator and data: how strongly must, does and can it stretch, and what would help.

Everything is measured on a latent ball of stated mass, and every number says what stands behind it.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lipbounds.diagnosis.generated import (
    FEWEST,
    accuracy_and_floor,
    black_box,
    check_direction,
    generate,
    latent_domain,
    latent_law,
    search_starts,
)
from lipbounds.diagnosis.latent_choices import latent_choices
from lipbounds.diagnosis.latent_plane import LatentPlane, latent_plane
from lipbounds.diagnosis.measure import Search, inversion_error, measure
from lipbounds.diagnosis.modes import Modes, find_modes
from lipbounds.diagnosis.result import Diagnosis, InversionErrors
from lipbounds.distances import wasserstein_1_line
from lipbounds.distances.inputs import as_discrete
from lipbounds.domains import Ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, LipboundsError, NotConverged
from lipbounds.maps.model import Model, as_model
from lipbounds.measures import Discrete, GaussianMixture
from lipbounds.progress import Progress, Report, report_to
from lipbounds.search import BiLipschitz, Found, InversionError, Steepness, find_bilipschitz, steepness
from lipbounds.search.singular_values import LARGEST_FULL, evaluate
from lipbounds.theorems.from_data import Forced, forced_lipschitz
from lipbounds.theorems.frontier import forced_by_frontier
from lipbounds.theorems.separation import least_stretch

__all__ = ["diagnose"]

Array = NDArray[np.float64]

FRONTIER_POINTS = 4_000
SHARES = (1.0, 0.2, 0.04)  # of the accuracy in space, at which statistics are chosen: along one it is smaller
TOLERATED = 0.02  # of the spread of the data: an accuracy beyond it makes no demands on a latent
CERTIFIABLE = 8  # dimensions in which branch and bound is tried
EVALUATIONS, SEARCH_SECONDS = 100_000, 6.0  # of each search, at most
AGAIN = 40_000  # evaluations of the search that begins at what was found before
STEEP = 64  # points of the plane where it begins, too
DRAWS, DRAWING_SECONDS = 10_000, 3.0  # of the latent law, for quantiles of the norm; fewer where they take longer
RATIO = 1.01  # of a certificate


def diagnose(  # noqa: PLR0913 (a user reads them one by one)
    model: object,
    *,
    data: ArrayLike,
    context: ArrayLike | None = None,
    latent: GaussianMixture | int | None = None,
    epsilon: float | None = None,
    seed: int = 0,
    seconds: float = 60.0,
    progress: Report | None = None,
) -> Diagnosis:
    """Measure a generator against its data: accuracy, modes, forced, found, black-box and certified constants, remedies.

    Args:
        model: A flow of zuko, FrEIA, normflows, nflows or `inn`, or any callable on batches, latent to data.
        data: Samples of the target, shape (N, d), N >= 200.
        context: What a conditional flow of a library is conditioned on, a vector; the data are those at this context.
        latent: Latent law with isotropic components of one deviation, or the dimension of a standard normal one; that of the
            data by default.
        epsilon: Accuracy W_1 at which latents are compared; by default that measured along the steepest statistic, at most 2
            percent of the spread of the data.
        seed: Of everything random.
        seconds: Most time for the certificate.
        progress: Called before each stage, with its expected time in words where it is long, and as the certificate proceeds.

    Returns:
        The diagnosis; `lipbounds.diagnosis.report.write_report` makes a page of it.

    Raises:
        InvalidInput: For data that are no finite sample, a model that does not map latent points to points like the data, or one
            that maps data to latent.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = np.sign(rng.standard_normal((1000, 1))) + 0.2 * rng.standard_normal((1000, 1))
        >>> found = diagnose(lambda z: torch.tanh(5 * z) + 0.1 * z, data=x, seconds=1.0)
        >>> len(found.modes.means), 5.0 < found.found.lower < 5.2, found.forced.lower < found.found.lower
        (2, True, True)
    """
    report = report_to(progress)
    x = as_discrete("data", data, None).points
    if len(x) < FEWEST:
        raise InvalidInput("data", f"{len(x)} points", f"at least {FEWEST}", "pass more samples")
    if epsilon is not None and not 0.0 < epsilon < math.inf:
        raise InvalidInput("epsilon", epsilon, "a finite number > 0", "pass the accuracy W_1 asked for")
    generator, law = as_model(model, context), latent_law(latent, x.shape[1])
    domain, rng = latent_domain(law), np.random.default_rng([seed, 20251])

    report(Progress("generating points"))
    generated, component = generate(generator, law, rng, x.shape[1])
    check_direction(generator, x, generated, law, rng)
    accuracy, floor = accuracy_and_floor(x, generated, rng)
    report(Progress("looking for modes"))
    modes = find_modes(x, rng)
    starts, segments = search_starts(generator, x, modes, rng)
    search = Search(seed, None if starts is None else domain.project(starts), segments, EVALUATIONS, SEARCH_SECONDS)
    report(Progress("searching the constant of T^-1, a few seconds for small networks"))
    both = _bilipschitz(generator, domain, x.shape[1], search)
    blind = black_box(generated, component, law, seed)
    report(Progress("what any generator must pay"))
    forced = _Forced(_nothing("mixture latent")) if len(law.means) > 1 else _forced(x, generated, accuracy, seed)
    if generator.layers is not None and domain.dim <= CERTIFIABLE:
        hope = f"up to {seconds:.0f} s and 1 GB; in {domain.dim} dimensions {_hope(domain.dim)}"
        report(Progress(f"certifying: {hope}"))
    first = search.of(generator.inverse, domain) if both is None else both.stretch
    plane, common = _norms(generator, law, domain, first, seed)
    # what the page shows is searched, so that it never exceeds the constant beside it
    steep = (
        search.starts if plane is None else torch.cat((plane.best(STEEP), *([] if search.starts is None else [search.starts])))
    )
    search = replace(search, starts=steep, known=(first,), evaluations=AGAIN)
    constants = measure(generator, [domain], search=search, seconds=seconds, ratio=RATIO, threads=None, progress=progress)
    report(Progress("errors of inversion"))
    inversion = InversionErrors(*(_inversion(generator, domain, seed, dtype) for dtype in (torch.float32, torch.float64)))
    report(Progress("which latent would do better"))
    spread = math.sqrt(float(((x - x.mean(0)) ** 2).sum(1).mean()))
    at = accuracy.upper if forced.accuracy is None else forced.accuracy.upper
    asked = min(max(at, 1e-3 * spread), TOLERATED * spread) if epsilon is None else epsilon
    outside = modes.outside(generated)
    return Diagnosis(
        source=generator.source,
        latent=law,
        domain=domain,
        accuracy=accuracy,
        floor=floor,
        line_accuracy=forced.accuracy,
        modes=modes,
        generated_shares=np.bincount(modes.nearest(generated)[~outside], minlength=len(modes.means)) / len(generated),
        between=float(outside.mean()),
        between_data=float(modes.outside(x).mean()),
        forced=forced.bound,
        forced_witness=forced.witness,
        found=constants.found,
        plane=plane,
        steepness=common,
        both=both,
        black_box=blind,
        certified=next(iter(constants.certificates), None),
        torn_pair=_torn_pair(generator, constants.found, modes, domain),
        forcing_pair=None if forced.witness is None else _separated_pair(forced.witness, modes, x),
        inversion=inversion,
        latents=latent_choices(x, asked, seed, modes),
        generated=generated,
        data=x,
        generator=generator,
    )


def _bilipschitz(generator: Model, domain: Ball, dim: int, search: Search) -> BiLipschitz | None:
    """Both constants, where T^-1 has as many outputs as inputs and they are few."""
    if domain.dim != dim or dim > LARGEST_FULL:
        return None
    try:
        return find_bilipschitz(
            generator.inverse,
            domain,
            seed=search.seed,
            budget=search.budget,
            evaluations=search.evaluations,
            starts=search.starts,
            segments=search.segments,
        )
    except InvalidInput:  # two points with one image: T^-1 is not injective, and Lip(T) means nothing
        return None


def _norms(
    generator: Model, law: GaussianMixture, domain: Ball, found: Found, seed: int
) -> tuple[LatentPlane | None, Steepness | None]:
    """Norms of the Jacobian on a plane and under the latent law, where torch can differentiate the map; none where it cannot."""
    try:
        plane = latent_plane(generator.inverse, domain, torch.as_tensor(found.point))
        begin = time.perf_counter()
        steepness(generator, law, draws=FEWEST, seed=seed)
        each = (time.perf_counter() - begin) / FEWEST
        draws = max(FEWEST, min(DRAWS, int(DRAWING_SECONDS / each)))
        return plane, steepness(generator, law, draws=draws, seed=seed)
    except (RuntimeError, NotImplementedError):
        return None, None


@dataclass(frozen=True, eq=False)
class _Forced:
    """What is forced, by which statistic, and the accuracy along it."""

    bound: Enclosure
    witness: Forced | None = None
    accuracy: Enclosure | None = None


def _nothing(why: str) -> Enclosure:
    return Enclosure(0.0, math.inf, Guarantee.ESTIMATE, why)


def _forced(x: Array, generated: Array, accuracy: Enclosure, seed: int) -> _Forced:
    """S4 at the accuracy along the statistic itself, which a sample knows far better than W_1 in space."""
    best = _Forced(_nothing("no statistic separates the data"))
    for share in SHARES:
        tried = forced_lipschitz(x, share * accuracy.upper, alpha=None, seed=seed)
        values, images = tried.statistic(x), tried.statistic(generated)
        error = wasserstein_1_line(Discrete(images[:, None]), Discrete(values[:, None])).upper
        line = Enclosure(0.0, error, Guarantee.ESTIMATE, f"plug-in along the {tried.statistic}")
        bounds = []
        if tried.thresholds is not None and tried.masses is not None:
            bounds.append(least_stretch(tried.thresholds[1] - tried.thresholds[0], tried.masses, error).lower)
        some = (
            values
            if len(values) <= FRONTIER_POINTS
            else np.quantile(values, (np.arange(FRONTIER_POINTS) + 0.5) / FRONTIER_POINTS)
        )
        if error > 0:
            with suppress(NotConverged):  # two sets remain
                bounds.append(forced_by_frontier(Discrete(some[:, None]), line).lower)
        bound = max(bounds, default=0.0)
        if bound > best.bound.lower:
            words = f"S4 at the measured accuracy, {tried.statistic}"
            best = _Forced(Enclosure(bound, math.inf, Guarantee.ESTIMATE, words), tried, line)
    return best


def _separated_pair(forced: Forced, modes: Modes, x: Array) -> tuple[int, int] | None:
    """The modes that prevail on both sides of the statistic's gap."""
    values, labels = forced.statistic(x), modes.nearest(x)
    low, high = forced.thresholds or (float(np.quantile(values, 0.4)), float(np.quantile(values, 0.6)))
    sides = [np.bincount(labels[side], minlength=len(modes.means)) for side in (values <= low, values >= high)]
    first, second = (int(side.argmax()) for side in sides)
    return None if first == second else (first, second)


def _torn_pair(generator: Model, found: Found, modes: Modes, domain: Ball) -> tuple[int, int] | None:
    """The modes that a walk from the found point reaches in both directions of its stretching."""
    if len(modes.means) < 2:
        return None
    steps = torch.linspace(0.0, 1.0, 65, dtype=torch.float64)[1:, None] * domain.radius
    point, direction = torch.as_tensor(found.point), torch.as_tensor(found.direction)
    reached = []
    for sign in (-1.0, 1.0):
        with torch.no_grad():
            images = evaluate(generator.inverse, domain.project(point + sign * steps * direction)).numpy()
        near = ~modes.outside(images)
        if not near.any():
            return None
        reached.append(int(modes.nearest(images[near][:1])[0]))
    return None if reached[0] == reached[1] else (reached[0], reached[1])


def _hope(dim: int) -> str:
    return "a few seconds for small networks" if dim == 2 else "mostly all of it" if dim > 3 else "often less"


def _inversion(generator: Model, domain: Ball, seed: int, dtype: torch.dtype) -> InversionError | str:
    if generator.in_precision is None:
        return "unavailable, no inverse of the generator"
    try:
        return inversion_error(generator, [domain], dtype, seed=seed)
    except LipboundsError as error:
        return str(error)
