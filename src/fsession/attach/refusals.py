"""Functions that are not attached to, by name, and why.

The kernel's own lists (kernel/bpf/verifier.c: noreturn_deny, btf_id_deny) have no interface, so
their names stand here; a name that a kernel does not have does no harm. On Linux 7.2 x86_64 these
names and the rules of `btf.model` leave none of 41,795 functions that a multi link would refuse.

Our own list holds for patterns and functions of vmlinux: what trampolines, patching, interrupts
and RCU are made of. Only rcu_read_unlock_special was seen to hang a kernel (7.0 and 7.2, under
load); it is refused by its full name too.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Reason", "refused_by_name", "unsafe"]


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
        "__arm64_sys_exit",
        "__arm64_sys_exit_group",
        "__do_sys_exit",
        "__do_sys_exit_group",
        "__ia32_sys_exit",
        "__ia32_sys_exit_group",
        "__module_put_and_kthread_exit",
        "__x64_sys_exit",
        "__x64_sys_exit_group",
        "do_exit",
        "do_group_exit",
        "kthread_complete_and_exit",
        "kthread_exit",
        "kunit_abort",
        "kunit_try_catch_throw",
        "make_task_dead",
    }
)
_DENIED = frozenset(
    {
        "___migrate_enable",
        "__migrate_enable",
        "__rcu_read_lock",
        "__rcu_read_unlock",
        "migrate_disable",
        "migrate_enable",
        "preempt_count_add",
        "preempt_count_sub",
        "rcu_read_unlock_strict",
    }
)
_HANGS = frozenset({"rcu_read_unlock_special"})
_UNSAFE = re.compile(
    r"^.*(?:rcu|preempt|migrate|ftrace|trampoline|bpf_tramp|bpf_prog|bpf_jit|text_poke|int3|irq|"
    r"nmi|raw_spin|resched|context_track|static_call|jump_label|bpf_session|inc_misses_counter|"
    r"bpf_get_numa_node_id|bpf_dispatcher_xdp_func|arch_cpu_idle|default_idle|update_prog_stats|"
    r"\bct_(?:nmi|irq|kernel|user|idle|state)).*$",
    re.MULTILINE,
)


def refused_by_name(function: str, *, exit_side: bool = True) -> Reason | None:
    """Why nothing attaches to `function`, even if it is named in full; None if it may.

    `exit_side`: the program is to run at the exit too, which some functions never reach.
    """
    if exit_side and function in _NORETURN:
        return Reason.NORETURN
    if function in _DENIED:
        return Reason.DENIED
    return Reason.UNSAFE if function in _HANGS else None


def unsafe(functions: Iterable[str]) -> frozenset[str]:
    """Those of some functions of vmlinux that a pattern must not take in."""
    return frozenset(_UNSAFE.findall("\n".join(functions)))
