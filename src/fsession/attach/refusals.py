"""Functions that are not attached to, by name, and why.

The kernel's own lists (kernel/bpf/verifier.c: noreturn_deny, btf_id_deny) have no interface, so
their names stand here; a name that a kernel does not have does no harm. On Linux 7.2 x86_64 these
names and the rules of `btf.model` leave none of 41,795 functions that a multi link would refuse.

Our own list is `fsession.attach.safety`.
"""

from __future__ import annotations

from enum import StrEnum

from fsession.attach.safety import HANGS

__all__ = ["Reason", "refused_by_name"]


class Reason(StrEnum):
    """Why a function is not attached to, as a user reads it; `code` is for programs."""

    NO_BTF = "not in the kernel's BTF"
    NOT_TRACEABLE = "no place at its entry that ftrace can patch (notrace, inlined or init code)"
    INLINED = "inlined or changed by the compiler"
    NORETURN = "it never returns"
    DENIED = "on the kernel's deny list"
    WORDS = "more words of arguments than trampolines take"
    VARIADIC = "a variable number of arguments"
    PROTOTYPE = "a prototype that trampolines do not take"
    AMBIGUOUS = "several functions have this name"
    UNSAFE = "on our safety list"
    TRACING = "a tracing program, which sessions can't be on"
    PROGRAM_BTF = "a BPF program that was loaded without BTF"
    KERNEL = "refused by the kernel when attached"

    @property
    def code(self) -> str:
        """One word: ``not-traceable``."""
        return self.name.lower().replace("_", "-")


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


def refused_by_name(function: str, *, exit_side: bool = True) -> Reason | None:
    """Why nothing attaches to `function`, even if it is named in full; None if it may.

    `exit_side`: the program is to run at the exit too, which some functions never reach.
    """
    if exit_side and function in _NORETURN:
        return Reason.NORETURN
    if function in _DENIED:
        return Reason.DENIED
    return Reason.UNSAFE if function in HANGS else None
