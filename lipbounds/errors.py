"""The exceptions of lipbounds: each says which argument, the value got, the value wanted and the remedy."""

from __future__ import annotations

__all__ = ["InconsistentBounds", "InvalidInput", "LipboundsError", "NotConverged", "NotInvertible"]


class LipboundsError(Exception):
    """Base class of every error that lipbounds and inn raise on purpose."""


class InvalidInput(LipboundsError, ValueError):
    """An argument that no result could be computed from.

    Args:
        name: Name of the argument as the caller knows it.
        got: The offending value, or the part of it that offends.
        wanted: The condition that it should satisfy.
        remedy: What the caller can do.

    Example:
        >>> str(InvalidInput("sigma", -1.0, "a number > 0", "pass a standard deviation"))
        'sigma: got -1.0, wanted a number > 0; pass a standard deviation'
    """

    def __init__(self, name: str, got: object, wanted: str, remedy: str) -> None:
        self.name = name
        self._arguments = (name, str(got), wanted, remedy)
        super().__init__(f"{name}: got {got}, wanted {wanted}; {remedy}")

    def renamed(self, name: str) -> InvalidInput:
        """The same error under the name that the caller knows."""
        return type(self)(name, *self._arguments[1:])

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str, str, str]]:
        # exceptions cross process boundaries by pickle, which would call the class with the message alone
        return type(self), self._arguments


class NotConverged(LipboundsError, RuntimeError):
    """A solver stopped before its answer was certified; no value is returned."""


class InconsistentBounds(LipboundsError, ArithmeticError):
    """A lower bound lies above an upper bound of the same number: a defect of lipbounds, please report it."""


class NotInvertible(LipboundsError, ValueError):
    """A map handed over as invertible is not, on the points that were tried."""
