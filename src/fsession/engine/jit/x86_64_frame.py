"""The frame of a function in x86_64 code: what is saved where, and how its stack is reached."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.engine.jit.prepare import TAIL_STATE
from fsession.engine.jit.schedule import FRAME
from fsession.engine.jit.shape import MAX_LOOPS
from fsession.engine.jit.x86_64_insns import (
    R8,
    R9,
    R12,
    R13,
    R14,
    R15,
    RAX,
    RBX,
    RCX,
    RDI,
    RDX,
    RSI,
    RSP,
    X10,
    X11,
    ri,
    rm,
    rr,
)
from fsession.isa.opcode import R10

if TYPE_CHECKING:
    from fsession.engine.jit.emission import Emission
    from fsession.engine.jit.shape import Shape

__all__ = ["REGISTERS", "Frame"]

REGISTERS = (RAX, RDI, RSI, RDX, RCX, R8, RBX, R13, R14, R15, -1, X10, X11, R9, -1, RAX)
_RED_ZONE = 128


class Frame:
    """From rsp up: the counter of ``may_goto``, the BPF stack, the registers that are saved."""

    def __init__(self, out: Emission) -> None:
        self._out, self._code = out, out.code
        self._size = 0  # bytes between rsp and the end of the BPF stack

    def lay_out(self, shape: Shape) -> None:
        """Sizes and places of a function's; nothing is emitted."""
        self._shape = shape
        self._saved = {1 << register: REGISTERS[register] for register in shape.saved}
        if self._out.tails:
            self._saved[TAIL_STATE & ~FRAME] = R12
        size = shape.stack + 8 * len(self._saved) + (8 if shape.may_goto else 0)
        below = not shape.calls and size <= _RED_ZONE and not shape.may_goto
        size += (8 + size) % 16 if shape.calls else 0
        self._size = 0 if below else size
        self._lowest = self._size - size + (8 if shape.may_goto else 0)

    def extend(self, new: int) -> None:
        """Do what the state was extended by."""
        emit = self._code.emit
        if new & FRAME and self._size:
            emit(ri(5, RSP, self._size))
        if new & FRAME and self._shape.may_goto:
            emit(rm(0xC7, 0, RSP, 0) + struct.pack("<i", MAX_LOOPS))
        for at, (bit, register) in enumerate(self._saved.items()):
            if new & bit:
                emit(rm(0x89, register, RSP, self._lowest + 8 * at))
        if self._out.tails and new & FRAME:
            emit(rr(0x89, RAX, R12))

    def pop(self) -> None:
        """Undo what is done in the state of the moment."""
        for at, (bit, register) in enumerate(self._saved.items()):
            if self._out.state & bit:
                self._code.emit(rm(0x8B, register, RSP, self._lowest + 8 * at))
        if self._out.state & FRAME and self._size:
            self._code.emit(ri(0, RSP, self._size))

    def value(self, register: int) -> int:
        """The machine's register that has the value of one; r10 is put into r9."""
        if register != R10:
            return REGISTERS[register]
        self._code.emit(rm(0x8D, R9, RSP, self._size))
        return R9

    def place(self, register: int, off: int) -> tuple[int, int]:
        """The machine's register and offset for an access."""
        return (RSP, self._size + off) if register == R10 else (REGISTERS[register], off)
