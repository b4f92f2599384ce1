"""What a generator makes of its latent law: points, their distance from the data, and what they prove."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi

from lipbounds.diagnosis.modes import Modes
from lipbounds.distances import wasserstein
from lipbounds.domains import Ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput, LipboundsError
from lipbounds.maps.model import Model
from lipbounds.measures import GaussianMixture, standard_normal
from lipbounds.search import BlackBox, lipschitz_from_generated
from lipbounds.search.singular_values import evaluate

__all__ = [
    "FEWEST",
    "accuracy_and_floor",
    "black_box",
    "check_direction",
    "generate",
    "latent_domain",
    "latent_law",
    "search_starts",
]

Array = NDArray[np.float64]

LATENT_MASS = 0.99
GENERATED = 20_000
TRANSPORTED = 1_500  # of the plug-in W_1
SEGMENTS = 256
FEWEST = 200  # points of a sample
SWAPPED = 0.5


def latent_law(latent: GaussianMixture | int | None, dim: int) -> GaussianMixture:
    """The latent law: isotropic components, or standard normal in `latent` dimensions, by default `dim`."""
    if latent is None or isinstance(latent, int):
        return standard_normal(dim if latent is None else latent)
    deviation = float(latent.covariances[0, 0, 0])
    if not np.array_equal(latent.covariances, np.broadcast_to(deviation * np.eye(latent.dim), latent.covariances.shape)):
        raise InvalidInput("latent", "other covariances", "one multiple of the identity", "bounds are for isotropic components")
    return latent


def deviation_of(law: GaussianMixture) -> float:
    """The deviation of its isotropic components."""
    return math.sqrt(float(law.covariances[0, 0, 0]))


def latent_domain(law: GaussianMixture) -> Ball:
    """The ball of mass 0.99; for a mixture one that holds those of all components."""
    middle = law.means.mean(0)
    reach = float(np.linalg.norm(law.means - middle, axis=1).max())
    return Ball(middle, reach + deviation_of(law) * float(chi.ppf(LATENT_MASS, law.dim)))


def generate(generator: Model, law: GaussianMixture, rng: np.random.Generator, dim: int) -> tuple[Array, NDArray[np.intp]]:
    """Points of the generator, shape (20000, dim), and the component that each comes from."""
    component = rng.choice(len(law.weights), GENERATED, p=law.weights)
    z = law.means[component] + deviation_of(law) * rng.standard_normal((GENERATED, law.dim))
    try:
        with torch.no_grad():
            points = evaluate(generator.inverse, torch.as_tensor(z)).numpy()
    except LipboundsError:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} on rows of {law.dim} latent numbers"
        raise InvalidInput("model", got, "a map of latent points in float64", "pass its latent dimension, or wrap it") from error
    if points.shape[1] != dim:
        raise InvalidInput("model", f"points of dimension {points.shape[1]}", f"{dim}, that of the data", "pass its own data")
    return points, component


def check_direction(generator: Model, x: Array, generated: Array, law: GaussianMixture, rng: np.random.Generator) -> None:
    """Refuse a map from data to latent, whose constant is another one: its images of the data would look like the latent law."""
    if law.dim != x.shape[1]:
        return
    some = x[rng.permutation(len(x))[:TRANSPORTED]]
    try:
        with torch.no_grad():
            mapped = evaluate(generator.inverse, torch.as_tensor(some)).numpy()
    except LipboundsError:  # not defined on the data: then it is no map from data
        return
    z = law.sample(len(some), rng)
    as_given = _sliced(generated[: len(some)], some, rng)
    swapped = _sliced(mapped, z, rng)
    # a poor fit the right way and a good one the other way
    if swapped < SWAPPED * as_given and swapped < SWAPPED * _sliced(some, z, rng):
        got = f"a map that takes the data to the latent law (distance {swapped:.3g}) and not back ({as_given:.3g})"
        raise InvalidInput(
            "model", got, "T^-1, latent to data", "pass the inverse; a swapped one gives the inverse ratio silently"
        )


def _sliced(a: Array, b: Array, rng: np.random.Generator) -> float:
    """Mean W_1 along 50 directions, in units of the spread of b."""
    directions = rng.standard_normal((a.shape[1], 50))
    directions /= np.linalg.norm(directions, axis=0)
    n = min(len(a), len(b))
    first, second = np.sort(a[:n] @ directions, axis=0), np.sort(b[:n] @ directions, axis=0)
    return float(np.abs(first - second).mean() / max(float(b.std()), 1e-300))


def accuracy_and_floor(x: Array, generated: Array, rng: np.random.Generator) -> tuple[Enclosure, float]:
    """The plug-in W_1 between generated points and data, and that between two halves of the data."""
    size = min(TRANSPORTED, len(x) // 2)
    order = rng.permutation(len(x))
    first, second = x[order[:size]], x[order[size : 2 * size]]
    value = wasserstein(generated[:size], first).upper
    return Enclosure(0.0, value, Guarantee.ESTIMATE, "plug-in, biased upwards"), wasserstein(first, second).upper


def search_starts(
    generator: Model, x: Array, modes: Modes, rng: np.random.Generator
) -> tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Latent images of data, and segments between those of every pair of modes."""
    if generator.forward is None:
        return None, []
    some = x[rng.permutation(len(x))[: 4 * SEGMENTS]]
    with torch.no_grad():
        z = evaluate(generator.forward, torch.as_tensor(some))
    labels = modes.nearest(some)
    groups = [z[torch.as_tensor(labels == i)] for i in range(len(modes.means))]
    segments = []
    for i in range(len(groups)):
        for j in range(i):
            count = min(len(groups[i]), len(groups[j]), SEGMENTS)
            if count:
                segments.append((groups[i][:count], groups[j][:count]))
    return z, segments


def black_box(generated: Array, component: NDArray[np.intp], law: GaussianMixture, seed: int) -> BlackBox:
    """The largest bound of all components, each at its share of alpha."""
    alpha = 0.05 / len(law.weights)
    parts = [generated[component == index] for index in range(len(law.weights))]
    bounds = [
        lipschitz_from_generated(part, alpha=alpha, seed=seed, scale=deviation_of(law)) for part in parts if len(part) >= FEWEST
    ]
    best = max(bounds, key=lambda bound: bound.lower)
    return replace(best, alpha=0.05)
