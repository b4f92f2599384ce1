"""Certified slices: every slope of a box is below its bound, narrow boxes are sharp, forgotten terms are seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inn import CouplingFlow, coupling_flow
from lipbounds.certify import certify_lipschitz, certify_pair
from lipbounds.certify.latent import bounder as slices
from lipbounds.certify.latent.bounder import norms_of
from lipbounds.domains import Ball, Box, ConditionalSlice, ConvexHull
from lipbounds.enclosures import taylor_model
from lipbounds.enclosures.taylor_model import Slice
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine, Conditioner, PartialCoupling, Permutation, Residual, inverse_map
from lipbounds.search import find_lipschitz
from lipbounds.search.find import jacobian_norms

ACTIVATIONS = ("tanh", "relu", "silu", "softplus", "arctan")


def random_layers(rng, dim, activation, scale=1.0):
    def network(inputs, outputs):
        matrices = [scale * rng.standard_normal((6, inputs)), scale * rng.standard_normal((outputs, 6))]
        return Conditioner(matrices, [rng.standard_normal(6), rng.standard_normal(outputs)], activation)

    def coupling():
        seen, changed = np.split(rng.permutation(dim), [max(1, dim // 2)])
        return PartialCoupling(dim, changed, seen, network(len(seen), 2 * len(changed)), rng.uniform(0.5, 2.0))

    linear = Affine(np.eye(dim) + 0.3 * rng.standard_normal((dim, dim)) / dim, rng.standard_normal(dim))
    return [coupling(), Permutation(rng.permutation(dim)), linear, coupling()]


def slice_of(layers, y, outputs):
    whole = inverse_map(layers)
    return lambda z: whole(torch.cat((torch.as_tensor(y).expand(len(z), -1), z), dim=1))[:, torch.as_tensor(outputs)]


def drawn(seed, dim, held, activation):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, dim, activation)
    outputs = rng.permutation(dim)[: rng.integers(1, dim + 1)]
    return rng, layers, rng.standard_normal(held), outputs


sizes = st.integers(2, 5).flatmap(lambda dim: st.tuples(st.just(dim), st.integers(max(0, dim - 3), dim - 1)))


@given(st.integers(0, 2**32 - 1), sizes, st.sampled_from(ACTIVATIONS), st.floats(-9.0, 0.0))
def test_boxes_contain_values_and_slopes(seed, sizes, activation, size):
    dim, held = sizes
    rng, layers, y, outputs = drawn(seed, dim, held, activation)
    k, f = dim - held, slice_of(layers, y, outputs)
    middle, sides = rng.uniform(-2.0, 2.0, (1, k)), np.exp(size) * rng.uniform(0.1, 1.0, (1, k))
    x = Slice(layers, y, outputs)(middle, sides)
    delta = sides * np.concatenate((rng.uniform(-1.0, 1.0, (30, k)), rng.choice([-1.0, 1.0], (10, k))))
    points = torch.as_tensor(middle + delta)
    values = f(points).numpy()
    jacobians = torch.func.vmap(torch.func.jacrev(lambda z: f(z[None])[0]))(points).numpy()
    # torch's own rounding, of values and slopes of this size
    slack = 1e-12 * (1 + np.abs(values).max() + np.abs(jacobians).max())
    straight = x.c[0] + np.einsum("kno,pk->po", x.g, delta)
    assert (np.abs(values - straight) <= x.r[0] + slack).all()
    turned = x.g[:, 0] + np.einsum("kljo,pl->pkjo", x.H, delta)[:, :, 0]
    assert (np.abs(jacobians.transpose(0, 2, 1) - turned) <= x.rho[:, 0] + slack).all()
    assert (np.linalg.norm(jacobians, 2, axis=(1, 2)) <= norms_of(x)[0] + slack).all()


@given(st.integers(0, 2**32 - 1), sizes, st.sampled_from(("tanh", "silu", "softplus", "arctan")))
def test_radii_are_of_second_order(seed, sizes, activation):
    dim, held = sizes
    rng, layers, y, outputs = drawn(seed, dim, held, activation)
    middle = rng.uniform(-1.0, 1.0, (1, dim - held))
    piece = Slice(layers, y, outputs)
    wide, narrow = (piece(middle, np.full_like(middle, side)) for side in (1e-3, 1e-4))
    for name in ("r", "rho"):
        # a tenth of the side: a hundredth of the radius, and a little of higher order; rounding is below 1e-11
        assert (getattr(narrow, name) <= 0.015 * getattr(wide, name) + 1e-11).all()


TERMS = {
    "the curvature of activations": ("_of_activation", lambda d: replace(d, m2=0.0 * d.m2)),
    "their third derivative": ("_of_activation", lambda d: replace(d, m3=0.0 * d.m3)),
    "the curvature of exp": ("_falling_exponential", lambda d: replace(d, m2=0.0 * d.m2)),
}


@pytest.mark.parametrize("term", TERMS)
def test_forgotten_terms_are_seen(monkeypatch, term):
    name, spoil = TERMS[term]
    honest = getattr(taylor_model, name)
    monkeypatch.setattr(taylor_model, name, lambda *arguments: spoil(honest(*arguments)))
    refuted = 0
    for seed in range(60):
        with pytest.MonkeyPatch.context():
            rng = np.random.default_rng(seed)
            seen = Conditioner([np.array([[2.0]]), np.array([[1.0], [1.0]])], [rng.standard_normal(1), np.zeros(2)], "tanh")
            layers, y = [PartialCoupling(2, np.array([1]), np.array([0]), seen, 2.0)], np.zeros(0)
            middle, sides = rng.uniform(-1.0, 1.0, (1, 2)), np.full((1, 2), 0.05)
            x = Slice(layers, y, np.array([1]))(middle, sides)
            delta = 0.05 * rng.uniform(-1.0, 1.0, (400, 2))
            points = torch.as_tensor(middle + delta)
            f = slice_of(layers, y, [1])
            values = f(points).numpy()[:, 0]
            jacobians = torch.func.vmap(torch.func.jacrev(lambda z, f=f: f(z[None])[0, 0]))(points).numpy()
            off = np.abs(values - x.c[0, 0] - delta @ x.g[:, 0, 0]) > x.r[0, 0] + 1e-12
            turned = np.abs(jacobians - x.g[:, 0, 0] - delta @ x.H[:, :, 0, 0]) > x.rho[:, 0, 0] + 1e-12
            refuted += bool(off.any() or turned.any())
    assert refuted >= 3


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_a_conditional_network_is_certified(activation):
    flow = coupling_flow(CouplingFlow(dim=6, blocks=3, hidden=16, activation=activation), seed=1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(1.6)
    y, domain = np.array([0.5, -0.3, 0.2, 0.0]), Ball([1.0, -1.0], 2.0)
    ends = []
    bound = certify_lipschitz(
        flow,
        ConditionalSlice(y, domain),
        outputs=[4, 5],
        ratio=1.03,
        progress=lambda event: ends.append((event.lower, event.upper)),
    )
    assert bound.guarantee.name == "CERTIFIED"
    assert bound.upper <= 1.03 * bound.lower
    assert "4 ulps" in bound.assumptions[0]
    assert all(low <= bound.lower * (1 + 1e-12) and high >= bound.upper * (1 - 1e-12) for low, high in ends)
    f = slice_of(flow.structure(), y, [4, 5])
    points = domain.sample(20_000, np.random.default_rng(0))
    assert float(jacobian_norms(f, points).max()) <= bound.upper
    found = find_lipschitz(f, domain, seed=5, evaluations=60_000).lower
    assert bound.lower <= found * (1 + 1e-6)
    # the whole of y and z is at least as steep
    stopped = certify_lipschitz(flow, ConditionalSlice(y, domain), outputs=[4, 5], seconds=0.0)
    assert stopped.upper >= bound.lower


def test_without_held_coordinates_it_is_the_plane():
    flow = coupling_flow(CouplingFlow(blocks=2, hidden=8, activation="tanh"), seed=0)
    domain = Box([-1.0, -1.0], [1.0, 2.0])
    plane, whole = certify_lipschitz(flow, domain, ratio=1.02), certify_lipschitz(flow, ConditionalSlice([], domain), ratio=1.02)
    assert plane.lower <= whole.upper
    assert whole.lower <= plane.upper


@given(st.integers(0, 2**32 - 1))
def test_linear_slices_are_exact(seed):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4) + 0.2 * rng.standard_normal((4, 4))
    layers = [Affine(matrix, rng.standard_normal(4)), Permutation(rng.permutation(4))]
    bound = certify_lipschitz(layers, ConditionalSlice([0.3, 1.0], Ball([0.0, 0.0], 1.0)), outputs=[0, 2, 3])
    inverse = np.linalg.inv(matrix) @ np.eye(4)[np.argsort(layers[1].order)]
    norm = np.linalg.norm(inverse[[0, 2, 3]][:, 2:], 2)
    assert norm * (1 - 1e-6) <= bound.lower <= norm * (1 + 1e-9)
    assert norm * (1 - 1e-12) <= bound.upper <= norm * (1 + 1e-6)


def test_a_pair_is_enclosed():
    layers = [Affine(np.diag([2.0, 4.0]), np.zeros(2))]
    bound = certify_pair(layers, np.zeros(2), np.array([1.0, 1.0]), outputs=np.array([1]))
    assert bound.lower <= 0.25 / 2**0.5 <= bound.upper
    assert bound.upper - bound.lower < 1e-12


FLOW = coupling_flow(CouplingFlow(dim=4, blocks=1, hidden=4), seed=0)


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("ratio", {"ratio": 1.0}),
        ("seconds", {"seconds": float("nan")}),
        ("domain", {"domain": ConditionalSlice([0.0], Ball([0.0, 0.0], 1.0))}),
        ("outputs", {"outputs": []}),
        ("outputs", {"outputs": [1, 1]}),
        ("outputs", {"outputs": [4]}),
        ("matrix", {"model": [Affine(np.vander([1.0, 1.0 + 1e-6, 1.0 + 2e-6, 1.0 + 3e-6]), np.zeros(4))]}),
    ],
)
def test_bad_input(match, change):
    with pytest.raises(InvalidInput, match=match):
        certify_lipschitz(**({"model": FLOW, "domain": ConditionalSlice([0.0, 0.0], Ball([0.0, 0.0], 1.0))} | change))


def test_what_expansions_do_not_read_gets_the_product():
    # a hull, a residual layer: certified all the same, and no less than any slope of the slice
    residual = [Residual(Conditioner([0.5 * np.eye(4)], [np.zeros(4)], "tanh"))]
    hull = ConvexHull([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for model, latent in ((FLOW, hull), (residual, Ball([0.0, 0.0], 1.0))):
        bound = certify_lipschitz(model, ConditionalSlice([0.1, 0.2], latent))
        assert bound.guarantee.name == "CERTIFIED"
        assert "product" in bound.method
        assert bound.lower <= bound.upper < np.inf


def test_a_label_that_is_not_finite():
    with pytest.raises(InvalidInput, match="label"):
        ConditionalSlice([0.0, float("nan")], Ball([0.0], 1.0))


def extreme(weights, biases, activation):
    network = Conditioner([np.array(part) for part in weights], [np.array(part, dtype=float) for part in biases], activation)
    return [PartialCoupling(2, np.array([0]), np.array([1]), network, 1.0)]


def test_weights_far_from_one():
    """Found by an attack on the radii: true values are of the same formulas in 500 bits."""
    # a saturated tanh has a slope of 1e-16 that doubles round to 0, and 1e30 behind it
    layers = extreme([[[1.0], [0.5]], [[1.0, -2.0]], [[0.0], [1e30]]], [[0, 0], [19.0], [0, 0]], "tanh")
    assert norms_of(Slice(layers, np.array([0.3]), np.array([0]))(np.zeros((1, 1)), np.full((1, 1), 2e-4)))[0] >= 3.77e6
    # squares of 1e-170 underflow in the lengths of rows
    rng, n = np.random.default_rng(1), 40
    small, large = 1e-170 * rng.uniform(0.5, 1.5, n), 1e150 * rng.standard_normal(n)
    large[-1] = -(large[:-1] @ small[:-1]) / small[-1]
    layers = extreme([small[:, None], large[None], [[0.0], [1e40]]], [np.zeros(n), [1.0], [0, 0]], "relu")
    assert norms_of(Slice(layers, np.array([0.3]), np.array([0]))(np.full((1, 1), 0.5), np.full((1, 1), 1e-3)))[0] >= 172026.0
    # second derivatives of 1e-326 times sides of 1e152
    layers = extreme([[[1e-163]], [[0.0], [1e150]]], [[0.6], [0, 0]], "tanh")
    x = Slice(layers, np.array([0.3]), np.array([0]))(np.zeros((1, 1)), np.full((1, 1), 1e152))
    assert x.rho[0, 0, 0] >= 7.6e-25


def test_domains_far_from_one():
    for radius in (1e-162, 1e160):
        middles, radii = radius * np.array([[1.3, 0.0], [0.25, 0.25], [3.0, 0.0]]), np.full((3, 2), 0.5 * radius)
        assert slices._misses(Ball([0.0, 0.0], radius), middles, radii).tolist() == [False, False, True]


def test_a_witness_of_another_domain_is_refused():
    shift = Conditioner([np.array([[1.0]]), np.array([[0.0], [1.0]])], [np.array([-5.0]), np.zeros(2)], "tanh")
    layers, far = [PartialCoupling(2, np.array([0]), np.array([1]), shift, 1.0)], Ball([0.0], 10.0)
    found = find_lipschitz(slice_of(layers, np.array([0.3]), [0]), far, seed=0, evaluations=60_000)
    assert certify_lipschitz(layers, ConditionalSlice([0.3], far), outputs=[0], found=found).lower == pytest.approx(1.0, rel=1e-3)
    with pytest.raises(InvalidInput, match="found"):
        certify_lipschitz(layers, ConditionalSlice([0.3], Ball([0.0], 1.0)), outputs=[0], found=found)


def test_a_pair_that_needs_more_bits():
    layers = extreme([[[1.0]], [[0.0], [1e30]]], [[60.0], [0.0, 0.0]], "tanh")
    bound = certify_pair(layers, np.array([0.3, 0.7]), np.array([0.3, 0.8]), outputs=np.array([0]))
    assert 0.0 < bound.lower <= bound.upper < bound.lower * (1 + 1e-9)
