"""Which registers an instruction reads and sets, and which are still read behind it.

Sets of registers are bits of a number: bit 6 is r6. r10 is in none of them. A call reads r1 to r5
and leaves r0 alone of r0 to r5.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fsession.engine.check import written
from fsession.isa.cfg import falls_through, goal
from fsession.isa.opcode import R0, R10, Alu, Atomic, Class, Jmp, Mode, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.isa.insn import Insn, InsnOff

__all__ = ["Flow", "in_place", "reads", "sets"]

ARGUMENTS = 0b111110  # r1 to r5
_ROUNDS, _MOST = 8, 1e6
_ALL = (1 << R10) - 1
_ATOMIC = int(Class.STX | Mode.ATOMIC)


def reads(insn: Insn) -> int:
    """The registers whose values an instruction needs."""
    fixed, by_dst, by_src = _read_by(insn.opcode)
    if insn.opcode & 0xE7 == _ATOMIC:
        by_dst = int(insn.imm != Atomic.LOAD_ACQ)
        fixed = int(insn.imm == Atomic.CMPXCHG) << R0
    return (fixed | by_dst << insn.dst | by_src << insn.src) & _ALL


@cache
def _read_by(opcode: int) -> tuple[int, int, int]:
    """Registers that are read in any case; 1 if the destination is read, 1 if the source is."""
    operation, by_register = opcode & 0xF0, int(bool(opcode & Source.X))
    match Class(opcode & 7):
        case Class.ALU | Class.ALU64 if operation in (Alu.END, Alu.NEG):
            return 0, 1, 0
        case Class.ALU | Class.ALU64:
            return 0, int(operation != Alu.MOV), by_register
        case Class.LDX:
            return 0, 0, 1
        case Class.ST:
            return 0, 1, 0
        case Class.STX:
            return 0, 1, 1
        case Class.JMP if operation == Jmp.CALL:
            return ARGUMENTS, by_register, 0
        case Class.JMP if operation == Jmp.EXIT:
            return 1 << R0, 0, 0
        case Class.JMP | Class.JMP32 if operation not in (Jmp.JA, Jmp.JCOND):
            return 0, 1, by_register
    return 0, 0, 0


def sets(insn: Insn) -> int:
    """The registers that an instruction gives a value."""
    found = 0
    for register in written(insn):
        found |= 1 << register
    return found


def in_place(insn: Insn) -> bool:
    """Whether a register that it reads and sets is one register: not so of moves and loads."""
    if insn.cls in (Class.ALU, Class.ALU64):
        return insn.opcode & 0xF0 != Alu.MOV
    return insn.cls == Class.STX and insn.imm != Atomic.LOAD_ACQ


class Flow:
    """Of one function, by the numbers of its instructions: those that follow each, and `live`, what
    is read behind it of what has a value. What is never reached has none."""

    def __init__(self, body: Sequence[tuple[InsnOff, Insn]]) -> None:
        place = {at: index for index, (at, _) in enumerate(body)}
        self.reads = [reads(insn) for _, insn in body]
        self.sets = [sets(insn) for _, insn in body]
        self.next: list[tuple[int, ...]] = []
        for index, (at, insn) in enumerate(body):
            aim = goal(insn, at) if insn.is_jump else None
            to = -1 if aim is None else place[aim]
            ways = [index + 1] if falls_through(insn) and index + 1 < len(body) else []
            self.next.append((*ways, to) if to >= 0 else tuple(ways))
        self._spoils = [ARGUMENTS if insn.is_call else 0 for _, insn in body]
        both = zip(self._wanted(), self._valid(), strict=True)
        self.live = [wanted & there for wanted, there in both]

    def weights(self) -> list[float]:
        """How often each instruction may run, where every jump is as likely as not."""
        found = [0.0] * len(self.next)
        found[0] = 1.0
        for at, followers in enumerate(self.next):
            for follower in followers:
                if follower > at:
                    found[follower] += found[at] / len(followers)
                else:  # a loop, which may be long
                    for inside in range(follower, at + 1):
                        found[inside] = min(found[inside] * _ROUNDS, _MOST)
        return found

    def _wanted(self) -> list[int]:
        """What is read behind each instruction before it is set again."""
        before = [0] * len(self.next)
        after = [0] * len(self.next)
        changed = True
        while changed:
            changed = False
            for at in reversed(range(len(before))):
                wanted = 0
                for follower in self.next[at]:
                    wanted |= before[follower]
                needed = self.reads[at] | wanted & ~(self.sets[at] | self._spoils[at])
                changed = changed or needed != before[at]
                before[at], after[at] = needed, wanted
        return after

    def _valid(self) -> list[int]:
        """What may have a value behind each instruction."""
        before = [0] * len(self.next)
        after = [0] * len(self.next)
        if before:
            before[0] = ARGUMENTS
        changed = True
        while changed:
            changed = False
            for at in range(len(before)):
                there = before[at] & ~self._spoils[at] | self.sets[at]
                if there == after[at] and at:
                    continue
                after[at] = there
                for follower in self.next[at]:
                    if there & ~before[follower]:
                        before[follower] |= there
                        changed = True
        return after
