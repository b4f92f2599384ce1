"""Instances of every statement, drawn with their hypotheses true by construction and both sides exact where possible."""

import itertools
import math
from fractions import Fraction

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from lipbounds.arb import ends, normal_cdf, working_precision
from lipbounds.distances import Energy, Gaussian, InverseMultiquadric, InverseQuadratic, Laplace, wasserstein, wasserstein_1_line
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.measures import Discrete, GaussianMixture, standard_normal
from lipbounds.theorems import (
    ConditionalSets,
    DataSets,
    DistantSets,
    KModes,
    Masses,
    MixtureAt,
    ModeSets,
    RestrictedSets,
    SeparatedSets,
    StatisticLaw,
    TwoSets,
    TwoThresholds,
    simplicial_cost,
    two_modes,
)
from lipbounds.theorems.conditional_laws import ConditionalSpace
from lipbounds.theorems.equation_9 import FiniteMap
from lipbounds.theorems.equation_13 import ClampedCoupling, LayersOnBox, Mlp, MlpOnPoints
from lipbounds.theorems.finite import FiniteSpace
from lipbounds.theorems.gumbel_max import NoisyArgmax
from lipbounds.theorems.proposition_1 import moved_slab
from lipbounds.theorems.remark_2 import LawsOnPoints
from lipbounds.theorems.remark_3 import TransportedLaws, lipschitz_on
from lipbounds.theorems.theorem_1 import FinitePosterior, GaussianPosterior
from tests.strategies.affine import affine_posteriors, unimodular
from tests.strategies.lines import monotone_maps, near_normal_maps

seeds = st.integers(0, 2**32 - 1)


def exactly(value, rounding=0.0):
    return Enclosure(value * (1 - rounding), value * (1 + rounding), Guarantee.EXACT, "by construction")


def points_of(draw, count, dim, size=3):
    """Points with small integer coordinates as fractions."""
    flat = draw(st.lists(st.integers(-size, size), min_size=count * dim, max_size=count * dim))
    return [tuple(Fraction(v) for v in flat[i * dim : (i + 1) * dim]) for i in range(count)]


def fractions_of(draw, count):
    parts = draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    return tuple(Fraction(part, sum(parts)) for part in parts)


@st.composite
def conditional_spaces(draw):
    """Up to six outcomes; f(y) and T polynomial, T not injective as a rule."""
    count = draw(st.integers(1, 6))
    x, y = points_of(draw, count, 2), points_of(draw, count, 1, size=1)
    shift = Fraction(draw(st.integers(-2, 2)))
    return ConditionalSpace(
        FiniteSpace(fractions_of(draw, count), tuple(x), tuple(y)),
        lambda v: (v[0] + shift, v[0] ** 2 - 1),
        lambda v: (v[0] ** 2 + shift, v[1]),
    )


@st.composite
def laws_on_points(draw):
    """Two laws on up to six different points of the plane."""
    kernel = draw(st.sampled_from([InverseMultiquadric((1.0,)), InverseQuadratic((0.7,)), Gaussian((0.8,)), Laplace(), Energy()]))
    flat = draw(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=6, unique=True))
    first, second = (np.array([float(p) for p in fractions_of(draw, len(flat))]) for _ in range(2))
    return LawsOnPoints(kernel, 0.3 * np.array(flat, float), first, second)


@st.composite
def two_sets(draw):
    """Atoms of both laws near 0 (the set A), near (5, 0) (the set B) and far away, with random masses."""
    p = draw(st.sampled_from([1.0, 2.0, 5.0]))
    rng = np.random.default_rng(draw(seeds))
    places = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0], [20.0, 0.0]])
    x, y = (places + 0.3 * rng.standard_normal((4, 2)) for _ in range(2))
    a, b = (rng.multinomial(16, shares) / 16 for shares in ([0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]))
    near_a, near_b = np.concatenate((x[:2], y[:2])), np.concatenate((x[2:3], y[2:3]))
    gap = np.linalg.norm(near_a[:, None] - near_b[None], axis=2).min()
    distance = wasserstein(Discrete(x, a), Discrete(y, b), p)
    return TwoSets(p, exactly(a[:2].sum()), exactly(b[2]), exactly(gap), distance)


