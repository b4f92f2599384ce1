"""Certified: upper bounds of Lip(T^{-1}), by the sharpest method that reads the layers, above a proven witness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike

from lipbounds.certify.ball_jacobian import BallJacobian
from lipbounds.certify.branch_and_bound import Assumed, Bound, Bounder, Budget, branch_and_bound
from lipbounds.certify.latent.bounder import LatentSlice
from lipbounds.certify.layer_product import bound_by_norms, bound_by_product
from lipbounds.certify.linear_regions.bounder import LinearRegions
from lipbounds.certify.planar.bounder import Planar
from lipbounds.certify.plane_flows.bounder import PlaneFlow
from lipbounds.certify.preimage.bounder import Preimage
from lipbounds.certify.preimage.evaluators import check_device
from lipbounds.certify.problem import Problem
from lipbounds.certify.saved import Boxes, save_certificate
from lipbounds.certify.smooth_maps.bounder import SmoothMap
from lipbounds.certify.witness import Witness
from lipbounds.domains import Domain
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InconsistentBounds, InvalidInput
from lipbounds.progress import Report, report_to
from lipbounds.search import Found

__all__ = ["Certificate", "certify_lipschitz"]

PRODUCT = "product of layer constants on a propagated box"


@dataclass(frozen=True)
class Certificate(Enclosure):
    """An enclosure of Lip(T^{-1}; D) with the witness of its lower end.

    Attributes:
        found: The witness; `lower` is its quotient in ball arithmetic.
        boxes: Number of nodes bounded by branch and bound; 0 if no bounder applies.
    """

    found: Found = field(kw_only=True)
    boxes: int = field(kw_only=True)

    @classmethod
    def of(cls, witness: Witness, bound: Bound, method: str, further: tuple[str, ...] = ()) -> Certificate:
        """Put a proven witness below a bound; `further` assumptions are about the map itself.

        Raises:
            InconsistentBounds: If the ends cross.
        """
        if bound.upper < witness.lower:
            raise InconsistentBounds(f"an upper bound of {bound.upper} by {method} below a witness of {witness.lower}")
        return cls(
            witness.lower,
            bound.upper,
            Guarantee.CERTIFIED if bound.assumed.proven else Guarantee.ESTIMATE,
            f"witness in ball arithmetic; {method}",
            found=witness.found,
            assumptions=((bound.assumed.text,) if bound.assumed.text else ()) + further,
            boxes=bound.nodes,
        )


def certify_lipschitz(  # noqa: PLR0913 (a user reads them one by one)
    model: object,
    domain: Domain,
    *,
    context: ArrayLike | None = None,
    outputs: Sequence[int] | None = None,
    found: Found | None = None,
    seed: int = 0,
    ratio: float = 1.01,
    seconds: float = 60.0,
    cells: int | None = None,
    threads: int | None = None,
    device: str | torch.device = "cpu",
    save: Path | None = None,
    progress: Report | None = None,
) -> Certificate:
    r"""Enclose Lip(T^{-1}; D): a proven witness below, a bound by computation above.

    The first method that reads the layers and the domain is taken:

    - flows of the plane on a ball or box whose conditioners have relu or leaky relu: affine couplings, autoregressive layers,
      rational-quadratic splines and linear layers of any library: boxes of z with windows of linear pieces
      (`lipbounds.certify.plane_flows`);
    - other coupling layers of the plane: branch and bound over latent boxes (`lipbounds.certify.planar`);
    - couplings in 3 to 12 dimensions, conditioners of at most 4 inputs, on a ball, box or capsule: branch and bound over boxes of
      data (`lipbounds.certify.preimage`), with a proof that they contain the preimage of the domain; without that proof in the
      time given the bound is conditional, an ESTIMATE whose `assumption` says so;
    - a `ConditionalSlice` of at most 4 latent dimensions: boxes of these (`lipbounds.certify.latent`);
    - any layers in at most 6 dimensions: the Jacobian in ball arithmetic (`lipbounds.certify.ball_jacobian`), much slower.

    Of other maps z -> x, torch modules and functions of known operations (`lipbounds.maps.lowering`), with any number of outputs:

    - relu, leaky relu, maximum, absolute value and the like, in any dimension, on a ball, a box or all of space: branch and bound
      over the signs of neurons, which gives the constant itself where it ends (`lipbounds.certify.linear_regions`); in the plane
      all linear regions;
    - smooth activations in at most 4 latent dimensions, on a ball or box: boxes of z with polynomial expansions
      (`lipbounds.certify.smooth_maps`).

    If no method applies, or its bound is infinite or unproven and no smaller, the product of layer constants, of flows on a
    propagated box (`lipbounds.certify.layer_product`): always available, and crude.

    Args:
        model: A flow of zuko, nflows, normflows or FrEIA, its normal base law standardised; a network with `structure()`, as
            those of `inn`; the layers of T in the order of the forward map; or a torch module or function z -> x.
        domain: A convex set of latent space, or a `ConditionalSlice` of it.
        context: What a conditional flow of a library is conditioned on, a vector.
        outputs: Coordinates of the data that count, for example without their padding; all by default.
        found: A witness from `find_lipschitz` on the domain (for a slice, on the map of z); searched for by default. It decides
            which boxes are done, not what is true.
        seed: Of the search.
        ratio: upper / lower at which the work ends.
        seconds: Time after which branch and bound stops with the bound that holds so far; tables and compilation come before.
        cells: Of the tables of other coupling layers of the plane, 65536 by default and twice as many where slopes jump;
            fewer are quicker and may not reach a small ratio.
        threads: For boxes of data, and of z of smooth maps; all processors by default.
        device: "cuda" bounds boxes of data on a GPU, many more of them in the same time, and needs numba-cuda and torch with
            CUDA; the model stays where it is, and the other methods use the processor.
        save: File for the boxes with their bounds, the network and the witness, which `python -m lipbounds check` verifies
            without the code that made them; for branch and bound over boxes of z (the plane, slices, ball arithmetic).
        progress: Called with both ends after every round.

    Returns:
        A CERTIFIED enclosure (ESTIMATE where it is conditional). Where the search missed a steeper place, branch and bound
        finds it and the witness is replaced.

    Raises:
        InvalidInput: For a model without structure, a part of a flow that is not read (it is named), layers without enclosure, a
            domain of another dimension, a witness of another network or outside the domain, a ratio not above 1, or a device that
            is not there.
        InconsistentBounds: If a proven upper end falls below the witness: a fault of this library.

    Example:
        >>> from inn import CouplingFlow, coupling_flow
        >>> from lipbounds.domains import Ball
        >>> flow = coupling_flow(CouplingFlow(blocks=1, hidden=4, activation="tanh"), seed=0)
        >>> bound = certify_lipschitz(flow, Ball([0.0, 0.0], 2.0), ratio=1.05)
        >>> bound.upper / bound.lower < 1.05, bound.guarantee.name
        (True, 'CERTIFIED')
    """
    if not ratio > 1.0:
        raise InvalidInput("ratio", ratio, "a number > 1", "1.01 is usual")
    if not 0.0 <= seconds < math.inf:
        raise InvalidInput("seconds", seconds, "a finite number >= 0", "60 is the default")
    check_device(device)
    problem = Problem.of(model, domain, outputs, context)
    makers: dict[type[Bounder[Any]], Callable[[Problem], Bounder[Any]]] = {
        PlaneFlow: PlaneFlow,
        Planar: lambda problem: Planar(problem, cells),
        Preimage: lambda problem: Preimage(problem, seed=seed, threads=threads, device=check_device(device)),
        LatentSlice: LatentSlice,
        BallJacobian: BallJacobian,
    }
    if save is not None:  # the checker knows boxes of z without windows
        del makers[PlaneFlow]
    if problem.network is not None:
        if save is not None:
            raise InvalidInput("save", "a map that is no flow", "a flow", "leave save out: its certificates have no checker")
        makers = {LinearRegions: LinearRegions, SmoothMap: lambda problem: SmoothMap(problem, threads)}
    bounder = next((make(problem) for kind, make in makers.items() if kind.applies(problem)), None)
    settings = bounder or Bounder
    witness = Witness(problem, found, seed, settings.searched, settings.worth)
    boxes = Boxes()
    bound, method = Bound(math.inf, 0, Assumed("", True)), PRODUCT
    if bounder is not None:
        record = None if save is None else lambda nodes, bounds: boxes.add(*bounder.corners(nodes), bounds)
        bound = branch_and_bound(bounder, witness, Budget(seconds, ratio), report_to(progress), record)
        method = bounder.method
    if problem.network is not None or math.isinf(bound.upper) or not bound.assumed.proven:
        corners = (corner.numpy() for corner in domain.bounds())
        product = bound_by_product(problem.layers, *corners) if problem.network is None else bound_by_norms(problem.network)
        if product <= bound.upper:
            bound, method = Bound(product, bound.nodes, Assumed("", True)), PRODUCT
    further = () if problem.network is None else problem.network.assumptions
    certificate = Certificate.of(witness, bound, method, further)
    if save is not None:
        if method == PRODUCT:
            raise InvalidInput("save", method, "branch and bound over boxes of z", "give it more seconds, or leave save out")
        save_certificate(save, problem, certificate, witness.found, boxes)
    return certificate
