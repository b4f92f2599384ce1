"""Imports go down the floors of the house, never up and never both ways."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "lipbounds.errors": 0,
    "lipbounds.enclosure": 1,
    "lipbounds.domains": 2,
    "lipbounds.measures": 2,
    "lipbounds.distances": 3,
    "lipbounds.lipschitz": 4,
    "lipbounds.theorems": 5,
}
INN_MAY_USE = {"lipbounds.errors", "lipbounds.domains", "lipbounds.measures", "lipbounds.distances", "lipbounds.lipschitz"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source):
    """Absolute names of all modules imported anywhere in a source text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


def floor_name(module):
    return ".".join(module.split(".")[:2])


def violations(module, source):
    """Imports of `module` that its place in the house forbids."""
    package = module.split(".")[0]
    for target in imports(source):
        target_package = target.split(".")[0]
        if package == "lipbounds" and target_package in ("inn", "experiments"):
            yield target
        if package == "inn" and (
            target_package == "experiments" or (target_package == "lipbounds" and floor_name(target) not in INN_MAY_USE)
        ):
            yield target
        own, other = FLOORS.get(floor_name(module)), FLOORS.get(floor_name(target))
        if own is not None and other is not None and floor_name(module) != floor_name(target) and other >= own:
            yield target


SOURCES = sorted(path for package in ("lipbounds", "inn", "experiments") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_down(path):
    assert list(violations(module_name(path), path.read_text())) == []


def test_no_module_is_outside_the_floors():
    modules = {floor_name(module_name(path)) for path in (ROOT / "lipbounds").rglob("*.py")} - {"lipbounds"}
    assert modules == set(FLOORS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lipbounds.measures", "from lipbounds.theorems import separation"),
        ("lipbounds.domains", "import lipbounds.measures"),
        ("lipbounds.lipschitz.search", "import inn"),
        ("inn.training", "from lipbounds.theorems.separation import Masses"),
        ("inn.training", "from experiments import store"),
    ],
)
def test_a_climbing_import_is_seen(module, source):
    assert list(violations(module, source))
