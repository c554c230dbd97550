"""Loops that the verifier is not to follow round by round, as callbacks of ``bpf_loop``.

Before (b1 is in `Function.far`)::          After::

    b0:                                       b0:
      v2 = 0                                    v2 = 0
      goto b1(v2)                               goto b1(v2)
    b1(v3):                                   b1(v3):
      if v3 <s v0 goto b2 else b3               v6 = &slot 0
    b2:                                         u64 stack[v6] = 0, then v3, v0
      v5 = v3 + 1                               call loop#181(8388608, func f_loop1, v6, 0)
      goto b1(v5)                               if stack[v6] == 1 goto b3 else return 0
    b3:                                       b3:
      return v3                                 return v3

    func f_loop1(index, v6): one round; gives 0 to go on, 1 to leave, with the exit's number at v6

What both sides need is in a struct on the caller's stack: the number of the exit taken, the values
that change from round to round, those from before the loop, those that are used behind it. A loop
that is not done after `MAX_ROUNDS` rounds ends the function.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from fsession.lang.graph import dominators, liveness, reverse_postorder
from fsession.lang.ir import (
    Block,
    Branch,
    Call,
    Const,
    Extend,
    FuncAddress,
    Function,
    Helper,
    Jump,
    Kfunc,
    Label,
    Load,
    MapAddress,
    MapValue,
    Return,
    Slot,
    Space,
    Store,
    Test,
    Value,
    with_args,
)
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fsession.lang.ir import End, Op

__all__ = ["MAX_ROUNDS", "drop_slots", "outline"]

T = TypeVar("T", bound="Op | End")

MAX_ROUNDS = 1 << 23
"""include/linux/bpf.h: BPF_MAX_LOOPS"""
WORD = 8
_LOOP = Helper(int(FuncId.loop), FuncId.loop.name)


def outline(function: Function) -> list[Function]:
    """Replace the loops of `function.far`, inner ones first: where one does not end, those around
    it leave, too. Gives the callbacks."""
    made: list[Function] = []
    for head in reversed(reverse_postorder(function)):
        if head in function.far and head in function.blocks:
            region = _region(function, head)
            if region:
                name = f"{function.name}_loop{len(made) + 1}"
                made.append(_Outline(function, head, region, name).run())
    function.far.clear()
    return made


def _region(function: Function, head: Label) -> set[Label]:
    """The blocks of the loop at `head`: those on a way from it back to it."""
    above = dominators(function)
    before = function.predecessors()
    waiting = [label for label in before[head] if head in above.get(label, ())]
    if not waiting:
        return set()
    found = {head}
    while waiting:
        label = waiting.pop()
        if label not in found:
            found.add(label)
            waiting += [other for other in before[label] if other in above]
    return found


class _Outline:
    """Of one loop."""

    def __init__(self, function: Function, head: Label, region: set[Label], name: str) -> None:
        self.function, self.head = function, head
        order = [label for label in reverse_postorder(function) if label in region]
        self.hoisted = _hoist(function, order)
        needed = _needed(function)
        self.blocks = {label: function.blocks.pop(label) for label in order}
        self.params = list(self.blocks[head].params)
        inside = _defined(self.blocks.values())
        self.exits: dict[tuple[Label, tuple[Value, ...]], int] = {}
        outs: dict[int, set[Value]] = {}
        for way in (way for block in self.blocks.values() for way in _ways(block.end)):
            if way[0] not in self.blocks and way not in self.exits:
                self.exits[way] = len(self.exits) + 1
                found = (needed[way[0]] | set(way[1])) & inside
                outs[self.exits[way]] = found - set(self.params)
        self.outs = outs
        used = {value for block in self.blocks.values() for value in self._used(block)} - inside
        self.again = [
            op for op in (*function.ops(), *self.hoisted) if op.dst in used and _is_anew(op)
        ]
        self.taken = sorted(used - {op.dst for op in self.again})
        self.behind = sorted(set().union(*outs.values()))
        fields = (*self.params, *self.taken, *self.behind)
        self.offsets = {value: WORD * at for at, value in enumerate(fields, 1)}
        self.callback = Function(
            name, values=function.values, labels=function.labels,
            at=self.blocks[head].end.at,  # type: ignore[union-attr]
        )  # fmt: skip

    def _used(self, block: Block) -> set[Value]:
        """By a block of the loop; what is only given to a block behind it is not."""
        used = {value for op in block.ops for value in op.args}
        if isinstance(block.end, Jump) and block.end.target not in self.blocks:
            return used
        return used | {value for item in _end(block) for value in item.args}

    def run(self) -> Function:
        self._call()
        self._fill_callback()
        for function in (self.function, self.callback):
            drop_slots(function)
        return self.callback

    # -- the caller's side -----------------------------------------------------------------------

    def _call(self) -> None:
        """The head of the loop becomes the call, and the choice of the exit behind it."""
        function, at = self.function, self.callback.at
        slot = function.new_slot(WORD * (len(self.offsets) + 1))
        base, zero, rounds, callback, left = (function.new_value() for _ in range(5))
        ops: list[Op] = [*self.hoisted, Slot(base, slot, at=at), Const(zero, 0, at=at)]
        given = [(self.offsets[value], value) for value in (*self.params, *self.taken)]
        empty = [(offset, zero) for offset in (0, *(self.offsets[v] for v in self.behind))]
        ops += self._stores(base, [*given, *empty])
        ops.append(Const(rounds, MAX_ROUNDS, at=at))
        ops.append(FuncAddress(callback, self.callback.name, at=at))
        ops.append(Call(function.new_value(), _LOOP, (rounds, callback, base, zero), at=at))
        ops.append(Load(left, (base,), 0, WORD, False, Space.STACK, at=at))
        now = {value: function.new_value() for value in self.params}
        for value in (*self.params, *self.behind):
            dst = now.get(value, value)
            ops.append(Load(dst, (base,), self.offsets[value], WORD, False, Space.STACK, at=at))
        function.blocks[self.head] = Block(self.params, ops)
        self._choose(self.head, left)
        self._rename_behind(now)

    def _choose(self, label: Label, left: Value) -> None:
        """To the exit whose number was left; without one, out of the function."""
        function = self.function
        for (target, args), number in self.exits.items():
            known, way, more = function.new_value(), function.new_label(), function.new_label()
            block = function.blocks[label]
            block.ops.append(Const(known, number))
            block.end = Branch(Test.EQ, (left, known), way, more)
            function.blocks[way] = Block([], [], Jump(target, args))
            function.blocks[more] = Block()
            label = more
        zero = function.new_value()
        function.blocks[label].ops.append(Const(zero, 0))
        function.blocks[label].end = Return((zero,))

    def _rename_behind(self, now: Mapping[Value, Value]) -> None:
        """Behind the loop its parameters are what the last round left."""
        above = dominators(self.function)
        for label, block in self.function.blocks.items():
            if label != self.head and self.head in above.get(label, ()):
                block.ops = [_renamed(op, now) for op in block.ops]
                if block.end is not None:
                    block.end = _renamed(block.end, now)

    # -- the callback ----------------------------------------------------------------------------

    def _fill_callback(self) -> None:
        callback, at = self.callback, self.callback.at
        index, base = callback.new_value(), callback.new_value()
        callback.params = [index, base]
        callback.slots = list(self.function.slots)
        start = callback.new_block()
        first = [callback.new_value() for _ in self.params]
        ops: list[Op] = list(self.again)
        for dst, value in zip((*first, *self.taken), (*self.params, *self.taken), strict=True):
            ops.append(Load(dst, (base,), self.offsets[value], WORD, False, Space.STACK, at=at))
        callback.blocks = {start: Block([], ops, Jump(self.head, tuple(first), at))}
        callback.blocks |= self.blocks
        for block in self.blocks.values():
            match block.end:
                case Jump(target=target, args=args) if not self._goes_on(target):
                    block.end = Jump(self._edge(base, target, args), (), block.end.at)
                case Branch(then=then, other=other):
                    ways = (self._edge(base, then, ()), self._edge(base, other, ()))
                    block.end = replace(block.end, then=ways[0], other=ways[1])

    def _goes_on(self, target: Label) -> bool:
        """In the same round."""
        return target in self.blocks and target != self.head

    def _edge(self, base: Value, target: Label, args: tuple[Value, ...]) -> Label:
        """Where a way goes: on, or to the end of the round, or out of the loop."""
        if self._goes_on(target):
            return target
        callback, at = self.callback, self.callback.at
        block = Block()
        if target == self.head:
            kept = [(p, v) for p, v in zip(self.params, args, strict=True) if p != v]
            block.ops += self._stores(base, [(self.offsets[p], value) for p, value in kept])
            result = 0
        else:
            number = self.exits[target, args]
            said = callback.new_value()
            block.ops.append(Const(said, number, at=at))
            fields = [(self.offsets[value], value) for value in sorted(self.outs[number])]
            block.ops += self._stores(base, [*fields, (0, said)])
            result = 1
        value = callback.new_value()
        block.ops.append(Const(value, result, at=at))
        block.end = Return((value,), at)
        label = callback.new_label()
        callback.blocks[label] = block
        return label

    def _stores(self, base: Value, fields: list[tuple[int, Value]]) -> list[Op]:
        at = self.callback.at
        return [Store((base, v), offset, WORD, Space.STACK, at=at) for offset, v in fields]


def _hoist(function: Function, order: list[Label]) -> list[Op]:
    """Take out of a loop what is the same in each round and can be read at any time: the context,
    which is then not needed inside, and addresses of the stack that both sides use."""
    shared = _shared_slots(function, set(order))
    inside = _defined(function.blocks[label] for label in order)
    hoisted: list[Op] = []
    for label in order:
        block = function.blocks[label]
        moved = []
        for op in block.ops:
            if _can_move(op, shared) and not any(value in inside for value in op.args):
                moved.append(op)
                inside.discard(op.dst)
        block.ops = [op for op in block.ops if op not in moved]
        hoisted += moved
    return hoisted


def _can_move(op: Op, shared: set[int]) -> bool:
    match op:
        case Load(space=Space.CTX) | Extend() | Call(target=Kfunc(), pure=True):
            return True
        case Slot(slot=slot):
            return slot in shared
    return False


def _shared_slots(function: Function, region: set[Label]) -> set[int]:
    """Slots whose address is taken outside of the loop, too, or goes out of it."""
    mine: dict[Value, int] = {}
    shared: set[int] = set()
    for label, block in function.blocks.items():
        slots = [op for op in block.ops if isinstance(op, Slot)]
        if label in region:
            mine |= {op.dst: op.slot for op in slots}
        else:
            shared |= {op.slot for op in slots}
    for label, block in function.blocks.items():
        if label not in region:
            items = (*block.ops, *_end(block))
            shared |= {mine[value] for item in items for value in item.args if value in mine}
    return shared


def _defined(blocks: Iterable[Block]) -> set[Value]:
    defined: set[Value] = set()
    for block in blocks:
        defined |= {*block.params, *(op.dst for op in block.ops if op.dst is not None)}
    return defined


def _needed(function: Function) -> Mapping[Label, set[Value]]:
    """For each block the values that it, or what comes after it, uses and does not define."""
    uses: dict[Label, set[Value]] = {}
    defs: dict[Label, set[Value]] = {}
    for label, block in function.blocks.items():
        defs[label] = _defined([block])
        used = {value for item in (*block.ops, *_end(block)) for value in item.args}
        uses[label] = used - defs[label]
    out = liveness(function, uses, defs)
    return {label: uses[label] | (out[label] - defs[label]) for label in function.blocks}


def drop_slots(function: Function) -> None:
    """Slots that nothing uses; the others get new numbers."""
    used = sorted({op.slot for op in function.ops() if isinstance(op, Slot)})
    number = {slot: at for at, slot in enumerate(used)}
    function.slots = [function.slots[slot] for slot in used]
    for block in function.blocks.values():
        block.ops = [
            replace(op, slot=number[op.slot]) if isinstance(op, Slot) else op for op in block.ops
        ]


def _is_anew(op: Op) -> bool:
    return isinstance(op, Const | MapAddress | MapValue | FuncAddress)


def _renamed(item: T, now: Mapping[Value, Value]) -> T:
    return with_args(item, tuple(now.get(value, value) for value in item.args))


def _end(block: Block) -> tuple[End, ...]:
    return () if block.end is None else (block.end,)


def _ways(end: End | None) -> list[tuple[Label, tuple[Value, ...]]]:
    match end:
        case Jump(target=target, args=args):
            return [(target, args)]
        case Branch(then=then, other=other):
            return [(then, ()), (other, ())]
    return []
