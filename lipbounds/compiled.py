"""Compiled kernels with a cache that sees every source they are made of, and that serves every checkout of the same sources.

numba's own cache looks at the file of a function only: a kernel keeps the old value of a constant that another file has changed.
Here the key is a hash of all sources that kernels read (their files, and those of the library that these import), and the folder
is the user's cache, so that a fresh clone finds what another one has compiled.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

__all__ = ["cache_folder", "compiled", "source_hash"]

PACKAGE = Path(__file__).parent
FOLDER = "LIPBOUNDS_CACHE"  # environment variable: where compiled kernels are kept
HASH_DIGITS = 24


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return `numba.njit` with these options and the cache of this module; without a cache where no folder can be written.

    Args:
        **options: Of `numba.njit`; not `cache`.

    Example:
        >>> @compiled(error_model="numpy")
        ... def twice(x):
        ...     return 2.0 * x
        >>> twice(1.5)
        3.0
    """

    def decorate(function: Callable[..., Any]) -> Any:
        kernel = numba.njit(**options)(function)
        if Path(function.__code__.co_filename).is_relative_to(PACKAGE) and _writable(cache_folder()):
            kernel._cache = _SourceCache(function)  # type: ignore[no-untyped-call]
        return kernel

    return decorate


@functools.cache
def source_hash() -> str:
    """Return a hash of all sources that kernels are made of, and of numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in _sources():
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:HASH_DIGITS]


def _sources() -> list[Path]:
    """Files that compile something, and what they import from the library, directly or not."""
    todo = [path for path in sorted(PACKAGE.rglob("*.py")) if b"lipbounds.compiled import" in path.read_bytes()]
    found: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                todo += [file for module in modules if (file := _file_of(module)) is not None]
    return sorted(found)


def _file_of(module: str) -> Path | None:
    """The file of a module of the library; packages have no code of their own."""
    package, _, rest = module.partition(".")
    path = PACKAGE.joinpath(*rest.split(".")).with_suffix(".py")
    return path if package == PACKAGE.name and rest and path.is_file() else None


def cache_folder() -> Path:
    """Return where compiled kernels are kept: LIPBOUNDS_CACHE, numba's NUMBA_CACHE_DIR, or the user's cache folder."""
    chosen = os.environ.get(FOLDER) or getattr(config, "CACHE_DIR", "")
    root = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lipbounds"
    return root / source_hash()


@functools.cache
def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


class _SourceLocator(_CacheLocator):
    """A folder for each module, below that of the hash; numba adds function, line and types."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._module, self._line = function.__module__, function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder() / self._module)

    def get_source_stamp(self) -> str:
        return source_hash()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _SourceLocator:
        return cls(py_func)


class _SourceCacheImpl(CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any]) -> None:
        # not the base class's search for a folder, which an environment variable may redirect
        self._lineno = function.__code__.co_firstlineno
        self._locator = _SourceLocator(function)
        self._filename_base = str(self.get_filename_base(function.__qualname__, ""))  # type: ignore[no-untyped-call]


class _SourceCache(FunctionCache):
    _impl_class = _SourceCacheImpl
