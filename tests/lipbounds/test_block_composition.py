"""Maps with narrow layers: units that merge, blocks between narrow layers, and expansions that cross them."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, arb_mat
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from inn.architectures import ODEFlow, build
from lipbounds import Guarantee, certify_lipschitz
from lipbounds.arb import column, ends, exact_row, working_precision
from lipbounds.certify.problem import Problem, network_of
from lipbounds.certify.smooth_maps import composition
from lipbounds.certify.smooth_maps.blocks import Block, blocks
from lipbounds.certify.smooth_maps.bounder import Boxes, SmoothMap
from lipbounds.certify.smooth_maps.composition import Composition, Crossing
from lipbounds.certify.smooth_maps.monomials import monomials
from lipbounds.domains import Ball
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import get_activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import OnLastUnits, kinds_of_units
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward
from lipbounds.maps.lowering import lowered
from lipbounds.maps.lowering.merging import merged, multiples
from tests.oracles.expansions import exact_polynomial, exact_value_and_derivative
from tests.strategies.samplers import Sampler

SEEDS = st.integers(0, 2**32 - 1)
METHODS = ["euler", "midpoint", "heun", "rk4"]


def drawn_field(seed, *, width=6, activation=nn.Tanh, gain=1.0, dim=2):
    torch.manual_seed(seed)
    field = nn.Sequential(nn.Linear(dim + 1, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, dim))
    for layer in field[::2]:
        layer.weight.data.mul_(gain)
    return field.double().requires_grad_(False)


def in_fractions(stages, point):
    """The value of stages with relu and linear units, exactly."""
    for stage in stages:
        rows = stage.matrix.tolist()
        sums = [
            sum((Fraction(w) * x for w, x in zip(row, point, strict=True)), Fraction(b))
            for row, b in zip(rows, stage.bias.tolist(), strict=True)
        ]
        kinds = kinds_of_units(stage.activation, len(sums))
        point = [x if kind is LINEAR else max(x, Fraction(0)) for x, kind in zip(sums, kinds, strict=True)]
    return point


def program_of(model, dim):
    """The stages as they are before units merge."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lipbounds.maps.lowering.graph.merged", lambda network: network)
        return lowered(model, dim)


@given(SEEDS, st.sampled_from(METHODS), st.sampled_from([3, 4]))
def test_merging_and_cutting_change_no_value(seed, method, steps):
    """Samplers with relu fields, in fractions: with steps of a power of two products merge that otherwise do not."""
    model = Sampler(drawn_field(seed, activation=nn.ReLU, width=4), method, steps)
    before = program_of(model, 2)
    after = merged(before)
    assert sum(len(stage.bias) for stage in after.stages) < sum(len(stage.bias) for stage in before.stages)
    point = [Fraction(x) for x in np.random.default_rng(seed).standard_normal(2).tolist()]
    expected = in_fractions(before.stages, point)
    assert in_fractions(after.stages, point) == expected
    first, later = blocks(after)
    state = in_fractions(first, point)
    assert later
    for block in later:
        state = crossed_in_fractions(block, state)
    assert state == expected


def crossed_in_fractions(block, state):
    def times(matrix):
        return [sum((Fraction(w) * x for w, x in zip(row, state, strict=True)), Fraction(0)) for row in matrix.tolist()]

    straight = [x + Fraction(b) for x, b in zip(times(block.straight), block.bias.tolist(), strict=True)]
    if not block.stages:
        return straight
    return [x + y for x, y in zip(straight, in_fractions(block.stages, times(block.seen)), strict=True)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [5, 8])
def test_states_of_a_sampler_are_narrow(method, steps):
    """However many steps, a block sees two variables and no state is wider than what a step of the method keeps."""
    network = lowered(Sampler(drawn_field(0, width=7), method, steps), 2)
    assert max(len(stage.bias) for stage in network.stages) <= 7 + 6
    first, later = blocks(network)
    evaluations = steps * {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}[method]
    assert sum(bool(block.stages) for block in later) == evaluations - 1
    assert all(block.seen.shape[0] == 2 for block in later if block.stages)
    assert len(first) <= 4


