"""Registers for values: linear scan over live ranges with holes.

r1 to r5 carry the arguments of calls and r0 the result, all six are lost by a call: a value that
lives across one gets r6 to r9, or is spilled to a stack slot, stored where it is defined and loaded
again into a short-lived value before each use. Then the search begins anew, until nothing is left
over. Operands that instructions hold as immediates (`is_immediate`) take no register at all.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import field
from typing import TYPE_CHECKING

from fsession.errors import UnsupportedError
from fsession.frozen import slotted
from fsession.isa.opcode import R0, R1, R2, R3, R4, R5, R6, R7, R8, R9
from fsession.lang.fold import signed
from fsession.lang.graph import liveness
from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    Branch,
    Call,
    Compare,
    Const,
    Function,
    Jump,
    Label,
    Load,
    Return,
    Slot,
    Space,
    Store,
    Value,
    with_args,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fsession.lang.ir import End, Op

__all__ = ["allocate", "is_immediate", "operands"]

_LOST = (R1, R2, R3, R4, R5, R0)  # by a call
_KEPT = (R6, R7, R8, R9)
_ARGUMENTS = (R1, R2, R3, R4, R5)
_S32 = range(-(1 << 31), 1 << 31)
_ROUNDS = 40


def is_immediate(item: Op | End, at: int, made: Op | None) -> bool:
    """Whether operand `at` of `item`, which `made` defines, needs no register."""
    if isinstance(made, Slot):  # r10 with an offset
        base = isinstance(item, Load | Store | AtomicAdd) and at == 0
        return base or isinstance(item, Call)
    if not isinstance(made, Const):
        return False
    fits = signed(made.value) in _S32
    match item:
        case Call() | Return() | Jump():
            return True
        case Binary() | Compare() | Branch():
            bits = getattr(item, "bits", 64)
            return at == 1 and (fits or (bits == 32 and made.value >> 32 == 0))
        case Store():
            return at == 1 and (fits or item.size < 8)
    return False


def operands(item: Op | End, defs: Mapping[Value, Op]) -> Iterator[Value]:
    """The operands that are in registers."""
    for at, value in enumerate(item.args):
        if not is_immediate(item, at, defs.get(value)):
            yield value


@slotted
class _Range:
    """Where a value lives: pieces ``[start, end)`` in ascending order."""

    value: Value
    pieces: list[tuple[int, int]] = field(default_factory=list)
    weight: float = 0.0
    hints: list[Value] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)  # registers that would spare a move
    fixed: bool = False  # made by a spill: must not be spilled again

    @property
    def start(self) -> int:
        return self.pieces[0][0]

    def overlaps(self, other: _Range) -> bool:
        mine, theirs = iter(self.pieces), iter(other.pieces)
        a, b = next(mine, None), next(theirs, None)
        while a and b:
            if a[0] < b[1] and b[0] < a[1]:
                return True
            if a[1] <= b[1]:
                a = next(mine, None)
            else:
                b = next(theirs, None)
        return False

    def crosses(self, places: list[int]) -> bool:
        """Whether it lives before and after one of `places`, which are in order."""
        return any(
            bisect_left(places, start) < bisect_left(places, end - 1) for start, end in self.pieces
        )


def allocate(function: Function) -> dict[Value, int]:
    """A register for each value that needs one. Adds spills to the function.

    Raises `UnsupportedError` for a function that needs more stack than there is.
    """
    spilled: set[Value] = set()
    for _ in range(_ROUNDS):
        allocation = _Allocation(function, spilled)
        victim = allocation.run()
        if victim is None:
            return allocation.registers
        spilled |= _spill(function, victim)
    raise UnsupportedError(f"function '{function.name}': so many values at once")


class _Allocation:
    def __init__(self, function: Function, short: set[Value]) -> None:
        self.function = function
        self.defs: dict[Value, Op] = {op.dst: op for op in function.ops() if op.dst is not None}
        self.ranges: dict[Value, _Range] = {}
        self.calls: list[int] = []
        self.registers: dict[Value, int] = {}
        self._short = short

    def run(self) -> Value | None:
        """Fill `registers`; the value to spill if they do not suffice."""
        self._build()
        placed: dict[int, list[_Range]] = {reg: [] for reg in (*_LOST, *_KEPT)}
        for item in sorted(self.ranges.values(), key=lambda item: item.start):
            reg = self._choose(item, placed)
            if reg is None:
                return self._victim(item, placed)
            placed[reg].append(item)
            self.registers[item.value] = reg
        return None

    def _choose(self, item: _Range, placed: dict[int, list[_Range]]) -> int | None:
        usable = _KEPT if item.crosses(self.calls) else (*_LOST, *_KEPT)
        free = [reg for reg in usable if not any(item.overlaps(other) for other in placed[reg])]
        if not free:
            return None
        hinted = [self.registers[value] for value in item.hints if value in self.registers]
        for reg in (*hinted, *item.wanted):
            if reg in free:
                return reg
        return free[0]

    def _victim(self, item: _Range, placed: dict[int, list[_Range]]) -> Value:
        """The cheapest of the values that are in each other's way."""
        crossing = item.crosses(self.calls)
        usable = _KEPT if crossing else (*_LOST, *_KEPT)
        rivals = [other for reg in usable for other in placed[reg] if item.overlaps(other)]
        candidates = [other for other in (item, *rivals) if not other.fixed]
        if not candidates:
            raise UnsupportedError(f"function '{self.function.name}': so many values at once")
        return min(candidates, key=lambda other: other.weight).value

    # -- live ranges -----------------------------------------------------------------------------

    def _build(self) -> None:
        """Operation n of the whole function reads at 2n and writes at 2n + 1."""
        uses, defs = self._uses_and_defs()
        live_out = liveness(self.function, uses, defs)
        depth = _loop_depths(self.function)
        at = 2
        starts: dict[Label, int] = {}
        for label, block in self.function.blocks.items():
            starts[label] = at
            at += 2 * (len(block.ops) + 1)
        for label in reversed(list(self.function.blocks)):
            self._build_block(label, starts[label], live_out[label], 10.0 ** min(depth[label], 4))
        for param, reg in zip(self.function.params, _ARGUMENTS, strict=False):
            if param in self.ranges:
                self.ranges[param].wanted.append(reg)
        for item in self.ranges.values():
            item.pieces = _joined(item.pieces)
            length = sum(end - start for start, end in item.pieces)
            item.weight = item.weight / max(length, 1)
            item.fixed = item.value in self._short
        self.calls.sort()

    def _uses_and_defs(self) -> tuple[dict[Label, set[Value]], dict[Label, set[Value]]]:
        uses: dict[Label, set[Value]] = {}
        defs: dict[Label, set[Value]] = {}
        for label, block in self.function.blocks.items():
            mine = set(block.params)
            if label == self.function.entry:
                mine |= set(self.function.params)
            wanted: set[Value] = set()
            for op in block.ops:
                wanted |= set(operands(op, self.defs)) - mine
                if op.dst is not None:
                    mine.add(op.dst)
            if block.end is not None:
                wanted |= set(operands(block.end, self.defs)) - mine
            uses[label], defs[label] = wanted, mine
        return uses, defs

    def _build_block(self, label: Label, start: int, out: set[Value], weight: float) -> None:
        """Backwards: a value's piece ends at its last use and begins at its definition."""
        block = self.function.blocks[label]
        end = start + 2 * len(block.ops) + 2
        open_at = dict.fromkeys(out, end)
        if block.end is not None:
            self._read(block.end, end - 2, open_at, weight)
            self._hint_end(block.end)
        for number in range(len(block.ops) - 1, -1, -1):
            op, at = block.ops[number], start + 2 * number
            if op.dst is not None:
                self._define(op, at, open_at, weight)
            if isinstance(op, Call):
                self.calls.append(at)
                for place, value in enumerate(op.args):
                    if not is_immediate(op, place, self.defs.get(value)):
                        self._range(value).wanted.append(_ARGUMENTS[place])
            self._read(op, at, open_at, weight)
        begin = start - 1
        for value in block.params:
            self._range(value).weight += weight
        for value, to in open_at.items():
            self._range(value).pieces.append((begin, to))

    def _define(self, op: Op, at: int, open_at: dict[Value, int], weight: float) -> None:
        assert op.dst is not None
        if isinstance(op, Const | Slot) and op.dst not in open_at:
            return
        item = self._range(op.dst)
        item.weight += weight
        item.pieces.append((at + 1, open_at.pop(op.dst, at + 2)))
        if isinstance(op, Call):
            item.wanted.append(R0)
        elif op.args and not is_immediate(op, 0, self.defs.get(op.args[0])):
            item.hints.append(op.args[0])
            self._range(op.args[0]).hints.append(op.dst)

    def _read(self, item: Op | End, at: int, open_at: dict[Value, int], weight: float) -> None:
        """The first operand's register may be the result's; others are still read after it is
        written."""
        for place, value in enumerate(item.args):
            if is_immediate(item, place, self.defs.get(value)):
                continue
            self._range(value).weight += weight
            late = (place > 0 and isinstance(item, Binary)) or isinstance(item, Compare | AtomicAdd)
            open_at.setdefault(value, at + 2 if late else at + 1)
            if late:
                open_at[value] = max(open_at[value], at + 2)

    def _hint_end(self, end: End) -> None:
        if isinstance(end, Jump):
            params = self.function.blocks[end.target].params
            for place, (param, value) in enumerate(zip(params, end.args, strict=True)):
                if not is_immediate(end, place, self.defs.get(value)):
                    self._range(param).hints.append(value)
                    self._range(value).hints.append(param)
        elif isinstance(end, Return) and not is_immediate(end, 0, self.defs.get(end.args[0])):
            self._range(end.args[0]).wanted.append(R0)

    def _range(self, value: Value) -> _Range:
        return self.ranges.setdefault(value, _Range(value))


