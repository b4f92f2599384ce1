"""A network as the kernels take it: flattened, with tables of its conditioners about the preimage of the domain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.certify.preimage.evaluators import KernelInput
from lipbounds.certify.preimage.jacobian_kernel import MOST_INPUTS, Program, Zonotope
from lipbounds.certify.preimage.range_table import build_range_table
from lipbounds.domains import Ball, Box, Capsule, Domain
from lipbounds.enclosures.mlp_derivatives import multi_indices
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer, PartialCoupling, Permutation
from lipbounds.maps.structure import dimension_of, expanded, forward_map, inverse_map
from lipbounds.rounding import EPS

__all__ = ["flattened", "half_sides", "preimages", "stretch_of_coordinates", "support", "tabulated"]

Array = NDArray[np.float64]

SAMPLES = 20_000  # points inside the domain, and as many on its rim
CLIMBERS = 16  # points that climb along each coordinate
CLIMBS = 60  # steps
CLIMB = (0.3, 1e-3)  # lengths of the first and the last step, of the size of the domain


def preimages(layers: Sequence[Layer], domain: Domain, rng: np.random.Generator) -> Array:
    """Points of data whose images fill the domain, and those farthest along each coordinate, by projected ascent."""
    f = inverse_map(layers)
    inner = domain.sample(SAMPLES, rng)
    center = inner.mean(0)
    latent = torch.cat((inner, domain.project(center + 1e3 * (domain.sample(SAMPLES, rng) - center))))  # and its rim
    images = f(latent)
    signs = torch.tensor([1.0, -1.0], dtype=images.dtype).repeat_interleave(domain.dim)
    coordinates = torch.arange(domain.dim).repeat(2)
    start = (signs * images[:, coordinates]).topk(CLIMBERS, dim=0).indices  # shape (climbers, 2 d)
    z, size = latent[start.ravel()], float((inner - center).norm(dim=1).max())
    highest, tops = torch.full((len(z),), -math.inf, dtype=z.dtype), images[start.ravel()]
    for step in np.geomspace(CLIMB[0] * size, CLIMB[1] * size, CLIMBS):
        z.requires_grad_()
        points = f(z)
        height = (signs * points.reshape(CLIMBERS, -1, domain.dim)[:, torch.arange(2 * domain.dim), coordinates]).ravel()
        (slope,) = torch.autograd.grad(height.sum(), z)
        with torch.no_grad():
            higher = height > highest
            highest, tops = torch.where(higher, height, highest), torch.where(higher[:, None], points, tops)
            z = domain.project(z + step * slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-300))
    return torch.cat((images, tops.detach())).numpy()


def half_sides(low: Array, high: Array) -> Array:
    """Half sides of a box about the middle of its corners that rounding has not made too small."""
    return np.asarray(0.5 * (high - low) * (1 + 8 * EPS) + 8 * EPS * (np.abs(low) + np.abs(high)))


def support(domain: Domain) -> tuple[Array, Array, float]:
    """Centre, generators and radius: the domain is the sum of segments between -g and g and a ball, radius rounded up."""
    match domain:
        case Ball(center=center, radius=radius):
            return center.numpy(), np.zeros((0, len(center))), radius * (1 + 8 * EPS)
        case Box(lower=lower, upper=upper):
            low, high = lower.numpy(), upper.numpy()
            return 0.5 * (low + high), np.diag(half_sides(low, high)), 0.0
        case Capsule(start=start, end=end, radius=radius):
            first, last = start.numpy(), end.numpy()
            size = float(np.abs(first).max() + np.abs(last).max())
            return 0.5 * (first + last), 0.5 * (last - first)[None], (radius + 8 * EPS * len(first) * size) * (1 + 8 * EPS)
        case _:
            raise InvalidInput("domain", type(domain).__name__, "a ball, box or capsule", "cover it by one")


def tabulated(layers: Sequence[Layer], domain: Domain, images: Array, pool: ThreadPoolExecutor) -> KernelInput:
    """Flatten a network and tabulate its conditioners about preimages of the domain.

    Args:
        layers: Couplings and permutations.
        domain: In latent space, a ball, box or capsule.
        images: Points of data whose images fill the domain, shape (n, d).
        pool: Threads that share the work.
    """
    steps, dim = expanded(layers), dimension_of(layers)
    program, order, visited = flattened(steps, images)
    table = build_range_table([step for step in steps if isinstance(step, PartialCoupling)], visited, pool)
    middle, segments, radius = support(domain)
    center, generators = np.zeros(dim), np.zeros((len(segments), dim))
    center[order], generators[:, order] = middle, segments
    return KernelInput(steps, program, table, Zonotope(center, radius, generators))


def stretch_of_coordinates(layers: Sequence[Layer], images: Array) -> Array:
    """How much T stretches each coordinate of the data, root mean square over points, shape (d,)."""
    some = torch.as_tensor(images[:: max(1, len(images) // 500)]).requires_grad_()
    outputs, squares = forward_map(layers)(some), np.zeros(images.shape[1])
    for i in range(images.shape[1]):
        (gradient,) = torch.autograd.grad(outputs[:, i].sum(), some, retain_graph=True)
        squares += gradient.square().mean(0).numpy()
    return np.asarray(np.sqrt(squares))


def flattened(layers: Sequence[Layer], images: Array) -> tuple[Program, NDArray[np.int64], list[Array]]:
    """The couplings in coordinates of the data, the place of every output coordinate, and inputs of each conditioner."""
    place = np.arange(dimension_of(layers))  # the coordinate at position i of the image so far is kept in row place[i]
    points = torch.as_tensor(images)
    steps: list[PartialCoupling] = []
    coordinates: list[NDArray[np.int64]] = []
    visited: list[Array] = []
    for layer in expanded(layers):
        if isinstance(layer, Permutation):
            place = place[layer.order]
        elif isinstance(layer, PartialCoupling):
            steps.append(layer)
            coordinates.append(np.concatenate((place[layer.changed], place[layer.seen])))
            visited.append(points[:, torch.as_tensor(layer.seen)].numpy())
        points = layer.forward()(points)
    counts = [(len(multi_indices(len(step.seen))), len(multi_indices(len(step.seen), 4))) for step in steps]
    sizes = [(len(step.changed), len(step.seen), few, whole - few) for step, (few, whole) in zip(steps, counts, strict=True)]
    lengths = [(k + 2 * m * count, 2 * m * count) for m, k, count, _ in sizes]
    second, third, fourth = _places_of_derivatives()
    longest = max(map(len, coordinates))
    program = Program(
        sizes=np.array(sizes, dtype=np.int64),
        coordinates=np.array([np.pad(row, (0, longest - len(row))) for row in coordinates], dtype=np.int64),
        begins=np.concatenate((np.zeros((1, 2), dtype=np.int64), np.cumsum(lengths, axis=0)[:-1])),
        first=np.arange(1, MOST_INPUTS + 1),
        second=second,
        third=third,
        fourth=fourth,
    )
    return program, place, visited


def _places_of_derivatives() -> tuple[NDArray[np.int64], ...]:
    """Where derivatives of the second, third and fourth order stand, by the number of inputs and the indices."""
    second, third, fourth = (np.zeros((MOST_INPUTS + 1, *(MOST_INPUTS,) * order), int) for order in (2, 3, 4))
    for k in range(1, MOST_INPUTS + 1):
        places = {order: i for i, order in enumerate(multi_indices(k, 4))}
        for indices in itertools.product(range(k), repeat=4):
            second[k][indices[:2]] = places[tuple(sorted(indices[:2]))]
            third[k][indices[:3]] = places[tuple(sorted(indices[:3]))]
            fourth[k][indices] = places[tuple(sorted(indices))] - len(multi_indices(k))
    return second, third, fourth
