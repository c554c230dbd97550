"""From an address in a process to the symbol of its program or library."""

from __future__ import annotations

import struct
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UserSymbols"]

_TYPE, _FUNC = 0xF, 2  # of st_info: STT_FUNC
_Row = tuple[int, int, int, bytes]
_Mapping = tuple[int, int, int, str]  # start, end, offset in the file, path


class UserSymbols:
    """Mappings are read while the process lives, when its first address is asked for."""

    def __init__(self) -> None:
        self._maps: dict[int, list[_Mapping]] = {}
        self._files: dict[str, _Symbols | None] = {}

    def name(self, pid: int, address: int) -> str | None:
        """``read+0x1a (libc.so.6)``; the file alone, if it tells no symbols; else None."""
        found = self._mapping(pid, address)
        if found is None:
            return None
        start, _, offset, path = found
        symbols = self._symbols(f"/proc/{pid}/root{path}", path)
        symbol = symbols.name(address - start + offset) if symbols else None
        file = Path(path).name
        return f"{symbol} ({file})" if symbol else f"{file}+{address - start + offset:#x}"

    def _mapping(self, pid: int, address: int) -> _Mapping | None:
        for again in (False, True):  # a library may have been loaded since
            if again or pid not in self._maps:
                self._maps[pid] = _read_maps(pid) or self._maps.get(pid, [])
            for item in self._maps[pid]:
                if item[0] <= address < item[1]:
                    return item
        return None

    def _symbols(self, place: str, path: str) -> _Symbols | None:
        if path not in self._files:
            self._files[path] = next(
                (found for one in (place, path) if (found := _read_symbols(one))), None
            )
        return self._files[path]


def _read_maps(pid: int) -> list[_Mapping]:
    """The files that are mapped: ``start-end perms offset device inode path``."""
    try:
        text = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return []
    out = []
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/"):
            start, _, end = words[0].partition("-")
            out.append((int(start, 16), int(end, 16), int(words[2], 16), words[5]))
    return out


class _Symbols:
    """Functions of a file, by their places in it: place, size, where the name is in which table."""

    def __init__(self, rows: list[_Row]) -> None:
        self._rows = sorted(rows, key=_place)

    def name(self, place: int) -> str | None:
        at = bisect_right(self._rows, place, key=_place) - 1
        if at < 0:
            return None
        start, size, name_at, names = self._rows[at]
        offset = place - start
        if size and offset >= size:
            return None
        name = names[name_at : names.find(b"\0", name_at)].decode(errors="replace")
        return f"{name}+{offset:#x}" if offset else name


def _place(row: _Row) -> int:
    return row[0]


def _read_symbols(path: str) -> _Symbols | None:
    try:
        with Path(path).open("rb") as file:
            return _Symbols(_functions(ELFFile(file)))
    except (OSError, ELFError, struct.error):
        return None


def _functions(elf: ELFFile) -> list[_Row]:
    """Symbols as the file has them: pyelftools takes ten times as long to make objects of them."""
    loaded = [
        (segment["p_vaddr"], segment["p_vaddr"] + segment["p_filesz"], segment["p_offset"])
        for segment in elf.iter_segments("PT_LOAD")
    ]
    out = []
    for section in elf.iter_sections():
        if not isinstance(section, SymbolTableSection):
            continue
        names = section.stringtable.data()
        for name, value, size in _symbols_of(elf, section.data()):
            for start, end, offset in loaded:
                if start <= value < end:
                    out.append((value - start + offset, size, name, names))
    return out


def _symbols_of(elf: ELFFile, data: bytes) -> Iterator[tuple[int, int, int]]:
    """Name's place, value and size of the functions (``Elf64_Sym``, ``Elf32_Sym``)."""
    order = "<" if elf.little_endian else ">"
    if elf.elfclass == 64:
        for name, info, _, _, value, size in struct.iter_unpack(f"{order}IBBHQQ", data):
            if info & _TYPE == _FUNC and value:
                yield name, value, size
    else:
        for name, value, size, info, _, _ in struct.iter_unpack(f"{order}IIIBBH", data):
            if info & _TYPE == _FUNC and value:
                yield name, value, size
