"""Weakened and mistaken versions of every statement are refuted by the instances that the true ones survive.

A mutant changes a side of a statement, drops a hypothesis, or feeds it the wrong quantity. The search sees the statement's own
strategy and extremal instance, and further cases of equality where the true bound is far from the drawn ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import acb
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from lipbounds.maps.layer_constants import LayerConstants
from lipbounds.theorems import (
    STATEMENTS,
    DataSets,
    KModes,
    Masses,
    Outcome,
    TwoThresholds,
    exact_lipschitz,
    forced_for_condition,
    least_stretch,
    separation,
    separation_in_total_variation,
    two_modes,
)
from lipbounds.theorems.equation_9 import FiniteMap
from lipbounds.theorems.equation_13 import Mlp, MlpOnPoints
from lipbounds.theorems.finite import FiniteSpace
from lipbounds.theorems.proposition_1 import moved_slab
from lipbounds.theorems.theorem_1 import FinitePosterior
from tests.strategies.instances import STRATEGIES, exactly, sets_of
from tests.strategies.lines import monotone_maps

BY_NAME = {type(statement).__name__: statement for statement in STATEMENTS}
EXAMPLES = 1500


@dataclass(frozen=True)
class Mutant:
    """A mistaken statement: sides, hypotheses or instances changed; `extra` are further instances to try first."""

    statement: str
    what: str
    left: Callable[[Any, Any], float] | None = None
    right: Callable[[Any, Any], float] | None = None
    instance: Callable[[Any], Any] | None = None
    hypotheses: bool = True
    strategy: Any = None
    extra: tuple = ()

    def __str__(self):
        return f"{self.statement}: {self.what}"

    def verdict(self, drawn):
        true = BY_NAME[self.statement]
        mutant = self

        class Changed(type(true)):
            def hypotheses(self, instance):
                return super().hypotheses(instance) if mutant.hypotheses else []

            def left(self, instance):
                side = super().left(instance)
                return side if mutant.left is None else exactly(mutant.left(instance, side), 1e-13)

            def right(self, instance):
                side = super().right(instance)
                return side if mutant.right is None else exactly(mutant.right(instance, side), 1e-13)

        return Changed().check(drawn if self.instance is None else self.instance(drawn))

    def candidates(self):
        return (*self.extra, BY_NAME[self.statement].extremal())


def printed_distance_with(constant=None, exponent=None, inner=None):
    """The right side of Proposition 1 with parts replaced."""

    def changed(instance, side):
        n, delta, epsilon = instance.dim, instance.masses.delta, instance.epsilon.upper
        full = delta + epsilon ** (n / (n + 1)) if inner is None else inner(n, delta, epsilon)
        root = 1 / n if exponent is None else exponent(n)
        true_inner = delta + epsilon ** (n / (n + 1))
        c = side.upper / true_inner ** (1 / n) if constant is None else constant
        return c * full**root

    return changed


def over(change):
    """The left side of Corollary 1 from a changed distance bound."""
    return lambda instance, side: instance.distance / change(instance, exactly(instance.distance / side.lower))


def normal_density(x):
    return (-x * x / 2).exp() / (2 * acb.pi()).sqrt()


def normal_distribution(x):
    return (-x / acb(2).sqrt()).erfc() / 2


def logistic(x):
    return 1 / (1 + (-x).exp())


def logistic_density(x):
    return logistic(x) * logistic(-x)


def width(instance, **changes):
    sets = replace(instance, **changes)
    return separation(sets.epsilon.upper, sets.masses).upper


def quarter(epsilon):
    return exactly(epsilon.upper / 4)


def without_gap(masses):
    rest = masses.gap / 2
    return Masses(masses.a + rest, masses.b + rest, 0.0)


def smaller_epsilon(instance):
    return replace(instance, epsilon=quarter(instance.epsilon))


def larger_masses(instance):
    return replace(instance, masses=without_gap(instance.masses))


def conditional(instance, **changes):
    return replace(instance, sets=replace(instance.sets, **changes))


TINY = tuple(moved_slab(10.0**-k, dim=n) for n in (1, 2, 8, 64) for k in (3, 8, 14))
GAPS = tuple(
    replace(
        moved_slab(0.3, masses=Masses.equal(gap)),
        image_distance=exactly(separation(0.0, Masses.equal(gap)).lower),
        epsilon=exactly(0.0),
    )
    for gap in (1e-12, 1e-3, 0.1)
)
TINY_CONDITION = tuple(
    replace(BY_NAME["SharpCorollary2"].extremal(), sets=replace(slab, distance=math.hypot(slab.distance, 0.5))) for slab in TINY
)
EXACT_MAPS = tuple(
    DataSets(exactly(0.0), Masses.equal(two_modes(sigma).slab_mass([1.0], -0.2, 0.2)), 0.4, exactly(exact_lipschitz(sigma), 1e-9))
    for sigma in (0.5, 0.3)
)
forward_map = monotone_maps().map(lambda problem: sets_of(problem, forward=True))


def pooled_identity(_):
    """The identity on the mixture 0.5 N(-5, 1) + 0.5 N(5, 1) with the mixture's own distribution function."""
    mass = exactly(0.5 * (1 + math.erf(3 / math.sqrt(2))) / 2)  # beyond -2, of the left component
    return TwoThresholds((-2.0, 2.0), mass, mass, exactly(1.0))


