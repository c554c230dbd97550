"""Programs in Python: for the functions of a pattern, with tasks and kernel functions, on BPF
programs; by each strategy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import subprocess
from pathlib import Path

import pytest

from fsession import Object
from fsession.btf.types import Func
from fsession.cli import main
from fsession.errors import CompileError, VerifierError
from fsession.host import Feature
from fsession.obj.write import write_object
from fsession.session.python import PythonObject
from triggers import ask_owner, setsockopt

HERE = Path(__file__).parent
PROGRAMS, EXAMPLES = HERE / "programs", HERE.parent.parent / "examples"
AT_FDCWD = -100


def test_pattern(strategy, host, tid):
    with PythonObject.open(PROGRAMS / "pattern.py") as obj:
        obj.load(host)
        with obj.attach(strategy) as attachment:
            obj.object.globals["only"] = tid
            os.close(os.open("/dev/null", os.O_RDONLY))
            with contextlib.suppress(FileNotFoundError):
                os.open("/no/such/file", os.O_RDONLY)
            obj.object.globals["only"] = 0
        assert "do_sys_openat2" in attachment.targets
        calls = [(event.name, event.ret) for event in obj.read(0)]
        assert calls[0][0] == "/dev/null"
        assert calls[0][1] >= 0
        assert calls[1] == ("/no/such/file", -errno.ENOENT)
        assert dict(obj.object.maps["calls"].items()) == {AT_FDCWD: 2}


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_tasks(strategy, host, tid):
    """Values of threads; a kernel function that gives a reference, and the one that takes it."""
    obj = PythonObject.open(PROGRAMS / "tasks.py")
    if host.types().find("bpf_task_from_pid", Func) is None:
        with pytest.raises(CompileError, match=r"this kernel has no bpf_task_from_pid\(\)"):
            obj.load(host)
        return
    with obj.load(host):
        with obj.attach(strategy):
            obj.object.globals["only"] = tid
            for priority in (7, 3, 4):
                os.setpriority(os.PRIO_PROCESS, 0, priority)
            obj.object.globals["only"] = 0
        events = obj.read(0)
    assert [event.sum for event in events if hasattr(event, "sum")] == [7, 10, 14]
    comm = Path("/proc/self/comm").read_text().strip()
    found = [event for event in events if hasattr(event, "comm")]
    assert [(event.pid, event.comm) for event in found] == [(tid, comm)] * 3


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_subprogram(strategy, host, load, require, tmp_path):
    """A session on a function of a loaded BPF program, with its arguments by name."""
    require(Feature.PROGRAM_TARGETS, True)
    target = load("targets", "target").programs["target"].program
    path = tmp_path / "subprogram.py"
    text = (PROGRAMS / "subprogram.py").read_text()
    path.write_text(text.replace('"TARGET"', f'"prog:{target.id}/add_up"'))
    with PythonObject.open(path) as obj:
        obj.load(host)
        with obj.attach(strategy):
            target.test_run(data=bytes(64))
        ((first, second, ret),) = obj.read(0)
        assert (first, second, ret) == (7, 4, 74)
        assert sum(map(sum, obj.object.maps["durations"].values())) == 1


@pytest.mark.parametrize("strategy", ["native", "split"], indirect=True)
def test_written_object(strategy, host, tmp_path):
    """A program as an object file does what it does compiled in place."""
    path = tmp_path / "icmp.bpf.o"
    spec = PythonObject.open(EXAMPLES / "icmp.py").compile(host).spec
    path.write_bytes(write_object(spec, host.types()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with Object.open(path) as obj:
        obj.load(host)
        with obj.attach(strategy):
            ping = ["ping", "-c", "1", "127.0.0.1"]
            subprocess.run(ping, check=True, stdout=subprocess.DEVNULL)
        assert sum(map(sum, obj.maps["durations"].values())) == 2
        assert obj.globals["threshold"] == 1000


SCHED_RESET_ON_FORK = 0x40000000


@pytest.fixture
def reset_on_fork():
    """The bit of this thread that ``sched_reset_on_fork`` shows."""
    os.sched_setscheduler(0, os.SCHED_OTHER | SCHED_RESET_ON_FORK, os.sched_param(0))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def test_kinds(host, tid, require, reset_on_fork):
    """Bit-fields, unions, texts, reads that fail, structs in maps, subprograms."""
    require(Feature.FENTRY, True)
    with PythonObject.open(PROGRAMS / "kinds.py").load(host) as obj, host.printk_lines() as printed:
        printed.read(0)
        with obj.attach():
            obj.object.globals["only"] = tid
            os.setpriority(os.PRIO_PROCESS, 0, 5)
            obj.object.globals["only"] = 0
        (event,) = obj.read(0)
        maps = obj.object.maps
        comm = Path("/proc/self/comm").read_text().strip()
        assert (event.bit, event.comm, event.is_python, event.is_other) == (1, comm, True, False)
        assert event.users >= 1
        assert (event.status, event.parent) == (0, os.getppid())
        assert (event.fault < 0, event.nothing) == (True, 0)
        assert (event.clamped, event.other) == (3, True)
        assert event.cpu in (0, 1)
        assert obj.object.globals["seen"] == 1
        assert dict(maps["recent"].items()) == {tid: os.getpid()}
        assert [(key, sum(value)) for key, value in maps["counts"].items()] == [(comm.encode(), 2)]
        assert maps["flags"][1] == 255
        ((key, value),) = maps["pairs"].items()
        assert (key["nice"], key["small"], key["pid"]) == (5, 7, tid)
        assert (value["nice"], value["small"], value["pid"]) == (4, 0x18, os.getpid())
        assert f"fsession nice 5 of {tid}" in printed.read(1)


def ancestors() -> int:
    count, pid = 1, os.getpid()
    while pid := int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]):
        count += 1
    return count


def test_loops(strategy, host, tid, tmp_path):
    """Loops whose rounds the verifier can't count."""
    path = tmp_path / "loops.py"
    text = (PROGRAMS / "loops.py").read_text()
    path.write_text(text.replace("nice", "nic[e]", 1) if strategy == "multi" else text)
    with PythonObject.open(path).load(host) as obj:
        with obj.attach(strategy):
            obj.object.globals["rounds"] = 5000
            obj.object.globals["only"] = tid
            os.setpriority(os.PRIO_PROCESS, 0, 9)
            obj.object.globals["only"] = 0
        first, second = obj.read(0)
        assert (first.at, first.pid) == (900, tid)
        assert (second.depth, second.last) == (ancestors(), 0)
        assert (second.cookie, second.missing) == (sum(range(5000)), 8999)
        assert dict(obj.object.maps["steps"].items()) == {900: 54}
        assert list(obj.object.maps["parity"].values()) == [2500, 2500]


