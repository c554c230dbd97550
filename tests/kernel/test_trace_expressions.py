"""Expressions of the tracer on real calls: filters, values, faults, counts."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

import fsession
from fsession.errors import CompileError
from fsession.trace.values import FAULT, LOST

NICE = "set_user_nice"
READ = "vfs_read"


@pytest.fixture
def trace(host, strategy):
    def make(*targets, **options):
        return fsession.trace(
            *targets, **{"host": host, "strategy": strategy, "pid": os.getpid()} | options
        )

    return make


def finish(tracer):
    """The calls and the summary."""
    tracer.detach()
    calls = tracer.read(0)
    return calls, tracer.summary


def nice(*values: int) -> None:
    for value in values:
        os.setpriority(os.PRIO_PROCESS, 0, value)


def read_bytes(path: str, *sizes: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    for size in sizes:
        os.read(fd, size)
    os.close(fd)


def test_values(trace, tmp_path):
    """What an argument points to, at the entry; what belongs to the exit; names of the task."""
    path = tmp_path / "a file to read"
    path.write_bytes(b"words of it")
    name = "file->f_path.dentry->d_name.name"
    prints = (name, "count", "ret", "pid", "comm", "buf(buf, 3)", "duration > 0", "kstack")
    with trace(READ, filter="count == 5 || count == 77", print=prints) as tracer:
        read_bytes(str(path), 5, 3, 77)
        calls, summary = finish(tracer)
    assert [call.prints["count"] for call in calls] == [5, 77]
    assert [call.prints["ret"] for call in calls] == [5, 3]
    for call in calls:
        assert call.prints[name] == path.name
        assert call.prints["pid"] == os.getpid()
        assert call.prints["comm"] == call.comm
        assert call.prints["duration > 0"] == 1
        assert len(call.prints["buf(buf, 3)"]) == 3
        assert len(call.prints["kstack"]) > 2
    assert summary.faulted == 0


def test_filters(trace):
    """At the entry and at the exit, several together, in C and in Python; the calls add up."""
    with trace(NICE, filter=["nice > 4", "nice < 7 and p.pid == tid"]) as tracer:
        nice(3, 5, 6, 7)
        calls, _ = finish(tracer)
    assert [call.args["nice"] for call in calls] == [5, 6]
    with trace(READ, filter=["ret == 0", "count > 2"]) as tracer:
        read_bytes("/dev/null", 2, 3, 4)
        read_bytes("/proc/self/stat", 3)
        calls, summary = finish(tracer)
    assert [call.args["count"] for call in calls] == [3, 4]
    assert (summary.calls, summary.missed) == (2, 0)


def test_faults_are_told_from_zeros(trace):
    """A null pointer is followed; a filter that can't be read keeps nothing, and both count."""
    with trace(NICE, print=["p->io_uring->cached_refs", "p->exit_code"]) as tracer:
        nice(8, 8)
        calls, summary = finish(tracer)
    assert [list(call.prints.values()) for call in calls] == [[FAULT, 0]] * 2
    assert summary.faulted == 2
    with trace(NICE, filter="p->io_uring->cached_refs == 0") as tracer:
        nice(8, 8, 8)
        calls, summary = finish(tracer)
    assert calls == []
    assert (summary.calls, summary.faulted) == (0, 3)


def test_functions_that_differ(trace):
    """Programs by class: an argument in another place; functions without it are left out."""
    with trace("vfs_read*", "vfs_write*", filter="count == 3", print=["file"]) as tracer:
        read_bytes("/dev/null", 3)
        fd = os.open("/dev/null", os.O_WRONLY)
        os.write(fd, b"abc")
        os.close(fd)
        calls, summary = finish(tracer)
    assert {call.function for call in calls} == {"vfs_read", "vfs_write"}
    assert all(call.prints["file"] == call.args["file"] for call in calls)
    assert summary.skipped["no argument 'count'"] >= 1


def test_a_network_namespace(trace):
    with trace("icmp_rcv", print=["netns", "skb->dev->name"], pid=None) as tracer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"x", ("127.0.0.1", 9))
        calls, _ = finish(tracer)
    inode = Path("/proc/self/ns/net").stat().st_ino
    assert [list(call.prints.values()) for call in calls] == [[inode, "lo"]]


