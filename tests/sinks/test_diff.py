"""Two runs compared."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from fsession.errors import BadInputError
from fsession.sinks.diff import Run, count_run, diff_lines, read_run
from fsession.sinks.json import JsonSink
from sinks.graphs import graph


def run(calls):
    out = io.StringIO()
    JsonSink(out).write(calls)
    return read_run(out.getvalue().splitlines(), "a.json")


def test_calls_and_self_times(kernel):
    found = run([*graph(kernel), *graph(kernel, tree=8)])
    assert found.calls == {"icmp_rcv": 2, "filp_open": 2, "tick": 2, "drop": 2}
    assert found.self_ns == {"icmp_rcv": 800, "filp_open": 600, "tick": 200, "drop": 400}
    assert found.per_call_ns("icmp_rcv") == 400
    assert found.per_call_ns("nothing") == 0


def test_the_same_of_calls(kernel):
    calls = [*graph(kernel), *graph(kernel, tree=8)]
    assert count_run([calls[:3], calls[3:]], lambda: 3) == replace(run(calls), lost=3)


def test_a_trace_without_trees(kernel):
    assert run([kernel.call("tick", duration_ns=5)]).self_ns == {"tick": 5}


def test_table():
    before = Run({"a": 2, "b": 1}, {"a": 2000, "b": 500})
    after = Run({"a": 4, "c": 1}, {"a": 12_000, "c": 100}, 3)
    assert list(diff_lines(before, after)) == [
        "     CALLS             SELF A CALL          CHANGE  FUNCTION",
        "      2 →      4      1.0µs →     3.0µs  +   10.0µs  a",
        "      1 →      0      0.5µs →     0.0µs  -    0.5µs  b",
        "      0 →      1      0.0µs →     0.1µs  +    0.1µs  c",
        "3 calls of the run after have no record: they were lost",
    ]


@pytest.mark.parametrize("line", ["", "x", "[]", '{"type": "call"}', "1"])
def test_what_is_no_trace(line):
    with pytest.raises(BadInputError, match=r"b\.json, line 1"):
        read_run([line], "b.json")
