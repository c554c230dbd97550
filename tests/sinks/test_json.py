"""Calls as JSON, held to docs/schema.json."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fsession.sinks.json import JsonSink
from fsession.trace.event import Summary
from fsession.trace.values import FAULT
from sinks.graphs import graph

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "schema.json").read_text())
)
U64 = (1 << 64) - 1


def lines(calls=(), summary=None):
    out = io.StringIO()
    sink = JsonSink(out)
    sink.begin()
    sink.write(calls)
    if summary:
        sink.end(summary)
    return [json.loads(line) for line in out.getvalue().splitlines()]


CALLS = [
    (
        "icmp_rcv",
        (0xFFFF_8F75_C8EF_D300,),
        -12,
        {},
        {"skb": "0xffff8f75c8efd300"},
        {"ret": -12, "error": "ENOMEM"},
    ),
    ("icmp_rcv", (0,), 1, {}, {"skb": None}, {"ret": 1}),
    ("tick", (), 5, {}, {}, {}),
    (
        "filp_open",
        (1, 2, 3),
        -2,
        {"strings": ("/etc/ö",)},
        {"name": "/etc/ö", "flags": 2, "mode": 3},
        {"ret": "0xfffffffffffffffe", "error": "ENOENT"},
    ),
    (
        "filp_open",
        (1, 2, 3),
        0,
        {"strings": (FAULT,)},
        {"name": {"unreadable": "fault"}, "flags": 2, "mode": 3},
        {"ret": None},
    ),
    ("drop", (3, 0), 3, {}, {"flags": "SK_A|SK_B", "fill": None}, {"ret": "NO_SOCKET"}),
    (
        "give",
        (-7 & U64, 0, 1),
        -1,
        {},
        {"p": {"a": -7, "low": 15, "high": -1, "to": None}, "once": True},
        {"ret": -1, "error": "EPERM"},
    ),
]


@pytest.mark.parametrize(("name", "words", "ret", "changes", "args", "result"), CALLS)
def test_call(kernel, name, words, ret, changes, args, result):
    (line,) = lines([kernel.call(name, *words, ret=ret, **changes)])
    assert line["args"] == args
    assert {key: line[key] for key in ("ret", "error") if key in line} == result
    _check(line, "call")


def test_fields(kernel):
    (line,) = lines([kernel.call("tick")])
    assert line == {
        "type": "call",
        "function": "tick",
        "module": "",
        "time_ns": 1_700_000_000_000_000_000,
        "start_ns": 5_000_000_000,
        "duration_ns": 12_345,
        "pid": 1432,
        "tid": 1433,
        "comm": "ping",
        "cpu": 1,
        "args": {},
    }


def test_places(kernel):
    calls = graph(kernel)
    for call, line in zip(calls, lines(calls), strict=True):
        names = ("tree", "order", "parent", "depth")
        assert line["place"] == {name: getattr(call.place, name) for name in names}
        _check(line, "call")


def test_every_call_is_an_object_of_its_own(kernel):
    """Whatever names and texts there are; `json.loads` takes nothing else."""
    evil = 'a"b\\c\n'
    (line,) = lines([kernel.call("filp_open", 1, 2, 3, strings=(evil,), comm=evil)])
    assert (line["args"]["name"], line["comm"]) == (evil, evil)


def test_summary():
    (line,) = lines(summary=Summary(3, 1, 2, 9, "native", 1, 1, "H", {"noreturn": 1}))
    assert line["skipped"] == {"noreturn": 1}
    _check(line, "summary")


def _check(line, kind):
    SCHEMA.validate(line)
    assert line["type"] == kind
    known = SCHEMA.schema["$defs"][kind]["properties"]
    assert set(line) <= set(known), "a field that the schema does not tell of"
