"""Branch and bound in ball arithmetic: every slope is below, narrow boxes are sharp, and a forgotten range is seen."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inn import CouplingFlow, Glow, build, coupling_flow
from lipbounds.certify import ball_jacobian as module
from lipbounds.certify import certify_lipschitz
from lipbounds.certify.ball_jacobian import BallJacobian
from lipbounds.certify.branch_and_bound import Budget, branch_and_bound
from lipbounds.certify.problem import Problem
from lipbounds.domains import Ball, Box
from lipbounds.maps import Affine, Conditioner, PartialCoupling, Permutation, Residual, inverse_map
from lipbounds.maps.activations.tanh import TANH
from lipbounds.search.find import jacobian_norms

ACTIVATIONS = ("tanh", "relu", "silu", "softplus", "arctan")


def bounded(layers, domain, lower, *, ratio, seconds):
    """Branch and bound above a lower bound that never grows."""
    witness = SimpleNamespace(lower=lower, improve=lambda points: None)
    return branch_and_bound(BallJacobian(Problem.of(layers, domain, None)), witness, Budget(seconds, ratio), lambda event: None)


def random_layers(rng, dim, activation):
    """Three layers of every kind, with slopes of order one."""

    def network(inputs, outputs, norm=None):
        matrices = [rng.standard_normal((5, inputs)), rng.standard_normal((outputs, 5))]
        if norm is not None:
            matrices = [norm**0.5 * matrix / np.linalg.norm(matrix, 2) for matrix in matrices]
        return Conditioner(matrices, [rng.standard_normal(5), rng.standard_normal(outputs)], activation)

    seen, changed = np.split(rng.permutation(dim), [max(1, dim // 2)])
    return [
        PartialCoupling(dim, changed, seen, network(len(seen), 2 * len(changed)), 1.0),
        Permutation(rng.permutation(dim)),
        Affine(np.eye(dim) + 0.3 * rng.standard_normal((dim, dim)) / dim, rng.standard_normal(dim)),
        Residual(network(dim, dim, norm=0.7)),
    ]


def root_bound(layers, lower, upper):
    bound = bounded(layers, Box(lower, upper), 0.0, ratio=1.01, seconds=0.0)
    assert bound.nodes == 1
    return bound.upper


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.sampled_from(ACTIVATIONS), st.floats(-6.0, 0.5))
def test_no_slope_of_a_box_is_above_its_bound(seed, dim, activation, size):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, dim, activation)
    lower = rng.uniform(-2.0, 2.0, dim)
    upper = lower + np.exp(size) * rng.uniform(0.1, 1.0, dim)
    bound = root_bound(layers, lower, upper)
    points = np.concatenate((rng.uniform(lower, upper, (30, dim)), np.where(rng.random((10, dim)) < 0.5, lower, upper)))
    # torch's preimages under the residual layer are good to about 1e-10
    assert float(jacobian_norms(inverse_map(layers), torch.as_tensor(points)).max()) <= bound * (1 + 1e-7)


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.sampled_from(("tanh", "silu", "softplus", "arctan")))
def test_narrow_boxes_are_sharp(seed, dim, activation):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, dim, activation)
    middle = rng.uniform(-2.0, 2.0, dim)
    bound = root_bound(layers, middle - 1e-9, middle + 1e-9)
    slope = float(jacobian_norms(inverse_map(layers), torch.as_tensor(middle[None]))[0])
    # second derivatives of these layers are below 1e4
    assert slope * (1 - 1e-7) <= bound <= slope * (1 + 1e-4)


def test_ranges_that_forget_the_box_are_seen(monkeypatch):
    honest = TANH.slope_ball
    monkeypatch.setattr(TANH, "slope_ball", lambda ball: honest(ball.mid()), raising=False)
    refuted = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        layers = random_layers(rng, 2, "tanh")
        lower = rng.uniform(-2.0, 2.0, 2)
        points = torch.as_tensor(rng.uniform(lower, lower + 0.3, (200, 2)))
        refuted += float(jacobian_norms(inverse_map(layers), points).max()) > root_bound(layers, lower, lower + 0.3) * (1 + 1e-6)
    assert refuted >= 1


def test_linear_maps_are_exact():
    matrix = np.array([[2.0, 1.0, 0.0], [0.0, 0.5, 0.0], [0.3, 0.0, 1.0]])
    certificate = certify_lipschitz([Affine(matrix, np.ones(3)), Permutation(np.array([2, 0, 1]))], Ball(np.zeros(3), 1.0))
    norm = np.linalg.norm(np.linalg.inv(matrix), 2)
    assert norm * (1 - 1e-9) <= certificate.lower <= norm * (1 + 1e-12)
    assert norm * (1 - 1e-12) <= certificate.upper <= norm * (1 + 1e-9)
    assert certificate.boxes == 1
    assert not certificate.assumptions


def test_agrees_with_the_tables_of_the_plane():
    flow = coupling_flow(CouplingFlow(blocks=1, hidden=6, activation="tanh"), seed=3)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(2.0)
    domain = Ball([0.3, -0.2], 0.5)
    plane = certify_lipschitz(flow, domain, ratio=1.02)
    bound = bounded(flow, domain, plane.lower, ratio=1.1, seconds=60.0)
    assert plane.lower <= bound.upper <= 1.1 * plane.lower
    assert bound.nodes > 1


def test_boxes_outside_the_ball_are_left_out():
    # the steep place of this map lies in a corner of the bounding box
    steep = Conditioner([np.array([[40.0]]), np.array([[0.0], [3.0]])], [np.array([-74.0]), np.zeros(2)], "tanh")
    layers = [PartialCoupling(2, np.array([1]), np.array([0]), steep, 1.0)]
    shift = [Affine(np.array([[0.6, 0.8], [-0.8, 0.6]]), np.zeros(2)), *layers]
    inside, outside = (
        bounded(shift, domain, 1.0, ratio=1.2, seconds=3.0).upper for domain in (Ball([0.0, 0.0], 1.5), Ball([0.0, 0.0], 2.0))
    )
    assert inside <= 1.2
    assert outside > 50.0


def test_glow_is_certified():
    flow = build(Glow(dim=3, blocks=2, hidden=4), seed=0)
    certificate = certify_lipschitz(flow, Ball(np.zeros(3), 0.5), ratio=1.2, seconds=20.0)
    assert certificate.guarantee.name == "CERTIFIED"
    assert certificate.upper <= 1.2 * certificate.lower


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_stopped_early_the_bound_holds(seconds):
    rng = np.random.default_rng(0)
    layers = random_layers(rng, 3, "tanh")
    certificate = certify_lipschitz(layers, Box(-np.ones(3), np.ones(3)), seconds=seconds)
    points = torch.as_tensor(rng.uniform(-1.0, 1.0, (2000, 3)))
    assert float(jacobian_norms(inverse_map(layers), points).max()) <= certificate.upper
    assert certificate.lower <= certificate.upper


def test_numbers_whose_squares_overflow():
    layers = [Affine(np.diag([1e-160, 1.0]), np.zeros(2))]
    upper = bounded(layers, Box([0.0, 0.0], [1.0, 1.0]), 1e160, ratio=1.01, seconds=1.0).upper
    assert 1e160 * (1 - 1e-12) <= upper <= 1e160 * (1 + 1e-9)
    assert not module._misses(Ball([0.0, 0.0], 2.65e-162), np.full(2, 1.6e-162), np.full(2, 3e-162))
