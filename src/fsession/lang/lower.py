"""The last pass over the IR: what no instruction does becomes calls and arithmetic.

A `Probe` is a call of ``bpf_probe_read_*`` into a stack slot; signed division, which instructions
have since Linux 6.6 only, is one of absolute values with the sign put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang.ir import (
    Binary,
    BinaryOp,
    Call,
    Const,
    Helper,
    Load,
    Probe,
    Slot,
    Space,
    Value,
)
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.lang.ir import Function, Op, Place

__all__ = ["lower"]

_KERNEL = Helper(int(FuncId.probe_read_kernel), "probe_read_kernel")
_USER = Helper(int(FuncId.probe_read_user), "probe_read_user")
_PROBE_BYTES = 8


def lower(function: Function) -> None:
    """Replace the operations that have no instruction."""
    for block in function.blocks.values():
        ops: list[Op] = []
        for op in block.ops:
            ops += _Lowering(function, op.at).op(op)
        block.ops = ops


class _Lowering:
    """Of one operation: the operations that do its work."""

    def __init__(self, function: Function, at: Place | None) -> None:
        self._function = function
        self._at = at
        self._ops: list[Op] = []

    def op(self, op: Op) -> list[Op]:
        match op:
            case Probe():
                self._probe(op)
            case Binary(op=BinaryOp.SDIV | BinaryOp.SMOD):
                self._divide(op)
            case _:
                return [op]
        return self._ops

    def _probe(self, op: Probe) -> None:
        """The helper fills the slot with zeros where it fails."""
        number = self._function.new_slot(op.size, _PROBE_BYTES)
        slot = self._new()
        self._ops.append(Slot(slot, number, at=self._at))
        args = (slot, self._const(op.size), op.args[0])
        self._ops.append(Call(self._new(), _USER if op.user else _KERNEL, args, at=self._at))
        self._ops.append(Load(op.dst, (slot,), 0, op.size, op.signed, Space.STACK, at=self._at))

    def _divide(self, op: Binary) -> None:
        """Both operands are 64 bits here: 32-bit ones were extended by the front end."""
        a, b = op.args
        sign_a, sign_b = (self._binary(BinaryOp.ASHR, x, self._const(63)) for x in (a, b))
        positive_a, positive_b = self._negate(a, sign_a), self._negate(b, sign_b)
        if op.op is BinaryOp.SDIV:
            result = self._binary(BinaryOp.UDIV, positive_a, positive_b)
            sign = self._binary(BinaryOp.XOR, sign_a, sign_b)
        else:
            result = self._binary(BinaryOp.UMOD, positive_a, positive_b)
            sign = sign_a
        flipped = self._binary(BinaryOp.XOR, result, sign)
        self._ops.append(Binary(op.dst, BinaryOp.SUB, (flipped, sign), at=self._at))

    def _negate(self, value: Value, sign: Value) -> Value:
        """``-value`` where `sign` is -1, `value` where it is 0."""
        flipped = self._binary(BinaryOp.XOR, value, sign)
        return self._binary(BinaryOp.SUB, flipped, sign)

    def _binary(self, op: BinaryOp, a: Value, b: Value) -> Value:
        dst = self._new()
        self._ops.append(Binary(dst, op, (a, b), at=self._at))
        return dst

    def _const(self, value: int) -> Value:
        dst = self._new()
        self._ops.append(Const(dst, value, at=self._at))
        return dst

    def _new(self) -> Value:
        return self._function.new_value()
