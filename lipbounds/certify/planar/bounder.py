r"""Upper bounds of Lip(T^{-1}) on a disc or box of the latent plane, by branch and bound.

For coupling networks of the plane. Over a latent box with middle c and half widths r the inverse is run layer by layer, carrying
the value at c (with its error), an interval matrix that contains every Jacobian on the box, and by the mean value theorem the
range $f(c)\pm|J|r$ of both coordinates. Conditioners come from `tables`. The spectral norm of an interval matrix is
largest at one of its 16 corners. A box is done when its bound is within the ratio asked for of the constant found, and
is split otherwise; boxes outside the domain are dropped. Lip is the supremum of the norm over the convex domain, so the largest
bound left is an upper bound of it, whenever the work stops.

Rounding: every step adds 16 ulps of the absolute terms that it sums to its radius. What is assumed: elementary functions are good
to 4 ulps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify.planar.conditioner_table import CELLS, Table, tabulate
from lipbounds.certify.planar.kernel import bounds_of_boxes
from lipbounds.domains import Ball, Box
from lipbounds.maps.layers import Conditioner, Coupling, Layer, Permutation
from lipbounds.rounding import EPS

__all__ = ["bound_in_the_plane", "is_planar"]

Array = NDArray[np.float64]

ROOT_CELLS = 32  # boxes along each axis at the start
MOST_BOXES = 16_000_000  # held at a time, 40 bytes each
ROUND = 1 << 19  # boxes split at a time, those of the largest bounds
BATCH = 1 << 15
WORST = 256  # boxes whose middles are looked at after every round


def is_planar(layers: Sequence[Layer]) -> bool:
    """Whether these are layers that this method reads."""
    return all(
        (isinstance(layer, Permutation) and len(layer.order) == 2)
        or (isinstance(layer, Coupling) and layer.first == 1 and _of_one(layer.on_first) and _of_one(layer.on_second))
        for layer in layers
    )


def _of_one(network: Conditioner | None) -> bool:
    return network is None or (network.weights[0].shape[1] == 1 and network.weights[-1].shape[0] == 2)


def bound_in_the_plane(
    layers: Sequence[Layer],
    domain: Ball | Box,
    lower: float,
    *,
    ratio: float,
    seconds: float,
    cells: int | None,
    improve: Callable[[Array], float],
    callback: Callable[[float, float], None],
) -> tuple[float, int]:
    """Bound Lip(T^{-1}; D) from above.

    Args:
        layers: Such that `is_planar`.
        domain: A disc or a box.
        lower: A lower bound of the constant; it decides which boxes are done, not what is true.
        ratio: upper / lower at which the work ends.
        seconds: Time after which it stops with the bound that holds so far; tables come before it.
        cells: Of the tables; by default `CELLS`, twice as many for relu.
        improve: Returns the lower bound after a look at points of the domain, the middles of the worst boxes.
        callback: Called with both ends after every round.

    Returns:
        The bound, infinite if the time ends before every box has a finite one, and the number of boxes looked at.
    """
    program, tables = _compile(layers, cells)
    ball = np.array([0.0, 0.0, -1.0])
    if isinstance(domain, Ball):
        ball = np.array([*domain.center.tolist(), domain.radius * (1 + 4 * EPS)])
    fresh = _roots(domain)
    middles, radii, bounds = np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)
    done, count, begin = 0.0, 0, time.perf_counter()
    while True:
        new = np.concatenate(
            [
                bounds_of_boxes(fresh[0][start : start + BATCH], fresh[1][start : start + BATCH], program, tables, ball)
                for start in range(0, len(fresh[0]), BATCH)
            ]
        )
        count += len(new)
        if (new > ratio * lower).any():
            lower = improve(fresh[0][np.argsort(-new, kind="stable")[:WORST]])
        middles, radii = np.concatenate((middles, fresh[0])), np.concatenate((radii, fresh[1]))
        bounds = np.concatenate((bounds, new))
        is_open = bounds > ratio * lower
        done = max(done, float(bounds[~is_open].max(initial=0.0)))
        middles, radii, bounds = middles[is_open], radii[is_open], bounds[is_open]
        upper = max(done, float(bounds.max(initial=0.0)))
        callback(lower, upper)
        if not len(middles) or time.perf_counter() - begin > seconds or len(middles) + ROUND > MOST_BOXES:
            return upper, count
        worst = np.ones(len(bounds), dtype=bool)
        if len(bounds) > ROUND:
            worst[:] = False
            worst[np.argpartition(-bounds, ROUND)[:ROUND]] = True
        fresh = _split(middles[worst], radii[worst])
        middles, radii, bounds = middles[~worst], radii[~worst], bounds[~worst]


def _compile(layers: Sequence[Layer], cells: int | None) -> tuple[NDArray[np.int64], Array]:
    """The inverse as steps: (-1, swapped), or (table, half that it changes); and the stacked tables."""
    networks = [part for layer in layers if isinstance(layer, Coupling) for part in (layer.on_first, layer.on_second) if part]
    # slopes of relu jump within a cell, and the fewer boxes see one the better
    size = cells or (2 * CELLS if any(network.activation == "relu" for network in networks) else CELLS)
    steps: list[tuple[int, int]] = []
    tables: list[Table] = []
    for layer in reversed(layers):
        if isinstance(layer, Permutation):
            steps.append((-1, int(layer.order[0])))
        elif isinstance(layer, Coupling):
            # x_2 is recovered from v_1, then x_1 from x_2
            for network, changed in ((layer.on_first, 1), (layer.on_second, 0)):
                if network is not None:
                    steps.append((len(tables), changed))
                    tables.append(tabulate(network, layer.clamp, size))
    stacked = np.stack([table.stacked for table in tables]) if tables else np.zeros((1, 17, size))
    return np.array(steps, dtype=np.int64).reshape(-1, 2), stacked


def _roots(domain: Ball | Box) -> tuple[Array, Array]:
    """Boxes that cover the domain."""
    low, high = (corner.numpy() for corner in domain.bounds())
    radius = (high - low) / (2 * ROOT_CELLS) * (1 + 8 * EPS) + 4 * EPS * np.maximum(np.abs(low), np.abs(high))
    grid = (np.arange(ROOT_CELLS) + 0.5) / ROOT_CELLS
    first, second = (part.ravel() for part in np.meshgrid(low[0] + grid * (high[0] - low[0]), low[1] + grid * (high[1] - low[1])))
    middles = np.stack((first, second), 1)
    return middles, np.broadcast_to(radius, middles.shape).copy()


def _split(middles: Array, radii: Array) -> tuple[Array, Array]:
    """Halve every box across its wider side; the halves overlap by a rounding."""
    rows, side = np.arange(len(middles)), np.argmax(radii, axis=1)
    half = radii.copy()
    half[rows, side] *= 0.5
    step = np.zeros_like(radii)
    step[rows, side] = half[rows, side]
    both = np.concatenate((middles - step, middles + step))
    return both, np.concatenate((half, half)) * (1 + 4 * EPS) + EPS * np.abs(both)
