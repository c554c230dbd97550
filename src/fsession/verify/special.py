"""Fields of map values with rules of their own: locks, timers, work, lists, pointers that are kept.

Loads and stores leave locks and timers alone; of a kept pointer (kptr) they take the whole. What
refers to a field is found by the map's type; `Field.kind` is the name that messages have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fsession.btf.types import Array, DeclTag, Ptr, Struct, TypeTag, Union
from fsession.uapi import MapType
from fsession.verify.problem import NotJudgedError, RefusedError

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.btf.types import TypeId
    from fsession.spec import MapSpec
    from fsession.verify.state import Reg

__all__ = [
    "KEPT",
    "LIST",
    "LOCK",
    "LOOSE",
    "TIMER",
    "TREE",
    "WORK",
    "Field",
    "check_plain",
    "field_at",
    "special_fields",
]

LOCK, TIMER, WORK = "bpf_spin_lock", "bpf_timer", "bpf_wq"
KEPT, LOOSE = "kptr", "kptr_untrusted"
LIST, TREE = "bpf_list_head", "bpf_rb_root"
_SIZES = {LOCK: 4, TIMER: 16, WORK: 16, LIST: 16, TREE: 16}
_NOT_JUDGED = (
    "bpf_list_node", "bpf_rb_node", "bpf_refcount",
    "bpf_task_work", "bpf_res_spin_lock",
)  # fmt: skip
_DEPTH = 16
_STORED = {MapType.HASH, MapType.ARRAY}
_MAPS = {
    LOCK: _STORED | {MapType.TASK_STORAGE, MapType.CGRP_STORAGE},
    TIMER: _STORED | {MapType.LRU_HASH},
    WORK: _STORED | {MapType.LRU_HASH},
    LIST: _STORED | {MapType.LRU_HASH},
    TREE: _STORED | {MapType.LRU_HASH},
    KEPT: _STORED | {MapType.LRU_HASH},
    LOOSE: _STORED | {MapType.LRU_HASH},
}
_WITH_DESTRUCTOR = ("task_struct", "cgroup")
_ACCESS_RIGHTS = 1 << 7 | 1 << 8  # BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG


class Field(NamedTuple):
    """`size` bytes at `off`. Of a pointer `struct` is the name of what it points to, of a list what
    it holds and the name of the node in it, with a colon between."""

    kind: str
    off: int
    size: int
    struct: str = ""

    @property
    def is_pointer(self) -> bool:
        return self.kind in (KEPT, LOOSE)


def special_fields(spec: MapSpec, types: Types | None) -> tuple[Field, ...]:
    """Those of a map's value, by `types`. Raises `NotJudgedError` for kinds that are not judged."""
    if types is None or not spec.value_type:
        return ()
    found: list[Field] = []
    _collect(spec, types, spec.value_type, 0, found)
    for field in found:
        if spec.type not in _MAPS[field.kind] or spec.flags & _ACCESS_RIGHTS:
            raise _not_judged(spec, field.kind)
    alone = [field.kind for field in found if not field.is_pointer]
    if len(alone) != len(set(alone)):
        raise _not_judged(spec, "second lock, timer or work")
    return tuple(found)


def _not_judged(spec: MapSpec, what: str) -> NotJudgedError:
    return NotJudgedError(f"map '{spec.name}', whose values have a {what}")


def _collect(
    spec: MapSpec, types: Types, id: TypeId, off: int, found: list[Field], depth: int = 0
) -> None:
    id = types.strip(id)
    kind = types[id]
    if isinstance(kind, Ptr):
        _collect_pointer(spec, types, kind, off, found)
    elif isinstance(kind, Array):
        inner: list[Field] = []
        _collect(spec, types, kind.type, off, inner, depth + 1)
        if inner:
            raise _not_judged(spec, f"row of {inner[0].kind}")
    elif isinstance(kind, Struct | Union):
        if kind.name in _SIZES:
            found.append(Field(kind.name, off, _SIZES[kind.name]))
            return
        if kind.name in _NOT_JUDGED or depth > _DEPTH:
            raise _not_judged(spec, kind.name or "structure that is too deep")
        before = len(found)
        for index, member in enumerate(kind.members):
            at = off + member.bit_offset // 8
            name = types.name_of(types.strip(member.type))
            if name in (LIST, TREE):
                found.append(Field(name, at, _SIZES[name], _held_by(spec, types, id, index)))
                continue
            _collect(spec, types, member.type, at, found, depth + 1)
        if isinstance(kind, Union) and len(found) > before:
            raise _not_judged(spec, f"{found[-1].kind} in a union")


def _held_by(spec: MapSpec, types: Types, holder: TypeId, index: int) -> str:
    """What the tag of a list says: ``contains:STRUCT:MEMBER``."""
    for tag in types:
        if isinstance(tag, DeclTag) and (tag.type, tag.component) == (holder, index):
            word, _, rest = tag.name.partition(":")
            if word == "contains":
                return rest
    raise _not_judged(spec, "list or tree of what is not said")


def _collect_pointer(spec: MapSpec, types: Types, kind: Ptr, off: int, found: list[Field]) -> None:
    tag = types[kind.type]
    if not isinstance(tag, TypeTag):
        return
    target = types[types.strip(tag.type)]
    if (
        not isinstance(target, Struct)
        or tag.name not in (KEPT, LOOSE)
        or (tag.name == KEPT and target.name not in _WITH_DESTRUCTOR)
    ):
        raise _not_judged(spec, f"pointer tagged {tag.name}")
    found.append(Field(tag.name, off, 8, target.name))


def field_at(
    fields: tuple[Field, ...], number: int, reg: Reg, off: int, size: int, *, direct: bool
) -> Field | None:
    """The kept pointer that ``*(size *)(rN + off)`` is, where it is one. Raises where the access,
    wherever in its bounds it is, touches a field otherwise. `direct`: by a load or store."""
    low, high = reg.range.smin + reg.off + off, reg.range.umax + reg.off + off + size
    for field in fields:
        if not (low < field.off + field.size and field.off < high):
            continue
        if not field.is_pointer:
            raise RefusedError(
                f"{field.kind} cannot be accessed directly by load/store", regs=(number,)
            )
        _check_whole(field, number, reg, off, size, direct=direct)
        return field
    return None


def _check_whole(field: Field, number: int, reg: Reg, off: int, size: int, *, direct: bool) -> None:
    at = reg.range.value + reg.off + off
    if not direct:
        words = "kptr cannot be accessed indirectly by helper"
    elif reg.range.mask:
        words = "kptr access cannot have variable offset"
    elif at != field.off:
        words = f"kptr access misaligned expected={field.off} off={at}"
    elif size != field.size:
        words = "kptr access size must be BPF_DW"
    else:
        return
    raise RefusedError(
        words, advice="a pointer in a map is loaded whole, or exchanged by bpf_kptr_xchg()",
        regs=(number,),
    )  # fmt: skip


def check_plain(fields: tuple[Field, ...], number: int, reg: Reg, off: int, size: int) -> None:
    """Raises where an atomic operation touches a field."""
    if field_at(fields, number, reg, off, size, direct=True) is not None:
        raise RefusedError(
            "kptr in map can only be accessed using BPF_MEM instruction mode", regs=(number,)
        )
