"""How many records of 64 bytes a second this machine reads out of a ring buffer, on one core."""

from __future__ import annotations

import struct
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import Func, FuncProto, Int, Param
from fsession.recording import RecordingWriter
from fsession.recording.header import Header
from fsession.ring import RingCore
from fsession.trace.columns import to_columns
from fsession.trace.decode import Decoder
from fsession.trace.event import Function, Summary
from fsession.trace.record import HEADER
from fsession.trace.signature import signature

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from fsession.sinks import Sink

__all__ = ["bulk_rate", "call_rate", "record_rate", "shown_rate", "single_rate"]

RECORDS = 1 << 17
RECORD_BYTES = HEADER.size + 8  # with one argument word
RING_BYTES = 16 << 20
REPEATS = 5
BATCH = 1000
SUMMARY = Summary(0, 0, 0, 0, "", 0, 0, "")


def ring_span() -> bytes:
    """Records as the kernel leaves them in the ring, each behind its header of 8 bytes."""
    head = struct.pack("<II", RECORD_BYTES, 0)
    return b"".join(
        head
        + HEADER.pack(i * 1000, i * 1000 + 700, i << 32 | i, i % 2, 0, b"ping", i)
        + struct.pack("<Q", 0xFFFF888000000000 + i)
        for i in range(RECORDS)
    )


def best_rate(work: Callable[[], int]) -> float:
    """Records a second of a core, in the best of some runs: the machine has other work as well."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        count = work()
        seconds.append(time.process_time() - start)
        assert count == RECORDS
    return RECORDS / min(seconds)


def bulk_rate() -> float:
    """All records of a span to columns."""
    span = ring_span()
    return best_rate(lambda: len(to_columns(span, slots=1)["ret"]))


def full_ring() -> tuple[bytearray, RingCore]:
    """The consumer's position, and a ring with all records in it."""
    consumer, producer = bytearray(8), bytearray(8)
    span = ring_span()
    data = bytearray(2 * RING_BYTES)
    data[: len(span)] = span
    struct.pack_into("<Q", producer, 0, len(span))
    views = memoryview(consumer), memoryview(producer), memoryview(data)
    return consumer, RingCore(*views, RING_BYTES)


def single_rate() -> float:
    """One record after the other, as views of the ring's memory."""
    consumer, ring = full_ring()

    def read_all() -> int:
        consumer[:] = bytes(8)
        return sum(1 for _ in ring.records())

    return best_rate(read_all)


def call_rate() -> float:
    """One record after the other, decoded to calls."""
    consumer, ring = full_ring()
    decoder = Decoder([traced_function()], 0)

    def read_all() -> int:
        consumer[:] = bytes(8)
        return len([decoder.decode(record) for record in ring.records()])

    return best_rate(read_all)


def shown_rate(kind: Callable[[TextIO], Sink]) -> float:
    """One record after the other, decoded and written by a sink, in the batches of a busy trace."""
    consumer, ring = full_ring()
    decoder = Decoder([traced_function()], 0)

    def show_all() -> int:
        consumer[:] = bytes(8)
        count, records = 0, ring.records()
        with Path("/dev/null").open("w", encoding="utf-8") as out:
            sink = kind(out)
            while calls := [decoder.decode(record) for record in islice(records, BATCH)]:
                sink.write(calls)
                count += len(calls)
        return count

    return best_rate(show_all)


def record_rate() -> float:
    """All records of a ring to a recording on disk."""
    consumer, ring = full_ring()
    header = Header("trace", "", 0, (traced_function(),))

    def record_all() -> int:
        consumer[:] = bytes(8)
        before = ring.batched
        with TemporaryFile(buffering=0) as file:
            RecordingWriter(file, header, lambda: SUMMARY).write(ring.batch())
        return ring.batched - before

    return best_rate(record_all)


def traced_function() -> Function:
    """``long f(long value)``."""
    builder = Builder()
    number = builder.add(Int("long", 8, 64, encoding=1))
    prototype = builder.add(FuncProto(number, (Param("value", number),)))
    function = builder.add(Func("f", prototype))
    return Function.of(signature(builder.types(), function, "f"))
