import math
import os

import pytest
import torch

from experiments.bench import training
from experiments.bench.distances import authors_discrepancy, problems
from experiments.bench.measure import measure
from experiments.bench.plots import bench_distances_figure
from experiments.store import Store
from lipbounds.distances import InverseQuadratic, discrepancy


def test_the_authors_formula_is_our_discrepancy():
    x, y = torch.randn(40, 6, dtype=torch.float64, requires_grad=True), torch.randn(40, 6, dtype=torch.float64)
    theirs, ours = authors_discrepancy(x, y), discrepancy(x, y, InverseQuadratic(), squared=True)
    torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-13)
    gradients = (torch.autograd.grad(value, x)[0] for value in (theirs, ours))
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


def test_contenders_of_one_problem_compute_the_same():
    values = {}
    for contender in problems(quick=True):
        if contender.problem.startswith("large") or "geomloss" in contender.name:
            continue
        result = contender.work(*contender.warm)()
        value = result if isinstance(result, float) else result.upper
        values.setdefault(contender.problem, []).append(value)
    assert len(values) == 10
    for found in values.values():
        assert all(value == pytest.approx(found[0], rel=1e-4) for value in found)


def allocating(megabytes):
    return lambda: float(torch.ones(int(megabytes * 2**18)).sum()) / 2**18


def test_measures_in_a_fresh_process_and_sees_its_memory():
    before = dict(os.environ)
    measured = measure(allocating, (64,), warm=(1,), threads=1, repetitions=2)
    assert measured.result == pytest.approx(64.0)
    assert measured.seconds > 0
    assert measured.warm_seconds > 0
    assert math.isnan(measured.peak_megabytes) or 50 < measured.peak_megabytes < 200
    assert dict(os.environ) == before


def test_figure_from_a_table(tmp_path):
    store = Store(tmp_path / "out", "bench-distances", {})
    rows = [
        ("exact W_1", 100, 4, "lipbounds", 1.0, 1.0, math.nan, 2.0, 2.1),
        ("exact W_1", 100, 4, "POT", 0.9, 1.0, 2.05, math.nan, math.nan),
        ("large W_1, shifted Gaussians", 100, 2, "lipbounds", 1.0, 1.0, math.nan, 1.9, 2.1),
        ("large W_1, shifted Gaussians", 100, 2, "max-sliced", 0.1, 1.0, math.nan, 1.9, math.inf),
        ("large W_1, shifted Gaussians", 100, 2, "POT on 50 points", 0.5, 1.0, 2.3, math.nan, math.nan),
    ]
    names = ("problem", "points", "dim", "contender", "ratio", "memory_ratio", "value", "lower", "upper")
    for order, row in enumerate(rows):
        store.put(str(order), {"order": order, "threads": 2, **dict(zip(names, row, strict=True))})
    store.merge(["order"])
    assert all(path.stat().st_size > 5000 for path in bench_distances_figure(tmp_path / "out"))


def test_training_beside_freia_gives_the_same_losses():
    pytest.importorskip("FrEIA")
    values = {}
    for contender in training.problems(quick=True):
        work = contender.work(*contender.warm)
        values.setdefault(contender.problem, []).append([work() for _ in range(3)])
    assert len(values) == 2
    for ours, theirs in values.values():
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert ours[0] != pytest.approx(ours[2], rel=1e-3)  # it trains
