"""Torch programs as stages: the same values, weights as they are, and clear words for what is not read."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from lipbounds.arb import ends, exact_row, working_precision
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations.relu import LeakyRelu
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.lowering import lowered
from tests.strategies.samplers import Sampler


def sampler(method="euler"):
    return Sampler(nn.Sequential(nn.Linear(3, 9), nn.Tanh(), nn.Linear(9, 2)), method, 4)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 6), nn.Linear(6, 6)
        self.norm, self.last = nn.BatchNorm1d(6), nn.Linear(12, 3)

    def forward(self, z):
        h = nn.functional.elu(self.first(z))
        h = h + nn.functional.silu(self.norm(self.second(h)))
        a, b = h.chunk(2, 1)
        return self.last(torch.cat([b, a, h - 0.5], 1)), torch.zeros(len(z))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, 2 * 3 * 3),
            nn.BatchNorm1d(18),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (2, 3, 3)),
            nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.ZeroPad2d(1),
            nn.Conv2d(3, 2, 3, padding=1, groups=1),
            nn.Dropout(),
            nn.AvgPool2d(3),
            nn.Flatten(),
            nn.GELU(),
        )

    def forward(self, z):
        return self.net(z)


class PiecewiseLinear(nn.Module):
    """Maxout, groupsort in pairs, absolute values and clamps."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 4)

    def forward(self, z):
        a, b = self.first(z).chunk(2, 1)
        pairs = torch.stack([torch.maximum(a, b), torch.minimum(a, b)], 2).reshape(len(z), -1)
        y = nn.functional.hardtanh(self.second(pairs), -0.5, 2.0)
        return torch.clamp(y, min=-0.25) - y.abs() / 3 + y.mean(1, keepdim=True)


def randomised(module):
    """A module with weights, and statistics of batch normalisation, that are not those of torch's beginning."""
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (part.weight, part.running_mean):
                values.data.normal_(0.5)
            part.running_var.uniform_(0.2, 3.0)
    return module.double().eval()


MODELS = {
    "decoder": (Decoder, 2),
    "residual": (Residual, 2),
    "piecewise linear": (PiecewiseLinear, 3),
    **{method: (lambda method=method: sampler(method), 2) for method in ("euler", "midpoint", "heun", "rk4")},
    "linear": (lambda: nn.Linear(4, 2), 4),
    "function": (lambda: lambda z: torch.tanh(2.0 * z[:, 1:]) @ torch.ones(2, 3, dtype=torch.float64) - z, 3),
    "parameters": (lambda: nn.Sequential(nn.Linear(2, 4), nn.PReLU(), nn.Softplus(), nn.Sigmoid(), nn.Hardtanh(0.1, 0.6)), 2),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_stages_have_the_values_of_the_program(name):
    make, inputs = MODELS[name]
    model = make()
    model = randomised(model) if isinstance(model, nn.Module) else model
    network = lowered(model, inputs)
    points = 3.0 * torch.randn(1000, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = model(points)
    images = (images[0] if isinstance(images, tuple) else images).reshape(1000, -1)
    torch.testing.assert_close(network.function()(points), images, rtol=1e-10, atol=1e-10)
    with working_precision(128):
        for point, image in zip(points[:3].numpy(), images[:3].numpy(), strict=True):
            for value, number in zip(network.balls(exact_row(point)), image, strict=True):
                low, high = ends(value)
                assert high - low < 1e-12 * (1 + abs(number))
                assert abs(low - number) < 1e-10 * (1 + abs(number))


def test_weights_are_those_of_the_module_and_no_product_is_rounded():
    net = randomised(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Flatten(), nn.Linear(3, 1)))
    network = lowered(net, 2)
    numbers = {0.0, 1.0} | {value for part in (0, 2, 4) for value in net[part].weight.flatten().tolist()}
    scale = (net[1].weight / torch.sqrt(net[1].running_var + net[1].eps)).tolist()
    for stage in network.stages:
        for value in stage.matrix.flatten().tolist():
            # the scale of batch normalisation is the one number that is computed
            assert value in numbers or any(abs(value - one) < 1e-15 for one in scale)
    assert len(network.stages) == 4


def test_steps_of_a_solver_multiply_no_numbers():
    h = 0.1  # no power of two
    network = lowered(lambda z: (z + h * (3.0 * z)) * 7.0, 1)
    exact = (Fraction(1) + Fraction(h) * 3) * 7
    product = Fraction(1)
    value = [Fraction(1)]
    for stage in network.stages:
        value = [sum((Fraction(w) * v for w, v in zip(row, value, strict=True)), Fraction(0)) for row in stage.matrix.tolist()]
    product = value[0]
    assert product == exact
    rounded = Fraction((1.0 + h * 3.0) * 7.0)
    assert rounded != exact  # in one matrix it would be


def test_units_that_nobody_reads_are_left_out():
    network = lowered(lambda z: torch.cat([torch.tanh(z), torch.sigmoid(z)], 1)[:, :1], 3)
    assert [stage.matrix.shape for stage in network.stages] == [(1, 3), (1, 1)]


def test_sums_of_one_unit_with_factors_far_apart_are_not_rounded():
    network = lowered(lambda z: z + z * 2.0**-60, 1)
    value = Fraction(1)
    rows = [[value]]
    for stage in network.stages:
        rows = [[sum((Fraction(w) * v[0] for w, v in zip(row, rows, strict=True)), Fraction(0))] for row in stage.matrix.tolist()]
    assert rows == [[1 + Fraction(1, 2**60)]]


def test_a_layer_of_zeros_and_operations_in_place():
    zero = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 3)).double().requires_grad_(False)
    zero[0].weight[:], zero[0].bias[:] = 0.0, 0.0
    assert lowered(zero, 2).outputs == 3
    network = lowered(nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)).double(), 2)
    assert len(network.stages) == 2


