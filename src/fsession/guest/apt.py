"""Packages by the machine's own apt, with folders of its own: nothing of the machine's changes.

apt checks signatures and hashes, resumes, and knows the machine's proxies and credentials.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from fsession.errors import GuestError
from fsession.frozen import frozen
from fsession.guest.index import Index, Package

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fsession.guest.progress import Progress
    from fsession.guest.sources import Mirror

__all__ = ["AptArchive"]

_POLL_S = 0.1


@frozen
class AptArchive:
    """An archive below `folder` that apt fills from `mirror`; `debian` is Debian's architecture."""

    mirror: Mirror
    debian: str
    folder: Path
    progress: Progress

    def index(self, suite: str, *, update: bool = False) -> Index:
        """See `Archive.index`."""
        packages = self._find_index(suite)
        if packages is None or update:
            self.progress.note(f"fetching Debian's package index of {suite} ({self.debian})")
            self._prepare(suite)
            self._apt(suite, "update")
            packages = self._find_index(suite)
        if packages is None:
            error = GuestError(f"apt got no package index of {suite} for {self.debian}")
            raise error.hint(
                "check the network; --mirror URL (or FSESSION_DEBIAN_MIRROR) names another mirror"
            )
        return Index(packages.read_text("utf-8", "replace"), suite)

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """See `Archive.fetch`."""
        debs = self.folder / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        for suite in sorted({package.suite for package in packages}):
            missing = [
                package
                for package in packages
                if package.suite == suite and not _is_whole(debs / package.deb_name, package)
            ]
            if missing:
                self._download(suite, missing, debs)
        return [debs / package.deb_name for package in packages]

    def _download(self, suite: str, packages: Sequence[Package], debs: Path) -> None:
        label = packages[0].name + (f" and {len(packages) - 1} more" if packages[1:] else "")
        names = [f"{package.name}:{package.arch}={package.version}" for package in packages]
        total = sum(package.size for package in packages)
        arguments = self._arguments(suite, "download", *names)
        with (
            self.progress.bar(f"downloading {label}", total) as advance,
            subprocess.Popen(
                arguments, cwd=debs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as apt,
        ):
            while True:
                try:
                    _, words = apt.communicate(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    advance(sum(_size(debs / package.deb_name) for package in packages))
        _check(apt.returncode, f"download {label}", words)

    def _apt(self, suite: str, *command: str) -> None:
        done = subprocess.run(
            self._arguments(suite, *command), capture_output=True, text=True, check=False
        )
        _check(done.returncode, " ".join(command), done.stderr)

    def _root(self, suite: str) -> Path:
        return self.folder / "apt" / f"{suite}-{self.debian}"

    def _find_index(self, suite: str) -> Path | None:
        lists = (self._root(suite) / "lists").glob(f"*_binary-{self.debian}_Packages")
        return next(lists, None)

    def _prepare(self, suite: str) -> None:
        root = self._root(suite)
        for name in ("lists/partial", "archives/partial"):
            (root / name).mkdir(parents=True, exist_ok=True)
        signed_by = f" signed-by={self.mirror.signed_by}" if self.mirror.signed_by else ""
        line = f"deb [arch={self.debian}{signed_by}] {self.mirror.uri(suite)} {suite} main\n"
        (root / "sources.list").write_text(line)

    def _arguments(self, suite: str, *command: str) -> list[str]:
        root = self._root(suite)
        settings = {
            "Dir::Etc::SourceList": root / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State": root,
            "Dir::State::Lists": root / "lists",
            "Dir::State::Status": "/dev/null",
            "Dir::Cache": root,
            "Dir::Cache::Archives": root / "archives",
            "APT::Architecture": self.debian,
            "APT::Architectures::": self.debian,
            "APT::Sandbox::User": "root",  # apt's own user can't write below a home folder
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        return ["apt-get", "-q", *options, *command]


def _is_whole(path: Path, package: Package) -> bool:
    return _size(path) == package.size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(status: int, what: str, words: str) -> None:
    if status == 0:
        return
    errors = [line for line in words.splitlines() if line.startswith("E:")] or ["no reason given"]
    raise GuestError(f"apt-get could not {what}: {errors[0].removeprefix('E: ')}").hint(
        "check the network; --update looks for what the mirror has now, --mirror URL is another"
    )
