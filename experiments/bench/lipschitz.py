"""Estimators of Lipschitz constants side by side: on maps with known constants, and on trained flows.

*Known maps.* Every contender improves a lower bound as time passes; what it has after each step is kept. `share` is its last
value over the truth, `seconds_to_99` the time at which it passed 0.99 of it, `ratio` the time at which it had its own last
value over the time that ours took to the same value.

*Trained flows.* Found, certified, the product of layer constants, and with ECLipsE's bounds of the subnetworks in (13).
"""

from __future__ import annotations

import contextlib
import io
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiments.bench.known_maps import KnownMap, known_maps
from experiments.store import Store, key_of
from inn import Composition, CouplingFlow, Ensemble, Latent, Training, coupling_flow, train
from lipbounds import Ball, certify_lipschitz, find_lipschitz, latent_ball
from lipbounds.arb import ends
from lipbounds.certify.layer_product import bound_by_product, propagated
from lipbounds.certify.preimage.evaluators import check_device
from lipbounds.maps import Conditioner, CouplingNumbers, PartialCoupling, bound_of_coupling
from lipbounds.progress import Progress
from lipbounds.search import jacobian_norms

__all__ = ["ESTIMATORS", "FLOW_COLUMNS", "OURS", "case_rows", "contenders", "run", "summary"]

Trace = list[tuple[float, float]]
OURS = "lipbounds"
REACHED = 0.99
FLOW_COLUMNS = (
    "case",
    "seed",
    "device",
    "found",
    "certified_ratio",
    "asked_ratio",
    "asked_seconds",
    "seconds",
    "seconds_to_2",
    "seconds_to_1.1",
    "guarantee",
    "boxes",
    "product",
    "eclipse",
)


def ours(case: KnownMap, budget: float, seed: int) -> Trace:
    """`find_lipschitz` as it is, with its own budget; it ends by itself."""
    trace: Trace = []
    begin = time.perf_counter()
    found = find_lipschitz(
        case.f, case.domain, seed=seed, progress=lambda event: trace.append((time.perf_counter() - begin, event.lower or 0.0))
    )
    # a norm promised by the derivative counts once a pair has shown it
    end = time.perf_counter() - begin
    return [(t, min(value, found.lower)) for t, value in trace] + [(end, found.lower)]


def _repeated(step: Callable[[], float], truth: float, budget: float) -> Trace:
    """Run a step again and again until the budget is spent, or nothing is left to gain."""
    trace: Trace = []
    best, begin = 0.0, time.perf_counter()
    while not trace or (time.perf_counter() - begin < budget and best < (1 - 1e-6) * truth):
        best = max(best, step())
        trace.append((time.perf_counter() - begin, best))
    return trace


def jacobians_at_samples(case: KnownMap, budget: float, seed: int) -> Trace:
    """The largest norm of the Jacobian at random points of the domain (Behrmann et al., 2021)."""
    rng = np.random.default_rng(seed)
    batch = 512 if case.dim <= 32 else 64
    return _repeated(lambda: float(jacobian_norms(case.f, case.domain.sample(batch, rng)).max()), case.truth, budget)


def random_pairs(case: KnownMap, budget: float, seed: int) -> Trace:
    """The largest quotient of random pairs of the domain."""
    rng = np.random.default_rng(seed)

    def step() -> float:
        a, b = case.domain.sample(8192, rng), case.domain.sample(8192, rng)
        with torch.no_grad():
            return float(((case.f(a) - case.f(b)).norm(dim=1) / (a - b).norm(dim=1)).max())

    return _repeated(step, case.truth, budget)


def multi_start_adam(case: KnownMap, budget: float, seed: int) -> Trace:
    """Adam on the log of the Jacobian's norm from 16 random points, 300 steps, projected, then from new points."""
    rng = np.random.default_rng(seed)
    state: dict[str, Any] = {"step": 300}

    def step() -> float:
        if state["step"] == 300:
            state["z"] = case.domain.sample(16, rng).requires_grad_()
            state["adam"] = torch.optim.Adam([state["z"]], lr=0.01 * case.domain.radius)
            state["step"] = 0
        z, adam = state["z"], state["adam"]
        image = case.f(z)
        rows = [torch.autograd.grad(image[:, i].sum(), z, create_graph=True)[0] for i in range(image.shape[1])]
        norms = torch.linalg.matrix_norm(torch.stack(rows, 1), 2)
        adam.zero_grad()
        if norms.requires_grad:
            (-norms.log().sum()).backward()
            adam.step()
        with torch.no_grad():
            z.copy_(case.domain.project(z))
        state["step"] += 1
        return float(norms.detach().max())

    return _repeated(step, case.truth, budget)


