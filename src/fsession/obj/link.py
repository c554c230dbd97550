"""One program of an object: its main function and, behind it, the functions that it reaches.

Every program has its own copy of the functions of ``.text`` that it calls or takes the address of,
each once, in the order in which they are found. References between functions become relative, as
the kernel has them; relocations, function and line information move along.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.isa.insn import InsnOff, call_kfunc
from fsession.isa.opcode import Pseudo
from fsession.spec import CoreRelo, FuncInfo, KfuncCall, LineInfo

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.isa.insn import Insn
    from fsession.obj.ext import LineRecord, SectionExt
    from fsession.obj.functions import Body, Function, Functions
    from fsession.spec import Reloc

__all__ = ["Linked", "link"]

_U32 = 0xFFFF_FFFF
_COLUMN_BITS = 10  # struct bpf_line_info: line_col is line << 10 | column


@frozen
class Linked:
    """What `link` makes, in the terms of `ProgramSpec`."""

    insns: tuple[Insn, ...]
    relocs: tuple[Reloc, ...]
    funcs: tuple[FuncInfo, ...]
    lines: tuple[LineInfo, ...]


def link(
    main: Function, functions: Functions, ext: dict[str, SectionExt], types: Types | None
) -> Linked:
    """Put a program together. `ext` are the ``.BTF.ext`` records by the name of the section."""
    starts = _layout(main, functions)
    insns: list[Insn] = []
    relocs: list[Reloc] = []
    funcs: list[FuncInfo] = []
    lines: list[LineInfo] = []
    for function, start in starts.items():
        body = functions.body(function)
        insns += _linked_insns(body, starts)
        relocs += [replace(reloc, at=InsnOff(start + reloc.at)) for reloc in body.relocs]
        records = ext.get(functions.elf.sections[function.section].name)
        if records is not None and types is not None:
            relocs += _core_relocs(body, start, records)
            funcs += _func_infos(function, start, records)
            lines += _line_infos(body, start, records, types)
    relocs.sort(key=lambda reloc: reloc.at)
    complete = len(funcs) == len(starts)
    # The kernel wants function information for all functions or for none, lines for their starts.
    lined = complete and {info.at for info in funcs} <= {line.at for line in lines}
    return Linked(
        tuple(insns),
        tuple(relocs),
        tuple(funcs) if complete else (),
        tuple(lines) if lined else (),
    )


def _layout(main: Function, functions: Functions) -> dict[Function, int]:
    """The functions that `main` reaches, itself first, with their first slots."""
    starts: dict[Function, int] = {}
    end, found = 0, [main]
    for function in found:  # grows while it is walked
        if function not in starts:
            starts[function] = end
            end += function.end - function.start
            found += functions.body(function).callees.values()
    return starts


def _linked_insns(body: Body, starts: dict[Function, int]) -> list[Insn]:
    start = starts[body.function]
    # A compiler leaves the call of a kfunc as one of its own functions, at no distance.
    kfuncs = {reloc.at for reloc in body.relocs if isinstance(reloc, KfuncCall)}
    return [
        _refer(insn, starts[body.callees[slot]] - (start + slot + 1))
        if slot in body.callees
        else call_kfunc(0)
        if slot in kfuncs
        else insn
        for slot, insn in body.insns
    ]


def _refer(insn: Insn, distance: int) -> Insn:
    """A call or the load of an address, `distance` slots behind the next slot."""
    if insn.is_lddw:
        return replace(insn, src=int(Pseudo.FUNC), imm=distance & _U32)
    return replace(insn, imm=distance)


def _core_relocs(body: Body, start: int, ext: SectionExt) -> list[Reloc]:
    first = body.function.start
    return [
        CoreRelo(InsnOff(start + slot), record.kind, record.type, record.access)
        for slot, _ in body.insns
        if (record := ext.relocs.get(first + slot)) is not None
    ]


def _func_infos(function: Function, start: int, ext: SectionExt) -> list[FuncInfo]:
    type = ext.funcs.get(function.start)
    return [FuncInfo(InsnOff(start), type)] if type is not None else []


def _line_infos(body: Body, start: int, ext: SectionExt, types: Types) -> list[LineInfo]:
    first = body.function.start
    return [
        _line_info(InsnOff(start + slot), record, types)
        for slot, _ in body.insns
        if (record := ext.lines.get(first + slot)) is not None
    ]


def _line_info(at: InsnOff, record: LineRecord, types: Types) -> LineInfo:
    column = record.place & (1 << _COLUMN_BITS) - 1
    file, text = types.string(record.file), types.string(record.text)
    return LineInfo(at, file, text, record.place >> _COLUMN_BITS, column)
