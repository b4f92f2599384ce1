"""Imports go down the floors of the house, never up and never both ways."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "lipbounds.errors": 0,
    "lipbounds.enclosure": 1,
    "lipbounds.progress": 1,
    "lipbounds.rounding": 1,
    "lipbounds.compiled": 1,
    "lipbounds.checker": 1,
    "lipbounds.arb": 2,
    "lipbounds.domains": 3,
    "lipbounds.measures": 3,
    "lipbounds.distances": 4,
    "lipbounds.maps": 4,
    "lipbounds.enclosures": 5,
    "lipbounds.search": 6,
    "lipbounds.certify": 7,
    "lipbounds.theorems": 8,
    "lipbounds.diagnosis": 9,
    "lipbounds.__main__": 10,
}
INN_MAY_USE = {
    "lipbounds.errors",
    "lipbounds.domains",
    "lipbounds.measures",
    "lipbounds.distances",
    "lipbounds.maps",
    "lipbounds.search",
}


# What each package may import beside the standard library and the project.
THIRD_PARTY = {
    "lipbounds": {"flint", "numba", "numpy", "scipy", "ot", "threadpoolctl", "torch"},
    "inn": {"numpy", "torch", "safetensors"},
    "experiments": {
        "FrEIA",
        "auto_LiRPA",
        "cma",
        "deel",
        "eclipse_nn",
        "geomloss",
        "nflows",
        "normflows",
        "numpy",
        "ot",
        "safetensors",
        "scipy",
        "sklearn",
        "torch",
        "joblib",
        "matplotlib",
        "pandas",
        "tqdm",
        "tyro",
        "zuko",
    },
}
PROJECT = set(THIRD_PARTY)
# drawing is for the report alone, mixtures for the modes, logistic regression for one bound, equations for one network
ALSO = {
    "lipbounds.diagnosis.report": {"matplotlib"},
    "lipbounds.diagnosis.valleys": {"sklearn"},
    "lipbounds.distances.classifier": {"sklearn"},
    "inn.ode": {"torchdiffeq"},
}
SOURCES = sorted(path for package in sorted(PROJECT) for path in (ROOT / package).rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}


def imports(source):
    """Names of all modules imported anywhere in a source text; `from package import module` counts as the module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in MODULES]
            yield from submodules or [node.module]


def floor_name(module):
    return ".".join(module.split(".")[:2])


def violations(module, source):
    """Imports of `module` that its place in the house forbids."""
    package = module.split(".")[0]
    for target in imports(source):
        target_package = target.split(".")[0]
        if target_package not in PROJECT:
            if target_package not in THIRD_PARTY[package] | ALSO.get(module, set()) | sys.stdlib_module_names:
                yield target
        elif target_package == package == target and module != package:
            yield target  # a module that imports its own package's front door sees all floors
        elif (
            (package == "lipbounds" and target_package != "lipbounds")
            or (package == "inn" and target_package != "inn" and floor_name(target) not in INN_MAY_USE)
            or (
                floor_name(module) in FLOORS
                and floor_name(module) != floor_name(target)
                and FLOORS[floor_name(target)] >= FLOORS[floor_name(module)]
            )
        ):
            yield target


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_down(path):
    assert list(violations(module_name(path), path.read_text())) == []


def test_no_module_is_outside_the_floors():
    modules = {floor_name(module_name(path)) for path in (ROOT / "lipbounds").rglob("*.py")} - {"lipbounds"}
    assert modules == set(FLOORS)


def cycle(graph):
    """A module that reaches itself through imports, or None."""
    for start in graph:
        seen, todo = set(), list(graph[start])
        while todo:
            module = todo.pop()
            if module == start:
                return start
            if module in graph and module not in seen:
                seen.add(module)
                todo.extend(graph[module])
    return None


def test_no_cycles():
    # package front doors gather their modules; the modules never import them (checked above)
    graph = {module_name(path): set(imports(path.read_text())) for path in SOURCES if path.name != "__init__.py"}
    assert cycle(graph) is None
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == "b"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lipbounds.measures", "from lipbounds.theorems import separation"),
        ("lipbounds.measures", "from lipbounds import theorems"),
        ("lipbounds.measures", "from lipbounds import find_lipschitz"),
        ("lipbounds.domains", "import lipbounds.measures"),
        ("lipbounds.search.find", "import inn"),
        ("lipbounds.search.find", "import matplotlib, pandas"),
        ("lipbounds.diagnosis.diagnose", "import matplotlib"),
        ("lipbounds.diagnosis.diagnose", "from lipbounds.__main__ import main"),
        ("inn.training", "from lipbounds.theorems.separation import Masses"),
        ("inn.training", "from experiments import store"),
        ("inn.subnets", "from inn import train"),
    ],
)
def test_a_climbing_import_is_seen(module, source):
    assert list(violations(module, source))