def _joined(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, those that touch made one."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _loop_depths(function: Function) -> dict[Label, int]:
    """How many loops each block is in: blocks stand in reverse postorder, so a jump back is to a
    block that stands before, and what stands between is the loop."""
    order = list(function.blocks)
    number = {label: at for at, label in enumerate(order)}
    depth = dict.fromkeys(order, 0)
    for label, block in function.blocks.items():
        for target in block.successors:
            if number[target] <= number[label]:
                for inner in order[number[target] : number[label] + 1]:
                    depth[inner] += 1
    return depth


def _spill(function: Function, victim: Value) -> set[Value]:
    """Keep `victim` in a stack slot, or, a constant or an address, make it anew for each use. Gives
    the short-lived values that stand for it."""
    made = next((op for op in function.ops() if op.dst == victim), None)
    again = made if made is not None and not made.args and not isinstance(made, Call) else None
    slot = -1 if again else function.new_slot(8)
    short: set[Value] = set()
    defs = {op.dst: op for op in function.ops() if op.dst is not None}

    def reload(ops: list[Op], item: Op | End) -> Value:
        value = function.new_value()
        short.add(value)
        if again is not None:
            ops.append(_copy(again, value))
        else:
            address = function.new_value()
            ops.append(Slot(address, slot, at=item.at))
            ops.append(Load(value, (address,), 0, 8, False, Space.STACK, at=item.at))
        return value

    def rewritten(ops: list[Op], item: Op | End) -> Op | End:
        places = [
            at
            for at, value in enumerate(item.args)
            if value == victim and not is_immediate(item, at, defs.get(value))
        ]
        if not places:
            return item
        value = reload(ops, item)
        return with_args(
            item, tuple(value if at in places else v for at, v in enumerate(item.args))
        )

    for label, block in function.blocks.items():
        ops: list[Op] = []
        given = victim in block.params or (label == function.entry and victim in function.params)
        if given and again is None:
            _keep(function, ops, victim, slot)
        for op in block.ops:
            if op is again and not isinstance(op, Const | Slot):
                continue  # nothing is left that uses it
            new = rewritten(ops, op)
            ops.append(new)  # type: ignore[arg-type]
            if op.dst == victim and again is None:
                _keep(function, ops, victim, slot)
        if block.end is not None:
            block.end = rewritten(ops, block.end)  # type: ignore[assignment]
        block.ops = ops
    return short | ({victim} if again is None else set())


def _keep(function: Function, ops: list[Op], value: Value, slot: int) -> None:
    address = function.new_value()
    ops.append(Slot(address, slot))
    ops.append(Store((address, value), 0, 8, Space.STACK))


def _copy(op: Op, dst: Value) -> Op:
    from dataclasses import replace

    return replace(op, dst=dst)  # type: ignore[arg-type]
