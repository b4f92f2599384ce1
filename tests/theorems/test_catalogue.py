"""Every statement on drawn instances, on its extremal one, and its record of the closest calls."""

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings, target

from lipbounds.theorems import FAILING, STATEMENTS, Outcome
from tests.strategies.instances import STRATEGIES

TRUE = [statement for statement in STATEMENTS if not isinstance(statement, FAILING)]
NAMES = [type(statement).__name__ for statement in TRUE]
SLOW = {"TwoSetBound", "FrontierBound", "StarBound"}

# How near to equality each extremal instance comes: slack below this. What the printed constants lose is theirs, see docs.
NEARNESS = {
    "Proposition1": 1e9,
    "Corollary1": 1e9,
    "Corollary2": 1e9,
    "SharpProposition1": 1.01,
    "SharpCorollary1": 1.01,
    "SharpCorollary2": 1.01,
    "RestrictedProposition1": 2.001,
    "Inequality13": 1.04,
    "StarBound": 1.11,  # no generator of three equidistant atoms is known to come nearer
    "GumbelMax": math.inf,  # left side 0 up to 1e-19
}


@pytest.fixture
def hundred_examples():
    """Shares of instances need that many."""
    profile = settings.get_current_profile_name()
    many = max(100, settings().max_examples)
    settings.register_profile("shares", settings.get_profile(profile), max_examples=many)
    settings.load_profile("shares")
    yield
    settings.load_profile(profile)


@pytest.mark.usefixtures("hundred_examples")
@pytest.mark.parametrize("statement", TRUE, ids=NAMES)
def test_holds_on_drawn_instances(statement, closest_calls):
    name = type(statement).__name__
    outcomes, near = Counter(), [0]

    @settings(max_examples=max(10, settings().max_examples // (4 if name in SLOW else 1)))
    @given(instance=STRATEGIES[name])
    def holds(instance):
        verdict = statement.check(instance)
        outcomes[verdict.outcome] += 1
        near[0] += verdict.outcome is Outcome.UNDECIDED and abs(verdict.slack - 1) < 1e-8  # equal up to rounding
        assert verdict.outcome is not Outcome.REFUTED, verdict.reason
        if verdict.refutable and verdict.left.upper > 0 and math.isfinite(verdict.slack):
            closest_calls.add(name, verdict)
            target(-math.log(max(verdict.slack, 1e-300)), label=name)

    holds()
    applicable = sum(count for outcome, count in outcomes.items() if outcome is not Outcome.NOT_APPLICABLE)
    # the paper's condition of Remark 1 excludes its own kernel and most others; kinks exclude some from Remark 2
    assert applicable > (0.1 if name == "Remark1" else 0.4) * sum(outcomes.values())
    assert outcomes[Outcome.CONFIRMED] + near[0] > 0.8 * applicable


@pytest.mark.parametrize("statement", TRUE, ids=NAMES)
def test_extremal_instances_are_extremal(statement):
    name = type(statement).__name__
    verdict = statement.check(statement.extremal())
    # equality up to rounding cannot be told from a violation by as much
    assert verdict.outcome is Outcome.CONFIRMED or abs(verdict.slack - 1) < 1e-8
    assert verdict.outcome is not Outcome.REFUTED
    assert verdict.refutable
    assert verdict.slack <= NEARNESS.get(name, 1 + 1e-6)


@pytest.mark.parametrize("kind", FAILING, ids=lambda kind: kind.__name__)
def test_false_statements_are_refuted_by_their_counterexample(kind):
    statement = kind()
    assert statement.version == "printed"
    assert statement.check(statement.extremal()).outcome is Outcome.REFUTED


def test_every_statement_is_described():
    for statement in STATEMENTS:
        assert statement.number
        assert statement.text
        assert statement.version in ("printed", "sharp", "repaired")
        assert type(statement).__doc__
    page = (Path(__file__).parents[2] / "docs" / "theorems.md").read_text()
    for statement in STATEMENTS:
        module = type(statement).__module__.removeprefix("lipbounds.theorems.")
        assert f"| {statement.number} | {statement.version} | `{module}.{type(statement).__name__}` |" in page
    numbers = {statement.number for statement in STATEMENTS}
    wanted = {"(1)", "(2)", "(3)", "(7)", "(9)", "(13)", "Remark 1", "Remark 2", "Remark 3", "Theorem 1", "Theorem 2"}
    wanted |= {"Proposition 1", "Corollary 1", "Corollary 2", "S1", "S2", "S3", "S4", "S5", "S6", "S7"}
    assert wanted <= numbers