def test_a_block_that_reads_its_input_again_carries_it():
    """A field whose second layer sees the state, and a map that is wide throughout."""
    torch.manual_seed(0)
    a, b, c = nn.Linear(2, 5), nn.Linear(7, 5), nn.Linear(5, 2)

    def field(z):
        return c(torch.tanh(b(torch.cat([z, torch.tanh(a(z))], 1))))

    for part in (a, b, c):
        part.double().requires_grad_(False)
    network = lowered(lambda z: field(field(z)), 2)
    first, later = blocks(network)
    z = torch.randn(9, 2, dtype=torch.float64)
    state = FeedForward(first).function()(z)
    for block in later:
        seen = FeedForward(block.stages).function()(state @ torch.as_tensor(block.seen.T.copy()))
        state = state @ torch.as_tensor(block.straight.T.copy()) + seen + torch.as_tensor(block.bias)
    torch.testing.assert_close(state, field(field(z)), rtol=1e-12, atol=1e-12)
    assert [block.seen.shape for block in later] == [(2, 2)]
    wide = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 5), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    assert blocks(lowered(wide.double(), 2))[1] == []


def test_multiples_are_exact():
    h = 0.1
    columns = np.array([[1.0, h, 0.0, 0.3, 0.3, 0.6, 0.3 * h], [-2.0, -2 * h, 0.0, 0.7, 0.7, 1.4, 0.7 * h]])
    groups = multiples(columns)
    assert {0: 1.0, 1: h} in groups
    # a general column times a number rounds, times two it does not
    assert {3: 1.0, 4: 1.0, 5: 2.0} in groups
    assert {6: 1.0} in groups
    assert not any(2 in group for group in groups)
    # here the quotient times the column gives the other column in floating point, but not exactly
    rounded = np.array([[0.3, 0.7 * 0.3]] * 2)
    assert Fraction(0.7 * 0.3) != Fraction(rounded[0, 1] / 0.3) * Fraction(0.3)
    assert rounded[0, 1] / 0.3 * 0.3 == rounded[0, 1]
    assert multiples(rounded) == [{0: 1.0}, {1: 1.0}]


def test_units_that_compute_the_same_are_one():
    twice = FeedForward(
        (
            Stage(np.array([[1.0], [1.0], [2.0]]), np.zeros(3), get_activation("tanh")),
            Stage(np.array([[1.0, 3.0, 5.0]]), np.zeros(1), LINEAR),
        )
    )
    assert [stage.matrix.tolist() for stage in merged(twice).stages] == [[[1.0], [2.0]], [[4.0, 5.0]]]
    # 1 + 2^-60 rounds: both stay
    apart = FeedForward((twice.stages[0], Stage(np.array([[1.0, 2.0**-60, 5.0]]), np.zeros(1), LINEAR)))
    assert len(merged(apart).stages[0].bias) == 3


def drawn_block(rng, width, kind):
    n, seen, outputs = int(rng.integers(2, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    matrix = np.zeros((seen, width))
    matrix[rng.integers(0, seen, width), np.arange(width)] = rng.uniform(0.2, 1.0, width)
    first = Stage(rng.standard_normal((n, seen)), rng.standard_normal(n), OnLastUnits(get_activation(kind), 1))
    last = Stage(rng.standard_normal((outputs, n)), np.zeros(outputs), LINEAR)
    return Block(matrix, (first, last), rng.standard_normal((outputs, width)), rng.standard_normal(outputs))


def drawn_state(rng, width, dim, size):
    order = monomials(dim, 3 if dim < 4 else 2)
    terms = rng.standard_normal((len(order.degrees), 1, width)) * (size * 0.5 ** (order.degrees - 1.0))[:, None, None]
    terms[0] = rng.standard_normal((1, width))
    first = int(rng.integers(1, 3))
    start, added = (0.1 * size * rng.uniform(0, 1, (1, rows, 1 + dim)) for rows in (first, width))
    center, spread = rng.standard_normal((1, width, first)), rng.uniform(0, 0.3, (1, width, first))
    radii = 10.0 ** rng.uniform(-2, 0, (1, dim))
    return Composition(terms, center, spread, start, added, radii, order)


def exact_point(rng, x, t):
    """A state that the composition allows, in balls: u(t) = P(t) + e(t), and its derivative in z."""
    values, slopes = exact_polynomial(x, 0, exact_row(t))
    width, dim = x.terms.shape[2], x.radii.shape[1]

    def part(bounds):
        # e is small at t, and its derivative there as large as allowed
        value = bounds[:, 0] * rng.uniform(-1, 1, len(bounds))
        return value, bounds[:, 1:] * rng.choice([-1.0, 1.0], (len(bounds), dim))

    start, added = part(x.start[0]), part(x.added[0])
    phi = arb_mat((x.center[0]).tolist()) + arb_mat((x.spread[0] * rng.uniform(-1, 1, x.spread[0].shape)).tolist())
    tilt = arb_mat((x.center[0]).tolist()) + arb_mat((x.spread[0] * rng.choice([-1, 1], x.spread[0].shape)).tolist())
    value, slope = phi * column(exact_row(start[0])), tilt * arb_mat(start[1].tolist())
    u = [values[i] + value[i, 0] + arb(added[0][i]) for i in range(width)]
    return u, slopes + slope + arb_mat(added[1].tolist())


@given(SEEDS, st.sampled_from(["tanh", "silu", "arctan"]), st.integers(1, 4))
def test_remainders_hold_behind_a_block(seed, kind, dim):
    """For any value and slope of the state that its bounds allow, in ball arithmetic of 200 bits."""
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 4))
    x = drawn_state(rng, width, dim, 10.0 ** rng.uniform(-6, -0.3))
    block = drawn_block(rng, width, kind)
    y = Crossing(block)(x)
    bounds = y.remainders(np.eye(y.terms.shape[2]))[0]
    with working_precision(200):
        for _ in range(3):
            t = np.clip(rng.uniform(-1.5, 1.5, dim), -1, 1)
            u, slope = exact_point(rng, x, t)
            seen = arb_mat(block.seen.tolist())
            inner, steep = exact_value_and_derivative(FeedForward(block.stages), [v[0] for v in (seen * column(u)).tolist()])
            straight = arb_mat(block.straight.tolist())
            value = straight * column(u)
            derivative = (straight + steep * seen) * slope
            polynomial, gradient = exact_polynomial(y, 0, exact_row(t))
            for i, bound in enumerate(bounds):
                gap = value[i, 0] + inner[i] + arb(block.bias[i]) - polynomial[i]
                assert ends(abs(gap))[0] <= bound[0]
                for j in range(dim):
                    assert ends(abs(derivative[i, j] - gradient[i, j]))[0] <= bound[1 + j]


