"""What a layer knows of itself: the map in torch, and its inverse in ball arithmetic in three forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from flint import arb, arb_mat
from torch import Tensor

from lipbounds.arb import Row

__all__ = ["BoxInverse", "Layer", "PointInverse", "middle_of"]

PointInverse = Callable[[Row], Row]
"""From small balls about a point to balls that contain their preimages."""

BoxInverse = Callable[[Row, Row], tuple[Row, Row, arb_mat]]
"""From a box and its middle to their preimages, and the derivative of the inverse on the box."""


def middle_of(box: Row) -> Row:
    """Return the middle of a box, exact."""
    return [value.mid() for value in box]


class Layer(ABC):
    """A layer of T, plain data in float64.

    Methods that return functions prepare them (constants become balls) in the working precision of the moment.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension d of the space on which the layer acts."""

    @abstractmethod
    def forward(self) -> Callable[[Tensor], Tensor]:
        """Return the layer as a differentiable function of rows in float64."""

    @abstractmethod
    def inverse(self) -> Callable[[Tensor], Tensor]:
        """Return its inverse likewise."""

    @abstractmethod
    def point_inverse(self) -> PointInverse:
        """Return the inverse at points, as tight as the working precision allows."""

    @abstractmethod
    def box_inverse(self) -> BoxInverse:
        """Return the inverse on boxes, with its derivative."""

    @abstractmethod
    def constant_of_inverse(self, box: Row) -> tuple[Row, arb]:
        """Return the preimage of a box and an upper bound of the inverse's Lipschitz constant on it, from norms of matrices."""

    def simple(self) -> Sequence[Layer]:
        """Return the same map as layers of the simplest kinds, in the order of the forward map."""
        return (self,)
