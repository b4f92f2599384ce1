"""Piecewise linear maps: exact constants, empty regions with proof, and covers that miss no point."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from experiments.zoo.exact import EXACT, FOLDER, exact_network
from lipbounds import Guarantee, WholeSpace, certify_lipschitz
from lipbounds.certify.layer_product import bound_by_norms
from lipbounds.certify.linear_regions.emptiness import Reach, strict_solution, unbounded
from lipbounds.certify.linear_regions.patterns import SignedNetwork
from lipbounds.certify.linear_regions.plane import _cut, _Part, cover, outline
from lipbounds.domains import Ball, Box, ConvexHull, Segment
from lipbounds.errors import InvalidInput
from lipbounds.maps.lowering import lowered

SEEDS = st.integers(0, 2**32 - 1)
EXACTLY = 1 + 1e-9


def relu_network(seed, *widths, activation=nn.ReLU, bias=True):
    torch.manual_seed(seed)
    parts = []
    for a, b in itertools.pairwise(widths):
        parts += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*parts[:-1]).double().requires_grad_(False)


class Sorted(nn.Module):
    """Two layers with groupsort in pairs."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(2, 6).double(), nn.Linear(6, 2).double()

    def forward(self, z):
        a, b = self.first(z).chunk(2, 1)
        return self.second(torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1))


def norms(model, points):
    slopes = torch.func.vmap(torch.func.jacrev(lambda z: model(z[None])[0]))(points)
    return torch.linalg.matrix_norm(slopes, 2).detach().numpy()


@pytest.mark.skipif(not FOLDER.is_dir(), reason="shared/data is not there")
@pytest.mark.parametrize("name", ["net-4-6-6-3-relu", "net-9-16-16-1-relu", "net-11-12-12-1-relu"])
def test_published_constants_are_reached_to_the_last_digits(name):
    network = exact_network(name)
    bound = certify_lipschitz(network, WholeSpace(network[0].in_features), ratio=EXACTLY, seconds=60)
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.assumptions == ()
    assert bound.lower == pytest.approx(EXACT[name], rel=1e-13)
    assert bound.lower <= bound.upper <= EXACT[name] * (1 + 1e-12)


MAPS = {
    "relu": (lambda: relu_network(0, 2, 7, 6, 3), 2),
    "leaky": (lambda: relu_network(1, 3, 8, 5, 2, activation=lambda: nn.LeakyReLU(0.3)), 3),
    "no bias": (lambda: relu_network(2, 2, 6, 6, 2, bias=False), 2),
    "groupsort": (lambda: Sorted(3), 2),
    "three layers": (lambda: relu_network(4, 2, 6, 6, 6, 4), 2),
    "more inputs than units": (lambda: relu_network(5, 6, 4, 4, 2), 6),
    "one input": (lambda: relu_network(6, 1, 9, 4), 1),
}


@pytest.mark.parametrize("domain", ["ball", "box", "space"])
@pytest.mark.parametrize("name", list(MAPS))
def test_the_constant_is_that_of_the_steepest_region(name, domain):
    make, d = MAPS[name]
    model = make()
    center = np.linspace(0.1, 0.3, d)
    domain = {"ball": Ball(center, 2.0), "box": Box(center - 1.5, center + 1.0), "space": WholeSpace(d)}[domain]
    bound = certify_lipschitz(model, domain, ratio=EXACTLY, seconds=60)
    assert bound.upper <= bound.lower * (1 + 1e-8)
    points = domain.sample(40_000, np.random.default_rng(1))
    assert norms(model, points).max() <= bound.upper * (1 + 1e-12)


def test_a_region_outside_the_domain_does_not_count():
    # slope 1 below 1, slope 5 beyond it
    steep = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double().requires_grad_(False)
    steep[0].weight[:], steep[0].bias[:] = torch.tensor([[1.0], [1.0]]), torch.tensor([50.0, -1.0])
    steep[2].weight[:] = torch.tensor([[1.0, 4.0]])
    for domain, constant in ((Box([-1.0], [0.999]), 1.0), (Box([-1.0], [1.001]), 5.0), (Ball([0.0], 0.999), 1.0)):
        bound = certify_lipschitz(steep, domain, ratio=EXACTLY)
        assert bound.lower == pytest.approx(constant, rel=1e-9)
        assert bound.upper == pytest.approx(constant, rel=1e-9)


