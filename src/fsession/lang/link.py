"""Functions of the IR, optimised and made instructions, joined to one program."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.errors import InternalError
from fsession.isa.insn import Insn, InsnOff, offsets
from fsession.lang.check import check
from fsession.lang.emit import emit
from fsession.lang.lower import lower
from fsession.lang.optimise import optimise
from fsession.lang.outline import outline
from fsession.spec import FuncInfo, LineInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fsession.btf.types import TypeId
    from fsession.lang.ir import Function
    from fsession.spec import Reloc

__all__ = ["Linked", "finish", "link"]


class Linked:
    """Instructions of a program with what belongs to their places."""

    def __init__(self) -> None:
        self.insns: list[Insn] = []
        self.relocs: list[Reloc] = []
        self.funcs: list[FuncInfo] = []
        self.lines: list[LineInfo] = []


def finish(function: Function) -> list[Function]:
    """All passes over one function: it, and those that were made of its loops."""
    optimise(function)
    made = [function, *outline(function)]
    for part in made:
        optimise(part)
        lower(part)
        optimise(part)
        check(part)
    return made


def link(functions: Sequence[Function], types: Mapping[str, TypeId]) -> Linked:
    """One program, its main function first; `types` are the functions' ids in its BTF.

    Only the functions that are called from the main one, directly or not, are taken.
    """
    by_name = {function.name: function for function in functions}
    codes = {}
    wanted = [functions[0].name]
    for name in wanted:
        if name not in codes:
            if name not in by_name:
                raise InternalError(f"function '{name}' is called and does not exist")
            codes[name] = emit(by_name[name])
            wanted += [callee for _, callee in codes[name].calls]
    linked = Linked()
    starts: dict[str, int] = {}
    at = 0
    for name, code in codes.items():
        starts[name] = at
        at += offsets(code.insns)[-1]
    for name, code in codes.items():
        start = starts[name]
        calls = dict(code.calls)
        for place, insn in zip(offsets(code.insns), code.insns, strict=False):
            callee = calls.get(place)
            distance = starts[callee] - (start + place + 1) if callee else 0
            linked.insns.append(replace(insn, imm=distance) if callee else insn)
        linked.relocs += [replace(r, at=InsnOff(r.at + start)) for r in code.relocs]
        linked.funcs.append(FuncInfo(InsnOff(start), types[name]))
        linked.lines += [
            LineInfo(InsnOff(start + place), at.file, at.text, at.line, at.column)
            for place, at in code.places
        ]
    return linked
