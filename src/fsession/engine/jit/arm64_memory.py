"""Loads, stores and atomics of BPF as arm64 instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.engine.jit.arm64_alu import RR
from fsession.engine.jit.arm64_frame import REGISTERS
from fsession.engine.jit.arm64_insns import (
    LDR,
    LDRS,
    STR,
    X9,
    X10,
    X11,
    X12,
    ZR,
    add_extended,
    add_imm,
    load_imm,
    memory,
    move,
    rrr,
    words,
)
from fsession.engine.jit.code import Fault
from fsession.isa.opcode import R0, R10, Alu, Atomic, Mode, Size

if TYPE_CHECKING:
    from fsession.engine.jit.arm64_frame import Frame
    from fsession.engine.jit.emission import Emission
    from fsession.isa.insn import Insn

__all__ = ["Accesses"]

_NE = 1
_LOG_SIZES = {Size.B: 0, Size.H: 1, Size.W: 2, Size.DW: 3}
_PLAIN = {
    Atomic.ADD: Alu.ADD,
    Atomic.OR: Alu.OR,
    Atomic.AND: Alu.AND,
    Atomic.XOR: Alu.XOR,
    Atomic.FETCH_ADD: Alu.ADD,
    Atomic.FETCH_OR: Alu.OR,
    Atomic.FETCH_AND: Alu.AND,
    Atomic.FETCH_XOR: Alu.XOR,
}


class Accesses:
    def __init__(self, out: Emission, frame: Frame) -> None:
        self._out, self._frame, self._code = out, frame, out.code

    def load(self, insn: Insn) -> None:
        size = Size(insn.opcode & 0x18)
        opcode = LDRS if insn.opcode & 0xE0 == Mode.MEMSX else LDR
        base, off = self._address(insn.src, insn.off, _LOG_SIZES[size])
        at = len(self._code)
        self._emit_memory(opcode, REGISTERS[insn.dst], base, off, size)
        if insn.src != R10:
            self._out.faults.append(Fault(at, len(self._code), REGISTERS[insn.dst]))

    def store(self, insn: Insn, register: int) -> None:
        size = Size(insn.opcode & 0x18)
        base, off = self._address(insn.dst, insn.off, _LOG_SIZES[size])
        self._emit_memory(STR, register, base, off, size)

    def atomic(self, insn: Insn) -> None:
        """Exclusive loads and stores, repeated until nobody came between."""
        size = Size(insn.opcode & 0x18)
        register = insn.src if insn.imm == Atomic.LOAD_ACQ else insn.dst
        emit, head = self._code.emit, _LOG_SIZES[size] << 30
        base, src = self._plain_address(register, insn.off), self._frame.value(insn.src)
        if insn.imm == Atomic.LOAD_ACQ:
            emit(words(0x08DFFC00 | head | base << 5 | REGISTERS[insn.dst]))
            return
        if insn.imm == Atomic.STORE_REL:
            emit(words(0x089FFC00 | head | base << 5 | src))
            return
        w, again, out = int(size == Size.DW), self._code.new_label(), self._code.new_label()
        new = X11
        self._code.label(again)
        emit(words(0x085F7C00 | head | base << 5 | X9))
        if insn.imm == Atomic.CMPXCHG:
            emit(rrr(0x6B000000, ZR, X9, REGISTERS[R0], w))
            self._code.emit_to(out, words(0x54000000 | _NE))
            new = src
        elif insn.imm == Atomic.XCHG:
            new = src
        else:
            emit(rrr(RR[_PLAIN[Atomic(insn.imm)]], X11, X9, src, w))
        emit(words(0x0800FC00 | head | X12 << 16 | base << 5 | new))
        self._code.emit_to(again, words(0x35000000 | X12))
        self._code.label(out)
        if insn.imm & 1:
            emit(words(0xD5033BBF))  # dmb ish: what is fetched is fully ordered
            emit(move(REGISTERS[R0] if insn.imm == Atomic.CMPXCHG else src, X9, w))

    def _address(self, base: int, off: int, log: int) -> tuple[int, int]:
        """Register and offset for an access."""
        register, off = self._frame.base(base, off)
        if memory(STR, 0, register, off, log) is None:
            self._code.emit(load_imm(X10, off) + add_extended(X10, register, X10))
            return X10, 0
        return register, off

    def _emit_memory(self, opcode: int, register: int, base: int, off: int, size: Size) -> None:
        found = memory(opcode, register, base, off, _LOG_SIZES[size])
        assert found
        self._code.emit(found)

    def _plain_address(self, base: int, off: int) -> int:
        """A register with the address: exclusive accesses take no offset."""
        register, off = self._frame.base(base, off)
        if not off:
            return register
        if abs(off) < 4096:
            self._code.emit(add_imm(X10, register, off))
        else:
            self._code.emit(load_imm(X10, off) + add_extended(X10, register, X10))
        return X10
