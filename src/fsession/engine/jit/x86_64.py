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

from fsession.engine.jit.allocate import Line, Machine
from fsession.engine.jit.code import Buffer, Code, Fault
from fsession.engine.jit.fuse import SUM, fused
from fsession.engine.jit.merge import OPERATIONS, UPDATE
from fsession.engine.jit.prepare import TAIL_STATE, prepare
from fsession.engine.jit.schedule import FRAME
from fsession.engine.jit.shape import MAX_LOOPS, Shape, is_tail_call
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
from fsession.errors import BadInputError
from fsession.isa.insn import InsnOff
from fsession.isa.opcode import (
    CALL_LOCAL,
    R0,
    R3,
    R4,
    R10,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Pseudo,
    Size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.jit.code import CallTarget
    from fsession.engine.jit.schedule import Step
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

REGISTERS = (RAX, RDI, RSI, RDX, RCX, R8, RBX, R13, R14, R15, -1, X10, X11, R9, -1, RAX)
ENTRY_NOP = bytes.fromhex("0f1f440000")
ENTRY_BYTES = len(ENTRY_NOP)
MAX_TAIL_CALLS = 33
_GREGS = (R8, R9, X10, X11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP)
UCONTEXT_REGISTERS = {register: 40 + 8 * at for at, register in enumerate(_GREGS)}
UCONTEXT_PC = 40 + 8 * len(_GREGS)
"""Offsets in ``ucontext_t``, by the machine's number of the register."""

_SOURCE_X = 8
_ALU_RR = {Alu.ADD: 0x01, Alu.OR: 0x09, Alu.AND: 0x21, Alu.SUB: 0x29, Alu.XOR: 0x31, Alu.MOV: 0x89}
_ALU_RI = {Alu.ADD: 0, Alu.OR: 1, Alu.AND: 4, Alu.SUB: 5, Alu.XOR: 6}
_SHIFTS = {Alu.LSH: 4, Alu.RSH: 5, Alu.ARSH: 7}
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
_LOADS = {Size.B: b"\x0f\xb6", Size.H: b"\x0f\xb7", Size.W: b"\x8b", Size.DW: b"\x8b"}
_SIGNED_LOADS = {Size.B: b"\x0f\xbe", Size.H: b"\x0f\xbf", Size.W: b"\x63"}
_LOCKED = {Atomic.ADD: 0x01, Atomic.OR: 0x09, Atomic.AND: 0x21, Atomic.XOR: 0x31}
_LOOPED = {Atomic.FETCH_OR: 0x09, Atomic.FETCH_AND: 0x21, Atomic.FETCH_XOR: 0x31}
_RED_ZONE = 128


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

    def __init__(self, insns: Sequence[Insn]) -> None:
        self._insns = insns
        self._code = Buffer(patch_distance)
        self._targets: dict[InsnOff, int | bytes] = {}
        self._tails = False
        self._line, self._state = Line(InsnOff(0), ()), 0
        self._faults: list[Fault] = []
        self._size = 0  # bytes between rsp and the end of the BPF stack

    def compile(self, calls: CallTarget) -> Code:
        program = prepare(self._insns, calls, _machine)
        self._targets, self._tails = program.targets, program.tails
        entries = {}
        for function in program.functions:
            entries[function.shape.start] = len(self._code)
            self._begin(function.shape)
            for step in function.steps:
                self._step(step)
        data = self._code.finish()
        return Code(data, entries, self._code.offset("tail"), tuple(self._faults))

    def inline(self) -> bytes:
        for at, insn in fused(self._insns):
            self._translate(insn, at)
        return self._code.finish()

    def _step(self, step: Step) -> None:
        self._line, self._state = step.line, step.after
        self._code.label((step.line.at, step.before))
        self._extend_frame(step.after & ~step.before)
        for insn in step.line.insns:
            self._translate(insn, step.line.at)
        if step.then is not None:
            self._code.emit_to(self._goal(step.then), b"\xe9\0\0\0\0")

    def _goal(self, at: int) -> object:
        """The label of the instruction at `at` in the state of the moment."""
        return (at, self._state)

    # The frame.

    def _begin(self, shape: Shape) -> None:
        """The patchable entry, and for a main program with tail calls a frame with their count."""
        self._shape, code = shape, self._code
        code.label(("entry", shape.start))
        code.emit(ENTRY_NOP)
        if self._tails and not shape.start:
            code.emit(b"\x6a\x00" + rr(0x89, RSP, RAX))  # push 0; mov rax, rsp
            code.emit_to("tail", b"\xe8\0\0\0\0")
            code.emit(pop(RCX) + b"\xc3")
        if not shape.start:
            code.label("tail")
        self._lay_out(shape)

    def _lay_out(self, shape: Shape) -> None:
        """Sizes and places; nothing is emitted."""
        self._saved = {1 << register: REGISTERS[register] for register in shape.saved}
        if self._tails:
            self._saved[TAIL_STATE & ~FRAME] = R12
        size = shape.stack + 8 * len(self._saved) + (8 if shape.may_goto else 0)
        below = not shape.calls and size <= _RED_ZONE and not shape.may_goto
        size += (8 + size) % 16 if shape.calls else 0
        self._size = 0 if below else size
        self._lowest = self._size - size + (8 if shape.may_goto else 0)

    def _extend_frame(self, new: int) -> None:
        """Do what the state was extended by."""
        emit = self._code.emit
        if new & FRAME and self._size:
            emit(ri(5, RSP, self._size))
        if new & FRAME and self._shape.may_goto:
            emit(rm(0xC7, 0, RSP, 0) + struct.pack("<i", MAX_LOOPS))
        for at, (bit, register) in enumerate(self._saved.items()):
            if new & bit:
                emit(rm(0x89, register, RSP, self._lowest + 8 * at))
        if self._tails and new & FRAME:
            emit(rr(0x89, RAX, R12))

    def _pop_frame(self) -> None:
        for at, (bit, register) in enumerate(self._saved.items()):
            if self._state & bit:
                self._code.emit(rm(0x8B, register, RSP, self._lowest + 8 * at))
        if self._state & FRAME and self._size:
            self._code.emit(ri(0, RSP, self._size))

    def _value(self, register: int) -> int:
        """The machine's register that has the value of one; r10 is put into r9."""
        if register != R10:
            return REGISTERS[register]
        self._code.emit(rm(0x8D, R9, RSP, self._size))
        return R9

    def _place(self, register: int, off: int) -> tuple[int, int]:
        """The machine's register and offset for an access."""
        return (RSP, self._size + off) if register == R10 else (REGISTERS[register], off)

    # Instructions.

    def _translate(self, insn: Insn, at: int) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                self._alu(insn)
            case Class.JMP | Class.JMP32:
                self._jump(insn, at)
            case Class.LD:
                self._immediate(insn, at)
            case Class.LDX:
                self._load(insn)
            case Class.ST if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._update(insn)
            case Class.ST:
                self._store_imm(insn)
            case _ if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._atomic(insn)
            case _:
                self._store(insn, self._value(insn.src))

    def _immediate(self, insn: Insn, at: int) -> None:
        if insn.src == Pseudo.FUNC:
            dst = REGISTERS[insn.dst]
            lea = bytes([0x48 | (dst >> 3) << 2, 0x8D, 0x05 | (dst & 7) << 3, 0, 0, 0, 0])
            self._code.emit_to(("entry", at + 1 + insn.func_off), lea)
        elif insn.src == Pseudo.NONE:
            self._code.emit(load_imm(REGISTERS[insn.dst], insn.imm))
        else:
            raise BadInputError(f"instruction {at} is a reference that was not resolved")

    def _alu(self, insn: Insn) -> None:
        operation, w = Alu(insn.opcode & 0xF0), int(insn.cls == Class.ALU64)
        dst, emit = REGISTERS[insn.dst], self._code.emit
        if insn.opcode == SUM and not insn.off and (insn.imm or insn.src == R10):
            emit(rm(0x8D, dst, *self._place(insn.src, insn.imm)))
            return
        if insn.opcode & _SOURCE_X and insn.imm and operation in OPERATIONS:
            self._operate_on_load(insn, operation, dst, w)
            return
        src = self._value(insn.src) if insn.opcode & _SOURCE_X else None
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
                emit(ri(_ALU_RI[operation], dst, insn.imm, w))
            case _:
                emit(rr(_ALU_RR[operation], src, dst, w))

    def _operate_on_load(self, insn: Insn, operation: Alu, dst: int, w: int) -> None:
        at = len(self._code)
        self._code.emit(rm(_ALU_RR[operation] + 2, dst, *self._place(insn.src, insn.off), w))
        self._faults.append(Fault(at, len(self._code), X11))  # which nobody reads

    def _swap(self, insn: Insn, dst: int) -> None:
        swaps = insn.cls == Class.ALU64 or insn.opcode & _SOURCE_X
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
        elif dst != RCX != src and not self._line.live >> R4 & 1:
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
        emit, live = self._code.emit, self._line.live
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

    def _jump(self, insn: Insn, at: int) -> None:
        operation, w = insn.opcode & 0xF0, int(insn.cls == Class.JMP)
        code = self._code
        if operation == Jmp.CALL:
            self._call(insn, at)
        elif operation == Jmp.EXIT:
            self._pop_frame()
            code.emit(b"\xc3")
        elif operation == Jmp.JA:
            code.emit_to(self._goal(at + 1 + insn.jump_off), b"\xe9\0\0\0\0")
        elif operation == Jmp.JCOND:
            code.emit(rm(0x83, 7, RSP, 0) + b"\0")
            code.emit_to(self._goal(at + 1 + insn.off), b"\x0f\x84\0\0\0\0")
            code.emit(rm(0xFF, 1, RSP, 0))
        else:
            code.emit(self._compare(insn, Jmp(operation), w))
            jump = bytes([0x0F, _CONDITIONS[Jmp(operation)], 0, 0, 0, 0])
            code.emit_to(self._goal(at + 1 + insn.off), jump)

    def _compare(self, insn: Insn, operation: Jmp, w: int) -> bytes:
        dst = self._value(insn.dst)
        if insn.opcode & _SOURCE_X:
            return rr(0x85 if operation == Jmp.JSET else 0x39, self._value(insn.src), dst, w)
        if operation == Jmp.JSET:
            return rr(0xF7, 0, dst, w) + struct.pack("<i", insn.imm)
        return ri(7, dst, insn.imm, w) if insn.imm else rr(0x85, dst, dst, w)

    def _call(self, insn: Insn, at: int) -> None:
        code = self._code
        if insn.opcode & _SOURCE_X:
            code.emit(rr(0xFF, 2, self._value(insn.dst), 0))
        elif insn.src == CALL_LOCAL:
            if self._tails:
                code.emit(rr(0x89, R12, RAX))
            code.emit_to(("entry", at + 1 + insn.func_off), b"\xe8\0\0\0\0")
        elif is_tail_call(insn):
            self._tail_call()
        else:
            self._call_outside(self._targets[self._line.at])

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
        self._pop_frame()
        code.emit(b"\x41\xff\xe1")
        code.label(out)

    def _load(self, insn: Insn) -> None:
        size, by_sign = Size(insn.opcode & 0x18), insn.opcode & 0xE0 == Mode.MEMSX
        opcode = _SIGNED_LOADS[size] if by_sign else _LOADS[size]
        at = len(self._code)
        w = int(by_sign or size == Size.DW)
        self._code.emit(rm(opcode, REGISTERS[insn.dst], *self._place(insn.src, insn.off), w))
        if insn.src != R10:
            self._faults.append(Fault(at, len(self._code), REGISTERS[insn.dst]))

    def _store(self, insn: Insn, src: int) -> None:
        size = Size(insn.opcode & 0x18)
        opcode, prefix = (0x88 if size == Size.B else 0x89), b"\x66" if size == Size.H else b""
        self._code.emit(
            rm(opcode, src, *self._place(insn.dst, insn.off), int(size == Size.DW), prefix)
        )

    def _store_imm(self, insn: Insn) -> None:
        size = Size(insn.opcode & 0x18)
        opcode, prefix = (0xC6 if size == Size.B else 0xC7), b"\x66" if size == Size.H else b""
        head = rm(opcode, 0, *self._place(insn.dst, insn.off), int(size == Size.DW), prefix)
        self._code.emit(head + struct.pack("<i", insn.imm)[: min(size.size_bytes, 4)])

    def _update(self, insn: Insn) -> None:
        """An operation on memory by a number."""
        base, off = self._place(insn.dst, insn.off)
        w, short = int(insn.opcode & 0x18 == Size.DW), -128 <= insn.imm < 128
        digit = _ALU_RI[OPERATIONS[insn.src]]
        self._code.emit(rm(0x83 if short else 0x81, digit, base, off, w))
        self._code.emit(struct.pack("<b" if short else "<i", insn.imm))

    def _atomic(self, insn: Insn) -> None:
        """x86 loads acquire and stores release by themselves."""
        emit, size = self._code.emit, Size(insn.opcode & 0x18)
        place = (0, 0) if insn.imm == Atomic.LOAD_ACQ else self._place(insn.dst, insn.off)
        src = self._value(insn.src)
        w = int(size == Size.DW)
        match insn.imm:
            case Atomic.LOAD_ACQ:
                self._load(insn)
            case Atomic.STORE_REL:
                self._store(insn, src)
            case Atomic.XCHG:
                emit(rm(0x87, src, *place, w))
            case Atomic.FETCH_ADD:
                emit(rm(b"\x0f\xc1", src, *place, w, b"\xf0"))
            case Atomic.CMPXCHG:
                emit(rm(b"\x0f\xb1", src, *place, w, b"\xf0"))
                emit(b"" if w else rr(0x89, RAX, RAX, 0))
            case op if op & UPDATE:
                emit(rm(_ALU_RR[Alu(op - UPDATE)], src, *place, w))
            case op if op in _LOCKED:
                emit(rm(_LOCKED[Atomic(op)], src, *place, w, b"\xf0"))
            case op:
                self._fetch(_LOOPED[Atomic(op)], insn, w)

    def _fetch(self, opcode: int, insn: Insn, w: int) -> None:
        """The old value and a new one: compare-and-exchange until nobody came between."""
        (base, off), src = self._place(insn.dst, insn.off), self._value(insn.src)
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


assert (REGISTERS[R3], REGISTERS[R4]) == (RDX, RCX)
