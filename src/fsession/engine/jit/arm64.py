"""BPF instructions to arm64 machine code (Arm ARM, chapter C6; AAPCS64).

    BPF    r0  r1  r2  r3  r4  r5  r6  r7  r8  r9  r10
    arm64  x7  x0  x1  x2  x3  x4 x19 x20 x21 x22         scratch x9 to x12, x16; x26 tail calls

(beside those, by `allocate`: its temporaries x13 and x14, its homes x5 and x6.) Arguments of
helpers are where C wants them; a result stays in x0 or is moved. A function's frame, from sp up:
saved registers, the counter of ``may_goto``, the BPF stack; r10 is counted from sp.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fsession.engine.jit.allocate import Machine
from fsession.engine.jit.arm64_alu import SOURCE_X, U64, Arithmetic
from fsession.engine.jit.arm64_frame import PAIRS, REGISTERS, TAIL, Frame
from fsession.engine.jit.arm64_insns import (
    BLR,
    BR,
    FP,
    LDP_POST,
    LDR,
    LR,
    SP,
    STP_PRE,
    STR,
    X9,
    X10,
    X11,
    X16,
    ZR,
    add_imm,
    branch_reg,
    call_address,
    load_imm,
    move,
    pair,
    patch_distance,
    rrr,
    thread_pointer_load,
    words,
)
from fsession.engine.jit.arm64_memory import Accesses
from fsession.engine.jit.code import Code
from fsession.engine.jit.emission import Emission, emit
from fsession.engine.jit.fuse import fused
from fsession.engine.jit.prepare import prepare
from fsession.engine.jit.shape import is_tail_call
from fsession.errors import BadInputError
from fsession.isa.opcode import CALL_LOCAL, R0, Class, Jmp, Mode, Pseudo

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

ENTRY_NOP = bytes.fromhex("1f2003d5")
ENTRY_BYTES = len(ENTRY_NOP)
MAX_TAIL_CALLS = 33
UCONTEXT_REGISTERS = {register: 184 + 8 * register for register in range(31)}
UCONTEXT_PC = 184 + 8 * 32
"""Offsets in ``ucontext_t``, by the machine's number of the register."""

_MACHINE = Machine(homes=2, saving=1, groups=tuple(PAIRS))
_NEAR_INSNS = 1 << 14  # up to so many, code behind a program is within 1 MiB of each of them
_RET, _BL = 0xD65F03C0, 0x94000000
_BL_REACH = 1 << 27
_CONDITIONS = {
    Jmp.JEQ: 0,
    Jmp.JNE: 1,
    Jmp.JSET: 1,
    Jmp.JGE: 2,
    Jmp.JLT: 3,
    Jmp.JGT: 8,
    Jmp.JLE: 9,
    Jmp.JSGE: 10,
    Jmp.JSLT: 11,
    Jmp.JSGT: 12,
    Jmp.JSLE: 13,
}
_HS = 2


def compile_code(insns: Sequence[Insn], calls: CallTarget) -> Code:
    """Code of a program, each function behind an `ENTRY_NOP`; `calls` resolves what is outside."""
    return _Compiler(insns).compile(calls)


def inline_code(insns: Sequence[Insn]) -> bytes:
    """Code of a few instructions without calls, jumps and stack, to stand where a call stood."""
    return _Compiler(insns).inline()


def read_thread_pointer() -> bytes:
    """A function that returns the thread pointer."""
    return words(0xD53BD040, _RET)


