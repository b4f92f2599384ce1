r"""Everything known about one trained network on two modes: its accuracy, and forced <= found <= Lip(T^{-1}; D) <= certified.

The data are $X=(X_\sigma,N(0,1))$ of Example 1 in the plane, the separating statistic is the first coordinate, which is
1-Lipschitz, and the sets are the half-spaces $Q=\{x_1\le-t\}$, $R=\{x_1\ge t\}$. The latent domain D is the ball of given mass;
for a mixture latent that of each component. Bounds that hold for a Gaussian latent only are NaN on mixture rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.spatial import cKDTree
from torch import Tensor

from inn import Invertible, Latent
from lipbounds.diagnosis import Measurement, Search, inversion_error, measure
from lipbounds.distances import clopper_pearson, wasserstein, wasserstein_1_line, wasserstein_1_upper
from lipbounds.domains import Ball, Box
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.maps.model import as_model
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.search import lipschitz_from_components
from lipbounds.theorems import (
    Corollary1,
    Masses,
    Proposition1,
    SeparatedSets,
    exact_lipschitz,
    forced_as_printed,
    forced_by_frontier,
    forced_by_two_sets,
    forced_in_latent_space,
    restricted,
    two_modes,
    two_modes_in_plane,
)
from lipbounds.theorems.proposition_1 import LARGEST

__all__ = ["LATENT_MASS", "Effort", "bracket", "data_box", "measured"]

Array = NDArray[np.float64]

LATENT_MASS = 0.9999
ALPHA = 0.05  # shared by all confidence bounds of a row
ACCURATE_EPSILON = 0.02
ACCURATE_LATENT_RATIO = 1.5
WIDEST = 1.0  # largest t tried: beyond the modes' centres the masses of the half-spaces fall below 1/4
CHUNK = 16384
DATA_DEVIATIONS = 4.0  # of every mode, in the box on which Lip(T) is searched
GAUSSIAN_ONLY = (
    "the latent is a mixture: frontier, two-set, sharp, printed and exact bounds, Proposition 1 and Corollary 1 assume N(0, I)"
)


@dataclass(frozen=True)
class Effort:
    """How much is spent on a row.

    Attributes:
        accuracy: Points that measure epsilon.
        transport: Points of the plug-in W_1 in latent space.
        selection: Independent points that choose the thresholds of the black-box bound, for all components together.
        evaluation: Independent points that evaluate it.
        search: Evaluations of the map for each search.
        certificate: Seconds for the certificate of each component's ball; 0 for none.
    """

    accuracy: int = 20_000
    transport: int = 2_000
    selection: int = 40_000
    evaluation: int = 120_000
    search: int = 200_000
    certificate: float = 20.0


def data_box(sigma: float) -> Box:
    """The smallest box that holds 4 deviations of either mode."""
    reach = [1.0 + DATA_DEVIATIONS * sigma, DATA_DEVIATIONS]
    return Box([-side for side in reach], reach)


@dataclass(frozen=True, eq=False)
class _Row:
    """A network in double precision, what it was trained on, and how much is spent on it."""

    flow: Invertible
    latent: Latent
    sigma: float
    effort: Effort

    @cached_property
    def balls(self) -> list[Ball]:
        return self.latent.balls(LATENT_MASS)

    @cached_property
    def law(self) -> GaussianMixture:
        """Of the data."""
        return two_modes_in_plane(self.sigma)

    @cached_property
    def line(self) -> GaussianMixture:
        """Of the separating statistic."""
        return two_modes(self.sigma)

    def gap(self, t: float) -> Enclosure:
        """The mass between the half-spaces at distance t from 0."""
        return self.line.slab_mass([1.0], -t, t)

    def inside(self, image: Array) -> NDArray[np.bool_]:
        """Whether latent points lie in a ball."""
        depths = torch.stack([ball.depth(torch.as_tensor(image)) for ball in self.balls])
        return np.asarray((depths.amax(0) >= 0).numpy())


def bracket(flow: Invertible, latent: Latent, sigma: float, *, seed: int, effort: Effort) -> dict[str, Any]:
    """Measure one network; the keys are the columns of the results.

    Args:
        flow: T, data to latent, in float32.
        latent: The latent law it was trained for.
        sigma: Width of the modes.
        seed: Seeds everything that is drawn here.
        effort: Sizes.
    """
    row = _Row(copy.deepcopy(flow).double().requires_grad_(False), latent, sigma, effort)
    seeds = iter(int(s) for s in np.random.SeedSequence(seed).generate_state(16))
    accuracy = _accuracy(row, [next(seeds) for _ in range(4)])
    samples = _component_samples(row, np.random.default_rng(next(seeds)))
    found = measured(row.flow, latent, sigma, seed=next(seeds), effort=effort)
    bounds = _bounds(row, samples, accuracy, found, next(seeds))
    inversion = {
        f"inversion_error_{str(dtype).removeprefix('torch.')}": inversion_error(as_model(flow), row.balls, dtype, seed=own).lower
        for dtype, own in ((torch.float32, next(seeds)), (torch.float64, next(seeds)))
    }
    return accuracy | _constants(found) | bounds | inversion


def measured(flow: Invertible, latent: Latent, sigma: float, *, seed: int, effort: Effort) -> Measurement:
    """Search every ball and the hull, from data, and between the latent images of the two modes; bound the balls."""
    x = torch.as_tensor(two_modes_in_plane(sigma).sample_quasi(512, seed))
    with torch.no_grad():
        z = flow.forward(x)
    left, right = z[x[:, 0] < 0], z[x[:, 0] >= 0]
    count = min(len(left), len(right))
    balls = latent.balls(LATENT_MASS)
    return measure(
        flow,
        balls,
        hulls=() if len(balls) == 1 else [latent.hull(LATENT_MASS)],
        data=data_box(sigma),
        data_starts=x,
        search=Search(seed, z, [(left[:count], right[:count])], effort.search),
        seconds=effort.certificate,
    )


def _constants(found: Measurement) -> dict[str, Any]:
    assert found.forward is not None
    return {
        "lip_found": found.found.lower,
        "lip_found_hull": found.hull.lower,
        "lip_certified": found.certified,
        "lip_forward_found": found.forward.lower,
        "jacobian_norm": found.found.jacobian_norm,
        "witness_component": found.component,
        "witness_a": found.found.pair[0].tolist(),
        "witness_b": found.found.pair[1].tolist(),
        "on_boundary": found.found.on_boundary,
        "evaluations": found.found.evaluations,
    }


def _batched(function: Callable[[Tensor], Tensor], points: Array) -> Array:
    with torch.no_grad():
        return torch.cat([function(chunk) for chunk in torch.split(torch.as_tensor(points), CHUNK)]).numpy()


def _first(points: Array) -> Discrete:
    return Discrete(points[:, :1])


def _accuracy(row: _Row, seeds: list[int]) -> dict[str, Any]:
    """How well the network's law fits: W_1 of the separating statistic in data space, W_1 in latent space."""
    flow, latent, count = row.flow, row.latent, row.effort.accuracy
    quasi = latent.measure.sample_quasi(count, seeds[0])
    epsilon = wasserstein_1_line(_first(_batched(flow.inverse, quasi)), row.line).upper

    rng = np.random.default_rng(seeds[1])
    generated = _first(_batched(flow.inverse, latent.measure.sample(count, rng)))
    data, more = (_first(row.law.sample(count, rng)) for _ in range(2))

    n = row.effort.transport
    image = Discrete(_batched(flow.forward, row.law.sample_quasi(n, seeds[2])))
    one, two = (Discrete(latent.measure.sample_quasi(n, seed)) for seed in (seeds[2] + 1, seeds[2] + 2))
    latent_w1, floor = wasserstein(image, one).upper, wasserstein(one, two).upper
    normal_w1 = (
        latent_w1
        if latent.is_standard_normal
        else wasserstein(image, Discrete(standard_normal(2).sample_quasi(n, seeds[3]))).upper
    )
    return {
        "epsilon": epsilon,
        "epsilon_guarantee": "ESTIMATE: quasi-random generated points against the exact law",
        "epsilon_iid": wasserstein_1_line(generated, data).upper,
        "epsilon_iid_floor": wasserstein_1_line(data, more).upper,
        "latent_w1": latent_w1,
        "latent_w1_floor": floor,
        "latent_w1_to_normal": normal_w1,
        "accurate": epsilon <= ACCURATE_EPSILON and latent_w1 <= ACCURATE_LATENT_RATIO * floor,
    }


