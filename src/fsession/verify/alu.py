"""What arithmetic does to ranges: a `Range` for each operand in, one out.

Of an operation of 64 bits each view is computed by itself (`tnum`, `interval`), and `narrow` brings
them together: the result is in every one of them, so it is in their intersection. An operation of
32 bits looks at the low halves only and leaves zeros above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.opcode import Alu
from fsession.verify import interval, tnum
from fsession.verify.ranges import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    UNKNOWN,
    Range,
    constant,
    low_half,
    narrow,
    unsigned_range,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["alu", "alu32", "compute", "signed_div", "signed_mod"]

_WHOLE = UNKNOWN[2:]
_SHIFTS = (Alu.LSH, Alu.RSH, Alu.ARSH)
_LOW = unsigned_range(0, U32)


def alu(op: int, a: Range, b: Range) -> Range:
    """``a op b`` in 64 bits; shifts by what is no known number less than 64 give anything."""
    if not a.mask and not b.mask and op != Alu.MOD and (b.value < 64 or op not in _SHIFTS):
        return constant(compute(op, a.value, b.value, 64))
    rule = _RULES.get(op)
    return rule(a, b) if rule else UNKNOWN


def alu32(op: int, a: Range, b: Range) -> Range:
    """``(u32)a op (u32)b``, extended by zeros; as the kernel, unknown in all bits where it has no
    rule."""
    known = not (a.mask | b.mask) & U32 and op != Alu.MOD
    if known and (b.umax < 32 or op not in _SHIFTS):
        return constant(compute(op, a.value & U32, b.value & U32, 32))
    rule = _RULES32.get(op)
    return rule(a, b) if rule else UNKNOWN


def compute(op: int, a: int, b: int, bits: int) -> int:
    """The number itself, unsigned, of `bits` bits (RFC 9669, section 4.1). Not for signed DIV, MOD,
    nor byte swaps."""
    full = (1 << bits) - 1
    if op == Alu.ADD:
        word = a + b
    elif op == Alu.SUB:
        word = a - b
    elif op == Alu.MUL:
        word = a * b
    elif op == Alu.DIV:
        word = a // b if b else 0
    elif op == Alu.MOD:
        word = a % b if b else a
    elif op == Alu.OR:
        word = a | b
    elif op == Alu.AND:
        word = a & b
    elif op == Alu.XOR:
        word = a ^ b
    elif op == Alu.LSH:
        word = a << (b & bits - 1)
    elif op == Alu.RSH:
        word = a >> (b & bits - 1)
    else:
        assert op == Alu.ARSH
        word = interval.to_signed(a, full) >> (b & bits - 1)
    return word & full


def _full(bits: tuple[int, int], unsigned: tuple[int, int], signed: tuple[int, int]) -> Range:
    """A 64-bit result; its low half is known by what the others say of it."""
    return narrow(*bits, *unsigned, *signed, 0, U32, S32_MIN, S32_MAX) or UNKNOWN


def _both(
    bits: tuple[int, int],
    unsigned: tuple[int, int],
    signed: tuple[int, int],
    unsigned32: tuple[int, int],
    signed32: tuple[int, int],
) -> Range:
    """A 64-bit result whose low half depends on the operands' low halves only."""
    return narrow(*bits, *unsigned, *signed, *unsigned32, *signed32) or UNKNOWN


def _half(bits: tuple[int, int], unsigned: tuple[int, int], signed: tuple[int, int]) -> Range:
    """A 32-bit result, extended by zeros."""
    return narrow(*bits, *unsigned, *unsigned, *unsigned, *signed) or _LOW


def _linear(
    of_bits: Callable[[tuple[int, int], tuple[int, int], int], tuple[int, int]],
    of_unsigned: Callable[[tuple[int, int], tuple[int, int], int], tuple[int, int]],
    of_signed: Callable[[tuple[int, int], tuple[int, int], int], tuple[int, int]],
) -> tuple[Callable[[Range, Range], Range], Callable[[Range, Range], Range]]:
    """Addition, subtraction, product: the low half of the result is that of the low halves."""

    def wide(a: Range, b: Range) -> Range:
        return _both(
            of_bits((a[0], a[1]), (b[0], b[1]), U64),
            of_unsigned((a[2], a[3]), (b[2], b[3]), U64),
            of_signed((a[4], a[5]), (b[4], b[5]), U64),
            of_unsigned((a[6], a[7]), (b[6], b[7]), U32),
            of_signed((a[8], a[9]), (b[8], b[9]), U32),
        )

    def narrow_(a: Range, b: Range) -> Range:
        return _half(
            of_bits(a.tnum32, b.tnum32, U32),
            of_unsigned((a[6], a[7]), (b[6], b[7]), U32),
            of_signed((a[8], a[9]), (b[8], b[9]), U32),
        )

    return wide, narrow_


