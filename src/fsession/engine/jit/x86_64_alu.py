"""Arithmetic of BPF as x86_64 instructions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.engine.jit.code import Fault
from fsession.engine.jit.fuse import SUM
from fsession.engine.jit.merge import OPERATIONS
from fsession.engine.jit.x86_64_frame import REGISTERS
from fsession.engine.jit.x86_64_insns import R9, RAX, RCX, RDX, X10, X11, load_imm, ri, rm, rr
from fsession.isa.opcode import R0, R3, R4, R10, Alu, Class

if TYPE_CHECKING:
    from fsession.engine.jit.emission import Emission
    from fsession.engine.jit.x86_64_frame import Frame
    from fsession.isa.insn import Insn

__all__ = ["ALU_RI", "ALU_RR", "SOURCE_X", "Arithmetic"]

SOURCE_X = 8
ALU_RR = {Alu.ADD: 0x01, Alu.OR: 0x09, Alu.AND: 0x21, Alu.SUB: 0x29, Alu.XOR: 0x31, Alu.MOV: 0x89}
ALU_RI = {Alu.ADD: 0, Alu.OR: 1, Alu.AND: 4, Alu.SUB: 5, Alu.XOR: 6}
_SHIFTS = {Alu.LSH: 4, Alu.RSH: 5, Alu.ARSH: 7}


class Arithmetic:
    def __init__(self, out: Emission, frame: Frame) -> None:
        self._out, self._frame, self._code = out, frame, out.code

    def alu(self, insn: Insn) -> None:
        operation, w = Alu(insn.opcode & 0xF0), int(insn.cls == Class.ALU64)
        dst, emit = REGISTERS[insn.dst], self._code.emit
        if insn.opcode == SUM and not insn.off and (insn.imm or insn.src == R10):
            emit(rm(0x8D, dst, *self._frame.place(insn.src, insn.imm)))
            return
        if insn.opcode & SOURCE_X and insn.imm and operation in OPERATIONS:
            self._operate_on_load(insn, operation, dst, w)
            return
        src = self._frame.value(insn.src) if insn.opcode & SOURCE_X else None
        match operation:
            case Alu.MOV if src == dst and w and not insn.off:
                pass
            case Alu.END:
                self._swap(insn, dst)
            case Alu.NEG:
                emit(rr(0xF7, 3, dst, w))
            case Alu.DIV | Alu.MOD:
                self._divide(insn, dst, src, w)
            case Alu.LSH | Alu.RSH | Alu.ARSH:
                self._shift(operation, dst, src, insn.imm, w)
            case Alu.MUL if src is None:
                emit(rr(0x69, dst, dst, w) + struct.pack("<i", insn.imm))
            case Alu.MUL if src is not None:
                emit(rr(b"\x0f\xaf", dst, src, w))
            case Alu.MOV if src is None:
                emit(load_imm(dst, insn.imm if w else insn.imm & 0xFFFF_FFFF))
            case Alu.MOV if insn.off and src is not None:
                opcode = {8: b"\x0f\xbe", 16: b"\x0f\xbf", 32: b"\x63"}[insn.off]
                emit(rr(opcode, dst, src, w))
            case _ if src is None:
                emit(ri(ALU_RI[operation], dst, insn.imm, w))
            case _:
                emit(rr(ALU_RR[operation], src, dst, w))

    def _operate_on_load(self, insn: Insn, operation: Alu, dst: int, w: int) -> None:
        at = len(self._code)
        self._code.emit(rm(ALU_RR[operation] + 2, dst, *self._frame.place(insn.src, insn.off), w))
        self._out.faults.append(Fault(at, len(self._code), X11))  # which nobody reads

    def _swap(self, insn: Insn, dst: int) -> None:
        swaps = insn.cls == Class.ALU64 or insn.opcode & SOURCE_X
        match insn.imm:
            case 16:
                if swaps:
                    self._code.emit(rr(0xC1, 1, dst, 0, b"\x66") + b"\x08")
                self._code.emit(rr(b"\x0f\xb7", dst, dst, 0))
            case 32 if not swaps:
                self._code.emit(rr(0x89, dst, dst, 0))
            case bits if swaps:
                rex = 0x40 | (bits == 64) << 3 | dst >> 3
                self._code.emit(bytes([rex, 0x0F, 0xC8 | dst & 7]))

    def _shift(self, operation: Alu, dst: int, src: int | None, imm: int, w: int) -> None:
        """The count is in cl: rcx is r4 of BPF, kept in r11 meanwhile."""
        digit, emit = _SHIFTS[operation], self._code.emit
        if src is None:
            emit(rr(0xC1, digit, dst, w) + bytes([imm & (63 if w else 31)]))
        elif dst != RCX != src and not self._out.line.live >> R4 & 1:
            emit(rr(0x89, src, RCX, 0) + rr(0xD3, digit, dst, w))
        elif dst == RCX:
            emit(rr(0x89, RCX, X11) + (rr(0x89, src, RCX) if src != RCX else b""))
            emit(rr(0xD3, digit, X11, w) + rr(0x89, X11, RCX))
        elif src == RCX:
            emit(rr(0xD3, digit, dst, w))
        else:
            emit(rr(0x89, RCX, X11) + rr(0x89, src, RCX))
            emit(rr(0xD3, digit, dst, w) + rr(0x89, X11, RCX))

    def _divide(self, insn: Insn, dst: int, src: int | None, w: int) -> None:
        """By zero the quotient is 0 and the remainder the dividend; by -1 nothing is divided, as
        the lowest number would trap."""
        code, emit = self._code, self._code.emit
        modulo, by_sign = insn.opcode & 0xF0 == Alu.MOD, bool(insn.off)
        end, divide, other = code.new_label(), code.new_label(), code.new_label()
        emit(load_imm(X11, insn.imm) if src is None else rr(0x89, src, X11, w))
        if src is not None or not insn.imm:
            emit(rr(0x85, X11, X11, w))
            code.emit_to(other, b"\x0f\x85\0\0\0\0")
            emit(rr(0x89, dst, dst, w) if modulo else rr(0x31, dst, dst, 0))
            code.emit_to(end, b"\xe9\0\0\0\0")
            code.label(other)
        if by_sign and (src is not None or insn.imm == -1):
            emit(ri(7, X11, -1, w))
            code.emit_to(divide, b"\x0f\x85\0\0\0\0")
            emit(rr(0x31, dst, dst, 0) if modulo else rr(0xF7, 3, dst, w))
            code.emit_to(end, b"\xe9\0\0\0\0")
        code.label(divide)
        self._divide_by_x11(dst, w, modulo=modulo, by_sign=by_sign)
        code.label(end)

    def _divide_by_x11(self, dst: int, w: int, *, modulo: bool, by_sign: bool) -> None:
        """``div`` takes rdx:rax and gives both; they are kept if they are read later."""
        emit, live = self._code.emit, self._out.line.live
        keep_rax, keep_rdx = dst != RAX and live >> R0 & 1, dst != RDX and live >> R3 & 1
        result = RDX if modulo else RAX
        emit(rr(0x89, RAX, X10) if keep_rax else b"")
        emit(rr(0x89, RDX, R9) if keep_rdx else b"")
        emit(rr(0x89, dst, RAX, w) if dst != RAX else b"")
        emit((b"\x48" if w else b"") + b"\x99" if by_sign else rr(0x31, RDX, RDX, 0))
        emit(rr(0xF7, 7 if by_sign else 6, X11, w))
        emit(rr(0x89, result, dst, w) if result != dst else b"")
        emit(rr(0x89, X10, RAX) if keep_rax else b"")
        emit(rr(0x89, R9, RDX) if keep_rdx else b"")


assert (REGISTERS[R3], REGISTERS[R4]) == (RDX, RCX)
