"""Our own list of functions that patterns and graphs must not take in, each with its reason.

It holds for functions of vmlinux. What the kernel itself refuses is in `refusals`. The last rows
are what our own programs call, helpers and what those call in turn: each call would run programs
once more. Behind the list stand two guards: the kernel does not start a program inside itself, and
a graph's program leaves where one of its kind is at work in the same context.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HANGS", "unsafe", "why_unsafe"]

HANGS = frozenset({"rcu_read_unlock_special"})
"""Seen to hang a kernel (7.0 and 7.2, under load): refused by their full names, too."""

_RULES = (
    ("rcu", "trampolines run in RCU read sections"),
    ("preempt|migrate|resched", "trampolines keep a task on its CPU"),
    (
        "ftrace|text_poke|int3|static_call|jump_label",
        "it changes code that runs, as attaching does",
    ),
    (
        "trampoline|bpf_tramp|bpf_prog|bpf_jit|bpf_session|inc_misses_counter|update_prog_stats"
        "|bpf_dispatcher_xdp_func",
        "the kernel runs it around each program",
    ),
    (
        r"irq|nmi|raw_spin|context_track|\bct_(?:nmi|irq|kernel|user|idle|state)",
        "interrupts, and what locks them out",
    ),
    ("arch_cpu_idle|default_idle", "a CPU sleeps in it, where RCU does not watch"),
    (
        r"\b_*bpf_(?:ringbuf|task_storage|local_storage|selem|get_|this_cpu|per_cpu|ktime|probe_read"
        r"|map_lookup)|copy_from_kernel_nofault|ktime_get_(?:mono|boot)_fast|local_clock|sched_clock"
        r"|read_hpet|pvclock|map_lookup_elem|percpu_array_map|\b(?:sized_)?strscpy|find_vmap_area"
        r"|\bget_func_(?:arg|ret)|\b_*mem(?:set|cpy|move)\b|kmalloc_nolock"
        r"|(?:queued|tas|res)_spin_lock|\bcheck_deadlock|contention_(?:begin|end)\b",
        "programs of the tracer call it",
    ),
)


def unsafe(functions: Iterable[str]) -> frozenset[str]:
    """Those of some functions of vmlinux that a pattern must not take in."""
    return frozenset(_any().findall("\n".join(functions)))


def why_unsafe(function: str) -> str:
    """The reason why a pattern must not take `function` in, "" if it may."""
    return next((reason for pattern, reason in _RULES if re.search(pattern, function)), "")


@cache
def _any() -> re.Pattern[str]:
    """Of a whole line that a rule is about; not made before somebody asks."""
    return re.compile(f"^.*(?:{'|'.join(pattern for pattern, _ in _RULES)}).*$", re.MULTILINE)