def _and(a: Range, b: Range) -> Range:
    """A bit-wise and is at most either operand (unsigned)."""
    bits = tnum.bitand(a.tnum, b.tnum)
    most, most32 = min(a.umax, b.umax), min(a.u32max, b.u32max)
    return _both(bits, (0, most), (S64_MIN, S64_MAX), (0, most32), (S32_MIN, S32_MAX))


def _and32(a: Range, b: Range) -> Range:
    bits = tnum.bitand(a.tnum32, b.tnum32)
    return _half(bits, (0, min(a.u32max, b.u32max)), (S32_MIN, S32_MAX))


def _or(a: Range, b: Range) -> Range:
    """A bit-wise or is at least either operand (unsigned)."""
    bits = tnum.bitor(a.tnum, b.tnum)
    return _full(bits, (max(a.umin, b.umin), U64), (S64_MIN, S64_MAX))


def _or32(a: Range, b: Range) -> Range:
    bits = tnum.bitor(a.tnum32, b.tnum32)
    return _half(bits, (max(a.u32min, b.u32min), U32), (S32_MIN, S32_MAX))


def _xor(a: Range, b: Range) -> Range:
    return _full(tnum.bitxor(a.tnum, b.tnum), (0, U64), (S64_MIN, S64_MAX))


def _xor32(a: Range, b: Range) -> Range:
    return _half(tnum.bitxor(a.tnum32, b.tnum32), (0, U32), (S32_MIN, S32_MAX))


def _lsh(a: Range, b: Range) -> Range:
    if b.mask or b.value > 63:
        return UNKNOWN
    by = b.value
    signed = interval.signed_mul((a.smin, a.smax), (1 << by, 1 << by), U64)
    unsigned = interval.unsigned_lsh((a.umin, a.umax), by, U64)
    return _full(tnum.lsh(a.tnum, by, U64), unsigned, signed)


def _lsh32(a: Range, b: Range) -> Range:
    if b.mask or b.value > 31:  # the kernel wants all 64 bits of it
        return UNKNOWN
    by = b.value
    signed = interval.signed_mul((a.s32min, a.s32max), (1 << by, 1 << by), U32)
    unsigned = interval.unsigned_lsh((a.u32min, a.u32max), by, U32)
    return _half(tnum.lsh(a.tnum32, by, U32), unsigned, signed)


def _rsh(a: Range, b: Range) -> Range:
    """Shifts to the right keep the order of unsigned numbers."""
    if b.mask or b.value > 63:
        return UNKNOWN
    by = b.value
    return _full(tnum.rsh(a.tnum, by), (a.umin >> by, a.umax >> by), (S64_MIN, S64_MAX))


def _rsh32(a: Range, b: Range) -> Range:
    if b.mask or b.value > 31:  # the kernel wants all 64 bits of it
        return UNKNOWN
    by = b.value
    unsigned = (a.u32min >> by, a.u32max >> by)
    return _half(tnum.rsh(a.tnum32, by), unsigned, (S32_MIN, S32_MAX))


def _arsh(a: Range, b: Range) -> Range:
    """Arithmetic shifts to the right keep the order of signed numbers."""
    if b.mask or b.value > 63:
        return UNKNOWN
    by = b.value
    return _full(tnum.arsh(a.tnum, by, U64), (0, U64), (a.smin >> by, a.smax >> by))


def _arsh32(a: Range, b: Range) -> Range:
    if b.mask or b.value > 31:  # the kernel wants all 64 bits of it
        return UNKNOWN
    by = b.value
    return _half(tnum.arsh(a.tnum32, by, U32), (0, U32), (a.s32min >> by, a.s32max >> by))


