"""Whether a type of an object and one of the kernel are the same for CO-RE.

Three degrees. `fields_fit`: a field can be read as the object expects; structs fit each other, and
integers whatever their size. `types_fit`: the same kind all the way down through pointers, arrays
and prototypes; names below the first are not looked at. `types_match`: all that the object's type
has is there in the kernel's, members and enumerators by name, integers of the same size and sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import (
    Array,
    Const,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Restrict,
    Struct,
    TypeTag,
    Union,
    Void,
    Volatile,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.btf.types import Type, TypeId

__all__ = ["essential_name", "fields_fit", "types_fit", "types_match"]

_FLAVOUR = "___"
_DEPTH = 32
_QUALIFIERS = (Const, Volatile, Restrict, TypeTag)


def essential_name(name: str) -> str:
    """The name without its flavour: ``sk_buff`` of ``sk_buff___v2``."""
    base, separator, _ = name.partition(_FLAVOUR)
    return base if separator and base else name


def fields_fit(local: Types, one: TypeId, types: Types, other: TypeId) -> bool:
    """Whether field `other` of the kernel can be read as the object's `one`."""
    for _ in range(_DEPTH):
        left, right = local[local.strip(one)], types[types.strip(other)]
        if isinstance(left, Array) and isinstance(right, Array):
            one, other = left.type, right.type
            continue
        if isinstance(left, Struct | Union):
            return isinstance(right, Struct | Union)
        if isinstance(left, Enum | Enum64) and isinstance(right, Enum | Enum64):
            return _names_fit(left.name, right.name)
        if isinstance(left, Fwd) and isinstance(right, Fwd):
            return _names_fit(left.name, right.name)
        return type(left) is type(right) and isinstance(left, Ptr | Int | Float)
    raise BadInputError("CO-RE: arrays nested too deeply")


def _names_fit(one: str, other: str) -> bool:
    """Of enums and forward declarations: alike, or one of them has none."""
    return not one or not other or essential_name(one) == essential_name(other)


def types_fit(local: Types, one: TypeId, types: Types, other: TypeId, depth: int = _DEPTH) -> bool:
    """Whether the kernel's `other` is the same kind of type as the object's `one`."""
    if not depth:
        raise BadInputError("CO-RE: types nested too deeply")
    left, right = local[local.strip(one)], types[types.strip(other)]
    if isinstance(left, Enum | Enum64) and isinstance(right, Enum | Enum64):
        return True
    if type(left) is not type(right):
        return False
    match left:
        case Void() | Struct() | Union() | Fwd() | Int():
            return True
        case Ptr() | Array():
            assert isinstance(right, Ptr | Array)
            return types_fit(local, left.type, types, right.type, depth - 1)
        case FuncProto():
            assert isinstance(right, FuncProto)
            return _protos(types_fit, local, left, types, right, depth)
        case _:
            return False


def types_match(
    local: Types,
    one: TypeId,
    types: Types,
    other: TypeId,
    depth: int = _DEPTH,
    *,
    behind_pointer: bool = False,
) -> bool:
    """Whether all of the object's `one` is in the kernel's `other`.

    Behind a pointer, structs are compared by name only.
    """
    if not depth:
        raise BadInputError("CO-RE: types nested too deeply")
    left, right = local[_unqualified(local, one)], types[_unqualified(types, other)]
    if essential_name(getattr(left, "name", "")) != essential_name(getattr(right, "name", "")):
        return False
    left, right = local[local.strip(one)], types[types.strip(other)]
    if behind_pointer and isinstance(left, Fwd | Struct | Union):
        return _same_composite(left, right)
    if isinstance(left, Enum | Enum64) and isinstance(right, Enum | Enum64):
        return behind_pointer or _enumerators_match(left, right)
    if type(left) is not type(right):
        return False
    match left, right:
        case (Struct(), Struct()):
            return _members_match(local, left, types, right, depth)
        case (Union(), Union()):
            return _members_match(local, left, types, right, depth)
        case Int(), Int():
            return left.size == right.size and left.is_signed == right.is_signed
        case Ptr(), Ptr():
            return types_match(local, left.type, types, right.type, depth - 1, behind_pointer=True)
        case Array(), Array():
            same = left.nelems == right.nelems
            return same and types_match(local, left.type, types, right.type, depth - 1)
        case FuncProto(), FuncProto():
            return _protos(types_match, local, left, types, right, depth)
        case (Void(), Void()) | (Float(), Float()) | (Fwd(), Fwd()):
            return True
        case _:
            return False


def _same_composite(left: Fwd | Struct | Union, right: Type) -> bool:
    """A struct for a struct, declared or defined; a union for a union."""
    if not isinstance(right, Fwd | Struct | Union):
        return False
    return _is_union(left) == _is_union(right)


def _is_union(kind: Fwd | Struct | Union) -> bool:
    return isinstance(kind, Union) or (isinstance(kind, Fwd) and kind.is_union)


def _members_match(
    local: Types, left: Struct | Union, types: Types, right: Struct | Union, depth: int
) -> bool:
    """Every member of the object's struct is in the kernel's, by name."""
    by_name = {essential_name(member.name): member for member in right.members if member.name}
    anonymous = [member for member in right.members if not member.name]
    for member in left.members:
        found = [by_name[member.name]] if member.name in by_name else []
        others = found if member.name else anonymous
        if not any(
            types_match(local, member.type, types, other.type, depth - 1) for other in others
        ):
            return False
    return True


def _enumerators_match(left: Enum | Enum64, right: Enum | Enum64) -> bool:
    names = {essential_name(item.name) for item in right.values}
    return all(essential_name(item.name) in names for item in left.values)


def _protos(
    compare: object, local: Types, left: FuncProto, types: Types, right: FuncProto, depth: int
) -> bool:
    assert callable(compare)
    if len(left.params) != len(right.params):
        return False
    pairs = [(left.type, right.type)]
    pairs += [(a.type, b.type) for a, b in zip(left.params, right.params, strict=True)]
    return all(compare(local, one, types, other, depth - 1) for one, other in pairs)


def _unqualified(types: Types, type_id: TypeId) -> TypeId:
    """Without const, volatile, restrict and type tags; a typedef keeps its name."""
    for _ in range(_DEPTH):
        kind = types[type_id]
        if not isinstance(kind, _QUALIFIERS):
            return type_id
        type_id = kind.type
    raise BadInputError("CO-RE: qualifiers nested too deeply")
