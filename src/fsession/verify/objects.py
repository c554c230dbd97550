"""Objects of the program's own types (bpf_obj_new), and the lists of map values that hold them.

An object is a reference until it is dropped or put into a list. Then its pointers may still be used
until the lock of the list is given back (`Flag.BORROWED`); after that they are numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Array, Ptr, Struct, TypeId, TypeTag, Union
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.special import LIST, TREE, Field
from fsession.verify.state import NOT_INIT, Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import StructRef, load_member

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.verify.kfunc_args import KfuncTarget
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = [
    "access_object",
    "acquire",
    "check_node",
    "drop",
    "held_in",
    "lend",
    "new",
    "pop",
    "push",
    "put",
    "root_at",
    "taken",
]

_NODES = {LIST: "bpf_list_node", TREE: "bpf_rb_node"}
_COUNT = "bpf_refcount"
_SPECIAL = {
    "bpf_spin_lock": 4, "bpf_res_spin_lock": 4, _COUNT: 4, "bpf_timer": 16, "bpf_wq": 16,
    "bpf_task_work": 8, LIST: 16, _NODES[LIST]: 24, TREE: 16, _NODES[TREE]: 32,
}  # fmt: skip
_PLAIN_DROPPED = (7, 2)  # since then tracing programs drop no others: they may run in any interrupt
_DEPTH = 16


def _fields(types: Types, id: TypeId, off: int = 0, depth: int = 0) -> list[Field]:
    """Those of an object with rules of their own."""
    kind = types[types.strip(id)]
    if isinstance(kind, Struct) and kind.name in _SPECIAL:
        return [Field(kind.name, off, _SPECIAL[kind.name])]
    if isinstance(kind, Ptr) and isinstance(types[kind.type], TypeTag):
        raise NotJudgedError("objects with tagged pointers")
    if depth > _DEPTH:
        raise NotJudgedError("objects that are nested too deep")
    if isinstance(kind, Array):
        if _fields(types, kind.type, off, depth + 1):
            raise NotJudgedError("objects with rows of special fields")
    elif isinstance(kind, Struct | Union):
        return [
            field
            for member in kind.members
            for field in _fields(types, member.type, off + member.bit_offset // 8, depth + 1)
        ]
    return []


def access_object(walk: Walk, state: State, number: int, reg: Reg, off: int, size: int) -> Reg:
    """A load or store of ``*(size *)(rN + off)``; what a load gives."""
    struct: StructRef = reg.aux
    at = reg.off + reg.range.smin + off
    for field in _fields(struct.types, struct.id):
        if not reg.range.mask and at < field.off + field.size and field.off < at + size:
            raise RefusedError(f"direct access to {field.kind} is disallowed", regs=(number,))
    found = load_member(walk, state, number, reg, off, size)
    return found if found.is_scalar else scalar()  # pointers in it are numbers


def new(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    number = walk.readable(state, 1)
    types = walk.subject.own_types
    if not number.is_scalar or number.range.mask:
        raise RefusedError("R1 must be a known constant", regs=(1,))
    need(state, number.deps)
    if types is None or not walk.subject.funcs:
        raise RefusedError("bpf_obj_new requires prog BTF")
    id = TypeId(number.range.value & 0xFFFF_FFFF)
    if not 0 < id < len(types) or types.kind_of(id) is not Struct:
        raise RefusedError(
            "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct", regs=(1,)
        )
    _fields(types, id)
    name = types.name_of(id)
    ref = walk.acquire(state, f"struct {name}")
    return pointer(Kind.BTF, StructRef(types, id, name), Flag.ALLOC | Flag.MAYBE_NULL, ref, ref)


def _object(walk: Walk, state: State, number: int) -> tuple[StructRef, Reg]:
    """The object that is given away: a reference."""
    reg = walk.readable(state, number)
    if reg.may_be_null:
        raise RefusedError(
            f"Possibly NULL pointer passed to trusted R{number}",
            advice="compare it with 0 first",
            regs=(number,),
        )
    if reg.kind != Kind.BTF or not reg.flags & Flag.ALLOC or not reg.ref:
        raise RefusedError(f"R{number} expected pointer to allocated object", regs=(number,))
    return reg.aux, reg


def drop(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    reg = walk.readable(state, 1)
    if not reg.ref and not reg.may_be_null:
        raise RefusedError(
            "release kfunc bpf_obj_drop expects referenced PTR_TO_BTF_ID passed to R1", regs=(1,)
        )
    struct, reg = _object(walk, state, 1)
    if reg.off or reg.range.mask or reg.range.value:
        raise RefusedError(
            "R1 must have zero offset when passed to release func or trusted arg to kfunc",
            regs=(1,),
        )
    if walk.limits.version >= _PLAIN_DROPPED and _fields(struct.types, struct.id):
        raise RefusedError(
            "bpf_obj_drop cannot be used in tracing programs on types with NMI unsafe fields",
            advice="put the object into a list again",
        )
    walk.release(state, reg.ref)
    return NOT_INIT


def root_at(walk: Walk, state: State, kind: str) -> Field:
    """The list or tree that r1 points to, whose lock is held."""
    reg = walk.readable(state, 1)
    if reg.kind != Kind.MAP_VALUE or reg.may_be_null:
        if reg.kind == Kind.BTF and reg.flags & Flag.ALLOC:
            raise NotJudgedError("lists and trees in objects")
        raise RefusedError("R1 expected pointer to map value or allocated object", regs=(1,))
    if reg.range.mask:
        raise RefusedError(
            f"R1 doesn't have constant offset. {kind} has to be at the constant offset", regs=(1,)
        )
    off = reg.off + reg.range.value
    fields = walk.fields(reg.aux)
    found = next((field for field in fields if field.kind == kind and field.off == off), None)
    if found is None:
        raise RefusedError(f"{kind} not found at offset={off}", regs=(1,))
    lock = next((field.off for field in fields if field.kind == "bpf_spin_lock"), None)
    if lock is None:
        raise NotJudgedError(f"a {kind} without a lock")
    if not state.lock or state.lock != reg.id:
        raise RefusedError(
            f"bpf_spin_lock at off={lock} must be held for {kind}",
            advice="the lock of the same value",
            regs=(1,),
        )
    return found


def held_in(walk: Walk, root: Field) -> tuple[StructRef, int]:
    """What a list or tree holds, and where in it the node is."""
    types = walk.subject.own_types
    if types is None or not walk.subject.funcs:
        raise NotJudgedError("lists and trees in programs without BTF")
    name, _, member = root.struct.partition(":")
    id = types.find(name, Struct)
    kind = types[id] if id is not None else None
    if id is not None and isinstance(kind, Struct):
        for part in kind.members:
            if part.name == member and types.name_of(types.strip(part.type)) == _NODES[root.kind]:
                return StructRef(types, id, name), part.bit_offset // 8
    raise NotJudgedError(f"a {root.kind} of {name}")


def check_node(walk: Walk, root: Field, reg: Reg) -> None:
    """r2 points to the node of an object that the list or tree holds such of."""
    struct, node = reg.aux, _NODES[root.kind]
    if reg.range.mask:
        raise RefusedError(
            f"R2 doesn't have constant offset. {node} has to be at the constant offset", regs=(2,)
        )
    off = reg.off + reg.range.value
    if not any(f.kind == node and f.off == off for f in _fields(struct.types, struct.id)):
        raise RefusedError(f"{node} not found at offset={off}", regs=(2,))
    wanted, at = held_in(walk, root)
    if (wanted, at) != (struct, off):
        raise RefusedError(
            f"operation on {root.kind} expects arg#1 {node} at offset={at} in struct "
            f"{wanted.name}, but arg is at offset={off} in struct {struct.name}",
            regs=(2,),
        )


def put(walk: Walk, state: State, kind: str) -> Field:
    """The list or tree of r1, into which the object whose node r2 points to may be put."""
    root = root_at(walk, state, kind)
    _, reg = _object(walk, state, 2)
    check_node(walk, root, reg)
    return root


def push(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """bpf_list_push_front, bpf_list_push_back: the object is the list's, and borrowed from it."""
    put(walk, state, LIST)
    if len(target.proto.params) > 3 and not walk.readable(state, 4).is_scalar:
        raise RefusedError("R4 is not a scalar", regs=(4,))
    lend(state, state.frame.regs[2].ref)
    return scalar()


