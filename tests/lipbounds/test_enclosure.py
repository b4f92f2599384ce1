import math
import pickle

import pytest

from lipbounds.enclosure import Enclosure, Guarantee, as_accuracy, combined, derived
from lipbounds.errors import InvalidInput


def test_the_weakest_guarantee_wins_and_error_probabilities_add():
    exact = Enclosure(0.0, 1.0, Guarantee.EXACT, "closed form")
    confident = Enclosure(0.0, math.inf, Guarantee.CONFIDENCE, "band", 0.05)
    estimate = Enclosure(0.0, 1.0, Guarantee.ESTIMATE, "plug-in")
    assert combined(exact, confident) == (Guarantee.CONFIDENCE, 0.05, ())
    assert combined(confident, exact, confident) == (Guarantee.CONFIDENCE, 0.1, ())
    assert combined(confident, estimate) == (Guarantee.ESTIMATE, None, ())
    assert combined(*[confident] * 20) == (Guarantee.ESTIMATE, None, ())
    assert list(Guarantee) == [Guarantee.ESTIMATE, Guarantee.CONFIDENCE, Guarantee.EXACT, Guarantee.CERTIFIED]


def test_assumptions_are_passed_on_once_and_in_order():
    first = Enclosure(0.0, 1.0, Guarantee.CERTIFIED, "kernel", assumptions=("pow is good to 4 ulps",))
    second = Enclosure(0.0, 1.0, Guarantee.EXACT, "given", assumptions=("epsilon <= 1, as given", "pow is good to 4 ulps"))
    both = derived(0.0, 2.0, "sum", first, second)
    assert both.guarantee is Guarantee.EXACT
    assert both.assumptions == ("pow is good to 4 ulps", "epsilon <= 1, as given")
    assert as_accuracy(0.5).assumptions == ("epsilon <= 0.5, as given",)
    assert as_accuracy(first) is first


def test_errors_cross_process_boundaries():
    error = InvalidInput("sigma", -1.0, "a number > 0", "choose another")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.name) == (InvalidInput, str(error), "sigma")


@pytest.mark.parametrize(
    "arguments",
    [
        (1.0, 0.0, Guarantee.EXACT, "x"),
        (math.nan, 0.0, Guarantee.EXACT, "x"),
        (0.0, 1.0, Guarantee.CONFIDENCE, "x"),
        (0.0, 1.0, Guarantee.EXACT, "x", 0.05),
        (0.0, 1.0, Guarantee.CONFIDENCE, "x", 1.0),
    ],
)
def test_bad_input(arguments):
    with pytest.raises(InvalidInput):
        Enclosure(*arguments)
