"""The step of each opcode: one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import LDDW
from fsession.isa.opcode import Class, Jmp
from fsession.verify.access import step_ldx, step_st, step_stx
from fsession.verify.arith import step_alu
from fsession.verify.calls import step_call, step_exit, step_lddw
from fsession.verify.jumps import step_condition, step_goto, step_may_goto

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.isa.insn import Insn
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["STEPS"]


def _step_of(opcode: int) -> Callable[[Walk, State, Insn], int]:
    cls, op = opcode & 7, opcode & 0xF0
    if cls in (Class.ALU, Class.ALU64):
        return step_alu
    if cls == Class.LDX:
        return step_ldx
    if cls == Class.ST:
        return step_st
    if cls == Class.STX:
        return step_stx
    if opcode == LDDW:
        return step_lddw
    if op == Jmp.JA:
        return step_goto
    if op == Jmp.CALL:
        return step_call
    if op == Jmp.EXIT:
        return step_exit
    return step_may_goto if op == Jmp.JCOND and cls == Class.JMP else step_condition


STEPS: dict[int, Callable[[Walk, State, Insn], int]] = {
    opcode: _step_of(opcode) for opcode in range(256)
}
