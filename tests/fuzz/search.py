"""Cases for the search and for constants of layers: lower bounds of maps whose constants are known."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from lipbounds.domains import Ball, Box, Capsule
from lipbounds.maps import lipschitz_of_mlp
from lipbounds.search import find_lipschitz
from tests.fuzz.inputs import ABSURD

TYPES = (torch.float64, torch.float64, torch.float32, torch.float16)


def linear(rng: np.random.Generator) -> bool:
    """Linear maps in any precision, at any offset and scale, against their norm."""
    d = int(rng.integers(1, 4))
    matrix = torch.as_tensor(rng.normal(size=(d, d)) * 10.0 ** rng.choice([-3, 0, 3]))
    kind, shift = TYPES[int(rng.integers(4))], float(rng.choice([0.0, 1.0, 1e3, 1e8]))
    radius = float(10.0 ** rng.choice([-160, -8, -3, 0, 3, 150]))
    centre = rng.normal(size=d) * rng.choice([0.0, 1.0])
    domain = [Ball(centre, radius), Box(centre - radius, centre + radius), Capsule(centre, centre + radius, radius)][
        int(rng.integers(3))
    ]

    def f(z: torch.Tensor) -> torch.Tensor:
        return ((z.to(kind) @ matrix.to(kind).T) + shift).double()

    if rng.random() < ABSURD:
        g = [lambda z: z.float(), lambda z: z[:, 0], lambda z: z / 0.0, lambda z: z[:1], torch.nn.Dropout(), lambda z: None]
        find_lipschitz(g[int(rng.integers(len(g)))], domain, evaluations=5_000)
        return True
    found = find_lipschitz(f, domain, seed=int(rng.integers(9)), evaluations=5_000)
    # the matrix that the map has in its own precision
    truth = float(torch.linalg.matrix_norm(matrix.to(kind).double(), ord=2))
    return found.lower <= truth * (1 + 1e-13)


def kinked(rng: np.random.Generator) -> bool:
    """A tent and a sine with known slopes."""
    slope, width = float(10.0 ** rng.uniform(-3, 6)), float(10.0 ** rng.uniform(-3, 0))
    domain = Ball([0.0], 1.0)
    tent = find_lipschitz(lambda z: slope * (z.abs() - width).abs(), domain, evaluations=5_000)
    wave = find_lipschitz(lambda z: slope * torch.sin(z / width), domain, evaluations=5_000)
    return tent.lower <= slope * (1 + 1e-13) and wave.lower <= slope / width * (1 + 1e-13)


def layers(rng: np.random.Generator) -> bool:
    """Products of norms against those of singular values with a margin of their own."""
    sizes = rng.integers(1, 6, int(rng.integers(2, 5)))
    scale = 10.0 ** rng.integers(-200, 200)
    weights = [rng.normal(size=(after, before)) * scale for before, after in itertools.pairwise(sizes)]
    value = lipschitz_of_mlp(weights, "tanh")
    logarithm = sum(np.log10(np.linalg.norm(w / scale, 2)) + np.log10(scale) for w in weights)
    return value.upper == np.inf or not -300 < logarithm < 300 or value.upper >= 10.0**logarithm * (1 - 1e-10)


CASES = {"find_lipschitz, linear": linear, "find_lipschitz, kinks": kinked, "lipschitz_of_mlp": layers}