@pytest.mark.parametrize("domain", [Ball([0.1, 0.2], 1.0), Box([-1.0, -1.0], [1.0, 1.0]), WholeSpace(2)])
@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.LeakyReLU(0.5)])
def test_neurons_that_see_0_everywhere_exclude_nothing(domain, activation):
    """Dead units without bias, and a layer that is dead where the first layer is: neither sign is ever strict."""
    model = relu_network(0, 2, 6, 5, 2, bias=False, activation=activation)
    model[0].weight[2:4] = 0.0
    model[2].weight[1] = 0.0
    bound = certify_lipschitz(model, domain, ratio=EXACTLY, seconds=30)
    sampled = norms(model, domain.sample(4000, np.random.default_rng(0))).max()
    assert sampled > 0.01
    assert sampled <= bound.upper * (1 + 1e-12)
    assert bound.upper <= bound.lower * (1 + 1e-8)


def test_a_row_of_zeros_is_no_proof():
    rows = np.zeros((1, 3))
    assert not strict_solution(rows, rows, rows, unbounded(2)).is_empty
    below = np.array([[0.0, 0.0, -1.0]])
    assert strict_solution(below, rows, np.abs(below), unbounded(2)).is_empty


def test_neurons_that_are_the_same_are_one():
    model = Sorted(0)
    assert SignedNetwork(lowered(model, 2)).neurons == 3


def test_a_flat_domain_has_a_neighbourhood():
    """A bump of height 1 on a segment: the segment's box has no interior, and no inequality a strict solution in it."""
    e = 1e-7
    bump = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)).double().requires_grad_(False)
    bump[0].weight[:], bump[0].bias[:] = torch.eye(3)[[0, 0, 0]], torch.tensor([-0.3 + e, -0.3, -0.3 - e])
    bump[2].weight[:] = torch.tensor([[1.0, -2.0, 1.0]])
    bump[2].bias[:] = 0.0
    for domain in (Segment([-1.0, 0, 0], [1.0, 0, 0]), ConvexHull([[-1.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0]])):
        assert 1.0 <= certify_lipschitz(bump, domain, seconds=5).upper <= 1.0 + 1e-9
    smooth = nn.Sequential(nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 1)).double().requires_grad_(False)
    for part in (smooth[0], smooth[2]):
        part.weight[:], part.bias[:] = 1.0, 0.0
    # along the segment 1; the norm of the derivative, across it too, is the root of 2
    bound = certify_lipschitz(smooth, Segment([-1.0, 0.0], [1.0, 0.0]), seconds=0.5)
    assert 1.0 <= bound.upper <= 1.5


def test_weights_whose_products_underflow_are_left_to_the_product_of_norms():
    parts = []
    for weight in (1e-200, 1e-200, 1e200, 1e200):
        parts += [nn.Linear(1, 1, bias=False).double().requires_grad_(False), nn.ReLU()]
        parts[-2].weight[:] = weight
    network = lowered(nn.Sequential(*parts[:-1]), 1)
    assert not SignedNetwork.reads(network)
    assert bound_by_norms(network) >= 1.0


def test_a_witness_across_a_kink_is_taken():
    """Rounding measured at a kink is large: the search lowers its quotient by a fifth, and the proof finds the whole."""
    weights = [[[1.0, 0], [0, -1], [-1, -1]], [[1.0, 0, 1], [0, 0, 1], [1, 0, 0]], [[1.0, 1, -1]]]
    biases = [[-1.0, -1, -1], [0.0, 1, -1], [0.0]]
    parts = []
    for weight, bias in zip(weights, biases, strict=True):
        layer = nn.Linear(len(weight[0]), len(weight)).double().requires_grad_(False)
        layer.weight[:], layer.bias[:] = torch.tensor(weight), torch.tensor(bias)
        parts += [layer, nn.ReLU()]
    bound = certify_lipschitz(nn.Sequential(*parts[:-1]), Ball([0.0, 0.0], 1.0), seconds=5)
    assert bound.lower <= 8**0.5 <= bound.upper <= 8**0.5 * (1 + 1e-9)


@given(SEEDS, st.booleans())
def test_bounds_of_signs_hold_for_all_slopes_that_they_allow(seed, is_leaky):
    rng = np.random.default_rng(seed)
    below = 0.25 if is_leaky else 0.0
    network = lowered(relu_network(seed, 3, 6, 5, 4, 2, activation=lambda: nn.LeakyReLU(below)), 3)
    signed = SignedNetwork(network)
    signs = rng.integers(-1, 2, (4, signed.neurons)).astype(np.int8)
    bounds = signed.bounds(signs)
    for row, bound in zip(signs, bounds, strict=True):
        for _ in range(6):
            free = rng.choice([below, 1.0, rng.uniform(below, 1.0)], size=len(row))
            slopes = np.where(row > 0, 1.0, np.where(row < 0, below, free))
            matrix, at = np.eye(3), 0
            for stage in network.stages:
                matrix = stage.matrix @ matrix
                if at < len(slopes):
                    matrix = slopes[at : at + len(matrix), None] * matrix
                    at += len(matrix)
            assert np.linalg.norm(matrix, 2) <= bound * (1 + 1e-14 * 3)
    decided = np.where(signs == 0, 1, signs).astype(np.int8)
    exact = signed.bounds(decided)
    assert (exact <= bounds * (1 + 1e-12)).all()