def not_injective(_):
    a, b, c = ((Fraction(i),) for i in range(3))
    half = Fraction(1, 2)
    return FiniteMap({a: c, b: c}, {c: a}, {a: half, b: half}, {c: Fraction(1)})


MUTANTS = [
    # Proposition 1 and Corollary 1 as printed
    Mutant("Proposition1", "C = 3", right=printed_distance_with(constant=3.0), extra=TINY),
    Mutant("Proposition1", "exponent 1/n dropped", right=printed_distance_with(exponent=lambda n: 1.0), extra=TINY),
    Mutant("Proposition1", "epsilon for epsilon^(n/(n+1))", right=printed_distance_with(inner=lambda n, d, e: d + e), extra=TINY),
    Mutant(
        "Proposition1",
        "delta dropped",
        right=printed_distance_with(inner=lambda n, d, e: e ** (n / (n + 1)) if e else 0.0),
        extra=GAPS,
    ),
    Mutant("Corollary1", "C = 3", left=over(printed_distance_with(constant=3.0)), extra=TINY),
    Mutant("Corollary1", "exponent 1/n dropped", left=over(printed_distance_with(exponent=lambda n: 1.0)), extra=TINY),
    Mutant("Corollary1", "epsilon^2", left=over(printed_distance_with(inner=lambda n, d, e: d + e**2)), extra=TINY),
    # S1 and S2
    Mutant("SharpProposition1", "0.9 of the bound", right=lambda i, r: 0.9 * r.upper),
    Mutant("SharpProposition1", "a quarter of W_1", right=lambda i, r: width(i, epsilon=quarter(i.epsilon))),
    Mutant("SharpProposition1", "gap dropped", right=lambda i, r: width(i, masses=without_gap(i.masses)), extra=GAPS),
    Mutant("SharpProposition1", "epsilon^(n/(n+1)) at n = 1 without constant", right=lambda i, r: math.sqrt(i.epsilon.upper)),
    Mutant("SharpCorollary1", "1.1 of the bound", left=lambda i, r: 1.1 * r.lower),
    Mutant("SharpCorollary1", "a quarter of W_1", instance=smaller_epsilon),
    Mutant("SharpCorollary1", "gap dropped", instance=larger_masses),
    Mutant("SharpCorollary1", "Lip(T) for Lip(T^-1)", strategy=forward_map),
    Mutant(
        "SharpCorollary1",
        "image distance over rho*, inverted",
        left=lambda i, r: r.lower**2,
        strategy=monotone_maps().map(sets_of),
    ),
    # Corollary 2 and S3
    Mutant(
        "Corollary2",
        "rho dropped",
        left=lambda i, r: 1 / (1 / r.lower - i.diameter.upper / i.sets.distance),
        extra=TINY_CONDITION,
    ),
    Mutant("SharpCorollary2", "0.9 of the distances", left=lambda i, r: r.lower / 0.9),
    Mutant("SharpCorollary2", "rho dropped", instance=lambda i: replace(i, diameter=exactly(0.0))),
    Mutant(
        "SharpCorollary2",
        "the larger of rho* and rho",
        left=lambda i, r: i.sets.distance / max(width(i.sets), i.diameter.upper),
    ),
    Mutant("SharpCorollary2", "a quarter of W_1", instance=lambda i: conditional(i, epsilon=quarter(i.sets.epsilon))),
    Mutant("SharpCorollary2", "rho* dropped", left=lambda i, r: i.sets.distance / max(i.diameter.upper, 1e-300)),
    # S4
    Mutant("TwoSetBound", "1.05 of the bound", left=lambda i, r: 1.05 * r.lower),
    Mutant("TwoSetBound", "a quarter of W_1", left=lambda i, r: least_stretch(i.distance, i.masses, i.epsilon.upper / 4).lower),
    Mutant("TwoSetBound", "gap dropped", instance=larger_masses, extra=EXACT_MAPS),
    Mutant("FrontierBound", "1.05 of the bound", left=lambda i, r: 1.05 * r.lower),
    Mutant("FrontierBound", "a quarter of W_1", instance=smaller_epsilon),
    # S5
    Mutant(
        "TotalVariationBound",
        "half of tau",
        left=lambda i, r: i.distance / separation_in_total_variation(i.tau.upper / 2, i.masses).upper,
    ),
    Mutant("TotalVariationBound", "1.05 of the bound", left=lambda i, r: 1.05 * r.lower),
    Mutant("TotalVariationBound", "tau from the larger mass", instance=lambda i: replace(i, masses=_moved(i))),
    # S8
    Mutant("StarBound", "1.05 of the bound", left=lambda i, r: 1.05 * r.lower),
    Mutant("StarBound", "a quarter of W_1", instance=lambda i: replace(i, epsilon=exactly(i.epsilon.upper / 4))),
    Mutant(
        "StarBound",
        "legs as long as the distances",
        instance=lambda i: replace(i, modes=KModes(i.modes.masses, 2 * i.modes.matrix)),
    ),
    Mutant("StarBound", "the price for L", left=lambda i, r: r.lower * i.modes.closest),
    # S11
    Mutant("Enough", "0.999 of what is enough", right=lambda i, r: 0.999 * r.upper),
    Mutant("Enough", "the widest distance over 9", right=lambda i, r: r.upper ** (8 / 9)),
    Mutant(
        "Enough", "the covariance for its root", right=lambda i, r: r.upper * math.sqrt(np.linalg.norm(i.law.covariances[0], 2))
    ),
    Mutant("Enough", "the profile of 1/2", left=lambda i, r: r.lower * 1.01),
    # S6 and S7
    Mutant("BlackBoxBound", "1.05 of the bound", left=lambda i, r: 1.05 * r.lower),
    Mutant(
        "BlackBoxBound",
        "masses for their quantiles",
        left=lambda i, r: (i.thresholds[1] - i.thresholds[0]) / (1 - i.above.upper - i.below.upper),
    ),
    Mutant("BlackBoxBound", "the pooled law of a mixture latent", instance=pooled_identity),
    Mutant("RestrictedProposition1", "domain correction dropped", instance=lambda i: replace(i, kappa=exactly(0.0))),
    Mutant("RestrictedProposition1", "a third of kappa", instance=lambda i: replace(i, kappa=exactly(i.kappa.upper / 3))),
    # inequality (7)
    Mutant("Inequality7", "1.001 of the distance", left=lambda i, r: 1.001 * r.lower),
    Mutant(
        "Inequality7", "the smaller mass for the excess", left=lambda i, r: i.distance.lower * min(i.mass_a.lower, i.mass_b.lower)
    ),
    Mutant("Inequality7", "the square of the distance", left=lambda i, r: i.distance.lower * r.lower),
    # Remarks
    Mutant("Remark1Repaired", "the mean eigenvalue", left=lambda i, r: math.sqrt(abs(i.kernel.at_zero)) * i.mass_distance),
    Mutant("Remark2Upper", "0.9 of the constant", right=lambda i, r: 0.9 * r.upper),
    Mutant("Remark2Upper", "W_1 squared", right=lambda i, r: i.wasserstein.upper * r.upper),
    Mutant("Remark2Lower", "without the number of points", right=lambda i, r: r.upper / math.sqrt(len(i.points))),
    Mutant("Remark2Lower", "D_K squared", right=lambda i, r: i.discrepancy.upper * r.upper),
    Mutant("Remark3", "0.9 of the constant", right=lambda i, r: 0.9 * r.upper),
    Mutant("Remark3", "Lip(T) for Lip(T^-1)", right=lambda i, r: _forward_constant(i) * i.losses[1].upper),
    Mutant("Remark3", "a quarter of W_1", right=lambda i, r: r.upper / 4),
    Mutant(
        "Remark3",
        "L_x and L_z exchanged",
        left=lambda i, r: i.losses[1].lower,
        right=lambda i, r: i.constant.upper * i.losses[0].upper,
    ),
    # conditional laws, the losses, Theorem 1
    Mutant("Equation1", "the law of X for its conditional law", instance=lambda i: replace(i, kernel=lambda s, v, y: s.law(v))),
    Mutant("Equation2", "f(y) twice", instance=lambda i: replace(i, kernel=_factor_again(i))),
    Mutant("Equation3", "the law of X for its conditional law", instance=lambda i: replace(i, kernel=lambda s, v, y: s.law(v))),
    Mutant("Equation9", "T not injective", instance=not_injective, hypotheses=False),
    Mutant("Theorem1", "T_y o X = Y in law only", instance=lambda i: _in_law_only(), hypotheses=False),
    Mutant("Theorem1Gaussian", "the wrong law of Z", instance=lambda i: replace(i, latent_shift=1), hypotheses=False),
    # Section 4
    Mutant("GumbelMax", "normal noise", instance=lambda i: replace(i, distribution=normal_distribution, density=normal_density)),
    Mutant("GumbelMax", "logistic noise", instance=lambda i: replace(i, distribution=logistic, density=logistic_density)),
    Mutant("MatrixProduct", "spectral radii", right=lambda i, r: _radii(i)),
    Mutant("MatrixProduct", "silu as 1-Lipschitz", instance=lambda i: _silu(i), hypotheses=False),
    Mutant("Inequality13", "c_1 dropped", right=lambda i, r: _thirteen(i, c1=0.0)),
    Mutant("Inequality13", "c_2 dropped", right=lambda i, r: _thirteen(i, c2=0.0)),
    Mutant("Inequality13", "c dropped", right=lambda i, r: _thirteen(i, c=0.0), strategy=STRATEGIES["Inequality13"]),
    Mutant("SharpInequality13", "0.99 of the bound", right=lambda i, r: 0.99 * r.upper),
]