def _component_samples(row: _Row, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """For every component the statistic of f(proj_D(Z)), Z from it: a selection and an evaluation sample."""
    pairs = []
    for index, ball in enumerate(row.balls):
        sizes = [row.effort.selection // len(row.balls), row.effort.evaluation // len(row.balls)]
        z = torch.as_tensor(row.latent.measure.sample_component(index, sum(sizes), rng))
        values = _batched(row.flow.inverse, ball.project(z).numpy())[:, 0]
        pairs.append((values[: sizes[0]], values[sizes[0] :]))
    return pairs


def _bounds(
    row: _Row, samples: list[tuple[Array, Array]], accuracy: dict[str, Any], found: Measurement, seed: int
) -> dict[str, Any]:
    """All lower bounds of Lip(T^{-1}; D), and what they say together with the constant found."""
    # black-box bound and kappa; a Gaussian row has a third confidence bound, of epsilon
    share = ALPHA / (3 if row.latent.is_standard_normal else 2)
    blackbox = lipschitz_from_components(samples, alpha=share, scales=row.latent.scale).lower
    image = _batched(row.flow.forward, row.law.sample(row.effort.accuracy, np.random.default_rng(seed)))
    outside = int((~row.inside(image)).sum())
    kappa = Enclosure(
        0.0, float(clopper_pearson(outside, len(image), alpha=share)[1]), Guarantee.CONFIDENCE, "Clopper-Pearson", share
    )
    columns: dict[str, Any] = {
        "alpha": ALPHA,
        "lip_blackbox": blackbox,
        "kappa": outside / len(image),
        "kappa_upper": kappa.upper,
    }
    empty = ["epsilon_domain", "epsilon_upper", "lip_exact", "lip_forced_frontier", "lip_forced_frontier_confident"]
    empty += (f"{kind}_{name}" for name in ("data", "sharp", "printed") for kind in ("lip_forced", "offset", "delta"))
    columns |= dict.fromkeys(empty, math.nan)
    columns["not_applicable"] = GAUSSIAN_ONLY
    offset = 0.5
    if row.latent.is_standard_normal:
        bounds = _gaussian_bounds(row, samples[0][1], accuracy, kappa, seed)
        columns |= bounds
        missing = [name for name in ("sharp", "printed") if math.isnan(bounds[f"lip_forced_{name}"])]
        columns["not_applicable"] = f"kappa up to {kappa.upper:.3g} leaves no sets for: {', '.join(missing)}" if missing else ""
        offset = offset if "printed" in missing else bounds["offset_printed"]
    columns |= _verdicts(row, offset, kappa, accuracy, found, seed)
    lower = [blackbox] + [columns[name] for name in empty if name.startswith("lip_forced") and not math.isnan(columns[name])]
    # a bound above the constant found means a failed search, or an epsilon that was estimated too small
    columns["sandwich"] = "CONFIRMED" if max(lower) <= found.found.lower else "UNDECIDED"
    return columns


def _gaussian_bounds(row: _Row, evaluation: Array, accuracy: dict[str, Any], kappa: Enclosure, seed: int) -> dict[str, Any]:
    """The bounds that assume a standard normal latent."""
    line, gap, alpha = row.line, row.gap, kappa.alpha
    assert alpha is not None
    quasi = row.balls[0].project(torch.as_tensor(standard_normal(2).sample_quasi(row.effort.accuracy, seed))).numpy()
    epsilon = wasserstein_1_line(_first(_batched(row.flow.inverse, quasi)), line).upper
    measured = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "quasi-random points of f o proj_D against the exact law")
    drawn = Discrete(evaluation[:, None])
    # the Dvoretzky-Kiefer-Wolfowitz band holds for all thresholds at once, so the bounds for all clips share one event
    confident = wasserstein_1_upper(drawn, line, clip=1.0, alpha=alpha)
    latent_epsilon = Enclosure(0.0, accuracy["latent_w1"], Guarantee.ESTIMATE, "plug-in")

    def sharp(t: float) -> float:
        return forced_in_latent_space(2 * t, Masses.equal(gap(t)).shrunk(kappa.upper), latent_epsilon).lower

    def data(t: float) -> float:
        return forced_by_two_sets(2 * t, Masses.equal(gap(t)), wasserstein_1_upper(drawn, line, clip=t, alpha=alpha)).lower

    def printed(t: float) -> float:
        return forced_as_printed(2, 2 * t, gap(t).upper + 2 * kappa.upper, latent_epsilon).lower

    # S7 takes kappa from both masses; the printed statements want delta and epsilon below 1/4
    sharp_limit = _widest(row, 0.999 - 2 * kappa.upper)
    printed_limit = _widest(row, 0.999 * LARGEST - 2 * kappa.upper) if latent_epsilon.upper < LARGEST else 0.0
    return {
        "epsilon_domain": epsilon,
        "epsilon_upper": confident.upper,
        "lip_exact": exact_lipschitz(row.sigma),
        "lip_forced_frontier": forced_by_frontier(line, measured).lower,
        "lip_forced_frontier_confident": forced_by_frontier(line, confident, clip=1.0).lower,
        **_best(row, data, "data", WIDEST),
        **_best(row, sharp, "sharp", sharp_limit),
        **_best(row, printed, "printed", printed_limit),
    }


def _widest(row: _Row, room: float) -> float:
    """The largest t whose gap leaves room; 0 if none does."""
    if row.gap(WIDEST).upper < room:
        return WIDEST
    return float(brentq(lambda t: row.gap(t).upper - room, 0.0, WIDEST)) if room > 0 else 0.0


def _best(row: _Row, bound: Callable[[float], float], name: str, limit: float) -> dict[str, Any]:
    """Maximise over the half-spaces at distance t from 0; any t is valid, a poor maximiser only loses sharpness."""
    if limit <= 0:
        return {f"{kind}_{name}": math.nan for kind in ("lip_forced", "offset", "delta")}
    found = minimize_scalar(lambda t: -bound(t), bounds=(0.0, limit), method="bounded", options={"xatol": 0.01})
    t = float(found.x)
    return {f"lip_forced_{name}": -float(found.fun), f"offset_{name}": t, f"delta_{name}": row.gap(t).upper}


def _verdicts(
    row: _Row, offset: float, kappa: Enclosure, accuracy: dict[str, Any], found: Measurement, seed: int
) -> dict[str, Any]:
    """Check Proposition 1 and Corollary 1 as printed, cut to the domain (S7), on this network."""
    x = row.law.sample_quasi(row.effort.accuracy, seed + 1)
    z = _batched(row.flow.forward, x)
    inside = row.inside(z)
    left, right = z[inside & (x[:, 0] <= -offset)], z[inside & (x[:, 0] >= offset)]
    # without points on both sides nothing is known of the distance of the images
    nearest = float(cKDTree(left).query(right)[0].min()) if len(left) and len(right) else math.inf
    exact = Guarantee.EXACT
    whole = SeparatedSets(
        dim=2,
        epsilon=Enclosure(0.0, accuracy["latent_w1_to_normal"], Guarantee.ESTIMATE, "plug-in"),
        masses=Masses.equal(row.gap(offset)),
        image_distance=Enclosure(0.0, nearest, exact, "pair of points"),
        distance=2 * offset,
        lipschitz=Enclosure(found.found.lower, math.inf, exact, "pair of points"),
    )
    instance = restricted(whole, kappa)
    first, second = Proposition1().check(instance), Corollary1().check(instance)
    return {
        "image_distance_found": nearest,
        "verdict_proposition_1": first.outcome.name,
        "verdict_corollary_1": second.outcome.name,
        "verdict_reason": f"{first.reason} | {second.reason}",
    }