@given(SEEDS, st.sampled_from([0.0, 0.25]))
def test_constraints_have_the_signs_of_their_neurons(seed, below):
    """At a point, in fractions: the rows of decided neurons are its values with the signs of the row."""
    rng = np.random.default_rng(seed)
    network = lowered(relu_network(seed, 2, 4, 4, 3, activation=lambda: nn.LeakyReLU(below)), 2)
    signed = SignedNetwork(network)
    point = [Fraction(x) for x in (3 * rng.standard_normal(2)).tolist()]
    values, signs, truth = point, [], []
    for stage in network.stages[:-1]:
        values = [
            sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(stage.matrix.tolist(), stage.bias.tolist(), strict=True)
        ]
        truth += values
        signs += [1 if value > 0 else -1 for value in values]
        values = [value if value > 0 else Fraction(below) * value for value in values]
    ((rows, errors, _),) = signed.constraints(np.array([signs], dtype=np.int8))
    for row, error, value in zip(rows.tolist(), errors.tolist(), truth, strict=True):
        found = sum((Fraction(a) * x for a, x in zip(row, [*point, Fraction(1)], strict=True)), Fraction(0))
        slack = sum((Fraction(e) * abs(x) for e, x in zip(error, [*point, Fraction(1)], strict=True)), Fraction(0))
        assert abs(found - abs(value)) <= slack
    assert errors.max() <= 1e-13


@given(SEEDS, st.integers(1, 6), st.integers(1, 12), st.sampled_from([1.0, 1e-3, 1e-9, 1e-13]))
def test_a_system_with_a_solution_is_never_empty(seed, d, m, margin):
    """Rows of fractions with a known solution, some with hardly any room."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-8, 9, (m, d)).astype(float)
    x = rng.integers(-64, 65, d) / 64.0
    room = rng.choice([margin, 1.0], size=m)
    b = -(a @ x) + room
    exact = [
        sum((Fraction(p) * Fraction(q) for p, q in zip(row, x, strict=True)), Fraction(c)) for row, c in zip(a, b, strict=True)
    ]
    if min(exact) <= 0:  # the rounding of b took the room away
        b = -(a @ x) + 1e-6
    rows = np.concatenate((a, b[:, None]), 1)
    none, sizes = np.zeros_like(rows), np.abs(rows)
    for reach in (unbounded(d), Reach(x - 1.0, x + 1.0), Reach(x - 2.0, x + 2.0, x + 0.5, float(np.sqrt(d)))):
        verdict = strict_solution(rows, none, sizes, reach)
        assert not verdict.is_empty
        if verdict.point is not None:
            assert (rows[:, :-1] @ verdict.point + rows[:, -1] > 0).all()


@given(SEEDS, st.integers(1, 6), st.integers(0, 5))
def test_a_system_without_a_solution_is_proven_to_have_none(seed, d, others):
    """d + 1 rows in general position whose weighted sum is 0 . x - gap, exactly."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-16, 17, (d, d)) + 40.0 * np.eye(d)
    weights = 2.0 ** rng.integers(-2, 3, d)
    last = -(weights @ a)
    b = rng.integers(-4, 5, d).astype(float)
    gap = rng.choice([2.0**-20, 1.0])
    rows = np.concatenate((np.concatenate((a, last[None])), np.append(b, -(weights @ b) - gap)[:, None]), 1)
    more = rng.integers(-8, 9, (others, d + 1)).astype(float)
    rows = np.concatenate((rows, more))[rng.permutation(d + 1 + others)]
    verdict = strict_solution(rows, np.zeros_like(rows), np.abs(rows), unbounded(d))
    assert verdict.point is None
    # further rows may offer other multipliers, of which some are not unique
    assert verdict.is_empty or others


def test_errors_of_the_coefficients_take_the_proof_away():
    rows = np.array([[1.0, 0.0], [-1.0, -1e-3]])
    # x > 0 and -x > 1/1000, the slopes with errors: with 1 the second may be 0 or rise
    for error, is_empty in ((0.0, True), (1e-6, True), (1.0, False)):
        assert strict_solution(rows, np.full_like(rows, error), np.ones_like(rows), unbounded(1)).is_empty == is_empty
    box = Reach(np.array([-1.0]), np.array([1.0]))
    assert strict_solution(rows, np.full_like(rows, 1e-5), np.ones_like(rows), box).is_empty
    assert not strict_solution(rows, np.full_like(rows, 1e-3), np.ones_like(rows), box).is_empty


