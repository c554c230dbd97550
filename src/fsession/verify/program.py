"""What must hold of a program as a whole: its type, its target, its maps, its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsession.isa.opcode import Pseudo
from fsession.uapi import AttachType, ProgType
from fsession.verify.map_rules import check_sleepable_map
from fsession.verify.problem import NotJudgedError, RefusedError
from fsession.verify.special import LIST, LOCK, TIMER, TREE, WORK, special_fields
from fsession.verify.state import MAX_FRAMES
from fsession.verify.targets import check_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsession.btf.types import FuncProto
    from fsession.spec import MapSpec
    from fsession.verify.limits import Limits
    from fsession.verify.special import Field
    from fsession.verify.structure import Structure
    from fsession.verify.subject import Subject

__all__ = ["calls_of", "check_depth", "check_program"]

_TYPES = (ProgType.TRACING, ProgType.RAW_TRACEPOINT, ProgType.KPROBE)
_SESSIONS = {AttachType.TRACE_FSESSION: (7, 0), AttachType.TRACE_FSESSION_MULTI: (7, 2)}
_TRACING = {
    AttachType.TRACE_FENTRY: (5, 5),
    AttachType.TRACE_FEXIT: (5, 5),
    AttachType.MODIFY_RETURN: (5, 7),
    AttachType.TRACE_RAW_TP: (5, 5),
    AttachType.TRACE_FENTRY_MULTI: (7, 2),
    AttachType.TRACE_FEXIT_MULTI: (7, 2),
    **_SESSIONS,
}
_LOCK_SLEEPABLE, _TIMER_EVERYWHERE = (6, 7), (7, 0)
_STACK = 512
_NOT_TRACEABLE = ("do_exit", "do_group_exit", "kthread_complete_and_exit", "kthread_exit")
_EXITS = tuple(f"__{abi}_sys_{name}" for abi in ("ia32", "x64") for name in ("exit", "exit_group"))
_NORETURN = frozenset((*_NOT_TRACEABLE, "make_task_dead", *_EXITS))
_NORETURN_SINCE = (6, 12)  # Linux 6.16; the stable releases of 6.12 have it as well


def check_program(subject: Subject, limits: Limits) -> None:
    """Raises for what no instruction is to blame for."""
    if subject.type not in _TYPES:
        raise NotJudgedError(
            f"programs of type {subject.type.name}",
            advice="tracing programs, raw tracepoints and kprobes are",
        )
    if subject.type == ProgType.TRACING:
        _check_tracing(subject, limits)
    elif subject.sleepable:
        raise RefusedError(
            "Only fentry/fexit/fsession/fmod_ret, lsm, iter, uprobe, and struct_ops programs can "
            "be sleepable"
        )
    used = {
        insn.imm & 0xFFFF_FFFF
        for insn in subject.insns
        if insn.is_lddw and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE)
    }
    for number in used:
        spec = subject.maps.get(number)
        if spec is not None:
            _check_map(subject, spec, limits)


def _check_tracing(subject: Subject, limits: Limits) -> None:
    kind = subject.attach_type
    since = _TRACING.get(kind) if kind is not None else None
    if since is None:
        raise NotJudgedError(f"attach type {kind.name if kind is not None else 'none'}")
    if since > limits.version:
        raise RefusedError(
            f"attach type {kind.name if kind else ''} is not known",
            advice=f"it exists since Linux {since[0]}.{since[1]}",
        )
    if subject.sleepable and kind == AttachType.TRACE_RAW_TP:
        raise RefusedError(
            "Only fentry/fexit/fsession/fmod_ret, lsm, iter, uprobe, and struct_ops programs can "
            "be sleepable"
        )
    proto = subject.prototype
    if proto is not None and kind != AttachType.TRACE_RAW_TP and _is_variadic(proto):
        raise RefusedError(f"The function {subject.target_name} with variable args is unsupported.")
    check_target(subject, limits)
    if subject.sleepable and limits.version < (7, 2):
        return
    name = subject.target_name
    exits = kind in (AttachType.TRACE_FEXIT, AttachType.TRACE_FSESSION, AttachType.MODIFY_RETURN)
    if exits and name in _NORETURN and limits.version >= _NORETURN_SINCE:
        raise RefusedError(
            f"Attaching fexit/fsession/fmod_ret to __noreturn function '{name}' is rejected."
        )


def _is_variadic(proto: FuncProto) -> bool:
    return bool(proto.params) and not proto.params[-1].type


def _check_map(subject: Subject, spec: MapSpec, limits: Limits) -> None:
    if subject.sleepable:
        check_sleepable_map(spec)
    if spec.inner is not None and special_fields(spec.inner, subject.own_types):
        raise NotJudgedError(f"map '{spec.name}', whose inner maps have special fields")
    for field in special_fields(spec, subject.own_types):
        _check_field(subject, field, limits)


def _check_field(subject: Subject, field: Field, limits: Limits) -> None:
    traces = subject.type == ProgType.TRACING
    if field.kind == LOCK and not traces:
        raise RefusedError("tracing progs cannot use bpf_spin_lock yet")
    if field.kind == LOCK and subject.sleepable and limits.version < _LOCK_SLEEPABLE:
        raise RefusedError("sleepable progs cannot use bpf_spin_lock yet")
    if field.kind in (LIST, TREE) and not traces:
        raise RefusedError("tracing progs cannot use bpf_{list_head,rb_root} yet")
    if field.kind == WORK and not traces:
        raise NotJudgedError("bpf_wq in programs that are not tracing programs")
    if field.kind == TIMER and not traces and limits.version < _TIMER_EVERYWHERE:
        raise RefusedError("tracing progs cannot use bpf_timer yet")


def calls_of(structure: Structure, later: frozenset[int]) -> dict[int, tuple[int, ...]]:
    """By a function's first slot those of the functions that run on top of it: called, or called
    back while it runs. `later` are those that are called back only when it is over."""
    found: dict[int, tuple[int, ...]] = {}
    for start, end in structure.spans:
        goals = set()
        for at in range(start, end):
            insn = structure.code[at]
            if insn is None or not (insn.is_local_call or insn.is_func_ref):
                continue
            goal = at + 1 + insn.func_off
            if insn.is_local_call or goal not in later:
                goals.add(goal)
        found[start] = tuple(sorted(goals))
    return found


def check_depth(
    used: Mapping[int, int], calls: Mapping[int, tuple[int, ...]], later: frozenset[int]
) -> None:
    """The stacks of functions that call each other fit into 512 bytes together.

    `used` and `calls` are by the functions' first slots; `later` are those with a stack of their
    own. Each takes a multiple of 32 bytes (the kernel's JIT on x86_64 needs multiples of 16 only:
    we take the larger number).
    """
    work = [(start, 0, 1) for start in (0, *sorted(later))]
    while work:
        start, total, depth = work.pop()
        total += max(-(-used.get(start, 0) // 32) * 32, 32 if depth > 1 else 0)
        if total > _STACK:
            raise RefusedError(
                f"combined stack size of {depth} calls is {total}. Too large",
                advice=f"all functions of a call chain share {_STACK} bytes",
            )
        if depth > MAX_FRAMES:
            raise RefusedError(f"the call stack of {depth} frames is too deep !")
        work += [(callee, total, depth + 1) for callee in calls.get(start, ())]
