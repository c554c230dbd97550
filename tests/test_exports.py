"""What a package exports is there, sorted, and what others import from it."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import fsession

PACKAGE = Path(__file__).parent.parent / "src" / "fsession"
MODULES = sorted(
    ".".join(("fsession", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("name", fsession.__all__)
def test_every_name_of_the_package_is_there(name):
    assert getattr(fsession, name).__name__ == name


def test_names_of_the_package_are_sorted():
    assert fsession.__all__ == sorted(fsession.__all__, key=lambda name: (name.islower(), name))


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fsession.nothing


@pytest.mark.parametrize("name", ["trace", "features"])
def test_a_module_does_not_take_the_place_of_a_name(name):
    module = import_module(f"fsession.{name}")
    assert getattr(fsession, name) is not module
    assert callable(getattr(fsession, name))


@pytest.mark.parametrize("name", MODULES)
def test_all_names_exist(name):
    module = import_module(name)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{name}.__all__ has {exported}"


def _from_imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fsession."):
            for alias in node.names:
                yield node.module, alias.name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_other_packages_give_only_what_they_export(path):
    """A name of another module's ``__all__``, or a module of a package."""
    for module, name in _from_imports(path):
        exported = getattr(import_module(module), "__all__", None)
        is_module = f"{module}.{name}" in MODULES
        assert is_module or exported is None or name in exported, f"{module} hides {name}"
