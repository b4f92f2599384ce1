"""The search on networks that people train, beside other estimators: flows of four libraries, decoders, samplers, exact networks.

Settings of the search were chosen on the networks of the half "settings" of `experiments.zoo` and on maps with known constants;
here are those of the half "report". `share` is the last value over the best known one, which is itself a lower bound: the largest
value of long runs (`experiments/zoo/best_known.json`) and of every contender here; over the constant where it is known.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from experiments.bench.known_maps import KnownMap
from experiments.bench.lipschitz import OURS, case_rows, contenders
from experiments.store import Store, key_of
from experiments.zoo.exact import EXACT, FOLDER, exact_network
from experiments.zoo.networks import NETWORKS, Network, installed
from experiments.zoo.training import load
from lipbounds import Ball, find_lipschitz, latent_ball
from lipbounds.maps.model import as_model

__all__ = ["BEST_KNOWN", "best_known", "domain_of", "real_maps", "run", "summary"]

BEST_KNOWN = Path(__file__).parents[1] / "zoo" / "best_known.json"
SEEDS = 5
WIDE = 1000.0  # radius of the ball for networks whose constant is that of all space
PEER_SECONDS = 5.0
SETTINGS_EXACT = ("net-4-6-6-3-relu", "net-9-16-16-1-other")


def best_known() -> dict[str, float]:
    """The largest values of long runs, by the name of the network."""
    return {name: float(entry["value"]) for name, entry in json.loads(BEST_KNOWN.read_text()).items()}


def domain_of(network: Network) -> Ball:
    """The latent ball of mass 0.99; a wide one for random networks."""
    return Ball(np.zeros(network.dim), WIDE) if network.train == "none" else latent_ball(np.zeros(network.dim), mass=0.99)


def real_maps(half: str) -> list[KnownMap]:
    """The installed networks of one half, and the exact ones where their data are there."""
    values = best_known()
    cases = [
        KnownMap(one.name, half, one.dim, as_model(load(one)).inverse, domain_of(one), values.get(one.name, 0.0))
        for one in NETWORKS
        if one.half == half and installed(one)
    ]
    if FOLDER.exists():
        names = [name for name in EXACT if (name in SETTINGS_EXACT) == (half == "settings")]
        for name in names:
            network = exact_network(name)
            dim = int(next(network.parameters()).shape[1])
            cases.append(KnownMap(name, half, dim, network, Ball(np.zeros(dim), WIDE), EXACT[name]))
    return cases


def _seed_row(case: KnownMap, seed: int) -> dict[str, object]:
    begin = time.perf_counter()
    found = find_lipschitz(case.f, case.domain, seed=seed)
    return {
        "kind": "seed",
        "case": case.name,
        "dim": case.dim,
        "contender": OURS,
        "seed": seed,
        "value": found.lower,
        "seconds": time.perf_counter() - begin,
        "reached": found.reached,
        "rounds": len(found.restarts),
        "unseen": found.unseen,
        "place": found.kind,
        "on_boundary": found.on_boundary,
        "truth": case.truth,
    }


def run(out: Path, *, quick: bool, threads: int) -> pd.DataFrame:
    """Measure ours with five seeds, and all contenders once, on the reporting half; write results.parquet and return it."""
    torch.set_num_threads(threads)
    cases = real_maps("report")
    if quick:
        cases = [case for case in cases if case.name in ("zuko RealNVP moons", "MLP 8-64 digits")]
    names, seeds = contenders(), 2 if quick else SEEDS
    store = Store(
        out, "bench-search", {"quick": quick, "threads": threads, "contenders": names, "cases": [c.name for c in cases]}
    )
    begin = time.perf_counter()
    for order, case in enumerate(tqdm(cases, desc="bench search")):
        for seed in range(seeds):
            key = key_of({"case": case.name, "seed": seed})
            if not store.has(key):
                store.put(key, {"order": order} | _seed_row(case, seed))
        key = key_of({"case": case.name, "peers": True})
        if not store.has(key):
            rows = case_rows(case, names, 0.5 if quick else PEER_SECONDS)
            store.put_rows(key, [{"order": order} | row | {"kind": "contender"} for row in rows])
    results = store.merge(["order"])
    store.put_table("summary", summary(results))
    store.describe(wall_seconds=time.perf_counter() - begin)
    return results


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One row a network: the best value known, ours with all seeds as shares of it, and the best of the peers."""
    rows = []
    for name, group in results.groupby("case", sort=False):
        ours = group[group["kind"] == "seed"]
        peers = group[(group["kind"] == "contender") & (group["contender"] != OURS) & group["value"].notna()]
        exact = EXACT.get(str(name))
        best = exact or max(group["value"].max(), group["truth"].max())
        shares = ours["value"] / best
        peer = peers.sort_values("value").iloc[-1] if len(peers) else None
        rows.append(
            {
                "network": name,
                "d": int(group["dim"].iloc[0]),
                "best known": best,
                "least share": shares.min(),
                "median share": shares.median(),
                "seconds": ours["seconds"].median(),
                "best peer": "" if peer is None else peer["contender"],
                "its share": float("nan") if peer is None else peer["value"] / best,
                "its time over ours": float("nan") if peer is None else peer["ratio"],
            }
        )
    return pd.DataFrame(rows)
