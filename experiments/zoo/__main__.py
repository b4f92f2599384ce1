"""`python -m experiments.zoo [NAME ...]`: train networks of the zoo anew and store their weights; all of them by default."""

from __future__ import annotations

import sys
import time

import torch

from experiments.zoo.networks import NETWORKS, installed
from experiments.zoo.training import train_network
from lipbounds.errors import InvalidInput


def main(names: list[str]) -> None:
    """Train the named networks; best-known values belong to the stored weights, so measure them again afterwards."""
    unknown = sorted(set(names) - {one.name for one in NETWORKS})
    if unknown:
        raise InvalidInput("NAME", unknown, "names of the zoo", f"choose from {', '.join(one.name for one in NETWORKS)}")
    torch.set_num_threads(1)
    for network in NETWORKS:
        if names and network.name not in names:
            continue
        if not installed(network):
            print(f"{network.name}: left out, {network.library} is not installed (extra zoo)", flush=True)
            continue
        begin = time.perf_counter()
        loss = train_network(network)
        print(f"{network.name}: loss {loss:.3f}, {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
