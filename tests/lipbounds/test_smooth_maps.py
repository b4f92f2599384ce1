"""Smooth maps z -> x: expansions against ball arithmetic at points, bounds of norms, and decoders that close."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, arb_mat
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lipbounds import Guarantee, certify_lipschitz
from lipbounds.arb import column, ends, exact_row, working_precision
from lipbounds.certify.problem import Problem
from lipbounds.certify.smooth_maps.bounder import Boxes, SmoothMap
from lipbounds.certify.smooth_maps.expansion import Expansion, Layer, activated, box_expansion, transformed
from lipbounds.certify.smooth_maps.monomials import monomials
from lipbounds.certify.smooth_maps.norms import derivative_norms
from lipbounds.domains import Ball, Box
from lipbounds.enclosures.spectral import largest_eigenvalues, spectral_norm_kernel, spectral_norms
from lipbounds.maps.activations import get_activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward
from tests.oracles.expansions import exact_polynomial, exact_value_and_derivative, length

SEEDS = st.integers(0, 2**32 - 1)
ACTIVATIONS = st.sampled_from(["tanh", "sigmoid", "silu", "gelu", "softplus", "arctan", "carried"])


def decoder(seed, *widths, activation=nn.Tanh, gain=1.5):
    torch.manual_seed(seed)
    parts = []
    for a, b in itertools.pairwise(widths):
        layer = nn.Linear(a, b)
        nn.init.normal_(layer.weight, std=gain / a**0.5)
        parts += [layer, activation()]
    return nn.Sequential(*parts[:-1]).double().requires_grad_(False)


def boxes(middles, radii):
    return Boxes(middles, radii, np.ones_like(radii))


def drawn_network(rng, dim, kind, gain):
    """Stages with random widths; `carried` keeps some units as they are, as a residual connection does."""
    widths = [dim, *rng.integers(2, 8, size=2).tolist(), int(rng.integers(1, 6))]
    stages = []
    for k, (a, b) in enumerate(itertools.pairwise(widths)):
        activation = OnLastUnits(get_activation("tanh"), 1) if kind == "carried" else get_activation(kind)
        matrix, bias = gain * rng.standard_normal((b, a)) / np.sqrt(a), rng.standard_normal(b)
        stages.append(Stage(matrix, bias, LINEAR if k == len(widths) - 2 else activation))
    return FeedForward(tuple(stages))


@given(SEEDS, ACTIVATIONS, st.sampled_from([2, 3]), st.integers(1, 3))
def test_remainders_hold_at_points_of_the_boxes(seed, kind, degree, dim):
    """What the polynomial misses, in value and along directions of the derivative, in ball arithmetic of 200 bits."""
    rng = np.random.default_rng(seed)
    network = drawn_network(rng, dim, kind, gain=10.0 ** rng.uniform(-1, 0.7))
    middles = rng.uniform(-2, 2, (2, dim))
    radii = 10.0 ** rng.uniform(-7, 0, (2, 1)) * rng.uniform(0.3, 1.0, (2, dim))
    x = box_expansion(middles, radii, degree)
    for stage in network.stages:
        layer = Layer(stage)
        x = transformed(x, layer)
        x = activated(x, layer.activation)
    with working_precision(200):
        for box in range(2):
            for t in (rng.uniform(-1, 1, dim), rng.choice([-1.0, 1.0], dim)):
                variables = exact_row(t)
                point = [c + h * s for c, h, s in zip(exact_row(middles[box]), exact_row(radii[box]), variables, strict=True)]
                values, slopes = exact_value_and_derivative(network, point)
                polynomial, gradient = exact_polynomial(x, box, variables)
                gap = [a - b for a, b in zip(values, polynomial, strict=True)]
                assert ends(length(gap))[0] <= x.error[box]
                direction = rng.standard_normal(dim)
                along = (slopes - gradient) * column(exact_row(direction))
                assert ends(length([along[i, 0] for i in range(along.nrows())]) / length(exact_row(direction)))[0] <= x.slope[box]


@given(SEEDS, ACTIVATIONS)
def test_remainders_fall_with_the_power_of_the_side(seed, kind):
    """Halving a small box divides the remainder of the derivative by 2^p: none is larger than its order says."""
    rng = np.random.default_rng(seed)
    network = drawn_network(rng, 2, kind, gain=1.0)
    middle = rng.uniform(-1, 1, (1, 2))
    for degree in (2, 3):
        slopes = []
        for h in (4e-3, 2e-3):
            x = box_expansion(middle, np.full((1, 2), h), degree)
            for stage in network.stages:
                x = activated(transformed(x, Layer(stage)), stage.activation)
            slopes.append(x.slope[0])
        assert slopes[1] <= 2.0**-degree * 1.15 * slopes[0] + 1e-11


@given(SEEDS, st.integers(1, 4), st.sampled_from(["tanh", "sigmoid", "silu", "gelu"]))
def test_no_norm_at_a_point_of_a_box_is_above_its_bound(seed, dim, kind):
    rng = np.random.default_rng(seed)
    network = drawn_network(rng, dim, kind, gain=10.0 ** rng.uniform(-0.5, 0.7))
    bounder = SmoothMap(Problem.of(network, Box(np.full(dim, -3.0), np.full(dim, 3.0)), None), 1)
    middles, radii = rng.uniform(-2, 2, (20, dim)), 10.0 ** rng.uniform(-8, 0.3, (20, 1)) * rng.uniform(0.2, 1.0, (20, dim))
    bounds = bounder.bound(boxes(middles, radii), np.full(20, np.inf), 0.0)[1]
    t = np.clip(rng.uniform(-1.4, 1.4, (20, 30, dim)), -1, 1)
    points = torch.as_tensor((middles[:, None] + t * radii[:, None]).reshape(-1, dim))
    f = network.function()
    norms = torch.linalg.matrix_norm(torch.func.vmap(torch.func.jacfwd(lambda z: f(z[None])[0]))(points), 2).numpy()
    norms = norms.reshape(20, 30).max(1)
    # slopes of saturated units are good to 1e-15 of the largest
    scale = np.prod([np.linalg.norm(stage.matrix, 2) for stage in network.stages])
    assert (norms <= bounds + 1e-14 * scale).all()
    small = radii.max(1) < 1e-6
    assert (bounds[small] <= norms[small] * (1 + 1e-4) + 1e-4 * scale * 1e-6 + 1e-11 * scale).all()


def test_squares_reach_their_largest_value():
    """The derivative 1 + t^2 of t + t^3 / 3 on [-1, 1], for target 0 and without one, and on a box of half side 1/4."""
    for side in (1.0, 0.25):
        x = box_expansion(np.zeros((1, 1)), np.full((1, 1), side), 3)
        terms = np.array([0.0, side, 0.0, side / 3]).reshape(4, 1, 1)
        y = Expansion(terms, x.error, x.slope, x.caps, x.radii, x.order)
        for target in (0.0, np.inf):
            assert 2.0 <= derivative_norms(y, target)[0] <= 2.0 + 1e-12


def test_corners_are_sharper_than_the_triangle_inequality_and_both_hold():
    rng = np.random.default_rng(0)
    for degree, dim in ((2, 2), (3, 2), (3, 3), (2, 4)):
        x = box_expansion(np.zeros((5, dim)), rng.uniform(0.5, 2.0, (5, dim)), degree)
        matrix = rng.standard_normal((6, dim))
        y = transformed(x, Layer(Stage(matrix, np.zeros(6), LINEAR)))
        terms = y.terms + 0.3 * rng.standard_normal(y.terms.shape)
        y = type(y)(terms, y.error, y.slope, y.caps, y.radii, y.order)
        crude, sharp = derivative_norms(y, np.inf), derivative_norms(y, 0.0)
        assert (sharp <= crude * (1 + 1e-12)).all()
        t = rng.uniform(-1, 1, (60, dim))
        t[:30] = np.sign(t[:30])
        for box in range(5):
            for point in t:
                derivative = np.zeros((6, dim))
                for row, exponents in enumerate(y.order.exponents):
                    for axis in np.flatnonzero(exponents):
                        power = np.prod(point ** (exponents - (np.arange(dim) == axis)))
                        derivative[:, axis] += exponents[axis] * terms[row, box] * power / y.radii[box, axis]
                assert np.linalg.norm(derivative, 2) <= sharp[box] * (1 + 1e-12)


@pytest.mark.parametrize("degree", [2, 3])
def test_remainders_hold_where_they_are_attained(degree):
    """A small step of one unit: there the interpolated slope of tanh is off by nearly all that is allowed."""
    h, center = 0.02, 0.3
    network = FeedForward((Stage(np.array([[1.0]]), np.zeros(1), get_activation("tanh")),))
    x = activated(
        transformed(box_expansion(np.array([[center]]), np.array([[h]]), degree), Layer(network.stages[0])),
        get_activation("tanh"),
    )
    largest = 0.0
    with working_precision(200):
        for t in np.linspace(-1, 1, 81):
            _, slopes = exact_value_and_derivative(network, [arb(center) + arb(h) * arb(t)])
            _, gradient = exact_polynomial(x, 0, [arb(t)])
            largest = max(largest, abs(float((slopes - gradient)[0, 0])))
    # the bound takes the largest higher derivative on the box, which moves by a few percent there
    assert 0.9 * x.slope[0] <= largest <= x.slope[0]


@given(SEEDS)
def test_remainders_are_those_of_the_formula(seed):
    """The formulas of the module's docstring, transcribed for one stage of tanh with remainders before it, p = 3."""
    rng = np.random.default_rng(seed)
    d, n, m = 2, 4, 3
    h = rng.uniform(0.1, 0.5, d)
    order = monomials(d, 3)
    terms = rng.standard_normal((len(order.degrees), 1, n)) * 0.2 ** order.degrees[:, None, None]
    before = Expansion(terms, np.array([0.03]), np.array([0.07]), np.full((1, n), np.nan), h[None], order)
    matrix, bias = rng.standard_normal((m, n)), rng.standard_normal(m)
    moved = transformed(before, Layer(Stage(matrix, bias, get_activation("tanh"))))
    norm = np.linalg.norm(matrix, 2)
    assert moved.error[0] == pytest.approx(norm * 0.03, rel=1e-9)
    assert moved.slope[0] == pytest.approx(norm * 0.07, rel=1e-9)
    np.testing.assert_allclose(moved.caps[0], np.linalg.norm(matrix, axis=1) * 0.03, rtol=1e-9)
    after = activated(moved, get_activation("tanh"))
    a = moved.terms[:, 0]
    degrees = [order.of_degree(k) for k in range(4)]
    q = [np.abs(a[rows]).sum(0) for rows in degrees]
    grad = [
        np.sqrt(sum((sum(order.exponents[row, j] * np.abs(a[row]) for row in rows) / h[j]) ** 2 for j in range(d)))
        for rows in degrees
    ]
    width, reach = sum(q[1:]), sum(q[1:]) + moved.caps[0]
    grid = a[0] + np.linspace(-1, 1, 20_001)[:, None] * reach
    tanh = np.tanh(grid)
    first = 1 - tanh**2
    second, fourth = -2 * tanh * first, -8 * tanh * first * (3 * tanh**2 - 2)
    node = np.sqrt(3) / 2 * width
    g = [1 - np.tanh(a[0] + sign * node) ** 2 for sign in (-1, 0, 1)]
    t2, t3 = np.abs(g[2] - g[0]) / (4 * node), np.abs(g[2] + g[0] - 2 * g[1]) / (6 * node**2)
    off = np.abs(fourth).max(0) * width**3 / 24
    theta = off + 2 * t2 * q[3] + 3 * t3 * (width**2 - q[1] ** 2)
    rest = 2 * t2 * (q[2] * grad[2] + q[1] * grad[3] + q[2] * grad[3] + q[3] * grad[2] + q[3] * grad[3])
    rest += (off + 3 * t3 * width**2) * (grad[2] + grad[3])
    linear = (theta * a[degrees[1]]).T / h
    steep = np.abs(first).max(0)
    slope = steep.max() * moved.slope[0] + (np.abs(second).max(0) * sum(grad[1:])).max() * moved.error[0]
    slope += np.linalg.norm(linear, 2) + np.linalg.norm(rest)
    beyond = t2 * (q[2] ** 2 + 2 * q[1] * q[3] + 2 * q[2] * q[3] + q[3] ** 2) + t3 * (width**3 - q[1] ** 3)
    error = steep.max() * moved.error[0] + np.linalg.norm(beyond + off * width)
    # maxima on a grid fall short by the square of its step
    assert after.slope[0] == pytest.approx(slope, rel=1e-6)
    assert after.error[0] == pytest.approx(error, rel=1e-6)


