"""Cases for the distances and masses, against fractions, permutations and balls."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from flint import arb

from lipbounds.arb import working_precision
from lipbounds.distances import (
    gaussian_kl,
    gaussian_wasserstein_2,
    max_sliced_wasserstein,
    optimal_transport,
    sliced_wasserstein,
    total_variation,
    wasserstein,
    wasserstein_1_line,
    wasserstein_large,
    wasserstein_lower_from_sets,
)
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete, GaussianMixture, gaussian
from tests.fuzz.inputs import exponent, masses, plain, points, weights
from tests.oracles import exact


def line(rng: np.random.Generator) -> bool:
    """W_p on the line against the monotone coupling in fractions."""
    n, m, p = int(rng.integers(1, 9)), int(rng.integers(1, 9)), exponent(rng)
    x, y, a, b = points(rng, n, 1), points(rng, m, 1), weights(rng, n), weights(rng, m)
    value = wasserstein(x, y, p, x_weights=a, y_weights=b)
    truth = exact.line(plain(x)[:, 0], plain(y)[:, 0], exact.quotients(masses(a, n)), exact.quotients(masses(b, m)), p)
    return exact.holds(value, truth)


def long_line(rng: np.random.Generator) -> bool:
    """The same with more points than are computed in fractions."""
    n, m, p = int(rng.integers(40, 120)), int(rng.integers(40, 120)), float(rng.choice([1, 1, 2, 50]))
    x, y = rng.normal(size=n) * 10.0 ** rng.integers(-3, 4), rng.normal(size=m) + rng.choice([0.0, 1e8])
    a, b = weights(rng, n), weights(rng, m)
    value = wasserstein(x[:, None], y[:, None], p, x_weights=a, y_weights=b)
    return exact.holds(value, exact.line(x, y, exact.quotients(masses(a, n)), exact.quotients(masses(b, m)), p))


def space(rng: np.random.Generator) -> bool:
    """W_p in space against all permutations."""
    n, d, p = int(rng.integers(1, 6)), int(rng.integers(2, 4)), exponent(rng)
    x, y = points(rng, n, d), points(rng, n, d)
    value = wasserstein(x, y, p)
    return exact.holds(value, exact.permutations(plain(x), plain(y), p))


def copies(rng: np.random.Generator) -> bool:
    """W_p in space with unequal masses against permutations of copies."""
    k, p = int(rng.integers(2, 6)), exponent(rng)
    chosen = [rng.integers(0, 3, k) for _ in range(2)]
    x, y = points(rng, 3, 2), points(rng, 3, 2)
    a, b = (np.bincount(one, minlength=3) / k for one in chosen)
    value = wasserstein(x, y, p, x_weights=a, y_weights=b)
    return exact.holds(value, exact.permutations(plain(x)[chosen[0]], plain(y)[chosen[1]], p))


def lower_bounds(rng: np.random.Generator) -> bool:
    """Sliced, max-sliced and large distances against all permutations."""
    n, d, p = int(rng.integers(1, 6)), int(rng.integers(2, 4)), min(exponent(rng), 1e3)
    x, y = points(rng, n, d), points(rng, n, d)
    values = [
        sliced_wasserstein(x, y, p, directions=5),
        max_sliced_wasserstein(x, y, p, starts=5),
        wasserstein_large(x, y, p, sweeps=1),
    ]
    truth = exact.permutations(plain(x), plain(y), p)
    return all(exact.holds(value, truth) for value in values)


def transport(rng: np.random.Generator) -> bool:
    """Optimal transport for any matrix of costs against all permutations."""
    n = int(rng.integers(1, 6))
    cost = rng.normal(size=(n, n)) * 10.0 ** rng.choice([-300, -5, 0, 5, 290]) + rng.choice([0.0, 1.0, 1e6])
    if rng.random() < 0.05:
        cost[0, 0] = rng.choice([np.nan, np.inf])
    value = optimal_transport(np.zeros((n, 1)), np.zeros((n, 1)), cost)
    table = [[Fraction(v) for v in row] for row in cost.tolist()]
    truth = min(sum(table[i][k] for i, k in enumerate(order)) / n for order in exact.itertools.permutations(range(n)))
    return Fraction(value.lower) <= truth <= Fraction(value.upper)


def variation(rng: np.random.Generator) -> bool:
    """Total variation of atoms against fractions."""
    n, m = int(rng.choice([1, 5, 60])), int(rng.choice([1, 5, 60]))
    x, y = rng.integers(0, 4, (n, 2)) + 0.0, rng.integers(0, 4, (m, 2)) + 0.0
    a, b = weights(rng, n), weights(rng, m)
    value = total_variation(x, y, x_weights=a, y_weights=b)
    table: dict[tuple[float, ...], Fraction] = {}
    for law, shares, sign in ((x, masses(a, n), 1), (y, masses(b, m), -1)):
        for point, mass in zip(law.tolist(), exact.quotients(shares), strict=True):
            table[tuple(point)] = table.get(tuple(point), Fraction(0)) + sign * mass
    truth = sum(map(abs, table.values())) / 2
    return Fraction(value.lower) <= truth <= Fraction(value.upper)


def sets(rng: np.random.Generator) -> bool:
    """Inequality (7) against balls."""
    a, b, p = float(rng.random()), float(rng.choice([rng.random(), 1.0, 1.5])), exponent(rng)
    distance = float(10.0 ** rng.uniform(-300, 300))
    value = wasserstein_lower_from_sets(a, b, distance, p)
    excess = Fraction(a) + Fraction(b) - 1
    truth = exact.mean_power_root([exact.ball(distance)], [excess], p) if excess > 0 else arb(0)
    return not truth < value.lower


def slab(rng: np.random.Generator) -> bool:
    """Masses of slabs against error functions of 5,000 bits."""
    mean, variance = float(rng.normal() * 10.0 ** rng.uniform(-3, 9)), float(10.0 ** rng.uniform(-20, 20))
    low = mean + float(rng.normal() * 10.0 ** rng.uniform(-3, 2)) * math.sqrt(variance)
    high = low + 10.0 ** rng.uniform(-15, 3) * math.sqrt(variance)
    value = GaussianMixture([[mean]], [[[variance]]]).slab_mass([1.0], low, high)
    with working_precision(5000):
        ends = [(arb(t) - arb(mean)) / (2 * arb(variance)).sqrt() for t in (low, high)]
        truth = (ends[1].erf() - ends[0].erf()) / 2
    return exact.holds(value, truth)


def atom_against_mixture(rng: np.random.Generator) -> bool:
    """W_1 of one atom and a Gaussian against its closed form in balls."""
    mean, variance = float(rng.normal() * 10.0 ** rng.uniform(-3, 9)), float(10.0 ** rng.uniform(-12, 12))
    t = mean + float(rng.normal() * 10.0 ** rng.uniform(-6, 2)) * math.sqrt(variance)
    value = wasserstein_1_line(Discrete(np.full((int(rng.integers(1, 9)), 1), t)), gaussian([mean], [[variance]]))
    with working_precision(400):
        s = arb(variance).sqrt()
        z = (arb(t) - arb(mean)) / s
        truth = s * (2 * (-z * z / 2).exp() / (2 * arb.pi()).sqrt() + z * (z / arb(2).sqrt()).erf())
    return exact.holds(value, truth)


def gaussians(rng: np.random.Generator) -> bool:
    """W_2, KL and W_1 of Gaussians on the line against closed forms in balls."""
    means, variances = rng.normal(size=2) * 10.0 ** rng.uniform(-3, 9), 10.0 ** rng.uniform(-12, 12, 2)
    if rng.random() < 0.3:
        variances[1] = variances[0] * (1 + rng.choice([0.0, 1e-15, 1e-8]))
    laws = [gaussian([float(m)], [[float(v)]]) for m, v in zip(means, variances, strict=True)]
    with working_precision(600):
        m, v = [arb(float(t)) for t in means], [arb(float(t)) for t in variances]
        second = ((m[0] - m[1]) ** 2 + (v[0].sqrt() - v[1].sqrt()) ** 2).sqrt()
        kl = (v[0] / v[1] - 1 - (v[0] / v[1]).log() + (m[0] - m[1]) ** 2 / v[1]) / 2
    two = gaussian_wasserstein_2(*laws)
    return exact.holds(two, second) and exact.holds(wasserstein(*laws, 2), second) and exact.holds(gaussian_kl(*laws), kl)


def sampled(rng: np.random.Generator) -> bool:
    """A distance of samples is between 0 and the diameter, and 0 from itself."""
    n, d, p = int(rng.integers(2, 60)), int(rng.integers(1, 5)), exponent(rng)
    x, a = points(rng, n, d), weights(rng, n)
    value = wasserstein(x, x, p, x_weights=a, y_weights=a)
    return exact.holds(value, arb(0)) and isinstance(value, Enclosure) and value.guarantee is Guarantee.EXACT


CASES = {
    "wasserstein, line": line,
    "wasserstein, long line": long_line,
    "wasserstein, space": space,
    "wasserstein, masses": copies,
    "sliced, max-sliced, large": lower_bounds,
    "optimal_transport": transport,
    "total_variation": variation,
    "wasserstein_lower_from_sets": sets,
    "slab_mass": slab,
    "wasserstein_1_line": atom_against_mixture,
    "gaussian_wasserstein_2, gaussian_kl": gaussians,
    "wasserstein, itself": sampled,
}
