"""How many records of 64 bytes a second this machine reads out of a ring buffer, on one core."""

from __future__ import annotations

import struct
import time
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
from fsession.tracer import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from fsession.sinks import Sink
    from fsession.trace import Call

__all__ = ["bulk_rate", "call_rate", "record_rate", "shown_rate", "single_rate"]

RECORDS = 1 << 17
RECORD_BYTES = HEADER.size + 8  # with one argument word
FEW = 100
RING_BYTES = 16 << 20
REPEATS = 5
SUMMARY = Summary(0, 0, 0, 0, "", 0, 0, "")


def ring_span() -> bytes:
    """Records as the kernel leaves them in the ring, each behind its header of 8 bytes."""
    head = struct.pack("<II", RECORD_BYTES, 0)
    return b"".join(head + record(number) for number in range(RECORDS))


def record(number: int) -> bytes:
    """One of a hundred threads and a hundred results; each has an argument of its own."""
    few = number % FEW
    start_ns = number * 1000
    header = HEADER.pack(start_ns, start_ns + 700, few << 32 | few, few % 2, 0, b"ping", few)
    return header + struct.pack("<Q", 0xFFFF888000000000 + number)


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
    """Decoded to calls, in the portions of a trace."""
    consumer, ring = full_ring()
    decoder = Decoder([traced_function()], 0)

    def read_all() -> int:
        consumer[:] = bytes(8)
        return sum(len(calls) for calls in portions(ring, decoder))

    return best_rate(read_all)


def portions(ring: RingCore, decoder: Decoder) -> Iterator[list[Call]]:
    """As `fsession.tracer.Tracer.read` does it."""
    while span := ring.batch(AT_ONCE):
        yield list(decoder.calls(span))


def shown_rate(kind: Callable[[TextIO], Sink]) -> float:
    """Decoded and written by a sink, in the portions of a busy trace."""
    consumer, ring = full_ring()
    decoder = Decoder([traced_function()], 0)

    def show_all() -> int:
        consumer[:] = bytes(8)
        count = 0
        with Path("/dev/null").open("w", encoding="utf-8") as out:
            sink = kind(out)
            for calls in portions(ring, decoder):
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
