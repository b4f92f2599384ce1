"""Apply every mutant to a copy of the repository and run its test: `python -m tests.mutants [--quick] [name ...]`.

Prints a line for each, and those that survive; the exit status is 1 if fewer than 95% are killed. Two copies run side by side.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent.parent
WORKERS = 2
WANTED = 0.95
SECONDS = 600.0
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "scipy.stats", "scipy.optimize", "ot", "sklearn.linear_model", "numba"])


def copied(folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in ("lipbounds", "inn", "experiments", "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def killed(mutant: Mutant, folder: Path) -> bool:
    """Whether the test of a mutant fails on a copy to which it is applied."""
    path = folder / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.path} has its text {text.count(mutant.old)} times, wanted once; bring it up to date"
        )
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    answers = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=_tested, args=(folder, mutant.test.split(), answers), daemon=True)
    try:
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            return True
    finally:
        path.write_text(text, encoding="utf-8")
    # a process that dies without an answer shows nothing, whatever its exit status is
    status = None if answers.empty() else answers.get()
    if status not in (0, 1):
        # neither passed nor failed: no such test, or an import that breaks, which shows nothing
        raise ValueError(f"{mutant.name}: {mutant.test}: pytest ended with {status}")
    return status == 1


def _tested(folder: Path, tests: list[str], answers: Any) -> None:
    """Run tests of a copy, in a process forked with the libraries imported; what it knows of this project is forgotten."""
    import pytest  # in the child alone: it rewrites assertions of what is imported after it

    for name in list(sys.modules):
        if name.partition(".")[0] in ("tests", "lipbounds", "inn", "experiments"):
            del sys.modules[name]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        answers.put(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(folder), *tests])))


def main(arguments: list[str]) -> int:
    """Run the mutants that are named, or all."""
    quick = "--quick" in arguments
    names = [argument for argument in arguments if not argument.startswith("--")]
    chosen = [m for m in MUTANTS if (not quick or m.quick) and (not names or any(name in m.name for name in names))]
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(WORKERS) as pool:
        copies: Queue[Path] = Queue()
        for index in range(WORKERS):
            copies.put(copied(Path(temporary) / str(index)))

        def tried(mutant: Mutant) -> tuple[Mutant, str]:
            folder = copies.get()
            try:
                outcome = "killed" if killed(mutant, folder) else "SURVIVED"
            except ValueError as error:
                outcome = f"BROKEN {error}"
            finally:
                copies.put(folder)
            print(f"{outcome:9} {mutant.name} ({mutant.path})", flush=True)
            return mutant, outcome.split()[0]

        outcomes = list(pool.map(tried, chosen))
    dead = sum(outcome == "killed" for _, outcome in outcomes)
    print(f"\n{dead} of {len(chosen)} killed in {time.perf_counter() - begin:.0f} s")
    for mutant, outcome in outcomes:
        if outcome != "killed":
            print(f"{outcome}: {mutant.name}: {mutant.path}: {mutant.test}")
    return 0 if chosen and dead >= WANTED * len(chosen) else 1
