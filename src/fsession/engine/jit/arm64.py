"""BPF instructions to arm64 machine code (Arm ARM, chapter C6; AAPCS64).

    BPF    r0  r1  r2  r3  r4  r5  r6  r7  r8  r9  r10
    arm64  x7  x0  x1  x2  x3  x4 x19 x20 x21 x22  x25    scratch x9 to x12; x26 tail call count

Arguments of helpers are where C wants them; the result is moved. A function's frame, from sp up:
saved registers, the counter of ``may_goto``, 512 bytes of BPF stack, the frame record.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fsession.engine.jit.code import Buffer, Code, Fault
from fsession.engine.jit.shape import MAX_LOOPS, STACK_BYTES, TAIL_CALL, Shape, shapes
from fsession.errors import BadInputError, InternalError
from fsession.isa.insn import offsets
from fsession.isa.opcode import CALL_LOCAL, R0, R10, Alu, Atomic, Class, Jmp, Mode, Pseudo, Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.jit.code import CallTarget
    from fsession.isa.insn import Insn

__all__ = [
    "BLR",
    "BR",
    "ENTRY_BYTES",
    "ENTRY_NOP",
    "FP",
    "LDP_POST",
    "LDR",
    "LR",
    "SP",
    "STP_PRE",
    "STR",
    "UCONTEXT_PC",
    "UCONTEXT_REGISTERS",
    "X9",
    "X11",
    "X12",
    "ZR",
    "add_imm",
    "branch_reg",
    "call_address",
    "compile_code",
    "inline_code",
    "load_imm",
    "memory",
    "pair",
    "patch_distance",
    "read_thread_pointer",
    "thread_pointer_load",
    "words",
]

REGISTERS = (7, 0, 1, 2, 3, 4, 19, 20, 21, 22, 25)
X9, X10, X11, X12 = 9, 10, 11, 12
FP_BPF, TAIL, FP, LR, ZR = 25, 26, 29, 30, 31
SP = 31
ENTRY_NOP = bytes.fromhex("1f2003d5")
ENTRY_BYTES = len(ENTRY_NOP)
MAX_TAIL_CALLS = 33
UCONTEXT_REGISTERS = {register: 184 + 8 * register for register in range(31)}
UCONTEXT_PC = 184 + 8 * 32
"""Offsets in ``ucontext_t``, by the machine's number of the register."""

_SOURCE_X = 8
_RET = 0xD65F03C0
_RR = {
    Alu.ADD: 0x0B000000,
    Alu.SUB: 0x4B000000,
    Alu.OR: 0x2A000000,
    Alu.AND: 0x0A000000,
    Alu.XOR: 0x4A000000,
    Alu.LSH: 0x1AC02000,
    Alu.RSH: 0x1AC02400,
    Alu.ARSH: 0x1AC02800,
}
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
_EQ, _NE, _HS = 0, 1, 2
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


def compile_code(insns: Sequence[Insn], calls: CallTarget) -> Code:
    """Code of a program, each function behind an `ENTRY_NOP`; `calls` resolves what is outside."""
    return _Compiler(insns, calls).compile()


def inline_code(insns: Sequence[Insn]) -> bytes:
    """Code of a few instructions without calls, jumps and stack, to stand where a call stood."""
    return _Compiler(insns, lambda _: 0).inline()


def patch_distance(data: bytearray, at: int, distance: int) -> None:
    """Fill in the distance from the end of the instruction before `at`, by the kind it is of."""
    (word,) = struct.unpack_from("<I", data, at - 4)
    words = (distance + 4) // 4
    if word & 0x7C000000 == 0x14000000:  # b, bl
        word |= _field(words, 26)
    elif word & 0x1F000000 == 0x10000000:  # adr
        word |= _field(distance + 4 >> 2, 19) << 5
    else:  # b.cond, cbz, cbnz
        word |= _field(words, 19) << 5
    struct.pack_into("<I", data, at - 4, word)


def _field(value: int, bits: int) -> int:
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise BadInputError("the program is too long: a jump does not reach")
    return value & (1 << bits) - 1


# Encodings, each one word. `w` is 1 for 64 bits.


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def rrr(opcode: int, rd: int, rn: int, rm: int, w: int = 1) -> bytes:
    return words(opcode | w << 31 | rm << 16 | rn << 5 | rd)


def move(rd: int, rm: int, w: int = 1) -> bytes:
    return rrr(0x2A000000, rd, ZR, rm, w)


def add_imm(rd: int, rn: int, imm: int, w: int = 1) -> bytes:
    """``add`` or ``sub`` of up to 12 bits; 31 is sp."""
    opcode = 0x11000000 if imm >= 0 else 0x51000000
    if abs(imm) > 4095:
        raise InternalError(f"{imm} is no immediate of an addition")
    return words(opcode | w << 31 | abs(imm) << 10 | rn << 5 | rd)


