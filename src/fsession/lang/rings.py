"""Ring buffers inside programs: ``ring.output(value)``, ``reserve()``, ``submit(record)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang import lookup
from fsession.lang.access import Place, Trust
from fsession.lang.arguments import TEST_IT, One, arguments
from fsession.lang.scope import Item, Maybe, Static
from fsession.uapi import FuncId

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    from fsession.lang.expressions import Expressions
    from fsession.lang.objects import RingBuf

__all__ = ["call_ring"]

_USAGE = "output(value), reserve(), submit(record), discard(record)"


def call_ring(e: Expressions, ring: RingBuf, method: str, node: ast.Call) -> Item:
    """A method of a ring buffer. Raises `CompileError`."""
    found = _METHODS.get(method)
    if found is None:
        raise e.fail(node, f"a RingBuf has no '{method}' in a program", _USAGE)
    wanted = 0 if method == "reserve" else 1
    if node.keywords or len(node.args) != wanted:
        count = len(node.args) + len(node.keywords)
        raise e.fail(node, f"{method}() takes {arguments(wanted)}, not {count}", _USAGE)
    return found(e, ring, node)


def _output(e: Expressions, ring: RingBuf, node: ast.Call) -> Item:
    """A copy of the value; it is lost where there is no room."""
    name = lookup.name_of(e, ring, node)
    build = e.build
    if ring.value is None:
        address, size = One(e, "output", "record", node.args[0]).memory(reads=True)
    else:
        layout = e.unit.layout(ring.value)
        item = e.kept(e.item(node.args[0]), node)
        address, size = lookup.written(e, layout, item, node.args[0]), layout.size
    if not size:
        raise e.fail(node.args[0], "output() of memory whose size is not known", "a buffer has one")
    zero = build.const(0)
    build.helper(FuncId.ringbuf_output, build.map(name), address, build.const(size), zero)
    return Static(None)


def _reserve(e: Expressions, ring: RingBuf, node: ast.Call) -> Item:
    """A record to be filled; None where there is no room. It is not set to 0: Linux 6.1 wants to
    see one test of it, which is the program's."""
    name = lookup.name_of(e, ring, node)
    if ring.value is None:
        hint = "opened = fsession.RingBuf(Open), with a class made from fsession.Struct"
        raise e.fail(node, "reserve() of a ring buffer without a type of its records", hint)
    build, layout = e.build, e.unit.layout(ring.value)
    size = build.const(layout.size)
    record = build.helper(FuncId.ringbuf_reserve, build.map(name), size, build.const(0))
    return Maybe(Place(layout.type, record, 0, Trust.MEMORY), record)


def _finish(function: FuncId) -> Callable[[Expressions, RingBuf, ast.Call], Item]:
    def form(e: Expressions, ring: RingBuf, node: ast.Call) -> Item:
        lookup.name_of(e, ring, node)
        item = e.item(node.args[0])
        if isinstance(item, Maybe):
            raise e.fail(node.args[0], "this may be None", TEST_IT)
        if not isinstance(item, Place) or item.trust is not Trust.MEMORY or item.offset:
            raise e.fail(node.args[0], "this is no record", "record = ring.reserve()")
        e.build.helper(function, item.base, e.build.const(0))
        return Static(None)

    return form


_METHODS: dict[str, Callable[[Expressions, RingBuf, ast.Call], Item]] = {
    "output": _output,
    "reserve": _reserve,
    "submit": _finish(FuncId.ringbuf_submit),
    "discard": _finish(FuncId.ringbuf_discard),
}
