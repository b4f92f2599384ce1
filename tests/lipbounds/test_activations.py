"""Every activation and every scale keeps the contract: torch, balls, coefficients, ranges and slopes agree, bounds are tight."""

import itertools
import math

import numpy as np
import pytest
import torch
from flint import arb, arb_series
from hypothesis import given
from hypothesis import strategies as st

from lipbounds.arb import ends, working_precision
from lipbounds.errors import InvalidInput
from lipbounds.maps import (
    Conditioner,
    activation_names,
    arctan_scale,
    exponential_scale,
    freia_scale,
    get_activation,
    sigmoid_scale,
    softplus_scale,
    softsign_scale,
    tanh_scale,
)
from lipbounds.maps.activations import activation_of_module
from lipbounds.maps.activations.log_offset import LogOffset
from lipbounds.maps.activations.logistic import SIGMOID, SOFTPLUS
from lipbounds.maps.activations.tanh import TANH
from lipbounds.maps.conditioner import BallNetwork
from lipbounds.rounding import FUNCTION_ERROR

ELEMENTWISE = {name: get_activation(name) for name in activation_names() if get_activation(name).split(2) is None}
LOGS = ("log_softplus", "log_sigmoid")
ELEMENTWISE["log_softplus"] = LogOffset(SOFTPLUS, 1e-3)
ELEMENTWISE["log_sigmoid"] = LogOffset(SIGMOID, 1e-3)
DEGREE = 5
POINTS = np.concatenate((np.linspace(-3, 3, 61), [-700.0, -40.0, -9.0, 9.0, 40.0, 700.0]))

names = st.sampled_from(sorted(ELEMENTWISE))


