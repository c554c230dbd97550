"""Spans of a ring buffer and recordings of them, as a tracer would have made them."""

from __future__ import annotations

import io
import struct

from fsession.recording import RecordingWriter
from fsession.recording.header import Header
from fsession.trace.event import Function, Summary
from fsession.trace.record import HEADER, STRING_BYTES, STRING_LENGTH

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
