"""The readable definition of the instruction set: what each instruction does, in Python.

Machine code and kernel are held to it by the same cases (RFC 9669; `may_goto`: Linux 6.9, atomics
with acquire and release: 6.15). A register is an int of 0 .. 2**64 - 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fsession.engine.check import check_code
from fsession.engine.memory import Block
from fsession.errors import FsessionError, InternalError
from fsession.isa.insn import offsets
from fsession.isa.opcode import (
    CALL_LOCAL,
    R0,
    R1,
    R6,
    R10,
    REG_COUNT,
    Alu,
    Atomic,
    Class,
    Jmp,
    Mode,
    Pseudo,
    Size,
    Source,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsession.engine.memory import Region
    from fsession.isa.insn import Insn, InsnOff

__all__ = ["MAX_FRAMES", "MAX_LOOPS", "STACK_BYTES", "Interpreter", "RunError", "signed"]

STACK_BYTES = 512  # MAX_BPF_STACK
MAX_FRAMES = 8  # MAX_CALL_FRAMES
MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS: how often may_goto goes on

_U64 = (1 << 64) - 1
_BE = int(Class.ALU | Alu.END | Source.X)
_BSWAP = int(Class.ALU64 | Alu.END)


class RunError(FsessionError):
    """A program that was not verified did what can't be done, at instruction `at`."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(f"instruction {at}: {what}")
        self.at = at


def signed(value: int, bits: int) -> int:
    """The value of the lower `bits` as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _div(a: int, b: int, _: int) -> int:
    return a // b if b else 0


def _mod(a: int, b: int, _: int) -> int:
    return a % b if b else a


def _sdiv(a: int, b: int, bits: int) -> int:
    """Towards zero. The lowest number divided by -1 is itself."""
    a, b = signed(a, bits), signed(b, bits)
    quotient = abs(a) // abs(b) if b else 0
    return -quotient if (a < 0) != (b < 0) else quotient


def _smod(a: int, b: int, bits: int) -> int:
    """Has the sign of the dividend; by zero it is the dividend."""
    return signed(a, bits) - _sdiv(a, b, bits) * signed(b, bits) if b else a


# Both operands are unsigned numbers of `bits`; so is, after a cut, what comes out.
ALU: dict[int, Callable[[int, int, int], int]] = {
    Alu.ADD: lambda a, b, _: a + b,
    Alu.SUB: lambda a, b, _: a - b,
    Alu.MUL: lambda a, b, _: a * b,
    Alu.DIV: _div,
    Alu.OR: lambda a, b, _: a | b,
    Alu.AND: lambda a, b, _: a & b,
    Alu.LSH: lambda a, b, bits: a << (b & (bits - 1)),
    Alu.RSH: lambda a, b, bits: a >> (b & (bits - 1)),
    Alu.NEG: lambda a, _b, _: -a,
    Alu.MOD: _mod,
    Alu.XOR: lambda a, b, _: a ^ b,
    Alu.MOV: lambda _a, b, _: b,
    Alu.ARSH: lambda a, b, bits: signed(a, bits) >> (b & (bits - 1)),
}
SIGNED_ALU = {Alu.DIV: _sdiv, Alu.MOD: _smod}

JMP: dict[int, Callable[[int, int, int], bool]] = {
    Jmp.JEQ: lambda a, b, _: a == b,
    Jmp.JGT: lambda a, b, _: a > b,
    Jmp.JGE: lambda a, b, _: a >= b,
    Jmp.JSET: lambda a, b, _: bool(a & b),
    Jmp.JNE: lambda a, b, _: a != b,
    Jmp.JLT: lambda a, b, _: a < b,
    Jmp.JLE: lambda a, b, _: a <= b,
    Jmp.JSGT: lambda a, b, bits: signed(a, bits) > signed(b, bits),
    Jmp.JSGE: lambda a, b, bits: signed(a, bits) >= signed(b, bits),
    Jmp.JSLT: lambda a, b, bits: signed(a, bits) < signed(b, bits),
    Jmp.JSLE: lambda a, b, bits: signed(a, bits) <= signed(b, bits),
}

# From the old value and the register: the new value.
ATOMIC: dict[int, Callable[[int, int], int]] = {
    Atomic.ADD: lambda old, value: old + value,
    Atomic.OR: lambda old, value: old | value,
    Atomic.AND: lambda old, value: old & value,
    Atomic.XOR: lambda old, value: old ^ value,
    Atomic.FETCH_ADD: lambda old, value: old + value,
    Atomic.FETCH_OR: lambda old, value: old | value,
    Atomic.FETCH_AND: lambda old, value: old & value,
    Atomic.FETCH_XOR: lambda old, value: old ^ value,
    Atomic.XCHG: lambda _, value: value,
}
_SIZES = {int(size): size.size_bytes for size in Size}


class Frame:
    """What a call keeps: where it returns to, the caller's registers, its own stack."""

    def __init__(self, back: int, saved: list[int]) -> None:
        self.back, self.saved = back, saved
        self.stack = Block(STACK_BYTES)
        self.loops = MAX_LOOPS