def exact_series(name, x):
    """The Taylor series of an activation at a point, in ball arithmetic; at a kink that of its left."""
    right = float(x[0].mid()) > 0
    one = arb_series([1], DEGREE + 1)
    match name:
        case "tanh":
            return ((2 * x).exp() - 1) / ((2 * x).exp() + 1)
        case "arctan":
            return x.atan()
        case "sigmoid":
            return one / (1 + (-x).exp())
        case "softplus":
            return (1 + x.exp()).log()
        case "log_softplus":
            return ((1 + x.exp()).log() + arb(1e-3)).log()
        case "log_sigmoid":
            return (one / (1 + (-x).exp()) + arb(1e-3)).log()
        case "silu":
            return x / (1 + (-x).exp())
        case "gelu":
            return x * (-x / arb(2).sqrt()).erfc() / 2
        case "softsign":
            return x / (1 + x) if right else x / (1 - x)
        case "elu":
            return x if right else x.exp() - 1
        case "relu":
            return x if right else 0 * x
        case "leaky_relu":
            return x if right else arb(0.01) * x
        case _:
            return x


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_coefficients_against_ball_arithmetic(name):
    activation, found = ELEMENTWISE[name], ELEMENTWISE[name].coefficients(POINTS, DEGREE)
    assert len(found) == DEGREE + 1
    tensors = activation.coefficients(torch.as_tensor(POINTS), DEGREE)
    for column, point in enumerate(POINTS):
        with working_precision(2500):
            truth = exact_series(name, arb_series([float(point), 1], DEGREE + 1))
            for n in range(DEGREE + 1):
                size = abs(float(truth[n].mid()))
                off = abs(float((truth[n] - float(found[n][column])).mid()))
                assert off <= FUNCTION_ERROR * (size + activation.absolute if n == 0 else 1 + size), (n, point)
                assert float(tensors[n][column]) == pytest.approx(float(found[n][column]), rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(activation.torch(torch.as_tensor(POINTS)).numpy(), found[0], rtol=1e-9, atol=1e-15)


@given(names, st.floats(-6, 6), st.floats(-12, 3), st.integers(0, 2**32 - 1))
def test_ranges_hold_all_coefficients(name, middle, exponent, seed):
    activation, radius = ELEMENTWISE[name], math.exp(exponent)
    low, high = np.array([middle - radius]), np.array([middle + radius])
    points = np.random.default_rng(seed).uniform(low, high, 200)
    points = np.concatenate((points, low, high, np.clip([0.0], low, high)))
    known, values = activation.ranges(low, high, DEGREE), activation.coefficients(points, DEGREE)
    for (least, greatest), value in zip(known, values, strict=True):
        slack = 2 * FUNCTION_ERROR * (1 + np.abs(value).max())
        assert (least - slack <= value).all()
        assert (value <= greatest + slack).all()


@pytest.mark.parametrize("name", ["arctan", "sigmoid", "softplus", "tanh"])
def test_ranges_are_attained(name):
    # near equality: no wider than what 2000 points take
    activation = ELEMENTWISE[name]
    for middle, radius in itertools.product((-2.0, -0.3, 0.7, 1.5), (0.01, 1.0)):
        low, high = np.array([middle - radius]), np.array([middle + radius])
        values = activation.coefficients(np.linspace(low[0], high[0], 2000), DEGREE)
        for (least, greatest), value in zip(activation.ranges(low, high, DEGREE), values, strict=True):
            assert float(greatest[0] - least[0]) <= (1 + 1e-5) * float(np.ptp(value)) + 1e-13


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_ranges_shrink_with_their_intervals(name):
    activation = ELEMENTWISE[name]
    wide, narrow = (activation.ranges(np.array([0.7 - side]), np.array([0.7 + side]), DEGREE) for side in (1e-3, 1e-4))
    for (a, b), (c, d) in zip(wide, narrow, strict=True):
        assert (d - c <= 0.15 * (b - a) + 1e-12).all()  # a tenth, but where an end is cut at the largest value


def test_a_range_that_forgets_an_extreme_is_found_out():
    # negative control: on an interval about 0 the slope of tanh is largest inside, not at an end
    low, high = np.array([-0.5]), np.array([0.5])
    at_ends = np.maximum(*(TANH.coefficients(end, 1)[1] for end in (low, high)))
    assert at_ends < TANH.ranges(low, high, 1)[1][1]


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_slopes_and_largest_coefficients_are_bounds_and_attained(name):
    activation, x = ELEMENTWISE[name], np.concatenate((np.linspace(-30, 30, 600_001), np.linspace(-3, 3, 60_001)))
    values = activation.coefficients(x, DEGREE)
    steepest = float(np.abs(values[1]).max())
    assert steepest <= activation.slope * (1 + 1e-12)
    assert activation.slope <= steepest * (1 + 1e-6) or name in LOGS  # there 1 holds for every offset
    for n in range(1, DEGREE + 1):
        largest = activation.largest(n)
        if activation.kink is not None and n > activation.kink:
            assert largest == math.inf
        else:
            found = float(np.abs(values[n]).max())
            assert found <= largest * (1 + 1e-9) + 1e-12
            if name not in LOGS:
                assert largest <= max(found * 1.0001, 1e-12) + 1e-3 * (name == "silu")


@given(names, st.floats(-8, 8), st.floats(-12, 2))
def test_balls_hold_values_and_slopes(name, middle, exponent):
    activation, radius = ELEMENTWISE[name], math.exp(exponent)
    with working_precision(128):
        ball = arb(middle - radius).union(arb(middle + radius))
        low, high = ends(activation.ball(ball))
        least, greatest = ends(activation.slope_ball(ball))
        exact = ends(activation.ball(arb(middle)))
    x = np.linspace(middle - radius, middle + radius, 101)
    values, slopes = activation.coefficients(x, 1)
    slack = 2 * FUNCTION_ERROR * (1 + np.abs(values).max() + np.abs(slopes).max())
    assert (low - slack <= values).all()
    assert (values <= high + slack).all()
    assert (least - slack <= slopes).all()
    assert (slopes <= greatest + slack).all()
    assert exact[1] - exact[0] <= 1e-14 * (1 + abs(exact[0]))  # tight at points


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if ELEMENTWISE[name].kink])
def test_beyond_a_kink_nothing_is_known(name):
    activation = ELEMENTWISE[name]
    known = activation.ranges(np.array([-1e-3]), np.array([1e-3]), DEGREE)
    for n, (least, greatest) in enumerate(known):
        assert (np.isinf(least) & np.isinf(greatest)).all() == (n > activation.kink)
    nothing = activation.ranges(np.array([np.nan]), np.array([1.0]), DEGREE)
    assert not any(np.isfinite(least).all() and np.isfinite(greatest).all() for least, greatest in nothing[activation.kink + 1 :])


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_groupsort_is_its_stages(seed, pairs):
    rng = np.random.default_rng(seed)
    x = torch.as_tensor(rng.integers(-3, 4, (5, 2 * pairs)).astype(float))  # with ties
    groupsort = get_activation("groupsort")
    before, inner, after = groupsort.split(2 * pairs)
    sorted_pairs = np.sort(x.numpy().reshape(5, pairs, 2), axis=2).reshape(5, -1)
    np.testing.assert_array_equal(groupsort.torch(x).numpy(), sorted_pairs)
    np.testing.assert_array_equal(inner.torch(x @ torch.as_tensor(before).T).numpy() @ after.T, sorted_pairs)
    assert [float(value) for value in groupsort.balls([arb(v) for v in x[0].tolist()])] == sorted_pairs[0].tolist()
    with pytest.raises(InvalidInput, match="even"):
        groupsort.torch(x[:, 1:])


