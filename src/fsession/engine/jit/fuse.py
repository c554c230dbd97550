"""Pairs of instructions that are one of the machine's.

Before, and after::

    r2 = r10                            SUM  r2 = r10 + -8
    r2 += -8
    r9 <<= 32                           r9 = (s32)r9
    r9 s>>= 32

`SUM` is a form of our own: a move of a register (ALU64) with an immediate, which is added.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from fsession.isa.cfg import goal, subprograms
from fsession.isa.insn import Insn, InsnOff, offsets
from fsession.isa.opcode import Alu, Class, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["SUM", "functions", "fused"]

SUM = int(Class.ALU64 | Alu.MOV | Source.X)
_ADD = int(Class.ALU64 | Alu.ADD | Source.K)
_LEFT = int(Class.ALU64 | Alu.LSH | Source.K)
_RIGHTS = {
    int(Class.ALU64 | Alu.RSH | Source.K): Insn(int(Class.ALU | Alu.MOV | Source.X)),
    int(Class.ALU64 | Alu.ARSH | Source.K): Insn(SUM, off=32),
}


def functions(insns: Sequence[Insn]) -> list[tuple[InsnOff, list[tuple[InsnOff, Insn]]]]:
    """The functions of a program by their start, fused."""
    starts = [start for start, _ in subprograms(insns)]
    found: list[list[tuple[InsnOff, Insn]]] = [[] for _ in starts]
    for at, insn in fused(insns):
        found[bisect_right(starts, at) - 1].append((at, insn))
    return list(zip(starts, found, strict=True))


def fused(insns: Sequence[Insn]) -> Iterator[tuple[InsnOff, Insn]]:
    """The instructions and their slots; nothing is fused with what is jumped to."""
    starts = offsets(insns)
    goals = {goal(insn, at) for at, insn in zip(starts, insns, strict=False)}
    at = 0
    while at < len(insns):
        insn = insns[at]
        follows = at + 1 < len(insns) and starts[at + 1] not in goals
        one = _one_of(insn, insns[at + 1]) if follows else None
        yield starts[at], one or insn
        at += 2 if one else 1


def _one_of(first: Insn, second: Insn) -> Insn | None:
    if first.dst != second.dst:
        return None
    if (first.opcode, first.off, second.opcode) == (SUM, 0, _ADD):
        return Insn(SUM, first.dst, first.src, 0, second.imm)
    if first.opcode == _LEFT and first.imm == second.imm == 32 and second.opcode in _RIGHTS:
        made = _RIGHTS[second.opcode]
        return Insn(made.opcode, first.dst, first.dst, made.off)
    return None
