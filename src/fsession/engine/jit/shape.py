"""What the functions of a program need of their frames, the same on every architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.check import written
from fsession.engine.interp import MAX_LOOPS, STACK_BYTES
from fsession.frozen import frozen
from fsession.isa.opcode import R6, R10, Class, Jmp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn

__all__ = ["MAX_LOOPS", "MAY_GOTO", "STACK_BYTES", "Shape", "is_tail_call", "shape_of", "stack_of"]

_TAIL_CALL = 12  # bpf_tail_call, which is an instruction and no function
MAY_GOTO = int(Class.JMP | Jmp.JCOND)


@frozen
class Shape:
    """The function that starts at slot `start`; `saved` are those of r6 to r9 that it changes.
    `stack` is how much it uses of its stack, in bytes: all, where r10 goes somewhere else."""

    start: int
    saved: tuple[int, ...]
    stack: int
    calls: bool
    may_goto: bool


def shape_of(start: int, insns: Sequence[Insn], stack: int) -> Shape:
    """Of the function with these instructions and so much stack."""
    changed = {register for insn in insns for register in written(insn)}
    return Shape(
        start,
        tuple(register for register in range(R6, R10) if register in changed),
        stack,
        any(insn.is_call for insn in insns),
        any(insn.opcode == MAY_GOTO for insn in insns),
    )


def is_tail_call(insn: Insn) -> bool:
    return insn.imm == _TAIL_CALL and insn.is_call and not insn.src


def stack_of(insn: Insn) -> int:
    """How far down an instruction reaches in the stack, of which there are `STACK_BYTES`."""
    if R10 not in (insn.dst, insn.src):
        return 0
    match insn.cls:
        case Class.LDX if insn.src == R10:
            return _depth(insn)
        case Class.ST | Class.STX if insn.dst == R10 != insn.src:
            return _depth(insn)
        case Class.LD | Class.JMP if insn.is_call or insn.is_lddw:
            return 0
    return STACK_BYTES


def _depth(insn: Insn) -> int:
    return min(max(7 - insn.off & -8, 0), STACK_BYTES)
