"""Bytes of a C value to Python and back, by its BTF type. Pure; little endian.

| C | Python |
| --- | --- |
| integers, pointers | `int`, signed as in C |
| ``bool`` | `bool` |
| enums | `EnumValue`: an `int` that knows its `name` |
| ``float``, ``double`` | `float` |
| arrays of ``char`` | `bytes` up to the first NUL; `str` is accepted for writing |
| other arrays | `list` |
| structs, unions | `dict` by member name; members of anonymous ones as if they were its own |

Writing takes a `bytes` of the right size for any type, as it is. Members that a `dict` leaves out
are zero. A value that does not fit its C type raises `BadInputError` and names the member.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from fsession.btf.types import (
    Array,
    Enum,
    Enum64,
    Float,
    Int,
    Member,
    Ptr,
    Struct,
    TypeId,
    Union,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsession.btf.catalog import Types

__all__ = ["EnumValue", "decode_value", "encode_value"]

_FLOATS = {2: "<e", 4: "<f", 8: "<d"}


class EnumValue(int):
    """A value of an enum: compares as an `int`; `name` is "" where no enumerator has the value."""

    name: str

    def __new__(cls, value: int, name: str) -> EnumValue:
        self = super().__new__(cls, value)
        self.name = name
        return self

    def __repr__(self) -> str:
        return f"{self.name} ({int(self)})" if self.name else str(int(self))


def decode_value(types: Types, type_id: TypeId, data: bytes) -> Any:
    """The Python value of `data`, which has the type's size in bytes."""
    type_id = types.strip(type_id)
    size = types.size_of(type_id)
    if len(data) != size:
        raise BadInputError(f"{len(data)} bytes for a value of {size} bytes")
    return _decode(types, type_id, data)


def encode_value(types: Types, type_id: TypeId, value: Any, what: str = "value") -> bytes:
    """The bytes of a C value of the type. `what` names it in errors."""
    type_id = types.strip(type_id)
    size = types.size_of(type_id)
    if isinstance(value, (bytes, bytearray, memoryview)) and len(value) == size:
        return bytes(value)
    out = bytearray(size)
    _encode(types, type_id, value, out, what)
    return bytes(out)


def _decode(types: Types, type_id: TypeId, data: bytes) -> Any:
    kind = types[type_id]
    match kind:
        case Int():
            number = int.from_bytes(data, "little", signed=kind.is_signed)
            return bool(number) if kind.is_bool else number
        case Ptr():
            return int.from_bytes(data, "little")
        case Enum() | Enum64():
            return _decode_enum(kind, data)
        case Float():
            return _decode_float(kind, data)
        case Array():
            return _decode_array(types, kind, data)
        case Struct() | Union():
            return {
                member.name: _decode_member(types, member, offset, data)
                for member, offset in _members(types, kind)
            }
        case _:
            raise BadInputError(f"a {type(kind).__name__} has no value")


def _decode_enum(kind: Enum | Enum64, data: bytes) -> EnumValue:
    number = int.from_bytes(data, "little", signed=kind.is_signed)
    names = (item.name for item in kind.values if item.value == number)
    return EnumValue(number, next(names, ""))


def _decode_float(kind: Float, data: bytes) -> float | bytes:
    """A `float`; the raw bytes of a ``long double``, which Python has no format for."""
    form = _FLOATS.get(kind.size)
    return float(struct.unpack(form, data)[0]) if form else data


def _decode_array(types: Types, kind: Array, data: bytes) -> Any:
    element = types.strip(kind.type)
    if _is_char(types, element):
        return data.split(b"\0", 1)[0]
    size = types.size_of(element)
    return [_decode(types, element, data[at * size : (at + 1) * size]) for at in range(kind.nelems)]


def _decode_member(types: Types, member: Member, bit_offset: int, data: bytes) -> Any:
    type_id = types.strip(member.type)
    if not member.bits:
        start = bit_offset // 8
        return _decode(types, type_id, data[start : start + types.size_of(type_id)])
    number = int.from_bytes(data, "little") >> bit_offset & (1 << member.bits) - 1
    kind = types[type_id]
    if getattr(kind, "is_signed", False) and number >> (member.bits - 1):
        number -= 1 << member.bits
    if isinstance(kind, Enum | Enum64):
        names = (item.name for item in kind.values if item.value == number)
        return EnumValue(number, next(names, ""))
    return bool(number) if isinstance(kind, Int) and kind.is_bool else number


