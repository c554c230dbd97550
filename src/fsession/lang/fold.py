"""Arithmetic of the IR on constants: what the machine would compute."""

from __future__ import annotations

from fsession.lang.ir import BinaryOp, Test

__all__ = ["U64", "binary", "compare", "extend", "signed", "swap"]

U64 = (1 << 64) - 1


def signed(value: int, bits: int = 64) -> int:
    """The low `bits` as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def extend(value: int, bits: int, *, sign: bool) -> int:
    """The low `bits`, extended to 64, as an unsigned number."""
    return (signed(value, bits) if sign else value & ((1 << bits) - 1)) & U64


def swap(value: int, bits: int) -> int:
    """The low `bits` with their bytes in the other order."""
    size = bits // 8
    return int.from_bytes((value & ((1 << bits) - 1)).to_bytes(size, "little"), "big")


def binary(op: BinaryOp, a: int, b: int, bits: int = 64) -> int:
    """`a` op `b`, both unsigned. Division by 0 gives 0, its remainder `a` (RFC 9669, 4.1)."""
    mask = (1 << bits) - 1
    a, b = a & mask, b & mask
    match op:
        case BinaryOp.ADD:
            result = a + b
        case BinaryOp.SUB:
            result = a - b
        case BinaryOp.MUL:
            result = a * b
        case BinaryOp.UDIV:
            result = a // b if b else 0
        case BinaryOp.UMOD:
            result = a % b if b else a
        case BinaryOp.SDIV:
            result = _truncated(signed(a, bits), signed(b, bits))
        case BinaryOp.SMOD:
            x, y = signed(a, bits), signed(b, bits)
            result = x - y * _truncated(x, y)
        case BinaryOp.AND:
            result = a & b
        case BinaryOp.OR:
            result = a | b
        case BinaryOp.XOR:
            result = a ^ b
        case BinaryOp.SHL:
            result = a << (b % bits)
        case BinaryOp.LSHR:
            result = a >> (b % bits)
        case BinaryOp.ASHR:
            result = signed(a, bits) >> (b % bits)
    return result & mask


def _truncated(a: int, b: int) -> int:
    """Division that rounds towards 0; by 0 it gives 0."""
    if not b:
        return 0
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def compare(test: Test, a: int, b: int, bits: int = 64) -> bool:
    """Whether a test holds of two numbers."""
    mask = (1 << bits) - 1
    a, b = a & mask, b & mask
    if test in (Test.SLT, Test.SLE, Test.SGT, Test.SGE):
        a, b = signed(a, bits), signed(b, bits)
    match test:
        case Test.EQ:
            return a == b
        case Test.NE:
            return a != b
        case Test.ULT | Test.SLT:
            return a < b
        case Test.ULE | Test.SLE:
            return a <= b
        case Test.UGT | Test.SGT:
            return a > b
        case Test.UGE | Test.SGE:
            return a >= b
    return bool(a & b)