@given(SEEDS, st.integers(1, 4))
def test_parts_cover_their_box(seed, dim):
    """Halves reach beyond both ends and beyond the middle, whatever is rounded: in fractions."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((3, dim)) * 10.0 ** rng.uniform(-3, 6)
    radii = np.abs(middles).max() * 10.0 ** rng.uniform(-14, 0) * rng.uniform(0.5, 1.0, (3, dim))
    bounder = SmoothMap(Problem.of(decoder(0, dim, 3, 2), Box(np.full(dim, -1e9), np.full(dim, 1e9)), None), 1)
    for bounds in (np.full(3, 1.0), np.full(3, 1e9)):
        parts, parents = bounder.split(boxes(middles, radii), bounds, 1.0)
        assert len(parts) == 3 * (2 if bounds[0] == 1.0 else 2**dim)
        for row in range(3):
            own = np.flatnonzero(parents == row)
            for _ in range(20):
                t = rng.choice([-1.0, 1.0, 0.0, rng.uniform(-1, 1)], size=dim)
                point = [Fraction(c) + Fraction(s) * Fraction(r) for c, s, r in zip(middles[row], t, radii[row], strict=True)]
                assert any(
                    all(
                        abs(x - Fraction(c)) <= Fraction(r)
                        for x, c, r in zip(point, parts.middles[k].tolist(), parts.radii[k].tolist(), strict=True)
                    )
                    for k in own
                )


def test_a_linear_map_has_its_norm():
    matrix = np.array([[3.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    bound = certify_lipschitz(FeedForward((Stage(matrix, np.ones(3), LINEAR),)), Box([-1.0, -1.0], [1.0, 1.0]), ratio=1 + 1e-9)
    assert bound.lower == pytest.approx(5.0, rel=1e-12)
    assert 5.0 <= bound.upper <= 5.0 * (1 + 1e-11)


def test_the_maximum_inside_a_box_is_found():
    # slope of tanh at 0, off the middle of every box
    f = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 2)).double().requires_grad_(False)
    f[0].weight[:], f[0].bias[:], f[2].weight[:] = 7.0, -1.3, torch.tensor([[3.0], [4.0]])
    bound = certify_lipschitz(f, Box([-2.0], [2.0]), ratio=1.0001)
    assert bound.lower <= 35.0 <= bound.upper <= 35.0 * 1.0001
    beyond = certify_lipschitz(f, Box([0.5], [2.0]), ratio=1.0001)
    assert beyond.upper < 34.0


CLOSED = {
    "plane": (lambda: decoder(0, 2, 64, 64, 200), 2, 1.01),
    "line": (lambda: decoder(1, 1, 32, 32, 5, activation=nn.SiLU), 1, 1.001),
    "space": (lambda: decoder(2, 3, 32, 32, 10, activation=nn.GELU, gain=1.0), 3, 1.05),
    "four dimensions": (lambda: decoder(3, 4, 16, 16, 8, activation=nn.Sigmoid), 4, 1.1),
}


@pytest.mark.parametrize("name", list(CLOSED))
def test_decoders_are_closed(name):
    make, d, ratio = CLOSED[name]
    model, domain = make(), Ball(np.full(d, 0.1), 2.5)
    bound = certify_lipschitz(model, domain, ratio=ratio, seconds=60)
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.upper <= ratio * bound.lower
    points = domain.sample(20_000, np.random.default_rng(0))
    slopes = torch.func.vmap(torch.func.jacfwd(lambda z: model(z[None])[0]), chunk_size=2000)(points)
    assert torch.linalg.matrix_norm(slopes, 2).max() <= bound.upper


def test_outputs_and_threads_change_nothing_else():
    model, domain = decoder(0, 2, 16, 16, 6), Box([-1.0, -1.0], [1.0, 1.0])
    whole = certify_lipschitz(model, domain, threads=2)
    part = certify_lipschitz(model, domain, outputs=[1, 4], threads=1)
    alone = certify_lipschitz(lambda z: model(z)[:, [1, 4]], domain)
    assert part.upper <= whole.upper
    assert part.lower <= alone.upper
    assert alone.lower <= part.upper


def test_numbers_beyond_the_doubles_give_no_bound():
    huge = FeedForward(
        (Stage(1e200 * np.ones((2, 1)), np.zeros(2), get_activation("silu")), Stage(1e200 * np.ones((1, 2)), np.zeros(1), LINEAR))
    )
    bounder = SmoothMap(Problem.of(huge, Box([-1.0], [1.0]), None), 1)
    assert not (bounder.bound(boxes(np.zeros((1, 1)), np.ones((1, 1))), np.full(1, np.inf), 0.0)[1] < np.inf).any()


@given(SEEDS, st.integers(1, 4), st.sampled_from([0, 1, 2]))
def test_norms_of_matrices_are_bounded_in_exact_arithmetic(seed, n, kind):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, n)) * 10.0 ** rng.uniform(-120, 120)
    if kind == 1:  # one eigenvalue, many times
        matrix = np.linalg.qr(matrix)[0]
    if kind == 2:
        matrix = np.outer(matrix[0], matrix[0])
    matrix = matrix if np.isfinite(matrix).all() else np.eye(n)
    norms = [(float(spectral_norms(matrix)), matrix)]
    gram = np.tril(matrix) + np.tril(matrix, -1).T
    norms.append((float(spectral_norm_kernel(gram, np.empty((2, n, n)))), gram))
    direction = exact_row(rng.standard_normal(n))
    with working_precision(200):
        for bound, one in norms:
            # power iteration of exact numbers approaches the norm from below
            vector, exact = direction, arb_mat(one.tolist())
            for _ in range(30):
                image = exact.transpose() * (exact * column(vector))
                size = length([image[i, 0] for i in range(n)])
                if not ends(size)[0] > 0:
                    break
                vector = [image[i, 0] / size for i in range(n)]
            product = exact * column(vector)
            below = ends(length([product[i, 0] for i in range(n)]) / length(vector))[0]
            assert below <= bound
            assert bound <= max(np.linalg.norm(one, 2) * 1.0015, 1e-300)
    eigenvalue = float(largest_eigenvalues(gram))
    assert np.linalg.eigvalsh(gram)[-1] <= eigenvalue + 1e-300 or np.isclose(np.linalg.eigvalsh(gram)[-1], eigenvalue, rtol=1e-14)


def test_norms_of_what_is_no_matrix():
    assert np.isnan(spectral_norm_kernel(np.full((2, 2), np.nan), np.empty((2, 2, 2))))
    assert np.isnan(spectral_norm_kernel(np.full((2, 2), np.inf), np.empty((2, 2, 2))))
    assert spectral_norm_kernel(np.zeros((2, 2)), np.empty((2, 2, 2))) == 0.0
    assert np.isnan(spectral_norms(np.array([[np.nan]])))
    assert spectral_norms(np.zeros((3, 2, 2))).tolist() == [0.0, 0.0, 0.0]


def test_products_of_monomials_have_the_sums_of_their_exponents():
    order = monomials(3, 3)
    for i, j, k in order.products(1, 2):
        assert (order.exponents[i] + order.exponents[j] == order.exponents[k]).all()
    assert len(order.products(1, 2)) == 18


def test_more_dimensions_get_the_product():
    model = decoder(0, 8, 10, 4)
    bound = certify_lipschitz(model, Ball(np.zeros(8), 1.0), seconds=1.0)
    product = np.prod([torch.linalg.matrix_norm(part.weight, 2).item() for part in model[::2]])
    assert bound.upper == pytest.approx(product, rel=1e-9)
    assert "product" in bound.method