@st.composite
def finite_maps(draw):
    """A permutation of up to five points, and two laws; half of the time the second is the image of the first."""
    count = draw(st.integers(1, 5))
    keys = [(Fraction(i),) for i in range(count)]
    image = [(Fraction(i),) for i in draw(st.permutations(range(count)))]
    data = dict(zip(keys, fractions_of(draw, count), strict=True))
    latent = dict(zip(image, data.values(), strict=True))
    if draw(st.booleans()):
        latent = dict(zip(keys, fractions_of(draw, count), strict=True))
    return FiniteMap(dict(zip(keys, image, strict=True)), dict(zip(image, keys, strict=True)), data, latent)


@st.composite
def transported_laws(draw):
    """Two laws on random latent points and their images under a random map of these points, the constant over pairs."""
    rng = np.random.default_rng(draw(seeds))
    n, m, d = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    stretch = np.exp(rng.standard_normal(d))
    latent = rng.standard_normal((n + m, d))
    images = latent * stretch + draw(st.sampled_from([0.0, 0.5])) * np.sin(3 * latent)
    return TransportedLaws(Discrete(latent[:n]), Discrete(latent[n:]), images[:n], images[n:])


@st.composite
def finite_posteriors(draw):
    """X with up to six values, T(x) = (y, z) with Y = T_y(X) and (Y, Z) redrawn with the law of T(X), Z depending on Y.

    Outcomes are doubled so that Z is not a function of X: it is shuffled among the outcomes of one Y and equal probability.
    """
    count = draw(st.integers(1, 6))
    x = [(Fraction(i),) for i in range(count)]
    pairs = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=count, max_size=count, unique=True))
    forward = {key: ((Fraction(y),), (Fraction(z),)) for key, (y, z) in zip(x, pairs, strict=True)}
    half = [p / 2 for p in fractions_of(draw, count)]
    space_x = tuple(x + x)
    y = tuple(forward[key][0] for key in space_x)
    z = [forward[key][1] for key in space_x]
    # exchange z between outcomes of the same y and the same probability: the law of (Y, Z) stays
    for i in range(count):
        for j in range(count, 2 * count):
            if y[i] == y[j] and half[i] == half[j - count] and draw(st.booleans()):
                z[i], z[j] = z[j], z[i]
    return FinitePosterior(FiniteSpace(tuple(half + half), space_x, y, tuple(z)), forward)


@st.composite
def gaussian_posteriors(draw):
    """Integer covariances L L^T, unimodular maps, rational values of Y."""
    d = draw(st.integers(2, 4))
    n = draw(st.integers(1, d - 1))
    entries = draw(st.lists(st.integers(-2, 2), min_size=d * d, max_size=d * d))
    root = fmpq_mat(d, d, entries)
    covariance = root * root.transpose() + fmpq_mat(d, d, [int(i == j) for i in range(d) for j in range(d)])
    matrix = draw(unimodular(d))
    column = lambda size: fmpq_mat(size, 1, [fmpq(draw(st.integers(-9, 9)), draw(st.integers(1, 4))) for _ in range(size)])
    return GaussianPosterior(column(d), covariance, fmpq_mat(d, d, [int(v) for v in matrix.ravel()]), column(d), n, column(n))


def sets_of(problem, *, forward=False):
    """A monotone map as an instance of Proposition 1 and Corollary 1; `forward` puts Lip(T) in the place of Lip(T^{-1})."""
    weights, n = problem.weights, len(problem.weights)
    masses = (weights[: problem.left].sum(), weights[n - problem.right :].sum(), weights[problem.left : n - problem.right].sum())
    slopes = np.diff(problem.images) / np.diff(problem.atoms)
    return SeparatedSets(
        dim=1,
        epsilon=wasserstein_1_line(problem.image_law, standard_normal(1)),
        masses=Masses(*(float(mass) for mass in masses)),
        image_distance=exactly(problem.image_distance),
        distance=problem.distance,
        lipschitz=exactly(float(slopes.max()) if forward else problem.lipschitz_of_inverse, 1e-12),
    )


