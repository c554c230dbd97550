"""Calls of the program's own functions, loads of addresses, exits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.btf.types import DataSec, Func, Struct, TypeId, Var
from fsession.isa.opcode import CALL_HELPER, CALL_KFUNC, Pseudo
from fsession.uapi import AttachType, MapType, ProgType
from fsession.verify.globals import call_global, is_global
from fsession.verify.helpers import call_helper
from fsession.verify.kfuncs import call_kfunc
from fsession.verify.locks import check_no_lock
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.prune import need
from fsession.verify.ranges import constant
from fsession.verify.state import NOT_INIT, Flag, Kind, pointer, scalar
from fsession.verify.structs import StructRef
from fsession.verify.walk import LATER, OVER
from fsession.verify.widen import widen

if TYPE_CHECKING:
    from fsession.btf.catalog import Types
    from fsession.isa.insn import Insn
    from fsession.verify.state import Reg, State
    from fsession.verify.walk import Walk

__all__ = ["step_call", "step_exit", "step_lddw"]


def step_call(walk: Walk, state: State, insn: Insn) -> int:
    """A call of a helper, a kernel function, or a function of the program."""
    if insn.src == CALL_HELPER:
        return call_helper(walk, state, insn)
    if insn.src == CALL_KFUNC:
        return call_kfunc(walk, state, insn)
    start = state.at + 1 + insn.imm
    if is_global(walk.subject, start):
        return call_global(walk, state, start)
    if not walk.limits.functions_under_lock:
        check_no_lock(state)
    regs = state.frame.regs
    frame = walk.enter(state, start)
    frame.regs[1:6] = regs[1:6]
    regs[0:6] = [NOT_INIT] * 6
    return start


def step_lddw(walk: Walk, state: State, insn: Insn) -> int:
    """A constant of 64 bits, or the address of a map, a value, a function, a variable."""
    state.frame.regs[walk.written(insn.dst)] = _address(walk, state, insn)
    return state.at + 2


def _address(walk: Walk, state: State, insn: Insn) -> Reg:
    low, high = insn.imm & 0xFFFF_FFFF, insn.imm >> 32 & 0xFFFF_FFFF
    if insn.src == Pseudo.NONE:
        return scalar(constant(insn.imm))
    if insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
        spec = walk.maps.get(low)
        if spec is None:
            raise RefusedError(f"fd {low} is not pointing to valid bpf_map")
        if insn.src == Pseudo.MAP_FD:
            if high:
                raise RefusedError("unrecognized bpf_ld_imm64 insn")
            return pointer(Kind.MAP, spec)
        if spec.type != MapType.ARRAY or spec.max_entries != 1:
            raise RefusedError(f"invalid access to map value pointer, map '{spec.name}'")
        if high >= spec.value_size:
            raise RefusedError(
                f"invalid access to map value pointer, value_size={spec.value_size} off={high}"
            )
        return pointer(Kind.MAP_VALUE, spec, id=walk.id_of_map(low), off=high)
    if insn.src == Pseudo.FUNC:
        if not walk.subject.funcs:
            raise RefusedError("missing btf func_info", advice="callbacks need the program's BTF")
        start = state.at + 1 + insn.func_off
        if is_global(walk.subject, start):
            raise RefusedError("callback function not static")
        return pointer(Kind.FUNC, start)
    if insn.src == Pseudo.BTF_ID and not high:
        return _variable(walk, low)
    raise NotJudgedError("this kind of 64-bit load")


def _variable(walk: Walk, number: int) -> Reg:
    """A variable or function of the kernel, by its BTF id."""
    types = walk.subject.types
    if types is None:
        raise NotJudgedError("variables of a kernel whose BTF is not here")
    id = TypeId(number)
    if types.kind_of(id) is Func:
        return pointer(Kind.MEM, 0, Flag.RDONLY)  # an address to compare, nothing to read
    found = types[id]
    if not isinstance(found, Var):
        raise RefusedError(f"pseudo btf_id {number} in ldimm64 isn't KIND_VAR or KIND_FUNC.")
    inner = types.strip(found.type)
    percpu = Flag.PERCPU if _is_percpu(types, id) else 0
    if types.kind_of(inner) is Struct or percpu:
        return pointer(Kind.BTF, StructRef(types, inner, types.name_of(inner)), percpu)
    size = types.size_of(inner)
    if not size:
        raise NotJudgedError("this kind of variable of the kernel")
    return pointer(Kind.MEM, size, Flag.RDONLY)


def _is_percpu(types: Types, id: TypeId) -> bool:
    section = types.find(".data..percpu", DataSec)
    if section is None:
        return False
    found = types[section]
    assert isinstance(found, DataSec)
    return any(item.type == id for item in found.variables)


def step_exit(walk: Walk, state: State, insn: Insn) -> int:
    """Back to the caller, into the helper that called back, or out of the program."""
    if len(state.frames) > 1:
        return _return(walk, state)
    _check_left(state)
    if state.frame.call == _GLOBAL_CALL:
        result = walk.readable(state, 0)
        if not result.is_scalar:
            raise RefusedError("At subprogram exit the register R0 is not a scalar value")
        return OVER
    result = walk.readable(state, 0)
    if state.frame.call == LATER:
        _check_zero(state, result, "async callback return")
    else:
        _check_result(walk, state, result)
    return OVER


_GLOBAL_CALL = -2


def _check_left(state: State) -> None:
    """Nothing is held any more."""
    if state.lock:
        raise RefusedError(
            "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region",
            advice="call bpf_spin_unlock() on every way out",
        )
    if state.rcu:
        raise RefusedError(
            "BPF_EXIT instruction in main prog cannot be used inside bpf_rcu_read_lock-ed region",
            advice="call bpf_rcu_read_unlock() on every way out",
        )
    if state.preempt:
        raise RefusedError(
            "BPF_EXIT instruction in main prog cannot be used inside bpf_preempt_disable-ed region",
            advice="call bpf_preempt_enable() on every way out",
        )
    if state.refs:
        ref = state.refs[0]
        raise RefusedError(
            f"Unreleased reference id={ref.id} alloc_insn={ref.at}\n"
            "BPF_EXIT instruction in main prog would lead to reference leak",
            advice=f"the {ref.what} acquired at instruction {ref.at} is not released on this way",
        )


def _check_result(walk: Walk, state: State, reg: Reg) -> None:
    """Tracing programs return 0; others of those that we judge what they like."""
    subject = walk.subject
    if subject.type != ProgType.TRACING or subject.attach_type in _ANY_RESULT:
        return
    _check_zero(state, reg, "program exit")


def _check_zero(state: State, reg: Reg, where: str) -> None:
    if not reg.is_scalar:
        raise RefusedError(f"At {where} the register R0 is not a known value", regs=(0,))
    need(state, reg.deps)
    if reg.range.smin or reg.range.smax:
        known = f"smin={reg.range.smin} smax={reg.range.smax}"
        raise RefusedError(
            f"At {where} the register R0 has {known} should have been in [0, 0]",
            advice="return 0",
            regs=(0,),
        )


_ANY_RESULT = (AttachType.TRACE_RAW_TP, AttachType.MODIFY_RETURN)


def _return(walk: Walk, state: State) -> int:
    frame = state.frames[-1]
    result = walk.readable(state, 0) if frame.callback is not None else frame.regs[0]
    if result.kind == Kind.STACK:
        raise RefusedError("cannot return stack pointer to the caller", regs=(0,))
    if state.lock and not walk.limits.functions_under_lock:
        raise RefusedError("bpf_spin_unlock is missing")
    state.frames.pop()
    if frame.callback is None:
        state.frame.regs[0] = result
        return frame.call + 1
    if not result.is_scalar:
        raise RefusedError("R0 not a scalar value", regs=(0,))
    need(state, result.deps)
    if result.range.smin < 0 or result.range.smax > 1:
        raise RefusedError(
            f"At callback return the register R0 has smin={result.range.smin} "
            f"smax={result.range.smax} should have been in [0, 1]",
            advice="a callback returns 0 to go on, 1 to stop",
            regs=(0,),
        )
    state.at = frame.call
    widen(state, state)
    return frame.call
