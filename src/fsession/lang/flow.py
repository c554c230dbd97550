"""Where ways part and meet: ``if``, ``while``, ``for``.

Variables are values of SSA form: where ways meet, a variable that differs becomes a parameter of
the block. A loop is compiled with the types its variables have before it; where its body gives them
others, once more with those.

A loop whose bound shows, and is small, is one for the verifier, too, which follows it round by
round. Any other is marked for `outline`, where the kernel has ``bpf_loop`` (5.17).
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.frozen import frozen
from fsession.lang import rounds
from fsession.lang.access import Trust, Typed
from fsession.lang.arith import S64, U64, is_u64
from fsession.lang.ctypes import Integer, Pointer
from fsession.lang.ir import BinaryOp, Test
from fsession.lang.operators import joined
from fsession.lang.outline import MAX_ROUNDS
from fsession.lang.scope import Argument, Item, Maybe, Static
from fsession.lang.values import int_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.errors import CompileError
    from fsession.lang.expressions import Expressions
    from fsession.lang.ir import Label

__all__ = ["Flow", "Names"]

NEAR_ROUNDS = 1024
"""Of a loop, with those around it, that the verifier is to follow."""
MAX_FOLLOWED = 1 << 20
"""Of one that it has to follow, because the kernel has no ``bpf_loop``."""
Names = dict[str, Item]


class Flow:
    """Of one function; `body` compiles statements."""

    def __init__(self, expressions: Expressions) -> None:
        self.e = expressions
        self.build = expressions.build
        self._loops: list[_Loop] = []
        self._rounds = 1  # of the loops around this place that the verifier follows

    def body(self, statements: list[ast.stmt]) -> None:
        raise NotImplementedError

    # -- if --------------------------------------------------------------------------------------

    def _If(self, node: ast.If) -> None:
        known = self.e.static_truth(node.test)
        if known is not None:
            self.body(node.body if known else node.orelse)
            return
        build = self.build
        then, other = build.block(), build.block()
        before = dict(self.e.names)
        self.e.condition(node.test, then, other)
        with_then, with_other = self._narrowed(node.test)
        tested = self.e.names
        always = before if isinstance(node.test, ast.BoolOp) else tested
        ways: list[tuple[Label, Names]] = []
        for label, body, names in (
            (then, node.body, dict(tested if _is_and(node.test) else always) | with_then),
            (other, node.orelse, dict(always) | with_other),
        ):
            build.begin(label)
            self.e.names = names
            self.body(body)
            if build.is_open:
                ways.append((build.label, self.e.names))
        self._meet(ways)

    def _narrowed(self, test: ast.expr) -> tuple[Names, Names]:
        """Variables that are known not to be None where the test holds, and where it does not."""
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                then, other = self._narrowed(operand)
                return other, then
            case ast.Name(id=name):
                return self._certain(name), {}
            case ast.Compare(
                left=ast.Name(id=name) | ast.NamedExpr(target=ast.Name(id=name)),
                ops=[ast.Is() | ast.IsNot() as op],
                comparators=[ast.Constant(value=None)],
            ):
                found = self._certain(name)
                return (found, {}) if isinstance(op, ast.IsNot) else ({}, found)
            case ast.NamedExpr(target=ast.Name(id=name)):
                return self._certain(name), {}
            case ast.BoolOp(op=op, values=values):
                sides = [self._narrowed(value) for value in values]
                at = 0 if isinstance(op, ast.And) else 1
                merged = {k: v for side in sides for k, v in side[at].items()}
                return (merged, {}) if at == 0 else ({}, merged)
        return {}, {}

    def _certain(self, name: str) -> Names:
        item = self.e.names.get(name)
        return {name: item.item} if isinstance(item, Maybe) else {}

    def _meet(self, ways: list[tuple[Label, Names]]) -> None:
        """Go on where several ways end; a variable that not all of them have is gone."""
        if not ways:
            return
        build = self.build
        if len(ways) == 1:
            build.resume(ways[0][0])
            self.e.names = ways[0][1]
            return
        shared = [name for name in ways[0][1] if all(name in names for _, names in ways)]
        differing = [
            name for name in shared if any(names[name] != ways[0][1][name] for _, names in ways)
        ]
        done = build.block()
        merged: dict[str, list[Typed]] = {name: [] for name in differing}
        dropped: set[str] = set()
        for label, names in ways:
            build.resume(label)
            for name in differing:
                value = self._mergeable(names[name])
                if value is None:
                    dropped.add(name)
                else:
                    merged[name].append(value)
        differing = [name for name in differing if name not in dropped]
        for at, (label, _) in enumerate(ways):
            build.resume(label)
            build.jump(done, *(merged[name][at].value for name in differing))
        params = build.begin(done, len(differing))
        self.e.names = {n: ways[0][1][n] for n in shared if n not in dropped}
        for name, param in zip(differing, params, strict=True):
            self.e.names[name] = joined(merged[name], param)

    def _mergeable(self, item: Item) -> Typed | None:
        """A value that a block's parameter can carry; constants are made in the current block."""
        if isinstance(item, Typed):
            return item
        if isinstance(item, Argument):
            is_word = isinstance(item.type, Integer | Pointer)
            return self.e.argument(item) if is_word else None
        if isinstance(item, Static) and isinstance(item.value, int):
            return self.e.arith.number(int(item.value))
        return None

    # -- loops -----------------------------------------------------------------------------------

    def _While(self, node: ast.While) -> None:
        if node.orelse:
            raise self.e.fail(node.orelse[0], "'else' of a loop can't be used in a program")

        def test(then: Label, other: Label) -> None:
            self.e.condition(node.test, then, other)

        most = rounds.of_while(node, self._constant)
        loop = _Source(node, _assigned(node), test, lambda: self.body(node.body), lambda: None)
        self._loop(loop, most)

    def _For(self, node: ast.For) -> None:
        """``for i in range(…)``: the counter is a variable of its own, as in Python."""
        if node.orelse:
            raise self.e.fail(node.orelse[0], "'else' of a loop can't be used in a program")
        call = node.iter
        match call:
            case ast.Call(func=ast.Name(id="range")):
                pass
            case _:
                raise self.e.fail(
                    call, "a loop goes over range(…) only", "for i in range(n): … a[i]"
                )
        if not isinstance(node.target, ast.Name):
            raise self.e.fail(node.target, "the counter of a loop is one name")
        start, stop, step = self._range(call)
        hidden = f"{node.target.id} of line {node.lineno}"
        name = node.target.id
        first, end = self.e.value(start, call), self.e.value(stop, call)
        self.e.names[hidden] = first
        known = (None, int_of(stop))

        def test(then: Label, other: Label) -> None:
            op = "<" if step > 0 else ">"
            counter = self.e.names[hidden]
            assert isinstance(counter, Typed)
            holds = self.e.arith.compare(op, counter, end, known)
            self.build.branch(Test.NE, holds.value, self.build.const(0), then, other)

        def body() -> None:
            counter = self.e.names[hidden]
            assert isinstance(counter, Typed)
            self.e.names[name] = replace(counter, most=greatest)
            self.body(node.body)

        def advance() -> None:
            self.e.names[hidden] = self.e.binary("+", self.e.names[hidden], Static(step), node)

        most = rounds.of_range((start, first), (stop, end), step)
        greatest = rounds.greatest(stop, end) if step > 0 else rounds.greatest(start, first)
        if int_of(start) is not None and int_of(stop) is not None and most is not None:
            self._check_rounds(call, most)
        self._loop(_Source(node, _assigned(node) | {hidden}, test, body, advance), most)
        self.e.names.pop(hidden, None)

    def _check_rounds(self, call: ast.Call, count: int) -> None:
        limit = MAX_ROUNDS - 1 if self._can_call_loop() else MAX_FOLLOWED
        if count > limit:
            raise self.e.fail(call, f"{count} rounds are too many", f"up to {limit}")

    def _range(self, call: ast.Call) -> tuple[Item, Item, int]:
        args = [self.e.kept(self.e.item(arg), arg) for arg in call.args]
        if call.keywords or not 1 <= len(args) <= 3:
            raise self.e.fail(call, "range() takes 1 to 3 numbers")
        step = int_of(args[2]) if len(args) == 3 else 1
        if not step:
            raise self.e.fail(call, "the step of a range is a constant and not 0")
        start, stop = (Static(0), args[0]) if len(args) == 1 else (args[0], args[1])
        return start, stop, step

    def _constant(self, node: ast.expr) -> int | None:
        """A number that is known while compiling, of a piece that computes nothing."""
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
                return -number
            case ast.Constant() | ast.Name():
                return int_of(self.e.item(node))
        return None

    def _can_call_loop(self) -> bool:
        return self.e.unit.catalog.enumerator("BPF_FUNC_loop") is not None

    def _is_far(self, node: ast.stmt, most: int | None) -> bool:
        """Whether a loop of at most that many rounds (None: not known) is one for `outline`."""
        together = None if most is None else most * self._rounds
        if together is not None and together <= NEAR_ROUNDS:
            return False
        if self._can_call_loop():
            return True
        if together is not None and together <= MAX_FOLLOWED:
            return False
        message = "this loop has no bound that shows, and the kernel no bpf_loop (Linux 5.17)"
        raise self.e.fail(node, message, "for i in range(100), or range(min(n, 100)), and 'break'")

    def _loop(self, source: _Source, most: int | None) -> None:
        """With the variables that the body changes as parameters of the block at its head."""
        build = self.build
        far = self._is_far(source.node, most)
        carried: dict[str, Typed] = {}
        for name in sorted(source.assigned & set(self.e.names)):
            value = self._mergeable(self.e.names[name])
            if value is not None:
                carried[name] = _wide(value)
        if far:
            carried = self._unknown(carried)
        outer, self._rounds = self._rounds, 1 if far or most is None else self._rounds * most
        while True:
            snapshot = build.snapshot(), dict(self.e.names), list(self.e.unit.events)
            widened = self._one_loop(carried, source, far=far)
            if widened is None:
                break
            build.restore(snapshot[0])
            self.e.names = dict(snapshot[1])
            self.e.unit.events[:] = snapshot[2]
            carried = widened
        self._rounds = outer

    def _unknown(self, carried: dict[str, Typed]) -> dict[str, Typed]:
        """Numbers that the verifier takes for any: it looks at the first round of a callback, and
        old ones (before 6.7) believe that all rounds are like it."""
        zero = self.build.opaque()
        return {
            name: item
            if isinstance(item.type, Pointer)
            else Typed(item.type, self.build.binary(BinaryOp.ADD, item.value, zero))
            for name, item in carried.items()
        }

    def _one_loop(
        self, carried: dict[str, Typed], source: _Source, *, far: bool
    ) -> dict[str, Typed] | None:
        """None when it is compiled; other types for the variables where these did not do."""
        build = self.build
        before = dict(self.e.names)
        head, inside, done = build.block(), build.block(), build.block()
        build.jump(head, *(value.value for value in carried.values()))
        params = build.begin(head, len(carried))
        if far:
            build.function.far.add(head)
        for (name, value), param in zip(carried.items(), params, strict=True):
            self.e.names[name] = Typed(value.type, param, value.trust)
        at_head = dict(self.e.names)
        source.test(inside, done)
        loop = _Loop([], [(done, dict(at_head))])
        self._loops.append(loop)
        build.begin(inside)
        source.body()
        self._loops.pop()
        if build.is_open:
            loop.continues.append((build.label, dict(self.e.names)))
        for label, names in loop.continues:
            build.resume(label)
            self.e.names = dict(names)
            source.advance()
            args = []
            for name in sorted(source.assigned & set(before) - set(carried)):
                if self.e.names.get(name) != before[name]:
                    raise self._changes(source.node, name)
            for name, first in carried.items():
                now = self._mergeable(self.e.names.get(name, Static(None)))
                if now is None:
                    raise self._changes(source.node, name)
                if _needs_more(first, now):
                    return carried | {name: joined([first, now], first.value)}
                args.append(now.value)
            build.jump(head, *args)
        build.begin(done)
        loop.breaks[0] = (done, {n: v for n, v in at_head.items() if n in before})
        self._meet(loop.breaks)
        return None

    def _changes(self, node: ast.stmt, name: str) -> CompileError:
        hint = "one that is a number, or a pointer, stays such: use another name inside"
        return self.e.fail(node, f"'{name}' changes its kind in the loop", hint)

    def _Break(self, node: ast.Break) -> None:
        self._loops[-1].breaks.append((self.build.label, dict(self.e.names)))
        self.build.suspend()

    def _Continue(self, node: ast.Continue) -> None:
        self._loops[-1].continues.append((self.build.label, dict(self.e.names)))
        self.build.suspend()


@frozen
class _Source:
    """A loop: its statement, the names it assigns to, and what compiles its parts."""

    node: ast.stmt
    assigned: set[str]
    test: Callable[[Label, Label], None]
    body: Callable[[], None]
    advance: Callable[[], None]


class _Loop:
    """Where its body goes on and where it leaves, each with the variables there."""

    def __init__(
        self, continues: list[tuple[Label, Names]], breaks: list[tuple[Label, Names]]
    ) -> None:
        self.continues, self.breaks = continues, breaks


def _needs_more(first: Typed, value: Typed) -> bool:
    """Whether a variable of `first`'s type can't carry `value`."""
    if isinstance(first.type, Pointer):
        return value.trust is not first.trust and first.trust is not Trust.NUMBER
    return is_u64(value) and not is_u64(first)


def _is_and(test: ast.expr) -> bool:
    return isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)


def _wide(item: Typed) -> Typed:
    """A number that may get any value of 64 bits."""
    if isinstance(item.type, Pointer):
        return item
    return Typed(U64 if is_u64(item) else S64, item.value)


def _assigned(node: ast.AST) -> set[str]:
    """Names that are assigned to in a piece of code."""
    return {
        child.id
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    }
