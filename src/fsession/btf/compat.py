"""When two types of different BTF objects count as the same for CO-RE.

Three questions, from the laxest to the strictest: may one field stand for another
(`fields_compatible`), is it the same type by name and kind (`types_compatible`), does the whole
definition agree (`types_match`). Names are compared without the flavor: of ``task_struct___old``
only ``task_struct`` counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fsession.btf.catalog import MAX_DEPTH
from fsession.btf.strings import essential
from fsession.btf.types import (
    Array,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Struct,
    Type,
    TypeId,
    Union,
    Void,
)
from fsession.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.btf.catalog import Types

__all__ = ["Pair", "fields_compatible", "same_kind", "types_compatible", "types_match"]

_NAMED = (Fwd, Enum, Enum64)
_WITHOUT_LAYOUT = (Void, Struct, Union, Enum, Enum64, Fwd)


class Pair(NamedTuple):
    """A type of a program's BTF and one of the kernel's that may stand for it."""

    local: Types
    local_id: TypeId
    target: Types
    target_id: TypeId

    def at(self, local_id: TypeId, target_id: TypeId) -> Pair:
        return self._replace(local_id=local_id, target_id=target_id)

    def stripped(self) -> tuple[Type, Type]:
        """Both types without qualifiers and typedefs."""
        local, target = self.local, self.target
        return local[local.strip(self.local_id)], target[target.strip(self.target_id)]


def same_kind(local: Type | type, target: Type | type) -> bool:
    """Enums of both widths are one kind to CO-RE, otherwise kinds must be equal."""
    a = local if isinstance(local, type) else type(local)
    b = target if isinstance(target, type) else type(target)
    return a is b or {a, b} == {Enum, Enum64}


def fields_compatible(pair: Pair) -> bool:
    """Whether a member may stand for another one of the same name.

    Any struct or union for any other, any integer for any other, any pointer for any other;
    enums by name; arrays by their elements.
    """
    for _ in range(MAX_DEPTH):
        local, target = pair.stripped()
        if isinstance(local, Struct | Union) and isinstance(target, Struct | Union):
            return True
        if not same_kind(local, target):
            return False
        if isinstance(local, _NAMED):
            return _names_equal_or_absent(local, target)
        if isinstance(local, Int):
            return _whole_bytes(local, target)
        if not (isinstance(local, Array) and isinstance(target, Array)):
            return isinstance(local, Ptr | Float)
        pair = pair.at(local.type, target.type)
    raise _too_deep(pair)


def types_compatible(pair: Pair, depth: int = MAX_DEPTH) -> bool:
    """Whether types whose names agree are the same kind of thing, down to what pointers lead to."""
    if not depth:
        raise _too_deep(pair)
    local, target = pair.stripped()
    if not same_kind(local, target):
        return False
    if isinstance(local, Int):
        return _whole_bytes(local, target)
    return isinstance(local, _WITHOUT_LAYOUT) or _parts_agree(
        pair, local, target, lambda inner: types_compatible(inner, depth - 1)
    )


def types_match(pair: Pair, *, behind_pointer: bool = False, depth: int = MAX_DEPTH) -> bool:
    """Whether the program's definition is part of the kernel's: same names, members, signs, sizes.

    Behind a pointer only the name and kind of a struct or union count, and a forward declaration
    stands for it.
    """
    if not depth:
        raise _too_deep(pair)
    local, target = pair.stripped()
    if essential(_name(local)) != essential(_name(target)):
        return False
    if behind_pointer and isinstance(local, Fwd | Struct | Union):
        return _tag(local) == _tag(target)
    if not same_kind(local, target):
        return False
    if isinstance(local, Struct | Union) and isinstance(target, Struct | Union):
        return _members_match(pair, local, target, depth)
    if isinstance(local, Array) and isinstance(target, Array) and local.nelems != target.nelems:
        return False
    behind = behind_pointer or isinstance(local, Ptr)
    return _leaf_matches(local, target) or _parts_agree(
        pair,
        local,
        target,
        lambda inner: types_match(inner, behind_pointer=behind, depth=depth - 1),
    )


def _parts_agree(pair: Pair, local: Type, target: Type, agree: Callable[[Pair], bool]) -> bool:
    """Ask `agree` for what a pointer, array or prototype is made of; False for other kinds."""
    if isinstance(local, Ptr | Array) and isinstance(target, Ptr | Array):
        return agree(pair.at(local.type, target.type))
    if not (isinstance(local, FuncProto) and isinstance(target, FuncProto)):
        return False
    if len(local.params) != len(target.params):
        return False
    both = zip(local.params, target.params, strict=True)
    params = all(agree(pair.at(mine.type, theirs.type)) for mine, theirs in both)
    return params and agree(pair.at(local.type, target.type))


def _leaf_matches(local: Type, target: Type) -> bool:
    """For kinds without parts: whether the definitions agree."""
    if isinstance(local, Int) and isinstance(target, Int):
        return local.size == target.size and local.is_signed == target.is_signed
    if isinstance(local, Enum | Enum64) and isinstance(target, Enum | Enum64):
        theirs = {essential(value.name) for value in target.values}
        return all(essential(value.name) in theirs for value in local.values)
    if isinstance(local, Fwd) and isinstance(target, Fwd):
        return local.is_union == target.is_union
    return isinstance(local, Void)


def _members_match(pair: Pair, local: Struct | Union, target: Struct | Union, depth: int) -> bool:
    """Each member of the program's struct has one in the kernel's with its name and type."""
    theirs: dict[str, list[TypeId]] = {}
    for member in target.members:
        theirs.setdefault(essential(member.name), []).append(member.type)
    return all(
        any(
            types_match(pair.at(member.type, id), depth=depth - 1)
            for id in theirs.get(essential(member.name), ())
        )
        for member in local.members
    )


def _tag(type: Type) -> str:
    """``struct`` or ``union``, of definitions and forward declarations alike; "" for others."""
    if isinstance(type, Fwd):
        return "union" if type.is_union else "struct"
    return {Struct: "struct", Union: "union"}.get(type.__class__, "")


def _name(type: Type) -> str:
    return getattr(type, "name", "")


def _names_equal_or_absent(local: Type, target: Type) -> bool:
    mine, theirs = essential(_name(local)), essential(_name(target))
    return not mine or not theirs or mine == theirs


def _whole_bytes(local: Type, target: Type) -> bool:
    """False for the bit-field integers that old compilers made types of."""
    return not getattr(local, "bit_offset", 0) and not getattr(target, "bit_offset", 0)


def _too_deep(pair: Pair) -> BadInputError:
    return BadInputError(f"BTF type {pair.local_id}: more than {MAX_DEPTH} types in each other")
