"""Times and memory of one piece of work, in a fresh process so that nothing else is counted."""

from __future__ import annotations

import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Measured", "measure"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Measured:
    """What one contender did.

    Attributes:
        seconds: Median of the repetitions after the first; the first if there is no other.
        warm_seconds: The same work on a small problem before it: compilation, imports, caches.
        peak_megabytes: How far the process grew during the first; NaN where the system does not tell.
        result: What the work returned.
    """

    seconds: float
    warm_seconds: float
    peak_megabytes: float
    result: Any


def measure(
    work: Callable[..., Callable[[], Any]],
    arguments: tuple[object, ...],
    *,
    warm: tuple[object, ...],
    threads: int,
    repetitions: int,
) -> Measured:
    """Run `work(*arguments)`, which prepares its data and returns the function to be measured, in a fresh process.

    Args:
        work: A function of a module.
        arguments: Its arguments.
        warm: Arguments of a small problem that runs first.
        threads: Threads of torch, of its OpenMP and of the linear algebra.
        repetitions: Timed repetitions after the first.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))  # read by the new process when it loads the libraries
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_measured, work, arguments, warm, threads, repetitions).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _measured(
    work: Callable[..., Callable[[], Any]],
    arguments: tuple[object, ...],
    warm: tuple[object, ...],
    threads: int,
    repetitions: int,
) -> Measured:
    import torch

    torch.set_num_threads(threads)
    begin = time.perf_counter()
    work(*warm)()
    warm_seconds = time.perf_counter() - begin
    repeat = work(*arguments)
    before = _resident(reset=True)
    times = []
    for _ in range(1 + repetitions):
        begin = time.perf_counter()
        result = repeat()
        times.append(time.perf_counter() - begin)
        if len(times) == 1:
            peak = _resident(peak=True) - before
    return Measured(statistics.median(times[1:] or times), warm_seconds, peak, result)


def _resident(*, peak: bool = False, reset: bool = False) -> float:
    """Resident memory in MB, or its peak since the last reset."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return float("nan")
    return float(found.group(1)) / 1024 if found else float("nan")
