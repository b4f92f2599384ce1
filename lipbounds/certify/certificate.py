"""Certified: upper bounds of Lip(T^{-1}), by the sharpest method that reads the layers, above a proven witness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.certify.ball_jacobian import MOST_DIMENSIONS, bound_by_subdivision
from lipbounds.certify.layer_product import bound_by_product
from lipbounds.certify.planar.bounder import bound_in_the_plane, is_planar
from lipbounds.certify.preimage.bounder import bound_in_space, is_spatial
from lipbounds.certify.preimage.evaluators import check_device
from lipbounds.certify.witness import certify_found
from lipbounds.domains import Ball, Box, Capsule, Domain
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer, Structured, dimension_of, inverse_map, structure_of
from lipbounds.search.find import STARTS, Found, find_lipschitz, jacobian_norms

__all__ = ["Certificate", "certify_lipschitz"]

Array = NDArray[np.float64]

ELEMENTARY = "elementary functions of numpy and of the C library are good to 4 ulps"
ON_GPU = "; so are those of CUDA and of torch on it"
FEWEST_CELLS = 64
WORTH_A_SEARCH = 1e-4  # relative gain at the middle of a box that starts a search from there


@dataclass(frozen=True)
class Certificate(Enclosure):
    """An enclosure of Lip(T^{-1}; D) with the witness of its lower end.

    Attributes:
        found: The witness; `lower` is its quotient in ball arithmetic.
        boxes: Number of boxes that the upper end looked at; 0 for the product of layer constants.
        assumption: What the upper end takes for granted; empty if nothing.
    """

    found: Found = field(kw_only=True)
    boxes: int = field(kw_only=True)
    assumption: str = field(kw_only=True)


def certify_lipschitz(
    model: Structured | Sequence[Layer],
    domain: Domain,
    *,
    found: Found | None = None,
    seed: int = 0,
    ratio: float = 1.01,
    seconds: float = 60.0,
    cells: int | None = None,
    threads: int | None = None,
    device: str | torch.device = "cpu",
    callback: Callable[[float, float], None] | None = None,
) -> Certificate:
    r"""Enclose Lip(T^{-1}; D): a proven witness below, a bound by computation above.

    In the plane, coupling layers on a ball or box: branch and bound over latent boxes (`lipbounds.certify.planar.bounder`), which
    reaches the ratio asked for. In 3 to 12 dimensions, conditioners of at most 4 inputs, on a ball, box or capsule: branch
    and bound over boxes of data (`lipbounds.certify.preimage.bounder`), with a proof that they cover the preimage of the domain;
    without that proof in the time given the bound is conditional, an ESTIMATE whose `assumption` says so. All other layers in
    at most 6 dimensions (residual, linear): branch and bound with the Jacobian in ball arithmetic
    (`lipbounds.certify.ball_jacobian`), much slower. Otherwise, and where it is smaller, the product of layer constants on a
    propagated box (`lipbounds.certify.layer_product`): always there, and crude.

    Args:
        model: A network with `structure()`, as those of `inn`, or the layers of T in the order of the forward map.
        domain: A convex set of latent space.
        found: A witness from `find_lipschitz` on the domain; searched for by default. It decides which boxes are done, not
            what is true.
        seed: Of the search.
        ratio: upper / lower at which the work ends.
        seconds: Time after which branch and bound stops with the bound that holds so far; tables and compilation come before.
        cells: Of the tables of the plane, 65536 by default and twice as many for relu, whose slopes jump within cells; fewer are
            quicker and may not reach a small ratio.
        threads: For more than two dimensions; all processors by default.
        device: "cuda" bounds boxes of data on a GPU, many more of them in the same time, and needs numba-cuda and torch with
            CUDA; the model stays where it is, and the other methods use the processor.
        callback: Called with both ends after every round.

    Returns:
        A CERTIFIED enclosure (ESTIMATE where it is conditional). Where the search missed a steeper place, branch and bound
        finds it and the witness is replaced.

    Raises:
        InvalidInput: For a model without structure, layers without enclosure, a domain of another dimension, a witness of
            another network, a ratio not above 1, or a device that is not there.

    Example:
        >>> from inn import CouplingFlow, coupling_flow
        >>> flow = coupling_flow(CouplingFlow(blocks=1, hidden=4, activation="tanh"), seed=0)
        >>> bound = certify_lipschitz(flow, Ball([0.0, 0.0], 2.0), ratio=1.05)
        >>> bound.upper / bound.lower < 1.05, bound.guarantee.name
        (True, 'CERTIFIED')
    """
    if not ratio > 1.0:
        raise InvalidInput("ratio", ratio, "a number > 1", "1.01 is usual")
    if not 0.0 <= seconds < math.inf:
        raise InvalidInput("seconds", seconds, "a finite number >= 0", "60 is the default")
    if threads is not None and threads < 1:
        raise InvalidInput("threads", threads, "an integer >= 1, or None", "None takes all processors")
    if cells is not None and cells < FEWEST_CELLS:
        raise InvalidInput("cells", cells, f"an integer >= {FEWEST_CELLS}", "65536 is the default")
    chosen = check_device(device)
    layers = structure_of(model)
    f = inverse_map(layers)
    if dimension_of(layers[0]) != domain.dim:
        raise InvalidInput(
            "domain", f"dimension {domain.dim}", f"{dimension_of(layers[0])}, that of the network", "use its latent space"
        )
    witness = _Witness(layers, domain, found or find_lipschitz(f, domain, seed=seed), seed)
    low, high = (corner.numpy() for corner in domain.bounds())
    upper, boxes, assumption, guarantee = math.inf, 0, "", Guarantee.CERTIFIED
    report = callback or (lambda lower, upper: None)
    method = "product of layer constants on a propagated box"
    if isinstance(domain, Ball | Box) and domain.dim == 2 and is_planar(layers):
        upper, boxes = bound_in_the_plane(
            layers,
            domain,
            witness.lower,
            ratio=ratio,
            seconds=seconds,
            cells=cells,
            improve=witness.improve,
            callback=report,
        )
        method, assumption = "branch and bound over latent boxes", ELEMENTARY
    elif isinstance(domain, Ball | Box | Capsule) and domain.dim > 2 and is_spatial(layers):
        bound = bound_in_space(
            layers,
            domain,
            witness.lower,
            ratio=ratio,
            seconds=seconds,
            seed=seed,
            threads=threads,
            device=chosen,
            improve=witness.improve,
            callback=report,
        )
        upper, boxes = bound.upper, bound.boxes
        method, assumption = "branch and bound over boxes of data", ELEMENTARY + (ON_GPU if chosen.type == "cuda" else "")
        if not bound.covered and math.isfinite(upper):
            guarantee = Guarantee.ESTIMATE
            assumption += "; conditional: that the boxes cover the preimage of the domain is not proven"
    elif domain.dim <= MOST_DIMENSIONS:
        upper, boxes = bound_by_subdivision(
            layers, domain, witness.lower, ratio=ratio, seconds=seconds, improve=witness.improve, callback=report
        )
        method = "branch and bound over latent boxes in ball arithmetic"
    product = bound_by_product(layers, low, high) if math.isinf(upper) or guarantee is Guarantee.ESTIMATE else math.inf
    if product <= upper:
        upper = product
        method, assumption, guarantee = "product of layer constants on a propagated box", "", Guarantee.CERTIFIED
    return Certificate(
        witness.lower,
        max(witness.lower, upper),
        guarantee,
        f"witness in ball arithmetic; {method}",
        found=witness.found,
        boxes=boxes,
        assumption=assumption,
    )


class _Witness:
    """The best pair so far, in balls; grows when the middle of a box is steeper."""

    def __init__(self, layers: Sequence[Layer], domain: Domain, found: Found, seed: int) -> None:
        self._layers, self._domain, self._seed = layers, domain, seed
        self._f = inverse_map(layers)
        self.found = found
        self.lower = certify_found(found, layers).lower

    def improve(self, points: Array) -> float:
        """The lower end after a look at points near the domain."""
        inside = self._domain.project(torch.as_tensor(points))
        norms = jacobian_norms(self._f, inside)
        if float(norms.max()) > self.lower * (1 + WORTH_A_SEARCH):
            # a witness that balls do not confirm (torch's slopes of saturated units are rounded to 0) is not taken
            with suppress(InvalidInput):
                again = find_lipschitz(self._f, self._domain, seed=self._seed, starts=inside, screening=STARTS)
                lower = certify_found(again, self._layers).lower if again.value > self.found.value else 0.0
                if lower > self.lower:
                    self.found, self.lower = again, lower
        return self.lower
