"""A small interpreter for split programs: registers, a stack, the table as memory, one helper.

It runs a program up to a stop that the test chooses, so that other calls can come in between, as an
interrupt or another CPU would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.insn import Insn, InsnOff, offsets
from fsession.isa.opcode import R0, R1, R10, Alu, Atomic, Class, Jmp, Mode
from fsession.spec import MapValueRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.spec import ProgramSpec

TABLE = 0xFFFF_C900_0100_0000
STACK = 0xFFFF_C900_0900_0000
U64, U32 = (1 << 64) - 1, (1 << 32) - 1
KTIME = 5

_ALU = {
    Alu.ADD: lambda a, b: a + b,
    Alu.SUB: lambda a, b: a - b,
    Alu.MUL: lambda a, b: a * b,
    Alu.AND: lambda a, b: a & b,
    Alu.LSH: lambda a, b: a << b,
    Alu.RSH: lambda a, b: a >> b,
    Alu.MOV: lambda _, b: b,
}
_JMP = {
    Jmp.JA: lambda _a, _b: True,
    Jmp.JEQ: lambda a, b: a == b,
    Jmp.JNE: lambda a, b: a != b,
}


class Machine:
    """Memory that all runs share: the table, and what programs store elsewhere."""

    def __init__(self, table_bytes: int) -> None:
        self.table = bytearray(table_bytes)
        self.other: dict[int, int] = {}
        self._runs = 0

    def load(self, address: int) -> int:
        at = address - TABLE
        if 0 <= at <= len(self.table) - 8:
            return int.from_bytes(self.table[at : at + 8], "little")
        return self.other[address]

    def store(self, address: int, value: int) -> None:
        at = address - TABLE
        if 0 <= at <= len(self.table) - 8:
            self.table[at : at + 8] = (value & U64).to_bytes(8, "little")
        else:
            self.other[address] = value & U64

    def run(self, spec: ProgramSpec, ctx: int, cpu: int = 0) -> int:
        """Run to the end; r0."""
        *_, result = self.steps(spec, ctx, cpu)
        return result

    def steps(self, spec: ProgramSpec, ctx: int, cpu: int = 0) -> Iterator[int]:
        """Run, with a stop before each call of ktime, the mark of a body; last comes r0."""
        insns = dict(zip(offsets(spec.insns), spec.insns, strict=False))
        values = {ref.at: ref.offset for ref in spec.relocs if isinstance(ref, MapValueRef)}
        regs = [0] * 11
        self._runs += 1
        regs[R1], regs[R10] = ctx, STACK - 0x10000 * self._runs
        pc, calls = 0, []
        while True:
            insn = insns[InsnOff(pc)]
            pc += insn.slots
            if insn.is_exit:
                if not calls:
                    yield regs[R0]
                    return
                pc, regs[6:] = calls.pop()
            elif insn.is_local_call:
                calls.append((pc, regs[6:]))
                regs[R10] -= 512
                pc += insn.imm
            elif insn.is_call:
                if insn.imm == KTIME:
                    yield -1
                regs[:6] = [cpu, *[0xDEAD] * 5]
            elif insn.is_lddw:
                known = values.get(InsnOff(pc - 2))
                regs[insn.dst] = insn.imm if known is None else TABLE + known
            elif insn.is_jump:
                other = regs[insn.src] if insn.opcode & 8 else insn.imm & U64
                if _JMP[insn.opcode & 0xF0](regs[insn.dst], other):
                    pc += insn.off
            else:
                self._execute(insn, regs)

    def _execute(self, insn: Insn, regs: list[int]) -> None:
        match insn.cls:
            case Class.ALU | Class.ALU64:
                mask = U32 if insn.cls == Class.ALU else U64
                other = regs[insn.src] if insn.opcode & 8 else insn.imm
                dst = regs[insn.dst] & mask
                regs[insn.dst] = _ALU[insn.opcode & 0xF0](dst, other & mask) & mask
            case Class.LDX:
                regs[insn.dst] = self.load(regs[insn.src] + insn.off)
            case Class.ST:
                self.store(regs[insn.dst] + insn.off, insn.imm)
            case _ if insn.opcode & 0xE0 == Mode.ATOMIC:
                self._atomic(insn, regs)
            case _:
                self.store(regs[insn.dst] + insn.off, regs[insn.src])

    def _atomic(self, insn: Insn, regs: list[int]) -> None:
        address = regs[insn.dst] + insn.off
        old = self.load(address)
        match insn.imm:
            case Atomic.CMPXCHG:
                if old == regs[R0]:
                    self.store(address, regs[insn.src])
                regs[R0] = old
            case Atomic.XCHG:
                self.store(address, regs[insn.src])
                regs[insn.src] = old
            case Atomic.ADD:
                self.store(address, old + regs[insn.src])
