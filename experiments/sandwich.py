r"""Everything known about one trained network on two modes: its accuracy, and forced <= found <= Lip(T^{-1}; D) <= certified.

The data are $X=(X_\sigma,N(0,1))$ of Example 1 in the plane, the separating statistic is the first coordinate, which is
1-Lipschitz, and the sets are the half-spaces $Q=\{x_1\le-t\}$, $R=\{x_1\ge t\}$. The latent domain D is the ball of given mass;
for a mixture latent that of each component. Bounds that hold for a Gaussian latent only are NaN on mixture rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.spatial import cKDTree
from torch import Tensor

from inn import Invertible, Latent
from lipbounds.certify import Certificate, certify_lipschitz
from lipbounds.distances import clopper_pearson, wasserstein, wasserstein_1_line, wasserstein_1_upper
from lipbounds.domains import Ball, Box
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.maps import Layer
from lipbounds.measures import Discrete, standard_normal
from lipbounds.search import Found, find_inversion_error, find_lipschitz, lipschitz_from_components, quotient
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

__all__ = ["LATENT_MASS", "Effort", "certificates", "data_box", "sandwich"]

Array = NDArray[np.float64]

LATENT_MASS = 0.9999
ALPHA = 0.05  # shared by all confidence bounds of a row
ACCURATE_EPSILON = 0.02
ACCURATE_LATENT_RATIO = 1.5
WIDEST = 1.0  # largest t tried: beyond the modes' centres the masses of the half-spaces fall below 1/4
CHUNK = 16384
DATA_DEVIATIONS = 4.0  # of every mode, in the box on which Lip(T) is searched
CERTIFIED_RATIO = 1.05
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
        screening: Random points of each search.
        certificate: Seconds for the certificate of each component's ball; 0 for none.
    """

    accuracy: int = 20_000
    transport: int = 2_000
    selection: int = 40_000
    evaluation: int = 120_000
    screening: int = 4_096
    certificate: float = 20.0


def data_box(sigma: float) -> Box:
    """The smallest box that holds 4 deviations of either mode."""
    reach = [1.0 + DATA_DEVIATIONS * sigma, DATA_DEVIATIONS]
    return Box([-side for side in reach], reach)


def certificates(
    layers: Sequence[Layer], balls: Sequence[Ball], found: Sequence[Found], *, seed: int, seconds: float
) -> list[Certificate]:
    """Enclosures of Lip(T^{-1}) on the balls, with what was found there; one thread, because networks share the cores."""
    return [
        certify_lipschitz(layers, ball, found=one, seed=seed, ratio=CERTIFIED_RATIO, seconds=seconds, threads=1)
        for ball, one in zip(balls, found, strict=True)
    ]


def sandwich(flow: Invertible, latent: Latent, sigma: float, *, seed: int, effort: Effort) -> dict[str, Any]:
    """Measure one network; the keys are the columns of the results.

    Args:
        flow: T, data to latent, in float32.
        latent: The latent law it was trained for.
        sigma: Width of the modes.
        seed: Seeds everything that is drawn here.
        effort: Sizes.
    """
    double = copy.deepcopy(flow).double().requires_grad_(False)
    seeds = iter(int(s) for s in np.random.SeedSequence(seed).generate_state(16))
    balls = latent.balls(LATENT_MASS)
    accuracy = _accuracy(double, latent, sigma, seeds=[next(seeds) for _ in range(4)], effort=effort)
    samples = _component_samples(double, latent, balls, np.random.default_rng(next(seeds)), effort)
    found = _search(double, latent, sigma, balls, seed=next(seeds), effort=effort)
    bounds = _bounds(double, latent, sigma, balls, samples, accuracy, found, seed=next(seeds), effort=effort)
    inversion = {
        f"inversion_error_{name}": max(
            find_inversion_error(network.forward, network.inverse, ball, seed=error_seed, dtype=dtype).lower for ball in balls
        )
        for name, network, dtype, error_seed in (
            ("float32", copy.deepcopy(flow).requires_grad_(False), torch.float32, next(seeds)),
            ("float64", double, torch.float64, next(seeds)),
        )
    }
    return accuracy | found.row() | bounds | inversion


