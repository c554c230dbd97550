"""The number that each kind of CO-RE relocation asks for, of a path in either BTF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.catalog import MAX_DEPTH
from fsession.btf.types import Array, Enum, Enum64, Int, Ptr, TypeId
from fsession.errors import BadInputError
from fsession.frozen import frozen
from fsession.uapi import CoreReloKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.core_path import Path
    from fsession.btf.types import Member

__all__ = ["Value", "value_of"]

_REGISTER_BITS = 64
_K = CoreReloKind


@frozen
class Value:
    """An answer, and what `apply` must know of it.

    `validate`: the compiler must have written this number into the instruction. `size` is that of
    a load or store of the field, 0 if it does not matter; `resizable` fields (pointers, unsigned
    integers) keep their value when loaded with another size.
    """

    number: int
    validate: bool = True
    size: int = 0
    resizable: bool = False
    pointer: bool = False


def value_of(kind: CoreReloKind, path: Path) -> Value:
    """The answer in the BTF that `path` belongs to, where it does exist."""
    return _VALUES[kind](path)


@frozen
class _Field:
    """Where a field is loaded from, in bytes, and its place in bits."""

    bit_offset: int
    bit_size: int
    byte_offset: int
    byte_size: int
    is_bits: bool
    type: TypeId


def _field(path: Path) -> _Field:
    member = path.member
    types = path.types
    if member is None:
        id = path.steps[-1].type
        size = types.size_of(id)
        return _Field(path.bit_offset, 8 * size, path.bit_offset // 8, size, False, id)
    id = types.strip(member.type)
    size = types.size_of(id)
    if member.bits:
        return _bit_field(path, member, id, size)
    return _Field(path.bit_offset, 8 * size, path.bit_offset // 8, size, False, id)


def _bit_field(path: Path, member: Member, id: TypeId, size: int) -> _Field:
    """The smallest aligned load that holds all bits, starting with one of the declared type."""
    end = path.bit_offset + member.bits
    size = max(size, 1)
    while True:
        at = path.bit_offset // 8 // size * size
        if end <= 8 * (at + size):
            return _Field(path.bit_offset, member.bits, at, size, True, id)
        if size >= _REGISTER_BITS // 8:
            raise BadInputError(f"CO-RE: bit-field '{path}' does not fit an 8-byte load")
        size *= 2


def _byte_offset(path: Path) -> Value:
    field = _field(path)
    if field.is_bits:
        return Value(field.byte_offset, validate=False)
    types, id = path.types, field.type
    for _ in range(MAX_DEPTH):  # an instruction on an array field loads its first element
        type = types[id]
        if not isinstance(type, Array):
            break
        id = types.strip(type.type)
    pointer = isinstance(type, Ptr)
    unsigned = isinstance(type, Int) and not type.is_signed
    size = types.size_of(id)
    return Value(field.byte_offset, size=size, resizable=pointer or unsigned, pointer=pointer)


def _byte_size(path: Path) -> Value:
    field = _field(path)
    return Value(field.byte_size, validate=not field.is_bits)


def _signed(path: Path) -> Value:
    type = path.types[_whole_field(path).type]
    return Value(int(isinstance(type, Int | Enum | Enum64) and type.is_signed))


def _lshift(path: Path) -> Value:
    """Bits above the field in a little-endian load of 8 bytes or less, widened to 64."""
    field = _whole_field(path)
    above = _REGISTER_BITS - (field.bit_offset + field.bit_size - 8 * field.byte_offset)
    return Value(above, validate=not field.is_bits)


def _rshift(path: Path) -> Value:
    return Value(_REGISTER_BITS - _whole_field(path).bit_size)


def _whole_field(path: Path) -> _Field:
    if path.member is None:
        raise BadInputError(f"CO-RE: '{path}' is an element, where a member is needed")
    return _field(path)


def _exists(path: Path) -> Value:
    return Value(1)


def _type_id(path: Path) -> Value:
    return Value(path.root, validate=False)  # ids change when objects are linked


def _type_size(path: Path) -> Value:
    return Value(path.types.size_of(path.root))


def _enum_value(path: Path) -> Value:
    step = path.steps[0]
    enum = path.types[step.type]
    assert isinstance(enum, Enum | Enum64)
    return Value(enum.values[step.index].value)


_VALUES: dict[CoreReloKind, Callable[[Path], Value]] = {
    _K.FIELD_BYTE_OFFSET: _byte_offset,
    _K.FIELD_BYTE_SIZE: _byte_size,
    _K.FIELD_EXISTS: _exists,
    _K.FIELD_SIGNED: _signed,
    _K.FIELD_LSHIFT_U64: _lshift,
    _K.FIELD_RSHIFT_U64: _rshift,
    _K.TYPE_ID_LOCAL: _type_id,
    _K.TYPE_ID_TARGET: _type_id,
    _K.TYPE_EXISTS: _exists,
    _K.TYPE_SIZE: _type_size,
    _K.TYPE_MATCHES: _exists,
    _K.ENUMVAL_EXISTS: _exists,
    _K.ENUMVAL_VALUE: _enum_value,
}