class _Compiler:
    """One program while it is translated."""

    jump = words(0x14000000)

    def __init__(self, insns: Sequence[Insn]) -> None:
        self._insns = insns
        self._out = out = Emission(patch_distance)
        self._code, self._frame = out.code, Frame(out)
        self._arithmetic = Arithmetic(out, self._frame, literals=len(insns) <= _NEAR_INSNS)
        self._accesses = Accesses(out, self._frame)
        self._near: list[tuple[int, int]] = []  # ends of calls, and what they call

    def compile(self, calls: CallTarget) -> Code:
        entries = emit(prepare(self._insns, calls, lambda _: _MACHINE), self._out, self)
        for target in {target for _, target in self._near}:
            self._code.label(("far", target))
            self._arithmetic.load_number(X16, target)
            self._code.emit(branch_reg(BR, X16))
        data, tail = self._code.finish(), self._code.offset("tail")
        faults = tuple(self._out.faults)
        return Code(data, entries, tail, faults, partial(_straighten, self._near))

    def inline(self) -> bytes:
        self._arithmetic.literals = False
        for at, insn in fused(self._insns):
            self.translate(insn, at)
        return self._code.finish()

    def begin(self, shape: Shape) -> None:
        """The patchable entry, and for a main program with tail calls a frame with their count."""
        code = self._code
        code.label(("entry", shape.start))
        code.emit(ENTRY_NOP)
        if self._out.tails and not shape.start:
            code.emit(pair(STP_PRE, FP, LR, SP, -32) + add_imm(FP, SP, 0))
            code.emit(words(0xF9000BFF) + add_imm(X9, SP, 16))  # str xzr, [sp, 16]
            code.emit_to("tail", words(0x94000000))
            code.emit(pair(LDP_POST, FP, LR, SP, 32) + words(_RET))
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
            case Class.ST:
                self._code.emit(load_imm(X9, insn.imm) if insn.imm else b"")
                self._accesses.store(insn, X9 if insn.imm else ZR)
            case _ if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._accesses.atomic(insn)
            case _:
                self._accesses.store(insn, self._frame.value(insn.src))

    def _immediate(self, insn: Insn, at: int) -> None:
        if insn.src == Pseudo.FUNC:
            adr = words(0x10000000 | REGISTERS[insn.dst])
            self._code.emit_to(("entry", at + 1 + insn.func_off), adr)
        elif insn.src == Pseudo.NONE:
            self._arithmetic.load_number(REGISTERS[insn.dst], insn.imm & U64)
        else:
            raise BadInputError(f"instruction {at} is a reference that was not resolved")

    def _jump(self, insn: Insn, at: int) -> None:
        operation, w = insn.opcode & 0xF0, int(insn.cls == Class.JMP)
        code = self._code
        if operation == Jmp.CALL:
            self._call(insn, at)
        elif operation == Jmp.EXIT:
            self._frame.pop()
            code.emit((b"" if self._out.line.stays else move(0, REGISTERS[R0])) + words(_RET))
        elif operation == Jmp.JA:
            code.emit_to(self._out.goal(at + 1 + insn.jump_off), words(0x14000000))
        elif operation == Jmp.JCOND:
            code.emit(self._frame.counter(LDR))
            code.emit_to(self._out.goal(at + 1 + insn.off), words(0xB4000000 | X10))
            code.emit(add_imm(X10, X10, -1) + self._frame.counter(STR))
        else:
            self._branch(insn, Jmp(operation), self._out.goal(at + 1 + insn.off), w)

    def _branch(self, insn: Insn, operation: Jmp, goal: object, w: int) -> None:
        dst, code = self._frame.value(insn.dst), self._code
        by_register = bool(insn.opcode & SOURCE_X)
        if not by_register and not insn.imm and operation in (Jmp.JEQ, Jmp.JNE):
            opcode = 0x34000000 if operation == Jmp.JEQ else 0x35000000
            code.emit_to(goal, words(opcode | w << 31 | dst))
            return
        if by_register:
            opcode = 0x6A000000 if operation == Jmp.JSET else 0x6B000000
            code.emit(rrr(opcode, ZR, dst, self._frame.value(insn.src), w))
        elif operation != Jmp.JSET and abs(insn.imm) < 4096:
            opcode = 0x71000000 if insn.imm >= 0 else 0x31000000  # cmp or cmn
            code.emit(words(opcode | w << 31 | abs(insn.imm) << 10 | dst << 5 | ZR))
        else:
            opcode = 0x6A000000 if operation == Jmp.JSET else 0x6B000000
            self._arithmetic.load_number(X9, insn.imm & U64)
            code.emit(rrr(opcode, ZR, dst, X9, w))
        code.emit_to(goal, words(0x54000000 | _CONDITIONS[operation]))

    def _call(self, insn: Insn, at: int) -> None:
        code = self._code
        if insn.opcode & SOURCE_X:
            code.emit(branch_reg(BLR, self._frame.value(insn.dst)) + self._result())
        elif insn.src == CALL_LOCAL:
            if self._out.tails:
                code.emit(move(X9, TAIL))
            code.emit_to(("entry", at + 1 + insn.func_off), words(0x94000000))
            code.emit(self._result())
        elif is_tail_call(insn):
            self._tail_call()
        else:
            self._call_outside(self._out.targets[self._out.line.at])

    def _call_outside(self, target: int | bytes) -> None:
        code = self._code
        if isinstance(target, bytes):
            code.emit(target)
            return
        if not self._arithmetic.literals:
            code.emit(call_address(target))
        else:
            code.emit_to(("far", target), words(_BL))
            self._near.append((len(code), target))
        code.emit(self._result())

    def _result(self) -> bytes:
        """Behind a call: r0 gets what is in x0."""
        return b"" if self._out.line.stays else move(REGISTERS[R0], 0)

    def _tail_call(self) -> None:
        """r2 is the map: address of its programs, number of them; x26 points to the count."""
        code, out = self._code, self._code.new_label()
        code.emit(move(X10, 2, 0) + words(0xB9400829))  # ldr w9, [x1, 8]
        code.emit(rrr(0x6B000000, ZR, X10, X9, 0))
        code.emit_to(out, words(0x54000000 | _HS))
        code.emit(words(0xF9400000 | TAIL << 5 | X11))  # ldr x11, [x26]
        code.emit(words(0xF1000000 | MAX_TAIL_CALLS << 10 | X11 << 5 | ZR))
        code.emit_to(out, words(0x54000000 | _HS))
        code.emit(words(0xF9400029, 0xF86A7929))  # ldr x9, [x1]; ldr x9, [x9, x10, lsl 3]
        code.emit_to(out, words(0xB4000000 | X9))
        code.emit(add_imm(X11, X11, 1) + words(0xF9000000 | TAIL << 5 | X11))
        code.emit(move(X10, X9) + move(X9, TAIL))
        self._frame.pop()
        code.emit(branch_reg(BR, X10))
        code.label(out)


def _straighten(calls: Sequence[tuple[int, int]], data: bytearray, address: int) -> None:
    """Calls of what ``bl`` reaches go there, not by way of a jump behind the code."""
    for end, target in calls:
        distance = target - (address + end)
        if -_BL_REACH < distance < _BL_REACH - 4:
            data[end - 4 : end] = words(_BL)
            patch_distance(data, end, distance)
