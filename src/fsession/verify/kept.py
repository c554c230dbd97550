"""Kernel pointers that are kept in map values: loaded, stored, exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Struct
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.show import kind_text
from fsession.verify.special import KEPT
from fsession.verify.state import ZERO, Flag, Kind, pointer
from fsession.verify.structs import StructRef
from fsession.verify.trust import in_rcu

if TYPE_CHECKING:
    from fsession.verify.special import Field
    from fsession.verify.state import Reg, State
    from fsession.verify.walk import Walk

__all__ = ["check_kept", "exchanged", "load_kept", "store_kept"]

_SINCE = (6, 4)  # before, the tags had other names


def _struct_of(walk: Walk, field: Field) -> StructRef:
    types = walk.subject.types
    id = types.find(field.struct, Struct) if types is not None else None
    if types is None or id is None or walk.limits.version < _SINCE:
        raise NotJudgedError(f"a pointer to struct {field.struct} in a map")
    return StructRef(types, id, field.struct)


def load_kept(walk: Walk, state: State, field: Field) -> Reg:
    """Nothing keeps what it points to alive but RCU."""
    safe = field.kind == KEPT and in_rcu(walk, state)
    flags = Flag.MAYBE_NULL | (Flag.RCU if safe else Flag.UNTRUSTED)
    return pointer(Kind.BTF, _struct_of(walk, field), int(flags), walk.new_id())


def store_kept(walk: Walk, state: State, field: Field, value: Reg, number: int | None) -> None:
    """`number` is the register of the value, None for a constant."""
    if field.kind == KEPT:
        raise RefusedError(
            "store to referenced kptr disallowed", advice="bpf_kptr_xchg() puts a pointer there"
        )
    if value.is_scalar and value.range == ZERO:
        need(state, value.deps)
        return
    if number is None:
        raise RefusedError(f"BPF_ST imm must be 0 when storing to kptr at off={field.off}")
    check_kept(walk, field, number, value)


def check_kept(walk: Walk, field: Field, number: int, reg: Reg) -> None:
    """Raises where the pointer is not of the field's type."""
    struct = _struct_of(walk, field)
    loose = field.kind != KEPT
    allowed = Flag.MAYBE_NULL | Flag.TRUSTED | Flag.RCU | (Flag.UNTRUSTED if loose else 0)
    moved = reg.off or reg.range.mask or reg.range.value
    if reg.kind == Kind.BTF and not (reg.flags & ~allowed or moved) and reg.aux == struct:
        return
    name = f"{kind_text(reg)}{reg.aux.name}" if reg.kind == Kind.BTF else kind_text(reg)
    expected = f"ptr_{struct.name}"
    raise RefusedError(
        f"invalid kptr access, R{number} type={name} expected={expected}"
        + (f" or untrusted_{expected}" if loose else ""),
        regs=(number,),
    )


def exchanged(walk: Walk, state: State, field: Field) -> Reg:
    """What was there is the program's now: a reference, or NULL."""
    ref = walk.acquire(state, f"struct {field.struct}")
    return pointer(Kind.BTF, _struct_of(walk, field), Flag.MAYBE_NULL, ref, ref)
