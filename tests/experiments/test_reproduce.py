"""The trade-off and the architectures at quick size, the list of all runs, and the figures from the tracked tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import architectures, trade_off
from experiments.digits import VARIABLE
from experiments.plots import architectures_figure, trade_off_figure
from experiments.reproduce import Figures, Reproduce, draw_all, estimate, runs
from experiments.rotated_modes import ROTATION, measured
from experiments.sigma_sweep import EXPERIMENT as SWEEP
from experiments.sigma_sweep import LATENTS, SigmaSweep
from experiments.sweep import FIRST_SEED
from inn import CouplingFlow, Glow, Latent, ODEFlow, ResidualFlow, build
from lipbounds.errors import InvalidInput
from lipbounds.search import jacobian_norms

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.usefixtures("briefly")
def test_trade_off(tmp_path, monkeypatch):
    small = {"found constant": (2.0, 20.0), "clamp": (0.05,)}
    monkeypatch.setattr(trade_off, "QUICK", small)
    monkeypatch.setattr(trade_off, "FRONTIER", trade_off.FRONTIER[::5])
    results = trade_off.EXPERIMENT.run(trade_off.TradeOff(out=tmp_path / "run", quick=True, sigma=0.3))
    assert len(results) == 3
    # no network does better than the frontier allows (its accuracy is an estimate: a hundredth of room)
    assert (results["lip_found"] >= 0.99 * results["lip_forced_frontier"]).all()
    frontier = pd.read_parquet(tmp_path / "run" / "frontier.parquet").sort_values("epsilon")
    assert (np.diff(frontier["lip_forced_frontier"]) <= 1e-9).all()
    assert frontier["lip_forced_frontier"].max() < frontier["lip_exact"].iloc[0]
    for path in trade_off_figure(tmp_path / "run"):
        assert path.stat().st_size > 5000
    for bad in (trade_off.TradeOff(sigma=0.0), trade_off.TradeOff(sigma=1.5), trade_off.TradeOff(seeds=0)):
        with pytest.raises(InvalidInput):
            bad.configuration()


@pytest.mark.usefixtures("briefly")
def test_architectures(tmp_path):
    results = architectures.EXPERIMENT.run(architectures.Architectures(out=tmp_path / "run", quick=True))
    assert set(results["network"]) == set(architectures.NETWORKS)
    assert len(results) == 5 * 2
    assert (results["lip_found"] > 0).all()
    assert results.loc[results["latent"] == "mixture", "lip_forced_frontier"].isna().all()
    for path in architectures_figure(tmp_path / "run"):
        assert path.stat().st_size > 5000
    assert (results["lip_forward_found"] > 0).all()
    assert set(results["seed"]) == {FIRST_SEED}
    with pytest.raises(InvalidInput):
        architectures.Architectures(seeds=0).configuration()


@pytest.mark.usefixtures("briefly")
@pytest.mark.parametrize("architecture", [CouplingFlow(blocks=1, hidden=4), Glow(blocks=1, hidden=4), ResidualFlow(blocks=1)])
def test_what_is_known_of_an_architecture(architecture):
    # widely apart, so that what is steepest for one component is not for the other
    flow, latent = build(architecture, seed=0), Latent(means=((-3.0, 0.0), (3.0, 0.0)))
    if not isinstance(architecture, ResidualFlow):  # weights three times as large, away from the identity
        for parameter in flow.parameters():
            parameter.data.mul_(3.0)
    row = measured(flow, latent, 0.3, points=256, seed=0, certificate=3.0)
    assert 1.001 < row["lip_found"] <= row["lip_certified"] * (1 + 1e-9)
    # T on the data, which lie along the diagonal: no slope there is larger, and one is nearly as large
    straight = torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (4_000, 2))) * torch.tensor([2.2, 4.0])
    steepest = float(jacobian_norms(flow.forward, straight @ ROTATION.double()).max())
    assert 0.97 * row["lip_forward_found"] < steepest < row["lip_forward_found"] * (1 + 1e-6)
    assert np.isnan(measured(flow, latent, 0.3, points=256, seed=0)["lip_certified"])


def test_the_certificate_of_an_isometry_is_sharp_and_an_ode_has_none():
    flow = build(CouplingFlow(blocks=1, hidden=4, activation="tanh"), seed=0)
    for parameter in flow.parameters():
        parameter.data.zero_()
    row = measured(flow, LATENTS["mixture"], 0.3, points=256, seed=0, certificate=10.0)
    assert 1 - 1e-9 < row["lip_certified"] < 1.06
    assert row["lip_forward_found"] == pytest.approx(1.0, rel=1e-6)  # a quotient of two points near each other
    ode = build(ODEFlow(steps=2), seed=0)
    assert np.isnan(measured(ode, LATENTS["mixture"], 0.3, points=256, seed=0, certificate=10.0)["lip_certified"])


def test_the_controls_of_the_sweep_differ():
    trained = {repr(SigmaSweep(**shown.options).configuration()["training"]) for shown in SWEEP.shown.values()}
    assert len(trained) == len(SWEEP.shown) == 5


def test_the_estimate_names_every_run(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    text = estimate(Reproduce())
    assert all(name in text for name, (_, shown) in runs().items() if not shown.needs)
    assert "inpainting-mnist is left out" in text
    assert VARIABLE in text
    monkeypatch.setenv(VARIABLE, "somewhere")
    assert "left out" not in estimate(Reproduce())
    assert sum(shown.minutes for _, shown in runs().values()) < 12 * 60
    assert estimate(Reproduce(only=("theorems",))).count("min") == 1
    with pytest.raises(InvalidInput, match="sigma-sweep"):
        estimate(Reproduce(only=("sweep",)))


def test_figures_come_from_the_tracked_tables(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.plots.FORMATS", ("png",))  # those that docs show
    drawn = draw_all(Figures(results=ROOT / "docs" / "results", out=tmp_path / "images"))
    assert {path.name for path in drawn} <= {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert len(drawn) >= 6
    assert all(path.stat().st_size > 5000 for path in drawn)
    tables = list((ROOT / "docs" / "results").glob("*/*.parquet"))
    assert all(table.stat().st_size < 2**20 for table in tables)
    with pytest.raises(InvalidInput):
        draw_all(Figures(results=tmp_path / "nothing", out=tmp_path / "images"))
