"""A relocatable ELF file for BPF as values: sections, symbols, relocations.

Only what ``clang -target bpf -c`` writes is read: ELF64, little endian, ``ET_REL``,
``EM_BPF`` (elf(5), RFC 9669). Four record layouts are all there is to it, so they are decoded here
with `struct`: importing pyelftools costs 40 ms, more than all the rest of reading an object. The
tests compare what is read here with what pyelftools reads.

Everything is checked before it is used: offsets and sizes lie inside the file, names end inside
their string table, symbols are in sections that exist. What does not hold is `BadInputError`.
"""

from __future__ import annotations

import struct

from fsession.errors import BadInputError
from fsession.frozen import frozen

__all__ = [
    "ABS64",
    "INSN32",
    "INSN64",
    "Elf",
    "Relocation",
    "Section",
    "Symbol",
    "read_elf",
]

INSN64, ABS64, INSN32 = 1, 2, 10
"""``R_BPF_64_64`` (lddw), ``R_BPF_64_ABS64`` (data), ``R_BPF_64_32`` (call)."""

# e_ident[16], e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize,
# e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name type flags addr offset size link info align entsize
_SYMBOL = struct.Struct("<IBBHQQ")  # name info other shndx value size
_REL = struct.Struct("<QQ")  # offset info

_ELF64_LE = b"\x7fELF\x02\x01\x01"
_ET_REL, _EM_BPF = 1, 247
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL = 1, 2, 3, 4, 8, 9
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHN_UNDEF, _SHN_LORESERVE, _SHN_COMMON = 0, 0xFF00, 0xFFF2
_STT_SECTION, _STT_FUNC = 3, 2
_STB_LOCAL, _STB_WEAK = 0, 2
_STV_INTERNAL, _STV_HIDDEN = 1, 2

_MAX_ZEROED_BYTES = 256 << 20


@frozen
class Section:
    """A section; `data` is empty where the file holds no bytes for it (`is_zeroed`: ``.bss``)."""

    index: int
    name: str
    offset: int
    size: int
    data: bytes
    type: int
    flags: int

    @property
    def is_code(self) -> bool:
        return self.type == _SHT_PROGBITS and bool(self.flags & _SHF_EXECINSTR)

    @property
    def is_zeroed(self) -> bool:
        return self.type == _SHT_NOBITS

    @property
    def is_allocated(self) -> bool:
        return bool(self.flags & _SHF_ALLOC)


@frozen
class Symbol:
    """A symbol; `section` is None for an extern and for absolute ones (`is_extern` tells)."""

    name: str
    section: int | None
    value: int
    size: int
    is_extern: bool
    is_func: bool
    is_section: bool
    is_local: bool
    is_weak: bool
    is_hidden: bool


@frozen
class Relocation:
    """What is at `offset` of a section depends on `symbol`."""

    offset: int
    type: int
    symbol: Symbol


