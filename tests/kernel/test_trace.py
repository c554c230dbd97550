"""The tracer on real calls: `fsession.trace` as a library and as a command."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import fsession
from fsession.errors import AttachError
from fsession.trace.values import FAULT
from triggers import TRIGGERS, libc

AT_FDCWD = -100
OPEN = "do_sys_openat2"
NICE = "set_user_nice"
NICE_COMMAND = ("python3", "-c", "import os; os.setpriority(os.PRIO_PROCESS, 0, 3)")
THREADS, CALLS = 8, 100


@pytest.fixture
def trace(host, strategy):
    """A tracer of this process's calls, by each strategy."""

    def make(*targets, **options):
        return fsession.trace(
            *targets, **{"host": host, "strategy": strategy, "pid": os.getpid()} | options
        )

    return make


def set_nice(times: int = 1) -> None:
    for _ in range(times):
        os.setpriority(os.PRIO_PROCESS, 0, 7)


def finish(tracer) -> list:
    tracer.detach()
    return tracer.read(0)


@pytest.mark.parametrize("name", list(TRIGGERS))
def test_arguments(name, trace, facts):
    function, trigger = TRIGGERS[name]
    expected = None
    try:
        with trace(function) as tracer:
            expected = trigger()
            calls = finish(tracer)
    except AttachError:
        assert expected is None
        assert facts is None or facts.words < 12
        pytest.skip(f"no more than {facts.words} words" if facts else "too many words")
    assert any(_agrees(call, expected) for call in calls), [call.words for call in calls]


def _agrees(call, expected) -> bool:
    words = all(word.agrees(seen) for word, seen in zip(expected.words, call.words, strict=True))
    if expected.result is None:
        return words and call.is_void
    return words and expected.result.agrees(call.result_word)


def test_texts_are_those_of_the_entry(trace, tmp_path):
    name = tmp_path / ("x" * 20)
    with trace(OPEN) as tracer:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        with pytest.raises(FileNotFoundError):
            os.open(f"{name}.none", os.O_RDONLY)
        libc.openat(AT_FDCWD, ctypes.c_void_p(16), 0)
        calls = {str(call.args["filename"]): call for call in finish(tracer)}
    assert calls[str(name)].ret >= 0
    assert calls[f"{name}.none"].ret == -errno.ENOENT
    assert str(calls[f"{name}.none"].ret) == "-ENOENT (-2)"
    assert calls[str(FAULT)].ret == -errno.EFAULT


def test_filters(trace):
    def seen(**options) -> int:
        with trace(OPEN, **options) as tracer:
            os.close(os.open("/dev/null", os.O_RDONLY))
            with pytest.raises(FileNotFoundError):
                os.open("/nothing", os.O_RDONLY)
            names = [call.args["filename"] for call in finish(tracer)]
        return sum(name in ("/dev/null", "/nothing") for name in names)

    comm = Path("/proc/self/comm").read_text().strip()
    assert seen() == 2
    assert seen(pid=1) == 0
    assert seen(comm=comm) == 2
    assert seen(comm=comm[:-1]) == 0
    assert seen(errors=True) == 1
    assert seen(min_duration_ns=10_000_000_000) == 0
    assert seen(min_duration_ns=1, errors=True, comm=comm) == 1


def test_nothing_is_lost_in_silence(trace):
    with trace(NICE, ring_bytes=4096) as tracer:
        set_nice(500)
        calls = finish(tracer)
        summary = tracer.summary
    assert 0 < len(calls) < 500
    assert summary.calls == len(calls) + summary.lost == 500
    assert summary.missed == 0


