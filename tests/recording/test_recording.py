"""Recordings: what is read is what was written, up to where the file ends."""

from __future__ import annotations

import io
import json
import struct

import pytest

from fsession.btf.encode import Builder
from fsession.btf.types import Array, Enum, Fwd, Int, Member, Struct
from fsession.errors import BadInputError
from fsession.recording import Recording, RecordingWriter
from fsession.recording.chunks import chunk_head, chunks
from fsession.recording.header import Header
from fsession.recording.names import SeenNames
from fsession.recording.subset import check_value
from fsession.trace import Call, Decoder, Field, Form, Function, Layout
from fsession.trace.graph_record import count_ends
from fsession.trace.record import HEADER

from .spans import (
    GRAPH,
    NAMES,
    OFFSET_NS,
    RECORDS,
    SUMMARY,
    SYMBOLS,
    TREES,
    VALUES_NOTE,
    functions,
    graph_recording,
    recording,
    span,
    values_recording,
)


def opened(raw):
    return Recording(io.BytesIO(raw))


def shown(calls):
    return [
        (call.label, call.args, str(call.ret), call.wall_ns, call.duration_ns, call.comm, call.cpu)
        for call in calls
    ]


@pytest.fixture
def calls(kernel):
    decoder = Decoder(functions(kernel), OFFSET_NS)
    return shown(decoder.calls(span(*RECORDS)))


def test_calls_come_back(kernel, calls):
    read = opened(recording(kernel, span(*RECORDS[:3]), span(*RECORDS[3:])))
    assert shown(read) == calls
    assert [function.signature.function for function in read.functions] == list(NAMES)
    assert read.summary == SUMMARY
    assert not read.is_cut


def test_trees_come_back(kernel):
    read = opened(graph_recording(kernel, span(*GRAPH[:3]), span(*GRAPH[3:])))
    assert read.is_graph
    events = [event for some in read.events() for event in some]
    assert [isinstance(event, Call) for event in events] == [False, True, True, True, True]
    places = [(call.place.tree, call.place.order, call.place.depth) for call in events[1:]]
    assert places == [(1, 1, 1), (1, 2, 1), (1, 0, 0), (2, 0, 0)]
    assert events[0].call.args["skb"] == events[3].args["skb"] == 0xFFFF_8880_0000_1000
    assert read.summary.trees == TREES
    assert not read.is_cut
    calls = [call.label for call in opened(graph_recording(kernel, span(*GRAPH)))]
    assert calls == ["tick", "write", "icmp_rcv", "tick"]


def test_ends_of_calls_are_counted_without_decoding():
    raw = span(*GRAPH)
    assert count_ends(raw, len(GRAPH[0])) == (4, 2)
    assert count_ends(b"", len(GRAPH[0])) == (0, 0)


def test_signatures_come_back(kernel):
    for before, after in zip(functions(kernel), opened(recording(kernel)).functions, strict=True):
        assert after.layout == before.layout
        assert [p.name for p in after.signature.params] == [p.name for p in before.signature.params]
        assert after.signature.shape == before.signature.shape


def test_values_of_expressions_come_back(kernel):
    """Scalars, a type of its own, and the parts of a printer, which are shown as one."""
    types = kernel.types
    fields = (
        Field("skb->len", Form.INT, 4),
        Field("reason", Form.TYPED, 4, type=types.find("drop_reason", Enum)),
        *(Field(text, Form.INT, 4, owner="p", printer="task_struct") for text in "abc"),
    )
    room = sum(field.room for field in fields)
    function = Function.of(kernel.signature("tick"), Layout(0, exit_bytes=room), fields=fields)
    raw = HEADER.pack(1, 2, 0, 0, 0, b"x", 0) + b"".join(
        struct.pack("<qQ", *row) for row in ((0, 84), (0, 3), (0, 7), (0, 8), (-14, 0))
    )
    out = io.BytesIO()
    header = Header("trace", "a host", 0, (function,))
    writer = RecordingWriter(out, header, lambda: SUMMARY)
    writer.write(span(raw))
    writer.end(SUMMARY)
    read = opened(out.getvalue())
    (call,) = read
    assert {name: str(value) for name, value in call.prints.items()} == {
        "p": "7/8:<fault>",
        "skb->len": "84",
        "reason": "NO_SOCKET",
    }
    assert read.functions[0].fields[2:] == fields[2:]


def test_types_are_few(kernel):
    """What pointers point to is not taken along: of a kernel that would be nearly everything."""
    (types,) = {id(f.signature.types): f.signature.types
                for f in opened(recording(kernel)).functions}.values()  # fmt: skip
    assert Fwd("sk_buff") in list(types)
    assert not [kind for kind in types if isinstance(kind, Struct) and kind.name == "sk_buff"]


def test_discarded_records_are_no_calls(kernel):
    spans = span(RECORDS[0]) + span(RECORDS[1], flags=1 << 30) + span(RECORDS[2])
    assert [call.function for call in opened(recording(kernel, spans))] == ["icmp_rcv", "tick"]