def test_wrong(trace, command_line):
    with pytest.raises(CompileError, match="struct task_struct has no member 'pidd'"):
        trace(NICE, filter="p->pidd == 3").__enter__()
    with pytest.raises(CompileError, match="the name 'nise' is not known"):
        trace("set_user_nic*", print=["nise"]).__enter__()


def test_who_and_where(trace):
    """Filters on the task and the place; one that does not hold keeps nothing."""
    inode = Path("/proc/self/ns/net").stat().st_ino
    here = {"tid": os.getpid(), "cpu": range(64), "netns": inode, "cgroup": cgroup_of_this()}
    for options, calls in (
        (here, 2),
        ({"tid": os.getpid() + 1}, 0),
        ({"cpu": 63}, 0),
        ({"netns": inode + 1}, 0),
        ({"cgroup": cgroup_beside()}, 0),
    ):
        with trace(NICE, **options) as tracer:
            nice(3, 3)
            assert len(finish(tracer)[0]) == calls, options


def cgroup_of_this() -> str:
    return Path("/proc/self/cgroup").read_text().split("::")[1].splitlines()[0]


def cgroup_beside() -> str:
    """One that this process is not in."""
    path = Path("/sys/fs/cgroup/fsession_beside")
    path.mkdir(exist_ok=True)
    return str(path)


def test_a_sample(trace):
    with trace(READ, filter="count == 7", sample=10) as tracer:
        read_bytes("/dev/null", *[7] * 95)
        calls, summary = finish(tracer)
    assert (len(calls), summary.calls, summary.lost) == (10, 10, 0)


def test_objects_and_stacks(trace, tmp_path):
    path = tmp_path / "words"
    path.write_bytes(b"words")
    with trace(READ, filter="count == 9", objects=True, stack=True, ustack=True) as tracer:
        read_bytes(str(path), 9)
        (call,), summary = finish(tracer)
    assert str(call.prints["file"]).endswith(f"/{tmp_path.name}/words")
    above = [str(frame) for frame in call.prints["kstack"][:6]]  # some begin with the program
    assert any("ksys_read" in frame for frame in above)
    assert any("read" in str(frame) for frame in call.prints["ustack"])
    assert summary.faulted == 0


def test_an_address_of_the_process(trace):
    """A system call's ``struct sockaddr *`` is the process's, which BTF does not say."""
    with trace("__sys_connect", objects=True) as tracer, socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", 9))
        (call,), summary = finish(tracer)
    assert call.prints["uservaddr"] == "127.0.0.1:9"
    assert summary.faulted == 0


def test_expanded(trace):
    with trace(NICE, expand=True, filter="nice == 4") as tracer:
        nice(4)
        (call,), _ = finish(tracer)
    assert call.prints == {}  # struct task_struct is too large
    with trace(READ, expand=True, filter="count == 9") as tracer:
        read_bytes("/dev/null", 9)
        (call,), _ = finish(tracer)
    assert call.prints["*file"]["f_mode"] & 1


def test_lost_and_sent_are_all(trace):
    """A buffer that is too small; every call is one or the other, with values of the entry, too."""
    with trace(NICE, print=["p->pid"], ring_bytes=4096) as tracer:
        nice(*[5] * 100)
        calls, summary = finish(tracer)
    assert 0 < len(calls) < 100
    assert len(calls) + summary.lost == summary.calls == 100
    assert all(call.prints["p->pid"] == os.getpid() for call in calls)


def test_values_without_room(trace):
    """Two places for what five calls under way carry to their exits: three say that it is lost."""
    reading, writing = os.pipe()
    threads = [threading.Thread(target=os.read, args=(reading, 1)) for _ in range(5)]
    with trace(READ, print=["file->f_flags"], filter="count == 1", saved_entries=2) as tracer:
        for thread in threads:
            thread.start()
        while sum(map(_sleeps, threads)) < 5:
            time.sleep(0.01)
        os.write(writing, b"12345")
        for thread in threads:
            thread.join()
        calls, summary = finish(tracer)
    os.close(reading)
    os.close(writing)
    assert [call.prints["file->f_flags"] for call in calls].count(LOST) == 3
    assert (summary.calls, summary.unsaved, summary.faulted) == (5, 3, 0)


def _sleeps(thread: threading.Thread) -> bool:
    words = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2]
    return words.split()[0] == "S"
