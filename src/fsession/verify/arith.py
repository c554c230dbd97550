"""Effect of arithmetic instructions, on numbers and on pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.opcode import Alu, Class
from fsession.verify.alu import alu, alu32, signed_div, signed_mod
from fsession.verify.problem import RefusedError
from fsession.verify.prune import need
from fsession.verify.ranges import (
    UNKNOWN,
    Range,
    constant,
    low_half,
    sign_extended,
    unsigned_range,
)
from fsession.verify.show import kind_text
from fsession.verify.state import ZERO, Flag, Kind, Reg, scalar

if TYPE_CHECKING:
    from fsession.isa.insn import Insn
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["MAX_OFFSET", "step_alu"]

MAX_OFFSET = 1 << 29
"""A pointer may not be moved by this many bytes or more (BPF_MAX_VAR_OFF)."""

_X = 8
_LOW = unsigned_range(0, (1 << 32) - 1)
_ADD, _SUB, _MOV, _END, _NEG = map(int, (Alu.ADD, Alu.SUB, Alu.MOV, Alu.END, Alu.NEG))
_DIV, _MOD = int(Alu.DIV), int(Alu.MOD)
_SHIFTS = frozenset(map(int, (Alu.LSH, Alu.RSH, Alu.ARSH)))
_BITWISE = frozenset(map(int, (Alu.AND, Alu.OR, Alu.XOR)))
_SIGNS = {
    int(op): sign
    for op, sign in {
        Alu.ADD: "+=", Alu.SUB: "-=", Alu.MUL: "*=", Alu.DIV: "/=", Alu.OR: "|=", Alu.AND: "&=",
        Alu.LSH: "<<=", Alu.RSH: ">>=", Alu.NEG: "neg", Alu.MOD: "%=", Alu.XOR: "^=",
        Alu.ARSH: "s>>=",
    }.items()
}  # fmt: skip


def step_alu(walk: Walk, state: State, insn: Insn) -> int:
    """One instruction of class ALU or ALU64; the next one follows."""
    op, wide = insn.opcode & 0xF0, insn.opcode & 7 == Class.ALU64
    regs = state.frame.regs
    if op == _MOV:
        _move(walk, state, insn, wide)
    elif op in (_END, _NEG):
        regs[walk.written(insn.dst)] = _alone(walk, state, insn, op, wide)
    else:
        _binary(walk, state, insn, op, wide)
    return state.at + 1


def _move(walk: Walk, state: State, insn: Insn, wide: bool) -> None:
    regs = state.frame.regs
    if not insn.opcode & _X:
        imm = insn.imm if wide else insn.imm & 0xFFFF_FFFF
        regs[walk.written(insn.dst)] = scalar(constant(imm))
        return
    source = walk.readable(state, insn.src)
    dst = walk.written(insn.dst)
    if source.kind != Kind.SCALAR:
        if insn.off:
            regs[dst] = scalar()
        elif not wide:
            regs[dst] = scalar(_LOW)  # part of an address: any number
        else:
            regs[dst] = source
        return
    bits = source.range
    if insn.off:
        bits = sign_extended(bits, insn.off)
    if not wide:
        bits = low_half(bits)
    if bits == source.range and bits.mask:
        if not source.id:  # two copies of one value: what is learnt of one is true of both
            source = regs[insn.src] = source._replace(id=walk.new_id())
        regs[dst] = source
    else:
        regs[dst] = scalar(bits, source.deps)


def _alone(walk: Walk, state: State, insn: Insn, op: int, wide: bool) -> Reg:
    reg = walk.readable(state, insn.dst)
    if reg.kind != Kind.SCALAR:  # bits of an address: any number
        return scalar()
    if op == _NEG:
        made = (alu if wide else alu32)(_SUB, ZERO, reg.range)
        return scalar(made, reg.deps)
    if insn.imm == 64:
        return scalar(UNKNOWN, reg.deps)
    return scalar(unsigned_range(0, (1 << insn.imm) - 1), reg.deps)


def _binary(walk: Walk, state: State, insn: Insn, op: int, wide: bool) -> None:
    regs = state.frame.regs
    if insn.opcode & _X:
        other, number = walk.readable(state, insn.src), insn.src
    else:
        _check_constant(insn, op, wide)
        other, number = scalar(constant(insn.imm)), -1
    reg = walk.readable(state, insn.dst)
    dst = walk.written(insn.dst)
    if reg.kind == Kind.SCALAR and other.kind == Kind.SCALAR:
        regs[dst] = scalar(
            _numbers(walk, insn, op, wide, reg.range, other.range), reg.deps | other.deps
        )
        return
    if reg.kind != Kind.SCALAR and other.kind != Kind.SCALAR:
        if op == _SUB:
            regs[dst] = scalar()
            return
        raise RefusedError(
            f"R{insn.dst} pointer {_SIGNS[op]} pointer prohibited", regs=(insn.dst, insn.src)
        )
    regs[dst] = _on_pointer(walk, state, insn, op, wide, reg, other, number)


def _check_constant(insn: Insn, op: int, wide: bool) -> None:
    if op in (_DIV, _MOD) and not insn.imm:
        raise RefusedError("div by zero", advice="a division by the constant 0")
    bits = 64 if wide else 32
    if op in _SHIFTS and not 0 <= insn.imm < bits:
        raise RefusedError(f"invalid shift {insn.imm}", advice=f"shift by 0 to {bits - 1}")


def _numbers(walk: Walk, insn: Insn, op: int, wide: bool, a: Range, b: Range) -> Range:
    if op in (_DIV, _MOD) and not walk.limits.div_ranges:
        return UNKNOWN
    if insn.off:
        return (signed_div if op == _DIV else signed_mod)(a, b, half=not wide)
    return (alu if wide else alu32)(op, a, b)


def _on_pointer(
    walk: Walk, state: State, insn: Insn, op: int, wide: bool, reg: Reg, other: Reg, number: int
) -> Reg:
    """One operand is a pointer, the other a number: moved by it, or refused."""
    if not wide:
        if op == _SUB:
            return scalar(_LOW)
        raise RefusedError(f"R{insn.dst} 32-bit pointer arithmetic prohibited", regs=(insn.dst,))
    if reg.kind == Kind.SCALAR:
        if op != _ADD:
            raise RefusedError(
                f"R{insn.dst} tried to {_verb(op)} pointer from scalar", regs=(insn.dst,)
            )
        base, by, at = other, reg, insn.src
    else:
        base, by, at = reg, other, insn.dst
    if number >= 0 and by.deps:
        need(state, by.deps)
    _check_movable(base, at, by)
    if op in _BITWISE:
        raise RefusedError(f"R{at} bitwise operator {_SIGNS[op]} on pointer prohibited", regs=(at,))
    if op not in (_ADD, _SUB):
        raise RefusedError(
            f"R{at} pointer arithmetic with {_SIGNS[op]} operator prohibited", regs=(at,)
        )
    if op == _SUB and base.kind == Kind.STACK:
        raise RefusedError(
            f"R{at} subtraction from stack pointer prohibited",
            advice="add a negative number instead",
            regs=(at,),
        )
    by_at = insn.dst if reg.kind == Kind.SCALAR else number if number >= 0 else at
    _check_bounds(base, at, by, by_at)
    made = _moved(base, op, by.range)
    _check_offset(made, at)
    return made


def _verb(op: int) -> str:
    return "subtract" if op == _SUB else _SIGNS[op]


_FIXED = (Kind.MAP, Kind.FUNC, Kind.DYNPTR)


def _check_movable(base: Reg, at: int, by: Reg) -> None:
    text = kind_text(base)
    if base.flags & Flag.MAYBE_NULL:
        raise RefusedError(
            f"R{at} pointer arithmetic on {text} prohibited, null-check it first",
            advice="compare it with 0 before it is moved",
            regs=(at,),
        )
    if base.kind in _FIXED and by.range != ZERO:
        raise RefusedError(f"R{at} pointer arithmetic on {text} prohibited", regs=(at,))


def _check_bounds(base: Reg, at: int, by: Reg, other: int) -> None:
    """`at` is the pointer's register, `other` that of the number."""
    text = kind_text(base)
    move = by.range
    if not move.mask:
        if not -MAX_OFFSET < move.smin < MAX_OFFSET:
            raise RefusedError(
                f"math between {text} pointer and {move.smin} is not allowed", regs=(at,)
            )
        return
    if move.smin == -(1 << 63):
        raise RefusedError(
            f"math between {text} pointer and register with unbounded min value is not allowed",
            advice="bound the number on both sides before it is added: if it may be negative, "
            "compare it with 0, signed, or mask it with &",
            regs=(other,),
        )
    if not (-MAX_OFFSET < move.smin < MAX_OFFSET):
        raise RefusedError(
            f"value {move.smin} makes {text} pointer be out of bounds", regs=(other,)
        )


def _moved(base: Reg, op: int, by: Range) -> Reg:
    """A known number goes to the fixed offset, another one to the variable part."""
    if not by.mask and -MAX_OFFSET < base.off + by.smin < MAX_OFFSET:
        off = base.off + (by.smin if op == _ADD else -by.smin)
        return base._replace(off=off)
    return base._replace(range=alu(op, base.range, by))


def _check_offset(made: Reg, at: int) -> None:
    text = kind_text(made)
    if not made.range.mask and not -MAX_OFFSET < made.range.smin + made.off < MAX_OFFSET:
        raise RefusedError(
            f"{text} pointer offset {made.range.smin + made.off} is not allowed", regs=(at,)
        )
    if not -MAX_OFFSET < made.off < MAX_OFFSET:
        raise RefusedError(f"{text} pointer offset {made.off} is not allowed", regs=(at,))
    if made.range.smin == -(1 << 63):
        raise RefusedError(
            f"math between {text} pointer and register with unbounded min value is not allowed",
            regs=(at,),
        )
    if not -MAX_OFFSET < made.range.smin < MAX_OFFSET:
        raise RefusedError(
            f"value {made.range.smin} makes {text} pointer be out of bounds", regs=(at,)
        )
