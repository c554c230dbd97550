"""A session program rewritten into a fentry and a fexit program: the strategy *split*.

Before, for one kernel with sessions::

    r6 = r1
    call bpf_session_cookie                     ; the slot of this call
    r7 = r0
    r1 = r6
    call bpf_session_is_return
    ...
    exit

After, on the exit side::

    find the slot of this call, or leave        ; `Table.find`; entry: `Table.claim`
    r6 = r1
    r0 = *(u64 *)(r10 -56)                      ; in a subprogram: call of an appended function
    r7 = r0
    r1 = r6
    r0 = 1                                      ; entry: 0
    ...
    give the slot back                          ; exit side only
    exit

The entry side reads 0 for the return value, as in a session. Pure: nothing here asks a kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.attach.table import SPILL_BYTES
from fsession.btf.types import VOID, Func, FuncProto, Int, Param, Ptr
from fsession.errors import UnsupportedError
from fsession.frozen import frozen
from fsession.isa.cfg import subprograms
from fsession.isa.dataflow import context_pointers
from fsession.isa.edit import Edit, ToLabel
from fsession.isa.insn import InsnOff, alu, call_local, lddw, st
from fsession.isa.opcode import R0, R2, R10, Alu, Class, Mode, Size
from fsession.spec import FuncInfo, KfuncCall, KsymRef, LineInfo, MapValueRef
from fsession.uapi import AttachType, FuncId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fsession.attach.sequence import Sequence
    from fsession.attach.table import Table
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.isa.edit import Edited, Label
    from fsession.isa.insn import Insn
    from fsession.spec import MapSpec, ProgramSpec, Reloc

__all__ = ["NOT_LOADED", "Split", "loaded_words", "split"]

IS_RETURN = "bpf_session_is_return"
COOKIE = "bpf_session_cookie"

NOT_LOADED = -1
"""As the word of the return value: of a program that does not load it from the context."""

_MAX_STACK = 512
_COOKIE_FUNCTION = "fsession_cookie"


@frozen
class Split:
    """The two halves of a session program and the table they share."""

    entry: ProgramSpec
    exit: ProgramSpec
    table: MapSpec


@frozen
class _Side:
    """What differs between the halves. `return_slot`: the word that reads 0, None if none does."""

    attach_type: AttachType
    is_return: int
    return_slot: int | None = None


def split(spec: ProgramSpec, table: Table, return_slot: int) -> Split:
    """The halves of `spec`. `return_slot` is how many words the target's arguments take.

    Raises `UnsupportedError` for what can't be done in two programs.
    """
    _refuse(spec)
    entry = _Side(AttachType.TRACE_FENTRY, 0, return_slot)
    exit = _Side(AttachType.TRACE_FEXIT, 1)
    return Split(_half(spec, table, entry), _half(spec, table, exit), table.map_spec())


def loaded_words(spec: ProgramSpec) -> frozenset[int]:
    """The words that a program loads from its context.

    Functions of which the return value is none of them have the same halves: `NOT_LOADED`.
    """
    return frozenset(offset // 8 for _, _, offset in _loads(spec.insns))


_REFUSED_HELPERS = {
    FuncId.tail_call: "bpf_tail_call: the program it goes to would have to be two as well",
}
_REFUSED_KFUNCS = {
    "bpf_throw": "bpf_throw: it leaves without giving the call's slot back",
}


def _refuse(spec: ProgramSpec) -> None:
    helpers = (insn.imm for insn in spec.insns if insn.is_call and not insn.src)
    kfuncs = (reloc.name for reloc in spec.relocs if isinstance(reloc, KfuncCall))
    reasons = [_REFUSED_HELPERS[FuncId(n)] for n in helpers if n in _REFUSED_HELPERS]
    reasons += [_REFUSED_KFUNCS[name] for name in kfuncs if name in _REFUSED_KFUNCS]
    if reasons:
        error = UnsupportedError(f"program '{spec.name}' as a split session ({reasons[0]})")
        raise error.hint("On Linux 7.0 and later the kernel runs it as one program.")


def _half(spec: ProgramSpec, table: Table, side: _Side) -> ProgramSpec:
    main_end = subprograms(spec.insns)[0][1]
    spill = _stack_bytes(spec.insns, main_end)
    if spill + SPILL_BYTES > _MAX_STACK:
        error = UnsupportedError(f"program '{spec.name}' as a split session: its stack is full")
        raise error.hint(f"A split session needs {SPILL_BYTES} of the {_MAX_STACK} bytes.")
    edit = Edit(spec.insns)
    start = table.find(spill) if side.is_return else table.claim(spill)
    edit.insert(InsnOff(0), *start.insns, jumps="behind")
    for at, insn in _each(spec.insns, main_end):
        if insn.is_exit:
            edit.replace(at, *table.leave(spill, release=bool(side.is_return)))
    function = _replace_calls(edit, spec, table, spill, main_end, side)
    if side.return_slot is not None:
        _hide_result(edit, spec.insns, side.return_slot)
    return _assemble(spec, table, side, edit.apply(), start, function)


def _each(insns: Iterable[Insn], end: int | None = None) -> Iterator[tuple[InsnOff, Insn]]:
    """Instructions with their slots, up to the slot `end`."""
    at = 0
    for insn in insns:
        if end is not None and at >= end:
            return
        yield InsnOff(at), insn
        at += insn.slots


def _stack_bytes(insns: tuple[Insn, ...], end: int) -> int:
    """At least as many bytes of stack as the main function uses, a multiple of 8.

    The lowest place is one that is named: below r10 directly, or below a register that was made
    from r10 by adding a negative number. Too high a guess costs nothing. Too low a one can do no
    harm either: the verifier sees a stored address overwritten and refuses the program.
    """
    direct = added = indirect = 0
    for _, insn in _each(insns, end):
        memory = insn.cls in (Class.LDX, Class.ST, Class.STX) and insn.off < 0
        base = insn.src if insn.cls == Class.LDX else insn.dst
        if memory and base == R10:
            direct = max(direct, -insn.off)
        elif memory:
            indirect = max(indirect, -insn.off)
        elif insn.opcode == Class.ALU64 | Alu.ADD and -_MAX_STACK <= insn.imm < 0:
            added = max(added, -insn.imm)
    lowest = max(direct, added + indirect if added else 0)
    return -(-min(lowest, max(direct, added, _MAX_STACK - SPILL_BYTES)) // 8) * 8


def _replace_calls(
    edit: Edit, spec: ProgramSpec, table: Table, spill: int, main_end: int, side: _Side
) -> tuple[Label, Sequence] | None:
    """Put constants, loads and calls in the place of the two kfuncs.

    Returns the label and code of the function that finds a cookie, where one is needed.
    """
    function = None
    for reloc in spec.relocs:
        name = reloc.name if isinstance(reloc, KfuncCall | KsymRef) else ""
        if isinstance(reloc, KsymRef) and name in (IS_RETURN, COOKIE):
            edit.replace(reloc.at, lddw(_insn_at(spec, reloc.at).dst, 1))  # asked: "is it there?"
        elif name == IS_RETURN:
            edit.replace(reloc.at, alu(Alu.MOV, R0, imm=side.is_return))
        elif name == COOKIE and reloc.at < main_end:
            edit.replace(reloc.at, *table.load_cookie(spill))
        elif name == COOKIE:
            function = function or _append(edit, table.cookie())
            edit.replace(reloc.at, ToLabel(call_local(0), function[0]))
    return function


def _append(edit: Edit, code: Sequence) -> tuple[Label, Sequence]:
    return edit.append(*code.insns), code


def _insn_at(spec: ProgramSpec, at: InsnOff) -> Insn:
    return next(insn for place, insn in _each(spec.insns) if place == at)


def _hide_result(edit: Edit, insns: tuple[Insn, ...], return_slot: int) -> None:
    """Entry side: the return value reads as 0, directly and by ``bpf_get_func_ret(ctx, &v)``."""
    for at, insn in _each(insns):
        if insn.is_call and not insn.src and insn.imm == FuncId.get_func_ret:
            edit.replace(at, st(Size.DW, R2, 0, 0), alu(Alu.MOV, R0, imm=0))
    for at, insn, offset in _loads(insns):
        if offset == return_slot * 8:
            edit.replace(at, alu(Alu.MOV, insn.dst, imm=0))


def _loads(insns: tuple[Insn, ...]) -> Iterator[tuple[InsnOff, Insn, int]]:
    """Loads from the context, each with its offset there."""
    held = context_pointers(insns)
    for at, insn in _each(insns):
        if insn.cls == Class.LDX and insn.opcode & 0xE0 in (Mode.MEM, Mode.MEMSX):
            ctx = held.get(at, {}).get(insn.src)
            if ctx is not None and ctx.sure:
                yield at, insn, ctx.off + insn.off


def _assemble(
    spec: ProgramSpec,
    table: Table,
    side: _Side,
    edited: Edited,
    start: Sequence,
    function: tuple[Label, Sequence] | None,
) -> ProgramSpec:
    relocs = [*_moved(spec.relocs, edited.at), *_addresses(start, table, 0)]
    funcs = [replace(info, at=edited.start[info.at]) for info in spec.funcs]
    lines = [replace(info, at=edited.start[info.at]) for info in spec.lines]
    types = spec.types
    if function is not None:
        at = edited.labels[function[0]]
        relocs += _addresses(function[1], table, at)
        if spec.lines:
            lines.append(LineInfo(at, "fsession", "the cookie of this call", 1, 1))
        if spec.funcs and types is not None:
            types, type_id = _with_function(types)
            funcs.append(FuncInfo(at, type_id))
    return replace(
        spec,
        insns=edited.insns,
        attach_type=side.attach_type,
        relocs=tuple(relocs),
        funcs=tuple(funcs),
        lines=tuple(lines),
        types=types,
    )


def _moved(relocs: Iterable[Reloc], at: Mapping[InsnOff, InsnOff]) -> Iterator[Reloc]:
    for reloc in relocs:
        if not (isinstance(reloc, KfuncCall | KsymRef) and reloc.name in (IS_RETURN, COOKIE)):
            yield replace(reloc, at=at[reloc.at])


def _addresses(code: Sequence, table: Table, base: int) -> Iterator[MapValueRef]:
    for at, offset in code.addresses:
        yield MapValueRef(InsnOff(base + at), table.name, offset)


def _with_function(types: Types) -> tuple[Types, TypeId]:
    """The object's BTF with ``static unsigned long long *fsession_cookie(void *)`` behind it."""
    from fsession.btf.encode import Builder

    build = Builder()
    build.keep_strings(types)
    for type_id in types.own_ids():
        build.add(types[type_id])
    word = build.add(Int("unsigned long long", 8, 64))
    context = build.add(Ptr(VOID))
    proto = build.add(FuncProto(build.add(Ptr(word)), (Param("ctx", context),)))
    function = build.add(Func(_COOKIE_FUNCTION, proto))
    return build.types(types.name), function
