"""The section ``.BTF.ext``: which function, source line and type layout an instruction is of.

Documentation/bpf/btf.rst, section 4.2. A header with the places of three tables; each table starts
with the size of its records (newer compilers may append to them) and has a block for every ELF
section::

    record size │ section name, count │ record, record, … │ section name, count │ record, …

Places are bytes from the start of the ELF section.
"""

from __future__ import annotations

import struct
from dataclasses import field
from typing import TYPE_CHECKING

from fsession.btf.types import Func, TypeId
from fsession.errors import BadInputError
from fsession.frozen import frozen, slotted
from fsession.uapi import CoreReloKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.catalog import Types

__all__ = ["LineRecord", "RelocRecord", "SectionExt", "read_ext"]

_HEADER = struct.Struct("<HBBI")
_TABLE = struct.Struct("<II")  # offset behind the header, length
_BLOCK = struct.Struct("<II")  # section name, number of records
_MAGIC = 0xEB9F
_FUNC = struct.Struct("<II")  # struct bpf_func_info
_LINE = struct.Struct("<IIII")  # struct bpf_line_info
_RELO = struct.Struct("<IIII")  # struct bpf_core_relo
_KINDS = frozenset(CoreReloKind)
_SLOT = 8


@frozen
class LineRecord:
    """``struct bpf_line_info``: string offsets, and line << 10 | column."""

    file: int
    text: int
    place: int


@frozen
class RelocRecord:
    """``struct bpf_core_relo``."""

    type: TypeId
    access: str
    kind: CoreReloKind


@slotted
class SectionExt:
    """The records of one ELF section by the slot they are of."""

    funcs: dict[int, TypeId] = field(default_factory=dict)
    lines: dict[int, LineRecord] = field(default_factory=dict)
    relocs: dict[int, RelocRecord] = field(default_factory=dict)


def read_ext(data: bytes, types: Types) -> dict[str, SectionExt]:
    """Records by ELF section. Raises `BadInputError` with the offset in the section."""
    found: dict[str, SectionExt] = {}
    tables = _tables(data)
    for section, at, (slot, id) in _records(data, tables[0], _FUNC, types):
        if id >= len(types) or types.kind_of(TypeId(id)) is not Func:
            raise BadInputError(f".BTF.ext: type {id} is no function", at)
        found.setdefault(section, SectionExt()).funcs[slot] = TypeId(id)
    for section, _, (slot, file, text, place) in _records(data, tables[1], _LINE, types):
        found.setdefault(section, SectionExt()).lines[slot] = LineRecord(file, text, place)
    for section, at, (slot, id, access, kind) in _records(data, tables[2], _RELO, types):
        if id >= len(types) or kind not in _KINDS:
            raise BadInputError(f".BTF.ext: a relocation of kind {kind} on type {id}", at)
        record = RelocRecord(TypeId(id), types.string(access), CoreReloKind(kind))
        found.setdefault(section, SectionExt()).relocs[slot] = record
    return found


def _tables(data: bytes) -> list[tuple[int, int]]:
    """Start and end of the tables: functions, lines, relocations; empty where one is absent."""
    if len(data) < _HEADER.size:
        raise BadInputError(".BTF.ext is cut off", 0)
    magic, version, _, header = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != 1 or not _HEADER.size + 16 <= header <= len(data):
        raise BadInputError(".BTF.ext has no header that is known", 0)
    places = []
    for at in range(_HEADER.size, _HEADER.size + 3 * _TABLE.size, _TABLE.size):
        offset, length = _TABLE.unpack_from(data, at) if at + _TABLE.size <= header else (0, 0)
        if header + offset + length > len(data):
            raise BadInputError(".BTF.ext: a table lies outside the section", at)
        places.append((header + offset, header + offset + length))
    return places


def _records(
    data: bytes, table: tuple[int, int], layout: struct.Struct, types: Types
) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """ELF section, place and fields of every record; the first field becomes a slot."""
    at, end = table
    if at == end:
        return
    size = int.from_bytes(data[at : at + 4], "little") if at + 4 <= end else 0
    if size < layout.size or size % 4:
        raise BadInputError(f".BTF.ext: records of {size} bytes", at)
    at += 4
    while at < end:
        if at + _BLOCK.size > end:
            raise BadInputError(".BTF.ext: a table is cut off", at)
        name, count = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        if not count or at + count * size > end:
            raise BadInputError(f".BTF.ext: {count} records don't fit", at)
        section = types.string(name)
        for place in range(at, at + count * size, size):
            offset, *rest = layout.unpack_from(data, place)
            if offset % _SLOT:
                raise BadInputError(".BTF.ext: a record of no whole instruction", place)
            yield section, place, (offset // _SLOT, *rest)
        at += count * size
