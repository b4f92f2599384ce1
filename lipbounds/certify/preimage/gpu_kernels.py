"""What runs on a GPU: the loop over boxes, a thread a box, and products of series, a thread a unit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float64, int64
from torch import Tensor

from lipbounds.certify.preimage.jacobian_kernel import bound_block

__all__ = ["boxes_kernel", "on_device", "products_kernel", "shared"]


def shared(tensor: Tensor) -> Any:
    """The memory of a tensor for a kernel."""
    return cuda.as_cuda_array(tensor) if tensor.is_cuda else tensor.numpy()


@cache
def on_device(content: bytes, columns: int) -> Any:
    """A matrix of integers, from its bytes, copied to the GPU once."""
    return cuda.to_device(np.frombuffer(content, dtype=np.int64).reshape(-1, columns))


@cache
def boxes_kernel(numbers: int, integers: int) -> Any:
    """`jacobian_kernel.bound_boxes` with scratch of this size, which is to be known when it is compiled."""

    @cuda.jit
    def bound(boxes, program, table, zonotope, with_jacobian, out):
        box = cuda.grid(1)
        own_numbers, own_integers = cuda.local.array(numbers, float64), cuda.local.array(integers, int64)
        if box < len(boxes.middles):
            bound_block(box, 1, boxes, program, table, zonotope, with_jacobian, out, own_numbers, own_integers)

    return bound


@cache
def products_kernel() -> Any:
    """What `power_series.compose_tensors` asks for: adds products of rows of a and b to rows of p."""

    @cuda.jit
    def products(rows, a, b, p):
        one = cuda.grid(1)
        if one < a.shape[1]:
            for row in range(len(rows)):
                p[rows[row, 2], one] += a[rows[row, 0], one] * b[rows[row, 1], one]

    return products
