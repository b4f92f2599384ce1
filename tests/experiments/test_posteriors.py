"""The experiments with labels: end to end at quick size, and the pieces that their numbers are made of."""

import gzip
import math
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import eight_modes, inpainting, kinematics
from experiments.conditional import constants, phased, product_bound
from experiments.digits import VARIABLE, load_mnist, load_small
from inn import (
    Conditional,
    ConditionalModel,
    Constant,
    Cosine,
    CouplingFlow,
    FixedPermutation,
    Group,
    LearnedMixture,
    LikelihoodObjective,
    MixtureLatent,
    Optimization,
    Padding,
    Ramp,
    build_conditional,
    fit_conditional,
)
from lipbounds.errors import InvalidInput
from lipbounds.search import jacobian_norms

EXPERIMENTS = {
    "eight-modes": (eight_modes.EightModes, eight_modes, 2 * 4),
    "kinematics": (kinematics.Kinematics, kinematics, 2 * 3),
    "inpainting": (inpainting.Inpainting, inpainting, 2),
}
COLUMNS = {
    "eight-modes": {
        "label_accuracy", "off_modes", "probability_error", "mass_error", "modes_covered", "connected_components", "w1",
        "w1_floor", "discrepancy", "inversion_error", "inversion_error_off_data", "lip_found", "lip_found_hull",
        "lip_forward_found", "lip_certified", "lip_forced_frontier", "training_seconds",
    },
    "kinematics": {
        "discrepancy_squared", "discrepancy_squared_floor", "discrepancy_squared_unbiased", "discrepancy_printed", "w1",
        "resimulation", "resimulation_tail", "sampling_seconds", "lip_found", "lip_certified", "lip_forward_found",
        "lip_forced_frontier", "calibration_error", "probabilities",
    },
    "inpainting": {
        "probability_error", "half_error", "class_of_mode", "both_classes", "classifier_accuracy", "label_error", "lip_found",
        "lip_found_hull", "lip_certified", "lip_forced_normal", "lip_forward_found", "lip_forward_images",
    },
}  # fmt: skip


@pytest.mark.usefixtures("briefly")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_run(tmp_path, monkeypatch, name):
    monkeypatch.setattr(kinematics, "SAMPLES", 500)
    make, module, rows = EXPERIMENTS[name]
    config = make(out=tmp_path / "run", quick=True)
    results = module.EXPERIMENT.run(config)
    assert len(results) == rows
    assert COLUMNS[name] <= set(results.columns)
    assert np.isfinite(results["lip_found"]).all()
    assert (results["lip_found"] > 0).all()
    assert len(module.summary(results))
    if name == "eight-modes":
        shown = module.colours(results)
        assert shown["colour"].tolist() == 2 * ["red", "blue", "green", "purple"]
    if name == "inpainting":
        assert (results["lip_found"] <= results["lip_certified"]).all()
        assert (results["lip_forward_images"] <= results["lip_forward_found"] * (1 + 1e-6)).all()
        assert (results["lip_forced_normal"] > 0).all()
    for path in module.EXPERIMENT.figures(config.out):
        assert path.stat().st_size > 5000
    # a finished run is only read again
    before = {path: path.stat().st_mtime_ns for path in (config.out / "rows").iterdir()}
    pd.testing.assert_frame_equal(module.EXPERIMENT.run(config), results)
    assert {path: path.stat().st_mtime_ns for path in (config.out / "rows").iterdir()} == before
    assert not list(config.out.glob("checkpoints/*.state"))
    assert all(path.stat().st_size < 2**20 for path in config.out.glob("*.parquet"))


