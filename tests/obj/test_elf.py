"""The ELF reader against pyelftools, and what it says of files that are none."""

from __future__ import annotations

import io
import struct

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from tests.obj.build import compiled

from fsession.errors import BadInputError
from fsession.obj.elf import read_elf

PROGRAMS = ["maps", "globals", "functions", "externs", "core"]


@pytest.fixture(params=PROGRAMS)
def data(request, toolchain):
    return compiled(request.param, toolchain)


def test_sections(data):
    theirs = ELFFile(io.BytesIO(data))
    ours = read_elf(data)
    assert [(s.name, s.size, s.offset, s.flags) for s in ours.sections] == [
        (s.name, s["sh_size"], s["sh_offset"], s["sh_flags"]) for s in theirs.iter_sections()
    ]
    for section, other in zip(ours.sections, theirs.iter_sections(), strict=True):
        if other["sh_type"] not in ("SHT_NULL", "SHT_NOBITS"):
            assert section.data == other.data()


def test_symbols(data):
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    for ours, theirs in zip(read_elf(data).symbols, table.iter_symbols(), strict=True):
        shndx = theirs["st_shndx"]
        assert ours.section == (shndx if isinstance(shndx, int) else None)
        assert (ours.value, ours.size) == (theirs["st_value"], theirs["st_size"])
        assert ours.is_func == (theirs["st_info"]["type"] == "STT_FUNC")
        assert ours.is_local == (theirs["st_info"]["bind"] == "STB_LOCAL")
        assert ours.is_weak == (theirs["st_info"]["bind"] == "STB_WEAK")
        assert ours.is_hidden == (theirs["st_other"]["visibility"] == "STV_HIDDEN")
        if not ours.is_section:
            assert ours.name == theirs.name


def test_relocations(data):
    elf = ELFFile(io.BytesIO(data))
    ours = read_elf(data)
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section["sh_info"] in ours.relocations:
            found = [
                (r.offset, r.type, ours.symbols.index(r.symbol))
                for r in ours.relocations[section["sh_info"]]
            ]
            assert found == sorted(
                (r["r_offset"], r["r_info_type"], r["r_info_sym"])
                for r in section.iter_relocations()
            )


# Changes of a good file: where, a struct format, the value written there.
E_MACHINE, E_SHOFF, E_SHNUM, E_SHSTRNDX = 18, 40, 60, 62
BROKEN = [
    ("empty", lambda data: b"", "not an ELF file"),
    ("text", lambda data: b"#include <stdio.h>\n" * 10, "not an ELF file"),
    ("32 bits", lambda data: data[:4] + b"\1" + data[5:], "64-bit little-endian"),
    ("x86", lambda data: _put(data, E_MACHINE, "<H", 62), "not a relocatable object for BPF"),
    ("cut", lambda data: data[:-100], "outside the file"),
    ("no sections", lambda data: _put(data, E_SHNUM, "<H", 0), "no section headers"),
    ("far", lambda data: _put(data, E_SHOFF, "<Q", 1 << 63), "outside the file"),
    ("names", lambda data: _put(data, E_SHSTRNDX, "<H", 0), "no string table for section names"),
]


def _put(data: bytes, at: int, layout: str, value: int) -> bytes:
    return data[:at] + struct.pack(layout, value) + data[at + struct.calcsize(layout) :]


@pytest.mark.parametrize(
    ("change", "words"), [row[1:] for row in BROKEN], ids=[r[0] for r in BROKEN]
)
def test_a_broken_file(change, words):
    with pytest.raises(BadInputError, match=words):
        read_elf(change(compiled("maps")))


def test_huge_zeroed_sections_are_refused():
    data = compiled("globals")
    elf = ELFFile(io.BytesIO(data))
    bss = elf.get_section_index(".bss")
    at = elf["e_shoff"] + bss * elf["e_shentsize"] + 32  # sh_size
    with pytest.raises(BadInputError, match="larger than 256 MiB"):
        read_elf(_put(data, at, "<Q", 1 << 40))
