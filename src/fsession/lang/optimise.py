"""Passes from IR to IR that make programs smaller: `optimise` runs them until nothing changes.

Before::

    b0:                              b0:
      v1 = u32 kernel[v0+112]          v1 = u32 kernel[v0+112]
      v2 = 64                          v2 = 64
      v3 = v1 >u v2             ->     if v1 >u v2 goto b1 else b2
      v4 = 0
      if v3 != v4 goto b1 else b2
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from fsession.lang.graph import dominators, reverse_postorder
from fsession.lang.ir import (
    PURE,
    Binary,
    BinaryOp,
    Branch,
    Call,
    Compare,
    Extend,
    Jump,
    Label,
    Load,
    Return,
    Space,
    Store,
    Value,
    with_args,
)
from fsession.lang.simplify import Facts, simplify_branch, simplify_op

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsession.lang.ir import End, Function, Op

__all__ = ["optimise"]

T = TypeVar("T", bound="Op | End")

_ROUNDS = 16
_UNCHANGING = (Space.CTX, Space.KERNEL)
_LOW_HALF_IS_ENOUGH = frozenset(
    {BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR}
)


def optimise(function: Function) -> None:
    """All passes, until nothing changes."""
    for _ in range(_ROUNDS):
        before = _size(function)
        remove_unreachable(function)
        merge_values(function)
        use_low_halves(function)
        drop_signs(function)
        thread_jumps(function)
        merge_blocks(function)
        remove_dead(function)
        if _size(function) == before:
            return


def _size(function: Function) -> tuple[object, ...]:
    return tuple(
        (label, len(block.params), tuple(block.ops), block.end)
        for label, block in function.blocks.items()
    )


def remove_unreachable(function: Function) -> None:
    """Blocks that nothing goes to; the others in reverse postorder."""
    function.blocks = {label: function.blocks[label] for label in reverse_postorder(function)}


def merge_values(function: Function) -> None:
    """Constants folded; operations simplified; equal ones, loads of kernel memory too, made one
    where one is on every way to the other."""
    _Merging(function).run()


class _Merging:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.facts = Facts(function)
        self.above = dominators(function)
        self.same: dict[Value, Value] = {}
        self.known: dict[object, list[tuple[Label, Value]]] = {}

    def run(self) -> None:
        self._merge_params()
        for label in reverse_postorder(self.function):
            block = self.function.blocks[label]
            ops: list[Op] = []
            for op in block.ops:
                kept = self._op(self._renamed(op), label)
                if kept is not None:
                    ops.append(kept)
            block.ops = ops
            if isinstance(block.end, Branch):
                block.end = simplify_branch(self._renamed(block.end), self.facts)
        for block in self.function.blocks.values():
            block.ops = [self._renamed(op) for op in block.ops]
            if block.end is not None:
                block.end = self._renamed(block.end)

    def _merge_params(self) -> None:
        """Parameters that are given one value only, whatever way is taken."""
        given: dict[tuple[Label, int], set[Value]] = {}
        for block in self.function.blocks.values():
            if isinstance(block.end, Jump):
                for at, value in enumerate(block.end.args):
                    given.setdefault((block.end.target, at), set()).add(value)
        useless: dict[Label, list[int]] = {}
        for (label, at), values in given.items():
            param = self.function.blocks[label].params[at]
            others = {self._latest(value) for value in values} - {param}
            if len(others) == 1 and self._latest(param) == param:
                self.same[param] = others.pop()
                useless.setdefault(label, []).append(at)
        for label, places in useless.items():
            target = self.function.blocks[label]
            target.params = [p for at, p in enumerate(target.params) if at not in places]
            for block in self.function.blocks.values():
                if isinstance(block.end, Jump) and block.end.target == label:
                    args = tuple(v for at, v in enumerate(block.end.args) if at not in places)
                    block.end = replace(block.end, args=args)

    def _latest(self, value: Value) -> Value:
        while value in self.same:
            value = self.same[value]
        return value

    def _renamed(self, item: T) -> T:
        return with_args(item, tuple(map(self._latest, item.args)))

    def _op(self, op: Op, label: Label) -> Op | None:
        """What stays of an operation; None: its value is another one's."""
        simple = simplify_op(op, self.facts)
        if isinstance(simple, int):
            assert op.dst is not None
            self.same[op.dst] = Value(simple)
            return None
        key = _key(simple)
        if key is not None and simple.dst is not None:
            for where, value in self.known.get(key, ()):
                if where in self.above[label]:
                    self.same[simple.dst] = value
                    return None
            self.known.setdefault(key, []).append((label, simple.dst))
        self.facts.learn(simple)
        return simple


def _key(op: Op) -> object | None:
    """Equal for operations with the same result; None if two can't be one."""
    once = (
        isinstance(op, PURE)
        or (isinstance(op, Load) and op.space in _UNCHANGING)
        or (isinstance(op, Call) and op.pure)
    )
    return (type(op), replace(op, dst=Value(-1))) if once else None  # type: ignore[arg-type]