@pytest.mark.usefixtures("briefly")
@pytest.mark.parametrize(("name", "preset"), [("eight-modes", "paper"), ("kinematics", "program")])
def test_a_quick_run_of_one_preset(tmp_path, monkeypatch, name, preset):
    monkeypatch.setattr(kinematics, "SAMPLES", 500)
    make, module, _ = EXPERIMENTS[name]
    config = make(out=tmp_path / "run", quick=True, presets=(preset,), share=0.001)
    results = module.EXPERIMENT.run(config)
    assert set(results["preset"]) == {preset}
    assert len(module.summary(results))
    for path in module.EXPERIMENT.figures(config.out):
        assert path.stat().st_size > 5000


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_settings_that_mean_nothing_are_refused(tmp_path, name):
    make, module, _ = EXPERIMENTS[name]
    repeated, unknown = {"presets": ("likelihood", "likelihood")}, {"presets": ("nonsense",)}
    for change in ({"seeds": 0}, {"share": 0.0}, {"share": 1.5}, {"presets": ()}, repeated, unknown):
        with pytest.raises(InvalidInput):
            module.EXPERIMENT.run(make(out=tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_presets_that_are_run(name):
    make, module, _ = EXPERIMENTS[name]
    assert make().configuration()["presets"] == list(module.PRESETS)
    quick = make(quick=True).configuration()["presets"]
    assert 0 < len(quick) <= 2
    assert set(quick) <= set(module.PRESETS)
    assert make(quick=True, presets=module.PRESETS[-1:]).configuration()["presets"] == [module.PRESETS[-1]]


def test_the_summary_of_the_eight_modes():
    # two seeds of one cell; W_1 of one colour is three times its floor, that of another is larger and only twice
    names = list(COLUMNS["eight-modes"]) + ["w1_label_noise", "off_modes_label_noise", "discrepancy_floor", "modes"]
    rows = pd.DataFrame(1.0, index=range(4), columns=names).assign(
        preset="likelihood", labels="first", latent="mixture", clamp=2.0, seed=[100, 100, 101, 101], probabilities="",
        colour=["red", "blue"] * 2, w1=[2.0, 0.3, 1.0, 0.5], w1_floor=[1.0, 0.1, 1.0, 0.1], discrepancy=[4.0, 1.0, 2.0, 1.0],
        modes_covered=[4, 2, 4, 1], connected_components=[4, 2, 3, 1], off_modes=[0.1, 0.0, 0.0, 0.3],
    )  # fmt: skip
    (row,) = eight_modes.summary(rows).itertuples()
    assert (row.seeds, row.covered) == (2, 5)
    assert (row.w1, row.discrepancy, row.strays, row.worst_seed) == pytest.approx(((3 + 5) / 2, (4 + 2) / 2, 0.2, 0.3))
    red, blue = eight_modes.colours(rows).itertuples()
    assert (red.colour, red.connected, red.covered, red.w1) == ("red", "4 3", 4, 1.5)
    assert (blue.colour, blue.connected, blue.covered, blue.strays) == ("blue", "2 1", 1, 0.15)


def test_the_modes_and_colours_are_the_papers():
    np.testing.assert_allclose(np.abs(eight_modes.MODES).min(1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.abs(eight_modes.MODES).max(1), 1 + 2**0.5, rtol=1e-12)
    # the program's order of modes and colours
    vertices = [(-2.4142, 1), (-1, 2.4142), (1, 2.4142), (2.4142, 1), (2.4142, -1), (1, -2.4142), (-1, -2.4142), (-2.4142, -1)]
    listed = {"first": (0, 0, 0, 0, 1, 1, 2, 3), "second": (0, 1, 0, 1, 0, 2, 0, 3)}
    for labels, colours in listed.items():
        for vertex, colour in zip(vertices, colours, strict=True):
            index = np.linalg.norm(eight_modes.MODES - vertex, axis=1).argmin()
            assert eight_modes.LABELS[labels][index] == colour
        x, y = eight_modes.draw_of(labels)(4000, torch.Generator().manual_seed(0))
        for colour in range(4):
            law = eight_modes.law_of_colour(labels, colour)
            own = x[y.argmax(1) == colour].numpy()
            assert (np.linalg.norm(own[:, None] - law.means, axis=2).min(1) < 5 * 0.2).all()
            assert len(own) / 4000 == pytest.approx(len(law.means) / 8, abs=0.03)


def test_connected_components_count_a_bridge():
    rng = np.random.default_rng(0)
    blobs = [0.2 * rng.standard_normal((500, 2)) + (side, 0.0) for side in (-1.0, 1.0)]
    assert eight_modes._connected(np.concatenate(blobs)) == 2
    bridge = np.stack((np.linspace(-1, 1, 20), np.zeros(20)), axis=1)
    assert eight_modes._connected(np.concatenate([*blobs, bridge])) == 1
    assert eight_modes._connected(np.concatenate([*blobs, [[30.0, 0.0]]])) == 2  # a stray sample is no component


def test_presets_follow_the_notebooks():
    preset = eight_modes.program_preset("mixture", "first", 0.01, 1.0)
    assert preset.optimization.steps == 3760
    assert preset.model.padding == Padding(16, 2, 4, 2, 1e-4)
    at = lambda number, done: number(done)
    group, own = preset.optimization.groups
    assert [at(group.learning_rate, done) for done in (0.1, 0.5, 0.9)] == [5e-3, 1e-3, 4e-4]
    assert [at(group.weight_decay, done) for done in (0.1, 0.5, 0.9)] == [2e-3, 7e-2, 0]
    assert [at(own.learning_rate, done) for done in (0.1, 0.5, 0.9)] == [1e-4, 1e-3, 4e-4]
    assert [at(preset.objective.temperature, done) for done in (0.1, 0.5, 0.9)] == [0.2, 0.1, 0.04]
    assert [at(preset.objective.sparsity, done) for done in (0.1, 0.5, 0.9)] == [0, 3, 0]
    assert at(preset.objective.labels, 0.1) == pytest.approx(12 / 14)
    assert at(preset.objective.data, 0.0) == pytest.approx(200 * 2 * 0.002)  # the ramp's start
    assert at(preset.objective.data, 0.5) == 300
    weights = sum(parameter.numel() for parameter in preset.build(0).flow.parameters())
    assert weights == 76_992  # as counted in the program
    first = eight_modes.program_preset("normal", "first", 2.0, 1.0)
    assert (first.optimization.steps, sum(p.numel() for p in first.build(0).flow.parameters())) == (6400, 205_056)
    arm = kinematics.program_preset("mixture", 0.7, 1.0)
    assert (arm.optimization.steps, sum(p.numel() for p in arm.build(0).flow.parameters())) == (7700, 946_232)
    digits = inpainting.preset_of("program", "mnist", "mixture", 3.0, 1.0)
    assert sum(parameter.numel() for parameter in digits.build(0).flow.parameters()) == 6_034_080
    assert phased((1, 3), (2.0, Ramp(1.0)), by=2.0).parts == ((0.25, 1.0), (1.0, Ramp(1.0)))
    assert Constant(1.0)(0.3) == 1.0


@pytest.mark.parametrize(
    ("preset", "draw"),
    [
        *((eight_modes.control_preset(name, 1.0), eight_modes.draw_of("first")) for name in eight_modes.CONTROLS),
        (eight_modes.program_preset("mixture", "second", 0.01, 1.0, printed=True), eight_modes.draw_of("second")),
        (kinematics.program_preset("mixture", 0.7, 1.0), kinematics.draw_of("full")),
        (kinematics.likelihood_preset("normal", "full", 2.0, 1.0), kinematics.draw_of("full")),
    ],
    ids=[*eight_modes.CONTROLS, "paper", "kinematics program", "kinematics full"],
)
def test_every_preset_trains(preset, draw):
    losses = []
    fit_conditional(
        preset.build(0),
        draw,
        preset.objective,
        replace(preset.optimization, steps=2),
        batch=32,
        seed=0,
        every=1,
        callback=lambda step, terms: losses.append(sum(float(term) for term in terms.values())),
    )
    assert len(losses) == 2
    assert np.isfinite(losses).all()


def test_algorithm_2_as_printed():
    rng = np.random.default_rng(0)
    y, others, zeros = rng.standard_normal((4, 3)), rng.standard_normal((9, 3)), rng.integers(0, 2, 9)
    tensors = (torch.as_tensor(part, dtype=torch.float64) for part in (y, others, zeros))
    estimate = inpainting.kernel_vote(*tensors)
    for row, value in zip(y, estimate, strict=True):
        e = s = 0.0
        for other, zero in zip(others, zeros, strict=True):
            weight = math.exp(-np.sum((row - other) ** 2))
            e, s = e + weight * zero, s + weight
        assert float(value) == pytest.approx(e / s, rel=1e-12)
    far = inpainting.kernel_vote(torch.full((1, 3), 1e3), torch.zeros(2, 3), torch.tensor([1.0, 0.0]))
    assert float(far[0]) == pytest.approx(0.5)  # where all printed weights underflow


def algorithm_2_and_learned_probabilities(noise):
    """Labels of four points, two a class, T the identity, z = -3 or 3 for the class; p(y) is trained alone."""
    points = torch.tensor([[-0.5, 0.0], [0.7, 0.2], [0.1, 0.6], [0.4, -0.8]])
    zeros = torch.tensor([1.0, 1.0, 0.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    latent = LearnedMixture(2, torch.tensor([[3.0], [-3.0]]), 0.5, hidden=32, depth=1, activation="relu", generator=generator)
    model = ConditionalModel(FixedPermutation(torch.arange(3)), latent, Padding(dim=3, data=3, labels=2, latent=1, noise=0.0))

    def draw(n, generator):
        rows = torch.randint(4, (n,), generator=generator)
        return torch.cat((points[rows], 6 * zeros[rows, None] - 3), dim=1), points[rows]

    objective = LikelihoodObjective(probability_noise=noise)
    fit_conditional(model, draw, objective, Optimization(800, (Group("", Cosine(1e-2)),)), batch=512, seed=0)
    estimate = inpainting.kernel_vote(points, points, zeros)
    return estimate, latent.probabilities(points)[:, 0].detach(), zeros


def test_noise_on_labels_makes_the_probabilities_algorithm_2():
    # 800 steps of 512 pairs: their average over the last steps has a deviation of order 0.5 / sqrt(512 * 100) = 0.002, the
    # network's own error is of order 0.01
    estimate, learned, zeros = algorithm_2_and_learned_probabilities(0.5**0.5)
    assert float((learned - estimate).abs().max()) < 0.03
    # without the noise they are the truth, which the estimate smooths away
    estimate, learned, zeros = algorithm_2_and_learned_probabilities(0.0)
    assert float((learned - zeros).abs().max()) < 0.01
    assert float((learned - estimate).abs().max()) > 0.2


def test_the_product_is_above_what_is_found_and_sharp_for_an_isometry():
    sizes = Padding(dim=6, data=6, labels=2, latent=2, noise=0.0)
    law = MixtureLatent(((-1.0, 0.0), (1.0, 0.0)), 0.5, hidden=4, depth=1)
    model = (
        build_conditional(Conditional(CouplingFlow(dim=6, blocks=2, hidden=8), sizes, law), seed=0).double().requires_grad_(False)
    )
    y = torch.tensor([0.3, -0.4], dtype=torch.float64)
    for parameter in model.flow.parameters():
        parameter.mul_(3.0)  # away from the identity
    found = constants(model, y, seed=0)["lip_found"]
    assert 1.2 < found < product_bound(model, y) < math.inf
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)).double()
    # the labels and the padding are held, in this order: with the other order the slopes are those of another slice
    f, z = model.generator_at(y), torch.randn(50, 2, generator=torch.Generator().manual_seed(2)).double()
    whole = model.flow.inverse(torch.cat((y.expand(50, -1), torch.zeros(50, 2), z), dim=1))
    torch.testing.assert_close(f(z), whole)
    exact = float(jacobian_norms(model.flow.forward, x).max())
    assert exact * (1 - 1e-3) < inpainting._stretch_at(model, x) <= exact * (1 + 1e-9)
    for parameter in model.flow.parameters():
        parameter.zero_()
    assert constants(model, y, seed=0)["lip_found"] == pytest.approx(1.0, rel=1e-6)
    assert product_bound(model, y) == pytest.approx(1.0, rel=1e-9)


def test_small_digits():
    digits = load_small()
    assert digits.train.shape == (252, 64)
    assert digits.test.shape == (100, 64)
    pictures = digits.picture(digits.train)
    assert float(pictures.min()) == pytest.approx(0.0, abs=1e-5)
    assert float(pictures.max()) == pytest.approx(1.0, abs=1e-5)
    # turning is an isometry; the largest variance comes last
    flat, coordinates = pictures.flatten(1).double(), digits.train.double()
    np.testing.assert_allclose(torch.cdist(coordinates, coordinates), torch.cdist(flat, flat), atol=1e-4)
    assert digits.train[:, -1].std() > digits.train[:, 16:-1].std(0).max()
    # y are the lower rows: the picture's last two
    assert torch.equal(digits.picture(digits.test)[:, -1], digits.test[:, :8])
    assert torch.equal(digits.picture(digits.test)[:, -2], digits.test[:, 8:16])
    again = load_small()
    assert torch.equal(again.train, digits.train)
    score, accuracy = inpainting._classifier(digits)
    assert accuracy > 0.99
    assert (score(digits.test.double()) == digits.test_class.numpy()).mean() == accuracy


def written(folder, images, labels):
    folder.mkdir(exist_ok=True)
    for part in ("train", "t10k"):
        pixels = struct.pack(">iiii", 2051, *images.shape) + images.tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">ii", 2049, len(labels)) + labels.tobytes())
        )
    return folder