def test_a_recording_of_nothing(kernel):
    read = opened(recording(kernel))
    assert list(read) == []
    assert read.summary == SUMMARY


def test_cut_anywhere_is_read_up_to_the_cut(kernel, calls):
    raw = recording(kernel, span(*RECORDS[:3]), span(*RECORDS[3:]))
    first = raw.index(b"RECS")
    counts = set()
    for end in range(first, len(raw)):
        read = opened(raw[:end])
        seen = shown(read)
        assert seen == calls[: len(seen)]
        assert read.is_cut
        counts.add(len(seen))
    assert counts == set(range(len(calls) + 1))


def test_a_killed_tracer(kernel, calls):
    read = opened(recording(kernel, span(*RECORDS), summary=None))
    assert shown(read) == calls
    assert read.is_cut
    assert read.summary.calls == len(calls)


def test_a_killed_tracer_had_told_what_it_lost(kernel, monkeypatch):
    clock = iter(range(0, 100, 5))
    monkeypatch.setattr("fsession.recording.writer.time.monotonic", lambda: next(clock))
    read = opened(recording(kernel, span(*RECORDS), span(*RECORDS), summary=None))
    assert len(list(read)) == 2 * len(RECORDS)
    assert (read.summary.lost, read.summary.calls) == (1, 2 * len(RECORDS) + 1)
    assert read.is_cut


def test_memory_does_not_grow_with_the_recording(kernel):
    """Calls are given out span by span: the second is not read before the first is used."""
    raw = recording(kernel, span(*RECORDS), span(*RECORDS))
    file = io.BytesIO(raw)
    next(Recording(file).batches())
    assert file.tell() == raw.rindex(b"RECS")


WRONG = [
    ("nothing", b"", "no recording"),
    ("something else", b"\x7fELF" + bytes(100), "no recording"),
    ("a later version", b"fsession" + struct.pack("<I", 9), "version 9"),
    ("no header", b"fsession" + struct.pack("<I", 1), "cut before its first record"),
]


@pytest.mark.parametrize(("raw", "message"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG])
def test_not_a_recording(raw, message):
    with pytest.raises(BadInputError, match=message):
        opened(raw)


def test_a_changed_byte_is_seen(kernel):
    raw = bytearray(recording(kernel, span(*RECORDS)))
    raw[raw.index(b"RECS") + 40] ^= 1
    with pytest.raises(BadInputError, match="checksum"):
        list(opened(bytes(raw)))


def changed(raw, kind, change):
    """The recording with another payload in its first chunk of a kind, and the right checksum."""
    out = raw[:12]
    for chunk in chunks(io.BytesIO(raw)):
        payload = change(chunk.payload) if chunk.kind == kind else chunk.payload
        out += chunk_head(chunk.kind, payload) + payload
    return out


def edit(**members):
    def change(payload):
        plain = json.loads(payload)
        plain["functions"][0].update(members)
        return json.dumps(plain).encode()

    return change


PARAM = {"name": "skb", "type": 1, "slot": 0, "slots": 1, "direct": True, "string": False,
         "length_slot": -1}  # fmt: skip
HOSTILE = [
    ("types", edit(types=9), "'types' is 9"),
    ("no name", edit(name=None), "'name' is no str"),
    ("escapes", edit(name="\x1b[2J"), "can't be printed"),
    ("result", edit(result=10**6), "'result' is 1000000"),
    ("slot", edit(params=[PARAM | {"slot": 1}]), "make no sense"),
    ("slots", edit(params=[PARAM | {"slots": 2}] * 7), "make no sense"),
    ("length", edit(params=[PARAM | {"length_slot": 3}]), "make no sense"),
    ("layout", edit(slots=99), "'slots' is 99"),
    ("a list", lambda _: b"[]", "is no object"),
    ("no JSON", lambda _: b"{", "can't be read"),
    ("deep JSON", lambda _: b"[" * 100_000, "can't be read"),
]


