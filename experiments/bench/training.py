"""Training beside FrEIA: one step at the paper's eight-modes setting, and a sweep of small networks.

Both contenders of a problem start from FrEIA's random weights, read by `coupling_from_freia`, see the same data and return
the last loss, so that the rows show that they do the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from experiments.bench.contenders import OURS, Contender, Work, measure_all
from experiments.bench.distances import authors_discrepancy
from inn import Composition, Ensemble, FixedPermutation, Invertible, Latent, coupling_from_freia
from inn.losses import negative_log_likelihood
from lipbounds.distances import InverseQuadratic, discrepancy
from lipbounds.errors import InvalidInput

__all__ = ["problems", "run"]

X, Y, Z = 2, 4, 2  # of the eight-modes problem: data, labels, latent; padded to DIM
DIM = 16
BLOCKS = 6
NETWORKS = 16
SWEEP_STEPS = 5
FREIA = "FrEIA"

Pass = Callable[[Tensor], Tensor]


def _trained(network: Any) -> list[nn.Parameter]:
    """FrEIA keeps permutations among its parameters."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _freia(dim: int, hidden: int, seed: int) -> Any:
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import GLOWCouplingBlock, PermuteRandom

    torch.manual_seed(seed)
    subnet = lambda inputs, outputs: nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    network = SequenceINN(dim)
    for block in range(BLOCKS):
        network.append(GLOWCouplingBlock, subnet_constructor=subnet, clamp=2.0)
        network.append(PermuteRandom, seed=block)
    with torch.no_grad():
        for parameter in _trained(network):
            parameter.copy_(0.1 * torch.randn_like(parameter))
    return network


def _converted(network: Any) -> Composition:
    layers: list[Invertible] = []
    for module in network.module_list:
        layers.append(
            coupling_from_freia(module) if hasattr(module, "subnet1") else FixedPermutation(torch.as_tensor(module.perm))
        )
    return Composition(layers)


def _step(
    forward: Pass,
    inverse: Pass,
    distance: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    batch: int,
    *,
    joined: bool,
) -> Callable[[], float]:
    """One step of the authors' program: label fit, latent and data discrepancies, reconstruction of the padded data.

    The two inverse passes are two calls, as in the program, or `joined`, one call on both batches, as in `PaperObjective`.
    """
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(batch, DIM, generator=generator), torch.randn(batch, Y, generator=generator)
    z = torch.randn(batch, DIM, generator=generator)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def step() -> float:
        optimizer.zero_grad()
        image = forward(x)
        fit = (image[:, Z:] - torch.cat((z[:, Z : DIM - Y], y), dim=1)).square().mean()
        joint = torch.cat((image[:, :Z], image[:, DIM - Y :].detach()), dim=1)
        latent = distance(joint, torch.cat((z[:, :Z], y), dim=1))
        starts = torch.cat((z[:, : DIM - Y], y), dim=1), image.detach() + 1e-4 * z
        back, again = torch.split(inverse(torch.cat(starts)), batch) if joined else map(inverse, starts)
        data = distance(back[:, :X], x[:, :X])
        loss = fit + latent + data + (again - x).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_value_(parameters, 15.0)
        optimizer.step()
        return float(loss.detach())

    return step


def freia_step(batch: int) -> Callable[[], float]:
    network = _freia(DIM, 256, 0)
    optimizer = torch.optim.Adam(_trained(network), betas=(0.8, 0.9), eps=1e-6)
    return _step(lambda x: network(x)[0], lambda z: network(z, rev=True)[0], authors_discrepancy, optimizer, batch, joined=False)


def our_step(batch: int) -> Callable[[], float]:
    network = _converted(_freia(DIM, 256, 0))
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.8, 0.9), eps=1e-6, fused=True)
    distance = lambda a, b: discrepancy(a, b, InverseQuadratic(), squared=True)
    return _step(network.forward, network.inverse, distance, optimizer, batch, joined=True)


def freia_sweep(networks: int, batch: int) -> Callable[[], float]:
    """Likelihood steps of networks one after the other; the mean of the last losses."""
    members = [_freia(2, 64, seed) for seed in range(networks)]
    optimizers = [torch.optim.Adam(_trained(network), lr=1e-3) for network in members]
    latent = Latent.normal(2)
    x = torch.randn(networks, batch, 2, generator=torch.Generator().manual_seed(0))

    def steps() -> float:
        losses = []
        for network, optimizer, points in zip(members, optimizers, x, strict=True):
            for _ in range(SWEEP_STEPS):
                optimizer.zero_grad()
                z, log_det = network(points)
                loss = -(latent.log_density(z) + log_det).mean()
                loss.backward()
                optimizer.step()
            losses.append(float(loss.detach()))
        return sum(losses) / networks

    return steps


def our_sweep(networks: int, batch: int) -> Callable[[], float]:
    ensemble: Ensemble[Composition] = Ensemble([_converted(_freia(2, 64, seed)) for seed in range(networks)])
    optimizer = torch.optim.Adam(list(ensemble.parameters()), lr=1e-3, fused=True)
    latent = Latent.normal(2)
    x = torch.randn(networks, batch, 2, generator=torch.Generator().manual_seed(0))

    def steps() -> float:
        for _ in range(SWEEP_STEPS):
            optimizer.zero_grad()
            losses = negative_log_likelihood(ensemble, x, latent)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return float(losses.detach().mean())

    return steps


def problems(quick: bool) -> Iterator[Contender]:
    """All contenders; ours is the first of each problem."""
    steps: dict[str, Work] = {OURS: our_step, FREIA: freia_step}
    sweeps: dict[str, Work] = {OURS: our_sweep, FREIA: freia_sweep}
    for batch in (100,) if quick else (1600, 3200):
        for name, work in steps.items():
            yield Contender("step, eight modes", batch, DIM, name, work, (batch,), (32,), 1 if quick else 15)
    networks, batch = (3, 64) if quick else (NETWORKS, 512)
    for name, work in sweeps.items():
        title = f"{SWEEP_STEPS} steps of {networks} networks"
        yield Contender(title, batch, 2, name, work, (networks, batch), (2, 16), 1 if quick else 15)


def run(out: Path, *, quick: bool, threads: int) -> pd.DataFrame:
    """Measure all contenders one after the other and write results.parquet; returns it.

    Raises:
        InvalidInput: Without FrEIA, from whose random weights both contenders start.
    """
    if importlib.util.find_spec("FrEIA") is None:
        raise InvalidInput("FrEIA", "not installed", "the extra `bench`", "pip install 'lipbounds[bench]'")
    return measure_all(out, "training", list(problems(quick)), quick=quick, threads=threads)
