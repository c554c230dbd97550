"""Loads through pointers to the kernel's structures: which member, and what it gives.

How far a pointer found there may be trusted follows from the pointer it was found by and from the
member: see "Trust" in docs/verify.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fsession.btf.catalog import MAX_DEPTH
from fsession.btf.types import (
    Array,
    Const,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeId,
    TypeTag,
    Union,
    Volatile,
)
from fsession.verify.problem import RefusedError
from fsession.verify.ranges import UNKNOWN as _UNKNOWN
from fsession.verify.ranges import Range, unsigned_range
from fsession.verify.state import Flag, Kind, Reg, pointer, scalar
from fsession.verify.trust import member_flags

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["StructRef", "load_member", "pointee", "tags_of"]


class StructRef(NamedTuple):
    """A struct or union of a kernel's BTF, as pointers have it."""

    types: Types
    id: TypeId
    name: str


def pointee(types: Types, id: TypeId) -> StructRef | None:
    """The struct that the pointer type `id` points to, without qualifiers; None: another thing."""
    pointer_id = types.strip(id)
    if types.kind_of(pointer_id) is not Ptr:
        return None
    target = types.strip(types.ref(pointer_id))
    if types.kind_of(target) not in (Struct, Union):
        return None
    return StructRef(types, target, types.name_of(target))


def tags_of(types: Types, id: TypeId) -> set[str]:
    """The type tags between a pointer and what it points to: ``rcu``, ``user``, ``percpu``."""
    found: set[str] = set()
    pointer_id = types.strip(id)
    if types.kind_of(pointer_id) is not Ptr:
        return found
    at = types.ref(pointer_id)
    for _ in range(MAX_DEPTH):
        kind = types[at]
        if isinstance(kind, TypeTag):
            found.add(kind.name)
        if not isinstance(kind, Typedef | Const | Volatile | Restrict | TypeTag):
            break
        at = kind.type
    return found


def load_member(walk: Walk, state: State, number: int, reg: Reg, off: int, size: int) -> Reg:
    """What ``*(size *)(rN + off)`` gives, rN pointing into a struct."""
    struct: StructRef = reg.aux
    if reg.range.mask:
        raise RefusedError(
            f"R{number} is ptr_{struct.name} invalid variable offset: off={off}",
            advice="members are read at known offsets",
            regs=(number,),
        )
    at = reg.off + reg.range.smin + off
    if at < 0:
        raise RefusedError(
            f"R{number} is ptr_{struct.name} invalid negative access: off={at}", regs=(number,)
        )
    if reg.flags & (Flag.USER | Flag.PERCPU):
        where = "user" if reg.flags & Flag.USER else "percpu"
        raise RefusedError(
            f"R{number} is ptr_{struct.name} access {where} memory: off={at}",
            advice="read it with bpf_probe_read_user" if where == "user" else "bpf_per_cpu_ptr()",
            regs=(number,),
        )
    found = _find(struct, at, size, number)
    if found is None:
        return scalar(_number(size))
    return _pointer(walk, state, reg, found)


def _number(size: int) -> Range:
    return _UNKNOWN if size == 8 else unsigned_range(0, (1 << 8 * size) - 1)


class _Found(NamedTuple):
    """A pointer: the struct that holds it, its name and type; whether in a union of several."""

    holder: StructRef
    member: str
    type: TypeId
    in_union: bool


def _find(struct: StructRef, at: int, size: int, number: int) -> _Found | None:
    """The pointer at byte `at`; None: a number.

    The first member that the bytes overlap decides. Raises where they are not inside one.
    """
    types, id = struct.types, struct.id
    in_union = False
    for _ in range(MAX_DEPTH):
        kind = types[id]
        assert isinstance(kind, Struct | Union)
        in_union = in_union or (isinstance(kind, Union) and len(kind.members) != 1)
        if at + size > kind.size:
            inner = _behind(types, kind, at, number, size)
            if inner is None:
                return None
            id, at = inner
            continue
        step = _step(types, kind, at, size, number, in_union=in_union)
        if step is None:
            return None
        member, element, start = step
        inner_id = types.strip(element)
        if types.kind_of(inner_id) is Ptr:
            return _Found(StructRef(types, id, kind.name), member, element, in_union)
        id, at = inner_id, at - start
    raise RefusedError("the structure is nested too deep")


def _behind(
    types: Types, kind: Struct | Union, at: int, number: int, size: int
) -> tuple[TypeId, int] | None:
    """Bytes behind the struct's size: elements of a last array that has no length of its own."""
    last = kind.members[-1] if kind.members else None
    array = types[types.strip(last.type)] if last is not None else None
    if last is not None and isinstance(array, Array) and not array.nelems:
        start, element = last.bit_offset // 8, types.strip(array.type)
        if at >= start and isinstance(types[element], Int):
            return None
        if at >= start and isinstance(types[element], Struct | Union):
            return element, (at - start) % max(types.size_of(element), 1)
    raise RefusedError(
        f"access beyond struct {kind.name} at off {at} size {size}",
        advice=f"struct {kind.name} has {kind.size} bytes",
        regs=(number,),
    )


def _step(
    types: Types, kind: Struct | Union, at: int, size: int, number: int, *, in_union: bool
) -> tuple[str, TypeId, int] | None:
    """Member, type and start of the pointer or struct that holds the bytes; None: a number.

    An array of numbers may be read across its elements, and in a union across its members.
    """
    for member in kind.members:
        start, end = member.bit_offset // 8, at + size
        if end <= start:
            break
        if member.bits:
            if at <= start and -(-(member.bit_offset + member.bits) // 8) <= end:
                return None
            continue
        if at < start:
            break
        length, element = types.size_of(member.type), member.type
        last = start + length
        if at >= start + length:
            continue
        inner = types[types.strip(element)]
        if isinstance(inner, Array):
            element, width = _element(types, inner)
            start += (at - start) // width * width
            length = width
            inner = types[types.strip(element)]
        if isinstance(inner, Struct | Union):
            return member.name, element, start
        if isinstance(inner, Ptr) and (size != length or at != start):
            raise RefusedError(
                f"cannot access ptr member {member.name} with moff {start} in struct {kind.name} "
                f"with off {at} size {size}",
                regs=(number,),
            )
        if isinstance(inner, Ptr) and pointee(types, element) is not None:
            return member.name, element, start
        if end > last and not in_union:
            raise RefusedError(
                f"access beyond the end of member {member.name} (mend:{last}) in "
                f"struct {kind.name} with off {at} size {size}",
                regs=(number,),
            )
        return None
    raise RefusedError(f"struct {kind.name} doesn't have field at offset {at}", regs=(number,))


def _element(types: Types, array: Array) -> tuple[TypeId, int]:
    """The innermost element of arrays of arrays, and its size."""
    id: TypeId = array.type
    for _ in range(MAX_DEPTH):
        kind = types[types.strip(id)]
        if not isinstance(kind, Array):
            break
        id = kind.type
    return id, types.size_of(id)


def _pointer(walk: Walk, state: State, reg: Reg, found: _Found) -> Reg:
    types = found.holder.types
    target = pointee(types, found.type)
    if target is None:
        return scalar()
    tags = tags_of(types, found.type)
    flags = member_flags(walk, state, reg, found.holder, found.member, tags)
    if found.in_union:
        flags |= Flag.UNTRUSTED
    made = pointer(Kind.BTF, target, flags)
    return made._replace(id=walk.new_id()) if flags & Flag.MAYBE_NULL else made