def _members(types: Types, kind: Struct | Union, base: int = 0) -> Iterator[tuple[Member, int]]:
    """Named members with their bit offset in the outermost struct, anonymous ones opened up."""
    for member in kind.members:
        inner = types[types.strip(member.type)]
        if not member.name and isinstance(inner, Struct | Union):
            yield from _members(types, inner, base + member.bit_offset)
        elif member.name:
            yield member, base + member.bit_offset


def _is_char(types: Types, type_id: TypeId) -> bool:
    kind = types[type_id]
    return isinstance(kind, Int) and kind.size == 1 and (kind.is_char or kind.name == "char")


def _encode(types: Types, type_id: TypeId, value: Any, out: bytearray, what: str) -> None:
    """Write `value` into `out`, which is zero and has the type's size."""
    kind = types[type_id]
    match kind:
        case Int() | Ptr() | Enum() | Enum64():
            _encode_integer(kind, value, out, what)
        case Float():
            _encode_float(kind, value, out, what)
        case Array():
            _encode_array(types, kind, value, out, what)
        case Struct() | Union():
            _encode_members(types, kind, value, out, what)
        case _:
            raise BadInputError(f"{what}: a {type(kind).__name__} has no value")


def _encode_integer(kind: Int | Ptr | Enum | Enum64, value: Any, out: bytearray, what: str) -> None:
    if isinstance(value, str) and isinstance(kind, Enum | Enum64):
        value = _enumerator(kind, value, what)
    signed = getattr(kind, "is_signed", False)
    out[:] = _bits(value, len(out) * 8, signed, what).to_bytes(len(out), "little")


def _enumerator(kind: Enum | Enum64, name: str, what: str) -> int:
    for item in kind.values:
        if item.name == name:
            return item.value
    raise BadInputError(f"{what}: enum {kind.name} has no '{name}'")


def _bits(value: Any, bits: int, signed: bool, what: str) -> int:
    """`value` as an unsigned number of so many bits; both readings of a signed one are taken."""
    if not isinstance(value, int):
        raise BadInputError(f"{what}: an integer is wanted, not {type(value).__name__}")
    low = -(1 << bits - 1) if signed else 0
    if not low <= value < 1 << bits:
        raise BadInputError(f"{what}: {value} does not fit {bits} bits")
    return value & (1 << bits) - 1


def _encode_float(kind: Float, value: Any, out: bytearray, what: str) -> None:
    form = _FLOATS.get(kind.size)
    if form is None or not isinstance(value, int | float):
        raise BadInputError(f"{what}: can't make a {kind.name} from {type(value).__name__}")
    out[:] = struct.pack(form, value)


def _encode_array(types: Types, kind: Array, value: Any, out: bytearray, what: str) -> None:
    element = types.strip(kind.type)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes | bytearray) and types.size_of(element) == 1:
        if len(value) > len(out):
            raise BadInputError(f"{what}: {len(value)} bytes do not fit {len(out)}")
        out[: len(value)] = value
        return
    if not isinstance(value, list | tuple) or len(value) > kind.nelems:
        raise BadInputError(f"{what}: a list of at most {kind.nelems} elements is wanted")
    size = types.size_of(element)
    for at, item in enumerate(value):
        out[at * size : (at + 1) * size] = encode_value(types, element, item, f"{what}[{at}]")


def _encode_members(
    types: Types, kind: Struct | Union, value: Any, out: bytearray, what: str
) -> None:
    if not isinstance(value, dict):
        raise BadInputError(f"{what}: a dict of members is wanted, not {type(value).__name__}")
    members = {member.name: (member, offset) for member, offset in _members(types, kind)}
    for name, item in value.items():
        if name not in members:
            raise BadInputError(f"{what}: {kind.name or 'the struct'} has no member '{name}'")
        member, offset = members[name]
        _encode_member(types, member, offset, item, out, f"{what}.{name}")


def _encode_member(
    types: Types, member: Member, bit_offset: int, value: Any, out: bytearray, what: str
) -> None:
    type_id = types.strip(member.type)
    if not member.bits:
        data = encode_value(types, type_id, value, what)
        out[bit_offset // 8 : bit_offset // 8 + len(data)] = data
        return
    signed = bool(getattr(types[type_id], "is_signed", False))
    field = _bits(value, member.bits, signed, what) << bit_offset
    mask = (1 << member.bits) - 1 << bit_offset
    whole = int.from_bytes(out, "little") & ~mask | field
    out[:] = whole.to_bytes(len(out), "little")
