"""Affine expressions of units, and the stages that compute them.

A tensor of the program is an affine function of the outputs of units. It is kept as the images of basis vectors, so whatever only
moves entries (views, slices, concatenation) is the same operation on each image. Entries are always those of the program: where
a product or a sum of coefficients would round, the expression becomes units of its own, which compute it as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput
from lipbounds.maps.activations import Activation
from lipbounds.maps.activations.linear import LINEAR
from lipbounds.maps.activations.partial import OnLastUnits
from lipbounds.maps.conditioner import Stage
from lipbounds.maps.feed_forward import FeedForward

__all__ = ["Expression", "Program", "are_powers", "exact_sum"]

MOST_ENTRIES = 2**27  # of a matrix, 1 GiB

Array = NDArray[np.float64]
Linear = Callable[[Tensor], Tensor]
Values = TypeVar("Values", Tensor, Array)


@dataclass(eq=False)
class Expression:
    """An affine function of units.

    Attributes:
        terms: For a group of units the images of its basis vectors, shape (units, *shape).
        constant: Shape (*shape).
    """

    terms: dict[int, Tensor]
    constant: Tensor

    @property
    def is_selection(self) -> bool:
        """Whether every entry is one unit or none, times a power of two: products with numbers do not round."""
        if bool((self.constant != 0).any()):
            return False
        used = torch.zeros_like(self.constant)
        for images in self.terms.values():
            used += (images != 0).sum(0)
        return bool((used <= 1).all()) and all(are_powers(images) for images in self.terms.values())

    def is_same(self, other: Expression) -> bool:
        """Whether two expressions have the same coefficients."""
        return (
            self.terms.keys() == other.terms.keys()
            and torch.equal(self.constant, other.constant)
            and all(torch.equal(images, other.terms[group]) for group, images in self.terms.items())
        )

    def moved(self, operation: Linear, on_constant: Linear | None = None) -> Expression:
        """Apply a linear operation whose results are entries or 0, and to the constant, perhaps, another."""
        every = torch.vmap(operation)
        terms = {group: every(images) for group, images in self.terms.items()}
        read = {group: images for group, images in terms.items() if bool(images.any())}
        return Expression(read, (on_constant or operation)(self.constant))


def are_powers(values: Tensor | Array) -> bool:
    """Whether all numbers are powers of two, of either sign, or 0: products with them do not round."""
    mantissa = np.abs(np.frexp(np.asarray(values))[0])
    return bool(((mantissa == 0.5) | (mantissa == 0)).all())


def exact_sum(a: Values, b: Values) -> Values | None:
    """Return the sum of two tensors or arrays, or None where it would round (Knuth's two-sum)."""
    total = a + b
    part = total - a
    return total if bool(((a - (total - part)) + (b - part) == 0).all()) else None


@dataclass(frozen=True, eq=False)
class _Group:
    """Units that one activation computes from an expression."""

    before: Expression
    activation: Activation
    size: int
    level: int


class Program:
    """Groups of units in the order in which they are found; the first is the input.

    Args:
        inputs: Dimension of the input.
    """

    def __init__(self, inputs: int) -> None:
        self._groups: list[_Group] = [_Group(Expression({}, torch.zeros(0)), LINEAR, inputs, 0)]
        self.input = self._units(0, torch.Size((1, inputs)))

    def _units(self, group: int, shape: torch.Size) -> Expression:
        size = self._groups[group].size
        return Expression(
            {group: torch.eye(size, dtype=torch.float64).reshape(size, *shape)}, torch.zeros(shape, dtype=torch.float64)
        )

    def activated(self, before: Expression, activation: Activation) -> Expression:
        """Return the units that an activation makes of an expression; its units run over the flattened tensor.

        What has been computed already is not computed again: twice the same neuron would have signs that exclude each other.
        """
        for number, group in enumerate(self._groups[1:], start=1):
            if group.activation is activation and group.before.is_same(before):
                return self._units(number, before.constant.shape)
        size = before.constant.numel()
        level = 1 + max((self._groups[group].level for group in before.terms), default=0)
        # settle replaces what an expression consists of: units keep what they were made from
        kept = Expression(before.terms, before.constant)
        self._groups.append(_Group(kept, activation, size, level))
        return self._units(len(self._groups) - 1, before.constant.shape)

    def is_activated(self, units: Expression, before: Expression, activation: Activation) -> bool:
        """Whether an expression is what an activation makes of another, entry by entry."""
        number = next(iter(units.terms), 0)
        group = self._groups[number]
        known = group.activation is activation and group.before.is_same(before)
        return known and units.is_same(self._units(number, before.constant.shape))

    def settle(self, expression: Expression) -> None:
        """Make an expression one of units of its own, if it is no selection of units."""
        if not expression.is_selection:
            units = self.activated(expression, LINEAR)
            expression.terms, expression.constant = units.terms, units.constant

    def weighted(self, expression: Expression, operation: Linear, constant: Tensor | None = None) -> Expression:
        """Apply an operation that multiplies by weights and sums, then add a constant."""
        self.settle(expression)
        if any(bool(((images != 0).reshape(len(images), -1).sum(1) > 1).any()) for images in expression.terms.values()):
            # a unit that stands in several entries would have the rounded sum of their weights
            expression = self.activated(expression, LINEAR)
        largest = max((len(images) for images in expression.terms.values()), default=0) * operation(expression.constant).numel()
        if largest > MOST_ENTRIES:
            raise InvalidInput("model", f"a matrix of {largest} entries", f"at most {MOST_ENTRIES}", "certify a smaller network")
        result = expression.moved(operation)
        if constant is not None:
            result.constant = result.constant + constant
        return result

    def scaled(self, expression: Expression, factor: Tensor) -> Expression:
        """Multiply by numbers, which are broadcast."""
        for _ in range(2):
            if are_powers(factor) or all(map(are_powers, (expression.constant, *expression.terms.values()))):
                return expression.moved(lambda images: images * factor)
            self.settle(expression)
        raise AssertionError("a selection times a number does not round")

    def added(self, a: Expression, b: Expression, sign: float = 1.0) -> Expression:
        """Add two expressions of shapes that broadcast, the second perhaps with its sign changed.

        A sum that ends with fewer numbers than the units it is made from, as a residual connection out of a wide layer, has these
        numbers as units: else the wide layer would be carried on to all that reads the sum.
        """
        if a.terms and b.terms:
            for one in (a, b):
                if sum(map(len, one.terms.values())) > one.constant.numel():
                    self.settle(one)
        for _ in range(2):
            total = self._exact_sum(a, b, sign)
            if total is not None:
                return total
            self.settle(a)
            self.settle(b)
        # both contain the same units, with other factors
        return self.added(a, self.activated(b, LINEAR), sign)

    @staticmethod
    def _exact_sum(a: Expression, b: Expression, sign: float) -> Expression | None:
        constant = exact_sum(a.constant, sign * b.constant)
        if constant is None:
            return None
        terms: dict[int, Tensor] = {}
        for group in a.terms.keys() | b.terms.keys():
            parts = [
                torch.vmap(lambda image: torch.broadcast_to(image, constant.shape))(factor * one.terms[group])
                for one, factor in ((a, 1.0), (b, sign))
                if group in one.terms
            ]
            total = parts[0] if len(parts) == 1 else exact_sum(*parts)
            if total is None:
                return None
            terms[group] = total
        return Expression(terms, constant)

    def joined(self, parts: Sequence[Expression | Tensor], operation: Callable[[list[Tensor]], Tensor]) -> Expression:
        """Put tensors together, some of them expressions, others numbers."""
        constants = [part.constant if isinstance(part, Expression) else part for part in parts]
        groups = {group for part in parts if isinstance(part, Expression) for group in part.terms}
        terms = {}
        for group in groups:
            size = self._groups[group].size
            images = [
                part.terms[group]
                if isinstance(part, Expression) and group in part.terms
                else torch.zeros((size, *constant.shape), dtype=torch.float64)
                for part, constant in zip(parts, constants, strict=True)
            ]
            # writes to slices are unknown to torch.vmap
            terms[group] = torch.stack([operation(list(rows)) for rows in zip(*images, strict=True)])
        return Expression(terms, operation(constants))

    def feed_forward(self, output: Expression) -> FeedForward:
        """Return the stages that compute an expression, a stage for each level, the last the expression itself."""
        level = 1 + max((self._groups[group].level for group in output.terms), default=0)
        needed = self._last_uses(output, level)
        layout, stages = [0], []
        for depth in range(1, level):
            carried = [group for group in layout if needed.get(group, 0) > depth]
            fresh = [g for g, group in enumerate(self._groups) if g in needed and group.level == depth and g]
            rows: list[Array] = []
            constants: list[Array] = []
            activation: Activation = LINEAR
            for group in carried:
                rows.append(self._matrix(self._units(group, torch.Size((self._groups[group].size,))), layout))
                constants.append(np.zeros(self._groups[group].size))
            before = sum(self._groups[group].size for group in carried)
            for group in fresh:
                known = self._groups[group]
                rows.append(self._matrix(known.before, layout))
                constants.append(known.before.constant.numpy().ravel())
                activation = OnLastUnits(known.activation, before, activation) if before else known.activation
                before += known.size
            stages.append(Stage(np.concatenate(rows), np.concatenate(constants), activation))
            layout = [*carried, *fresh]
        stages.append(Stage(self._matrix(output, layout), output.constant.numpy().ravel(), LINEAR))
        return FeedForward(tuple(stages))

    def _last_uses(self, output: Expression, level: int) -> dict[int, int]:
        """Groups that the output needs, and the last level that reads each."""
        needed, waiting = dict.fromkeys(output.terms, level), list(output.terms)
        while waiting:
            group = self._groups[waiting.pop()]
            for read in group.before.terms:
                if read not in needed:
                    waiting.append(read)
                needed[read] = max(needed.get(read, 0), group.level)
        return needed

    def _matrix(self, expression: Expression, layout: Sequence[int]) -> Array:
        size = expression.constant.numel()
        parts = [
            expression.terms[group].reshape(-1, size).T.numpy()
            if group in expression.terms
            else np.zeros((size, self._groups[group].size))
            for group in layout
        ]
        return np.concatenate(parts, 1) if parts else np.zeros((size, 0))
