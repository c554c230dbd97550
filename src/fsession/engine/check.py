"""Whether code can be executed at all: what interpreter and machine code agree on beforehand.

This is no verification: it says that every instruction exists, that control stays inside, and
that the frame pointer is not changed. What the program does with its registers, `verify` says.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fsession.errors import BadInputError
from fsession.isa.cfg import blocks
from fsession.isa.insn import offsets
from fsession.isa.notation import rules
from fsession.isa.opcode import (
    CALL_HELPER,
    CALL_KFUNC,
    CALL_LOCAL,
    R0,
    R10,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Source,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn
    from fsession.isa.notation import Rule

__all__ = ["check_code", "written"]

_CALL = int(Class.JMP | Jmp.CALL)
_NOT_OURS = (int(Class.JMP | Jmp.JA | Source.X), int(Class.ALU64 | Alu.MOV | Source.X))
_ADDRESS_SPACE_CAST = 1  # `off` of a move between address spaces
_SETS_DST = tuple(map(int, (Class.ALU, Class.ALU64, Class.LDX, Class.LD)))
_ATOMIC = int(Class.STX | Mode.ATOMIC)
_FETCHES = (*(op for op in Atomic if op & 1 and op != Atomic.CMPXCHG),)


def check_code(insns: Sequence[Insn]) -> None:
    """Raise `BadInputError` at the first instruction that can't be executed."""
    if not insns:
        raise BadInputError("a program has at least one instruction")
    for at, insn in zip(offsets(insns), insns, strict=False):
        if not _exists(insn):
            raise BadInputError(f"instruction {at} does not exist (opcode {insn.opcode:#04x})")
        if R10 in written(insn):
            raise BadInputError(f"instruction {at} changes the frame pointer r10")
    blocks(insns)


def _exists(insn: Insn) -> bool:
    if insn.opcode == _CALL:
        return insn.src in (CALL_HELPER, CALL_LOCAL, CALL_KFUNC) and not insn.dst
    if insn.cls is Class.LD and not insn.is_lddw:
        return False
    if insn.opcode in _NOT_OURS and insn.off == _ADDRESS_SPACE_CAST:
        return False
    if insn.opcode == _NOT_OURS[0]:
        return False
    return any(_fits(rule, insn) for rule in _rules().get(insn.opcode, ()))


@cache
def _rules() -> dict[int, tuple[Rule, ...]]:
    return {opcode: tuple(group) for opcode, group in rules().items()}


def _fits(rule: Rule, insn: Insn) -> bool:
    return (
        (rule.dst is None or rule.dst == insn.dst)
        and (rule.src is None or rule.src == insn.src)
        and (rule.off is None or rule.off == insn.off)
        and insn.imm & rule.hidden == rule.imm
    )


def written(insn: Insn) -> tuple[int, ...]:
    """The registers that an instruction sets itself; those that a call spoils are not counted."""
    if insn.opcode & 7 in _SETS_DST:
        return (insn.dst,)
    if insn.opcode & 0xE7 == _ATOMIC:
        return _written_by_atomic(insn)
    return (R0,) if insn.is_call else ()


def _written_by_atomic(insn: Insn) -> tuple[int, ...]:
    if insn.imm == Atomic.LOAD_ACQ:
        return (insn.dst,)
    if insn.imm == Atomic.CMPXCHG:
        return (R0,)
    return (insn.src,) if insn.imm in _FETCHES else ()