def use_low_halves(function: Function) -> None:
    """Where only the low 32 bits count, they need not be extended before."""
    defs = {op.dst: op for op in function.ops() if op.dst is not None}

    def low(value: Value) -> Value:
        op = defs.get(value)
        while isinstance(op, Extend) and op.bits == 32:
            value = op.args[0]
            op = defs.get(value)
        return value

    for block in function.blocks.values():
        for at, op in enumerate(block.ops):
            args = op.args
            match op:
                case Binary(bits=32) | Compare(bits=32) | Extend(bits=8 | 16 | 32):
                    args = tuple(map(low, args))
                case Store(size=1 | 2 | 4):
                    args = (args[0], low(args[1]))
            if args != op.args:
                block.ops[at] = with_args(op, args)
        if isinstance(block.end, Branch) and block.end.bits == 32:
            block.end = with_args(block.end, tuple(map(low, block.end.args)))


def drop_signs(function: Function) -> None:
    """A load of 4 bytes whose upper half nobody looks at is not extended by the sign."""
    loads = {op.dst for op in function.ops() if isinstance(op, Load) and op.size == 4 and op.signed}
    for block in function.blocks.values():
        for item in (*block.ops, block.end):
            match item:
                case (
                    Binary(bits=32) | Compare(bits=32) | Branch(bits=32) | Extend(bits=8 | 16 | 32)
                ):
                    continue
                case Store(args=(base, _), size=1 | 2 | 4):
                    loads.discard(base)
                case None:
                    continue
                case _:
                    loads -= set(item.args)
    for block in function.blocks.values():
        block.ops = [
            replace(op, signed=False) if isinstance(op, Load) and op.dst in loads else op
            for op in block.ops
        ]


def thread_jumps(function: Function) -> None:
    """Blocks that do nothing but go on are left out of the way; equal returns become one."""
    target: dict[Label, Label] = {}
    returns: dict[Value, Label] = {}
    for label, block in function.blocks.items():
        if block.ops or block.params or label == function.entry:
            continue
        match block.end:
            case Jump(target=other, args=()) if other != label:
                target[label] = other
            case Return(args=(value,)):
                first = returns.setdefault(value, label)
                if first != label:
                    target[label] = first

    def final(label: Label) -> Label:
        seen = {label}
        while label in target and target[label] not in seen:
            label = target[label]
            seen.add(label)
        return label

    for block in function.blocks.values():
        match block.end:
            case Jump(target=other) if final(other) != other:
                block.end = replace(block.end, target=final(other))
            case Branch(then=then, other=other):
                then, other = final(then), final(other)
                same = then == other
                end = replace(block.end, then=then, other=other)
                block.end = Jump(then, (), block.end.at) if same else end
    remove_unreachable(function)


def merge_blocks(function: Function) -> None:
    """A block that is the only way to the next one takes it in."""
    before = dict(function.predecessors())
    same: dict[Value, Value] = {}
    for label in list(function.blocks):
        block = function.blocks.get(label)
        while block is not None and isinstance(block.end, Jump):
            target = block.end.target
            if target in (function.entry, label) or before[target] != [label]:
                break
            inner = function.blocks.pop(target)
            same.update(zip(inner.params, block.end.args, strict=True))
            block.ops += inner.ops
            block.end = inner.end
            for successor in block.successors:
                before[successor] = [label if b == target else b for b in before[successor]]
    _rename(function, same)


def _rename(function: Function, same: Mapping[Value, Value]) -> None:
    if not same:
        return

    def latest(value: Value) -> Value:
        while value in same:
            value = same[value]
        return value

    for block in function.blocks.values():
        block.ops = [with_args(op, tuple(map(latest, op.args))) for op in block.ops]
        if block.end is not None:
            block.end = with_args(block.end, tuple(map(latest, block.end.args)))


def remove_dead(function: Function) -> None:
    """Operations that only define what nobody uses, and parameters that nobody uses."""
    defs = {op.dst: op for op in function.ops() if op.dst is not None}
    given: dict[Value, list[Value]] = {}
    wanted: list[Value] = []
    for block in function.blocks.values():
        wanted += [value for op in block.ops if not _is_removable(op) for value in op.args]
        if isinstance(block.end, Jump):
            params = function.blocks[block.end.target].params
            for param, value in zip(params, block.end.args, strict=True):
                given.setdefault(param, []).append(value)
        elif block.end is not None:
            wanted += block.end.args
    used: set[Value] = set()
    while wanted:
        value = wanted.pop()
        if value not in used:
            used.add(value)
            wanted += given.get(value, ())
            if value in defs:
                wanted += defs[value].args
    for block in function.blocks.values():
        block.ops = [op for op in block.ops if not _is_removable(op) or op.dst in used]
        if isinstance(block.end, Jump):
            params = function.blocks[block.end.target].params
            pairs = zip(params, block.end.args, strict=True)
            block.end = replace(block.end, args=tuple(v for p, v in pairs if p in used))
    for block in function.blocks.values():
        block.params = [param for param in block.params if param in used]


def _is_removable(op: Op) -> bool:
    return isinstance(op, (*PURE, Load)) or (isinstance(op, Call) and op.pure)