def test_a_ball_decides_what_its_box_does_not():
    # beyond the corner of the ball, within its box
    rows = np.array([[1.0, 1.0, -1.5]])
    box = Reach(np.full(2, -1.0), np.full(2, 1.0))
    ball = Reach(box.low, box.high, np.zeros(2), 1.0)
    none = np.zeros_like(rows)
    assert strict_solution(rows, none, np.abs(rows), box).point is not None
    assert strict_solution(rows, none, np.abs(rows), ball).is_empty
    near = np.array([[1.0, 1.0, -1.41]])
    found = strict_solution(near, none, np.abs(near), ball)
    assert found.point is not None
    assert np.linalg.norm(found.point) <= 1.0


@given(SEEDS)
def test_every_point_has_signs_of_the_cover(seed):
    rng = np.random.default_rng(seed)
    network = lowered(relu_network(seed, 2, 6, 6, 2), 2)
    signed = SignedNetwork(network)
    domain = Ball(rng.standard_normal(2), 2.0) if seed % 2 else Box([-1.0, -2.0], [2.0, 1.0])
    signs, points = cover(signed, outline(domain), 10_000, lambda: False)
    assert (signs != 0).all()
    assert len(points) == len(signs)
    known = {tuple(row) for row in signs.tolist()}
    inside = domain.sample(500, rng).numpy()
    # and points about the lines, where parts meet
    first = network.stages[0]
    normal = first.matrix / np.square(first.matrix).sum(1, keepdims=True)
    k = rng.integers(0, 6, 500)
    away = (inside * first.matrix[k]).sum(1) + first.bias[k]
    near = inside - away[:, None] * normal[k] + 1e-13 * rng.standard_normal((500, 2))
    near = near[domain.depth(torch.as_tensor(near)).numpy() > 0]
    for row in signed.signs_at(np.concatenate((inside, near))).tolist():
        assert tuple(row) in known


def test_a_cover_that_is_cut_short_leaves_neurons_undecided():
    signed = SignedNetwork(lowered(relu_network(0, 2, 20, 20, 2), 2))
    signs, _ = cover(signed, outline(Ball([0.0, 0.0], 3.0)), 50, lambda: False)
    assert (signs == 0).any()
    assert len(signs) >= 50
    bound = certify_lipschitz(relu_network(0, 2, 20, 20, 2), Ball([0.0, 0.0], 3.0), seconds=0.0)
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.upper >= certify_lipschitz(relu_network(0, 2, 20, 20, 2), Ball([0.0, 0.0], 3.0)).lower


def test_wide_networks_get_the_product_at_least():
    bound = certify_lipschitz(relu_network(0, 30, 40, 40, 5), Ball(np.zeros(30), 1.0), seconds=1.0)
    torch_product = np.prod([torch.linalg.matrix_norm(part.weight, 2).item() for part in relu_network(0, 30, 40, 40, 5)[::2]])
    assert bound.upper <= torch_product * (1 + 1e-9)
    assert bound.lower <= bound.upper


def test_all_of_space():
    with pytest.raises(InvalidInput, match="dim"):
        WholeSpace(0)
    sample = WholeSpace(2, scale=5.0).sample(1000, np.random.default_rng(0))
    assert sample.shape == (1000, 2)
    assert WholeSpace(2).contains(np.array([1e300, 0.0]))
    assert not WholeSpace(2).contains(np.array([np.inf, 0.0]))


def test_parts_overlap_by_what_lines_may_move():
    """Each side of a cut keeps the points beyond the line that the error of its coefficients may put there."""
    rows = np.array([[1.0, 0.0, -0.5]])
    for error in (0.0, 1e-6):
        part = _Part(outline(Box([0.0, 0.0], [1.0, 1.0])), np.zeros(1, dtype=np.int8))
        parts, _ = _cut(np.arange(1), (rows, np.full_like(rows, error), np.abs(rows)), part, 1.0)
        right, left = (next(one.polygon for one in parts if one.signs[0] == sign) for sign in (1, -1))
        # delta times the length of a, and the error at a point of size 1
        least = 1e-11 + 3 * error
        assert right[:, 0].min() <= 0.5 - 1.5 * least
        assert left[:, 0].max() >= 0.5 + 1.5 * least
        assert right[:, 0].min() >= 0.5 - 3 * least