def _moved(instance):
    """Masses under which the bound subtracts tau from the larger one."""
    small, large = sorted((instance.masses.a, instance.masses.b))
    tau = instance.tau.upper
    shifted = min(small + tau, 1 - 1e-9)
    return Masses(shifted, max(1 - shifted, 1e-9), 0.0) if large > tau else instance.masses


def _forward_constant(instance):
    points = np.concatenate((instance.image.points, instance.latent.points))
    images = np.concatenate((instance.data, instance.generated))
    apart, images_apart = (np.linalg.norm(v[:, None] - v[None], axis=2) for v in (points, images))
    return float((apart[images_apart > 0] / images_apart[images_apart > 0]).max(initial=0.0))


def _factor_again(instance):
    """A kernel whose means are multiplied by f(y) once more."""

    def kernel(space, values, y):
        factor = instance.factor(y)
        law = {}
        for point, mass in space.conditional_law(values, y).items():
            image = tuple(factor[i % len(factor)] * v for i, v in enumerate(point))
            law[image] = law.get(image, Fraction(0)) + mass
        return law

    return kernel


def _in_law_only():
    """T o X and (Y, Z) of one law, but Y independent of X."""
    zero, one = (Fraction(0),), (Fraction(1),)
    quarter_each = (Fraction(1, 4),) * 4
    space = FiniteSpace(quarter_each, (zero, one, zero, one), (zero, zero, one, one), (zero,) * 4)
    return FinitePosterior(space, {zero: (zero, zero), one: (one, zero)})


