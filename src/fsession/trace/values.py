"""Words of a call as values, and values as text, by their BTF types.

`reader` makes a function from a word (an int of 64 bits, or of 128 for a struct in two slots) to a
value of Python, once for each parameter. Values are plain: `bool`, `int`, `str`, `bytes`, `dict`
for a struct, `list`, and kinds of `int` and `str` that know how they are written: `Named` (an enum,
a function, a character), `Pointer`, `Errno` and `Address`. `text` writes any of them as the trace
shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import (
    Array,
    Enum,
    Enum64,
    FuncProto,
    Int,
    Member,
    Ptr,
    Struct,
    TypeId,
    Union,
)
from fsession.errors import errno_name
from fsession.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.catalog import Types

__all__ = [
    "FAULT",
    "FIRST_ERRNO",
    "LOST",
    "Address",
    "Errno",
    "Named",
    "Pointer",
    "Stack",
    "Unreadable",
    "Value",
    "function_reader",
    "int_reader",
    "reader",
    "result_reader",
    "text",
]

MAX_ERRNO = 4095  # include/linux/err.h
TEXT_CHARS = 64
_U64 = (1 << 64) - 1
FIRST_ERRNO = (1 << 64) - MAX_ERRNO  # of those that a word may hold
_BITS_OF_ADDRESS = 47  # an unsigned number from here on is shown like an address
_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", 10: "\\n", 13: "\\r", 9: "\\t"}


class Named(int):
    """A number with a name: `label` is the enumerator, the symbol, the quoted character."""

    label: str

    def __new__(cls, value: int, label: str) -> Named:
        self = super().__new__(cls, value)
        self.label = label
        return self

    def __str__(self) -> str:
        return self.label


class Pointer(int):
    """An address of the kernel or of a process; an error, if the kernel says it so."""

    @property
    def errno(self) -> int:
        """Of an ``ERR_PTR``, positive; 0 for any other pointer."""
        return _errno_of(self)

    def __str__(self) -> str:
        if self.errno:
            return f"ERR_PTR(-{errno_name(self.errno)})"
        return f"{int(self):#x}" if self else "NULL"


class Errno(int):
    """A result from -4095 to -1: ``-ENOMEM (-12)``."""

    def __str__(self) -> str:
        name = errno_name(-self)
        return f"{int(self)}" if name.startswith("errno ") else f"-{name} ({int(self)})"


class Address(str):
    """Of a network: shown without quotes."""

    __slots__ = ()


@frozen
class Unreadable:
    """In place of a text that could not be had."""

    why: str

    def __str__(self) -> str:
        return f"<{self.why}>"


FAULT = Unreadable("fault")
LOST = Unreadable("lost")


class Stack(list["Value"]):
    """Frames, the innermost first."""

    __slots__ = ()


Value = bool | int | str | bytes | dict[str, "Value"] | list["Value"] | Unreadable | None


def text(value: Value) -> str:
    """As the trace shows it: ``-12``, ``0xffff…``, ``"lo"``, ``{.a=1}``; None is a null pointer."""
    if type(value) is int:  # the two usual kinds first
        return f"{value:#x}" if value >> _BITS_OF_ADDRESS > 0 else str(value)
    if type(value) is Pointer and 0 < value < FIRST_ERRNO:
        return f"{value:#x}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if isinstance(value, Address) else _quote(value)
    if isinstance(value, bytes):
        return value.hex(" ")
    if isinstance(value, dict):
        return "{" + ", ".join(f".{name}={text(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(text(part) for part in value) + "]"
    return "NULL" if value is None else str(value)


def _quote(string: str) -> str:
    cut = string if len(string) <= TEXT_CHARS else string[: TEXT_CHARS - 1] + "…"
    return '"' + "".join(map(_escape, cut)) + '"'


def _escape(char: str) -> str:
    code = ord(char)
    if code in _ESCAPES:
        return _ESCAPES[code]
    return char if char.isprintable() else f"\\x{code:02x}"


def reader(
    types: Types,
    type_id: TypeId,
    symbol: Callable[[int], str | None] = lambda _: None,
    name: str = "",
) -> Callable[[int], Value]:
    """From the word or words of an argument to its value. `symbol` names a function's address,
    `name` is the argument's."""
    from fsession.trace.network import network_reader  # which needs the values of this module

    read = network_reader(types, type_id, name)
    if read is not None:
        return read
    kind = types[types.strip(type_id)]
    match kind:
        case Int():
            return int_reader(kind)
        case Enum() | Enum64():
            return _enum_reader(kind)
        case Ptr():
            is_function = isinstance(types[types.strip(kind.type)], FuncProto)
            return function_reader(symbol) if is_function else Pointer
        case Struct() | Union():
            return _struct_reader(types, kind, symbol)
        case Array():
            return _array_reader(types, kind, symbol)
    return lambda word: word


