"""The level table of docs/architecture.md holds: a module imports only what lies below it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "fsession"
ROW = re.compile(r"^\| (\d+) \| `([a-z_./]+)` \|")


def _levels() -> dict[str, int]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = [ROW.match(line) for line in text.splitlines()]
    return {row[2].removesuffix(".py").rstrip("/"): int(row[1]) for row in rows if row}


LEVELS = _levels()
ALLOWED_SIDEWAYS = {("sinks", "trace"), ("obj", "include")}
NEVER = {("kernel", "engine"), ("engine", "kernel")} | {
    (upper, lower) for upper in ("attach", "trace", "sinks") for lower in ("kernel", "engine")
}


def _unit(path: Path) -> str:
    """The package or top-level module a file belongs to: ``isa``, ``spec``, ``__init__``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Units of this package that a file imports, at run time or for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "fsession":
                names = [f"fsession.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("fsession.")}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(file.relative_to(PACKAGE)) for file in FILES])
def test_imports_only_lower_levels(path: Path):
    unit = _unit(path)
    if unit in ("__init__", "__main__"):
        return
    for other in _imports(path) - {unit}:
        assert (unit, other) not in NEVER, f"{unit} must never import {other}"
        lower = LEVELS[other] < LEVELS[unit]
        assert lower or (unit, other) in ALLOWED_SIDEWAYS, f"{unit} imports {other}"


def test_every_unit_has_a_level():
    assert {_unit(path) for path in FILES} - {"__init__", "__main__"} <= set(LEVELS)


def test_packages_are_two_levels_deep_at_most():
    deep = {path for path in FILES if len(path.relative_to(PACKAGE).parts) > 2}
    assert {path for path in deep if "jit" not in path.parts} == set()
