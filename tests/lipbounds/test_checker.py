"""The checker accepts what was proven, and rejects what is claimed beyond it."""

import json

import numpy as np
import pytest

from inn import CouplingFlow, coupling_flow
from lipbounds.__main__ import main
from lipbounds.certify import certify_lipschitz
from lipbounds.certify.saved import save_transport
from lipbounds.checker import ACTIVATIONS, Rejected, check, digest
from lipbounds.distances import optimal_transport
from lipbounds.domains import Ball, Box, Capsule, ConditionalSlice, Segment
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine, Conditioner, Coupling


def flow(activation="tanh", dim=2, seed=0):
    return (
        coupling_flow(CouplingFlow(dim=dim, blocks=1, hidden=4, activation=activation), seed=seed).double().requires_grad_(False)
    )


CERTIFIED = {
    "ball": lambda path: certify_lipschitz(flow(), Ball([0.0, 0.0], 1.0), ratio=1.1, save=path),
    "box": lambda path: certify_lipschitz(flow("softplus"), Box([-1.0, 0.0], [1.0, 0.5]), ratio=1.05, save=path),
    "capsule": lambda path: certify_lipschitz(flow("silu"), Capsule([0.0, 0.0], [1.0, 0.0], 0.5), ratio=1.1, save=path),
    "slice": lambda path: certify_lipschitz(
        flow(dim=3), ConditionalSlice([0.3], Ball([0.0, 0.0], 1.0)), outputs=[1, 2], ratio=1.1, save=path
    ),
    "balls": lambda path: certify_lipschitz(
        [Affine(np.array([[2.0, 0.3], [0.0, 0.5]]), np.zeros(2)), *flow().structure()],
        Ball([0.0, 0.0], 0.5),
        ratio=1.2,
        save=path,
    ),
}


@pytest.mark.parametrize("name", CERTIFIED)
def test_certificates_are_accepted(name, tmp_path):
    path = tmp_path / "certificate"
    certificate = CERTIFIED[name](path)
    text = check(path, boxes=25)
    assert f"[{certificate.lower:.9g}, {certificate.upper:.9g}]" in text
    assert [file.name for file in tmp_path.iterdir()] == ["certificate"]


def changed(path, change):
    """The same file with arrays or description changed, and a digest that fits."""
    with np.load(path) as file:
        arrays = {name: file[name].copy() for name in file.files}
    header = json.loads(str(arrays.pop("description")))
    arrays.pop("digest")
    change(header, arrays)
    description = json.dumps(header)
    other = path.with_name("changed.npz")
    np.savez(other, description=description, digest=digest(arrays, description), **arrays)
    return other


def drop_boxes(header, arrays, count=1):
    # those near the middle: some at the rim miss the domain
    keep = np.argsort(np.abs(arrays["low"] + arrays["high"]).max(1))[count:]
    for name in ("low", "high", "bounds"):
        arrays[name] = arrays[name][keep]


def scaled(name, factor):
    return lambda header, arrays: arrays.update({name: arrays[name] * factor})


def stated(name, factor):
    return lambda header, arrays: header.update({name: header[name] * factor})


def shrunk(header, arrays):
    middle = 0.5 * (arrays["low"] + arrays["high"])
    arrays["low"], arrays["high"] = middle + 0.99 * (arrays["low"] - middle), middle + 0.99 * (arrays["high"] - middle)


def weight_of(header, arrays):
    return (
        header["layers"][-1]["stages"][0][0]
        if header["layers"][-1]["kind"] == "coupling"
        else header["layers"][-2]["stages"][0][0]
    )


def bend(header, arrays):
    name = weight_of(header, arrays)
    arrays[name] = 1.5 * arrays[name]


def other_activation(header, arrays):
    for layer in header["layers"]:
        if layer["kind"] == "coupling":
            layer["stages"][0] = [*layer["stages"][0][:2], "linear"]