@st.composite
def slabs(draw):
    """Cases of equality in up to 64 dimensions, down to tiny distances."""
    gap = draw(st.sampled_from([0.0, 1e-6, 0.05]))
    share = draw(st.sampled_from([0.5, 0.4]))
    masses = Masses(share * (1 - gap), (1 - share) * (1 - gap), gap)
    rho = 10.0 ** -draw(st.integers(0, 12)) * draw(st.floats(0.2, 1.0))
    problem = moved_slab(rho + 2.6 * gap, dim=draw(st.sampled_from([1, 2, 8, 64])), masses=masses)
    # rounding of the cost against the distance: E has relative errors of 1e-12 near rho*(0)
    return problem


separated_sets = st.one_of(monotone_maps().map(sets_of), near_normal_maps().map(sets_of), slabs())
nearly_normal_sets = st.one_of(near_normal_maps().map(sets_of), slabs())


@st.composite
def conditional_sets(draw, *, arbitrary=True):
    """T = (y, monotone map of z) on two lines y = 0 and y = d: Q on the first, R on the second; constant over the support."""
    problem = draw(st.one_of(monotone_maps(), near_normal_maps()) if arbitrary else near_normal_maps())
    diameter = draw(st.sampled_from([0.0, 0.3, 2.0]))
    sets = sets_of(problem)
    n = len(problem.atoms)
    first = np.arange(n) < n - problem.right
    y = np.where(first, 0.0, diameter)
    inner = lipschitz_on(np.stack((y, problem.images), 1), np.stack((y, problem.atoms), 1))
    apart = math.hypot(problem.distance, diameter)
    changed = SeparatedSets(1, sets.epsilon, sets.masses, sets.image_distance, apart, inner)
    return ConditionalSets(changed, exactly(diameter))


@st.composite
def generators(draw):
    """A nondecreasing piecewise linear map of a standard normal variable: knots, values, constant."""
    knots = np.linspace(-3, 3, 7)
    slopes = np.array(draw(st.lists(st.integers(0, 12), min_size=6, max_size=6)), float)
    values = np.concatenate(([0.0], np.cumsum(slopes * np.diff(knots))))
    return knots, values - values[3] + draw(st.integers(-1, 1)), float(slopes.max())


def generated_accuracy(knots, values, law, clip=None, n=4000):
    """W_1 of the generated law to `law` from n equal cells, plus the cells' width: an upper bound."""
    z = ndtri((np.arange(n) + 0.5) / n)
    x = np.interp(z, knots, values)
    # moving each cell of mass 1/n to the image of its midpoint costs at most its image's width over n
    edges = np.interp(ndtri(np.arange(1, n) / n), knots, values)
    cells = np.diff(np.concatenate(([values[0]], edges, [values[-1]])))
    upper = wasserstein_1_line(Discrete(x[:, None]), law, clip=clip).upper + float(cells.sum()) / n
    return Enclosure(0.0, upper, Guarantee.EXACT, "cells")


@st.composite
def data_sets(draw):
    """A generator, and half-lines of two modes."""
    knots, values, constant = draw(generators())
    law, t = two_modes(draw(st.sampled_from([0.5, 0.3, 0.2]))), draw(st.sampled_from([0.2, 0.5, 0.9]))
    accuracy = generated_accuracy(knots, values, law, clip=t)
    return DataSets(accuracy, Masses.equal(law.slab_mass([1.0], -t, t)), 2 * t, exactly(constant, 1e-12))


@st.composite
def statistic_laws(draw):
    """A generator and the law of two modes, or data from it."""
    knots, values, constant = draw(generators())
    law = two_modes(draw(st.sampled_from([0.5, 0.3, 0.2])))
    accuracy = generated_accuracy(knots, values, law)
    return StatisticLaw(law, accuracy, exactly(constant, 1e-6))