@given(SEEDS, st.integers(1, 3))
def test_rounding_of_a_linear_block_is_charged(seed, dim):
    """Coefficients of a linear block, in fractions: what they miss is within the bounds, which are next to nothing."""
    rng = np.random.default_rng(seed)
    width = 3
    x = drawn_state(rng, width, dim, 1.0)
    exact = Composition(x.terms, x.center, np.zeros_like(x.spread), 0 * x.start, 0 * x.added, np.ones((1, dim)), x.order)
    matrix, bias = 10.0 ** rng.uniform(-3, 3, (2, width)) * rng.choice([-1, 1], (2, width)), rng.standard_normal(2)
    y = Crossing(Block(np.zeros((0, width)), (), matrix, bias))(exact)
    missed = np.zeros(2)
    for k, row in enumerate(x.terms[:, 0].tolist()):
        for i in range(2):
            truth = sum((Fraction(w) * Fraction(v) for w, v in zip(matrix[i].tolist(), row, strict=True)), Fraction(0))
            truth += Fraction(bias[i].item()) if k == 0 else 0
            missed[i] += float(abs(truth - Fraction(y.terms[k, 0, i].item())))
    bounds = y.remainders(np.eye(2))[0]
    assert (missed <= bounds[:, 0]).all()
    assert (bounds <= 1e-9 * np.abs(matrix).sum(1).max()).all()


