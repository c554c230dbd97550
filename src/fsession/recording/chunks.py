"""The file format of recordings: a magic number, then chunks, each checked by itself.

::

    file:   "fsession" │ version u32 │ chunk │ chunk │ …
    chunk:  kind 4 letters │ length u32 │ crc32 of the payload u32 │ payload

Little endian. Kinds, in this order: one ``TYPE`` for each set of types (BTF), one ``HEAD`` (JSON:
`fsession.recording.header`), then ``RECS`` (a span of the ring buffer, as it lay there), in front
of it ``SYMS`` where it has addresses to be named (JSON: `fsession.recording.names`), and ``SUMS``
(JSON: the summary until then; the last one says that it is the last). Kinds that a reader does not
know are skipped. A file is written from its start to its end: cut anywhere behind its
``HEAD``, it is read up to the cut.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

from fsession.errors import BadInputError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HEAD",
    "MAGIC",
    "RECS",
    "SUMS",
    "SYMS",
    "TYPE",
    "Chunk",
    "chunk_head",
    "chunks",
    "file_head",
]

MAGIC = b"fsession"
VERSION = 1
TYPE, HEAD, RECS, SUMS, SYMS = b"TYPE", b"HEAD", b"RECS", b"SUMS", b"SYMS"

_START = struct.Struct("<8sI")
_HEAD = struct.Struct("<4sII")
_READ_BYTES = 1 << 24


@frozen
class Chunk:
    """`whole`: the file was not cut inside of it. `at` is its payload's place in the file."""

    kind: bytes
    payload: bytes
    whole: bool
    at: int


def file_head() -> bytes:
    """What a file begins with."""
    return _START.pack(MAGIC, VERSION)


def chunk_head(kind: bytes, payload: bytes) -> bytes:
    """What comes before a payload."""
    return _HEAD.pack(kind, len(payload), crc32(payload))


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of a file; the last may be cut. Raises `BadInputError` for anything else."""
    start = file.read(_START.size)
    if len(start) < _START.size or start[: len(MAGIC)] != MAGIC:
        raise BadInputError("this is no recording of fsession", 0)
    _, version = _START.unpack(start)
    if version != VERSION:
        raise BadInputError(f"a recording of version {version}, this is fsession for {VERSION}", 8)
    at = _START.size
    while head := file.read(_HEAD.size):
        at += _HEAD.size
        if len(head) < _HEAD.size:
            yield Chunk(b"", head, False, at)
            return
        kind, length, check = _HEAD.unpack(head)
        payload = _read(file, length)
        whole = len(payload) == length
        if whole and crc32(payload) != check:
            raise BadInputError("a part of the recording was changed: its checksum is wrong", at)
        yield Chunk(kind, payload, whole, at)
        at += length


def _read(file: BinaryIO, length: int) -> bytes:
    """Up to `length` bytes, never asking for much more memory than there are bytes in the file."""
    parts: list[bytes] = []
    while length and (part := file.read(min(length, _READ_BYTES))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
