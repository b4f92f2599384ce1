"""The main experiment end to end at a tiny size: columns, resume, figure, recompute, and what it refuses."""

import importlib
import json
import math
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import experiment, sigma_sweep
from experiments.__main__ import main
from experiments.bracket import Effort, bracket, measured
from experiments.plots import sigma_sweep_figure
from experiments.sigma_sweep import EXPERIMENT, Recompute, SigmaSweep, recompute
from experiments.store import Store, key_of
from experiments.sweep import FIRST_SEED, Spent, run_units
from inn import CouplingFlow, Latent, coupling_flow
from lipbounds.domains import Ball
from lipbounds.errors import InvalidInput
from lipbounds.search import find_lipschitz, jacobian_norms, quotient
from lipbounds.theorems import exact_lipschitz, two_modes_in_plane
from tests.brief import brief_search

diagnosis_measure = importlib.import_module("lipbounds.diagnosis.measure")  # the package has a function of this name
ROOT = Path(__file__).parent.parent.parent
ARGUMENTS = ["--quick", "--sigmas", "0.5", "0.2"]


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "experiments", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished quick run of the command, and what it printed; other tests start it as a process."""
    folder, result = tmp_path_factory.mktemp("sweep") / "run", SimpleNamespace(stdout="", stderr="")
    arguments = ["experiments", "sigma-sweep", *ARGUMENTS, "--out", str(folder)]
    with (
        brief_search(),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        patch.setattr(sys, "argv", arguments)
        main()
    result.stdout, result.stderr = out.getvalue(), err.getvalue()
    return folder, result


def test_rows_and_files(finished):
    folder, result = finished
    results = pd.read_parquet(folder / "results.parquet")
    assert list(zip(results["latent"], results["sigma"], strict=True)) == [
        ("mixture", 0.2),
        ("mixture", 0.5),
        ("normal", 0.2),
        ("normal", 0.5),
    ]
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints", "config.json", "planes.parquet", "results.parquet", "rows", "sigma-sweep.pdf", "sigma-sweep.png",
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["configuration"]["sigmas"] == [0.5, 0.2]
    assert config["wall_seconds"] > 1
    assert config["cpu_seconds"] > 1
    assert config["workers"]["processes"] >= 1
    assert config["workers"]["threads_each"] == 1
    assert {"torch", "numba", "python-flint", "POT"} <= set(config["versions"])
    assert "sigma-sweep" in result.stderr  # the bar
    assert all(word in result.stdout for word in ("frontier", "black-box", "found", "CONFIRMED"))


def test_the_bracket_holds_on_every_row(finished):
    results = pd.read_parquet(finished[0] / "results.parquet")
    assert (results["sandwich"] == "CONFIRMED").all()
    forced = results.filter(like="lip_forced").assign(blackbox=results["lip_blackbox"])
    assert (forced.max(axis=1) <= results["lip_found"]).all()
    assert (results["lip_found"] <= results["lip_found_hull"]).all()
    # a finite pair cannot beat the largest derivative by more than rounding, if the search found that
    assert (results["lip_found"] <= results["jacobian_norm"] * 1.05).all()
    gaussian, mixture = (results[results["latent"] == name] for name in ("normal", "mixture"))
    for column in (
        "lip_exact",
        "lip_forced_frontier",
        "lip_forced_data",
        "lip_forced_sharp",
        "lip_forced_printed",
        "epsilon_upper",
    ):
        assert gaussian[column].notna().all()
        assert mixture[column].isna().all()
    assert (mixture["not_applicable"] != "").all()
    assert (gaussian["not_applicable"] == "").all()
    assert (gaussian["verdict_corollary_1"] == "CONFIRMED").all()
    assert (mixture["verdict_proposition_1"] == "NOT_APPLICABLE").all()
    np.testing.assert_allclose(gaussian["lip_exact"], [exact_lipschitz(s) for s in gaussian["sigma"]])
    # delta is the exact mass of the slab between the sets that were chosen
    for row in gaussian.itertuples():
        assert row.delta_data == pytest.approx(
            two_modes_in_plane(row.sigma).slab_mass([1.0, 0.0], -row.offset_data, row.offset_data).upper, rel=1e-9
        )
    # the blow-up in small: narrower modes cost the normal latent more, and the mixture latent nothing of the kind
    found = results.set_index(["latent", "sigma"])["lip_found"]
    assert found["normal", 0.2] > 5 * found["normal", 0.5]
    assert found["mixture", 0.2] < 5
    assert (results["inversion_error_float64"] < results["inversion_error_float32"]).all()
    # no time for certificates in a quick run
    assert results["lip_certified"].isna().all()
    assert (results["lip_forward_found"] > 0).all()


def test_recompute_gives_the_same_quotient(finished):
    folder, _ = finished
    results = pd.read_parquet(folder / "results.parquet")
    for number, key in enumerate(results["key"]):
        for row in (str(number), key[:8]):
            stored, again = recompute(Recompute(folder, row))
            assert stored == results["lip_found"][number]
            assert stored <= again <= stored * (1 + 1e-5)  # the rounding of the network is taken off
    assert command("recompute", folder, 0).returncode == 0
    # negative control: another network's witness
    other = folder.parent / "swapped"
    shutil.copytree(folder, other)
    first, second = (other / name for name in results["checkpoint"][[1, 3]])
    shutil.copy(first, second)
    assert command("recompute", other, 3).returncode == 1


@pytest.mark.usefixtures("briefly")
def test_a_finished_run_is_left_alone_and_an_interrupted_one_goes_on(finished, monkeypatch):
    folder, _ = finished
    copy = folder.parent / "interrupted"
    shutil.copytree(folder, copy)
    before = pd.read_parquet(copy / "results.parquet")
    (copy / "results.parquet").unlink()
    lost = before.iloc[0]
    (copy / "rows" / f"{lost['key']}.parquet").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in (copy / "rows").iterdir()}
    monkeypatch.setattr(sigma_sweep, "_train", lambda *_: pytest.fail("the checkpoints are there"))

    def here(work, units, description):
        for unit in units:
            work(unit, lambda _: None)
        return Spent(0.0, 1, 1)

    monkeypatch.setattr(experiment, "run_units", here)
    results = EXPERIMENT.run(SigmaSweep(quick=True, sigmas=(0.5, 0.2), out=copy))
    assert {name: (copy / "rows" / name).stat().st_mtime_ns for name in kept} == kept
    timed = ["measuring_seconds", "threads"]
    pd.testing.assert_frame_equal(results.drop(columns=timed), before.drop(columns=timed), rtol=1e-6)


def test_the_figure_comes_from_the_tables_alone(finished, tmp_path):
    for name in ("results.parquet", "planes.parquet"):
        shutil.copy(finished[0] / name, tmp_path)
    paths = sigma_sweep_figure(tmp_path)
    assert [path.name for path in paths] == ["sigma-sweep.png", "sigma-sweep.pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--latents", "gaussian"],
        ["--sigmas", "0"],
        ["--sigmas", "-0.1"],
        ["--sigmas", "0.1", "0.1"],
        ["--seeds", "0"],
        ["--quick", "--full"],
    ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(tmp_path, arguments):
    with pytest.raises(InvalidInput) as caught:
        EXPERIMENT.run(SigmaSweep(out=tmp_path / "out", **_parsed(arguments)))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _parsed(arguments):
    values = {}
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:]
            values[name] = True
        else:
            earlier = values[name] if isinstance(values[name], tuple) else ()
            values[name] = (*earlier, argument if name == "latents" else float(argument))
    if "seeds" in values:
        values["seeds"] = int(values["seeds"][0])
    return values


def test_exit_status_of_the_command(tmp_path):
    result = command("sigma-sweep", "--latents", "gaussian", "--out", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: --latents: got 'gaussian', wanted one of normal, mixture, example1")
    assert not (tmp_path / "out").exists()


def test_folders_that_are_refused(tmp_path, finished):
    a_file = tmp_path / "file"
    a_file.write_text("mine")
    for out in (a_file, a_file / "below", tmp_path):
        with pytest.raises(InvalidInput, match="--out"):
            EXPERIMENT.run(SigmaSweep(quick=True, out=out))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert a_file.read_text() == "mine"
    files = sorted(path.name for path in finished[0].rglob("*"))
    with pytest.raises(InvalidInput, match="sigmas"):
        EXPERIMENT.run(SigmaSweep(quick=True, sigmas=(0.5, 0.3), out=finished[0]))
    assert sorted(path.name for path in finished[0].rglob("*")) == files


@pytest.mark.parametrize("row", ["99", "zz", ""])
def test_recompute_refuses_unknown_rows(finished, row):
    with pytest.raises(InvalidInput, match="ROW"):
        recompute(Recompute(finished[0], row))


def test_recompute_refuses_other_folders(tmp_path):
    with pytest.raises(InvalidInput, match="DIR"):
        recompute(Recompute(tmp_path, "0"))


def test_a_row_is_whole_or_absent(tmp_path, monkeypatch):
    store = Store(tmp_path / "run", "test", {"a": 1})

    def fail(self, path, **_):
        Path(path).write_bytes(b"half a row")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(KeyboardInterrupt):
        store.put("key", {"b": 2})
    assert list(store.rows.iterdir()) == []
    assert not store.has("key")


def test_keys_do_not_depend_on_order():
    assert key_of({"a": 1, "b": [0.1]}) == key_of({"b": [0.1], "a": 1}) != key_of({"a": 1, "b": [0.2]})


def test_units_run_and_fail_in_workers():
    run_units(_unit, [1, 2], description="test", jobs=2)
    with pytest.raises(InvalidInput, match="number: got 0"):
        run_units(_unit, [1, 0], description="test", jobs=2)


def _unit(number, progress):
    progress(0.5)
    if number == 0:
        raise InvalidInput("number", number, "a number > 0", "count from 1")


@pytest.mark.parametrize("shift", [0.0, 1.5, 40.0])
def test_a_badly_trained_network_gives_a_row_that_says_so(shift):
    # an untrained flow whose images are shifted out of the latent ball: kappa eats the masses, bounds are empty, none is false
    flow = coupling_flow(CouplingFlow(blocks=1, hidden=4), seed=0)
    with torch.no_grad():
        flow.layers[1].subnet_2.layers[-1].bias[1] += shift
    small = Effort(accuracy=1024, transport=200, selection=2000, evaluation=4000, search=10_000)
    row = bracket(flow, Latent.normal(2), 0.3, seed=0, effort=small)
    assert not row["accurate"]
    assert row["sandwich"] == "CONFIRMED"
    assert math.isnan(row["lip_forced_printed"])
    assert ("sharp" in row["not_applicable"]) == math.isnan(row["lip_forced_sharp"])
    assert row["verdict_corollary_1"] == "NOT_APPLICABLE"


def test_reported_seeds_and_which_of_them_are_certified(tmp_path):
    settings = SigmaSweep(out=tmp_path).configuration()
    units = sigma_sweep.units_of(Store(tmp_path / "run", "sigma-sweep", settings), settings, SigmaSweep())
    assert sorted({unit["seed"] for unit in units}) == [FIRST_SEED, FIRST_SEED + 1]
    assert all((unit["effort"]["certificate"] > 0) == (unit["seed"] == FIRST_SEED) for unit in units)


def test_a_witness_that_branch_and_bound_comes_upon_is_the_maps(monkeypatch):
    # a search that stops at once: the certificate finds a steeper pair, whose quotient is that of the network itself
    flow = coupling_flow(CouplingFlow(blocks=2, hidden=8), seed=1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(2.0)
    double, ball = flow.double().requires_grad_(False), Latent.normal(2).balls(0.9999)[0]
    flat = find_lipschitz(double.inverse, Ball(ball.center.numpy(), 1e-3), seed=0, evaluations=60_000)
    effort = Effort(certificate=10.0, search=10_000)
    best = find_lipschitz(double.inverse, ball, seed=0, evaluations=60_000)
    monkeypatch.setattr(diagnosis_measure, "find_lipschitz", lambda *_, **__: flat)
    found = measured(double, Latent.normal(2), 0.3, seed=0, effort=effort).found
    assert flat.lower < 0.9 * best.lower < found.lower
    shown = quotient(double.inverse, found.pair)
    assert shown * (1 - 1e-6) <= found.lower < shown  # the rounding of the network is taken off


def test_a_certificate_closes_the_bracket():
    flow = coupling_flow(CouplingFlow(blocks=1, hidden=4, activation="tanh"), seed=0)
    small = Effort(accuracy=1024, transport=200, selection=2000, evaluation=4000, search=10_000, certificate=30.0)
    mixture = Latent(means=((-1.0, 0.0), (1.0, 0.0)))
    row = bracket(flow, mixture, 0.3, seed=0, effort=small)
    assert row["lip_blackbox"] < row["lip_found"] <= row["lip_certified"] * (1 + 1e-9)
    assert row["lip_certified"] < 1.06 * row["lip_found"]
    # T on the data: no slope there is larger, and one is nearly as large
    x = torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (20_000, 2))) * torch.tensor([2.2, 4.0])
    steepest = float(jacobian_norms(flow.double().forward, x).max())
    assert 0.98 * row["lip_forward_found"] < steepest < row["lip_forward_found"] * (1 + 1e-6)


def test_an_extremely_small_sigma_does_not_overflow():
    assert exact_lipschitz(0.02) == math.inf


def test_a_damaged_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(InvalidInput, match="damaged"):
        EXPERIMENT.run(SigmaSweep(quick=True, out=tmp_path / "run"))
    with pytest.raises(InvalidInput, match="--out"):
        EXPERIMENT.run(SigmaSweep(quick=True, out=tmp_path / ("x" * 300)))
    (tmp_path / "results.parquet").write_text("not a table")
    with pytest.raises(InvalidInput, match="DIR"):
        recompute(Recompute(tmp_path, "0"))


def test_an_interrupted_start_is_recognised_and_leftovers_go(tmp_path):
    first = Store(tmp_path / "run", "test", {"a": 1})
    first.rows.rmdir()
    (first.checkpoints / ".half.safetensors.123").write_text("x")
    Store(tmp_path / "run", "test", {"a": 1})
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == ["checkpoints", "config.json", "rows"]


def test_efforts_of_the_sizes():
    assert SigmaSweep().configuration()["effort"]["accuracy"] == Effort().accuracy == 20_000
    assert len(SigmaSweep().configuration()["sigmas"]) >= 8
    full, default, quick = (SigmaSweep(full=True), SigmaSweep(), SigmaSweep(quick=True))
    steps = [config.configuration()["training"]["normal"]["steps"] for config in (full, default, quick)]
    assert steps == sorted(steps, reverse=True)
    for size in ("blocks", "hidden"):
        of_full, of_default, of_quick = (config.configuration()["architecture"][size] for config in (full, default, quick))
        assert of_full > of_default >= of_quick
    assert full.configuration()["seeds"] == 5
    everything = SigmaSweep(penalty="all").configuration()["training"]
    assert {name: everything[name]["penalty"] for name in everything} == {"normal": 0.1, "mixture": 0.1}
    assert SigmaSweep().configuration()["training"]["normal"]["penalty"] == 0.0