def test_remainders_are_those_of_the_formula():
    """One unit of tanh on the plane, one variable seen: the formulas of the docstring, transcribed.

    The expansion of tanh on the rectangle is compared with balls elsewhere; here its four numbers are taken as they are.
    """
    rng = np.random.default_rng(5)
    order = monomials(2, 3)
    h = np.array([0.3, 0.2])
    terms = rng.standard_normal((10, 1, 2)) * 0.1 ** order.degrees[:, None, None]
    start, added = rng.uniform(0.01, 0.02, (1, 2, 3)), rng.uniform(0.01, 0.02, (1, 2, 3))
    center, spread = rng.standard_normal((1, 2, 2)), rng.uniform(0.0, 0.1, (1, 2, 2))
    x = Composition(terms, center, spread, start, added, h[None], order)
    seen, straight, gain = np.array([[1.0, 0.5]]), np.array([[0.7, -0.4]]), 1.3
    stages = Stage(np.ones((1, 1)), np.zeros(1), get_activation("tanh")), Stage(np.array([[gain]]), np.zeros(1), LINEAR)
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        real = composition._derivatives
        patch.setattr(composition, "_derivatives", lambda n: (kept.append(n), real(n))[1])
        y = Crossing(Block(seen, stages, straight, np.zeros(1)))(x)
    (n,) = kept
    p = (terms[:, 0] @ seen.T)[:, 0]  # of the variable seen
    phi = np.abs(seen @ center[0]) + np.abs(seen) @ spread[0]
    e = (phi @ start[0] + np.abs(seen) @ added[0])[0]
    side = np.abs(p[1:]).sum() + e[0]
    s = p / side
    f = n.terms[:, 0, 0]
    assert n.radii[0, 0] == pytest.approx(side, rel=1e-9)

    def sup(degree, axis=None):
        rows = order.of_degree(degree)
        weight = np.ones(len(rows)) if axis is None else order.exponents[rows, axis] / h[axis]
        return (weight * np.abs(s[rows])).sum()

    value = [sup(k) for k in range(1, 4)]
    slopes = [[sup(k, axis) for k in range(1, 4)] for axis in range(2)]
    steep = abs(f[1]) + 2 * abs(f[2]) + 3 * abs(f[3])
    spreads = 2 * abs(f[2]) + 3 * abs(f[3])
    second = 2 * abs(f[2]) + 6 * abs(f[3])
    # the parts of s^2 and s^3 above degree 3
    pairs = [(i, j) for i in range(3) for j in range(3) if i + j + 2 > 3]
    triples = [(i, j, k) for i in range(3) for j in range(3) for k in range(3) if i + j + k + 3 > 3]
    tail = abs(f[2]) * sum(value[i] * value[j] for i, j in pairs)
    tail += abs(f[3]) * sum(value[i] * value[j] * value[k] for i, j, k in triples)
    expected = [tail + n.caps[0, 0]]
    for axis in range(2):
        d = slopes[axis]
        own = abs(f[2]) * sum(d[i] * value[j] + value[i] * d[j] for i, j in pairs)
        own += abs(f[3]) * sum(
            d[i] * value[j] * value[k] + value[i] * d[j] * value[k] + value[i] * value[j] * d[k] for i, j, k in triples
        )
        speed = sum(d)
        own += n.slope[0] * (side * speed + e[1 + axis])
        own += second * (e[0] / side) * speed
        expected.append(own)
    middle = straight + f[1] / side * seen
    radius = spreads / side * np.abs(seen)
    size = np.abs(middle) + radius
    total = size @ added[0] + np.array([expected])
    new_center = middle @ center[0]
    new_spread = size @ spread[0] + radius @ np.abs(center[0])
    answer = (np.abs(new_center) + new_spread) @ start[0] + total
    assert steep > 0
    np.testing.assert_allclose(y.remainders(np.eye(1))[0], answer, rtol=1e-9)
    # as narrow as z: the remainder is put together
    np.testing.assert_allclose(y.start[0], answer, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_small_boxes_are_sharp(method):
    """A box of side 1e-4: within a thousandth of the norm in its middle."""
    model = Sampler(drawn_field(1, width=8, gain=2.0), method, 5)
    problem = Problem.of(model, Ball(np.zeros(2), 2.0), None)
    middles = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    with SmoothMap(problem, 1) as bounder:
        nodes = Boxes(middles, np.full((20, 2), 1e-4), np.ones((20, 2)))
        bounds = bounder.bound(nodes, np.full(20, np.inf), 0.0)[1]
    slopes = torch.func.vmap(torch.func.jacfwd(lambda z: model(z[None])[0]))(torch.as_tensor(middles))
    norms = torch.linalg.matrix_norm(slopes, 2).numpy()
    assert (norms <= bounds).all()
    assert (bounds <= 1.001 * norms).all()


@given(SEEDS, st.sampled_from(METHODS), st.integers(1, 4))
def test_no_norm_at_a_point_of_a_box_is_above_its_bound(seed, method, dim):
    rng = np.random.default_rng(seed)
    model = Sampler(drawn_field(seed, gain=10.0 ** rng.uniform(-0.5, 0.5), dim=dim), method, 3)
    middles, radii = rng.uniform(-2, 2, (10, dim)), 10.0 ** rng.uniform(-6, 0, (10, 1)) * rng.uniform(0.2, 1.0, (10, dim))
    bounder = SmoothMap(Problem.of(model, Ball(np.zeros(dim), 9.0), None), 1)
    bounds = bounder.bound(Boxes(middles, radii, np.ones((10, dim))), np.full(10, np.inf), 0.0)[1]
    t = np.clip(rng.uniform(-1.4, 1.4, (10, 20, dim)), -1, 1)
    points = torch.as_tensor((middles[:, None] + t * radii[:, None]).reshape(-1, dim))
    slopes = torch.func.vmap(torch.func.jacfwd(lambda z: model(z[None])[0]))(points)
    norms = torch.linalg.matrix_norm(slopes, 2).numpy().reshape(10, 20).max(1)
    assert (norms <= bounds * (1 + 1e-13)).all()


CLOSED = {
    "euler": (lambda: Sampler(drawn_field(0, width=16, gain=2.0), "euler", 10), 1.01),
    "runge-kutta": (lambda: Sampler(drawn_field(1, width=16, gain=2.0, activation=nn.SiLU), "rk4", 4), 1.05),
    "torchdiffeq": (lambda: build(ODEFlow(dim=2, steps=4, hidden=16), seed=0), 1.05),
}


@pytest.mark.parametrize("name", list(CLOSED))
def test_samplers_are_closed(name):
    make, ratio = CLOSED[name]
    model, domain = make(), Ball(np.full(2, 0.1), 2.5)
    bound = certify_lipschitz(model, domain, ratio=ratio, seconds=60)
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.upper <= ratio * bound.lower
    f = network_of(model, 2).function()
    points = domain.sample(5_000, np.random.default_rng(0))
    slopes = torch.func.vmap(torch.func.jacfwd(lambda z: f(z[None])[0]), chunk_size=1000)(points)
    assert torch.linalg.matrix_norm(slopes, 2).max() <= bound.upper


def test_an_adaptive_solver_is_named():
    with pytest.raises(InvalidInput, match="fixed steps"):
        certify_lipschitz(build(ODEFlow(dim=2, method="dopri5"), seed=0), Ball(np.zeros(2), 1.0))


def test_swish_by_hand_is_read():
    class Swish(nn.Module):
        def forward(self, x):
            return torch.sigmoid(x) * x

    f = nn.Sequential(nn.Linear(2, 4), Swish(), nn.Linear(4, 2)).double().requires_grad_(False)
    assert [stage.activation.name for stage in lowered(f, 2).stages] == ["silu", "linear"]
    with pytest.raises(InvalidInput, match="mul of two values"):
        lowered(lambda z: torch.sigmoid(z) * (2 * z), 2)
    with pytest.raises(InvalidInput, match="mul of two values"):
        lowered(lambda z: torch.sigmoid(z) * z.flip(1), 2)


@pytest.mark.parametrize("limits", [(-2.0, 1.0), (0.0, 1.0), (-1.0, 3.0), (-1.0, 1.0), (-0.5, 0.25)])
def test_limits_that_are_defaults_are_read(limits):
    f = nn.Hardtanh(*limits)
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)[:, None]
    torch.testing.assert_close(lowered(f, 1).function()(z), f(z))


