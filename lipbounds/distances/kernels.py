r"""Radial kernels K(x, y) = k(|x - y|^2), as objects.

Every kernel is a sum of terms of four families, so that one compiled loop evaluates all of them with their derivatives, and
facts about a kernel (`kernel_report`) follow from those of its terms.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from lipbounds.errors import InvalidInput

__all__ = [
    "KINEMATICS_BACKWARD",
    "KINEMATICS_LATENT",
    "Energy",
    "Family",
    "Gaussian",
    "InverseMultiquadric",
    "InverseQuadratic",
    "Kernel",
    "Laplace",
    "RationalQuadratic",
    "Sum",
    "Term",
]

PAPER_SCALES = (0.05, 0.2, 0.9)
LARGEST_LOG = 600.0
KINEMATICS_BACKWARD = ((1.183, 0.2), (1.183, 1.0), (1.183, 2.0))
KINEMATICS_LATENT = ((0.2, 2.0), (1.5, 2.0), (3.0, 2.0))


class Family(IntEnum):
    """The form of a term, as a function of t = |x - y|^2."""

    POWER = 0
    r"""$w\,(t+b)^{-a}$"""
    SQUARED_EXPONENTIAL = 1
    r"""$w\,e^{-t/b}$"""
    EXPONENTIAL = 2
    r"""$w\,e^{-\sqrt t/b}$"""
    ROOT = 3
    r"""$w\sqrt t$"""


class Term(NamedTuple):
    """One summand of a kernel; numbers that its family does not use are 0."""

    family: Family
    weight: float
    offset: float
    exponent: float


class Kernel(ABC):
    """A radial kernel. Kernels add: `Gaussian(0.5) + Energy()`."""

    @property
    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """The summands."""

    def __call__(self, squared_distance: Tensor) -> Tensor:
        """Return the kernel elementwise from squared distances; differentiable."""
        parts = [_evaluate(term, squared_distance) for term in self.terms]
        return sum(parts[1:], start=parts[0])

    @property
    def at_zero(self) -> float:
        """K(x, x)."""
        return float(self(torch.zeros((), dtype=torch.float64)))

    def __add__(self, other: Kernel) -> Sum:
        """The sum of two kernels."""
        return Sum((self, other))


def _evaluate(term: Term, t: Tensor) -> Tensor:
    match term.family:
        case Family.POWER:
            base = t + term.offset
            return term.weight * (base.rsqrt() if term.exponent == 0.5 else base.pow(-term.exponent))
        case Family.SQUARED_EXPONENTIAL:
            return term.weight * torch.exp(-t / term.offset)
        case Family.EXPONENTIAL:
            return term.weight * torch.exp(-_root(t) / term.offset)
        case Family.ROOT:
            return term.weight * _root(t)


def _root(t: Tensor) -> Tensor:
    """The square root, whose slope at 0 is taken as 0: it meets x - y = 0 in every gradient."""
    positive = t > 0
    return torch.where(positive, torch.where(positive, t, 1.0).sqrt(), 0.0)


def _positive(name: str, values: Sequence[float]) -> None:
    if not isinstance(values, Sequence):
        raise InvalidInput(name, values, "a sequence of numbers > 0", f"pass ({values},) for one scale")
    if not values or not all(0.0 < value < float("inf") for value in values):
        raise InvalidInput(name, tuple(values), "finite numbers > 0", f"the paper uses the scales {PAPER_SCALES}")


@dataclass(frozen=True)
class InverseMultiquadric(Kernel):
    r"""$K(x,y)=\sum_r r^2/\sqrt{|x-y|^2+r^2}$, the kernel printed in the paper; $K(x,x)=\sum_r r$.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Model Specification and Discretization".

    Example:
        >>> round(InverseMultiquadric().at_zero, 2)
        1.15
    """

    scales: tuple[float, ...] = PAPER_SCALES

    def __post_init__(self) -> None:
        _positive("scales", self.scales)

    @property
    def terms(self) -> tuple[Term, ...]:
        """One power term a scale."""
        return tuple(Term(Family.POWER, r * r, r * r, 0.5) for r in self.scales)


@dataclass(frozen=True)
class InverseQuadratic(Kernel):
    r"""$K(x,y)=\sum_r r^2/(|x-y|^2+r^2)$, the kernel of the authors' program; $K(x,x)$ is the number of scales.

    The values called $\mathcal{D}_K$ in Table 2 of the paper are biased squared discrepancies with this kernel.
    """

    scales: tuple[float, ...] = PAPER_SCALES

    def __post_init__(self) -> None:
        _positive("scales", self.scales)

    @property
    def terms(self) -> tuple[Term, ...]:
        """One power term a scale."""
        return tuple(Term(Family.POWER, r * r, r * r, 1.0) for r in self.scales)


@dataclass(frozen=True)
class RationalQuadratic(Kernel):
    r"""$K(x,y)=\sum_{(C,a)}C^a\big((C+|x-y|^2)/a\big)^{-a}$, which the authors' program trains the kinematics networks with.

    $K(x,x)=\sum a^a$. The default pairs are those of the backward pass; `KINEMATICS_LATENT` are those of the latent one.
    """

    pairs: tuple[tuple[float, float], ...] = KINEMATICS_BACKWARD

    def __post_init__(self) -> None:
        _positive("pairs", [number for pair in self.pairs for number in pair])
        if max(a * max(math.log(a), math.log(c * a)) for c, a in self.pairs) > LARGEST_LOG:
            raise InvalidInput("pairs", self.pairs, "(C a)^a and a^a below e^600", "use smaller exponents")

    @property
    def terms(self) -> tuple[Term, ...]:
        """One power term a pair."""
        return tuple(Term(Family.POWER, (c * a) ** a, c, a) for c, a in self.pairs)


@dataclass(frozen=True)
class Gaussian(Kernel):
    r"""$K(x,y)=\sum_s e^{-|x-y|^2/(2s^2)}$; between Gaussian mixtures `discrepancy_of_mixtures` is its closed form."""

    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        _positive("scales", self.scales)

    @property
    def terms(self) -> tuple[Term, ...]:
        """One term a scale."""
        return tuple(Term(Family.SQUARED_EXPONENTIAL, 1.0, 2.0 * s * s, 0.0) for s in self.scales)


@dataclass(frozen=True)
class Laplace(Kernel):
    r"""$K(x,y)=\sum_s e^{-|x-y|/s}$, the kernel that satisfies Remark 1: its Fourier transform decays like a power."""

    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        _positive("scales", self.scales)

    @property
    def terms(self) -> tuple[Term, ...]:
        """One term a scale."""
        return tuple(Term(Family.EXPONENTIAL, 1.0, s, 0.0) for s in self.scales)


@dataclass(frozen=True)
class Energy(Kernel):
    r"""$K(x,y)=-|x-y|$: $\mathcal{D}_K^2$ is the energy distance.

    Conditionally positive definite (for masses that cancel), neither bounded nor integrable.
    """

    @property
    def terms(self) -> tuple[Term, ...]:
        """One term."""
        return (Term(Family.ROOT, -1.0, 0.0, 0.0),)


@dataclass(frozen=True)
class Sum(Kernel):
    """The sum of kernels."""

    parts: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InvalidInput("parts", self.parts, "at least one kernel", "add kernels with +")

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of all parts."""
        return tuple(term for part in self.parts for term in part.terms)
