"""How many rounds a loop has at most, where that shows."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fsession.lang.ctypes import Integer
from fsession.lang.values import int_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.access import Typed
    from fsession.lang.scope import Item

__all__ = ["greatest", "of_range", "of_while"]


def of_range(start: tuple[Item, Typed], stop: tuple[Item, Typed], step: int) -> int | None:
    """Of ``range(start, stop, step)``: each bound with its value."""
    if step > 0:
        low, high = int_of(start[0]), greatest(*stop)
    else:
        low, high = greatest(*start), int_of(stop[0])
    return None if low is None or high is None else len(range(low, high, step))


def greatest(item: Item, value: Typed) -> int | None:
    """A number that `value`, of `item`, is never above."""
    known = int_of(item)
    if known is not None or value.most is not None:
        return value.most if known is None else known
    narrow = isinstance(value.type, Integer) and value.type.size <= 2
    return 1 << 8 * value.type.size if narrow else None


def of_while(node: ast.While, constant: Callable[[ast.expr], int | None]) -> int | None:
    """Of ``while n < 20 …: …; n += 3``, where `n` is a number that is known before the loop, and
    changed by that one statement in each round."""
    tests = [node.test]
    if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And):
        tests = node.test.values
    if any(isinstance(child, ast.Continue) for child in ast.walk(node)):
        return None
    for test in tests:
        match test:
            case ast.Compare(left=ast.Name(id=name) as left, ops=[op], comparators=[right]):
                start, stop, step = constant(left), constant(right), _step(node, name, constant)
                if start is not None and stop is not None and step:
                    return _rounds(type(op), start, stop, step)
    return None


def _rounds(op: type[ast.cmpop], start: int, stop: int, step: int) -> int | None:
    if op in (ast.LtE, ast.GtE):
        stop += 1 if op is ast.LtE else -1
    up = op in (ast.Lt, ast.LtE) or (op is ast.NotEq and step > 0)
    if op not in (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.NotEq) or up != (step > 0):
        return None
    if op is ast.NotEq and ((stop - start) % step or (stop - start) // step < 0):
        return None
    return len(range(start, stop, step))


def _step(node: ast.While, name: str, constant: Callable[[ast.expr], int | None]) -> int | None:
    """What each round adds to a variable."""
    stores = [
        child
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and child.id == name and isinstance(child.ctx, ast.Store)
    ]
    for statement in node.body:
        match statement:
            case ast.AugAssign(target=target, op=ast.Add() | ast.Sub() as op, value=value):
                step = constant(value)
                if stores == [target] and step is not None:
                    return step if isinstance(op, ast.Add) else -step
    return None
