"""The suite applies the quickest mutants itself: a test that no longer notices shows here."""

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.runner import ROOT, copied, killed

QUICK = [mutant for mutant in MUTANTS if mutant.quick]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("copy"))


@pytest.mark.parametrize("mutant", QUICK[:10], ids=lambda mutant: mutant.name)
def test_a_falsification_is_noticed(mutant, copy):
    assert killed(mutant, copy)


def test_the_catalogue_is_up_to_date():
    for mutant in MUTANTS:
        assert (ROOT / mutant.path).read_text(encoding="utf-8").count(mutant.old) == 1, mutant.name
        for test in mutant.test.split():
            assert (ROOT / test.partition("::")[0]).exists(), mutant.name
    assert len(MUTANTS) >= 90
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