@frozen
class Elf:
    """A file: sections by index, symbols, and the relocations of each section by its index."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: dict[int, tuple[Relocation, ...]]

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def relocations_of(self, section: Section) -> tuple[Relocation, ...]:
        return self.relocations.get(section.index, ())


@frozen
class _Header:
    """``Elf64_Shdr`` less what BPF objects have no use for."""

    at: int
    name: int
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int


def read_elf(data: bytes) -> Elf:
    """Decode an object file. Raises `BadInputError` with the offset of what is wrong."""
    headers, names_index = _headers(data)
    names = _table(data, headers, names_index, "section names")
    sections = tuple(
        _section(data, index, header, _string(names, header.name, header.at))
        for index, header in enumerate(headers)
    )
    if sum(section.size for section in sections if section.is_zeroed) > _MAX_ZEROED_BYTES:
        raise BadInputError(f"zeroed sections are larger than {_MAX_ZEROED_BYTES >> 20} MiB")
    symtab = next((i for i, header in enumerate(headers) if header.type == _SHT_SYMTAB), None)
    symbols = _symbols(data, headers, symtab, sections) if symtab is not None else ()
    return Elf(sections, symbols, _all_relocations(data, headers, symtab, sections, symbols))


def _headers(data: bytes) -> tuple[list[_Header], int]:
    """The section headers, and the index of the section that has their names."""
    if len(data) < _HEADER.size or data[:4] != _ELF64_LE[:4]:
        raise BadInputError("not an ELF file", 0).hint(
            "expected an object made by: clang -target bpf -g -O2 -c FILE.bpf.c"
        )
    if data[:7] != _ELF64_LE:
        raise BadInputError("not a 64-bit little-endian ELF file", 4)
    _, kind, machine, *_, entsize, count, names_index = _HEADER.unpack_from(data)
    if kind != _ET_REL or machine != _EM_BPF:
        raise BadInputError("not a relocatable object for BPF", 16).hint(
            "compile with: clang -target bpf -g -O2 -c FILE.bpf.c"
        )
    start = _HEADER.unpack_from(data)[6]
    if not count or entsize != _SECTION.size:
        raise BadInputError("no section headers, or of a size unknown", 0x3A)
    if start + count * _SECTION.size > len(data):
        raise BadInputError("section headers lie outside the file", 0x28)
    return [_header(data, start + i * _SECTION.size) for i in range(count)], names_index


def _header(data: bytes, at: int) -> _Header:
    name, kind, flags, _, offset, size, link, info, _, _ = _SECTION.unpack_from(data, at)
    return _Header(at, name, kind, flags, offset, size, link, info)


def _contents(data: bytes, header: _Header) -> bytes:
    if header.offset + header.size > len(data):
        raise BadInputError("a section lies outside the file", header.at)
    return data[header.offset : header.offset + header.size]


def _section(data: bytes, index: int, header: _Header, name: str) -> Section:
    absent = header.type in (0, _SHT_NOBITS)
    contents = b"" if absent else _contents(data, header)
    return Section(index, name, header.offset, header.size, contents, header.type, header.flags)


def _table(data: bytes, headers: list[_Header], index: int, what: str) -> bytes:
    """The bytes of a string table."""
    if index >= len(headers) or headers[index].type != _SHT_STRTAB:
        raise BadInputError(f"no string table for {what}")
    return _contents(data, headers[index])


def _string(table: bytes, offset: int, at: int) -> str:
    end = table.find(b"\0", offset)
    if offset >= len(table) or end < 0:
        raise BadInputError("a name lies outside its string table", at)
    try:
        return table[offset:end].decode()
    except UnicodeDecodeError:
        raise BadInputError("a name is not UTF-8", at) from None


def _symbols(
    data: bytes, headers: list[_Header], symtab: int, sections: tuple[Section, ...]
) -> tuple[Symbol, ...]:
    header = headers[symtab]
    names = _table(data, headers, header.link, "symbols")
    if header.size % _SYMBOL.size:
        raise BadInputError("the symbol table is not a whole number of symbols", header.at)
    places = range(header.offset, header.offset + header.size, _SYMBOL.size)
    return tuple(_symbol(data, at, names, sections) for at in places)


def _symbol(data: bytes, at: int, names: bytes, sections: tuple[Section, ...]) -> Symbol:
    name_off, info, other, shndx, value, size = _SYMBOL.unpack_from(data, at)
    if len(sections) <= shndx < _SHN_LORESERVE or shndx == _SHN_COMMON:
        raise BadInputError("a symbol is in a section that does not exist", at)
    kind, binding = info & 0x0F, info >> 4
    inside = _SHN_UNDEF < shndx < _SHN_LORESERVE
    if inside and value + size > sections[shndx].size:
        raise BadInputError("a symbol lies outside its section", at)
    name = _string(names, name_off, at)
    return Symbol(
        name=sections[shndx].name if inside and kind == _STT_SECTION else name,
        section=shndx if inside else None,
        value=value,
        size=size,
        is_extern=shndx == _SHN_UNDEF and bool(name),
        is_func=kind == _STT_FUNC,
        is_section=kind == _STT_SECTION,
        is_local=binding == _STB_LOCAL,
        is_weak=binding == _STB_WEAK,
        is_hidden=other & 3 in (_STV_INTERNAL, _STV_HIDDEN),
    )


def _all_relocations(
    data: bytes,
    headers: list[_Header],
    symtab: int | None,
    sections: tuple[Section, ...],
    symbols: tuple[Symbol, ...],
) -> dict[int, tuple[Relocation, ...]]:
    """Relocations of the sections that are loaded; those of debug information are left alone."""
    found: dict[int, tuple[Relocation, ...]] = {}
    for header in headers:
        if header.type not in (_SHT_REL, _SHT_RELA) or not _is_loaded(sections, header.info):
            continue
        if header.type == _SHT_RELA or header.link != symtab or header.info in found:
            raise BadInputError("relocations of a form that BPF objects don't have", header.at)
        found[header.info] = _relocations(data, header, sections[header.info], symbols)
    return found


def _is_loaded(sections: tuple[Section, ...], index: int) -> bool:
    return index < len(sections) and sections[index].is_allocated


def _relocations(
    data: bytes, header: _Header, section: Section, symbols: tuple[Symbol, ...]
) -> tuple[Relocation, ...]:
    records = _contents(data, header)
    if len(records) % _REL.size:
        raise BadInputError("relocations are not a whole number of records", header.at)
    found = []
    for number, (offset, info) in enumerate(_REL.iter_unpack(records)):
        at = header.offset + number * _REL.size
        if offset >= section.size:
            raise BadInputError(f"a relocation lies outside section '{section.name}'", at)
        if info >> 32 >= len(symbols):
            raise BadInputError("a relocation is of a symbol that does not exist", at)
        found.append(Relocation(offset, info & 0xFFFF_FFFF, symbols[info >> 32]))
    return tuple(sorted(found, key=lambda relocation: relocation.offset))
