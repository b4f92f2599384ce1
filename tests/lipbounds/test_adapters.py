"""Flows of the libraries, read into layers: the same maps in both directions, and what cannot be read is named."""

import importlib.util
import itertools
import math

import numpy as np
import pytest
import torch
from torch.func import jacrev, vmap

from experiments.zoo.networks import NETWORKS, installed
from experiments.zoo.training import load
from lipbounds import Ball, certify_lipschitz, find_lipschitz
from lipbounds.certify import evaluate_inverse
from lipbounds.errors import InvalidInput
from lipbounds.maps import Affine, forward_map, inverse_map, structure_of
from lipbounds.maps.model import as_model

POINTS = 1000
CLOSE = 1e-10

# both libraries call functions of torch that it will remove
pytestmark = pytest.mark.filterwarnings("ignore:torch.(triangular_solve|lu) is deprecated")


def subnet(inputs, outputs):
    sizes = (inputs, 16, 16, outputs)
    layers = [part for a, b in itertools.pairwise(sizes) for part in (torch.nn.Linear(a, b), torch.nn.LeakyReLU(0.1))]
    return torch.nn.Sequential(*layers[:-1])


def zuko(make):
    import zuko

    return make(zuko)


def nflows(*makers):
    from nflows import distributions, flows, nn, transforms

    layers = [make(transforms, nn.nets) for make in makers]
    return flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([3]))


def normflows(dim, *makers):
    import normflows as nf

    return nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), [make(nf) for make in makers])


def freia(dim, name, **options):
    from FrEIA import framework, modules

    net = framework.SequenceINN(dim)
    for _ in range(2):
        net.append(getattr(modules, name), **options)
        net.append(modules.PermuteRandom, seed=len(net))
    return net


def coupling(kind, features=3, **options):
    mask = torch.arange(features) % 2
    return lambda t, n: getattr(t, kind)(mask, lambda a, b: n.ResidualNet(a, b, hidden_features=16), **options)


def adapted(nf):
    return nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 16, 16, 2]), scale_map="exp")


CASES = {
    "zuko NICE": (3, lambda: zuko(lambda z: z.flows.NICE(3, hidden_features=(16, 16)))),
    "zuko RealNVP with random masks": (4, lambda: zuko(lambda z: z.flows.RealNVP(4, randmask=True, hidden_features=(16,)))),
    "zuko MAF": (3, lambda: zuko(lambda z: z.flows.MAF(3, hidden_features=(16, 16), activation=torch.nn.ELU))),
    "zuko MAF of couplings": (5, lambda: zuko(lambda z: z.flows.MAF(5, passes=2, hidden_features=(16,)))),
    "zuko MAF, residual and in random order": (
        4,
        lambda: zuko(lambda z: z.flows.MAF(4, randperm=True, residual=True, hidden_features=(16, 16))),
    ),
    "zuko NSF": (3, lambda: zuko(lambda z: z.flows.NSF(3, bins=5, hidden_features=(16, 16)))),
    "zuko NSF of couplings": (4, lambda: zuko(lambda z: z.flows.NSF(4, passes=2, hidden_features=(16,)))),
    "nflows AffineCoupling": (3, lambda: nflows(coupling("AffineCouplingTransform"), lambda t, n: t.LULinear(3))),
    "nflows AdditiveCoupling": (3, lambda: nflows(coupling("AdditiveCouplingTransform"), lambda t, n: t.RandomPermutation(3))),
    "nflows coupled splines": (
        3,
        lambda: nflows(
            coupling(
                "PiecewiseRationalQuadraticCouplingTransform",
                num_bins=6,
                tails="linear",
                tail_bound=3.0,
                apply_unconditional_transform=True,
            ),
            lambda t, n: t.SVDLinear(3, num_householder=2),
        ),
    ),
    "nflows MAF": (
        3,
        lambda: nflows(
            lambda t, n: t.MaskedAffineAutoregressiveTransform(3, hidden_features=16),
            lambda t, n: t.ReversePermutation(3),
            lambda t, n: t.BatchNorm(3),
        ),
    ),
    "nflows MAF without residual blocks": (
        3,
        lambda: nflows(lambda t, n: t.MaskedAffineAutoregressiveTransform(3, hidden_features=16, use_residual_blocks=False)),
    ),
    "nflows autoregressive splines": (
        3,
        lambda: nflows(
            lambda t, n: t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                3, hidden_features=16, tails="linear", tail_bound=4.0, num_bins=4
            ),
            lambda t, n: t.QRLinear(3, num_householder=2),
        ),
    ),
    "normflows couplings": (
        4,
        lambda: normflows(
            4,
            lambda nf: nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 16, 4]), scale_map="exp"),
            lambda nf: nf.flows.Permute(4, mode="shuffle"),
            lambda nf: nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 16, 4]), scale_map="sigmoid", split_mode="checkerboard"),
            lambda nf: nf.flows.InvertibleAffine(4),
            lambda nf: nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 16, 4]), scale_map="sigmoid_inv", split_mode="channel_inv"),
            lambda nf: nf.flows.Permute(4, mode="swap"),
            lambda nf: nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 16, 2]), scale=False),
            lambda nf: nf.flows.AffineConstFlow((4,)),
        ),
    ),
    "normflows masked": (
        3,
        lambda: normflows(
            3,
            lambda nf: nf.flows.MaskedAffineFlow(torch.tensor([1.0, 0.0, 1.0]), nf.nets.MLP([3, 8, 3]), nf.nets.MLP([3, 8, 3])),
            lambda nf: nf.flows.MaskedAffineFlow(torch.tensor([0.0, 1.0, 0.0]), nf.nets.MLP([3, 8, 3])),
        ),
    ),
    "normflows coupled splines": (
        3,
        lambda: normflows(
            3, lambda nf: nf.flows.CoupledRationalQuadraticSpline(3, 2, 16), lambda nf: nf.flows.LULinearPermute(3)
        ),
    ),
    "normflows autoregressive splines": (
        3,
        lambda: normflows(
            3,
            lambda nf: nf.flows.AutoregressiveRationalQuadraticSpline(3, 2, 16, permute_mask=True),
            lambda nf: nf.flows.LULinearPermute(3),
        ),
    ),
    "normflows MAF": (3, lambda: normflows(3, lambda nf: nf.flows.MaskedAffineAutoregressive(3, 16, num_blocks=1))),
    "FrEIA GLOW": (3, lambda: freia(3, "GLOWCouplingBlock", subnet_constructor=subnet, clamp_activation="TANH")),
    "FrEIA RNVP": (4, lambda: freia(4, "RNVPCouplingBlock", subnet_constructor=subnet, clamp_activation="SIGMOID")),
    "FrEIA NICE": (3, lambda: freia(3, "NICECouplingBlock", subnet_constructor=subnet)),
    "FrEIA GIN": (2, lambda: freia(2, "GINCouplingBlock", subnet_constructor=subnet)),
    "FrEIA one-sided": (3, lambda: freia(3, "AffineCouplingOneSided", subnet_constructor=subnet)),
    "FrEIA AllInOne": (3, lambda: freia(3, "AllInOneBlock", subnet_constructor=subnet)),
    "FrEIA AllInOne, reversed": (
        3,
        lambda: freia(3, "AllInOneBlock", subnet_constructor=subnet, reverse_permutation=True, global_affine_type="EXP"),
    ),
    "FrEIA AllInOne, Householder": (
        3,
        lambda: freia(3, "AllInOneBlock", subnet_constructor=subnet, learned_householder_permutation=2, gin_block=True),
    ),
}


