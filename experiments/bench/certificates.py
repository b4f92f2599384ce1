"""Certificates of trained flows of the plane, as their libraries have them: how near to what is found, after how many seconds.

No other library bounds the constants of flows; `product` is the product of layer constants in ball arithmetic, the only bound
that could be had before. `seconds` counts branch and bound, `search` the search before it, `tables` reading the flow.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from experiments.bench.search import best_known, domain_of
from experiments.store import Store, key_of
from experiments.zoo.networks import NETWORKS, Network, installed
from experiments.zoo.training import load
from lipbounds import certify_lipschitz, find_lipschitz
from lipbounds.certify import bound_by_product
from lipbounds.errors import InvalidInput
from lipbounds.maps import structure_of

__all__ = ["planar_flows", "run", "summary"]

SECONDS = 60.0
RATIOS = (2.0, 1.1, 1.05, 1.01)
QUICK = ("zuko MAF moons", "FrEIA AllInOne ring")


def planar_flows() -> list[Network]:
    """Trained flows of the plane whose libraries are installed."""
    return [one for one in NETWORKS if one.dim == 2 and one.library != "torch" and not one.context and installed(one)]


def _row(network: Network, seconds: float) -> dict[str, Any]:
    flow, domain = load(network), domain_of(network)
    row: dict[str, Any] = {"network": network.name, "best known": best_known()[network.name]}
    try:
        layers = structure_of(flow)
    except InvalidInput as error:
        return row | {"method": f"not read: {error}"}
    begin = time.perf_counter()
    found = find_lipschitz(flow, domain)
    searched = time.perf_counter() - begin
    trace: list[tuple[float, float]] = []
    begin = time.perf_counter()
    bound = certify_lipschitz(
        flow,
        domain,
        found=found,
        seconds=seconds,
        progress=lambda event: trace.append((time.perf_counter() - begin, (event.upper or math.inf) / (event.lower or math.nan))),
    )
    low, high = (corner.numpy() for corner in domain.bounds())
    reached = {f"seconds to {ratio:g}": next((t for t, value in trace if value <= ratio), math.nan) for ratio in RATIOS}
    return row | {
        "found": bound.lower,
        "certified": bound.upper,
        "ratio": bound.upper / bound.lower,
        **reached,
        "search": searched,
        "nodes": bound.boxes,
        "product": bound_by_product(layers, low, high),
        "method": bound.method.removeprefix("witness in ball arithmetic; "),
        "guarantee": bound.guarantee.name,
        "times": [t for t, _ in trace],
        "ratios": [value for _, value in trace],
    }


def run(out: Path, *, quick: bool, threads: int) -> pd.DataFrame:
    """Bound every flow; write results.parquet and return it."""
    torch.set_num_threads(threads)
    flows = [one for one in planar_flows() if not quick or one.name in QUICK]
    store = Store(out, "bench-certificates", {"quick": quick, "threads": threads, "cases": [one.name for one in flows]})
    begin = time.perf_counter()
    for order, network in enumerate(tqdm(flows, desc="bench certificates")):
        key = key_of({"case": network.name})
        if not store.has(key):
            store.put(key, {"order": order} | _row(network, 10.0 if quick else SECONDS))
    results = store.merge(["order"])
    store.put_table("summary", summary(results))
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """The columns that the docs show."""
    seconds = [f"seconds to {ratio:g}" for ratio in RATIOS]
    table = results[["network", "found", "ratio", *seconds, "nodes", "product"]].copy()
    table["product / found"] = table.pop("product") / np.asarray(table["found"])
    return table
