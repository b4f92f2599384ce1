r"""How a coupling turns an output r of its conditioner into a scale: $e^{s}$ with $s=a\,\varphi(r/b+c)$.

Every library clamps the logarithm of the scale in its own way; $\varphi$ is an activation, so a scale knows all that activations
know.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flint import arb
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.arctan import ARCTAN
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.log_offset import LogOffset
from lipbounds.maps.activations.logistic import SIGMOID, SOFTPLUS
from lipbounds.maps.activations.softsign import SOFTSIGN
from lipbounds.maps.activations.tanh import TANH

__all__ = [
    "Scale",
    "arctan_scale",
    "as_scale",
    "exponential_scale",
    "freia_scale",
    "sigmoid_scale",
    "softplus_scale",
    "softsign_scale",
    "tanh_scale",
]


@dataclass(frozen=True)
class Scale:
    r"""$s=a\,\varphi(r/b+c)$, the logarithm of a coupling's scale.

    Attributes:
        function: $\varphi$.
        outer: a.
        divisor: b, not 0.
        shift: c.
        unrounded: Gives a as a ball, where it is no double.
    """

    function: Activation
    outer: float = 1.0
    divisor: float = 1.0
    shift: float = 0.0
    unrounded: Callable[[], arb] | None = None

    @property
    def inner(self) -> float:
        """1 / b, rounded."""
        return 1 / self.divisor

    def _outer(self) -> arb:
        return arb(self.outer) if self.unrounded is None else self.unrounded()

    def log(self, raw: Tensor) -> Tensor:
        """Return s, differentiable."""
        moved = raw if self.divisor == 1.0 else raw / self.divisor
        return self.outer * self.function.torch(moved + self.shift if self.shift else moved)

    def ball(self, raw: arb) -> arb:
        """Return s over a ball."""
        return self._outer() * self.function.ball(raw / arb(self.divisor) + arb(self.shift))

    def slope_ball(self, raw: arb) -> arb:
        """Return the derivative of s over a ball."""
        divisor = arb(self.divisor)
        return self._outer() / divisor * self.function.slope_ball(raw / divisor + arb(self.shift))


def _bound(name: str, value: float) -> float:
    if not 0.0 < value < math.inf:
        raise InvalidInput(name, value, "a finite number > 0", "it bounds |s|")
    return float(value)


def _two_over_pi(alpha: float) -> arb:
    return 2 * arb(alpha) / arb.pi()


def arctan_scale(alpha: float) -> Scale:
    r"""Return $s=\frac{2\alpha}\pi\arctan(r/\alpha)$, the clamp of the paper, |s| < alpha.

    Source:
        Hagemann and Neumayer (2022), Section 4, "Enforcing the Lipschitz Constraint".

    Example:
        >>> round(float(arctan_scale(2.0).ball(arb(2))), 9)
        1.0
    """
    alpha = _bound("clamp", alpha)
    return Scale(ARCTAN, 2.0 * alpha / math.pi, alpha, unrounded=partial(_two_over_pi, alpha))


def freia_scale(alpha: float) -> Scale:
    r"""Return $s=0.636\,\alpha\arctan(r)$, the present clamp of FrEIA, where 0.636 stands for 2/pi.

    Args:
        alpha: FrEIA's `clamp`.
    """
    return Scale(ARCTAN, 0.636 * _bound("clamp", alpha))


def softsign_scale(bound: float) -> Scale:
    r"""Return $s=r/(1+|r|/\beta)$, |s| < beta, as in zuko, where beta = ln 1000."""
    bound = _bound("bound", bound)
    return Scale(SOFTSIGN, bound, bound)


def tanh_scale(bound: float, divisor: float = 1.0) -> Scale:
    r"""Return $s=\alpha\tanh(r/b)$ with alpha the bound and b the divisor; FrEIA takes b = 1, others b = alpha."""
    return Scale(TANH, _bound("bound", bound), divisor)


def sigmoid_scale(offset: float = 2.0, *, inverted: bool = False, least: float = 0.0) -> Scale:
    r"""Return the scale $\sigma(r+c)$ or its inverse, $s=\mp\log(1+e^{-(r+c)})$, as in Glow and normflows, where c = 2.

    Args:
        offset: c.
        inverted: Whether the scale is 1 / sigma.
        least: Added to sigma, as the 1e-3 of nflows; not with `inverted`.
    """
    if least:
        if inverted:
            raise InvalidInput("least", least, "0 with inverted", "no library has both")
        return Scale(LogOffset(SIGMOID, least), shift=offset)
    return Scale(SOFTPLUS, 1.0 if inverted else -1.0, -1.0, -offset)


def softplus_scale(offset: float = 1e-3) -> Scale:
    r"""Return the scale $\log(1+e^{r})+c$ as in nflows, where c = 1e-3."""
    return Scale(LogOffset(SOFTPLUS, offset))


def exponential_scale() -> Scale:
    """Return s = r: no clamp."""
    return Scale(LINEAR)


def as_scale(scale: Scale | float) -> Scale:
    """Return a scale; a number is the bound of the paper's clamp."""
    return scale if isinstance(scale, Scale) else arctan_scale(scale)