def lend(state: State, ref: int) -> None:
    def lent(reg: Reg) -> Reg:
        if reg.ref != ref:
            return reg
        return reg._replace(flags=reg.flags | Flag.BORROWED, id=0, ref=0)

    state.change(lent)
    state.refs = tuple(held for held in state.refs if held.id != ref)


def pop(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """bpf_list_pop_front, bpf_list_pop_back: a pointer to the node of an object, or NULL."""
    return taken(walk, state, root_at(walk, state, LIST))


def taken(walk: Walk, state: State, root: Field) -> Reg:
    struct, off = held_in(walk, root)
    ref = walk.acquire(state, f"struct {struct.name}")
    return pointer(Kind.BTF, struct, Flag.ALLOC | Flag.MAYBE_NULL, ref, ref, off)


def acquire(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """bpf_refcount_acquire: a second reference to an object that counts them."""
    reg = walk.readable(state, 1)
    owned = reg.kind == Kind.BTF and reg.flags & Flag.ALLOC
    if not owned or not (reg.ref or reg.flags & Flag.BORROWED):
        raise RefusedError("R1 is neither owning or non-owning ref", regs=(1,))
    if reg.may_be_null:
        raise RefusedError("Possibly NULL pointer passed to trusted R1", regs=(1,))
    if reg.off or reg.range.mask or reg.range.value:
        raise NotJudgedError("bpf_refcount_acquire of a part of an object")
    struct: StructRef = reg.aux
    if not any(field.kind == _COUNT for field in _fields(struct.types, struct.id)):
        raise RefusedError("R1 doesn't point to a type with bpf_refcount field", regs=(1,))
    ref = walk.acquire(state, f"struct {struct.name}")
    return pointer(Kind.BTF, struct, Flag.ALLOC | Flag.MAYBE_NULL, ref, ref)
