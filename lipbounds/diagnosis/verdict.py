"""What a diagnosis says in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lipbounds.enclosure import Guarantee

if TYPE_CHECKING:
    from lipbounds.diagnosis.diagnose import Diagnosis

__all__ = ["verdict_of"]


def verdict_of(diagnosis: Diagnosis) -> str:
    """A few sentences: what the data are, how the generator fares, what it must pay, what would help."""
    count = len(diagnosis.modes.means)
    words = [f"The data have {count} mode{'s' if count > 1 else ''}."]
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
