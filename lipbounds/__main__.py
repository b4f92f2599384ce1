"""`python -m lipbounds diagnose MODEL.py:make_flow --data X.npy`: a user's own generator; `check FILE`: what was saved."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lipbounds.checker import Rejected, check
from lipbounds.diagnosis.diagnose import diagnose
from lipbounds.errors import InvalidInput, LipboundsError
from lipbounds.progress import Progress, Report

__all__ = ["main"]


def _model(text: str) -> Any:
    """The model that a function of a file makes, or the object itself if it is none that can be called without arguments."""
    path, _, name = text.rpartition(":")
    if not path or not Path(path).is_file():
        raise InvalidInput("MODEL", text, "FILE.py:NAME", "name a file and a function in it that returns the flow")
    spec = importlib.util.spec_from_file_location("lipbounds_user_model", path)
    if spec is None or spec.loader is None:
        raise InvalidInput("MODEL", text, "a Python file", "give its path")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(path).resolve().parent))  # so that it may import its neighbours
    try:
        spec.loader.exec_module(module)
        return getattr(module, name)()
    except LipboundsError:
        raise
    except Exception as error:
        got = f"{text} ({type(error).__name__}: {error})"
        raise InvalidInput("MODEL", got, "a function without arguments that returns the flow", "run the file to see") from error
    finally:
        sys.path.pop(0)


def _data(path: str) -> np.ndarray:
    try:
        data = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidInput("--data", f"{path} ({error})", "a .npy file with numbers", "write it with numpy.save") from error
    if not isinstance(data, np.ndarray):
        raise InvalidInput("--data", path, "one array (.npy)", "numpy.save, not savez")
    return data


def _said_once() -> Report:
    """Print every stage when it begins."""
    said: set[str] = set()

    def report(event: Progress) -> None:
        if event.stage not in said:
            said.add(event.stage)
            print(f"... {event.stage}", file=sys.stderr, flush=True)

    return report


def _check(options: argparse.Namespace) -> int:
    try:
        print(f"accepted: {check(options.file, boxes=options.boxes or None, seed=options.seed)}")
    except Rejected as error:
        print(f"REJECTED: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors of the caller are one line and status 2."""
    parser = argparse.ArgumentParser(prog="python -m lipbounds", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("diagnose", help="measure a generator against its data")
    command.add_argument("model", metavar="MODEL.py:make_flow", help="function without arguments that returns the flow")
    command.add_argument("--data", required=True, metavar="X.npy", help="samples of the target, shape (N, d)")
    command.add_argument("--out", metavar="DIR", help="where to write diagnosis.html and diagnosis.png (needs matplotlib)")
    command.add_argument("--latent", type=int, metavar="K", help="dimension of the latent; that of the data by default")
    command.add_argument("--seconds", type=float, default=60.0, help="most time for the certificate (60)")
    command.add_argument("--seed", type=int, default=0)
    verify = commands.add_parser("check", help="verify a saved certificate or transport plan with code of its own")
    verify.add_argument("file", metavar="FILE", type=Path)
    verify.add_argument(
        "--boxes", type=int, default=50, help="boxes of a certificate that are bounded anew, at random (50); 0 for all"
    )
    verify.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options)
    try:
        diagnosis = diagnose(
            _model(options.model),
            data=_data(options.data),
            latent=options.latent,
            seed=options.seed,
            seconds=options.seconds,
            progress=_said_once(),
        )
        print(diagnosis.verdict)
        if options.out is not None:
            from lipbounds.diagnosis.report import write_report

            print(*write_report(diagnosis, Path(options.out)), sep="\n")
    except LipboundsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
