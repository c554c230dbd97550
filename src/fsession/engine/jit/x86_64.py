"""BPF instructions to x86_64 machine code (Intel SDM, volume 2; System V ABI).

    BPF    r0  r1  r2  r3  r4  r5  r6  r7  r8  r9  r10
    x86   rax rdi rsi rdx rcx  r8 rbx r13 r14 r15         scratch r9 r10 r11; r12 tail call count

(beside those, by `allocate`: its temporaries r10 and r11, its one home r9.)

Arguments of helpers are where C wants them. A function's frame, from rsp up: the counter of
``may_goto``, the BPF stack, the registers it saves; r10 is counted from rsp. A function that calls
nothing has up to 128 bytes of stack below rsp.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.engine.jit.allocate import Machine
from fsession.engine.jit.code import Code
from fsession.engine.jit.emission import Emission, emit
from fsession.engine.jit.fuse import SUM, fused
from fsession.engine.jit.prepare import prepare
from fsession.engine.jit.shape import is_tail_call
from fsession.engine.jit.x86_64_alu import SOURCE_X, Arithmetic
from fsession.engine.jit.x86_64_frame import REGISTERS, Frame
from fsession.engine.jit.x86_64_insns import (
    R8,
    R9,
    R12,
    R13,
    R14,
    R15,
    RAX,
    RBP,
    RBX,
    RCX,
    RDI,
    RDX,
    RSI,
    RSP,
    X10,
    X11,
    load_imm,
    patch_distance,
    pop,
    ri,
    rm,
    rr,
    thread_pointer_load,
)
from fsession.engine.jit.x86_64_memory import Accesses
from fsession.errors import BadInputError
from fsession.isa.opcode import CALL_LOCAL, R10, Alu, Class, Jmp, Mode, Pseudo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.jit.code import CallTarget
    from fsession.engine.jit.shape import Shape
    from fsession.isa.insn import Insn

__all__ = [
    "ENTRY_BYTES",
    "ENTRY_NOP",
    "REGISTERS",
    "UCONTEXT_PC",
    "UCONTEXT_REGISTERS",
    "compile_code",
    "inline_code",
    "read_thread_pointer",
    "thread_pointer_load",
]

ENTRY_NOP = bytes.fromhex("0f1f440000")
ENTRY_BYTES = len(ENTRY_NOP)
MAX_TAIL_CALLS = 33
_GREGS = (R8, R9, X10, X11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP)
UCONTEXT_REGISTERS = {register: 40 + 8 * at for at, register in enumerate(_GREGS)}
UCONTEXT_PC = 40 + 8 * len(_GREGS)
"""Offsets in ``ucontext_t``, by the machine's number of the register."""

_CONDITIONS = {
    Jmp.JEQ: 0x84,
    Jmp.JNE: 0x85,
    Jmp.JSET: 0x85,
    Jmp.JGT: 0x87,
    Jmp.JGE: 0x83,
    Jmp.JLT: 0x82,
    Jmp.JLE: 0x86,
    Jmp.JSGT: 0x8F,
    Jmp.JSGE: 0x8D,
    Jmp.JSLT: 0x8C,
    Jmp.JSLE: 0x8E,
}


def compile_code(insns: Sequence[Insn], calls: CallTarget) -> Code:
    """Code of a program, each function behind an `ENTRY_NOP`; `calls` resolves what is outside."""
    return _Compiler(insns).compile(calls)


def inline_code(insns: Sequence[Insn]) -> bytes:
    """Code of a few instructions without calls, jumps and stack, to stand where a call stood."""
    return _Compiler(insns).inline()


def read_thread_pointer() -> bytes:
    """A function that returns the thread pointer."""
    return thread_pointer_load(RAX, 0) + b"\xc3"


def _machine(insns: Sequence[Insn]) -> Machine:
    """r9 is a home where no instruction needs it; to save a register takes a push and a pop."""
    return Machine(homes=int(not any(map(_needs_r9, insns))), saving=2, merges=True)


def _needs_r9(insn: Insn) -> bool:
    match insn.cls:
        case Class.ALU | Class.ALU64 if insn.opcode & 0xF0 in (Alu.DIV, Alu.MOD):
            return True
        case Class.ALU | Class.ALU64:
            return insn.src == R10 and (insn.opcode != SUM or bool(insn.off))
        case Class.STX:
            return insn.src == R10
        case Class.JMP | Class.JMP32:
            return R10 in (insn.dst, insn.src)
    return False


