"""Calls of ``fsession.NAME(…)`` inside programs."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fsession.lang import texts
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.arguments import DYNPTR
from fsession.lang.arith import S64, U64
from fsession.lang.ctypes import BOOL, CHAR, U8, Array, CType, Integer, Pointer, Record
from fsession.lang.helpers import call_helper
from fsession.lang.intrinsics import KFUNC_PREFIX
from fsession.lang.ir import Space, Value
from fsession.lang.kfuncs import call_kfunc
from fsession.lang.objects import MAX_DEPTH
from fsession.lang.records import emit_record
from fsession.lang.scope import Context, Frames, Item, Many, Static
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.lang.expressions import Expressions

__all__ = ["call_form"]

COMM = Array(CHAR, 16)
STACK_DEPTH = 32
BOTH = ("get_current_comm",)  # without arguments a form, with some the helper
MAX_BUFFER = 512


def call_form(e: Expressions, name: str, node: ast.Call) -> Item:
    """The value of a call. Raises `CompileError` where it is called in another way."""
    form = _FORMS.get(name)
    if form is not None and not (name in BOTH and node.args):
        return form(e, node)
    if name.startswith(KFUNC_PREFIX):
        return call_kfunc(e, name, node)
    return call_helper(e, name, node)


def _args(e: Expressions, node: ast.Call, name: str, least: int, most: int) -> list[ast.expr]:
    count = len(node.args)
    if node.keywords or not least <= count <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise e.fail(node, f"{name}() takes {wanted} arguments, not {count + len(node.keywords)}")
    return node.args


def _context(e: Expressions, node: ast.Call, name: str) -> Value:
    (arg,) = _args(e, node, name, 1, 1)
    item = e.item(arg)
    if not isinstance(item, Context):
        raise e.fail(arg, f"{name}() takes the context", "the program's parameter ctx")
    return item.value


def _is_return(e: Expressions, node: ast.Call) -> Item:
    context = _context(e, node, "session_is_return")
    result = e.build.kfunc("bpf_session_is_return", context, pure=True)
    return Typed(BOOL, result)


def _cookie(e: Expressions, node: ast.Call) -> Item:
    context = _context(e, node, "session_cookie")
    result = e.build.kfunc("bpf_session_cookie", context, pure=True)
    return Typed(Pointer(U64), result, Trust.MEMORY)


def _ret(e: Expressions, node: ast.Call) -> Item:
    _context(e, node, "ret")
    if e.result is None:
        raise e.fail(node, "the function returns nothing", "void functions have no result")
    if isinstance(e.result.type, Record):
        message = f"the function returns a {e.result.type} by value"
        raise e.fail(node, message, "the kernel traces no such function")
    return e.argument(e.result)


def _log2(e: Expressions, node: ast.Call) -> Item:
    (arg,) = _args(e, node, "log2", 1, 1)
    item = e.item(arg)
    if isinstance(item, Static) and isinstance(item.value, int):
        return Static(max(item.value.bit_length() - 1, 0))
    return e.arith.log2(e.value(item, arg))


def _type(e: Expressions, node: ast.expr) -> CType:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        raise e.fail(node, "a type is named by a constant text", '"struct sock *"')
    found = e.catalog.find(node.value)
    if found is None:
        near = e.catalog.near(node.value)
        hint = f"did you mean {', '.join(near)}?" if near else ""
        raise e.fail(node, f"the kernel has no type '{node.value}'", hint)
    return found


def _cast(e: Expressions, node: ast.Call) -> Item:
    where, arg = _args(e, node, "cast", 2, 2)
    type, value = _type(e, where), e.typed(arg)
    if isinstance(type, Integer):
        word = e.build.extend(value.value, 8 * type.size, signed=type.signed)
        return Typed(type, word)
    if not isinstance(type, Pointer):
        raise e.fail(where, f"a cast to {type}", "to a number or a pointer")
    same = isinstance(value.type, Pointer) and value.type.to == type.to
    trust = value.trust if same or value.trust is Trust.USER else Trust.NUMBER
    if value.trust is Trust.KERNEL and not same:
        return Typed(type, e.upgraded(value.value, type), e.cast_trust(type))
    return Typed(type, value.value, trust)


def _read(e: Expressions, node: ast.Call) -> Item:
    """``(status, value)`` of what a pointer points to: 0, or a negative errno and 0."""
    (arg,) = _args(e, node, "read", 1, 1)
    item = e.item(arg)
    place = item if isinstance(item, Place) else e.access.target(e.value(item, arg))
    if not isinstance(place.type, Integer | Pointer) or place.bits:
        raise e.fail(arg, f"read() of {place.type}", "of a number or a pointer in memory")
    build, size = e.build, place.type.size
    slot = build.slot(8)
    build.store(slot, 0, build.const(0), 8, Space.STACK)
    user = place.trust is Trust.USER
    read = FuncId.probe_read_user if user else FuncId.probe_read_kernel
    at = build.add(place.base, place.offset)
    status = build.helper(read, slot, build.const(size), at)
    signed = isinstance(place.type, Integer) and place.type.signed
    value = build.load(slot, 0, size, Space.STACK, signed=signed)
    trust = Trust.USER if user else Trust.NUMBER
    return Many((Typed(S64, status), Typed(place.type, value, trust)))


def _container_of(e: Expressions, node: ast.Call) -> Item:
    """``container_of(ptr, "struct sock", "sk_refcnt")``."""
    pointer, where, member = _args(e, node, "container_of", 3, 3)
    record, value = _type(e, where), e.typed(pointer)
    if not isinstance(record, Record) or not isinstance(member, ast.Constant):
        raise e.fail(where, "container_of() takes a pointer, a struct and a member's name")
    name = str(member.value)
    field = e.catalog.member(record, name)
    if field is None or field.bits:
        raise e.fail(member, f"{record} has no member '{name}' with an address")
    return Typed(Pointer(record), e.build.add(value.value, -field.offset), Trust.NUMBER)


def _comm(e: Expressions, node: ast.Call) -> Item:
    _args(e, node, "get_current_comm", 0, 0)
    build, slot = e.build, _zeros(e, COMM.size)
    build.helper(FuncId.get_current_comm, slot, build.const(COMM.size))
    return Place(COMM, slot, 0, Trust.MEMORY)


def _buffer(e: Expressions, node: ast.Call) -> Item:
    """``buffer(64)``, ``buffer(2, "u64")``: bytes or numbers on the stack, all 0."""
    args = _args(e, node, "buffer", 1, 2)
    of = _type(e, args[1]) if len(args) == 2 else U8
    count = e.static_int(args[0])
    if not isinstance(of, Integer):
        raise e.fail(args[1], f"a buffer of {of}", "of a type of a number")
    if count is None or not 0 < count * of.size <= MAX_BUFFER:
        raise e.fail(args[0], "the size of a buffer is a constant", f"up to {MAX_BUFFER} bytes")
    return Place(Array(of, count), _zeros(e, count * of.size), 0, Trust.MEMORY)


def _zeros(e: Expressions, size: int) -> Value:
    build = e.build
    slot = build.slot(size + -size % 8)
    for at in range(0, size, 8):
        build.store(slot, at, build.const(0), 8, Space.STACK)
    return slot


def _dynptr(e: Expressions, node: ast.Call) -> Item:
    _args(e, node, "dynptr", 0, 0)
    record = e.catalog.find(f"struct {DYNPTR}")
    if not isinstance(record, Record):
        raise e.fail(node, "this kernel has no dynptrs", "Linux 5.19 has them")
    return Place(record, e.build.slot(record.size), 0, Trust.MEMORY)


def _task(e: Expressions, node: ast.Call) -> Item:
    _args(e, node, "get_current_task", 0, 0)
    record = e.catalog.find("struct task_struct")
    assert record is not None
    result = e.build.helper(FuncId.get_current_task_btf)
    return Typed(Pointer(record), result, Trust.KERNEL)


def _of_context(function: FuncId, name: str) -> Callable[[Expressions, ast.Call], Item]:
    def form(e: Expressions, node: ast.Call) -> Item:
        return Typed(U64, e.build.helper(function, _context(e, node, name)))

    return form


def _stackid(e: Expressions, node: ast.Call) -> Item:
    """``get_stackid(ctx, stacks)``, with flags or without."""
    _args(e, node, "get_stackid", 2, 3)
    if len(node.args) == 2:
        zero = ast.copy_location(ast.Constant(0), node)
        node = ast.copy_location(ast.Call(node.func, [*node.args, zero], []), node)
    result = call_helper(e, "get_stackid", node)
    assert isinstance(result, Typed)
    return Typed(S64, e.build.extend(result.value, 32, signed=True))


def _enum(e: Expressions, node: ast.Call) -> Item:
    (arg,) = _args(e, node, "enum", 1, 1)
    name = str(arg.value) if isinstance(arg, ast.Constant) else ""
    found = e.catalog.find(f"enum {name}")
    if not isinstance(found, Integer) or not found.enum:
        raise e.fail(arg, f"the kernel has no enum '{name}'")
    return Static(e.catalog.enum_values(found))


def _printk(e: Expressions, node: ast.Call) -> Item:
    """``printk("format", a, b, c)``: the format goes to the stack."""
    if not node.args or len(node.args) > 4:
        raise e.fail(node, "printk() takes a format and up to 3 values")
    text = node.args[0]
    format = text.value if isinstance(text, ast.Constant) else None
    if not isinstance(format, str):
        raise e.fail(text, "a format is a constant text")
    build = e.build
    raw = format.encode() + b"\0"
    slot = build.slot(len(raw) + -len(raw) % 8)
    texts.copy(e, Static(format), slot, len(raw), node)
    values = [_printed(e, arg) for arg in node.args[1:]]
    build.helper(FuncId.trace_printk, slot, build.const(len(raw)), *values)
    return Static(None)


def _printed(e: Expressions, node: ast.expr) -> Value:
    """A number, or the address of a text for ``%s``."""
    item = e.item(node)
    if isinstance(item, Place) and isinstance(item.type, Array):
        return e.build.add(item.base, item.offset)
    return e.value(item, node).value


def _frames(name: str, *, of_process: bool) -> Callable[[Expressions, ast.Call], Item]:
    """``kstack()``, or ``kstack(16)``: the innermost 16 calls."""

    def form(e: Expressions, node: ast.Call) -> Item:
        if node.keywords or len(node.args) > 1:
            raise e.fail(node, f"{name}() takes how many calls to keep at most")
        depth = e.static_int(node.args[0]) if node.args else STACK_DEPTH
        if depth is None or not 0 < depth <= MAX_DEPTH:
            raise e.fail(node, "the depth of a stack is a constant", f"from 1 to {MAX_DEPTH}")
        return Frames(depth, of_process)

    return form


def _swapped(bits: int, name: str) -> Callable[[Expressions, ast.Call], Item]:
    """Network and host byte order, which differ on all machines we run on."""

    def form(e: Expressions, node: ast.Call) -> Item:
        (arg,) = _args(e, node, name, 1, 1)
        return Typed(Integer(bits // 8, False, f"u{bits}"), e.build.swap(e.typed(arg).value, bits))

    return form


_FORMS: dict[str, Callable[[Expressions, ast.Call], Item]] = {
    "session_is_return": _is_return,
    "session_cookie": _cookie,
    "ret": _ret,
    "emit": emit_record,
    "kstack": _frames("kstack", of_process=False),
    "ustack": _frames("ustack", of_process=True),
    "printk": _printk,
    "trace_printk": _printk,
    "buffer": _buffer,
    "dynptr": _dynptr,
    "log2": _log2,
    "cast": _cast,
    "read": _read,
    "container_of": _container_of,
    "get_current_comm": _comm,
    "get_current_task": _task,
    "get_attach_cookie": _of_context(FuncId.get_attach_cookie, "get_attach_cookie"),
    "get_func_ip": _of_context(FuncId.get_func_ip, "get_func_ip"),
    "get_stackid": _stackid,
    "ntohs": _swapped(16, "ntohs"),
    "htons": _swapped(16, "htons"),
    "ntohl": _swapped(32, "ntohl"),
    "htonl": _swapped(32, "htonl"),
    "enum": _enum,
}
