"""Call public functions with random inputs, ordinary and absurd: each answer is a true enclosure or an exception of ours.

`python -m tests.fuzz [distances|theorems|search ...] [--cases N] [--seed S] [--table FILE]` prints a table of outcomes, one row a
function, and writes it as Markdown; the exit status is 1 if an answer is false or an exception is not ours. Every case has a seed
of its own, which is printed where it fails: `--seed` with it and `--cases 1` repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lipbounds.errors import LipboundsError
from tests.fuzz import distances, search, theorems

MODULES = {"distances": distances.CASES, "theorems": theorems.CASES, "search": search.CASES}
OUTCOMES = ("true", "refused", "FALSE", "FOREIGN")


def outcome(case: Callable[[np.random.Generator], bool], seed: int) -> tuple[str, str]:
    """What one case ends with, and where it went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            holds = case(np.random.default_rng(seed))
    except LipboundsError:
        return "refused", ""
    except Exception:
        return "FOREIGN", traceback.format_exc(limit=-3)
    return ("true", "") if holds else ("FALSE", "the enclosure does not contain the truth")


def main() -> int:
    """Run the modules that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], default=[])
    parser.add_argument("--cases", type=int, default=2000, help="cases a module, shared by its functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, default=None, help="Markdown file to write")
    chosen = parser.parse_args()
    lines = [
        "| module | function | seeds | true | refused | false | foreign exception | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    wrong = 0
    for module in chosen.modules or list(MODULES):
        cases = MODULES[module]
        each = max(1, chosen.cases // len(cases))
        for name, case in cases.items():
            begin, counts, shown = time.perf_counter(), Counter(), 0
            for seed in range(chosen.seed, chosen.seed + each):
                kind, text = outcome(case, seed)
                counts[kind] += 1
                if kind in OUTCOMES[2:] and shown < 3:
                    shown += 1
                    print(f"{kind} {module} {name} seed {seed}\n{text}", flush=True)
            wrong += counts["FALSE"] + counts["FOREIGN"]
            seeds = f"{chosen.seed} to {chosen.seed + each - 1}"
            numbers = " | ".join(str(counts[kind]) for kind in OUTCOMES)
            lines.append(f"| {module} | `{name}` | {seeds} | {numbers} | {time.perf_counter() - begin:.0f} |")
            print(lines[-1], flush=True)
    if chosen.table is not None:
        chosen.table.write_text("\n".join(lines) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
