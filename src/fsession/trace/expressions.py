"""Expressions of C compiled into a session program under construction.

    found = Expressions(scope, build, context)
    found.require("skb->len > 64", otherwise=out)          # a filter
    number = found.number("skb->len", on_fault=out)        # a key, a value
    found.write(field, record, offset)                     # a value in a record

`describe` says what a value will be before any code is made: its `Field`, with its size and side.
A read that fails never counts as a zero: it goes on where the caller says.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from fsession.errors import CompileError
from fsession.lang.access import Access, Place, Typed
from fsession.lang.build import Builder
from fsession.lang.cexpr import CExpression, Shown
from fsession.lang.ctypes import Pointer, Record
from fsession.lang.ir import Label, Space, Test, Value
from fsession.trace.fields import STACK_BYTES, STATUS_BYTES, Field, Form
from fsession.trace.names import Names, word
from fsession.trace.printers import PRINTERS
from fsession.trace.writing import field_of, reads_memory, write_field
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.trace.scope import Scope

__all__ = ["Expressions", "check", "describe", "describe_objects", "describe_structs"]

EFAULT = 14
_USER_STACK = 1 << 8  # BPF_F_USER_STACK


class Expressions:
    """Of one function, in the block that `build` is at.

    At the exit, `duration` gives the time between the sides. `count_fault` is called in the block
    of a value that could not be read.
    """

    def __init__(
        self,
        scope: Scope,
        build: Builder,
        context: Value,
        *,
        duration: Callable[[], Value] | None = None,
        count_fault: Callable[[], None] = lambda: None,
    ) -> None:
        self.scope = scope
        self.build = build
        self._context = context
        self._count_fault = count_fault
        self._names = Names(scope, build, context, duration)

    def compile(self, source: str, on_fault: Label) -> tuple[CExpression, Typed | Place | Shown]:
        """An expression, and what compiled it."""
        compiler = CExpression(
            self.scope.catalog, self.build, self._names.variables(on_fault), on_fault
        )
        return compiler, compiler.compile(source)

    def require(self, source: str, otherwise: Label) -> None:
        """Go on where the expression is true; one that can't be read is not, and is counted."""
        build = self.build
        fault, go_on = build.block(), build.block()
        compiler, item = self.compile(source, fault)
        if isinstance(item, Shown):
            raise CompileError(f"{item.form}() shows a value, it is no condition", "expression")
        build.branch(Test.NE, compiler.value(item, None).value, build.const(0), go_on, otherwise)
        self._fault(fault, lambda: build.jump(otherwise))
        build.begin(go_on)

    def number(self, source: str, on_fault: Label) -> Typed:
        """An integer or pointer; what can't be read goes on at `on_fault`."""
        compiler, item = self.compile(source, on_fault)
        if isinstance(item, Shown):
            raise CompileError(f"{item.form}() shows a value, it is no number", "expression")
        return compiler.value(item, None)

    def write(self, field: Field, base: Value, offset: int) -> None:
        """Fill the field at `offset` behind `base`, which is memory that the program may write."""
        build = self.build
        fault, done = build.block(), build.block()
        if field.form in (Form.KSTACK, Form.USTACK):
            self._stack(field, base, offset, fault)
        else:
            compiler, item = self.compile(field.text, fault)
            write_field(compiler, field, item, build.add(base, offset))
        build.jump(done)
        build.begin(fault)
        self._count_unless_null(field)
        self._mark(base, offset, done)
        build.begin(done)

    def _mark(self, base: Value, offset: int, done: Label) -> None:
        self.build.store(base, offset, self.build.const(-EFAULT), STATUS_BYTES, Space.MAP)
        self.build.jump(done)

    def _count_unless_null(self, field: Field) -> None:
        """Of the argument that a printer or a whole struct is of: a null pointer is no fault."""
        param = self.scope.params.get(field.argument)
        if param is None:
            self._count_fault()
            return
        build = self.build
        real, done = build.block(), build.block()
        pointer = word(build, self._context, param.slot, direct=param.direct)
        build.branch(Test.NE, pointer, build.const(0), real, done)
        build.begin(real)
        self._count_fault()
        build.jump(done)
        build.begin(done)

    def _fault(self, label: Label, then: Callable[[], None]) -> None:
        self.build.begin(label)
        self._count_fault()
        then()

    def _stack(self, field: Field, base: Value, offset: int, fault: Label) -> None:
        build = self.build
        flags = _USER_STACK if field.form is Form.USTACK else 0
        to = build.add(base, offset + STATUS_BYTES)
        size, flag = build.const(field.size), build.const(flags)
        status = build.helper(FuncId.get_stack, self._context, to, size, flag)
        status = build.extend(status, 32, signed=True)
        build.store(base, offset, status, STATUS_BYTES, Space.MAP)
        Access(build, fault).check(status)


def check(scope: Scope, source: str) -> None:
    """Raises `CompileError` for an expression that can't be a condition."""
    found, build = _draft(scope)
    found.require(source, build.block())


def describe_objects(scope: Scope) -> list[Field]:
    """Of each argument that points to a struct with a printer, and is not null: its parts."""
    fields: list[Field] = []
    for name, param in scope.params.items():
        to = param.type.to if isinstance(param.type, Pointer) else None
        printer = PRINTERS.get(to.name) if isinstance(to, Record) else None
        if printer is not None and isinstance(to, Record):
            parts = [_first(scope, [one.format(name) for one in part]) for part in printer.parts]
            if None not in parts:
                fields += [
                    replace(part, owner=name, printer=to.name, at_exit=False)
                    for part in parts
                    if part is not None
                ]
    return fields


def describe_structs(scope: Scope) -> list[Field]:
    """Of each argument that points to a struct: all of it, if it is not too large."""
    return [field for name in scope.pointers if (field := _first(scope, [f"*{name}"])) is not None]


def _first(scope: Scope, sources: list[str]) -> Field | None:
    """The first expression that makes sense."""
    for source in sources:
        try:
            return describe(scope, source)
        except CompileError:
            continue
    return None


def _draft(scope: Scope) -> tuple[Expressions, Builder]:
    """To compile something only to see what it is."""
    build = Builder("draft", 1)
    start = build.const(0)
    context = build.function.params[0]
    return Expressions(scope, build, context, duration=lambda: start), build


def describe(scope: Scope, source: str) -> Field:
    """What the value of an expression will be in a record. Raises `CompileError`.

    A value of the entry (`Field.at_exit` is False) is one that reads memory, which may change
    while the function runs.
    """
    text = re.sub(r"\s", " ", source).strip()
    if text in (Form.KSTACK, Form.USTACK) and text not in scope.params:
        return Field(text, Form(text), STACK_BYTES)
    found, build = _draft(scope)
    compiler, item = found.compile(text, build.block())
    field = field_of(text, item)
    reads = compiler.access.reads or reads_memory(field, item)
    return replace(field, at_exit=scope.is_at_exit(text) or not reads)
