"""Bounds of many boxes of data at once: by threads of the processor, or on a GPU, one thread a box.

Both run the same functions (`jacobian_kernel`), compiled for either. Derivatives of conditioners at points (`mlp_derivatives`)
are computed by numpy for the processor and by torch for the GPU. A GPU contracts products with sums, which rounds less often;
its elementary functions are good to 2 ulps by the manual of its maker, where 4 are charged.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.certify.preimage.jacobian_kernel import LANES, Batch, Bounds, Program, Zonotope, bound_boxes, scratch_of
from lipbounds.certify.preimage.range_table import RangeTable
from lipbounds.enclosures.mlp_derivatives import derivative_values, multi_indices
from lipbounds.enclosures.power_series import Series, compose_numbers, compose_tensors
from lipbounds.errors import InvalidInput
from lipbounds.maps.layers import Layer, PartialCoupling, Permutation

__all__ = ["Evaluator", "Gpu", "KernelInput", "Processor", "check_device", "derivatives_along"]

Array = NDArray[np.float64]

CACHED = 256  # boxes of a task: their derivatives stay in the processor's cache
AT_ONCE = 2**17  # boxes on the GPU at most
SHARE = 0.2  # of its free memory: for boxes, which are copied, and for derivatives of conditioners
THREADS = 64  # of a block
ROUNDED = 1024  # numbers of scratch
MOST_SCRATCH = 2**19  # bytes of a thread: the limit of CUDA


class KernelInput(NamedTuple):
    """The map and the domain, as the kernels take them.

    Attributes:
        layers: Couplings and permutations.
        program: The same for the compiled loop.
        table: Tables of the conditioners.
        zonotope: The domain.
    """

    layers: Sequence[Layer]
    program: Program
    table: RangeTable
    zonotope: Zonotope


class Evaluator(Protocol):
    """Bounds boxes.

    Attributes:
        device: Of the tensors.
        batch: How many boxes should be split at a time to keep it busy.
        most: How many boxes there is memory for.
    """

    device: torch.device
    batch: int
    most: int

    def bound(self, middles: Tensor, radii: Tensor, frames: Tensor, with_jacobian: bool) -> tuple[Tensor, Tensor, Tensor]:
        """As `jacobian_kernel.bound_boxes`: shapes (n, d), (n, d), (n, d, d) to (n,), (n, d), (n, d, d), on the device."""
        ...


class Processor:
    """Threads share the boxes."""

    device = torch.device("cpu")
    batch = 512
    most = 4_000_000

    def __init__(self, tabulated: KernelInput, pool: ThreadPoolExecutor) -> None:
        self._tabulated, self._pool, self._threads = tabulated, pool, pool._max_workers

    def bound(self, middles: Tensor, radii: Tensor, frames: Tensor, with_jacobian: bool) -> tuple[Tensor, Tensor, Tensor]:
        """See `Evaluator`."""
        layers, program, table, zonotope = self._tabulated
        scratch = scratch_of(program, len(zonotope.center), len(zonotope.generators), LANES)

        def part(rows: slice) -> Bounds:
            own, sides, edges = (numbers.numpy()[rows] for numbers in (middles, radii, frames))
            result: Bounds = bound_boxes(
                Batch(own, sides, edges, derivatives_along(layers, own)), program, table, zonotope, with_jacobian, scratch
            )
            return result

        size = min(CACHED, -(-len(middles) // self._threads))
        results = list(self._pool.map(part, [slice(i, i + size) for i in range(0, len(middles), size)]))
        bounds, smear, curvature = (torch.as_tensor(np.concatenate(one)) for one in zip(*results, strict=True))
        return bounds, smear, curvature


class Gpu:
    """A thread a box; those whose images miss the domain are sorted out before A is looked at, so that threads stay together.

    Raises:
        InvalidInput: For a network so large that the scratch of all threads takes more than a share of the GPU's memory.
    """

    batch = 2**15

    def __init__(self, tabulated: KernelInput, device: torch.device) -> None:
        from numba import cuda  # its compiler is started where it is wanted

        from lipbounds.certify.preimage import gpu_kernels as kernels

        self.device, self._layers, self._kernels = device, tabulated.layers, kernels
        _, program, table, zonotope = tabulated
        # rounded up: networks of about the same size share a kernel, whose compilation takes one to two minutes
        sizes = [-(-size // ROUNDED) * ROUNDED for size in scratch_of(program, len(zonotope.center), len(zonotope.generators), 1)]
        free = _check_memory(device, 8 * sum(sizes))
        self.most = int(free * SHARE / (8 * (3 * len(zonotope.center) + 2)))
        self._at_once = int(min(AT_ONCE, max(THREADS, free * SHARE / _bytes_of_derivatives(tabulated.layers))))
        with _in_order(device):
            self._launch = kernels.boxes_kernel(*sizes)
            self._rest = (
                Program(*map(cuda.to_device, program)),
                RangeTable(*map(cuda.to_device, table)),
                Zonotope(cuda.to_device(zonotope.center), zonotope.radius, cuda.to_device(zonotope.generators)),
            )

    def bound(self, middles: Tensor, radii: Tensor, frames: Tensor, with_jacobian: bool) -> tuple[Tensor, Tensor, Tensor]:
        """See `Evaluator`."""
        boxes = zip(*(torch.split(part, self._at_once) for part in (middles, radii, frames)), strict=True)
        with _in_order(self.device):
            parts = [self._bound(*part, with_jacobian=with_jacobian) for part in boxes]
        bounds, smear, curvature = (torch.cat(part) for part in zip(*parts, strict=True))
        return bounds, smear, curvature

    def _bound(self, middles: Tensor, radii: Tensor, frames: Tensor, *, with_jacobian: bool) -> tuple[Tensor, Tensor, Tensor]:
        points = derivatives_along(self._layers, middles, self._compose)
        boxes = middles, radii, frames, points
        results = self._run(boxes, with_jacobian=False)
        if with_jacobian:
            left = results[0] != 0
            for whole, own in zip(results, self._run([part[left] for part in boxes], with_jacobian=True), strict=True):
                whole[left] = own
        return results

    def _run(self, boxes: Sequence[Tensor], *, with_jacobian: bool) -> tuple[Tensor, Tensor, Tensor]:
        middles, _, frames, _ = boxes
        # infinite: a kernel that did not run proves nothing
        results = middles.new_full((len(middles),), math.inf), torch.zeros_like(middles), torch.zeros_like(frames)
        if len(middles):
            arrays = [self._kernels.shared(part.contiguous()) for part in (*boxes, *results)]
            blocks = -(-len(middles) // THREADS)
            self._launch[blocks, THREADS](Batch(*arrays[:4]), *self._rest, with_jacobian, Bounds(*arrays[4:]))
        return results

    def _compose(self, f: Sequence[Tensor], u: Tensor, terms: Series) -> Tensor:
        return compose_tensors(f, u, terms, self._add)

    def _add(self, rows: NDArray[np.int64], a: Tensor, b: Tensor, p: Tensor) -> None:
        blocks = -(-a.shape[1] // THREADS)
        table = self._kernels.on_device(rows.tobytes(), rows.shape[1])
        self._kernels.products_kernel()[blocks, THREADS](table, *(self._kernels.shared(part) for part in (a, b, p)))


@contextmanager
def _in_order(device: torch.device) -> Iterator[None]:
    """torch's work on its default stream, in order with numba's kernels; what was begun on other streams is waited for."""
    if device.type != "cuda":  # numba's simulator
        yield
        return
    torch.cuda.synchronize(device)
    with torch.cuda.stream(torch.cuda.default_stream(device)):
        yield
    torch.cuda.synchronize(device)


def _check_memory(device: torch.device, scratch: int) -> float:
    """Free bytes beside the scratch, which the driver sets aside for all threads that can be there at a time."""
    if device.type != "cuda":
        return 2.0**30
    gpu = torch.cuda.get_device_properties(device)
    reserved = scratch * gpu.multi_processor_count * gpu.max_threads_per_multi_processor
    free = float(torch.cuda.mem_get_info(device)[0])
    if scratch > MOST_SCRATCH or reserved > 0.5 * free:
        raise InvalidInput(
            "device", f"{device}, scratch of {reserved / 1e9:.3g} GB", f"at most half of {free / 1e9:.3g} GB", "use device='cpu'"
        )
    return free - reserved


def _bytes_of_derivatives(layers: Sequence[Layer]) -> float:
    """Of a box: what `derivatives_along` returns, twice, and of the widest step some arrays at a time."""
    steps = [layer for layer in layers if isinstance(layer, PartialCoupling)]
    counts = [len(multi_indices(len(step.seen))) for step in steps]
    kept = sum(len(step.seen) + 2 * len(step.changed) * count for step, count in zip(steps, counts, strict=True))
    widest = max(count * max(len(bias) for bias in step.network.biases) for step, count in zip(steps, counts, strict=True))
    return 8.0 * (2 * kept + 8 * widest)


def check_device(device: str | torch.device) -> torch.device:
    """The device, if boxes can be bounded there.

    Raises:
        InvalidInput: For a device that is neither the processor nor the NVIDIA GPU that torch uses now, and without numba-cuda.
    """
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput("device", str(device), "'cpu' or 'cuda'", "torch knows no such device") from error
    if chosen.type == "cpu":
        return chosen
    if chosen.type != "cuda":
        raise InvalidInput("device", str(device), "'cpu' or 'cuda'", "other accelerators have no double precision or no numba")
    if not torch.cuda.is_available():
        raise InvalidInput("device", str(device), "a GPU that torch sees", "install torch with CUDA, or use device='cpu'")
    if chosen.index not in (None, torch.cuda.current_device()):
        raise InvalidInput("device", str(device), f"cuda:{torch.cuda.current_device()}, torch's current one", "set it first")
    if importlib.util.find_spec("numba_cuda") is None:
        raise InvalidInput("device", str(device), "numba's compiler for GPUs", "pip install numba-cuda, or use device='cpu'")
    return chosen


def derivatives_along(layers: Sequence[Layer], x: Any, compose: Callable[..., Any] = compose_numbers) -> Any:
    """The inputs of all conditioners along the images of points, each with its derivatives there; shape (n, numbers).

    For arrays, or for tensors with their own function in place of `power_series.compose_numbers`.
    """
    xp = torch if isinstance(x, Tensor) else np
    parts: list[Any] = []
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has no bound
        for layer in layers:
            if isinstance(layer, Permutation):
                x = x[:, layer.order]
            elif isinstance(layer, PartialCoupling):
                seen, m = x[:, layer.seen], len(layer.changed)
                numbers = derivative_values(layer.network, layer.scale, seen, compose)
                parts += [seen, numbers.reshape(len(x), -1)]
                moved = 1.0 * x
                moved[:, layer.changed] = x[:, layer.changed] * xp.exp(numbers[:, :m, 0]) + numbers[:, m:, 0]
                x = moved
    return xp.concatenate(parts, 1)
