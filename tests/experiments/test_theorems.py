import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from experiments.exact_checks import extremal_checks, finite_checks, monotone_checks
from experiments.plots import theorems_figure
from experiments.store import Store
from experiments.theorems import Theorems, rows_of, summary
from lipbounds.errors import InvalidInput
from lipbounds.theorems import FAILING, STATEMENTS


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(0)
    rows = rows_of(monotone_checks(20, rng), "exact, line and slabs") + rows_of(finite_checks(150, rng), "exact, finite support")
    return pd.DataFrame(rows + rows_of(extremal_checks(), "extremal"))


def test_rows_have_the_columns_and_know_what_was_refutable(results):
    assert {"statement", "version", "instance", "refutable", "verdict", "slack"} <= set(results.columns)
    assert set(results["version"]) == {"printed", "sharp", "repaired"}
    assert results["refutable"].all()
    false = {(kind.number, kind.version) for kind in FAILING}
    refuted = results[results["verdict"] == "REFUTED"]
    assert {(row.statement, row.version) for row in refuted.itertuples()} == false
    # Theorem 2 as printed fails on random instances, too
    random = refuted[(refuted["statement"] == "Theorem 2") & (refuted["origin"] != "extremal")]
    assert 3 <= len(random) < 100


def test_exact_instances_are_decided(results):
    for number in ("Proposition 1", "Corollary 1", "Corollary 2", "S1", "S2"):
        rows = results[(results["statement"] == number) & results["origin"].str.startswith("exact")]
        assert (rows["verdict"] == "CONFIRMED").all(), number
    slabs = results[(results["statement"] == "S1") & results["instance"].str.startswith("slab")]
    assert (slabs["slack"] < 1 + 1e-6).all()


def test_summary_and_figure(results, tmp_path):
    table = summary(results)
    row = table[(table["statement"] == "Theorem 2") & (table["version"] == "printed") & (table["instances"] == "extremal")].iloc[
        0
    ]
    assert (row["checks"], row["refutable"], row["refuted"]) == (1, 1, 1)
    assert len(table[["statement", "version"]].drop_duplicates()) == len({(s.number, s.version) for s in STATEMENTS})
    store = Store(tmp_path / "out", "theorems", {})
    store.put_rows("a", results.to_dict("records"))
    assert len(store.merge(["order"])) == len(results)
    for path in theorems_figure(tmp_path / "out"):
        assert path.stat().st_size > 10_000


@pytest.mark.parametrize("seeds", [0, -1])
def test_bad_seeds(seeds, tmp_path):
    with pytest.raises(InvalidInput):
        Theorems(out=tmp_path / "out", seeds=seeds).configuration()


def test_bad_input_of_the_command(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "experiments", "theorems", "--quick", "--out", str(tmp_path / "file" / "below")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--out" in done.stderr