def cma_es(case: KnownMap, budget: float, seed: int) -> Trace:
    """Restarts of the package cma on the quotient of pairs of one distance, with their middle and direction free."""
    import cma

    rng = np.random.default_rng(seed)
    half = 1e-6 * case.domain.radius
    state: dict[str, Any] = {}

    def step() -> float:
        if not state or state["cma"].stop():
            start = np.concatenate((case.domain.sample(1, rng)[0].numpy(), rng.standard_normal(case.dim)))
            options = {"verbose": -9, "seed": int(rng.integers(1, 2**31))}
            state["cma"] = cma.CMAEvolutionStrategy(start, 0.3 * case.domain.radius, options)
        asked = state["cma"].ask()
        rows = torch.as_tensor(np.array(asked))
        middle, along = case.domain.project(rows[:, : case.dim]), rows[:, case.dim :]
        along = half * along / along.norm(dim=1, keepdim=True)
        a, b = case.domain.project(middle + along), case.domain.project(middle - along)
        with torch.no_grad():
            values = (case.f(a) - case.f(b)).norm(dim=1) / (a - b).norm(dim=1)
        state["cma"].tell(asked, (-values.log()).tolist())
        return float(values.max())

    return _repeated(step, case.truth, budget)


class _Module(nn.Module):
    """A map as the module of floats that deel-torchlip wants."""

    def __init__(self, case: KnownMap) -> None:
        super().__init__()
        self._case = case

    def forward(self, x: Tensor) -> Tensor:
        return self._case.f(x)


def _torchlip(kind: str) -> Callable[[KnownMap, float, int], Trace]:
    def estimate(case: KnownMap, budget: float, seed: int) -> Trace:
        from deel.torchlip.utils.evaluate_lip_const import evaluate_lip_const

        rng = np.random.default_rng(seed)
        module = _Module(case)

        def step() -> float:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(evaluate_lip_const(module, case.domain.sample(256, rng), kind))

        return _repeated(step, case.truth, budget)

    return estimate


ESTIMATORS: dict[str, Callable[[KnownMap, float, int], Trace]] = {
    OURS: ours,
    "Jacobian at samples": jacobians_at_samples,
    "random pairs": random_pairs,
    "multi-start Adam": multi_start_adam,
    "CMA-ES": cma_es,
    "torchlip, jacobian_norm": _torchlip("jacobian_norm"),
    "torchlip, noise_norm": _torchlip("noise_norm"),
    "torchlip, attack": _torchlip("attack"),
}


def contenders() -> list[str]:
    """Names of the estimators whose packages are installed."""
    needs = {"torchlip": "deel", "CMA-ES": "cma"}
    return [
        name for name in ESTIMATORS if all(not name.startswith(start) or find_spec(package) for start, package in needs.items())
    ]


def _reached(trace: Trace, level: float) -> float:
    """The time at which a trace has the level; infinite if it never has."""
    return next((t for t, value in trace if value >= level), math.inf)


def case_rows(case: KnownMap, names: list[str], budget: float) -> Iterator[dict[str, Any]]:
    """One row a contender on a map: its value, its time and the time against ours to the same value."""
    traces: dict[str, Trace] = {}
    for name in names:
        try:
            traces[name] = ESTIMATORS[name](case, budget, 0)
        except Exception as error:
            # a peer that cannot run on a map is a row that says so
            if name == OURS:
                raise
            yield _row(case, name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120])
            continue
        trace = traces[name]
        last = trace[-1][1]
        own = _reached(trace, last * (1 - 1e-9))
        against = _reached(traces[OURS], last * (1 - 1e-9))
        yield _row(case, name, "") | {
            "value": last,
            "share": last / case.truth,
            "seconds": trace[-1][0],
            "seconds_to_99": _reached(trace, REACHED * case.truth),
            "ratio": 1.0 if name == OURS else own / against if math.isfinite(against) else 0.0,
        }


