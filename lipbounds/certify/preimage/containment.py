"""The proof that the preimage of a domain lies in a box of data.

If T of the boundary of a box X misses the domain D and the preimage of one point of D lies in X, then $T^{-1}(D)$, which is
connected, lies in X. The faces of X are halved until the image of every piece provably misses D.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lipbounds.certify.preimage.evaluators import Evaluator
from lipbounds.certify.preimage.oriented_boxes import OrientedBoxes
from lipbounds.certify.preimage.program import half_sides, support
from lipbounds.certify.preimage.splitting import Splitting
from lipbounds.certify.witness import evaluate_inverse
from lipbounds.domains import Domain
from lipbounds.maps.layers import Layer
from lipbounds.maps.structure import forward_map

__all__ = ["Containment"]

Array = NDArray[np.float64]

WIDE = (1.0, 1.5, 2.5)  # how many times too wide the image of a piece is from which it is halved once, twice, three times
LOOKED_AT = 512  # middles of pieces whose images are looked at in a round


class Containment:
    """The proof and its progress.

    Args:
        evaluator: Bounds boxes.
        splitting: Halves them.
        layers: Of T.
        domain: D.
        low: The lower corner of the box, shape (d,).
        high: The upper corner.

    Attributes:
        boxes: Number of pieces looked at.
    """

    def __init__(
        self, evaluator: Evaluator, splitting: Splitting, layers: Sequence[Layer], domain: Domain, low: Array, high: Array
    ) -> None:
        self._evaluator, self._splitting, self._domain = evaluator, splitting, domain
        self._forward = forward_map(layers)
        dim, sides = len(low), half_sides(low, high)
        faces, radii = np.tile(0.5 * (low + high), (2 * dim, 1)), np.tile(sides, (2 * dim, 1))
        for i in range(dim):
            faces[2 * i : 2 * i + 2, i] = low[i], high[i]
            radii[2 * i : 2 * i + 2, i] = 0.0
        device = evaluator.device
        self._pieces = OrientedBoxes.axial(torch.as_tensor(faces, device=device), torch.as_tensor(radii, device=device))
        self._sides = torch.as_tensor(sides, device=device)
        self._seconds, self.boxes = 0.0, 0
        middle = evaluate_inverse(layers, domain.project(torch.as_tensor(support(domain)[0])[None])[0].numpy())
        # without an image that is seen to be inside, or with one on a face, it cannot be proven
        self._hopeless = not all(a < value.lower and value.upper < b for a, value, b in zip(low, middle, high, strict=True))

    @property
    def proven(self) -> bool:
        """Whether every piece misses the domain."""
        return not self._hopeless and not len(self._pieces)

    def seconds_left(self) -> float:
        """Estimated seconds left, from the share of the faces' area that is done, all faces alike; infinite if hopeless."""
        radii = self._pieces.radii
        shares = torch.where(radii > 0, radii / self._sides, 1.0).prod(1)
        left = float(shares.sum()) / (2 * len(self._sides))
        return self._seconds * left / (1 - left) if left < 1 and not self._hopeless else math.inf

    def work(self, end: float) -> None:
        """Go on until it is proven or seen to be hopeless, or until the time `end` of `time.perf_counter`."""
        batch, begin = self._evaluator.batch, time.perf_counter()
        while not self.proven and not self._hopeless and time.perf_counter() < end:
            # the last first: memory stays small
            boxes = self._pieces.at(slice(-batch, None))
            excess, smear, _ = self._evaluator.bound(boxes.middles, boxes.radii, self._splitting.frames.of(boxes), False)
            self.boxes += len(boxes)
            some = boxes.middles[:: max(1, len(boxes) // LOOKED_AT)]
            self._hopeless = bool((self._domain.depth(self._forward(some.cpu())) > 0).any())
            left = excess != 0
            pieces, _ = self._splitting.pieces(self._splitting.smeared(boxes.at(left), smear[left]), excess[left], WIDE)
            self._pieces = OrientedBoxes.join((self._pieces.at(slice(None, -batch)), pieces))
        self._seconds += time.perf_counter() - begin
