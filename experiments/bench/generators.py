"""Certificates of maps z -> x that are no flows: decoders, samplers and piecewise linear networks, beside others' bounds.

The peers bound the constant on all of space: the product of norms, and ECLipsE (`eclipse-nn`), in floating point; ECLipsE reads
fully connected networks alone. `published` is the exact constant where a publication gives one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn
from tqdm import tqdm

from experiments.bench.lipschitz import eclipse_constant
from experiments.bench.samplers import Sampler, trained_field
from experiments.store import Store, key_of
from experiments.zoo.exact import EXACT, FOLDER, exact_network
from experiments.zoo.networks import NETWORKS
from experiments.zoo.training import load
from lipbounds import WholeSpace, certify_lipschitz, latent_ball
from lipbounds.certify.layer_product import bound_by_norms
from lipbounds.domains import Domain
from lipbounds.maps.lowering import lowered

__all__ = ["CASES", "Case", "decoder", "run", "summary"]

SECONDS, QUICK_SECONDS = 60.0, 5.0
RATIOS = (2.0, 1.1, 1.05, 1.01)
MOONS = next(network for network in NETWORKS if network.name == "flow matching moons")
EXACTLY = 1 + 1e-9
MASS = 0.99  # of the latent law, in the ball on which decoders are certified
STEPS, RATE = 400, 3e-3  # of training


class Case(NamedTuple):
    """A network, its domain, and the ratio asked for."""

    name: str
    make: Callable[[], nn.Module]
    domain: Callable[[], Domain]
    ratio: float
    is_quick: bool = False


def decoder(*widths: int, activation: type[nn.Module] = nn.Tanh, gain: float = 1.5, seed: int = 0) -> nn.Sequential:
    """Return a decoder with normal weights of deviation gain / sqrt(inputs), float64."""
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layer = nn.Linear(a, b)
        nn.init.normal_(layer.weight, std=gain / math.sqrt(a))
        parts += [layer, activation()]
    return nn.Sequential(*parts[:-1]).double().requires_grad_(False)


def _trained(*widths: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """The decoder of an autoencoder of the digits of scikit-learn with a normal penalty on its codes."""
    images = torch.as_tensor(load_digits().data / 16.0)
    torch.manual_seed(0)
    encoder = decoder(*reversed(widths), activation=activation, gain=1.0).requires_grad_(True)
    model = decoder(*widths, activation=activation, gain=1.0).requires_grad_(True)
    optimizer = torch.optim.Adam([*encoder.parameters(), *model.parameters()], RATE)
    for _ in range(STEPS):
        codes = encoder(images)
        spread = (codes.mean(0).square() + (codes.var(0) - 1.0).square()).sum()
        noisy = codes + 0.1 * torch.randn_like(codes)
        loss = (model(noisy) - images).square().sum(1).mean() + spread
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def _ball(dim: int) -> Callable[[], Domain]:
    return lambda: latent_ball(np.zeros(dim), mass=MASS)


def _random_relu(seed: int) -> nn.Sequential:
    """4 inputs, 1 output, 1 to 3 hidden layers of 6 to 12 units, weights as torch draws them."""
    rng = np.random.default_rng(seed)
    widths = [4, *rng.integers(6, 13, size=1 + seed % 3).tolist(), 1]
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1]).double().requires_grad_(False)


def _sampler(name: str, distance: float, width: float, method: Literal["euler", "rk4"], steps: int) -> Case:
    return Case(name, lambda: Sampler(trained_field(distance, width, 1000), method, steps), _ball(2), 1.05)


def _cases() -> list[Case]:
    wide = (256, 256, 256, 784)
    cases = [
        Case("tanh 2-256-256-256-784, gain 1", lambda: decoder(2, *wide, gain=1.0), _ball(2), 1.01),
        Case("tanh 2-256-256-256-784, gain 2", lambda: decoder(2, *wide, gain=2.0), _ball(2), 1.01),
        Case("tanh 2-128-128-64, digits", lambda: _trained(2, 128, 128, 64), _ball(2), 1.01, is_quick=True),
        Case("silu 2-128-128-64, digits", lambda: _trained(2, 128, 128, 64, activation=nn.SiLU), _ball(2), 1.01),
        Case("tanh 3-64-64-64", lambda: decoder(3, 64, 64, 64), _ball(3), 1.01),
        Case("tanh 3-128-128-64, digits", lambda: _trained(3, 128, 128, 64), _ball(3), 1.01),
        Case("tanh 3-256-256-256-784", lambda: decoder(3, *wide), _ball(3), 1.01),
        Case("tanh 4-64-64-64", lambda: decoder(4, 64, 64, 64), _ball(4), 1.05),
        Case("tanh 4-256-256-256-784", lambda: decoder(4, *wide), _ball(4), 1.05),
        Case("relu 2-128-128-128-64", lambda: decoder(2, 128, 128, 128, 64, activation=nn.ReLU), _ball(2), EXACTLY),
        Case("relu 2-128-128-64, digits", lambda: _trained(2, 128, 128, 64, activation=nn.ReLU), _ball(2), EXACTLY),
    ]
    cases += [
        _sampler("flow matching, Euler 50, modes 2 apart", 2.0, 0.3, "euler", 50),
        _sampler("flow matching, Runge-Kutta 20, modes 2 apart", 2.0, 0.3, "rk4", 20),
        _sampler("flow matching, Euler 50, modes 4 apart", 4.0, 0.5, "euler", 50),
        _sampler("flow matching, Runge-Kutta 20, modes 4 apart", 4.0, 0.5, "rk4", 20),
        Case("flow matching, Runge-Kutta 20, two moons", lambda: load(MOONS), _ball(2), 1.05),
    ]
    if FOLDER.is_dir():
        cases += [_published(name) for name in EXACT]
    return cases + [_drawn(seed) for seed in range(20)]


def _published(name: str) -> Case:
    dim = int(name.split("-")[1])
    return Case(name, lambda: exact_network(name), lambda: WholeSpace(dim), EXACTLY, dim == 4)


def _drawn(seed: int) -> Case:
    return Case(f"random relu {seed}", lambda: _random_relu(seed), lambda: WholeSpace(4), EXACTLY, seed == 0)


CASES = _cases()


def _row(case: Case, seconds: float, threads: int) -> dict[str, Any]:
    model, domain = case.make(), case.domain()
    trace: list[tuple[float, float]] = []
    begin = time.perf_counter()
    bound = certify_lipschitz(
        model,
        domain,
        ratio=case.ratio,
        seconds=seconds,
        threads=threads,
        progress=lambda event: trace.append((time.perf_counter() - begin, (event.upper or math.inf) / (event.lower or math.nan))),
    )
    total = time.perf_counter() - begin
    peers = {"product": bound_by_norms(lowered(model, domain.dim)), "eclipse": math.nan, "eclipse seconds": math.nan}
    if find_spec("eclipse_nn") is not None and isinstance(model, nn.Sequential):
        begin = time.perf_counter()
        nothing = torch.zeros(domain.dim)
        peers["eclipse"] = eclipse_constant(model, nothing, nothing)
        peers["eclipse seconds"] = time.perf_counter() - begin
    return {
        "network": case.name,
        "asked": case.ratio,
        "found": bound.lower,
        "certified": bound.upper,
        "ratio": bound.upper / bound.lower,
        "seconds": total,
        **{f"seconds to {ratio:g}": next((t for t, value in trace if value <= ratio), math.nan) for ratio in RATIOS},
        "nodes": bound.boxes,
        "published": EXACT.get(case.name, math.nan),
        **peers,
        "method": bound.method.removeprefix("witness in ball arithmetic; "),
        "guarantee": bound.guarantee.name,
        "times": [t for t, _ in trace],
        "ratios": [value for _, value in trace],
    }


def run(out: Path, *, quick: bool, threads: int) -> pd.DataFrame:
    """Bound every network; write results.parquet and return it."""
    torch.set_num_threads(threads)
    cases = [case for case in CASES if not quick or case.is_quick]
    store = Store(out, "bench-generators", {"quick": quick, "threads": threads, "cases": [case.name for case in cases]})
    begin = time.perf_counter()
    for order, case in enumerate(tqdm(cases, desc="bench generators")):
        key = key_of({"case": case.name})
        if not store.has(key):
            store.put(key, {"order": order} | _row(case, QUICK_SECONDS if quick else SECONDS, threads))
    results = store.merge(["order"])
    store.put_table("summary", summary(results))
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """The columns that the docs show."""
    table = results[["network", "found", "ratio", "seconds", "nodes"]].copy()
    for peer in ("product", "eclipse"):
        table[f"{peer} / found"] = results[peer] / results["found"]
    table["eclipse seconds"] = results["eclipse seconds"]
    return table
