r"""Bounds of whole layers from the norms of their weights: products of matrix norms, and inequality (13) with its constants.

The coupling layer $S(x_1,x_2)=(x_1,x_2\odot e^{s(x_1)}+t(x_1))$ with $|s_i|\le\alpha$ has on $[-M,M]^d$ the derivative
$$DS=\begin{pmatrix}I&0\\ \mathrm{diag}(x_2e^{s})\,s'+t'&\mathrm{diag}(e^s)\end{pmatrix},
\qquad D(S^{-1})=\begin{pmatrix}I&0\\
-\mathrm{diag}((v_2-t)e^{-s})s'-\mathrm{diag}(e^{-s})t'&\mathrm{diag}(e^{-s})\end{pmatrix},$$
so with $|t_i|\le\tau$ on the box both have a norm of at most the largest singular value of
$$\begin{pmatrix}1&0\\ c_1\mathrm{Lip}(s)+c_2\mathrm{Lip}(t)&c\end{pmatrix}\ \le\ c+c_1\mathrm{Lip}(s)+c_2\mathrm{Lip}(t),$$
with $c=e^\alpha$ and, for S, $c_1=Me^\alpha$, $c_2=1$; for $S^{-1}$, $c_1=(M+\tau)e^\alpha$, $c_2=e^\alpha$. The sum is (13) of
the paper; the singular value is sharper. The bounds of a network are products, on boxes that grow layer by layer:
$|x_2e^s+t|\le Me^\alpha+\tau$.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from lipbounds.arb import Row, column, ends, high_end, spectral_norm, working_precision
from lipbounds.enclosure import Enclosure, Guarantee
from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation, get_activation
from lipbounds.maps.conditioner import Conditioner

__all__ = [
    "CouplingNumbers",
    "LayerConstants",
    "ball_constant",
    "bound_of_coupling",
    "bound_of_linear",
    "bound_of_network",
    "bound_of_residual",
    "lipschitz_of_mlp",
    "network_over_box",
    "rows_of",
]

Array = NDArray[np.float64]

BITS = 128  # of precision: rounding is far below that of a double


def lipschitz_of_mlp(weights: Sequence[Array], activation: str | Activation) -> Enclosure:
    r"""Bound the Lipschitz constant of a fully connected network by $\prod_i\|A_i\|_2$ times the slopes of its activations.

    Args:
        weights: The matrices $A_1,\dots,A_l$, input side first, A_i of shape (out, in).
        activation: Name of the activation between the layers.

    Returns:
        A CERTIFIED enclosure [0, upper]; singular values and their product in ball arithmetic.

    Raises:
        InvalidInput: For matrices that do not fit, or an unknown activation.

    Source:
        Hagemann and Neumayer (2022), Section 4, behind (13).

    Example:
        >>> round(lipschitz_of_mlp([np.array([[3.0], [4.0]]), np.array([[1.0, 0.0]])], "relu").upper, 6)
        5.0
    """
    if not weights:
        raise InvalidInput("weights", "no matrix", "at least one", "pass the matrices in order")
    for before, after in itertools.pairwise(weights):
        if after.shape[1] != before.shape[0]:
            raise InvalidInput("weights", (before.shape, after.shape), "matrices that compose", "input side first")
    if not all(np.isfinite(matrix).all() for matrix in weights):
        raise InvalidInput("weights", "NaN or infinite entries", "finite matrices", "train the network again")
    with working_precision(BITS):
        kind = get_activation(activation) if isinstance(activation, str) else activation
        upper = high_end(ball_constant(weights, kind))
    return Enclosure(0.0, upper, Guarantee.CERTIFIED, "product of matrix norms in ball arithmetic")


def bound_of_linear(matrix: Array, *, inverse: bool = False) -> Enclosure:
    r"""Bound the spectral norm of a linear layer, or of its inverse, in ball arithmetic.

    For layers that are meant to be orthogonal or of spectral norm 1. Training normalises by power iteration, which
    approaches the norm from below: what it leaves is a little steeper than it claims, and this says how much.

    Args:
        matrix: Shape (m, d), square and invertible for the inverse.
        inverse: Whether the inverse layer is meant.

    Returns:
        A CERTIFIED enclosure from 0.

    Raises:
        InvalidInput: For a matrix that is not finite, or not proven invertible.

    Example:
        >>> turn = np.array([[0.6, -0.8], [0.8, 0.6]])
        >>> 1.0 <= bound_of_linear(turn).upper < 1 + 1e-12
        True
    """
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise InvalidInput("matrix", f"shape {matrix.shape}", "a finite matrix", "pass the weights of one layer")
    with working_precision(BITS):
        exact = arb_mat(matrix.tolist())
        if inverse:
            try:
                exact = exact.inv()
            except (ZeroDivisionError, ValueError) as error:
                raise InvalidInput(
                    "matrix", f"shape {matrix.shape}, {error}", "an invertible matrix", "it has no inverse"
                ) from error
        return Enclosure(0.0, ends(spectral_norm(exact))[1], Guarantee.CERTIFIED, "singular values in ball arithmetic")


def bound_of_residual(weights: Sequence[Array], activation: str) -> tuple[Enclosure, Enclosure]:
    r"""Bound Lip(S) and Lip(S^{-1}) of the residual layer $S(x)=x+g(x)$ of an iResNet, g a fully connected network.

    With c the product of the spectral norms and of the activations' slopes, $\mathrm{Lip}(S)\le1+c$ and, for c < 1,
    $\mathrm{Lip}(S^{-1})\le1/(1-c)$. Both are attained by linear g.

    Args:
        weights: Matrices of g, input side first.
        activation: Name of the activation between them.

    Returns:
        CERTIFIED enclosures from 0; that of the inverse is infinite for c >= 1, where the layer need not be invertible.

    Raises:
        InvalidInput: As `lipschitz_of_mlp`.

    Source:
        Behrmann, Grathwohl, Chen, Duvenaud and Jacobsen (2019), Lemma 2; Section 4 of the paper for invertible residual networks.

    Example:
        >>> forward, inverse = bound_of_residual([-0.5 * np.eye(2)], "linear")
        >>> round(forward.upper, 9), round(inverse.upper, 9)
        (1.5, 2.0)
    """
    lipschitz_of_mlp(weights, activation)  # checks
    with working_precision(BITS):
        c = ball_constant(weights, get_activation(activation))
        method = "product of singular values in ball arithmetic"
        forward = Enclosure(0.0, ends(1 + c)[1], Guarantee.CERTIFIED, method)
        upper = ends(1 / (1 - c))[1] if c < 1 else math.inf
        return forward, Enclosure(0.0, upper, Guarantee.CERTIFIED, method)


def ball_constant(weights: Sequence[Array], activation: Activation) -> arb:
    """Bound the constant of a fully connected network in ball arithmetic: norms of matrices and slopes, multiplied."""
    c = arb(activation.slope) ** (len(weights) - 1)
    for matrix in weights:
        c *= spectral_norm(arb_mat(matrix.tolist()))
    return c


def network_over_box(network: Conditioner, inputs: Row) -> tuple[Row, arb, arb_mat]:
    r"""Follow a box of inputs through a network, with the constants of its layers there.

    With W_i the matrices and D_i the largest slopes of the units on the box, the constant is at most
    $\|W_lD_{l-1}\|_2\cdots\|W_2D_1\|_2\|W_1\|_2$.

    Returns:
        The outputs over the box, the constant of all before the last matrix, and the last matrix times the slopes before it.
    """
    values, constant = inputs, arb(1)
    slopes: list[float] | None = None
    matrix = arb_mat(0, 0)
    for index, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        exact = arb_mat(weights.tolist())
        product = exact * column(values)
        values = [product[i, 0] + arb(b) for i, b in enumerate(bias.tolist())]
        matrix = (
            exact
            if slopes is None
            else arb_mat([[arb(w) * s for w, s in zip(row, slopes, strict=True)] for row in weights.tolist()])
        )
        if index < len(network.weights) - 1:
            constant *= spectral_norm(matrix)
            slopes = [high_end(abs(slope)) for slope in network.kind.slope_balls(values)]
            values = network.kind.balls(values)
    return values, constant, matrix


def rows_of(matrix: arb_mat, start: int, stop: int) -> arb_mat:
    """Some rows of a matrix."""
    return arb_mat([[matrix[i, j] for j in range(matrix.ncols())] for i in range(start, stop)])


@dataclass(frozen=True)
class CouplingNumbers:
    """What inequality (13) needs to know of a coupling layer.

    Attributes:
        lip_s: Bound of Lip(s), s after its clamp.
        lip_t: Bound of Lip(t).
        clamp: alpha, bound of |s_i|.
        largest_t: Bound of |t_i| on the box that the layer sees.
    """

    lip_s: float
    lip_t: float
    clamp: float
    largest_t: float

    def __post_init__(self) -> None:
        values = (self.lip_s, self.lip_t, self.clamp, self.largest_t)
        if not all(0.0 <= value < math.inf for value in values):
            raise InvalidInput("lip_s, lip_t, clamp, largest_t", values, "finite numbers >= 0", "clamp s and t")


@dataclass(frozen=True)
class LayerConstants:
    """The constants c, c_1 and c_2 of inequality (13), in ball arithmetic."""

    c: arb
    c1: arb
    c2: arb

    @classmethod
    def of(cls, numbers: CouplingNumbers, radius: float, *, inverse: bool) -> LayerConstants:
        """Those of S, or of S^{-1}, on the box [-radius, radius]^d."""
        if not 0.0 <= radius < math.inf:
            raise InvalidInput("radius", radius, "a finite number >= 0", "the bound is on a box")
        c = arb(numbers.clamp).exp()
        return cls(c, (arb(radius) + numbers.largest_t) * c, c) if inverse else cls(c, radius * c, arb(1))

    def bound(self, numbers: CouplingNumbers, *, printed: bool) -> arb:
        """The sum of (13), or the singular value."""
        below = self.c1 * numbers.lip_s + self.c2 * numbers.lip_t
        if printed:
            return self.c + below
        # sigma^2 of ((1, 0), (b, c)): half the sum of squares s and the root of s^2 - 4 c^2, which factors without cancelling
        squares = 1 + below * below + self.c * self.c
        apart = ((self.c - 1) ** 2 + below * below) * ((self.c + 1) ** 2 + below * below)
        return ((squares + apart.sqrt()) / 2).sqrt()


def bound_of_coupling(numbers: CouplingNumbers, radius: float, *, inverse: bool, printed: bool = False) -> Enclosure:
    """Bound Lip(S), or Lip(S^{-1}), on the box [-radius, radius]^d.

    Args:
        numbers: Of the layer.
        radius: Half the side of the box.
        inverse: Whether the inverse is meant; the box is then in its domain.
        printed: The sum of (13) instead of the singular value.

    Returns:
        A CERTIFIED enclosure of the right-hand side of (13) for these numbers: its upper end bounds the constant.

    Source:
        Hagemann and Neumayer (2022), (13).

    Example:
        >>> layer = CouplingNumbers(lip_s=0.0, lip_t=1.0, clamp=0.0, largest_t=1.0)
        >>> [round(bound_of_coupling(layer, 1.0, inverse=False, printed=p).upper, 6) for p in (False, True)]
        [1.618034, 2.0]
    """
    with working_precision(BITS):
        low, high = ends(LayerConstants.of(numbers, radius, inverse=inverse).bound(numbers, printed=printed))
    return Enclosure(low, high, Guarantee.CERTIFIED, "(13)" if printed else "(13) with the singular value")


def bound_of_network(layers: Sequence[CouplingNumbers], radius: float, *, inverse: bool, printed: bool = False) -> Enclosure:
    """Bound the constant of a composition of coupling layers (with any permutations between them) on a box.

    Args:
        layers: In the order in which they act: data side first, or for the inverse latent side first.
        radius: Half the side of the first box.
        inverse: Whether the layers act by their inverses.
        printed: As in `bound_of_coupling`.

    Returns:
        A CERTIFIED enclosure of the product, infinite above beyond the doubles; its upper end bounds the constant. It always
        exists and is large, a product of worst cases.

    Example:
        >>> layer = CouplingNumbers(lip_s=0.0, lip_t=0.0, clamp=0.5, largest_t=0.0)
        >>> round(bound_of_network([layer] * 4, 1.0, inverse=True).upper, 4)  # exp(4 * 0.5)
        7.3891
    """
    with working_precision(BITS):
        value, reached = arb(1), arb(radius)
        for numbers in layers:
            # the box in the doubles, as (13) is stated for numbers; a radius rounded up only makes the bound larger
            value *= LayerConstants.of(numbers, high_end(reached), inverse=inverse).bound(numbers, printed=printed)
            # |v_2 - t| <= radius + largest_t before it is divided
            grown = (reached + numbers.largest_t) * arb(numbers.clamp).exp()
            reached = arb(high_end(reached.max(grown if inverse else reached * arb(numbers.clamp).exp() + numbers.largest_t)))
            if not high_end(reached) < math.inf:
                return Enclosure(ends(value)[0], math.inf, Guarantee.CERTIFIED, "beyond the doubles")
        low, high = ends(value)
    return Enclosure(max(0.0, low), high, Guarantee.CERTIFIED, "product of layers")
