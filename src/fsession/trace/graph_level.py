"""Whether a program runs for a task or in what interrupts it: where a kernel has that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.frozen import frozen
from fsession.isa.insn import alu, lddw, ldx, mov
from fsession.isa.opcode import R0, R1, R2, R9, Alu, Jmp, Pseudo, Size
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.trace.code import Code

__all__ = [
    "LEVELS",
    "LEVEL_BITS",
    "CurrentTask",
    "Level",
    "NoLevel",
    "PerCpu",
    "load_level",
    "number_level",
]

LEVELS = 8
"""0 is a task; else a softirq (1), a hard interrupt (2), an NMI (4) or those inside each other."""

LEVEL_BITS = 3
_NMI_MASK, _HARDIRQ_MASK, _SOFTIRQ_SERVED = 0x00F0_0000, 0x000F_0000, 0x100  # linux/preempt.h


class Level(Protocol):
    """Where a kernel keeps the preemption count, which tells interrupts from tasks."""

    def load(self, code: Code) -> None:
        """r9 = the count. Clobbers r0 to r5."""


@frozen
class PerCpu:
    """In a variable of each CPU (x86_64): its BTF id, and where in it the count is."""

    variable: int
    offset: int = 0

    def load(self, code: Code) -> None:
        code.emit(lddw(R1, self.variable, Pseudo.BTF_ID))
        code.helper(FuncId.this_cpu_ptr)
        code.emit(ldx(Size.W, R9, R0, self.offset))


@frozen
class CurrentTask:
    """In the task (arm64)."""

    offset: int

    def load(self, code: Code) -> None:
        code.helper(FuncId.get_current_task_btf)
        code.emit(ldx(Size.W, R9, R0, self.offset))


@frozen
class NoLevel:
    """Not known: interrupts count as the task they hit."""

    def load(self, code: Code) -> None:
        code.emit(alu(Alu.MOV, R9, imm=0))


_MASK = _NMI_MASK | _HARDIRQ_MASK | _SOFTIRQ_SERVED


def load_level(code: Code, level: Level, otherwise: str) -> None:
    """r9 = 0 in a task; in what interrupts one, go on at `otherwise`. Clobbers r0 to r5."""
    level.load(code)
    code.jump(Jmp.JSET, R9, otherwise, imm=_MASK)
    code.emit(alu(Alu.MOV, R9, imm=0))


def number_level(code: Code) -> None:
    """At `otherwise`: r9 = the level. Clobbers r1 and r2.

    Computed without branches, or the verifier would go through all that follows for each.
    """
    code.emit(mov(R1, R9), alu(Alu.RSH, R1, imm=8), alu(Alu.AND, R1, imm=1))
    for mask, shift in ((_HARDIRQ_MASK, 1), (_NMI_MASK, 2)):
        code.emit(mov(R2, R9), alu(Alu.AND, R2, imm=mask), alu(Alu.NEG, R2))
        code.emit(alu(Alu.RSH, R2, imm=63), alu(Alu.LSH, R2, imm=shift), alu(Alu.OR, R1, R2))
    code.emit(mov(R9, R1))
