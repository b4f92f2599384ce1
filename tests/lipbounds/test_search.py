"""The search against maps whose constant is known."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from lipbounds.domains import Ball, Box, Capsule, ConvexHull, Segment, conditional, latent_ball
from lipbounds.errors import InvalidInput, NotInvertible
from lipbounds.search import find_bilipschitz, find_inversion_error, find_lipschitz, jacobian_norms, quotient
from lipbounds.search.singular_values import LARGEST_FULL, FullSVD, PowerIteration, _columns, _rows, _rows_at_once
from lipbounds.theorems import exact_lipschitz, two_modes

UNIT = Ball([0.0, 0.0], 1.0)


def rotation(angle):
    return torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_linear_maps_exactly(seed, d, m):
    matrix = torch.as_tensor(np.random.default_rng(seed).standard_normal((m, d)))
    found = find_lipschitz(lambda z: z @ matrix.T, Ball(np.zeros(d), 2.0), seed=seed, evaluations=5_000)
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert found.lower == pytest.approx(norm, rel=1e-9)
    assert found.lower <= norm * (1 + 1e-12)


@given(st.floats(-0.6, 0.6), st.sampled_from([0.3, 0.1, 0.03]), st.floats(0, 3), st.integers(0, 1000))
@example(0.5, 0.03, 1.0, 0)
@settings(max_examples=max(10, settings().max_examples // 3))
def test_tanh_needles(center, width, angle, seed):
    # x_1 -> x_1 + 2 tanh((x_1 - c) / w) between rotations: the constant is 1 + 2 / w, on a line of width w
    q = rotation(angle)

    def f(z):
        x = z @ q
        return torch.stack((x[:, 0] + 2 * torch.tanh((x[:, 0] - center) / width), x[:, 1]), dim=1) @ q.T

    found = find_lipschitz(f, UNIT, seed=seed, evaluations=30_000)
    truth = 1 + 2 / width
    assert 0.9999 * truth <= found.lower <= truth * (1 + 1e-9)
    assert found.jacobian_norm <= truth * (1 + 1e-12)
    assert abs(float((torch.as_tensor(found.point) @ q)[0]) - center) < 0.05 * width
    # less what rounding may have added to the quotient
    assert (1 - 1e-6) * quotient(f, found.pair) <= found.lower < quotient(f, found.pair)


class Quantiles(torch.autograd.Function):
    """The monotone map from N(0, 1) to X_sigma with its exact derivatives of first and second order."""

    @staticmethod
    def forward(ctx, z, law):
        x = law.quantile(ndtr(z.detach().numpy()))
        ctx.law = law
        ctx.save_for_backward(z, torch.as_tensor(x))
        return torch.as_tensor(x)

    @staticmethod
    def backward(ctx, grad):
        z, _x = ctx.saved_tensors
        means, deviations = (torch.as_tensor(a) for a in ctx.law._line())
        at = Quantiles.apply(z, ctx.law)
        density = ((-0.5 * ((at[:, None] - means) / deviations) ** 2).exp() / deviations).mean(1)
        return grad * (-0.5 * z**2).exp() / density, None


@pytest.mark.parametrize("sigma", [0.5, 0.3, 0.25])
def test_the_exact_map_of_example_1(sigma):
    law = two_modes(sigma)
    found = find_lipschitz(lambda z: Quantiles.apply(z[:, 0], law)[:, None], Ball([0.0], 4.0), seed=0, evaluations=30_000)
    assert found.lower == pytest.approx(exact_lipschitz(sigma), rel=1e-6)
    assert abs(found.point[0]) < 1e-3 / exact_lipschitz(sigma) ** 0.5


def test_a_maximum_on_the_boundary():
    found = find_lipschitz(lambda z: z**3, Capsule([0.0, 0.0], [1.0, 0.0], 1.0), seed=0, evaluations=60_000)
    assert found.on_boundary
    assert 12 * (1 - 1e-5) < found.lower <= 12.0
    np.testing.assert_allclose(found.point, [2.0, 0.0], atol=1e-3)


def test_segments_find_what_random_points_miss():
    # a tear of width 1e-4 whose edge is a small disc: neither random points nor random segments meet it
    width, edge = 1e-4, 0.002

    def f(z):
        inside = torch.exp(-((z[:, 1:3] - 0.1).square().sum(1, keepdim=True)) / edge**2)
        return torch.cat((torch.tanh(z[:, :1] / width) * inside, z[:, 1:]), dim=1)

    domain = Ball(np.zeros(4), 1.0)
    left = torch.tensor([[-0.5, 0.1, 0.1, 0.0]], dtype=torch.float64)
    right = torch.tensor([[0.5, 0.1, 0.1, 0.0]], dtype=torch.float64)
    assert find_lipschitz(f, domain, seed=0, evaluations=30_000).lower < 0.5 / width
    assert find_lipschitz(f, domain, seed=0, evaluations=30_000, segments=[(left, right)]).lower > 0.999 / width


def test_a_kink_where_torch_sees_a_slope_that_no_pair_has():
    # two clamps that meet at 0: torch adds both one-sided derivatives there; the constant is 1.5, at 0.6
    def f(z):
        return z.clamp(-5, 0) + z.clamp(0, 5) + 0.25 * torch.tanh(2 * (z - 0.6))

    found = find_lipschitz(f, Ball([0.0], 1.0), seed=0, evaluations=60_000, starts=torch.zeros(1, 1, dtype=torch.float64))
    assert 1.4999 < found.lower <= 1.5


def test_relu_kinks_and_constant_maps():
    found = find_lipschitz(
        lambda z: torch.relu(z @ torch.tensor([[3.0], [4.0]], dtype=torch.float64)), UNIT, seed=0, evaluations=60_000
    )
    assert found.lower == pytest.approx(5.0, rel=1e-9)
    assert find_lipschitz(lambda z: torch.ones(len(z), 2, dtype=torch.float64), UNIT, seed=0, evaluations=60_000).lower == 0.0


def test_the_seed_fixes_the_result_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    results = [find_lipschitz(lambda z: torch.sin(5 * z), UNIT, seed=7, evaluations=5_000) for _ in range(2)]
    assert results[0].lower == results[1].lower
    assert results[0].history == results[1].history
    assert torch.equal(before, torch.get_rng_state())


def test_jacobian_norms_against_differences():
    def f(z):
        return torch.stack((z[:, 0] * z[:, 1], z[:, 0] ** 2, torch.sin(z[:, 1])), dim=1)

    z = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    step = 1e-6
    columns = [(f(z + step * e) - f(z - step * e))[0] / (2 * step) for e in torch.eye(2, dtype=torch.float64)]
    expected = torch.linalg.matrix_norm(torch.stack(columns, dim=1), ord=2)
    assert float(jacobian_norms(f, z)) == pytest.approx(float(expected), rel=1e-8)


def test_inversion_error_grows_with_the_stretching():
    # A = [[1, 1], [1, 1 + 1/k]] has an inverse of norm about 2k, which magnifies the rounding of A x
    def error(k):
        matrix = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 1.0 / k]])
        inverse = k * torch.tensor([[1.0 + 1.0 / k, -1.0], [-1.0, 1.0]])
        return find_inversion_error(lambda x: x @ matrix, lambda z: z @ inverse, UNIT, seed=0, dtype=torch.float32).lower

    k = 100.0  # no power of two, so that products round
    errors = [error(1.0), error(k)]
    size = k * 2**0.5  # about the largest coordinate of x
    eps = 2.0**-23
    assert 0 < errors[0] < 16 * eps  # |x| is at most 3
    # more than any well-conditioned map could lose at points of this size, less than their rounding magnified by the inverse
    assert 4 * eps * size < errors[1] < 2 * k * eps * size


def test_inversion_error_that_is_not_finite():
    with pytest.raises(NotInvertible):
        find_inversion_error(torch.log, lambda z: z, UNIT, seed=0, dtype=torch.float64)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda z: z[:1], "map rows to rows"),
        (lambda z: z.sum(), "map rows to rows"),
        (lambda z: z.float(), "float64"),
        (lambda z: z.log(), "shrink the domain"),
        (lambda z: (z - z.detach()).square().sum(1, keepdim=True).sqrt(), "derivative that is not finite"),
        (lambda z: torch.nn.functional.dropout(z, 0.5), "two different answers"),
        (lambda z: z - z.mean(0), "depends on the batch"),
        (lambda z: z.numpy() if not z.requires_grad else z.detach().numpy(), "map rows to rows"),
    ],
)
def test_bad_maps(f, words):
    with pytest.raises(InvalidInput, match=words):
        find_lipschitz(f, UNIT, seed=0, evaluations=5_000)


def test_a_witness_needs_two_points():
    with pytest.raises(InvalidInput):
        quotient(lambda z: z, (np.zeros(2), np.zeros(2)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([32, 100, 300]))
@settings(max_examples=max(5, settings().max_examples // 20))
def test_linear_maps_in_many_dimensions_by_power_iteration(seed, d):
    assert d > LARGEST_FULL
    matrix = torch.as_tensor(np.random.default_rng(seed).standard_normal((d, d))) / d**0.5
    # a gap between the largest singular values, so that power iteration settles
    u, values, v = torch.linalg.svd(matrix)
    values[0] = 1.3 * values[1]
    matrix = u @ torch.diag(values) @ v
    found = find_lipschitz(lambda z: z @ matrix.T, Ball(np.zeros(d), 2.0), seed=seed, evaluations=5_000)
    assert found.lower == pytest.approx(float(values[0]), rel=1e-6)
    assert found.lower <= float(values[0]) * (1 + 1e-12)
    assert abs(float(torch.as_tensor(found.direction) @ v[0])) == pytest.approx(1.0, rel=1e-6)


def test_power_iteration_agrees_with_singular_values():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(30, 30, dtype=torch.float64, generator=generator) / 30**0.5 for _ in range(2))

    def f(z):
        return torch.tanh(2 * z @ first) @ second

    points = torch.randn(20, 30, dtype=torch.float64, generator=generator)
    exact, power = FullSVD(f), PowerIteration(f)
    truth, slope = exact.values_and_gradients(points)
    for _ in range(60):  # warm starts: each call goes on where the last one ended
        values, gradients = power.values_and_gradients(points)
    assert (values <= truth * (1 + 1e-12)).all()
    np.testing.assert_allclose(values, truth, rtol=1e-5)
    np.testing.assert_allclose(gradients, slope, atol=2e-2 * float(slope.abs().max()))
    value, direction, slope = power.direction(points[0])
    assert slope == value
    assert value == pytest.approx(float(truth[0]), rel=1e-8)
    assert float(torch.linalg.vector_norm(direction)) == pytest.approx(1.0)


def test_jacobians_three_ways():
    # by rows, by rows at once and by columns; the last for many outputs
    matrix = torch.as_tensor(np.random.default_rng(0).standard_normal((3, 12)))
    few, many = (lambda z: torch.tanh(z @ matrix)[:, :4]), (lambda z: torch.tanh(z @ matrix))
    points = torch.as_tensor(np.random.default_rng(1).standard_normal((7, 3)))
    exact = (1 - torch.tanh(points @ matrix) ** 2)[:, :, None] * matrix.T
    np.testing.assert_allclose(_rows(few, points.clone()), exact[:, :4], rtol=1e-13)
    np.testing.assert_allclose(_rows_at_once(few, points, 4), exact[:, :4], rtol=1e-13)
    np.testing.assert_allclose(_columns(many, points.clone()), exact, rtol=1e-13)


@pytest.mark.parametrize("quantity", ["largest", "smallest", "condition"])
@pytest.mark.parametrize("flat", [False, True])
def test_gradients_of_singular_values_against_differences(quantity, flat):
    matrix = torch.as_tensor(np.random.default_rng(2).standard_normal((3, 4)))
    span = torch.linalg.qr(torch.as_tensor(np.random.default_rng(3).standard_normal((3, 2))))[0] if flat else None
    stretch = FullSVD(lambda z: torch.tanh(z @ matrix), span, quantity)
    points = torch.as_tensor(np.random.default_rng(4).standard_normal((5, 3)))
    values, gradients = stretch.values_and_gradients(points)
    np.testing.assert_allclose(values, stretch.values(points), rtol=1e-12)
    step = 1e-5
    for k in range(3):
        there = points + step * torch.eye(3, dtype=points.dtype)[k]
        back = points - step * torch.eye(3, dtype=points.dtype)[k]
        slope = (stretch.values(there).log() - stretch.values(back).log()) / (2 * step)
        # central differences: step^2 times third derivatives
        np.testing.assert_allclose(gradients[:, k], slope, rtol=1e-5, atol=1e-6)


def test_quotients_of_segments_come_first_and_are_lower_bounds():
    seen = []
    f = lambda z: z + torch.tanh((z - 0.3) / 1e-3)
    find_lipschitz(f, Ball([0.0], 3.0), seed=0, evaluations=60_000, progress=lambda event: seen.append(event.lower))
    # an eighth of the way down a segment the jump of 2 shows already; no quotient exceeds the constant
    assert 1.0 < seen[0] < seen[5] <= 1001.0
    assert seen == sorted(seen)


def test_rounding_of_a_map_raises_no_pair():
    # an identity with 12 digits: pairs at a distance of 1e-7 would show slopes up to 1.00001
    f = lambda z: z + (1e-12 * torch.round(1e12 * z) - z).detach()
    pair = np.array([1e-7 + 0.51e-12]), np.array([0.49e-12])
    assert quotient(f, pair) > 1 + 5e-6
    assert find_lipschitz(f, Ball([0.0], 1.0), seed=0, evaluations=60_000).lower == pytest.approx(1.0, abs=1e-7)


def test_a_needle_in_forty_dimensions():
    width, d = 0.05, 40
    axis = torch.as_tensor(np.random.default_rng(0).standard_normal(d))
    axis = axis / axis.norm()

    def f(z):
        along = z @ axis
        return z + (2 * torch.tanh((along - 0.3) / width) - 0.0)[:, None] * axis

    domain = Ball(np.zeros(d), 2.0)
    ends = (-1.0 * axis)[None], (1.0 * axis)[None]
    found = find_lipschitz(f, domain, seed=0, evaluations=30_000, segments=[ends])
    assert found.lower == pytest.approx(1 + 2 / width, rel=1e-3)


def test_random_steps_climb_where_there_is_no_gradient():
    # piecewise linear, steepest on a piece of width 0.02: the gradient of the slope is 0 everywhere
    rng = np.random.default_rng(0)
    knots = np.sort(rng.uniform(-1, 1, 41))
    middle = 20
    knots[middle + 1] = knots[middle] + 0.02
    steep = 9.0

    def f(z):
        x = z[:, 0]
        tent = torch.relu(x - knots[middle]) - torch.relu(x - knots[middle + 1])
        return torch.stack((x + (steep - 1) * tent, z[:, 1]), 1)

    found = find_lipschitz(f, Box([-1.0, -1.0], [1.0, 1.0]), seed=0, evaluations=5_000)
    assert found.lower == pytest.approx(steep, rel=1e-9)


def test_boxes_segments_hulls_and_labels():
    def f(z):
        return torch.stack((z[:, 0] ** 2, 3 * z[:, 1]), 1)

    box = find_lipschitz(f, Box([-1.0, 0.0], [4.0, 1.0]), seed=0, evaluations=60_000)
    assert (box.lower == pytest.approx(8.0, rel=1e-3), box.on_boundary) == (True, True)
    # along a segment only the direction of the segment counts
    along = find_lipschitz(f, Segment([0.0, 0.5], [1.0, 0.5]), seed=0, evaluations=60_000)
    assert along.lower == pytest.approx(2.0, rel=1e-3)
    assert along.lower <= 2.0
    assert all(end[1] == 0.5 for end in along.pair)
    assert find_lipschitz(f, Segment([0.0, 0.0], [0.0, 1.0]), seed=0, evaluations=60_000).lower == pytest.approx(3.0)
    # a flat hull in space: f stretches across it by 100, along it by 1
    flat = ConvexHull([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = find_lipschitz(lambda z: z * torch.tensor([1.0, 1.0, 100.0], dtype=torch.float64), flat, seed=0, evaluations=5_000)
    assert found.lower == pytest.approx(1.0, rel=1e-9)
    corner = find_lipschitz(f, ConvexHull([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]]), seed=0, evaluations=30_000)
    assert corner.lower == pytest.approx(6.0, rel=0.02)
    assert corner.lower <= 6.0
    # y fixed: the constant of z -> f(y, z)
    sliced = conditional(lambda rows: rows[:, :1] * rows[:, 1:], [5.0])
    assert find_lipschitz(sliced, Ball([0.0], 1.0), seed=0, evaluations=60_000).lower == pytest.approx(5.0)


def test_both_constants_and_the_condition_number():
    def f(z):
        x = z[:, 0]
        return torch.stack((x + 0.9 * torch.sin(x), 2 * z[:, 1]), 1)  # slopes from 0.1 to 1.9, and 2

    both = find_bilipschitz(f, Ball([0.0, 0.0], 4.0), seed=0, evaluations=60_000)
    assert both.stretch.lower == pytest.approx(2.0, rel=1e-9)
    assert both.shrink.lower == pytest.approx(10.0, rel=1e-4)
    assert both.shrink.lower <= 10.0
    a, b = both.shrink.pair
    assert (1 - 1e-6) / quotient(f, (a, b)) <= both.shrink.lower < 1 / quotient(f, (a, b))
    assert both.condition.lower == pytest.approx(20.0, rel=1e-6)
    assert abs(abs(both.condition_point[0]) - np.pi) < 1e-3
    with pytest.raises(InvalidInput, match="injective"):
        find_bilipschitz(lambda z: torch.relu(z), UNIT, seed=0)
    with pytest.raises(InvalidInput, match="at most"):
        find_bilipschitz(lambda z: 2 * z, Ball(np.zeros(40), 1.0), seed=0, evaluations=5_000)


def test_discontinuous_maps_have_pairs_that_show_it():
    # documented: the value is the quotient of a pair; at a jump pairs get as steep as their distance allows
    f = lambda z: z + torch.where(z > 0.1, 1.0, 0.0)
    found = find_lipschitz(f, Ball([0.0], 1.0), seed=0, evaluations=100_000)
    assert found.lower > 1e4
    assert (1 - 1e-9) * quotient(f, found.pair) <= found.lower < quotient(f, found.pair)
    assert found.lower >= (1 - 1e-9) * found.history[-1]
    assert min(found.pair) <= 0.1 < max(found.pair)
    assert found.jacobian_norm == pytest.approx(1.0)


@pytest.mark.parametrize("dim", [1, 8, 100])
@pytest.mark.parametrize("width", [1e-4, 1e-6])
def test_jumps_that_no_random_point_meets(dim, width):
    # 4,000 random points hit a layer of this width with a chance of 1 percent or less; segments must cross it
    f = lambda z: z + torch.nn.functional.pad(torch.tanh((z[:, :1] - 0.3) / width), (0, dim - 1))
    found = find_lipschitz(f, latent_ball(np.zeros(dim), mass=0.99), seed=0, evaluations=60_000)
    assert found.lower == pytest.approx(1 + 1 / width, rel=0.01)


def test_without_segments_that_are_followed_thin_jumps_are_missed(monkeypatch):
    monkeypatch.setattr("lipbounds.search.rounds.CUTS", 0)
    monkeypatch.setattr("lipbounds.search.rounds.zoom", lambda evaluation, places, *how: places)
    f = lambda z: z + torch.tanh((z - 0.3) / 1e-6)
    assert find_lipschitz(f, Ball([0.0], 3.0), seed=0, evaluations=5_000).lower < 1e5