def test_events(strategy, host, tid, tmp_path):
    """Whole structs, arrays and stacks, with the names of the kernel's types and functions."""
    path = tmp_path / "events.py"
    text = (PROGRAMS / "events.py").read_text()
    path.write_text(text.replace('nice"', 'nic[e]"', 1) if strategy == "multi" else text)
    with PythonObject.open(path).load(host) as obj:
        with obj.attach(strategy):
            obj.object.globals["only"] = tid
            os.setpriority(os.PRIO_PROCESS, 0, 11)
            obj.object.globals["only"] = 0
        first, second = obj.read(0)
    assert (first.at_return, second.at_return) == (False, True)
    unlimited = 1 << 64
    for number, (now, most) in enumerate(first.limits):
        expected = resource.getrlimit(number)
        assert (now, most) == tuple(limit % unlimited for limit in expected)
    assert first.limits[0].rlim_cur == first.limits[0][0]
    assert second.load.weight == 87 << 10  # of nice 11
    assert (first.cred.uid.val, first.cred.egid.val) == (os.getuid(), os.getegid())
    comm = Path("/proc/self/comm").read_text().strip()
    assert first.own == (os.getpid(), comm, 11)
    assert any("sys_setpriority+0x" in name for name in first.stack)
    assert len(first.short) == 2
    assert _is_code(int(first.caller[0], 16))


def _is_code(address):
    """Whether it is in a mapping of this process that can be executed."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, *_ = line.split()
        start, end = (int(word, 16) for word in place.split("-"))
        if start <= address < end:
            return "x" in rights
    return False


def test_refused(host, capfd):
    """The verifier's words come with the line of the Python source that they are about."""
    path = PROGRAMS / "refused.py"
    line = "cookie[p.prio] = nice"
    with pytest.raises(VerifierError) as caught, PythonObject.open(path).load(host) as obj:
        obj.attach()  # a split session is loaded only now
    source = caught.value.lines[0]
    assert source.startswith(f"; {line}")
    if "@" in source:  # since 6.9
        assert source.endswith("refused.py:11")
    assert main.run(["run", str(path), "--", "true"]) == 1
    said = capfd.readouterr().err
    assert "program 'refused' was refused: " in said
    assert f"  {source}\n" in said


