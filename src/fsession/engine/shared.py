"""A shared library that is loaded in this process: its functions and where they are."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from fsession.engine.memory import peek
from fsession.errors import BadInputError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

__all__ = ["CodeSymbol", "SharedLibrary"]

_RTLD_DI_LINKMAP = 2  # dlfcn.h
_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}


class CodeSymbol(NamedTuple):
    """A function: its first address in this process and its size in bytes."""

    name: str
    start: int
    size: int


class SharedLibrary:
    """The library at `path`, loaded as `ctypes.CDLL` does, and never unloaded.

    `functions` are those of its symbol table, static ones too unless it is stripped, in the order
    of their addresses; of several names for one place a global one that C can have.
    """

    def __init__(self, path: str) -> None:
        self.path, self.name = path, Path(path).name
        with _opened(path) as file:
            elf = _elf(path, file)
            self.handle = _load(path)
            self.base = _base(self.handle)
            self.functions = tuple(_functions(elf, self.base))
            self.stubs = tuple(_stubs(elf, self.base))
        self._starts = {symbol.name: symbol.start for symbol in self.functions}

    def start(self, name: str) -> int | None:
        """Where the function is; of several with the name, the last. Exported ones may be aliases
        that `functions` does not have."""
        found = self._starts.get(name)
        if found is None and hasattr(self.handle, name):
            found = ctypes.cast(getattr(self.handle, name), ctypes.c_void_p).value
        return found


def _opened(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None


def _elf(path: str, file: IO[bytes]) -> ELFFile:
    """Checked before the loader sees it: what it says of a wrong file helps nobody."""
    try:
        elf = ELFFile(file)
        machine, kind = _MACHINES.get(elf["e_machine"], elf["e_machine"]), elf["e_type"]
    except ELFError as error:
        raise BadInputError(f"{path} is no shared library: {error}") from None
    if machine != os.uname().machine:
        raise UnsupportedError(f"{path}, a library for {machine}, on {os.uname().machine}")
    if kind != "ET_DYN":
        raise BadInputError(f"{path} is no shared library").hint("gcc -shared -fPIC makes one")
    return elf


def _load(path: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(Path(path).resolve()))
    except OSError as error:
        raise BadInputError(f"{path} can't be loaded: {error}") from None


def _base(library: ctypes.CDLL) -> int:
    """What is added to the file's addresses: the first word of ``struct link_map``."""
    libc = ctypes.CDLL(None)
    found = ctypes.c_void_p()
    handle = ctypes.c_void_p(library._handle)
    if libc.dlinfo(handle, _RTLD_DI_LINKMAP, ctypes.byref(found)) or not found.value:
        raise UnsupportedError("asking this C library where a library is")
    return peek(found.value)


def _functions(elf: ELFFile, base: int) -> Iterator[CodeSymbol]:
    table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
    if not isinstance(table, SymbolTableSection):
        return
    known: dict[int, tuple[tuple[bool, bool], CodeSymbol]] = {}
    for symbol in table.iter_symbols():
        info = symbol["st_info"]
        if info["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_size"]:
            made = CodeSymbol(symbol.name, base + symbol["st_value"], symbol["st_size"])
            rank = (made.name.isidentifier(), info["bind"] == "STB_GLOBAL")
            if made.start not in known or known[made.start][0] < rank:
                known[made.start] = rank, made
    yield from sorted((made for _, made in known.values()), key=lambda made: made.start)


def _stubs(elf: ELFFile, base: int) -> Iterator[range]:
    """Where the linker's stubs are, through which a library calls what may be elsewhere."""
    for section in elf.iter_sections():
        if section.name.startswith(".plt"):
            start = base + section["sh_addr"]
            yield range(start, start + section["sh_size"])
