"""Loads and stores that are operands of the instruction between them, for x86.

Before, and after, where r1 and r7 are not read any more::

    r1 = *(u64 *)(r0 +0)                UPDATE  *(u64 *)(r0 +0) += 1
    r1 += 1
    *(u64 *)(r0 +0) = r1
    r7 = *(u64 *)(r7 +8)                r0 -= *(u64 *)(r7 +8)
    r0 -= r7

Forms of our own: an `UPDATE` by a number is a store of it (ST) in the mode of atomics, whose source
is the place of the operation in `OPERATIONS`; by a register, an atomic with `UPDATE` and the
operation in its immediate. An operation (ALU, X) with an immediate takes its source from memory. A
load that faults reads 0: that is as good as leaving the operation out, of those that are done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.cfg import goal
from fsession.isa.insn import Insn
from fsession.isa.opcode import R10, Alu, Class, Mode, Size, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsession.engine.jit.liveness import Flow
    from fsession.isa.insn import InsnOff

__all__ = ["OPERATIONS", "UPDATE", "merged"]

OPERATIONS = (Alu.ADD, Alu.SUB, Alu.OR, Alu.AND, Alu.XOR)
UPDATE = 0x1000
_WITH_LOAD = (Alu.ADD, Alu.SUB, Alu.OR, Alu.XOR)
_SIZES = {int(Class.LDX | Mode.MEM | size): size for size in (Size.W, Size.DW)}


def merged(body: Sequence[tuple[InsnOff, Insn]], flow: Flow) -> list[tuple[InsnOff, Insn]]:
    """The body of a function, of which `flow` is told."""
    goals = {goal(insn, at) for at, insn in body if insn.is_jump}
    out: list[tuple[InsnOff, Insn]] = []
    number = 0
    while number < len(body):
        at, insn = body[number]
        found = None
        if insn.opcode in _SIZES and insn.dst != R10:
            found = _merge(body[number : number + 3], flow.live[number : number + 3], goals)
        if found is None:
            out.append((at, insn))
            number += 1
        else:
            made, count = found
            out.append((at, made))
            number += count
    return out


def _merge(
    lines: Sequence[tuple[InsnOff, Insn]], live: Sequence[int], goals: set[InsnOff | None]
) -> tuple[Insn, int] | None:
    """One instruction for the first two or three of the lines."""
    if len(lines) < 2 or lines[1][0] in goals:
        return None
    load, operation = lines[0][1], lines[1][1]
    if len(lines) == 3 and lines[2][0] not in goals and not live[2] >> load.dst & 1:
        update = _update(load, operation, lines[2][1])
        if update:
            return update, 3
    if live[1] >> load.dst & 1:
        return None
    made = _with_load(load, operation)
    return (made, 2) if made else None


def _update(load: Insn, operation: Insn, store: Insn) -> Insn | None:
    size, kind = _SIZES[load.opcode], operation.opcode & 0xF0
    same = (store.opcode, store.dst, store.off, store.src)
    if same != (Class.STX | Mode.MEM | size, load.src, load.off, load.dst):
        return None
    if not _fits(size, operation) or kind not in OPERATIONS or load.src == load.dst:
        return None
    if operation.dst != load.dst:
        return None
    if not operation.opcode & Source.X:
        number = OPERATIONS.index(Alu(kind))
        return Insn(Class.ST | Mode.ATOMIC | size, load.src, number, load.off, operation.imm)
    if operation.src in (load.dst, R10):
        return None
    return Insn(Class.STX | Mode.ATOMIC | size, load.src, operation.src, load.off, UPDATE | kind)


def _with_load(load: Insn, operation: Insn) -> Insn | None:
    size, kind = _SIZES[load.opcode], operation.opcode & 0xF0
    if not _fits(size, operation) or kind not in _WITH_LOAD or not operation.opcode & Source.X:
        return None
    if operation.src != load.dst or operation.dst == load.dst or load.src == R10:
        return None
    return Insn(operation.opcode, operation.dst, load.src, load.off, 1)


def _fits(size: Size, operation: Insn) -> bool:
    """Whether it is of the load's width."""
    return operation.cls == (Class.ALU64 if size == Size.DW else Class.ALU)
