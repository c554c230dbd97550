"""Arithmetic as C means it: promotions, the usual conversions, wrapping at the type's width.

A value of a type narrower than 64 bits is held extended to 64, by its type's sign.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.lang.access import Typed
from fsession.lang.ctypes import INT, LONG, U64, CType, Integer, Pointer
from fsession.lang.ir import BinaryOp, Test, Value

if TYPE_CHECKING:
    from fsession.lang.build import Builder

__all__ = ["UINT", "CArithmetic", "common", "promoted"]

UINT = Integer(4, False, "unsigned int")
_PLAIN = {
    "+": BinaryOp.ADD, "-": BinaryOp.SUB, "*": BinaryOp.MUL, "&": BinaryOp.AND, "|": BinaryOp.OR,
    "^": BinaryOp.XOR,
}  # fmt: skip
_TESTS = {
    "==": (Test.EQ, Test.EQ), "!=": (Test.NE, Test.NE), "<": (Test.ULT, Test.SLT),
    "<=": (Test.ULE, Test.SLE), ">": (Test.UGT, Test.SGT), ">=": (Test.UGE, Test.SGE),
}  # fmt: skip


def promoted(type: Integer) -> Integer:
    """C11 6.3.1.1: what is narrower than int becomes int."""
    if type.size < 4 or type.is_bool:
        return INT
    return replace(type, name="", enum=0)


def common(a: Integer, b: Integer) -> Integer:
    """C11 6.3.1.8: the type of an operation on two integers."""
    a, b = promoted(a), promoted(b)
    size = max(a.size, b.size)
    unsigned = any(not type.signed and type.size == size for type in (a, b))
    if size == 8:
        return U64 if unsigned else LONG
    return UINT if unsigned else INT


class CArithmetic:
    """Operations of one function under construction."""

    def __init__(self, build: Builder) -> None:
        self.build = build

    def convert(self, item: Typed, type: CType) -> Typed:
        """To another integer type, or between integers and pointers."""
        if not isinstance(type, Integer):
            return Typed(type, item.value)
        if type.is_bool:
            zero = self.build.const(0)
            return Typed(type, self.build.compare(Test.NE, item.value, zero))
        if type.size == 8:
            return Typed(type, item.value)
        return Typed(type, self.build.extend(item.value, 8 * type.size, signed=type.signed))

    def promote(self, item: Typed) -> Typed:
        if not isinstance(item.type, Integer):
            return Typed(U64, item.value)
        return Typed(promoted(item.type), item.value)

    def binary(self, op: str, a: Typed, b: Typed) -> Typed:
        """Of two integers. A shift has the type of its promoted left operand."""
        assert isinstance(a.type, Integer)
        assert isinstance(b.type, Integer)
        if op in ("<<", ">>"):
            return self._shift(op, self.promote(a), self.promote(b))
        type = common(a.type, b.type)
        x, y = self.convert(a, type), self.convert(b, type)
        if op in _PLAIN:
            bits = 8 * type.size if op in "+-*" else 64
            result = self.build.binary(_PLAIN[op], x.value, y.value, bits)
            return self._wrapped(type, result) if bits == 32 else Typed(type, result)
        signed = BinaryOp.SDIV if op == "/" else BinaryOp.SMOD
        unsigned = BinaryOp.UDIV if op == "/" else BinaryOp.UMOD
        result = self.build.binary(signed if type.signed else unsigned, x.value, y.value)
        return self._wrapped(type, result)

    def _wrapped(self, type: Integer, value: Value) -> Typed:
        """The low bits of a result, extended as its type says."""
        return Typed(type, self.build.extend(value, 8 * type.size, signed=type.signed))

    def _shift(self, op: str, a: Typed, b: Typed) -> Typed:
        assert isinstance(a.type, Integer)
        bits = 8 * a.type.size
        if op == "<<":
            value = self.build.binary(BinaryOp.SHL, a.value, b.value, bits)
        else:
            shift = BinaryOp.ASHR if a.type.signed else BinaryOp.LSHR
            value = self.build.binary(shift, a.value, b.value, bits)
        return self._wrapped(a.type, value)

    def compare(self, op: str, a: Typed, b: Typed) -> Typed:
        """An int, 1 or 0. Pointers are compared as addresses."""
        unsigned, signed = _TESTS[op]
        if isinstance(a.type, Pointer) or isinstance(b.type, Pointer):
            return Typed(INT, self.build.compare(unsigned, a.value, b.value))
        assert isinstance(a.type, Integer)
        assert isinstance(b.type, Integer)
        type = common(a.type, b.type)
        x, y = self.convert(a, type), self.convert(b, type)
        test = signed if type.signed else unsigned
        return Typed(INT, self.build.compare(test, x.value, y.value))

    def negative(self, a: Typed) -> Typed:
        x = self.promote(a)
        assert isinstance(x.type, Integer)
        zero = self.build.const(0)
        value = self.build.binary(BinaryOp.SUB, zero, x.value, 8 * x.type.size)
        return self._wrapped(x.type, value)

    def inverted(self, a: Typed) -> Typed:
        x = self.promote(a)
        assert isinstance(x.type, Integer)
        value = self.build.binary(BinaryOp.XOR, x.value, self.build.const(-1))
        return self._wrapped(x.type, value)

    def truth(self, a: Typed) -> Typed:
        return Typed(INT, self.build.compare(Test.NE, a.value, self.build.const(0)))

    def denied(self, a: Typed) -> Typed:
        return Typed(INT, self.build.compare(Test.EQ, a.value, self.build.const(0)))
