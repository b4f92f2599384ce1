"""Runs units of work in worker processes, with one progress bar for all of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from multiprocessing import Manager
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

__all__ = ["FIRST_SEED", "Progress", "Spent", "run_units"]

Unit = TypeVar("Unit")
FIRST_SEED = 100  # of the networks reported, where settings were chosen on others
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"


class Progress:
    """Lets a worker process say how far its unit is."""

    def __init__(self, queue: Any, index: int) -> None:
        self._queue, self._index = queue, index
        self._parent: int | None = None

    def __call__(self, share: float) -> None:
        """Report the share that is done."""
        # a worker outlives a parent that was killed, and would compete with the run that goes on
        self._parent = self._parent or os.getppid()
        if os.getppid() != self._parent:
            os._exit(1)
        self._queue.put((self._index, share))


class Spent(NamedTuple):
    """What units took.

    Attributes:
        cpu_seconds: Of all of them.
        processes: Worked at once.
        threads: Of torch in each.
    """

    cpu_seconds: float
    processes: int
    threads: int


def run_units(
    work: Callable[[Unit, Progress], None], units: Sequence[Unit], *, description: str, jobs: int | None = None
) -> Spent:
    """Call `work(unit, progress)` for every unit, `jobs` at a time (one for each core), and show a bar.

    Every worker uses one thread: small operations of torch lose more by sharing cores than they gain.
    """
    if not units:
        return Spent(0.0, 0, 0)
    jobs = min(jobs or cpu_count(), len(units))
    shared = Manager() if jobs > 1 else nullcontext()  # one at a time runs in this process
    with shared as manager, tqdm(total=100.0, desc=description, unit="%", bar_format=BAR) as bar:
        queue: Any = SimpleQueue() if manager is None else manager.Queue()

        def watch() -> None:
            shares = [0.0] * len(units)
            for index, share in iter(queue.get, None):
                shares[index] = share
                bar.n = round(100.0 * sum(shares) / len(shares), 1)
                bar.refresh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            spent = Parallel(n_jobs=jobs)(
                delayed(_single_threaded)(work, unit, Progress(queue, index)) for index, unit in enumerate(units)
            )
        finally:
            queue.put(None)
            watcher.join()
    return Spent(sum(seconds for seconds, _ in spent), jobs, max(threads for _, threads in spent))


def _single_threaded(work: Callable[[Unit, Progress], None], unit: Unit, progress: Progress) -> tuple[float, int]:
    import torch  # in the worker, after its environment is set

    torch.set_num_threads(1)
    started = time.process_time()
    progress(0.0)
    work(unit, progress)
    progress(1.0)
    return time.process_time() - started, torch.get_num_threads()
