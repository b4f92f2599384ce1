import math

import numpy as np
import pandas as pd
import pytest

from experiments.plots import tightness_figure
from experiments.tightness import EXPERIMENT, Tightness, exact_in_latent_space
from lipbounds.errors import InvalidInput
from lipbounds.measures import gaussian
from lipbounds.theorems import exact_lipschitz, two_modes


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tightness") / "out"
    EXPERIMENT.run(Tightness(out=folder, dimensions=(1, 8), accuracies=(1e-3, 0.02)))
    return folder, pd.read_parquet(folder / "results.parquet")


def test_sharp_is_attained_and_printed_is_far(results):
    _, rows = results
    np.testing.assert_allclose(rows["epsilon attained"], rows["epsilon"], rtol=1e-8)
    assert (rows["distance printed"] > 1e3 * rows["distance sharp"]).all()
    assert (rows["constant printed"] < 1e-3 * rows["constant sharp"]).all()
    # half-lines lose less than a third of the least constant
    ratio = rows["constant sharp"] / rows["constant exact"]
    assert ((ratio > 0.7) & (ratio < 1.0)).all()


def test_exact_value_in_known_cases():
    # as epsilon vanishes it is the constant of the monotone map; T of N(0, s^2) is scaling: m = (1 + e / E|Z|) / s
    assert exact_in_latent_space(two_modes(0.5), 1e-5) == pytest.approx(exact_lipschitz(0.5), rel=0.05)
    expected = 2.0 / (1 + 0.1 / math.sqrt(2 / math.pi))
    assert exact_in_latent_space(gaussian([0.0], [[4.0]]), 0.1) == pytest.approx(expected, rel=1e-3)
    values = [exact_in_latent_space(two_modes(0.3), e, cells=400) for e in (0.001, 0.01, 0.1)]
    assert values == sorted(values, reverse=True)


def test_figure(results):
    folder, _ = results
    for path in tightness_figure(folder, 0.2):
        assert path.stat().st_size > 10_000


@pytest.mark.parametrize("change", [{"sigma": -1.0}, {"dimensions": ()}, {"dimensions": (0,)}, {"accuracies": (0.3,)}])
def test_bad_input(change, tmp_path):
    with pytest.raises(InvalidInput):
        EXPERIMENT.run(Tightness(out=tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()
