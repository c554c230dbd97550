"""Records of a graph to events; the program as far as it can be looked at without a kernel."""

from __future__ import annotations

import struct
import sys

import pytest

from fsession.errors import BadInputError
from fsession.spec import KfuncCall, MapRef, MapValueRef
from fsession.trace import graph_record
from fsession.trace.event import Place
from fsession.trace.graph_decode import Begun, GraphDecoder
from fsession.trace.graph_level import CurrentTask, NoLevel, PerCpu
from fsession.trace.graph_notes_decode import Notes
from fsession.trace.graph_program import Making, RootFilters, graph_maps, graph_program
from fsession.trace.graph_record import (
    COUNTS_STRUCT,
    HEADER,
    NO_PARENT,
    NOTE,
    Frame,
    GraphCounts,
    Kind,
    State,
    count_ends,
    graph_cookie,
)
from fsession.trace.record import STRING_BYTES, STRING_LENGTH
from fsession.trace.values import Unreadable
from fsession.uapi import MapType


def record(kind, *words, parent=NO_PARENT, order=0, depth=0):
    head = HEADER.pack(
        9, order, parent, order + 3, depth, kind, 100, 350, 7 << 32 | 8, 1, 0, b"ping", 5
    )
    return head + b"".join(word.to_bytes(8, "little") for word in words)


@pytest.fixture
def decode(kernel):
    return GraphDecoder([kernel.call("icmp_rcv", 1).traced], 1000).decode


def test_an_end(decode):
    call = decode(record(Kind.EXIT, 0xABC, parent=2, order=4, depth=3))
    assert call.place == Place(9, 4, 2, 3, 7)
    assert (call.start_ns, call.duration_ns, call.wall_ns) == (100, 250, 1100)
    assert (call.pid, call.tid, call.comm, call.cpu, call.ret) == (7, 8, "ping", 1, 5)
    assert call.args == {"skb": 0xABC}


def test_a_beginning(decode):
    event = decode(record(Kind.ENTRY, 0xABC))
    assert isinstance(event, Begun)
    assert event.call.place.parent == -1
    assert event.call.duration_ns == 0


def note(kind, data, order=0):
    return HEADER.pack(9, order, 0, 0, 0, kind, 0, 0, 0, 0, 0, b"", 0)[:NOTE] + data


def area(text):
    return STRING_LENGTH.pack(len(text) + 1) + text.ljust(STRING_BYTES - STRING_LENGTH.size, b"\0")


def test_texts_come_before_their_call(kernel):
    decode = GraphDecoder([kernel.call("rename", 1, 2).traced], 0).decode
    assert decode(note(Kind.TEXTS, area(b"/etc/motd") + area(b"x"), order=4)) is None
    assert decode(note(Kind.TEXTS, area(b"other") + area(b""), order=5)) is None
    for kind in (Kind.ENTRY, Kind.EXIT):
        event = decode(record(kind, 0xABC, 1, order=4))
        call = event.call if kind == Kind.ENTRY else event
        assert call.args == {"from": "/etc/motd", "to": "x"}
    again = decode(record(Kind.EXIT, 0xABC, 0, order=4))
    assert isinstance(again.args["from"], Unreadable)  # as where the note was lost


def test_the_stack_above_a_root(kernel):
    names = {1: "bpf_trampoline_7", 2: "ip_local_deliver", 3: None}
    decode = GraphDecoder([kernel.call("icmp_rcv", 1).traced], 0, names.get).decode
    frames = struct.pack("<q3Q", 24, 1, 2, 3) + bytes(48)
    assert decode(note(Kind.STACK, frames)) is None
    below = decode(record(Kind.EXIT, 1, order=1, parent=0))
    assert not below.prints
    shown = [decode(record(kind, 1)) for kind in (Kind.ENTRY, Kind.EXIT)]
    for call in (shown[0].call, shown[1]):
        assert [str(frame) for frame in call.prints["kstack"]] == ["ip_local_deliver", "0x3"]
    assert not decode(record(Kind.EXIT, 1)).prints


