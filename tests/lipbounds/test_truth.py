"""Labels against exact arithmetic: inputs that once broke them, and random ones of every kind."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

from inn import CouplingFlow, coupling_flow, load_flow, save_flow
from inn.checkpoint import ARCHITECTURE
from lipbounds.arb import working_precision
from lipbounds.certify import certify_lipschitz
from lipbounds.distances import (
    Gaussian,
    gaussian_kl,
    gaussian_wasserstein_2,
    max_sliced_wasserstein,
    optimal_transport,
    total_variation,
    wasserstein,
    wasserstein_large,
)
from lipbounds.domains import Ball, Box, Capsule
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine, Conditioner, Residual, lipschitz_of_mlp
from lipbounds.measures import MASS_DOUBT, Discrete, GaussianMixture, gaussian
from lipbounds.rounding import EPS, EXTENDED
from lipbounds.search import find_lipschitz
from lipbounds.theorems import Masses, Outcome, forced_in_latent_space, two_modes
from lipbounds.theorems.equation_13 import ClampedCoupling, Inequality13, LayersOnBox, Mlp
from lipbounds.theorems.inequality_7 import Inequality7, TwoSets
from lipbounds.theorems.remark_3 import Remark3, TransportedLaws
from lipbounds.theorems.theorem_2 import AffinePosterior, Theorem2
from tests.oracles import exact

RANDOM = max(20, settings().max_examples // 2)


def given_as(value):
    return Enclosure(value, value, Guarantee.EXACT, "given")


def contains(enclosure, value, width=math.inf):
    return enclosure.lower <= value <= enclosure.upper and enclosure.upper - enclosure.lower <= width


# theorems


def test_repaired_theorem_2_at_equality_is_not_refuted():
    x = np.array([[1.0, 2.0]])
    matrix = np.array([[3.0, 1.0], [1.0, 3.0]])
    image = x @ matrix.T
    instance = AffinePosterior(np.ones(1), x, image[:, :1], image[:, 1:], matrix, np.zeros(2), np.array([True]))
    assert (instance.epsilon, instance.delta) == (0, 0)
    assert Theorem2().check(instance).outcome is not Outcome.REFUTED


@settings(max_examples=RANDOM)
@given(st.integers(0, 2**32 - 1))
def test_repaired_theorem_2_at_equality_for_random_maps(seed):
    rng = np.random.default_rng(seed)
    d, n = 2 + seed % 2, 1 + int(rng.integers(5))
    matrix = rng.integers(-4, 5, (d, d)) + 0.0
    if abs(np.linalg.det(matrix)) < 0.5:
        matrix += 20 * np.eye(d)
    x = rng.integers(-9, 10, (n, d)) + 0.0
    image = x @ matrix.T
    weights = rng.random(n)
    instance = AffinePosterior(weights / weights.sum(), x, image[:, :1], image[:, 1:], matrix, np.zeros(d), np.ones(n, bool))
    assert Theorem2().check(instance).outcome is not Outcome.REFUTED


def test_a_thin_gap_forces_no_more_than_it_does():
    w = 1.1474330762867131e-09
    masses = Masses.equal(gap=two_modes(0.5).slab_mass([1.0], -w, w))
    assert forced_in_latent_space(2 * w, masses, given_as(0.0)).lower <= 3.69452805


@settings(max_examples=RANDOM)
@given(st.integers(0, 2**32 - 1))
def test_masses_of_slabs_against_balls_of_many_bits(seed):
    rng = np.random.default_rng(seed)
    means, deviations = rng.normal(size=2) * 3, np.exp(rng.normal(size=2) * 3)
    law = GaussianMixture(means[:, None], (deviations**2)[:, None, None], [0.25, 0.75])
    low = float(rng.normal() * 10 ** rng.uniform(-2, 2))
    high = low + 10 ** rng.uniform(-12, 1)
    with working_precision(6000):
        truth = arb(0)
        for share, mean, variance in zip((0.25, 0.75), law.means[:, 0].tolist(), law.covariances[:, 0, 0].tolist(), strict=True):
            a, b = ((arb(t) - arb(mean)) / arb(variance).sqrt() / arb(2).sqrt() for t in (low, high))
            truth += arb(share) * (b.erf() - a.erf()) / 2
    mass = law.slab_mass([1.0], low, high)
    assert exact.holds(mass, truth)
    assert mass.upper - mass.lower <= 1e-14 * mass.upper + 1e-320


@pytest.mark.parametrize("deviation", [1.0, 1e15, 1e60])
def test_the_thinnest_slabs(deviation):
    low, high = 1.0, math.nextafter(1.0, 2.0)
    mass = GaussianMixture([[0.0]], [[[deviation**2]]]).slab_mass([1.0], low, high)
    truth = math.exp(-0.5 / deviation**2) / math.sqrt(2 * math.pi) / deviation * (high - low)
    assert mass.lower <= truth * (1 + 1e-12)
    assert mass.upper >= truth * (1 - 1e-12)
    assert mass.upper - mass.lower <= 1e-15 * mass.upper


def test_remark_3_with_an_isometry_is_not_refuted():
    points, weights = np.arange(3.0)[:, None], np.array([0.10685641982749836, 0.620212239947851, 0.27293134022465054])
    order = [2, 0, 1]
    laws = TransportedLaws(Discrete(points, weights), Discrete(points[order], weights), -points, -points[order])
    assert Remark3().check(laws).outcome is not Outcome.REFUTED


@settings(max_examples=RANDOM)
@given(st.integers(0, 2**32 - 1))
def test_remark_3_with_random_isometries_is_not_refuted(seed):
    rng = np.random.default_rng(seed)
    d, n = 1 + seed % 3, int(rng.integers(2, 7))
    turn = np.eye(d)[rng.permutation(d)] * rng.choice([-1.0, 1.0], d)  # exact
    points = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3, 3)
    weights = rng.dirichlet(np.ones(n))
    order = rng.permutation(n)
    laws = TransportedLaws(Discrete(points, weights), Discrete(points[order], weights), points @ turn, points[order] @ turn)
    assert Remark3().check(laws).outcome is not Outcome.REFUTED


@settings(max_examples=RANDOM)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1.0, 2.0, 3.5, 50.0]))
def test_inequality_7_at_equality_with_masses_of_thirds_is_not_refuted(k, more, p):
    mass = k / (k + more)
    mu, nu = Discrete([[0.0], [2.0]], [mass, 1 - mass]), Discrete([[1.0], [2.0]], [mass, 1 - mass])
    # A = {0}, B = {1}: the mass that sits at 2 in both laws belongs to neither
    sets = TwoSets(p, given_as(mass), given_as(1.0), given_as(1.0), wasserstein(mu, nu, p))
    assert Inequality7().check(sets).outcome is not Outcome.REFUTED
    whole = TwoSets(p, given_as(1.0), given_as(1.0), given_as(1.0), wasserstein(mu, Discrete(mu.points + 1.0, mu.weights), p))
    assert Inequality7().check(whole).outcome is not Outcome.REFUTED


def test_inequality_13_far_beyond_the_doubles():
    net = Mlp([np.array([[100.0]])], [np.zeros(1)], "linear")
    layer = ClampedCoupling(net, net, 800.0, 800.0)
    points = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    for inverse in (False, True):
        assert Inequality13().check(LayersOnBox([layer] * 2, 1.0, points, inverse)).outcome is not Outcome.REFUTED


# distances


def test_masses_of_1e_17_under_the_eighth_root():
    value = wasserstein([[0, 0], [1, 0]], [[0, 0], [0, 1]], 8, x_weights=[1, 1e-17], y_weights=[1, 1e-17])
    assert contains(value, 0.0081777)


def test_a_law_has_no_distance_from_itself():
    rng = np.random.default_rng(0)
    x, weights, order = rng.normal(size=(45, 2)), rng.dirichlet(np.ones(45)), rng.permutation(45)
    assert contains(wasserstein(x, x[order], 4, x_weights=weights, y_weights=weights[order]), 0.0, 1e-300)


def test_far_points_that_all_move_by_one():
    x = np.array([[9999.25, 0.21875], [0.0625, 1.421875], [0.125, 0.125], [-1.140625, 0.0]])
    y = (x + [0.0, 1.0])[[2, 0, 3, 1]]
    assert contains(wasserstein(x, y, 4), 1.0, 1e-12)
    assert contains(optimal_transport(x, y, lambda a, b: ((a[:, None] - b) ** 2).sum(2) ** 2), 1.0)


def test_powers_that_underflow():
    assert contains(wasserstein([[0.0], [1000.0]], [[1.0], [1001.0]], 108), 1.0, 1e-14)
    value = wasserstein([[1.0], [2.0], [3.0], [54.0]], [[1.0], [2.0], [3.0], [4.0]], 2e4)
    assert exact.holds(value, exact.line([1, 2, 3, 54], [1, 2, 3, 4], [Fraction(1, 4)] * 4, [Fraction(1, 4)] * 4, 2e4))
    assert value.upper - value.lower < 1e-11
    # the same in the plane
    assert contains(wasserstein([[0.0, 0.0], [1000.0, 0.0]], [[1.0, 0.0], [1001.0, 0.0]], 108), 1.0, 1e-6)


@pytest.mark.parametrize("shift", [1e-6, 1e-3, 1.0])
def test_offsets_of_1e8(shift):
    x = np.random.default_rng(0).normal(size=(1000, 3)) + 1e8
    y = x + [shift, 0.0, 0.0]
    truth = max_gap = float(np.abs(y - x)[:, 0].mean())  # what the doubles moved by, in the mean
    assert max_gap > 0
    value = wasserstein_large(x, y, seed=0, sweeps=1)
    assert value.lower <= truth * (1 + 1e-12) <= value.upper * (1 + 2e-12)
    assert max_sliced_wasserstein(x, y, seed=0).lower <= truth * (1 + 1e-12)
    if shift == 1.0:  # and sharp: of the offset nothing is left
        assert value.lower >= 1.0 - 1e-11


def weights_of(kind, n, rng):
    if kind == "equal":
        return None
    if kind == "random":
        weights = rng.random(n) + 1e-3
    elif kind == "wide":
        weights = 10.0 ** rng.uniform(-300, 0, n)
    else:
        weights = rng.integers(1, 5, n) + 0.0
    return weights / weights.sum()


@settings(max_examples=4 * RANDOM)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["equal", "random", "wide", "counts"]),
    st.sampled_from([1, 1.5, 2, 4, 50, 1e3, 1e5]),
)
def test_lines_against_fractions(seed, kind, p):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    spread, offset = 10.0 ** rng.uniform(-3, 3), rng.choice([0.0, 1e3, 1e9])
    x, y = rng.normal(size=n) * spread + offset, rng.normal(size=m) * spread + offset
    if seed % 3 == 0:  # a far group
        x[: n // 2] += 1e5 * spread
    a, b = weights_of(kind, n, rng), weights_of(kind, m, rng)
    value = wasserstein(x[:, None], y[:, None], p, x_weights=a, y_weights=b)
    masses = [exact.quotients(np.ones(k) if w is None else w) for w, k in ((a, n), (b, m))]
    assert exact.holds(value, exact.line(x, y, *masses, p))
    largest = max(x.max(), y.max()) - min(x.min(), y.min())
    if kind == "equal" or p == 1:
        assert value.upper - value.lower <= 1e-12 * largest


@settings(max_examples=RANDOM)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 4.0, 8.0, 108.0, 1e4, 1e6]))
def test_planes_against_permutations(seed, p):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 6)), int(rng.integers(2, 4))
    spread, offset = 10.0 ** rng.uniform(-3, 3), rng.choice([0.0, 1e3, 1e9])
    x, y = (rng.normal(size=(n, d)) * spread + offset for _ in range(2))
    if seed % 3 == 0:
        x[0] += 1e4 * spread
        y[0] += 1e4 * spread
    truth = exact.permutations(x, y, p)
    value = wasserstein(x, y, p)
    assert exact.holds(value, truth)
    if p <= 2:
        largest = float(np.linalg.norm(np.ptp(np.concatenate((x, y)), axis=0)))
        assert value.upper - value.lower <= 1e-12 * largest or value.upper <= 1e-6 * largest
    assert exact.holds(Enclosure(wasserstein_large(x, y, min(p, 1e4), seed=0).lower, math.inf, Guarantee.EXACT, "x"), truth)
    assert exact.holds(Enclosure(max_sliced_wasserstein(x, y, min(p, 1e4), seed=0).lower, math.inf, Guarantee.EXACT, "x"), truth)


@settings(max_examples=RANDOM)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 8.0, 300.0]))
def test_planes_with_masses_against_permutations_of_copies(seed, p):
    rng = np.random.default_rng(seed)
    copies = [sorted(rng.integers(0, 3, 5)) for _ in range(2)]
    x, y = (rng.normal(size=(3, 2)) * 10.0 ** rng.uniform(-2, 2) for _ in range(2))
    a, b = (np.bincount(chosen, minlength=3) / 5 for chosen in copies)  # fifths, which are no doubles
    truth = exact.permutations(x[copies[0]], y[copies[1]], p)
    assert exact.holds(wasserstein(x, y, p, x_weights=a, y_weights=b), truth)


@settings(max_examples=RANDOM)
@given(st.integers(0, 2**32 - 1))
def test_total_variation_of_atoms_against_fractions(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 40, 100]))
    x, y = rng.integers(0, 6, (n, 2)) + 0.0, rng.integers(0, 6, (n + 1, 2)) + 0.0
    a, b = rng.dirichlet(np.ones(n) * 0.3), rng.dirichlet(np.ones(n + 1) * 0.3)
    table = {}
    for points, weights, sign in ((x, a, 1), (y, b, -1)):
        for point, mass in zip(points.tolist(), exact.quotients(weights), strict=True):
            table[tuple(point)] = table.get(tuple(point), Fraction(0)) + sign * mass
    truth = sum(map(abs, table.values())) / 2
    value = total_variation(x, y, x_weights=a, y_weights=b)
    assert Fraction(value.lower) <= truth <= Fraction(value.upper)
    # the doubt about both laws, the rounding of the result and of sums
    assert value.upper - value.lower <= 2 * (2 * MASS_DOUBT + 2 * EPS + (6 * n + 12) * EXTENDED)


def test_a_common_atom_of_tiny_mass_is_one():
    x, y = np.arange(40.0)[:, None], np.arange(40.0)[:, None] + 39.0
    a = np.append(np.full(39, 1.0), 1e-300)
    value = total_variation(Discrete.of_shares(x, a), Discrete.of_shares(y, np.ones(40)))
    assert value.lower < 1.0 <= value.upper


def test_singular_gaussians_have_a_distance():
    flat, upright = gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]]), gaussian([0.0, 3.0], [[0.0, 0.0], [0.0, 4.0]])
    assert contains(gaussian_wasserstein_2(flat, upright), math.sqrt(9 + 1 + 4), 1e-14)
    turned = gaussian([0.0, 0.0], [[0.5, 0.5], [0.5, 0.5]])
    assert contains(gaussian_wasserstein_2(turned, gaussian([0.0, 0.0], np.zeros((2, 2)))), 1.0, 1e-6)
    for refused in (
        lambda: total_variation(flat, upright),
        lambda: gaussian_kl(flat, upright),
        lambda: flat.log_density([[0.0, 0.0]]),
    ):
        with pytest.raises(InvalidInput, match="density"):
            refused()
    point = gaussian([0.0], [[0.0]])
    assert contains(wasserstein(point, gaussian([0.0], [[4.0]]), 2), 2.0, 1e-15)
    with pytest.raises(InvalidInput, match="density"):
        wasserstein(point, [[0.0], [1.0]])
    near = gaussian([0.0, 0.0], [[1.0, 1.0 - 1e-15], [1.0 - 1e-15, 1.0]])
    assert gaussian_wasserstein_2(near, gaussian([0.0, 0.0], np.eye(2))).upper < 2.0


def test_weights_normalised_in_a_shorter_type():
    for n in (3, 1000):
        weights = torch.softmax(torch.randn(n, generator=torch.Generator().manual_seed(0)), 0)
        points = np.arange(n)[:, None]
        assert Discrete(points, weights.numpy()).weights.sum() == pytest.approx(1.0, abs=1e-15)
        assert wasserstein(points, points + 1.0, x_weights=weights, y_weights=weights).lower == pytest.approx(1.0)
    raw = np.random.default_rng(0).random(100_000)
    assert len(Discrete(np.zeros((100_000, 1)), raw / raw.sum()).weights) == 100_000
    with pytest.raises(InvalidInput, match="divide them by their sum"):
        Discrete([[0.0], [1.0]], [0.5, 0.5001])
    with pytest.raises(InvalidInput, match="mask"):
        wasserstein(np.ma.masked_array([[0.0], [1.0]], [[True], [False]]), [[0.0]])


# networks


def test_constants_of_extreme_matrices():
    value = lipschitz_of_mlp([np.array([[1e-200]]), np.array([[1e-200]]), np.array([[1e300]])], "relu")
    assert contains(value, 1e-100)
    assert value.upper <= 1.0000001e-100


def test_the_inversion_error_of_a_residual_layer_in_float32_covers_the_error():
    from inn.residual import ResidualLayer

    random = torch.Generator().manual_seed(0)
    layer = ResidualLayer(2, hidden=16, depth=1, activation="relu", constant=0.999, generator=random)
    x = torch.randn(50, 2, generator=random)
    z = layer(x)
    bound = layer.inversion_error(z)
    # the exact preimage of z by the same weights in float64: Newton steps end on the right linear piece of relu
    double = layer.double()
    truth = z.double()
    for _ in range(100):
        jacobian = torch.autograd.functional.jacobian(lambda v: (v + double.residual(v)).sum(0), truth).permute(1, 0, 2)
        truth = truth - torch.linalg.solve(jacobian, truth + double.residual(truth) - z.double())
    assert (truth + double.residual(truth) - z.double()).abs().max() < 1e-13
    approximate = layer.float().inverse(z).double()
    assert ((approximate - truth).norm(dim=1) <= bound + 1e-9).all()  # the truth is good to 1e-13 / (1 - c)
    assert (bound > 0).all()


def test_a_residual_layer_that_does_nothing():
    network = Conditioner([np.zeros((4, 2)), np.zeros((2, 4))], [np.zeros(4), np.zeros(2)], "tanh")
    certificate = certify_lipschitz([Residual(network)], Ball([0.0, 0.0], 1.0), seconds=5.0)
    assert contains(certificate, 1.0, 1e-9)


def test_singular_layers_and_numbers_for_sequences_are_refused():
    with pytest.raises(InvalidInput, match="matrix"):
        Affine(np.array([[1.0, 2.0], [2.0, 4.0]]), np.zeros(2))
    with pytest.raises(InvalidInput, match="scales"):
        Gaussian(0.25)


@pytest.mark.parametrize(
    ("f", "domain", "truth"),
    [
        (lambda z: z + 1e8, Ball([0.0, 0.0], 1e-8), None),
        (lambda z: (z.float() + 1000).double(), Ball([0.0, 0.0], 1.0), 1.0),
        (lambda z: z.half().double(), Ball([0.5, 0.0], 1.0), 1.0),
        (lambda z: z.bfloat16().double(), Ball([0.5, 0.0], 1.0), 1.0),
        (lambda z: 2.0 * (z.half() - 1).double() + 1e-3, Ball([0.5, 0.0], 1.0), 2.0),
        (lambda z: 3.0 * z, Ball([0.0, 0.0], 1e-160), 3.0),
        (lambda z: 3.0 * z, Ball([0.0, 0.0], 1e150), 3.0),
        (lambda z: (z + 1e6) - 1e6, Ball([0.0, 0.0], 1e-6), 1.0),
        (lambda z: torch.exp(z + 20) / math.exp(20), Ball([0.0], 1e-3), math.exp(1e-3)),
    ],
)
def test_found_charges_the_rounding_of_the_map(f, domain, truth):
    if truth is None:
        with pytest.raises(InvalidInput, match="rounding"):
            find_lipschitz(f, domain, seed=0, evaluations=60_000)
    else:
        found = find_lipschitz(f, domain, seed=0, evaluations=60_000)
        assert 0.9 * truth <= found.lower <= truth
        assert any("measured" in text for text in found.assumptions)


def test_parameters_that_require_gradients():
    linear = torch.nn.Linear(2, 2).double()
    found = find_lipschitz(linear, Ball([0.0, 0.0], 1.0), seed=0, evaluations=60_000)
    norm = float(torch.linalg.matrix_norm(linear.weight.detach(), ord=2))
    assert (1 - 1e-9) * norm <= found.lower <= norm * (1 + 1e-12)

    class GroupSort(torch.nn.Module):
        def forward(self, x):
            return x.reshape(len(x), -1, 2).sort(-1).values.flatten(1)

    torch.manual_seed(0)
    sorting = torch.nn.Sequential(torch.nn.Linear(2, 8), GroupSort(), torch.nn.Linear(8, 2)).double()
    assert find_lipschitz(sorting, Ball([0.0, 0.0], 1.0), seed=0, evaluations=60_000).lower > 0.0


def test_maps_that_compute_in_float32_are_searched():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    single = find_lipschitz(lambda z: net(z.float()).double(), Ball([0.0, 0.0], 2.0), seed=0, evaluations=60_000).lower
    double = find_lipschitz(net.double(), Ball([0.0, 0.0], 2.0), seed=0, evaluations=60_000).lower
    assert single == pytest.approx(double, rel=0.02)
    assert single <= double * (1 + 1e-6)


@settings(max_examples=RANDOM // 3)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["ball", "capsule", "box"]))
def test_witnesses_lie_in_their_domain(seed, kind):
    rng = np.random.default_rng(seed)
    c, e, r = rng.normal(size=2), rng.normal(size=2), float(10.0 ** rng.uniform(-3, 3))
    domain = {"ball": lambda: Ball(c, r), "capsule": lambda: Capsule(c, e, r), "box": lambda: Box(c, c + r)}[kind]()
    matrix = torch.as_tensor(rng.normal(size=(2, 2)))
    found = find_lipschitz(lambda z: (z @ matrix.T) ** 3, domain, seed=0, evaluations=5_000)
    for point in found.pair:
        t = [Fraction(value) for value in point.tolist()]
        if kind == "ball":
            centre = [Fraction(value) for value in c.tolist()]
            assert sum((a - b) ** 2 for a, b in zip(t, centre, strict=True)) <= Fraction(r) ** 2
        if kind == "box":
            assert all(Fraction(low) <= v <= Fraction(low + r) for v, low in zip(t, c.tolist(), strict=True))
        assert domain.contains(point)
    assert not domain.contains(c - 3 * r * np.ones(2) - 10 * np.ones(2))


# checkpoints


def checkpoint(tmp_path, change=lambda fields, state: None):
    """A checkpoint with its description and tensors changed."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    settings_ = CouplingFlow(blocks=2, hidden=8)
    path = tmp_path / "flow.safetensors"
    save_flow(path, coupling_flow(settings_, seed=0), settings_)
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    fields = json.loads(metadata[ARCHITECTURE])
    change(fields, state)
    metadata[ARCHITECTURE] = json.dumps(fields)
    save_file(state, path, metadata=metadata)
    return path