def _div(a: Range, b: Range) -> Range:
    """Unsigned quotients by one known number keep the order; by 0 it is 0."""
    if b.mask or not b.value:
        return UNKNOWN if b.mask else constant(0)
    return unsigned_range(a.umin // b.value, a.umax // b.value)


def _div32(a: Range, b: Range) -> Range:
    by = b.value & U32
    if b.mask & U32 or not by:
        return UNKNOWN if b.mask & U32 else constant(0)
    return unsigned_range(a.u32min // by, a.u32max // by)


def _mod(a: Range, b: Range) -> Range:
    """A remainder of a known number is less than it, and at most the dividend; of 0 the dividend
    itself. As the kernel, known remainders of known numbers are bounds only."""
    if b.mask or not b.value:
        return UNKNOWN if b.mask else a
    return a if a.umax < b.value else unsigned_range(0, min(a.umax, b.value - 1))


def _mod32(a: Range, b: Range) -> Range:
    by = b.value & U32
    if b.mask & U32 or not by:
        return UNKNOWN if b.mask & U32 else low_half(a)
    return low_half(a) if a.u32max < by else unsigned_range(0, min(a.u32max, by - 1))


def signed_div(a: Range, b: Range, *, half: bool) -> Range:
    """Signed quotients by one known number keep the order, or turn it round; by 0 it is 0.

    The lowest number by -1 is itself: then nothing is known.
    """
    by, low, high, lowest = _signed_operands(a, b, half=half)
    if by is None or (by == -1 and low == lowest):
        return UNKNOWN
    ends = (_quotient(low, by), _quotient(high, by))
    return _signed_result(min(ends), max(ends), half=half)


def signed_mod(a: Range, b: Range, *, half: bool) -> Range:
    """A remainder has the sign of the dividend and is nearer to 0 than both."""
    by, low, high, _ = _signed_operands(a, b, half=half)
    if by is None:
        return UNKNOWN
    most = abs(by) - 1
    if not by or (-most <= low and high <= most):
        return low_half(a) if half else a
    return _signed_result(
        0 if low >= 0 else max(low, -most), 0 if high <= 0 else min(high, most), half=half
    )


def _signed_operands(a: Range, b: Range, *, half: bool) -> tuple[int | None, int, int, int]:
    """The divisor if it is known, the dividend's bounds, and the lowest number."""
    if half:
        return (b.s32min if b.s32min == b.s32max else None), a.s32min, a.s32max, S32_MIN
    return (b.smin if b.smin == b.smax else None), a.smin, a.smax, S64_MIN


def _quotient(a: int, b: int) -> int:
    """Towards zero; by 0 it is 0."""
    if not b:
        return 0
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _signed_result(low: int, high: int, *, half: bool) -> Range:
    bits = (0, U32 if half else U64)
    if half:
        return _half(bits, (0, U32), (low, high))
    return _full(bits, (0, U64), (low, high))


_ADD, _ADD32 = _linear(tnum.add, interval.unsigned_add, interval.signed_add)
_SUB, _SUB32 = _linear(tnum.sub, interval.unsigned_sub, interval.signed_sub)
_MUL, _MUL32 = _linear(tnum.mul, interval.unsigned_mul, interval.signed_mul)

_RULES: dict[int, Callable[[Range, Range], Range]] = {
    int(Alu.ADD): _ADD,
    int(Alu.SUB): _SUB,
    int(Alu.MUL): _MUL,
    int(Alu.DIV): _div,
    int(Alu.OR): _or,
    int(Alu.AND): _and,
    int(Alu.LSH): _lsh,
    int(Alu.RSH): _rsh,
    int(Alu.MOD): _mod,
    int(Alu.XOR): _xor,
    int(Alu.ARSH): _arsh,
}
_RULES32: dict[int, Callable[[Range, Range], Range]] = {
    int(Alu.ADD): _ADD32,
    int(Alu.SUB): _SUB32,
    int(Alu.MUL): _MUL32,
    int(Alu.DIV): _div32,
    int(Alu.OR): _or32,
    int(Alu.AND): _and32,
    int(Alu.LSH): _lsh32,
    int(Alu.RSH): _rsh32,
    int(Alu.MOD): _mod32,
    int(Alu.XOR): _xor32,
    int(Alu.ARSH): _arsh32,
}