def built(name):
    """A flow with random weights, far from its initial ones."""
    library = name.split()[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}, of the extra zoo")
    torch.manual_seed(7)
    dim, make = CASES[name]
    flow = make().double().eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            if parameter.requires_grad and parameter.dtype == torch.float64:
                parameter += 0.2 * torch.randn_like(parameter)
    for module in flow.modules():
        if hasattr(module, "running_var"):
            module.running_var.fill_(0.7)
    return dim, flow.requires_grad_(False)


def log_determinant(library, flow, x):
    """By the library itself, data to latent; normflows adds up in single precision, so its layers are asked one by one."""
    if library == "zuko":
        return flow().transform.call_and_ladj(x)[1]
    if library == "normflows":
        total = torch.zeros(len(x), dtype=x.dtype)
        for part in reversed(flow.flows):
            x, one = part.inverse(x)
            total = total + one
        return total
    return flow(x)[1] if library == "FrEIA" else flow._transform(x)[1]


@pytest.mark.parametrize("name", sorted(CASES))
def test_layers_are_the_map_of_the_library(name):
    dim, flow = built(name)
    layers, own = structure_of(flow), as_model(flow)
    x = 1.5 * torch.as_tensor(np.random.default_rng(3).standard_normal((POINTS, dim)))
    z = forward_map(layers)(x)
    assert float((own.forward(x) - z).abs().max()) <= CLOSE * (1.0 + float(z.abs().max()))
    # each inverts what the other has made: the errors of an inverse grow with its slope, which is not what is compared here
    back = inverse_map(layers)(z)
    assert float((own.inverse(z) - back).abs().max()) <= CLOSE * (1.0 + float(x.abs().max()))
    slopes = vmap(jacrev(lambda one: forward_map(layers)(one[None])[0]))(x[:50])
    theirs = torch.broadcast_to(torch.as_tensor(log_determinant(name.split()[0], flow, x[:50])), (50,))
    torch.testing.assert_close(torch.linalg.slogdet(slopes)[1], theirs.to(slopes.dtype), rtol=CLOSE, atol=1e-9)
    # in ball arithmetic, too
    for point, value in zip(z[:3], back[:3], strict=True):
        for ball, number in zip(evaluate_inverse(layers, point.numpy()), value.tolist(), strict=True):
            assert ball.lower - 1e-9 <= number <= ball.upper + 1e-9
            assert ball.upper - ball.lower < 1e-9


