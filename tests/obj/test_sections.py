"""Section names to program types."""

from __future__ import annotations

import pytest

from fsession.obj.sections import kinds, parse
from fsession.uapi import AttachType, ProgType

TRACING = ProgType.TRACING

ROWS = [
    # name, program type, attach type, target, sleepable
    ("fsession/icmp_rcv", TRACING, AttachType.TRACE_FSESSION, "icmp_rcv", False),
    ("fsession.s/vfs_read", TRACING, AttachType.TRACE_FSESSION, "vfs_read", True),
    ("fsession", TRACING, AttachType.TRACE_FSESSION, "", False),
    ("fsession.multi/a*", TRACING, AttachType.TRACE_FSESSION_MULTI, "a*", False),
    ("fsession.multi.s/a", TRACING, AttachType.TRACE_FSESSION_MULTI, "a", True),
    ("fentry/nf:f", TRACING, AttachType.TRACE_FENTRY, "nf:f", False),
    ("fexit.s/f", TRACING, AttachType.TRACE_FEXIT, "f", True),
    ("fmod_ret/f", TRACING, AttachType.MODIFY_RETURN, "f", False),
    ("fmod_ret.s/f", TRACING, AttachType.MODIFY_RETURN, "f", True),
    ("tp_btf/sched_switch", TRACING, AttachType.TRACE_RAW_TP, "sched_switch", False),
    ("iter.s/task", TRACING, AttachType.TRACE_ITER, "task", True),
    ("raw_tp/sys_enter", ProgType.RAW_TRACEPOINT, None, "sys_enter", False),
    ("tp/syscalls/sys_enter_bpf", ProgType.TRACEPOINT, None, "syscalls/sys_enter_bpf", False),
    ("kprobe/f+0x4", ProgType.KPROBE, None, "f+0x4", False),
    ("kprobe.multi/f*", ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI, "f*", False),
    ("lsm/file_open", ProgType.LSM, AttachType.LSM_MAC, "file_open", False),
    ("syscall", ProgType.SYSCALL, None, "", True),
    ("xdp", ProgType.XDP, AttachType.XDP, "", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "type", "attach_type", "target", "sleepable"),
    ROWS,
    ids=[row[0] for row in ROWS],
)
def test_parse(name, type, attach_type, target, sleepable):
    found = parse(name)
    assert found is not None
    kind = found.kind
    assert (kind.type, kind.attach_type, found.target) == (type, attach_type, target)
    assert (kind.sleepable, found.autoload) == (sleepable, True)


@pytest.mark.parametrize("name", [row[0] for row in ROWS])
def test_a_question_mark_leaves_the_program_out(name):
    plain, marked = parse(name), parse("?" + name)
    assert plain
    assert marked
    assert (marked.kind, marked.target) == (plain.kind, plain.target)
    assert not marked.autoload


@pytest.mark.parametrize(
    "name", ["", "?", "fsessions/f", "fsession.x/f", "xdp/f", "syscall/f", ".text"]
)
def test_names_of_no_kind(name):
    assert parse(name) is None


def test_every_kind_is_found_by_its_own_name():
    for kind in kinds():
        found = parse(kind.name)
        assert found is not None
        assert found.kind == kind
