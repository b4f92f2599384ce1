"""Segments followed to their steepest parts: a jump is found however thin it is, by values of the map alone."""

from __future__ import annotations

import torch
from torch import Tensor

from lipbounds.search.evaluation import Evaluation, Places
from lipbounds.search.rounding_noise import lengths

__all__ = ["follow"]

PARTS = 10  # of a segment; the steepest is kept
ALONG = 1e-3  # of a pair's length: steps of differences about it, at most


def follow(evaluation: Evaluation, a: Tensor, b: Tensor, cuts: int) -> Places:
    """Cut segments from a to b in ten parts and keep the steepest of each, again and again; returns places there.

    Of a place the value is that of the pair followed, or, in few dimensions, of a steeper pair about its middle.

    Of the parts of a segment one is at least as steep as the whole, so quotients never fall.
    """
    inner = torch.arange(1, PARTS, dtype=a.dtype)[:, None, None] / PARTS
    rows = torch.arange(len(a))
    image_a, image_b = evaluation.images(torch.cat((a, b))).chunk(2)
    values = evaluation.quotients(a, b, image_a, image_b)
    for _ in range(cuts):
        if evaluation.budget.spent or not len(a):
            break
        between = a + inner * (b - a)
        image = evaluation.images(between.flatten(0, 1)).reshape(PARTS - 1, len(a), -1)
        nodes, images = torch.cat((a[None], between, b[None])), torch.cat((image_a[None], image, image_b[None]))
        jumps = torch.linalg.vector_norm(images.diff(dim=0), dim=2)
        part = jumps.argmax(0) if evaluation.quantity == "largest" else jumps.argmin(0)
        a, b, image_a, image_b = nodes[part, rows], nodes[part + 1, rows], images[part, rows], images[part + 1, rows]
        values = evaluation.quotients(a, b, image_a, image_b)
    apart = lengths(b - a)
    followed = Places(0.5 * (a + b), values, (b - a) / apart.clamp_min(1e-300)[:, None])
    if not evaluation.few_directions:
        return followed
    steepest = evaluation.steepest(followed.points, ALONG * apart)
    return steepest if evaluation.quantity == "condition" else steepest.better(followed)
