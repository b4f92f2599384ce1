"""Results on disk: a folder per run, whose rows are written whole or not at all.

config.json       configuration, versions, machine, git revision, wall and CPU time, processes and threads
rows/KEY.parquet  the rows of one unit, KEY the hash of its configuration; mostly one row
results.parquet   the rows merged
checkpoints/      the trained networks that rows name
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from lipbounds.errors import InvalidInput

__all__ = ["Store", "key_of"]

PACKAGES = (
    *("lipbounds", "torch", "numpy", "scipy", "numba", "python-flint", "POT", "scikit-learn", "joblib"),
    *("matplotlib", "pandas", "pyarrow"),
)


def key_of(configuration: Mapping[str, Any]) -> str:
    """Return a short hash of a configuration, the same in every process and on every machine."""
    text = json.dumps(configuration, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path` and move it there in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """The folder of one run.

    Args:
        folder: The folder; made when absent.
        experiment: Name of the experiment.
        configuration: All that the results depend on. A folder with another one is refused.
    """

    def __init__(self, folder: Path, experiment: str, configuration: Mapping[str, Any]) -> None:
        self.folder = folder
        self._configuration = {"experiment": experiment, **json.loads(json.dumps(configuration))}
        made = [path for path in (folder, *folder.parents) if not _exists(path)]
        try:
            self._open()
        except OSError as error:
            for path in made:
                with suppress(OSError):
                    path.rmdir()
            got = f"{folder} ({error.strerror})"
            raise InvalidInput("--out", got, "a folder that can be written", "choose another path") from error

    def _open(self) -> None:
        """Make the folder, or check that it holds this run."""
        path = self.folder / "config.json"
        if path.exists():
            try:
                stored = json.loads(path.read_text())["configuration"]
            except (ValueError, KeyError, TypeError):
                raise InvalidInput("--out", f"{path}, which is damaged", "a folder of this run", "choose another path") from None
            names = sorted(stored.keys() | self._configuration.keys())
            different = [name for name in names if stored.get(name) != self._configuration.get(name)]
            if different:
                got = f"{self.folder}, a run with other {', '.join(different)}"
                raise InvalidInput("--out", got, "a new folder or the same run", "choose another path")
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            got = f"{self.folder}, which is not empty"
            raise InvalidInput("--out", got, "a new or empty folder, or one of this run", "choose another path")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            self.describe()  # first, so that an interrupted start is recognised as this run
        for subfolder in (self.rows, self.checkpoints):
            subfolder.mkdir(exist_ok=True)
        for folder in (self.folder, self.rows, self.checkpoints):
            for leftover in folder.glob(".*.[0-9]*"):  # of a process that was killed while it wrote
                leftover.unlink(missing_ok=True)

    @property
    def rows(self) -> Path:
        """Folder of the single rows."""
        return self.folder / "rows"

    @property
    def checkpoints(self) -> Path:
        """Folder of the trained networks."""
        return self.folder / "checkpoints"

    def describe(self, *, wall_seconds: float = 0.0, cpu_seconds: float = 0.0, processes: int = 0, threads: int = 0) -> None:
        """Write config.json; times of resumed runs add up, and the processes and threads are the most that worked at once.

        Args:
            wall_seconds: Of this run.
            cpu_seconds: Of all its processes.
            processes: That worked at once.
            threads: Of each.
        """
        path = self.folder / "config.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        workers = before.get("workers", {})
        description = {
            "configuration": self._configuration,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "workers": {
                "processes": max(processes, workers.get("processes", 0)),
                "threads_each": max(threads, workers.get("threads_each", 0)),
            },
            "git_revision": _revision(),
            "wall_seconds": round(before.get("wall_seconds", 0.0) + wall_seconds, 1),
            "cpu_seconds": round(before.get("cpu_seconds", 0.0) + cpu_seconds, 1),
        }
        self.put_json(path, description)

    def put_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a small JSON file of this run."""
        _write(path, lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n"))

    def has(self, key: str) -> bool:
        """Whether the row is there."""
        return (self.rows / f"{key}.parquet").exists()

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Write one row."""
        self.put_rows(key, [row])

    def put_rows(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of one unit, in one step."""
        frame = pd.DataFrame([{"key": key, **row} for row in rows])
        _write(self.rows / f"{key}.parquet", lambda temporary: frame.to_parquet(temporary, index=False))

    def put_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a further table NAME.parquet beside the results."""
        _write(self.folder / f"{name}.parquet", lambda temporary: frame.to_parquet(temporary, index=False))

    def merge(self, order: list[str]) -> pd.DataFrame:
        """Merge all rows into results.parquet, sorted by these columns, and return them."""
        frame = pd.concat([pd.read_parquet(path) for path in sorted(self.rows.glob("*.parquet"))], ignore_index=True)
        frame = frame.sort_values(order, kind="stable", ignore_index=True)
        self.put_table("results", frame)
        return frame


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no permission to look, or a name that is too long
        return True


def _revision() -> str | None:
    """The git revision of this checkout, with a + if it has changes; None outside one."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        status = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")