CORRUPTED = {
    "a box is missing": drop_boxes,
    "many boxes are missing": lambda h, a: drop_boxes(h, a, 20),
    "boxes are smaller": shrunk,
    "boxes are moved": lambda h, a: a.update(low=a["low"] + 0.1, high=a["high"] + 0.1),
    "ends exchanged": lambda h, a: a.update(low=a["high"], high=a["low"]),
    "the upper end is lower": stated("upper", 0.9),
    "the upper end is below the lower": stated("upper", 0.5),
    "the lower end is higher": stated("lower", 1.01),
    "the lower end is much higher": stated("lower", 1.04),
    "negative ends": stated("lower", -1.0),
    "a bound above the upper end": scaled("bounds", 1.2),
    "bounds are not numbers": scaled("bounds", np.nan),
    "the witness is outside": scaled("pair", 100.0),
    "the witness is a point": lambda h, a: a.update(pair=a["pair"][[0, 0]]),
    "another witness": lambda h, a: a.update(pair=np.array([[0.0, 0.0], [0.0, 0.1]])),
    "a larger ball": stated("radius", 1.5),
    "a ball elsewhere": lambda h, a: a.update(domain=a["domain"] + 0.5),
    "other weights": bend,
    "another activation": other_activation,
    "layers twice": lambda h, a: h.update(layers=h["layers"] * 2),
    "couplings forgotten": lambda h, a: h.update(layers=[one for one in h["layers"] if one["kind"] != "coupling"]),
    "no layers": lambda h, a: h.update(layers=[]),
    "an unknown layer": lambda h, a: h["layers"][0].update(kind="magic"),
    "an unknown domain": lambda h, a: h.update(domain="banana"),
    "no domain": lambda h, a: a.pop("domain"),
    "no bounds": lambda h, a: a.pop("bounds"),
    "another scale": lambda h, a: [layer.update(outer=-layer["outer"]) for layer in h["layers"] if layer["kind"] == "coupling"],
    "outputs that are not there": lambda h, a: a.update(outputs=np.array([7])),
    "an unknown kind": lambda h, a: h.update(kind="poem"),
    "a label too much": lambda h, a: a.update(held=np.array([1.0])),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("certificate") / "certificate"
    CERTIFIED["ball"](path)
    return path


def test_a_file_written_again_is_accepted(certificate):
    check(changed(certificate, lambda header, arrays: None), boxes=5)


@pytest.mark.parametrize("name", CORRUPTED)
def test_corrupted_certificates_are_rejected(name, certificate):
    with pytest.raises(Rejected):
        check(changed(certificate, CORRUPTED[name]), boxes=100)


def test_files_that_are_damaged_are_rejected(certificate, tmp_path):
    data = certificate.read_bytes()
    for content in (data[: len(data) // 2], b"", b"not a file", data[:200] + b"x" + data[201:]):
        path = tmp_path / "damaged"
        path.write_bytes(content)
        with pytest.raises(Rejected):
            check(path)
    with pytest.raises(Rejected):
        check(tmp_path / "not there")


def plan(path, seed=0):
    rng = np.random.default_rng(seed)
    cost, a, b = rng.normal(size=(7, 5)), rng.dirichlet(np.ones(7)), None
    answer = optimal_transport(np.zeros((7, 1)), np.zeros((5, 1)), cost, x_weights=a, y_weights=b)
    save_transport(path, answer, cost, x_weights=a, y_weights=b)
    return answer


@pytest.mark.parametrize("seed", range(10))
def test_plans_are_accepted(seed, tmp_path):
    answer = plan(tmp_path / "plan", seed)
    assert f"{answer.upper:.9g}" in check(tmp_path / "plan")


@pytest.mark.parametrize(
    "change",
    [
        lambda h, a: h.update(lower=h["lower"] + 1e-6),
        lambda h, a: h.update(upper=h["upper"] - 1e-6),
        lambda h, a: a.update(f=a["f"] - 1e-6),
        lambda h, a: a.update(g=a["g"][::-1].copy()),
        lambda h, a: a.update(mass=a["mass"] * 1.001),
        lambda h, a: a.update(mass=-a["mass"]),
        lambda h, a: a.update(cost=a["cost"] + 0.001),
        lambda h, a: a.update(a=a["a"][::-1].copy()),
        lambda h, a: a.pop("f"),
        lambda h, a: a.update(i=a["i"][::-1].copy()),
    ],
)
def test_corrupted_plans_are_rejected(change, tmp_path):
    plan(tmp_path / "plan")
    with pytest.raises(Rejected):
        check(changed(tmp_path / "plan", change))


def test_what_cannot_be_checked_is_not_saved(tmp_path):
    with pytest.raises(InvalidInput, match="save"):
        certify_lipschitz(flow(), Segment([0.0, 0.0], [1.0, 0.0]), save=tmp_path / "x", seconds=5.0, ratio=1.5)
    with pytest.raises(InvalidInput, match="save"):
        certify_lipschitz(flow("relu"), Ball([0.0, 0.0], 1.0), save=tmp_path / "x", ratio=1.5)
    with pytest.raises(InvalidInput, match="save"):
        certify_lipschitz(flow(dim=3), Ball([0.0, 0.0, 0.0], 1.0), save=tmp_path / "x", seconds=0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_the_checker_are_those_of_the_layers(name, tmp_path):
    network = Conditioner([[[0.7], [-0.4]], [[0.5, 0.3], [0.2, -0.6]]], [[0.1, 0.2], [0.0, 0.1]], name)
    layers = [Coupling(1, network, network, 0.8)]
    certificate = certify_lipschitz(layers, Ball([0.0, 0.0], 0.5), ratio=1.3, seconds=20.0, save=tmp_path / "x", cells=8192)
    assert certificate.upper < 1.4 * certificate.lower
    check(tmp_path / "x", boxes=5)


def test_the_command(certificate, tmp_path, capsys):
    assert main(["check", str(certificate), "--boxes", "3"]) == 0
    assert "accepted: certificate" in capsys.readouterr().out
    (tmp_path / "x").write_text("x")
    assert main(["check", str(tmp_path / "x")]) == 1
    assert "REJECTED" in capsys.readouterr().err
