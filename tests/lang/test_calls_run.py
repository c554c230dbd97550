"""Calls, ring buffers, structs in structs and references, run by the real kernel.

The programs take nothing of the traced function, so they run as BPF_PROG_TYPE_SYSCALL, too, which
loads where trampolines are refused.
"""

# ruff: noqa: F821

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import fsession
from fsession import Object
from fsession.btf.types import Func
from fsession.btf.values import decode_value
from fsession.kernel import KernelHost
from fsession.lang import compile_programs
from fsession.uapi import ProgType

results = fsession.Hash("char[16]", "s64", 64)
me = fsession.Global("u32", 0)


class Place(fsession.Struct):
    pid: u32
    comm: char[16]


class Change(fsession.Struct):
    small: u8
    where: Place
    nice: s64


changes = fsession.Hash(Change, Change)
reserved = fsession.RingBuf(Change, 8192)
raw = fsession.RingBuf(size=4096)


@fsession.program("fentry/set_user_nice")
def references(ctx):
    task = fsession.bpf_task_from_pid(me.value)
    if task is not None:
        results["pid"] = task.pid
        again = fsession.bpf_task_acquire(task)
        fsession.bpf_task_release(task)
        if again:
            results["again"] = again.pid
            fsession.bpf_task_release(again)
    nobody = fsession.bpf_task_from_pid(-1)
    results["nobody"] = nobody is None
    if nobody is None:
        results["none"] = 1
    else:
        fsession.bpf_task_release(nobody)
    fsession.bpf_rcu_read_lock()
    results["locked"] = 1
    fsession.bpf_rcu_read_unlock()
    mask = fsession.bpf_cpumask_create()
    if not mask:
        return
    fsession.bpf_cpumask_set_cpu(1, mask)
    results["first cpu"] = fsession.bpf_cpumask_first(mask)
    for _ in range(3):
        other = fsession.bpf_task_from_pid(me.value)
        if not other:
            break
        results["loop"] += other.pid == me.value
        fsession.bpf_task_release(other)
    fsession.bpf_cpumask_release(mask)


@fsession.program("fentry/set_user_nice")
def texts(ctx):
    words = fsession.buffer(2, "u64")
    words[0] = 42
    words[1] = 255
    text = fsession.buffer(16)
    results["snprintf"] = fsession.snprintf(text, 16, "%d is %x", words, 16)
    results["same"] = fsession.strncmp(text, 8, "42 is ff")
    results["other"] = fsession.strncmp(text, 8, "42 is fe")
    results["enum"] = fsession.enum("bpf_map_type").BPF_MAP_TYPE_HASH + BPF_MAP_TYPE_ARRAY
    _, number = fsession.strtol("-42", 4, 10)
    results["strtol"] = number


@fsession.program("fentry/set_user_nice")
def rings(ctx):
    record = reserved.reserve()
    if record is None:
        return
    if me.value == 0:
        reserved.discard(record)
        return
    record.small = 7
    record.where.pid = me.value
    record.nice = -3
    reserved.submit(record)
    raw.output("abc")
    changes[1, (me.value, "self"), 5] = (2, (me.value, "two"), -5)
    found = changes.get((1, (me.value, "self"), 5))
    if found is not None:
        found.where.pid += 1
    if (1, (me.value, "self"), 5) in changes:
        results["in"] = 1


@fsession.program("fentry/set_user_nice")
def elements(ctx):
    """By an index that only the run knows: of the stack, of the kernel's memory."""
    words = fsession.buffer(8, "u64")
    for at in range(8):
        words[at] = at * at
    index = me.value % 8
    results["square"] = words[index]
    task = fsession.bpf_task_from_pid(me.value)
    if task is not None:
        results["letter"] = task.comm[index % 4]
        fsession.bpf_task_release(task)


def _run(host, program):
    """The maps' contents after one run: of `results`, and what came through ring buffers."""
    compiled = compile_programs([program], host.types)
    (spec,) = compiled.spec.programs
    made = replace(
        spec, type=ProgType.SYSCALL, attach_type=None, target="", section="syscall", sleepable=True
    )
    types, records = compiled.spec.types, []
    with ExitStack() as stack:
        obj = stack.enter_context(Object(replace(compiled.spec, programs=(made,))))
        obj.load(host)
        if "me" in obj.globals:
            obj.globals["me"] = os.getpid()
        for name, type_id in compiled.records.items():

            def keep(raw, type_id=type_id):
                data = bytes(raw)
                records.append(decode_value(types, type_id, data) if type_id else data)

            ring = stack.enter_context(host.ring_buffer(obj.raw_maps[name], keep))
            stack.callback(ring.poll, 0)
        obj.programs[spec.name].program.test_run()
        found = {key.decode(): value for key, value in obj.maps["results"].items()}
        changed = obj.maps["changes"].items() if "changes" in obj.maps else []
    return found, records, changed


@pytest.fixture(scope="module")
def host():
    with KernelHost() as host:
        yield host


@pytest.mark.kernel
def test_references(host):
    if host.types().find("bpf_cpumask_first", Func) is None:
        pytest.skip("no cpumask functions")
    assert _run(host, references)[0] == {
        "pid": os.getpid(), "again": os.getpid(), "nobody": 1, "none": 1, "locked": 1,
        "first cpu": 1, "loop": 3,
    }  # fmt: skip


@pytest.mark.kernel
def test_texts(host):
    assert _run(host, texts)[0] == {
        "snprintf": 9, "same": 0, "other": 1, "enum": 3, "strtol": -42
    }  # fmt: skip


@pytest.mark.kernel
def test_elements(host):
    index = os.getpid() % 8
    letter = Path("/proc/self/comm").read_bytes()[index % 4]
    assert _run(host, elements)[0] == {"square": index * index, "letter": letter}


@pytest.mark.kernel
def test_rings_and_structs(host):
    pid = os.getpid()
    found, records, changed = _run(host, rings)
    assert found == {"in": 1}
    (record,) = (item for item in records if isinstance(item, dict))
    assert (record["small"], record["where"]["pid"], record["nice"]) == (7, pid, -3)
    assert b"abc\0" in records
    ((key, value),) = changed
    assert key == {"small": 1, "where": {"pid": pid, "comm": b"self"}, "nice": 5}
    assert value == {"small": 2, "where": {"pid": pid + 1, "comm": b"two"}, "nice": -5}
