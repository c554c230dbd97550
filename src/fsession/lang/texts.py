"""Texts: char arrays and ``char *`` against constants, and copies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fsession.frozen import frozen
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.ctypes import BOOL, Array, Integer, Pointer
from fsession.lang.ir import BinaryOp, Space, Test, Value
from fsession.lang.scope import Item, Static
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.errors import CompileError
    from fsession.lang.access import Access
    from fsession.lang.build import Builder

__all__ = ["copy", "equals", "on_stack", "pieces"]

_MAX_CONSTANT = 63


class Compiler(Protocol):
    """What both front ends are to this module."""

    build: Builder
    access: Access

    def value(self, item: Item, node: Any) -> Typed: ...
    def fail(self, node: Any, message: str, hint: str = "") -> CompileError: ...


@frozen
class _Source:
    """The address of a text, how long it can be (0: not known), and where it is looked for."""

    at: Value
    limit: int
    helpers: tuple[FuncId, ...]


_KERNEL, _USER = FuncId.probe_read_kernel_str, FuncId.probe_read_user_str


def _read(e: Compiler, to: Value, size: int, source: _Source) -> None:
    """Ask the helpers one after the other, until one can read it."""
    build = e.build
    done = build.block()
    for helper in source.helpers:
        status = build.helper(helper, to, build.const(size), source.at)
        if helper is not source.helpers[-1]:
            more = build.block()
            build.branch(Test.SLT, status, build.const(0), more, done)
            build.begin(more)
        else:
            e.access.reads += 1
            e.access.check(status)
    build.jump(done)
    build.begin(done)


def _source(e: Compiler, item: Item, node: Any) -> _Source:
    """BTF made by gcc does not say which pointers are the process's: a plain ``char *`` is looked
    for in the kernel's memory first."""
    if isinstance(item, Place) and isinstance(item.type, Array) and item.type.of.size == 1:
        at = e.build.add(item.base, item.offset)
        helper = _USER if item.trust is Trust.USER else _KERNEL
        return _Source(at, item.type.count, (helper,))
    value = e.value(item, node)
    target = value.type.to if isinstance(value.type, Pointer) else None
    if not isinstance(target, Integer) or target.size != 1:
        raise e.fail(node, f"{value.type} is no text", "a char array or a char * is")
    helpers = (_USER,) if value.trust is Trust.USER else (_KERNEL, _USER)
    return _Source(value.value, 0, helpers)


def copy(e: Compiler, item: Item, to: Value, size: int, node: Any) -> None:
    """Up to `size` bytes with the NUL behind it to the address `to`; an unreadable one is empty."""
    build = e.build
    if isinstance(item, Static) and isinstance(item.value, str):
        raw = item.value.encode()[: size - 1].ljust(size, b"\0")
        space = Space.MAP
        for at in range(0, size, 8):
            part = raw[at : at + 8]
            for start, width in pieces(len(part)):
                word = int.from_bytes(part[start : start + width], "little")
                build.store(to, at + start, build.const(word), width, space)
        return
    _read(e, to, size, _source(e, item, node))


def pieces(size: int) -> list[tuple[int, int]]:
    """Stores of 8, 4, 2 and 1 bytes that cover `size` of them."""
    pieces: list[tuple[int, int]] = []
    at = 0
    for width in (8, 4, 2, 1):
        while size - at >= width:
            pieces.append((at, width))
            at += width
    return pieces


def on_stack(e: Compiler, item: Item, size: int, node: Any) -> Value:
    """A copy on the stack, zeros behind it."""
    build = e.build
    at = build.slot(size + -size % 8)
    for offset in range(0, size, 8):
        build.store(at, offset, build.const(0), 8, Space.STACK)
    copy(e, item, at, size, node)
    return at


def equals(e: Compiler, item: Item, text: str, node: Any, *, prefix: bool = False) -> Typed:
    """Whether a text of the kernel is `text`, or begins with it."""
    if isinstance(item, Static) and isinstance(item.value, str):
        same = item.value.startswith(text) if prefix else item.value == text
        return Typed(BOOL, e.build.const(same))
    wanted = text.encode() + (b"" if prefix else b"\0")
    if b"\0" in text.encode() or len(wanted) > _MAX_CONSTANT:
        raise e.fail(node, f"a constant text has up to {_MAX_CONSTANT - 1} bytes and no NUL")
    build = e.build
    if isinstance(item, Place) and item.trust is Trust.MEMORY and isinstance(item.type, Array):
        if len(wanted) > item.type.count:
            return Typed(BOOL, build.const(0))
        return _same(build, item.base, item.offset, wanted, Space.MAP)
    source = _source(e, item, node)
    if source.limit and len(wanted) > source.limit:
        return Typed(BOOL, build.const(0))
    if not wanted:
        return Typed(BOOL, build.const(1))
    size = len(wanted) + (1 if prefix else 0)
    buffer = build.slot(size + -size % 8)
    for offset in range(0, size, 8):
        build.store(buffer, offset, build.const(0), 8, Space.STACK)
    _read(e, buffer, size, source)
    return _same(build, buffer, 0, wanted, Space.STACK)


def _same(build: Builder, base: Value, offset: int, wanted: bytes, space: Space) -> Typed:
    """Whether the bytes that can be loaded are `wanted`."""
    different: Value | None = None
    for start, width in pieces(len(wanted)):
        word = int.from_bytes(wanted[start : start + width], "little")
        seen = build.load(base, offset + start, width, space)
        bits = build.binary(BinaryOp.XOR, seen, build.const(word))
        different = bits if different is None else build.binary(BinaryOp.OR, different, bits)
    if different is None:
        return Typed(BOOL, build.const(1))
    return Typed(BOOL, build.compare(Test.EQ, different, build.const(0)))
