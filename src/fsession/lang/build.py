"""A function under construction: operations go to the end of the current block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsession.lang.fold import U64
from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    BinaryOp,
    Block,
    Branch,
    Call,
    Compare,
    Const,
    Extend,
    Function,
    Helper,
    Jump,
    Kfunc,
    Label,
    Load,
    Local,
    MapAddress,
    MapValue,
    Opaque,
    Place,
    Probe,
    Return,
    Slot,
    Space,
    Store,
    Swap,
    Test,
    Value,
)

if TYPE_CHECKING:
    from fsession.lang.ir import End, Op
    from fsession.uapi import FuncId

__all__ = ["Builder"]


class Builder:
    """Of one `Function`. What is built behind the end of a block is dropped: nothing gets there."""

    def __init__(self, name: str, params: int) -> None:
        self.function = Function(name)
        self.function.params = [self.function.new_value() for _ in range(params)]
        self.at: Place | None = None
        self._label = self.function.new_block()
        self._suspended = False

    @property
    def label(self) -> Label:
        """The current block."""
        return self._label

    @property
    def is_open(self) -> bool:
        """Whether the current block goes on: what follows can be reached."""
        return not self._suspended and self.function.blocks[self._label].end is None

    def suspend(self) -> None:
        """Leave the current block as it is, to be ended later; what follows can't be reached."""
        self._suspended = True

    def resume(self, label: Label) -> None:
        """Go on in a block that was left."""
        self._label, self._suspended = label, False

    def snapshot(self) -> tuple[object, ...]:
        """The function as it is now, for `restore`."""
        function = self.function
        blocks = {
            label: Block(list(block.params), list(block.ops), block.end)
            for label, block in function.blocks.items()
        }
        return blocks, list(function.slots), set(function.far), self._label

    def restore(self, snapshot: Any) -> None:
        """Forget what was built since `snapshot`, which can be used once."""
        function = self.function
        function.blocks, function.slots, function.far, label = snapshot
        self.resume(label)

    def block(self) -> Label:
        """A new block, to be filled after `begin`."""
        return self.function.new_label()

    def begin(self, label: Label, params: int = 0) -> list[Value]:
        """Go on in `label`; its parameters."""
        values = [self.function.new_value() for _ in range(params)]
        self.function.blocks[label] = Block(values)
        self.resume(label)
        return values

    def _add(self, op: Op) -> None:
        block = self.function.blocks[self._label]
        if block.end is None and not self._suspended:
            block.ops.append(op)

    def _finish(self, end: End) -> None:
        block = self.function.blocks[self._label]
        if block.end is None and not self._suspended:
            block.end = end

    def _new(self) -> Value:
        return self.function.new_value()

    # -- values ----------------------------------------------------------------------------------

    def const(self, value: int) -> Value:
        dst = self._new()
        self._add(Const(dst, int(value) & U64, at=self.at))
        return dst

    def binary(self, op: BinaryOp, a: Value, b: Value, bits: int = 64) -> Value:
        dst = self._new()
        self._add(Binary(dst, op, (a, b), bits, at=self.at))
        return dst

    def add(self, a: Value, offset: int) -> Value:
        return self.binary(BinaryOp.ADD, a, self.const(offset)) if offset else a

    def compare(self, test: Test, a: Value, b: Value, bits: int = 64) -> Value:
        dst = self._new()
        self._add(Compare(dst, test, (a, b), bits, at=self.at))
        return dst

    def extend(self, a: Value, bits: int, *, signed: bool) -> Value:
        if bits >= 64:
            return a
        dst = self._new()
        self._add(Extend(dst, (a,), bits, signed, at=self.at))
        return dst

    def swap(self, a: Value, bits: int) -> Value:
        dst = self._new()
        self._add(Swap(dst, (a,), bits, at=self.at))
        return dst

    # -- memory ----------------------------------------------------------------------------------

    def load(
        self, base: Value, offset: int, size: int, space: Space, *, signed: bool = False
    ) -> Value:
        dst = self._new()
        self._add(Load(dst, (base,), offset, size, signed, space, at=self.at))
        return dst

    def probe(
        self, address: Value, size: int, *, signed: bool = False, user: bool = False
    ) -> Value:
        dst = self._new()
        self._add(Probe(dst, (address,), size, signed, user, at=self.at))
        return dst

    def store(self, base: Value, offset: int, value: Value, size: int, space: Space) -> None:
        self._add(Store((base, value), offset, size, space, at=self.at))

    def atomic_add(self, base: Value, offset: int, value: Value, size: int) -> None:
        self._add(AtomicAdd((base, value), offset, size, at=self.at))

    def fetch_add(self, base: Value, offset: int, value: Value, size: int) -> Value:
        """Add atomically; what was there before."""
        dst = self._new()
        self._add(AtomicAdd((base, value), offset, size, dst, at=self.at))
        return dst

    def slot(self, size: int, align: int = 8) -> Value:
        """The address of new bytes on the stack."""
        dst = self._new()
        self._add(Slot(dst, self.function.new_slot(size, align), at=self.at))
        return dst

    def map(self, name: str) -> Value:
        dst = self._new()
        self._add(MapAddress(dst, name, at=self.at))
        return dst

    def map_value(self, name: str, offset: int = 0) -> Value:
        dst = self._new()
        self._add(MapValue(dst, name, offset, at=self.at))
        return dst

    def opaque(self) -> Value:
        """0, which the verifier does not know."""
        dst = self._new()
        self._add(Opaque(dst, at=self.at))
        return dst

    # -- calls -----------------------------------------------------------------------------------

    def helper(self, function: FuncId, *args: Value, pure: bool = False) -> Value:
        dst = self._new()
        target = Helper(int(function), function.name)
        self._add(Call(dst, target, args, pure, at=self.at))
        return dst

    def kfunc(self, name: str, *args: Value, pure: bool = False) -> Value:
        dst = self._new()
        self._add(Call(dst, Kfunc(name), args, pure, at=self.at))
        return dst

    def local(self, name: str, *args: Value) -> Value:
        dst = self._new()
        self._add(Call(dst, Local(name), args, at=self.at))
        return dst

    # -- control ---------------------------------------------------------------------------------

    def jump(self, target: Label, *args: Value) -> None:
        self._finish(Jump(target, args, self.at))

    def branch(
        self, test: Test, a: Value, b: Value, then: Label, other: Label, bits: int = 64
    ) -> None:
        self._finish(Branch(test, (a, b), then, other, bits, self.at))

    def give_back(self, value: Value) -> None:
        self._finish(Return((value,), self.at))
