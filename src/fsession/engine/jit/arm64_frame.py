"""The frame of a function in arm64 code: what is saved where, and how its stack is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.jit.arm64_insns import (
    LDP,
    LDP_POST,
    LR,
    SP,
    STP,
    STP_PRE,
    STR,
    X9,
    X10,
    X16,
    add_imm,
    load_imm,
    memory,
    move,
    pair,
)
from fsession.engine.jit.prepare import TAIL_STATE
from fsession.engine.jit.schedule import FRAME
from fsession.engine.jit.shape import MAX_LOOPS
from fsession.isa.opcode import R6, R7, R8, R9, R10

if TYPE_CHECKING:
    from fsession.engine.jit.emission import Emission
    from fsession.engine.jit.shape import Shape

__all__ = ["PAIRS", "REGISTERS", "TAIL", "Frame"]

REGISTERS = (7, 0, 1, 2, 3, 4, 19, 20, 21, 22, -1, 13, 14, 5, 6, 0)
TAIL = 26
PAIRS = {
    FRAME | 1 << R6: (LR, 19),
    1 << R7 | 1 << R8: (20, 21),
    1 << R9 | TAIL_STATE & ~FRAME: (22, TAIL),
}
_LONGEST_STEP = 504  # of a pair that moves sp


class Frame:
    """From sp up: saved registers, the counter of ``may_goto``, the BPF stack."""

    def __init__(self, out: Emission) -> None:
        self._out, self._code = out, out.code
        self._below = 0  # bytes between sp and the BPF stack's end

    def lay_out(self, shape: Shape) -> None:
        """Sizes and places of a function's; nothing is emitted."""
        self._shape = shape
        used = sum(1 << register for register in shape.saved)
        used |= FRAME if shape.calls or self._out.tails else 0
        used |= TAIL_STATE if self._out.tails else 0
        self._pairs = [(bits, regs) for bits, regs in PAIRS.items() if bits & used]
        size = 16 * len(self._pairs) + (16 if shape.may_goto else 0) + shape.stack
        self._below = size + size % 16

    @property
    def _moves_sp(self) -> bool:
        """Whether the first pair's store moves sp, and its load moves it back."""
        first = self._pairs[0][0] & FRAME if self._pairs else 0
        return bool(first) and self._below <= _LONGEST_STEP

    def extend(self, new: int) -> None:
        """Do what the state was extended by."""
        emit = self._code.emit
        if new & FRAME and self._below and not self._moves_sp:
            emit(add_imm(SP, SP, -self._below))
        for at, (bits, pair_of) in enumerate(self._pairs):
            if new & bits:
                moves = not at and self._moves_sp
                place = -self._below if moves else 16 * at
                emit(pair(STP_PRE if moves else STP, *pair_of, SP, place))
        if self._out.tails and new & FRAME:
            emit(move(TAIL, X9))
        if new & FRAME and self._shape.may_goto:
            emit(load_imm(X10, MAX_LOOPS) + self.counter(STR))

    def counter(self, opcode: int) -> bytes:
        """x10 to or from the counter of may_goto."""
        found = memory(opcode, X10, SP, 16 * len(self._pairs), 3)
        assert found
        return found

    def pop(self) -> None:
        """Undo what is done in the state of the moment."""
        emit = self._code.emit
        for at, (bits, pair_of) in reversed(list(enumerate(self._pairs))):
            if self._out.state & bits:
                moves = not at and self._moves_sp
                place = self._below if moves else 16 * at
                emit(pair(LDP_POST if moves else LDP, *pair_of, SP, place))
        if self._out.state & FRAME and self._below and not self._moves_sp:
            emit(add_imm(SP, SP, self._below))

    def value(self, register: int) -> int:
        """The machine's register that has the value of one; r10 is put into x16."""
        if register != R10:
            return REGISTERS[register]
        self._code.emit(add_imm(X16, SP, self._below))
        return X16

    def base(self, base: int, off: int) -> tuple[int, int]:
        """The machine's register and offset for one of BPF: r10 is counted from sp."""
        return (SP, self._below + off) if base == R10 else (REGISTERS[base], off)
