"""Values of expressions in a record: how each is laid out, and how its bytes become a value.

A field is 8 bytes of status, then its data, filled up to whole words::

    byte  0                                        8
    +----------------------------------------------+-----------------------+
    | status s64: 0, a length, or a negative errno | data, `Field.size`    |
    +----------------------------------------------+-----------------------+

The status of texts is their length with the NUL, that of stacks their size in bytes. `NOT_SAVED`
says that a value of the entry could not be carried to the exit.

A `Field` is plain data, so that a record can be read elsewhere, with the types that it names.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING

from fsession.btf.types import Int, TypeId
from fsession.frozen import frozen
from fsession.trace.network import ip4, ip6
from fsession.trace.record import NOT_SAVED, STRING_LENGTH
from fsession.trace.values import (
    FAULT,
    LOST,
    Address,
    Named,
    Pointer,
    Stack,
    Value,
    function_reader,
    int_reader,
    reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.catalog import Types

__all__ = ["STACK_BYTES", "STATUS", "STATUS_BYTES", "Field", "Form", "field_reader", "stack_value"]

STATUS = STRING_LENGTH
STATUS_BYTES = STATUS.size
STACK_BYTES = 8 * 48  # frames


_OWN_FRAMES = 4


class Form(StrEnum):
    """What the data of a field are."""

    INT = "int"
    BOOL = "bool"
    CHAR = "char"
    POINTER = "pointer"
    SYMBOL = "symbol"
    TYPED = "typed"  # by its BTF type: an enum, a struct, a union, an array
    TEXT = "text"  # what a char * points to
    CHARS = "chars"  # a char array
    BYTES = "bytes"
    ARRAY = "array"  # of integers of `unit` bytes
    IP4 = "ip4"
    IP6 = "ip6"
    MAC = "mac"
    KSTACK = "kstack"
    USTACK = "ustack"


@frozen
class Field:
    """The value of the expression `text`: `size` bytes of data; `type` is that of TYPED ones.

    `owner`: it is only a part of what is shown of that argument, by the printer `printer`.
    """

    text: str
    form: Form
    size: int
    signed: bool = False
    type: TypeId = TypeId(0)
    unit: int = 0
    at_exit: bool = True
    owner: str = ""
    printer: str = ""

    @property
    def argument(self) -> str:
        """The name of the argument that the value is what it points to, "" for other values."""
        whole = self.text[1:] if self.text.startswith("*") else ""
        return self.owner or (whole if whole.isidentifier() else "")

    @property
    def room(self) -> int:
        """Bytes in a record."""
        return STATUS_BYTES + self.size + -self.size % 8


def field_reader(
    field: Field, types: Types, symbol: Callable[[int], str | None]
) -> Callable[[bytes | memoryview, int], Value]:
    """From a record and the place of a field in it to its value."""
    convert = _converter(field, types, symbol)
    start, size = STATUS_BYTES, field.size

    def read(record: bytes | memoryview, at: int) -> Value:
        (status,) = STATUS.unpack_from(record, at)
        if status < 0:
            return LOST if status == NOT_SAVED else FAULT
        data = bytes(record[at + start : at + start + size])
        if len(data) < size:
            raise struct.error("a field behind the end")
        return convert(data, status)

    return read


def _converter(
    field: Field, types: Types, symbol: Callable[[int], str | None]
) -> Callable[[bytes, int], Value]:
    form = field.form
    if form is Form.TEXT:
        return _text
    if form in (Form.KSTACK, Form.USTACK):
        name = symbol if form is Form.KSTACK else _no_symbol
        return lambda data, size: stack_value(data[:size], name)
    if form is Form.ARRAY:
        return lambda data, _: _array(field, data)
    from_bytes = _BYTES.get(form)
    if from_bytes is not None:
        return lambda data, _: from_bytes(data)
    word = _word_reader(field, types, symbol)
    return lambda data, _: word(int.from_bytes(data, "little"))


def _word_reader(
    field: Field, types: Types, symbol: Callable[[int], str | None]
) -> Callable[[int], Value]:
    if field.form is Form.TYPED:
        return reader(types, field.type, symbol)
    if field.form is Form.POINTER:
        return Pointer
    if field.form is Form.SYMBOL:
        return function_reader(symbol)
    encoding = {Form.BOOL: 4, Form.INT: int(field.signed), Form.CHAR: int(field.signed)}
    name = "char" if field.form is Form.CHAR else ""
    return int_reader(Int(name, field.size, 8 * field.size, encoding[field.form]))


def _no_symbol(_: int) -> None:
    """Addresses of a process are nobody's in the kernel."""


def _text(data: bytes, length: int) -> Value:
    text = data.split(b"\0", 1)[0]
    cut = length >= len(data) and len(text) >= len(data) - 1
    return text.decode("utf-8", "backslashreplace") + ("…" if cut else "")


def _is_trampoline(name: str | None) -> bool:
    return name is not None and name.startswith("bpf_trampoline_")


def _array(field: Field, data: bytes) -> Value:
    parts = [data[at : at + field.unit] for at in range(0, len(data), field.unit)]
    return [int.from_bytes(part, "little", signed=field.signed) for part in parts]


def stack_value(data: bytes, symbol: Callable[[int], str | None]) -> Value:
    """The frames, the innermost first, without those of the tracer's own program and trampoline."""
    words = struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])
    names = [(word, symbol(word)) for word in words if word]
    tops = [at for at, (_, name) in enumerate(names[:_OWN_FRAMES]) if _is_trampoline(name)]
    names = names[tops[-1] + 1 :] if tops else names
    return Stack(Named(word, name) if name else Pointer(word) for word, name in names)


_BYTES: dict[Form, Callable[[bytes], Value]] = {
    Form.BYTES: lambda data: data,
    Form.CHARS: lambda data: data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace"),
    Form.IP4: ip4,
    Form.IP6: ip6,
    Form.MAC: lambda data: Address(data.hex(":")),
}
