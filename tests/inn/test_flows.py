"""The network of equation (8): round trip, log-determinant, and the formula as printed."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from inn import Composition, CouplingFlow, Ensemble, FixedPermutation, TwoSidedCoupling, arctan_clamp, coupling_flow
from lipbounds.errors import InvalidInput
from tests.oracles.flow import coupling_layer

seeds = st.integers(0, 2**32 - 1)
architectures = st.builds(
    CouplingFlow,
    dim=st.integers(2, 5),
    blocks=st.integers(1, 4),
    hidden=st.integers(1, 12),
    depth=st.integers(1, 2),
    activation=st.sampled_from(["tanh", "silu", "softplus", "relu"]),
    clamp=st.sampled_from([0.5, 2.0]),
)
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}


def random_flow(architecture, seed, dtype):
    """A flow with weights of order one everywhere: far from the near-identity of a fresh one."""
    flow = coupling_flow(architecture, seed=seed).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            fan_in = parameter.shape[-1] if parameter.ndim == 2 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype) / fan_in**0.5)
    return flow


def jacobian(function, points):
    return torch.stack([torch.autograd.functional.jacobian(lambda p: function(p[None])[0], point) for point in points])


@given(architectures, seeds, st.sampled_from([torch.float32, torch.float64]), st.sampled_from([1.0, 30.0]))
@example(CouplingFlow(dim=2), 0, torch.float64, 1000.0)
def test_round_trip_both_ways(architecture, seed, dtype, reach):
    flow = random_flow(architecture, seed, dtype)
    points = reach * torch.randn(16, architecture.dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    with torch.no_grad():
        for there, back in ((flow.forward, flow.inverse), (flow.inverse, flow.forward)):
            image = there(points)
            assert (image - points).abs().max() > 1e-2  # not the identity
            # rounding of a point of size r is r eps, and it is stretched by at most the Jacobian of the way back
            stretch = torch.linalg.matrix_norm(jacobian(lambda p, f=back: f(p), image.detach()), ord=2)
            size = torch.maximum(image.abs().amax(1), points.abs().amax(1)) + 1
            inner = 100 * architecture.blocks * EPS[dtype] * size * (1 + stretch) * np.exp(2 * architecture.clamp)
            assert ((back(image) - points).abs().amax(1) <= inner).all()


@given(architectures, seeds)
def test_log_det_is_that_of_the_jacobian(architecture, seed):
    flow = random_flow(architecture, seed, torch.float64)
    points = torch.randn(4, architecture.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for function, single in ((flow.forward_and_log_det, flow.forward), (flow.inverse_and_log_det, flow.inverse)):
        image, log_det = function(points)
        assert log_det.shape == (4,)
        assert torch.equal(image, single(points))
        expected = torch.linalg.slogdet(jacobian(single, points))
        condition = torch.linalg.cond(jacobian(single, points))
        assert ((log_det - expected.logabsdet).abs() <= 1e-13 * condition + 1e-12).all()
    _, back = flow.inverse_and_log_det(flow(points))
    torch.testing.assert_close(back, -flow.forward_and_log_det(points)[1], rtol=1e-7, atol=1e-7)


def test_a_wrong_log_det_would_be_seen():
    # negative control: the log-determinant without one of its two terms
    flow = random_flow(CouplingFlow(dim=3, blocks=1), 0, torch.float64)
    layer = flow.layers[1]
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_2 = points[:, layer.split[0] :]
    half = arctan_clamp(layer.subnet_2(x_2).chunk(2, -1)[0], layer.clamp.alpha).sum(-1)
    expected = torch.linalg.slogdet(jacobian(layer.forward, points)).logabsdet
    assert (half - expected).abs().max() > 1e-2
    torch.testing.assert_close(layer.forward_and_log_det(points)[1], expected)


@given(seeds, st.integers(2, 5))
def test_agrees_with_the_printed_formula(seed, dim):
    flow = random_flow(CouplingFlow(dim=dim, blocks=1, hidden=6, activation="tanh"), seed, torch.float64)
    layer = flow.layers[1].requires_grad_(False)
    points = torch.randn(3, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = np.stack([coupling_layer(layer, point) for point in points.numpy()])
    np.testing.assert_allclose(layer(points).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_fresh_flow_is_near_the_identity_and_its_permutations_are_not_all_trivial():
    flow = coupling_flow(CouplingFlow(dim=4), seed=0)
    points = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    assert 1e-4 < (flow(points) - points).abs().mean() < 1.0
    orders = [layer.order.tolist() for layer in flow.layers if isinstance(layer, FixedPermutation)]
    assert any(order != [0, 1, 2, 3] for order in orders)
    assert orders != [layer.order.tolist() for layer in coupling_flow(CouplingFlow(dim=4), seed=1).layers[::2]]


@given(st.floats(-1e6, 1e6), st.sampled_from([0.01, 0.7, 2.0]))
@example(1e300, 2.0)
def test_clamp(s, alpha):
    value = float(arctan_clamp(torch.tensor(s, dtype=torch.float64), alpha))
    assert abs(value) <= alpha
    assert value == pytest.approx(2 * alpha / np.pi * np.arctan(s / alpha), rel=1e-14)


def test_an_ensemble_agrees_with_its_members():
    flows = [random_flow(CouplingFlow(dim=3, blocks=3), seed, torch.float64) for seed in range(4)]
    ensemble = Ensemble(flows)
    points = torch.randn(4, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z, log_det = ensemble.forward_and_log_det(points)
    x, _ = ensemble.inverse_and_log_det(points)
    for index, flow in enumerate(flows):
        torch.testing.assert_close((z[index], log_det[index]), flow.forward_and_log_det(points[index]), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(x[index], flow.inverse(points[index]), rtol=1e-12, atol=1e-12)
    # gradients too
    log_det.sum().backward()
    flows[2].forward_and_log_det(points[2])[1].sum().backward()
    for stacked, own in zip(ensemble.parameters(), flows[2].parameters(), strict=True):
        torch.testing.assert_close(stacked.grad[2], own.grad, rtol=1e-10, atol=1e-10)
    for network, flow in zip(ensemble.networks(), flows, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), flow.parameters(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: coupling_flow(CouplingFlow(dim=1), seed=0),
        lambda: coupling_flow(CouplingFlow(blocks=0), seed=0),
        lambda: coupling_flow(CouplingFlow(clamp=0.0), seed=0),
        lambda: coupling_flow(CouplingFlow(hidden=0), seed=0),
        lambda: coupling_flow(CouplingFlow(activation="sine"), seed=0),
        lambda: Composition([]),
        lambda: Composition([FixedPermutation(torch.arange(2)), FixedPermutation(torch.arange(3))]),
        lambda: FixedPermutation(torch.tensor([0, 0])),
        lambda: Ensemble([]),
        lambda: Ensemble([coupling_flow(CouplingFlow(), seed=0), coupling_flow(CouplingFlow(blocks=2), seed=0)]),
        lambda: TwoSidedCoupling(2, hidden=1, depth=1, activation="tanh", clamp=np.inf, generator=torch.Generator()),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()
