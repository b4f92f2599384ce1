"""Cases for the theorems: statements that are true are never refuted, and functions keep their order and their duality."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from lipbounds.distances import wasserstein
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete, standard_normal
from lipbounds.rounding import around
from lipbounds.theorems import (
    Masses,
    Outcome,
    forced_by_total_variation,
    forced_by_two_sets,
    least_stretch,
    separation,
    separation_cost,
)
from lipbounds.theorems.inequality_7 import Inequality7, TwoSets
from lipbounds.theorems.remark_3 import Remark3, TransportedLaws
from lipbounds.theorems.separation import separation as rho
from lipbounds.theorems.theorem_2 import AffinePosterior, Theorem2
from tests.fuzz.inputs import exponent, points, weights


def given(value: float) -> Enclosure:
    return Enclosure(value, value, Guarantee.EXACT, "given")


def theorem_2(rng: np.random.Generator) -> bool:
    """The repaired Theorem 2 on affine posteriors, equality included."""
    d, n = int(rng.integers(2, 4)), int(rng.integers(1, 6))
    matrix = rng.integers(-3, 4, (d, d)) * float(10.0 ** rng.integers(-8, 9))
    x = rng.normal(size=(n, d)) if rng.random() < 0.5 else rng.integers(-3, 4, (n, d)) + 0.0
    image = x @ matrix.T
    y, z = image[:, :1].copy(), image[:, 1:].copy()
    if rng.random() < 0.5:
        y += rng.normal(size=y.shape) * rng.choice([0.0, 1e-16, 1.0])
        z += rng.normal(size=z.shape) * rng.choice([0.0, 1e-16, 1.0])
    share = weights(rng, n)
    share = np.full(n, 1 / n) if share is None else np.asarray(share, dtype=np.float64)
    inside = rng.random(n) < 0.7
    instance = AffinePosterior(share, x, y, z, matrix, rng.normal(size=d), inside)
    return Theorem2().check(instance).outcome is not Outcome.REFUTED


def remark_3(rng: np.random.Generator) -> bool:
    """Remark 3 for permutations of coordinates, an isometry, times a power of two."""
    d, n = int(rng.integers(1, 4)), int(rng.integers(2, 7))
    x, a, b = points(rng, n, d), weights(rng, n), weights(rng, n)
    laws = Discrete(x, a), Discrete(np.asarray(x)[rng.permutation(n)], b)
    factor, order = float(2.0 ** rng.integers(-9, 10)), rng.permutation(d)
    data, generated = (factor * law.points[:, order] for law in laws)
    return Remark3().check(TransportedLaws(*laws, data, generated)).outcome is not Outcome.REFUTED


def inequality_7(rng: np.random.Generator) -> bool:
    """Inequality (7) where it is an equality but for what the common mass does."""
    mass, p, t = float(rng.random()), exponent(rng), float(10.0 ** rng.uniform(-100, 100))
    mu, nu = Discrete([[0.0], [0.5 * t]], [mass, 1 - mass]), Discrete([[t], [0.5 * t]], [mass, 1 - mass])
    sets = TwoSets(p, given(mass), given(mass), given(t), wasserstein(mu, nu, p))
    return Inequality7().check(sets).outcome is not Outcome.REFUTED


def masses_of(rng: np.random.Generator) -> Masses:
    gap = float(rng.choice([0.0, 1e-14, 1e-5, rng.random()]))
    share = float(rng.choice([0.5, rng.random(), 1e-9, 1.2]))
    return Masses(share * (1 - gap), (1 - share) * (1 - gap), gap)


def duality(rng: np.random.Generator) -> bool:
    """rho* and E are inverse to each other, and rho* grows with epsilon."""
    masses, epsilon = masses_of(rng), float(rng.choice([0.0, 10.0 ** rng.uniform(-12, 1), -1.0, math.nan]))
    width, wider = separation(epsilon, masses), rho(2 * epsilon + 1e-300, masses)
    cost = separation_cost(width.upper, masses)
    return width.lower <= wider.upper and cost.upper >= epsilon * (1 - 1e-9) - 1e-300


def forced(rng: np.random.Generator) -> bool:
    """The identity on N(0, I) has constant 1: no bound for half-spaces of it may force more."""
    t = float(10.0 ** rng.uniform(-9, 1))
    law, middle = standard_normal(1), float(rng.normal())
    low, high = middle - t, middle + t
    distance = around(Fraction(high) - Fraction(low))[0]
    masses = Masses.of(law.half_space_mass([1.0], low), law.half_space_mass([-1.0], -high), law.slab_mass([1.0], low, high))
    epsilon = float(rng.choice([0.0, 10.0 ** rng.uniform(-12, 0)]))
    accuracy = given(min(1.0, epsilon))
    two = forced_by_two_sets(distance, masses, epsilon), forced_by_total_variation(distance, masses, accuracy)
    return all(bound.lower <= 1.0 for bound in two) and least_stretch(distance, masses, 0.0).lower <= 1.0


CASES = {
    "Theorem2 (repaired)": theorem_2,
    "Remark3": remark_3,
    "Inequality7": inequality_7,
    "separation, separation_cost": duality,
    "forced bounds of the identity": forced,
}
