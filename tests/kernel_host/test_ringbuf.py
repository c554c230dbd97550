"""The pure consumer of ring buffers, on rings made here."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsession.ring import HEADER_BYTES, RingCore

BUSY, DISCARDED = 1 << 31, 1 << 30
SIZE = 4096


@dataclass
class Ring:
    """A ring as the kernel's side would write it; `data` shows its bytes twice."""

    consumer: bytearray
    producer: bytearray
    data: bytearray

    @classmethod
    def at(cls, position: int) -> Ring:
        start = struct.pack("<Q", position)
        return cls(bytearray(start), bytearray(start), bytearray(b"\xee" * 2 * SIZE))

    @property
    def core(self) -> RingCore:
        views = (memoryview(part) for part in (self.consumer, self.producer, self.data))
        return RingCore(*views, SIZE)

    @property
    def consumed(self) -> int:
        return int.from_bytes(self.consumer, "little")

    def write(self, record: bytes, flags: int = 0) -> None:
        at = int.from_bytes(self.producer, "little")
        raw = struct.pack("<II", len(record) | flags, 0) + record + bytes(-len(record) % 8)
        for offset, byte in enumerate(raw):
            place = (at + offset) % SIZE
            self.data[place] = self.data[place + SIZE] = byte
        self.producer[:] = struct.pack("<Q", at + len(raw))

    @property
    def free(self) -> int:
        return SIZE - (int.from_bytes(self.producer, "little") - self.consumed)


def split(batch: bytes) -> list[bytes]:
    """Records of a span, those discarded left out: the decoder's work, done slowly."""
    out, at = [], 0
    while at < len(batch):
        (head,) = struct.unpack_from("<I", batch, at)
        length = head & (DISCARDED - 1)
        if not head & DISCARDED:
            out.append(batch[at + HEADER_BYTES : at + HEADER_BYTES + length])
        at += HEADER_BYTES + length + -length % 8
    return out


RECORDS = st.lists(st.tuples(st.binary(max_size=90), st.sampled_from((0, 0, 0, DISCARDED))))
START = st.integers(0, 1 << 40).map(lambda n: n * 8)


@pytest.mark.parametrize("way", ["records", "batch"])
@given(start=START, records=RECORDS)
def test_what_was_written_is_read_wherever_the_ring_wraps(way, start, records):
    ring = Ring.at(start)
    written = []
    for record, flags in records:
        if ring.free < len(record) + 16:
            break
        ring.write(record, flags)
        written += [] if flags else [record]
    core = ring.core
    read = [bytes(r) for r in core.records()] if way == "records" else split(core.batch())
    assert read == written
    assert ring.consumed == int.from_bytes(ring.producer, "little")
    assert core.pending_bytes == 0


@pytest.mark.parametrize("way", ["records", "batch"])
@given(count=st.integers(0, 30), length=st.integers(0, 64), others=st.booleans())
def test_reading_stops_at_a_record_that_is_being_written(way, count, length, others):
    ring = Ring.at(SIZE - 16)
    for number in range(count):
        ring.write(bytes([number]) * (length + (others and number % 3)))
    before = int.from_bytes(ring.producer, "little")
    ring.write(b"half", BUSY)
    ring.write(b"done")
    core = ring.core
    read = [bytes(r) for r in core.records()] if way == "records" else split(core.batch())
    assert len(read) == count
    assert ring.consumed == before
    head = before % SIZE
    for place in (head, head + SIZE):
        ring.data[place : place + 4] = struct.pack("<I", 4)
    again = [bytes(r) for r in core.records()] if way == "records" else split(core.batch())
    assert again == [b"half", b"done"]


@given(lengths=st.lists(st.sampled_from((8, 8, 8, 20)), max_size=60), most=st.integers(1, 20))
def test_batches_of_some_records(lengths, most):
    ring = Ring.at(SIZE - 16)
    written = [bytes([number]) * length for number, length in enumerate(lengths)]
    for record in written:
        ring.write(record)
    batches = [split(batch) for batch in iter(lambda: ring.core.batch(most), b"")]
    assert [record for batch in batches for record in batch] == written
    assert all(len(batch) == most for batch in batches[:-1])


def test_a_reader_that_stops_has_consumed_what_it_was_given():
    ring = Ring.at(0)
    for number in range(5):
        ring.write(bytes([number]))
    records = ring.core.records()
    assert [bytes(next(records)), bytes(next(records))] == [b"\0", b"\1"]
    records.close()
    assert [bytes(record) for record in ring.core.records()] == [b"\2", b"\3", b"\4"]


def test_space_is_given_back_while_reading():
    ring = Ring.at(0)
    for _ in range(SIZE // 16 - 1):
        ring.write(b"")
        ring.write(b"")
    records, before = ring.core.records(), ring.consumed
    for _ in range(300):
        next(records)
    assert ring.consumed > before
    records.close()
