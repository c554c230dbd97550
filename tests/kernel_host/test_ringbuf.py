"""Ring buffers: the pure consumer on rings made here, and the reader on one of the kernel's."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsession.host import LoadRequest
from fsession.isa.insn import Insn, alu, call_helper, exit_, load_map_fd, mov, stx
from fsession.isa.insn import st as store
from fsession.isa.opcode import R0, R1, R2, R3, R4, R6, R10, Alu, Size
from fsession.kernel import KernelHost, KernelMap
from fsession.kernel.ringbuf import HEADER_BYTES, RingCore
from fsession.spec import MapSpec
from fsession.uapi import FuncId, MapType, ProgType

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


# -- the kernel's ring ------------------------------------------------------------------------

PER_RUN = 50


def _writer(ring: KernelMap, flags: int = 0) -> tuple[Insn, ...]:
    """A program that puts out 50 records of 16 bytes: its context's first word and their number."""
    one = (
        alu(Alu.ADD, R6, imm=1),
        stx(Size.DW, R10, R6, -8),
        load_map_fd(R1, ring.fd),
        mov(R2, R10),
        alu(Alu.ADD, R2, imm=-16),
        alu(Alu.MOV, R3, imm=16),
        alu(Alu.MOV, R4, imm=flags),
        call_helper(FuncId.ringbuf_output),
    )
    start = (store(Size.DW, R10, -16, 7), alu(Alu.MOV, R6, imm=0))
    return (*start, *one * PER_RUN, alu(Alu.MOV, R0, imm=0), exit_())


@pytest.fixture
def host():
    with KernelHost() as host:
        yield host


@pytest.fixture
def ring(host):
    with host.create_map(MapSpec("ring", MapType.RINGBUF, 0, 0, 4096)) as ring:
        yield ring


@pytest.fixture
def writer(host, ring):
    request = LoadRequest("writer", ProgType.RAW_TRACEPOINT, _writer(ring))
    with host.load(request) as program:
        yield program


EXPECTED = [struct.pack("<QQ", 7, number) for number in range(1, PER_RUN + 1)]


@pytest.mark.kernel
def test_records_reach_the_callback_in_order_for_many_laps(host, ring, writer):
    got: list[bytes] = []
    with host.ring_buffer(ring, lambda record: got.append(bytes(record))) as reader:
        for _ in range(20):  # 1200 bytes each: the ring of 4096 wraps at different places
            got.clear()
            writer.test_run()
            assert reader.poll(0) == PER_RUN
            assert got == EXPECTED
        assert reader.poll(0) == 0


@pytest.mark.kernel
def test_a_batch_has_the_same_records(host, ring, writer):
    with host.ring_buffer(ring, lambda _: None) as reader:
        for _ in range(20):
            writer.test_run()
            assert split(reader.read_batch()) == EXPECTED


@pytest.mark.kernel
def test_waiting_ends_by_time_or_by_a_record(host, ring, writer):
    with host.ring_buffer(ring, lambda _: None) as reader:
        assert not reader.wait(0.01)
        writer.test_run()
        assert reader.wait(5)
        assert reader.poll(0) == PER_RUN
        assert not reader.wait(0.01)


@pytest.mark.kernel
def test_a_callback_that_raises_loses_only_its_own_record(host, ring, writer):
    got: list[bytes] = []

    def refuse_third(record: memoryview) -> None:
        got.append(bytes(record))
        if len(got) == 3:
            raise RuntimeError("third")

    writer.test_run()
    with host.ring_buffer(ring, refuse_third) as reader:
        with pytest.raises(RuntimeError, match="third"):
            reader.poll(0)
        assert reader.poll(0) == PER_RUN - 3
    assert got == EXPECTED


@pytest.mark.kernel
def test_a_full_ring_drops_the_newest_and_keeps_whole_records(host, ring, writer):
    for _ in range(10):
        writer.test_run()
    with host.ring_buffer(ring, lambda _: None) as reader:
        records = split(reader.read_batch())
    assert records[:PER_RUN] == EXPECTED
    assert 4096 // 24 - 1 <= len(records) <= 4096 // 24
