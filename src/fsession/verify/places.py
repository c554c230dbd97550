"""Arguments of helpers that are fields of map values: where a lock, a timer, a kept pointer is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.verify.args import wrong_type
from fsession.verify.problem import RefusedError
from fsession.verify.special import KEPT, TIMER
from fsession.verify.state import Kind

if TYPE_CHECKING:
    from fsession.verify.special import Field
    from fsession.verify.state import Reg
    from fsession.verify.walk import Walk

__all__ = ["check_field", "check_place"]


def check_field(walk: Walk, number: int, reg: Reg, kind: str) -> None:
    """Register `number` points to the lock or timer of a map value."""
    if reg.kind != Kind.MAP_VALUE or reg.may_be_null:
        raise wrong_type(number, reg, "map_value" if kind == TIMER else "map_value, ptr_")
    if reg.range.mask:
        raise RefusedError(
            f"R{number} doesn't have constant offset. {kind} has to be at the constant offset",
            regs=(number,),
        )
    name = reg.aux.name
    if not reg.aux.value_type:
        raise RefusedError(f"map '{name}' has to have BTF in order to use {kind}")
    found = next((field for field in walk.fields(reg.aux) if field.kind == kind), None)
    if found is None:
        raise RefusedError(f"map '{name}' has no valid {kind}")
    off = reg.off + reg.range.value
    if off != found.off:
        raise RefusedError(
            f"off {off} doesn't point to 'struct {kind}' that is at {found.off}", regs=(number,)
        )


def check_place(walk: Walk, number: int, reg: Reg) -> Field:
    """The field that the first argument of bpf_kptr_xchg points to."""
    if reg.kind != Kind.MAP_VALUE or reg.may_be_null:
        raise wrong_type(number, reg, "map_value, ptr_, ptr_, rcu_ptr_")
    if reg.range.mask:
        raise RefusedError(
            f"R{number} doesn't have constant offset. kptr has to be at the constant offset",
            regs=(number,),
        )
    name = reg.aux.name
    if not reg.aux.value_type:
        raise RefusedError(f"map '{name}' has to have BTF in order to use bpf_kptr_xchg")
    fields = [field for field in walk.fields(reg.aux) if field.is_pointer]
    if not fields:
        raise RefusedError(f"map '{name}' has no valid kptr")
    off = reg.off + reg.range.value
    found = next((field for field in fields if field.off == off), None)
    if found is None:
        raise RefusedError(f"off={off} doesn't point to kptr", regs=(number,))
    if found.kind != KEPT:
        raise RefusedError(f"off={off} kptr isn't referenced kptr", regs=(number,))
    return found
