"""Loads, stores and atomics of BPF as x86_64 instructions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.engine.jit.code import Fault
from fsession.engine.jit.merge import OPERATIONS, UPDATE
from fsession.engine.jit.x86_64_alu import ALU_RI, ALU_RR
from fsession.engine.jit.x86_64_frame import REGISTERS
from fsession.engine.jit.x86_64_insns import RAX, X10, X11, rm, rr
from fsession.isa.opcode import R10, Alu, Atomic, Mode, Size

if TYPE_CHECKING:
    from fsession.engine.jit.emission import Emission
    from fsession.engine.jit.x86_64_frame import Frame
    from fsession.isa.insn import Insn

__all__ = ["Accesses"]

_LOADS = {Size.B: b"\x0f\xb6", Size.H: b"\x0f\xb7", Size.W: b"\x8b", Size.DW: b"\x8b"}
_SIGNED_LOADS = {Size.B: b"\x0f\xbe", Size.H: b"\x0f\xbf", Size.W: b"\x63"}
_LOCKED = {Atomic.ADD: 0x01, Atomic.OR: 0x09, Atomic.AND: 0x21, Atomic.XOR: 0x31}
_LOOPED = {Atomic.FETCH_OR: 0x09, Atomic.FETCH_AND: 0x21, Atomic.FETCH_XOR: 0x31}


class Accesses:
    def __init__(self, out: Emission, frame: Frame) -> None:
        self._out, self._frame, self._code = out, frame, out.code

    def load(self, insn: Insn) -> None:
        size, by_sign = Size(insn.opcode & 0x18), insn.opcode & 0xE0 == Mode.MEMSX
        opcode = _SIGNED_LOADS[size] if by_sign else _LOADS[size]
        at = len(self._code)
        w = int(by_sign or size == Size.DW)
        self._code.emit(rm(opcode, REGISTERS[insn.dst], *self._frame.place(insn.src, insn.off), w))
        if insn.src != R10:
            self._out.faults.append(Fault(at, len(self._code), REGISTERS[insn.dst]))

    def store(self, insn: Insn, src: int) -> None:
        size = Size(insn.opcode & 0x18)
        opcode, prefix = (0x88 if size == Size.B else 0x89), b"\x66" if size == Size.H else b""
        self._code.emit(
            rm(opcode, src, *self._frame.place(insn.dst, insn.off), int(size == Size.DW), prefix)
        )

    def store_imm(self, insn: Insn) -> None:
        size = Size(insn.opcode & 0x18)
        opcode, prefix = (0xC6 if size == Size.B else 0xC7), b"\x66" if size == Size.H else b""
        head = rm(opcode, 0, *self._frame.place(insn.dst, insn.off), int(size == Size.DW), prefix)
        self._code.emit(head + struct.pack("<i", insn.imm)[: min(size.size_bytes, 4)])

    def update(self, insn: Insn) -> None:
        """An operation on memory by a number."""
        base, off = self._frame.place(insn.dst, insn.off)
        w, short = int(insn.opcode & 0x18 == Size.DW), -128 <= insn.imm < 128
        digit = ALU_RI[OPERATIONS[insn.src]]
        self._code.emit(rm(0x83 if short else 0x81, digit, base, off, w))
        self._code.emit(struct.pack("<b" if short else "<i", insn.imm))

    def atomic(self, insn: Insn) -> None:
        """x86 loads acquire and stores release by themselves."""
        emit, size = self._code.emit, Size(insn.opcode & 0x18)
        place = (0, 0) if insn.imm == Atomic.LOAD_ACQ else self._frame.place(insn.dst, insn.off)
        src = self._frame.value(insn.src)
        w = int(size == Size.DW)
        match insn.imm:
            case Atomic.LOAD_ACQ:
                self.load(insn)
            case Atomic.STORE_REL:
                self.store(insn, src)
            case Atomic.XCHG:
                emit(rm(0x87, src, *place, w))
            case Atomic.FETCH_ADD:
                emit(rm(b"\x0f\xc1", src, *place, w, b"\xf0"))
            case Atomic.CMPXCHG:
                emit(rm(b"\x0f\xb1", src, *place, w, b"\xf0"))
                emit(b"" if w else rr(0x89, RAX, RAX, 0))
            case op if op & UPDATE:
                emit(rm(ALU_RR[Alu(op - UPDATE)], src, *place, w))
            case op if op in _LOCKED:
                emit(rm(_LOCKED[Atomic(op)], src, *place, w, b"\xf0"))
            case op:
                self._fetch(_LOOPED[Atomic(op)], insn, w)

    def _fetch(self, opcode: int, insn: Insn, w: int) -> None:
        """The old value and a new one: compare-and-exchange until nobody came between."""
        (base, off), src = self._frame.place(insn.dst, insn.off), self._frame.value(insn.src)
        emit, again = self._code.emit, self._code.new_label()
        emit(rr(0x89, RAX, X10))
        if base == RAX:
            base = X10
        self._code.label(again)
        emit(rm(0x8B, RAX, base, off, w) + rr(0x89, RAX, X11, w))
        emit(rr(opcode, X10 if src == RAX else src, X11, w))
        emit(rm(b"\x0f\xb1", X11, base, off, w, b"\xf0"))
        self._code.emit_to(again, b"\x0f\x85\0\0\0\0")
        if src != RAX:
            emit(rr(0x89, RAX, src, w) + rr(0x89, X10, RAX))