def set_field(name, value):
    return lambda fields, state: fields.update({name: value})


def no_permutation(fields, state):
    name = next(name for name in state if name.endswith(".order"))
    state[name] = torch.zeros_like(state[name])


def exchanged_permutation(fields, state):
    name = next(name for name in state if name.endswith("inverse_order"))
    state[name] = state[name].flip(0)


def huge_weights(fields, state):
    name = next(name for name in state if name.endswith("weight"))
    state[name] = torch.full(state[name].shape, 1e300, dtype=torch.float64)


@pytest.mark.parametrize("field", [("dim", 10**30), ("hidden", 20_000), ("blocks", 10**6)])
def test_sizes_that_the_tensors_cannot_have_are_refused_before_anything_is_built(tmp_path, field, monkeypatch):
    path = checkpoint(tmp_path, set_field(*field))
    built = []
    monkeypatch.setattr("inn.checkpoint.build", lambda *arguments, **options: built.append(arguments))
    with pytest.raises(InvalidInput, match="checkpoint written by"):
        load_flow(path)
    assert not built


@pytest.mark.parametrize("change", [no_permutation, exchanged_permutation, huge_weights], ids=lambda change: change.__name__)
def test_checkpoints_that_lie_are_refused(tmp_path, change):
    load_flow(checkpoint(tmp_path))
    with pytest.raises(InvalidInput, match="checkpoint written by"):
        load_flow(checkpoint(tmp_path, change))


def test_a_network_in_float64_comes_back_in_float64(tmp_path):
    settings_ = CouplingFlow(blocks=2, hidden=8)
    flow = coupling_flow(settings_, seed=0).double()
    save_flow(tmp_path / "flow.safetensors", flow, settings_)
    again, _ = load_flow(tmp_path / "flow.safetensors")
    x = torch.randn(5, 2, dtype=torch.float64)
    assert torch.equal(again(x), flow(x))


def test_projections_far_from_0_lose_little():
    x = np.random.default_rng(0).normal(size=(200, 3)) + 1e8
    value = max_sliced_wasserstein(x, x + [1.0, 0.0, 0.0], seed=0).lower
    assert 1.0 - 1e-12 < value <= 1.0
