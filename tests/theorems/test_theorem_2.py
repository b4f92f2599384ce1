from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from lipbounds.errors import InvalidInput
from lipbounds.theorems import Outcome, Theorem2, Theorem2Printed
from lipbounds.theorems.theorem_2 import AffinePosterior, contraction, translation
from tests.strategies.affine import affine_posteriors


def test_the_printed_counterexamples_have_the_printed_numbers():
    first = translation()
    verdict = Theorem2Printed().check(first)
    assert verdict.outcome is Outcome.REFUTED
    assert first.error.upper == pytest.approx(10.0)
    assert [constant.upper for constant in first.lipschitz] == pytest.approx([1.0, 1.0], abs=1e-12)
    assert (first.epsilon, first.delta) == (0, 1)
    assert first.radius.upper == pytest.approx(0.75**0.5)  # below 0.87
    assert verdict.right.upper == pytest.approx(3**0.5)  # 1.73
    second = contraction(0.1)
    verdict = Theorem2Printed().check(second)
    assert verdict.outcome is Outcome.REFUTED
    assert second.error.upper == pytest.approx(11.0)
    assert verdict.right.upper == pytest.approx(2.0)


def test_both_are_equality_or_near_equality_cases_of_the_repaired_bound():
    # the translation: diameter 11 for a distance of 10; the contraction: equality
    assert Theorem2().right(translation()).upper == pytest.approx(11.0)
    assert Theorem2().check(translation()).outcome is Outcome.CONFIRMED
    exact = contraction(0.25)
    assert Theorem2().right(exact).upper == pytest.approx(exact.error.lower, rel=1e-11)
    for factor in (0.1, 0.5, 2.0):
        assert Theorem2().check(contraction(factor)).outcome is not Outcome.REFUTED


def rare_error(mass):
    """T = Id; Y misses T_y(X) by 1 on a set A of this mass and Z is exact: equality in the term with epsilon."""
    return AffinePosterior(
        probabilities=np.array([mass, 1 - mass]),
        x=np.zeros((2, 2)),
        y=np.array([[1.0], [0.0]]),
        z=np.zeros((2, 1)),
        matrix=np.eye(2),
        offset=np.zeros(2),
        conditioned=np.array([True, False]),
    )


@pytest.mark.parametrize("mass", [0.01, 0.5])
def test_equality_in_the_first_term(mass):
    instance = rare_error(mass)
    assert instance.delta == 0.0
    assert Theorem2().right(instance).upper == pytest.approx(instance.error.lower, rel=1e-11)
    assert Theorem2().check(instance).outcome is not Outcome.REFUTED
    # without the division by P(A) it is false
    mutant = weakened("no division by P(A) in the first term", lambda i, r: steep(i) * np.sqrt(float(i.epsilon)))
    assert mutant.check(instance).outcome is Outcome.REFUTED


def search(predicate, examples):
    """The first instance that satisfies the predicate, shrunk; `find` raises if there is none."""
    options = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    return find(affine_posteriors(), predicate, settings=options)


def test_a_search_finds_a_counterexample_to_the_printed_theorem():
    # within the number of examples of the ci profile, over laws and maps chosen without knowledge of one
    found = search(lambda instance: Theorem2Printed().check(instance).outcome is Outcome.REFUTED, 100)
    assert Theorem2Printed().check(found).outcome is Outcome.REFUTED
    assert Theorem2().check(found).outcome is not Outcome.REFUTED
    assert np.abs(found.offset).max() > 0 or np.abs(found.matrix).max() > 1  # a translation, or a shear


@given(affine_posteriors())
def test_the_repaired_theorem_holds(instance):
    assert Theorem2().check(instance).outcome is not Outcome.REFUTED


def steep(instance):
    """Lip(T^{-1})."""
    return instance.lipschitz[1].upper


def weakened(text, change):
    """The repaired statement with its bound changed."""

    class Mutant(Theorem2):
        def right(self, instance):
            value = change(instance, super().right(instance))
            return replace(super().right(instance), lower=value, upper=value)

    Mutant.text = text
    return Mutant()


MUTANTS = [
    weakened("0.9 of the constant", lambda i, r: 0.9 * r.upper),
    weakened(
        "diameter of Z alone",
        lambda i, r: steep(i) * (np.sqrt(float(i.epsilon / i.mass)) + np.ptp(i.z, axis=0).max() * float(i.delta / i.mass)),
    ),
    weakened(
        "epsilon for its root over 10",
        lambda i, r: steep(i) * (float(i.epsilon / i.mass / 10) + i.latent_diameter.upper * float(i.delta / i.mass)),
    ),
    weakened(
        "no division by P(A) in the second",
        lambda i, r: steep(i) * (np.sqrt(float(i.epsilon / i.mass)) + i.latent_diameter.upper * float(i.delta)),
    ),
    weakened("no delta", lambda i, r: steep(i) * np.sqrt(float(i.epsilon / i.mass))),
    weakened("no epsilon", lambda i, r: steep(i) * i.latent_diameter.upper * float(i.delta / i.mass)),
    weakened("Lip(T) for Lip(T^-1), halved", lambda i, r: 0.5 * i.lipschitz[0].upper / steep(i) * r.upper),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.text)
def test_mutants_are_refuted(mutant):
    found = search(lambda instance: mutant.check(instance).outcome is Outcome.REFUTED, 3000)
    assert Theorem2().check(found).outcome is not Outcome.REFUTED


@pytest.mark.parametrize(
    "change",
    [
        {"matrix": np.zeros((2, 2))},
        {"matrix": np.eye(3)},
        {"offset": np.zeros(3)},
        {"conditioned": np.zeros(4, dtype=bool)},
        {"z": np.zeros((4, 2))},
    ],
)
def test_bad_input(change):
    with pytest.raises(InvalidInput):
        replace(translation(), **change)
    assert isinstance(translation(), AffinePosterior)
