"""The Python side of a guest: this package, what it needs from here, and byte code for all of it.

What is taken comes from the running interpreter: a guest sees the code the caller runs, in the
working tree or installed. Only pure Python distributions can be taken, since the guest's
machine and its Python (3.11) may be others; and, for a guest of this machine's kind, those whose
shared libraries are for any Python.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fsession.guest.cpio import Entry, file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["DISTRIBUTIONS", "GUEST_PYTHON", "distribution_files", "package_files", "with_byte_code"]

GUEST_PYTHON = (3, 11)
_SITE = "usr/lib/python3/dist-packages"
_LAUNCHER = (
    b"#!/usr/bin/python3\nimport sys\nfrom fsession.cli.main import main\nsys.exit(main())\n"
)

# What the package needs, and what tests of it need. Those not installed here are left out.
DISTRIBUTIONS = (
    "click", "markdown-it-py", "mdurl", "pycparser", "pyelftools", "pygments", "rich",
    "iniconfig", "packaging", "pluggy", "pytest", "sortedcontainers",
)  # fmt: skip

# Their shared libraries are loaded by ctypes.
NATIVE_DISTRIBUTIONS = ("capstone",)


def package_files() -> list[Entry]:
    """The source of this package, and the command ``fsession``."""
    root = Path(__file__).resolve().parent.parent
    entries = [
        file(f"{_SITE}/{path.relative_to(root.parent)}", path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and _is_wanted(path)
    ]
    return [*entries, file("usr/bin/fsession", _LAUNCHER, executable=True)]


def distribution_files(
    names: Iterable[str] = DISTRIBUTIONS, *, native: bool = False
) -> Iterator[Entry]:
    """The files of the installed distributions `names`, without byte code and scripts.

    `native`: those of `NATIVE_DISTRIBUTIONS`, too.
    """
    for name in (*names, *(NATIVE_DISTRIBUTIONS if native else ())):
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            continue
        libraries = any(path.suffix == ".so" for path in files)
        if libraries and name not in NATIVE_DISTRIBUTIONS:
            continue
        for path in files:
            place = Path(str(path.locate()))
            if ".." not in path.parts and place.is_file() and _is_wanted(place, libraries):
                yield file(f"{_SITE}/{path}", place.read_bytes())


def with_byte_code(entries: Sequence[Entry], interpreter: Sequence[str]) -> list[Entry]:
    """`entries` and a ``.pyc`` for each module among them.

    `interpreter` is the command that makes them; if it is empty there are none.

    The byte code is of the unchecked kind (PEP 552): the guest never looks at source times,
    which an initramfs does not keep.
    """
    sources = [entry for entry in entries if entry.path.endswith(".py")]
    if not interpreter:
        return list(entries)
    with tempfile.TemporaryDirectory(prefix="fsession-pyc-") as folder:
        root = Path(folder)
        for entry in sources:
            path = root / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.data)
        options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", "/", folder)
        # A file that is no valid Python (there are such in the standard library) stays as it is.
        subprocess.run(
            [*interpreter, "-I", "-S", "-m", "compileall", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        made = [
            file(str(path.relative_to(root)), path.read_bytes()) for path in root.rglob("*.pyc")
        ]
    return [*entries, *made]


def _is_wanted(path: Path, libraries: bool = False) -> bool:
    if path.suffix == ".so":
        return libraries
    return "__pycache__" not in path.parts and path.suffix != ".pyc"
