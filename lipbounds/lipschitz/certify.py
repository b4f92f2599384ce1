r"""Certified: upper bounds of Lip(T^{-1}) on a disc or box of the latent plane, by branch and bound.

For coupling networks of the plane. Over a latent box with middle c and half widths r the inverse is run layer by layer, carrying
the value at c (with its error), an interval matrix that contains every Jacobian on the box, and by the mean value theorem the
range $f(c)\pm|J|r$ of both coordinates. Conditioners come from `tables`. The spectral norm of an interval matrix with middle M
and radius R is at most $\|M\|_2+\|R\|_F$. A box is done when its bound is within the ratio asked for of the constant found, and
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

from lipbounds.domains import Ball, Box
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.lipschitz.boxes import EPS, bounds_of_boxes
from lipbounds.lipschitz.search import Found
from lipbounds.lipschitz.structure import Coupling, Layer, Permutation, certify_found
from lipbounds.lipschitz.tables import CELLS, Table, tabulate

__all__ = ["certify_lipschitz"]

Array = NDArray[np.float64]

ROOT_CELLS = 32  # boxes along each axis at the start
MOST_BOXES = 4_000_000  # held at a time
BATCH = 1 << 15
FEWEST_CELLS = 64


def certify_lipschitz(
    layers: Sequence[Layer],
    domain: Ball | Box,
    found: Found,
    *,
    ratio: float = 1.01,
    seconds: float = 60.0,
    cells: int = CELLS,
    callback: Callable[[float, float], None] | None = None,
) -> Enclosure:
    r"""Enclose Lip(T^{-1}; D) for a coupling network of the plane: the witness below, branch and bound above.

    Args:
        layers: Of T, in the order of the forward map (`structure()` of the networks of `inn`): permutations and couplings 1|1.
        domain: A disc or a box of the latent plane.
        found: A witness from `find_lipschitz` on the domain; it decides which boxes are done, not what is true.
        ratio: upper / lower at which the work ends.
        seconds: Time after which it stops with the bound that holds so far; tables come before it.
        cells: Of the tables; fewer are quicker and may not reach a small ratio.
        callback: Called with both ends after every round.

    Returns:
        CERTIFIED: [quotient of the witness in ball arithmetic, bound of the branch and bound]. The upper end is infinite if
        the time ends before every box has a finite bound.

    Raises:
        InvalidInput: For other dimensions, layers without enclosure, a witness of another network, or a ratio not above 1.

    Example:
        >>> from inn import CouplingFlow, coupling_flow
        >>> from lipbounds.lipschitz.search import find_lipschitz
        >>> flow = coupling_flow(CouplingFlow(blocks=1, hidden=4, activation="tanh"), seed=0).double().requires_grad_(False)
        >>> disc = Ball([0.0, 0.0], 2.0)
        >>> found = find_lipschitz(flow.inverse, disc, seed=0, screening=256)
        >>> bound = certify_lipschitz(flow.structure(), disc, found, ratio=1.05)
        >>> bound.upper / bound.lower < 1.05, bound.guarantee.name
        (True, 'CERTIFIED')
    """
    if not ratio > 1.0:
        raise InvalidInput("ratio", ratio, "a number > 1", "1.01 is usual")
    if cells < FEWEST_CELLS:
        raise InvalidInput("cells", cells, f"an integer >= {FEWEST_CELLS}", "65536 is the default")
    if domain.dim != 2:
        raise InvalidInput("domain", f"dimension {domain.dim}", "dimension 2", "use bound_of_network, which is cruder")
    lower = certify_found(found, layers).lower
    program, tables = _compile(layers, cells)
    middles, radii = _roots(domain)
    ball = np.array([0.0, 0.0, -1.0])
    if isinstance(domain, Ball):
        ball = np.array([*domain.center.tolist(), domain.radius * (1 + 4 * EPS)])
    done, begin = 0.0, time.perf_counter()
    while True:
        bounds = np.concatenate(
            [
                bounds_of_boxes(middles[start : start + BATCH], radii[start : start + BATCH], program, tables, ball)
                for start in range(0, len(middles), BATCH)
            ]
        )
        open_boxes = bounds > ratio * lower
        if not open_boxes.all():
            done = max(done, float(bounds[~open_boxes].max(initial=0.0)))
        middles, radii, bounds = middles[open_boxes], radii[open_boxes], bounds[open_boxes]
        upper = max(done, float(bounds.max(initial=0.0)))
        if callback is not None:
            callback(lower, upper)
        if not len(middles) or time.perf_counter() - begin > seconds or 2 * len(middles) > MOST_BOXES:
            break
        middles, radii = _split(middles, radii)
    method = "witness in balls; branch and bound over tables, elementary functions assumed good to 4 ulps"
    return Enclosure(lower, max(lower, upper), Guarantee.CERTIFIED, method)


def _compile(layers: Sequence[Layer], cells: int) -> tuple[NDArray[np.int64], Array]:
    """The inverse as steps: (-1, swapped), or (table, half that it changes); and the stacked tables."""
    steps: list[tuple[int, int]] = []
    tables: list[Table] = []
    for layer in reversed(layers):
        if isinstance(layer, Permutation) and len(layer.order) == 2:
            steps.append((-1, int(layer.order[0])))
        elif isinstance(layer, Coupling) and layer.first == 1:
            # x_2 is recovered from v_1, then x_1 from x_2
            for network, changed in ((layer.on_first, 1), (layer.on_second, 0)):
                if network is not None:
                    steps.append((len(tables), changed))
                    tables.append(tabulate(network, layer.clamp, cells))
        else:
            raise InvalidInput("layers", type(layer).__name__, "permutations and couplings 1|1 of the plane", "see docs")
    stacked = np.stack([table.stacked for table in tables]) if tables else np.zeros((1, 17, cells))
    return np.array(steps, dtype=np.int64).reshape(-1, 2), stacked


def _roots(domain: Ball | Box) -> tuple[Array, Array]:
    """Boxes that cover the domain."""
    if isinstance(domain, Ball):
        low, high = (domain.center - domain.radius).numpy(), (domain.center + domain.radius).numpy()
    else:
        low, high = domain.lower.numpy(), domain.upper.numpy()
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
