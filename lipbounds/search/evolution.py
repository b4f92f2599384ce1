"""CMA-ES from several places at once (Hansen, 2016, The CMA evolution strategy: a tutorial): one batch of the map a generation.

It needs no gradients, climbs along ridges and into corners between kinks, and gives the last digits.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lipbounds.search.evaluation import Evaluation, Places

__all__ = ["evolve"]

LAST_STEP = 1e-9  # of the domain's width, at which a run has ended
DIFFERENCE = 1e-2  # of a run's step: that of differences, at most


def evolve(evaluation: Evaluation, places: Places, generations: int, rng: np.random.Generator, step: float) -> Places:
    """Run CMA-ES on the quotients about points, from each place; returns the best place of each run.

    Args:
        evaluation: The search.
        places: Where runs begin.
        generations: At most.
        rng: Of all steps.
        step: The first, as a share of the domain's width.
    """
    runs, d = len(places.points), evaluation.dim
    if not runs or evaluation.budget.spent:
        return places
    size = 8 + int(4 * math.log(d))
    parents = size // 2
    weights = torch.as_tensor(np.log(parents + 0.5) - np.log(np.arange(1, parents + 1)))
    weights = weights / weights.sum()
    effective = 1.0 / float(weights.square().sum())
    c_sigma = (effective + 2) / (d + effective + 5)
    damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (d + 1)) - 1) + c_sigma
    c_path = (4 + effective / d) / (d + 4 + 2 * effective / d)
    c_one = 2 / ((d + 1.3) ** 2 + effective)
    c_many = min(1 - c_one, 2 * (effective - 2 + 1 / effective) / ((d + 2) ** 2 + effective))
    expected = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d * d))

    basis = evaluation.basis
    origin = places.points
    mean = torch.zeros((runs, d), dtype=torch.float64)
    sigma = torch.full((runs, 1), step * evaluation.width, dtype=torch.float64)
    covariance = torch.eye(d, dtype=torch.float64).expand(runs, d, d).clone()
    path, path_sigma = torch.zeros_like(mean), torch.zeros_like(mean)
    best = places
    rows = torch.arange(runs)
    for generation in range(1, generations + 1):
        if evaluation.budget.spent or float(sigma.max()) < LAST_STEP * evaluation.width:
            break
        scales, axes = torch.linalg.eigh(covariance)
        scales = scales.clamp_min(1e-20).sqrt()
        normal = torch.as_tensor(rng.standard_normal((runs, size, d)))
        steps = torch.einsum("rij,rkj->rki", axes * scales[:, None], normal)
        points = origin[:, None] + (mean[:, None] + sigma[:, None] * steps) @ basis
        points = evaluation.domain.project(points.flatten(0, 1)).reshape(runs, size, -1)
        # what the projection left of the step is what is learned from
        steps = ((points - origin[:, None]) @ basis.T - mean[:, None]) / sigma[:, None]
        found = evaluation.steepest(points.flatten(0, 1), (DIFFERENCE * sigma).expand(runs, size).flatten())
        values = found.values.reshape(runs, size)
        best = best.better(found.of(rows * size + values.argmax(1)))
        order = values.argsort(1, descending=True)[:, :parents]
        chosen = torch.gather(steps, 1, order[:, :, None].expand(-1, -1, d))
        shift = (weights[:, None] * chosen).sum(1)
        mean = mean + sigma * shift
        whitened = torch.einsum("rij,rj->ri", axes, torch.einsum("rji,rj->ri", axes, shift) / scales)
        path_sigma = (1 - c_sigma) * path_sigma + math.sqrt(c_sigma * (2 - c_sigma) * effective) * whitened
        length = torch.linalg.vector_norm(path_sigma, dim=1, keepdim=True)
        moving = length / math.sqrt(1 - (1 - c_sigma) ** (2 * generation)) < (1.4 + 2 / (d + 1)) * expected
        path = (1 - c_path) * path + moving * math.sqrt(c_path * (2 - c_path) * effective) * shift
        covariance = (
            (1 - c_one - c_many) * covariance
            + c_one * path[:, :, None] * path[:, None, :]
            + c_many * torch.einsum("k,rki,rkj->rij", weights, chosen, chosen)
        )
        sigma = sigma * torch.exp((c_sigma / damping) * (length / expected - 1)).clamp(max=2.0)
    return best
