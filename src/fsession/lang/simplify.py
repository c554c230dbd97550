"""What one operation can be replaced by, given what is known of its operands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from fsession.lang import fold
from fsession.lang.fold import U64
from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    BinaryOp,
    Branch,
    Compare,
    Const,
    Extend,
    Jump,
    Load,
    Probe,
    Store,
    Swap,
    Test,
    Value,
    with_args,
)

if TYPE_CHECKING:
    from fsession.lang.ir import Function, Op

__all__ = ["Facts", "simplify_branch", "simplify_op"]

T = TypeVar("T", Compare, Branch)

_S16 = range(-(1 << 15), 1 << 15)


class Facts:
    """What is known of values: how they are made, their constants, their greatest values."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self.defs: dict[Value, Op] = {}
        self._greatest: dict[Value, int] = {}

    def learn(self, op: Op) -> None:
        if op.dst is not None:
            self.defs[op.dst] = op
            greatest = self._bound(op)
            if greatest < U64:
                self._greatest[op.dst] = greatest

    def const(self, value: Value) -> int | None:
        op = self.defs.get(value)
        return op.value if isinstance(op, Const) else None

    def greatest(self, value: Value) -> int:
        """As unsigned."""
        return self._greatest.get(value, U64)

    def _bound(self, op: Op) -> int:
        match op:
            case Const(value=value):
                return value
            case Compare():
                return 1
            case Load(size=size, signed=False) | Probe(size=size, signed=False):
                return (1 << 8 * size) - 1
            case Extend(args=(a,), bits=bits, signed=False):
                return min((1 << bits) - 1, self.greatest(a))
            case Swap(bits=bits):
                return (1 << bits) - 1
            case Binary():
                return self._bound_of_binary(op)
        return U64

    def _bound_of_binary(self, op: Binary) -> int:
        limit = (1 << op.bits) - 1
        a, b = (min(limit, self.greatest(arg)) for arg in op.args)
        match op.op:
            case BinaryOp.AND:
                return min(a, b)
            case BinaryOp.OR | BinaryOp.XOR:
                return (1 << max(a, b).bit_length()) - 1
            case BinaryOp.ADD:
                return min(limit, a + b) if a + b <= limit else limit
            case BinaryOp.MUL:
                return a * b if a * b <= limit else limit
            case BinaryOp.UDIV | BinaryOp.UMOD:
                return a
            case BinaryOp.LSHR:
                count = self.const(op.args[1])
                return a if count is None else a >> (count % op.bits)
            case BinaryOp.SHL:
                count = self.const(op.args[1])
                fits = count is not None and a << (count % op.bits) <= limit
                return a << (count % op.bits) if fits and count is not None else limit
        return limit


def simplify_op(op: Op, facts: Facts) -> Op | Value:
    """The operation, a simpler one with the same `dst`, or the value that it always is."""
    match op:
        case Binary():
            return _binary(op, facts)
        case Compare():
            return _compare(op, facts)
        case Extend():
            return _extend(op, facts)
        case Swap(dst=dst, args=(a,), bits=bits):
            const = facts.const(a)
            return op if const is None else Const(dst, fold.swap(const, bits), at=op.at)
        case Load() | Store() | AtomicAdd():
            return _memory(op, facts)
    return op


def _binary(op: Binary, facts: Facts) -> Op | Value:
    a, b = (facts.const(arg) for arg in op.args)
    if a is not None and b is not None:
        return Const(op.dst, fold.binary(op.op, a, b, op.bits), at=op.at)
    if a is not None and op.op.commutes:
        op, a, b = replace(op, args=(op.args[1], op.args[0])), b, a
    if op.args[0] == op.args[1] and op.op in (BinaryOp.SUB, BinaryOp.XOR):
        return Const(op.dst, 0, at=op.at)
    return op if b is None else _by_const(op, b, facts)


def _by_const(op: Binary, b: int, facts: Facts) -> Op | Value:
    """With a constant as the second operand."""
    mask = (1 << op.bits) - 1
    b &= mask
    x = op.args[0]
    whole = facts.greatest(x) <= mask  # x is the result where the operation changes nothing
    match op.op:
        case BinaryOp.ADD | BinaryOp.SUB | BinaryOp.OR | BinaryOp.XOR if b == 0 and whole:
            return x
        case BinaryOp.SHL | BinaryOp.LSHR | BinaryOp.ASHR if b % op.bits == 0 and whole:
            return x
        case BinaryOp.MUL | BinaryOp.UDIV if b == 1 and whole:
            return x
        case BinaryOp.MUL | BinaryOp.AND if b == 0:
            return Const(op.dst, 0, at=op.at)
        case BinaryOp.AND if not b & (b + 1) and facts.greatest(x) <= b:
            return x
        case BinaryOp.AND if b == (1 << 32) - 1 and op.bits == 64:
            return Extend(op.dst, (x,), 32, signed=False, at=op.at)
    return op