def test_trees_that_never_end_are_forgotten(monkeypatch):
    monkeypatch.setattr(sys.modules[Notes.__module__], "_MOST_TREES", 2)
    notes = Notes(lambda _: None)
    for tree in range(5):
        notes.keep(Kind.TEXTS, tree, 0, b"")
        notes.keep(Kind.STACK, tree, 0, b"")
    assert len(notes._trees) == 2


def test_ends_are_counted_among_notes():
    def span(*records):
        return b"".join(
            struct.pack("<II", len(one), 0) + one + bytes(-len(one) % 8) for one in records
        )

    plain = [record(Kind.ENTRY, 1), record(Kind.EXIT, 1, depth=1), record(Kind.EXIT, 1)]
    assert count_ends(span(*plain), len(plain[0])) == (2, 1)
    noted = span(*plain, note(Kind.TEXTS, area(b"x")), *plain, note(Kind.STACK, bytes(392)))
    assert count_ends(noted, None) == (4, 2)


@pytest.mark.parametrize("raw", [b"", record(Kind.EXIT), record(Kind.EXIT)[:-1]])
def test_what_is_no_record(decode, raw):
    with pytest.raises(BadInputError):
        decode(raw)


def test_a_function_that_is_none(decode):
    raw = bytearray(record(Kind.EXIT, 1))
    raw[52] = 1
    with pytest.raises(BadInputError):
        decode(raw)


def test_counts():
    names = list(GraphCounts.__annotations__)
    raw = COUNTS_STRUCT.pack(*range(len(names)))
    counts = GraphCounts.decode(raw)
    for name in names:
        assert getattr(counts, name) == GraphCounts.offset(name) // 8


def test_the_parent_of_a_root_stands_in_front_of_the_frames():
    assert State.FRAMES - Frame.BYTES + Frame.ORDER == State.FIRST_PARENT
    assert 1 << Frame.SHIFT == Frame.BYTES


def test_what_is_copied_together_stands_together():
    assert Frame.PARENT - Frame.ORDER == graph_record.PARENT - graph_record.ORDER == 4
    assert State.DEPTH - State.NEXT_ORDER == graph_record.DEPTH - graph_record.NEXT == 4


LEVELS = [PerCpu(5), PerCpu(5, 8), CurrentTask(8), NoLevel()]


@pytest.mark.parametrize("level", LEVELS, ids=repr)
@pytest.mark.parametrize("filters", [RootFilters(), RootFilters(1, 2, b"ping", 3)], ids=repr)
@pytest.mark.parametrize("slots", [0, 1, 12])
@pytest.mark.parametrize("words", [None, 7])
def test_program(slots, level, filters, words):
    making = Making(slots, level, filters, words=words, alone=bool(slots), texts=slots // 3)
    spec = graph_program(making)
    names = {item.name for item in graph_maps(4096)}
    used = {item.map for item in spec.relocs if isinstance(item, MapRef | MapValueRef)}
    assert used == names
    kfuncs = {item.name for item in spec.relocs if isinstance(item, KfuncCall)}
    cast = {"bpf_rdonly_cast"} if slots and words else set()
    assert kfuncs == {"bpf_session_is_return", "bpf_session_cookie"} | cast


def test_maps_of_tasks_have_types():
    tasks = next(item for item in graph_maps(4096) if item.type is MapType.TASK_STORAGE)
    assert tasks.value_size == State.BYTES
    assert (tasks.key_type, tasks.value_type) == (1, 3)


def test_cookie():
    assert graph_cookie(5, 3, root=False) == 5 | 3 << 40
    assert graph_cookie(5, 3, root=True, texts=[1, 0]) == 5 | 1 << 39 | 3 << 40 | 0x12 << 48


def test_a_note_may_be_shorter_than_a_call(decode):
    assert decode(note(Kind.VALUES, struct.pack("<qQ", 0, 1))) is None
    assert decode(record(Kind.EXIT, 1)).prints == {}  # this function has no values
    with pytest.raises(BadInputError):
        decode(note(Kind.VALUES, b"")[:20])
