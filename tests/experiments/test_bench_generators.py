"""The bench of generators: the quick run end to end, above published constants and below bounds on all of space."""

from experiments.bench.generators import run, summary
from experiments.bench.plots import bench_certificates_figure


def test_the_quick_run_closes_and_is_drawn(tmp_path):
    results = run(tmp_path / "out", quick=True, threads=1)
    assert "tanh 2-128-128-64, digits" in set(results["network"])
    assert (results["guarantee"] == "CERTIFIED").all()
    assert (results["ratio"] <= results["asked"] * (1 + 1e-8)).all()
    assert (results["certified"] < results["product"]).all()
    published = results.dropna(subset=["published"])
    assert (published["certified"] >= published["published"]).all()
    assert (published["certified"] <= published["published"] * (1 + 1e-12)).all()
    assert list(summary(results)["network"]) == list(results["network"])
    assert all(path.stat().st_size > 5000 for path in bench_certificates_figure(tmp_path / "out", "bench-generators"))
