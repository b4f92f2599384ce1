import os
import shutil
import subprocess
import sys
from pathlib import Path

import lipbounds

KERNEL = """
from lipbounds.compiled import compiled
from lipbounds.enclosures.probe_values import VALUE

@compiled(error_model="numpy")
def probe(x):
    return VALUE * x
"""
ASK = """
from lipbounds.compiled import cache_folder
from lipbounds.enclosures.probe_kernel import probe
print(probe(1.0), sum(probe.stats.cache_hits.values()), cache_folder())
"""


def ask(checkout, cache):
    environment = os.environ | {"PYTHONPATH": str(checkout), "LIPBOUNDS_CACHE": str(cache)}
    command = [sys.executable, "-c", ASK]
    answer = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
    value, hits, folder = answer.stdout.split()
    return float(value), int(hits), Path(folder)


def checkout(folder):
    """A copy of the library with a kernel that takes a constant from another file."""
    shutil.copytree(Path(lipbounds.__file__).parent, folder / "lipbounds", ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("lipbounds", "lipbounds/enclosures"):
        (folder / package / "__init__.py").write_text("")  # the whole library takes seconds to import
    (folder / "lipbounds/enclosures/probe_values.py").write_text("VALUE = 2.0\n")
    (folder / "lipbounds/enclosures/probe_kernel.py").write_text(KERNEL)
    return folder


def test_the_cache_sees_what_another_file_changes_and_serves_another_checkout(tmp_path):
    first, cache = checkout(tmp_path / "first"), tmp_path / "cache"
    value, hits, folder = ask(first, cache)
    assert (value, hits) == (2.0, 0)
    # another checkout of the same sources finds it
    assert ask(checkout(tmp_path / "second"), cache) == (2.0, 1, folder)
    # a change in the file of the constant is seen, and one of a file that no kernel reads is not
    (first / "lipbounds/enclosures/probe_values.py").write_text("VALUE = 3.0\n")
    value, hits, changed = ask(first, cache)
    assert (value, hits) == (3.0, 0)
    assert changed != folder
    with (first / "lipbounds/diagnosis/report.py").open("a") as file:
        file.write("# a remark\n")
    assert ask(first, cache)[1:] == (1, changed)


def test_without_a_folder_kernels_are_compiled_in_every_process(tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    value, hits, _ = ask(checkout(tmp_path / "first"), blocked)
    assert (value, hits) == (2.0, 0)
