"""Calls as comma-separated values."""

from __future__ import annotations

import csv
import io

from fsession.sinks.csv import COLUMNS, CsvSink
from fsession.trace.event import Summary
from sinks.graphs import graph


def rows(calls):
    out = io.StringIO()
    sink = CsvSink(out)
    sink.begin()
    sink.write(calls)
    sink.end(Summary(1, 0, 0, 1, "native", 1, 1, "H"))
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_a_call(kernel):
    (row,) = rows(
        [
            kernel.call(
                "filp_open", 1, 2, 3, ret=-2, strings=('/a,"b"',), comm="a\nb", prints={"a+1": 7}
            )
        ]
    )
    assert tuple(row) == COLUMNS
    assert row["args"] == 'name="/a,\\"b\\"", flags=2, mode=3'
    assert (row["ret"], row["error"]) == ("ERR_PTR(-ENOENT)", "ENOENT")
    assert row["prints"] == "a+1=7"
    assert (row["comm"], row["duration_ns"], row["tid"]) == ("a\nb", "12345", "1433")
    assert (row["tree"], row["depth"]) == ("", "")


def test_a_void_call_has_no_result(kernel):
    (row,) = rows([kernel.call("tick")])
    assert (row["ret"], row["error"], row["args"]) == ("", "", "")


def test_places(kernel):
    columns = ("tree", "order", "parent", "depth")
    assert [" ".join(row[name] for name in columns) for row in rows(graph(kernel))] == [
        "7 2 1 2",
        "7 1 0 1",
        "7 3 0 1",
        "7 0 -1 0",
    ]
