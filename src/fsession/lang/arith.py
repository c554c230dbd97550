"""Arithmetic as Python means it, on 64-bit integers.

Integers narrower than 64 bits and ``s64`` are computed as ``s64``, exactly unless 64 bits overflow.
With a ``u64`` the result is ``u64``, modulo 2**64. Comparisons are exact whatever the signs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.access import Typed
from fsession.lang.ctypes import BOOL, Integer
from fsession.lang.ir import BinaryOp, Test, Value

if TYPE_CHECKING:
    from fsession.lang.build import Builder

__all__ = ["S64", "U64", "Arithmetic", "is_u64"]

S64 = Integer(8, True, "s64")
U64 = Integer(8, False, "u64")

_PLAIN = {
    "+": BinaryOp.ADD, "-": BinaryOp.SUB, "*": BinaryOp.MUL, "&": BinaryOp.AND, "|": BinaryOp.OR,
    "^": BinaryOp.XOR, "<<": BinaryOp.SHL,
}  # fmt: skip
_SIGNED = {"<": Test.SLT, "<=": Test.SLE, ">": Test.SGT, ">=": Test.SGE}
_UNSIGNED = {"<": Test.ULT, "<=": Test.ULE, ">": Test.UGT, ">=": Test.UGE}


def is_u64(item: Typed) -> bool:
    """Whether numbers above 2**63 are meant; pointers count as such."""
    return not isinstance(item.type, Integer) or (item.type.size == 8 and not item.type.signed)


class Arithmetic:
    """Operations of one function under construction."""

    def __init__(self, build: Builder) -> None:
        self.build = build

    def number(self, value: int) -> Typed:
        type = U64 if value >= 1 << 63 else S64
        return Typed(type, self.build.const(value))

    def _type(self, a: Typed, b: Typed, known: tuple[int | None, int | None]) -> Integer:
        """Of a result; a constant that both types have does not make it one or the other."""
        wide = [is_u64(item) for item, const in zip((a, b), known, strict=True) if const is None]
        consts = [const for const in known if const is not None]
        return U64 if any(wide) or any(const >= 1 << 63 for const in consts) else S64

    def binary(
        self, op: str, a: Typed, b: Typed, known: tuple[int | None, int | None] = (None, None)
    ) -> Typed:
        """`known` are the operands' values where they are constants."""
        type = self._type(a, b, known)
        if op in _PLAIN:
            if op == "<<":
                type = U64 if is_u64(a) and known[0] is None else S64
            return Typed(type, self.build.binary(_PLAIN[op], a.value, b.value))
        if op == ">>":
            unsigned = is_u64(a)
            shift = BinaryOp.LSHR if unsigned else BinaryOp.ASHR
            return Typed(U64 if unsigned else S64, self.build.binary(shift, a.value, b.value))
        if type == U64:
            plain = BinaryOp.UDIV if op == "//" else BinaryOp.UMOD
            return Typed(U64, self.build.binary(plain, a.value, b.value))
        return Typed(S64, self._floor(op, a, b, known[1]))

    def _floor(self, op: str, a: Typed, b: Typed, divisor: int | None) -> Value:
        """Signed division that rounds down, and its remainder with the divisor's sign."""
        build = self.build
        if divisor is not None and divisor > 0 and not divisor & (divisor - 1):
            if op == "%":
                return build.binary(BinaryOp.AND, a.value, build.const(divisor - 1))
            shift = build.const(divisor.bit_length() - 1)
            return build.binary(BinaryOp.ASHR, a.value, shift)
        if divisor is not None and divisor > 0 and _is_never_negative(a):
            plain = BinaryOp.UDIV if op == "//" else BinaryOp.UMOD
            return build.binary(plain, a.value, b.value)
        rest = build.binary(BinaryOp.SMOD, a.value, b.value)
        zero = build.const(0)
        unlike = build.compare(Test.SLT, build.binary(BinaryOp.XOR, rest, b.value), zero)
        correct = build.binary(BinaryOp.AND, unlike, build.compare(Test.NE, rest, zero))
        if op == "//":
            quotient = build.binary(BinaryOp.SDIV, a.value, b.value)
            return build.binary(BinaryOp.SUB, quotient, correct)
        mask = build.binary(BinaryOp.SUB, zero, correct)  # all bits, or none
        extra = build.binary(BinaryOp.AND, b.value, mask)
        return build.binary(BinaryOp.ADD, rest, extra)

    def negative(self, a: Typed) -> Typed:
        return Typed(S64, self.build.binary(BinaryOp.SUB, self.build.const(0), a.value))

    def inverted(self, a: Typed) -> Typed:
        """``~a``; of a ``u64`` all its bits, of others ``-a - 1``."""
        value = self.build.binary(BinaryOp.XOR, a.value, self.build.const(-1))
        return Typed(U64 if is_u64(a) else S64, value)

    def compare(
        self, op: str, a: Typed, b: Typed, known: tuple[int | None, int | None] = (None, None)
    ) -> Typed:
        """1 or 0, as Python's comparison of the two numbers."""
        build = self.build
        unsigned = [is_u64(item) for item in (a, b)]
        for at, const in enumerate(known):
            if const is not None and 0 <= const < 1 << 63:
                unsigned[at] = unsigned[1 - at]
        if unsigned[0] == unsigned[1]:
            return Typed(BOOL, build.compare(_test(op, unsigned[0]), a.value, b.value))
        # one may be negative, the other above 2**63: then they differ, whatever their bits say
        negative = build.compare(Test.SLT, (b if unsigned[0] else a).value, build.const(0))
        plain = build.compare(_test(op, True), a.value, b.value)
        if op == "==" or (op in ("<", "<=") and unsigned[0]) or (op in (">", ">=") and unsigned[1]):
            other = build.compare(Test.EQ, negative, build.const(0))
            return Typed(BOOL, build.binary(BinaryOp.AND, plain, other))
        return Typed(BOOL, build.binary(BinaryOp.OR, plain, negative))

    def log2(self, a: Typed) -> Typed:
        """The place of the highest bit; 0 for 0: six steps, each of half the bits that are left."""
        build = self.build
        value, result = a.value, build.const(0)
        for bits in (32, 16, 8, 4, 2, 1):
            above = build.compare(Test.UGT, value, build.const((1 << bits) - 1))
            step = build.binary(BinaryOp.SHL, above, build.const(bits.bit_length() - 1))
            value = build.binary(BinaryOp.LSHR, value, step)
            result = build.binary(BinaryOp.OR, result, step)
        return Typed(S64, result)


def _test(op: str, unsigned: bool) -> Test:
    if op == "==":
        return Test.EQ
    if op == "!=":
        return Test.NE
    return (_UNSIGNED if unsigned else _SIGNED)[op]


def _is_never_negative(item: Typed) -> bool:
    return isinstance(item.type, Integer) and not item.type.signed and item.type.size < 8
