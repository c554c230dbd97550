"""Python functions to IR: statements, variables, loops.

Variables are values of SSA form: where ways meet, a variable that differs becomes a parameter of
the block. A loop is compiled with the types its variables have before it; where its body gives them
others, once more with those.
"""

from __future__ import annotations

import ast
from copy import copy
from typing import TYPE_CHECKING

from fsession.lang import lookup
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.arith import S64, U64, is_u64
from fsession.lang.ctypes import Integer, Pointer
from fsession.lang.ir import Test
from fsession.lang.objects import Global, Map
from fsession.lang.operators import joined
from fsession.lang.scope import Item, Many, Maybe, Static

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.expressions import Expressions
    from fsession.lang.ir import Label

__all__ = ["Statements"]

MAX_ROUNDS = 1 << 20
Names = dict[str, Item]


class Statements:
    """Compiles the body of a function into the block that its builder is at."""

    def __init__(self, expressions: Expressions, *, is_main: bool) -> None:
        self.e = expressions
        self.build = expressions.build
        self._is_main = is_main
        self._loops: list[_Loop] = []

    def function(self, tree: ast.FunctionDef) -> None:
        self.body(_without_docstring(tree.body))
        if self.build.is_open:
            self.build.give_back(self.build.const(0))

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if not self.build.is_open:
                return
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        self.build.at = self.e.source.place(node)
        method: Callable[[ast.stmt], None] | None = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise self.e.fail(node, f"'{_word(node)}' can't be used in a program")
        method(node)

    # -- simple statements -----------------------------------------------------------------------

    def _Pass(self, node: ast.Pass) -> None:
        pass

    def _Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.e.item(node.value)

    def _Return(self, node: ast.Return) -> None:
        value = None if node.value is None else self.e.item(node.value)
        if value is None or (isinstance(value, Static) and value.value is None):
            self.build.give_back(self.build.const(0))
        elif self._is_main and value != Static(0):
            hint = "write 'return'; values go out by maps and events"
            raise self.e.fail(node, "the kernel takes no result of a tracing program", hint)
        else:
            self.build.give_back(self.e.value(value, node).value)

    def _Assign(self, node: ast.Assign) -> None:
        value = self.e.kept(self.e.item(node.value), node.value)
        for target in node.targets:
            self.assign(target, value)

    def _AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.e.kept(self.e.item(node.value), node.value))

    def assign(self, target: ast.expr, value: Item) -> None:
        match target:
            case ast.Name(id=name):
                self._assign_name(target, name, value)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                if not isinstance(value, Many) or len(value.items) != len(elements):
                    raise self.e.fail(target, f"{len(elements)} names for something else")
                for element, item in zip(elements, value.items, strict=True):
                    self.assign(element, self.e.kept(item, target))
            case ast.Subscript():
                self._assign_element(target, value)
            case ast.Attribute():
                place = self.e.item(target)
                self._store(place, value, target)
            case _:
                raise self.e.fail(target, "this can't be assigned to")

    def _assign_name(self, node: ast.Name, name: str, value: Item) -> None:
        outer = None if name in self.e.names else self.e.outer(name)
        if isinstance(outer, Static) and isinstance(outer.value, Global):
            raise self.e.fail(node, f"'{name}' is a global variable", f"write {name}.value = …")
        self.e.names[name] = value

    def _assign_element(self, node: ast.Subscript, value: Item) -> None:
        owner = self.e.item(node.value)
        if isinstance(owner, Static) and isinstance(owner.value, Map):
            lookup.write_entry(self.e, owner.value, self.e.item(node.slice), value, node)
            return
        self._store(self.e.element(owner, node), value, node)

    def _store(self, place: Item, value: Item, node: ast.expr) -> None:
        if not isinstance(place, Place) or place.trust is not Trust.MEMORY:
            raise self.e.fail(node, "programs can't write here", "only maps, cookies and variables")
        self.e.access.store(place, self.e.value(value, node).value)

    def _AugAssign(self, node: ast.AugAssign) -> None:
        op = ast.copy_location(ast.BinOp(_loaded(node.target), node.op, node.value), node)
        if isinstance(node.target, ast.Subscript):
            owner = self.e.item(node.target.value)
            if isinstance(owner, Static) and isinstance(owner.value, Map):
                self._augment_entry(owner.value, node, op)
                return
        if isinstance(node.target, ast.Attribute) and isinstance(node.op, ast.Add | ast.Sub):
            place = self.e.item(_loaded(node.target))
            if self._add_to(place, node):
                return
        self.assign(node.target, self.e.kept(self.e.item(op), node))

    def _augment_entry(self, item: Map, node: ast.AugAssign, op: ast.BinOp) -> None:
        assert isinstance(node.target, ast.Subscript)
        key = self.e.kept(self.e.item(node.target.slice), node)
        if isinstance(node.op, ast.Add | ast.Sub):
            amount = self.e.item(node.value)
            if isinstance(node.op, ast.Sub):
                amount = self.e.binary("-", Static(0), amount, node)
            lookup.add_to_entry(self.e, item, key, amount, node)
            return
        value = self.e.kept(self.e.item(op), node)
        lookup.write_entry(self.e, item, key, value, node)

    def _add_to(self, place: Item, node: ast.AugAssign) -> bool:
        """``p.member += n``: at once, where several CPUs may do it."""
        if not isinstance(place, Place) or place.trust is not Trust.MEMORY or place.bits:
            return False
        if place.type.size not in (4, 8) or not isinstance(place.type, Integer):
            return False
        amount = self.e.item(node.value)
        if isinstance(node.op, ast.Sub):
            amount = self.e.binary("-", Static(0), amount, node)
        value = self.e.value(amount, node).value
        self.build.atomic_add(place.base, place.offset, value, place.type.size)
        return True

    def _Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            owner = self.e.item(target.value) if isinstance(target, ast.Subscript) else None
            if not isinstance(owner, Static) or not isinstance(owner.value, Map):
                raise self.e.fail(target, "'del' is for entries of maps")
            assert isinstance(target, ast.Subscript)
            lookup.delete_entry(self.e, owner.value, self.e.item(target.slice), node)

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
        if isinstance(item, Static) and isinstance(item.value, int):
            return self.e.arith.number(int(item.value))
        return None

    # -- loops -----------------------------------------------------------------------------------

    def _While(self, node: ast.While) -> None:
        if node.orelse:
            raise self.e.fail(node.orelse[0], "'else' of a loop can't be used in a program")
        assigned = _assigned(node)

        def test(then: Label, other: Label) -> None:
            self.e.condition(node.test, then, other)

        self._loop(node, assigned, test, lambda: self.body(node.body), lambda: None)

    def _For(self, node: ast.For) -> None:
        """``for i in range(…)``: the counter is a variable of its own, as in Python."""
        if node.orelse:
            raise self.e.fail(node.orelse[0], "'else' of a loop can't be used in a program")
        call = node.iter
        match call:
            case ast.Call(func=ast.Name(id="range")):
                pass
            case _:
                raise self.e.fail(call, "a loop goes over range(…) only")
        if not isinstance(node.target, ast.Name):
            raise self.e.fail(node.target, "the counter of a loop is one name")
        start, stop, step = self._range(call)
        hidden = f"{node.target.id} of line {node.lineno}"
        name = node.target.id
        self.e.names[hidden] = self.e.value(start, call)
        end = self.e.value(stop, call)
        known = (None, _static_int(stop))

        def test(then: Label, other: Label) -> None:
            op = "<" if step > 0 else ">"
            counter = self.e.names[hidden]
            assert isinstance(counter, Typed)
            holds = self.e.arith.compare(op, counter, end, known)
            self.build.branch(Test.NE, holds.value, self.build.const(0), then, other)

        def body() -> None:
            self.e.names[name] = self.e.names[hidden]
            self.body(node.body)

        def advance() -> None:
            self.e.names[hidden] = self.e.binary("+", self.e.names[hidden], Static(step), node)

        self._loop(node, _assigned(node) | {hidden}, test, body, advance)
        self.e.names.pop(hidden, None)

    def _range(self, call: ast.Call) -> tuple[Item, Item, int]:
        args = [self.e.kept(self.e.item(arg), arg) for arg in call.args]
        if call.keywords or not 1 <= len(args) <= 3:
            raise self.e.fail(call, "range() takes 1 to 3 numbers")
        step = _static_int(args[2]) if len(args) == 3 else 1
        if not step:
            raise self.e.fail(call, "the step of a range is a constant and not 0")
        start, stop = (Static(0), args[0]) if len(args) == 1 else (args[0], args[1])
        bounds = _static_int(start), _static_int(stop)
        if bounds[0] is not None and bounds[1] is not None:
            rounds = len(range(bounds[0], bounds[1], step))
            if rounds > MAX_ROUNDS:
                raise self.e.fail(call, f"{rounds} rounds are too many", f"up to {MAX_ROUNDS}")
        return start, stop, step

    def _loop(
        self,
        node: ast.stmt,
        assigned: set[str],
        test: Callable[[Label, Label], None],
        body: Callable[[], None],
        advance: Callable[[], None],
    ) -> None:
        """With the variables that the body changes as parameters of the block at its head."""
        build = self.build
        carried = {
            name: _wide(value)
            for name in sorted(assigned & set(self.e.names))
            if (value := self._mergeable(self.e.names[name])) is not None
        }
        while True:
            snapshot = build.snapshot(), dict(self.e.names), list(self.e.unit.events)
            widened = self._one_loop(carried, test, body, advance, node)
            if widened is None:
                return
            build.restore(snapshot[0])
            self.e.names = dict(snapshot[1])
            self.e.unit.events[:] = snapshot[2]
            carried = widened

    def _one_loop(
        self,
        carried: dict[str, Typed],
        test: Callable[[Label, Label], None],
        body: Callable[[], None],
        advance: Callable[[], None],
        node: ast.stmt,
    ) -> dict[str, Typed] | None:
        """None when it is compiled; other types for the variables where these did not do."""
        build = self.build
        before = dict(self.e.names)
        head, inside, done = build.block(), build.block(), build.block()
        build.jump(head, *(value.value for value in carried.values()))
        params = build.begin(head, len(carried))
        for (name, value), param in zip(carried.items(), params, strict=True):
            self.e.names[name] = Typed(value.type, param, value.trust)
        at_head = dict(self.e.names)
        test(inside, done)
        loop = _Loop([], [(done, dict(at_head))])
        self._loops.append(loop)
        build.begin(inside)
        body()
        self._loops.pop()
        if build.is_open:
            loop.continues.append((build.label, dict(self.e.names)))
        for label, names in loop.continues:
            build.resume(label)
            self.e.names = dict(names)
            advance()
            args = []
            for name, first in carried.items():
                now = self._mergeable(self.e.names.get(name, Static(None)))
                if now is None:
                    raise self.e.fail(node, f"'{name}' changes its kind in the loop")
                if _needs_more(first, now):
                    return carried | {name: joined([first, now], first.value)}
                args.append(now.value)
            build.jump(head, *args)
        build.begin(done)
        loop.breaks[0] = (done, {n: v for n, v in at_head.items() if n in before})
        self._meet(loop.breaks)
        return None

    def _Break(self, node: ast.Break) -> None:
        self._loops[-1].breaks.append((self.build.label, dict(self.e.names)))
        self.build.suspend()

    def _Continue(self, node: ast.Continue) -> None:
        self._loops[-1].continues.append((self.build.label, dict(self.e.names)))
        self.build.suspend()


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


def _static_int(item: Item) -> int | None:
    return int(item.value) if isinstance(item, Static) and isinstance(item.value, int) else None


def _assigned(node: ast.AST) -> set[str]:
    """Names that are assigned to in a piece of code."""
    return {
        child.id
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    }


def _loaded(node: ast.expr) -> ast.expr:
    """The target of an assignment as an expression."""
    read = copy(node)
    read.ctx = ast.Load()  # type: ignore[attr-defined]
    return read


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text else body


def _word(node: ast.stmt) -> str:
    words = {
        "With": "with", "Try": "try", "Raise": "raise", "FunctionDef": "def", "ClassDef": "class",
        "Import": "import", "ImportFrom": "import", "Assert": "assert", "Global": "global",
        "Nonlocal": "nonlocal", "Match": "match", "AsyncFor": "async for",
    }  # fmt: skip
    return words.get(type(node).__name__, type(node).__name__)
