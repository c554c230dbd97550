"""Kernel functions with rules of their own: sessions, sections, casts, slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Struct, TypeId
from fsession.verify import dynptrs, iterators, objects, trees
from fsession.verify.callbacks import value_args
from fsession.verify.kfunc_args import KfuncTarget, check_args
from fsession.verify.places import check_field
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.special import WORK
from fsession.verify.state import NOT_INIT, Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import StructRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsession.spec import MapSpec
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["SPECIAL"]

_COOKIE_BYTES = 8


def _context(walk: Walk, state: State, target: KfuncTarget) -> None:
    if not target.proto.params:
        raise NotJudgedError(f"{target.name} without a context, as before Linux 7.0")
    reg = walk.readable(state, 1)
    if reg.kind != Kind.CTX:
        raise RefusedError("arg#0 expected pointer to ctx, but got something else", regs=(1,))
    if reg.off or reg.range.mask or reg.range.value:
        raise RefusedError(
            f"dereference of modified ctx ptr R1 off={reg.off} disallowed", regs=(1,)
        )


def _is_return(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    _context(walk, state, target)
    return scalar()


def _cookie(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    _context(walk, state, target)
    return pointer(Kind.MEM, _COOKIE_BYTES)


def _rcu_lock(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    if state.rcu and walk.limits.version < (6, 18):
        raise RefusedError("nested rcu read lock (kernel function bpf_rcu_read_lock)")
    state.rcu += 1
    return NOT_INIT


def _rcu_unlock(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    if not state.rcu:
        raise RefusedError("unmatched rcu read unlock (kernel function bpf_rcu_read_unlock)")
    state.rcu -= 1
    if not state.rcu:

        def ended(reg: Reg) -> Reg:
            """Pointers of the section may be stale from here on."""
            if not reg.flags & Flag.RCU:
                return reg
            flags = reg.flags & ~(Flag.RCU | Flag.MAYBE_NULL) | Flag.UNTRUSTED
            return reg._replace(flags=flags)

        state.change(ended)
        iterators.leave_rcu(state)
    return NOT_INIT


def _preempt_disable(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    state.preempt += 1
    return NOT_INIT


def _preempt_enable(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    if not state.preempt:
        raise RefusedError(
            "unmatched attempt to enable preemption (kernel function bpf_preempt_enable)"
        )
    state.preempt -= 1
    return NOT_INIT


def _rdonly_cast(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """Anything read as a struct: loads do not fault, and what comes out is not trusted."""
    walk.readable(state, 1)
    number = walk.readable(state, 2)
    types = walk.subject.types
    if not number.is_scalar or number.range.mask:
        raise RefusedError("R2 must be a known constant", regs=(2,))
    need(state, number.deps)
    id = TypeId(number.range.value)
    if types is None or not 0 < id < len(types) or types.kind_of(id) is not Struct:
        raise RefusedError("kfunc bpf_rdonly_cast type ID argument must be of a struct")
    return pointer(Kind.BTF, StructRef(types, id, types.name_of(id)), Flag.UNTRUSTED)


def _slice(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """bpf_dynptr_slice, bpf_dynptr_slice_rdwr: bytes of a dynptr, as many as the last argument."""
    check_args(walk, state, target)
    size = state.frame.regs[4].range.value & 0xFFFF_FFFF
    rdonly = not target.name.endswith("_rdwr")
    return dynptrs.data(walk, state, 1, size, rdonly=rdonly)


def _work(walk: Walk, state: State) -> MapSpec:
    """The map that the first argument, a queue of work, is in a value of."""
    reg = walk.readable(state, 1)
    if reg.kind != Kind.MAP_VALUE or reg.may_be_null:
        raise RefusedError("R1 doesn't point to a map value", regs=(1,))
    check_field(walk, 1, reg, WORK)
    spec: MapSpec = reg.aux
    return spec


def _number(walk: Walk, state: State, number: int) -> None:
    if not walk.readable(state, number).is_scalar:
        raise RefusedError(f"R{number} is not a scalar", regs=(number,))


def _work_init(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    spec = _work(walk, state)
    map = walk.readable(state, 2)
    if map.kind != Kind.MAP or map.may_be_null:
        raise RefusedError("R2 pointer to map expected", regs=(2,))
    if map.aux is not spec:
        raise RefusedError(
            "workqueue pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0",
            advice="a queue of work is made with the map that it is in",
            regs=(1, 2),
        )
    _number(walk, state, 3)
    return scalar()


def _work_start(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    _work(walk, state)
    _number(walk, state, 2)
    return scalar()


def _work_callback(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    """The function will be called by a thread of the kernel, where it may sleep."""
    spec = _work(walk, state)
    function = walk.readable(state, 2)
    if function.kind != Kind.FUNC:
        raise RefusedError("R2 expected pointer to func", regs=(2,))
    _number(walk, state, 3)
    walk.enter_later(function.aux, value_args(walk, spec), sleepable=True)
    return scalar()


SPECIAL: dict[str, Callable[[Walk, State, KfuncTarget], Reg]] = {
    "bpf_dynptr_slice": _slice,
    "bpf_dynptr_slice_rdwr": _slice,
    "bpf_rdonly_cast": _rdonly_cast,
    "bpf_session_is_return": _is_return,
    "bpf_session_cookie": _cookie,
    "bpf_rcu_read_lock": _rcu_lock,
    "bpf_rcu_read_unlock": _rcu_unlock,
    "bpf_preempt_disable": _preempt_disable,
    "bpf_preempt_enable": _preempt_enable,
    **dict.fromkeys(("bpf_obj_new", "bpf_obj_new_impl"), objects.new),
    **dict.fromkeys(("bpf_obj_drop", "bpf_obj_drop_impl"), objects.drop),
    **dict.fromkeys(("bpf_list_push_front", "bpf_list_push_front_impl"), objects.push),
    **dict.fromkeys(("bpf_list_push_back", "bpf_list_push_back_impl"), objects.push),
    **dict.fromkeys(("bpf_list_pop_front", "bpf_list_pop_back"), objects.pop),
    **dict.fromkeys(("bpf_refcount_acquire", "bpf_refcount_acquire_impl"), objects.acquire),
    **dict.fromkeys(("bpf_rbtree_add", "bpf_rbtree_add_impl"), trees.add),
    "bpf_rbtree_first": trees.first,
    "bpf_rbtree_remove": trees.remove,
    "bpf_wq_init": _work_init,
    "bpf_wq_set_callback": _work_callback,
    "bpf_wq_set_callback_impl": _work_callback,
    "bpf_wq_start": _work_start,
}
