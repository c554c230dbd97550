"""A relocatable ELF file for BPF, written: sections, symbols, relocations (elf(5))."""

from __future__ import annotations

import struct
from dataclasses import field

from fsession.frozen import frozen, slotted

__all__ = ["ElfWriter"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")
_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
_ET_REL, _EM_BPF = 1, 247
_PROGBITS, _SYMTAB, _STRTAB, _REL_TYPE = 1, 2, 3, 9
_WRITE, _ALLOC, _EXEC, _INFO_LINK = 1, 2, 4, 64
_LOCAL, _GLOBAL = 0, 1
_NOTYPE, _OBJECT, _FUNC, _SECTION_SYMBOL = 0, 1, 2, 3
_ALIGN = 8


@slotted
class _Section:
    name: str
    data: bytes
    flags: int
    align: int = _ALIGN
    type: int = _PROGBITS
    link: int = 0
    info: int = 0
    entry: int = 0
    relocs: list[tuple[int, str, int]] = field(default_factory=list)


@frozen
class _Symbol:
    name: str
    section: str
    at: int
    size: int
    type: int
    binding: int


class ElfWriter:
    """Grows by its methods; `to_bytes` gives the file."""

    def __init__(self) -> None:
        self._sections: dict[str, _Section] = {}
        self._symbols: dict[str, _Symbol] = {}

    def section(
        self,
        name: str,
        data: bytes,
        *,
        code: bool = False,
        writable: bool = False,
        loaded: bool = True,
    ) -> None:
        """Each has a symbol of its name, for relocations to its start."""
        flags = (_ALLOC if loaded else 0) | (_EXEC if code else 0) | (_WRITE if writable else 0)
        self._sections[name] = _Section(name, data, flags)
        if loaded:
            self._symbols[name] = _Symbol(name, name, 0, 0, _SECTION_SYMBOL, _LOCAL)

    def function(self, name: str, section: str, at: int, size: int, *, is_local: bool) -> None:
        binding = _LOCAL if is_local else _GLOBAL
        self._symbols[name] = _Symbol(name, section, at, size, _FUNC, binding)

    def object(self, name: str, section: str, at: int, size: int) -> None:
        self._symbols[name] = _Symbol(name, section, at, size, _OBJECT, _GLOBAL)

    def undefined(self, name: str) -> None:
        self._symbols[name] = _Symbol(name, "", 0, 0, _NOTYPE, _GLOBAL)

    def relocation(self, section: str, at: int, symbol: str, type: int) -> None:
        self._sections[section].relocs.append((at, symbol, type))

    def to_bytes(self) -> bytes:
        names = _Strings()
        sections = [_Section("", b"", 0, 0, 0), *self._sections.values()]
        numbers = {section.name: number for number, section in enumerate(sections)}
        order = sorted(self._symbols.values(), key=lambda symbol: symbol.binding)
        places = {symbol.name: number for number, symbol in enumerate(order, 1)}
        relocated = [section for section in sections if section.relocs]
        symtab = len(sections) + len(relocated)
        for section in relocated:
            data = b"".join(
                _REL.pack(at, places[symbol] << 32 | type) for at, symbol, type in section.relocs
            )
            sections.append(
                _Section(f".rel{section.name}", data, _INFO_LINK, _ALIGN, _REL_TYPE, symtab,
                         numbers[section.name], _REL.size)
            )  # fmt: skip
        symbols = bytes(_SYMBOL.size) + b"".join(
            _SYMBOL.pack(
                names.add("" if symbol.type == _SECTION_SYMBOL else symbol.name),
                symbol.binding << 4 | symbol.type, 0, numbers.get(symbol.section, 0), symbol.at,
                symbol.size,
            )
            for symbol in order
        )  # fmt: skip
        first_global = 1 + sum(symbol.binding == _LOCAL for symbol in order)
        sections.append(
            _Section(".symtab", symbols, 0, _ALIGN, _SYMTAB, symtab + 1, first_global, _SYMBOL.size)
        )
        for section in sections:
            names.add(section.name)
        names.add(".strtab")
        sections.append(_Section(".strtab", names.data, 0, 1, _STRTAB))
        return _file(sections, names)


class _Strings:
    """A string table."""

    def __init__(self) -> None:
        self.data = b"\0"
        self._places = {"": 0}

    def add(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._places[text]


def _file(sections: list[_Section], names: _Strings) -> bytes:
    """The header, the sections' bytes, their table."""
    body = b""
    rows = []
    for section in sections:
        body += bytes(-len(body) % max(section.align, 1))
        at = _HEADER.size + len(body) if section.type else 0
        body += section.data
        rows.append(
            _SECTION.pack(
                names.add(section.name), section.type, section.flags, 0, at, len(section.data),
                section.link, section.info, section.align, section.entry,
            )
        )  # fmt: skip
    body += bytes(-len(body) % _ALIGN)
    table_at = _HEADER.size + len(body)
    header = _HEADER.pack(
        _IDENT, _ET_REL, _EM_BPF, 1, 0, 0, table_at, 0, _HEADER.size, 0, 0, _SECTION.size,
        len(sections), len(sections) - 1,
    )  # fmt: skip
    return header + body + b"".join(rows)
