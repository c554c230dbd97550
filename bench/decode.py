"""How many records of 64 bytes a second this machine reads out of a ring buffer, on one core."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from fsession.btf.encode import Builder
from fsession.btf.types import Func, FuncProto, Int, Param
from fsession.ring import RingCore
from fsession.trace.columns import to_columns
from fsession.trace.decode import Decoder
from fsession.trace.event import Function
from fsession.trace.record import HEADER
from fsession.trace.signature import signature

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bulk_rate", "call_rate", "single_rate"]

RECORDS = 1 << 17
RECORD_BYTES = HEADER.size + 8  # with one argument word
RING_BYTES = 16 << 20
REPEATS = 5


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
    """Records a second in the best of some runs: the machine has other work as well."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        count = work()
        seconds.append(time.perf_counter() - start)
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


def traced_function() -> Function:
    """``long f(long value)``."""
    builder = Builder()
    number = builder.add(Int("long", 8, 64, encoding=1))
    prototype = builder.add(FuncProto(number, (Param("value", number),)))
    function = builder.add(Func("f", prototype))
    return Function.of(signature(builder.types(), function, "f"))
