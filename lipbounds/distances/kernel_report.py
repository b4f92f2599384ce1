r"""What is known about a kernel: positive definite or not, a metric or not, and whether Remark 1 of the paper covers it.

Facts follow from the families of the terms. Powers $(t+b)^{-a}$ and both exponentials are mixtures of Gaussians in
$t=|x-y|^2$ (Schoenberg), so strictly positive definite in every dimension; their Fourier transforms are known:

| term | integrable on R^m | Fourier transform decays like |
|---|---|---|
| $(\lvert x\rvert^2+b)^{-a}$ | iff 2a > m | $e^{-\sqrt b\lvert\xi\rvert}$ up to powers (a Bessel function) |
| $e^{-\lvert x\rvert^2/b}$ | yes | $e^{-b\lvert\xi\rvert^2/4}$ |
| $e^{-\lvert x\rvert/b}$ | yes | $(1+b^2\lvert\xi\rvert^2)^{-(m+1)/2}$ |
| $-\lvert x\rvert$ | no | $\lvert\xi\rvert^{-m-1}$, conditionally positive definite |

Remark 1 asks for an integrable kernel in C_0 whose Fourier transform decays no faster than a power. It covers neither the
kernel of the paper's Section 4 nor that of the authors' program; both metrize weak convergence by another theorem
(Simon-Gabriel, Barp, Schölkopf and Mackey, Metrizing weak convergence with maximum mean discrepancies, 2023: bounded,
continuous, in C_0 and integrally strictly positive definite over finite signed measures).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor

from lipbounds.distances.kernels import Family, Kernel
from lipbounds.errors import InvalidInput

__all__ = ["Indefinite", "KernelReport", "kernel_report"]

Array = NDArray[np.float64]
Decay = Literal["power", "exponential", "gaussian"]

POINTS = 40  # of a trial Gram matrix
SCALES = (0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Indefinite:
    """A witness that a kernel is not positive definite: sum c_i c_j K(x_i, x_j) < 0.

    Attributes:
        points: Shape (n, d).
        coefficients: Shape (n,).
        value: The sum, below what rounding explains.
    """

    points: Array
    coefficients: Array
    value: float


@dataclass(frozen=True, eq=False)
class KernelReport:
    """What holds for a kernel on R^m; None where it is not known.

    Attributes:
        dim: The dimension m.
        positive_definite: Whether all Gram matrices are positive definite.
        indefinite: A witness against it, if the search found one.
        metric: Whether D_K is a metric on the measures where it is finite (integrally strictly positive definite, or
            conditionally so).
        bounded: Whether K is bounded, as Section 2 of the paper asks.
        integrable: Whether psi is in L^1(R^m).
        fourier_decay: How fast the Fourier transform decays; the slowest term decides.
        remark_1: Whether the hypotheses of Remark 1 hold.
        metrizes: Whether D_K metrizes weak convergence of probability measures, by Remark 1 or the other theorem.
    """

    dim: int
    positive_definite: bool | None
    indefinite: Indefinite | None
    metric: bool | None
    bounded: bool | None
    integrable: bool | None
    fourier_decay: Decay | None
    remark_1: bool | None
    metrizes: bool | None


def kernel_report(kernel: Kernel | Callable[[Tensor], Tensor], dim: int, *, seed: int = 0) -> KernelReport:
    """Report what holds for a kernel on R^dim.

    Args:
        kernel: A kernel, or any function of squared distances; for the latter only a witness against it can be found.
        dim: Dimension.
        seed: Seed of the points that the search for a witness draws.

    Raises:
        InvalidInput: For dim < 1.

    Source:
        Hagemann and Neumayer (2022), "Discrepancies" and Remark 1.

    Example:
        >>> from lipbounds.distances.kernels import InverseMultiquadric, Laplace
        >>> kernel_report(Laplace(), 2).remark_1, kernel_report(InverseMultiquadric(), 2).remark_1
        (True, False)
    """
    if dim < 1:
        raise InvalidInput("dim", dim, "an integer >= 1", "give the dimension of the space")
    witness = _indefinite(kernel, dim, seed)
    if not isinstance(kernel, Kernel) or any((t.weight > 0) is (t.family is Family.ROOT) for t in kernel.terms):
        known = False if witness is not None else None
        return KernelReport(dim, known, witness, None, None, None, None, None, None)
    families = {term.family for term in kernel.terms}
    rooted = Family.ROOT in families
    integrable = not rooted and all(2 * t.exponent > dim for t in kernel.terms if t.family is Family.POWER)
    decays: dict[Family, Decay] = {
        Family.EXPONENTIAL: "power",
        Family.ROOT: "power",
        Family.POWER: "exponential",
        Family.SQUARED_EXPONENTIAL: "gaussian",
    }
    decay = next(rate for family, rate in decays.items() if family in families)  # the slowest
    return KernelReport(
        dim=dim,
        positive_definite=not rooted,
        indefinite=witness,
        metric=True,
        bounded=not rooted,
        integrable=integrable,
        fourier_decay=decay,
        remark_1=integrable and decay == "power",
        metrizes=None if rooted else True,
    )


def _indefinite(kernel: Kernel | Callable[[Tensor], Tensor], dim: int, seed: int) -> Indefinite | None:
    """Look for a Gram matrix with an eigenvalue below what rounding explains."""
    rng = np.random.default_rng(seed)
    for scale in SCALES:
        points = scale * rng.standard_normal((POINTS, dim))
        entries = kernel(torch.from_numpy(cdist(points, points, "sqeuclidean")))
        gram = entries.double().numpy()
        values, vectors = np.linalg.eigh(gram)
        # backward error of the eigenvalues and of the entries, both in the norm of the matrix
        if values[0] < -4 * POINTS * torch.finfo(entries.dtype).eps * np.abs(gram).sum(1).max():
            return Indefinite(points, vectors[:, 0], float(values[0]))
    return None
