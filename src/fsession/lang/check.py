"""Whether a function of the IR is one: run after each pass in tests, and after all in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.errors import InternalError
from fsession.lang.graph import dominators, reverse_postorder
from fsession.lang.ir import (
    AtomicAdd,
    Binary,
    Branch,
    Compare,
    Extend,
    Jump,
    Load,
    Probe,
    Slot,
    Store,
    Swap,
)
from fsession.lang.show import show, show_op

if TYPE_CHECKING:
    from fsession.lang.ir import Block, Function, Label, Op, Value

__all__ = ["check"]

_SIZES = (1, 2, 4, 8)
_MAX_PARAMS = 5


def check(function: Function) -> None:
    """Raises `InternalError` with what is wrong: the compiler has a bug."""
    wrong = _Check(function).run()
    if wrong:
        raise InternalError(f"the IR of '{function.name}' is not valid: {wrong}\n{show(function)}")


class _Check:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.defined: dict[Value, Label] = {}

    def run(self) -> str:
        function = self.function
        if len(function.params) > _MAX_PARAMS:
            return f"{len(function.params)} parameters"
        for label, block in function.blocks.items():
            wrong = self._shape(label, block)
            if wrong:
                return f"b{label}: {wrong}"
        return self._uses()

    def _shape(self, label: Label, block: Block) -> str:
        """Ends, targets, sizes, and that nothing is defined twice."""
        if block.end is None:
            return "has no end"
        for target in block.successors:
            if target not in self.function.blocks:
                return f"goes to b{target}, which is nowhere"
        if isinstance(block.end, Jump):
            wanted = len(self.function.blocks[block.end.target].params)
            if len(block.end.args) != wanted:
                return f"b{block.end.target} takes {wanted} values, not {len(block.end.args)}"
        if isinstance(block.end, Branch) and any(
            self.function.blocks[target].params for target in block.successors
        ):
            return "branches to a block with parameters"
        first = label == self.function.entry
        if first and block.params:
            return "is the entry and has parameters"
        given = [*(self.function.params if first else ()), *block.params]
        for value in (*given, *(op.dst for op in block.ops if op.dst is not None)):
            if value in self.defined:
                return f"v{value} is defined twice"
            self.defined[value] = label
        return next((f"{show_op(op)}: {wrong}" for op in block.ops if (wrong := self._op(op))), "")

    def _op(self, op: Op) -> str:
        match op:
            case Binary(bits=bits) | Compare(bits=bits) if bits not in (32, 64):
                return f"{bits} bits"
            case Extend(bits=bits) if bits not in (8, 16, 32):
                return f"{bits} bits"
            case Swap(bits=bits) if bits not in (16, 32, 64):
                return f"{bits} bits"
            case Load(size=size) | Store(size=size) | Probe(size=size) if size not in _SIZES:
                return f"{size} bytes"
            case AtomicAdd(size=size) if size not in (4, 8):
                return f"{size} bytes"
            case Slot(slot=slot) if slot >= len(self.function.slots):
                return "no such slot"
        return ""

    def _uses(self) -> str:
        """Each use comes after its definition, on every way to it."""
        above = dominators(self.function)
        for label in reverse_postorder(self.function):
            block = self.function.blocks[label]
            here = set(block.params) | (
                set(self.function.params) if label == self.function.entry else set()
            )
            for op in (*block.ops, block.end):
                assert op is not None
                for value in op.args:
                    at = self.defined.get(value)
                    if at is None or (value not in here if at == label else at not in above[label]):
                        return f"b{label}: v{value} is used where it is not defined"
                dst = getattr(op, "dst", None)
                if dst is not None:
                    here.add(dst)
        return ""