def _batched(function: Callable[[Tensor], Tensor], points: Array) -> Array:
    with torch.no_grad():
        return torch.cat([function(chunk) for chunk in torch.split(torch.as_tensor(points), CHUNK)]).numpy()


def _first(points: Array) -> Discrete:
    return Discrete(points[:, :1])


def _accuracy(flow: Invertible, latent: Latent, sigma: float, *, seeds: list[int], effort: Effort) -> dict[str, Any]:
    """How well the network's law fits: W_1 of the separating statistic in data space, W_1 in latent space."""
    law, line = two_modes_in_plane(sigma), two_modes(sigma)
    quasi = latent.measure.sample_quasi(effort.accuracy, seeds[0])
    epsilon = wasserstein_1_line(_first(_batched(flow.inverse, quasi)), line).upper

    rng = np.random.default_rng(seeds[1])
    generated = _first(_batched(flow.inverse, latent.measure.sample(effort.accuracy, rng)))
    data, more = (_first(law.sample(effort.accuracy, rng)) for _ in range(2))

    n = effort.transport
    image = Discrete(_batched(flow.forward, law.sample_quasi(n, seeds[2])))
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


def _component_samples(
    flow: Invertible, latent: Latent, balls: list[Ball], rng: np.random.Generator, effort: Effort
) -> list[tuple[Array, Array]]:
    """For every component the statistic of f(proj_D(Z)), Z from it: a selection and an evaluation sample."""
    pairs = []
    for index, ball in enumerate(balls):
        sizes = [effort.selection // len(balls), effort.evaluation // len(balls)]
        z = torch.as_tensor(latent.measure.sample_component(index, sum(sizes), rng))
        values = _batched(flow.inverse, ball.project(z).numpy())[:, 0]
        pairs.append((values[: sizes[0]], values[sizes[0] :]))
    return pairs


@dataclass(frozen=True)
class _Search:
    """The best of the searches in the components' balls, the one in their hull, an upper bound on the balls; T on the data."""

    best: Found
    component: int
    hull: Found
    certified: float
    forward: Found

    def row(self) -> dict[str, Any]:
        return {
            "lip_found": self.best.lower,
            "lip_found_hull": self.hull.lower,
            "lip_certified": self.certified,
            "lip_forward_found": self.forward.lower,
            "jacobian_norm": self.best.jacobian_norm,
            "witness_component": self.component,
            "witness_a": self.best.pair[0].tolist(),
            "witness_b": self.best.pair[1].tolist(),
            "on_boundary": self.best.on_boundary,
            "evaluations": self.best.evaluations,
        }


def _search(flow: Invertible, latent: Latent, sigma: float, balls: list[Ball], *, seed: int, effort: Effort) -> _Search:
    """Search every ball and the hull, from data, and between the latent images of the two modes; bound the balls."""
    x = torch.as_tensor(two_modes_in_plane(sigma).sample_quasi(512, seed))
    with torch.no_grad():
        z = flow.forward(x)
    left, right = z[x[:, 0] < 0], z[x[:, 0] >= 0]
    count = min(len(left), len(right))
    between = [(left[:count], right[:count])]

    def search(domain: Any) -> Found:
        return find_lipschitz(flow.inverse, domain, seed=seed, starts=z, segments=between, screening=effort.screening)

    found, certified = [search(ball) for ball in balls], math.nan
    if effort.certificate > 0:
        bounds = certificates(flow.structure(), balls, found, seed=seed, seconds=effort.certificate)
        certified = max(bound.upper for bound in bounds)
        # where branch and bound came upon a steeper place its pair replaces the one found, with the quotient of this map, which
        # rounds otherwise than that of the layers
        found = [
            one if bound.found is one else replace(bound.found, value=quotient(flow.inverse, bound.found.pair))
            for bound, one in zip(bounds, found, strict=True)
        ]
    component = int(np.argmax([one.lower for one in found]))
    hull = found[0] if len(balls) == 1 else search(latent.hull(LATENT_MASS))
    # the hull contains the balls, so a smaller value there is a worse search of the same thing
    hull = max((hull, found[component]), key=lambda one: one.lower)
    forward = find_lipschitz(flow.forward, data_box(sigma), seed=seed, starts=x, screening=effort.screening)
    return _Search(found[component], component, hull, certified, forward)


def _bounds(
    flow: Invertible,
    latent: Latent,
    sigma: float,
    balls: list[Ball],
    samples: list[tuple[Array, Array]],
    accuracy: dict[str, Any],
    search: _Search,
    *,
    seed: int,
    effort: Effort,
) -> dict[str, Any]:
    """All lower bounds of Lip(T^{-1}; D), and what they say together with the constant found."""
    # black-box bound and kappa; a Gaussian row has a third confidence bound, of epsilon
    share = ALPHA / (3 if latent.is_standard_normal else 2)
    blackbox = lipschitz_from_components(samples, alpha=share, scales=latent.scale).lower
    image = _batched(flow.forward, two_modes_in_plane(sigma).sample(effort.accuracy, np.random.default_rng(seed)))
    depths = torch.stack([ball.depth(torch.as_tensor(image)) for ball in balls]).amax(0)
    outside = int((depths < 0).sum())
    kappa_upper = float(clopper_pearson(outside, len(image), alpha=share)[1])
    row: dict[str, Any] = {
        "alpha": ALPHA,
        "lip_blackbox": blackbox,
        "kappa": outside / len(image),
        "kappa_upper": kappa_upper,
    }
    empty = ["epsilon_domain", "epsilon_upper", "lip_exact", "lip_forced_frontier", "lip_forced_frontier_confident"]
    empty += (f"{kind}_{name}" for name in ("data", "sharp", "printed") for kind in ("lip_forced", "offset", "delta"))
    row |= dict.fromkeys(empty, math.nan)
    row["not_applicable"] = GAUSSIAN_ONLY
    offset = 0.5
    if latent.is_standard_normal:
        bounds = _gaussian_bounds(flow, sigma, balls[0], samples[0][1], accuracy, kappa_upper, share, seed, effort)
        row |= bounds
        missing = [name for name in ("sharp", "printed") if math.isnan(bounds[f"lip_forced_{name}"])]
        row["not_applicable"] = f"kappa up to {kappa_upper:.3g} leaves no sets for: {', '.join(missing)}" if missing else ""
        offset = offset if "printed" in missing else bounds["offset_printed"]
    row |= _verdicts(
        flow,
        sigma,
        offset,
        Enclosure(0.0, kappa_upper, Guarantee.CONFIDENCE, "Clopper-Pearson", share),
        balls,
        accuracy,
        search,
        seed,
        effort,
    )
    lower = [blackbox] + [row[name] for name in empty if name.startswith("lip_forced") and not math.isnan(row[name])]
    # a bound above the constant found means a failed search, or an epsilon that was estimated too small
    row["sandwich"] = "CONFIRMED" if max(lower) <= search.best.lower else "UNDECIDED"
    return row


def _gaussian_bounds(
    flow: Invertible,
    sigma: float,
    ball: Ball,
    evaluation: Array,
    accuracy: dict[str, Any],
    kappa_upper: float,
    alpha: float,
    seed: int,
    effort: Effort,
) -> dict[str, Any]:
    """The bounds that assume a standard normal latent."""
    line = two_modes(sigma)
    quasi = ball.project(torch.as_tensor(standard_normal(2).sample_quasi(effort.accuracy, seed))).numpy()
    epsilon = wasserstein_1_line(_first(_batched(flow.inverse, quasi)), line).upper
    measured = Enclosure(0.0, epsilon, Guarantee.ESTIMATE, "quasi-random points of f o proj_D against the exact law")
    drawn = Discrete(evaluation[:, None])
    # the Dvoretzky-Kiefer-Wolfowitz band holds for all thresholds at once, so the bounds for all clips share one event
    confident = wasserstein_1_upper(drawn, line, clip=1.0, alpha=alpha)

    def gap(t: float) -> float:
        return line.slab_mass([1.0], -t, t)

    def widest(room: float) -> float:
        """The largest t whose gap leaves room; 0 if none does."""
        if gap(WIDEST) < room:
            return WIDEST
        return float(brentq(lambda t: gap(t) - room, 0.0, WIDEST)) if room > 0 else 0.0

    def best(bound: Callable[[float], float], name: str, limit: float) -> dict[str, Any]:
        """Maximise over the half-spaces at distance t from 0; any t is valid, a poor maximiser only loses sharpness."""
        if limit <= 0:
            return {f"{kind}_{name}": math.nan for kind in ("lip_forced", "offset", "delta")}
        found = minimize_scalar(lambda t: -bound(t), bounds=(0.0, limit), method="bounded", options={"xatol": 0.01})
        return {f"lip_forced_{name}": -float(found.fun), f"offset_{name}": float(found.x), f"delta_{name}": gap(float(found.x))}

    latent_epsilon = Enclosure(0.0, accuracy["latent_w1"], Guarantee.ESTIMATE, "plug-in")

    def sharp(t: float) -> float:
        return forced_in_latent_space(2 * t, Masses.equal(gap(t)).shrunk(kappa_upper), latent_epsilon).lower

    def data(t: float) -> float:
        return forced_by_two_sets(2 * t, Masses.equal(gap(t)), wasserstein_1_upper(drawn, line, clip=t, alpha=alpha)).lower

    def printed(t: float) -> float:
        return forced_as_printed(2, 2 * t, gap(t) + 2 * kappa_upper, latent_epsilon).lower

    # S7 takes kappa from both masses; the printed statements want delta and epsilon below 1/4
    sharp_limit = widest(0.999 - 2 * kappa_upper)
    printed_limit = widest(0.999 * LARGEST - 2 * kappa_upper) if latent_epsilon.upper < LARGEST else 0.0
    return {
        "epsilon_domain": epsilon,
        "epsilon_upper": confident.upper,
        "lip_exact": exact_lipschitz(sigma),
        "lip_forced_frontier": forced_by_frontier(line, measured).lower,
        "lip_forced_frontier_confident": forced_by_frontier(line, confident, clip=1.0).lower,
        **best(data, "data", WIDEST),
        **best(sharp, "sharp", sharp_limit),
        **best(printed, "printed", printed_limit),
    }


def _verdicts(
    flow: Invertible,
    sigma: float,
    offset: float,
    kappa: Enclosure,
    balls: list[Ball],
    accuracy: dict[str, Any],
    search: _Search,
    seed: int,
    effort: Effort,
) -> dict[str, Any]:
    """Check Proposition 1 and Corollary 1 as printed, cut to the domain (S7), on this network."""
    x = two_modes_in_plane(sigma).sample_quasi(effort.accuracy, seed + 1)
    z = _batched(flow.forward, x)
    inside = (torch.stack([ball.depth(torch.as_tensor(z)) for ball in balls]).amax(0) >= 0).numpy()
    left, right = z[inside & (x[:, 0] <= -offset)], z[inside & (x[:, 0] >= offset)]
    # without points on both sides nothing is known of the distance of the images
    nearest = float(cKDTree(left).query(right)[0].min()) if len(left) and len(right) else math.inf
    exact = Guarantee.EXACT
    delta = two_modes(sigma).slab_mass([1.0], -offset, offset)
    whole = SeparatedSets(
        dim=2,
        epsilon=Enclosure(0.0, accuracy["latent_w1_to_normal"], Guarantee.ESTIMATE, "plug-in"),
        masses=Masses.equal(delta),
        image_distance=Enclosure(0.0, nearest, exact, "pair of points"),
        distance=2 * offset,
        lipschitz=Enclosure(search.best.lower, math.inf, exact, "pair of points"),
    )
    instance = restricted(whole, kappa)
    first, second = Proposition1().check(instance), Corollary1().check(instance)
    return {
        "image_distance_found": nearest,
        "verdict_proposition_1": first.outcome.name,
        "verdict_corollary_1": second.outcome.name,
        "verdict_reason": f"{first.reason} | {second.reason}",
    }
