"""Strategies of the search one by one, on maps with known maxima, and what a result says of itself."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipbounds import Ball, find_lipschitz
from lipbounds.domains import Box
from lipbounds.errors import InvalidInput
from lipbounds.search import quotient
from lipbounds.search.climb import climb
from lipbounds.search.crossing import cross
from lipbounds.search.evaluation import Budget, Evaluation, Places
from lipbounds.search.evolution import evolve
from lipbounds.search.pairs import kind_of
from lipbounds.search.rounding_noise import rounding_noise
from lipbounds.search.rounds import Rounds
from lipbounds.search.segments import follow
from lipbounds.search.zoom import zoom

EPS = 2.0**-53


def evaluation(f, domain, *, quantity="largest", evaluations=math.inf, unit=EPS):
    probe = domain.project(domain.sample(512, np.random.default_rng(0)))
    return Evaluation(f, domain, quantity, Budget(math.inf, evaluations), probe, unit)


def places(points, direction=None):
    points = torch.as_tensor(points, dtype=torch.float64)
    along = torch.eye(points.shape[1], dtype=torch.float64)[:1].expand_as(points) if direction is None else direction
    return Places(points, torch.zeros(len(points), dtype=torch.float64), along)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 5))
def test_the_steepest_direction_is_that_of_the_matrix(seed, d, m):
    rng = np.random.default_rng(seed)
    matrix = torch.as_tensor(rng.standard_normal((m, d)))
    ev = evaluation(lambda z: z @ matrix.T, Ball(np.zeros(d), 2.0))
    found = ev.steepest(torch.as_tensor(rng.standard_normal((6, d))) / d)
    # a step of 1e-7 of the width; rounding of images over it is 1e-8
    torch.testing.assert_close(found.values, torch.linalg.matrix_norm(matrix, 2).expand(6), rtol=1e-7, atol=0)


def test_quotients_that_rounding_could_change_count_as_nothing():
    # steps of 1e-3 between multiples: for a map in a precision of 1e-3 they are rounding
    f = lambda z: torch.round(1e3 * z) / 1e3
    a, b = (torch.tensor([[0.5005 + shift]], dtype=torch.float64) for shift in (-1e-9, 1e-9))
    exact, coarse = evaluation(f, Ball([0.0], 1.0)), evaluation(f, Ball([0.0], 1.0), unit=1e-3)
    assert float(exact.quotients(a, b, f(a), f(b))[0]) == pytest.approx(5e5, rel=1e-6)  # 1e-3 over 2e-9
    assert float(coarse.quotients(a, b, f(a), f(b))[0]) == 0.0
    assert coarse.best == 0.0


@pytest.mark.parametrize("width", [1e-2, 1e-5, 1e-8])
def test_followed_segments_keep_their_steepest_part(width):
    ev = evaluation(lambda z: z + torch.tanh((z - 0.3) / width), Ball([0.0], 1.0))
    found = follow(ev, torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64), 10)
    # the last part of ten lies within the layer, where the slope is within half of its largest
    assert float(found.values[0]) > 0.5 / width
    assert float(found.values[0]) == pytest.approx(ev.best)


def test_zoom_climbs_along_a_curved_ridge_that_is_thinner_than_its_steps():
    def f(z):
        # a tear of width 1e-5 on a parabola
        height = torch.exp(-4 * (z[:, 0] - 0.4) ** 2)
        return torch.stack((z[:, 0], height * torch.tanh((z[:, 1] - z[:, 0] ** 2) / 1e-5)), 1)

    ev = evaluation(f, Box([-1.0, -1.0], [1.0, 1.0]))
    start = follow(ev, torch.tensor([[0.25, -1.0]], dtype=torch.float64), torch.tensor([[0.25, 1.0]], dtype=torch.float64), 6)
    found = zoom(ev, start, 6, 12, np.random.default_rng(0))
    x = np.linspace(-1, 1, 10_001)  # the layer's normal is (-2 x, 1); slopes of order 1 beside it do not count
    truth = 1e5 * float((np.exp(-4 * (x - 0.4) ** 2) * np.sqrt(1 + 4 * x**2)).max())
    assert float(start.values.max()) < 0.8 * truth
    assert float(found.values.max()) > 0.99 * truth


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_evolution_gives_the_last_digits(dim):
    centre = 0.3 / math.sqrt(dim)
    f = lambda z: torch.tanh(4.0 * (z - centre)) * torch.arange(1, dim + 1)
    ev = evaluation(f, Ball(np.zeros(dim), 1.0))
    found = evolve(ev, places(np.zeros((3, dim))), 30 + 20 * dim, np.random.default_rng(0), step=0.1)
    assert found.values.tolist() == pytest.approx([4.0 * dim] * 3, rel=1e-6)


def test_evolution_reaches_a_maximum_on_the_rim():
    # the slope depends on s = z_1 + z_2 alone and grows with it, up to sqrt 2
    ev = evaluation(lambda z: torch.stack((z[:, 0], (z[:, 0] + z[:, 1]) ** 2), 1), Ball([0.0, 0.0], 1.0))
    found = evolve(ev, places([[0.2, 0.1]]), 60, np.random.default_rng(0), step=0.05)
    # J = (1, 0; 2 s, 2 s), whose Gram matrix is (9, 8; 8, 8) there; differences stay 4e-7 inside
    assert float(found.values[0]) == pytest.approx(math.sqrt((17 + math.sqrt(257)) / 2), rel=2e-6)


def test_differences_at_the_rim_stay_in_the_domain():
    def f(z):
        assert float(z.norm(dim=1).max()) <= 1 + 1e-12
        return z.abs()

    ev = evaluation(f, Ball([0.0, 0.0], 1.0))
    rim = places([[1.0, 0.0], [-0.6, 0.8], [0.0, -1.0]])
    ev.steepest(rim.points)
    cross(ev, rim, 4, 3, np.random.default_rng(0))


@pytest.mark.parametrize("dim", [3, 64])
def test_pairs_climb_to_the_norm_of_a_matrix_and_to_a_maximum(dim):
    rng = np.random.default_rng(dim)
    matrix = torch.as_tensor(rng.standard_normal((dim, dim)))
    axis = torch.zeros(dim, dtype=torch.float64)
    axis[0] = 1.0
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    f = lambda z: (1 + torch.exp(-(z - 0.3 * axis).square().sum(1, keepdim=True).detach())) * (z @ matrix.T)
    linear = evaluation(lambda z: z @ matrix.T, Ball(np.zeros(dim), 2.0))
    begin = places(0.1 * rng.standard_normal((8, dim)))
    assert float(climb(linear, begin, 200, rng).values.max()) == pytest.approx(norm, rel=1e-3)
    # the factor moves pairs as well as directions: with its derivative left out the quotient still shows it
    shown = evaluation(f, Ball(np.zeros(dim), 2.0))
    assert float(climb(shown, begin, 20, rng).values.max()) > norm


def test_moves_across_kinks_lead_from_piece_to_piece():
    # 40 pieces in a row, each a little steeper than the last: neither gradients nor short steps lead along
    knots = torch.linspace(-1.0, 1.0, 41, dtype=torch.float64)[:-1]
    f = lambda z: z[:, :1] + torch.relu(z[:, :1] - knots).sum(1, keepdim=True)
    ev = evaluation(f, Ball([0.0, 0.0], 1.0))
    found = cross(ev, places([[-0.99, 0.0]]), 4, 60, np.random.default_rng(0))
    assert float(found.values.max()) == pytest.approx(41.0, rel=1e-6)


def test_a_map_without_kinks_is_left_as_it_is():
    ev = evaluation(torch.tanh, Ball([0.0, 0.0], 1.0))
    start = places([[0.5, 0.0]])
    assert cross(ev, start, 4, 5, np.random.default_rng(0)) is not None
    assert torch.equal(cross(ev, start, 4, 5, np.random.default_rng(0)).points, start.points)


def test_ends_seen_once_are_what_a_search_may_miss():
    # three ends at one place, two with one value, one alone: Good and Turing say 1 / 6
    points = torch.tensor([[0.0, 0.0], [0.0, 1e-3], [1e-3, 0.0], [0.5, 0.0], [-0.5, 0.0], [0.0, 0.9]], dtype=torch.float64)
    ends = Places(points, torch.tensor([3.0, 2.9, 3.1, 2.0, 2.0, 1.0], dtype=torch.float64), points)
    rounds = Rounds((3.0, 2.99, 2.0, 2.984), ends, ends)
    assert rounds.unseen(1.0) == pytest.approx(1 / 6)
    # half a percent below 3 is 2.985
    assert rounds.reached == 2


def test_rounds_that_agree_end_a_search_and_rounds_that_do_not_go_on():
    plain = find_lipschitz(lambda z: torch.tanh(5 * z), Ball([0.0, 0.0], 1.0), evaluations=400_000)
    assert (plain.reached, len(plain.restarts)) == (3, 3)
    rng = np.random.default_rng(0)
    centres = torch.as_tensor(rng.uniform(-1, 1, (300, 2)))
    heights = torch.as_tensor(rng.uniform(0.5, 1.0, 300))

    def bumps(z):
        far = (z[:, None] - centres).square().sum(2)
        return z + (0.01 * heights * torch.exp(-far / (2 * 0.01**2))).sum(1, keepdim=True)

    rough = find_lipschitz(bumps, Box([-1.0, -1.0], [1.0, 1.0]), evaluations=60_000)
    assert rough.reached < 3
    assert rough.unseen > plain.unseen


def test_evaluations_fix_the_result_and_are_kept():
    f = lambda z: torch.sin(7 * z) + 0.1 * torch.cos(40 * z.flip(1))
    one, two, other = (find_lipschitz(f, Ball([0.0, 0.0], 3.0), seed=seed, evaluations=20_000) for seed in (3, 3, 4))
    assert (one.lower, one.restarts, one.history) == (two.lower, two.restarts, two.history)
    assert one.history != other.history
    # a batch that has begun is finished: some thousands of rows
    assert one.evaluations < 30_000


def test_seconds_are_kept_where_the_map_is_slow():
    def slow(z):
        time.sleep(1e-4 * len(z))
        return torch.sin(3 * z)

    begin = time.perf_counter()
    found = find_lipschitz(slow, Ball([0.0, 0.0], 1.0), budget=2.0)
    # what is asked before the clock starts, and the witnesses, are some 2,000 rows
    assert time.perf_counter() - begin < 4.0
    # no time for witnesses is left, but for the best one
    assert found.lower >= (1 - 1e-6) * max(found.history)
    assert found.lower > 2.9


@pytest.mark.parametrize("options", [{"budget": 0.0}, {"budget": -1.0}, {"evaluations": 10}])
def test_budgets_that_show_nothing_are_refused(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        find_lipschitz(lambda z: z, Ball([0.0], 1.0), **options)


def test_maps_that_torch_cannot_differentiate_are_searched_by_their_values():
    found = find_lipschitz(lambda z: torch.as_tensor(np.sin(3 * z.numpy())), Ball(np.zeros(3), 2.0), evaluations=40_000)
    assert found.lower == pytest.approx(3.0, rel=1e-6)
    assert math.isnan(found.jacobian_norm)


def test_what_is_known_on_a_smaller_domain_counts_on_a_larger_one():
    f = lambda z: z + torch.tanh((z - 0.777) / 1e-7)
    small = find_lipschitz(f, Ball([0.777], 1e-6), evaluations=5_000)
    assert small.lower > 0.9e7
    large = find_lipschitz(f, Ball([0.0], 1e6), evaluations=300, known=[small])
    assert large.lower >= small.lower * (1 - 1e-12)
    assert quotient(f, large.pair) >= large.lower
    # a pair outside the domain does not count
    assert find_lipschitz(f, Ball([-5.0], 1.0), evaluations=300, known=[small]).lower < 2.0


def test_what_is_known_of_another_map_does_not_count():
    steep = find_lipschitz(lambda z: 3.0 * z, Ball([0.0], 1.0), evaluations=300)
    assert find_lipschitz(lambda z: 2.0 * z, Ball([0.0], 1.0), evaluations=300, known=[steep]).lower <= 2.0


@pytest.mark.parametrize(
    ("f", "kind"),
    [
        (lambda z: torch.sin(z), "smooth"),
        (lambda z: torch.relu(z - 0.5), "kink"),
        (lambda z: torch.where(z > 0.5, z + 1.0, z), "jump"),
        (lambda z: z + torch.tanh((z - 0.5) / 1e-9), "jump"),
    ],
)
def test_what_a_pair_lies_across(f, kind):
    pair = np.array([0.5 - 0.6e-3]), np.array([0.5 + 0.5e-3])
    assert kind_of(f, pair, 1e-15) == kind
    # where rounding is as large as the change nothing can be told
    assert kind_of(f, pair, 10.0) == "smooth"


def test_a_found_constant_has_the_kind_of_its_pair():
    assert find_lipschitz(torch.tanh, Ball([0.0], 1.0), evaluations=5_000).kind == "smooth"
    assert find_lipschitz(lambda z: torch.where(z > 0.3, z + 1, z), Ball([0.0], 1.0), evaluations=20_000).kind == "jump"


def test_isolated_bumps_are_found():
    # a bump of width 0.01 of the domain in the plane and 0.03 in three dimensions, the map linear elsewhere
    for dim, width in ((2, 0.01), (3, 0.03)):
        centre = torch.full((dim,), 0.31, dtype=torch.float64)

        def f(z, centre=centre, width=width):
            far = (z - centre).square().sum(1, keepdim=True) / (2 * width**2)
            return torch.cat((z, 0.5 * torch.exp(-far)), 1)

        found = find_lipschitz(f, Ball(np.zeros(dim), 1.0), evaluations=700_000)
        # the steepest slope of exp(-r^2 / 2) is exp(-1/2) at r = 1
        assert found.lower == pytest.approx(math.hypot(1.0, 0.5 * math.exp(-0.5) / width), rel=1e-3)


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8), (torch.float32, 2.0**-24)])
def test_images_of_a_short_type_are_charged_eight_of_its_roundings(dtype, unit):
    # 10 and 9 are far larger than what neighbours move by, so that steps of the inputs alone would charge less
    point = torch.tensor([0.7, 0.3], dtype=torch.float64)
    offset = torch.tensor([10.0, 9.0], dtype=torch.float64)
    noise = rounding_noise(lambda z: (0.01 * z + offset).to(dtype).double(), point, 1.0)
    assert noise >= 8 * unit * 10.0 * math.sqrt(2)
