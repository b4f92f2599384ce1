"""Runs the units of a sweep in worker processes, with one progress bar for all of them."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, delayed
from tqdm import tqdm

__all__ = ["FIRST_SEED", "Progress", "run_units"]

Unit = TypeVar("Unit")
FIRST_SEED = 100  # of the networks reported, where settings were chosen on others
POLL_SECONDS = 0.5
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"


class Progress:
    """Lets a worker process say how far its unit is: a small file that the bar's thread reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parent: int | None = None

    def __call__(self, share: float) -> None:
        """Report the share that is done."""
        # a worker outlives a parent that was killed, and would compete with the run that goes on
        self._parent = self._parent or os.getppid()
        if os.getppid() != self._parent:
            os._exit(1)
        temporary = self._path.with_suffix(".new")
        temporary.write_text(str(share))
        os.replace(temporary, self._path)


def run_units(
    work: Callable[[Unit, Progress], None], units: Sequence[Unit], *, description: str, jobs: int | None = None
) -> None:
    """Call `work(unit, progress)` for every unit, `jobs` at a time (one for each core), and show a bar.

    Every worker uses one thread: small operations of torch lose more by sharing cores than they gain.
    """
    jobs = min(jobs or os.cpu_count() or 1, len(units)) or 1
    with tempfile.TemporaryDirectory() as folder, tqdm(total=100.0, desc=description, unit="%", bar_format=BAR) as bar:
        paths = [Path(folder) / f"{index}.txt" for index in range(len(units))]
        finished = threading.Event()

        def watch() -> None:
            while not finished.wait(POLL_SECONDS):
                share = sum(float(path.read_text()) for path in paths if path.exists()) / len(paths)
                bar.n = round(100.0 * share, 1)
                bar.refresh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            Parallel(n_jobs=jobs)(
                delayed(_single_threaded)(work, unit, Progress(path)) for unit, path in zip(units, paths, strict=True)
            )
            bar.n = 100.0
        finally:
            finished.set()
            watcher.join()


def _single_threaded(work: Callable[[Unit, Progress], None], unit: Unit, progress: Progress) -> None:
    import torch  # in the worker, after its environment is set

    torch.set_num_threads(1)
    progress(0.0)
    work(unit, progress)
    progress(1.0)