def test_torchs_softplus_is_an_assumption():
    assert lowered(nn.Sequential(nn.Linear(2, 2), nn.Softplus()).double(), 2).assumptions
    assert not lowered(nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double(), 2).assumptions


def test_outputs_can_be_chosen():
    network = lowered(nn.Linear(2, 3).double(), 2).some([2, 0])
    assert network.outputs == 2


class Branching(nn.Module):
    def forward(self, z):
        return z if z.norm() > 1 else 2 * z


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (Branching(), 2, "no value decides a branch"),
        (lambda z: z * torch.randn(2), 2, "branches on values and noise are not read"),
        (lambda z: torch.softmax(z, 1), 2, "the operation _softmax"),
        (lambda z: z * z, 2, "mul of two values"),
        (lambda z: torch.sin(z), 2, "the operation sin"),
        (nn.Linear(3, 2).double(), 2, "check the dimension of the domain"),
        (lambda z: torch.zeros(len(z), 2, dtype=torch.float64), 2, "a constant"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double(), 2, "training"),
        (lambda z: z.float(), 2, "the operation _to_copy"),
        (lambda z: torch.tanh(z) - z.mean(0), 2, "not read"),
        (nn.Sequential(nn.Linear(2, 2), nn.PReLU(2)).double(), 2, "prelu with several slopes"),
        (lambda z: [z], 2, "type list"),
        (lambda z: torch.tanh(z)[0], 2, "keep the first axis for the points"),
        (nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(1.5)).double(), 2, "leaky relu with the slope 1.5"),
        (nn.Softplus(3.0), 2, "not torch's usual ones"),
        (lambda z: 1.0 / z, 2, "not read|by a value|the operation"),
    ],
)
def test_what_is_not_read_is_named(model, inputs, words):
    with pytest.raises(InvalidInput, match=words):
        lowered(model, inputs)


def test_a_network_of_stages_is_checked():
    stage = Stage(np.ones((2, 1)), np.zeros(2), LeakyRelu(0.1))
    with pytest.raises(InvalidInput, match="compose"):
        FeedForward((stage, stage))
    with pytest.raises(InvalidInput, match="finite"):
        FeedForward((Stage(np.array([[np.nan]]), np.zeros(1), LeakyRelu(0.1)),))
