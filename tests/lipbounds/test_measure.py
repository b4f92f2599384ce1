"""One measurement of a generator: what is searched, certified and combined, on maps with known constants."""

import math

import numpy as np
import pytest
import torch

from inn import CouplingFlow, coupling_flow
from lipbounds.certify import certify_lipschitz
from lipbounds.diagnosis import Search, inversion_error, measure
from lipbounds.domains import Ball, Capsule, ConditionalSlice
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine
from lipbounds.maps.model import as_model
from lipbounds.search import find_lipschitz, quotient

LEFT, RIGHT = Ball([-4.0, 0.0], 1.0), Ball([4.0, 0.0], 1.0)


def ridge(z):
    """Slope 1 + 2.5 at z_1 = 4, 1 + 5 at 0 between the balls, at most 1 + 5 / cosh(3)^2 on the left one."""
    bump = 2.5 * torch.tanh(z[:, :1] - 4.0) + 5.0 * torch.tanh(z[:, :1])
    return torch.cat((z[:, :1] + bump, z[:, 1:]), dim=1)


def test_the_largest_ball_and_the_way_between():
    found = measure(ridge, [LEFT, RIGHT], hulls=[Capsule([-4.0, 0.0], [4.0, 0.0], 1.0)])
    assert found.component == 1
    assert found.found is found.per_ball[1]
    assert found.found.lower == pytest.approx(3.5, rel=0.01)
    assert found.per_ball[0].lower == pytest.approx(1 + 5 / math.cosh(3.0) ** 2, rel=1e-4)
    assert found.hull.lower == pytest.approx(6.0, rel=0.01)
    # without a hull the largest of the balls stands for it; without structure or time there is no certificate
    assert measure(ridge, [LEFT, RIGHT]).hull.lower == found.found.lower
    assert found.certificates == ()
    assert math.isnan(found.certified)
    assert math.isnan(measure(ridge, [LEFT], seconds=5.0).certified)


def test_both_ends_of_an_affine_generator():
    # T^-1 = diag(2, 1/4): constants 2 and, of T, 4
    flow = [Affine(np.diag([0.5, 4.0]), np.zeros(2))]
    found = measure(flow, [LEFT, RIGHT], data=Ball([0.0, 0.0], 1.0), seconds=5.0)
    assert found.found.lower == pytest.approx(2.0, rel=1e-6)
    assert 2.0 <= found.certified < 2.0 * (1 + 1e-6)
    assert len(found.certificates) == 2
    assert found.forward.lower == pytest.approx(4.0, rel=1e-6)
    with pytest.raises(InvalidInput, match="both directions"):
        measure(ridge, [LEFT], data=Ball([0.0, 0.0], 1.0))


def test_a_label_and_outputs_choose_the_slice():
    flow = coupling_flow(CouplingFlow(dim=3, blocks=2, hidden=6, activation="tanh"), seed=3).double().requires_grad_(False)
    for parameter in flow.parameters():
        parameter.mul_(2.0)
    ball, label, outputs = Ball([0.0, 0.0], 1.0), [0.7], [1, 2]
    found = measure(flow, [ball], label=label, outputs=outputs, seconds=20.0)
    alone = find_lipschitz(
        lambda z: flow.inverse(torch.cat((torch.full((len(z), 1), 0.7), z), dim=1).double())[:, 1:], ball, evaluations=60_000
    )
    assert found.found.lower == pytest.approx(alone.lower, rel=1e-7)
    assert found.certified == certify_lipschitz(flow, ConditionalSlice(label, ball), outputs=outputs, ratio=1.05).upper
    # another label is another map, and so are other outputs; searches of one map agree to 1e-9
    assert abs(measure(flow, [ball], label=[-0.7], outputs=outputs).found.lower / alone.lower - 1) > 1e-4
    assert abs(measure(flow, [ball], label=label).found.lower / alone.lower - 1) > 1e-4


def test_a_steeper_place_of_branch_and_bound_is_the_models_quotient(monkeypatch):
    flow = coupling_flow(CouplingFlow(dim=2, blocks=2, hidden=6, activation="tanh"), seed=1).double().requires_grad_(False)
    for parameter in flow.parameters():
        parameter.mul_(2.0)
    ball = Ball([0.0, 0.0], 3.0)
    poor = find_lipschitz(flow.inverse, Ball([0.0, 0.0], 1e-3), evaluations=60_000)
    monkeypatch.setattr(Search, "of", lambda *_: poor)
    found = measure(flow, [ball], seconds=10.0).found
    assert found.lower > 1.1 * poor.lower
    shown = quotient(flow.inverse, found.pair)
    assert shown * (1 - 1e-6) <= found.lower < shown  # the rounding of the network is taken off
    assert float((found.pair[0] ** 2).sum()) <= 9.0 * (1 + 1e-9)


def test_errors_of_inversion_are_those_of_the_worst_ball():
    flow = coupling_flow(CouplingFlow(dim=2, blocks=2, hidden=6), seed=1)
    far, near = Ball([30.0, 0.0], 1.0), Ball([0.0, 0.0], 1.0)
    both = inversion_error(as_model(flow), [near, far], torch.float32)
    assert both.lower == inversion_error(as_model(flow), [far], torch.float32).lower
    assert both.lower > 1e6 * inversion_error(as_model(flow), [near, far], torch.float64).lower > 0
    with pytest.raises(InvalidInput, match="both directions"):
        inversion_error(as_model(ridge), [near], torch.float32)
