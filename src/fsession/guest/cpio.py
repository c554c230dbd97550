"""Archives for the kernel's initramfs: cpio in the "newc" form, uncompressed.

Uncompressed because unpacking a compressed archive costs more under emulation than copying a
larger one. The kernel reads several archives one after the other as one: an image is made of
layers that are written, and cached, apart (the kernel's early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Entry", "archive", "directory", "file", "symlink"]

_BLOCK_BYTES = 512


@frozen
class Entry:
    """A file, folder or symbolic link: `path` without a leading slash, `mode` as in ``st_mode``."""

    path: str
    mode: int
    data: bytes = b""  # what a file holds, where a link points


def file(path: str, data: bytes, *, executable: bool = False) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG | (0o755 if executable else 0o644), data)


def directory(path: str, permissions: int = 0o755) -> Entry:
    """A folder."""
    return Entry(path, stat.S_IFDIR | permissions)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link to `target`."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries`, padded so that another may follow it.

    Folders that an entry lies in and that no entry names are added. Of two entries with one
    path the last is kept. The same entries give the same bytes: no times, no owners.
    """
    kept = {entry.path: entry for entry in entries}
    missing = {parent for path in kept for parent in _parents(path)} - kept.keys()
    kept |= {path: directory(path) for path in missing}
    parts: list[bytes] = []
    for number, path in enumerate(sorted(kept), start=1):
        parts += _record(number, kept[path])
    parts += _record(0, Entry("TRAILER!!!", 0))
    size = sum(map(len, parts))
    return b"".join([*parts, bytes(-size % _BLOCK_BYTES)])


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _record(number: int, entry: Entry) -> list[bytes]:
    """Header, name and data of one entry, each padded to 4 bytes."""
    name = entry.path.encode("utf-8", "surrogateescape") + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + "".join(f"{field:08X}" for field in fields).encode()
    padding = bytes(-(len(header) + len(name)) % 4)
    return [header, name, padding, entry.data, bytes(-len(entry.data) % 4)]
