"""The bench of certificates: the quick run end to end, and that finished flows are kept."""

import numpy as np
import pytest

from experiments.bench.certificates import QUICK, planar_flows, run, summary
from experiments.bench.plots import bench_certificates_figure


def test_the_quick_run_closes_two_flows_and_is_drawn(tmp_path):
    if not set(QUICK) <= {one.name for one in planar_flows()}:
        pytest.skip("needs zuko and FrEIA, of the extra zoo")
    results = run(tmp_path / "out", quick=True, threads=1)
    assert set(results["network"]) == set(QUICK)
    assert (results["guarantee"] == "CERTIFIED").all()
    assert (results["ratio"] < 1.05).all()
    assert (results["found"] >= 0.99 * results["best known"]).all()
    assert (results["certified"] >= results["best known"] * (1 - 1e-6)).all()
    assert (results["product"] > 1e6 * results["certified"]).all()
    # traces end where the result is, and the times are those of the trace
    for _, row in results.iterrows():
        assert row["ratios"][-1] == pytest.approx(row["ratio"])
        first = np.asarray(row["times"])[np.asarray(row["ratios"]) <= 2.0][0]
        assert row["seconds to 2"] == first
    assert list(summary(results)["network"]) == list(results["network"])
    assert all(path.stat().st_size > 5000 for path in bench_certificates_figure(tmp_path / "out", "bench-certificates"))
    again = run(tmp_path / "out", quick=True, threads=1)
    assert again["search"].equals(results["search"])
