"""Upper bounds by branch and bound: sound in every box and every cell, sharp where asked, and able to fail."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb, arb_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from inn import CouplingFlow, coupling_flow
from lipbounds import Ball, Box, certify_lipschitz, find_lipschitz, latent_ball
from lipbounds.arb import ends, spectral_norm, working_precision
from lipbounds.certify.branch_and_bound import Assumed, Bound
from lipbounds.certify.certificate import Certificate
from lipbounds.certify.layer_product import bound_by_product
from lipbounds.certify.planar.bounder import Planar, PlanarBoxes, compiled
from lipbounds.certify.planar.conditioner_table import REACH, tabulate
from lipbounds.certify.planar.kernel import bounds_of_boxes
from lipbounds.certify.problem import Problem
from lipbounds.certify.witness import Witness
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InconsistentBounds, InvalidInput
from lipbounds.maps import Affine, Conditioner, Coupling, Permutation, arctan_scale, inverse_map
from lipbounds.search import jacobian_norms
from tests.oracles.conditioner import coefficients_at

ACTIVATIONS = ["tanh", "relu", "softplus", "silu"]
NO_BALL = np.array([0.0, 0.0, -1.0])


def strong_flow(activation, seed, blocks=3, hidden=8, gain=2.5):
    flow = coupling_flow(CouplingFlow(blocks=blocks, hidden=hidden, activation=activation), seed=seed).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(gain)
    return flow.requires_grad_(False)


def random_conditioner(rng, activation, hidden=12, gain=2.0):
    sizes = [1, hidden, hidden, 2]
    weights = [gain * rng.standard_normal((after, before)) / math.sqrt(before) for before, after in itertools.pairwise(sizes)]
    return Conditioner(weights, [rng.standard_normal(size) for size in sizes[1:]], activation)


@given(st.integers(0, 2**32 - 1), st.sampled_from([*ACTIVATIONS, "arctan"]), st.sampled_from([0.3, 2.0]))
@settings(max_examples=max(10, settings().max_examples // 4))
def test_cells_against_ball_arithmetic(seed, activation, clamp):
    rng = np.random.default_rng(seed)
    network = random_conditioner(rng, activation)
    table = tabulate(network, arctan_scale(clamp), 4096)
    cells = rng.integers(1024, 3072, 12)  # |u| up to about 70
    middle = table.middle
    for i in cells:
        low, high = 0.5 * (middle[i - 1] + middle[i]), 0.5 * (middle[i] + middle[i + 1])
        # values and difference quotients at exact points of the cell, in balls
        points = np.sort(rng.uniform(low, high, 3))
        with working_precision(200):
            values = [[part[0] for part in coefficients_at(network, [arb(float(u))], clamp)] for u in points]
            for k, rows in enumerate((table.s, table.t)):
                value, error, slope, spread = rows[:, i]
                for u, at in zip(points, values, strict=True):
                    d = arb(float(u)) - arb(middle[i])
                    gap = abs(at[k] - arb(value) - arb(slope) * d)
                    assert gap <= (arb(error) + arb(spread) * abs(d)) * (1 + arb(1e-14))
                for j in range(2):
                    quotient = (values[j + 1][k] - values[j][k]) / (arb(float(points[j + 1])) - arb(float(points[j])))
                    # by the mean value theorem a quotient is a slope of the cell, or of the hull at a kink
                    assert abs(quotient - arb(slope)) <= arb(spread) * (1 + arb(1e-14))
            # both slopes together: the pair lies in one of the two boxes
            near = arb(float(points[0])) + arb(1e-9) * (arb(high) - arb(low))
            moved = [part[0] for part in coefficients_at(network, [near], clamp)]
            slopes = [(moved[k] - values[0][k]) / (near - arb(float(points[0]))) for k in range(2)]
            pairs = table.pairs[:, i]
            inside = [
                all(abs(slopes[k] - arb(pairs[p + 2 * k])) <= arb(pairs[p + 2 * k + 1]) * (1 + arb(1e-14)) for k in range(2))
                for p in (0, 4)
            ]
            assert any(inside)


@given(st.integers(0, 2**32 - 1), st.sampled_from(ACTIVATIONS), st.sampled_from([1e-6, 1e-3, 0.03, 0.3]))
@settings(max_examples=max(12, settings().max_examples // 4))
def test_no_sampled_norm_is_above_the_bound_of_its_box(seed, activation, size):
    rng = np.random.default_rng(seed)
    flow = FLOWS[activation]
    middles, radii = rng.uniform(-3, 3, (20, 2)), size * rng.uniform(0.2, 1.0, (20, 2))
    bounds = bounds_of_boxes(middles, radii, *PROGRAMS[activation], NO_BALL)
    points = middles[:, None] + radii[:, None] * np.clip(rng.uniform(-1.3, 1.3, (20, 50, 2)), -1, 1)  # corners and sides too
    norms = jacobian_norms(flow.inverse, torch.as_tensor(points.reshape(-1, 2))).reshape(20, 50).amax(1).numpy()
    assert (norms <= bounds * (1 + 1e-9)).all()
    if size <= 1e-3 and activation != "relu":
        assert (bounds <= 1.5 * norms).mean() > 0.8


FLOWS = {activation: strong_flow(activation, seed=1) for activation in ACTIVATIONS}
PROGRAMS = {activation: compiled(flow.structure(), 1 << 13) for activation, flow in FLOWS.items()}


# the relu network has random weights and kinks that cross everywhere; at crossings pieces count that no search looks for
@pytest.mark.parametrize(("activation", "ratio"), [("tanh", 1.01), ("softplus", 1.01), ("silu", 1.01), ("relu", 1.2)])
def test_the_ratio_is_reached_and_no_point_of_the_domain_is_above(activation, ratio):
    flow, domain = FLOWS[activation], latent_ball([0.0, 0.0], mass=0.99)
    found = find_lipschitz(flow.inverse, domain, seed=0, evaluations=60_000)
    seen = []
    bound = certify_lipschitz(
        flow, domain, found=found, ratio=ratio, seconds=30, progress=lambda event: seen.append(event.upper / event.lower)
    )
    assert bound.guarantee is Guarantee.CERTIFIED
    assert 1.0 <= bound.upper / bound.lower <= ratio
    assert bound.lower == pytest.approx(found.lower, rel=1e-6)
    assert seen == sorted(seen, reverse=True)
    norms = jacobian_norms(flow.inverse, domain.sample(10_000, np.random.default_rng(0)))
    assert float(norms.max()) <= bound.upper


def test_a_poor_witness_costs_time_and_not_soundness():
    # boxes are done when near the witness; one far below the truth makes more work, and the bound is as true
    flow, domain = FLOWS["tanh"], Box([-1.0, -1.0], [1.0, 1.0])
    best = find_lipschitz(flow.inverse, domain, seed=0, evaluations=60_000)
    poor = find_lipschitz(flow.inverse, Ball([0.9, 0.9], 0.01), seed=0, evaluations=5_000)
    assert poor.lower < 0.9 * best.lower
    bound = certify_lipschitz(flow, domain, found=poor, ratio=1.001, seconds=1.0, cells=1 << 13)
    assert bound.upper >= best.lower
    # the steepest box led to a better witness
    assert bound.lower >= 0.999 * best.lower
    assert bound.found.lower == pytest.approx(bound.lower, rel=1e-6)
    # stopped before anything is known: the product of layer constants, or infinity
    stopped = certify_lipschitz(strong_flow("tanh", 3, gain=5.0), domain, found=_witness(3), seconds=0.0)
    assert stopped.upper > stopped.lower


def _witness(seed):
    return find_lipschitz(strong_flow("tanh", seed, gain=5.0).inverse, Box([-1.0, -1.0], [1.0, 1.0]), seed=0, evaluations=5_000)


def test_linear_maps_exactly():
    # s = 0 and t linear: the inverse is a shear, with one norm everywhere
    shear = Conditioner([np.array([[0.0], [3.0]])], [np.zeros(2)], "tanh")
    layers = [Coupling(1, None, shear, 1.0), Permutation(np.array([1, 0]))]
    truth = np.linalg.svd(np.array([[1.0, 0.0], [-3.0, 1.0]]))[1][0]
    found = find_lipschitz(
        lambda z: torch.stack((z[:, 1], z[:, 0] - 3 * z[:, 1]), 1), Ball([0.0, 0.0], 1.0), seed=0, evaluations=5_000
    )
    bound = certify_lipschitz(layers, Ball([0.0, 0.0], 1.0), found=found, ratio=1 + 1e-9, cells=256)
    assert bound.lower <= truth <= bound.upper
    assert bound.upper == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("rows", [(9, 13), (11, 15)])
def test_tables_with_wrong_slopes_are_found_out(rows):
    # negative control of the box test: with slopes of s or t a tenth too small the bounds are too small
    program, tables = PROGRAMS["tanh"]
    wrong = tables.copy()
    wrong[:, list(rows)] *= 0.9
    rng = np.random.default_rng(0)
    middles, radii = rng.uniform(-2, 2, (400, 2)), np.full((400, 2), 1e-6)
    norms = jacobian_norms(FLOWS["tanh"].inverse, torch.as_tensor(middles)).numpy()
    assert (norms <= bounds_of_boxes(middles, radii, program, tables, NO_BALL) * (1 + 1e-9)).all()
    assert (norms > bounds_of_boxes(middles, radii, program, wrong, NO_BALL) * (1 + 1e-9)).any()


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": 1.0},
        {"cells": 8},
        {"domain": Ball([0.0, 0.0, 0.0], 1.0)},
        {"model": torch.nn.Linear(2, 2)},
        {"model": "flow"},
        {"model": [1.0]},
    ],
)
def test_bad_input(change):
    flow, domain = FLOWS["tanh"], Ball([0.0, 0.0], 0.5)
    arguments = {
        "model": flow,
        "domain": domain,
        "found": find_lipschitz(flow.inverse, domain, seed=0, evaluations=5_000),
    }
    with pytest.raises(InvalidInput):
        certify_lipschitz(**(arguments | change))


def test_conditioners_of_several_inputs_are_refused():
    wide = Conditioner([np.zeros((2, 2))], [np.zeros(2)], "tanh")
    with pytest.raises(InvalidInput, match="inputs"):
        tabulate(wide, arctan_scale(1.0), 64)


SIZES = st.sampled_from([1e-6, 0.05, 0.5])


@given(st.integers(0, 2**32 - 1), st.sampled_from(ACTIVATIONS), st.integers(2, 5), SIZES)
@settings(max_examples=max(12, settings().max_examples // 4))
def test_the_product_is_above_every_sampled_norm(seed, activation, dim, size):
    rng = np.random.default_rng(seed)
    flow = coupling_flow(CouplingFlow(dim=dim, blocks=2, hidden=6, activation=activation), seed=int(rng.integers(1000))).double()
    flow.requires_grad_(False)
    matrix = rng.standard_normal((dim, dim)) + 2 * np.eye(dim)
    layers = (*flow.structure(), Affine(matrix, rng.standard_normal(dim)))
    middle = rng.uniform(-2, 2, dim)
    bound = bound_by_product(layers, middle - size, middle + size)
    points = middle + size * np.clip(rng.uniform(-1.3, 1.3, (200, dim)), -1, 1)
    norms = jacobian_norms(inverse_map(layers), torch.as_tensor(points)).numpy()
    assert (norms <= bound * (1 + 1e-9)).all()
    assert bound < math.inf  # an infinite one is above everything
    if size == 1e-6:  # only the factors of single layers are lost
        assert bound < 50 * norms.max()


def test_the_product_of_one_layer_is_sharp():
    # s = 0 and t linear on the whole: (13) is attained
    shear = Conditioner([np.array([[0.0], [3.0]])], [np.zeros(2)], "relu")
    truth = np.linalg.svd(np.array([[1.0, 0.0], [-3.0, 1.0]]))[1][0]
    assert bound_by_product([Coupling(1, None, shear, 1.0)], -np.ones(2), np.ones(2)) == pytest.approx(truth, rel=1e-12)
    turn = Affine(np.array([[0.0, -0.5], [0.25, 0.0]]), np.ones(2))
    assert bound_by_product([turn], -np.ones(2), np.ones(2)) == pytest.approx(4.0, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_spectral_norm_is_enclosed_where_power_iteration_is_below(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((20, 30))
    with working_precision(64):
        above = ends(spectral_norm(arb_mat(matrix.tolist())))[1]
    truth = np.linalg.norm(matrix, 2)
    assert truth <= above * (1 + 1e-15)
    assert above < truth * (1 + 1e-12)
    v = rng.standard_normal(30)
    for _ in range(5):
        v = matrix.T @ (matrix @ v)
        v /= np.linalg.norm(v)
    assert np.linalg.norm(matrix @ v) < truth * (1 - 1e-6)  # what spectral_norm of torch divides by


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=max(20, settings().max_examples // 2))
def test_tables_with_errors_bound_every_map_within_them(seed):
    # linear s and t whose tables say that values may be off: every choice of offsets within these errors is such a map
    rng = np.random.default_rng(seed)
    steps, cells = 4, 64
    edges = np.sinh(np.linspace(-math.asinh(REACH), math.asinh(REACH), cells + 1))
    middle = 0.5 * (edges[1:] + edges[:-1])
    errors = 10.0 ** rng.uniform(-3, -1, (steps, 2))
    slopes, values = rng.uniform(-1, 1, (steps, 2)), rng.uniform(-0.5, 0.5, (steps, 2))
    zero, one = np.zeros(cells), np.ones(cells)
    tables = []
    for k in range(steps):
        parts = [(values[k, i] + slopes[k, i] * middle, errors[k, i] * one, slopes[k, i] * one, zero) for i in range(2)]
        pair = (slopes[k, 0] * one, zero, slopes[k, 1] * one, zero)
        tables.append(np.stack([middle, *parts[0], *parts[1], *pair, *pair]))
    program = np.array([(k, k % 2) for k in range(steps)], dtype=np.int64)
    x = rng.uniform(-1, 1, 2)
    bound = bounds_of_boxes(x[None], np.zeros((1, 2)), program, np.stack(tables), NO_BALL)[0]
    largest = 0.0
    for signs in itertools.product((-1.0, 1.0), repeat=2 * steps):
        offsets = errors * np.reshape(signs, (steps, 2))
        point, jacobian = x.copy(), np.eye(2)
        for k in range(steps):
            which, seen = k % 2, 1 - k % 2
            s, t = values[k] + slopes[k] * point[seen] + offsets[k]
            factor = math.exp(-s)
            row = factor * (jacobian[which] - (slopes[k, 1] + (point[which] - t) * slopes[k, 0]) * jacobian[seen])
            point[which], jacobian[which] = factor * (point[which] - t), row
        largest = max(largest, float(np.linalg.norm(jacobian, 2)))
    assert largest <= bound
    # the bound is of the size of what the errors can do, not of something else
    assert bound <= 50 * largest


def test_an_error_of_the_middle_reaches_other_cells():
    # t of the first step may be off by 2; t of the second is flat within 1 of 0 and of slope 10 beyond, which no radius reaches
    cells = 64
    edges = np.sinh(np.linspace(-math.asinh(REACH), math.asinh(REACH), cells + 1))
    middle, zero, one = 0.5 * (edges[1:] + edges[:-1]), np.zeros(cells), np.ones(cells)
    steep = np.where(np.abs(middle) < 1.0, 0.0, 10.0)
    nothing = [zero, zero, zero, zero]
    first = [middle, *nothing, zero, 2.0 * one, zero, zero, *nothing, *nothing]
    second = [middle, *nothing, steep * (np.abs(middle) - 1.0), zero, steep, zero, *([zero, zero, steep, zero] * 2)]
    tables, program = np.stack([np.stack(first), np.stack(second)]), np.array([(0, 0), (1, 1)], dtype=np.int64)
    assert bounds_of_boxes(np.zeros((1, 2)), np.zeros((1, 2)), program, tables, NO_BALL)[0] >= 10.0


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e8])
def test_halves_cover_their_box_at_any_offset(offset):
    rng = np.random.default_rng(0)
    bounder = Planar.__new__(Planar)
    nodes = PlanarBoxes(rng.normal(size=(500, 2)) + offset, 10.0 ** rng.uniform(-9, 0, (500, 2)))
    halves, parents = bounder.split(nodes, np.ones(500), 1.0)
    for i in range(500):
        own = np.flatnonzero(parents == i)
        for axis in range(2):
            ends_ = sorted(
                (Fraction(m) - Fraction(r), Fraction(m) + Fraction(r))
                for m, r in zip(halves.middles[own, axis].tolist(), halves.radii[own, axis].tolist(), strict=True)
            )
            low, high = (Fraction(nodes.middles[i, axis]) + sign * Fraction(nodes.radii[i, axis]) for sign in (-1, 1))
            assert ends_[0][0] <= low
            assert ends_[-1][1] >= high
            assert ends_[0][1] >= ends_[-1][0]  # no gap between both


def test_bounds_below_the_witness_are_an_error():
    flow = strong_flow("tanh", 0, blocks=1)
    witness = Witness(Problem.of(flow, Ball([0.0, 0.0], 1.0), None), None, 0, 10_000)
    with pytest.raises(InconsistentBounds):
        Certificate.of(witness, Bound(witness.lower * (1 - 1e-12), 1, Assumed("", True)), "x")
    fine = Certificate.of(witness, Bound(witness.lower, 1, Assumed("pow is good", True)), "x")
    assert (fine.lower, fine.upper, fine.assumptions) == (witness.lower, witness.lower, ("pow is good",))
    unproven = Certificate.of(witness, Bound(witness.lower, 1, Assumed("a cover", False)), "x")
    assert unproven.guarantee is Guarantee.ESTIMATE
