"""Our own list: what is on it, and why."""

from __future__ import annotations

import pytest

from fsession.attach.safety import HANGS, unsafe, why_unsafe

ROWS = [
    ("rcu_read_unlock_special", "RCU"),
    ("preempt_schedule", "CPU"),
    ("__bpf_prog_enter_recur", "around each program"),
    ("bpf_ringbuf_reserve", "programs of the tracer"),
    ("bpf_task_storage_get_recur", "programs of the tracer"),
    ("copy_from_kernel_nofault", "programs of the tracer"),
    ("memset", "programs of the tracer"),
    ("resilient_queued_spin_lock_slowpath", "programs of the tracer"),
    ("smp_text_poke_single", "changes code"),
    ("handle_softirqs", "interrupts"),
]


@pytest.mark.parametrize(("function", "word"), ROWS)
def test_reasons(function, word):
    assert word in why_unsafe(function)
    assert unsafe([function, "icmp_rcv"]) == {function}


@pytest.mark.parametrize(
    "function", ["icmp_rcv", "kfree", "memset_io_copy", "bpf_prepare", "vfs_read"]
)
def test_others(function):
    assert why_unsafe(function) == ""


def test_what_hangs_is_on_the_list():
    assert all(map(why_unsafe, HANGS))
