"""Monomials of d variables up to a degree, and how products of homogeneous parts are put together."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Monomials", "monomials"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Monomials:
    """Exponents in the order of degrees.

    Attributes:
        exponents: Shape (count, d).
        degrees: Shape (count,).
    """

    exponents: NDArray[np.intp]
    degrees: NDArray[np.intp]

    def of_degree(self, degree: int) -> NDArray[np.intp]:
        """Rows of the monomials of a degree."""
        return np.flatnonzero(self.degrees == degree)

    def row(self, exponents: NDArray[np.intp]) -> int:
        """The row of a monomial."""
        return int(np.flatnonzero((self.exponents == exponents).all(1))[0])

    def products(self, first: int, second: int) -> list[tuple[int, int, int]]:
        """Triples (i, j, k): monomial i of degree `first` times j of degree `second` is k."""
        pairs = itertools.product(self.of_degree(first).tolist(), self.of_degree(second).tolist())
        return [(i, j, self.row(self.exponents[i] + self.exponents[j])) for i, j in pairs]


@cache
def monomials(dim: int, degree: int) -> Monomials:
    """Return the monomials of `dim` variables up to a degree.

    Example:
        >>> monomials(2, 2).exponents.tolist()
        [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """
    rows = [
        [factors.count(variable) for variable in range(dim)]
        for total in range(degree + 1)
        for factors in itertools.combinations_with_replacement(range(dim), total)
    ]
    exponents = np.array(rows, dtype=np.intp).reshape(-1, dim)
    return Monomials(exponents, exponents.sum(1))