def _radii(instance):
    radii = [
        float(np.abs(np.linalg.eigvals(m)).max()) if m.shape[0] == m.shape[1] else float(np.linalg.norm(m, 2))
        for m in instance.network.weights
    ]
    return math.prod(radii)


def _silu(instance):
    network = Mlp([np.eye(1), np.eye(1)], [np.zeros(1), np.zeros(1)], "silu")
    return MlpOnPoints(network, np.array([[2.39], [2.41]]))


def _thirteen(instance, **changes):
    layer = instance.layers[0]
    if len(instance.layers) > 1:
        return math.inf
    true = LayerConstants.of(layer.numbers, instance.radius, inverse=instance.inverse)
    constants = replace(true, **changes)
    return float((constants.c + constants.c1 * layer.numbers.lip_s + constants.c2 * layer.numbers.lip_t).mid())


def _refuting(mutant):
    """An instance on which the mutant is refuted, or None."""

    def refuted(instance):
        return mutant.verdict(instance).outcome is Outcome.REFUTED

    for instance in mutant.candidates():
        if refuted(instance):
            return instance
    options = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    try:
        return find(mutant.strategy if mutant.strategy is not None else STRATEGIES[mutant.statement], refuted, settings=options)
    except NoSuchExample:
        return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutants_are_refuted(mutant):
    found = _refuting(mutant)
    assert found is not None, f"{mutant} survives"
    # what refutes the mutant does not refute the statement
    if mutant.strategy is None:
        assert BY_NAME[mutant.statement].check(found).outcome is not Outcome.REFUTED


def test_masses_exchanged_is_still_true():
    # the only mutant known to survive: reflecting the line (u -> -u) turns h for (a, b) into h for (b, a), so E is symmetric in a
    # and b, and exchanging the masses of Q and R changes nothing
    for a, b in ((0.2, 0.7), (0.4, 0.4), (0.05, 0.95)):
        masses, exchanged = Masses(a, b, max(0.0, 1 - a - b)), Masses(b, a, max(0.0, 1 - a - b))
        assert separation(0.01, masses) == separation(0.01, exchanged)
        assert least_stretch(1.0, masses, 0.01) == least_stretch(1.0, exchanged, 0.01)
        tau = exactly(0.01)
        assert separation_in_total_variation(tau.upper, masses) == separation_in_total_variation(tau.upper, exchanged)
        assert forced_for_condition(1.0, masses, tau, tau) == forced_for_condition(1.0, exchanged, tau, tau)


def test_every_statement_has_mutants():
    assert len(MUTANTS) >= 30
    # those of Theorem 2 are in its own file
    assert {mutant.statement for mutant in MUTANTS} >= set(STRATEGIES) - {"Theorem2", "Remark1"}