@st.composite
def mode_sets(draw):
    """Steps of slope L between atoms on a line, or the simplicial generator of equidistant atoms: W_1 in balls."""
    stretch = draw(st.sampled_from([8.0, 20.0, 100.0]))
    if draw(st.booleans()):
        k = draw(st.integers(3, 8))
        cost = simplicial_cost(k, 1.0 / stretch)
        return ModeSets(exactly(stretch * cost.upper, 1e-13), KModes([1 / k] * k, 2.0), exactly(stretch))
    parts = draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    parts = [1, 1] if draw(st.booleans()) else parts
    masses = [Fraction(part, sum(parts)) for part in parts]
    rho = 1.0 / stretch
    missed = arb(0)
    with working_precision(120):
        for j in range(1, len(masses)):
            whole = sum(masses[:j])
            c = arb(float(ndtri(float(whole))))
            for side in (1, -1):
                # of the ramp from c to c + rho, mirrored for the other half
                begin, end = side * c, side * c + arb(rho)
                missed += end * (normal_cdf(end) - normal_cdf(begin)) - (density(begin) - density(end))
        accuracy = ends(stretch * missed)[1]
    floats = [float(mass) * (1 - 1e-14) for mass in masses]
    apart = 2.0 * np.abs(np.subtract.outer(range(len(masses)), range(len(masses))))
    return ModeSets(exactly(accuracy, 1e-12), KModes(floats, apart), exactly(stretch, 1e-12))


@st.composite
def mixtures_at(draw):
    """Mixtures with one covariance, a direction and a threshold; half of them two equal modes and the place between them."""
    rng = np.random.default_rng(draw(seeds))
    dim = draw(st.integers(1, 3))
    if draw(st.booleans()):
        direction, width = rng.standard_normal(dim), draw(st.sampled_from([0.3, 0.5, 0.9]))
        unit = direction / np.linalg.norm(direction)
        law = GaussianMixture(np.stack([-unit, unit]), np.tile(width**2 * np.eye(dim), (2, 1, 1)))
        return MixtureAt(law, direction, draw(st.sampled_from([0.0, 0.01, 0.3])))
    factor = rng.standard_normal((dim, dim)) + 2 * np.eye(dim)
    covariance = 0.05 * (factor @ factor.T)
    r = draw(st.integers(2, 5))
    law = GaussianMixture(
        rng.standard_normal((r, dim)), np.tile((covariance + covariance.T) / 2, (r, 1, 1)), rng.dirichlet(np.ones(r))
    )
    return MixtureAt(law, rng.standard_normal(dim), float(rng.standard_normal()))


def density(x):
    return (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


@st.composite
def distant_sets(draw):
    """The normal law with the mass of a slab moved to one of its sides: total variation, masses and distance exact, T = id."""
    start, width = draw(st.floats(-1.5, 1.0)), draw(st.floats(0.01, 1.0))
    normal = standard_normal(1)
    tau = normal.slab_mass([1.0], start, start + width)
    a = float(ndtr(start)) + (tau.upper if draw(st.booleans()) else 0.0)
    b = 1.0 - a
    return DistantSets(
        exactly(tau.upper, 1e-12), Masses(a, b, 0.0), width, Enclosure(1.0, 1.0 + 1e-9, Guarantee.EXACT, "identity")
    )


@st.composite
def thresholds(draw):
    """An increasing piecewise linear map; the masses at both thresholds in balls."""
    knots = np.linspace(-3, 3, 7)
    slopes = np.array(draw(st.lists(st.integers(1, 12), min_size=6, max_size=6)), float)
    values = np.concatenate(([0.0], np.cumsum(slopes)))
    i, j = sorted(draw(st.lists(st.integers(0, 6), min_size=2, max_size=2, unique=True)))
    with working_precision(100):
        low, high = (ends(normal_cdf(t))[0] * (1 - 1e-13) for t in (arb(float(knots[i])), -arb(float(knots[j]))))
    return TwoThresholds((float(values[i]), float(values[j])), exactly(low), exactly(high), exactly(float(slopes.max()), 1e-9))


@st.composite
def restricted_sets(draw):
    """A monotone map cut to a latent interval: the masses of the whole half-lines, kappa exact, distance of what is left."""
    problem = draw(monotone_maps())
    n = len(problem.atoms)
    first, last = sorted((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))))
    sets = sets_of(problem)
    left, right = range(first, min(problem.left, last + 1)), range(max(first, n - problem.right), last + 1)
    apart = problem.images[right[0]] - problem.images[left[-1]] if len(left) and len(right) else 0.0
    outside = float(problem.weights[:first].sum() + problem.weights[last + 1 :].sum())
    changed = SeparatedSets(1, sets.epsilon, sets.masses, exactly(float(apart)), sets.distance, sets.lipschitz)
    return RestrictedSets(changed, exactly(outside, 1e-12))


