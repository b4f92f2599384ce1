r"""Errata E5 to E7: what the paper's text and its program disagree on, and two hypotheses that its own networks cannot meet.

E1 to E4 have statements of their own: `theorem_2`, `example_1`, `remark_2`. All are explained in docs/errata.

*E5.* "D_K" in Table 2 is the biased squared discrepancy with the program's kernel. Its mean between two independent samples of n
points of one law is $2(K(0)-E\,K(X,X'))/n$: a floor that no method can pass, not 0.

*E6.* $S(x_1,x_2)=(x_1,x_2e^{s(x_1)}+t(x_1))$ with a non-constant s has no global Lipschitz constant, so Corollary 1 says nothing
about the networks of equation (8) unless a domain is named (`domain_restriction`).

*E7.* Theorem 1 asks for a homeomorphism T with $T_y\circ X=Y$, so every fibre of the forward map must be homeomorphic to R^k. In
the kinematics experiment, with $u=\theta_1$, $v=\theta_2-\theta_1$, $w=\theta_3-\theta_2-\theta_1$, the fibre over $(y_1,y_2)$ is
the graph of h over $\{\frac12\cos u+\frac12\cos v+\cos w=y_2\}$. For $1<y_2<2$ its part with $|u|,|v|,|w|<\pi$ is a closed
surface: on the faces of this cube the sum is at most 1, and its critical values are 2, 1, 0, -1, -2 and no other. A compact
surface is no component of a set homeomorphic to the plane: even the unimodal posterior must be torn. At $\theta=0$ the gradient
of $y_2$ vanishes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lipbounds.enclosure import Enclosure
from lipbounds.errors import InvalidInput
from lipbounds.theorems.equation_13 import ClampedCoupling, Mlp
from lipbounds.theorems.remark_3 import lipschitz_on

__all__ = ["arm_height", "arm_height_gradient", "discrepancy_floor", "largest_on_faces", "steepness_at"]

Array = NDArray[np.float64]


def discrepancy_floor(at_zero: float, mean_kernel: float, n: int) -> float:
    r"""Return the mean of the biased $\mathcal{D}_K^2$ between two independent samples of n points of one law (E5).

    Args:
        at_zero: K(x, x); 3 for the program's kernel.
        mean_kernel: E K(X, X') for independent X and X' of the law.
        n: Number of points of each sample.

    Example:
        Table 2 is with 2000 points; its floor of 0.0024 means that the mean of the kernel is 0.6:

        >>> discrepancy_floor(3.0, 0.6, 2000)
        0.0024
    """
    if n < 1 or not mean_kernel <= at_zero:
        raise InvalidInput("n, mean_kernel", (n, mean_kernel), "n >= 1 and E K <= K(0)", "a kernel is largest at 0")
    return 2 * (at_zero - mean_kernel) / n


def steepness_at(radius: float) -> Enclosure:
    """Return a difference quotient of a coupling layer with s = clamped x_1, taken at x_2 = radius: it grows with it (E6).

    Example:
        >>> [round(steepness_at(radius).lower / radius, 3) for radius in (10.0, 1000.0)]
        [0.644, 0.637]
    """
    linear, zero = (Mlp([np.array([[slope]])], [np.zeros(1)], "linear") for slope in (1.0, 0.0))
    layer = ClampedCoupling(linear, zero, clamp=1.0, clamp_t=0.0)
    points = np.array([[-1e-6, radius], [1e-6, radius]])
    return lipschitz_on(points, layer.forward(points))


def arm_height(angles: Array) -> Array:
    """Return y_2 of the kinematics experiment from (u, v, w), shape (n, 3): cos u / 2 + cos v / 2 + cos w (E7).

    Source:
        Hagemann and Neumayer (2022), equation (14) with l = (0.5, 0.5, 1).

    Example:
        >>> arm_height(np.zeros((1, 3)))
        array([2.])
    """
    return np.asarray(np.cos(angles) @ np.array([0.5, 0.5, 1.0]))


def arm_height_gradient(angles: Array) -> Array:
    """Return the gradient of `arm_height`, shape (n, 3)."""
    return np.asarray(-np.sin(angles) * np.array([0.5, 0.5, 1.0]))


def largest_on_faces(points: int = 60) -> float:
    """Return the largest `arm_height` on the faces of the cube |u|, |v|, |w| <= pi: 1, at the middle of a face.

    Fibres over y_2 in (1, 2) do not meet the faces, so their part in the cube is compact.

    Example:
        >>> largest_on_faces()
        1.0
    """
    grid = np.linspace(-math.pi, math.pi, 2 * points + 1)
    first, second = (part.ravel() for part in np.meshgrid(grid, grid))
    largest = -math.inf
    for axis in range(3):
        face = np.insert(np.stack((first, second), 1), axis, math.pi, axis=1)
        largest = max(largest, float(arm_height(face).max()))
    return largest
