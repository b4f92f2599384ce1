"""Certificates of flows of the plane by boxes of z and windows of linear pieces: every enclosure against points inside it."""

import math
from dataclasses import replace
from fractions import Fraction

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import jacrev, vmap

from experiments.bench.search import best_known, domain_of
from experiments.zoo.networks import NETWORKS, installed
from experiments.zoo.training import load
from lipbounds import Ball, Box, certify_lipschitz
from lipbounds.certify.branch_and_bound import Budget
from lipbounds.certify.plane_flows import forms_kernel as forms
from lipbounds.certify.plane_flows import scale_kernel as scales
from lipbounds.certify.plane_flows.bounder import FlowNodes, PlaneFlow
from lipbounds.certify.plane_flows.piecewise_linear import is_piecewise_linear, pieces_of
from lipbounds.certify.problem import Problem
from lipbounds.errors import InvalidInput
from lipbounds.maps import (
    Affine,
    Conditioner,
    PartialCoupling,
    Permutation,
    ReversedCoupling,
    Spline,
    SplineCoupling,
    arctan_scale,
    exponential_scale,
    freia_scale,
    inverse_map,
    sigmoid_scale,
    softplus_scale,
    softsign_scale,
    tanh_scale,
)
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.activations.relu import RELU, LeakyRelu

SEEDS = st.integers(0, 2**32 - 1)


def network(rng, outputs, *, hidden=12, steep=1.0, activation="relu"):
    first = steep * rng.standard_normal((hidden, 1))
    second = rng.standard_normal((hidden, hidden)) / math.sqrt(hidden)
    last = rng.standard_normal((outputs, hidden)) / math.sqrt(hidden)
    biases = [rng.standard_normal(hidden), 0.3 * rng.standard_normal(hidden), 0.3 * rng.standard_normal(outputs)]
    return Conditioner([first, second, last], biases, activation)


# 1. tables of pieces


