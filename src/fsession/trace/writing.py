"""From the value of an expression to the bytes of its field in a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import TypeId
from fsession.errors import CompileError
from fsession.lang.access import Place, Trust, Typed
from fsession.lang.cexpr import Shown
from fsession.lang.ctypes import Array, CType, Integer, Opaque, Pointer, Record
from fsession.lang.ir import Space, Test, Value
from fsession.trace.fields import STATUS_BYTES, Field, Form
from fsession.trace.record import TEXT_BYTES
from fsession.uapi import FuncId

if TYPE_CHECKING:
    from fsession.lang.cexpr import CExpression

__all__ = ["MAX_BYTES", "MAX_STRUCT_BYTES", "field_of", "reads_memory", "write_field"]

MAX_BYTES = 256  # of buf() and arrays
MAX_STRUCT_BYTES = 4096
_ADDRESSES = {"ip4": 4, "ip6": 16, "mac": 6}
_COPIED = frozenset({Form.CHARS, Form.BYTES, Form.ARRAY, Form.IP6, Form.MAC})
_TEXTS = ("char", "unsigned char")

_KERNEL, _USER = FuncId.probe_read_kernel, FuncId.probe_read_user
_KERNEL_TEXT, _USER_TEXT = FuncId.probe_read_kernel_str, FuncId.probe_read_user_str


def field_of(text: str, item: Typed | Place | Shown) -> Field:
    """The field for the value of the expression `text`. Raises `CompileError`."""
    if isinstance(item, Shown):
        return _shown(text, item)
    type = item.type
    match type:
        case Integer():
            return _integer(text, type)
        case Pointer(to=Integer(name=name)) if name in _TEXTS:
            return Field(text, Form.TEXT, TEXT_BYTES)
        case Pointer(to=Opaque(name="funcproto")):
            return Field(text, Form.SYMBOL, 8)
        case Pointer():
            return Field(text, Form.POINTER, 8)
        case Array():
            return _array(text, type)
        case Record(id=id, size=size) if 0 < size <= MAX_STRUCT_BYTES and id > 0:
            return Field(text, Form.TYPED, size, type=TypeId(id))
    raise CompileError(f"'{text}' is {type}, which can't be shown", "expression").hint(
        "name a member"
    )


def _integer(text: str, type: Integer) -> Field:
    if type.enum:
        return Field(text, Form.TYPED, type.size, type.signed, TypeId(type.enum))
    if type.is_bool:
        return Field(text, Form.BOOL, type.size)
    form = Form.CHAR if type.name == "char" else Form.INT
    return Field(text, form, type.size, type.signed)


def _array(text: str, type: Array) -> Field:
    of = type.of
    if not isinstance(of, Integer) or not type.count:
        hint = "name an element, or buf(p, n)"
        raise CompileError(f"'{text}' is an array of {of}", "expression").hint(hint)
    size = min(type.size, MAX_BYTES // of.size * of.size)
    if of.name == "char":
        return Field(text, Form.CHARS, size)
    if of.size == 1:
        return Field(text, Form.BYTES, size)
    return Field(text, Form.ARRAY, size, of.signed, unit=of.size)


def _shown(text: str, item: Shown) -> Field:
    type = item.item.type
    form = Form.SYMBOL if item.form == "sym" else Form.TEXT if item.form == "str" else None
    if item.form == "buf" and 0 < item.size <= MAX_BYTES:
        return Field(text, Form.BYTES, item.size)
    if item.form == "str" and isinstance(type, Array) and type.count:
        return Field(text, Form.CHARS, min(type.size, MAX_BYTES))
    if form is not None:
        return Field(text, form, TEXT_BYTES if form is Form.TEXT else 8)
    if item.form in _ADDRESSES:
        return Field(text, Form(item.form), _ADDRESSES[item.form])
    if item.form == "buf":
        raise CompileError(f"buf() shows 1 to {MAX_BYTES} bytes", "expression")
    raise CompileError(f"{item.form} stands alone", "expression")


def reads_memory(field: Field, item: Typed | Place | Shown) -> bool:
    """Whether showing the value needs memory that may change: not the program's own."""
    plain = item.item if isinstance(item, Shown) else item
    if isinstance(plain, Place):
        return plain.trust is not Trust.MEMORY
    if field.form is Form.IP4:
        return isinstance(plain.type, Pointer)
    return field.form is Form.TEXT or field.form in _COPIED


def write_field(e: CExpression, field: Field, item: Typed | Place | Shown, at: Value) -> None:
    """Status and data at the address `at`; what can't be read goes on at the access's fault."""
    build = e.build
    plain = item.item if isinstance(item, Shown) else item
    to = build.add(at, STATUS_BYTES)
    if field.form is Form.TEXT:
        status = _copy(e, plain, to, field.size, is_text=True)
        build.store(at, 0, status, STATUS_BYTES, Space.MAP)
        return
    build.store(at, 0, build.const(0), STATUS_BYTES, Space.MAP)
    if field.form in _COPIED or not _is_word(plain.type, field):
        _copy(e, plain, to, field.size, is_text=False)
    else:
        build.store(to, 0, e.value(plain, None).value, 8, Space.MAP)


def _is_word(type: CType, field: Field) -> bool:
    if field.form is Form.IP4:
        return isinstance(type, Integer)
    return isinstance(type, Integer | Pointer)


def _copy(e: CExpression, item: Typed | Place, to: Value, size: int, *, is_text: bool) -> Value:
    """Bytes from where the item is, or points to. BTF made by gcc does not say which pointers are
    the process's (``struct sockaddr *`` of a system call): they are looked for in the kernel's
    memory first."""
    build = e.build
    kernel, user = (_KERNEL_TEXT, _USER_TEXT) if is_text else (_KERNEL, _USER)
    helpers: tuple[FuncId, ...] = (kernel,)
    if isinstance(item, Place) and not isinstance(item.type, Integer | Pointer):
        source, trust = build.add(item.base, item.offset), item.trust
    else:
        pointer = e.value(item, None)
        source, trust = pointer.value, pointer.trust
        helpers = (kernel, user) if trust is not Trust.MEMORY else helpers
    helpers = (user,) if trust is Trust.USER else helpers
    status = build.helper(helpers[0], to, build.const(size), source)
    for helper in helpers[1:]:
        again, found, done = build.block(), build.block(), build.block()
        build.branch(Test.SLT, status, build.const(0), again, found)
        build.begin(found)
        build.jump(done, status)
        build.begin(again)
        build.jump(done, build.helper(helper, to, build.const(size), source))
        (status,) = build.begin(done, 1)
    e.access.check(status)
    return status