class Space(Protocol):
    """Memory as a program sees it: `Memory`, or something less strict."""

    def load(self, address: int, size: int) -> int: ...
    def store(self, address: int, size: int, value: int) -> None: ...
    def add(self, region: Region) -> None: ...
    def remove(self, region: Region) -> None: ...


class Interpreter:
    """Code and the memory it runs in.

    `call` is asked for helpers and kfuncs: instruction and registers r1 to r5 to r0.
    `function` makes an address of a function of the program, for callbacks. `step` sees each
    instruction before it is executed: its place, itself, the registers.
    """

    def __init__(
        self,
        insns: Sequence[Insn],
        memory: Space,
        *,
        call: Callable[[Insn, Sequence[int]], int] | None = None,
        function: Callable[[int], int] | None = None,
        step: Callable[[InsnOff, Insn, Sequence[int]], None] | None = None,
    ) -> None:
        check_code(insns)
        self._insns = dict(zip(offsets(insns), insns, strict=False))
        self._memory, self._call, self._function, self._step = memory, call, function, step

    def run(self, *args: int, entry: int = 0) -> int:
        """Run the function at slot `entry` with r1 and following set to `args`; r0."""
        return _Run(self._insns, self._memory, self._call, self._function, self._step).run(
            args, entry
        )


