"""Calls as lines for people."""

from __future__ import annotations

import io
import time

import pytest

from fsession.sinks.text import TextSink, duration, mark, summary_line
from fsession.trace.event import Summary

SUMMARY = Summary(3, 0, 0, 1, "native", 1, 1, "Linux 7.2.12 x86_64")


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def written(batches, summary=None, **options):
    out = io.StringIO()
    sink = TextSink(out, **options)
    sink.begin()
    for batch in batches:
        sink.write(batch)
    if summary:
        sink.end(summary)
    return out.getvalue()


def test_a_trace(kernel):
    calls = [
        kernel.call("icmp_rcv", 0xFFFF_8F75_C8EF_D300),
        kernel.call("tick", duration_ns=400, wall_ns=1_700_000_000_502_113_999, cpu=0),
    ]
    assert written([calls], SUMMARY) == (
        "TIME              DURATION   PID  COMM  CPU  CALL\n"
        "22:13:20.000000  +  12.3µs  1432  ping    1  icmp_rcv(skb=0xffff8f75c8efd300) = 0\n"
        "22:13:20.502113      0.4µs  1432  ping    0  tick()\n"
        "3 calls · 0 lost · 0 missed · native session: 1 program, 1 link · Linux 7.2.12 x86_64\n"
    )


def test_columns_grow_and_never_shrink(kernel):
    short = kernel.call("tick")
    long = kernel.call("tick", comm="NetworkManager", pid=4_194_303, duration_ns=123_400_000_000)
    lines = written([[short], [long], [short]]).splitlines()
    assert lines[1].startswith("22:13:20.000000  +  12.3µs  1432  ping    1  tick")
    assert lines[2].startswith("22:13:20.000000  $ 123.4s   4194303  NetworkManager    1  tick")
    assert lines[3].index("tick") == lines[2].index("tick")


def test_quiet_has_calls_alone(kernel):
    assert written([[kernel.call("tick")]], SUMMARY, quiet=True).count("\n") == 1


def test_nothing_happened():
    assert written([], SUMMARY).startswith("3 calls")


def test_colors(kernel):
    call = kernel.call("icmp_rcv", 1, ret=-12, duration_ns=2_000_000)
    plain, colored = written([[call]]), written([[call]], color=True)
    assert "\x1b[31m#   2.0ms\x1b[0m" in colored
    assert "= \x1b[31m-ENOMEM (-12)\x1b[0m\n" in colored
    assert "\x1b" not in plain


DURATIONS = [
    (0, "0.0µs", " "),
    (49, "0.0µs", " "),
    (400, "0.4µs", " "),
    (9_999, "10.0µs", " "),
    (12_345, "12.3µs", "+"),
    (123_456, "123.5µs", "!"),
    (1_500_000, "1.5ms", "#"),
    (15_000_000, "15.0ms", "*"),
    (150_000_000, "150.0ms", "@"),
    (3_400_000_000, "3.4s ", "$"),
    (5_000_000_000_000, "5000.0s ", "$"),
]


@pytest.mark.parametrize(("length_ns", "shown", "sign"), DURATIONS)
def test_duration(length_ns, shown, sign):
    assert duration(length_ns) == shown
    assert mark(length_ns) == sign


SUMMARIES = [
    (
        "one",
        Summary(1, 0, 0, 1, "split", 2, 2, "H"),
        "1 call · 0 lost · 0 missed · split session: 2 programs, 2 links · H",
    ),
    (
        "skipped",
        Summary(0, 5, 6, 9, "multi", 1, 1, "H", {"variadic": 2, "noreturn": 1}),
        "0 calls · 5 lost · 6 missed · 3 functions skipped: 1 noreturn, 2 variadic"
        " · multi session: 1 program, 1 link · H",
    ),
]


@pytest.mark.parametrize(
    ("summary", "line"), [row[1:] for row in SUMMARIES], ids=[r[0] for r in SUMMARIES]
)
def test_summary(summary, line):
    assert summary_line(summary) == line