def test_by_value(strategy, host, tmp_path):
    """Members of arguments that are structs by value, of 4 and of 16 bytes."""
    path = tmp_path / "by_value.py"
    text = (PROGRAMS / "by_value.py").read_text()
    if strategy == "multi":
        text = text.replace('munged"', 'munge[d]"').replace('sockopt"', 'sockop[t]"')
    path.write_text(text)
    with PythonObject.open(path).load(host) as obj, obj.attach(strategy):
        obj.object.globals["only"] = 1234
        ask_owner()
        call = setsockopt()
        events = obj.read(0)
    owners = [event for event in events if hasattr(event, "owner")]
    assert [(event.owner, event.at_return) for event in owners] == [(1234, False), (1234, True)]
    options = [event for event in events if not hasattr(event, "owner")]
    assert len(options) == 2
    for event in options:
        assert (event.user, event.is_kernel) == (call.words[3].value, False)
        assert (event.whole.user, event.whole.is_kernel) == (call.words[3].value, False)


def _after_set_user_nice(obj, tid, priority=5):
    """What the programs did when this thread's priority was set once."""
    with obj.attach():
        obj.object.globals["only"] = tid
        os.setpriority(os.PRIO_PROCESS, 0, priority)
        obj.object.globals["only"] = 0
    entries = obj.object.maps["results"].items()
    return {key.decode(): value for key, value in entries}, obj.read(0)


def test_calls(host, tid, require):
    """Helpers by their names, ring buffers, structs in structs, function pointers."""
    require(Feature.FENTRY, True)
    with PythonObject.open(PROGRAMS / "calls.py").load(host) as obj:
        found, (event,) = _after_set_user_nice(obj, tid)
        assert obj.compiled is not None
        maps = obj.compiled.maps
        reserved, sent, raw = (maps[name] for name in ("reserved", "sent", "raw"))
        comm = Path("/proc/self/comm").read_bytes().strip()
        (record,) = reserved.read(0)
        assert (record["small"], record["where"]["pid"], record["nice"]) == (7, tid, 5)
        assert sent.read(0) == [tid]
        words = bytes([0, 0, 0, 9]).ljust(16, b"\0")
        assert raw.read(0) == [words, b"abc", bytes([200, *bytes(22), 1])]
        ((key, value),) = maps["changes"].items()
        assert key == {"small": 1, "where": {"pid": tid, "comm": comm}, "nice": 5}
        assert value["where"] == {"pid": os.getpid() + 1, "comm": b"two"}
        assert (value["small"], value["nice"]) == (2, -5)
        assert maps["changes"][key] == value
        assert key in maps["changes"]
        del maps["changes"][key]
        assert maps["changes"].get(key) is None
        _after_set_user_nice(obj, tid, 12)
        assert reserved.read(0) == []
    assert event.function.name.startswith("enqueue_task")
    assert event.null is True
    assert found.pop("frames") > 0
    assert found == {
        "arg_cnt": 2, "arg": 5, "no arg": -errno.EINVAL, "strtol": -42, "strtol bytes": 3,
        "regs": 1, "comm": 0, "first": comm[0], "stack": 1, "task stack": 1, "read": 0,
        "read first": comm[0], "write": 0, "lookup": 5, "delete": 0, "gone": 1, "query": 4096,
        "dynptr": 0, "dynptr write": 0, "dynptr read": 0, "dynptr byte": ord("b"),
        "dynptr data": ord("c"), "snprintf": 9, "same": 0, "other": 1, "enum": 3, "pointer": 0,
    }  # fmt: skip


def test_references(host, tid, require):
    """Kernel functions that give references, and sections."""
    require(Feature.FENTRY, True)
    obj = PythonObject.open(PROGRAMS / "references.py")
    if host.types().find("bpf_cpumask_first", Func) is None:
        with pytest.raises(CompileError, match=r"this kernel has no bpf_task_from_pid\(\)"):
            obj.load(host)
        return
    with obj.load(host):
        found, _ = _after_set_user_nice(obj, tid)
    assert found == {
        "pid": tid, "again": tid, "nobody": 1, "none": 1, "parent": os.getppid(), "first cpu": 1,
        "loop": 3,
    }  # fmt: skip
