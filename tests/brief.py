"""A search that ends early: for tests of what is done with constants, not of how sharp they are."""

from contextlib import contextmanager

import pytest

BRIEF = {"rounds.REACHED": 1, "rounds.SURE": 1, "rounds.POINTS": 128, "rounds.ENDS": 4, "rounds.STEPS": 30, "find.POLISHED": 1}


@contextmanager
def brief_search(**further):
    """Search with fewer steps, and set other constants of the library by their full name, within the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF.items():
            patch.setattr(f"lipbounds.search.{name}", value)
        for name, value in further.items():
            patch.setattr(name, value)
        yield


@pytest.fixture
def briefly():
    """`brief_search` for a test."""
    with brief_search():
        yield