def _row(case: KnownMap, name: str, note: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("value", "share", "seconds", "seconds_to_99", "ratio"), math.nan)
    return {
        "kind": "known",
        "case": case.name,
        "family": case.family,
        "dim": case.dim,
        "truth": case.truth,
        "contender": name,
    } | (numbers | {"note": note})


@dataclass(frozen=True)
class Flow:
    """A flow to train and certify: two modes at distance 2 of this width, by maximum likelihood."""

    name: str
    architecture: CouplingFlow
    seed: int
    ratio: float
    seconds: float
    sigma: float = 0.25
    modes: int = 2
    steps: int = 1500


def flows(quick: bool) -> list[Flow]:
    """What is certified: architectures of the plane and of 3 to 8 dimensions."""
    if quick:
        return [
            Flow("plane, tanh", CouplingFlow(2, 2, 16, 2, "tanh"), 0, 1.05, 10.0, steps=200),
            Flow("d = 3, tanh", CouplingFlow(3, 2, 8, 2, "tanh"), 0, 1.5, 10.0, steps=200),
        ]
    result = []
    for seed in (0, 1, 2):
        result += [
            Flow("plane, 6 x 2x64 tanh", CouplingFlow(2, 6, 64, 2, "tanh"), seed, 1.01, 30.0),
            Flow("d = 3, 4 x 2x32 tanh", CouplingFlow(3, 4, 32, 2, "tanh"), seed, 1.05, 30.0),
        ]
    result += [
        *(Flow("plane, 6 x 2x64 relu", CouplingFlow(2, 6, 64, 2, "relu"), seed, 1.02, 30.0) for seed in (0, 1)),
        Flow("d = 3, sigma 0.15", CouplingFlow(3, 4, 32, 2, "tanh"), 0, 1.05, 30.0, sigma=0.15),
        Flow("d = 3, 4 modes", CouplingFlow(3, 4, 32, 2, "tanh"), 0, 1.05, 30.0, modes=4),
        Flow("d = 4, 4 x 2x32 tanh", CouplingFlow(4, 4, 32, 2, "tanh"), 0, 1.1, 180.0),
        Flow("d = 4, 6 x 2x64 tanh", CouplingFlow(4, 6, 64, 2, "tanh"), 0, 2.0, 600.0),
        Flow("d = 6, 2 inputs", CouplingFlow(6, 4, 32, 2, "tanh", inputs=2), 0, 1.5, 180.0),
        Flow("d = 6, 1 input", CouplingFlow(6, 4, 32, 2, "tanh", inputs=1), 0, 1.5, 180.0),
        Flow("d = 8, 1 input", CouplingFlow(8, 4, 32, 2, "tanh", inputs=1), 0, 1.5, 180.0),
        Flow("d = 6, 3|3", CouplingFlow(6, 4, 32, 2, "tanh"), 0, 10.0, 600.0),
    ]
    return result


def trained(flow: Flow) -> Composition:
    """Train a flow on its modes, at the corners of a square of side 2 or two of them."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        x = flow.sigma * torch.randn(1, n, flow.architecture.dim, generator=generator)
        first = torch.ones(n)
        first[: n // 2] = -1.0
        x[..., 0] += first
        if flow.modes == 4:
            x[..., 1] += torch.ones(n).copysign(torch.rand(n, generator=generator) - 0.5)
        return x

    ensemble: Ensemble[Composition] = Ensemble([coupling_flow(flow.architecture, seed=flow.seed)])
    latent = Latent.normal(flow.architecture.dim)
    train(ensemble, draw, latent, Training(steps=flow.steps, batch=256, learning_rate=5e-3), seed=flow.seed)
    return ensemble.networks()[0].double().requires_grad_(False)


def bound_from_subnetworks(
    network: Composition, domain: Ball, constant: Callable[[nn.Sequential, Tensor, Tensor], float]
) -> float:
    """(13) with a peer's constants of the subnetworks, multiplied over the layers; infinite beyond the doubles.

    Args:
        network: T.
        domain: In latent space.
        constant: From a subnetwork and the corners of the box that it sees, shape (k,), to a bound of its Lipschitz constant
            there. The boxes are ours: those of `lipbounds.certify.layer_product`.
    """
    product = 1.0
    for layer, balls, _ in propagated(network.structure(), *(corner.numpy() for corner in domain.bounds())):
        if isinstance(layer, PartialCoupling):
            box = torch.tensor([ends(ball) for ball in balls])
            low, high = box[torch.as_tensor(layer.seen)].T
            s, t = (constant(_subnet(layer.network, part), low, high) for part in (0, 1))
            # |t| <= |t(0)| + Lip(t) |u|, u in the box
            at_zero = float(np.abs(_at_zero(layer.network)[len(layer.changed) :]).max())
            largest = at_zero + t * float(torch.maximum(low.abs(), high.abs()).norm())
            if not max(s, largest) < math.inf:
                return math.inf
            numbers = CouplingNumbers(2 / math.pi * s, t, layer.scale.divisor, largest)
            product *= bound_of_coupling(numbers, float(box.abs().max()), inverse=True).upper
    return product


def eclipse_constant(subnet: nn.Sequential, low: Tensor, high: Tensor) -> float:
    """ECLipsE's bound, which holds everywhere."""
    from eclipse_nn.LipConstEstimator import LipConstEstimator

    return float(LipConstEstimator(model=subnet).estimate("ECLipsE_Fast"))


