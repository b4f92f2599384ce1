"""Boxes on a GPU get the bounds that they get on the processor; where there is no GPU its kernels run in numba's simulator."""

import importlib.util
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inn import CouplingFlow, coupling_flow
from lipbounds import Ball, certify_lipschitz, latent_ball
from lipbounds.certify.preimage.evaluators import Gpu, Processor, _check_memory, check_device, derivatives_along
from lipbounds.certify.preimage.program import tabulated
from lipbounds.enclosure import Guarantee
from lipbounds.enclosures.mlp_derivatives import derivative_errors, derivative_values
from lipbounds.enclosures.power_series import compose_tensors
from lipbounds.errors import InvalidInput
from lipbounds.maps import Conditioner, arctan_scale, expanded
from lipbounds.maps.structure import dimension_of

GPU = torch.cuda.is_available() and importlib.util.find_spec("numba_cuda") is not None


def composed(f, u, terms):
    def add(rows, a, b, p):
        for first, second, sum_of in rows:
            p[sum_of] += a[first] * b[second]

    return compose_tensors(f, u, terms, add)


def small_flow(dim, activation, inputs=None, hidden=6):
    architecture = CouplingFlow(dim=dim, blocks=2, hidden=hidden, activation=activation, inputs=inputs)
    return coupling_flow(architecture, seed=1).double().requires_grad_(False)


@pytest.mark.parametrize("activation", ["tanh", "softplus", "silu", "arctan", "relu"])
@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_towers_of_tensors_are_those_of_arrays(activation, inputs):
    rng = np.random.default_rng(inputs)
    sizes = [inputs, 7, 6, 4]
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)]
    network = Conditioner(weights, [rng.standard_normal(len(one)) for one in weights], activation)
    points = 2 * rng.standard_normal((50, inputs))
    at, tensor = (
        derivative_values(network, arctan_scale(1.5), points),
        derivative_values(network, arctan_scale(1.5), torch.as_tensor(points), composed),
    )
    wrong = derivative_errors(network, arctan_scale(1.5), float(np.abs(points).max()))
    wrong = np.where(np.isfinite(wrong), wrong, 1e-9)  # relu: no point is at a kink
    assert (np.abs(tensor.numpy() - at) <= 2 * wrong).all()
    assert np.abs(at).max() > 1.0


SIMULATED = """
import numpy as np, torch
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from lipbounds import Ball
from lipbounds.certify.preimage import evaluators, range_table
from tests.lipbounds.test_evaluators import bounds_of_both, small_flow
range_table.CELLS = {2: 2**6, 1: 2**6}
evaluators.AT_ONCE = 5
bounds_of_both(small_flow(3, "tanh"), torch.device("cpu"), 12)
"""


def bounds_of_both(flow, device, count):
    """Boxes within the domain, outside, on its rim, and too large for the tables."""
    dim, rng = dimension_of(flow.structure()), np.random.default_rng(0)
    images = flow.inverse(torch.as_tensor(rng.standard_normal((200, dim)))).numpy()
    with ThreadPoolExecutor(1) as pool:
        problem = tabulated(flow.structure(), Ball(np.zeros(dim), 1.0), images, pool)
        middles = torch.as_tensor(rng.uniform(-2, 2, (count, dim)))
        radii = torch.as_tensor(10.0 ** rng.uniform(-3, 0, (count, dim)))
        middles[0], radii[1] = 0.0, 1e9
        frames = torch.linalg.qr(torch.as_tensor(rng.standard_normal((count, dim, dim)))).Q.contiguous()
        boxes, gpu = (middles, radii, frames), Gpu(problem, device)
        for deep in (False, True):
            bounds, scores, bends = Processor(problem, pool).bound(*boxes, deep)
            own, own_scores, own_bends = (part.cpu() for part in gpu.bound(*(part.to(device) for part in boxes), deep))
            assert (bounds == 0).any()
            assert torch.isinf(bounds).any()
            # equal but for roundings, which radii of small boxes contain
            torch.testing.assert_close(own, bounds, rtol=1e-9, atol=0.0)
            torch.testing.assert_close(own_scores, scores, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(own_bends, bends, rtol=1e-6, atol=1e-9 * float(bends.abs().max()))
        assert ((bounds > 0) & torch.isfinite(bounds)).any()


def test_the_kernels_bound_as_the_processor_does():
    if GPU:
        for shape in ((3, None), (6, None), (6, 2), (8, 1)):
            for activation in ("tanh", "silu", "relu"):
                bounds_of_both(small_flow(shape[0], activation, shape[1]), torch.device("cuda"), 2000)
    else:
        environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
        command = [sys.executable, "-c", SIMULATED]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not GPU, reason="no GPU, or numba-cuda is not installed")
def test_a_certificate_from_the_gpu():
    flow, domain = small_flow(4, "tanh", hidden=16), latent_ball(np.zeros(4), mass=0.9)
    bound = certify_lipschitz(flow, domain, ratio=1.1, seconds=60.0, device="cuda")
    assert bound.guarantee is Guarantee.CERTIFIED
    assert bound.upper <= 1.1 * bound.lower


@pytest.mark.parametrize("device", ["mps", "nowhere", *([] if GPU else ["cuda"])])
def test_devices_that_are_not_there(device):
    with pytest.raises(InvalidInput, match="device"):
        check_device(device)
    with pytest.raises(InvalidInput, match="device"):
        certify_lipschitz(small_flow(3, "tanh"), Ball(np.zeros(3), 1.0), device=device)


def test_networks_that_are_too_large_for_the_memory_of_a_gpu():
    gpu, device = SimpleNamespace(multi_processor_count=100, max_threads_per_multi_processor=2000), torch.device("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
        patch.setattr(torch.cuda, "mem_get_info", lambda _: (80_000_000_000, 90_000_000_000))
        assert _check_memory(device, 200_000) == 40e9  # half of it is scratch
        with pytest.raises(InvalidInput, match=r"40\.2 GB"):
            _check_memory(device, 201_000)
        patch.setattr(gpu, "multi_processor_count", 1)
        with pytest.raises(InvalidInput, match="device"):
            _check_memory(device, 2**19 + 8)


def test_derivatives_along_are_at_the_inputs_that_they_name():
    flow = small_flow(4, "tanh")
    points = np.random.default_rng(0).standard_normal((5, 4))
    steps = expanded(flow.structure())
    tensor = derivatives_along(steps, torch.as_tensor(points), composed)
    np.testing.assert_allclose(tensor.numpy(), derivatives_along(steps, points), rtol=0, atol=1e-12)
    assert (tensor[:, :2].numpy() == points[:, steps[0].order][:, steps[1].seen]).all()
