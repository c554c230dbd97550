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

from fsession.engine.jit.allocate import Line, Machine
from fsession.engine.jit.arm64_insns import (
    BLR,
    BR,
    FP,
    LDP,
    LDP_POST,
    LDR,
    LDRS,
    LR,
    SP,
    STP,
    STP_PRE,
    STR,
    X9,
    X10,
    X11,
    X12,
    X16,
    ZR,
    add_extended,
    add_imm,
    branch_reg,
    call_address,
    load_imm,
    memory,
    move,
    pair,
    patch_distance,
    rrr,
    thread_pointer_load,
    words,
)
from fsession.engine.jit.code import Buffer, Code, Fault
from fsession.engine.jit.fuse import SUM, fused
from fsession.engine.jit.prepare import TAIL_STATE, prepare
from fsession.engine.jit.schedule import FRAME
from fsession.engine.jit.shape import MAX_LOOPS, Shape, is_tail_call
from fsession.errors import BadInputError
from fsession.isa.insn import InsnOff
from fsession.isa.opcode import (
    CALL_LOCAL,
    R0,
    R6,
    R7,
    R8,
    R9,
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

REGISTERS = (7, 0, 1, 2, 3, 4, 19, 20, 21, 22, -1, 13, 14, 5, 6, 0)
TAIL = 26
ENTRY_NOP = bytes.fromhex("1f2003d5")
ENTRY_BYTES = len(ENTRY_NOP)
MAX_TAIL_CALLS = 33
UCONTEXT_REGISTERS = {register: 184 + 8 * register for register in range(31)}
UCONTEXT_PC = 184 + 8 * 32
"""Offsets in ``ucontext_t``, by the machine's number of the register."""

_PAIRS = {
    FRAME | 1 << R6: (LR, 19),
    1 << R7 | 1 << R8: (20, 21),
    1 << R9 | TAIL_STATE & ~FRAME: (22, TAIL),
}
_MACHINE = Machine(homes=2, saving=1, groups=tuple(_PAIRS))
_NEAR_INSNS = 1 << 14  # up to so many, code behind a program is within 1 MiB of each of them
_LONGEST_STEP = 504  # of a pair that moves sp
_SOURCE_X = 8
_RET, _BL = 0xD65F03C0, 0x94000000
_BL_REACH = 1 << 27
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
_U32, _U64 = 0xFFFF_FFFF, (1 << 64) - 1
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
    return _Compiler(insns).compile(calls)


def inline_code(insns: Sequence[Insn]) -> bytes:
    """Code of a few instructions without calls, jumps and stack, to stand where a call stood."""
    return _Compiler(insns).inline()


def read_thread_pointer() -> bytes:
    """A function that returns the thread pointer."""
    return words(0xD53BD040, _RET)


class _Compiler:
    """One program while it is translated."""

    def __init__(self, insns: Sequence[Insn]) -> None:
        self._insns = insns
        self._literals = len(insns) <= _NEAR_INSNS  # loads of words behind the code reach them
        self._code = Buffer(patch_distance)
        self._targets: dict[InsnOff, int | bytes] = {}
        self._tails = False
        self._line, self._state = Line(InsnOff(0), ()), 0
        self._faults: list[Fault] = []
        self._near: list[tuple[int, int]] = []  # ends of calls, and what they call
        self._below = 0  # bytes between sp and the BPF stack's end

    def compile(self, calls: CallTarget) -> Code:
        program = prepare(self._insns, calls, lambda _: _MACHINE)
        self._targets, self._tails = program.targets, program.tails
        entries = {}
        for function in program.functions:
            entries[function.shape.start] = len(self._code)
            self._begin(function.shape)
            for step in function.steps:
                self._step(step)
        for target in {target for _, target in self._near}:
            self._code.label(("far", target))
            self._load_number(X16, target)
            self._code.emit(branch_reg(BR, X16))
        data, tail = self._code.finish(), self._code.offset("tail")
        return Code(data, entries, tail, tuple(self._faults), partial(_straighten, self._near))

    def inline(self) -> bytes:
        self._literals = False
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
            self._code.emit_to(self._goal(step.then), words(0x14000000))

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
            code.emit(pair(STP_PRE, FP, LR, SP, -32) + add_imm(FP, SP, 0))
            code.emit(words(0xF9000BFF) + add_imm(X9, SP, 16))  # str xzr, [sp, 16]
            code.emit_to("tail", words(0x94000000))
            code.emit(pair(LDP_POST, FP, LR, SP, 32) + words(_RET))
        if not shape.start:
            code.label("tail")
        self._lay_out(shape)

    def _lay_out(self, shape: Shape) -> None:
        """Sizes and places; nothing is emitted."""
        used = sum(1 << register for register in shape.saved)
        used |= FRAME if shape.calls or self._tails else 0
        used |= TAIL_STATE if self._tails else 0
        self._pairs = [(bits, regs) for bits, regs in _PAIRS.items() if bits & used]
        size = 16 * len(self._pairs) + (16 if shape.may_goto else 0) + shape.stack
        self._below = size + size % 16

    @property
    def _moves_sp(self) -> bool:
        """Whether the first pair's store moves sp, and its load moves it back."""
        first = self._pairs[0][0] & FRAME if self._pairs else 0
        return bool(first) and self._below <= _LONGEST_STEP

    def _extend_frame(self, new: int) -> None:
        """Do what the state was extended by."""
        emit = self._code.emit
        if new & FRAME and self._below and not self._moves_sp:
            emit(add_imm(SP, SP, -self._below))
        for at, (bits, pair_of) in enumerate(self._pairs):
            if new & bits:
                moves = not at and self._moves_sp
                place = -self._below if moves else 16 * at
                emit(pair(STP_PRE if moves else STP, *pair_of, SP, place))
        if self._tails and new & FRAME:
            emit(move(TAIL, X9))
        if new & FRAME and self._shape.may_goto:
            emit(load_imm(X10, MAX_LOOPS) + self._counter(STR))

    def _counter(self, opcode: int) -> bytes:
        """x10 to or from the counter of may_goto."""
        found = memory(opcode, X10, SP, 16 * len(self._pairs), 3)
        assert found
        return found

    def _pop_frame(self) -> None:
        emit = self._code.emit
        for at, (bits, pair_of) in reversed(list(enumerate(self._pairs))):
            if self._state & bits:
                moves = not at and self._moves_sp
                place = self._below if moves else 16 * at
                emit(pair(LDP_POST if moves else LDP, *pair_of, SP, place))
        if self._state & FRAME and self._below and not self._moves_sp:
            emit(add_imm(SP, SP, self._below))

    def _value(self, register: int) -> int:
        """The machine's register that has the value of one; r10 is put into x16."""
        if register != R10:
            return REGISTERS[register]
        self._code.emit(add_imm(X16, SP, self._below))
        return X16

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
                self._store(insn, self._value(insn.src))

    def _immediate(self, insn: Insn, at: int) -> None:
        if insn.src == Pseudo.FUNC:
            adr = words(0x10000000 | REGISTERS[insn.dst])
            self._code.emit_to(("entry", at + 1 + insn.func_off), adr)
        elif insn.src == Pseudo.NONE:
            self._load_number(REGISTERS[insn.dst], insn.imm & _U64)
        else:
            raise BadInputError(f"instruction {at} is a reference that was not resolved")

    def _load_number(self, register: int, value: int) -> None:
        """In one instruction, where the number can stand behind the code."""
        code = load_imm(register, value)
        if len(code) > 4 and self._literals:
            self._code.emit_to(self._code.literal(value), words(0x58000000 | register))
        else:
            self._code.emit(code)

    def _alu(self, insn: Insn) -> None:
        operation, w = Alu(insn.opcode & 0xF0), int(insn.cls == Class.ALU64)
        dst, emit = REGISTERS[insn.dst], self._code.emit
        if insn.opcode == SUM and not insn.off and (insn.imm or insn.src == R10):
            self._add(dst, insn.src, insn.imm)
            return
        by_register = bool(insn.opcode & _SOURCE_X)
        src = self._value(insn.src) if by_register else X9
        match operation:
            case Alu.END:
                emit(_swap(insn, dst))
                return
            case Alu.NEG:
                emit(rrr(0x4B000000, dst, ZR, dst, w))
                return
            case Alu.MOV if not by_register:
                self._load_number(dst, insn.imm & (_U64 if w else _U32))
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
            self._load_number(X9, insn.imm & (_U64 if w else _U32))
        if operation in (Alu.DIV, Alu.MOD):
            emit(_divide(operation, dst, src, w, by_sign=bool(insn.off)))
        elif operation == Alu.MUL:
            emit(rrr(0x1B007C00, dst, dst, src, w))
        else:
            emit(rrr(_RR[operation], dst, dst, src, w))

    def _add(self, dst: int, src: int, imm: int) -> None:
        """The sum of a register of BPF, r10 as well, and a number."""
        register, imm = self._base(src, imm)
        if abs(imm) < 4096:
            self._code.emit(add_imm(dst, register, imm))
        else:
            self._code.emit(load_imm(X9, imm) + add_extended(dst, register, X9))

    def _jump(self, insn: Insn, at: int) -> None:
        operation, w = insn.opcode & 0xF0, int(insn.cls == Class.JMP)
        code = self._code
        if operation == Jmp.CALL:
            self._call(insn, at)
        elif operation == Jmp.EXIT:
            self._pop_frame()
            code.emit((b"" if self._line.stays else move(0, REGISTERS[R0])) + words(_RET))
        elif operation == Jmp.JA:
            code.emit_to(self._goal(at + 1 + insn.jump_off), words(0x14000000))
        elif operation == Jmp.JCOND:
            code.emit(self._counter(LDR))
            code.emit_to(self._goal(at + 1 + insn.off), words(0xB4000000 | X10))
            code.emit(add_imm(X10, X10, -1) + self._counter(STR))
        else:
            self._branch(insn, Jmp(operation), self._goal(at + 1 + insn.off), w)

    def _branch(self, insn: Insn, operation: Jmp, goal: object, w: int) -> None:
        dst, code = self._value(insn.dst), self._code
        by_register = bool(insn.opcode & _SOURCE_X)
        if not by_register and not insn.imm and operation in (Jmp.JEQ, Jmp.JNE):
            opcode = 0x34000000 if operation == Jmp.JEQ else 0x35000000
            code.emit_to(goal, words(opcode | w << 31 | dst))
            return
        if by_register:
            opcode = 0x6A000000 if operation == Jmp.JSET else 0x6B000000
            code.emit(rrr(opcode, ZR, dst, self._value(insn.src), w))
        elif operation != Jmp.JSET and abs(insn.imm) < 4096:
            opcode = 0x71000000 if insn.imm >= 0 else 0x31000000  # cmp or cmn
            code.emit(words(opcode | w << 31 | abs(insn.imm) << 10 | dst << 5 | ZR))
        else:
            opcode = 0x6A000000 if operation == Jmp.JSET else 0x6B000000
            self._load_number(X9, insn.imm & _U64)
            code.emit(rrr(opcode, ZR, dst, X9, w))
        code.emit_to(goal, words(0x54000000 | _CONDITIONS[operation]))

    def _call(self, insn: Insn, at: int) -> None:
        code = self._code
        if insn.opcode & _SOURCE_X:
            code.emit(branch_reg(BLR, self._value(insn.dst)) + self._result())
        elif insn.src == CALL_LOCAL:
            if self._tails:
                code.emit(move(X9, TAIL))
            code.emit_to(("entry", at + 1 + insn.func_off), words(0x94000000))
            code.emit(self._result())
        elif is_tail_call(insn):
            self._tail_call()
        else:
            self._call_outside(self._targets[self._line.at])

    def _call_outside(self, target: int | bytes) -> None:
        code = self._code
        if isinstance(target, bytes):
            code.emit(target)
            return
        if not self._literals:
            code.emit(call_address(target))
        else:
            code.emit_to(("far", target), words(_BL))
            self._near.append((len(code), target))
        code.emit(self._result())

    def _result(self) -> bytes:
        """Behind a call: r0 gets what is in x0."""
        return b"" if self._line.stays else move(REGISTERS[R0], 0)

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

    def _base(self, base: int, off: int) -> tuple[int, int]:
        """The machine's register and offset for one of BPF: r10 is counted from sp."""
        return (SP, self._below + off) if base == R10 else (REGISTERS[base], off)

    def _address(self, base: int, off: int, log: int) -> tuple[int, int]:
        """Register and offset for an access."""
        register, off = self._base(base, off)
        if memory(STR, 0, register, off, log) is None:
            self._code.emit(load_imm(X10, off) + add_extended(X10, register, X10))
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
        emit, head = self._code.emit, _LOG_SIZES[size] << 30
        base, src = self._plain_address(register, insn.off), self._value(insn.src)
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
        register, off = self._base(base, off)
        if not off:
            return register
        if abs(off) < 4096:
            self._code.emit(add_imm(X10, register, off))
        else:
            self._code.emit(load_imm(X10, off) + add_extended(X10, register, X10))
        return X10


def _straighten(calls: Sequence[tuple[int, int]], data: bytearray, address: int) -> None:
    """Calls of what ``bl`` reaches go there, not by way of a jump behind the code."""
    for end, target in calls:
        distance = target - (address + end)
        if -_BL_REACH < distance < _BL_REACH - 4:
            data[end - 4 : end] = words(_BL)
            patch_distance(data, end, distance)


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
