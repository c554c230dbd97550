"""Section names to program types."""

from __future__ import annotations

import pytest

from fsession.obj.sections import Attach, kinds, parse
from fsession.uapi import AttachType, ProgType

TRACING = ProgType.TRACING

ROWS = [
    # name, program type, attach type, target, sleepable, how it is attached
    ("fsession/icmp_rcv", TRACING, AttachType.TRACE_FSESSION, "icmp_rcv", False, Attach.FUNCTION),
    ("fsession.s/vfs_read", TRACING, AttachType.TRACE_FSESSION, "vfs_read", True, Attach.FUNCTION),
    ("fsession", TRACING, AttachType.TRACE_FSESSION, "", False, Attach.FUNCTION),
    ("fsession.multi/a*", TRACING, AttachType.TRACE_FSESSION_MULTI, "a*", False, Attach.MULTI),
    ("fsession.multi.s/a", TRACING, AttachType.TRACE_FSESSION_MULTI, "a", True, Attach.MULTI),
    ("fentry/nf:f", TRACING, AttachType.TRACE_FENTRY, "nf:f", False, Attach.FUNCTION),
    ("fexit.s/f", TRACING, AttachType.TRACE_FEXIT, "f", True, Attach.FUNCTION),
    ("fmod_ret/f", TRACING, AttachType.MODIFY_RETURN, "f", False, Attach.FUNCTION),
    ("fmod_ret.s/f", TRACING, AttachType.MODIFY_RETURN, "f", True, Attach.FUNCTION),
    ("tp_btf/sched_switch", TRACING, AttachType.TRACE_RAW_TP, "sched_switch", False, Attach.NONE),
    ("iter.s/task", TRACING, AttachType.TRACE_ITER, "task", True, Attach.NONE),
    ("raw_tp/sys_enter", ProgType.RAW_TRACEPOINT, None, "sys_enter", False, Attach.NONE),
    ("tp/syscalls/sys_enter_bpf", ProgType.TRACEPOINT, None, "syscalls/sys_enter_bpf", False,
     Attach.NONE),
    ("kprobe/f+0x4", ProgType.KPROBE, None, "f+0x4", False, Attach.NONE),
    ("kprobe.multi/f*", ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI, "f*", False, Attach.NONE),
    ("lsm/file_open", ProgType.LSM, AttachType.LSM_MAC, "file_open", False, Attach.NONE),
    ("syscall", ProgType.SYSCALL, None, "", True, Attach.NONE),
    ("xdp", ProgType.XDP, AttachType.XDP, "", False, Attach.NONE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "type", "attach_type", "target", "sleepable", "attach"),
    ROWS,
    ids=[row[0] for row in ROWS],
)
def test_parse(name, type, attach_type, target, sleepable, attach):
    found = parse(name)
    assert found is not None
    kind = found.kind
    assert (kind.type, kind.attach_type, found.target) == (type, attach_type, target)
    assert (kind.sleepable, kind.attach, found.autoload) == (sleepable, attach, True)


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
