"""Debian packages for a guest: found on a mirror once, then remembered.

What was found is kept (``resolved/*.json``) and used again until an update is asked for: the same
call boots the same guest, on a machine without network too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fsession.guest.apt import AptArchive
from fsession.guest.cache import write_atomically
from fsession.guest.index import Package, closure
from fsession.guest.kernels import find_kernel
from fsession.guest.mirror import MirrorArchive
from fsession.guest.sources import configured_mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fsession.guest.archive import Archive
    from fsession.guest.index import Index
    from fsession.guest.kernels import KernelSeries
    from fsession.guest.progress import Progress

__all__ = ["BASE", "USERLAND", "Debian"]

USERLAND = ("bookworm", "bookworm-security")  # where the guest's Python 3.11 comes from

BASE = (
    "busybox-static", "dash", "iproute2", "iputils-ping", "libcap2-bin", "libffi8",
    "libpython3.11-stdlib", "python3.11-minimal",
)  # fmt: skip

# Needed by packages for their installation, or for parts no guest uses (TLS, SQL, NIS).
_WITHOUT = frozenset({
    "adduser", "ca-certificates", "debconf", "debianutils", "dpkg", "gcc-12-base", "libdb5.3",
    "libgssapi-krb5-2", "libnsl2", "libsqlite3-0", "libssl3", "media-types", "perl", "perl-base",
    "readline-common", "sensible-utils", "tar", "tzdata",
})  # fmt: skip


class Debian:
    """The packages of one architecture. The mirror is looked for when it is first needed."""

    def __init__(
        self, arch: str, folder: Path, mirror: str | None, progress: Progress, *, update: bool
    ) -> None:
        self.arch = arch
        self._folder = folder
        self._mirror = mirror
        self._progress = progress
        self._update = update
        self._archive: Archive | None = None

    def kernel(self, series: KernelSeries) -> list[Package]:
        """The packages of the newest kernel of `series`, the one with the image first."""
        return self._remembered(
            f"linux-{series.name}",
            lambda: find_kernel(series, self._indexes(series.suites), self.arch),
        )

    def userland(self, names: Sequence[str]) -> list[Package]:
        """The packages `names` and all they need."""
        digest = hashlib.sha256("\0".join([*sorted(names), "", *sorted(_WITHOUT)]).encode())
        return self._remembered(
            f"packages-{digest.hexdigest()[:12]}",
            lambda: closure(names, self._indexes(USERLAND), _WITHOUT),
        )

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """The .deb files of `packages`."""
        return self._source().fetch(packages)

    def _remembered(self, key: str, find: Callable[[], list[Package]]) -> list[Package]:
        path = self._folder / "resolved" / f"{key}-{self.arch}.json"
        if path.exists() and not self._update:
            return [_package(row) for row in json.loads(path.read_text())]
        packages = find()
        write_atomically(path, json.dumps([asdict(item) for item in packages], indent=1).encode())
        return packages

    def _indexes(self, suites: Sequence[str]) -> list[Index]:
        return [self._source().index(suite, update=self._update) for suite in suites]

    def _source(self) -> Archive:
        if self._archive is None:
            mirror = configured_mirror(self._mirror)
            by_apt = mirror.by_apt and shutil.which("apt-get")
            kind = AptArchive if by_apt else MirrorArchive
            self._archive = kind(mirror, self.arch, self._folder, self._progress)
        return self._archive


def _package(row: dict[str, Any]) -> Package:
    depends = tuple(tuple(names) for names in row.pop("depends"))
    return Package(**row, depends=depends)
