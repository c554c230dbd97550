"""Records to calls, and to columns."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsession.errors import BadInputError
from fsession.trace.columns import to_columns
from fsession.trace.decode import Decoder
from fsession.trace.event import Function
from fsession.trace.record import (
    HEADER,
    NOT_SAVED,
    STRING_BYTES,
    STRING_LENGTH,
    TEXT_BYTES,
    Layout,
)
from fsession.trace.values import FAULT, LOST

OFFSET_NS = 1_700_000_000_000_000_000
EMPTY = Layout(0)


def record(words=(), strings=(), index=0, ret=0, room=EMPTY, comm=b"ping"):
    """The bytes that a program would have written; `room` is that of a multi program."""
    head = HEADER.pack(1000, 13_345, 1432 << 32 | 1433, 3, index, comm, ret)
    slots = struct.pack(f"<{len(words)}Q", *words).ljust(8 * room.slots, b"\xaa")
    return head + slots + b"".join(area(*string) for string in strings)


def area(length, text=b""):
    return STRING_LENGTH.pack(length) + text.ljust(STRING_BYTES - STRING_LENGTH.size, b"\xaa")


def decode(functions, raw, offset_ns=0):
    """The only call of a span."""
    (call,) = Decoder(functions, offset_ns).calls(ring(raw))
    return call


@pytest.fixture
def functions(kernel):
    return [Function.of(kernel.signature(name)) for name in ("icmp_rcv", "filp_open", "tick")]


def test_a_call(functions):
    call = decode(functions, record([0xFFFF_8880_0000_1000], ret=-12 & 0xFFFF_FFFF), OFFSET_NS)
    assert (call.function, call.module, call.label) == ("icmp_rcv", "", "icmp_rcv")
    assert call.args == {"skb": 0xFFFF_8880_0000_1000}
    assert str(call.ret) == "-ENOMEM (-12)"
    assert (call.start_ns, call.duration_ns, call.wall_ns) == (1000, 12_345, OFFSET_NS + 1000)
    assert (call.pid, call.tid, call.comm, call.cpu) == (1432, 1433, "ping", 3)


def test_a_void_call(functions):
    call = decode(functions, record(index=2, ret=99))
    assert call.args == {}
    assert call.ret is None
    assert call.is_void


STRINGS = [
    ("text", (6, b"hello\0"), "hello"),
    ("empty", (1, b"\0"), ""),
    ("not utf-8", (3, b"\xff/\0"), "\\xff/"),
    ("cut", (TEXT_BYTES, b"x" * (TEXT_BYTES - 1) + b"\0"), "x" * (TEXT_BYTES - 1) + "…"),
    ("fault", (-14,), FAULT),
    ("not kept", (NOT_SAVED,), LOST),
]


@pytest.mark.parametrize(
    ("string", "value"), [row[1:] for row in STRINGS], ids=[r[0] for r in STRINGS]
)
@pytest.mark.parametrize("room", [None, Layout(6, 1)], ids=["own", "multi"])
def test_string(functions, room, string, value):
    raw = record([0xFFFF_8880_0000_1000, 2, 3], [string], index=1, room=room or Layout(3))
    functions = [Function.of(each.signature, room) for each in functions]
    call = decode(functions, raw)
    assert call.args == {"name": value, "flags": 2, "mode": 3}


LENGTHS = [
    ("shorter", 2, (30, b"ab\nrubbish behind the buffer!!\0"), "ab"),
    ("none", 0, (9, b"rubbish!\0"), ""),
    ("longer than the text", 50, (4, b"abc\0"), "abc"),
    ("cut", 1000, (TEXT_BYTES, b"x" * TEXT_BYTES), "x" * (TEXT_BYTES - 1) + "…"),
]


@pytest.mark.parametrize(
    ("count", "string", "value"), [row[1:] for row in LENGTHS], ids=[row[0] for row in LENGTHS]
)
def test_a_text_with_its_length(kernel, count, string, value):
    functions = [Function.of(kernel.signature("write"))]
    call = decode(functions, record([1, count], [string], room=Layout(2)))
    assert call.args == {"buf": value, "count": count}


def test_a_null_string(functions):
    call = decode(functions, record([0, 2, 3], [(-14,)], index=1))
    assert call.args["name"] is None


BROKEN = [("empty", b""), ("short", record([1])[:60]), ("no such function", record([1], index=9))]


@pytest.mark.parametrize("raw", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken(functions, raw):
    with pytest.raises(BadInputError, match="makes no sense"):
        decode(functions, raw)


@given(st.binary(max_size=300))
def test_any_bytes(kernel, raw):
    functions = [Function.of(kernel.signature(name)) for name in ("rename", "give")]
    try:
        call = decode(functions, raw)
    except BadInputError:
        return
    assert call.args.keys() <= {"from", "to", "p", "once"}


def ring(*records, flags=0):
    """Records as they lie in the ring buffer."""
    out = b""
    for index, raw in enumerate(records):
        out += struct.pack("<II", len(raw) | flags, index) + raw + bytes(-len(raw) % 8)
    return out


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30])
def test_a_span(functions, count):
    """Rows of like records, one of another length, one that was discarded."""
    like = [record([word], ret=word) for word in range(count)]
    text = record([9, 2, 3], [(6, b"hello\0")], index=1)
    span = ring(*like, text) + ring(record([7]), flags=1 << 30) + ring(record(index=2), *like)
    calls = list(Decoder(functions, 0).calls(span))
    assert [call.function for call in calls] == [
        *["icmp_rcv"] * count,
        "filp_open",
        "tick",
        *["icmp_rcv"] * count,
    ]
    assert [call.words for call in calls[:count]] == [(word,) for word in range(count)]
    assert calls[count].args["name"] == "hello"


def test_columns_of_like_records():
    columns = to_columns(ring(*[record([word], ret=word) for word in range(5)]), slots=1)
    assert columns["slot0"].tolist() == columns["ret"].tolist() == [0, 1, 2, 3, 4]
    assert columns["duration_ns"].tolist() == [12_345] * 5
    assert columns["pid"].tolist() == [1432] * 5
    assert columns["tid"].tolist() == [1433] * 5
    assert columns["cpu"].tolist() == [3] * 5
    assert columns["comm"].tolist() == [b"ping"] * 5


def test_names_end_at_their_nul():
    """Linux 6.1 leaves behind a name what was there before."""
    names = [b"ping\0left", b"\0xxx", b"sixteen bytes in", b"cat"]
    columns = to_columns(ring(*[record(comm=name) for name in names]))
    assert columns["comm"].tolist() == [b"ping", b"", b"sixteen bytes in", b"cat"]


def test_columns_of_mixed_records():
    discarded = ring(record([9]), flags=1 << 30)
    span = ring(record([7]), record(index=2)) + discarded + ring(record([1, 2, 3], [(1,)], index=1))
    columns = to_columns(span, slots=2)
    assert columns["function"].tolist() == [0, 2, 1]
    assert columns["slot0"].tolist() == [7, 0, 1]
    assert columns["slot1"].tolist() == [0, 0, 2]


def test_columns_of_nothing():
    assert {name: len(column) for name, column in to_columns(b"").items()}["pid"] == 0


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=4), max_size=6))
def test_columns_agree_with_calls(kernel, rows):
    functions = [Function.of(kernel.signature("crowd"))]
    raws = [record(row, room=Layout(12)) for row in rows]
    calls = [decode(functions, raw) for raw in raws]
    columns = to_columns(ring(*raws), slots=12)
    for slot in range(12):
        assert columns[f"slot{slot}"].tolist() == [call.words[slot] for call in calls]


@given(st.binary(max_size=400))
def test_columns_of_any_bytes(raw):
    try:
        to_columns(raw, slots=2)
    except BadInputError:
        return


@given(st.lists(st.binary(max_size=120), max_size=5))
def test_columns_of_records_of_any_length(raws):
    try:
        columns = to_columns(ring(*raws), slots=2)
    except BadInputError:
        assert any(len(raw) < HEADER.size for raw in raws)
        return
    assert len(columns["ret"]) == len(raws)
