"""What a guest boots: which packages, in which versions, made into which files.

What was found on the mirror is kept (``resolved/*.json``) and used again until an update is
asked for: the same call boots the same guest, on a machine without network too.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fsession.guest.apt import AptArchive
from fsession.guest.cache import cache_folder, write_atomically
from fsession.guest.index import Index, Package, closure
from fsession.guest.kernels import Machine, find_kernel, kernel_series
from fsession.guest.layers import (
    BASE,
    WITHOUT,
    base_layer,
    kernel_files,
    package_layer,
    packages_layer,
    site_layer,
)
from fsession.guest.sources import configured_mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fsession.guest.progress import Progress

__all__ = ["Image", "image"]

USERLAND = ("bookworm", "bookworm-security")  # where the guest's Python 3.11 comes from


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel and the layers of its root, in the order the kernel unpacks them."""

    version: str
    kernel: Path
    layers: tuple[Path, ...]
    early_modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Maker:
    """Finds packages by name and remembers what it found."""

    archive: AptArchive
    folder: Path
    update: bool

    def resolved(self, key: str, find: Callable[[], list[Package]]) -> list[Package]:
        """What `find` returns, or returned the last time under this `key`."""
        path = self.folder / "resolved" / f"{key}.json"
        if path.exists() and not self.update:
            return [_package(row) for row in json.loads(path.read_text())]
        packages = find()
        write_atomically(path, json.dumps([asdict(item) for item in packages], indent=1).encode())
        return packages

    def indexes(self, suites: Sequence[str]) -> list[Index]:
        """The package indexes of `suites`."""
        return [self.archive.index(suite, update=self.update) for suite in suites]


def image(
    kernel: str,
    machine: Machine,
    *,
    packages: Sequence[str],
    mirror: str | None,
    update: bool,
    progress: Progress,
) -> Image:
    """Make, or find in the cache, all a guest of `machine` boots."""
    folder = cache_folder()
    archive = AptArchive(configured_mirror(mirror), machine.debian, folder, progress)
    maker = _Maker(archive, folder, update)
    series = kernel_series(kernel)
    found = maker.resolved(
        f"linux-{series.name}-{machine.debian}",
        lambda: find_kernel(series, maker.indexes(series.suites), machine.debian),
    )
    layers = folder / "layers"
    booted = kernel_files(layers, series, found, archive.fetch)
    python = [sys.executable]
    base = maker.resolved(f"base-{_hash(BASE)}-{machine.debian}", lambda: _userland(maker, BASE))
    paths = [base_layer(layers, base, archive.fetch, python)]
    if packages:
        wanted = maker.resolved(
            f"packages-{_hash(packages)}-{machine.debian}", lambda: _userland(maker, packages)
        )
        extra = [item for item in wanted if item not in base]
        paths.append(packages_layer(layers, extra, archive.fetch))
    paths += [site_layer(layers, python), package_layer(layers, python)]
    modules = [booted.modules] if booted.modules else []
    return Image(booted.version, booted.image, (*paths, *modules), series.early_modules)


def _userland(maker: _Maker, names: Sequence[str]) -> list[Package]:
    return closure(names, maker.indexes(USERLAND), WITHOUT)


def _hash(names: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:12]


def _package(row: dict[str, Any]) -> Package:
    depends = tuple(tuple(names) for names in row.pop("depends"))
    return Package(**row, depends=depends)
