r"""The data of the 8 modes problem: modes on a circle, a colour for each, and what of it is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lipbounds.measures import GaussianMixture

__all__ = ["COLOURS", "CONTROLS", "LABELS", "MODES", "PICTURED", "WIDTH", "draw_of", "law_of_colour"]

WIDTH = 0.2
ANGLES = np.pi / 8 * (2 * np.arange(1, 9) - 1)
MODES = np.stack((np.cos(ANGLES), np.sin(ANGLES)), axis=1) / np.sin(np.pi / 8)
COLOURS = ("red", "blue", "green", "purple")
# colours of the modes in the order of their angles 22.5, 67.5, ... degrees
LABELS = {
    "first": (0, 0, 0, 0, 3, 2, 1, 1),  # `some` of the program, by Ardizzone et al.
    "second": (1, 0, 1, 0, 3, 0, 2, 0),  # `some2`, modes of one colour farther apart
}
PICTURED = 1200  # points of a panel
CONTROLS = ("noise padding", "large L2", "no L_x, no L_pad", "zero padding")
"""Figure 2: nothing changed, for comparison; what the penalty does to the modes, what the padding is used for, and what zeros
instead of noise do."""


def law_of_colour(labels: str, colour: int) -> GaussianMixture:
    """The exact posterior: the modes of one colour with equal weights."""
    means = MODES[[index for index, own in enumerate(LABELS[labels]) if own == colour]]
    return GaussianMixture(means, np.broadcast_to(WIDTH**2 * np.eye(2), (len(means), 2, 2)))


def draw_of(labels: str) -> Callable[[int, torch.Generator], tuple[Tensor, Tensor]]:
    """A source of pairs (x, unit vector of the colour)."""
    modes, own = torch.tensor(MODES, dtype=torch.float32), torch.tensor(LABELS[labels])

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(8, (n,), generator=generator)
        x = modes[index] + WIDTH * torch.randn(n, 2, generator=generator)
        return x, torch.eye(4)[own[index]]

    return draw
