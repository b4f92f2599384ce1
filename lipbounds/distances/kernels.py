"""Positive definite radial kernels, as functions of the squared distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lipbounds.errors import InvalidInput

__all__ = ["InverseMultiquadric", "InverseQuadratic", "Kernel"]

PAPER_SCALES = (0.05, 0.2, 0.9)


class Kernel(Protocol):
    """A radial kernel K(x, y) = k(|x - y|^2)."""

    def __call__(self, squared_distance: Tensor) -> Tensor:
        """Return k elementwise."""
        ...


def _check(scales: Sequence[float]) -> None:
    if not scales or min(scales) <= 0:
        raise InvalidInput("scales", tuple(scales), "numbers > 0", f"the paper uses {PAPER_SCALES}")


@dataclass(frozen=True)
class InverseMultiquadric:
    r"""$K(x,y)=\sum_r r^2/\sqrt{|x-y|^2+r^2}$, the kernel printed in the paper; $K(x,x)=\sum_r r$.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Model Specification and Discretization".

    Example:
        >>> import torch
        >>> round(float(InverseMultiquadric()(torch.tensor(0.0))), 2)
        1.15
    """

    scales: tuple[float, ...] = PAPER_SCALES

    def __post_init__(self) -> None:
        _check(self.scales)

    def __call__(self, squared_distance: Tensor) -> Tensor:
        """Return the kernel elementwise from squared distances."""
        terms = [r**2 * (squared_distance + r**2).rsqrt() for r in self.scales]
        return sum(terms[1:], start=terms[0])


@dataclass(frozen=True)
class InverseQuadratic:
    r"""$K(x,y)=\sum_r r^2/(|x-y|^2+r^2)$, the kernel of the authors' program; $K(x,x)$ is the number of scales.

    The values called $\mathcal{D}_K$ in Table 2 of the paper are biased squared discrepancies with this kernel.
    """

    scales: tuple[float, ...] = PAPER_SCALES

    def __post_init__(self) -> None:
        _check(self.scales)

    def __call__(self, squared_distance: Tensor) -> Tensor:
        """Return the kernel elementwise from squared distances."""
        terms = [r**2 / (squared_distance + r**2) for r in self.scales]
        return sum(terms[1:], start=terms[0])
