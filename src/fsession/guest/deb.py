"""Unpacking Debian packages: an ``ar`` archive with a compressed tar archive in it (deb(5))."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zlib
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.guest.cpio import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ar_members", "unpack"]

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")


def unpack(deb: bytes, what: str) -> Iterator[Entry]:
    """The files, folders and links of a package. `what` names it in errors.

    Paths of ``/bin``, ``/lib``, ``/sbin`` and their kin come out under ``usr/``: the guest's root
    has them merged, as Debian's own has. A hard link comes out as a file of its own.
    """
    members = dict(ar_members(deb, what))
    data = next((name for name in members if name.startswith("data.tar")), None)
    if data is None:
        raise BadInputError(f"{what}: no data archive in the package")
    try:
        with tarfile.open(fileobj=io.BytesIO(members[data])) as tar:
            for member in tar:
                entry = _entry(tar, member)
                if entry:
                    yield entry
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise BadInputError(f"{what}: {data} can't be unpacked ({error})") from error


def ar_members(archive: bytes, what: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an ``ar`` archive: a 60 byte header each, data padded to 2 bytes."""
    if not archive.startswith(_MAGIC):
        raise BadInputError(f"{what}: not a Debian package", 0)
    place = len(_MAGIC)
    while place < len(archive):
        header = archive[place : place + _HEADER_BYTES]
        size = header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit():
            raise BadInputError(f"{what}: bad member header", place)
        start = place + _HEADER_BYTES
        end = start + int(size)
        if end > len(archive):
            raise BadInputError(f"{what}: the package is cut short", place)
        yield header[:16].decode("latin-1").strip().rstrip("/"), archive[start:end]
        place = end + end % 2


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry | None:
    path = _merged(member.name.removeprefix("./").strip("/"))
    if path in ("", ".", *_MERGED):
        return None
    if member.isdir():
        return Entry(path, stat.S_IFDIR | member.mode)
    if member.issym():
        return Entry(path, stat.S_IFLNK | 0o777, member.linkname.encode())
    if not member.isfile() and not member.islnk():
        return None  # device nodes: the guest has devtmpfs
    content = tar.extractfile(member)
    return Entry(path, stat.S_IFREG | member.mode, content.read() if content else b"")


def _merged(path: str) -> str:
    return f"usr/{path}" if path.split("/")[0] in _MERGED else path