class _Compiler:
    """One program while it is translated."""

    jump = b"\xe9\0\0\0\0"

    def __init__(self, insns: Sequence[Insn]) -> None:
        self._insns = insns
        self._out = out = Emission(patch_distance)
        self._code, self._frame = out.code, Frame(out)
        self._arithmetic = Arithmetic(out, self._frame)
        self._accesses = Accesses(out, self._frame)

    def compile(self, calls: CallTarget) -> Code:
        entries = emit(prepare(self._insns, calls, _machine), self._out, self)
        data = self._code.finish()
        return Code(data, entries, self._code.offset("tail"), tuple(self._out.faults))

    def inline(self) -> bytes:
        for at, insn in fused(self._insns):
            self.translate(insn, at)
        return self._code.finish()

    def begin(self, shape: Shape) -> None:
        """The patchable entry, and for a main program with tail calls a frame with their count."""
        code = self._code
        code.label(("entry", shape.start))
        code.emit(ENTRY_NOP)
        if self._out.tails and not shape.start:
            code.emit(b"\x6a\x00" + rr(0x89, RSP, RAX))  # push 0; mov rax, rsp
            code.emit_to("tail", b"\xe8\0\0\0\0")
            code.emit(pop(RCX) + b"\xc3")
        if not shape.start:
            code.label("tail")
        self._frame.lay_out(shape)

    def extend_frame(self, new: int) -> None:
        self._frame.extend(new)

    def translate(self, insn: Insn, at: int) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                self._arithmetic.alu(insn)
            case Class.JMP | Class.JMP32:
                self._jump(insn, at)
            case Class.LD:
                self._immediate(insn, at)
            case Class.LDX:
                self._accesses.load(insn)
            case Class.ST if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._accesses.update(insn)
            case Class.ST:
                self._accesses.store_imm(insn)
            case _ if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._accesses.atomic(insn)
            case _:
                self._accesses.store(insn, self._frame.value(insn.src))

    def _immediate(self, insn: Insn, at: int) -> None:
        if insn.src == Pseudo.FUNC:
            dst = REGISTERS[insn.dst]
            lea = bytes([0x48 | (dst >> 3) << 2, 0x8D, 0x05 | (dst & 7) << 3, 0, 0, 0, 0])
            self._code.emit_to(("entry", at + 1 + insn.func_off), lea)
        elif insn.src == Pseudo.NONE:
            self._code.emit(load_imm(REGISTERS[insn.dst], insn.imm))
        else:
            raise BadInputError(f"instruction {at} is a reference that was not resolved")

    def _jump(self, insn: Insn, at: int) -> None:
        operation, w = insn.opcode & 0xF0, int(insn.cls == Class.JMP)
        code = self._code
        if operation == Jmp.CALL:
            self._call(insn, at)
        elif operation == Jmp.EXIT:
            self._frame.pop()
            code.emit(b"\xc3")
        elif operation == Jmp.JA:
            code.emit_to(self._out.goal(at + 1 + insn.jump_off), b"\xe9\0\0\0\0")
        elif operation == Jmp.JCOND:
            code.emit(rm(0x83, 7, RSP, 0) + b"\0")
            code.emit_to(self._out.goal(at + 1 + insn.off), b"\x0f\x84\0\0\0\0")
            code.emit(rm(0xFF, 1, RSP, 0))
        else:
            code.emit(self._compare(insn, Jmp(operation), w))
            jump = bytes([0x0F, _CONDITIONS[Jmp(operation)], 0, 0, 0, 0])
            code.emit_to(self._out.goal(at + 1 + insn.off), jump)

    def _compare(self, insn: Insn, operation: Jmp, w: int) -> bytes:
        dst = self._frame.value(insn.dst)
        if insn.opcode & SOURCE_X:
            return rr(0x85 if operation == Jmp.JSET else 0x39, self._frame.value(insn.src), dst, w)
        if operation == Jmp.JSET:
            return rr(0xF7, 0, dst, w) + struct.pack("<i", insn.imm)
        return ri(7, dst, insn.imm, w) if insn.imm else rr(0x85, dst, dst, w)

    def _call(self, insn: Insn, at: int) -> None:
        code = self._code
        if insn.opcode & SOURCE_X:
            code.emit(rr(0xFF, 2, self._frame.value(insn.dst), 0))
        elif insn.src == CALL_LOCAL:
            if self._out.tails:
                code.emit(rr(0x89, R12, RAX))
            code.emit_to(("entry", at + 1 + insn.func_off), b"\xe8\0\0\0\0")
        elif is_tail_call(insn):
            self._tail_call()
        else:
            self._call_outside(self._out.targets[self._out.line.at])

    def _call_outside(self, target: int | bytes) -> None:
        if isinstance(target, bytes):
            self._code.emit(target)
        else:
            self._code.emit_to(self._code.literal(target), b"\xff\x15\0\0\0\0")

    def _tail_call(self) -> None:
        """r2 is the map: address of its programs, number of them; r12 points to the count."""
        code, out = self._code, self._code.new_label()
        code.emit(rr(0x89, RDX, X11, 0) + rm(0x3B, X11, RSI, 8, 0))
        code.emit_to(out, b"\x0f\x83\0\0\0\0")
        code.emit(rm(0x83, 7, R12, 0) + bytes([MAX_TAIL_CALLS]))
        code.emit_to(out, b"\x0f\x83\0\0\0\0")
        code.emit(rm(0x8B, R9, RSI, 0) + bytes.fromhex("4f8b0cd9"))  # mov r9, [r9 + 8 * r11]
        code.emit(rr(0x85, R9, R9))
        code.emit_to(out, b"\x0f\x84\0\0\0\0")
        code.emit(rm(0xFF, 0, R12, 0) + rr(0x89, R12, RAX))
        self._frame.pop()
        code.emit(b"\x41\xff\xe1")
        code.label(out)
