r"""Oriented boxes: where A has curvature along one direction only, boxes short along it may be long across it.

A box is the set of all c + Fh with $|h|\le r$; F is its frame, an orthogonal matrix up to rounding. Boxes begin with the axes as
their frame. What second derivatives of A contribute to a bound is about the sum of $(\lambda_vr_v)^2$ over the sides, where
$\lambda_v^4$ is the sum of squares of the second derivatives of A's entries that have the direction v, and so a box takes about
$\prod_v\max(\lambda_vr_v,\cdot)$ pieces. One that takes fewer in a frame turned by some plane rotations is replaced by boxes of
that frame which cover it; what lies outside of the replaced box is dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipbounds.certify.branch_and_bound import Nodes
from lipbounds.rounding import EPS

__all__ = ["Frames", "OrientedBoxes"]

ORTHOGONAL = 1e-14  # error of a frame's scalar products at most; in 12 dimensions its inverse is its transpose but for SLACK
SLACK = 1e-12
FLAT = 0.05  # of what the worst side contributes: below it a side is not split
ROTATIONS = 12  # plane rotations a frame, at most
WORTH = 1.1  # least factor by which one rotation must reduce the number of pieces
GAIN = 2.0  # least factor by which all together must
THIN = 1e-9  # of its middle: boxes with shorter sides stay, rounding would keep their halves from getting smaller
SMALL = 0.5  # of the volume of a replaced box: larger ones of its new frame are halved at once, most of them reach out


@dataclass(frozen=True, eq=False)
class OrientedBoxes(Nodes):
    """Boxes of data with edges along the columns of their frames.

    Attributes:
        middles: Shape (n, d).
        radii: Half sides along the columns of the frames, shape (n, d).
        frames: Numbers of the frames, shape (n,).
        smear: What each side contributes to the bound, shape (n, d); zeros before a box is bounded.
    """

    middles: Tensor
    radii: Tensor
    frames: Tensor
    smear: Tensor

    @classmethod
    def axial(cls, middles: Tensor, radii: Tensor) -> OrientedBoxes:
        """Boxes with the axes as their frame."""
        return cls(middles, radii, torch.zeros(len(middles), dtype=torch.long, device=middles.device), torch.zeros_like(radii))


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

    def of(self, boxes: OrientedBoxes) -> Tensor:
        """The frames of boxes, shape (n, d, d)."""
        return self._matrices[boxes.frames]

    def halves(self, boxes: OrientedBoxes) -> OrientedBoxes:
        """Halve every box across the side of the largest smear; first all lower halves, then all upper ones.

        They overlap by what rounding may move their middles: by less than `error` in each coordinate, where it moves at all. The
        smear of a half is that of the box, in proportion to its sides.
        """
        side = torch.where(boxes.radii > 0, boxes.smear, -1.0).argmax(1, keepdim=True)
        here = torch.zeros_like(boxes.radii, dtype=torch.bool).scatter_(1, side, True)
        frames = self.of(boxes)
        step = frames.gather(2, side[:, None].expand(-1, frames.shape[1], 1))[..., 0] * (0.5 * boxes.radii.gather(1, side))
        error = torch.where(step != 0, EPS * (boxes.middles.abs() + step.abs()), 0.0)
        slack = 2.0 * (frames.abs() * error[..., None]).sum(1)
        # a frame's inverse is not quite its transpose
        slack = slack + SLACK * slack.amax(1, keepdim=True) * (boxes.frames > 0)[:, None]
        half = torch.where(here, 0.5 * boxes.radii, boxes.radii) + slack
        half = torch.where(slack > 0, half * (1 + 2 * EPS), half)  # what is small would be lost in the sum
        smear = boxes.smear * torch.where(boxes.radii > 0, half / boxes.radii, 1.0)
        middles = torch.cat((boxes.middles - step, boxes.middles + step))
        return OrientedBoxes(middles, half.repeat(2, 1), boxes.frames.repeat(2), smear.repeat(2, 1))

    def outside(self, boxes: OrientedBoxes) -> Tensor:
        """Whether boxes are certainly apart from the boxes that were replaced by their frames, shape (n,)."""
        reach = (self.of(boxes).abs() * boxes.radii[:, None]).sum(2)
        middles, radii = self._middles[boxes.frames], self._radii[boxes.frames]
        size = boxes.middles.abs() + middles.abs() + reach
        return ((boxes.middles - middles).abs() - 64 * EPS * size > reach + radii).any(1)

    def oriented(self, boxes: OrientedBoxes, curvature: Tensor) -> tuple[Tensor, OrientedBoxes, Tensor]:
        """Find boxes that another frame than the axes suits better, and replace them.

        Args:
            boxes: Boxes.
            curvature: That of A at their middles, as in `jacobian_kernel.Bounds`, shape (n, d, d).

        Returns:
            Rows of the boxes replaced; boxes of new frames that cover them, with $\\lambda_vr_v$ for the smear of side v;
            and the row of the box that each of these covers.
        """
        usable = (boxes.frames == 0) & torch.isfinite(curvature).all((1, 2)) & (curvature.diagonal(dim1=1, dim2=2) > 0).all(1)
        usable &= (boxes.radii > THIN * boxes.middles.abs().amax(1, keepdim=True)).all(1)
        rows = usable.nonzero()[:, 0]
        frames, rates, gains = _rotated(curvature[rows], boxes.radii[rows])
        error = (frames.mT @ frames - self._matrices[0]).abs().amax((1, 2))
        better = (gains > math.log(GAIN)) & (error <= ORTHOGONAL)
        rows, frames, rates = rows[better], frames[better], rates[better]
        old, number = boxes.at(rows), len(self)
        self._matrices = torch.cat((self._matrices, frames))
        self._middles, self._radii = torch.cat((self._middles, old.middles)), torch.cat((self._radii, old.radii))
        radii = (frames.abs() * old.radii[..., None]).sum(1)
        radii = radii + SLACK * radii.amax(1, keepdim=True)
        pieces = OrientedBoxes(old.middles, radii, torch.arange(number, number + len(rows), device=rows.device), rates * radii)
        done = [pieces.at(slice(0))]
        while len(pieces):
            small = pieces.radii.prod(1) <= SMALL * old.radii[pieces.frames - number].prod(1)
            done.append(pieces.at(small))
            pieces = self.halves(pieces.at(~small))
            pieces = replace(pieces, smear=rates[pieces.frames - number] * pieces.radii)
            pieces = pieces.at(~self.outside(pieces))
        whole = OrientedBoxes.join(done)
        return rows, whole, rows[whole.frames - number]


def _rotated(curvature: Tensor, radii: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames by Jacobi rotations of the curvature, starting from the axes, as long as each rotation reduces the number of pieces.

    Returns frames, the rates $\\lambda$ along their columns, and the logarithms of how many times fewer pieces they take.
    """
    n, d = radii.shape
    i, j = torch.triu_indices(d, d, 1, device=radii.device)
    frames = torch.eye(d, dtype=radii.dtype, device=radii.device).repeat(n, 1, 1)
    least = FLAT * (curvature.diagonal(dim1=1, dim2=2) ** 0.25 * radii).amax(1, keepdim=True)
    gains = torch.zeros_like(radii[:, 0])

    def pieces(curvature: Tensor, columns: Tensor) -> Tensor:
        sides = (columns.abs() * radii[..., None]).sum(1)
        return torch.maximum(curvature.clamp(min=0.0) ** 0.25 * sides, least).log()

    for _ in range(ROTATIONS if len(i) else 0):
        one, two, both = curvature[:, i, i], curvature[:, j, j], curvature[:, i, j]
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
        curvature = curvature.index_copy(0, rows, turns.mT @ curvature[rows] @ turns)
        gains[rows] += best[rows]
    return frames, curvature.diagonal(dim1=1, dim2=2).clamp(min=0.0) ** 0.25, gains