@pytest.mark.parametrize(
    ("change", "message"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
def test_a_hostile_header(kernel, change, message):
    with pytest.raises(BadInputError, match=message):
        opened(changed(recording(kernel), b"HEAD", change))


def test_chunks_of_later_versions_are_skipped(kernel, calls):
    raw = recording(kernel, span(*RECORDS))
    at = raw.index(b"RECS")
    assert shown(opened(raw[:at] + chunk_head(b"MORE", b"x") + b"x" + raw[at:])) == calls


def test_records_of_another_kind(kernel):
    out = io.BytesIO()
    RecordingWriter(out, Header("no such", "H", 0, ()), lambda: SUMMARY)
    with pytest.raises(BadInputError, match="recording of 'no such'"):
        opened(out.getvalue())


def test_a_value_must_end():
    builder = Builder()
    ours = builder.next_id
    builder.add(Struct("s", 8, (Member("s", ours, 0),)))
    number = builder.add(Int("int", 4, 32))
    many = builder.add(Array(number, number, 1 << 30))
    empty = builder.add(Array(builder.add(Struct("", 0, ())), number, 1 << 30))
    for id, message in ((ours, "itself"), (many, "4294967296 bytes"), (empty, "elements")):
        with pytest.raises(BadInputError, match=message):
            check_value(builder.types(), id)


def test_whole_structs_come_back(kernel):
    """As ``--expand`` shows them, in a graph's notes and in the records of a trace."""
    read = opened(values_recording(kernel))
    (call,) = read
    assert call.prints["*skb"] == {"len": 84, "owner": 0}
    plain = HEADER.pack(1, 2, 0, 0, 0, b"x", 0) + struct.pack("<Q", 7) + VALUES_NOTE[24:]
    out = io.BytesIO()
    header = Header("trace", "a host", 0, read.functions)
    writer = RecordingWriter(out, header, lambda: SUMMARY)
    writer.write(span(plain))
    (call,) = opened(out.getvalue())
    assert call.prints == {"*skb": {"len": 84, "owner": 0}}


def test_a_value_may_be_large_but_not_endless():
    builder = Builder()
    number = builder.add(Int("int", 4, 32))
    several = [builder.add(Array(number, number, 4))]
    for _ in range(8):
        members = tuple(Member(f"m{at}", several[-1], 0) for at in range(4))
        several.append(builder.add(Struct("s", 4096, members)))
    types = builder.types()
    check_value(types, several[1], 4096)
    for id, most, message in ((several[1], 16, "4096 bytes"), (several[-1], 4096, "elements")):
        with pytest.raises(BadInputError, match=message):
            check_value(types, id, most)


def test_stacks_above_roots_have_names(kernel):
    (call,) = opened(values_recording(kernel))
    assert [str(frame) for frame in call.prints["kstack"]] == list(SYMBOLS.values())


def stacks_recording(kernel, *rows, symbol=SYMBOLS.get, user=lambda pid, at: None):
    """Of calls of `set_owner`, each with a span of its own: two frames of the kernel and of the
    process, and the pointer to a function that is its second argument."""
    fields = (Field("kstack", Form.KSTACK, 16), Field("ustack", Form.USTACK, 16))
    layout = Layout(2, exit_bytes=sum(field.room for field in fields))
    function = Function.of(kernel.signature("set_owner"), layout, fields=fields)
    out = io.BytesIO()
    header = Header("trace", "a host", 0, (function,))
    writer = RecordingWriter(out, header, lambda: SUMMARY, SeenNames(header, symbol, user))
    for pid, done, frames, user_frames in rows:
        head = HEADER.pack(1, 2, pid << 32, 0, 0, b"x", 0) + struct.pack("<2Q", 0, done)
        stacks = [struct.pack("<q2Q", 16, *words) for words in (frames, user_frames)]
        writer.write(span(head + b"".join(stacks)))
    return out.getvalue()


def test_names_are_written_once_in_front_of_their_records(kernel):
    row = (7, 0xFFFF_9000, (0xFFFF_8000, 0x1234), (0x40, 0x41))
    names = {(7, 0x40): "read (libc.so.6)", (8, 0x40): "main", (8, 0x41): "\x1b[2J"}
    raw = stacks_recording(kernel, row, row, (8, *row[1:]), user=lambda *at: names.get(at))
    kinds = [chunk.kind for chunk in chunks(io.BytesIO(raw))]
    assert kinds[2:] == [b"SYMS", b"RECS", b"RECS", b"SYMS", b"RECS"]
    calls = list(opened(raw))
    assert [str(call.args["done"]) for call in calls] == [SYMBOLS[0xFFFF_9000]] * 3
    for call, user in zip(calls, ["read (libc.so.6)", "read (libc.so.6)", "main"], strict=True):
        assert [str(frame) for frame in call.prints["kstack"]] == ["ip_rcv+0x12", "0x1234"]
        assert [str(frame) for frame in call.prints["ustack"]] == [user, "0x41"]


def test_names_are_forgotten_before_they_are_too_many(kernel, monkeypatch):
    monkeypatch.setattr("fsession.recording.names._MOST_SEEN", 3)
    row = (7, 0, (0xFFFF_8000, 0xFFFF_9000), (1, 2))
    raw = stacks_recording(kernel, row, row)
    assert [chunk.kind for chunk in chunks(io.BytesIO(raw))].count(b"SYMS") == 2


def kernel_names(*rows):
    return json.dumps({"kernel": rows, "processes": []}).encode()


BAD_NAMES = [
    b"", b"[]", b"{}", b'{"kernel": [], "processes": [[1, 2, 3]]}', b'{"kernel": 5}',
    kernel_names([1, "\x1b[2J"]), kernel_names([-1, "a"]), kernel_names([1, 2, "a"]),
    kernel_names([]), kernel_names(["a"]), kernel_names([1.5, "a"]),
]  # fmt: skip


@pytest.mark.parametrize("payload", BAD_NAMES)
def test_names_that_are_none(kernel, payload):
    raw = changed(values_recording(kernel), b"SYMS", lambda _: payload)
    with pytest.raises(BadInputError, match="names can't be read"):
        list(opened(raw))
