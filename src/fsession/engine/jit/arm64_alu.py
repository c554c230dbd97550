"""Arithmetic of BPF as arm64 instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.jit.arm64_frame import REGISTERS
from fsession.engine.jit.arm64_insns import (
    X9,
    X10,
    ZR,
    add_extended,
    add_imm,
    load_imm,
    move,
    rrr,
    words,
)
from fsession.engine.jit.fuse import SUM
from fsession.isa.opcode import R10, Alu, Class

if TYPE_CHECKING:
    from fsession.engine.jit.arm64_frame import Frame
    from fsession.engine.jit.emission import Emission
    from fsession.isa.insn import Insn

__all__ = ["RR", "SOURCE_X", "U64", "Arithmetic"]

SOURCE_X = 8
RR = {
    Alu.ADD: 0x0B000000,
    Alu.SUB: 0x4B000000,
    Alu.OR: 0x2A000000,
    Alu.AND: 0x0A000000,
    Alu.XOR: 0x4A000000,
    Alu.LSH: 0x1AC02000,
    Alu.RSH: 0x1AC02400,
    Alu.ARSH: 0x1AC02800,
}
_U32, U64 = 0xFFFF_FFFF, (1 << 64) - 1


class Arithmetic:
    """`literals`: words behind the code are within reach of all of it."""

    def __init__(self, out: Emission, frame: Frame, *, literals: bool) -> None:
        self._frame, self._code = frame, out.code
        self.literals = literals

    def load_number(self, register: int, value: int) -> None:
        """In one instruction, where the number can stand behind the code."""
        code = load_imm(register, value)
        if len(code) > 4 and self.literals:
            self._code.emit_to(self._code.literal(value), words(0x58000000 | register))
        else:
            self._code.emit(code)

    def alu(self, insn: Insn) -> None:
        operation, w = Alu(insn.opcode & 0xF0), int(insn.cls == Class.ALU64)
        dst, emit = REGISTERS[insn.dst], self._code.emit
        if insn.opcode == SUM and not insn.off and (insn.imm or insn.src == R10):
            self._add(dst, insn.src, insn.imm)
            return
        by_register = bool(insn.opcode & SOURCE_X)
        src = self._frame.value(insn.src) if by_register else X9
        match operation:
            case Alu.END:
                emit(_swap(insn, dst))
                return
            case Alu.NEG:
                emit(rrr(0x4B000000, dst, ZR, dst, w))
                return
            case Alu.MOV if not by_register:
                self.load_number(dst, insn.imm & (U64 if w else _U32))
                return
            case Alu.MOV if insn.off:
                emit(words((0x93400000 if w else 0x13000000) | insn.off - 1 << 10 | src << 5 | dst))
                return
            case Alu.MOV:
                emit(move(dst, src, w) if dst != src or not w else b"")
                return
            case Alu.LSH | Alu.RSH | Alu.ARSH if not by_register:
                emit(_shift_imm(operation, dst, insn.imm, w))
                return
            case Alu.ADD | Alu.SUB if not by_register and abs(insn.imm) < 4096:
                emit(add_imm(dst, dst, insn.imm if operation == Alu.ADD else -insn.imm, w))
                return
        if not by_register:
            self.load_number(X9, insn.imm & (U64 if w else _U32))
        if operation in (Alu.DIV, Alu.MOD):
            emit(_divide(operation, dst, src, w, by_sign=bool(insn.off)))
        elif operation == Alu.MUL:
            emit(rrr(0x1B007C00, dst, dst, src, w))
        else:
            emit(rrr(RR[operation], dst, dst, src, w))

    def _add(self, dst: int, src: int, imm: int) -> None:
        """The sum of a register of BPF, r10 as well, and a number."""
        register, imm = self._frame.base(src, imm)
        if abs(imm) < 4096:
            self._code.emit(add_imm(dst, register, imm))
        else:
            self._code.emit(load_imm(X9, imm) + add_extended(dst, register, X9))


def _swap(insn: Insn, dst: int) -> bytes:
    """rev of the whole register, then the upper bits of it; le only cuts."""
    swaps = insn.cls == Class.ALU64 or insn.opcode & SOURCE_X
    regs = dst << 5 | dst
    match insn.imm:
        case 16 if swaps:
            return words(0x5AC00400 | regs, 0x53003C00 | regs)  # rev16, uxth
        case 16:
            return words(0x53003C00 | regs)
        case 32 if swaps:
            return words(0x5AC00800 | regs)
        case 32:
            return move(dst, dst, 0)
        case _:
            return words(0xDAC00C00 | regs) if swaps else b""


def _shift_imm(operation: Alu, dst: int, imm: int, w: int) -> bytes:
    """ubfm and sbfm, of which the shifts are forms."""
    bits = 64 if w else 32
    imm &= bits - 1
    head = (0x93400000 if w else 0x13000000) if operation == Alu.ARSH else 0
    head = head or (0xD3400000 if w else 0x53000000)
    first, last = (-imm % bits, bits - 1 - imm) if operation == Alu.LSH else (imm, bits - 1)
    return words(head | first << 16 | last << 10 | dst << 5 | dst)


def _divide(operation: Alu, dst: int, src: int, w: int, *, by_sign: bool) -> bytes:
    """By zero the machine's quotient is 0, so that the remainder is the dividend: as wanted."""
    divide = 0x1AC00C00 if by_sign else 0x1AC00800
    if operation == Alu.DIV:
        return rrr(divide, dst, dst, src, w)
    msub = words(0x1B008000 | w << 31 | src << 16 | dst << 10 | X10 << 5 | dst)
    return rrr(divide, X10, dst, src, w) + msub
