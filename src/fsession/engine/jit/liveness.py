"""Which registers an instruction reads and sets, and which are still read behind it.

Sets of registers are bits of a number: bit 6 is r6. r10 is in none of them. A call reads r1 to r5
and leaves r0 alone of r0 to r5.
"""

from __future__ import annotations

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


def reads(insn: Insn) -> int:
    """The registers whose values an instruction needs."""
    dst, src = 1 << insn.dst, 1 << insn.src
    operation, by_register = insn.opcode & 0xF0, insn.opcode & Source.X
    match insn.cls:
        case Class.ALU | Class.ALU64 if operation in (Alu.END, Alu.NEG):
            found = dst
        case Class.ALU | Class.ALU64:
            found = (0 if operation == Alu.MOV else dst) | (src if by_register else 0)
        case Class.LDX:
            found = src
        case Class.ST:
            found = dst
        case Class.STX:
            found = _read_by_store(insn)
        case Class.JMP | Class.JMP32:
            found = _read_by_jump(insn)
        case _:
            found = 0
    return found & _ALL


def _read_by_store(insn: Insn) -> int:
    if insn.opcode & 0xE0 != Mode.ATOMIC:
        return 1 << insn.dst | 1 << insn.src
    if insn.imm == Atomic.LOAD_ACQ:
        return 1 << insn.src
    return 1 << insn.dst | 1 << insn.src | (insn.imm == Atomic.CMPXCHG) << R0


def _read_by_jump(insn: Insn) -> int:
    operation, by_register = insn.opcode & 0xF0, insn.opcode & Source.X
    if insn.is_call:
        return ARGUMENTS | (1 << insn.dst if by_register else 0)
    if operation in (Jmp.JA, Jmp.JCOND):
        return 0
    return 1 << R0 if insn.is_exit else 1 << insn.dst | (1 << insn.src if by_register else 0)


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