def test_weights_of_a_unit_in_several_entries_are_not_added():
    weights = torch.tensor([[1e6], [0.1], [-1e6]], dtype=torch.float64)
    network = lowered(lambda z: torch.cat([z, z, z], 1) @ weights, 1)
    rows = [[Fraction(1)]]
    for stage in network.stages:
        rows = [[sum((Fraction(w) * v[0] for w, v in zip(row, rows, strict=True)), Fraction(0))] for row in stage.matrix.tolist()]
    assert rows == [[Fraction(0.1)]]
    bound = certify_lipschitz(lambda z: torch.tanh(torch.cat([z, z, z], 1) @ weights), Ball([0.0], 0.1))
    assert bound.upper >= 0.1


def test_a_last_activation_is_not_forgotten():
    silu, one = get_activation("silu"), np.ones((1, 1))
    stages = (Stage(one, np.zeros(1), silu), Stage(one, np.zeros(1), LINEAR), Stage(one, np.zeros(1), silu))
    bound = certify_lipschitz(FeedForward(stages), Ball([2.4], 0.2))
    assert 1.2 < bound.lower <= bound.upper < 1.23


def test_programs_that_write_to_their_clock_or_argument_are_read():
    clock = torch.zeros(1, dtype=torch.float64)

    def f(z):
        clock.zero_()
        for _ in range(3):
            z = z + 0.25 * torch.tanh(z + clock)
            clock.add_(0.5)
        z += 1.0
        return z

    def g(z):
        z += 1.0
        return torch.tanh(z)

    z = torch.randn(5, 2, dtype=torch.float64)
    for program in (f, g):
        torch.testing.assert_close(lowered(program, 2).function()(z), program(z.clone()))


def test_writes_to_parts_of_a_tensor_are_read():
    def f(z):
        y = torch.zeros(len(z), 3, dtype=z.dtype)
        y[:, 0] = torch.tanh(z[:, 0])
        y[:, 1:] = z
        y[:, 1] += 2.0
        return y

    network = lowered(f, 2)
    z = torch.randn(7, 2, dtype=torch.float64)
    torch.testing.assert_close(network.function()(z), f(z), rtol=0, atol=1e-15)