def test_mnist_files(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28)).astype(np.uint8)
    labels = np.array([0, 8, 3, 0, 8, 8, 1, 0, 0, 8, 9, 2], dtype=np.uint8)
    folder = written(tmp_path / "data", images, labels)
    digits = load_mnist(folder)
    assert digits.train.shape == (8, 784)
    assert digits.train_class.tolist() == [0, 1, 0, 1, 1, 0, 0, 1]
    np.testing.assert_allclose(digits.picture(digits.train)[1], images[1] / 255.0, atol=1e-5)
    assert digits.known == 168
    np.testing.assert_allclose(digits.train[0, :168].reshape(6, 28).flip(0), images[0, 22:] / 255.0, rtol=1e-6)  # rows 22 to 27
    monkeypatch.setenv(VARIABLE, str(folder))
    assert len(load_mnist(None).test) == 8
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(InvalidInput, match=VARIABLE):
        load_mnist(None)
    path = folder / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    for damage in (data[:50], b"", gzip.compress(b"\0" * 10), gzip.compress(gzip.decompress(data)[:-1])):
        path.write_bytes(damage)
        with pytest.raises(InvalidInput, match="idx gzip"):
            load_mnist(folder)
    path.unlink()
    with pytest.raises(InvalidInput, match="FileNotFoundError"):
        load_mnist(folder)


@pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"{VARIABLE} is not set")
def test_mnist_itself():
    digits = load_mnist(Path(os.environ[VARIABLE]))
    assert (len(digits.train), len(digits.test)) == (11_774, 1_954)
    assert inpainting._classifier(digits)[1] > 0.99


@pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"{VARIABLE} is not set")
def test_a_quick_run_on_mnist(tmp_path):
    config = inpainting.Inpainting(out=tmp_path / "run", quick=True, images="mnist", share=0.001)
    results = inpainting.EXPERIMENT.run(config)
    assert results["preset"].tolist() == ["likelihood", "program"]
    assert np.isfinite(results[["probability_error", "lip_found", "mean_distance"]]).all(axis=None)
    for path in inpainting.EXPERIMENT.figures(config.out):
        assert path.stat().st_size > 5000