def test_threads(trace):
    with trace(NICE) as tracer:
        threads = [threading.Thread(target=set_nice, args=(CALLS,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        calls = finish(tracer)
        summary = tracer.summary
    assert len(calls) == summary.calls == THREADS * CALLS
    assert {call.args["nice"] for call in calls} == {7}
    assert len({call.tid for call in calls}) == THREADS
    assert all(call.pid == os.getpid() and call.duration_ns > 0 for call in calls)


def test_max_events(trace):
    with trace(NICE, max_events=3) as tracer:
        set_nice(10)
        assert len(list(tracer)) == 3
        assert tracer.summary.calls == 3


def test_time_is_the_kernel_s(trace):
    with trace(NICE) as tracer:
        before, wall = time.monotonic_ns(), time.time_ns()
        set_nice()
        after = time.monotonic_ns()
        (call,) = finish(tracer)
    assert before <= call.start_ns <= call.start_ns + call.duration_ns <= after
    assert abs(call.wall_ns - wall) < 1_000_000_000


def test_many_functions(trace):
    with trace("vfs_[rw]*") as tracer:
        with Path("/dev/zero").open("rb", buffering=0) as zero:
            zero.read(100)
        calls = finish(tracer)
        summary = tracer.summary
    reads = [call for call in calls if call.function == "vfs_read" and call.args["count"] == 100]
    assert [call.ret for call in reads] == [100]
    assert summary.functions > 6
    if summary.strategy == "multi":
        assert (summary.programs, summary.links) == (1, 1)


def test_texts_of_many_functions(trace):
    with trace(OPEN, NICE) as tracer:
        os.close(os.open("/dev/null", os.O_RDONLY))
        set_nice()
        calls = finish(tracer)
    assert [call.args["filename"] for call in calls if call.function == OPEN] == ["/dev/null"]
    assert [call.args["nice"] for call in calls if call.function == NICE] == [7]


REFUSED = [("no_such_function", "not in the kernel's BTF"), ("do_exit", "it never returns")]


@pytest.mark.parametrize(("name", "reason"), REFUSED)
def test_refused(trace, name, reason):
    with pytest.raises(AttachError, match=reason):
        trace(name).__enter__()


# The command


def command(*words: str, **options) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "fsession", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **options)


STATUSES = [
    ("fine", ["trace", NICE, "--", "true"], 0),
    ("the workload's", ["trace", NICE, "--", "sh", "-c", "exit 7"], 7),
    ("no such function", ["trace", "no_such_function", "--", "true"], 2),
    ("no such command", ["trace", NICE, "--", "no-such-command"], 2),
    ("no such option", ["trace", NICE, "--no-such-option"], 2),
    ("time is over", ["trace", NICE, "--timeout", "0.1"], 0),
    ("no such file", ["run", "/no/such/file"], 2),
]


@pytest.mark.parametrize(
    ("words", "status"), [row[1:] for row in STATUSES], ids=[r[0] for r in STATUSES]
)
def test_status(words, status, command_line):
    done = command(*words)
    assert done.returncode == status
    assert len(done.stderr.splitlines()) <= 3


def test_a_trace_of_a_command(command_line):
    done = command("trace", OPEN, "--", "cat", "/no/such/file")
    assert f'{OPEN}(dfd=-100, filename="/no/such/file"' in done.stdout
    assert " = -ENOENT (-2)\n" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"{os.uname().release} {os.uname().machine}")
    assert "0 lost · 0 missed" in done.stdout


def test_a_trace_as_json(command_line):
    done = command("trace", NICE, "--format", "json", "--", *NICE_COMMAND)
    *calls, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert summary["type"] == "summary"
    assert summary["calls"] == len(calls) >= 1
    assert calls[-1]["args"]["nice"] == 3
    assert "ret" not in calls[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_the_summary(number, command_line):
    workload = ["sh", "-c", "echo up; exec sleep 100"]
    line = [sys.executable, "-m", "fsession", "trace", NICE, "--", *workload]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "up\n"
        running.send_signal(number)
        rest = running.stdout.read()
    assert "0 lost · 0 missed" in rest.splitlines()[-1]
    assert running.returncode == 0


def test_closed_output_is_no_error(command_line):
    trace = f"{sys.executable} -m fsession trace {OPEN}"
    line = f"{trace} -- sh -c 'cat /no/such/file; exec sleep 100' | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("TIME")
    assert "fsession" not in done.stderr
