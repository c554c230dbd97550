"""Recordings of real calls: what is replayed is what happened."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import fsession
from fsession.recording import Recording, RecordingWriter
from fsession.recording.header import Header

OPEN = "do_sys_openat2"
NICE = "set_user_nice"


def command(*words, **options):
    line = [sys.executable, "-m", "fsession", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **options)


def recorded(host, strategy, ring_bytes):
    """A recording of 100 calls and then one that fails, by this process."""
    options = {"host": host, "strategy": strategy, "pid": os.getpid(), "ring_bytes": ring_bytes}
    file = io.BytesIO()
    with fsession.trace(NICE, OPEN, **options) as tracer:
        header = Header("trace", tracer.host, tracer.wall_offset_ns, tuple(tracer.functions))
        writer = RecordingWriter(file, header, lambda: tracer.summary)
        for value in range(100):
            os.setpriority(os.PRIO_PROCESS, 0, value % 20)
        with pytest.raises(FileNotFoundError):
            os.open("/no/such/file", os.O_RDONLY)
        tracer.detach()
        writer.write(tracer.read_raw())
        writer.end(tracer.summary)
    file.seek(0)
    recording = Recording(file)
    return list(recording), recording.summary


def test_calls_are_those_that_happened(host, strategy):
    calls, summary = recorded(host, strategy, 1 << 20)
    assert len(calls) == summary.calls == 101
    assert [call.args.get("nice") for call in calls] == [*(v % 20 for v in range(100)), None]
    assert calls[-1].args["filename"] == "/no/such/file"
    assert str(calls[-1].ret) == "-ENOENT (-2)"
    assert abs(calls[-1].wall_ns - time.time_ns()) < 60 * 10**9


def test_recorded_and_lost_are_all(host):
    calls, summary = recorded(host, "auto", 4096)
    assert len(calls) + summary.lost == summary.calls == 101
    assert summary.lost > 0


def test_record_and_replay(tmp_path):
    path = str(tmp_path / "trace.fsr")
    done = command("record", "-o", path, OPEN, "--", "cat", "/no/such/file")
    assert done.returncode == 1  # of cat
    assert "0 lost · 0 missed" in done.stderr
    lines = command("replay", path, "--format", "json").stdout.splitlines()
    *calls, summary = map(json.loads, lines)
    assert summary["calls"] == len(calls) > 0
    (missing,) = [call for call in calls if call["args"]["filename"] == "/no/such/file"]
    assert missing["error"] == "ENOENT"


def test_frames_of_stacks_keep_their_names(command_line, tmp_path):
    path = str(tmp_path / "trace.fsr")
    workload = ["sh", "-c", "true < /no/such/file; sleep 0.5; true"]  # it lives to be asked
    done = command(
        "record", "-o", path, "--stack", "--ustack", "--comm", "sh", OPEN, "--", *workload
    )
    assert done.returncode == 0, done.stderr
    with Recording.open(path) as recording:
        calls = [call for call in recording if call.args["filename"] == "/no/such/file"]
    (missing,) = calls
    kernel, process = (list(map(str, missing.prints[name])) for name in ("kstack", "ustack"))
    assert any("sys_openat" in frame for frame in kernel)
    assert not any("bpf_trampoline" in frame or "bpf_prog" in frame for frame in kernel)
    assert any("(libc.so" in frame for frame in process)


def test_a_killed_tracer_leaves_what_it_saw(tmp_path):
    path = tmp_path / "trace.fsr"
    workload = ["sh", "-c", "cat /no/such/file; exec sleep 100"]
    line = [sys.executable, "-m", "fsession", "record", "-o", str(path), OPEN, "--", *workload]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 60
        while not (path.exists() and b"/no/such/file" in path.read_bytes()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGKILL)
    done = command("replay", str(path))
    assert '"/no/such/file"' in done.stdout
    assert "has no end" in done.stderr
    assert done.returncode == 1
