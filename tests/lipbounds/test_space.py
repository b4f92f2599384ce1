"""Upper bounds in 3 and more dimensions: Taylor models enclose, boxes bound, the cover covers, and each of these can fail."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import pytest
import torch
from flint import arb, arb_series
from hypothesis import given, settings
from hypothesis import strategies as st

from inn import CouplingFlow, coupling_flow
from lipbounds import Ball, Box, Capsule, ConvexHull, certify_lipschitz, find_lipschitz, latent_ball
from lipbounds.balls import working_precision
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.lipschitz import jacobian_norms
from lipbounds.lipschitz.models import EXPONENTIAL, KINDS, algebra, compose, envelopes, multiply
from lipbounds.lipschitz.orbits import _norm, model_cells
from lipbounds.lipschitz.pointwise import _coefficients
from lipbounds.lipschitz.product import bound_by_product
from lipbounds.lipschitz.space import _flatten, _Loop, bound_in_space
from lipbounds.lipschitz.structure import Conditioner, PartialCoupling, Permutation, expanded, inverse_map

FUNCTIONS = {
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "softplus": (lambda a: np.logaddexp(0.0, a), lambda a: 1 / (1 + np.exp(-a))),
    "silu": (lambda a: a / (1 + np.exp(-a)), lambda a: 1 / (1 + np.exp(-a)) * (1 + a / (1 + np.exp(a)))),
    "arctan": (np.arctan, lambda a: 1 / (1 + a * a)),
    "relu": (lambda a: np.maximum(a, 0.0), lambda a: (a > 0).astype(float)),
    "exp": (np.exp, lambda a: np.exp(-a)),
}


def values_at(model, points, tables):
    powers = np.prod(points[:, None, :] ** tables.exponents[None], axis=2)
    return powers @ model[: len(tables.exponents)]


def random_model(rng, tables, scale):
    """A model with a remainder, and one function that it encloses at given points: the polynomial."""
    model = np.zeros(len(tables.exponents) + 1)
    model[:-1] = scale * rng.standard_normal(len(tables.exponents)) / 4.0**tables.degree
    model[0] = 2 * rng.standard_normal()
    return model


def corners_and_points(rng, n, variables):
    return np.clip(rng.uniform(-1.4, 1.4, (n, variables)), -1, 1)


def composed(kind, model, tables):
    size = len(model)
    f, g = np.zeros(size), np.zeros(size)
    scratch = np.zeros((9, size)), np.zeros(12), np.zeros((2, 10))
    compose(EXPONENTIAL if kind == "exp" else KINDS[kind], model, f, g, tables, envelopes(), *scratch)
    return f, g


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(FUNCTIONS)), st.integers(1, 3), st.integers(2, 4))
def test_composed_models_enclose(seed, kind, variables, order):
    rng = np.random.default_rng(seed)
    tables = algebra(variables, order)
    model = random_model(rng, tables, 10.0 ** rng.uniform(-4, 0.7))
    points = corners_and_points(rng, 60, variables)
    argument = values_at(model, points, tables)
    for result, function in zip(composed(kind, model, tables), FUNCTIONS[kind], strict=True):
        # the functions above round, too: 1e-13 of their size
        slack = 1e-13 * (1 + np.abs(function(argument)))
        assert (np.abs(values_at(result, points, tables) - function(argument)) <= result[-1] + slack).all()


def test_a_remainder_a_third_too_small_is_found_out():
    # negative control: the interpolation error is attained to within a third somewhere
    rng, caught = np.random.default_rng(0), 0
    for _ in range(200):
        tables = algebra(1, 3)
        model = random_model(rng, tables, 0.5)
        points = np.linspace(-1, 1, 200)[:, None]
        f, _ = composed("tanh", model, tables)
        caught += np.abs(values_at(f, points, tables) - np.tanh(values_at(model, points, tables))).max() > 0.67 * f[-1]
    assert caught > 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_products_enclose_with_symbols_and_remainders(seed, variables, order, symbols):
    rng = np.random.default_rng(seed)
    tables = algebra(variables, order)
    n = len(tables.exponents)
    rows = rng.standard_normal((2, n + symbols + 1))
    rows[:, -1] = np.abs(rng.standard_normal(2)) * rng.integers(0, 2, 2)
    out = np.zeros(n + symbols + 1)
    multiply(rows[0], rows[1], out, tables, symbols, np.zeros(12))
    points = corners_and_points(rng, 50, variables)
    noise = corners_and_points(rng, 50, symbols) if symbols else np.zeros((50, 0))

    def at(row):
        return values_at(row, points, tables) + noise @ row[n : n + symbols]

    ends = [at(row) + sign * row[-1] for row in rows for sign in (-1, 1)]
    for first in ends[:2]:
        for second in ends[2:]:
            assert (np.abs(first * second - at(out)) <= out[-1] * (1 + 1e-12) + 1e-12).all()


def test_envelopes_are_above_every_derivative_and_fall():
    table = envelopes()
    # by Taylor coefficients in balls at points of the whole line
    for kind in ("tanh", "softplus", "silu"):
        rows = table[KINDS[kind]]
        assert (np.diff(rows[1:], axis=1) <= 0).all()
        for a in np.concatenate((np.linspace(-19, 19, 77), [0.001, 0.37, 2.345])):
            coefficients = _taylor(kind, float(a), 8)
            for n in range(1, 8):
                size = abs(coefficients[n]) * math.factorial(n)
                assert size <= rows[n, int(abs(a) * (4096 / 20.0))]
    assert table[0, 3, 0] < 2.01  # sup |tanh'''| = 2


def _taylor(kind, a, terms):
    with working_precision(200):
        x = arb_series([a, 1], prec=terms + 1)
        logistic = 1 / (1 + (-x).exp())
        series = {"tanh": 2 / (1 + (-2 * x).exp()) - 1, "softplus": (1 + x.exp()).log(), "silu": x * logistic}[kind]
        return [float(series[i]) for i in range(terms)]


def random_flow(dim, activation, seed, inputs=None, gain=2.0, blocks=2, hidden=8):
    architecture = CouplingFlow(dim=dim, blocks=blocks, hidden=hidden, activation=activation, inputs=inputs)
    flow = coupling_flow(architecture, seed=seed).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(gain)
    return flow.requires_grad_(False)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["tanh", "softplus", "silu", "relu"]), st.integers(1, 3))
@settings(max_examples=max(10, settings().max_examples // 4))
def test_models_of_conditioners_against_ball_arithmetic(seed, activation, inputs):
    rng = np.random.default_rng(seed)
    flow = random_flow(6, activation, seed % 1000, inputs=inputs)
    steps = [step for step in expanded(flow.structure()) if isinstance(step, PartialCoupling)]
    program, _, _ = _flatten(flow.structure(), rng.standard_normal((20, 6)))
    which = int(rng.integers(len(steps)))
    tables = algebra(inputs, 3)
    centre, radius = rng.standard_normal(inputs), 10.0 ** rng.uniform(-6, 0)
    models = model_cells(program, which, centre[None], radius, tables, envelopes())[0]
    v = corners_and_points(rng, 4, inputs)
    with working_precision(200):
        for row in v:
            exact = [arb(c) + arb(radius) * arb(t) for c, t in zip(centre.tolist(), row.tolist(), strict=True)]
            s, t = (part[0] for part in _coefficients(steps[which].network, exact, steps[which].clamp))
            h = arb(2) ** -100
            moved = [[u + h * (i == j) for i, u in enumerate(exact)] for j in range(inputs)]
            ahead = [[part[0] for part in _coefficients(steps[which].network, u, steps[which].clamp)] for u in moved]
            slopes = [(a[0] - s) / h for a in ahead], [(a[1] - t) / h for a in ahead]
            truth = [s.exp(), t, (-s).exp(), *slopes[0], *((-s).exp() * slope for slope in slopes[1])]
            for model, value in zip(models, truth, strict=True):
                at = float(values_at(model, row[None], tables)[0])
                assert abs(float(value) - at) <= model[-1] + 1e-12 * (1 + abs(at))


def boxes_of(flow, dim, middles, radii, domain=None):
    domain = domain or Ball(np.zeros(dim), 100.0)
    images = flow.inverse(domain.sample(200, np.random.default_rng(0)) / 30).numpy()
    with ThreadPoolExecutor(1) as pool:
        return _Loop(flow.structure(), domain, images, pool)._run(middles, radii, True, math.inf)[0]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["tanh", "softplus", "silu", "relu"]),
    st.sampled_from([(3, None), (4, None), (5, None), (6, 2), (4, 1)]),
    st.sampled_from([1e-6, 1e-3, 0.03, 0.2]),
)
@settings(max_examples=max(10, settings().max_examples // 4))
def test_no_sampled_norm_is_above_the_bound_of_its_box(seed, activation, shape, size):
    dim, inputs = shape
    rng = np.random.default_rng(seed)
    flow = random_flow(dim, activation, seed % 1000, inputs)
    middles, radii = rng.uniform(-2, 2, (8, dim)), size * rng.uniform(0.2, 1.0, (8, dim))
    bounds = boxes_of(flow, dim, middles, radii)
    points = middles[:, None] + radii[:, None] * corners_and_points(rng, 8 * 30, dim).reshape(8, 30, dim)
    images = flow.forward(torch.as_tensor(points.reshape(-1, dim)))
    norms = jacobian_norms(flow.inverse, images).reshape(8, 30).amax(1).numpy()
    inside = torch.linalg.vector_norm(images, dim=1).reshape(8, 30).amin(1).numpy() < 100.0
    assert (bounds[inside] > 0).all()
    assert (norms[inside] <= bounds[inside] * (1 + 1e-9)).all()
    if size <= 1e-3 and activation != "relu":
        assert (bounds[inside] <= 1.2 * norms[inside]).mean() > 0.8


def test_boxes_are_dropped_only_where_their_images_miss_the_domain():
    flow, rng = random_flow(3, "tanh", 1), np.random.default_rng(0)
    domain = Ball([0.5, 0.0, -0.5], 1.0)
    middles, radii = rng.uniform(-3, 3, (2000, 3)), np.full((2000, 3), 0.05)
    for region in (domain, Box([-0.5, -1.0, -1.5], [1.5, 1.0, 0.5]), Capsule([-1.0, 0.0, 0.0], [1.0, 0.5, 0.0], 0.5)):
        bounds = boxes_of(flow, 3, middles, radii, region)
        points = middles[:, None] + radii[:, None] * corners_and_points(rng, 2000 * 20, 3).reshape(2000, 20, 3)
        meets = (region.depth(flow.forward(torch.as_tensor(points.reshape(-1, 3)))) >= 0).reshape(2000, 20).any(1).numpy()
        assert (bounds[meets] > 0).all()
        assert (bounds[~meets] == 0).mean() > 0.7


@pytest.mark.parametrize(
    ("dim", "inputs", "activation", "ratio"),
    [(3, None, "tanh", 1.05), (3, None, "softplus", 1.05), (4, 1, "tanh", 1.1), (4, 2, "silu", 1.3)],
)
def test_the_ratio_is_reached_with_a_proven_cover(dim, inputs, activation, ratio):
    flow, domain = random_flow(dim, activation, 2, inputs, gain=1.5), latent_ball(np.zeros(dim), mass=0.5)
    seen = []
    bound = certify_lipschitz(flow, domain, ratio=ratio, seconds=60, callback=lambda low, high: seen.append(high / low))
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.boxes > 0
    assert 1.0 <= bound.upper / bound.lower <= ratio
    assert seen == sorted(seen, reverse=True)
    norms = jacobian_norms(flow.inverse, domain.sample(10_000, np.random.default_rng(0)))
    assert float(norms.max()) <= bound.upper


def test_without_a_witness_nothing_hides():
    # started from a found value of almost 0 every box must stand on its own
    flow, domain = random_flow(3, "tanh", 4, gain=1.5), latent_ball(np.zeros(3), mass=0.5)
    truth = find_lipschitz(flow.inverse, domain, seed=0).value
    nothing = {"improve": lambda z: 1e-6, "callback": lambda low, high: None}
    bound = bound_in_space(flow.structure(), domain, 1e-6, ratio=2.0, seconds=3.0, seed=0, threads=1, **nothing)
    assert bound.upper >= truth * (1 - 1e-9)
    assert bound.upper <= 1.5 * truth


def test_a_box_that_is_too_small_is_no_cover_and_a_stopped_run_says_so():
    flow, domain = random_flow(3, "tanh", 2, gain=1.5), Ball(np.zeros(3), 2.0)
    layers = flow.structure()
    images = inverse_map(layers)(domain.sample(5000, np.random.default_rng(0))).numpy()
    low, high = images.min(0), images.max(0)
    with ThreadPoolExecutor(1) as pool:
        loop = _Loop(layers, domain, images, pool)
        wide = 0.2 * (high - low)
        assert loop.covers(low - wide, high + wide, layers, domain, perf_counter() + 60)
        for side in range(3):
            cut = high.copy()
            cut[side] = 0.8 * high[side] + 0.2 * low[side]
            assert not loop.covers(low - wide, cut, layers, domain, perf_counter() + 60)
        assert not loop.covers(high + 1, high + 2, layers, domain, perf_counter() + 60)
        assert not loop.covers(low - wide, high + wide, layers, domain, perf_counter())
    # stopped at once: the cover is not proven, which the bound says, or the product of layers is lower and needs none
    for network, region in ((flow, domain), (random_flow(5, "tanh", 2, gain=1.5), latent_ball(np.zeros(5), mass=0.3))):
        stopped = certify_lipschitz(network, region, seconds=0.0)
        if stopped.guarantee is Guarantee.CERTIFIED:
            assert stopped.method.endswith("product of layer constants on a propagated box")
        else:
            assert "conditional" in stopped.assumption
            assert stopped.upper < bound_by_product(network.structure(), *(corner.numpy() for corner in region.bounds()))


def test_other_domains_and_layers():
    small = Ball(np.zeros(10), 0.1)
    hull = ConvexHull(np.vstack((np.zeros(3), np.eye(3))))
    # conditioners of 5 inputs in ten dimensions get the product; a domain without a support in closed form its box, in pieces
    for flow, domain, few in ((random_flow(10, "tanh", 2), small, True), (random_flow(3, "tanh", 2), hull, False)):
        bound = certify_lipschitz(flow, domain, seconds=2.0)
        assert ((bound.boxes == 0), bound.assumption, bound.guarantee) == (few, "", Guarantee.CERTIFIED)
        norms = jacobian_norms(flow.inverse, domain.sample(2000, np.random.default_rng(0)))
        product = bound_by_product(flow.structure(), *(corner.numpy() for corner in domain.bounds()))
        assert float(norms.max()) <= bound.upper <= product < math.inf


def test_permutations_move_the_domain_too():
    # a permutation alone after a coupling: the domain's centre is in output coordinates
    flow = random_flow(3, "tanh", 5, gain=1.0)
    layers = [*flow.structure(), Permutation(np.array([2, 0, 1]))]
    domain = Ball([1.0, -1.0, 0.5], 0.3)
    bound = certify_lipschitz(layers, domain, ratio=1.05, seconds=30)
    norms = jacobian_norms(inverse_map(layers), domain.sample(2000, np.random.default_rng(0)))
    assert float(norms.max()) <= bound.upper <= 1.06 * float(norms.max())


@pytest.mark.parametrize("kind", ["tanh", "softplus", "silu", "arctan", "exp"])
@pytest.mark.parametrize("far", [-30.0, -19.6, -8.0, 0.0, 5.0, 12.0, 19.2, 30.0])
def test_partners_are_relatively_accurate_where_units_saturate(kind, far):
    # 1 - y^2 would lose all digits of the slope of tanh; its model must hold with a remainder as small as the slope
    tables = algebra(1, 3)
    for radius in (1e-9, 1e-3, 0.3):
        model = np.array([far, radius, 0.0, 0.0, 0.0])
        f, g = composed(kind, model, tables)
        for t in (-1.0, -0.3, 0.8, 1.0):
            with working_precision(300):
                a = arb(far) + arb(radius) * arb(t)
                e = (-a).exp()
                logistic, double = 1 / (1 + e), (-2 * a).exp()
                exact = {
                    "tanh": (a.tanh(), 4 * double / ((1 + double) * (1 + double))),
                    "softplus": ((a.exp() + 1).log(), logistic),
                    "silu": (a * logistic, logistic + a * logistic * (1 - logistic)),
                    "arctan": (a.atan(), 1 / (1 + a * a)),
                    "exp": (a.exp(), e),
                }[kind]
                for result, value in zip((f, g), exact, strict=True):
                    at = arb(0)
                    for coefficient in result[-2::-1]:
                        at = at * arb(t) + arb(float(coefficient))
                    assert abs(value - at) <= arb(float(result[-1])) * (1 + arb(1e-12))


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1.0, 1.2e154, 1e300])
def test_norms_of_matrices_of_any_size(scale):
    rng = np.random.default_rng(0)
    for dim in (1, 3, 12):
        matrix = rng.standard_normal((dim, dim)) * scale
        bound = _norm(matrix, np.zeros((3, dim, dim)), dim)
        truth = np.linalg.norm(matrix / scale, 2) * scale
        assert truth <= bound * (1 + 1e-12)
        assert bound <= truth * 1.01
        assert _norm(np.eye(dim) * scale, np.zeros((3, dim, dim)), dim) >= scale
    assert _norm(np.full((2, 2), math.nan), np.zeros((3, 2, 2)), 2) == math.inf


def conditioner(inputs=1, outputs=2, **changes):
    parts = {"weights": [np.ones((outputs, inputs))], "biases": [np.zeros(outputs)], "activation": "tanh"}
    return Conditioner(**(parts | changes))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Permutation(np.array([0, 0, 1])),
        lambda: PartialCoupling(3, np.array([0]), np.array([], dtype=int), conditioner(), 1.0),
        lambda: PartialCoupling(3, np.array([0]), np.array([0]), conditioner(), 1.0),
        lambda: PartialCoupling(3, np.array([0]), np.array([3]), conditioner(), 1.0),
        lambda: PartialCoupling(3, np.array([0]), np.array([1]), conditioner(), 0.0),
        lambda: PartialCoupling(3, np.array([0]), np.array([1]), conditioner(inputs=2), 1.0),
        lambda: conditioner(weights=[np.full((2, 1), np.nan)]),
        lambda: conditioner(weights=[np.ones((2, 1)), np.ones((2, 3))], biases=[np.zeros(2), np.zeros(2)]),
        lambda: conditioner(biases=[np.zeros(3)]),
        lambda: certify_lipschitz(random_flow(3, "tanh", 0), Ball(np.zeros(3), 1.0), threads=0),
        lambda: certify_lipschitz(random_flow(3, "tanh", 0), Ball(np.zeros(3), 1.0), seconds=math.nan),
    ],
)
def test_bad_input(make):
    with pytest.raises(InvalidInput):
        make()


def test_weights_in_single_precision_and_permutations_alone():
    single = conditioner(weights=[np.ones((2, 1), dtype=np.float32)], biases=[np.zeros(2, dtype=np.float32)])
    assert single.weights[0].dtype == np.float64
    layers = [Permutation(np.array([1, 2, 0]))]
    assert certify_lipschitz(layers, Ball(np.zeros(3), 1.0)).upper == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(20 if os.environ.get("LIPBOUNDS_PROFILE") == "hunt" else 2))
def test_no_upper_bound_is_below_ten_thousand_sampled_norms(seed):
    # stopped early or not: whatever comes out is above every norm on the domain
    dim, inputs = [(3, None), (2, None), (4, None), (4, 1), (5, 2)][seed % 5]
    flow = random_flow(dim, ["tanh", "relu", "softplus", "silu"][seed % 4], seed + 10, inputs, gain=2.0, blocks=2 + seed % 2)
    domain = latent_ball(np.zeros(dim), mass=0.9)
    bound = certify_lipschitz(flow, domain, seconds=5.0, ratio=1.1)
    norms = jacobian_norms(flow.inverse, domain.sample(10_000, np.random.default_rng(seed)))
    assert float(norms.max()) <= bound.upper
    assert bound.lower <= bound.upper
