"""Certificates of invertible residual networks: attained by linear layers, above every slope, proven preimages."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from inn import ResidualFlow, build
from lipbounds.arb import ends, working_precision
from lipbounds.certify import certify_lipschitz, evaluate_inverse
from lipbounds.certify.layer_product import bound_by_product
from lipbounds.domains import Ball, Box
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine, Conditioner, Permutation, Residual, inverse_map
from lipbounds.maps.layers.residual import ResidualInverse
from lipbounds.search import find_lipschitz
from lipbounds.search.find import jacobian_norms


def random_layer(rng, dim, c, activation="tanh", hidden=6):
    slope = {"silu": 1.0998393201288672}.get(activation, 1.0)
    matrices = [rng.standard_normal((hidden, dim)), rng.standard_normal((dim, hidden))]
    weights = [(c / slope) ** 0.5 * (1 - 1e-9) * matrix / np.linalg.norm(matrix, 2) for matrix in matrices]
    return Residual(Conditioner(weights, [rng.standard_normal(hidden), rng.standard_normal(dim)], activation))


def linear_layer(turn, c):
    """x - c O x with a reflection O: the inverse stretches one direction by 1 / (1 - c)."""
    # relu far from its kink is linear: the bias keeps every unit of a box positive
    return Residual(Conditioner([-c * turn, np.eye(len(turn))], [np.full(len(turn), 50.0), np.full(len(turn), -50.0)], "relu"))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0.05, 0.95))
def test_the_bound_is_attained_by_linear_layers(seed, dim, c):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    turn = basis @ np.diag([1.0] + [-1.0] * (dim - 1)) @ basis.T
    layer = linear_layer((turn + turn.T) / 2 * (1 - 1e-12), c)
    bound = bound_by_product([layer], -np.ones(dim), np.ones(dim))
    slope = float(jacobian_norms(inverse_map([layer]), torch.zeros(1, dim, dtype=torch.float64))[0])
    assert slope == pytest.approx(1 / (1 - c), rel=1e-9)
    assert slope <= bound <= slope * (1 + 1e-8)
    # a bound with a constant a percent smaller is refuted
    assert slope > 1 / (1 - 0.99 * c)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.1, 0.95), st.sampled_from(["tanh", "relu", "silu", "softplus"]))
def test_no_slope_is_above_the_bound(seed, dim, c, activation):
    rng = np.random.default_rng(seed)
    shift = Affine(np.eye(dim) * 1.5, rng.standard_normal(dim))
    layers = [
        random_layer(rng, dim, c, activation),
        Permutation(rng.permutation(dim)),
        shift,
        random_layer(rng, dim, c, activation),
    ]
    lower = rng.uniform(-3.0, 3.0, dim)
    upper = lower + np.exp(rng.uniform(-4.0, 1.5, dim))
    bound = bound_by_product(layers, lower, upper)
    points = torch.as_tensor(rng.uniform(lower, upper, (50, dim)))
    # slopes of the second layer's preimage are good to 1e-9 by two Newton steps from 1e-3
    assert float(jacobian_norms(inverse_map(layers), points).max()) <= bound * (1 + 1e-6)
    assert bound <= (1 / (1 - c)) ** 2 / 1.5 * (1 + 1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.1, 0.95), st.sampled_from(["tanh", "relu", "silu"]))
def test_proven_preimages(seed, dim, c, activation):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, dim, c, activation)
    x = rng.standard_normal((1, dim)) * 3
    z = layer.forward()(torch.as_tensor(x)).numpy()[0]
    enclosures = evaluate_inverse([layer], z)
    width = max(value.upper - value.lower for value in enclosures)
    assert width < 1e-14
    # z is rounded to doubles, by which the preimage moves at most 1 / (1 - c) times as far
    slack = 64 * np.finfo(float).eps * (1 + np.abs(z).max() + np.abs(x).max()) / (1 - c)
    assert all(value.lower - slack <= true <= value.upper + slack for value, true in zip(enclosures, x[0], strict=True))
    # and contains all preimages of a box
    with working_precision(64):
        box = [arb(value - 0.1).union(arb(value + 0.1)) for value in z.tolist()]
        hull = [ends(ball) for ball in ResidualInverse(layer.network).at(box)]
    corners = torch.as_tensor(z + rng.choice([-0.1, 0.1], (20, dim)))
    images = inverse_map([layer])(corners).numpy()
    assert all((low <= images[:, i]).all() and (images[:, i] <= high).all() for i, (low, high) in enumerate(hull))


def test_residual_flows_are_certified():
    flow = build(ResidualFlow(dim=2, blocks=3, hidden=16, activation="tanh", constant=0.8), seed=0)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in flow.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    domain = Ball([0.0, 0.0], 2.0)
    found = find_lipschitz(flow.double().inverse, domain, seed=1, evaluations=60_000)
    certificate = certify_lipschitz(flow, domain, found=found, seconds=2.0)
    assert certificate.guarantee.name == "CERTIFIED"
    assert 1.05 < found.lower <= certificate.upper <= 5.0**3
    assert certificate.lower == pytest.approx(found.lower, rel=1e-3)
    # slopes on the box are smaller than everywhere
    wide = certify_lipschitz(flow, Box([-50.0, -50.0], [50.0, 50.0]), found=found, seconds=1.0)
    assert certificate.upper < wide.upper


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_second_derivatives_of_the_inverse(activation):
    # the search climbs along them; a Newton step from a constant alone would have none
    layer = random_layer(np.random.default_rng(3), 3, 0.8, activation)
    z = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradgradcheck(inverse_map([layer]), (z,))


def test_a_network_that_does_not_contract_is_refused():
    layer = random_layer(np.random.default_rng(0), 2, 0.9)
    weights = [1.1 * matrix for matrix in layer.network.weights]
    with pytest.raises(InvalidInput, match="below 1"):
        replace(layer, network=replace(layer.network, weights=weights))
    with pytest.raises(InvalidInput, match="as many outputs"):
        Residual(Conditioner([np.zeros((3, 2))], [np.zeros(3)], "tanh"))


def test_a_residual_layer_of_zeros():
    inverse = ResidualInverse(Conditioner([np.zeros((2, 2))], [np.zeros(2)], "tanh"))
    assert [ends(value) for value in inverse.at([arb(1.0), arb(-2.0)])] == [(1.0, 1.0), (-2.0, -2.0)]
