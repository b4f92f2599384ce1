"""The statements on trained networks: sets, labels and domains are drawn, accuracy and constants measured."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.checks import Measured, label_checks, measured_on_ball, set_checks, unconditional_checks
from experiments.networks import SETTINGS, labels_of, train_setting
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.theorems import Outcome, SharpCorollary1, forced_by_frontier
from lipbounds.theorems.remark_3 import Remark3
from tests.brief import brief_search

SHARED = (
    "normal, 2-d, short",
    "normal, 2-d, round",
    "normal, 3-d",
    "normal, 8-d",
    "mixture, 2-d",
    "y in 1-d, z in 1-d",
    "y in 1-d, z in 2-d",
)
# a smaller ball than LATENT_MASS: another domain for the same network, with a constant of its own
MASSES = {"normal, 2-d, round": (0.99, 0.9999)}


@pytest.fixture(scope="session")
def networks():
    """Trained networks by setting, each measured on one or two latent balls."""
    chosen = [setting for setting in SETTINGS if setting.name in SHARED]
    assert len(chosen) == len(SHARED)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small operations lose more by sharing cores than they gain
    try:
        with brief_search():
            return {
                setting.name: [
                    measured_on_ball(network, seed=index, evaluations=30_000, latent_mass=mass)
                    for index, network in enumerate(train_setting(setting, seed=0))
                    for mass in MASSES.get(setting.name, (0.9999,))
                ]
                for setting in chosen
            }
    finally:
        torch.set_num_threads(threads)


def verdicts_of(networks, names, draw_checks):
    """Collect outcomes by statement over drawn networks, sets and seeds."""
    outcomes: dict[str, Counter] = {}

    @settings(max_examples=max(30, settings().max_examples // 2))
    @given(
        st.sampled_from(names), st.integers(0, 10), st.integers(0, 2**32 - 1), st.sampled_from(["half-spaces", "balls", "union"])
    )
    def drawn(name, index, seed, kind):
        candidates = networks[name]
        measured = candidates[index % len(candidates)]
        if kind == "balls" and not measured.network.setting.round:
            kind = "half-spaces"
        for statement, instance, words in draw_checks(measured, kind, np.random.default_rng(seed)):
            verdict = statement.check(instance)
            outcomes.setdefault(statement.number, Counter())[verdict.outcome] += 1
            # a bound above the constant found means a failed search or an understated accuracy, a bug in any case
            assert verdict.outcome in (Outcome.CONFIRMED, Outcome.NOT_APPLICABLE), (measured.network.name, words, verdict.reason)

    drawn()
    return outcomes


def test_sets_of_networks_without_labels(networks):
    names = [name for name in SHARED if not name.startswith("y")]
    outcomes = verdicts_of(networks, names, set_checks)
    for number in ("Proposition 1", "Corollary 1", "S1", "S2", "S5", "S7"):
        total = sum(outcomes[number].values())
        assert outcomes[number][Outcome.CONFIRMED] > 0.85 * total, number


def test_labels(networks):
    names = [name for name in SHARED if name.startswith("y")]
    outcomes = verdicts_of(networks, names, lambda measured, kind, rng: label_checks(measured, rng))
    for number in ("Corollary 2", "S3"):
        assert outcomes[number][Outcome.CONFIRMED] > 0.85 * sum(outcomes[number].values()), number


def test_generators_and_finite_supports(networks):
    for name, group in networks.items():
        if name.startswith("y"):
            continue
        for statement, instance, words in unconditional_checks(group[0], 1):
            verdict = statement.check(instance)
            assert verdict.outcome is not Outcome.REFUTED, (name, words, verdict.reason)
            if isinstance(statement, Remark3):
                # both sides are exact: this could have been refuted
                assert verdict.refutable
                assert verdict.outcome is Outcome.CONFIRMED
                forward = replace(instance, lipschitz=Enclosure(0.5, 0.5, Guarantee.EXACT, "wrong"))
                assert Remark3().check(forward).outcome is Outcome.REFUTED


def test_negative_controls(networks):
    # with the accuracy understated the bounds pass the constants found: the verdicts do depend on it
    measured = networks["normal, 2-d, round"][1]
    rng = np.random.default_rng(0)
    instance = next(i for s, i, _ in set_checks(measured, "half-spaces", rng) if isinstance(s, SharpCorollary1))
    assert SharpCorollary1().check(instance).outcome is Outcome.CONFIRMED
    flat = replace(instance, lipschitz=Enclosure(0.05, 0.05, Guarantee.EXACT, "wrong"))
    assert SharpCorollary1().check(flat).outcome is Outcome.REFUTED
    law = measured.network.law.marginal(measured.statistic)
    tiny = Enclosure(0.0, 1e-7, Guarantee.EXACT, "wrong")
    assert forced_by_frontier(law, Enclosure(0.0, 0.05, Guarantee.EXACT, "x")).lower < measured.constants.found.lower
    assert forced_by_frontier(law, tiny).lower > 0.5 * forced_by_frontier(law, replace(tiny, upper=1e-5)).lower > 1.0


def test_measured_quantities(networks):
    for name, group in networks.items():
        for measured in group:
            assert isinstance(measured, Measured)
            assert 0 <= measured.kappa.lower <= measured.kappa.upper < 0.05
            assert measured.constants.found.lower > 0.5
            if measured.network.setting.labels:
                x, y = measured.labelled
                predicted = measured.network.forward(x[:2000])[:, : y.shape[1]]
                assert np.sqrt(((predicted - y[:2000]) ** 2).mean()) < 0.2, name
            elif measured.network.setting.latent == "normal":
                assert measured.to_own.upper < 0.3, name
                assert measured.relative_entropy.upper < 0.1, name
            else:
                # the sharp versions compare with N(0, I), from which this latent is far
                assert measured.to_own.upper < 0.3 < 3.0 < measured.to_normal.upper


def test_labels_do_not_tell_the_modes_apart():
    setting = next(setting for setting in SETTINGS if setting.labels == 1 and setting.dim == 3)
    u = np.array([[1.0, 0.3, -0.2], [-1.0, 0.3, -0.2]])
    first, second = labels_of(u @ setting.reflection, setting)
    assert first == pytest.approx(second)
    assert first[0] == pytest.approx(-0.2 + 0.5 * np.cos(2.0))
