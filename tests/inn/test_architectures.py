"""One suite for every architecture, with random weights far from the identity."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from inn import (
    ActNorm,
    CouplingFlow,
    Ensemble,
    Glow,
    LearnedLinear,
    NeuralODE,
    ODEFlow,
    OneSidedCoupling,
    RealNVP,
    ResidualFlow,
    ResidualLayer,
    build,
    coupling_from_freia,
    load_flow,
    save_flow,
)
from inn.architectures import ARCHITECTURES
from lipbounds.errors import InvalidInput
from lipbounds.maps import inverse_map, structure_of
from lipbounds.maps.layer_constants import bound_of_residual

seeds = st.integers(0, 2**32 - 1)
CASES = {
    "coupling": CouplingFlow(dim=3, blocks=2, hidden=6),
    "freia clamp": CouplingFlow(dim=3, blocks=2, hidden=6, clamp_form="freia"),
    "clamped t": CouplingFlow(dim=3, blocks=2, hidden=6, clamp_translation=True),
    "sparse": CouplingFlow(dim=4, blocks=2, hidden=6, inputs=1),
    "sparse, freia clamp": CouplingFlow(dim=4, blocks=2, hidden=6, inputs=2, clamp_form="freia"),
    "spectral": CouplingFlow(dim=3, blocks=2, hidden=6, constant=1.5),
    "real-nvp": RealNVP(dim=3, blocks=3, hidden=6),
    "glow": Glow(dim=3, blocks=2, hidden=6),
    "residual": ResidualFlow(dim=3, blocks=2, hidden=6),
    "residual silu": ResidualFlow(dim=2, blocks=2, hidden=6, activation="silu", constant=0.7),
    "ode": ODEFlow(dim=3, hidden=6),
}
# how well a round trip closes: rounding, or for the ODE the error of rk4 with 16 steps of fields of slope about 1
CLOSES = {name: 1e-9 if not name.startswith("ode") else 2e-3 for name in CASES}
every = pytest.mark.parametrize("name", CASES)


def network(name, seed, dtype=torch.float64):
    """Weights of order one everywhere; permutations and signs as built."""
    flow = build(CASES[name], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in flow.named_parameters():
            fan_in = parameter.shape[-1] if parameter.ndim == 2 else 1
            size = 0.3 if key.endswith(("log_scale", "lower", "upper")) else fan_in**-0.5
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return flow.to(dtype)


def points_of(name, seed, n=6, dtype=torch.float64, reach=1.0):
    return reach * torch.randn(n, CASES[name].dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def jacobian(function, points):
    points = points.clone().requires_grad_()
    image = function(points)  # rows are independent: one pass back for all of them
    rows = [torch.autograd.grad(image[:, i].sum(), points, retain_graph=True)[0] for i in range(image.shape[1])]
    return torch.stack(rows, 1)


def test_every_architecture_is_tried():
    assert {type(case) for case in CASES.values()} == {kind for kind, _ in ARCHITECTURES.values()}


@every
@given(seed=seeds)
@example(seed=0)
def test_both_directions(name, seed):
    flow, points = network(name, seed), points_of(name, seed)
    for there, back in ((flow.forward, flow.inverse), (flow.inverse, flow.forward)):
        with torch.no_grad():
            image = there(points)
            assert (image - points).abs().max() > 1e-3  # not the identity
            error = (back(image) - points).abs().amax(1)
        stretch = torch.linalg.matrix_norm(jacobian(back, image), ord=2)
        size = 1 + image.abs().amax(1)
        assert (error <= CLOSES[name] * size * (1 + stretch) * 10).all()


@every
@given(seed=seeds)
@example(seed=0)
def test_log_det_is_that_of_the_jacobian(name, seed):
    flow, points = network(name, seed), points_of(name, seed, n=3)
    for with_log_det, alone in ((flow.forward_and_log_det, flow.forward), (flow.inverse_and_log_det, flow.inverse)):
        image, log_det = with_log_det(points)
        torch.testing.assert_close(image, alone(points), rtol=1e-10, atol=1e-10)
        full = jacobian(alone, points)
        expected = torch.linalg.slogdet(full).logabsdet
        rounding = 1e-10 * (1 + torch.linalg.cond(full))
        assert ((log_det - expected).abs() <= rounding + (CLOSES[name] if name == "ode" else 0)).all()


@every
def test_gradients_reach_every_parameter_both_ways(name):
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        flow = network(name, 1)
        image, log_det = getattr(flow, method)(points_of(name, 1, n=32))
        (image.square().sum() + log_det.sum()).backward()
        for key, parameter in flow.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.abs().max() > 0, key


@every
def test_gradients_of_the_inverse_are_those_of_differences(name):
    # the implicit derivative of the residual layer among them
    flow = network(name, 2)
    z = points_of(name, 2, n=4)
    parameters = list(flow.parameters())
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    gradients = torch.autograd.grad(flow.inverse(z).sin().sum(), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    values = []
    for step in (1e-6, -1e-6):  # error: 1e-12 of the third derivative, and 1e-10 of rounding
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += step * direction
            values.append(flow.inverse(z).sin().sum())
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter -= step * direction
    numeric = (values[0] - values[1]) / 2e-6
    assert abs(float(slope - numeric)) <= 1e-5 * (1 + abs(float(numeric)))


@every
def test_rows_do_not_depend_on_the_batch(name):
    flow, points = network(name, 3), points_of(name, 3)
    with torch.no_grad():
        for function in (flow.forward, flow.inverse):
            alone = torch.cat([function(point[None]) for point in points])
            torch.testing.assert_close(function(points), alone, rtol=1e-10, atol=1e-10)


@every
def test_float32_agrees_with_float64(name):
    points = points_of(name, 4)
    with torch.no_grad():
        single, double = network(name, 4, torch.float32), network(name, 4, torch.float64)
        for method in ("forward", "inverse"):
            image = getattr(single, method)(points.float())
            assert image.dtype == torch.float32
            torch.testing.assert_close(image.double(), getattr(double, method)(points), rtol=1e-3, atol=1e-3)


@every
def test_far_inputs_stay_finite_and_come_back(name):
    flow = network(name, 5)
    points = points_of(name, 5, reach=1e3)
    with torch.no_grad():
        image = flow(points)
        assert torch.isfinite(image).all()
        # rounding of points of size 1e3, stretched on the way back by at most about e^6; far out the field of the ODE is
        # saturated, hence constant, and its solver exact
        assert (flow.inverse(image) - points).abs().max() <= 1e-9 * 1e3 * np.exp(6)


@every
def test_save_and_load(name, tmp_path):
    flow = network(name, 6, torch.float32)
    save_flow(tmp_path / "flow.st", flow, CASES[name])
    loaded, architecture = load_flow(tmp_path / "flow.st")
    assert architecture == CASES[name]
    points = points_of(name, 6, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(loaded(points), flow(points))


@every
def test_the_structure_is_the_network(name):
    flow, z = network(name, 7), points_of(name, 7)
    if name in ("clamped t", "ode"):
        with pytest.raises(InvalidInput):
            structure_of(flow)
        return
    with torch.no_grad():
        torch.testing.assert_close(inverse_map(structure_of(flow))(z), flow.inverse(z), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if name != "ode"])
def test_ensembles_of_every_architecture(name):
    flows = [network(name, seed) for seed in range(2)]
    points = torch.stack([points_of(name, seed) for seed in range(2)])
    images, log_dets = Ensemble(flows).inverse_and_log_det(points)
    for flow, z, image, log_det in zip(flows, points, images, log_dets, strict=True):
        torch.testing.assert_close((image, log_det), flow.inverse_and_log_det(z), rtol=1e-9, atol=1e-9)


def residual_layer(seed, constant=0.9):
    generator = torch.Generator().manual_seed(seed)
    layer = ResidualLayer(3, hidden=8, depth=1, activation="tanh", constant=constant, generator=generator)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
    return layer.double()


@given(seeds)
def test_a_residual_layer_keeps_its_constant(seed):
    layer = residual_layer(seed)
    forward, inverse = bound_of_residual([weight.numpy() for weight in layer.normalised()], "tanh")
    assert forward.upper <= 1.9
    assert inverse.upper <= 10.0
    z = 5 * torch.randn(10, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    slopes = torch.linalg.matrix_norm(jacobian(layer.inverse, z), ord=2)
    assert (slopes <= inverse.upper).all()
    with torch.no_grad():
        assert (layer.inversion_error(z) <= 1e-9).all()


def test_without_normalisation_a_residual_layer_breaks_its_constant():
    # negative control
    layer = residual_layer(0)
    forward, inverse = bound_of_residual([part.weight.detach().numpy() for part in layer.subnet.layers], "tanh")
    assert forward.upper > 1.9
    assert inverse.upper == np.inf


def test_actnorm_and_linear():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1]) + 2.0
    layer = ActNorm(3)
    layer.initialise(x)
    torch.testing.assert_close(layer(x).mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(layer(x).std(0), torch.ones(3))
    linear = LearnedLinear(4, generator=torch.Generator().manual_seed(0))
    matrix = torch.as_tensor(linear.structure()[0].matrix)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)  # a rotation at first
    assert len(set(linear.order.tolist())) == 4


@pytest.mark.parametrize("adjoint", [False, True])
def test_ode_solvers_agree(adjoint):
    seed = torch.Generator().manual_seed(0)
    fine = NeuralODE(2, hidden=6, depth=1, activation="tanh", method="dopri5", tolerance=1e-9, adjoint=adjoint, generator=seed)
    coarse = NeuralODE(2, hidden=6, depth=1, activation="tanh", steps=32, generator=torch.Generator())
    coarse.load_state_dict(fine.state_dict())
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images, gradients = [], []
    for flow in (fine.double(), coarse.double()):
        image, log_det = flow.forward_and_log_det(x)
        (image.square().sum() + log_det.sum()).backward()
        images.append((image.detach(), log_det.detach()))
        gradients.append([parameter.grad for parameter in flow.parameters()])
    torch.testing.assert_close(images[0], images[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "activation"), [(4, torch.nn.ReLU), (5, torch.nn.Tanh), (2, torch.nn.SiLU)])
def test_weights_of_freia(channels, activation):
    modules = pytest.importorskip("FrEIA.modules")
    torch.manual_seed(0)
    subnet = lambda a, b: torch.nn.Sequential(torch.nn.Linear(a, 7), activation(), torch.nn.Linear(7, b))
    block = modules.GLOWCouplingBlock([(channels,)], subnet_constructor=subnet, clamp=1.3)
    layer = coupling_from_freia(block)
    x = 3 * torch.randn(6, channels)
    with torch.no_grad():
        (image,), log_det = block([x])
        torch.testing.assert_close(layer.forward_and_log_det(x), (image, log_det), rtol=1e-6, atol=1e-6)
        (back,), _ = block([x], rev=True)
        torch.testing.assert_close(layer.inverse(x), back, rtol=1e-5, atol=1e-5)
        # negative control: the paper's clamp is another one
        assert (coupling_from_freia(block, form="paper")(x) - image).abs().max() > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: build(RealNVP(dim=1), seed=0),
        lambda: build(RealNVP(blocks=0), seed=0),
        lambda: build(Glow(dim=1), seed=0),
        lambda: build(ResidualFlow(constant=1.0), seed=0),
        lambda: build(ODEFlow(method="euler"), seed=0),
        lambda: build(ODEFlow(steps=0), seed=0),
        lambda: build(CouplingFlow(clamp_form="tanh"), seed=0),
        lambda: build("glow", seed=0),
        lambda: ActNorm(0),
        lambda: ActNorm(2).initialise(torch.ones(5, 2)),
        lambda: ActNorm(2).initialise(torch.full((5, 2), np.nan)),
        lambda: ActNorm(2).initialise(torch.ones(0, 2)),
        lambda: LearnedLinear(0, generator=torch.Generator()),
        lambda: OneSidedCoupling(3, hidden=1, depth=1, activation="tanh", clamp=-1.0, generator=torch.Generator()),
        lambda: coupling_from_freia(torch.nn.Linear(2, 2)),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()