@pytest.mark.parametrize("name", activation_names())
def test_networks_agree_with_their_balls_and_their_stages(name):
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((6, 3)), rng.standard_normal((4, 6)), rng.standard_normal((2, 4))]
    network = Conditioner(weights, [rng.standard_normal(len(one)) for one in weights], name)
    x = rng.standard_normal(3)
    value = network.function()(torch.as_tensor(x)).numpy()
    by_stages = torch.as_tensor(x)
    for stage in network.stages:
        by_stages = stage.activation.torch(torch.as_tensor(stage.matrix) @ by_stages + torch.as_tensor(stage.bias))
    np.testing.assert_allclose(by_stages.numpy(), value, rtol=1e-12, atol=1e-12)
    jacobian = torch.func.jacrev(network.function())(torch.as_tensor(x)).numpy()
    with working_precision(128):
        point = [arb(v) for v in x.tolist()]
        for ball, v in zip(BallNetwork(network).values(point), value, strict=True):
            low, high = ends(ball)
            assert low - 1e-12 <= v <= high + 1e-12
            assert high - low < 1e-12
        _, slopes = BallNetwork(network).values_and_slopes([v + arb(0, 1e-9) for v in point])
        for i, j in itertools.product(range(2), range(3)):
            low, high = ends(slopes[i, j])
            assert low - 1e-9 <= jacobian[i, j] <= high + 1e-9


SCALES = {
    "arctan": (arctan_scale(1.7), lambda r: 2 * 1.7 / math.pi * np.arctan(r / 1.7)),
    "freia": (freia_scale(1.7), lambda r: 0.636 * 1.7 * np.arctan(r)),
    "softsign": (softsign_scale(math.log(1000)), lambda r: r / (1 + np.abs(r) / math.log(1000))),
    "tanh": (tanh_scale(2.0, divisor=0.5), lambda r: 2.0 * np.tanh(r / 0.5)),
    "sigmoid": (sigmoid_scale(2.0), lambda r: -np.log1p(np.exp(-(r + 2)))),
    "sigmoid inverted": (sigmoid_scale(2.0, inverted=True), lambda r: np.log1p(np.exp(-(r + 2)))),
    "softplus": (softplus_scale(1e-3), lambda r: np.log(np.log1p(np.exp(r)) + 1e-3)),
    "none": (exponential_scale(), lambda r: r),
}


@pytest.mark.parametrize("name", SCALES)
def test_scales_are_the_formulas_of_the_libraries(name):
    scale, formula = SCALES[name]
    raw = np.linspace(-5, 5, 41)
    at = torch.as_tensor(raw, dtype=torch.float64).requires_grad_()
    value = scale.log(at)
    np.testing.assert_allclose(value.detach().numpy(), formula(raw), rtol=1e-13, atol=1e-14)
    (slope,) = torch.autograd.grad(value.sum(), at)
    with working_precision(128):
        for r, v, g in zip(raw.tolist(), value.tolist(), slope.tolist(), strict=True):
            low, high = ends(scale.ball(arb(r)))
            least, greatest = ends(scale.slope_ball(arb(r) + arb(0, 1e-12)))
            assert low - 1e-13 <= v <= high + 1e-13
            assert least - 1e-11 <= g <= greatest + 1e-11


@pytest.mark.parametrize("make", [arctan_scale, freia_scale, softsign_scale, tanh_scale])
@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_bounds_of_scales(make, bound):
    with pytest.raises(InvalidInput):
        make(bound)


def test_modules_are_found():
    assert activation_of_module(torch.nn.ReLU()).name == "relu"
    assert activation_of_module(torch.nn.LeakyReLU()).name == "leaky_relu"
    assert activation_of_module(torch.nn.GELU()).name == "gelu"
    for other in (torch.nn.LeakyReLU(0.2), torch.nn.GELU("tanh"), torch.nn.ELU(2.0), torch.nn.Softplus(2.0), torch.nn.Hardtanh()):
        with pytest.raises(InvalidInput):
            activation_of_module(other)
    with pytest.raises(InvalidInput, match="sine"):
        get_activation("sine")
