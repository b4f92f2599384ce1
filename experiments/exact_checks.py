"""Statements checked where refutation is possible: both sides known exactly, on random instances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from experiments.checks import Check
from lipbounds.distances import wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete, standard_normal
from lipbounds.theorems import (
    FAILING,
    STATEMENTS,
    AffinePosterior,
    ConditionalSets,
    Corollary1,
    Corollary2,
    Masses,
    Proposition1,
    RestrictedProposition1,
    RestrictedSets,
    SeparatedSets,
    SharpCorollary1,
    SharpCorollary2,
    SharpProposition1,
    Theorem2,
    Theorem2Printed,
)
from lipbounds.theorems.proposition_1 import moved_slab
from lipbounds.theorems.remark_3 import Remark3, TransportedLaws, lipschitz_on

__all__ = ["extremal_checks", "finite_checks", "monotone_checks"]

Array = NDArray[np.float64]


def _exactly(value: float, rounding: float = 1e-12) -> Enclosure:
    return Enclosure(value * (1 - rounding), value * (1 + rounding), Guarantee.EXACT, "exact")


def monotone_checks(count: int, rng: np.random.Generator) -> Iterator[Check]:
    """Increasing maps of the line to nearly normal laws, and the cases of equality in up to 64 dimensions."""
    normal = standard_normal(1)
    for _ in range(count):
        n = int(rng.integers(12, 60))
        images = np.asarray(normal.quantile((np.arange(n) + 0.5) / n)) + 0.3 / n * rng.uniform(-1, 1, n)
        atoms = np.concatenate(([0.0], np.cumsum(rng.exponential(1.0, n - 1))))
        between = int(rng.integers(0, n // 9 + 1))
        left = (n - between) // 2
        right = n - between - left
        slopes = np.diff(atoms) / np.diff(images)
        sets = SeparatedSets(
            dim=1,
            epsilon=wasserstein_1_line(Discrete(images[:, None]), normal),
            masses=Masses(left / n, right / n, between / n),
            image_distance=_exactly(float(images[n - right] - images[left - 1]), 0.0),
            distance=float(atoms[n - right] - atoms[left - 1]),
            lipschitz=_exactly(float(slopes.max())),
        )
        words = f"monotone map, {n} atoms"
        for statement in (Proposition1(), SharpProposition1(), Corollary1(), SharpCorollary1()):
            yield statement, sets, words
        yield RestrictedProposition1(), RestrictedSets(sets, _exactly(float(rng.uniform(0, 0.1)))), words
        # the same map beside labels: Q at y = 0, R at y = d
        apart = float(rng.choice([0.0, 0.5]))
        y = np.where(np.arange(n) < n - right, 0.0, apart)
        constant = lipschitz_on(np.stack((y, images), 1), np.stack((y, atoms), 1))
        joint = SeparatedSets(1, sets.epsilon, sets.masses, sets.image_distance, float(np.hypot(sets.distance, apart)), constant)
        for conditional in (Corollary2(), SharpCorollary2()):
            yield conditional, ConditionalSets(joint, _exactly(apart, 0.0)), f"{words}, labels {apart} apart"
    for dim in (1, 2, 8, 64):
        for rho in (1.0, 0.1, 1e-3):
            # a hair inside the case of equality, so that rounding does not leave it undecided
            sets = moved_slab(rho, dim=dim)
            slab = replace(sets, image_distance=_exactly(rho * (1 - 1e-9), 0.0), distance=rho * (1 - 1e-9))
            for statement in (Proposition1(), SharpProposition1(), Corollary1(), SharpCorollary1()):
                yield statement, slab, f"slab of width {rho:g} moved, {dim}-d"


def finite_checks(count: int, rng: np.random.Generator) -> Iterator[Check]:
    """Laws of finite support: Remark 3 with the constant over pairs, Theorem 2 for integer affine bijections."""
    for _ in range(count):
        n, m, d = (int(rng.integers(low, high)) for low, high in ((1, 9), (1, 9), (1, 4)))
        latent = rng.standard_normal((n + m, d))
        images = latent * np.exp(rng.standard_normal(d)) + 0.5 * np.sin(3 * latent)
        laws = TransportedLaws(Discrete(latent[:n]), Discrete(latent[n:]), images[:n], images[n:])
        yield Remark3(), laws, f"{n} and {m} atoms in {d}-d"
        posterior = _integer_posterior(rng)
        words = f"{len(posterior.x)} outcomes, integer affine map"
        yield Theorem2Printed(), posterior, words
        yield Theorem2(), posterior, words


def _integer_posterior(rng: np.random.Generator) -> AffinePosterior:
    """X, Y, Z with small integer values, T a signed permutation with a shear and a translation."""
    n, k = ((1, 1), (1, 2), (2, 1))[int(rng.integers(3))]
    d, outcomes = n + k, int(rng.integers(1, 6))
    matrix = np.eye(d)[rng.permutation(d)] * rng.choice([-1.0, 1.0], d)
    i, j = rng.permutation(d)[:2]
    matrix[i] += float(rng.integers(-2, 3)) * matrix[j]
    offset = rng.integers(-20, 21, d).astype(float)
    x = rng.integers(-2, 3, (outcomes, d)).astype(float)
    y = x @ matrix[:n].T + offset[:n] if rng.random() < 0.5 else rng.integers(-2, 3, (outcomes, n)).astype(float)
    weights = rng.integers(1, 6, outcomes).astype(float)
    conditioned = (y == y[int(rng.integers(outcomes))]).all(1)
    z = rng.integers(-2, 3, (outcomes, k)).astype(float)
    return AffinePosterior(weights / weights.sum(), x, y, z, matrix, offset, conditioned)


def extremal_checks() -> Iterator[Check]:
    """Every statement on its extremal instance, or on its counterexample."""
    for statement in STATEMENTS:
        words = "counterexample" if isinstance(statement, FAILING) else "extremal instance"
        yield statement, statement.extremal(), words
