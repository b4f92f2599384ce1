"""What `diagnose` found, and what it says in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipbounds.certify import Certificate
from lipbounds.diagnosis.latent_choices import LatentChoice, recommended_choice
from lipbounds.diagnosis.latent_plane import LatentPlane
from lipbounds.diagnosis.modes import Modes
from lipbounds.domains import Ball
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.maps.model import Model
from lipbounds.measures import GaussianMixture
from lipbounds.search import BiLipschitz, BlackBox, Found, InversionError, Steepness
from lipbounds.theorems.from_data import Forced

__all__ = ["Diagnosis", "InversionErrors"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InversionErrors:
    """The worst |x - T^{-1}(T(x))| found on the domain, or why there is none."""

    float32: InversionError | str
    float64: InversionError | str


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        source: Where the model comes from.
        latent: The latent law.
        domain: The latent ball on which constants are meant.
        accuracy: W_1 between generated points and data: the plug-in value of two samples as upper end. ESTIMATE.
        floor: The same between two halves of the data, that is, for a perfect generator.
        line_accuracy: W_1 along the statistic that forces most. ESTIMATE.
        modes: Of the data.
        generated_shares: Share of the generated points at each mode.
        between: Share of the generated points far from every mode (`Modes.outside`).
        between_data: The same share of the data.
        forced: Lower bound of the constant of every generator with a normal latent at `line_accuracy`; 0 for a mixture
            latent. ESTIMATE.
        forced_witness: The statistic and thresholds behind it.
        found: Lower bound of Lip(T^{-1}) with its witness.
        plane: Norms of DT^{-1} on a plane of the latent ball; None where torch cannot differentiate the map.
        steepness: Quantiles of these norms under the latent law; None likewise.
        both: Constants of T^{-1} and T and the worst condition number, in at most 24 dimensions with as many outputs as inputs.
        black_box: Lower bound from generated points alone, CONFIDENCE.
        certified: Enclosure by computation, where the layers are known.
        torn_pair: The two modes between which the found witness lies, if they differ.
        forcing_pair: The two modes that the forcing statistic separates.
        inversion: Worst errors of inversion found.
        latents: What mixture latents would cost, for k = 1 to 6 as far as the data allow.
        generated: Generated points, for figures, shape (n, d).
        data: The data.
        generator: The maps.
    """

    source: str
    latent: GaussianMixture
    domain: Ball
    accuracy: Enclosure
    floor: float
    line_accuracy: Enclosure | None
    modes: Modes
    generated_shares: Array
    between: float
    between_data: float
    forced: Enclosure
    forced_witness: Forced | None
    found: Found
    plane: LatentPlane | None
    steepness: Steepness | None
    both: BiLipschitz | None
    black_box: BlackBox
    certified: Certificate | None
    torn_pair: tuple[int, int] | None
    forcing_pair: tuple[int, int] | None
    inversion: InversionErrors
    latents: tuple[LatentChoice, ...]
    generated: Array
    data: Array
    generator: Model

    @property
    def certified_note(self) -> str:
        """What the certificate takes for granted, or why there is none."""
        return "unavailable, no structure" if self.certified is None else "; ".join(self.certified.assumptions)

    @property
    def recommended(self) -> LatentChoice:
        """The smallest k whose cost is within a factor 2 of the best."""
        return recommended_choice(self.latents)

    @property
    def verdict(self) -> str:
        """All this in plain words."""
        return _verdict(self)


def _verdict(diagnosis: Diagnosis) -> str:
    """A few sentences: what the data are, how the generator fares, what it must pay, what would help."""
    count = len(diagnosis.modes.means)
    few = "The data show one mode."
    words = [few if count == 1 else f"The data have at least {count} modes, with confidence 95%."]
    fit = diagnosis.accuracy.upper / max(diagnosis.floor, 1e-300)
    accurate = (
        "as near to the data as fresh data are" if fit < 1.25 else f"{fit:.1f} times as far from the data as fresh data are"
    )
    words.append(f"Generated points are {accurate} (W_1 {diagnosis.accuracy.upper:.3g} against {diagnosis.floor:.3g}).")
    if count > 1:
        missed = int((diagnosis.generated_shares < 0.2 * diagnosis.modes.shares).sum())
        words.append(
            f"{100 * diagnosis.between:.2g}% of them lie far from every mode ({100 * diagnosis.between_data:.2g}% of the data do)"
            + (f", and {missed} mode{'s are' if missed > 1 else ' is'} hardly generated." if missed else ".")
        )
    stretch = f"On the latent ball T^-1 stretches by at least {diagnosis.found.lower:.3g}"
    if diagnosis.certified is not None and math.isfinite(diagnosis.certified.upper):
        kind = "at most" if diagnosis.certified.guarantee is Guarantee.CERTIFIED else "conditionally at most"
        stretch += f" and {kind} {diagnosis.certified.upper:.3g}"
    words.append(stretch + ".")
    if diagnosis.steepness is not None and math.isfinite(diagnosis.steepness.quantiles[0].upper):
        words.append(f"At half of the latent draws it stretches by about {diagnosis.steepness.quantiles[0].upper:.2g} or less.")
    if diagnosis.torn_pair is not None:
        words.append(f"The steepest place lies between modes {diagnosis.torn_pair[0] + 1} and {diagnosis.torn_pair[1] + 1}.")
    if len(diagnosis.latent.means) == 1 and diagnosis.forced.lower > 0:
        words.append(
            f"Any generator with a normal latent of this accuracy must stretch by {diagnosis.forced.lower:.3g} somewhere."
        )
    one = diagnosis.latents[0].cost
    best = diagnosis.recommended
    if best.components == 1:
        words.append("A single Gaussian latent is as good as a mixture for these data.")
    else:
        words.append(
            f"A Gaussian-mixture latent with {best.components} components would have to stretch by {best.cost:.3g} only, "
            f"a single one by {one:.3g}."
        )
    if diagnosis.found.on_boundary:
        words.append("The steepest point found is on the rim of the ball: on a larger one the constant may be larger.")
    return " ".join(words)