@st.composite
def noisy_argmaxes(draw):
    """Probabilities with up to five components, some tiny."""
    parts = draw(st.lists(st.sampled_from([1e-6, 0.01, 1.0, 2.0, 5.0]), min_size=1, max_size=5))
    return NoisyArgmax(tuple(part / math.fsum(parts) for part in parts))


def _mlp(rng, sizes, activation):
    weights = [rng.standard_normal((after, before)) / math.sqrt(before) for before, after in itertools.pairwise(sizes)]
    return Mlp(weights, [rng.standard_normal(size) for size in sizes[1:]], activation)


@st.composite
def mlps(draw):
    """Random networks with activations of slope at most 1, on random points."""
    rng = np.random.default_rng(draw(seeds))
    activation = draw(st.sampled_from(["relu", "tanh", "softplus", "arctan"]))
    sizes = [draw(st.integers(1, 3)), *draw(st.lists(st.integers(1, 8), min_size=0, max_size=2)), draw(st.integers(1, 3))]
    return MlpOnPoints(_mlp(rng, sizes, activation), rng.standard_normal((20, sizes[0])))


@st.composite
def layers_on_box(draw):
    """One to three random layers, forward or inverse, on random points of the box and pairs of near ones."""
    rng = np.random.default_rng(draw(seeds))
    half, count = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    layers = []
    for _ in range(count):
        s, t = (_mlp(rng, [half, 4, half], "tanh") for _ in range(2))
        layers.append(ClampedCoupling(s, t, draw(st.sampled_from([0.1, 0.7, 2.0])), draw(st.sampled_from([0.5, 2.0]))))
    radius = draw(st.sampled_from([0.5, 3.0]))
    points = rng.uniform(-radius, radius, (12, 2 * half))
    near = np.clip(points + 1e-4 * rng.standard_normal(points.shape), -radius, radius)
    return LayersOnBox(layers, radius, np.concatenate((points, near)), draw(st.booleans()))


STRATEGIES = {
    "Equation1": conditional_spaces(),
    "Equation2": conditional_spaces(),
    "Equation3": conditional_spaces(),
    "Remark1": laws_on_points(),
    "Remark1Repaired": laws_on_points(),
    "Inequality7": two_sets(),
    "Remark2Upper": laws_on_points(),
    "Remark2Lower": laws_on_points(),
    "Equation9": finite_maps(),
    "Remark3": transported_laws(),
    "Theorem1": finite_posteriors(),
    "Theorem1Gaussian": gaussian_posteriors(),
    "Theorem2": affine_posteriors(),
    "Proposition1": nearly_normal_sets,
    "SharpProposition1": separated_sets,
    "Corollary1": nearly_normal_sets,
    "SharpCorollary1": separated_sets,
    "Corollary2": conditional_sets(arbitrary=False),
    "SharpCorollary2": conditional_sets(),
    "TwoSetBound": data_sets(),
    "FrontierBound": statistic_laws(),
    "TotalVariationBound": distant_sets(),
    "StarBound": mode_sets(),
    "Enough": mixtures_at(),
    "BlackBoxBound": thresholds(),
    "RestrictedProposition1": restricted_sets(),
    "GumbelMax": noisy_argmaxes(),
    "MatrixProduct": mlps(),
    "Inequality13": layers_on_box(),
    "SharpInequality13": layers_on_box(),
}
