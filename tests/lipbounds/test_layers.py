"""Networks as layers: ball arithmetic against torch, and witnesses certified."""

import dataclasses

import numpy as np
import pytest
import torch
from flint import arb

from inn import CouplingFlow, Invertible, coupling_flow
from lipbounds.arb import working_precision
from lipbounds.certify import certify_found, evaluate_inverse
from lipbounds.domains import Ball, latent_ball
from lipbounds.enclosure import Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine, Conditioner, Coupling, PartialCoupling, Permutation, activation_names, inverse_map
from lipbounds.search import find_lipschitz, quotient


def strong_flow(dim, activation, seed=0):
    """A coupling network with weights large enough to stretch, in double precision."""
    flow = coupling_flow(CouplingFlow(dim=dim, blocks=3, hidden=8, activation=activation), seed=seed).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(2.0)
    return flow.requires_grad_(False)


@pytest.mark.parametrize("activation", [name for name in activation_names() if name != "linear"])
@pytest.mark.parametrize("dim", [2, 3, 5])
def test_balls_contain_what_torch_computes(dim, activation):
    flow = strong_flow(dim, activation)
    points = np.random.default_rng(0).standard_normal((5, dim))
    images = flow.inverse(torch.as_tensor(points)).numpy()
    for point, image in zip(points, images, strict=True):
        enclosures = evaluate_inverse(flow.structure(), point)
        scale = np.abs(images).max()
        for value, enclosure in zip(image, enclosures, strict=True):
            assert enclosure.guarantee is Guarantee.CERTIFIED
            # torch rounds, the balls do not: they are far narrower than torch's error and near its value
            assert enclosure.upper - enclosure.lower <= 1e-14 * scale
            assert abs(value - enclosure.lower) <= 1e-11 * scale


def test_affine_layers_permutations_and_real_nvp():
    matrix = np.array([[2.0, 1.0], [0.0, 4.0]])
    network = Conditioner([np.array([[0.0], [3.0]])], [np.array([0.5, 0.0])], "tanh")  # s = 0.5 before the clamp, t = 3 x_1
    layers = [Affine(matrix, np.array([1.0, -1.0])), Permutation(np.array([1, 0])), Coupling(1, None, network, 2.0)]
    x = np.array([0.3, -0.7])
    z = (matrix @ x + [1.0, -1.0])[::-1]
    scale = np.exp(2 * 2.0 / np.pi * np.arctan(0.5 / 2.0))
    z = np.array([z[0], z[1] * scale + 3 * z[0]])
    back = [enclosure.lower for enclosure in evaluate_inverse(layers, z)]
    np.testing.assert_allclose(back, x, rtol=1e-13)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_witness_is_certified(activation):
    flow = strong_flow(2, activation)
    found = find_lipschitz(flow.inverse, latent_ball([0.0, 0.0], mass=0.99), seed=0, evaluations=30_000)
    bound = certify_found(found, flow.structure())
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.lower == pytest.approx(found.lower, rel=1e-7)
    # negative controls: another network, and the map for its inverse
    with pytest.raises(InvalidInput, match="layers"):
        certify_found(found, strong_flow(2, activation, seed=1).structure())
    with pytest.raises(InvalidInput, match="layers"):
        certify_found(found, flow.structure()[::-1])


def test_rounding_that_a_quotient_in_floats_suffers():
    # values of 1e6 on a domain 2e-9 wide: in floats the quotient is known to a third only, in balls it is exact
    layers = [Affine(np.array([[1.0 / 3.0]]), np.array([-1e6 / 3.0]))]
    found = find_lipschitz(lambda z: 3.0 * z + 1e6, Ball([1.0], 1e-9), seed=0, evaluations=5_000)
    assert 1.0 < found.lower < 3.0
    assert quotient(lambda z: 3.0 * z + 1e6, found.pair) == pytest.approx(3.0, rel=0.2)
    # 1/3 is rounded, and so is the map with these layers
    assert certify_found(found, layers).lower == pytest.approx(3.0, rel=1e-15)


def test_maps_without_structure():
    class Unknown(Invertible):
        def forward_and_log_det(self, x):
            return x, x.sum(-1)

        def inverse_and_log_det(self, z):
            return z, z.sum(-1)

    with pytest.raises(InvalidInput, match="structure"):
        Unknown().structure()
    with pytest.raises(InvalidInput, match="activation"):
        Conditioner([], [], "sine")


def test_a_witness_whose_images_agree_in_a_coordinate_is_certified():
    # balls about 0 have squares, but flint gives them no power: the certified end was minus infinity
    conditioner = Conditioner([np.array([[1.0], [1.0]]), np.eye(2)], [np.zeros(2), np.array([0.3, 0.1])], "tanh")
    layers = [PartialCoupling(3, np.array([place]), np.array([2]), conditioner, 1.0) for place in (0, 1)]
    f = inverse_map(layers)
    pair = (np.array([0.25, 0.5, 0.5]), np.array([0.75, 0.5, 0.5]))
    found = find_lipschitz(f, Ball([0.5, 0.5, 0.5], 0.5), seed=0, evaluations=5_000)
    found = dataclasses.replace(found, lower=quotient(f, pair), pair=pair)
    assert certify_found(found, layers).lower == pytest.approx(found.lower, rel=1e-12)


def test_a_two_sided_coupling_is_its_halves():
    rng = np.random.default_rng(5)
    one, two = (
        Conditioner(
            [rng.standard_normal((5, k)), rng.standard_normal((2 * m, 5))], [rng.standard_normal(5), np.zeros(2 * m)], "tanh"
        )
        for k, m in ((1, 2), (2, 1))
    )
    layer = Coupling(2, one, two, 1.5)
    halves = layer.simple()
    assert len(halves) == 2
    z = torch.as_tensor(rng.standard_normal((20, 3)))
    torch.testing.assert_close(layer.inverse()(z), inverse_map(halves)(z), rtol=0.0, atol=0.0)
    assert float((layer.inverse()(z) - inverse_map(halves[::-1])(z)).abs().max()) > 1e-3  # their order matters
    torch.testing.assert_close(layer.forward()(layer.inverse()(z)), z, rtol=1e-12, atol=1e-12)
    with working_precision(64):
        point = [arb(float(v)) for v in z[0]]
        exact = layer.point_inverse()(point)
        box = [arb(float(v)).union(arb(float(v) + 0.1)) for v in z[0]]
        hull, _, derivative = layer.box_inverse()(box, point)
        image, constant = layer.constant_of_inverse(box)
        for one_image, whole, crude in zip(exact, hull, image, strict=True):
            assert whole.contains(one_image)
            assert crude.contains(one_image)
    np.testing.assert_allclose([float(v.mid()) for v in exact], layer.inverse()(z[:1])[0].numpy(), rtol=1e-12)
    slopes = torch.autograd.functional.jacobian(lambda row: layer.inverse()(row[None])[0], z[0])
    assert all(derivative[i, j].contains(arb(float(slopes[i, j]), 1e-12)) for i in range(3) for j in range(3))
    assert float(torch.linalg.matrix_norm(slopes, ord=2)) <= float(constant.upper())
