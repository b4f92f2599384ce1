import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.plots import remark_2_figure
from experiments.remark_2 import EXPERIMENT, KERNELS, SEQUENCES, Remark2, flat_distance
from lipbounds.distances import Gaussian, InverseMultiquadric, InverseQuadratic, discrepancy, wasserstein_line
from lipbounds.errors import InvalidInput
from lipbounds.measures import Discrete
from lipbounds.theorems.remark_2 import feature_lipschitz
from tests.strategies.lines import discrete_lines


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remark-2") / "out"
    EXPERIMENT.run(Remark2(out=folder, largest=64))
    return folder, pd.read_parquet(folder / "results.parquet")


def test_they_agree_on_compact_sets_and_part_where_mass_escapes(results):
    _, rows = results
    exact = {
        "shrinking": lambda n: 1 / n,
        "leaking": lambda n: 1 / n,
        "refining": lambda n: 1 / (4 * n),
        "escaping": lambda n: 1.0,
        "fleeing": lambda n: n,
    }
    for sequence, part in rows.groupby("sequence"):
        for row in part.itertuples():
            assert row.w1 == pytest.approx(exact[sequence](row.n), rel=1e-12 if sequence != "refining" else 1e-3)
        first, last = (part.sort_values("n").iloc[k] for k in (0, -1))
        for name in KERNELS:
            ratio = last[f"discrepancy {name}"] / first[f"discrepancy {name}"]
            if sequence == "fleeing" and name == "energy":
                assert ratio == pytest.approx(1.0)  # the energy distance is unbounded: D^2 = 2 n^2 (1/n)^2 = 2
            else:
                assert ratio < 0.4
        assert part["compact"].all() == (sequence in ("shrinking", "leaking", "refining"))
        assert bool(last.w1 < 0.2 * first.w1) is bool(last.compact)


@given(discrete_lines(), discrete_lines(), st.sampled_from([0.01, 0.3, 3.0]))
def test_the_feature_map_bounds_the_discrepancy_by_w1(mu, nu, unit):
    for kernel in (InverseMultiquadric(), InverseQuadratic(), Gaussian((0.2,))):
        d = discrepancy(unit * mu.points, unit * nu.points, kernel, squared=False, x_weights=mu.weights, y_weights=nu.weights)
        w1 = wasserstein_line(unit * mu.points, unit * nu.points, x_weights=mu.weights, y_weights=nu.weights).upper
        floor = math.sqrt(84 * np.finfo(float).eps * kernel.at_zero)  # where the root is cut off
        assert d <= feature_lipschitz(kernel) * w1 * (1 + 1e-9) + floor


def test_the_constant_cannot_be_smaller():
    # two near points attain it in the limit; with 0.99 of it the bound fails
    for kernel in (InverseMultiquadric(), InverseQuadratic(), Gaussian((0.2,))):
        d = discrepancy([[0.0]], [[1e-4]], kernel, squared=False)
        assert 0.99 * feature_lipschitz(kernel) * 1e-4 < d <= feature_lipschitz(kernel) * 1e-4
    assert feature_lipschitz(InverseMultiquadric()) == pytest.approx(math.sqrt(sum(1 / r for r in (0.05, 0.2, 0.9))))
    assert feature_lipschitz(KERNELS["Laplace"]) == math.inf


def test_figure_is_drawn_from_the_table(results):
    folder, _ = results
    paths = remark_2_figure(folder, {name: feature_lipschitz(kernel) for name, kernel in KERNELS.items()})
    assert all(path.stat().st_size > 5000 for path in paths)


def test_the_same_run_again_is_accepted_and_another_refused(results):
    folder, rows = results
    again = EXPERIMENT.run(Remark2(out=folder, largest=64))
    pd.testing.assert_frame_equal(again, rows)
    with pytest.raises(InvalidInput, match="other"):
        EXPERIMENT.run(Remark2(out=folder, largest=32))
    assert set(SEQUENCES) == set(rows["sequence"])


@pytest.mark.parametrize("largest", [1, 0, 5000])
def test_bad_index(tmp_path, largest):
    with pytest.raises(InvalidInput):
        EXPERIMENT.run(Remark2(out=tmp_path / "out", largest=largest))
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "experiments", "remark-2", "--out", str(tmp_path / "out"), "--largest", "1"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: --largest")
    assert answer.stderr.count("\n") == 1


def test_wasserstein_convergence_is_weak_convergence_and_moments(results):
    _, rows = results
    last = rows[rows["n"] == rows["n"].max()].set_index("sequence")
    first = rows[rows["n"] == rows["n"].min()].set_index("sequence")
    for p, distance, moment in ((1, "w1", "first moment"), (2, "w2", "second moment")):
        for sequence in SEQUENCES:
            # along every sequence a quantity either falls by a factor of 4 or more from n = 2 to 64, or does not fall by half
            falls = {
                name: last.loc[sequence, name] <= 0.25 * first.loc[sequence, name] + 1e-12 for name in (distance, "flat", moment)
            }
            for name in (distance, "flat", moment):
                if not falls[name]:
                    assert last.loc[sequence, name] >= 0.17 * first.loc[sequence, name]
            assert falls[distance] == (falls["flat"] and falls[moment]), (p, sequence)
    assert last.loc["escaping", "flat"] == pytest.approx(1 / 64)
    assert last.loc["escaping", "first moment"] == pytest.approx(1.0)


def test_the_flat_metric_cuts_distances():
    mu, nu = Discrete([[0.0], [5.0]]), Discrete([[0.25], [9.0]])
    assert flat_distance(mu, nu) == pytest.approx(0.5 * 0.25 + 0.5 * 1.0)
    assert flat_distance(mu, Discrete([[0.0]])) == pytest.approx(0.5)