def result_reader(
    types: Types, type_id: TypeId, symbol: Callable[[int], str | None] = lambda _: None
) -> Callable[[int], Value]:
    """As `reader`, for what a function returned: None for void, small negatives are `Errno`."""
    if not type_id:
        return lambda _: None
    read = reader(types, type_id, symbol)
    kind = types[types.strip(type_id)]
    if isinstance(kind, Int) and kind.size >= 4 and (kind.is_signed or kind.size == 8):

        def read_result(word: int) -> Value:
            value = read(word)
            if type(value) is not int or 0 <= value < FIRST_ERRNO:
                return value
            errno = _errno_of(value)
            return Errno(-errno) if errno else value

        return read_result
    return read


def _errno_of(value: int) -> int:
    """The errno that a word of 64 bits or a signed number stands for, positive, or 0."""
    errno = -value & _U64
    return errno if 0 < errno <= MAX_ERRNO else 0


def int_reader(kind: Int) -> Callable[[int], Value]:
    mask = (1 << kind.bits) - 1
    sign = 1 << (kind.bits - 1)
    if kind.is_bool:
        return lambda word: bool(word & mask)
    if kind.name == "char":
        return lambda word: _char(word & mask)
    if kind.is_signed:
        return lambda word: ((word & mask) ^ sign) - sign
    return lambda word: word & mask


def _char(value: int) -> Value:
    return Named(value, repr(chr(value))) if 32 <= value < 127 else value


def _enum_reader(kind: Enum | Enum64) -> Callable[[int], Value]:
    mask = (1 << kind.size * 8) - 1
    names: dict[int, str] = {}
    for item in kind.values:
        names.setdefault(item.value & mask, item.name)
    flags = _flags(names)
    sign = 1 << (kind.size * 8 - 1) if kind.is_signed else 0

    def read(word: int) -> Value:
        word &= mask
        number = (word ^ sign) - sign if sign else word
        name = names.get(word) or _flag_names(flags, word)
        return Named(number, name) if name else number

    return read


def _flags(names: dict[int, str]) -> dict[int, str]:
    """The single bits, if the enum is one of flags: at least two, and nothing but single bits,
    unions of them and 0. A counting enum has 1 and 2 too, but then also 3 without being made of
    flags: so three values in a row from 1 on make it none.
    """
    bits = {value: name for value, name in names.items() if value and not value & (value - 1)}
    every = sum(bits)
    union = all(not value & ~every for value in names)
    counts = 3 in names or (len(bits) == 2 and 1 in bits and 2 in bits)
    return bits if len(bits) >= 2 and union and not counts else {}


def _flag_names(flags: dict[int, str], word: int) -> str:
    named = [name for bit, name in flags.items() if word & bit]
    rest = word & ~sum(flags)
    return "|".join([*named, f"{rest:#x}"] if rest else named) if named else ""


def function_reader(symbol: Callable[[int], str | None]) -> Callable[[int], Value]:
    def read(word: int) -> Value:
        name = symbol(word) if word and not _errno_of(word) else None
        return Named(word, name) if name else Pointer(word)

    return read


def _struct_reader(
    types: Types, kind: Struct | Union, symbol: Callable[[int], str | None]
) -> Callable[[int], Value]:
    parts = [(member, _member_reader(types, member, symbol)) for member in kind.members]

    def read(word: int) -> Value:
        out: dict[str, Value] = {}
        for member, part in parts:
            value = part(word >> member.bit_offset)
            if member.name:
                out[member.name] = value
            elif isinstance(value, dict):  # an anonymous struct or union
                out |= value
        return out

    return read


def _member_reader(
    types: Types, member: Member, symbol: Callable[[int], str | None]
) -> Callable[[int], Value]:
    kind = types[types.strip(member.type)]
    if member.bits and isinstance(kind, Int):
        return int_reader(Int(kind.name, kind.size, member.bits, kind.encoding))
    read = reader(types, member.type, symbol, member.name)
    mask = (1 << (member.bits or 8 * types.size_of(member.type))) - 1
    return lambda word: read(word & mask)


def _array_reader(
    types: Types, kind: Array, symbol: Callable[[int], str | None]
) -> Callable[[int], Value]:
    element = types[types.strip(kind.type)]
    if isinstance(element, Int) and element.name == "char":
        return lambda word: _chars(word, kind.nelems)
    read = reader(types, kind.type, symbol)
    bits = 8 * types.size_of(kind.type)
    mask = (1 << bits) - 1
    return lambda word: [read(word >> index * bits & mask) for index in range(kind.nelems)]


def _chars(word: int, count: int) -> Value:
    raw = (word & (1 << 8 * count) - 1).to_bytes(count, "little")
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