def load_imm(rd: int, value: int) -> bytes:
    """Any 64-bit number: movz or movn, then movk for what differs."""
    value &= (1 << 64) - 1
    parts = [value >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    inverted = parts.count(0xFFFF) > parts.count(0)
    rest = 0xFFFF if inverted else 0
    todo = [(at, part) for at, part in enumerate(parts) if part != rest] or [(0, rest)]
    at, part = todo[0]
    first = 0x92800000 if inverted else 0xD2800000
    out = [first | at << 21 | (part ^ rest) << 5 | rd]
    out += [0xF2800000 | at << 21 | part << 5 | rd for at, part in todo[1:]]
    return words(*out)


def pair(opcode: int, first: int, second: int, rn: int, off: int) -> bytes:
    """``stp`` and ``ldp`` of 64-bit registers; `off` in bytes."""
    return words(opcode | (off // 8 & 0x7F) << 15 | second << 10 | rn << 5 | first)


STP_PRE, LDP_POST, STP, LDP = 0xA9800000, 0xA8C00000, 0xA9000000, 0xA9400000


def memory(opcode: int, rt: int, rn: int, off: int, log: int) -> bytes | None:
    """A load or store with an offset that fits: scaled, else of 9 bits; None if none fits.

    `opcode` is that of the unscaled form without its size.
    """
    head = opcode | log << 30 | rn << 5 | rt
    if off >= 0 and not off & (1 << log) - 1 and off >> log < 4096:
        return words(head | 1 << 24 | off >> log << 10)
    return words(head | (off & 0x1FF) << 12) if -256 <= off < 256 else None


STR, LDR, LDRS = 0x38000000, 0x38400000, 0x38800000


def branch_reg(opcode: int, rn: int) -> bytes:
    return words(opcode | rn << 5)


BR, BLR = 0xD61F0000, 0xD63F0000


def call_address(address: int) -> bytes:
    """Call of any address; x12 is lost."""
    return load_imm(X12, address) + branch_reg(BLR, X12)


def thread_pointer_load(reg: int, offset: int) -> bytes:
    """``reg = *(u64 *)(tpidr_el0 + offset)``."""
    return words(0xD53BD040 | X12) + load_imm(X11, offset) + words(0xF86B6980 | reg)


def read_thread_pointer() -> bytes:
    """A function that returns the thread pointer."""
    return words(0xD53BD040, _RET)


class _Compiler:
    """One program while it is translated."""

    def __init__(self, insns: Sequence[Insn], calls: CallTarget) -> None:
        self._insns, self._calls = insns, calls
        self._starts = offsets(insns)
        self._code = Buffer(patch_distance)
        self._shapes = {shape.start: shape for shape in shapes(insns)}
        self._shape = self._shapes[0]
        self._tails = any(shape.tail_calls for shape in self._shapes.values())
        self._faults: list[Fault] = []
        self._below = 0  # bytes between sp and the BPF stack's end

    def compile(self) -> Code:
        for at, insn in zip(self._starts, self._insns, strict=False):
            if at in self._shapes:
                self._begin(self._shapes[at])
            self._code.label(at)
            self._translate(insn, at)
        data = self._code.finish()
        entries = {start: self._code.offset(("entry", start)) for start in self._shapes}
        return Code(data, entries, self._code.offset("tail"), tuple(self._faults))

    def inline(self) -> bytes:
        for at, insn in zip(self._starts, self._insns, strict=False):
            self._translate(insn, at)
        return self._code.finish()

    # The frame.

    def _begin(self, shape: Shape) -> None:
        """The patchable entry, and for a main program with tail calls a frame with their count."""
        self._shape, code = shape, self._code
        code.label(("entry", shape.start))
        code.emit(ENTRY_NOP)
        if self._tails and not shape.start:
            code.emit(pair(STP_PRE, FP, LR, SP, -32) + add_imm(FP, SP, 0))
            code.emit(words(0xF9000BFF) + add_imm(X9, SP, 16))  # str xzr, [sp, 16]
            code.emit_to("tail", words(0x94000000))
            code.emit(pair(LDP_POST, FP, LR, SP, 32) + words(_RET))
        if not shape.start:
            code.label("tail")
        self._saved = [REGISTERS[register] for register in shape.saved]
        self._saved += [FP_BPF] if shape.uses_stack else []
        self._saved += [TAIL] if self._tails else []
        self._saved += [ZR] * (len(self._saved) % 2)
        self._framed = shape.has_frame or self._tails
        if self._framed:
            self._push_frame()

    def _push_frame(self) -> None:
        code, shape = self._code, self._shape
        code.emit(pair(STP_PRE, FP, LR, SP, -16) + add_imm(FP, SP, 0))
        size = 8 * len(self._saved) + (16 if shape.may_goto else 0)
        size += STACK_BYTES if shape.uses_stack else 0
        self._below = size
        if size:
            code.emit(add_imm(SP, SP, -size))
        for at in range(0, len(self._saved), 2):
            code.emit(pair(STP, self._saved[at], self._saved[at + 1], SP, 8 * at))
        if shape.uses_stack:
            code.emit(move(FP_BPF, FP))
        if self._tails:
            code.emit(move(TAIL, X9))
        if shape.may_goto:
            code.emit(load_imm(X10, MAX_LOOPS) + self._counter(STR))

    def _counter(self, opcode: int) -> bytes:
        """x10 to or from the counter of may_goto."""
        found = memory(opcode, X10, SP, 8 * len(self._saved), 3)
        assert found
        return found

    def _pop_frame(self) -> None:
        if not self._framed:
            return
        for at in range(0, len(self._saved), 2):
            self._code.emit(pair(LDP, self._saved[at], self._saved[at + 1], SP, 8 * at))
        if self._below:
            self._code.emit(add_imm(SP, SP, self._below))
        self._code.emit(pair(LDP_POST, FP, LR, SP, 16))

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
            case Class.ST:
                self._code.emit(load_imm(X9, insn.imm) if insn.imm else b"")
                self._store(insn, X9 if insn.imm else ZR)
            case _ if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._atomic(insn)
            case _:
                self._store(insn, REGISTERS[insn.src])

    def _immediate(self, insn: Insn, at: int) -> None:
        if insn.src == Pseudo.FUNC:
            adr = words(0x10000000 | REGISTERS[insn.dst])
            self._code.emit_to(("entry", at + 1 + insn.func_off), adr)
        elif insn.src == Pseudo.NONE:
            self._code.emit(load_imm(REGISTERS[insn.dst], insn.imm))
        else:
            raise BadInputError(f"instruction {at} is a reference that was not resolved")

    def _alu(self, insn: Insn) -> None:
        operation, w = Alu(insn.opcode & 0xF0), int(insn.cls == Class.ALU64)
        dst, emit = REGISTERS[insn.dst], self._code.emit
        by_register = bool(insn.opcode & _SOURCE_X)
        src = REGISTERS[insn.src] if by_register else X9
        match operation:
            case Alu.END:
                emit(_swap(insn, dst))
                return
            case Alu.NEG:
                emit(rrr(0x4B000000, dst, ZR, dst, w))
                return
            case Alu.MOV if not by_register:
                emit(load_imm(dst, insn.imm if w else insn.imm & 0xFFFF_FFFF))
                return
            case Alu.MOV if insn.off:
                emit(words((0x93400000 if w else 0x13000000) | insn.off - 1 << 10 | src << 5 | dst))
                return
            case Alu.MOV:
                emit(move(dst, src, w))
                return
            case Alu.LSH | Alu.RSH | Alu.ARSH if not by_register:
                emit(_shift_imm(operation, dst, insn.imm, w))
                return
            case Alu.ADD | Alu.SUB if not by_register and abs(insn.imm) < 4096:
                emit(add_imm(dst, dst, insn.imm if operation == Alu.ADD else -insn.imm, w))
                return
        if not by_register:
            emit(load_imm(X9, insn.imm if w else insn.imm & 0xFFFF_FFFF))
        if operation in (Alu.DIV, Alu.MOD):
            emit(_divide(operation, dst, src, w, by_sign=bool(insn.off)))
        elif operation == Alu.MUL:
            emit(rrr(0x1B007C00, dst, dst, src, w))
        else:
            emit(rrr(_RR[operation], dst, dst, src, w))

    def _jump(self, insn: Insn, at: int) -> None:
        operation, w = insn.opcode & 0xF0, int(insn.cls == Class.JMP)
        code = self._code
        if operation == Jmp.CALL:
            self._call(insn, at)
        elif operation == Jmp.EXIT:
            # The result is in r0's register for BPF callers and in x0 for C.
            self._pop_frame()
            code.emit(move(0, REGISTERS[R0]) + words(_RET))
        elif operation == Jmp.JA:
            code.emit_to(at + 1 + insn.jump_off, words(0x14000000))
        elif operation == Jmp.JCOND:
            code.emit(self._counter(LDR))
            code.emit_to(at + 1 + insn.off, words(0xB4000000 | X10))
            code.emit(add_imm(X10, X10, -1) + self._counter(STR))
        else:
            self._branch(insn, Jmp(operation), at + 1 + insn.off, w)

    def _branch(self, insn: Insn, operation: Jmp, goal: int, w: int) -> None:
        dst, code = REGISTERS[insn.dst], self._code
        by_register = bool(insn.opcode & _SOURCE_X)
        if not by_register and not insn.imm and operation in (Jmp.JEQ, Jmp.JNE):
            opcode = 0x34000000 if operation == Jmp.JEQ else 0x35000000
            code.emit_to(goal, words(opcode | w << 31 | dst))
            return
        if by_register:
            opcode = 0x6A000000 if operation == Jmp.JSET else 0x6B000000
            code.emit(rrr(opcode, ZR, dst, REGISTERS[insn.src], w))
        elif operation != Jmp.JSET and abs(insn.imm) < 4096:
            opcode = 0x71000000 if insn.imm >= 0 else 0x31000000  # cmp or cmn
            code.emit(words(opcode | w << 31 | abs(insn.imm) << 10 | dst << 5 | ZR))
        else:
            opcode = 0x6A000000 if operation == Jmp.JSET else 0x6B000000
            code.emit(load_imm(X9, insn.imm) + rrr(opcode, ZR, dst, X9, w))
        code.emit_to(goal, words(0x54000000 | _CONDITIONS[operation]))

    def _call(self, insn: Insn, at: int) -> None:
        code = self._code
        if insn.opcode & _SOURCE_X:
            code.emit(branch_reg(BLR, REGISTERS[insn.dst]) + move(REGISTERS[R0], 0))
        elif insn.src == CALL_LOCAL:
            if self._tails:
                code.emit(move(X9, TAIL))
            code.emit_to(("entry", at + 1 + insn.func_off), words(0x94000000))
        elif not insn.src and insn.imm == TAIL_CALL:
            self._tail_call()
        else:
            target = self._calls(insn)
            inline = isinstance(target, bytes)
            code.emit(target if isinstance(target, bytes) else call_address(target))
            code.emit(b"" if inline else move(REGISTERS[R0], 0))

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
        self._pop_frame()
        code.emit(branch_reg(BR, X10))
        code.label(out)

    def _address(self, base: int, off: int, log: int) -> tuple[int, int]:
        """Register and offset for an access: below the frame pointer counted from sp."""
        if base == R10 and self._below + off >= 0:
            register, off = SP, self._below + off
        else:
            register = REGISTERS[base]
        if memory(STR, 0, register, off, log) is None:
            add = words(0x8B206000 | X10 << 16 | register << 5 | X10)  # extended: also of sp
            self._code.emit(load_imm(X10, off) + add)
            return X10, 0
        return register, off

    def _load(self, insn: Insn) -> None:
        size = Size(insn.opcode & 0x18)
        opcode = LDRS if insn.opcode & 0xE0 == Mode.MEMSX else LDR
        base, off = self._address(insn.src, insn.off, _LOG_SIZES[size])
        at = len(self._code)
        self._emit_memory(opcode, REGISTERS[insn.dst], base, off, size)
        if insn.src != R10:
            self._faults.append(Fault(at, len(self._code), REGISTERS[insn.dst]))

    def _store(self, insn: Insn, register: int) -> None:
        size = Size(insn.opcode & 0x18)
        base, off = self._address(insn.dst, insn.off, _LOG_SIZES[size])
        self._emit_memory(STR, register, base, off, size)

    def _emit_memory(self, opcode: int, register: int, base: int, off: int, size: Size) -> None:
        found = memory(opcode, register, base, off, _LOG_SIZES[size])
        assert found
        self._code.emit(found)

    def _atomic(self, insn: Insn) -> None:
        """Exclusive loads and stores, repeated until nobody came between."""
        size = Size(insn.opcode & 0x18)
        register = insn.src if insn.imm == Atomic.LOAD_ACQ else insn.dst
        src, emit, head = REGISTERS[insn.src], self._code.emit, _LOG_SIZES[size] << 30
        base = self._plain_address(register, insn.off)
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
            emit(rrr(_RR[_PLAIN[Atomic(insn.imm)]], X11, X9, src, w))
        emit(words(0x0800FC00 | head | X12 << 16 | base << 5 | new))
        self._code.emit_to(again, words(0x35000000 | X12))
        self._code.label(out)
        if insn.imm & 1:
            emit(words(0xD5033BBF))  # dmb ish: what is fetched is fully ordered
            emit(move(REGISTERS[R0] if insn.imm == Atomic.CMPXCHG else src, X9, w))

    def _plain_address(self, base: int, off: int) -> int:
        """A register with the address: exclusive accesses take no offset."""
        register = REGISTERS[base]
        if not off:
            return register
        if abs(off) < 4096:
            self._code.emit(add_imm(X10, register, off))
        else:
            self._code.emit(load_imm(X10, off) + rrr(0x0B000000, X10, register, X10))
        return X10


def _swap(insn: Insn, dst: int) -> bytes:
    """rev of the whole register, then the upper bits of it; le only cuts."""
    swaps = insn.cls == Class.ALU64 or insn.opcode & _SOURCE_X
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