def exact_value_and_slopes(net, u):
    """Outputs at a double, and the slopes on its left and right, in fractions."""
    values, left, right = [Fraction(u)], [Fraction(1)], [Fraction(1)]
    for stage in net.stages:
        matrix = [[Fraction(w) for w in row] for row in stage.matrix.tolist()]
        values = [
            sum((w * v for w, v in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(matrix, stage.bias.tolist(), strict=True)
        ]
        left, right = (
            [sum((w * s for w, s in zip(row, side, strict=True)), Fraction(0)) for row in matrix] for side in (left, right)
        )
        for k in range(len(values)):
            kind = stage.activation
            if isinstance(kind, OnLastUnits):
                kind = kind.inner if k >= kind.first else None
            if not isinstance(kind, LeakyRelu):
                continue
            below = Fraction(kind.below)
            # at 0 the side is that to which the unit moves
            left[k] *= below if values[k] < 0 or (values[k] == 0 and left[k] > 0) else 1
            right[k] *= below if values[k] < 0 or (values[k] == 0 and right[k] < 0) else 1
            values[k] = values[k] if values[k] > 0 else below * values[k]
    return values, left, right


def coincident(rng):
    """Kinks of several units at one place or 2e-10 apart, dead units, and a pair that cancels."""
    first = np.array([[2.0], [2.0], [-2.0], [4.0], [0.0], [1.0]])
    bias = np.array([-1.0, -1.0 + 4e-10, 1.0, -2.0, -3.0, -0.5])
    return Conditioner(
        [first, rng.standard_normal((4, 6)), rng.standard_normal((2, 4))], [bias, np.zeros(4), np.zeros(2)], "relu"
    )


@given(SEEDS, st.sampled_from(["relu", LeakyRelu(0.2), OnLastUnits(RELU, 5), "coincident"]))
def test_every_point_has_a_piece_that_contains_the_network(seed, kind):
    rng = np.random.default_rng(seed)
    net = (
        coincident(rng) if kind == "coincident" else network(rng, 3, hidden=8, steep=10.0 ** rng.uniform(-2, 2), activation=kind)
    )
    table = pieces_of(net)
    assert table.low[0] == -1e4
    assert table.high[-1] == 1e4
    assert (table.low[1:] <= table.high[:-1]).all()
    ends = np.concatenate((table.low, table.high))
    near = ends[rng.integers(len(ends), size=12)]
    points = np.concatenate((near, near + 1e-9 * rng.standard_normal(12), 3 * rng.standard_normal(6), [0.5 - 1e-10, 9999.0]))
    for u in np.clip(points, -1e4, 1e4).tolist():
        values, left, right = exact_value_and_slopes(net, u)
        sides_found = [False, False]
        for k in np.flatnonzero((table.low <= u) & (u <= table.high)):
            away = abs(Fraction(u) - Fraction(table.middle[k]))
            inside = all(
                abs(value - Fraction(table.value[k, o]) - Fraction(table.slope[k, o]) * (Fraction(u) - Fraction(table.middle[k])))
                <= Fraction(table.error[k, o]) + Fraction(table.spread[k, o]) * away
                for o, value in enumerate(values)
            )
            for side, slopes in enumerate((left, right)):
                fits = all(abs(s - Fraction(table.slope[k, o])) <= Fraction(table.spread[k, o]) for o, s in enumerate(slopes))
                sides_found[side] |= inside and fits
        assert all(sides_found)


def test_a_kink_of_one_unit_leaves_narrow_pieces_and_coincident_ones_a_wide_one():
    rng = np.random.default_rng(0)
    assert pieces_of(network(rng, 2)).spread.max() < 1e-10
    table = pieces_of(coincident(rng))
    wide = table.spread.max(1) > 1e-3
    assert wide.any()
    assert (table.high - table.low)[wide].max() < 1e-8
    assert not is_piecewise_linear(network(rng, 2, activation="tanh"))


# 2. lines and forms

APPLIED = {
    "exp": (forms.line_exp, np.exp, np.exp),
    "softsign": (
        numba.njit(lambda f, R: scales.line_softsign(f, 0.7, R)),
        lambda x: x / (1 + 0.7 * abs(x)),
        lambda x: 1 / (1 + 0.7 * abs(x)) ** 2,
    ),
    "inverse": (forms.line_inverse, lambda x: 1 / x, lambda x: -1 / x**2),
    **{
        name: (
            numba.njit(lambda f, R, kind=kind: scales.line_factor(f, kind, 0.8, 1.3, 0.2, scales.EXPONENTIAL, 1.0, R)),
            lambda x, phi=phi: np.exp(0.8 * phi(1.3 * x + 0.2)),
            lambda x, phi=phi, slope=slope: np.exp(0.8 * phi(1.3 * x + 0.2)) * 0.8 * 1.3 * slope(1.3 * x + 0.2),
        )
        for name, kind, phi, slope in [
            ("arctan", scales.ARCTAN, np.arctan, lambda y: 1 / (1 + y * y)),
            ("tanh", scales.TANH, np.tanh, lambda y: 1 - np.tanh(y) ** 2),
            ("softplus", scales.SOFTPLUS, lambda y: np.logaddexp(0, y), lambda y: 1 / (1 + np.exp(-y))),
            ("sigmoid", scales.SIGMOID, lambda y: 1 / (1 + np.exp(-y)), lambda y: np.exp(-y) / (1 + np.exp(-y)) ** 2),
            ("linear", scales.LINEAR, lambda y: y, np.ones_like),
        ]
    },
}


def line_holds(line, values, slopes, delta):
    """Whether a line contains a function sampled at delta, but for the rounding of the comparison."""
    c, e, (dc, dg, dr), low, high = line
    size = 1e-12 * (1 + np.abs(values).max() + np.abs(slopes).max())
    at = values[len(delta) // 2]
    return (
        abs(at - c) <= e + size
        and (np.abs(slopes - dc - dg * delta) <= dr + size).all()
        and (values >= low - size).all()
        and (values <= high + size).all()
    )


@given(SEEDS, st.sampled_from(sorted(APPLIED)))
def test_lines_contain_what_they_stand_for(seed, name):
    rng = np.random.default_rng(seed)
    R = 10.0 ** rng.uniform(-4, 0.5)
    delta = np.linspace(-R, R, 201)
    c, s = rng.uniform(-3, 3), rng.standard_normal() * 10.0 ** rng.uniform(-1, 1)
    if name == "inverse":
        c = abs(s) * R + 0.1 + abs(c)
    apply, function, slope = APPLIED[name]
    ends = (c - abs(s) * R * (1 + 1e-12), c + abs(s) * R * (1 + 1e-12))
    line = apply((c, 0.0, (s, 0.0, 0.0), *ends), R)
    with np.errstate(over="ignore"):
        x = c + s * delta
        values, slopes = function(x), slope(x) * s
    assert line_holds(line, values, slopes, delta)
    if np.abs(s * delta).max() < 1e-2:  # of second order: a hundredth of the reach leaves less than 1e-3 of it
        assert line[2][2] <= 0.05 * abs(s) * (1 + abs(slopes / s).max()) * abs(s) * R + 1e-11
    # a product and a sum with itself and with another
    other = forms.line_exp((0.1, 0.0, (0.3, 0.0, 0.0), 0.1 - 0.31 * R, 0.1 + 0.31 * R), R)
    g = np.exp(0.1 + 0.3 * delta)
    assert line_holds(forms.line_times(line, other, R), values * g, slopes * g + values * 0.3 * g, delta)
    assert line_holds(forms.line_add(line, other, R), values + g, slopes + 0.3 * g, delta)
    assert line_holds(forms.line_moved(line, -1.7, 0.4, R), 0.4 - 1.7 * values, -1.7 * slopes, delta)


def test_a_remainder_that_is_too_small_is_seen():
    # the largest second difference of exp on the right end: half of its rest does not cover it
    R = 0.5
    delta = np.linspace(-R, R, 201)
    line = forms.line_exp((0.0, 0.0, (1.0, 0.0, 0.0), -R, R), R)
    values = np.exp(delta)
    assert line_holds(line, values, values, delta)
    c, e, (dc, dg, dr), low, high = line
    assert not line_holds((c, e, (dc, dg, 0.5 * dr), low, high), values, values, delta)
    assert not line_holds((c, e, (dc, dg, dr), low, high * 0.99), values, values, delta)


def test_the_third_derivative_of_the_sigmoid_counts():
    # near its inflection, on a range where the remainder is small beside the change of the slope
    R = 0.1
    delta = np.linspace(-R, R, 201)
    line = scales.line_factor((0.3, 0.0, (1.0, 0.0, 0.0), 0.3 - R, 0.3 + R), scales.SIGMOID, 1.0, 1.0, 0.0, 0.0, 1.0, R)
    values = 1 / (1 + np.exp(-(0.3 + delta)))
    assert line_holds(line, values, values * (1 - values), delta)
    assert line[2][2] < 0.5 * np.ptp(values * (1 - values))


# 3. nodes

SCALES = {
    "softsign": softsign_scale(math.log(1e3)),
    "tanh": tanh_scale(1.5, 2.0),
    "freia": freia_scale(2.0),
    "arctan": arctan_scale(1.9),
    "exponential": exponential_scale(),
    "sigmoid": sigmoid_scale(2.0),
    "inverted sigmoid": sigmoid_scale(2.0, inverted=True),
    "sigmoid with least": sigmoid_scale(2.0, least=1e-3),
    "softplus": softplus_scale(),
}
SPLINES = {
    "zuko": Spline(8, 5.0, clip_bins=2 / math.log(1e3), clip_slopes=1 / math.log(1e3)),
    "nflows": Spline(5, 3.0, least_bin=1e-3, least_slope=1e-3, divisor=4.0),
    "two bins": Spline(2, 1.0, least_bin=0.1, least_slope=0.05),
}


def random_flow(rng, kind):
    layers = []
    steep = 10.0 ** rng.uniform(-1, 0.7)
    for k in range(int(rng.integers(1, 5))):
        where = ([k % 2], [1 - k % 2])
        if kind in SPLINES:
            layers.append(SplineCoupling(2, *where, network(rng, SPLINES[kind].parameters, steep=steep), SPLINES[kind]))
        else:
            layer = PartialCoupling(2, *where, network(rng, 2, steep=steep), SCALES[kind])
            layers.append(layer if rng.random() < 0.5 else ReversedCoupling(layer))
        if rng.random() < 0.5:
            layers.append(Affine(rng.standard_normal((2, 2)) + 2 * np.eye(2), rng.standard_normal(2)))
    return [*layers, Permutation(rng.permutation(2))]


def norms(f, z):
    """By automatic derivatives; NaN where these overflow."""
    a, b, c, d = vmap(jacrev(lambda one: f(one[None])[0]))(z).numpy().reshape(-1, 4).T
    with np.errstate(over="ignore", invalid="ignore"):
        return 0.5 * (np.hypot(a + d, b - c) + np.hypot(a - d, b + c))


def seen_coordinates(layers, z):
    """What every conditioner of the inverse sees, in its order."""
    seen, x = [], z
    for layer in reversed(layers):
        part = layer.coupling if isinstance(layer, ReversedCoupling) else layer
        if isinstance(part, PartialCoupling | SplineCoupling):
            seen.append(x[:, int(part.seen[0])].numpy())
        x = layer.inverse()(x)
    return np.stack(seen)


@given(SEEDS, st.sampled_from(sorted([*SCALES, *SPLINES])))
def test_bounds_of_nodes_hold_at_points_inside(seed, kind):
    rng = np.random.default_rng(seed)
    layers = random_flow(rng, kind)
    problem = Problem.of(layers, Ball([0.0, 0.0], 10.0), None)
    bounder = PlaneFlow(problem)
    n = 16
    middles, radii = 2 * rng.standard_normal((n, 2)), 10.0 ** rng.uniform(-8, 0, (n, 2))
    whole = np.stack((np.zeros_like(bounder._program.pieces), bounder._program.pieces - 1), 1).ravel().astype(np.int32)
    nodes = FlowNodes(middles, radii, np.tile(whole, (n, 1)), np.zeros(n, dtype=np.int16))
    for _ in range(3):
        nodes, bounds = bounder.bound(nodes, np.full(len(nodes), np.inf), 0.0)
        points = nodes.middles[:, None] + nodes.radii[:, None] * rng.uniform(-1, 1, (len(nodes), 12, 2))
        z = torch.as_tensor(points.reshape(-1, 2))
        true, seen = norms(problem.f, z), seen_coordinates(layers, z)
        windows = np.repeat(nodes.windows.reshape(len(nodes), -1, 2), 12, axis=0)
        ends = bounder._program.ends
        inside = np.ones(len(z), dtype=bool)
        for table in range(len(seen)):
            low, high = ends[table, windows[:, table, 0], 0], ends[table, windows[:, table, 1], 1]
            # one-sided at a margin, where the piece of the window need not be that of the point
            inside &= (seen[table] > low + 1e-7) & (seen[table] < high - 1e-7)
        known = np.isfinite(true) & inside & (true < 1e12)
        # the automatic derivative is rounded
        assert (true[known] <= np.repeat(bounds, 12)[known] * (1 + 1e-9) + 1e-9).all()
        nodes = bounder.split(nodes, bounds, 0.0)[0]
        if not len(nodes):
            return


@pytest.mark.parametrize("kind", sorted([*SCALES, *SPLINES]))
def test_bounds_of_small_nodes_are_near_the_norm(kind):
    # of second order: boxes of 1e-4 are good to some 1e-4, where halves of remainders of first order would not be
    rng = np.random.default_rng(5)
    layers = random_flow(rng, kind)
    problem = Problem.of(layers, Ball([0.0, 0.0], 10.0), None)
    bounder = PlaneFlow(problem)
    middles = rng.standard_normal((64, 2))
    whole = np.stack((np.zeros_like(bounder._program.pieces), bounder._program.pieces - 1), 1).ravel().astype(np.int32)
    nodes = FlowNodes(middles, np.full((64, 2), 1e-6), np.tile(whole, (64, 1)), np.zeros(64, dtype=np.int16))
    _, bounds = bounder.bound(nodes, np.full(64, np.inf), 0.0)
    assert np.median(bounds / norms(problem.f, torch.as_tensor(middles))) < 1 + 1e-3


@given(SEEDS)
def test_parts_cover_their_node(seed):
    rng = np.random.default_rng(seed)
    problem = Problem.of(random_flow(rng, "tanh"), Ball([0.0, 0.0], 10.0), None)
    bounder = PlaneFlow(problem)
    n = 8
    middles, radii = 10.0 ** rng.uniform(-3, 6, (n, 2)), 10.0 ** rng.uniform(-14, 0, (n, 2))
    windows = np.sort(rng.integers(0, 9, (n, len(bounder._program.pieces), 2)), 2).reshape(n, -1).astype(np.int32)
    cuts = np.array([k % 2 if k < 4 else 2 + k % len(bounder._program.pieces) for k in range(n)], dtype=np.int16)
    narrow = cuts >= 2
    cuts[narrow] = np.where(
        windows[narrow, 2 * (cuts[narrow] - 2)] < windows[narrow, 2 * (cuts[narrow] - 2) + 1], cuts[narrow], 0
    )
    parts, origins = bounder.split(FlowNodes(middles, radii, windows, cuts), np.ones(n), 0.0)
    for k in range(n):
        a, b = np.flatnonzero(origins == k)
        for axis in range(2):
            low, high = (
                [Fraction(parts.middles[j, axis]) + sign * Fraction(parts.radii[j, axis]) for j in (a, b)] for sign in (-1, 1)
            )
            assert min(low) <= Fraction(middles[k, axis]) - Fraction(radii[k, axis])
            assert max(high) >= Fraction(middles[k, axis]) + Fraction(radii[k, axis])
            assert max(low) <= min(high)
        first, last = parts.windows[a].reshape(-1, 2), parts.windows[b].reshape(-1, 2)
        whole = windows[k].reshape(-1, 2)
        assert (np.minimum(first, last)[:, 0] == whole[:, 0]).all()
        assert (np.maximum(first, last)[:, 1] == whole[:, 1]).all()
        assert (np.maximum(first[:, 0], last[:, 0]) <= np.minimum(first[:, 1], last[:, 1]) + 1).all()


def test_a_power_of_a_scale_with_an_offset_is_left_to_other_methods():
    scale = softplus_scale()
    net = network(np.random.default_rng(0), 2)
    for outer, fits in ((1.0, True), (2.0, False)):
        layer = PartialCoupling(2, [1], [0], net, replace(scale, outer=outer))
        assert PlaneFlow.applies(Problem.of([layer], Ball([0.0, 0.0], 1.0), None)) == fits


def test_what_overflows_is_unknown_and_not_empty():
    net = Conditioner([[[500.0]], [[-3.0], [300.0]]], [[0.0], [0.0, 0.0]], "relu")
    problem = Problem.of([PartialCoupling(2, [1], [0], net, exponential_scale())], Ball([0.0, 0.0], 3.0), None)
    bounder = PlaneFlow(problem)
    nodes = bounder.roots(Budget(1.0, 1.01))
    _, bounds = bounder.bound(nodes, np.full(len(nodes), np.inf), 0.0)
    inside = (np.abs(nodes.middles) + nodes.radii).max(1) < 2.0
    assert not np.isnan(bounds).any()
    assert (bounds[inside] >= 1.0).all()
    # exp(1500 u) is beyond the doubles there
    assert np.isinf(bounds[inside & (nodes.middles[:, 0] > 0.5)]).all()


def test_a_box_is_bounded_by_all_bins_that_it_meets():
    # the lower bin is wide and low, so that its inverse is steep; the middle of the box is in the upper one
    raw = np.array([3.0, 0.0, -3.0, 0.0, 0.5])
    layers = [SplineCoupling(2, [1], [0], Conditioner([np.zeros((5, 1))], [raw], "relu"), Spline(2, 1.0, least_slope=1e-3))]
    z = torch.stack((torch.zeros(2001), torch.linspace(-1.0, 0.0, 2001)), 1).double()
    steepest = norms(inverse_map(layers), z).max()
    assert steepest > 10.0
    assert one_bound(layers, [0.0, -0.3], 0.7) >= steepest * (1 - 1e-9)


def one_bound(layers, middle, radius=1e-3):
    bounder = PlaneFlow(Problem.of(layers, Ball([0.0, 0.0], 10.0), None))
    whole = np.stack((np.zeros_like(bounder._program.pieces), bounder._program.pieces - 1), 1).ravel().astype(np.int32)
    node = FlowNodes(np.array([middle]), np.full((1, 2), radius), whole[None], np.zeros(1, dtype=np.int16))
    return float(bounder.bound(node, np.full(1, np.inf), 0.0)[1][0])


def test_more_pieces_than_short_integers_count():
    # the last piece must not wrap around: a node without a bound of its own would be closed
    depth = 16  # tents, one in the other: 2^16 pieces of slopes 2^16 and -2^16 on [0, 1]
    inner = [np.array([[2.0, -4.0], [2.0, -4.0]])] * (depth - 1)
    weights = [np.ones((2, 1)), *inner, np.array([[0.0, 0.0], [2e-3, -4e-3]])]
    net = Conditioner(weights, [*[np.array([0.0, -0.5])] * depth, np.zeros(2)], "relu")
    assert len(pieces_of(net).low) > 2**16
    assert one_bound([PartialCoupling(2, [1], [0], net, exponential_scale())], [0.7, 0.0]) >= 1e-3 * 2**16


@pytest.mark.parametrize("size", [1e170, 1e-170])
def test_norms_whose_squares_leave_the_doubles(size):
    assert one_bound([Affine(size * np.eye(2), np.zeros(2))], [0.5, 0.5]) >= 1 / size


def test_factors_that_underflow_on_their_way():
    def factor(log):  # the inverse multiplies by exp(log)
        return PartialCoupling(2, [1], [0], Conditioner([np.zeros((2, 1))], [np.array([-log, 0.0])], "relu"), exponential_scale())

    layers = [factor(700.0), factor(700.0), factor(-750.0)]  # the inverse begins with the last
    assert one_bound(layers, [0.5, 0.0]) >= math.exp(649.0)
    assert one_bound([factor(-700.0), factor(-700.0), factor(750.0)], [0.5, 0.0]) >= math.exp(-651.0)


# 4. whole certificates


def test_the_constant_of_a_shear_is_closed():
    # x_2 = v_2 - max(3 v_1, 0): ((1, 0), (-3, 1)) on the right
    shear = Conditioner([[[3.0], [0.0]], [[0.0, 0.0], [1.0, 0.0]]], [np.zeros(2), np.zeros(2)], "relu")
    truth = (3 + math.sqrt(13)) / 2
    layers = [PartialCoupling(2, [1], [0], shear, 1.0)]
    bound = certify_lipschitz(layers, Ball([0.5, 0.0], 1.0), ratio=1.0001)
    assert bound.lower <= truth <= bound.upper < 1.0002 * truth
    assert "linear pieces" in bound.method
    left = certify_lipschitz(layers, Ball([-1.0, 0.0], 0.5), ratio=1.0001)
    assert left.lower <= 1.0 <= left.upper < 1.0002


def test_a_spline_that_sees_nothing_has_the_largest_slope_of_its_inverse():
    spline = Spline(2, 1.0, least_slope=1e-3)
    raw = np.array([0.0, 0.0, 0.0, 0.0, math.log(math.expm1(0.25 - 1e-3))])  # a slope of 1/4 in the middle
    net = Conditioner([np.zeros((5, 1))], [raw], "relu")
    layers = [SplineCoupling(2, [1], [0], net, spline)]
    y = torch.linspace(-1.5, 1.5, 100001, dtype=torch.float64)
    z = torch.stack((torch.zeros_like(y), y), 1)
    x = inverse_map(layers)(z)[:, 1]
    truth = float((x.diff() / y.diff()).max())
    assert truth == pytest.approx(4.0, rel=1e-3)
    bound = certify_lipschitz(layers, Box([-1.0, -1.5], [1.0, 1.5]), ratio=1.001)
    assert truth <= bound.upper < 1.002 * 4.0


@pytest.mark.parametrize(
    "name",
    ["zuko MAF moons", "zuko RealNVP moons", "normflows RealNVP moons", "nflows coupled RQS moons", "FrEIA AllInOne ring"],
)
def test_trained_flows_of_the_libraries_are_closed(name):
    zoo = {one.name: one for one in NETWORKS}[name]
    if not installed(zoo):
        pytest.skip(f"needs {zoo.library}, of the extra zoo")
    flow = load(zoo)
    bound = certify_lipschitz(flow, domain_of(zoo), ratio=1.05, seconds=120.0)
    assert bound.guarantee.name == "CERTIFIED"
    assert bound.upper <= 1.05 * bound.lower
    assert bound.upper >= best_known()[name] * (1 - 1e-6)
    z = domain_of(zoo).sample(20_000, np.random.default_rng(1))
    assert bound.upper >= norms(inverse_map(Problem.of(flow, domain_of(zoo), None).layers), z).max()


def test_boxes_with_windows_have_no_checker():
    shear = Conditioner([[[3.0], [0.0]], [[0.0, 0.0], [1.0, 0.0]]], [np.zeros(2), np.zeros(2)], "relu")
    with pytest.raises(InvalidInput, match="save"):
        certify_lipschitz([PartialCoupling(2, [1], [0], shear, 1.0)], Ball([0.0, 0.0], 1.0), save="never")
