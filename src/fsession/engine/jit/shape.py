"""What the functions of a program need of their frames, the same on every architecture."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from fsession.engine.check import written
from fsession.engine.interp import MAX_LOOPS, STACK_BYTES
from fsession.frozen import frozen
from fsession.isa.cfg import subprograms
from fsession.isa.insn import offsets
from fsession.isa.opcode import R6, R10, Class, Jmp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsession.isa.insn import Insn

__all__ = ["MAX_LOOPS", "STACK_BYTES", "TAIL_CALL", "Shape", "shapes"]

TAIL_CALL = 12  # bpf_tail_call, which is an instruction and no function
_MAY_GOTO = int(Class.JMP | Jmp.JCOND)


@frozen
class Shape:
    """The function that starts at slot `start`; `saved` are those of r6 to r9 that it changes."""

    start: int
    saved: tuple[int, ...]
    uses_stack: bool
    calls: bool
    tail_calls: bool
    may_goto: bool

    @property
    def has_frame(self) -> bool:
        return bool(self.saved or self.uses_stack or self.calls or self.may_goto)


def shapes(insns: Sequence[Insn]) -> Iterator[Shape]:
    """The functions in their order."""
    starts = offsets(insns)
    for start, end in subprograms(insns):
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end) - 1
        yield _shape(start, insns[first:last])


def _shape(start: int, insns: Sequence[Insn]) -> Shape:
    changed = {register for insn in insns for register in written(insn)}
    return Shape(
        start,
        tuple(register for register in range(R6, R10) if register in changed),
        any(R10 in (insn.dst, insn.src) for insn in insns),
        any(insn.is_call for insn in insns),
        any(insn.is_call and not insn.src and insn.imm == TAIL_CALL for insn in insns),
        any(insn.opcode == _MAY_GOTO for insn in insns),
    )
