"""How boxes of data are halved: across the side of the largest smear, several times where they are far from done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.certify.preimage.oriented_boxes import Frames, OrientedBoxes

__all__ = ["Splitting"]


class Splitting:
    """Halves boxes.

    Args:
        stretch: How much T stretches each coordinate: what is split where bounds say nothing, shape (d,).
        device: Of the boxes.

    Attributes:
        frames: All frames in use.
    """

    def __init__(self, stretch: NDArray[np.float64], device: torch.device) -> None:
        self._stretch = torch.as_tensor(stretch, device=device)
        self.frames = Frames(len(stretch), device)

    def smeared(self, boxes: OrientedBoxes, smear: Tensor) -> OrientedBoxes:
        """Boxes with what each side contributes to what was bounded, and where nothing was, to the size of the image."""
        known = torch.isfinite(smear).all(1) & (smear > 0).any(1)
        stretch = (self.frames.of(boxes).abs() * self._stretch[:, None]).sum(1)
        return replace(boxes, smear=torch.where(known[:, None], smear, boxes.radii * stretch))

    def pieces(self, boxes: OrientedBoxes, bounds: Tensor, levels: Sequence[float]) -> tuple[OrientedBoxes, Tensor]:
        """Halve boxes, once more for every level that their bounds are not below; pieces, with the boxes they are of."""
        origins = torch.arange(len(boxes), device=bounds.device)
        for level in levels:
            chosen = bounds[origins] >= level
            boxes, origins = (
                OrientedBoxes.join((boxes.at(~chosen), self.frames.halves(boxes.at(chosen)))),
                torch.cat((origins[~chosen], origins[chosen].repeat(2))),
            )
        return boxes, origins