class _Jacobian(nn.Module):
    """A network's Jacobian as auto_LiRPA wants it."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        from auto_LiRPA.jacobian import JacobianOP

        jacobian: Tensor = JacobianOP.apply(self.network(x), x)
        return jacobian


def lirpa_constant(subnet: nn.Sequential, low: Tensor, high: Tensor) -> float:
    """auto_LiRPA's bounds of the Jacobian's entries on the box (CROWN), as a norm: that of the middle plus that of the radii.

    Infinite where the box is larger than its tables of tanh.
    """
    from auto_LiRPA import BoundedModule, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

    least, greatest = low.float()[None], high.float()[None]
    middle = 0.5 * (least + greatest)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(IndexError):
        warnings.simplefilter("ignore")
        bounded = BoundedModule(_Jacobian(subnet.float()), middle)
        box = BoundedTensor(middle, PerturbationLpNorm(norm=math.inf, x_L=least, x_U=greatest))
        lower, upper = (part.detach()[0] for part in bounded.compute_jacobian_bounds(box, optimize=False))
        return float(torch.linalg.matrix_norm(0.5 * (upper + lower), 2) + torch.linalg.matrix_norm(0.5 * (upper - lower), 2))
    return math.inf


SUBNETWORKS = {"eclipse": ("eclipse_nn", eclipse_constant), "lirpa": ("auto_LiRPA", lirpa_constant)}
"""Column, package and function of the peers that bound subnetworks."""


def _subnet(network: Conditioner, part: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    half = len(network.biases[-1]) // 2
    for index, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        last = index == len(network.weights) - 1
        rows = slice(part * half, (part + 1) * half) if last else slice(None)
        layer = nn.Linear(weights.shape[1], len(bias[rows]))
        layer.weight.data = torch.as_tensor(weights[rows].copy())
        layer.bias.data = torch.as_tensor(bias[rows].copy())
        layers += [layer] if last else [layer, {"tanh": nn.Tanh(), "relu": nn.ReLU()}[network.kind.name]]
    return nn.Sequential(*layers)


def _at_zero(network: Conditioner) -> np.ndarray:
    value = np.zeros(network.weights[0].shape[1])
    for index, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        value = weights @ value + bias
        if index < len(network.weights) - 1:
            value = np.tanh(value) if network.activation == "tanh" else np.maximum(value, 0.0)
    return np.asarray(value)


def _flow_row(flow: Flow, threads: int, device: str) -> dict[str, Any]:
    network = trained(flow)
    domain = latent_ball(np.zeros(flow.architecture.dim), mass=0.99)
    begin = time.perf_counter()
    found = find_lipschitz(network.inverse, domain, seed=flow.seed)
    search = time.perf_counter() - begin
    begin = time.perf_counter()
    at: dict[float, float] = {}

    def note(event: Progress) -> None:
        for level in (2.0, 1.1):
            if event.lower is not None and event.upper is not None and event.upper <= level * event.lower:
                at.setdefault(level, time.perf_counter() - begin)

    certificate = certify_lipschitz(
        network,
        domain,
        found=found,
        ratio=flow.ratio,
        seconds=flow.seconds,
        seed=flow.seed,
        threads=threads,
        device=device,
        progress=note,
    )
    seconds = time.perf_counter() - begin
    low, high = (corner.numpy() for corner in domain.bounds())
    sampled = float(jacobian_norms(network.inverse, domain.sample(10_000, np.random.default_rng(1))).max())
    peers = {
        column: bound_from_subnetworks(network, domain, constant) if find_spec(package) is not None else math.nan
        for column, (package, constant) in SUBNETWORKS.items()
    }
    return {
        "kind": "flow",
        "case": flow.name,
        "family": "flow",
        "dim": flow.architecture.dim,
        "seed": flow.seed,
        "device": device,
        "found": certificate.lower,
        "sampled": sampled,
        "certified": certificate.upper,
        "certified_ratio": certificate.upper / certificate.lower,
        "asked_ratio": flow.ratio,
        "asked_seconds": flow.seconds,
        "guarantee": certificate.guarantee.name,
        "boxes": certificate.boxes,
        "search_seconds": search,
        "seconds": seconds,
        "seconds_to_2": at.get(2.0, math.nan),
        "seconds_to_1.1": at.get(1.1, math.nan),
        "product": bound_by_product(network.structure(), low, high),
        **peers,
        "note": "; ".join(certificate.assumptions),
    }


def run(out: Path, *, quick: bool, threads: int, device: str = "cpu") -> pd.DataFrame:
    """Measure all contenders and flows one after the other and write results.parquet; returns it.

    With another device than the processor only the flows whose boxes can be bounded there, those of three and more dimensions.
    """
    torch.set_num_threads(threads)
    check_device(device)
    names = contenders()
    cases, networks = known_maps(quick=quick), flows(quick)
    if quick:  # one of each three
        cases = cases[::3]
    if device != "cpu":
        cases, networks = [], [flow for flow in networks if flow.architecture.dim > 2]
    budget = 0.3 if quick else 2.0
    configuration = {
        "quick": quick,
        "threads": threads,
        "device": device,
        "contenders": names,
        "flows": [f"{f.name}, seed {f.seed}" for f in networks],
    }
    for package, _ in SUBNETWORKS.values():
        if find_spec(package) is None:
            tqdm.write(f"{package} is not installed (docs/lipschitz says how): its column stays empty")
    store = Store(out, "bench-lipschitz", configuration)
    begin = time.perf_counter()
    for name in names if cases else []:  # compilation, imports, caches
        with contextlib.suppress(Exception):
            ESTIMATORS[name](cases[0], 0.1, 0)
    for order, case in enumerate(tqdm(cases, desc="known maps")):
        key = key_of({"known": case.name})
        if not store.has(key):
            store.put_rows(key, [{"order": order} | row for row in case_rows(case, names, budget)])
    # so that compilation counts for no flow
    warm = coupling_flow(CouplingFlow(3, 1, 4, 1, "tanh"), seed=0)
    certify_lipschitz(warm, latent_ball(np.zeros(3), mass=0.1), seconds=1.0, ratio=2.0, threads=threads)
    certify_lipschitz(coupling_flow(CouplingFlow(2, 1, 4, 1, "tanh"), seed=0), latent_ball(np.zeros(2), mass=0.1), cells=64)
    for index, flow in enumerate(tqdm(networks, desc="flows")):
        key = key_of({"flow": flow.name, "seed": flow.seed, "device": device})
        if not store.has(key):
            store.put_rows(key, [{"order": len(cases) + index} | _flow_row(flow, threads, device)])
    results = store.merge(["order"])
    if cases:
        store.put_table("summary", summary(results))
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One row a contender on the known maps: how often 0.99 of the truth is reached, how fast, and against ours."""
    known = results[results["kind"] == "known"]
    rows = []
    for name, group in known.groupby("contender", sort=False):
        done = group[group["note"] == ""]
        rows.append(
            {
                "contender": name,
                "cases": len(group),
                "failed": len(group) - len(done),
                "at 0.99": float((done["share"] >= REACHED).sum() / len(group)),
                "median share": float(done["share"].median()),
                "least share": float(done["share"].min()),
                "median seconds": float(done["seconds"].median()),
                "median seconds to 0.99": float(done["seconds_to_99"].median()),
                "ours faster to its level, median": float(done["ratio"].median()),
            }
        )
    return pd.DataFrame(rows)
