"""Calls as columns, in tables and in Parquet files."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsession.sinks import arrow
from fsession.sinks.arrow import ParquetSink, to_table
from fsession.trace.event import Summary
from fsession.trace.values import FAULT, text
from sinks.graphs import graph

SUMMARY = Summary(9, 4, 1, 1, "native", 1, 1, "H")


def parquet(*batches):
    out = io.BytesIO()
    sink = ParquetSink(out)
    sink.begin()
    for batch in batches:
        sink.write(batch)
    sink.end(SUMMARY)
    return pq.read_table(io.BytesIO(out.getvalue()))


@pytest.fixture
def calls(kernel):
    return [
        kernel.call("write", 1, 4096, ret=-11, strings=("some text",)),
        kernel.call("write", 1, 5, ret=5, strings=(FAULT,)),
        kernel.call("icmp_rcv", 0xFFFF_8F75_C8EF_D300, ret=1),
        kernel.call("filp_open", 0, 2, 3, ret=-2, strings=("",)),
        kernel.call("tick", prints={"jiffies": 5}),
    ]


@pytest.mark.parametrize("make", [to_table, parquet])
def test_columns(calls, make):
    table = make(calls)
    columns = table.to_pydict()
    assert columns["function"] == ["write", "write", "icmp_rcv", "filp_open", "tick"]
    assert columns["arg.count"] == [4096, 5, None, None, None]
    assert columns["arg.buf"] == ["some text", "<fault>", None, None, None]
    assert columns["arg.skb"] == [None, None, "0xffff8f75c8efd300", None, None]
    assert columns["arg.name"] == [None] * 5
    assert columns["ret"] == [-11, 5, 1, None, None]
    assert columns["ret_text"] == ["-EAGAIN (-11)", "5", "1", "ERR_PTR(-ENOENT)", None]
    assert columns["error"] == ["EAGAIN", None, None, "ENOENT", None]
    assert columns["print.jiffies"] == [None] * 4 + [5]
    assert columns["more"] == [None] * 5
    assert table.schema.field("arg.count").type == pa.int64()
    assert table.schema.field("time").type == pa.timestamp("ns", "UTC")


def test_pandas(calls):
    frame = to_table(calls).to_pandas()
    assert frame.groupby("function", observed=True)["duration_ns"].sum()["write"] == 24_690
    assert frame["time"][0].year == 2023


def test_the_summary_is_kept(calls):
    out = io.BytesIO()
    sink = ParquetSink(out)
    sink.write(calls)
    sink.end(SUMMARY)
    metadata = pq.read_metadata(io.BytesIO(out.getvalue())).metadata
    assert json.loads(metadata[b"fsession.summary"])["lost"] == 4


def test_places(kernel):
    columns = parquet(graph(kernel)).to_pydict()
    places = [columns[name] for name in ("tree", "order", "parent", "depth")]
    assert places == [[7] * 4, [2, 1, 3, 0], [1, 0, 0, -1], [2, 1, 1, 0]]


def test_what_comes_later_has_a_place(kernel, monkeypatch):
    monkeypatch.setattr(arrow, "GROUP", 2)
    first = [kernel.call("write", 1, 5, strings=("x",)), kernel.call("tick")]
    later = [
        kernel.call("icmp_rcv", 16),
        kernel.call("write", 1, 2**64 - 1, strings=("y",)),
        kernel.call("tick"),
    ]
    columns = parquet(first, later).to_pydict()
    assert columns["arg.count"] == [5, None, None, None, None]
    assert columns["arg.buf"] == ["x", None, None, "y", None]
    more = [value and json.loads(value) for value in columns["more"]]
    assert more == [None, None, {"skb": "0x10"}, {"count": 2**64 - 1}, None]


def test_names_with_values_of_several_types(kernel):
    calls = [kernel.call("give", 0, 0, 1), kernel.call("rename", 1, 2, strings=("a", "b"))]
    assert to_table(calls).column("arg.to").to_pylist() == [None, "b"]


def test_nothing(kernel):
    assert parquet().num_rows == to_table([]).num_rows == 0


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=5))
def test_any_numbers(kernel, rows):
    calls = [kernel.call("write", 0, count, ret=ret, strings=("",)) for count, ret in rows]
    columns = parquet(calls).to_pydict()
    mixed = any(count >= 1 << 63 for count, _ in rows) and any(count < 1 << 63 for count, _ in rows)
    expected = [text(count) if mixed else count for count, _ in rows]
    assert columns.get("arg.count", []) == expected
    assert columns["ret_text"] == [text(call.ret) for call in calls]
