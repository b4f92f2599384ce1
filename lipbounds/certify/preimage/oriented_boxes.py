r"""Boxes with edges of their own: where A bends along one direction, boxes that are short along it may be long across it.

A box is the set of all c + Fh with $|h|\le r$; F is its frame, an orthogonal matrix up to rounding. Boxes begin with the axes as
their frame. What second derivatives of A contribute to a bound is about the sum of $(\lambda_vr_v)^2$ over the sides, where
$\lambda_v^4$ is the sum of squares of the second derivatives of A's entries that have the direction v, and so a box takes about
$\prod_v\max(\lambda_vr_v,\cdot)$ pieces. One that takes fewer in a frame turned by some plane rotations is replaced by boxes of
that frame which cover it; what lies outside of the replaced box is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lipbounds.rounding import EPS

__all__ = ["Boxes", "Frames"]

ORTHOGONAL = 1e-14  # error of a frame's scalar products at most; in 12 dimensions its inverse is its transpose but for SLACK
SLACK = 1e-12
FLAT = 0.05  # of what the worst side contributes: below it a side is not split
ROTATIONS = 12  # of planes at most
WORTH = 1.1  # times fewer pieces by one of them
GAIN = 2.0  # and by all
THIN = 1e-9  # of its middle: boxes with shorter sides stay, rounding would keep their halves from getting smaller
SMALL = 0.5  # of the volume of a replaced box: larger ones of its new frame are halved at once, most of them reach out


class Boxes(NamedTuple):
    """Boxes of data.

    Attributes:
        middles: Shape (n, d).
        radii: Half sides along the columns of their frames, shape (n, d).
        frames: Numbers of their frames, shape (n,).
    """

    middles: Tensor
    radii: Tensor
    frames: Tensor

    def at(self, rows: Tensor | slice) -> Boxes:
        """Some of them."""
        return Boxes(self.middles[rows], self.radii[rows], self.frames[rows])

    @staticmethod
    def cat(parts: Sequence[Boxes]) -> Boxes:
        """One after the other."""
        middles, radii, frames = zip(*parts, strict=True)
        return Boxes(torch.cat(middles), torch.cat(radii), torch.cat(frames))


class Frames:
    """All frames in use; number 0 are the axes.

    Args:
        dim: Dimension d, at most 12.
        device: Of the boxes.
    """

    def __init__(self, dim: int, device: torch.device) -> None:
        self._matrices = torch.eye(dim, dtype=torch.float64, device=device)[None]
        # the box with the axes as its frame that each has replaced
        self._middles = self._matrices.new_zeros((1, dim))
        self._radii = self._matrices.new_full((1, dim), torch.inf)

    def __len__(self) -> int:
        return len(self._matrices)

    def of(self, boxes: Boxes) -> Tensor:
        """The frames of boxes, shape (n, d, d)."""
        return self._matrices[boxes.frames]

    def halves(self, boxes: Boxes, scores: Tensor) -> Boxes:
        """Halve every box across the side of the largest score; first all lower halves, then all upper ones.

        They overlap by what rounding may move their middles: by less than `wrong` in each coordinate, where it moves at all.
        """
        side = torch.where(boxes.radii > 0, scores, -1.0).argmax(1, keepdim=True)
        here = torch.zeros_like(boxes.radii, dtype=torch.bool).scatter_(1, side, True)
        frames = self.of(boxes)
        step = frames.gather(2, side[:, None].expand(-1, frames.shape[1], 1))[..., 0] * (0.5 * boxes.radii.gather(1, side))
        wrong = torch.where(step != 0, EPS * (boxes.middles.abs() + step.abs()), 0.0)
        slack = 2.0 * (frames.abs() * wrong[..., None]).sum(1)
        # a frame's inverse is not quite its transpose
        slack = slack + SLACK * slack.amax(1, keepdim=True) * (boxes.frames > 0)[:, None]
        half = torch.where(here, 0.5 * boxes.radii, boxes.radii) + slack
        half = torch.where(slack > 0, half * (1 + 2 * EPS), half)  # what is small would be lost in the sum
        return Boxes(torch.cat((boxes.middles - step, boxes.middles + step)), half.repeat(2, 1), boxes.frames.repeat(2))

    def outside(self, boxes: Boxes) -> Tensor:
        """Whether boxes are certainly apart from the boxes that were replaced by their frames, shape (n,)."""
        reach = (self.of(boxes).abs() * boxes.radii[:, None]).sum(2)
        middles, radii = self._middles[boxes.frames], self._radii[boxes.frames]
        size = boxes.middles.abs() + middles.abs() + reach
        return ((boxes.middles - middles).abs() - 64 * EPS * size > reach + radii).any(1)

    def turn(self, boxes: Boxes, bends: Tensor) -> tuple[Tensor, Boxes, Tensor, Tensor]:
        """Find boxes that another frame than the axes suits better, and replace them.

        Args:
            boxes: Boxes.
            bends: How A bends at their middles, as of `orbits.Bounds`, shape (n, d, d).

        Returns:
            Rows of the boxes replaced; boxes of their new frames that cover them; the row that each of these is for; and how much
            A bends along each of their sides.
        """
        usable = (boxes.frames == 0) & torch.isfinite(bends).all((1, 2)) & (bends.diagonal(dim1=1, dim2=2) > 0).all(1)
        usable &= (boxes.radii > THIN * boxes.middles.abs().amax(1, keepdim=True)).all(1)
        rows = usable.nonzero()[:, 0]
        frames, rates, gains = _rotated(bends[rows], boxes.radii[rows])
        error = (frames.mT @ frames - self._matrices[0]).abs().amax((1, 2))
        better = (gains > math.log(GAIN)) & (error <= ORTHOGONAL)
        rows, frames, rates = rows[better], frames[better], rates[better]
        old, number = boxes.at(rows), len(self)
        self._matrices = torch.cat((self._matrices, frames))
        self._middles, self._radii = torch.cat((self._middles, old.middles)), torch.cat((self._radii, old.radii))
        radii = (frames.abs() * old.radii[..., None]).sum(1)
        radii = radii + SLACK * radii.amax(1, keepdim=True)
        pieces = Boxes(old.middles, radii, torch.arange(number, number + len(rows), device=rows.device))
        done: list[Boxes] = []
        while len(pieces.middles):
            origins = pieces.frames - number
            small = pieces.radii.prod(1) <= SMALL * old.radii[origins].prod(1)
            done.append(pieces.at(small))
            pieces, origins = pieces.at(~small), origins[~small]
            pieces = self.halves(pieces, rates[origins] * pieces.radii)
            pieces = pieces.at(~self.outside(pieces))
        whole = Boxes.cat(done) if done else boxes.at(rows)
        origins = whole.frames - number
        return rows, whole, rows[origins], rates[origins] * whole.radii


def _rotated(bends: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames from the axes by plane rotations, each Jacobi's of the bends, while boxes about the same box take fewer pieces.

    Returns frames, the rates $\\lambda$ along their columns, and the logarithms of how many times fewer pieces they take.
    """
    n, d = radii.shape
    i, j = torch.triu_indices(d, d, 1, device=radii.device)
    frames = torch.eye(d, dtype=radii.dtype, device=radii.device).repeat(n, 1, 1)
    least = FLAT * (bends.diagonal(dim1=1, dim2=2) ** 0.25 * radii).amax(1, keepdim=True)
    gains = torch.zeros_like(radii[:, 0])

    def pieces(bend: Tensor, columns: Tensor) -> Tensor:
        sides = (columns.abs() * radii[..., None]).sum(1)
        return torch.maximum(bend.clamp(min=0.0) ** 0.25 * sides, least).log()

    for _ in range(ROTATIONS if len(i) else 0):
        one, two, both = bends[:, i, i], bends[:, j, j], bends[:, i, j]
        angle = 0.5 * torch.atan2(2 * both, one - two)
        c, s = angle.cos(), angle.sin()
        left, right = frames[:, :, i], frames[:, :, j]
        before = pieces(one, left) + pieces(two, right)
        after = pieces(c * c * one + 2 * c * s * both + s * s * two, c[:, None] * left + s[:, None] * right)
        after += pieces(s * s * one - 2 * c * s * both + c * c * two, c[:, None] * right - s[:, None] * left)
        best, pair = (before - after).max(1)
        rows = (best > math.log(WORTH)).nonzero()[:, 0]
        if not len(rows):
            break
        first, second = i[pair[rows]], j[pair[rows]]
        turns = torch.eye(d, dtype=radii.dtype, device=radii.device).repeat(len(rows), 1, 1)
        box = torch.arange(len(rows), device=rows.device)
        turns[box, first, first] = turns[box, second, second] = c[rows, pair[rows]]
        turns[box, second, first], turns[box, first, second] = s[rows, pair[rows]], -s[rows, pair[rows]]
        frames[rows] = frames[rows] @ turns
        bends = bends.index_copy(0, rows, turns.mT @ bends[rows] @ turns)
        gains[rows] += best[rows]
    return frames, bends.diagonal(dim1=1, dim2=2).clamp(min=0.0) ** 0.25, gains
