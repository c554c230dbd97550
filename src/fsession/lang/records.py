"""``fsession.emit(…)``: a record of the ring buffer, laid out by the types of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.lang import texts
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.ctypes import (
    CHAR,
    WORD_BYTES,
    Array,
    CType,
    Integer,
    Opaque,
    Pointer,
    Record,
    Stack,
    is_function,
    is_text,
)
from fsession.lang.ir import Space, Test, Value
from fsession.lang.scope import Argument, Frames, Item, Maybe, Static
from fsession.uapi import FuncId

if TYPE_CHECKING:
    import ast

    from fsession.lang.expressions import Expressions

__all__ = ["emit_record"]

TEXT_BYTES = 64  # of what a char * points to
MAX_BYTES = 4096  # of one field
USER_STACK = 1 << 8  # BPF_F_USER_STACK


def emit_record(e: Expressions, node: ast.Call) -> Item:
    """A record of the ring buffer with the values, which is lost where there is no room."""
    if node.args or not node.keywords or any(word.arg is None for word in node.keywords):
        raise e.fail(node, "emit() takes fields by their names", "emit(length=skb.len)")
    build = e.build
    items: list[tuple[str, Item, CType, ast.expr]] = []
    for word in node.keywords:
        item = e.kept(e.item(word.value), word.value)
        if isinstance(item, Argument) and isinstance(item.type, Record):
            item = e.struct_argument(item)
        type = _field_type(e, item, word.value)
        if isinstance(type, Integer | Pointer):
            item = e.value(item, word.value)
        items.append((str(word.arg), item, type, word.value))
    fields = [(name, type) for name, _, type, _ in items]
    event = e.unit.event(build.function.name, fields, e.catalog)
    ring = build.map(e.unit.event_map())
    record = build.helper(FuncId.ringbuf_reserve, ring, build.const(event.size), build.const(0))
    room, done = build.block(), build.block()
    build.branch(Test.NE, record, build.const(0), room, done)
    build.begin(room)
    build.store(record, 0, build.const(event.number), WORD_BYTES, Space.MAP)
    for field, (_, item, type, value) in zip(event.fields, items, strict=True):
        _fill(e, record, field.offset, item, type, value)
    build.helper(FuncId.ringbuf_submit, record, build.const(0))
    build.jump(done)
    build.begin(done)
    return Static(None)


def _field_type(e: Expressions, item: Item, node: ast.expr) -> CType:
    match item:
        case Static(value=str() as text):
            return Array(CHAR, len(text.encode()) + 1)
        case Frames(depth=depth, of_process=of_process):
            if e.context is None:
                name = "ustack" if of_process else "kstack"
                raise e.fail(node, f"{name}() is for the program itself, not for its functions")
            return Stack(depth, of_process)
        case Place(type=Array() | Record() as type):
            return _whole(e, type, node)
        case Maybe():
            raise e.fail(node, "this may be None", "test it first, or give get() a default")
    value = e.value(item, node)
    if isinstance(value.type, Pointer):
        target = value.type.to
        if isinstance(target, Integer) and target.name in ("char", "unsigned char"):
            return Array(CHAR, TEXT_BYTES)
        return Pointer(target if is_function(target) else Opaque("void"))
    return value.type


def _whole(e: Expressions, type: Array | Record, node: ast.expr) -> CType:
    """An array or struct that is copied as it is."""
    if isinstance(type, Array) and not type.count and type.of.size == 1:
        return Array(CHAR, TEXT_BYTES)
    if not 0 < type.size <= MAX_BYTES:
        hint = f"up to {MAX_BYTES}: name the members that you need"
        raise e.fail(node, f"{type} has {type.size} bytes, as a field of an event", hint)
    return type


def _fill(
    e: Expressions, record: Value, offset: int, item: Item, type: CType, node: ast.expr
) -> None:
    build = e.build
    if is_text(type):
        build.store(record, offset, build.const(0), 1, Space.MAP)
        texts.copy(e, item, build.add(record, offset), type.size, node)
    elif isinstance(type, Stack):
        assert e.context is not None
        size = build.const(type.size - WORD_BYTES)
        to = build.add(record, offset + WORD_BYTES)
        flags = build.const(USER_STACK if type.of_process else 0)
        status = build.helper(FuncId.get_stack, e.context.value, to, size, flags)
        build.store(record, offset, status, WORD_BYTES, Space.MAP)
    elif isinstance(item, Place):  # what can't be read is 0
        user = item.trust is Trust.USER
        read = FuncId.probe_read_user if user else FuncId.probe_read_kernel
        source = build.add(item.base, item.offset)
        build.helper(read, build.add(record, offset), build.const(type.size), source)
    else:
        assert isinstance(item, Typed)
        build.store(record, offset, item.value, type.size, Space.MAP)
