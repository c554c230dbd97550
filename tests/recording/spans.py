"""Spans of a ring buffer and recordings of them, as a tracer would have made them."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

from fsession.recording import RecordingWriter
from fsession.recording.header import Header
from fsession.recording.names import SeenNames
from fsession.trace import Field, Form, Layout
from fsession.trace import graph_record as graph
from fsession.trace.event import TREE_COUNTS, Function, Summary
from fsession.trace.graph_record import Kind
from fsession.trace.record import HEADER, STRING_BYTES, STRING_LENGTH

ENTRY, EXIT = Kind.ENTRY, Kind.EXIT

NAMES = ("icmp_rcv", "filp_open", "tick", "give", "drop", "write", "set_owner")
OFFSET_NS = 1_700_000_000_000_000_000
SUMMARY = Summary(8, 1, 2, 7, "native", 7, 7, "Linux 7.2 arm64", {"noreturn": 3})


def functions(kernel):
    return tuple(Function.of(kernel.signature(name)) for name in NAMES)


def record(index, words=(), texts=(), ret=0, at_ns=1000):
    head = HEADER.pack(at_ns, at_ns + 345, 1432 << 32 | 1433, 3, index, b"ping", ret)
    areas = (
        STRING_LENGTH.pack(len(text) + 1) + text.ljust(STRING_BYTES - STRING_LENGTH.size, b"\0")
        for text in texts
    )
    return head + struct.pack(f"<{len(words)}Q", *words) + b"".join(areas)


def span(*records, flags=0):
    return b"".join(
        struct.pack("<II", len(raw) | flags, 1) + raw + bytes(-len(raw) % 8) for raw in records
    )


RECORDS = (
    record(0, [0xFFFF_8880_0000_1000], ret=-12 & 0xFFFF_FFFF),
    record(1, [1, 2, 3], [b"/etc/hosts"], ret=0xFFFF_FFFF_FFFF_FFFE),
    record(2),
    record(3, [5 | 1 << 32, 0xFFFF_8880_0000_2000, 1], ret=7),
    record(4, [3, 0], ret=3),
    record(5, [1, 4], [b"text\n"], ret=4),
    record(6, [1000, 0xFFFF_FFFF_8100_0000]),
)


def graph_record(kind, index, order, parent, depth, begun, *, tree=1, took_ns=500, words=()):
    """Of a graph's program for functions of up to 3 words."""
    above = graph.NO_PARENT if parent is None else parent
    times = 1000 + 10 * order, 1000 + 10 * order + took_ns
    head = graph.HEADER.pack(
        tree, order, above, begun, depth, kind, *times, 1432 << 32 | 1433, 3, index, b"ping", 0
    )
    return head + struct.pack("<3Q", *words, *(3 - len(words)) * [0])


GRAPH = (
    graph_record(ENTRY, 0, 0, None, 0, 1, words=[0xFFFF_8880_0000_1000]),
    graph_record(EXIT, 2, 1, 0, 1, 2),
    graph_record(EXIT, 5, 2, 0, 1, 3, words=[1, 4]),
    graph_record(EXIT, 0, 0, None, 0, 3, words=[0xFFFF_8880_0000_1000]),
    graph_record(EXIT, 2, 0, None, 0, 1, tree=2, took_ns=2000),
)
"""A tree of three calls, and one of one."""


_NOTE_HEAD = struct.Struct("<QI10xH")
VALUES_NOTE = _NOTE_HEAD.pack(1, 0, Kind.VALUES) + struct.pack("<q112xB119x", 0, 84)
"""Of a ``struct sk_buff`` with 84 bytes."""
STACK_NOTE = _NOTE_HEAD.pack(1, 0, Kind.STACK) + struct.pack("<q2Q", 16, 0xFFFF_8000, 0xFFFF_9000)

TREES = dict.fromkeys(TREE_COUNTS, 0) | {"begun": 2, "ended": 2}


def graph_recording(kernel, *spans):
    """The bytes of a recording of a graph."""
    out = io.BytesIO()
    header = Header("graph", "Linux 7.2 arm64", OFFSET_NS, functions(kernel))
    writer = RecordingWriter(out, header, lambda: SUMMARY)
    for each in spans:
        writer.write(each)
    writer.end(replace(SUMMARY, calls=5, trees=TREES))
    return out.getvalue()


SYMBOLS = {0xFFFF_8000: "ip_rcv+0x12", 0xFFFF_9000: "tcp_v4_rcv+0x8 [tcp]"}


def values_recording(kernel):
    """Of a graph with ``--expand`` and ``--stack``, the addresses named by `SYMBOLS`."""
    field = Field("*skb", Form.TYPED, 232, type=kernel.ids["struct sk_buff"], at_exit=False)
    signature = kernel.signature("icmp_rcv")
    function = Function.of(signature, Layout(1, entry_bytes=field.room), fields=(field,))
    out = io.BytesIO()
    header = Header("graph", "Linux 7.2 arm64", OFFSET_NS, (function,))
    names = SeenNames(header, SYMBOLS.get, lambda pid, address: None)
    writer = RecordingWriter(out, header, lambda: SUMMARY, names)
    writer.write(span(STACK_NOTE, VALUES_NOTE, graph_record(EXIT, 0, 0, None, 0, 1, words=[7])))
    writer.end(replace(SUMMARY, calls=1, trees=TREES))
    return out.getvalue()


def recording(kernel, *spans, summary=SUMMARY):
    """The bytes of a recording; `summary` None: the tracer was killed."""
    out = io.BytesIO()
    header = Header("trace", "Linux 7.2 arm64", OFFSET_NS, functions(kernel))
    writer = RecordingWriter(out, header, lambda: SUMMARY)
    for each in spans:
        writer.write(each)
    if summary:
        writer.end(summary)
    return out.getvalue()
