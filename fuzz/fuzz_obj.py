"""Mutated ELF objects into the reader, and what it gives into CO-RE and the C text of types.

python fuzz/fuzz_obj.py --count 2000 --seed 1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mutate import Span, main

from fsession.btf.core import Relocator
from fsession.btf.types import Func
from fsession.isa.insn import encode, offsets
from fsession.obj import compile_c, read_object
from fsession.obj.elf import read_elf
from fsession.spec import CoreRelo, KfuncCall, MapRef, MapValueRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.spec import ObjectSpec, ProgramSpec

TESTS = Path(__file__).parent.parent / "tests"
# Debug information is not read.
_READ = (".BTF", ".BTF.ext", ".symtab", ".strtab", ".maps", "license", "version", ".text", ".rel")
_HEADER_BYTES = 64


def bases() -> Sequence[tuple[bytes, Sequence[Span]]]:
    """The objects of the tests, and where in them things lie that are read."""
    include = [TESTS / "kernel" / "include"]
    sources = sorted((TESTS / "obj").glob("*.bpf.c"))
    return [(data, _spans(data)) for data in (compile_c(s, include_dirs=include) for s in sources)]


def _spans(data: bytes) -> list[Span]:
    sections = read_elf(data).sections
    table = int.from_bytes(data[40:48], "little")
    spans = [(0, _HEADER_BYTES), (table, table + 64 * len(sections))]
    read = [s for s in sections if s.is_code or s.name.startswith(_READ)]
    spans += [(s.offset, s.offset + s.size) for s in read if ".debug" not in s.name]
    return [span for span in spans if span[0] < span[1]]


def use(data: bytes) -> None:
    """Read, and check of what was read what a kernel would rely on."""
    spec = read_object(data, "fuzz")
    maps = {item.name: item for item in spec.maps}
    for program in spec.programs:
        _check_program(program, spec, {name: item.value_size for name, item in maps.items()})
    for variable in spec.variables:
        assert variable.offset + variable.size <= maps[variable.map].value_size


def _check_program(program: ProgramSpec, spec: ObjectSpec, sizes: dict[str, int]) -> None:
    slots = offsets(program.insns)
    starts, end = set(slots[:-1]), slots[-1]
    assert len(encode(program.insns)) == 8 * end
    for at, insn in zip(slots, program.insns, strict=False):
        if insn.is_jump:
            assert at + 1 + insn.jump_off in starts
        if insn.is_local_call:
            assert at + 1 + insn.imm in starts
    for reloc in program.relocs:
        assert reloc.at in starts
        match reloc:
            case MapRef():
                assert reloc.map in sizes
            case MapValueRef():
                assert 0 <= reloc.offset < sizes[reloc.map]
            case KfuncCall():
                assert spec.types is not None
                spec.types.prototype(reloc.type)
            case CoreRelo():
                assert spec.types is not None
                Relocator(spec.types, [spec.types]).relocate(reloc)
    for info in program.funcs:
        assert spec.types is not None
        assert spec.types.kind_of(info.type) is Func
        assert info.at in starts
    assert {line.at for line in program.lines} <= starts


if __name__ == "__main__":
    sys.exit(main("fuzz_obj", bases, use))