def test_base_laws_are_folded_into_the_map():
    nf = pytest.importorskip("normflows")
    base = nf.distributions.DiagGaussian(2)
    with torch.no_grad():
        base.loc.copy_(torch.tensor([[5.0, -3.0]]))
        base.log_scale.copy_(torch.tensor([[2.0, 0.1]]).log())
    flow = nf.NormalizingFlow(base, [nf.flows.Permute(2, mode="swap")])
    x = as_model(flow).inverse(torch.zeros(1, 2, dtype=torch.float64))
    torch.testing.assert_close(x, torch.tensor([[-3.0, 5.0]], dtype=torch.float64))
    bound = certify_lipschitz(flow, Ball([0.0, 0.0], 1.0))
    assert bound.lower == pytest.approx(2.0, rel=1e-6)
    assert 2.0 <= bound.upper < 2.021


def test_a_context_is_asked_for_and_fixed():
    z = pytest.importorskip("zuko")
    torch.manual_seed(0)
    flow = z.flows.MAF(2, 1, transforms=2, hidden_features=(8,))
    with pytest.raises(InvalidInput, match="pass context="):
        certify_lipschitz(flow, Ball([0.0, 0.0], 1.0))
    with pytest.raises(InvalidInput, match="wanted 1 numbers"):
        structure_of(flow, [1.0, 2.0])
    transform = flow.double()(torch.tensor([0.5], dtype=torch.float64)).transform
    points = torch.as_tensor(np.random.default_rng(0).standard_normal((50, 2)))
    torch.testing.assert_close(inverse_map(structure_of(flow, [0.5]))(points), transform.inv(points), rtol=1e-10, atol=1e-10)
    found = find_lipschitz(flow, Ball([0.0, 0.0], 1.0), context=[0.5], evaluations=2000)
    bound = certify_lipschitz(flow, Ball([0.0, 0.0], 1.0), context=[0.5], ratio=1.05)
    assert found.lower <= bound.upper <= 1.05 * bound.lower


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda z: z.flows.NAF(2), "MNN"),
        (lambda z: z.flows.CNF(2), "FFJTransform"),
        (lambda z: z.flows.SOSPF(2), "SOSP"),
        (lambda z: z.flows.NCSF(2), "CircularRQS"),
        (lambda z: z.flows.GF(2), "ElementWiseTransform"),
    ],
)
def test_what_is_not_read_is_named(make, what):
    flow = make(pytest.importorskip("zuko"))
    with pytest.raises(InvalidInput, match=what):
        structure_of(flow)
    assert as_model(flow).layers is None  # found without a certificate


def test_a_spline_without_linear_tails_is_refused():
    t = pytest.importorskip("nflows.transforms")
    part = t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(2, hidden_features=8)
    with pytest.raises(InvalidInput, match="linear tails"):
        structure_of(part)


def test_an_act_norm_that_was_never_initialised_is_refused():
    nf = pytest.importorskip("normflows")
    with pytest.raises(InvalidInput, match="never initialised"):
        structure_of(nf.NormalizingFlow(nf.distributions.DiagGaussian(2), [nf.flows.ActNorm(2)]))


@pytest.mark.parametrize(
    "network", [one for one in NETWORKS if one.library != "torch" and not one.context], ids=lambda one: one.name
)
def test_trained_flows_of_the_zoo_are_read(network):
    if not installed(network):
        pytest.skip(f"needs {network.library}, of the extra zoo")
    flow = load(network)
    if network.name == "zuko NAF moons":
        with pytest.raises(InvalidInput, match="MNN"):
            structure_of(flow)
        return
    layers = structure_of(flow)
    if network.dim > 16:
        assert sum(1 for _ in layers) >= network.dim or "RealNVP" in network.name
        return
    z = torch.as_tensor(np.random.default_rng(0).standard_normal((POINTS, network.dim)))
    x = inverse_map(layers)(z)
    if "residual" in network.name:  # the library's own inverse stops at a step of about 1e-3
        torch.testing.assert_close(as_model(flow).forward(x), z, rtol=1e-9, atol=1e-9)
    else:
        torch.testing.assert_close(as_model(flow).inverse(z), x, rtol=1e-10, atol=1e-10)


def test_a_deep_chain_of_linear_layers_is_one_layer():
    # two matrices in turn, without an activation between them
    nf = pytest.importorskip("normflows")
    net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    torch.manual_seed(1)
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), [nf.flows.AffineCouplingBlock(net)])
    layers = structure_of(flow)
    assert not any(isinstance(layer, Affine) for layer in layers)
    z = torch.as_tensor(np.random.default_rng(0).standard_normal((20, 2)))
    torch.testing.assert_close(inverse_map(layers)(z), as_model(flow).inverse(z), rtol=1e-10, atol=1e-10)
    assert math.isfinite(float(z.sum()))
