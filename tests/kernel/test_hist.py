"""`hist` and `top`: counts are exact, whatever the strategy; what found no room is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fsession import hist, top

TESTS = "bpf_fentry_test[1-6]"  # one call of each by a test run
MANY = 5


@pytest.fixture
def poke(load):
    return load("sessions", "poke").programs["poke"].test_run


def test_durations(strategy, host, poke):
    with hist("bpf_fentry_test1", host=host, strategy=strategy, pid=os.getpid()) as counted:
        for _ in range(MANY):
            poke()
        counted.detach()
        (row,) = counted.read()
        summary = counted.summary
    assert (row.keys, row.count) == ((), MANY)
    assert (summary.calls, summary.lost, summary.missed, summary.strategy) == (MANY, 0, 0, strategy)
    assert row.buckets[0][0] * MANY <= row.total


def test_numbers_by_keys(strategy, host, poke):
    """Results, linear, by function: each is known."""
    with hist(
        TESTS, of="ret", by=["function", "comm"], linear=(0, 200, 1), host=host, strategy=strategy,
        comm=Path("/proc/self/comm").read_text().strip(),
    ) as counted:  # fmt: skip
        for _ in range(MANY):
            poke()
        counted.detach()
        rows = {row.keys[0]: row for row in counted.read()}
    assert len(rows) == 6
    for row in rows.values():
        ((low, high, count),) = row.buckets
        assert (low, count, row.total) == (high, MANY, low * MANY)
        assert row.percentile(0.5) == (low, low)
    assert rows["bpf_fentry_test1"].buckets == [(2, 2, MANY)]


def test_keys_of_the_entry(strategy, host, tmp_path):
    """A name that is read at the entry, and filed under at the exit."""
    name = "str(path->dentry->d_name.name)"
    with hist(
        "vfs_open", by=["ret", name], filter="ret == 0", host=host, strategy=strategy,
        pid=os.getpid(),
    ) as counted:  # fmt: skip
        for at in range(MANY):
            (tmp_path / f"file{at % 2}").write_bytes(b"")
        counted.detach()
        rows = {row.keys: row.count for row in counted.read()}
        assert counted.summary.unsaved == 0
    assert rows[0, "file0"] == 3
    assert rows[0, "file1"] == 2


def test_no_room(strategy, host, poke):
    """Calls with keys that found no room: counted + lost = made."""
    with hist(TESTS, by="function", max_keys=2, linear=(0, 1 << 62, 1 << 61), host=host,
              strategy=strategy, pid=os.getpid()) as counted:  # fmt: skip
        for _ in range(MANY):
            poke()
        counted.detach()
        summary = counted.summary
        rows = counted.read()
    assert sorted(row.count for row in rows) == [MANY, MANY]
    assert (summary.lost, summary.calls) == (4 * MANY, 6 * MANY)


def test_unreadable(strategy, host, poke):
    """A number behind a wild pointer is no zero."""
    with hist("bpf_fentry_test1", of="*(int *)8", host=host, strategy=strategy) as counted:
        poke()
        counted.detach()
        assert counted.read() == []
        assert counted.summary.faulted == 1


def test_top(strategy, host):
    with top("ksys_write", "ksys_read", host=host, strategy=strategy, pid=os.getpid()) as counted:
        for _ in range(MANY):
            with suppress(OSError):
                os.read(-1, 1)
        counted.detach()
        rows = {row.function: row for row in counted.read()}
    row = rows["ksys_read"]
    assert row.errors == MANY <= row.calls
    assert row.total_ns > 0


def test_command(tmp_path, command_line):
    """Both commands with a workload; JSON."""
    for words in (["hist", "vfs_read", "--by", "comm", "--interval", "0.2"], ["top", "vfs_re*"]):
        out = tmp_path / words[0]
        command = [sys.executable, "-m", "fsession", *words, "--format", "json", "-o", str(out)]
        done = subprocess.run(
            [*command, "--", "sh", "-c", "cat /proc/self/stat; sleep 0.3; exit 3"]
        )
        assert done.returncode == 3
        *rows, summary = map(json.loads, out.read_text().splitlines())
        assert summary["type"] == "summary"
        total = sum(row.get("count", row.get("calls")) for row in rows if row["type"] != "interval")
        assert total == summary["calls"] > 0
