"""What a trained generator is asked: constants found and proven on the balls of its latent components, of T, and inversion.

One function with one result type, for a generator, for one at a label, and for one of a mixture latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lipbounds.certify import Certificate, certify_lipschitz
from lipbounds.domains import ConditionalSlice, Domain, conditional
from lipbounds.errors import InvalidInput
from lipbounds.maps.model import Map, Model, as_model
from lipbounds.progress import Progress, Report, report_to
from lipbounds.search import Found, InversionError, charged_quotient, find_inversion_error, find_lipschitz

__all__ = ["Measurement", "Search", "inversion_error", "measure"]


@dataclass(frozen=True, eq=False)
class Search:
    """Where and how thoroughly constants are searched.

    Attributes:
        seed: Of everything random.
        starts: Latent points to begin from, as those of data, shape (k, latent).
        segments: Pairs of latent points between which tears are expected (`find_lipschitz`).
        evaluations: Rows of the map for each search, at most.
        budget: Seconds for each search, at most.
        known: What was found before.
    """

    seed: int = 0
    starts: Tensor | None = None
    segments: Sequence[tuple[Tensor, Tensor]] = ()
    evaluations: int | None = 200_000
    budget: float | None = None
    known: Sequence[Found] = ()

    def of(self, f: Map, domain: Domain, known: Sequence[Found] = ()) -> Found:
        """Search the constant of a map on a domain, of which something is known."""
        return find_lipschitz(
            f,
            domain,
            seed=self.seed,
            budget=self.budget,
            evaluations=self.evaluations,
            starts=self.starts,
            segments=self.segments,
            known=(*self.known, *known),
        )


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is known of Lip(T^{-1}) and Lip(T).

    Attributes:
        balls: The latent domains, one for each component.
        per_ball: The largest quotient found on each.
        hulls: Those found on the hulls that were asked for.
        certificates: An enclosure for each ball, or none.
        forward: The largest quotient of T found on the data, where it was asked for.
    """

    balls: tuple[Domain, ...]
    per_ball: tuple[Found, ...]
    hulls: tuple[Found, ...]
    certificates: tuple[Certificate, ...]
    forward: Found | None

    @property
    def component(self) -> int:
        """The ball of the largest quotient."""
        return int(np.argmax([one.lower for one in self.per_ball]))

    @property
    def found(self) -> Found:
        """The largest quotient on any ball."""
        return self.per_ball[self.component]

    @property
    def hull(self) -> Found:
        """The largest quotient on the hulls; these contain the balls, so a smaller value there is a worse search of the same."""
        return max((*self.hulls, self.found), key=lambda one: one.lower)

    @property
    def certified(self) -> float:
        """An upper bound of Lip(T^{-1}) on all balls; NaN without certificates."""
        return max((one.upper for one in self.certificates), default=math.nan)


def measure(  # noqa: PLR0913 (a user reads them one by one)
    model: object,
    balls: Sequence[Domain],
    *,
    label: ArrayLike | None = None,
    outputs: Sequence[int] | None = None,
    hulls: Sequence[Domain] = (),
    data: Domain | None = None,
    data_starts: Tensor | None = None,
    search: Search | None = None,
    seconds: float = 0.0,
    ratio: float = 1.05,
    threads: int | None = 1,
    progress: Report | None = None,
) -> Measurement:
    r"""Search and bound the constants of a generator on the domains of its latent components.

    Args:
        model: A flow of a known library or of `inn`, layers, a torch module or a callable (`lipbounds.maps.model`).
        balls: Latent domains; with a label, of the coordinates behind it.
        label: The first coordinates of the latent space, held: labels and padding, shape (d - k,).
        outputs: Coordinates of the data that count; all by default.
        hulls: Further domains that are searched, not certified: between the components.
        data: Where Lip(T) is searched, a domain of data space; a `ConditionalSlice` holds padding. Not by default.
        data_starts: Points of data to begin from there.
        search: How constants are searched.
        seconds: Time for the certificate of each ball; 0 for none, nor is there one for a model without structure.
        ratio: upper / lower at which a certificate ends.
        threads: Of a certificate.
        progress: Called before each part.

    Returns:
        What was found and proven. Where branch and bound came upon a steeper place, its pair replaces the one found, with the
        quotient of the model's own map, which rounds otherwise than that of its layers.

    Raises:
        InvalidInput: As `find_lipschitz` and `certify_lipschitz`, and where Lip(T) is asked of a model without T.

    Example:
        >>> from lipbounds.domains import Ball
        >>> measured = measure(lambda z: torch.tanh(3.0 * z), [Ball([0.0], 1.0), Ball([5.0], 1.0)])
        >>> round(measured.found.lower, 6), measured.component
        (3.0, 0)
    """
    how, report, whole = search or Search(), report_to(progress), as_model(model)
    f = _at(whole.inverse, label, outputs)
    report(Progress("searching the constant of T^-1"))
    found = [how.of(f, ball) for ball in balls]
    certificates: list[Certificate] = []
    if seconds > 0 and whole.layers is not None:
        for ball, one in zip(balls, found, strict=True):
            report(Progress("bounding the constant of T^-1", lower=one.lower))
            domain = ball if label is None else ConditionalSlice(label, ball)
            certificates.append(
                certify_lipschitz(
                    whole.layers,
                    domain,
                    outputs=outputs,
                    found=one,
                    seed=how.seed,
                    ratio=ratio,
                    seconds=seconds,
                    threads=threads,
                    progress=progress,
                )
            )
        found = [
            one if bound.found is one else replace(bound.found, lower=charged_quotient(f, bound.found.pair, _width(ball))[0])
            for bound, one, ball in zip(certificates, found, balls, strict=True)
        ]
    between = tuple(how.of(f, hull, found) for hull in hulls)
    forward = None
    if data is not None:
        report(Progress("searching the constant of T"))
        if whole.forward is None:
            raise InvalidInput("data", type(data).__name__, "None for a model without T", "pass a model with both directions")
        forward = find_lipschitz(
            whole.forward, data, seed=how.seed, budget=how.budget, evaluations=how.evaluations, starts=data_starts
        )
    return Measurement(tuple(balls), tuple(found), between, tuple(certificates), forward)


def _at(f: Map, label: ArrayLike | None, outputs: Sequence[int] | None) -> Map:
    """The map of the free latent coordinates to the outputs that count."""
    at_label = f if label is None else conditional(f, label)
    if outputs is None:
        return at_label
    places = torch.as_tensor(np.asarray(outputs, dtype=np.int64))
    return lambda z: at_label(z)[:, places]


def inversion_error(model: Model, balls: Sequence[Domain], dtype: torch.dtype, *, seed: int = 0) -> InversionError:
    """Search the worst |x - T^{-1}(T(x))| of a model in some precision on latent domains.

    Raises:
        InvalidInput: For a model without T.
        NotInvertible: If an error is not finite.
    """
    if model.in_precision is None:
        raise InvalidInput("model", model.source, "a model with T and T^{-1}", "pass one with both directions")
    forward, inverse = model.in_precision(dtype)
    errors = [find_inversion_error(forward, inverse, ball, seed=seed, dtype=dtype) for ball in balls]
    return max(errors, key=lambda error: error.lower)


def _width(domain: Domain) -> float:
    """Half the longest side of a box about a domain."""
    low, high = domain.bounds()
    return 0.5 * float((high - low).max())
