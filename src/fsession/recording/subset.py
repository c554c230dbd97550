"""The part of a BTF that values of some types need: `Subset` copies it into a small BTF of its own.

What a pointer points to is copied by its name and kind only, since values do not follow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import (
    VOID,
    Array,
    Const,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Fwd,
    Int,
    Member,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeId,
    TypeTag,
    Union,
    Volatile,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types

__all__ = ["Subset", "check_value"]

_MAX_DEPTH = 16  # of structs and arrays in each other
_MAX_PARTS = 1 << 14  # of a value; a struct of 4096 bytes may have a bitmap in a union
_MAX_BYTES = 16  # of an argument


class Subset:
    """Types of `source` under ids of their own, in `builder`."""

    def __init__(self, source: Types) -> None:
        self.builder = Builder()
        self._source = source
        self._ids: dict[tuple[TypeId, bool], TypeId] = {}

    def add(self, id: TypeId) -> TypeId:
        """The new id of a type, with everything that its values are made of."""
        return self._add(id, True)

    def _add(self, id: TypeId, whole: bool) -> TypeId:
        if not id:
            return VOID
        known = self._ids.get((id, whole))
        if known is None:
            known = self._ids[id, whole] = self.builder.add(self._copy(self._source[id], whole))
        return known

    def _copy(self, type: Type, whole: bool) -> Type:
        match type:
            case Int() | Enum() | Enum64() | Float() | Fwd():
                return type
            case Ptr():
                return Ptr(self._add(type.type, False))
            case Const() | Volatile() | Restrict():
                return type.__class__(self._add(type.type, whole))
            case Typedef() | TypeTag():
                return type.__class__(type.name, self._add(type.type, whole))
            case Array():
                return Array(self._add(type.type, whole), VOID, type.nelems)
            case Struct() | Union():
                return self._struct(type) if whole else Fwd(type.name, isinstance(type, Union))
            case FuncProto():
                return FuncProto(VOID, ())
        raise BadInputError(f"{type!r} is not of a value")

    def _struct(self, type: Struct | Union) -> Struct | Union:
        members = tuple(
            Member(item.name, self._add(item.type, True), item.bit_offset, item.bits)
            for item in type.members
        )
        return type.__class__(type.name, type.size, members, type.kind_flag)


def check_value(types: Types, id: TypeId, most_bytes: int = _MAX_BYTES) -> None:
    """Raise `BadInputError` unless a value of a type can be read in a few steps."""
    _parts(types, id, most_bytes, 0, {})


def _parts(types: Types, id: TypeId, most_bytes: int, depth: int, known: dict[TypeId, int]) -> int:
    """Of how many parts a value is, at least one."""
    if depth > _MAX_DEPTH:
        raise BadInputError(f"BTF type {id} contains itself")
    if id in known:
        return known[id]
    if types.size_of(id) > most_bytes:
        raise BadInputError(f"{types.size_of(id)} bytes are no value")
    kind = types[types.strip(id)] if id else None
    parts = 1
    if isinstance(kind, Array):
        if kind.nelems > _MAX_PARTS:
            raise BadInputError(f"an array of {kind.nelems} elements is no value")
        parts = kind.nelems * _parts(types, kind.type, most_bytes, depth + 1, known)
    elif isinstance(kind, Struct | Union):
        parts = sum(
            _parts(types, member.type, most_bytes, depth + 1, known) for member in kind.members
        )
    elif isinstance(kind, Int) and not 0 < kind.bits <= 128:
        raise BadInputError(f"an integer of {kind.bits} bits is no value")
    elif isinstance(kind, Enum | Enum64) and not 0 < kind.size <= 8:
        raise BadInputError(f"an enum of {kind.size} bytes is no value")
    if parts > _MAX_PARTS:
        raise BadInputError(f"a value of {parts} elements is none")
    known[id] = max(parts, 1)
    return known[id]
