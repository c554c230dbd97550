"""BTF bytes to types: the header, the walk over the records, one record (include/uapi/linux/btf.h).

Nothing here keeps state; `fsession.btf.catalog.Types` puts the pieces together. Malformed input
raises `BadInputError` with the byte offset in the whole BTF blob.
"""

from __future__ import annotations

from struct import Struct as Packer
from typing import TYPE_CHECKING

from fsession.btf.kinds import HEAD_BYTES, KINDS, MAX_VLEN, Head, body_bytes
from fsession.errors import BadInputError
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsession.btf.types import Type

__all__ = ["HEADER", "MAGIC", "Sections", "read_header", "read_type", "walk"]

MAGIC = 0xEB9F
HEADER = Packer(
    "<HBBIIIII"
)  # struct btf_header: magic, version, flags, hdr_len, then 2 x (off, len)

_HEAD = Packer("<III")


@frozen
class Sections:
    """Where the two sections of a BTF blob lie, in bytes from its start."""

    types: int
    types_end: int
    strings: int
    strings_end: int


def read_header(data: bytes) -> Sections:
    """Check ``struct btf_header``; the parts that newer tools append to it are skipped."""
    if len(data) < HEADER.size:
        raise BadInputError(f"BTF is cut off: {len(data)} bytes, its header has {HEADER.size}", 0)
    magic, version, _flags, head, type_off, type_len, str_off, str_len = HEADER.unpack_from(data)
    if magic == int.from_bytes(MAGIC.to_bytes(2, "little"), "big"):
        raise BadInputError("BTF is big endian; only little endian is read", 0)
    if magic != MAGIC or version != 1 or head < HEADER.size:
        raise BadInputError(f"not BTF: magic {magic:#x}, version {version}, header of {head}", 0)
    types, strings = head + type_off, head + str_off
    out = Sections(types, types + type_len, strings, strings + str_len)
    if out.types_end > len(data) or types % 4 or type_len % 4:
        raise BadInputError(f"BTF type section at {types:#x}, {type_len:#x} bytes, is no place", 8)
    if out.strings_end > len(data):
        raise BadInputError(f"BTF strings at {strings:#x}, {str_len:#x} bytes, are cut off", 16)
    if str_len and data[out.strings_end - 1]:
        raise BadInputError("the last BTF string does not end", out.strings_end - 1)
    return out


class _Lengths(dict[int, int]):
    """Words of a record by its info word; the few hundred that occur are worked out once."""

    def __missing__(self, info: int) -> int:
        body = body_bytes(info)
        if body is None:
            raise BadInputError(f"BTF kind {info >> 24 & 0x1F} is unknown")
        length = self[info] = (HEAD_BYTES + body) // 4
        return length


def walk(data: bytes, sections: Sections) -> Iterator[int]:
    """Offsets of all records in words from the start of the type section, in id order.

    This is the one loop over all types that nothing can spare: an id says nothing of a place.
    """
    words = memoryview(data)[sections.types : sections.types_end].cast("I")
    infos, end = words[1:], len(words)
    lengths = _Lengths()
    at = 0
    try:
        while True:
            after = at + lengths[infos[at]]
            if after > end:
                break
            yield at
            at = after
    except IndexError:
        if at >= end:
            return
    except BadInputError as error:
        raise BadInputError(error.what, sections.types + 4 * at) from None
    raise BadInputError("the last BTF type is cut off", sections.types + 4 * at)


def read_type(data: bytes, at: int, name: Callable[[int], str]) -> Type:
    """The record at byte `at`, which `walk` has found; `name` gives the string at an offset."""
    name_off, info, word = _HEAD.unpack_from(data, at)
    kind = KINDS[info >> 24 & 0x1F]
    vlen = info & MAX_VLEN
    head = Head(name(name_off), vlen, bool(info >> 31), word)
    body = at + HEAD_BYTES
    return kind.read(head, data[body : body + kind.fixed + kind.each * vlen], name)
