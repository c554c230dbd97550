"""Calls of helpers: is it there, are the arguments right, what does it give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.calls import Only, find_helper
from fsession.isa.disasm import helper_name
from fsession.uapi import AttachType, FuncId, ProgType
from fsession.verify.callbacks import call_back, callback_of
from fsession.verify.helper_args import HelperCall
from fsession.verify.locks import check_no_lock
from fsession.verify.map_rules import check_map_call
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.state import NOT_INIT

if TYPE_CHECKING:
    from fsession.calls import Helper
    from fsession.isa.insn import Insn
    from fsession.spec import MapSpec
    from fsession.verify.state import State
    from fsession.verify.walk import Walk

__all__ = ["call_helper"]

_CONDITIONAL = {FuncId.get_func_arg, FuncId.get_func_ret, FuncId.get_func_arg_cnt}
_ARGS, _ARGS_OF_TRACEPOINTS = {FuncId.get_func_arg, FuncId.get_func_arg_cnt}, (7, 0)
_NO_TRAMPOLINE = (AttachType.TRACE_RAW_TP, AttachType.TRACE_ITER)
_EVERYWHERE = frozenset(
    FuncId[name]
    for name in """
        map_lookup_elem map_update_elem map_delete_elem ktime_get_ns trace_printk
        get_prandom_u32 get_smp_processor_id tail_call get_current_pid_tgid get_current_uid_gid
        get_current_comm perf_event_output get_stackid get_current_task probe_read_kernel
        probe_read_user probe_read_kernel_str probe_read_user_str get_stack map_push_elem
        map_pop_elem map_peek_elem jiffies64 ktime_get_boot_ns ringbuf_output ringbuf_reserve
        ringbuf_submit ringbuf_discard ringbuf_query for_each_map_elem loop strncmp
        get_current_task_btf task_storage_get dynptr_from_mem ringbuf_reserve_dynptr
        ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_read dynptr_write dynptr_data
        task_storage_delete per_cpu_ptr this_cpu_ptr
        spin_lock spin_unlock kptr_xchg timer_init timer_start timer_cancel
        snprintf map_lookup_percpu_elem get_current_cgroup_id get_numa_node_id
    """.split()  # noqa: SIM905
)
"""Helpers that raw tracepoints and kprobes have as well."""


def call_helper(walk: Walk, state: State, insn: Insn) -> int:
    """Check one call; r0 is the result, r1 to r5 are gone."""
    if insn.imm != FuncId.spin_unlock:
        check_no_lock(state)
    helper = _find(walk, state, insn)
    call = HelperCall(walk, state, helper)
    for index, arg in enumerate(helper.args):
        call.check(index, arg)
    if call.map is not None:
        check_map_call(call.map, helper.id)
        if helper.id == FuncId.map_update_elem or helper.id == FuncId.map_delete_elem:
            _check_writable(call.map)
    callback = callback_of(walk, state, helper, call.map or call.timer_of)
    if call.releases:
        _release(walk, state, call.releases)
    result = call.result()
    regs = state.frame.regs
    if callback is not None:
        call_back(walk, state, callback)
    regs[1:6] = [NOT_INIT] * 5
    regs[0] = result
    return state.at + 1


def _find(walk: Walk, state: State, insn: Insn) -> Helper:
    poison = walk.subject.poison.get(state.at)
    name = helper_name(insn.imm)
    if name is None or poison:
        raise RefusedError(
            f"invalid func unknown#{insn.imm}", advice=f"{poison}: guard it" if poison else ""
        )
    helper = find_helper(insn.imm)
    words = f"program of this type cannot use helper {name}#{insn.imm}"
    if helper is None or _version(helper.since) > walk.limits.version:
        since = f"since Linux {helper.since}" if helper is not None else "not in tracing programs"
        raise RefusedError(words, advice=f"{name} exists {since}")
    _check_place(walk, helper, words)
    if helper.gpl and not walk.subject.is_gpl:
        raise RefusedError(
            "cannot call GPL-restricted function from non-GPL compatible program",
            advice=f"{name} needs a program whose license is GPL",
        )
    if helper.id == FuncId.tail_call and (state.refs or state.rcu or state.preempt):
        raise RefusedError(
            "tail_call would lead to reference leak",
            advice="a tail call does not come back: release everything before it",
        )
    if helper.sleeps:
        _check_sleep(walk, state, f"{name}#{insn.imm}")
    return helper


def _check_place(walk: Walk, helper: Helper, words: str) -> None:
    subject = walk.subject
    if helper.only not in (Only.EVERYWHERE, Only.FSESSION):
        raise NotJudgedError(f"bpf_{helper.name}, which is for {helper.only.value}")
    if subject.type == ProgType.TRACING:
        if subject.attach_type not in _NO_TRAMPOLINE:
            return
        traced = subject.attach_type == AttachType.TRACE_RAW_TP
        if traced and helper.id in _ARGS and walk.limits.version >= _ARGS_OF_TRACEPOINTS:
            return
        if helper.id in _CONDITIONAL:
            raise RefusedError(words)
        if traced and helper.id == FuncId.get_attach_cookie:
            return
    if helper.id not in _EVERYWHERE:
        raise NotJudgedError(f"bpf_{helper.name} in programs of this type")


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _check_sleep(walk: Walk, state: State, name: str) -> None:
    if not state.sleepable:
        raise RefusedError(
            "helper call might sleep in a non-sleepable prog",
            advice=f"{name} waits: a sleepable program (section fentry.s/…) may call it",
        )
    if state.rcu:
        raise RefusedError(f"sleepable helper {name} in rcu_read_lock region")
    if state.preempt:
        raise RefusedError(f"sleepable helper {name} in non-preemptible region")


def _release(walk: Walk, state: State, number: int) -> None:
    reg = state.frame.regs[number]
    if not reg.ref or not any(ref.id == reg.ref for ref in state.refs):
        raise RefusedError(
            f"R{number} must be referenced when passed to release function", regs=(number,)
        )
    walk.release(state, reg.ref)


def _check_writable(spec: MapSpec) -> None:
    if spec.flags & 1 << 7:  # BPF_F_RDONLY_PROG
        raise RefusedError("write into map forbidden")
