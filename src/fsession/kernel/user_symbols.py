"""From an address in a process to the symbol of its program or library."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

__all__ = ["UserSymbols"]

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
    """Functions of a file, by their places in it."""

    def __init__(self, rows: list[tuple[int, int, str]]) -> None:
        self._rows = sorted(rows)
        self._starts = [start for start, _, _ in self._rows]

    def name(self, place: int) -> str | None:
        at = bisect_right(self._starts, place) - 1
        if at < 0:
            return None
        start, size, name = self._rows[at]
        offset = place - start
        if size and offset >= size:
            return None
        return f"{name}+{offset:#x}" if offset else name


def _read_symbols(path: str) -> _Symbols | None:
    try:
        with Path(path).open("rb") as file:
            return _Symbols(_functions(ELFFile(file)))
    except (OSError, ELFError):
        return None


def _functions(elf: ELFFile) -> list[tuple[int, int, str]]:
    loaded = [
        (segment["p_vaddr"], segment["p_vaddr"] + segment["p_filesz"], segment["p_offset"])
        for segment in elf.iter_segments("PT_LOAD")
    ]
    out = []
    for section in elf.iter_sections():
        if not isinstance(section, SymbolTableSection):
            continue
        for symbol in section.iter_symbols():
            value = symbol["st_value"]
            if symbol["st_info"]["type"] != "STT_FUNC" or not value:
                continue
            for start, end, offset in loaded:
                if start <= value < end:
                    out.append((value - start + offset, symbol["st_size"], symbol.name))
    return out
