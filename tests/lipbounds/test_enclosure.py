import math

import pytest

from lipbounds.enclosure import Enclosure, Guarantee, weakest
from lipbounds.errors import InvalidInput


def test_the_weakest_guarantee_wins():
    exact = Enclosure(0.0, 1.0, Guarantee.EXACT, "closed form")
    confident = Enclosure(0.0, math.inf, Guarantee.CONFIDENCE, "band", 0.05)
    assert weakest(exact, confident) is Guarantee.CONFIDENCE
    assert list(Guarantee) == [Guarantee.ESTIMATE, Guarantee.CONFIDENCE, Guarantee.EXACT, Guarantee.CERTIFIED]


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