def _compare(op: Compare, facts: Facts) -> Op | Value:
    const = _decided(op, facts)
    if const is not None:
        return Const(op.dst, const, at=op.at)
    op = _narrow(_const_last(op, facts), facts)
    b = facts.const(op.args[1])
    inner = facts.defs.get(op.args[0])
    if b == 0 and isinstance(inner, Compare) and op.test in (Test.EQ, Test.NE):
        if op.test == Test.NE:
            return inner.dst
        inverted = inner.test.inverted
        if inverted is not None:
            return Compare(op.dst, inverted, inner.args, inner.bits, at=op.at)
    if b == 0 and op.test == Test.NE and facts.greatest(op.args[0]) <= 1:
        return op.args[0]
    return op


def _const_last(op: T, facts: Facts) -> T:
    a, b = op.args
    if facts.const(a) is not None and facts.const(b) is None:
        return replace(op, test=op.test.swapped, args=(b, a))
    return op


def _decided(op: Compare | Branch, facts: Facts) -> bool | None:
    """Whether the test always or never holds."""
    a, b = (facts.const(arg) for arg in op.args)
    if a is not None and b is not None:
        return fold.compare(op.test, a, b, op.bits)
    if op.args[0] == op.args[1] and op.test != Test.SET:
        return op.test in (Test.EQ, Test.ULE, Test.UGE, Test.SLE, Test.SGE)
    greatest = facts.greatest(op.args[0])
    if b is None or op.bits != 64:
        return None
    match op.test:
        case Test.ULT | Test.UGE if greatest < b or b == 0:
            return (op.test == Test.ULT) == (b != 0)
        case Test.ULE | Test.UGT if greatest <= b:
            return op.test == Test.ULE
        case Test.EQ | Test.NE if greatest < b:
            return op.test == Test.NE
    return None


_UNSIGNED = {
    Test.SLT: Test.ULT, Test.SLE: Test.ULE, Test.SGT: Test.UGT, Test.SGE: Test.UGE,
}  # fmt: skip
_S32 = range(-(1 << 31), 1 << 31)


def _narrow(op: T, facts: Facts) -> T:
    """A comparison of two words that were extended from 32 bits by the sign is one of those bits;
    a signed one of two that are no negative numbers is an unsigned one."""
    if op.bits == 32 or op.test == Test.SET:
        return op
    inner = [_before_sign(arg, facts) for arg in op.args]
    if inner[0] is not None and inner[1] is not None:
        return replace(op, args=(inner[0], inner[1]), bits=32)
    if op.test in _UNSIGNED and all(facts.greatest(arg) >> 63 == 0 for arg in op.args):
        return replace(op, test=_UNSIGNED[op.test])
    return op


def _before_sign(value: Value, facts: Facts) -> Value | None:
    op = facts.defs.get(value)
    if isinstance(op, Extend) and op.bits == 32 and op.signed:
        return op.args[0]
    if isinstance(op, Load) and op.size == 4 and op.signed:
        return value
    if isinstance(op, Const) and fold.signed(op.value) in _S32:
        return value
    return None


def _extend(op: Extend, facts: Facts) -> Op | Value:
    (a,) = op.args
    const = facts.const(a)
    if const is not None:
        return Const(op.dst, fold.extend(const, op.bits, sign=op.signed), at=op.at)
    if facts.greatest(a) < 1 << (op.bits - op.signed):
        return a
    inner = facts.defs.get(a)
    if isinstance(inner, Extend):
        if inner.bits == op.bits and inner.signed == op.signed:
            return a
        if inner.signed and op.signed and inner.bits <= op.bits:
            return a
        if inner.bits >= op.bits:
            return replace(op, args=inner.args)
    return op


def _memory(op: Load | Store | AtomicAdd, facts: Facts) -> Op:
    """A constant that is added to the address goes into the offset."""
    base = facts.defs.get(op.args[0])
    if not isinstance(base, Binary) or base.op is not BinaryOp.ADD or base.bits != 64:
        return op
    add = facts.const(base.args[1])
    if add is None or op.offset + fold.signed(add) not in _S16:
        return op
    moved = replace(op, offset=op.offset + fold.signed(add))
    return with_args(moved, (base.args[0], *op.args[1:]))


def simplify_branch(end: Branch, facts: Facts) -> Branch | Jump:
    """The branch, a better one, or where it always goes."""
    decided = _decided(end, facts)
    if decided is not None:
        return Jump(end.then if decided else end.other, (), end.at)
    if end.then == end.other:
        return Jump(end.then, (), end.at)
    end = _narrow(_const_last(end, facts), facts)
    if facts.const(end.args[1]) != 0 or end.test not in (Test.EQ, Test.NE) or end.bits != 64:
        return end
    inner = facts.defs.get(end.args[0])
    then, other = (end.then, end.other) if end.test == Test.NE else (end.other, end.then)
    if isinstance(inner, Compare):
        return Branch(inner.test, inner.args, then, other, inner.bits, end.at)
    if isinstance(inner, Binary) and inner.op is BinaryOp.AND and inner.bits == 64:
        return Branch(Test.SET, inner.args, then, other, 64, end.at)
    return end