class _Run:
    """One run: registers, frames, and the place of the next instruction."""

    def __init__(
        self,
        insns: dict[InsnOff, Insn],
        memory: Space,
        call: Callable[[Insn, Sequence[int]], int] | None,
        function: Callable[[int], int] | None,
        step: Callable[[InsnOff, Insn, Sequence[int]], None] | None,
    ) -> None:
        self._insns, self._memory = insns, memory
        self._call, self._function, self._step = call, function, step
        self.regs = [0] * REG_COUNT
        self.frames: list[Frame] = []
        self.at = 0

    def run(self, args: Sequence[int], entry: int) -> int:
        for register, value in enumerate(args, R1):
            self.regs[register] = value & _U64
        self._enter(entry, back=-1)
        try:
            while self.at >= 0:
                insn = self._insns[self.at]  # type: ignore[index]
                if self._step:
                    self._step(self.at, insn, self.regs)  # type: ignore[arg-type]
                self.at += insn.slots
                self._execute(insn)
        finally:
            for frame in self.frames:
                self._memory.remove(frame.stack.region)
        return self.regs[R0]

    def _enter(self, goal: int, back: int) -> None:
        if len(self.frames) == MAX_FRAMES:
            raise RunError(f"more than {MAX_FRAMES} frames", self.at - 1)
        frame = Frame(back, self.regs[R6:])
        self.frames.append(frame)
        self._memory.add(frame.stack.region)
        self.regs[R10] = frame.stack.address + STACK_BYTES
        self.at = goal

    def _leave(self) -> None:
        frame = self.frames.pop()
        self._memory.remove(frame.stack.region)
        self.regs[R6:] = frame.saved
        self.at = frame.back

    def _execute(self, insn: Insn) -> None:
        match insn.cls:
            case Class.ALU64:
                self._alu(insn, 64)
            case Class.ALU:
                self._alu(insn, 32)
            case Class.JMP:
                self._jump(insn, 64)
            case Class.JMP32:
                self._jump(insn, 32)
            case Class.LD:
                self.regs[insn.dst] = self._immediate(insn)
            case Class.LDX:
                self._load(insn)
            case Class.ST:
                address = self.regs[insn.dst] + insn.off & _U64
                self._memory.store(address, _SIZES[insn.opcode & 0x18], insn.imm)
            case Class.STX if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._atomic(insn)
            case Class.STX:
                address = self.regs[insn.dst] + insn.off & _U64
                self._memory.store(address, _SIZES[insn.opcode & 0x18], self.regs[insn.src])

    def _immediate(self, insn: Insn) -> int:
        """``lddw``: a number, or the address of a function of the program."""
        if insn.src == Pseudo.NONE:
            return insn.imm & _U64
        if insn.src == Pseudo.FUNC and self._function:
            return self._function(self.at - 1 + insn.func_off)
        raise RunError("a reference that was not resolved", self.at - insn.slots)

    def _operand(self, insn: Insn, bits: int) -> int:
        value = self.regs[insn.src] if insn.opcode & Source.X else insn.imm
        return value & (1 << bits) - 1

    def _alu(self, insn: Insn, bits: int) -> None:
        """The upper half becomes 0 by an operation of 32 bits (RFC 9669, section 4.1)."""
        operation, mask = insn.opcode & 0xF0, (1 << bits) - 1
        if operation == Alu.END:
            self.regs[insn.dst] = self._swapped(insn)
            return
        a, b = self.regs[insn.dst] & mask, self._operand(insn, bits)
        if operation == Alu.MOV and insn.off:
            value = signed(b, insn.off)
        elif insn.off:
            value = SIGNED_ALU[Alu(operation)](a, b, bits)
        else:
            value = ALU[operation](a, b, bits)
        self.regs[insn.dst] = value & mask

    def _swapped(self, insn: Insn) -> int:
        """The lower `imm` bits, in the other order where that is asked; le is ours."""
        value = self.regs[insn.dst] & (1 << insn.imm) - 1
        if insn.opcode not in (_BE, _BSWAP):
            return value
        return int.from_bytes(value.to_bytes(insn.imm // 8, "little"), "big")

    def _jump(self, insn: Insn, bits: int) -> None:
        operation = insn.opcode & 0xF0
        if operation == Jmp.CALL:
            self._do_call(insn)
        elif operation == Jmp.EXIT:
            self._leave()
        elif operation == Jmp.JA:
            self.at += insn.jump_off
        elif operation == Jmp.JCOND:
            self._may_goto(insn)
        elif JMP[operation](self.regs[insn.dst] & (1 << bits) - 1, self._operand(insn, bits), bits):
            self.at += insn.off

    def _may_goto(self, insn: Insn) -> None:
        """Goes on `MAX_LOOPS` times in one call of a function, then jumps."""
        frame = self.frames[-1]
        if frame.loops:
            frame.loops -= 1
        else:
            self.at += insn.off

    def _do_call(self, insn: Insn) -> None:
        if insn.src == CALL_LOCAL:
            self._enter(self.at + insn.func_off, back=self.at)
        elif self._call:
            self.regs[R0] = self._call(insn, self.regs[R1:R6]) & _U64
        else:
            raise RunError("a call outside of the program", self.at - 1)

    def _load(self, insn: Insn) -> None:
        size = _SIZES[insn.opcode & 0x18]
        value = self._memory.load(self.regs[insn.src] + insn.off & _U64, size)
        if insn.opcode & 0xE0 == Mode.MEMSX:
            value = signed(value, 8 * size)
        self.regs[insn.dst] = value & _U64

    def _atomic(self, insn: Insn) -> None:
        size = _SIZES[insn.opcode & 0x18]
        if insn.imm == Atomic.LOAD_ACQ:
            address = self.regs[insn.src] + insn.off & _U64
            self.regs[insn.dst] = self._memory.load(address, size)
            return
        address = self.regs[insn.dst] + insn.off & _U64
        if insn.imm == Atomic.STORE_REL:
            self._memory.store(address, size, self.regs[insn.src])
            return
        self._change(insn, address, size)

    def _change(self, insn: Insn, address: int, size: int) -> None:
        """Read, change, write. One thread at a time runs here: Python's own lock is held."""
        mask, value = (1 << 8 * size) - 1, self.regs[insn.src]
        old = self._memory.load(address, size)
        if insn.imm == Atomic.CMPXCHG:
            self._memory.store(address, size, value if old == self.regs[R0] & mask else old)
            self.regs[R0] = old
            return
        if insn.imm not in ATOMIC:
            raise InternalError(f"no atomic operation {insn.imm:#x}")
        self._memory.store(address, size, ATOMIC[insn.imm](old, value) & mask)
        if insn.imm & 1:
            self.regs[insn.src] = old
