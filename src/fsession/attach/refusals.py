"""Functions that are not attached to, by name, and why.

The kernel's own lists (kernel/bpf/verifier.c: noreturn_deny, btf_id_deny) have no interface, so
their names stand here; a name that a kernel does not have does no harm. Our own list is wider than
needed: only rcu_read_unlock_special was seen to hang a kernel (7.0 and 7.2, under load), the others
belong to what trampolines, patching and the scheduler's deepest parts use. It holds for patterns;
a function that is named in full is attached to, but for those known to hang.
"""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Reason", "refused_by_name"]


class Reason(StrEnum):
    """Why a function is not attached to, as a user reads it."""

    NO_BTF = "not in the kernel's BTF"
    NOT_TRACEABLE = "no place at its entry that ftrace can patch (notrace, inlined or init code)"
    NORETURN = "it never returns"
    DENIED = "on the kernel's deny list"
    PROTOTYPE = "a prototype that trampolines do not take"
    AMBIGUOUS = "several functions have this name"
    UNSAFE = "on our safety list: tracing runs through it"
    KERNEL = "refused by the kernel when attached"


_NORETURN = frozenset(
    {
        "do_exit",
        "do_group_exit",
        "make_task_dead",
        "kthread_exit",
        "kthread_complete_and_exit",
        "__module_put_and_kthread_exit",
        "__x64_sys_exit",
        "__x64_sys_exit_group",
        "__ia32_sys_exit",
        "__ia32_sys_exit_group",
        "__arm64_sys_exit",
        "__arm64_sys_exit_group",
        "__do_sys_exit",
        "__do_sys_exit_group",
    }
)
_DENIED = frozenset(
    {
        "migrate_disable",
        "migrate_enable",
        "rcu_read_unlock_strict",
        "preempt_count_add",
        "preempt_count_sub",
        "__rcu_read_lock",
        "__rcu_read_unlock",
    }
)
_HANGS = frozenset({"rcu_read_unlock_special"})
_UNSAFE = re.compile(
    r"rcu|preempt|migrate|ftrace|trampoline|__bpf_tramp|bpf_prog|bpf_jit|text_poke|int3|irq|nmi|"
    r"raw_spin|resched|ct_|context_track|static_call|jump_label|bpf_session|inc_misses_counter"
)


def refused_by_name(function: str, *, named: bool) -> Reason | None:
    """Why `function` is refused; None if it is not. `named`: in full, not by a pattern."""
    if function in _NORETURN:
        return Reason.NORETURN
    if function in _DENIED:
        return Reason.DENIED
    if function in _HANGS or (not named and _UNSAFE.search(function)):
        return Reason.UNSAFE
    return None
