"""From an address of a program to its source line, by the DWARF of its ELF file."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.descriptions import describe_form_class
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from fsession.errors import BadInputError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SourceLines"]

_Row = tuple[int, str, int]  # first address, file, line; line 0: nothing follows


class SourceLines:
    """Of the file at `path`; a compilation unit's lines are read when one is asked for."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._file = Path(path).open("rb")  # noqa: SIM115 -- closed by close
        try:
            self._units = self._open()
        except BaseException:
            self.close()
            raise
        self._rows: dict[int, list[_Row]] = {}

    def _open(self) -> list[tuple[int, int, int]]:
        try:
            self._elf = ELFFile(self._file)
            if not self._elf.has_dwarf_info(strict=True):
                raise BadInputError(f"{self._path} has no debug info").hint(
                    "a vmlinux with DWARF is in packages like linux-image-…-dbg"
                )
            self._dwarf = self._elf.get_dwarf_info()
            return sorted(self._ranges())
        except (ELFError, DWARFError) as error:
            raise BadInputError(f"{self._path} can't be read: {error}") from None

    def symbol(self, name: str) -> int | None:
        """The address of a symbol in the file."""
        for section in self._elf.iter_sections():
            if isinstance(section, SymbolTableSection):
                found = section.get_symbol_by_name(name)
                if found:
                    return int(found[0]["st_value"])
        return None

    def line(self, address: int) -> str | None:
        """``net/ipv4/icmp.c:1031``; None where nothing is known."""
        at = bisect_right(self._units, (address, 1 << 64, 0)) - 1
        if at < 0 or address >= self._units[at][1]:
            return None
        unit = self._units[at][2]
        if unit not in self._rows:
            self._rows[unit] = self._read(unit)
        rows = self._rows[unit]
        place = bisect_right(rows, (address, "\U0010ffff", 0)) - 1
        if place < 0 or not rows[place][2]:
            return None
        return f"{rows[place][1]}:{rows[place][2]}"

    def _ranges(self) -> list[tuple[int, int, int]]:
        """``(start, end, offset of the unit)``: from .debug_aranges, else of each unit."""
        aranges = self._dwarf.get_aranges()
        if aranges is not None:
            return [(e.begin_addr, e.begin_addr + e.length, e.info_offset) for e in aranges.entries]
        found = []
        for unit in self._dwarf.iter_CUs():
            attributes = unit.get_top_DIE().attributes
            low, high = attributes.get("DW_AT_low_pc"), attributes.get("DW_AT_high_pc")
            if low is not None and high is not None:
                is_address = describe_form_class(high.form) == "address"
                end = high.value if is_address else low.value + high.value
                found.append((low.value, end, unit.cu_offset))
        return found

    def _read(self, offset: int) -> list[_Row]:
        unit = self._dwarf.get_CU_at(offset)
        program = self._dwarf.line_program_for_CU(unit)
        if program is None:
            return []
        names = _file_names(program)
        rows = []
        for entry in program.get_entries():
            state = entry.state
            if state is not None:
                line = 0 if state.end_sequence else state.line
                rows.append((state.address, names.get(state.file, "?"), line))
        return sorted(rows, key=lambda row: (row[0], bool(row[2])))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> SourceLines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _file_names(program: Any) -> dict[int, str]:
    """By the numbers that rows have: from 1 before DWARF 5."""
    header = program.header
    first = 0 if header["version"] >= 5 else 1
    folders = header["include_directory"]
    names = {}
    for number, entry in enumerate(header["file_entry"], first):
        index = entry.dir_index - (0 if header["version"] >= 5 else 1)
        name = entry.name.decode("utf-8", "backslashreplace")
        folder = _folder(folders, index)
        names[number] = f"{folder}/{name}" if folder else name
    return names


def _folder(folders: list[Any], index: int) -> str:
    """Where it matters: that of the whole build, the first one, is left out."""
    if not 0 <= index < len(folders):
        return ""
    raw = folders[index]
    name: bytes = raw if isinstance(raw, bytes) else raw.DW_LNCT_path
    text = name.decode("utf-8", "backslashreplace")
    return "" if text.startswith("/") else text.removeprefix("./")
