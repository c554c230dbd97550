"""Calls of kernel functions: prototypes from BTF, what BTF does not say from `fsession.calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Enum, Enum64, Func, Int, Ptr, TypeId
from fsession.calls import KfuncFlag, Only, find_kfunc
from fsession.uapi import AttachType, ProgType
from fsession.verify import iterators
from fsession.verify.kfunc_args import KfuncTarget, check_args
from fsession.verify.kfunc_rules import SPECIAL
from fsession.verify.locks import check_no_lock
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.state import NOT_INIT, ZERO, Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import pointee
from fsession.verify.trees import COMPARISON
from fsession.verify.trust import in_rcu
from fsession.verify.widen import widen

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.isa.insn import Insn
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["call_kfunc", "is_iter_next"]

_SESSIONS = (AttachType.TRACE_FSESSION, AttachType.TRACE_FSESSION_MULTI)
_COUNTS_UNDER_LOCK = (7, 0)


def is_iter_next(walk_types: Types | None, insn: Insn) -> bool:
    """Whether the call steps an iterator, or calls back: it is walked until nothing changes."""
    if walk_types is None or not insn.is_kfunc_call or insn.off:
        return False
    if not 0 < insn.imm < len(walk_types):
        return False
    name = walk_types.name_of(TypeId(insn.imm))
    if name.startswith(COMPARISON):
        return True
    found = find_kfunc(name)
    return found is not None and KfuncFlag.ITER_NEXT in found.flags


def call_kfunc(walk: Walk, state: State, insn: Insn) -> int:
    """Check one call; r0 is the result, r1 to r5 are gone."""
    target = _find(walk, insn)
    if not _may_hold_lock(walk, target.name):
        check_no_lock(state)
    _check_place(walk, state, target)
    regs = state.frame.regs
    special = SPECIAL.get(target.name)
    if special is not None:
        result = special(walk, state, target)
    elif target.has(KfuncFlag.ITER_NEXT):
        return _iter_next(walk, state, target)
    else:
        check_args(walk, state, target)
        if target.has(KfuncFlag.RELEASE):
            _release(walk, state)
        result = _result(walk, state, target)
    regs[1:6] = [NOT_INIT] * 5
    regs[0] = result
    return state.at + 1


def _may_hold_lock(walk: Walk, name: str) -> bool:
    counts = name.startswith("bpf_iter_num_") and walk.limits.version >= _COUNTS_UNDER_LOCK
    return counts or name.startswith(("bpf_list_", "bpf_rbtree_", "bpf_refcount_acquire"))


def _find(walk: Walk, insn: Insn) -> KfuncTarget:
    types = walk.subject.types if not insn.off else walk.subject.modules.get(insn.off)
    if types is None:
        raise NotJudgedError("a kernel function of BTF that is not here")
    if not 0 < insn.imm < len(types) or types.kind_of(TypeId(insn.imm)) is not Func:
        raise RefusedError(f"kernel btf_id {insn.imm} is not a function")
    name = types.name_of(TypeId(insn.imm))
    kfunc = find_kfunc(name)
    if kfunc is None:
        raise NotJudgedError(f"the kernel function {name}")
    return KfuncTarget(name, types, types.prototype(TypeId(insn.imm)), kfunc)


def _check_place(walk: Walk, state: State, target: KfuncTarget) -> None:
    name, subject = target.name, walk.subject
    since = tuple(map(int, target.kfunc.since.split(".")))
    refused = f"calling kernel function {name} is not allowed"
    if since > walk.limits.version:
        raise RefusedError(refused, advice=f"it exists since Linux {target.kfunc.since}")
    if target.kfunc.only is Only.FSESSION:
        if subject.attach_type not in _SESSIONS:
            raise RefusedError(refused, advice='only sessions (SEC("fsession/…")) have it')
    elif target.kfunc.only is not Only.EVERYWHERE:
        raise RefusedError(refused, advice=f"it is for {target.kfunc.only.value}")
    if subject.type != ProgType.TRACING:
        raise NotJudgedError(f"{name} in programs that are not tracing programs")
    if target.has(KfuncFlag.SLEEPABLE):
        if not state.sleepable:
            raise RefusedError(f"program must be sleepable to call sleepable kfunc {name}")
        if state.rcu:
            raise RefusedError(f"kernel func {name} is sleepable within rcu_read_lock region")
        if state.preempt:
            raise RefusedError(f"kernel func {name} is sleepable within non-preemptible region")
    if target.has(KfuncFlag.DESTRUCTIVE):
        raise NotJudgedError(f"{name}, which is destructive")
    if target.has(KfuncFlag.RCU_PROTECTED) and not in_rcu(walk, state):
        raise RefusedError(f"{name} must be called in RCU critical section")


def _iter_next(walk: Walk, state: State, target: KfuncTarget) -> int:
    """Two ways: there is an element, and the loop goes on; there is none."""
    walk.readable(state, 1)
    struct = pointee(target.types, target.proto.params[0].type)
    assert struct is not None
    name = struct.name.removeprefix("bpf_")
    size = target.types.size_of(struct.id)
    depth, slots = iterators.find(walk, state, 1, name, size)
    result = _result(walk, state, target)
    if result.kind == Kind.MEM:  # it lies in the iterator, and is gone with it
        result = result._replace(ref=iterators.reference(state, depth, slots))
    if result.kind == Kind.BTF and iterators.is_rcu(state, depth, slots):
        result = result._replace(flags=result.flags & ~Flag.TRUSTED | Flag.RCU)
    other = walk.fork(state, state.at + 1)
    iterators.set_active(other, depth, slots, active=True, drained=False)
    widen(state, other)
    other.loops += 1
    other.frame.regs[1:6] = [NOT_INIT] * 5
    other.frame.regs[0] = result._replace(flags=result.flags & ~Flag.MAYBE_NULL, id=0)
    iterators.set_active(state, depth, slots, active=False, drained=True)
    state.frame.regs[1:6] = [NOT_INIT] * 5
    state.frame.regs[0] = scalar(ZERO)
    return state.at + 1


def _release(walk: Walk, state: State) -> None:
    reg = state.frame.regs[1]
    if not any(ref.id == reg.ref for ref in state.refs):
        raise RefusedError("R1 must be referenced", regs=(1,))
    walk.release(state, reg.ref)


def _result(walk: Walk, state: State, target: KfuncTarget) -> Reg:
    types, id = target.types, target.proto.type
    if id == 0:
        return NOT_INIT
    kind = types[types.strip(id)]
    if isinstance(kind, Int | Enum | Enum64):
        return scalar()
    if not isinstance(kind, Ptr):
        raise NotJudgedError(f"the result of {target.name}")
    flags = int(Flag.MAYBE_NULL) if target.has(KfuncFlag.RET_NULL) else 0
    struct = pointee(types, id)
    if struct is not None:
        made_id = walk.new_id() if flags else 0
        ref = 0
        if target.has(KfuncFlag.ACQUIRE):
            ref = made_id = walk.acquire(state, f"struct {struct.name}")
        if target.has(KfuncFlag.RCU_PROTECTED):
            flags |= Flag.RCU
        elif target.has(KfuncFlag.ACQUIRE) or target.has(KfuncFlag.ITER_NEXT):
            flags |= Flag.TRUSTED
        else:
            raise NotJudgedError(f"the result of {target.name}")
        return pointer(Kind.BTF, struct, flags, made_id, ref)
    inner = types.strip(kind.type)
    size = types.size_of(inner)
    if target.has(KfuncFlag.ITER_NEXT) and size and isinstance(types[inner], Int):
        return pointer(Kind.MEM, size, flags | Flag.RDONLY, walk.new_id())
    raise NotJudgedError(f"the result of {target.name}")
