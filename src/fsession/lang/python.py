"""Python functions to IR: simple statements; `flow` has those with bodies."""

from __future__ import annotations

import ast
from copy import copy
from typing import TYPE_CHECKING

from fsession.errors import BadInputError, CompileError
from fsession.lang import lookup
from fsession.lang.access import Place, Trust
from fsession.lang.ctypes import Integer, Record
from fsession.lang.flow import Flow
from fsession.lang.objects import Global, Map
from fsession.lang.scope import Argument, Item, Many, Static

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.expressions import Expressions

__all__ = ["Statements"]


_INSTEAD = {
    "with": "write the calls at its beginning and its end",
    "try": "nothing is raised: fsession.read(p) tells of a bad address, m.get(k) of a missing key",
    "raise": "'return' ends the program",
    "def": "write it outside, with @fsession.function",
    "import": "write it outside of the program",
    "assert": "if not …: return",
    "match": "if … elif …",
    "global": 'programs change name.value of name = fsession.Global("u64")',
}


class Statements(Flow):
    """Compiles the body of a function into the block that its builder is at."""

    def __init__(self, expressions: Expressions, *, is_main: bool) -> None:
        super().__init__(expressions)
        self._is_main = is_main

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
            word = _word(node)
            raise self.e.fail(node, f"'{word}' can't be used in a program", _INSTEAD.get(word, ""))
        try:
            method(node)
        except CompileError:
            raise
        except BadInputError as error:
            raise self.e.fail(node, error.what) from None

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
        by_value = self._is_struct_argument(node)
        if not isinstance(place, Place) or place.trust is not Trust.MEMORY or by_value:
            raise self.e.fail(node, "programs can't write here", "only maps, cookies and variables")
        self.e.access.store(place, self.e.value(value, node).value)

    def _is_struct_argument(self, node: ast.expr) -> bool:
        """Whether it is a part of an argument that is a struct by value, of which there is only a
        copy."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        item = self.e.names.get(node.id) if isinstance(node, ast.Name) else None
        return isinstance(item, Argument) and isinstance(item.type, Record)

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
        if self._is_struct_argument(node.target):
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
