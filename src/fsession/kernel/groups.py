"""What tasks belong to, by the names that people use: cgroups (v2) and network namespaces."""

from __future__ import annotations

import os
from pathlib import Path

from fsession.errors import BadInputError, UnsupportedError

__all__ = ["cgroup", "network_namespace"]

_MOUNTS = Path("/proc/self/mountinfo")
_NAMED_NAMESPACES = Path("/run/netns")


def cgroup(name: str | int) -> tuple[int, int]:
    """The id of a cgroup, given by its path or id, and its level below the root."""
    top = _mount()
    number = _number(name)
    path = _path_of(top, number) if number is not None else _absolute(top, Path(str(name)))
    return path.stat().st_ino, len(path.relative_to(top).parts)


def _mount() -> Path:
    """Where the cgroups are mounted."""
    for line in _MOUNTS.read_text().splitlines():
        # id parent device root mountpoint options [tags] - type source options
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise UnsupportedError("finding cgroups (no cgroup2 is mounted)").hint(
        "mount -t cgroup2 none /sys/fs/cgroup"
    )


def _absolute(top: Path, path: Path) -> Path:
    """In full, or below the mount: ``system.slice/ssh.service``."""
    found = path if path.is_relative_to(top) else top / str(path).lstrip("/")
    if not found.is_dir():
        raise BadInputError(f"there is no cgroup '{path}'").hint(f"cgroups are folders of {top}")
    return found.resolve()


def _path_of(top: Path, number: int) -> Path:
    for folder, _, _ in os.walk(top):
        if Path(folder).stat().st_ino == number:
            return Path(folder)
    raise BadInputError(f"there is no cgroup with the id {number}").hint(f"stat -c %i {top}/NAME")


def network_namespace(name: str | int) -> int:
    """The inode of a namespace, given by it, by a path or by its name in /run/netns."""
    number = _number(name)
    if number is not None:
        return number
    for path in (Path(str(name)), _NAMED_NAMESPACES / str(name)):
        if path.is_file():
            return path.stat().st_ino
    raise BadInputError(f"there is no network namespace '{name}'").hint(
        "a path (/proc/PID/ns/net), a name of 'ip netns', or the inode"
    )


def _number(name: str | int) -> int | None:
    return int(name) if isinstance(name, int) or name.isdigit() else None
