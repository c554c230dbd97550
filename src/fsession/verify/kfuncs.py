"""Calls of kernel functions: prototypes from BTF, what BTF does not say from `fsession.calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import Enum, Enum64, Func, FuncProto, Int, Ptr, Struct, TypeId, Union, Void
from fsession.calls import KfuncFlag, Only, find_kfunc
from fsession.frozen import frozen
from fsession.uapi import AttachType, ProgType
from fsession.verify import dynptrs, iterators
from fsession.verify.args import check_memory, check_size, is_null, struct_fits, wrong_type
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.state import NOT_INIT, ZERO, Flag, Kind, Reg, pointer, scalar
from fsession.verify.structs import StructRef, pointee
from fsession.verify.trust import in_rcu, is_trusted

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.calls import Kfunc
    from fsession.isa.insn import Insn
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["call_kfunc", "is_iter_next"]

_SESSIONS = (AttachType.TRACE_FSESSION, AttachType.TRACE_FSESSION_MULTI)
_COOKIE_BYTES = 8
_TRUSTED_FROM = (7, 0)  # since then pointers given to kfuncs must be valid ones, for all kfuncs


@frozen
class _Target:
    """The function that is called: `types` is where its prototype is."""

    name: str
    types: Types
    proto: FuncProto
    kfunc: Kfunc

    def has(self, flag: KfuncFlag) -> bool:
        return flag in self.kfunc.flags


def is_iter_next(walk_types: Types | None, insn: Insn) -> bool:
    """Whether the call steps an iterator."""
    if walk_types is None or not insn.is_kfunc_call or insn.off:
        return False
    if not 0 < insn.imm < len(walk_types):
        return False
    found = find_kfunc(walk_types.name_of(TypeId(insn.imm)))
    return found is not None and KfuncFlag.ITER_NEXT in found.flags


def call_kfunc(walk: Walk, state: State, insn: Insn) -> int:
    """Check one call; r0 is the result, r1 to r5 are gone."""
    target = _find(walk, insn)
    _check_place(walk, state, target)
    regs = state.frame.regs
    special = _SPECIAL.get(target.name)
    if special is not None:
        result = special(walk, state, target)
    elif target.has(KfuncFlag.ITER_NEXT):
        return _iter_next(walk, state, target)
    else:
        _check_args(walk, state, target)
        if target.has(KfuncFlag.RELEASE):
            _release(walk, state)
        result = _result(walk, state, target)
    regs[1:6] = [NOT_INIT] * 5
    regs[0] = result
    return state.at + 1


def _find(walk: Walk, insn: Insn) -> _Target:
    types = walk.subject.types if not insn.off else walk.subject.modules.get(insn.off)
    if types is None:
        raise NotJudgedError("a kernel function of BTF that is not here")
    if not 0 < insn.imm < len(types) or types.kind_of(TypeId(insn.imm)) is not Func:
        raise RefusedError(f"kernel btf_id {insn.imm} is not a function")
    name = types.name_of(TypeId(insn.imm))
    kfunc = find_kfunc(name)
    if kfunc is None:
        raise NotJudgedError(f"the kernel function {name}")
    return _Target(name, types, types.prototype(TypeId(insn.imm)), kfunc)


def _check_place(walk: Walk, state: State, target: _Target) -> None:
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
        if not subject.sleepable:
            raise RefusedError(f"program must be sleepable to call sleepable kfunc {name}")
        if state.rcu:
            raise RefusedError(f"kernel func {name} is sleepable within rcu_read_lock region")
        if state.preempt:
            raise RefusedError(f"kernel func {name} is sleepable within non-preemptible region")
    if target.has(KfuncFlag.DESTRUCTIVE):
        raise NotJudgedError(f"{name}, which is destructive")
    if target.has(KfuncFlag.RCU_PROTECTED) and not in_rcu(walk, state):
        raise RefusedError(f"{name} must be called in RCU critical section")


def _check_args(walk: Walk, state: State, target: _Target) -> None:
    params = target.proto.params
    if len(params) > 5:
        raise RefusedError(f"Function {target.name} has {len(params)} > 5 args")
    number = 0
    while number < len(params):
        number += 1
        param = params[number - 1]
        reg = walk.readable(state, number)
        if param.name.endswith("__ign"):
            continue
        kind = target.types[target.types.strip(param.type)]
        if isinstance(kind, Int | Enum | Enum64):
            _check_number(walk, state, target, number, reg, param.name)
        elif isinstance(kind, Ptr):
            number += _check_pointer(walk, state, target, number, reg, param.name, param.type)
        else:
            raise NotJudgedError(f"argument {number} of {target.name}")


def _check_number(
    walk: Walk, state: State, target: _Target, number: int, reg: Reg, name: str
) -> None:
    if not reg.is_scalar:
        raise RefusedError(f"R{number} is not a scalar", regs=(number,))
    if name.endswith("__k"):
        need(state, reg.deps)
        if reg.range.mask:
            raise RefusedError(f"R{number} must be a known constant", regs=(number,))


_OTHER = ("__alloc", "__map", "__prog", "__str", "__irq_flag", "__refcounted_kptr", "__impl")


def _check_pointer(
    walk: Walk, state: State, target: _Target, number: int, reg: Reg, name: str, id: TypeId
) -> int:
    """Check one pointer; 1 if the next argument, its size, was checked with it."""
    if name.endswith(_OTHER) or name == "aux":
        raise NotJudgedError(f"argument {number} of {target.name}")
    nullable = name.endswith(("__nullable", "__opt"))
    params = target.proto.params
    sized = len(params) > number and params[number].name.endswith(("__sz", "__szk"))
    if nullable and is_null(reg) and not sized:
        need(state, reg.deps)
        return 0
    struct = pointee(target.types, id)
    if struct is not None and struct.name.startswith("bpf_iter_"):
        _check_iterator(walk, state, target, number, struct)
        return 0
    if struct is not None and struct.name == "bpf_dynptr":
        if name.endswith("__uninit"):
            dynptrs.clone(walk, state, number - 1, number)
        else:
            dynptrs.find(walk, state, number)
        return 0
    if struct is not None and struct.name in _ODD_STRUCTS:
        raise NotJudgedError(f"struct {struct.name}, argument {number} of {target.name}")
    if sized:
        if not (nullable and is_null(reg)):
            check_size(walk, state, number + 1, zero=True, write=True, fills=False)
        if params[number].name.endswith("__szk"):
            size = walk.readable(state, number + 1)
            need(state, size.deps)
            if not size.is_scalar or size.range.mask:
                raise RefusedError(f"R{number + 1} must be a known constant", regs=(number + 1,))
        return 1
    if reg.kind == Kind.BTF and struct is not None:
        _check_struct(walk, state, target, number, reg, struct)
        return 0
    if is_null(reg):
        raise RefusedError(
            f"Possibly NULL pointer passed to trusted arg{number - 1}", regs=(number,)
        )
    _check_plain(walk, state, target, number, reg, id, struct)
    return 0


_ODD_STRUCTS = {
    "bpf_dynptr_kern", "bpf_list_head", "bpf_list_node", "bpf_rb_root",
    "bpf_rb_node", "bpf_wq", "bpf_timer", "bpf_task_work", "bpf_res_spin_lock", "bpf_refcount",
}  # fmt: skip


def _check_plain(
    walk: Walk,
    state: State,
    target: _Target,
    number: int,
    reg: Reg,
    id: TypeId,
    struct: StructRef | None,
) -> None:
    """Memory of the program for a pointer to numbers, or a struct of numbers."""
    types = target.types
    inner = types.strip(types.ref(types.strip(id)))
    if types.kind_of(inner) is Void or (struct is not None and not _is_plain(types, struct.id)):
        raise NotJudgedError(f"argument {number} of {target.name}")
    if reg.kind not in (Kind.STACK, Kind.MAP_VALUE, Kind.MEM):
        if reg.may_be_null:
            raise RefusedError(
                f"Possibly NULL pointer passed to trusted arg{number - 1}", regs=(number,)
            )
        raise wrong_type(number, reg, "fp")
    check_memory(walk, state, number, types.size_of(inner), write=True)


def _is_plain(types: Types, id: TypeId) -> bool:
    kind = types[types.strip(id)]
    if isinstance(kind, Struct | Union):
        return all(_is_plain(types, member.type) for member in kind.members)
    return isinstance(kind, Int | Enum | Enum64)


def _check_struct(
    walk: Walk, state: State, target: _Target, number: int, reg: Reg, struct: StructRef
) -> None:
    must = (
        walk.limits.version >= _TRUSTED_FROM
        or target.has(KfuncFlag.TRUSTED_ARGS)
        or target.has(KfuncFlag.RCU)
        or target.has(KfuncFlag.RELEASE)
    )
    if reg.may_be_null:
        raise RefusedError(
            f"Possibly NULL pointer passed to trusted arg{number - 1}",
            advice="compare it with 0 first",
            regs=(number,),
        )
    if target.has(KfuncFlag.RELEASE) and number == 1 and not reg.ref:
        raise RefusedError(f"R{number} must be referenced", regs=(number,))
    if reg.flags & (Flag.UNTRUSTED | Flag.USER | Flag.PERCPU):
        raise RefusedError(f"R{number} must be referenced or trusted", regs=(number,))
    if must and not is_trusted(reg):
        if not target.has(KfuncFlag.RCU):
            raise RefusedError(
                f"R{number} must be referenced or trusted",
                advice="arguments of fentry, fexit and sessions are not trusted; "
                "bpf_get_current_task_btf() and acquired pointers are",
                regs=(number,),
            )
        if not reg.flags & Flag.RCU:
            raise RefusedError(f"R{number} must be a rcu pointer", regs=(number,))
    off = reg.off + reg.range.smin
    if reg.range.mask or (off and (target.has(KfuncFlag.RELEASE))):
        raise RefusedError(f"R{number} must have zero offset when passed to release func")
    if off < 0 or not struct_fits(reg.aux, off, struct.name):
        raise RefusedError(
            f"kernel function {target.name} args#{number - 1} expected pointer to STRUCT "
            f"{struct.name} but R{number} has a pointer to STRUCT {reg.aux.name}",
            regs=(number,),
        )


def _check_iterator(
    walk: Walk, state: State, target: _Target, number: int, struct: StructRef
) -> None:
    name = struct.name.removeprefix("bpf_")
    size = target.types.size_of(struct.id)
    if target.has(KfuncFlag.ITER_NEW):
        if name not in _ITERATORS:
            raise NotJudgedError(f"the iterator {struct.name}")
        if name == "iter_css_task" and not walk.subject.sleepable:
            raise RefusedError(
                "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs"
            )
        rcu = target.has(KfuncFlag.RCU_PROTECTED)
        iterators.new(walk, state, number, name, size, rcu=rcu)
    elif target.has(KfuncFlag.ITER_DESTROY):
        depth, slots = iterators.find(walk, state, number, name, size)
        iterators.destroy(walk, state, depth, slots)
    else:
        raise NotJudgedError(f"argument {number} of {target.name}")


_ITERATORS = {
    "iter_num", "iter_bits", "iter_task", "iter_task_vma",
    "iter_css", "iter_css_task", "iter_kmem_cache", "iter_dmabuf",
}  # fmt: skip


def _iter_next(walk: Walk, state: State, target: _Target) -> int:
    """Two ways: there is an element, and the loop goes on; there is none."""
    walk.readable(state, 1)
    struct = pointee(target.types, target.proto.params[0].type)
    assert struct is not None
    name = struct.name.removeprefix("bpf_")
    size = target.types.size_of(struct.id)
    depth, slots = iterators.find(walk, state, 1, name, size)
    result = _result(walk, state, target)
    if result.kind == Kind.BTF and iterators.is_rcu(state, depth, slots):
        result = result._replace(flags=result.flags & ~Flag.TRUSTED | Flag.RCU)
    other = walk.fork(state, state.at + 1)
    iterators.set_active(other, depth, slots, active=True, drained=False)
    walk.widen(state, other)
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


def _result(walk: Walk, state: State, target: _Target) -> Reg:
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


# -- those with rules of their own --------------------------------------------------------------


def _context(walk: Walk, state: State, target: _Target) -> None:
    if not target.proto.params:
        raise NotJudgedError(f"{target.name} without a context, as before Linux 7.0")
    reg = walk.readable(state, 1)
    if reg.kind != Kind.CTX:
        raise RefusedError("arg#0 expected pointer to ctx, but got something else", regs=(1,))
    if reg.off or reg.range.mask or reg.range.value:
        raise RefusedError(
            f"dereference of modified ctx ptr R1 off={reg.off} disallowed", regs=(1,)
        )


def _is_return(walk: Walk, state: State, target: _Target) -> Reg:
    _context(walk, state, target)
    return scalar()


def _cookie(walk: Walk, state: State, target: _Target) -> Reg:
    _context(walk, state, target)
    return pointer(Kind.MEM, _COOKIE_BYTES)


def _rcu_lock(walk: Walk, state: State, target: _Target) -> Reg:
    if state.rcu and walk.limits.version < (6, 18):
        raise RefusedError("nested rcu read lock (kernel function bpf_rcu_read_lock)")
    state.rcu += 1
    return NOT_INIT


def _rcu_unlock(walk: Walk, state: State, target: _Target) -> Reg:
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


def _preempt_disable(walk: Walk, state: State, target: _Target) -> Reg:
    state.preempt += 1
    return NOT_INIT


def _preempt_enable(walk: Walk, state: State, target: _Target) -> Reg:
    if not state.preempt:
        raise RefusedError(
            "unmatched attempt to enable preemption (kernel function bpf_preempt_enable)"
        )
    state.preempt -= 1
    return NOT_INIT


def _rdonly_cast(walk: Walk, state: State, target: _Target) -> Reg:
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


def _slice(walk: Walk, state: State, target: _Target) -> Reg:
    """bpf_dynptr_slice, bpf_dynptr_slice_rdwr: bytes of a dynptr, as many as the last argument."""
    _check_args(walk, state, target)
    size = state.frame.regs[4].range.value & 0xFFFF_FFFF
    rdonly = not target.name.endswith("_rdwr")
    return dynptrs.data(walk, state, 1, size, rdonly=rdonly)


_SPECIAL = {
    "bpf_dynptr_slice": _slice,
    "bpf_dynptr_slice_rdwr": _slice,
    "bpf_rdonly_cast": _rdonly_cast,
    "bpf_session_is_return": _is_return,
    "bpf_session_cookie": _cookie,
    "bpf_rcu_read_lock": _rcu_lock,
    "bpf_rcu_read_unlock": _rcu_unlock,
    "bpf_preempt_disable": _preempt_disable,
    "bpf_preempt_enable": _preempt_enable,
}
