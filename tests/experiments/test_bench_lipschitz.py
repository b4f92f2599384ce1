"""The bench of Lipschitz estimators: truths against finite differences, traces, and the quick run end to end."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.bench.known_maps import known_maps
from experiments.bench.lipschitz import ESTIMATORS, OURS, bound_from_subnetworks, contenders, run
from experiments.bench.plots import bench_lipschitz_figure
from inn import CouplingFlow, coupling_flow
from lipbounds import Ball
from lipbounds.certify.layer_product import bound_by_product

CASES = {case.name: case for case in known_maps(quick=True)}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_truth_of_a_known_map_is_an_upper_bound_and_attained(name):
    case = CASES[name]
    rng = np.random.default_rng(1)
    a = case.domain.sample(20_000, rng)
    b = case.domain.project(a + 1e-4 * torch.as_tensor(rng.standard_normal(a.shape)))
    apart = (a - b).norm(dim=1)
    with torch.no_grad():
        quotients = (case.f(a) - case.f(b)).norm(dim=1)[apart > 0] / apart[apart > 0]
    # rounding of f over distances of 1e-4 costs about 1e-11
    assert float(quotients.max()) <= case.truth * (1 + 1e-9)
    trace = ESTIMATORS[OURS](case, 1.0, 0)
    assert trace[-1][1] == pytest.approx(case.truth, rel=1e-3)
    assert [t for t, _ in trace] == sorted(t for t, _ in trace)


@pytest.mark.parametrize("contender", [name for name in contenders() if not name.startswith("torchlip")])
def test_contenders_stay_below_the_truth_and_within_their_budget(contender):
    case = CASES["needle 0.01, d = 3"]
    trace = ESTIMATORS[contender](case, 0.3, 0)
    values = [value for _, value in trace]
    assert values == sorted(values)
    assert 0 < values[-1] <= case.truth * (1 + 1e-9)
    assert contender == OURS or trace[-1][0] < 3.0


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_global_constants_of_subnetworks_give_more_than_ours_on_boxes(dim):
    # (13) in both, the boxes are the same; products of norms hold everywhere
    flow, domain = (
        coupling_flow(CouplingFlow(dim, 2, 8, 2, "tanh"), seed=dim).double().requires_grad_(False),
        Ball([0.5] * dim, 3.0),
    )

    def norms(subnet, low, high):
        assert (low < high).all()
        return math.prod(
            float(torch.linalg.matrix_norm(part.weight.detach(), 2)) for part in subnet if isinstance(part, torch.nn.Linear)
        )

    ours = bound_by_product(flow.structure(), *(corner.numpy() for corner in domain.bounds()))
    assert ours < bound_from_subnetworks(flow, domain, norms) < math.inf
    # and it listens to the peer
    assert bound_from_subnetworks(flow, domain, lambda *subnet: 0.5 * norms(*subnet)) < bound_from_subnetworks(
        flow, domain, norms
    )
    assert bound_from_subnetworks(flow, domain, lambda *subnet: math.inf) == math.inf


def test_quick_run_and_figure(tmp_path):
    results = run(tmp_path / "bench", quick=True, threads=1)
    paths = bench_lipschitz_figure(tmp_path / "bench")
    assert all(path.stat().st_size > 5000 for path in paths)
    known, flows = results[results["kind"] == "known"], results[results["kind"] == "flow"]
    ours = known[known["contender"] == OURS]
    assert (ours["share"] >= 0.99).all()
    assert (ours["ratio"] == 1.0).all()
    assert (flows["certified"] >= flows["sampled"]).all()
    assert (flows["certified_ratio"] <= flows["asked_ratio"]).all()
    assert (flows["product"] > flows["certified"]).all()
    summary = pd.read_parquet(tmp_path / "bench" / "summary.parquet").set_index("contender")
    assert summary.loc[OURS, "at 0.99"] == 1.0
    assert math.isfinite(summary.loc["random pairs", "median share"])
    # rows that are there are kept
    again = run(tmp_path / "bench", quick=True, threads=1)
    pd.testing.assert_frame_equal(again, results)
