"""What a torch program does to one point, put down while it runs.

Operations on numbers alone, as the times of a solver, are carried out and leave no trace: a program may branch on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from lipbounds.errors import InvalidInput

__all__ = ["Record", "Recorded", "Step", "recorded"]


aten = torch.ops.aten

# whose results have the shape of a value, and nothing else of it
NUMBERS = {
    aten.full_like, aten.zeros_like, aten.ones_like, aten.empty_like, aten.rand_like, aten.randn_like,
    aten.new_full, aten.new_zeros, aten.new_ones, aten.new_empty,
}  # fmt: skip


CLOCK = 4096  # numbers


class Step(NamedTuple):
    """An operation of the program.

    Args:
        operation: Of ATen.
        args: Its arguments, values of the program as `Recorded`.
        kwargs: Its keywords.
        result: What it gives.
    """

    operation: Any
    args: Any
    kwargs: Any
    result: Any


class Recorded(Tensor):
    """The value of the point somewhere in the program."""

    value: Tensor
    steps: list[Step]

    @staticmethod
    def __new__(cls: type[Self], value: Tensor, steps: list[Step]) -> Recorded:
        """Stand for a tensor of numbers."""
        result = Tensor._make_wrapper_subclass(cls, value.shape, dtype=value.dtype)
        result.value, result.steps = value, steps
        return result

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        kwargs = kwargs or {}
        steps = next(value.steps for value in tree_leaves((args, kwargs)) if isinstance(value, cls))
        values, keywords = tree_map(lambda value: value.value if isinstance(value, cls) else value, (args, kwargs))
        result = func(*values, **keywords)
        if func.overloadpacket in NUMBERS:
            return result
        if not any(isinstance(value, Tensor) for value in tree_leaves(result)):
            wanted = "a program that computes the same for every point"
            raise InvalidInput("model", "a number made of its values", wanted, "check that no value decides a branch")
        result = tree_map(lambda value: cls(value, steps) if isinstance(value, Tensor) else value, result)
        kept, keywords = tree_map(_kept, (args, kwargs))
        steps.append(Step(func, kept, keywords, result))
        return result


def _kept(value: Any) -> Any:
    """Small tensors of numbers as they are now: a program may write to its clock. Weights are not copied."""
    plain = isinstance(value, Tensor) and not isinstance(value, Recorded) and not isinstance(value, torch.nn.Parameter)
    return value.clone() if plain and value.numel() <= CLOCK else value


@dataclass(frozen=True, eq=False)
class Record:
    """A program that was run.

    Attributes:
        steps: In the order in which they ran.
        point: Where it began.
        image: Where it ended.
    """

    steps: list[Step]
    point: Recorded
    image: Recorded


def recorded(program: Callable[[Tensor], Tensor], inputs: int) -> Record:
    """Run a program on one point of float64 and put down its operations; writes to tensors become new tensors.

    Args:
        program: Rows of shape (n, inputs) to a tensor.
        inputs: Dimension of its input.

    Raises:
        InvalidInput: If it fails on such rows, depends on no input, or makes a number of its values.
    """
    steps: list[Step] = []
    point = Recorded(torch.zeros(1, inputs, dtype=torch.float64), steps)
    try:
        with torch.no_grad():
            # of a copy, so that a program may write to its argument
            image = torch.func.functionalize(lambda z: program(z.clone()), remove="mutations")(point)
    except InvalidInput:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        wanted = f"a program of torch operations on rows of {inputs} numbers in float64"
        raise InvalidInput(
            "model", got, wanted, "check the dimension of the domain, and that no value decides a branch"
        ) from error
    if not isinstance(image, Recorded):
        raise InvalidInput("model", "a constant", "a map that depends on its input", "check the model")
    return Record(steps, point, image)
